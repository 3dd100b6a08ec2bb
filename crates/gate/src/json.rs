//! JSON of which there is only one reading.
//!
//! Parsers differ in which of two equal names counts, and Docker's takes names in any case: so equal names are refused, whether
//! they differ in their case or not.

use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// Reads a value.
///
/// # Errors
/// What is wrong, for a person.
pub fn read(bytes: &[u8]) -> Result<Value, String> {
    let read: Result<Clear, _> = serde_json::from_slice(bytes);
    read.map(|Clear(value)| value)
        .map_err(|error| error.to_string())
}

/// Where a value differs from another, as the names that lead there; nothing if they are equal.
pub fn difference(asked: &Value, expected: &Value) -> Option<String> {
    match (asked, expected) {
        (Value::Object(asked), Value::Object(expected)) => {
            let names: HashSet<_> = asked.keys().chain(expected.keys()).collect();
            let mut names: Vec<_> = names.into_iter().collect();
            names.sort();
            names.into_iter().find_map(|name| {
                let null = &Value::Null;
                let [asked, expected] =
                    [asked, expected].map(|object| object.get(name).unwrap_or(null));
                let within = difference(asked, expected)?;
                let point = if within.is_empty() { "" } else { "." };
                Some(format!("{name}{point}{within}"))
            })
        }
        (asked, expected) if asked == expected => None,
        _ => Some(String::new()),
    }
}

struct Clear(Value);

impl<'de> Deserialize<'de> for Clear {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Reader).map(Self)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Value, E> {
        Err(E::custom("a number that is not whole"))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(Clear(value)) = from.next_element()? {
            values.push(value);
        }
        Ok(values.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let (mut values, mut names) = (Map::new(), HashSet::new());
        while let Some((name, Clear(value))) = from.next_entry::<String, _>()? {
            if !names.insert(name.to_lowercase()) {
                return Err(A::Error::custom(format!("{name:?} twice")));
            }
            values.insert(name, value);
        }
        Ok(values.into())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_clear_is_read() {
        let text = br#" {"a": [1, -2, "b", true, null, {}], "B": {"a": 18446744073709551615}} "#;
        let expected = json!({"a": [1, -2, "b", true, null, {}], "B": {"a": u64::MAX}});
        assert_eq!(read(text).unwrap(), expected);
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        for (text, why) in [
            (r#"{"a": 1, "a": 1}"#, "\"a\" twice"),
            (r#"{"Binds": 1, "binds": 1}"#, "\"binds\" twice"),
            (r#"{"a": [{"b": 1, "\u0062": 2}]}"#, "\"b\" twice"),
            ("{} {}", "trailing characters"),
            ("1.5", "not whole"),
            ("1e3", "not whole"),
            ("", "EOF"),
            ("[", "EOF"),
            (&"[".repeat(10_000), "recursion limit"),
        ] {
            let error = read(text.as_bytes()).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn differences_are_named() {
        let expected = json!({"a": {"b": 1, "c": [1]}, "d": "x"});
        let of = |asked: &Value| difference(asked, &expected);
        assert_eq!(of(&expected), None);
        for (asked, name) in [
            (json!({"a": {"b": 2, "c": [1]}, "d": "x"}), "a.b"),
            (json!({"a": {"b": 1, "c": [1, 2]}, "d": "x"}), "a.c"),
            (json!({"a": {"b": 1, "c": [1]}, "d": "x", "e": 0}), "e"),
            (json!({"a": {"b": 1, "c": [1]}}), "d"),
            (json!([]), ""),
        ] {
            assert_eq!(of(&asked).as_deref(), Some(name));
        }
    }
}
