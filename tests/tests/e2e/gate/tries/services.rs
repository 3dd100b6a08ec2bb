//! What a builder, a keeper and a cleaner can try beside.

use corefn_core::gate::Caller;
use corefn_core::names::label;
use serde_json::{Value, json};

use super::{Scene, Try, request, request_with};

/// What is told of a build in each that is not refused for something else.
const BUILD: &str =
    "dockerfile=Dockerfile&rm=true&forcerm=true&cpushares=10&nocache=true&version=1";

impl Scene {
    /// Those that are not about the settings of containers.
    pub(super) fn of_services(&self) -> Vec<Try> {
        let mut all: Vec<_> = self
            .calls()
            .into_iter()
            .chain(self.of_others())
            .filter(|it| !self.is_own(&it.name))
            .collect();
        all.extend(self.of_all_services());
        all.extend(match self.caller {
            Caller::Builder => self.of_builders(),
            Caller::Keeper => self.of_keepers(),
            Caller::Cleaner | Caller::Router => Vec::new(),
        });
        all
    }

    /// Whether the caller is one that may ask so, or of whom Docker is asked whether there is such a thing.
    fn is_own(&self, name: &str) -> bool {
        let has = |texts: &[&str]| texts.iter().any(|text| name.contains(text));
        let is_listed = name == "GET images/json" || has(&["GET info", "DELETE images"]);
        match self.caller {
            Caller::Builder => {
                is_listed
                    || has(&["GET version", "GET images/x/get", "json?size", "logs?"])
                    || name.contains(&self.build)
            }
            Caller::Cleaner => is_listed || has(&["/pause"]) || name.contains(&self.build),
            Caller::Keeper => has(&["GET version"]),
            Caller::Router => false,
        }
    }

    fn of_all_services(&self) -> Vec<Try> {
        let Self {
            namespace,
            foreign,
            foreign_image,
            ..
        } = self;
        let other = "debian:bookworm-slim";
        let sandbox = json!({"Image": other, "Labels": {label::NAMESPACE: namespace, label::ROLE: label::ROLE_SANDBOX}});
        let holder = json!({"Image": other, "Labels": {label::NAMESPACE: namespace, label::ROLE: label::ROLE_HOLDER}});
        let mut all = vec![
            call("other labels", "POST", "containers/create?name=x", &sandbox),
            call("other labels", "POST", "containers/create?name=x", &holder),
        ];
        for (way, method, path) in [
            ("other images", "DELETE", format!("images/{other}")),
            ("other images", "DELETE", format!("images/{foreign_image}")),
            (
                "other images",
                "POST",
                format!("images/{other}/tag?repo={namespace}/gate&tag=latest"),
            ),
            (
                "other images",
                "POST",
                format!("images/{other}/tag?repo=debian&tag=bookworm-slim"),
            ),
            (
                "other images",
                "POST",
                format!("images/{other}/tag?repo=registry:5000/{namespace}/demo/hello&tag=r1"),
            ),
            (
                "other images",
                "POST",
                format!("images/create?fromImage=docker.io/{namespace}/demo/hello&tag=r1"),
            ),
            (
                "other images",
                "POST",
                "images/create?fromSrc=http://x&repo=debian&tag=bookworm-slim".to_owned(),
            ),
            (
                "other images",
                "POST",
                "images/create?fromImage=docker.io/library/debian&tag=".to_owned(),
            ),
            ("other images", "GET", format!("images/{foreign_image}/get")),
            (
                "other images",
                "GET",
                format!("images/get?names={foreign_image}"),
            ),
            (
                "commands in containers",
                "POST",
                format!(
                    "containers/{foreign}/attach?stream=true&stdout=true&stderr=true&stdin=false&logs=false"
                ),
            ),
            (
                "files of containers",
                "GET",
                format!("containers/{foreign}/archive?path=/"),
            ),
            (
                "files of containers",
                "GET",
                format!("containers/{}/archive?path=/", self.container),
            ),
            (
                "files of containers",
                "PUT",
                format!("containers/{}/archive?path=/", self.container),
            ),
            (
                "what is not the installation's",
                "POST",
                format!("containers/{foreign}/stop?t=1"),
            ),
            (
                "what is not the installation's",
                "POST",
                format!("containers/{foreign}/pause"),
            ),
            (
                "what is not the installation's",
                "POST",
                format!("containers/{foreign}/kill?signal=SIGKILL"),
            ),
            (
                "what is not the installation's",
                "POST",
                format!("containers/{}/kill?signal=SIGKILL", &foreign[..12]),
            ),
            (
                "what is not the installation's",
                "GET",
                format!("containers/{foreign}/stats?stream=false&one-shot=true"),
            ),
        ] {
            all.push(call(way, method, &path, &Value::Null));
        }
        all
    }

