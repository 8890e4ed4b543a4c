//! Conditions in the Common Expression Language (cel-spec doc/langdef.md), bounded when the policy is read.
//!
//! The evaluator has no budget of its own, so what could take long is no expression here (CVE-2025-47281). A macro goes over
//! a list once: no macro stands in another one, neither in its list nor in its body, and in the body nothing has a name but
//! the item. Nothing puts values together: there is no arithmetic, and lists are of constants. So an evaluation costs at
//! most the parts of the expression times the size of the statement.
//!
//! There is no clock, and no function that reads anything but the statement.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::{self, Write as _};
use std::sync::{Arc, LazyLock};

use cel::common::ast::operators;
use cel::common::ast::{CallExpr, ComprehensionExpr, Expr, IdedExpr, ListExpr, LiteralValue};
use cel::extractors::This;
use cel::objects::{Key, Map};
use cel::parser::PrattParser;
use cel::{Context, Env, ExecutionError};
use regex_syntax::hir::Look;
use serde_json::Value;
use thiserror::Error;

use crate::limits::{
    MAX_EXPRESSION_DEPTH, MAX_EXPRESSION_LENGTH, MAX_EXPRESSION_PARTS, MAX_EXPRESSION_VALUES, MAX_SHOWN_LENGTH,
};
use crate::sigstore::identity::{AnchoredRegex, RegexError};
use crate::untrusted::Untrusted;

/// What an expression may name: the statement, and the parts of it that most are about.
const VARIABLES: [&str; 4] = ["statement", "predicate", "predicateType", "subject"];

/// The standard library, without optional values.
static LIBRARY: LazyLock<Arc<Env>> =
    LazyLock::new(|| Arc::new(Env::default().with_optional_support(false).with_stdlib()));

/// An expression that was read and found bounded. Two are equal when they are written alike.
#[derive(Clone)]
pub struct Expression {
    text: Box<str>,
    parsed: Arc<Parsed>,
}

struct Parsed {
    root: IdedExpr,
    /// Those of [`VARIABLES`] that it names.
    variables: BTreeSet<&'static str>,
    /// The regular expressions that it matches with.
    patterns: Arc<BTreeMap<String, AnchoredRegex>>,
}

/// Why text is no expression that can be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ExpressionError {
    /// More than [`MAX_EXPRESSION_LENGTH`].
    #[error("it has {0} bytes, more than {MAX_EXPRESSION_LENGTH}")]
    TooLong(usize),
    /// Not of the language.
    #[error("it is malformed: {0}")]
    Malformed(Untrusted),
    /// More than [`MAX_EXPRESSION_PARTS`].
    #[error("it has more than {MAX_EXPRESSION_PARTS} parts")]
    TooManyParts,
    /// Deeper than [`MAX_EXPRESSION_DEPTH`].
    #[error("its parts lie more than {MAX_EXPRESSION_DEPTH} deep in each other")]
    TooDeep,
    /// A name that nothing has.
    #[error("{0} is not known: expected statement, predicate, predicateType or subject")]
    UnknownName(Untrusted),
    /// In a macro, another name than the item's.
    #[error("{0} stands in a macro: only the item of the list has a name there")]
    OuterName(Untrusted),
    /// A macro in a macro.
    #[error("a macro stands in another one")]
    NestedMacro,
    /// A function or operator that is not on the list.
    #[error("{0} cannot be used here")]
    Function(Untrusted),
    /// A list that has more than constants, or a map.
    #[error("a list may have constants only, and maps cannot be written")]
    Construction,
    /// A regular expression that is computed.
    #[error("matches needs a constant")]
    PatternNotConstant,
    /// A regular expression that cannot be used.
    #[error("matches: {0}")]
    Pattern(#[from] RegexError),
    /// A regular expression that fits parts of texts: `^a|b$` is one (CVE-2026-22772).
    #[error("matches: {0} fits parts of texts: begin it with ^ and end it with $, around all alternatives")]
    PatternNotAnchored(Untrusted),
}

