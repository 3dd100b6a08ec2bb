//! What the executable does when it is started.

use std::env::{self, VarError};
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::RawFd;
use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

use crate::export::{DuplicateName, Exports};
use crate::listener::Listener;
use crate::server;

const DEFAULT_PORT: u16 = 8080;

/// Threads for functions that block. Fewer than the 64 threads that the platform allows by default:
/// further calls wait for one of these instead of failing.
const BLOCKING_THREADS: usize = 32;

/// Serves every exported function in the executable until SIGTERM or SIGINT.
///
/// It listens for HTTP/1.1 at the unix socket that it was given as a descriptor, if `COREFN_SOCKET` is the number of one; else
/// on `0.0.0.0`, at the port that `PORT` names, 8080 without it. On the signal
/// it takes no more connections, answers what is under way, and returns success. With the argument
/// `--exports` it prints what is exported instead, as JSON. What keeps it from starting goes to
/// standard error, and it returns failure.
pub fn serve() -> ExitCode {
    match run(env::args().skip(1).collect()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("corefn: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Vec<String>) -> Result<(), Error> {
    let exports = Exports::collect().map_err(Error::Exports)?;
    match arguments.as_slice() {
        [] => {}
        [argument] if argument == "--exports" => {
            println!("{}", exports.to_json());
            return Ok(());
        }
        [argument, ..] => return Err(Error::Argument(argument.clone())),
    }
    let socket = socket(env::var("COREFN_SOCKET"))?;
    let port = port(env::var("PORT"))?;
    let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .build()
        .map_err(Error::Runtime)?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).map_err(Error::Runtime)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Runtime)?;
        let listener = match socket {
            Some(number) => Listener::of_descriptor(number)
                .map_err(|source| Error::Listen(format!("the descriptor {number}"), source))?,
            None => Listener::at_port(address)
                .await
                .map_err(|source| Error::Listen(address.to_string(), source))?,
        };
        let stop = std::future::poll_fn(|context| {
            let stopped = terminate.poll_recv(context).is_ready();
            match stopped || interrupt.poll_recv(context).is_ready() {
                true => std::task::Poll::Ready(()),
                false => std::task::Poll::Pending,
            }
        });
        server::serve(listener, exports, stop).await;
        Ok(())
    })
}

fn port(variable: Result<String, VarError>) -> Result<u16, Error> {
    match variable {
        Ok(text) => text.parse().map_err(|_| Error::Port(text)),
        Err(VarError::NotPresent) => Ok(DEFAULT_PORT),
        Err(VarError::NotUnicode(text)) => Err(Error::Port(text.to_string_lossy().into_owned())),
    }
}

fn socket(variable: Result<String, VarError>) -> Result<Option<RawFd>, Error> {
    match variable {
        Ok(text) => match text.parse() {
            // (The first three are the standard streams.)
            Ok(number) if number > 2 => Ok(Some(number)),
            _ => Err(Error::Socket(text)),
        },
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(text)) => Err(Error::Socket(text.to_string_lossy().into_owned())),
    }
}

/// Why nothing is served.
#[derive(Debug)]
enum Error {
    Exports(DuplicateName),
    Argument(String),
    Port(String),
    Socket(String),
    Runtime(io::Error),
    Listen(String, io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exports(duplicate) => duplicate.fmt(formatter),
            Self::Argument(argument) => write!(
                formatter,
                "unknown argument `{argument}`; there is `--exports`, and none to serve"
            ),
            Self::Port(text) => write!(
                formatter,
                "the environment's PORT is `{text}`; it must be a number from 0 to 65535"
            ),
            Self::Socket(text) => write!(
                formatter,
                "the environment's COREFN_SOCKET is `{text}`; it must be the number of a descriptor, 3 or above"
            ),
            Self::Runtime(source) => write!(
                formatter,
                "the server's event loop can't be set up: {source}"
            ),
            Self::Listen(address, source) => {
                write!(formatter, "can't listen on {address}: {source}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports() {
        assert_eq!(port(Err(VarError::NotPresent)).unwrap(), 8080);
        assert_eq!(port(Ok("9000".into())).unwrap(), 9000);
        for text in ["", "http", "65536", "-1"] {
            let message = port(Ok(text.into())).unwrap_err().to_string();
            assert!(message.contains(&format!("PORT is `{text}`")), "{message}");
        }
    }

    #[test]
    fn sockets() {
        assert_eq!(socket(Err(VarError::NotPresent)).unwrap(), None);
        assert_eq!(socket(Ok("9".into())).unwrap(), Some(9));
        for text in ["", "unix:/run/x", "2", "-1"] {
            let message = socket(Ok(text.into())).unwrap_err().to_string();
            let wanted = format!("COREFN_SOCKET is `{text}`");
            assert!(message.contains(&wanted), "{message}");
        }
    }

    #[test]
    fn unknown_arguments() {
        let message = run(vec!["--help".into()]).unwrap_err().to_string();
        assert!(message.contains("`--help`"), "{message}");
    }
}
