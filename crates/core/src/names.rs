//! Every name the outside sees and that is no Redis key (those are in [`crate::keys`]).
//!
//! A test of this crate fails when one of these families of names is spelled in a literal
//! anywhere else in the sources.

use sha2::{Digest as _, Sha256};

use crate::instance::InstanceId;
use crate::network::{Network, NetworkKind};

/// The namespace of an installation that sets none: the prefix of its images, networks,
/// containers and Redis keys.
pub const DEFAULT_NAMESPACE: &str = "corefn";

/// Labels of images and containers. The image store is the truth about what is deployed, so these
/// carry everything an empty Redis is rebuilt from.
pub mod label {
    /// The installation that owns the image, container, network or volume.
    pub const NAMESPACE: &str = "corefn.namespace";
    /// The function's name, `account/name`.
    pub const FUNCTION: &str = "corefn.function";
    /// The revision, as [`crate::function::RevisionId`] writes it.
    pub const REVISION: &str = "corefn.revision";
    /// The function's configuration: JSON of [`crate::config::FunctionConfig`].
    pub const CONFIG: &str = "corefn.config";
    /// The commit a revision was built from, 40 hex digits.
    pub const COMMIT: &str = "corefn.commit";
    /// The repository a revision was pushed to: `account/name`, or `account`.
    pub const REPOSITORY: &str = "corefn.repository";
    /// The account that pushed a revision; empty where it did not come over ssh.
    pub const ACCOUNT: &str = "corefn.account";
    /// The instance's identifier. Only containers that serve requests, or will, carry it.
    pub const INSTANCE: &str = "corefn.instance";
    /// The instance's address, as [`crate::instance::Address`] writes it.
    pub const ADDRESS: &str = "corefn.address";
    /// What a container that was made as no instance is for: [`ROLE_BUILD`], [`ROLE_SANDBOX`],
    /// [`ROLE_HOLDER`], [`ROLE_FETCH`].
    pub const ROLE: &str = "corefn.role";
    /// The stack an image of a builder belongs to.
    pub const STACK: &str = "corefn.stack";
    /// [`ROLE`] of a container that compiles a push.
    pub const ROLE_BUILD: &str = "build";
    /// [`ROLE`] of a container that waits to become an instance, or has become one
    /// ([`sandbox_of`](super::sandbox_of)).
    pub const ROLE_SANDBOX: &str = "sandbox";
    /// [`ROLE`] of a sandbox that holds the network of an instance in another container ([`holder`](super::holder)). Docker
    /// can't change labels: it is told by its name.
    pub const ROLE_HOLDER: &str = "holder";
    /// Docker's identifier of the container that holds an instance's network, where another than its own does.
    pub const HOLDER: &str = "corefn.holder";
    /// [`ROLE`] of a container that is never started: a file is fetched out of its image.
    pub const ROLE_FETCH: &str = "fetch";
    /// What a sandbox was made of, by a digest: those that were made otherwise are replaced.
    pub const SANDBOX: &str = "corefn.sandbox";
    /// The path of the socket on which a sandbox's function may serve, if it can.
    pub const SOCKET: &str = "corefn.socket";
    /// Docker's identifier of the runtime's image that a sandbox was made of; on others there is none.
    pub const RUNTIME: &str = "corefn.runtime";
}

/// Environment variables.
pub mod env {
    /// The TCP port a function must listen on, on all of its addresses.
    pub const PORT: &str = "PORT";
    /// The number of a file descriptor: a unix socket for streams, bound but not listened on, on which a function that can
    /// shall serve in place of the port. It is set only for those that can, and where there is such a socket.
    pub const SOCKET: &str = "COREFN_SOCKET";
    /// The function's name, `account/name`; the builder gives it to a build as well.
    pub const FUNCTION: &str = "COREFN_FUNCTION";
    /// The last segment of the function's name, given to a build.
    pub const NAME: &str = "COREFN_NAME";
    /// The revision that runs.
    pub const REVISION: &str = "COREFN_REVISION";
    /// The instance's identifier.
    pub const INSTANCE: &str = "COREFN_INSTANCE";
    /// The state directory of an installation; the programs find `host.toml` in it.
    pub const HOME: &str = "COREFN_HOME";
    /// Whose part of Docker a service has by way of the gate.
    pub const GATE: &str = "COREFN_GATE";
    /// The git host whose builder runs what the command line is told, `[user@]host[:port]`, or what the settings call it.
    pub const REMOTE: &str = "COREFN_REMOTE";
    /// The account for which the git host runs git, and with it a push's hook.
    pub const ACCOUNT: &str = "COREFN_ACCOUNT";
    /// What is to go wrong in a build of the module that injects faults.
    pub const FAULT: &str = "COREFN_FAULT";
    /// Names a function can't set for itself.
    pub const RESERVED_PREFIX: &str = "COREFN_";
}

