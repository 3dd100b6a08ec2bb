//! Whether a function's files are handed to a runtime that waits in a sandbox, or its runtime starts with it.

use std::fs::File;
use std::io::{self, BufReader, Seek as _};

use corefn_core::config::{Archive, FunctionConfig};
use corefn_engine::docker::Docker;
use corefn_sandbox::archive::{MAX, MAX_FILES, pack};
use corefn_sandbox::executables::Digest;

use crate::error::BuildError;
use crate::image::identifier;
use crate::output::size;

/// What the names of variables begin with that an interpreter, or what it is linked with, reads when it begins.
const READ_AT_BEGIN: [&str; 10] = [
    "GLIBC_", "LANG", "LC_", "LD_", "MALLOC_", "MONO_", "NODE_", "OPENSSL_", "PYTHON", "TZ",
];

/// The part of a function's memory that its files may take, which are there in memory.
const PART_OF_MEMORY: u64 = 8;

/// A variable that an interpreter reads when it begins, if a function has any: it must begin with the function then.
pub(crate) fn read_at_begin(config: &FunctionConfig) -> Option<&str> {
    let is_read = |name: &&str| READ_AT_BEGIN.iter().any(|begin| name.starts_with(begin));
    config.variables().find(is_read)
}

/// Packs the files of a function for its runtime. If they can't be handed over, says why.
///
/// # Errors
/// [`BuildError`] when they can't be read, or the runtime's image isn't there.
pub(super) async fn archive(
    docker: &Docker,
    runtime: &str,
    config: &FunctionConfig,
    files: &File,
) -> Result<Result<Archive, String>, BuildError> {
    if let Some(name) = read_at_begin(config) {
        return Ok(Err(format!(
            "it sets {name}, which is read when a program begins"
        )));
    }
    let broken = || BuildError::io("the files that the build made can't be packed");
    let mut files = files.try_clone().map_err(broken())?;
    let packed = tokio::task::spawn_blocking(move || {
        files.rewind()?;
        pack(BufReader::new(files))
    });
    let packed = packed
        .await
        .map_err(io::Error::other)
        .and_then(|packed| packed);
    let Some(packed) = packed.map_err(broken())? else {
        let most = size(MAX as u64);
        return Ok(Err(format!(
            "its files are more than {most} or {MAX_FILES}"
        )));
    };
    let most = config.limits.memory / PART_OF_MEMORY;
    if packed.len() as u64 > most {
        let most = size(most);
        return Ok(Err(format!(
            "its files are more than an eighth of limits.memory, {most}"
        )));
    }
    let identifier = identifier(docker, runtime).await?;
    Ok(Ok(Archive {
        digest: Digest::of(&packed).as_str().to_owned(),
        runtime: identifier.ok_or(BuildError::Lost)?,
    }))
}
