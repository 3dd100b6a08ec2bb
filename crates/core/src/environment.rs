//! The variables of a function's environment.

use std::collections::BTreeMap;

use crate::names::env;

/// The most bytes that all of a function's variables may have, names and values together. They are part of its image's labels,
/// which Docker's builder reads as one line of 64 KiB.
pub const MAX: usize = 32 << 10;

/// The most bytes of a secret's value: more than a certificate with its chain and its key has.
pub const MAX_SECRET: usize = 32 << 10;

/// Checks that a function can have a variable of that name.
///
/// # Errors
/// A text that says what is wrong with it.
pub fn check_name(name: &str) -> Result<(), String> {
    let mut bytes = name.bytes();
    let first = |b: u8| b.is_ascii_alphabetic() || b == b'_';
    let fits = bytes.next().is_some_and(first) && bytes.all(|b| first(b) || b.is_ascii_digit());
    if !fits {
        return Err(format!(
            "{name:?} is no variable's name: use A-Z, a-z, 0-9 and _, and no digit at the start"
        ));
    }
    if name == env::PORT || name.starts_with(env::RESERVED_PREFIX) {
        return Err(format!(
            "{name} is set by the platform ({} and {}* are): use another name",
            env::PORT,
            env::RESERVED_PREFIX
        ));
    }
    Ok(())
}

/// Checks that a variable can have that value.
///
/// # Errors
/// As of [`check_name`].
pub fn check_value(name: &str, value: &str) -> Result<(), String> {
    if value.contains('\0') {
        return Err(format!(
            "the value of {name} holds a NUL character, which no variable can"
        ));
    }
    Ok(())
}

/// The value that is meant by what was typed or piped, without the end of its last line.
///
/// # Errors
/// A text that says why it can't be the value of `name`. It says nothing of what was typed.
pub fn secret(name: &str, mut typed: Vec<u8>) -> Result<String, String> {
    if typed.ends_with(b"\n") {
        typed.pop();
    }
    if typed.is_empty() {
        return Err(format!(
            "standard input has no value for {name}: give it one, such as by printf %s \"$VALUE\" | …"
        ));
    }
    if typed.len() > MAX_SECRET {
        return Err(format!(
            "the value of {name} has more than {MAX_SECRET} bytes: have the function fetch what is large"
        ));
    }
    let value = String::from_utf8(typed).map_err(|_| {
        format!("the value of {name} is no text in UTF-8: encode it, such as in base64")
    })?;
    check_value(name, &value)?;
    Ok(value)
}

/// Checks that a function can have so many.
///
/// # Errors
/// As of [`check_name`].
pub fn check_size(variables: &BTreeMap<String, String>) -> Result<(), String> {
    let bytes: usize = variables
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    if bytes > MAX {
        return Err(format!(
            "the variables have {bytes} bytes in all, more than {MAX}: have the function read from a file what is large"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["A", "_", "a1_B", "PORTS", "COREFN"] {
            check_name(good).unwrap();
        }
        for bad in ["", "1A", "A-B", "A B", "\u{e4}", "A=", "PORT", env::HOME] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn values() {
        check_value("A", "").unwrap();
        check_value("A", "\n =\u{1}").unwrap();
        assert!(check_value("A", "a\0b").unwrap_err().contains("value of A"));
    }

    #[test]
    fn secrets() {
        let of = |typed: &[u8]| secret("KEY", typed.to_vec());
        assert_eq!(of(b"a b").unwrap(), "a b");
        assert_eq!(of(b"a\nb\n").unwrap(), "a\nb");
        assert_eq!(of(b"a\n\n").unwrap(), "a\n");
        assert_eq!(of(&[b'x'; MAX_SECRET]).unwrap().len(), MAX_SECRET);
        for (bad, why) in [
            (&b""[..], "no value for KEY"),
            (b"\n", "no value for KEY"),
            (b"hidden\0", "NUL"),
            (b"hidden\xff", "UTF-8"),
            (&[b'x'; MAX_SECRET + 1], "32768 bytes"),
        ] {
            let error = of(bad).unwrap_err();
            assert!(error.contains(why) && !error.contains("hidden"), "{error}");
        }
    }

    #[test]
    fn sizes() {
        let of = |bytes| {
            BTreeMap::from([
                ("A".to_owned(), "x".repeat(bytes - 3)),
                ("B".to_owned(), "y".to_owned()),
            ])
        };
        check_size(&of(MAX)).unwrap();
        assert!(
            check_size(&of(MAX + 1))
                .unwrap_err()
                .contains("32769 bytes")
        );
    }
}