/// HTTP headers of the platform.
pub mod header {
    /// Carried by every error of the platform, never by a function's answer: the error's code.
    pub const ERROR: &str = "X-CoreFn-Error";
    /// Of a request: the revision that it is for, where several are released.
    pub const REVISION: &str = "X-CoreFn-Revision";
    /// Of a request that a schedule makes: the line of it.
    pub const SCHEDULE: &str = "X-CoreFn-Schedule";
    /// Of the same: when it was due, in UTC, as RFC 3339 writes it.
    pub const DUE: &str = "X-CoreFn-Due";
    /// Of a request that an invocation makes: its identifier, the same each time.
    pub const INVOCATION: &str = "X-CoreFn-Invocation";
    /// Of a request that nginx gives to the dispatcher: the function that it is for.
    pub const FUNCTION: &str = "X-CoreFn-Function";
}

/// Attributes of spans that OpenTelemetry has no name for.
pub mod attribute {
    /// What an instance was started from ([`StartWay`](crate::start::StartWay)).
    pub const WAY: &str = "corefn.way";
}

/// nginx directives.
pub mod directive {
    use std::ffi::CStr;
    /// `http`: where Redis is.
    pub const REDIS: &CStr = c"corefn_redis";
    /// `http`: where Docker is.
    pub const DOCKER: &CStr = c"corefn_docker";
    /// `http`: the installation's namespace.
    pub const NAMESPACE: &CStr = c"corefn_namespace";
    /// `http`: the memory that all workers share.
    pub const ZONE: &CStr = c"corefn_zone";
    /// `http`, `server`, `location`: whether requests here are for functions.
    pub const COREFN: &CStr = c"corefn";
    /// `http`, `server`, `location`: how long a request may wait for an instance.
    pub const START_TIMEOUT: &CStr = c"corefn_start_timeout";
    /// `http`, `server`, `location`: how many requests may wait for one function.
    pub const QUEUE: &CStr = c"corefn_queue";
    /// `http`: how many requests may wait on the host in all.
    pub const HOST_QUEUE: &CStr = c"corefn_host_queue";
    /// `http`: the folder of the host's keeper of sandboxes.
    pub const SANDBOXES: &CStr = c"corefn_sandboxes";
    /// `http`: the folder of the host's secrets.
    pub const SECRETS: &CStr = c"corefn_secrets";
    /// `http`: the folder of the host's dispatcher.
    pub const INVOCATIONS: &CStr = c"corefn_invocations";
    /// `http`: the collector of OpenTelemetry that takes spans.
    pub const TRACES: &CStr = c"corefn_traces";
    /// `http`: how many containers may be started at once.
    pub const MAX_STARTS: &CStr = c"corefn_max_starts";
    /// `http`, `server`, `location`: the idle time of functions that set none.
    pub const IDLE: &CStr = c"corefn_idle";
    /// `location`: requests here are told what is measured.
    pub const STATUS: &CStr = c"corefn_status";
    /// `upstream`: peers are the instances of the request's function.
    pub const INSTANCES: &CStr = c"corefn_instances";
}

/// nginx variables, without the dollar sign.
pub mod variable {
    use std::ffi::CStr;
    /// The function, `account/name`.
    pub const FUNCTION: &CStr = c"corefn_function";
    /// The revision of the instance.
    pub const REVISION: &CStr = c"corefn_revision";
    /// The instance.
    pub const INSTANCE: &CStr = c"corefn_instance";
    /// `warm`, `thawed` or `cold`.
    pub const START: &CStr = c"corefn_start";
    /// Seconds with milliseconds that the request waited for an instance.
    pub const WAIT: &CStr = c"corefn_wait";
    /// The path and query for the function: the client's, less the prefix.
    pub const URI: &CStr = c"corefn_uri";
    /// The prefix that was taken off, `/account/name`.
    pub const PREFIX: &CStr = c"corefn_prefix";
    /// The value of `Connection` for the function: `upgrade` or empty.
    pub const CONNECTION: &CStr = c"corefn_connection";
    /// The host for the function: as the client wrote it, with its port.
    pub const HOST: &CStr = c"corefn_host";
    /// One identifier from the first proxy to the last log.
    pub const REQUEST_ID: &CStr = c"corefn_request_id";
    /// Where the function redirects to; `proxy_redirect` sets it.
    pub const LOCATION: &CStr = c"corefn_location";
    /// The same, from outside.
    pub const LOCATION_OUTSIDE: &CStr = c"corefn_location_outside";
    /// The path of a cookie that the function sets; `proxy_cookie_path` sets it.
    pub const PATH: &CStr = c"corefn_path";
    /// The same, from outside.
    pub const PATH_OUTSIDE: &CStr = c"corefn_path_outside";
}

