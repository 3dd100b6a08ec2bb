//! Deployments in little memory: a router knows thousands, and most of them do nothing.

use std::borrow::Cow;
use std::num::NonZeroU32;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::{FunctionConfig, Limits};
use crate::deployment::Deployment;
use crate::exports::Exports;
use crate::function::{FunctionName, RevisionId};
use crate::release::Split;
use crate::route::Route;

/// A deployment, less its schedule and what only people are shown of its exports. What each request needs is at hand; the rest is packed,
/// until an instance must be started.
#[derive(Debug)]
pub struct Compact {
    /// Which function.
    pub function: FunctionName,
    /// Which revision of it.
    pub revision: RevisionId,
    /// What of its limits is for requests.
    pub limits: RequestLimits,
    /// Which paths may be asked for.
    pub exports: Exports,
    /// Which requests get another revision.
    pub split: Option<Box<Split>>,
    /// How long after its last work an instance is frozen, or else stopped.
    lease_ms: Option<u64>,
    /// [`Rest`] as JSON.
    rest: Box<[u8]>,
}

/// A deployment for a router, which has not taken it into its table yet.
#[derive(Debug)]
pub struct Packed {
    /// The deployment.
    pub deployed: Compact,
    /// Its routes besides the one of its name.
    pub routes: Vec<Route>,
}

impl From<Deployment> for Packed {
    fn from(deployment: Deployment) -> Self {
        let routes = deployment.config.routes.clone();
        Self {
            deployed: Compact::new(deployment),
            routes,
        }
    }
}

/// The limits for requests, as of [`Limits`] and [`FunctionConfig`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestLimits {
    /// Requests that are under way at the function on one host.
    pub requests: Option<u32>,
    /// Requests that are under way at an instance.
    pub concurrency: Option<NonZeroU32>,
    /// Instances.
    pub instances: u32,
    /// Bytes of a request's body.
    pub body: Option<u64>,
    timeout_ms: Option<u64>,
}

impl RequestLimits {
    /// How long the function may take to begin its answer.
    pub fn timeout(&self) -> Option<Duration> {
        self.timeout_ms.map(Duration::from_millis)
    }
}

#[derive(Serialize, Deserialize)]
struct Rest<'a> {
    /// The image, less what follows from the function and its revision if that is how it ends.
    image: Cow<'a, str>,
    /// Whether it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    is_whole: Option<bool>,
    /// None of the defaults: this is read by nobody else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    limits: Option<Limits>,
    /// Without its limits.
    config: Cow<'a, FunctionConfig>,
}

impl Rest<'_> {
    fn pack(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut value = serde_json::to_value(self)?;
        if let Some(config) = value["config"].as_object_mut() {
            config.remove("limits");
        }
        serde_json::to_vec(&value)
    }
}

impl Compact {
    /// Packs one.
    pub fn new(mut deployment: Deployment) -> Self {
        let exports = deployment.config.exports.take();
        let sticky = deployment.config.sticky.take();
        deployment.config.schedule = Vec::new();
        let split = Split::new(&deployment.function, &deployment.releases, sticky);
        let limits = deployment.config.limits;
        let end = image_end(&deployment.function, &deployment.revision);
        let begin = deployment.image.strip_suffix(&end);
        let rest = Rest {
            image: Cow::Borrowed(begin.unwrap_or(&deployment.image)),
            is_whole: begin.is_none().then_some(true),
            limits: (limits != Limits::default()).then_some(limits),
            config: Cow::Borrowed(&deployment.config),
        };
        let rest = rest.pack().unwrap_or_default();
        let Limits {
            requests,
            timeout_ms,
            body,
            ..
        } = limits;
        Self {
            limits: RequestLimits {
                requests,
                concurrency: deployment.config.concurrency,
                instances: deployment.config.most_instances(),
                body,
                timeout_ms,
            },
            exports: Exports::new(exports.as_deref()),
            split: split.map(Box::new),
            lease_ms: deployment.config.lease_ms(),
            rest: rest.into(),
            function: deployment.function,
            revision: deployment.revision,
        }
    }

    /// For how long an instance is leased, as of [`FunctionConfig::lease`].
    pub fn lease(&self, fallback: Duration) -> Duration {
        self.lease_ms.map_or(fallback, Duration::from_millis)
    }