    fn of_builders(&self) -> Vec<Try> {
        let Self {
            namespace,
            container,
            build_network,
            foreign_network,
            ..
        } = self;
        let own = format!("{BUILD}&networkmode={build_network}");
        let mut all = Vec::new();
        for what in [
            format!("{BUILD}&networkmode=host"),
            format!("{BUILD}&networkmode=default"),
            format!("{BUILD}&networkmode=none"),
            format!("{BUILD}&networkmode=container:{container}"),
            format!("{BUILD}&networkmode={foreign_network}"),
            format!("{BUILD}&networkmode={}", self.network),
            BUILD.to_owned(),
            format!("{own}&networkmode=host"),
            format!("{own}&remote=http://127.0.0.1:80/"),
            format!("{own}&extrahosts=redis:127.0.0.1"),
            format!("{own}&cgroupparent=/"),
            format!("{own}&securityopt=seccomp=unconfined"),
            format!("{own}&isolation=x"),
            format!("{own}&ulimits=[]"),
            format!("{own}&shmsize=1"),
            format!("{own}&cachefrom=[]"),
            format!("{own}&pull=true"),
            format!("{own}&squash=true"),
            format!("{own}&session=x"),
            format!("{own}&outputs=x"),
            format!("{own}&platform=x"),
            format!("{own}&memory=-1"),
            format!("{own}&t=debian:bookworm-slim"),
            format!("{own}&t={namespace}/gate:latest"),
            format!("{own}&t={namespace}/demo/../gate:latest"),
            format!("{own}&t=registry:5000/{namespace}/demo/hello:r1"),
            format!("{own}&t={namespace}/demo/hello"),
            format!("{own}&labels={{\"{}\":\"other\"}}", label::NAMESPACE),
            format!("{own}&labels={{\"{}\":\"x\"}}", label::FUNCTION),
            own.replace("version=1", "version=2"),
        ] {
            all.push(call(
                "builds",
                "POST",
                &format!(
                    "build?{}",
                    what.replace('"', "%22")
                        .replace('{', "%7B")
                        .replace('}', "%7D")
                ),
                &Value::Null,
            ));
        }
        let volume = |name: &str, more: Value| {
            let mut body = json!({"Name": name, "Labels": {label::NAMESPACE: namespace}});
            if let (Some(body), Some(more)) = (body.as_object_mut(), more.as_object()) {
                body.extend(more.clone());
            }
            call("volumes and their drivers", "POST", "volumes/create", &body)
        };
        let cache = format!("{namespace}-cache-demo");
        all.extend([
            volume("other", json!({})),
            volume(&format!("{namespace}-cache-../x"), json!({})),
            volume(&cache, json!({"Driver": "other"})),
            volume(
                &cache,
                json!({"DriverOpts": {"type": "none", "o": "bind", "device": "/"}}),
            ),
            volume(&cache, json!({"Labels": {}})),
            volume(&cache, json!({"name": "other"})),
        ]);
        let measure = |at: &str, value: Value| {
            let mut body = self.measure.clone();
            body["HostConfig"][at] = value;
            call("capabilities", "POST", &self.create(), &body)
        };
        all.extend([
            measure("CapAdd", json!(["DAC_READ_SEARCH"])),
            measure("CapAdd", json!(["DAC_OVERRIDE", "SYS_ADMIN"])),
            measure("Binds", json!(["/:/cache:ro"])),
            measure("Binds", json!([format!("{cache}:/cache")])),
            measure(
                "Binds",
                json!([format!("{namespace}-cache-other:/cache:ro")]),
            ),
        ]);
        let limit = json!({"PidsLimit": 1});
        for (way, method, path, body) in [
            (
                "limits",
                "POST",
                format!("containers/{container}/update"),
                &limit,
            ),
            (
                "limits",
                "POST",
                format!("containers/{}/update", &self.foreign[..12]),
                &limit,
            ),
            (
                "limits",
                "POST",
                format!("containers/{}/update", self.build),
                &json!({"PidsLimit": 0}),
            ),
            (
                "what is not the installation's",
                "GET",
                format!("containers/{}/json", &self.foreign[..12]),
                &Value::Null,
            ),
            (
                "commands in containers",
                "POST",
                format!(
                    "containers/{}/attach?stream=true&stdout=true&stderr=true&stdin=true&logs=false",
                    self.build
                ),
                &Value::Null,
            ),
            (
                "commands in containers",
                "POST",
                format!(
                    "containers/{}/attach?stream=true&stdout=true&stderr=true&stdin=false&logs=false",
                    self.build
                ),
                &Value::Null,
            ),
            (
                "files of containers",
                "PUT",
                format!("containers/{}/archive?path=/", self.started_build),
                &Value::Null,
            ),
            (
                "calls that the router does not make",
                "POST",
                format!("containers/{container}/kill?signal=SIGKILL"),
                &Value::Null,
            ),
            (
                "volumes and their drivers",
                "DELETE",
                "volumes/other".to_owned(),
                &Value::Null,
            ),
            (
                "volumes and their drivers",
                "DELETE",
                format!("volumes/{cache}?force=true"),
                &Value::Null,
            ),
        ] {
            all.push(call(way, method, &path, body));
        }
        all.extend(self.images(&["debian:bookworm-slim", &format!("{namespace}/gate:latest")]));
        all
    }

