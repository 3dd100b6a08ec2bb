//! `corefn-build`: the `proc-receive` hook of a function's repository; with the argument `serve`, the
//! service that builds for hooks which may not do so themselves.
#![forbid(unsafe_code)]

use std::env;
use std::io::Write as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let serves = match arguments.as_slice() {
        [] => false,
        [word] if word == "serve" => true,
        _ => {
            return failed(
                "usage: corefn-build, as git's hook; or corefn-build serve",
                2,
            );
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return failed(&format!("error: no event loop: {error}"), 1),
    };
    let code = if serves {
        corefn_engine::log::to_stderr("corefn-build");
        match runtime.block_on(corefn_build::service::serve()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failed(&format!("error: {error}"), 1),
        }
    } else {
        ExitCode::from(runtime.block_on(corefn_build::hook::run()))
    };
    // A thread may still wait for a lock or for a pusher who reads nothing any more.
    runtime.shutdown_background();
    code
}

fn failed(text: &str, status: u8) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "{text}");
    ExitCode::from(status)
}
