//! `corefn.toml`, which anyone who may push writes.
//!
//! What is accepted must survive its way through an image's label; what is refused must be told with
//! a place in the text and a cause. Long texts must not take long: with a first line of `#repeat`
//! the rest is repeated up to 64 KiB.

use std::time::{Duration, Instant};

use corefn_core::config::FunctionConfig;
use corefn_core::manifest::{Found, Manifest};

const LONG: usize = 64 << 10;

/// Far more than a text of that length takes, and far less than if its time grew with its square.
const PATIENCE: Duration = Duration::from_secs(5);

/// Checks one input; what is no text is passed over.
///
/// # Panics
/// When something is wrong with what is made of it.
pub fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let long;
    let text = match text.strip_prefix("#repeat\n") {
        Some(piece) if !piece.is_empty() && piece.len() < LONG => {
            long = piece.repeat(LONG / piece.len());
            &long
        }
        _ => text,
    };
    let begin = Instant::now();
    let parsed = Manifest::parse(text);
    assert!(begin.elapsed() < PATIENCE, "{:?}", begin.elapsed());
    match parsed {
        Ok(manifest) => accepted(&manifest),
        Err(error) => {
            assert!(!error.problems().is_empty());
            let lines = text.matches('\n').count() + 1;
            for problem in error.problems() {
                assert!(!problem.what.trim().is_empty());
                assert!(problem.to_string().contains(&problem.what));
                if let Some(at) = problem.at {
                    assert!((1..=lines).contains(&at.line) && at.column > 0, "{at:?}");
                }
            }
        }
    }
}

/// Checks what a repository of the account `account` would deploy.
pub(crate) fn accepted(manifest: &Manifest) {
    // The names are some by themselves, or refused.
    let Ok(functions) = manifest.functions("account", None) else {
        return;
    };
    assert!(!functions.is_empty());
    for (function, declaration) in functions {
        assert_eq!(function.account(), "account");
        assert_eq!(function.to_string().parse(), Ok(function));
        let config = declaration.config(Found::default());
        let label = serde_json::to_string(&config).expect("a configuration has a text");
        let read: FunctionConfig = serde_json::from_str(&label).expect("its text can be read");
        assert_eq!(config, read);
    }
}
