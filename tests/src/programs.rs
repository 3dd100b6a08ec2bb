//! Where the programs under test are.

use std::path::{Path, PathBuf};

use corefn_core::names::env;

/// The folder of the workspace.
pub fn workspace() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests).to_path_buf()
}

/// The folder that cargo builds into.
pub fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => workspace().join(folder),
        None => workspace().join("target"),
    }
}

/// The nginx module.
///
/// # Panics
/// When it isn't built.
pub fn module() -> PathBuf {
    built("libngx_http_corefn_module.so")
}

/// The nginx module with faults to be injected.
///
/// # Panics
/// When it isn't built.
pub fn fault_module() -> PathBuf {
    built("fault/libngx_http_corefn_module.so")
}

/// A program of the workspace, such as `corefn-clean`.
///
/// # Panics
/// When it isn't built.
pub fn program(name: &str) -> PathBuf {
    built(name)
}

/// A file that cargo has built: in the folder that the environment names, else the release build,
/// else the debug build.
fn built(name: &str) -> PathBuf {
    let variable = format!("{}BIN_DIR", env::RESERVED_PREFIX);
    let folders = match std::env::var_os(&variable) {
        Some(folder) => vec![PathBuf::from(folder)],
        None => vec![target().join("release"), target().join("debug")],
    };
    folders
        .iter()
        .map(|folder| folder.join(name))
        .find(|path| path.exists())
        .unwrap_or_else(|| {
            panic!("{name} is in none of {folders:?}: run scripts/build-fault --release, or set {variable}")
        })
}
