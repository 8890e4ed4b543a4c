//! Identities that are accepted, and those that only look like them.

use super::*;
use crate::limits::MAX_CLAIM_LENGTH;
use crate::sigstore::fulcio::SubjectKind;

const PROVIDER: &str = "https://token.actions.githubusercontent.com";
const SUBJECT: &str = "https://github.com/corp/app/.github/workflows/release.yml@refs/tags/v1.2.3";

fn holder() -> Holder {
    Holder {
        subject: SUBJECT.into(),
        subject_kind: SubjectKind::Uri,
        issuer: Some(PROVIDER.into()),
        claims: BTreeMap::from([
            (Claim::SourceRepository, "https://github.com/corp/app".into()),
            (Claim::RunnerEnvironment, "github-hosted".into()),
        ]),
    }
}

fn exact(text: &str) -> TextMatcher {
    TextMatcher::Exact(text.into())
}

fn pattern(expression: &str) -> TextMatcher {
    TextMatcher::Pattern(AnchoredRegex::new(expression).unwrap())
}

fn matcher() -> IdentityMatcher {
    IdentityMatcher {
        issuer: exact(PROVIDER),
        subject: pattern(r"https://github\.com/corp/.+"),
        claims: BTreeMap::new(),
    }
}

#[test]
fn accepts_an_identity_that_fits_every_matcher() {
    let mut matcher = matcher();
    assert!(matcher.accepts(&holder()));
    matcher
        .claims
        .insert(Claim::SourceRepository, exact("https://github.com/corp/app"));
    matcher.claims.insert(Claim::RunnerEnvironment, pattern("github-.*"));
    assert!(matcher.accepts(&holder()));
    assert_eq!(
        matcher.describe(),
        "subject /https://github\\\\.com/corp/.+/, issuer https://token.actions.githubusercontent.com, \
         runner_environment /github-.*/, source_repository https://github.com/corp/app"
    );
}

/// CVE-2025-29778: Kyverno ignored the expressions where it also had an exact text.
#[test]
fn cve_2025_29778_every_matcher_that_is_written_down_has_to_fit() {
    let refused = |change: fn(&mut IdentityMatcher), mismatch| {
        let mut matcher = matcher();
        matcher.claims.insert(Claim::RunnerEnvironment, exact("github-hosted"));
        assert_eq!(matcher.mismatch(&holder()), None);
        change(&mut matcher);
        assert_eq!(matcher.mismatch(&holder()), Some(mismatch));
        assert!(!matcher.accepts(&holder()));
    };
    refused(
        |matcher| matcher.issuer = exact("https://evil.example"),
        Mismatch::Issuer,
    );
    refused(|matcher| matcher.issuer = pattern("https://evil.*"), Mismatch::Issuer);
    refused(
        |matcher| matcher.subject = exact("https://github.com/corp/app"),
        Mismatch::Subject,
    );
    refused(
        |matcher| matcher.subject = pattern(r"https://github\.com/evil/.+"),
        Mismatch::Subject,
    );
    refused(
        |matcher| {
            matcher.claims.insert(Claim::RunnerEnvironment, exact("self-hosted"));
        },
        Mismatch::Claim(Claim::RunnerEnvironment),
    );
    refused(
        |matcher| {
            matcher.claims.insert(Claim::BuildTrigger, pattern(".*"));
        },
        Mismatch::Claim(Claim::BuildTrigger),
    );
}

#[test]
fn a_certificate_without_an_issuer_fits_no_matcher() {
    let mut matcher = matcher();
    let mut holder = holder();
    holder.issuer = None;
    for issuer in [exact(""), exact(PROVIDER), pattern(".*")] {
        matcher.issuer = issuer;
        assert_eq!(matcher.mismatch(&holder), Some(Mismatch::Issuer));
    }
}

/// CVE-2026-22772: an expression that was not anchored accepted any issuer that contained the right one.
#[test]
fn cve_2026_22772_an_expression_fits_the_whole_text_or_not_at_all() {
    let refused = |expression: &str, text: &str| {
        assert!(
            !AnchoredRegex::new(expression).unwrap().matches(text),
            "{expression} {text}"
        );
    };
    for text in [
        "https://evil.example/https://accounts.corp.example",
        "https://accounts.corp.example.evil.example",
        "https://accounts.corp.example/",
        "\nhttps://accounts.corp.example",
        "https://accounts.corp.example\n",
        "x\nhttps://accounts.corp.example\nx",
    ] {
        refused(r"https://accounts\.corp\.example", text);
        refused(r"(?m)^https://accounts\.corp\.example$", text);
        refused(r"a|https://accounts\.corp\.example", text);
    }
    refused(r"https://accounts\.corp\.example", "https://accountsXcorp.example");
    // The longer alternative counts where the first would leave a rest.
    assert!(AnchoredRegex::new("a|ab").unwrap().matches("ab"));
}

#[test]
fn an_expression_cannot_leave_its_anchors() {
    for expression in ["a)|(?:b", "a)|b|(c", "(", ")", "a|)", "[", r"a\", "(?x)a # comment"] {
        let error = AnchoredRegex::new(expression).unwrap_err();
        assert!(matches!(error, RegexError::Syntax(_)), "{expression}");
    }
}

/// What others take exponential time for: here the time is linear in the text, and the size of an expression is
/// bounded.
#[test]
fn regular_expression_denial_of_service_is_refused_or_linear() {
    let text = "a".repeat(MAX_CLAIM_LENGTH - 1) + "!";
    for expression in ["(a+)+", "(a|aa)+", "(a|a?)+b", "(.*a){20}", "([a-zA-Z]+)*x"] {
        assert!(!AnchoredRegex::new(expression).unwrap().matches(&text));
    }
    for expression in ["(a{1000}){1000}", r"\pL{1000}", "((a{100}){100}){100}"] {
        assert_eq!(AnchoredRegex::new(expression).unwrap_err(), RegexError::TooLarge);
    }
    assert!(matches!(AnchoredRegex::new("(a)\\1"), Err(RegexError::Syntax(_))));
    assert!(matches!(AnchoredRegex::new("(?=a)a"), Err(RegexError::Syntax(_))));
    assert_eq!(
        AnchoredRegex::new(&"a".repeat(MAX_REGEX_LENGTH + 1)).unwrap_err(),
        RegexError::TooLong(MAX_REGEX_LENGTH + 1)
    );
    assert_eq!(AnchoredRegex::new("").unwrap_err(), RegexError::Empty);
}

#[test]
fn expressions_of_real_policies_compile() {
    let segments = r"/[\w.-]+".repeat(12);
    for expression in [
        r"https://github\.com/corp/[\w.-]+/\.github/workflows/[\w.-]+@refs/(heads/(main|release/.+)|tags/v\d+\.\d+\.\d+)",
        r"^https://gitlab\.com/corp/.*$",
        r".+@corp\.example",
        &format!("https://git.corp.example{segments}"),
    ] {
        AnchoredRegex::new(expression).unwrap();
    }
    assert!(pattern(r"^https://github\.com/corp/.*$").accepts(SUBJECT));
}
