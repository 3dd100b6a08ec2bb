//! How a function's addresses look from outside, where its prefix comes before them.
//!
//! A function that doesn't know of its prefix redirects, and sets cookies for, paths of its own. One that does (it is told by
//! `X-Forwarded-Prefix`) has put it there itself.

/// An address in up to three parts, which follow each other.
type Parts<'a> = [&'a [u8]; 3];

/// Where a redirect to `location` leads, from outside. A path of the function's own has the prefix put before it, once. It may
/// be of this `host` in full. All else stays as it is: relative paths, other hosts, and everything where nothing was taken off
/// the path.
pub fn location<'a>(prefix: &'a [u8], host: &[u8], location: &'a [u8]) -> Parts<'a> {
    let (origin, path) = location.split_at(origin(host, location));
    let begins_path = |byte: &u8| b"/?#".contains(byte);
    let is_own = if origin.is_empty() {
        path.starts_with(b"/") && !path.starts_with(b"//")
    } else {
        path.first().is_none_or(begins_path)
    };
    let has_prefix = |rest: &[u8]| rest.first().is_none_or(begins_path);
    if !is_own || path.strip_prefix(prefix).is_some_and(has_prefix) {
        return [b"", b"", location];
    }
    [origin, prefix, path]
}

/// How many bytes of a location name this host: scheme and host, as far as `//` and port go.
fn origin(host: &[u8], location: &[u8]) -> usize {
    let named = [b"http://".as_slice(), b"https://"]
        .iter()
        .find_map(|scheme| {
            let rest = location.strip_prefix(*scheme)?;
            let behind = rest.strip_prefix(host)?;
            let ends = behind.first().is_none_or(|byte| b"/?#".contains(byte));
            ends.then(|| location.len() - behind.len())
        });
    named.filter(|_| !host.is_empty()).unwrap_or(0)
}

/// The path of a cookie of the function's, from outside. That of all paths becomes the prefix without a slash at its end, so
/// that it covers the function's own address too.
pub fn cookie_path<'a>(prefix: &'a [u8], path: &'a [u8]) -> Parts<'a> {
    let has_prefix = |rest: &[u8]| matches!(rest.first(), None | Some(b'/'));
    if !path.starts_with(b"/") || path.strip_prefix(prefix).is_some_and(has_prefix) {
        return [b"", b"", path];
    }
    [b"", prefix, if path == b"/" { b"" } else { path }]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PREFIX: &[u8] = b"/demo/hello";
    const HOST: &[u8] = b"example.com:8080";

    fn text(parts: Parts<'_>) -> String {
        String::from_utf8(parts.concat()).unwrap()
    }

    fn outside(of: &str) -> String {
        text(location(PREFIX, HOST, of.as_bytes()))
    }

    #[test]
    fn prefix_comes_before_paths() {
        for (of, outside_of) in [
            ("/", "/demo/hello/"),
            ("/x?y=/z#a", "/demo/hello/x?y=/z#a"),
            ("/demo", "/demo/hello/demo"),
            ("/demo/hello2", "/demo/hello/demo/hello2"),
            ("/demo/hell", "/demo/hello/demo/hell"),
            ("/x y", "/demo/hello/x y"),
            (
                "http://example.com:8080",
                "http://example.com:8080/demo/hello",
            ),
            (
                "https://example.com:8080/x",
                "https://example.com:8080/demo/hello/x",
            ),
            (
                "http://example.com:8080?x",
                "http://example.com:8080/demo/hello?x",
            ),
            (
                "http://example.com:8080#x",
                "http://example.com:8080/demo/hello#x",
            ),
            (
                "http://example.com:8080//x",
                "http://example.com:8080/demo/hello//x",
            ),
        ] {
            assert_eq!(outside(of), outside_of);
        }
    }

    #[test]
    fn the_rest_stays() {
        for of in [
            "",
            "x",
            "../x",
            "?x",
            "#x",
            "//example.com:8080/x",
            "/demo/hello",
            "/demo/hello/",
            "/demo/hello/x",
            "/demo/hello?x",
            "/demo/hello#x",
            "http://example.com:8080/demo/hello",
            "https://example.com:8080/demo/hello/x",
            "http://example.com/x",
            "http://example.com:80801/x",
            "http://other/x",
            "ftp://example.com:8080/x",
            "HTTP://example.com:8080/x",
            "mailto:a@example.com",
        ] {
            assert_eq!(outside(of), of);
        }
        assert_eq!(text(location(PREFIX, b"", b"http:///x")), "http:///x");
        assert_eq!(text(location(b"", HOST, b"/x")), "/x");
    }

    #[test]
    fn cookies() {
        for (of, outside_of) in [
            ("/", "/demo/hello"),
            ("/x", "/demo/hello/x"),
            ("/demo/hello2", "/demo/hello/demo/hello2"),
            ("/demo/hello", "/demo/hello"),
            ("/demo/hello/x", "/demo/hello/x"),
            ("", ""),
            ("x", "x"),
        ] {
            assert_eq!(text(cookie_path(PREFIX, of.as_bytes())), outside_of);
        }
        assert_eq!(text(cookie_path(b"", b"/")), "/");
        assert_eq!(text(cookie_path(b"", b"/x")), "/x");
    }

    proptest! {
        /// What is outside already stays there, and nothing is lost.
        #[test]
        fn prefix_comes_once(of in "(https?://)?(example.com:8080|other)?[/?#a-z]{0,12}") {
            let once = outside(&of);
            prop_assert_eq!(outside(&once), once.clone());
            prop_assert!(once == of || once.replacen("/demo/hello", "", 1) == of);
            let once = text(cookie_path(PREFIX, of.as_bytes()));
            prop_assert_eq!(text(cookie_path(PREFIX, once.as_bytes())), once);
        }
    }
}
