//! `.func`, the list of modules, which anyone who may push writes.
//!
//! What is accepted must be a manifest like any other; what is refused must be told with a place.

use corefn_core::manifest::Manifest;

use crate::manifest::accepted;

/// Checks one input; what is no text is passed over.
///
/// # Panics
/// When something is wrong with what is made of it.
pub fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    match Manifest::of_modules(text, "account") {
        Ok(manifest) => {
            accepted(&manifest);
        }
        Err(error) => {
            assert!(!error.problems().is_empty());
            assert!(error.problems().iter().all(|problem| problem.at.is_some()));
        }
    }
}