impl Expression {
    /// Reads an expression.
    ///
    /// # Errors
    ///
    /// When it is malformed, or has something that could take more than a bounded time.
    pub fn new(text: &str) -> Result<Self, ExpressionError> {
        if text.len() > MAX_EXPRESSION_LENGTH {
            return Err(ExpressionError::TooLong(text.len()));
        }
        let root = PrattParser::new()
            .max_recursion_depth(MAX_RECURSION)
            .parse(text)
            .map_err(|errors| {
                let first = errors
                    .errors
                    .first()
                    .map(|error| error.msg.as_str())
                    .unwrap_or_default();
                ExpressionError::Malformed(first.into())
            })?;
        let mut reader = Reader::default();
        reader.read(&root, Scope::Statement, 0)?;
        Ok(Self {
            text: text.into(),
            parsed: Arc::new(Parsed {
                root,
                variables: reader.variables,
                patterns: Arc::new(reader.patterns),
            }),
        })
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it is true of a statement. False, anything that is no boolean, and an error of the evaluation are not.
    pub(super) fn check(&self, statement: &Value) -> Result<(), Untrusted> {
        let mut context = Context::with_env(Arc::clone(&LIBRARY));
        let patterns = Arc::clone(&self.parsed.patterns);
        let matches = move |This(text): This<Arc<String>>, pattern: Arc<String>| match patterns.get(&*pattern) {
            Some(regex) => Ok(regex.matches(&text)),
            None => Err(ExecutionError::function_error("matches", "the expression is not known")),
        };
        context
            .add_function("matches", matches)
            .map_err(|error| error.to_string())?;
        let mut left = MAX_EXPRESSION_VALUES;
        for name in &self.parsed.variables {
            let named = if *name == "statement" {
                Some(statement)
            } else {
                statement.get(*name)
            };
            // What the statement lacks has no value: naming it is an error of the evaluation.
            if let Some(value) = named {
                context.add_variable_from_value(*name, convert(value, &mut left)?);
            }
        }
        match cel::Value::resolve(&self.parsed.root, &context) {
            Ok(cel::Value::Bool(true)) => Ok(()),
            Ok(cel::Value::Bool(false)) => Err("it is false".into()),
            Ok(other) => Err(format!("it is of the type {}, not a boolean", other.type_of()).into()),
            Err(error) => Err(format!("it cannot be evaluated: {}", head(&error)).into()),
        }
    }
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Expression {}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Expression").field(&self.text).finish()
    }
}

/// The parser's own depth: of brackets and arguments, of which each part has a few.
const MAX_RECURSION: u16 = 96;

/// What has a name where a part stands.
#[derive(Clone, Copy)]
enum Scope<'a> {
    /// The variables.
    Statement,
    /// The same, in the list that a macro goes over.
    Range,
    /// The item of a list.
    Item(&'a str),
}

#[derive(Default)]
struct Reader {
    parts: usize,
    variables: BTreeSet<&'static str>,
    patterns: BTreeMap<String, AnchoredRegex>,
}

impl Reader {
    fn read(&mut self, part: &IdedExpr, scope: Scope<'_>, depth: usize) -> Result<(), ExpressionError> {
        self.parts += 1;
        if self.parts > MAX_EXPRESSION_PARTS {
            return Err(ExpressionError::TooManyParts);
        }
        if depth > MAX_EXPRESSION_DEPTH {
            return Err(ExpressionError::TooDeep);
        }
        let below = depth + 1;
        match &part.expr {
            Expr::Literal(_) => Ok(()),
            Expr::Ident(name) => self.name(name, scope),
            Expr::Select(select) => self.read(&select.operand, scope, below),
            Expr::Call(call) => self.call(call, scope, below),
            Expr::List(list) => constants(list),
            Expr::Comprehension(comprehension) => self.macro_over_list(comprehension, scope, below),
            Expr::Map(_) | Expr::Struct(_) => Err(ExpressionError::Construction),
            Expr::Unspecified => Err(ExpressionError::Malformed("a part is missing".into())),
        }
    }

    fn name(&mut self, name: &str, scope: Scope<'_>) -> Result<(), ExpressionError> {
        match scope {
            // Names with an at sign are those that macros make: nobody can write them.
            Scope::Item(item) if name == item || name.starts_with('@') => Ok(()),
            Scope::Item(_) => Err(ExpressionError::OuterName(name.into())),
            Scope::Statement | Scope::Range => {
                let known = VARIABLES.into_iter().find(|variable| *variable == name);
                self.variables
                    .insert(known.ok_or_else(|| ExpressionError::UnknownName(name.into()))?);
                Ok(())
            }
        }
    }

    fn macro_over_list(
        &mut self,
        comprehension: &ComprehensionExpr,
        scope: Scope<'_>,
        depth: usize,
    ) -> Result<(), ExpressionError> {
        if !matches!(scope, Scope::Statement) || comprehension.iter_var2.is_some() {
            return Err(ExpressionError::NestedMacro);
        }
        self.read(&comprehension.iter_range, Scope::Range, depth)?;
        let body = Scope::Item(&comprehension.iter_var);
        for part in [
            &comprehension.accu_init,
            &comprehension.loop_cond,
            &comprehension.loop_step,
            &comprehension.result,
        ] {
            self.read(part, body, depth)?;
        }
        Ok(())
    }

