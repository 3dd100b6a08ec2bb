//! A request's path, behind the prefix by which its function was found.
//!
//! nginx checks access by the normalized path, and the function gets what the client sent. So that what was checked is
//! what is asked for, the client must have spelled the prefix plainly.

/// Whether `raw`, the target of the request line, begins with the first `prefix` bytes of the normalized `path` as they
/// stand, and these end a segment in it as well.
pub fn is_spelled_plainly(raw: &[u8], path: &[u8], prefix: usize) -> bool {
    let spelled = raw.get(..prefix);
    spelled.is_some()
        && spelled == path.get(..prefix)
        && matches!(raw.get(prefix), None | Some(b'/' | b'?' | b'#'))
}

/// What is behind the prefix of a path or target, and what must come before it for a path to begin with a slash. None
/// if it has no such prefix.
pub fn behind(whole: &[u8], prefix: usize) -> Option<(&'static [u8], &[u8])> {
    let rest = whole.get(prefix..)?;
    let slash: &[u8] = if rest.first() == Some(&b'/') {
        b""
    } else {
        b"/"
    };
    Some((slash, rest))
}

/// Checks a target: a path, perhaps with a query, as a request has it.
///
/// # Errors
/// What is wrong with it.
pub fn check_target(text: &str) -> Result<(), String> {
    // What a request's target may hold by RFC 3986: pchar, "/" and "?".
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:@/?".contains(&b);
    if !text.starts_with('/') {
        Err(format!(
            "{text:?} is no path: it starts with a slash, such as \"/healthz\""
        ))
    } else if !text.bytes().all(fits) {
        Err(format!(
            "{text:?} is no path: it is letters, digits and -._~%!$&'()*+,;=:@/? only, so write \
             anything else as %XX"
        ))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PATH: &[u8] = b"/demo/hello/x";
    const PREFIX: usize = "/demo/hello".len();

    #[test]
    fn plain_spellings() {
        for plain in [
            "/demo/hello",
            "/demo/hello/",
            "/demo/hello/x",
            "/demo/hello/../x",
            "/demo/hello/%2e%2e",
            "/demo/hello?a=b",
            "/demo/hello#x",
        ] {
            assert!(
                is_spelled_plainly(plain.as_bytes(), PATH, PREFIX),
                "{plain}"
            );
        }
        for other in [
            "",
            "/",
            "/demo/hell",
            "/demo/hello2",
            "/demo/hello%2fx",
            "/demo/hell%6f/x",
            "//demo/hello/x",
            "/demo//hello/x",
            "/./demo/hello/x",
            "/demo/x/../hello/x",
            "/other/../demo/hello/x",
            "http://h/demo/hello/x",
        ] {
            assert!(
                !is_spelled_plainly(other.as_bytes(), PATH, PREFIX),
                "{other}"
            );
        }
    }

    #[test]
    fn whole_hosts_have_no_prefix() {
        assert!(is_spelled_plainly(b"/x", b"/x", 0));
        assert!(is_spelled_plainly(b"/%2e", b"/", 0));
        // The target of `OPTIONS *`, and of a proxy's request.
        assert!(!is_spelled_plainly(b"*", b"*", 0));
        assert!(!is_spelled_plainly(b"http://h/x", b"/x", 0));
    }

    #[test]
    fn functions_get_a_path() {
        let joined = |whole: &'static str| {
            let (slash, rest) = behind(whole.as_bytes(), PREFIX)?;
            Some([slash, rest].concat())
        };
        assert_eq!(joined("/demo/hello").unwrap(), b"/");
        assert_eq!(joined("/demo/hello?a=b").unwrap(), b"/?a=b");
        assert_eq!(joined("/demo/hello//x%20y").unwrap(), b"//x%20y");
        assert_eq!(joined("/demo"), None);
    }

    proptest! {
        /// Whatever the client sends behind a plain prefix, the function gets it byte for byte.
        #[test]
        fn nothing_is_lost(rest in "[/?#]\\PC*", prefix in "(/[a-z]{1,5}){0,3}") {
            let raw = format!("{prefix}{rest}");
            let path = format!("{prefix}/");
            prop_assert!(is_spelled_plainly(raw.as_bytes(), path.as_bytes(), prefix.len()));
            let (slash, got) = behind(raw.as_bytes(), prefix.len()).unwrap();
            prop_assert_eq!(got, rest.as_bytes());
            prop_assert_eq!(slash.is_empty(), rest.starts_with('/'));
        }

        /// No other spelling passes: what passes begins with the prefix as it is.
        #[test]
        fn only_the_prefix_passes(raw in "[/a%2e.?]{0,12}", path in "(/[a.]{1,3}){1,3}", prefix in 0_usize..12) {
            if is_spelled_plainly(raw.as_bytes(), path.as_bytes(), prefix) {
                prop_assert!(path.is_char_boundary(prefix));
                prop_assert!(raw.starts_with(&path[..prefix]));
            }
        }
    }
}
