//! Compiles a pushed tree in a container of its stack's image.

mod files;

use std::fs::File;
use std::io::Cursor;

use corefn_core::config::Export;
use corefn_core::function::FunctionName;
use corefn_core::host::{BuildLimits, Host};
use corefn_core::names::{env, label};
use corefn_engine::docker::{BuildPurpose, Docker, DockerError};

use crate::cache::Cache;
use crate::container;
use crate::context::archive;
use crate::error::BuildError;
use crate::limits::{Watch, in_time};
use crate::network::{self, CA_BUNDLE, ca_variables};
use crate::output::{Output, next_or_silence, size};
use crate::stack::Kind;

use files::{put, take, take_folder};

/// The user and group that builds run as.
pub const OWNER: u64 = 1000;

/// The largest executable that is taken, in bytes.
const MAX_EXECUTABLE: usize = 512 << 20;
/// The largest folder of files, in bytes.
const MAX_FILES: usize = 1 << 30;
/// The largest list of exports.
const MAX_EXPORTS: usize = 1 << 20;

/// The status of a process that SIGKILL has ended. (Docker says later, if at all, that it ran out of memory.)
const KILLED: i64 = 137;

const SOURCES: &str = "/work/src";
const EXECUTABLE: &str = "/work/out/function";
const FILES: &str = "/work/out/files";
const EXPORTS: &str = "/work/out/exports.json";
const CAN_BE_HANDED_OVER: &str = "/work/out/can-be-handed-over";
const CAN_SERVE_ON_SOCKET: &str = "/work/out/can-serve-on-socket";

/// What a stack made of a tree.
#[derive(Debug)]
pub enum Product {
    /// A statically linked executable.
    Executable(Vec<u8>),
    /// Files for the stack's runtime.
    Files {
        /// A tar archive of a folder with them.
        files: File,
        /// Whether a runtime that waits can take them.
        can_be_handed_over: bool,
    },
}

/// What a tree is compiled with.
#[derive(Clone, Copy)]
pub struct Compiler<'a> {
    /// The stack's image.
    pub image: &'a str,
    /// What the stack makes.
    pub kind: Kind,
    /// What the account's builds share.
    pub cache: &'a Cache,
}

/// The outcome of a build.
#[derive(Debug)]
pub struct Compiled {
    /// What it made.
    pub product: Product,
    /// Whether what serves it takes a socket as well as a port.
    pub socket: bool,
    /// The named entry points, if the stack finds them.
    pub exports: Option<Vec<Export>>,
}

/// Compiles `sources`, a tar archive whose files belong to [`OWNER`].
///
/// The container is left; [`sweep`] removes it.
///
/// # Errors
/// [`BuildError::Rejected`] when the build fails, after what it printed was passed on.
pub async fn compile(
    docker: &Docker,
    host: &Host,
    function: &FunctionName,
    with: Compiler<'_>,
    sources: File,
    output: &mut Output,
) -> Result<Compiled, BuildError> {
    let Compiler { image, kind, cache } = with;
    let container = create(docker, host, function, image, cache).await?;
    put(docker, &container, SOURCES, sources).await?;
    if let Some(contents) = network::ca_bundle(host)? {
        let packed = archive(&[(CA_BUNDLE, 0o644, &contents)])?;
        put(docker, &container, "/", Cursor::new(packed)).await?;
    }
    let limits = &host.build;
    in_time(limits, run(docker, limits, cache, &container, output)).await?;
    let missing =
        |what: &str| BuildError::rejected(format!("the build ended well but left no {what}"));
    let product = match kind {
        Kind::Executable => {
            let executable = take(docker, &container, EXECUTABLE, MAX_EXECUTABLE).await?;
            let executable = executable.filter(|executable| !executable.is_empty());
            Product::Executable(executable.ok_or_else(|| missing(&format!("file {EXECUTABLE}")))?)
        }
        Kind::Runtime => {
            let files = take_folder(docker, &container, FILES, MAX_FILES).await?;
            let files = files.ok_or_else(|| missing(&format!("folder {FILES}")))?;
            let told = take(docker, &container, CAN_BE_HANDED_OVER, MAX_EXPORTS).await?;
            Product::Files {
                files,
                can_be_handed_over: told.is_some(),
            }
        }
    };
    let socket = take(docker, &container, CAN_SERVE_ON_SOCKET, MAX_EXPORTS).await?;
    let exports = match take(docker, &container, EXPORTS, MAX_EXPORTS).await? {
        Some(text) => Some(read_exports(&text)?),
        None => None,
    };
    Ok(Compiled {
        product,
        socket: socket.is_some(),
        exports,
    })
}

