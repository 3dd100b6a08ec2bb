//! The same words from anywhere: ssh takes them to a git host.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde::Deserialize;

use corefn_core::function::RepositoryName;
use corefn_core::names::{PERSON_FILE, env as variables};
use corefn_engine::home;

use crate::args::Arguments;
use crate::error::Error;

/// The port of a git host where none is said.
const PORT: u16 = 7022;

/// The account that git runs as where none is said.
const USER: &str = "git";

/// How git is told which ssh to use (git(1)).
const GIT_SSH: &str = "GIT_SSH_COMMAND";

/// A person's own settings.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    /// The git host that is meant where there is no home.
    remote: Option<String>,
    /// Git hosts by the names that they are given here.
    remotes: BTreeMap<String, String>,
}

/// A git host.
#[derive(Debug, PartialEq, Eq)]
pub struct Remote {
    user: String,
    host: String,
    port: u16,
}

impl Remote {
    /// The ssh that git would use, with a text for the other side.
    fn ssh(&self, words: &str) -> Command {
        let mut ssh = match env::var_os(GIT_SSH).filter(|command| !command.is_empty()) {
            // (A text for the shell, as git has it.)
            Some(mut command) => {
                command.push(" \"$@\"");
                let mut shell = Command::new("sh");
                shell.arg("-c").arg(command).arg("sh");
                shell
            }
            None => Command::new("ssh"),
        };
        ssh.arg("-p").arg(self.port.to_string());
        ssh.arg("-l").arg(&self.user).arg("--").arg(&self.host);
        ssh.arg(words);
        ssh
    }

    /// Where a repository can be pushed to.
    pub fn url(&self, name: &RepositoryName) -> String {
        let Self { user, host, port } = self;
        match host.contains(':') {
            true => format!("ssh://{user}@[{host}]:{port}/{name}"),
            false => format!("ssh://{user}@{host}:{port}/{name}"),
        }
    }
}

/// The git host that the words are for, or what is wrong with its name; none if they are for this machine.
pub fn find(arguments: &Arguments) -> Option<Result<Remote, Error>> {
    let set = |text: &String| !text.is_empty();
    let mut name = arguments.remote.clone();
    if name.is_none() {
        // (A home that is named and not there is an error of its own.)
        let is_named = arguments.home.is_some() || env::var_os(variables::HOME).is_some();
        if is_named || home::find(None).is_ok() {
            return None;
        }
        name = env::var(variables::REMOTE).ok().filter(set);
    }
    let settings = match settings() {
        Ok(settings) => settings,
        Err(error) => return Some(Err(error)),
    };
    let name = name.or_else(|| settings.remote.clone())?;
    Some(settings.remote(&name))
}

/// Becomes ssh, which has the git host do what this program was told.
pub fn run(remote: &Remote) -> Result<u8, Error> {
    let words = words(env::args_os().skip(1))?;
    Err(failed(remote.ssh(&words).exec()))
}

/// What the git host says to a command.
pub fn ask(remote: &Remote, words: &[&str]) -> Result<Vec<u8>, Error> {
    let words = joined(words.iter().copied())?;
    let mut ssh = remote.ssh(&words);
    let said = ssh.stderr(Stdio::inherit()).output().map_err(failed)?;
    if said.status.success() {
        return Ok(said.stdout);
    }
    Err(Error::Refused(format!("{} has not said it", remote.host)))
}

fn failed(cause: io::Error) -> Error {
    Error::Io("ssh can't be run".into(), cause)
}

/// The words for the other side, which are all but where that is, as one text.
fn words(all: impl Iterator<Item = OsString>) -> Result<String, Error> {
    let mut words = Vec::new();
    let mut all = all.map(|word| word.into_string());
    while let Some(word) = all.next() {
        let word = word.map_err(|word| {
            Error::Refused(format!("{} is no text", PathBuf::from(word).display()))
        })?;
        if word == "--remote" {
            all.next();
        } else if !word.starts_with("--remote=") {
            words.push(word);
        }
    }
    joined(words.iter().map(String::as_str))
}

fn joined<'a>(words: impl Iterator<Item = &'a str>) -> Result<String, Error> {
    shlex::try_join(words).map_err(|_| Error::Refused("a word has a byte 0 in it".into()))
}

