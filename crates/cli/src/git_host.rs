//! `corefn git-host`: what sshd runs for those who push, and the builder for those who ask.
//!
//! `keys` and `serve` run as the account that git runs as, which has neither Redis nor Docker, and
//! know only the folder of repositories, the keys and the grants. `run` is run by the builder.

mod command;
mod request;

use std::env;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command as Process;

use corefn_core::access::{Access, Role};
use corefn_core::function::RepositoryName;
use corefn_core::host::GitHost;
use corefn_core::names::env as variables;
use corefn_engine::{access, home};

use crate::args::GitHostCommand;
use crate::error::Error;
use crate::print::line;
use crate::repository;

use command::Repositories;
use request::{Direction, Request};

/// The variable in which sshd puts what the client asked for (sshd(8)).
const ORIGINAL_COMMAND: &str = "SSH_ORIGINAL_COMMAND";

/// How git is run: what is pushed is checked before it is taken.
const GIT_SETTINGS: [&str; 2] = ["-c", "transfer.fsckObjects=true"];

/// The variables that git gets; all others stay behind.
const GIT_VARIABLES: [&str; 5] = ["PATH", "HOME", "LANG", "TMPDIR", "GIT_PROTOCOL"];

/// Does what sshd or the builder wants. Returns the exit status.
pub async fn run(home: &Path, command: GitHostCommand) -> Result<u8, Error> {
    match command {
        GitHostCommand::Keys { kind, key } => authorize(home, &format!("{kind} {key}")),
        GitHostCommand::Serve { account } => serve(home, &account).await,
        GitHostCommand::Run { account, words } => {
            command::run(home, account, words, Repositories::Elsewhere).await
        }
    }
}

/// Prints the line of `authorized_keys` for a key, if it is an account's.
fn authorize(home: &Path, key: &str) -> Result<u8, Error> {
    let access = access::read(home)?;
    if let Some(account) = access.account_of(key) {
        let this = env::current_exe()
            .map_err(|cause| Error::Io("this program can't be found".into(), cause))?;
        line(&authorized(home, &this, account, key)?)?;
    }
    Ok(0)
}

fn authorized(home: &Path, program: &Path, account: &str, key: &str) -> Result<String, Error> {
    let quoted = |path: &Path| {
        let text = path.to_str().filter(|text| !text.contains('\n'));
        let quoted = text.and_then(|text| shlex::try_quote(text).ok());
        quoted.map(|text| text.into_owned()).ok_or_else(|| {
            Error::Refused(format!("{} is no path for sshd: rename it", path.display()))
        })
    };
    let command = format!(
        "{} --home {} git-host serve {account}",
        quoted(program)?,
        quoted(home)?
    );
    // (authorized_keys knows one escape, of the quote.)
    Ok(format!(
        "restrict,command=\"{}\" {key}",
        command.replace('"', "\\\"")
    ))
}

/// Does what a client asks for over ssh.
async fn serve(home: &Path, account: &str) -> Result<u8, Error> {
    let asked = env::var(ORIGINAL_COMMAND).unwrap_or_default();
    let host = home::read_git_host(home)?;
    let access = access::read(home)?;
    match request::parse(&asked).map_err(Error::Refused)? {
        Request::Nothing => Err(Error::Refused(format!(
            "you are {account}, and there is no shell here: push to \
             ssh://git@HOST:PORT/{account}/NAME, or ask for help, as in ssh git@HOST -p PORT help"
        ))),
        Request::Git(direction, name) => {
            exchange(home, &host, &access, account, direction, &name).await
        }
        Request::Command(words) => match &host.builder {
            Some(builder) => {
                let builder = home.join(builder);
                command::have_run(home, &host, &access, account, words, &builder).await
            }
            None => command::run(home, account.to_owned(), words, Repositories::Here).await,
        },
    }
}

/// Becomes git, which takes a push or gives what is fetched.
async fn exchange(
    home: &Path,
    host: &GitHost,
    access: &Access,
    account: &str,
    direction: Direction,
    name: &RepositoryName,
) -> Result<u8, Error> {
    let projects = home.join(&host.projects);
    let path = projects.join(name.path());
    let is_there = path.join("HEAD").exists();
    let role = access.role(account, name);
    let unknown = || {
        Error::Refused(format!(
            "there is no repository {name}, or none that {account} may see"
        ))
    };
    if role.is_none() && !access.may_create(account, name) {
        return Err(unknown());
    }
    if direction == Direction::Push {
        if is_there && role < Some(Role::Writer) {
            return Err(Error::Refused(format!(
                "{account} may fetch from {name} and not push to it: ask who owns it for the role \
                 writer"
            )));
        }
        if !is_there && !access.may_create(account, name) {
            return Err(unknown());
        }
        // Where it is there, its hook is refreshed.
        repository::ensure(home, &projects, name).await?;
    } else if !is_there {
        return Err(unknown());
    }
    let mut git = Process::new("git");
    git.args(GIT_SETTINGS)
        .args(["-c", &format!("receive.maxInputSize={}", host.max_push)])
        .arg(direction.program())
        .arg(&path)
        .env_clear()
        .envs(
            GIT_VARIABLES
                .iter()
                .filter_map(|name| Some((name, env::var_os(name)?))),
        )
        .env(variables::HOME, home)
        .env(variables::ACCOUNT, account);
    Err(Error::Io("git can't be run".into(), git.exec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_for_sshd() {
        let line = |home: &str| {
            authorized(
                Path::new(home),
                Path::new("/opt/c f/corefn"),
                "alice",
                "t k",
            )
        };
        assert_eq!(
            line("/var/lib/corefn").unwrap(),
            "restrict,command=\"'/opt/c f/corefn' --home /var/lib/corefn git-host serve alice\" t k"
        );
        let odd = line("/var/\"x\" $y").unwrap();
        let command = odd.split_once("command=\"").unwrap().1;
        let command = command
            .strip_suffix("\" t k")
            .unwrap()
            .replace("\\\"", "\"");
        let words = shlex::split(&command).unwrap();
        assert_eq!(words[2], "/var/\"x\" $y");
        assert!(line("/var/x\ny").is_err());
    }
}
