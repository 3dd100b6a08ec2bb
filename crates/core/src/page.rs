//! The page of what there is: one document, which asks for nothing but the same address.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

const DOCUMENT: &str = include_str!("../../../page/index.html");
const STYLE: &str = include_str!("../../../page/style.css");
const SCRIPT: &str = include_str!("../../../page/script.js");

/// The media type of the page.
pub const HTML: &str = "text/html; charset=utf-8";

/// The page.
#[derive(Debug)]
pub struct Page {
    /// The document, with its style and its script.
    pub document: String,
    /// What a browser is to let it do (Content Security Policy Level 3, <https://www.w3.org/TR/CSP3/>): run this script and
    /// no other, and ask the server that it is from.
    pub policy: String,
}

/// The page.
pub fn page() -> &'static Page {
    static PAGE: LazyLock<Page> = LazyLock::new(|| Page {
        document: DOCUMENT
            .replace("/* style.css */", STYLE)
            .replace("/* script.js */", SCRIPT),
        policy: [
            "default-src 'none'",
            &format!("script-src {}", source(SCRIPT)),
            &format!("style-src {}", source(STYLE)),
            "connect-src 'self'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ]
        .join("; "),
    });
    &PAGE
}

/// The source expression of an element with this text.
fn source(text: &str) -> String {
    format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_small_and_whole() {
        let Page { document, policy } = page();
        assert!(document.len() <= 60_000, "{}", document.len());
        assert!(document.contains(STYLE) && document.contains(SCRIPT));
        assert!(
            policy.contains("default-src 'none'; script-src 'sha256-"),
            "{policy}"
        );
        for outside in ["http://", "https://", "src=\"", "url("] {
            let found = document.replace("http://www.w3.org/2000/svg", "");
            assert!(!found.contains(outside), "{outside}");
        }
    }
}
