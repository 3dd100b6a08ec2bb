//! Identifiers of requests, which proxies pass on from the first to the last.

/// The most bytes of one that is passed on.
const LONGEST: usize = 128;

/// Whether one that a client has sent can be passed on and logged: it is neither empty nor long, and nothing in it means
/// anything to whoever reads it.
pub fn is_harmless(id: &[u8]) -> bool {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"._:/+=-".contains(byte);
    (1..=LONGEST).contains(&id.len()) && id.iter().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_passed_on() {
        for id in [
            "a",
            "0af7651916cd43dd-8448eb211c80319c:01",
            "Root=1-67/a+b_c.d",
        ] {
            assert!(is_harmless(id.as_bytes()), "{id}");
        }
        assert!(is_harmless(&[b'a'; LONGEST]));
        assert!(!is_harmless(&[b'a'; LONGEST + 1]));
        for id in ["", "a b", "a\"", "a,b", "a\n", "\u{e4}", "a;b", "$x", "a\\"] {
            assert!(!is_harmless(id.as_bytes()), "{id}");
        }
    }
}
