//! `corefn-build`: the `pre-receive` hook of a function's repository.
#![forbid(unsafe_code)]

use std::io::Write as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let code = match runtime {
        Ok(runtime) => {
            let code = runtime.block_on(corefn_build::hook::run());
            // A thread may still wait for a lock or for a pusher who reads nothing any more.
            runtime.shutdown_background();
            code
        }
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: no event loop: {error}");
            1
        }
    };
    ExitCode::from(code)
}