/// The TCP port a function listens on.
pub const PORT: u16 = 8080;

/// The user and group a function runs as unless its image names another that isn't root: `nobody`
/// and `nogroup` of Debian, which need no entry in the image's passwd file.
pub const USER: &str = "65534:65534";

/// Where an image has its executable, or the folder of the files that its runtime serves.
pub const FUNCTION_PATH: &str = "/function";

/// The tag of the image that is deployed, beside one tag a revision.
pub const CURRENT_TAG: &str = "current";

/// The tag of the image that was deployed before it, if another was.
pub const PREVIOUS_TAG: &str = "previous";

/// The tag of an image that is built and not deployed yet: `pending-<revision>`. What has it alone never was.
pub fn pending_tag(revision: &crate::function::RevisionId) -> String {
    format!("{PENDING}{revision}")
}

/// Whether [`pending_tag`] has made a tag.
pub fn is_pending_tag(tag: &str) -> bool {
    tag.starts_with(PENDING)
}

/// What a tag begins with that [`pending_tag`] makes.
const PENDING: &str = "pending-";

/// The file in a repository that configures its function.
pub const MANIFEST: &str = "corefn.toml";

/// The file in a repository that names its modules, one a line, where there is no [`MANIFEST`].
pub const MODULES: &str = ".func";

/// The file in a home that configures the installation.
pub const HOST_FILE: &str = "host.toml";

/// The file with a person's own settings of the command line, in the folder of their configuration.
pub const PERSON_FILE: &str = "corefn/config.toml";

/// The socket in the folder of invocations, on which the dispatcher takes them from nginx.
pub const DISPATCHER_SOCKET: &str = "socket";

/// The file in a home with what the account needs that git runs as.
pub const GIT_FILE: &str = "git.toml";

/// The file in a home with the accounts' keys and what they have been granted.
pub const ACCESS_FILE: &str = "access.toml";

/// An image's repository name: `<namespace>/<account>/<name>`.
pub fn image(namespace: &str, function: &crate::function::FunctionName) -> String {
    format!("{namespace}/{}", function.plain_text())
}

/// The tag of a revision's image that is released beside the current one: `released-<percent>.<revision>`.
pub fn released_tag(weight: u8, revision: &crate::function::RevisionId) -> String {
    format!("{RELEASED}{weight}.{revision}")
}

/// The percentage in a tag that [`released_tag`] has made for the revision; nothing in any other.
pub fn in_released_tag(tag: &str, revision: &crate::function::RevisionId) -> Option<u8> {
    let (weight, of) = tag.strip_prefix(RELEASED)?.split_once('.')?;
    (of == revision.0).then(|| weight.parse().ok())?
}

/// How a tag begins that [`released_tag`] makes.
const RELEASED: &str = "released-";

/// A container's name: `<namespace>-<account>-<name>-<instance>`.
pub fn container(
    namespace: &str,
    function: &crate::function::FunctionName,
    instance: InstanceId,
) -> String {
    format!(
        "{namespace}-{}-{}-{instance}",
        function.account(),
        function.name()
    )
}

/// The name of a container that is started while Redis is out of reach:
/// `<namespace>--<account>--<name>--<revision>`, and `--released` if that is released beside the current one. Docker refuses
/// a second one of a name, so there is one a revision; no segment of a name has two dashes in a row, so no two revisions
/// share a name.
pub fn container_without_redis(
    namespace: &str,
    function: &crate::function::FunctionName,
    revision: &crate::function::RevisionId,
) -> String {
    let mark = if function.is_plain() { "" } else { BESIDE };
    format!(
        "{namespace}--{}--{}--{revision}{mark}",
        function.account(),
        function.name()
    )
}

