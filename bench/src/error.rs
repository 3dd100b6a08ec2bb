//! Why there are no figures.

use std::path::PathBuf;

use corefn_core::error::Failure;
use corefn_engine::docker::DockerError;
use corefn_engine::store::StoreError;
use corefn_tests::client::ClientError;

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The load generator could not be run.
    #[error("wrk can't be run ({0}): install the packages wrk and util-linux")]
    NoWrk(std::io::Error),
    /// It gave up.
    #[error("wrk failed on {url}: {output}")]
    WrkFailed {
        /// What it was to request.
        url: String,
        /// What it printed.
        output: String,
    },
    /// Its report can't be read, or says that requests failed.
    #[error("the load on {url} is worth nothing: {why}")]
    BadLoad {
        /// What was requested.
        url: String,
        /// What is wrong.
        why: String,
    },
    /// An instance has no port to be asked at.
    #[error("an instance serves on a socket, and was to be asked at its port")]
    NoPort,
    /// An instance has no socket.
    #[error("an instance serves at a port, and was to serve on a socket: no sandbox was to be had")]
    NoSocket,
    /// A single request had no answer.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A single request had another answer than it should.
    #[error("GET {target} was answered with {status}: {body}")]
    Answer {
        /// The path.
        target: String,
        /// The status.
        status: u16,
        /// The body.
        body: String,
    },
    /// The two sides are not doing the same.
    #[error(
        "the function sees another request through CoreFn than through plain nginx, so comparing them says nothing:\n{corefn}\n{plain}"
    )]
    Unequal {
        /// What it sees through CoreFn.
        corefn: String,
        /// What it sees through plain nginx.
        plain: String,
    },
    /// There are other instances than there should be.
    #[error("{function} should have {want} instances and has {have}")]
    Instances {
        /// Of which function.
        function: String,
        /// How many there should be.
        want: usize,
        /// How many there are.
        have: usize,
    },
    /// A start was of another kind than it should be.
    #[error("a start that should have come from a sandbox did not: see the log of nginx for why")]
    NoSandbox,
    /// A thaw was none.
    #[error(
        "an instance that was frozen should have been thawed, and was not: see the log of nginx for why"
    )]
    NoThaw,
    /// Docker failed.
    #[error(transparent)]
    Docker(#[from] DockerError),
    /// Redis failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The engine failed.
    #[error("{}", .0.detail)]
    Engine(Failure),
    /// The figures can't be written.
    #[error("{path} can't be written: {cause}")]
    Unwritable {
        /// Where to.
        path: PathBuf,
        /// Why not.
        cause: std::io::Error,
    },
    /// A picture can't be drawn.
    #[error("{path} can't be drawn: {cause}")]
    Undrawn {
        /// Where to.
        path: PathBuf,
        /// Why not.
        cause: String,
    },
    /// Somebody wanted it to end.
    #[error("interrupted; everything was taken down")]
    Interrupted,
}
