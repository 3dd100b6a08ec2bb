//! Containers of builds: what they are made of, and what they may.

use std::collections::HashMap;

use bollard::models::{ContainerCreateBody, HostConfig, HostConfigLogConfig, VolumeCreateRequest};

use corefn_core::function::FunctionName;
use corefn_core::names::{self, label};

use super::create::Priority;

/// Where builds find what the builds of an account share.
pub const BUILD_CACHE: &str = "/cache";

/// The limits of the container in which a cache is measured.
const MEASURE_MEMORY: i64 = 128 << 20;
const MEASURE_PIDS: i64 = 8;

/// What a container of a build is for.
#[derive(Debug, Clone, PartialEq)]
pub enum BuildPurpose {
    /// To compile what was pushed.
    Compile {
        /// `NAME=value` each.
        environment: Vec<String>,
        /// The network that it is on.
        network: String,
        /// Bytes.
        memory: i64,
        /// Billionths of a CPU.
        nano_cpus: i64,
        /// Processes and threads.
        pids: i64,
    },
    /// To measure the account's cache. It may read what is not its own there, for a build could hide files from it; more it
    /// must not be able to (`CAP_DAC_READ_SEARCH` would let it read every file of the host: open_by_handle_at(2)).
    Measure,
}

/// The body of Docker's `POST /containers/create` for a build of a function. It has no capabilities but what it is for needs,
/// gets no new privileges, and yields to whatever serves; Docker keeps nothing of what it prints.
pub fn build_body(
    namespace: &str,
    function: &FunctionName,
    image: &str,
    purpose: BuildPurpose,
) -> ContainerCreateBody {
    let labels = HashMap::from([
        (label::NAMESPACE.to_owned(), namespace.to_owned()),
        (label::ROLE.to_owned(), label::ROLE_BUILD.to_owned()),
        (label::FUNCTION.to_owned(), function.to_string()),
    ]);
    let cache = names::cache_volume(namespace, function.account());
    let host = HostConfig {
        cpu_shares: Some(Priority::Low.cpu_shares()),
        cap_drop: Some(vec!["ALL".to_owned()]),
        security_opt: Some(vec!["no-new-privileges".to_owned()]),
        log_config: Some(HostConfigLogConfig {
            typ: Some("none".to_owned()),
            config: None,
        }),
        ..HostConfig::default()
    };
    let body = ContainerCreateBody {
        image: Some(image.to_owned()),
        labels: Some(labels),
        ..ContainerCreateBody::default()
    };
    match purpose {
        BuildPurpose::Compile {
            environment,
            network,
            memory,
            nano_cpus,
            pids,
        } => ContainerCreateBody {
            env: Some(environment),
            host_config: Some(HostConfig {
                binds: Some(vec![format!("{cache}:{BUILD_CACHE}")]),
                network_mode: Some(network),
                memory: Some(memory),
                memory_swap: Some(memory),
                nano_cpus: Some(nano_cpus),
                pids_limit: Some(pids),
                ..host
            }),
            ..body
        },
        BuildPurpose::Measure => ContainerCreateBody {
            entrypoint: Some(vec!["du".to_owned()]),
            cmd: Some(vec!["-sk".to_owned(), BUILD_CACHE.to_owned()]),
            user: Some("0:0".to_owned()),
            host_config: Some(HostConfig {
                binds: Some(vec![format!("{cache}:{BUILD_CACHE}:ro")]),
                network_mode: Some("none".to_owned()),
                readonly_rootfs: Some(true),
                memory: Some(MEASURE_MEMORY),
                pids_limit: Some(MEASURE_PIDS),
                cap_add: Some(vec!["DAC_OVERRIDE".to_owned()]),
                ..host
            }),
            ..body
        },
    }
}

/// The body of Docker's `POST /volumes/create` for the cache of an account's builds.
pub fn cache_request(namespace: &str, account: &str) -> VolumeCreateRequest {
    VolumeCreateRequest {
        name: Some(names::cache_volume(namespace, account)),
        labels: Some(HashMap::from([(
            label::NAMESPACE.to_owned(),
            namespace.to_owned(),
        )])),
        ..VolumeCreateRequest::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locked_down() {
        let function = "alice/hello".parse().unwrap();
        let compile = BuildPurpose::Compile {
            environment: vec!["A=b".to_owned()],
            network: "n1".to_owned(),
            memory: 5,
            nano_cpus: 6,
            pids: 7,
        };
        for (purpose, bind) in [
            (compile, "ns-cache-alice:/cache"),
            (BuildPurpose::Measure, "ns-cache-alice:/cache:ro"),
        ] {
            let body = build_body("ns", &function, "ns/stack-rust:1", purpose);
            let host = body.host_config.unwrap();
            assert_eq!(host.binds.unwrap(), [bind]);
            assert_eq!(host.cap_drop.unwrap(), ["ALL"]);
            assert_eq!(host.security_opt.unwrap(), ["no-new-privileges"]);
            assert_eq!(host.cpu_shares, Some(Priority::Low.cpu_shares()));
            assert!(host.memory.unwrap() > 0 && host.pids_limit.unwrap() > 0);
            let added = host.cap_add.unwrap_or_default();
            assert!(added.iter().all(|it| it == "DAC_OVERRIDE"), "{added:?}");
            assert_eq!(body.labels.unwrap()[label::ROLE], label::ROLE_BUILD);
        }
    }
}
