//! Calls that are not the router's.

use corefn_core::names::label;
use serde_json::{Value, json};

use super::{Scene, Try, request};

impl Scene {
    /// Calls that the router does not make.
    pub(super) fn calls(&self) -> Vec<Try> {
        let (own, network) = (&self.container, &self.network);
        let all = [
            (
                "commands in containers",
                "POST",
                format!("containers/{own}/exec"),
            ),
            (
                "commands in containers",
                "POST",
                format!("exec/{own}/start"),
            ),
            ("commands in containers", "GET", format!("exec/{own}/json")),
            (
                "commands in containers",
                "POST",
                format!("containers/{own}/attach?stream=1&stdin=1"),
            ),
            (
                "commands in containers",
                "GET",
                format!("containers/{own}/attach/ws"),
            ),
            (
                "files of containers",
                "GET",
                format!("containers/{own}/archive?path=/"),
            ),
            (
                "files of containers",
                "PUT",
                format!("containers/{own}/archive?path=/"),
            ),
            (
                "files of containers",
                "GET",
                format!("containers/{own}/export"),
            ),
            (
                "files of containers",
                "GET",
                format!("containers/{own}/changes"),
            ),
            (
                "other images",
                "POST",
                format!("commit?container={own}&repo=x"),
            ),
            ("other images", "POST", "build?remote=http://x".to_owned()),
            (
                "other images",
                "POST",
                "images/create?fromImage=x".to_owned(),
            ),
            ("other images", "POST", "images/load".to_owned()),
            (
                "other images",
                "POST",
                format!("images/{}/tag?repo=x", self.name),
            ),
            ("other images", "POST", "images/x/push".to_owned()),
            ("other images", "DELETE", format!("images/{}", self.name)),
            ("other images", "POST", "images/prune".to_owned()),
            ("other images", "POST", "build/prune".to_owned()),
            ("other images", "GET", "images/x/get".to_owned()),
            (
                "plugins and swarms",
                "POST",
                "plugins/pull?remote=x".to_owned(),
            ),
            (
                "plugins and swarms",
                "POST",
                "plugins/create?name=x".to_owned(),
            ),
            ("plugins and swarms", "POST", "swarm/init".to_owned()),
            ("plugins and swarms", "POST", "services/create".to_owned()),
            ("plugins and swarms", "POST", "secrets/create".to_owned()),
            ("plugins and swarms", "POST", "configs/create".to_owned()),
            ("plugins and swarms", "GET", "secrets".to_owned()),
            ("plugins and swarms", "GET", "nodes".to_owned()),
            ("plugins and swarms", "GET", "tasks".to_owned()),
            (
                "volumes and their drivers",
                "POST",
                "volumes/create".to_owned(),
            ),
            ("volumes and their drivers", "GET", "volumes".to_owned()),
            (
                "volumes and their drivers",
                "DELETE",
                "volumes/x".to_owned(),
            ),
            (
                "volumes and their drivers",
                "POST",
                "volumes/prune".to_owned(),
            ),
            (
                "other networks",
                "POST",
                format!("networks/{network}/connect"),
            ),
            (
                "other networks",
                "POST",
                format!("networks/{network}/disconnect"),
            ),
            ("other networks", "POST", "networks/prune".to_owned()),
            (
                "calls that the router does not make",
                "POST",
                format!("containers/{own}/kill?signal=KILL"),
            ),
            (
                "calls that the router does not make",
                "POST",
                format!("containers/{own}/stop"),
            ),
            (
                "calls that the router does not make",
                "POST",
                format!("containers/{own}/restart"),
            ),
            (
                "calls that the router does not make",
                "POST",
                format!("containers/{own}/pause"),
            ),
            (
                "calls that the router does not make",
                "GET",
                format!("containers/{own}/top"),
            ),
            (
                "calls that the router does not make",
                "GET",
                format!("containers/{own}/stats"),
            ),
            (
                "calls that the router does not make",
                "POST",
                format!("containers/{own}/resize?h=1&w=1"),
            ),
            (
                "calls that the router does not make",
                "POST",
                "containers/prune".to_owned(),
            ),
            (
                "calls that the router does not make",
                "GET",
                "info".to_owned(),
            ),
            (
                "calls that the router does not make",
                "GET",
                "version".to_owned(),
            ),
            (
                "calls that the router does not make",
                "GET",
                "system/df".to_owned(),
            ),
            (
                "calls that the router does not make",
                "POST",
                "auth".to_owned(),
            ),
            (
                "calls that the router does not make",
                "POST",
                "session".to_owned(),
            ),
            (
                "calls that the router does not make",
                "POST",
                "grpc".to_owned(),
            ),
            (
                "calls that the router does not make",
                "GET",
                "distribution/x/json".to_owned(),
            ),
            (
                "calls that the router does not make",
                "POST",
                format!("containers/{own}/checkpoints"),
            ),
            (
                "calls that the router does not make",
                "PUT",
                format!("containers/{own}/start"),
            ),
            (
                "calls that the router does not make",
                "OPTIONS",
                "containers/json".to_owned(),
            ),
            (
                "calls that the router does not make",
                "TRACE",
                "_ping".to_owned(),
            ),
            (
                "parameters that nobody needs",
                "POST",
                format!("containers/{own}/start?checkpoint=x&checkpoint-dir=/"),
            ),
            (
                "parameters that nobody needs",
                "DELETE",
                format!("containers/{own}?force=true&v=true&link=true"),
            ),
            (
                "parameters that nobody needs",
                "GET",
                format!("containers/{own}/json?size=true"),
            ),
            (
                "parameters that nobody needs",
                "GET",
                format!(
                    "containers/{own}/logs?follow=true&stdout=true&stderr=true&since=0&until=0&timestamps=false&tail=5"
                ),
            ),
            (
                "parameters that nobody needs",
                "GET",
                format!(
                    "containers/{own}/logs?follow=false&stdout=true&stderr=true&since=0&until=0&timestamps=false&tail=all"
                ),
            ),
            (
                "parameters that nobody needs",
                "POST",
                format!("containers/create?name={}&platform=x", self.name),
            ),
        ];
        let all = all.into_iter().map(|(way, method, path)| Try {
            way,
            name: format!("{method} {path}"),
            bytes: request(method, &format!("/v1.41/{path}"), ""),
            is_garbled: false,
        });
        let limits = [
            json!({"Memory": -1, "MemorySwap": -1, "NanoCpus": 0, "PidsLimit": -1}),
            json!({"Memory": 1, "MemorySwap": 1, "NanoCpus": 1, "PidsLimit": 1, "RestartPolicy": {"Name": "always"}}),
            json!({"Memory": 1, "MemorySwap": 1, "NanoCpus": 1, "PidsLimit": 1, "Devices": []}),
            json!({"Memory": 0, "MemorySwap": 0, "NanoCpus": 0, "PidsLimit": 0}),
            // (Those of an instance that was no sandbox are what they are.)
            json!({"Memory": 1 << 30, "MemorySwap": 1 << 30, "NanoCpus": 1, "PidsLimit": 1}),
            json!({"CpuShares": 0}),
            json!({"CpuShares": 262_144}),
        ];
        let update = format!("/v1.41/containers/{own}/update");
        let limits = limits.map(|body| Try {
            way: "limits",
            name: format!("an update to {body}"),
            bytes: request("POST", &update, &body.to_string()),
            is_garbled: false,
        });
        // In old versions of the API it is the start that says what a container may.
        let old =
            [("1.41", own), ("1.12", own), ("1.23", own), ("0.9", own)].map(|(version, own)| Try {
                way: "starts that say what a container may",
                name: format!("a start in {version}"),
                bytes: request(
                    "POST",
                    &format!("/v{version}/containers/{own}/start"),
                    r#"{"Privileged": true}"#,
                ),
                is_garbled: false,
            });
        let networks = [
            json!({}),
            json!({"Name": "other"}),
            self.network_body("host", json!({})),
            self.network_body("macvlan", json!({"parent": "eth0"})),
            self.network_body(
                "bridge",
                json!({"com.docker.network.bridge.name": "docker0"}),
            ),
            self.network_body(
                "bridge",
                json!({"com.docker.network.bridge.enable_icc": "true"}),
            ),
        ];
        let networks = networks.map(|body| Try {
            way: "other networks",
            name: format!("a network {body}"),
            bytes: request("POST", "/v1.41/networks/create", &body.to_string()),
            is_garbled: false,
        });
        all.chain(limits).chain(old).chain(networks).collect()
    }

