//! Cold starts with nginx behind the gate, against the same with nginx having all of Docker: two installations, side by side.

use crate::cold::{IMAGE, corefn, deployment, start};
use crate::error::BenchError;
use crate::site::{COLD, COLD_IMAGE, SANDBOX, Site};
use crate::stats::Compared;

/// How the two compare: milliseconds until the first answer.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub struct Gate {
    /// From a sandbox.
    pub sandbox_ms: Compared,
    /// Of any image, by Docker.
    pub image_ms: Compared,
}

/// Measures cold starts in pairs, after one of each that isn't counted.
///
/// # Errors
/// [`BenchError`] when a start fails, or is not of the kind that it should be.
pub async fn measure(without: &Site, repeats: u32) -> Result<Gate, BenchError> {
    let with = Site::start_gated().await;
    let deployment = deployment(&with.home).await?;
    // The first start of an executable has it fetched.
    corefn(&with, COLD).await?;
    with.until_executable(&deployment).await;
    let (mut sandbox, mut image) = (Vec::new(), Vec::new());
    for repeat in 0..=repeats {
        for (function, from, pairs) in [
            (COLD, SANDBOX, &mut sandbox),
            (COLD_IMAGE, IMAGE, &mut image),
        ] {
            // (Each is the first in every other pair.)
            let pair = match repeat % 2 {
                0 => {
                    let gated = start(&with, function, from).await?.0;
                    (gated, start(without, function, from).await?.0)
                }
                _ => {
                    let direct = start(without, function, from).await?.0;
                    (start(&with, function, from).await?.0, direct)
                }
            };
            if repeat > 0 {
                pairs.push(pair);
            }
        }
    }
    let gate = Compared::of(&sandbox).zip(Compared::of(&image));
    let (sandbox_ms, image_ms) = gate.expect("there was at least one, and no start takes no time");
    Ok(Gate {
        sandbox_ms,
        image_ms,
    })
}
