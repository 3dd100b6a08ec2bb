//! Compiles `corefn-init`, the program that waits in a sandbox, which the crate holds as bytes.
//!
//! It has neither a standard library nor a C library, and ends where it would panic: so it is no target of cargo's, which
//! has one way to panic for all programs of a workspace.

use std::env;
use std::path::PathBuf;
use std::process::Command;

/// The program's files, the first of which names the others.
const SOURCES: [&str; 4] = [
    "init/main.rs",
    "init/memory.rs",
    "init/system.rs",
    "src/order/parse.rs",
];

/// How it is compiled: small, at a fixed address, and into nothing that needs another file.
const OPTIONS: &[&str] = &[
    "opt-level=s",
    "panic=abort",
    "lto=fat",
    "strip=symbols",
    "relocation-model=static",
    "overflow-checks=on",
    "link-arg=-nostartfiles",
    "link-arg=-nostdlib",
    "link-arg=-static",
    "link-arg=-Wl,--build-id=none,-z,noexecstack,--gc-sections",
];

fn main() {
    for file in SOURCES {
        println!("cargo::rerun-if-changed={file}");
    }
    let variable = |name: &str| env::var(name).unwrap_or_else(|error| panic!("{name}: {error}"));
    let out = PathBuf::from(variable("OUT_DIR")).join("corefn-init");
    let mut command = Command::new(variable("RUSTC"));
    // (It lets a released compiler take options of none, which the program has no need of: it shall be the same without.)
    command
        .env_remove("RUSTC_BOOTSTRAP")
        .args(["--edition", "2024", "--crate-name", "init"])
        .args(["--crate-type", "bin", "--target", &variable("TARGET")])
        .args(["-D", "warnings"]);
    for option in OPTIONS {
        command.args(["-C", option]);
    }
    let status = command.arg("-o").arg(&out).arg(SOURCES[0]).status();
    let status = status.unwrap_or_else(|error| panic!("the compiler can't be run: {error}"));
    assert!(status.success(), "corefn-init does not compile");
}