    fn network_body(&self, driver: &str, options: Value) -> Value {
        json!({
            "Name": format!("{}-outbound", self.namespace),
            "Driver": driver,
            "Internal": false,
            "IPAM": {"Config": [{"Subnet": "10.250.0.0/16"}]},
            "Options": options,
            "Labels": {label::NAMESPACE: self.namespace},
        })
    }

    /// What is not the installation's.
    pub(super) fn of_others(&self) -> Vec<Try> {
        let (foreign, network, build) = (&self.foreign, &self.foreign_network, &self.build);
        let name = format!("{}--demo--hello--r1--0000000000000007", self.namespace);
        let limits = r#"{"Memory": 1, "MemorySwap": 1, "NanoCpus": 1, "PidsLimit": 1}"#;
        let none = "";
        let own = format!("{}={}", label::NAMESPACE, self.namespace);
        let all = [
            ("GET", format!("containers/{foreign}/json"), none),
            ("POST", format!("containers/{foreign}/start"), none),
            ("POST", format!("containers/{foreign}/unpause"), none),
            ("POST", format!("containers/{foreign}/wait"), none),
            (
                "DELETE",
                format!("containers/{foreign}?force=true&v=true"),
                none,
            ),
            (
                "POST",
                format!("containers/{foreign}/rename?name={name}"),
                none,
            ),
            ("POST", format!("containers/{foreign}/update"), limits),
            (
                "GET",
                format!(
                    "containers/{foreign}/logs?follow=false&stdout=true&stderr=true&since=0&until=0&timestamps=false&tail=5"
                ),
                none,
            ),
            ("DELETE", format!("networks/{network}"), none),
            ("GET", format!("containers/{build}/json"), none),
            ("POST", format!("containers/{build}/start"), none),
            (
                "DELETE",
                format!("containers/{build}?force=true&v=true"),
                none,
            ),
            // An instance is called what it is called.
            (
                "POST",
                format!("containers/{}/rename?name={name}", self.container),
                none,
            ),
            ("GET", "containers/json?all=true".to_owned(), none),
            (
                "GET",
                r#"containers/json?all=true&filters={"label":[]}"#.to_owned(),
                none,
            ),
            (
                "GET",
                format!(
                    r#"containers/json?all=true&filters={{"label":["{}=other"]}}"#,
                    label::NAMESPACE
                ),
                none,
            ),
            (
                "GET",
                format!(r#"containers/json?all=true&filters={{"label":["{own}"],"name":["x"]}}"#),
                none,
            ),
            ("GET", "images/json".to_owned(), none),
            (
                "GET",
                r#"images/json?filters={"reference":["*"]}"#.to_owned(),
                none,
            ),
            ("GET", "events".to_owned(), none),
            (
                "GET",
                format!(r#"events?filters={{"type":["image"],"label":["{own}"]}}"#),
                none,
            ),
            (
                "GET",
                format!(r#"events?filters={{"type":["container"],"label":["{own}"]}}&since=0"#),
                none,
            ),
        ];
        let all = all.map(|(method, path, body)| Try {
            way: "what is not the installation's",
            name: format!("{method} {path}"),
            bytes: request(
                method,
                &format!(
                    "/v1.41/{}",
                    path.replace('"', "%22")
                        .replace('{', "%7B")
                        .replace('}', "%7D")
                ),
                body,
            ),
            is_garbled: false,
        });
        all.into()
    }
}