    fn call(&mut self, call: &CallExpr, scope: Scope<'_>, depth: usize) -> Result<(), ExpressionError> {
        match (call.func_name.as_str(), call.target.is_some(), call.args.as_slice()) {
            // The macros' own: they count, and put one item after the other.
            (
                operators::ADD,
                false,
                [
                    IdedExpr {
                        expr: Expr::Ident(name),
                        ..
                    },
                    added,
                ],
            ) if name.starts_with('@') => {
                return match &added.expr {
                    Expr::List(list) => list
                        .elements
                        .iter()
                        .try_for_each(|element| self.read(element, scope, depth)),
                    _ => self.read(added, scope, depth),
                };
            }
            ("matches", true, [pattern]) => self.pattern(pattern)?,
            (
                operators::CONDITIONAL
                | operators::LOGICAL_AND
                | operators::LOGICAL_OR
                | operators::LOGICAL_NOT
                | operators::NEGATE
                | operators::EQUALS
                | operators::NOT_EQUALS
                | operators::LESS
                | operators::LESS_EQUALS
                | operators::GREATER
                | operators::GREATER_EQUALS
                | operators::IN
                | operators::INDEX
                | operators::NOT_STRICTLY_FALSE,
                false,
                _,
            )
            | ("contains" | "startsWith" | "endsWith", true, [_])
            | ("size", true, [])
            | ("size" | "int" | "double", false, [_]) => {}
            (other, ..) => return Err(ExpressionError::Function(other.into())),
        }
        let target = call.target.as_deref();
        target
            .into_iter()
            .chain(&call.args)
            .try_for_each(|part| self.read(part, scope, depth))
    }

    fn pattern(&mut self, part: &IdedExpr) -> Result<(), ExpressionError> {
        let Expr::Literal(LiteralValue::String(pattern)) = &part.expr else {
            return Err(ExpressionError::PatternNotConstant);
        };
        let text = pattern.inner();
        let regex = AnchoredRegex::new(text)?;
        // The language's matches looks for a part; so it has to be written that it is the whole.
        let anchored = regex_syntax::parse(text).is_ok_and(|parsed| {
            let properties = parsed.properties();
            properties.look_set_prefix().contains(Look::Start) && properties.look_set_suffix().contains(Look::End)
        });
        if !anchored {
            return Err(ExpressionError::PatternNotAnchored(text.into()));
        }
        self.patterns.insert(text.to_owned(), regex);
        Ok(())
    }
}

fn constants(list: &ListExpr) -> Result<(), ExpressionError> {
    let constant = |element: &IdedExpr| matches!(element.expr, Expr::Literal(_));
    if list.optional_indices.is_empty() && list.elements.iter().all(constant) {
        Ok(())
    } else {
        Err(ExpressionError::Construction)
    }
}

/// A value as the evaluator has it. Whole numbers are integers, where cel-go takes every number for a double: `size` and
/// positions are integers, too.
fn convert(value: &Value, left: &mut usize) -> Result<cel::Value, Untrusted> {
    *left = left
        .checked_sub(1)
        .ok_or_else(|| format!("what it names has more than {MAX_EXPRESSION_VALUES} values"))?;
    Ok(match value {
        Value::Null => cel::Value::Null,
        Value::Bool(value) => cel::Value::Bool(*value),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => cel::Value::Int(number),
            (None, Some(number)) => cel::Value::UInt(number),
            (None, None) => cel::Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Value::String(text) => cel::Value::String(Arc::new(text.clone())),
        Value::Array(items) => {
            let items = items
                .iter()
                .map(|item| convert(item, left))
                .collect::<Result<Vec<_>, _>>()?;
            cel::Value::List(Arc::new(items))
        }
        Value::Object(members) => {
            let mut map = HashMap::with_capacity(members.len());
            for (name, value) in members {
                map.insert(Key::String(Arc::new(name.clone())), convert(value, left)?);
            }
            cel::Value::Map(Map { map: Arc::new(map) })
        }
    })
}

