//! Containers that are no instance's.

use corefn_core::gate::Caller;
use corefn_core::names::label;
use serde_json::{Value, json};

use super::{Scene, Try, request};

impl Scene {
    /// A container that differs from an instance's in one setting.
    pub(super) fn settings(&self) -> Vec<Try> {
        let (foreign, foreign_network) = (&self.foreign, &self.foreign_network);
        let of = |id: &str| json!(format!("container:{id}"));
        let one =
            |way: &'static str, at: &str, value: Value| (way, format!("/HostConfig/{at}"), value);
        let all = [
            one("bind mounts", "Binds", json!(["/:/host"])),
            one(
                "bind mounts",
                "Binds",
                json!(["/var/run/docker.sock:/s:ro"]),
            ),
            one(
                "bind mounts",
                "Mounts",
                json!([{"Type": "bind", "Source": "/", "Target": "/h"}]),
            ),
            one(
                "volumes and their drivers",
                "Mounts",
                json!([{"Type": "volume", "Source": "v", "Target": "/v", "VolumeOptions": {"DriverConfig": {"Name": "local", "Options": {"type": "none", "o": "bind", "device": "/"}}}}]),
            ),
            one(
                "volumes and their drivers",
                "Binds",
                json!(["some-volume:/v"]),
            ),
            one("volumes and their drivers", "VolumeDriver", json!("other")),
            one("volumes and their drivers", "VolumesFrom", json!([foreign])),
            (
                "volumes and their drivers",
                "/Volumes".to_owned(),
                json!({"/v": {}}),
            ),
            one("privileges", "Privileged", json!(true)),
            one("capabilities", "CapAdd", json!(["SYS_ADMIN"])),
            one("capabilities", "CapDrop", json!([])),
            one("capabilities", "Capabilities", json!(["CAP_SYS_ADMIN"])),
            one("the host's namespaces", "PidMode", json!("host")),
            one("the host's namespaces", "NetworkMode", json!("host")),
            one("the host's namespaces", "IpcMode", json!("host")),
            one("the host's namespaces", "UTSMode", json!("host")),
            one("the host's namespaces", "UsernsMode", json!("host")),
            one("the host's namespaces", "CgroupnsMode", json!("host")),
            one("other containers' namespaces", "PidMode", of(foreign)),
            one("other containers' namespaces", "IpcMode", of(foreign)),
            one("other containers' namespaces", "NetworkMode", of(foreign)),
            one(
                "other containers' namespaces",
                "NetworkMode",
                of(&self.container),
            ),
            one("other networks", "NetworkMode", json!(foreign_network)),
            one("other networks", "NetworkMode", json!("bridge")),
            one("other networks", "NetworkMode", json!("default")),
            one("other networks", "Links", json!(["other:alias"])),
            one("other networks", "ExtraHosts", json!(["redis:127.0.0.1"])),
            one("other networks", "Dns", json!(["10.0.0.1"])),
            one(
                "ports of the host",
                "PortBindings",
                json!({"8080/tcp": [{"HostPort": "22"}]}),
            ),
            one("ports of the host", "PublishAllPorts", json!(true)),
            one(
                "devices",
                "Devices",
                json!([{"PathOnHost": "/dev/sda", "PathInContainer": "/dev/sda", "CgroupPermissions": "rwm"}]),
            ),
            one("devices", "DeviceCgroupRules", json!(["a *:* rwm"])),
            one(
                "devices",
                "DeviceRequests",
                json!([{"Count": -1, "Capabilities": [["gpu"]]}]),
            ),
            one("control groups", "CgroupParent", json!("/")),
            one("control groups", "Cgroup", of(foreign)),
            one(
                "seccomp, AppArmor and SELinux",
                "SecurityOpt",
                json!(["no-new-privileges", "seccomp=unconfined"]),
            ),
            one(
                "seccomp, AppArmor and SELinux",
                "SecurityOpt",
                json!(["no-new-privileges", "apparmor=unconfined"]),
            ),
            one(
                "seccomp, AppArmor and SELinux",
                "SecurityOpt",
                json!(["label=disable"]),
            ),
            one("seccomp, AppArmor and SELinux", "SecurityOpt", json!([])),
            one("what the kernel shows of itself", "MaskedPaths", json!([])),
            one(
                "what the kernel shows of itself",
                "ReadonlyPaths",
                json!([]),
            ),
            one(
                "what the kernel shows of itself",
                "Sysctls",
                json!({"kernel.core_pattern": "|/x"}),
            ),
            one("other runtimes", "Runtime", json!("other")),
            one(
                "log drivers",
                "LogConfig",
                json!({"Type": "syslog", "Config": {"syslog-address": "unixgram:///dev/log"}}),
            ),
            one("limits", "Memory", json!(0)),
            one("limits", "MemorySwap", json!(-1)),
            one("limits", "NanoCpus", json!(0)),
            one("limits", "PidsLimit", json!(-1)),
            one("limits", "OomKillDisable", json!(true)),
            one("limits", "OomScoreAdj", json!(-1000)),
            one(
                "limits",
                "Ulimits",
                json!([{"Name": "nofile", "Soft": -1, "Hard": -1}]),
            ),
            one("limits", "ShmSize", json!(1_u64 << 40)),
            one("limits", "StorageOpt", json!({"size": "1T"})),
            one("limits", "Tmpfs", json!({"/tmp": "exec,suid,dev"})),
            one("limits", "ReadonlyRootfs", json!(false)),
            one(
                "what outlives it",
                "RestartPolicy",
                json!({"Name": "always"}),
            ),
            one("what outlives it", "AutoRemove", json!(true)),
            one("groups of the host", "GroupAdd", json!(["docker"])),
            one("what nobody knows of", "SomethingNew", json!(true)),
            (
                "what nobody knows of",
                "/SomethingNew".to_owned(),
                json!({}),
            ),
            ("another user", "/User".to_owned(), json!("0:0")),
            ("another program", "/Cmd".to_owned(), json!(["/bin/sh"])),
            (
                "another program",
                "/Entrypoint".to_owned(),
                json!(["/bin/sh"]),
            ),
            (
                "another program",
                "/WorkingDir".to_owned(),
                json!("/proc/self"),
            ),
            (
                "another program",
                "/Healthcheck".to_owned(),
                json!({"Test": ["CMD", "/x"]}),
            ),
            (
                "another program",
                "/Env/0".to_owned(),
                json!("LD_PRELOAD=/x"),
            ),
            ("another program", "/Env".to_owned(), json!([])),
            ("another program", "/OnBuild".to_owned(), json!(["RUN x"])),
            ("another program", "/AttachStdin".to_owned(), json!(true)),
            (
                "other images",
                "/Image".to_owned(),
                json!("debian:bookworm-slim"),
            ),
            (
                "other images",
                "/Image".to_owned(),
                json!(self.foreign_image),
            ),
            ("other images", "/Image".to_owned(), json!("")),
            (
                "other images",
                "/Image".to_owned(),
                json!(format!("{}/demo/../other:r1", self.namespace)),
            ),
            (
                "other images",
                "/Image".to_owned(),
                json!(format!("registry.example/{}", self.name)),
            ),
            (
                "other labels",
                format!("/Labels/{}", label::NAMESPACE),
                json!("other"),
            ),
            (
                "other labels",
                format!("/Labels/{}", label::FUNCTION),
                json!("demo/other"),
            ),
            (
                "other labels",
                format!("/Labels/{}", label::REVISION),
                json!("other"),
            ),
            (
                "other labels",
                format!("/Labels/{}", label::ROLE),
                json!(label::ROLE_SANDBOX),
            ),
            (
                "other labels",
                format!("/Labels/{}", label::ADDRESS),
                json!("127.0.0.1:80"),
            ),
            (
                "other labels",
                format!("/Labels/{}", label::HOLDER),
                json!(foreign),
            ),
            (
                "other names for the machine",
                "/Hostname".to_owned(),
                json!("redis"),
            ),
            (
                "other names for the machine",
                "/MacAddress".to_owned(),
                json!("02:00:00:00:00:01"),
            ),
            (
                "other networks",
                "/NetworkingConfig/EndpointsConfig".to_owned(),
                json!({ foreign_network: {} }),
            ),
            (
                "other networks",
                "/NetworkingConfig".to_owned(),
                Value::Null,
            ),
        ];
        // (Some are as they should be in what others than routers make.)
        let is_other = |at: &str, value: &Value| {
            let is = self.body.pointer(at).unwrap_or(&Value::Null);
            let is_own_variable = self.caller == Caller::Builder && at.starts_with("/Env");
            is != value && !is_own_variable
        };
        let all = all
            .into_iter()
            .filter(|(_, at, value)| is_other(at, value))
            .map(|(way, at, value)| Try {
                way,
                name: format!("{at} = {value}"),
                bytes: request("POST", &self.create(), &self.with(&at, value).to_string()),
                is_garbled: false,
            });
        let names = ["other", "", "redis", "..", "/host"].map(|name| Try {
            way: "other names",
            name: format!("the name {name:?}"),
            bytes: request(
                "POST",
                &format!("/v1.41/containers/create?name={name}"),
                &self.body.to_string(),
            ),
            is_garbled: false,
        });
        all.chain(names).collect()
    }
}
