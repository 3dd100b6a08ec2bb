//! The kinds of sandboxes that are kept: two of those that have nothing in them yet, with a network that reaches out and with
//! one that doesn't; and what else functions are deployed for.

use std::collections::HashSet;

use corefn_core::network::Network;
use corefn_engine::docker::DockerError;
use corefn_engine::sandboxes::kind_of;
use corefn_sandbox::claim::Kind;

use super::{Inner, Waiting};

/// How many digits of an image's identifier people are shown, as Docker does.
const DIGITS: usize = 12;

impl Inner {
    /// Whether sandboxes of a kind have a runtime in them.
    pub(super) fn is_runtime(&self, kind: &Kind) -> bool {
        kind.image != self.image
    }

    /// Whether sandboxes of a kind are kept in any case. (Those that have nothing in them yet can hold the network of any image, too.)
    fn is_kept_always(&self, kind: &Kind) -> bool {
        let is_always = matches!(kind.network, Some(Network::Outbound | Network::None));
        !self.is_runtime(kind) && is_always
    }

    /// Keeps sandboxes of a kind from now on.
    pub(super) async fn keep(&self, kind: &Kind) {
        if self.kinds.borrow().contains_key(kind) {
            return;
        }
        let runtime = match self.is_runtime(kind) {
            true => Some(self.runtime_of(kind).await),
            false => None,
        };
        let mut kinds = self.kinds.borrow_mut();
        let size = match self.is_runtime(kind) {
            true => self.sandboxes.runtime_size(),
            false => self.sandboxes.size(),
        };
        kinds
            .entry(kind.clone())
            .or_insert_with(|| Waiting::new(size, runtime));
    }

    /// What the runtime of a kind is called: by its stack, or else by the first digits of its image's identifier.
    async fn runtime_of(&self, kind: &Kind) -> String {
        let digits = || {
            let id = kind.image.rsplit(':').next().unwrap_or_default();
            id.chars().take(DIGITS).collect()
        };
        let stack = self.docker.stack_of(&kind.image).await;
        stack.unwrap_or_else(digits)
    }

    /// The kinds that functions are deployed for.
    pub(super) async fn wanted(&self) -> Result<HashSet<Kind>, DockerError> {
        let images = self.docker.images().await?;
        let in_use = images.iter().filter(|image| image.is_in_use());
        Ok(in_use
            .filter_map(|image| kind_of(&image.deployment.config, &self.image))
            .collect())
    }

    /// Keeps sandboxes of the kinds that functions are deployed for, and of no others but those that are kept always.
    pub(super) async fn look_for_kinds(&self) {
        // (While Docker can't say, all stays as it is.)
        let Ok(wanted) = self.wanted().await else {
            return;
        };
        for kind in &wanted {
            self.keep(kind).await;
        }
        let unwanted: Vec<Kind> = {
            let kinds = self.kinds.borrow();
            let others = kinds.keys().filter(|kind| !self.is_kept_always(kind));
            others
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
