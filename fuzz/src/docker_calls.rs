//! What the gate understands of a request to Docker: a line with the method and the target, and the body.

use corefn_gate::ask::{Ask, OLDEST};
use serde_json::Value;

/// Checks one input.
///
/// # Panics
/// When something is wrong with what is made of it.
pub fn run(bytes: &[u8]) {
    let end = bytes.iter().position(|byte| *byte == b'\n');
    let (line, body) = bytes.split_at(end.unwrap_or(bytes.len()));
    let body = body.get(1..).unwrap_or_default();
    let Some((method, target)) = str::from_utf8(line)
        .ok()
        .and_then(|line| line.split_once(' '))
    else {
        return;
    };
    let Ok((version, ask)) = Ask::read(method, target, body) else {
        return;
    };
    assert!(version.is_none_or(|version| version >= OLDEST));
    let path = target.split('?').next().unwrap_or_default();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._:-".contains(&byte);
    assert!(path.bytes().all(is_plain), "{path:?}");
    assert!(!path.contains("..") && !path.contains("//"), "{path:?}");
    let read = || serde_json::from_slice::<Value>(body).ok();
    match ask {
        Ask::Create(_, asked) | Ask::CreateNetwork(asked) | Ask::CreateVolume(asked) => {
            assert_eq!(
                Some(&asked),
                read().as_ref(),
                "any other parser reads the same"
            );
            assert_one_reading(&asked);
        }
        Ask::Limit(..) | Ask::LimitProcesses(..) | Ask::Prioritize(..) => {
            assert!(read().is_some_and(|value| value.is_object()))
        }
        ask => {
            assert!(body.is_empty());
            assert_eq!(ask.takes_files(), Ask::may_take_files(method, path));
        }
    }
}

/// Checks that no two names differ in their case alone.
fn assert_one_reading(value: &Value) {
    match value {
        Value::Object(object) => {
            let mut names: Vec<_> = object.keys().map(|name| name.to_lowercase()).collect();
            names.sort();
            assert!(names.windows(2).all(|two| two[0] != two[1]), "{names:?}");
            object.values().for_each(assert_one_reading);
        }
        Value::Array(values) => values.iter().for_each(assert_one_reading),
        _ => {}
    }
}