fn settings() -> Result<Settings, Error> {
    let set = |value: &OsString| !value.is_empty();
    let folder = env::var_os("XDG_CONFIG_HOME")
        .filter(set)
        .map(PathBuf::from);
    let home = || Some(PathBuf::from(env::var_os("HOME").filter(set)?).join(".config"));
    let Some(path) = folder.or_else(home).map(|folder| folder.join(PERSON_FILE)) else {
        return Ok(Settings::default());
    };
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Settings::default()),
        Err(error) => {
            return Err(Error::Io(
                format!("{} can't be read", path.display()),
                error,
            ));
        }
    };
    toml::from_str(&text).map_err(|error| Error::Refused(format!("{}: {error}", path.display())))
}

impl Settings {
    /// The git host of that name, or that the name itself says.
    fn remote(&self, name: &str) -> Result<Remote, Error> {
        let text = self.remotes.get(name).map_or(name, String::as_str);
        parse(text).ok_or_else(|| {
            Error::Refused(format!(
                "{text:?} is no git host: write [user@]host[:port], or a name that {PERSON_FILE} has in [remotes]"
            ))
        })
    }
}

/// `[user@]host[:port]`, with an address of IPv6 in brackets.
fn parse(text: &str) -> Option<Remote> {
    let (user, rest) = text.split_once('@').unwrap_or((USER, text));
    let (host, port) = match rest.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            (
                host,
                port.strip_prefix(':').or(port.is_empty().then_some("")),
            )
        }
        None => match rest.split_once(':') {
            Some((host, port)) => (host, Some(port).filter(|port| !port.is_empty())),
            None => (rest, Some("")),
        },
    };
    let port = match port? {
        "" => PORT,
        port => port.parse().ok().filter(|port| *port > 0)?,
    };
    let is_word = |word: &str| {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b".-_:%".contains(&b);
        !word.is_empty() && !word.starts_with('-') && word.bytes().all(plain)
    };
    (is_word(user) && is_word(host)).then(|| Remote {
        user: user.to_owned(),
        host: host.to_owned(),
        port,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote(user: &str, host: &str, port: u16) -> Option<Remote> {
        let (user, host) = (user.to_owned(), host.to_owned());
        Some(Remote { user, host, port })
    }

    #[test]
    fn git_hosts() {
        for (text, meant) in [
            ("git@host:7022", remote("git", "host", 7022)),
            ("host", remote("git", "host", 7022)),
            ("me@host.example", remote("me", "host.example", 7022)),
            ("host:22", remote("git", "host", 22)),
            ("10.0.0.1:22", remote("git", "10.0.0.1", 22)),
            ("[fd00::1]:22", remote("git", "fd00::1", 22)),
            ("git@[fd00::1]", remote("git", "fd00::1", 7022)),
        ] {
            assert_eq!(parse(text), meant, "{text}");
        }
        for bad in [
            "",
            "@",
            "a@",
            "@host",
            "host:",
            "host:0",
            "host:x",
            "host:99999",
            "-oProxyCommand=x",
            "a b",
            "[fd00::1",
            "[fd00::1]x",
            "[]:1",
            "git@-x",
            "ho$st",
        ] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn names_of_git_hosts() {
        let text = "remote = 'shop'\n[remotes]\nshop = 'git@shop.example:22'";
        let settings: Settings = toml::from_str(text).unwrap();
        let shop = settings.remote("shop").unwrap();
        assert_eq!(Some(shop), remote("git", "shop.example", 22));
        assert_eq!(settings.remote("other").ok(), remote("git", "other", 7022));
        assert!(settings.remote("o ther").is_err());
        assert!(toml::from_str::<Settings>("colour = 1").is_err());
        let name = "alice/hello".parse().unwrap();
        for (text, url) in [
            ("h", "ssh://git@h:7022/alice/hello"),
            ("me@[fd00::1]:22", "ssh://me@[fd00::1]:22/alice/hello"),
        ] {
            assert_eq!(parse(text).unwrap().url(&name), url);
        }
    }

    #[test]
    fn words_for_the_other_side() {
        let of = |all: &[&str]| words(all.iter().map(OsString::from)).unwrap();
        assert_eq!(of(&["--remote", "h", "ls", "--json"]), "ls --json");
        assert_eq!(of(&["ls", "--remote=h"]), "ls");
        let odd = of(&["rollback", "a/b", "x y'z"]);
        assert_eq!(shlex::split(&odd).unwrap(), ["rollback", "a/b", "x y'z"]);
    }
}
