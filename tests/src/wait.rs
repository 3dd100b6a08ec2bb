//! Waiting for what must come, with a clear text when it doesn't.

use std::time::{Duration, Instant};

/// The first pause between two looks. Each is longer than the one before, up to [`LONGEST`]: what
/// comes late is not looked for so often that looking keeps it from coming.
const PAUSE: Duration = Duration::from_millis(5);

const LONGEST: Duration = Duration::from_millis(100);

/// Waits until the condition holds. `what` completes the sentence "… within 5 s".
///
/// # Panics
/// When it doesn't hold within `patience`.
pub async fn wait_until(what: &str, patience: Duration, mut condition: impl AsyncFnMut() -> bool) {
    wait_for(what, patience, async || condition().await.then_some(())).await;
}

/// Waits until there is a value, and returns it.
///
/// # Panics
/// When there is none within `patience`.
pub async fn wait_for<T>(
    what: &str,
    patience: Duration,
    mut look: impl AsyncFnMut() -> Option<T>,
) -> T {
    let begin = Instant::now();
    let mut pause = PAUSE;
    loop {
        if let Some(value) = look().await {
            return value;
        }
        assert!(
            begin.elapsed() < patience,
            "waited in vain: {what} within {patience:?}"
        );
        tokio::time::sleep(pause).await;
        pause = (pause * 5 / 4).min(LONGEST);
    }
}