    fn of_keepers(&self) -> Vec<Try> {
        let Self {
            namespace,
            container,
            foreign_image,
            ..
        } = self;
        let binds = self.body["HostConfig"]["Binds"][0]
            .as_str()
            .expect("it has one");
        let (folder, within) = binds.split_once(':').expect("it is a bind");
        let up = folder.rsplit_once('/').expect("it is a path").0;
        let mut all: Vec<_> = [
            format!("{up}:{within}"),
            format!("{folder}/..:{within}"),
            format!("{up}/0000000000000001:{within}"),
            format!("{folder}:/run/corefn"),
            format!("{folder}:/run/corefn:rw"),
            format!("{folder}:/run/corefn:ro,shared"),
            format!("{folder}:/:ro"),
        ]
        .into_iter()
        .map(|bind| {
            let body = self.with("/HostConfig/Binds", json!([bind]));
            call("bind mounts", "POST", &self.create(), &body)
        })
        .collect();
        // (The folder of this one is a link.)
        let linked = self.body.to_string().replace(&self.instance, &self.linked);
        let name = self.create().replace(&self.instance, &self.linked);
        all.push(Try {
            way: "bind mounts",
            name: "a folder that is a link".to_owned(),
            bytes: request("POST", &name, &linked),
            is_garbled: false,
        });
        let look = |image: &str| json!({"Image": image, "Labels": {label::NAMESPACE: namespace, label::ROLE: label::ROLE_FETCH}});
        let mut with_host = look(&self.own_image);
        with_host["HostConfig"] = json!({"Binds": ["/:/host"]});
        for (way, method, path, body) in [
            (
                "other images",
                "POST",
                "containers/create".to_owned(),
                &look(foreign_image),
            ),
            (
                "other images",
                "POST",
                "containers/create".to_owned(),
                &look("debian:bookworm-slim"),
            ),
            (
                "bind mounts",
                "POST",
                "containers/create".to_owned(),
                &with_host,
            ),
            (
                "other names",
                "POST",
                "containers/create?name=x".to_owned(),
                &look(&self.own_image),
            ),
            (
                "another program",
                "POST",
                format!("containers/{}/start", self.fetch),
                &Value::Null,
            ),
            (
                "files of containers",
                "GET",
                format!("containers/{}/archive?path=/", self.sandbox),
                &Value::Null,
            ),
            (
                "calls that the router does not make",
                "POST",
                format!("containers/{}/stop?t=1", self.sandbox),
                &Value::Null,
            ),
            (
                "what is not the installation's",
                "DELETE",
                format!("containers/{container}?force=true&v=true"),
                &Value::Null,
            ),
            (
                "builds",
                "POST",
                format!("build?{BUILD}&networkmode={}", self.build_network),
                &Value::Null,
            ),
        ] {
            all.push(call(way, method, &path, body));
        }
        let own = self.own_image.as_str();
        all.extend(self.images(&[
            "debian:bookworm-slim",
            &format!("{namespace}/gate:latest"),
            own,
        ]));
        all
    }