/// The beginning of an error's words: some have whole values in them.
fn head(error: &ExecutionError) -> Untrusted {
    struct Head(String);
    impl fmt::Write for Head {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0.extend(text.chars().take(MAX_SHOWN_LENGTH));
            if self.0.len() > MAX_SHOWN_LENGTH {
                Err(fmt::Error)
            } else {
                Ok(())
            }
        }
    }
    let mut head = Head(String::new());
    // It ends early where there is more.
    let _: fmt::Result = write!(head, "{error}");
    head.0.into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn statement() -> Value {
        json!({
            "_type": "https://in-toto.io/Statement/v1",
            "predicateType": "https://corp.example/review/v1",
            "subject": [{"name": "registry.corp.example/app", "digest": {"sha256": "ab"}}],
            "predicate": {
                "builder": "https://ci.corp.example/1",
                "score": 7.5,
                "count": 3,
                "big": 18_446_744_073_709_551_615_u64,
                "ok": true,
                "none": null,
                "reviewers": [{"name": "ann", "role": "owner"}, {"name": "bob", "role": "member"}],
                "org.example/key": "x"
            }
        })
    }

    #[track_caller]
    fn check(text: &str, expected: Result<(), &str>) {
        let expression = Expression::new(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        match (expression.check(&statement()), expected) {
            (Ok(()), Ok(())) => {}
            (Err(found), Err(words)) => assert!(found.to_string().contains(words), "{text}: {found}"),
            (found, _) => panic!("{text}: {found:?}"),
        }
    }

    #[track_caller]
    fn refused(text: &str, words: &str) {
        match Expression::new(text) {
            Err(error) => assert!(error.to_string().contains(words), "{text}: {error}"),
            Ok(_) => panic!("{text} is taken"),
        }
    }

    #[test]
    fn looks_at_the_statement() {
        for text in [
            "predicate.ok",
            "statement.predicate.ok == true",
            "predicateType == 'https://corp.example/review/v1'",
            "subject[0].digest.sha256 == 'ab'",
            "subject.size() == 1 && size(predicate.builder) > 3",
            "predicate.score > 7.0 && predicate.score > 7 && predicate.count < 3.5 && predicate.count == 3",
            "predicate.count > -1",
            "predicate.big > 1",
            "predicate.builder.startsWith('https://') && predicate.builder.endsWith('/1')",
            "predicate.builder.matches('^https://ci[.]corp[.]example/[0-9]+$')",
            "predicate.builder.contains('corp')",
            "predicate['org.example/key'] == 'x'",
            "has(predicate.builder) && !has(predicate.nothing)",
            "predicate.none == null",
            "'ok' in predicate && predicate.count in [1, 2, 3]",
            "predicate.reviewers.all(r, r.role in ['owner', 'member'])",
            "predicate.reviewers.exists(r, r.name == 'ann' && r.role == 'owner')",
            "predicate.reviewers.exists_one(r, r.role == 'owner')",
            "predicate.reviewers.filter(r, r.role == 'owner').size() == 1",
            "predicate.reviewers.map(r, r.name) == ['ann', 'bob']",
            "predicate.ok ? predicate.count > 2 : false",
            "int('3') == predicate.count && double('7.5') == predicate.score",
        ] {
            check(text, Ok(()));
        }
    }

    #[test]
    fn refuses_whatever_is_not_true() {
        check("predicate.count > 3", Err("it is false"));
        check("predicate.count", Err("of the type int, not a boolean"));
        check("predicate.builder", Err("of the type string"));
        check("predicate.none", Err("of the type null"));
        check(
            "predicate.nothing == 1",
            Err("cannot be evaluated: No such key: nothing"),
        );
        check("predicate.builder > 1", Err("cannot be evaluated"));
        check("predicate.reviewers[7].name == 'ann'", Err("cannot be evaluated"));
        check("predicate.builder.all(c, true)", Err("cannot be evaluated"));
        check("predicate.reviewers.exists(r, r.name == 'eve')", Err("it is false"));
        check("predicate.builder.matches('^corp$')", Err("it is false"));
    }

    #[test]
    fn a_part_that_the_statement_lacks_is_an_error_not_a_value() {
        let expression = Expression::new("!has(predicate.bad)").unwrap();
        assert!(expression.check(&json!({"subject": []})).is_err());
        let expression = Expression::new("!(predicateType == 'x')").unwrap();
        assert!(expression.check(&json!({})).is_err());
    }

    #[test]
    fn the_words_of_an_error_are_bounded() {
        let long = "x".repeat(1 << 20);
        let expression = Expression::new("predicate < 1").unwrap();
        let error = expression
            .check(&json!({"predicate": [long.as_str(), {long.as_str(): long}]}))
            .unwrap_err();
        assert!(error.to_string().len() <= MAX_SHOWN_LENGTH, "{error}");
    }

    #[test]
    fn refuses_what_is_not_the_language() {
        for text in [
            "",
            "predicate.",
            "a b",
            "predicate ==",
            "(",
            "'",
            "predicate.a.b.all(x)",
            "\u{0}",
        ] {
            assert!(Expression::new(text).is_err(), "{text}");
        }
    }

    /// Policy evaluation that amplifies (CVE-2025-47281, CVE-2026-23881).
    #[test]
    fn refuses_expressions_that_could_amplify() {
        refused("subject.all(a, subject.all(b, true))", "macro stands in another");
        refused("subject.all(a, a.b.all(b, true))", "macro stands in another");
        refused("subject.map(a, a).all(a, true)", "macro stands in another");
        refused(
            "subject.all(a, a.name == predicate.name)",
            "predicate stands in a macro",
        );
        refused(
            "subject.all(a, statement.x.contains(a.name))",
            "statement stands in a macro",
        );
        refused("predicate.a + predicate.a == 'b'", "_+_ cannot be used");
        refused("predicate.a * 2 > 1", "_*_ cannot be used");
        refused("[predicate, predicate] == []", "constants only");
        refused("subject.map(a, [a, a]) == []", "constants only");
        refused("{'a': predicate} == predicate", "maps cannot be written");
        refused("predicate.a.matches(predicate.b)", "needs a constant");
        refused("string(predicate) == ''", "string cannot be used");
        refused("predicate.a.join(',') == ''", "join cannot be used");
        refused("now > 1", "now is not known");
        refused(
            &format!("predicate.a == '{}'", "x".repeat(MAX_EXPRESSION_LENGTH)),
            "more than",
        );
        refused(&format!("true{}", " || true".repeat(500)), "more than 512 parts");
        refused(&format!("predicate{}", ".a".repeat(200)), "deep");
        for (open, close) in [
            ("size(", ")"),
            ("predicate[", "]"),
            ("true && (", ")"),
            ("!(true || ", ")"),
        ] {
            let text = format!("{}predicate{}", open.repeat(200), close.repeat(200));
            assert!(Expression::new(&text).is_err(), "{open}");
        }
    }

    /// An expression that fits a part lets a stranger write the rest (CVE-2026-22772).
    #[test]
    fn a_regular_expression_says_that_it_is_the_whole() {
        for part in [
            "https://corp",
            "^https://corp",
            "corp$",
            "^a|b$",
            "(?m)^a$",
            "^a\\|b|c$",
            "^a[$]",
        ] {
            refused(&format!("predicate.a.matches(r'{part}')"), "fits parts of texts");
        }
        refused("predicate.a.matches('^(a$')", "malformed");
        refused("predicate.a.matches('')", "empty");
        refused("predicate.a.matches('^((a{1000}){1000}){1000}$')", "matches");
        assert!(Expression::new("predicate.a.matches('^(a|b)$') || predicate.a.matches('^c$|^d$')").is_ok());
    }

    #[test]
    fn refuses_statements_with_more_values_than_the_limit() {
        let many = json!({ "predicate": vec![0; MAX_EXPRESSION_VALUES] });
        let error = Expression::new("size(predicate) > 1")
            .unwrap()
            .check(&many)
            .unwrap_err();
        assert!(error.to_string().contains("more than 65536 values"), "{error}");
        // What is not named costs nothing.
        let many = json!({ "other": vec![0; MAX_EXPRESSION_VALUES], "predicate": 1 });
        assert_eq!(Expression::new("predicate == 1").unwrap().check(&many), Ok(()));
    }

    #[test]
    fn both_parsers_of_the_library_read_the_same() {
        for text in [
            "predicate.a.all(x, x.b == 'c' || !(x.d in [1, -2]))",
            "has(predicate.a) ? predicate.a[0].b : predicate['c'].exists_one(x, x > 1.5e3)",
            "predicate.a.filter(x, x.matches(r'^a\\.b$')).size() >= 2 && statement.b.startsWith(\"\\u00e9\")",
            "a && b || c && d || e",
        ] {
            let other = cel::Program::compile(text).unwrap();
            let ours = PrattParser::new().parse(text).unwrap();
            assert_eq!(without_ids(&ours), without_ids(other.expression()), "{text}");
        }
    }

    /// The tree in words, without the numbers of its parts.
    fn without_ids(part: &IdedExpr) -> String {
        let text = format!("{part:?}");
        let mut pieces = text.split("id: ");
        let first = pieces.next().unwrap_or_default().to_owned();
        pieces.fold(first, |shown, piece| {
            shown + piece.trim_start_matches(|digit: char| digit.is_ascii_digit())
        })
    }
}