/// What follows a revision in a container's name that is released beside the current one.
const BESIDE: &str = "--released";

/// The name of a sandbox that waits: `<namespace>-sandbox-<instance>`.
pub fn sandbox(namespace: &str, instance: InstanceId) -> String {
    format!("{namespace}-sandbox-{instance}")
}

/// The name of a sandbox that has become an instance, of which Docker can't change the labels:
/// `<namespace>--<account>--<name>--<revision>--<instance>`, or as of [`container_without_redis`].
pub fn sandbox_of(
    namespace: &str,
    function: &crate::function::FunctionName,
    revision: &crate::function::RevisionId,
    instance: InstanceId,
) -> String {
    let one = container_without_redis(namespace, function, revision);
    format!("{one}--{instance}")
}

/// The function and the revision in a name that [`sandbox_of`] has made for the instance; nothing in any other.
pub fn in_sandbox(
    namespace: &str,
    name: &str,
    instance: InstanceId,
) -> Option<(crate::function::FunctionName, crate::function::RevisionId)> {
    let rest = name.strip_prefix(namespace)?.strip_prefix("--")?;
    let rest = rest.strip_suffix(&format!("--{instance}"))?;
    let plain = rest.strip_suffix(BESIDE);
    let mut parts = plain.unwrap_or(rest).split("--");
    let mut function = crate::function::FunctionName::new(parts.next()?, parts.next()?).ok()?;
    let revision = crate::function::RevisionId(parts.next()?.to_owned());
    if plain.is_some() {
        function = function.at(&revision);
    }
    parts.next().is_none().then_some((function, revision))
}

/// The end of a name that [`with_socket`] makes.
const SERVES: &str = "--socket";

/// The name of a sandbox that has become an instance which serves on its socket: `name` is that of [`sandbox_of`].
pub fn with_socket(name: &str) -> String {
    format!("{name}{SERVES}")
}

/// The name that [`with_socket`] has made another of; nothing of any other.
pub fn without_socket(name: &str) -> Option<&str> {
    name.strip_suffix(SERVES)
}

/// The name of a sandbox that holds the network of an instance: as of [`sandbox_of`], and `--network`.
pub fn holder(
    namespace: &str,
    function: &crate::function::FunctionName,
    revision: &crate::function::RevisionId,
    instance: InstanceId,
) -> String {
    let one = sandbox_of(namespace, function, revision, instance);
    format!("{one}{HOLDS}")
}

/// The end of a name that [`holder`] makes.
const HOLDS: &str = "--network";

/// The function in a name that [`holder`] has made for the instance; nothing in any other.
pub fn in_holder(
    namespace: &str,
    name: &str,
    instance: InstanceId,
) -> Option<crate::function::FunctionName> {
    let one = name.strip_suffix(HOLDS)?;
    in_sandbox(namespace, one, instance).map(|(function, _)| function)
}

/// The image of a sandbox's program: `<namespace>/sandbox:<digest>`.
pub fn sandbox_image(namespace: &str, digest: &str) -> String {
    format!("{namespace}/{SANDBOX}:{digest}")
}

/// The image in which a stack compiles: `<namespace>/stack-<stack>:<digest>`.
pub fn stack_image(namespace: &str, stack: &str, digest: &str) -> String {
    format!("{namespace}/{STACK}{stack}:{digest}")
}

/// The image on which a stack's functions run: `<namespace>/runtime-<stack>:<digest>`.
pub fn runtime_image(namespace: &str, stack: &str, digest: &str) -> String {
    format!("{namespace}/{RUNTIME}{stack}:{digest}")
}

/// The image that holds the host's certificate authorities for builds: `<namespace>/ca-bundle:<digest>`.
pub fn bundle_image(namespace: &str, digest: &str) -> String {
    format!("{namespace}/{BUNDLE}:{digest}")
}

const STACK: &str = "stack-";
const RUNTIME: &str = "runtime-";
const BUNDLE: &str = "ca-bundle";
const SANDBOX: &str = "sandbox";
const CACHE: &str = "build-cache";

