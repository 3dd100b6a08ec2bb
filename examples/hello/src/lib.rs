//! A first function: text and JSON in, text and JSON out.
#![forbid(unsafe_code)]

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Two numbers: `{"A":1,"B":2}`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Operands {
    a: i64,
    b: i64,
}

/// What came out: `{"Result":3}`.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    result: i64,
}

#[corefn::function]
fn hello_world() -> &'static str {
    "Hello world!"
}

#[corefn::function]
fn say_hello(name: &str) -> String {
    format!("Hello, {name}!")
}

/// The time, as RFC 3339 has it.
#[corefn::function]
fn now() -> String {
    Timestamp::now().to_string()
}

#[corefn::function]
fn add(Operands { a, b }: Operands) -> Result<Answer, &'static str> {
    answer(a.checked_add(b))
}

#[corefn::function]
fn multiply(Operands { a, b }: Operands) -> Result<Answer, &'static str> {
    answer(a.checked_mul(b))
}

fn answer(result: Option<i64>) -> Result<Answer, &'static str> {
    let result = result.ok_or("the result is too large for 64 bits")?;
    Ok(Answer { result })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greetings() {
        assert_eq!(hello_world(), "Hello world!");
        assert_eq!(say_hello("Brendan"), "Hello, Brendan!");
    }

    #[test]
    fn the_time_is_rfc_3339_in_utc() {
        let text = now();
        assert!(text.ends_with('Z'), "{text}");
        let elapsed = Timestamp::now().duration_since(text.parse().unwrap());
        assert!((0..5).contains(&elapsed.as_secs()), "{text}");
    }

    #[test]
    fn arithmetic() {
        assert_eq!(add(Operands { a: 1, b: 2 }), Ok(Answer { result: 3 }));
        assert_eq!(multiply(Operands { a: 6, b: 7 }), Ok(Answer { result: 42 }));
        assert!(add(Operands { a: i64::MAX, b: 1 }).is_err());
        assert!(multiply(Operands { a: i64::MAX, b: 2 }).is_err());
    }

    #[test]
    fn json_has_the_documented_names() {
        let operands: Operands = serde_json::from_str(r#"{"A":1,"B":2}"#).unwrap();
        let answer = serde_json::to_string(&add(operands).unwrap()).unwrap();
        assert_eq!(answer, r#"{"Result":3}"#);
    }
}