    /// Images that are brought with these names, and with two, and archives that another may read otherwise.
    fn images(&self, names: &[&str]) -> Vec<Try> {
        let own = format!("{}/sandbox:1", self.namespace);
        let manifest = |tags: Value| {
            json!([{"Config": "config.json", "RepoTags": tags, "Layers": []}]).to_string()
        };
        let mut archives: Vec<_> = names
            .iter()
            .map(|name| {
                (
                    format!("the name {name}"),
                    archive(&[("manifest.json", &manifest(json!([name])))]),
                )
            })
            .collect();
        let one = manifest(json!([own]));
        let layer = r#"[{"Config": "c", "RepoTags": ["x"], "Layers": [], "LayerSources": {}}]"#;
        for (name, archived) in [
            (
                "two names",
                archive(&[(
                    "manifest.json",
                    &manifest(json!([own, "debian:bookworm-slim"])),
                )]),
            ),
            (
                "no name",
                archive(&[("manifest.json", &manifest(json!([])))]),
            ),
            (
                "two images",
                archive(&[(
                    "manifest.json",
                    &format!("[{0},{0}]", &one[1..one.len() - 1]),
                )]),
            ),
            ("layers of others", archive(&[("manifest.json", layer)])),
            (
                "its list second",
                archive(&[("config.json", "{}"), ("manifest.json", &one)]),
            ),
            (
                "the old list",
                archive(&[("repositories", r#"{"debian": {"bookworm-slim": "x"}}"#)]),
            ),
            (
                "another path to its list",
                archive(&[("./manifest.json", &one)]),
            ),
            ("no archive", vec![b'x'; 1024]),
            ("nothing", Vec::new()),
        ] {
            archives.push((name.to_owned(), archived));
        }
        archives
            .into_iter()
            .map(|(name, archived)| Try {
                way: "images that are brought",
                name: format!("an image with {name}"),
                bytes: request_with("POST", "/v1.41/images/load?quiet=true", &archived),
                is_garbled: false,
            })
            .collect()
    }
}

/// A tar archive of files.
pub fn archive(files: &[(&str, &str)]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        // (As it is: it would be made a plain one.)
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        archive
            .append(&header, text.as_bytes())
            .expect("it is in memory");
    }
    archive.into_inner().expect("it is in memory")
}

fn call(way: &'static str, method: &str, path: &str, body: &Value) -> Try {
    let body = match body {
        Value::Null => String::new(),
        body => body.to_string(),
    };
    let path = path.trim_start_matches("/v1.41/");
    Try {
        way,
        name: format!("{method} {path} {body}"),
        bytes: request(method, &format!("/v1.41/{path}"), &body),
        is_garbled: false,
    }
}