/// Whether a name, with its tag, is one of an image that an installation makes for functions. (Images of other names in its
/// namespace are those of its services.)
pub fn is_own_image(namespace: &str, name: &str) -> bool {
    let read = || {
        let (repository, tag) = name.rsplit_once(':')?;
        let rest = repository.strip_prefix(namespace)?.strip_prefix('/')?;
        let is_tag = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
        let has_tag = !tag.is_empty() && tag.len() <= 128 && tag.bytes().all(is_tag);
        let is_segment = |text: &str| crate::function::check_segment(text).is_ok();
        let is_own = match rest.split('/').collect::<Vec<_>>()[..] {
            [one] => {
                let stack = one.strip_prefix(STACK).or(one.strip_prefix(RUNTIME));
                stack.is_some_and(is_segment) || [BUNDLE, SANDBOX].contains(&one)
            }
            [account, function] | [CACHE, account, function] => {
                is_segment(account) && is_segment(function)
            }
            _ => false,
        };
        Some(has_tag && is_own)
    };
    read().unwrap_or(false)
}

/// The account whose build cache a volume is called after; nothing of any other name.
pub fn in_cache_volume<'a>(namespace: &str, volume: &'a str) -> Option<&'a str> {
    let account = volume.strip_prefix(namespace)?.strip_prefix(CACHE_VOLUME)?;
    crate::function::check_segment(account).ok()?;
    Some(account)
}

/// What is between the namespace and the account in the name of a volume of [`cache_volume`].
const CACHE_VOLUME: &str = "-cache-";

/// A Docker network: `<namespace>-<kind>`, or `<namespace>--<name>` of one that the host's settings have.
pub fn network(namespace: &str, kind: NetworkKind) -> String {
    match kind {
        NetworkKind::Of(Network::Named(name)) => format!("{namespace}--{name}"),
        kind => format!("{namespace}-{kind}"),
    }
}

/// The bridge of a network, `corefn-` and eight digits, or what [`named_bridges`] begins with and four digits: as much as the name of an
/// interface can hold (15 bytes, `IFNAMSIZ` of `<net/if.h>`).
pub fn bridge(namespace: &str, kind: NetworkKind) -> String {
    let digits = digits(&network(namespace, kind));
    match kind {
        NetworkKind::Of(Network::Named(_)) => {
            format!("{}{}", named_bridges(namespace), &digits[..4])
        }
        _ => format!("corefn-{digits}"),
    }
}

/// What the bridges begin with of all networks that an installation's settings have, and no others: `corefn` and five digits.
pub fn named_bridges(namespace: &str) -> String {
    format!("corefn{}", &digits(namespace)[..5])
}

/// Eight hexadecimal digits that follow from a text.
fn digits(text: &str) -> String {
    let digest = Sha256::digest(text);
    let number = u32::from_be_bytes(std::array::from_fn(|at| digest[at]));
    format!("{number:08x}")
}

/// The table of nftables with the firewall, of the family `inet`.
pub fn firewall(namespace: &str) -> String {
    format!("corefn-{namespace}")
}

/// The image that keeps what a function's `Dockerfile` last made, as a cache of its steps, where the image that is
/// deployed was taken out of it: `<namespace>/build-cache/<account>/<name>:latest`.
pub fn cache_image(namespace: &str, function: &crate::function::FunctionName) -> String {
    format!("{namespace}/{CACHE}/{}:latest", function.plain_text())
}

