//! What Docker's builder is asked to build.

use std::collections::HashMap;

use corefn_engine::docker::Priority;

use super::query::Query;
use super::{DockerId, Refused};

/// A build by Docker's own builder.
#[derive(Debug, Clone, PartialEq)]
pub struct Build {
    /// The name that the image gets, with its tag.
    pub name: Option<String>,
    /// The file with the instructions.
    pub dockerfile: String,
    /// The stage of it that is wanted; the last where it is empty.
    pub stage: String,
    /// Whether no layer is used again.
    pub nocache: bool,
    /// The values of its arguments.
    pub arguments: HashMap<String, String>,
    /// The labels that the image gets beside its own.
    pub labels: HashMap<String, String>,
    /// The network that its commands are on.
    pub network: DockerId,
    /// The limits of its commands: bytes, and microseconds.
    pub limits: [(&'static str, Option<u64>); 4],
}

impl Build {
    pub(super) fn read(query: &mut Query) -> Result<Self, Refused> {
        // (BuildKit is another API, which takes its instructions over a connection of its own.)
        query.only("version", &["1"])?;
        query.only("q", &["", "false"])?;
        query.only("platform", &[""])?;
        query.only("rm", &["true"])?;
        query.only("forcerm", &["true"])?;
        query.only("cpushares", &[&Priority::Low.cpu_shares().to_string()])?;
        let mut limit = |name| Ok((name, query.number(name)?));
        let limits = [
            limit("memory")?,
            limit("memswap")?,
            limit("cpuperiod")?,
            limit("cpuquota")?,
        ];
        Ok(Self {
            name: query.may_take("t"),
            dockerfile: query.take("dockerfile")?,
            stage: query.may_take("target").unwrap_or_default(),
            nocache: query.is("nocache")?,
            arguments: query.texts("buildargs")?.unwrap_or_default(),
            labels: query.texts("labels")?.unwrap_or_default(),
            network: query.take("networkmode")?.parse()?,
            limits,
        })
    }
}