    /// The deployment, without exports, its schedule, and what is released beside it: as it is started.
    ///
    /// # Panics
    /// Never: what was packed can be unpacked.
    pub fn unpack(&self) -> Deployment {
        let rest: Rest<'_> = serde_json::from_slice(&self.rest).expect("it was packed");
        let mut image = rest.image.into_owned();
        if rest.is_whole.is_none() {
            image += &image_end(&self.function, &self.revision);
        }
        Deployment {
            function: self.function.clone(),
            revision: self.revision.clone(),
            image,
            config: FunctionConfig {
                limits: rest.limits.unwrap_or_default(),
                ..rest.config.into_owned()
            },
            releases: Vec::new(),
        }
    }
}

/// How the image of a function's revision ends ([`crate::names::image`]).
fn image_end(function: &FunctionName, revision: &RevisionId) -> String {
    format!("/{}:{revision}", function.plain_text())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Archive, Export};
    use crate::network::Network;
    use crate::release::Release;
    use crate::secrets::SecretId;

    #[test]
    fn nothing_is_lost_that_a_start_needs() {
        let mut deployment = Deployment {
            function: "demo/hello".parse().unwrap(),
            revision: RevisionId("r1".to_owned()),
            image: "corefn/demo/hello:r1".to_owned(),
            config: FunctionConfig {
                health: Some("/healthz".to_owned()),
                env: [("GREETING".to_owned(), "\"hi\"\n".to_owned())].into(),
                env_set: [("B".to_owned(), "c".to_owned())].into(),
                secrets: [("C".to_owned(), SecretId::from_random(8))].into(),
                limits: Limits {
                    memory: 7,
                    requests: Some(5),
                    timeout_ms: Some(1_500),
                    body: Some(9),
                    ..Limits::default()
                },
                idle_ms: Some(5_000),
                freeze_ms: None,
                concurrency: NonZeroU32::new(3),
                max_instances: NonZeroU32::new(4),
                min_instances: NonZeroU32::new(2),
                network: Network::None,
                routes: vec!["h/x".parse().unwrap()],
                exports: Some(vec![Export {
                    name: "Add".to_owned(),
                    ..Export::default()
                }]),
                executable: Some("00".repeat(32)),
                archive: Some(Box::new(Archive {
                    digest: "11".repeat(32),
                    runtime: "sha256:22".to_owned(),
                })),
                socket: true,
                user: Some("1000".to_owned()),
                sticky: Some("header:X-User".parse().unwrap()),
                schedule: vec!["@daily".parse().unwrap()],
            },
            releases: vec![Release {
                revision: RevisionId("r2".to_owned()),
                weight: 10,
            }],
        };
        let compact = Compact::new(deployment.clone());
        let fallback = Duration::from_secs(60);
        assert_eq!(compact.lease(fallback), Duration::from_secs(5));
        assert!(compact.exports.have(b"/Add") && !compact.exports.have(b"/Sub"));
        let limits = compact.limits;
        assert_eq!((limits.requests, limits.body), (Some(5), Some(9)));
        assert_eq!(limits.concurrency, NonZeroU32::new(3));
        assert_eq!(limits.instances, 4);
        assert_eq!(limits.timeout(), Some(Duration::from_millis(1_500)));
        let split = compact.split.as_ref().unwrap();
        assert_eq!(split.sticky, deployment.config.sticky);
        assert_eq!(split.get(0).unwrap().as_str(), "demo/hello@r2");
        deployment.config.exports = None;
        deployment.config.sticky = None;
        deployment.config.schedule = Vec::new();
        deployment.releases = Vec::new();
        assert_eq!(compact.unpack(), deployment);
        deployment.config.freeze_ms = Some(2_000);
        let frozen = Compact::new(deployment.clone());
        assert_eq!(frozen.lease(fallback), Duration::from_secs(2));
        assert_eq!(frozen.unpack(), deployment);

        let plain = Deployment {
            config: FunctionConfig::default(),
            ..deployment
        };
        let compact = Compact::new(plain.clone());
        assert_eq!(compact.lease(fallback), fallback);
        assert_eq!(compact.unpack(), plain);
        assert_eq!(&*compact.rest, br#"{"config":{},"image":"corefn"}"#);
        assert!(compact.split.is_none());
        let beside = plain.beside(0);
        assert_eq!(Compact::new(beside.clone()).unpack(), beside);
        assert_eq!(&*Compact::new(beside).rest, &*compact.rest);
        let other = Deployment {
            image: "elsewhere:r1".to_owned(),
            ..plain
        };
        assert_eq!(Compact::new(other.clone()).unpack(), other);
    }
}
