//! What a client asks for over ssh.

use corefn_core::function::RepositoryName;

/// Which way git's objects go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the client.
    Push,
    /// To the client.
    Fetch,
    /// To the client, as an archive of files.
    Archive,
}

impl Direction {
    /// The program of git's that does it.
    pub fn program(self) -> &'static str {
        match self {
            Self::Push => "receive-pack",
            Self::Fetch => "upload-pack",
            Self::Archive => "upload-archive",
        }
    }
}

/// What a client asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Request {
    /// A shell, as `ssh host` does.
    Nothing,
    /// To exchange objects with a repository.
    Git(Direction, RepositoryName),
    /// A command of the command line.
    Command(Vec<String>),
}

/// Reads what a client asks for: `git-receive-pack '/alice/hello'` and the like, as git writes it,
/// or a command. Nothing of it reaches a shell.
///
/// # Errors
/// What is wrong, for the client.
pub fn parse(text: &str) -> Result<Request, String> {
    let words =
        shlex::split(text).ok_or_else(|| format!("{text:?} has a quote without its end"))?;
    let mut rest = words.iter().map(String::as_str);
    let program = match rest.next() {
        None => return Ok(Request::Nothing),
        // As git itself spells it as well.
        Some("git") => rest.next().unwrap_or_default(),
        Some(first) => match first.strip_prefix("git-") {
            Some(program) => program,
            None => return Ok(Request::Command(words)),
        },
    };
    let all = [Direction::Push, Direction::Fetch, Direction::Archive];
    let direction = all.into_iter().find(|one| one.program() == program);
    let (Some(direction), Some(path), None) = (direction, rest.next(), rest.next()) else {
        return Err(format!(
            "{text:?} is not for this host, which takes pushes and gives what is fetched"
        ));
    };
    Ok(Request::Git(direction, repository(path)?))
}

/// The repository of a path: `/alice/hello`, `alice/hello.git`, `/alice/hello/`.
fn repository(path: &str) -> Result<RepositoryName, String> {
    let name = path.strip_prefix('/').unwrap_or(path);
    let name = name.strip_suffix('/').unwrap_or(name);
    let name = name.strip_suffix(".git").unwrap_or(name);
    name.parse().map_err(|error| {
        format!("{path} is no repository ({error}): it is account/name, as in alice/hello")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn git(direction: Direction, name: &str) -> Request {
        Request::Git(direction, name.parse().unwrap())
    }

    #[test]
    fn as_git_asks() {
        for (text, request) in [
            (
                "git-receive-pack '/alice/hello'",
                git(Direction::Push, "alice/hello"),
            ),
            (
                "git-upload-pack 'alice/hello.git'",
                git(Direction::Fetch, "alice/hello"),
            ),
            (
                "git upload-archive '/alice/hello/'",
                git(Direction::Archive, "alice/hello"),
            ),
            ("git-upload-pack /demo.git/", git(Direction::Fetch, "demo")),
            ("", Request::Nothing),
            ("  ", Request::Nothing),
            (
                "logs a/b -f",
                Request::Command(vec!["logs".into(), "a/b".into(), "-f".into()]),
            ),
            ("ls; id", Request::Command(vec!["ls;".into(), "id".into()])),
        ] {
            assert_eq!(parse(text), Ok(request), "{text}");
        }
    }

    #[test]
    fn as_git_does_not() {
        for (text, says) in [
            ("git-receive-pack '/alice/../bob/x'", "no repository"),
            ("git-receive-pack '/etc/passwd/x/y'", "no repository"),
            ("git-receive-pack '/Alice/x'", "no repository"),
            (
                "git-receive-pack '/alice/x' '/alice/y'",
                "not for this host",
            ),
            ("git-receive-pack", "not for this host"),
            ("git-receive-pack --help", "no repository"),
            ("git-shell -c id", "not for this host"),
            ("git config --list", "not for this host"),
            ("git", "not for this host"),
            ("git-upload-pack 'x", "quote"),
            ("git-upload-pack ''", "no repository"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
