//! What clients prefer, and what the dispatcher reads of invocations: in its folder, and in Redis.

use corefn_core::invocation::{Invocation, Next, Tried, is_preferred, other_preferences};

/// Checks one input.
///
/// # Panics
/// When something is wrong with what is made of it.
pub fn run(bytes: &[u8]) {
    let is_text = str::from_utf8(bytes).is_ok();
    assert!(is_text || !is_preferred(bytes));
    if let Ok(text) = str::from_utf8(bytes)
        && let Some(others) = other_preferences(text)
    {
        assert!(!is_preferred(others.as_bytes()), "{text:?}: {others:?}");
        assert_eq!(other_preferences(&others).as_ref(), Some(&others));
    }
    if let Ok(invocation) = serde_json::from_slice::<Invocation>(bytes) {
        let text = serde_json::to_vec(&invocation).unwrap_or_default();
        assert_eq!(
            serde_json::from_slice::<Invocation>(&text).ok(),
            Some(invocation)
        );
    }
    if let Ok(tried) = serde_json::from_slice::<Tried>(bytes) {
        let outcome = tried.outcome.clone();
        let next = Tried::after(Some(&tried), tried.accepted, outcome, true, tried.at);
        assert_ne!(next.next(), Next::Done);
        match tried.next() {
            Next::Again(at) => assert!(at >= tried.at),
            Next::Done => assert!(tried.outcome.is_good()),
            Next::Dead => {}
        }
    }
}