/// Removes the containers in which a function was compiled.
///
/// Whoever holds the repository's lock may: no other build of the function is under way.
///
/// # Errors
/// [`DockerError`] when Docker can't do it.
pub async fn sweep(docker: &Docker, function: &FunctionName) -> Result<(), DockerError> {
    for container in docker.containers().await? {
        if container.has(label::ROLE, label::ROLE_BUILD)
            && container.has(label::FUNCTION, function.as_str())
        {
            docker.remove(&container.id).await?;
        }
    }
    Ok(())
}

async fn create(
    docker: &Docker,
    host: &Host,
    function: &FunctionName,
    image: &str,
    cache: &Cache,
) -> Result<String, BuildError> {
    cache.ensure().await?;
    let mut environment = vec![
        format!("{}={function}", env::FUNCTION),
        format!("{}={}", env::NAME, function.name()),
    ];
    if host.ca_bundle.is_some() {
        environment.extend(ca_variables());
    }
    let proxies = network::proxies(host).into_iter();
    environment.extend(proxies.map(|(name, value)| format!("{name}={value}")));
    let limits = &host.build;
    let compile = BuildPurpose::Compile {
        environment,
        network: docker.build_network().await?,
        memory: limits.memory as i64,
        nano_cpus: limits.nano_cpus as i64,
        pids: limits.pids.into(),
    };
    container::create(docker, function, image, compile).await
}

/// Starts the container, passes on what it prints, and waits for its end.
async fn run(
    docker: &Docker,
    limits: &BuildLimits,
    cache: &Cache,
    container: &str,
    output: &mut Output,
) -> Result<(), BuildError> {
    let mut attached = container::start_attached(docker, container).await?;
    let watch = Watch::new(docker, limits).with_cache(cache);
    watch.container(container);
    let printed = async {
        loop {
            let print = async |text: &str| {
                output.line(text.trim_end()).await;
                Ok(())
            };
            match next_or_silence(&mut attached.output, print).await? {
                Some(Ok(chunk)) => output.program(&chunk.into_bytes()).await?,
                _ => return Ok(()),
            }
        }
    };
    watch.during(printed).await?;
    let code = docker.exit_code(container).await?;
    if code == 0 {
        return Ok(());
    }
    Err(BuildError::rejected(match code {
        KILLED => format!(
            "the build was killed: most likely it ran out of memory, of which it has {} (build.memory of \
             the host's settings)",
            size(limits.memory)
        ),
        code => format!("the build failed with status {code}; its own message is above"),
    }))
}

fn read_exports(text: &[u8]) -> Result<Vec<Export>, BuildError> {
    serde_json::from_slice(text).map_err(|error| {
        BuildError::rejected(format!(
            "{EXPORTS} of the build is no list of exports: {error}"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exports() {
        let read = read_exports(
            br#"[{"name": "A", "argument": "text", "answer": "json"}, {"name": "B"}]"#,
        );
        let read = read.unwrap();
        assert_eq!(read.len(), 2);
        assert_eq!(read[0].argument.as_deref(), Some("text"));
        for bad in [&b""[..], b"{}", b"[1]", b"[{}]", b"\xff"] {
            assert!(read_exports(bad).is_err());
        }
    }
}
