//! What is deployed of a function.

use serde::{Deserialize, Serialize};

use crate::config::FunctionConfig;
use crate::function::{FunctionName, RevisionId};
use crate::release::Release;

/// What is deployed of a function: one revision, immutable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Deployment {
    /// Which function.
    pub function: FunctionName,
    /// Which revision of it.
    pub revision: RevisionId,
    /// The image to start, by tag or digest.
    pub image: String,
    /// How to start and serve it.
    pub config: FunctionConfig,
    /// The revisions that are released beside it. Each is deployed as well, by a name of its own ([`Deployment::beside`]).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub releases: Vec<Release>,
}

impl Deployment {
    /// The same revision as one that is released beside the current one, with a percentage of the requests.
    ///
    /// It has no routes but that of its name and no schedule, and where it gets nothing by its weight, no instance stands by.
    pub fn beside(&self, weight: u8) -> Self {
        let config = self.config.clone();
        Self {
            function: self.function.at(&self.revision),
            revision: self.revision.clone(),
            image: self.image.clone(),
            config: FunctionConfig {
                routes: Vec::new(),
                schedule: Vec::new(),
                min_instances: config.min_instances.filter(|_| weight > 0),
                ..config
            },
            releases: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    #[test]
    fn beside_the_current_one() {
        let two = NonZeroU32::new(2);
        let deployment = Deployment {
            function: "demo/hello".parse().unwrap(),
            revision: RevisionId("r2".to_owned()),
            image: "corefn/demo/hello:r2".to_owned(),
            config: FunctionConfig {
                routes: vec!["h/x".parse().unwrap()],
                schedule: vec!["@daily".parse().unwrap()],
                min_instances: two,
                socket: true,
                ..FunctionConfig::default()
            },
            releases: vec![Release {
                revision: RevisionId("r3".to_owned()),
                weight: 1,
            }],
        };
        let beside = deployment.beside(1);
        assert_eq!(beside.function.as_str(), "demo/hello@r2");
        assert_eq!(
            (&beside.revision, &beside.image),
            (&deployment.revision, &deployment.image)
        );
        assert!(beside.config.routes.is_empty() && beside.releases.is_empty());
        assert!(beside.config.schedule.is_empty());
        assert!(beside.config.socket);
        assert_eq!(beside.config.min_instances, two);
        assert_eq!(deployment.beside(0).config.min_instances, None);
        let text = serde_json::to_string(&beside).unwrap();
        assert!(!text.contains("releases"), "{text}");
        assert_eq!(serde_json::from_str::<Deployment>(&text).unwrap(), beside);
    }
}
