//! JSON that means one thing: no duplicate key at any level, nothing behind the end, bounded depth and number of values.
//!
//! serde_json keeps the last of two equal keys, other readers the first. Where a signature is made with one reader and
//! judged with another, that difference is an attack.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::EnvelopeError;
use crate::limits::{MAX_ENVELOPE_VALUES, MAX_NESTING};
use crate::untrusted::{self, Untrusted};

/// Parses exactly one value, of at most [`MAX_ENVELOPE_VALUES`].
pub(crate) fn parse(bytes: &[u8]) -> Result<Value, EnvelopeError> {
    parse_within(bytes, MAX_ENVELOPE_VALUES)
}

/// Parses exactly one value, of at most `values`, itself included.
pub(crate) fn parse_within(bytes: &[u8], values: usize) -> Result<Value, EnvelopeError> {
    parse_with(bytes, values, 0)
}

/// Parses exactly one value that takes no more than `units` of memory beside its text. A value takes one unit, and an object
/// [`NODE_UNITS`] more for every [`NODE_KEYS`] of its keys.
pub(crate) fn parse_weighing(bytes: &[u8], units: usize) -> Result<Value, EnvelopeError> {
    parse_with(bytes, units, NODE_UNITS)
}

/// What a node of an object's tree takes: eleven keys of 24 bytes and values of 32, in units of 32 bytes.
const NODE_UNITS: usize = 20;

/// How many keys a node of an object's tree has at least, but for the first.
const NODE_KEYS: usize = 5;

fn parse_with(bytes: &[u8], values: usize, node: usize) -> Result<Value, EnvelopeError> {
    let mut budget = Budget {
        values,
        node,
        exceeded: None,
    };
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let strict = Strict {
        budget: &mut budget,
        depth: 0,
    };
    let parsed = strict
        .deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value));
    match (parsed, budget.exceeded) {
        (_, Some(limit)) => Err(limit),
        (Ok(value), None) => Ok(value),
        (Err(error), None) => Err(EnvelopeError::Malformed(Untrusted::new(error.to_string()))),
    }
}

struct Budget {
    values: usize,
    node: usize,
    exceeded: Option<EnvelopeError>,
}

struct Strict<'a> {
    budget: &'a mut Budget,
    depth: usize,
}

impl Strict<'_> {
    fn below(&mut self) -> Strict<'_> {
        Strict {
            budget: self.budget,
            depth: self.depth + 1,
        }
    }

    fn spend<E: serde::de::Error>(&mut self, values: usize) -> Result<(), E> {
        match self.budget.values.checked_sub(values) {
            Some(left) => self.budget.values = left,
            None => return Err(self.exceed(EnvelopeError::TooManyValues)),
        }
        Ok(())
    }

    fn exceed<E: serde::de::Error>(&mut self, limit: EnvelopeError) -> E {
        self.budget.exceeded = Some(limit);
        E::custom("limit exceeded")
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(mut self, deserializer: D) -> Result<Value, D::Error> {
        if self.depth > MAX_NESTING {
            return Err(self.exceed(EnvelopeError::TooDeep));
        }
        self.spend(1)?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(self.below())? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut entries: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if object.contains_key(&key) {
                let shown = untrusted::escape(&key, 64);
                return Err(A::Error::custom(format_args!("duplicate key {shown}")));
            }
            if object.len().is_multiple_of(NODE_KEYS) {
                let node = self.budget.node;
                self.spend(node)?;
            }
            let value = entries.next_value_seed(self.below())?;
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_duplicate_keys_at_every_level() {
        for json in [
            r#"{"a":1,"a":1}"#,
            r#"{"x":{"a":1,"b":2,"a":3}}"#,
            r#"[[{"a":1,"\u0061":2}]]"#,
        ] {
            let error = parse(json.as_bytes()).unwrap_err().to_string();
            assert!(error.contains("duplicate key a"), "{error}");
        }
    }

    #[test]
    fn refuses_what_is_not_exactly_one_value() {
        for json in [
            "",
            "{",
            "{} {}",
            "{},",
            "\u{feff}{}",
            r#"{"a":1,}"#,
            "NaN",
            "\"\n\"",
            "1e999",
        ] {
            assert!(parse(json.as_bytes()).is_err(), "{json:?}");
        }
        assert!(parse(b"\"\xff\"").is_err());
    }

    #[test]
    fn stops_at_the_limits_of_depth_and_number() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(parse(nested(MAX_NESTING).as_bytes()).is_ok());
        assert_eq!(parse(nested(MAX_NESTING + 2).as_bytes()), Err(EnvelopeError::TooDeep));
        let many = format!("[{}1]", "1,".repeat(MAX_ENVELOPE_VALUES));
        assert_eq!(parse(many.as_bytes()), Err(EnvelopeError::TooManyValues));
    }

    #[test]
    fn weighs_an_object_as_the_nodes_of_its_tree() {
        for (json, units) in [
            ("{}", 1),
            (r#"{"a":1}"#, 22),
            (r#"[{"a":1},{"a":1}]"#, 45),
            (r#"{"a":1,"b":2,"c":3,"d":4,"e":5}"#, 26),
            (r#"{"a":1,"b":2,"c":3,"d":4,"e":5,"f":6}"#, 47),
        ] {
            assert!(parse_weighing(json.as_bytes(), units).is_ok(), "{json}");
            let less = parse_weighing(json.as_bytes(), units - 1);
            assert_eq!(less, Err(EnvelopeError::TooManyValues), "{json}");
        }
    }
}
