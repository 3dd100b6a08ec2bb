//! The kinds of sandboxes that have a runtime in them: those of the runtimes that functions are deployed for.

use std::collections::HashSet;

use corefn_engine::docker::DockerError;
use corefn_engine::sandboxes::runtime_kind;
use corefn_sandbox::claim::Kind;

use super::{Inner, Waiting};

impl Inner {
    /// Whether sandboxes of a kind have a runtime in them.
    pub(super) fn is_runtime(&self, kind: &Kind) -> bool {
        kind.image != self.image
    }

    /// Keeps sandboxes of a runtime from now on.
    pub(super) fn keep(&self, kind: &Kind) {
        let mut kinds = self.kinds.borrow_mut();
        let size = self.sandboxes.runtime_size();
        kinds
            .entry(kind.clone())
            .or_insert_with(|| Waiting::new(size));
    }

    /// The kinds of sandboxes with a runtime that functions are deployed for.
    pub(super) async fn runtimes(&self) -> Result<HashSet<Kind>, DockerError> {
        let images = self.docker.images().await?;
        let current = images.iter().filter(|image| image.current);
        Ok(current
            .filter_map(|image| runtime_kind(&image.deployment.config))
            .collect())
    }

    /// Keeps sandboxes of the runtimes that functions are deployed for, and no others.
    pub(super) async fn look_for_runtimes(&self) {
        // (While Docker can't say, all stays as it is.)
        let Ok(wanted) = self.runtimes().await else {
            return;
        };
        for kind in &wanted {
            self.keep(kind);
        }
        let unwanted: Vec<Kind> = {
            let kinds = self.kinds.borrow();
            let runtimes = kinds.keys().filter(|kind| self.is_runtime(kind));
            runtimes
                .filter(|kind| !wanted.contains(kind))
                .cloned()
                .collect()
        };
        for kind in unwanted {
            // (What is being made is given up when it is there.)
            let waiting = self.kinds.borrow_mut().remove(&kind);
            for (id, (sandbox, _)) in waiting.into_iter().flat_map(|waiting| waiting.sandboxes) {
                self.give_up(id, &sandbox.container).await;
            }
        }
    }
}