/// The volume that keeps an account's build cache.
pub fn cache_volume(namespace: &str, account: &str) -> String {
    format!("{namespace}{CACHE_VOLUME}{account}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_images() {
        let function = "alice/hello".parse().unwrap();
        let own = [
            format!("{}:r1", image("ns", &function)),
            cache_image("ns", &function),
            stack_image("ns", "rust", "01"),
            runtime_image("ns", "python", "01"),
            bundle_image("ns", "01"),
            sandbox_image("ns", "01"),
        ];
        for name in own {
            assert!(is_own_image("ns", &name), "{name}");
        }
        for other in [
            "ns/gate:latest",
            "ns/alice/hello",
            "ns/alice/hello:",
            "ns/alice/hello:a b",
            "ns/alice/../gate:latest",
            "ns/stack-:1",
            "ns//hello:1",
            "nsx/alice/hello:1",
            "other/alice/hello:1",
            "ns/x/alice/hello:1",
            "debian:bookworm-slim",
            "registry:5000/ns/alice/hello:1",
        ] {
            assert!(!is_own_image("ns", other), "{other}");
        }
        assert_eq!(
            in_cache_volume("ns", &cache_volume("ns", "alice")),
            Some("alice")
        );
        for other in [
            "ns-cache-",
            "ns-cache-../x",
            "other-cache-alice",
            "ns-alice",
        ] {
            assert_eq!(in_cache_volume("ns", other), None, "{other}");
        }
    }

    #[test]
    fn as_documented() {
        let function: crate::function::FunctionName = "alice/hello".parse().unwrap();
        let revision = crate::function::RevisionId("r1".into());
        let instance = InstanceId::from_random(0xab);
        assert_eq!(image("ns", &function), "ns/alice/hello");
        assert_eq!(pending_tag(&revision), "pending-r1");
        assert!(is_pending_tag("pending-r1") && !is_pending_tag("r1"));
        assert_eq!(
            container("ns", &function, instance),
            "ns-alice-hello-00000000000000ab"
        );
        assert_eq!(
            container_without_redis("ns", &function, &revision),
            "ns--alice--hello--r1"
        );
        assert_eq!(sandbox("ns", instance), "ns-sandbox-00000000000000ab");
        assert_eq!(sandbox_image("ns", "d1"), "ns/sandbox:d1");
        let name = sandbox_of("ns", &function, &revision, instance);
        assert_eq!(name, "ns--alice--hello--r1--00000000000000ab");
        assert_eq!(
            in_sandbox("ns", &name, instance),
            Some((function.clone(), revision.clone()))
        );
        let serves = with_socket(&name);
        assert_eq!(serves, "ns--alice--hello--r1--00000000000000ab--socket");
        assert_eq!(without_socket(&serves), Some(&*name));
        assert_eq!(without_socket(&name), None);
        assert_eq!(in_sandbox("ns", &serves, instance), None);
        let holder = holder("ns", &function, &revision, instance);
        assert_eq!(holder, "ns--alice--hello--r1--00000000000000ab--network");
        assert_eq!(in_holder("ns", &holder, instance), Some(function.clone()));
        assert_eq!(in_holder("ns", &name, instance), None);
        assert_eq!(in_sandbox("ns", &holder, instance), None);
        assert_eq!(in_sandbox("ns", &name, InstanceId::from_random(1)), None);
        assert_eq!(in_sandbox("n", &name, instance), None);
        let beside = function.at(&revision);
        assert_eq!(image("ns", &beside), "ns/alice/hello");
        let without_redis = container_without_redis("ns", &beside, &revision);
        assert_eq!(without_redis, "ns--alice--hello--r1--released");
        let released = sandbox_of("ns", &beside, &revision, instance);
        assert_eq!(released, "ns--alice--hello--r1--released--00000000000000ab");
        let found = in_sandbox("ns", &released, instance);
        assert_eq!(found, Some((beside, revision.clone())));
        let tag = released_tag(10, &revision);
        assert_eq!(tag, "released-10.r1");
        assert_eq!(in_released_tag(&tag, &revision), Some(10));
        for other in [
            "released-10.r2",
            "released-10",
            "released-x.r1",
            "r1",
            "released-256.r1",
        ] {
            assert_eq!(in_released_tag(other, &revision), None, "{other}");
        }
        for other in [
            "ns-alice-hello-00000000000000ab",
            "ns--alice--hello--r1",
            "ns-sandbox-00000000000000ab",
            "ns--a--b--c--d--00000000000000ab",
            "ns--A--b--c--00000000000000ab",
        ] {
            assert_eq!(in_sandbox("ns", other, instance), None, "{other}");
        }
        assert_eq!(
            network("ns", NetworkKind::Of(Network::Outbound)),
            "ns-outbound"
        );
        assert_eq!(network("ns", NetworkKind::Of(Network::None)), "ns-none");
        assert_eq!(network("ns", NetworkKind::Build), "ns-build");
        // (As `printf ns-build | sha256sum` has it.)
        assert_eq!(bridge("ns", NetworkKind::Build), "corefn-4cdb74da");
        let named = NetworkKind::Of("database".parse().unwrap());
        assert_eq!(network("ns", named), "ns--database");
        // (As `printf ns | sha256sum` has it, and `printf ns--database`.)
        assert_eq!(named_bridges("ns"), "corefn7bfba");
        assert_eq!(bridge("ns", named), "corefn7bfbacc62");
        assert_eq!(firewall("ns"), "corefn-ns");
        assert_eq!(cache_volume("ns", "alice"), "ns-cache-alice");
        let cache = cache_image("ns", &function);
        assert_eq!(cache, "ns/build-cache/alice/hello:latest");
    }
}
