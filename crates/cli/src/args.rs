//! The command line's arguments.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Parser, Subcommand};

use corefn_core::function::{FunctionName, NameError, check_segment};

/// Functions that are deployed with git push and run on demand.
#[derive(Debug, Parser)]
#[command(name = "corefn", version, arg_required_else_help = true)]
pub struct Arguments {
    /// Print JSON.
    #[arg(long, global = true)]
    pub json: bool,

    /// The installation's home, with its host.toml [default: $COREFN_HOME, else ./var]
    // The help above is documentation to the compiler, so the name may stand there.
    #[arg(long, global = true, value_name = "DIR")]
    pub home: Option<PathBuf>,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Repositories, which functions are pushed to
    #[command(subcommand)]
    Repo(RepositoryCommand),
    /// List functions
    #[command(visible_alias = "list")]
    Ls,
    /// List running instances
    Ps,
    /// Print what a function's instances wrote
    Logs {
        /// The function, account/name
        function: FunctionName,
        /// Go on as they write more, until interrupted
        #[arg(short, long)]
        follow: bool,
        /// Print only the last lines of each instance
        #[arg(short = 'n', long, value_name = "N")]
        tail: Option<u32>,
    },
    /// Remove a function: its instances, which get 10 seconds to finish, routes and images. The
    /// repository is kept
    Rm {
        /// The function, account/name
        function: FunctionName,
        /// Delete the repository as well, with all of its history
        #[arg(long)]
        repository: bool,
    },
    /// Print the version
    Version,
}

/// What to do with repositories.
#[derive(Debug, Subcommand)]
pub enum RepositoryCommand {
    /// Create a repository, or refresh the hook of one, and print its path
    Create {
        /// account/name; or only an account, whose manifest names the function
        name: RepositoryName,
    },
}

/// A repository's name: `account/name`, or an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepositoryName(String);

impl RepositoryName {
    /// The path of its directory from the folder of repositories.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("{}.git", self.0))
    }
}

impl FromStr for RepositoryName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        match text.split_once('/') {
            Some(_) => text.parse::<FunctionName>().map(|_| ())?,
            None => check_segment(text)?,
        }
        Ok(Self(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn definition() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn usage() {
        for good in [
            "ls",
            "ls --json",
            "--json ps",
            "--home /x ls",
            "logs a/b -f --tail 5",
            "logs -n 0 a/b",
            "rm a/b",
            "rm a/b --repository",
            "version",
            "repo create demo",
            "repo create demo/hello",
        ] {
            let words = std::iter::once("corefn").chain(good.split(' '));
            assert!(
                Arguments::try_parse_from(words).is_ok(),
                "{good} was refused"
            );
        }
        for bad in [
            "",
            "rm",
            "rm a",
            "rm a/b c/d",
            "logs A/b",
            "logs a/b --tail x",
            "repo",
            "repo create",
            "repo create a/b/c",
            "repo create ../x",
            "repo create A",
            "colour",
        ] {
            let words =
                std::iter::once("corefn").chain(bad.split(' ').filter(|word| !word.is_empty()));
            let error = Arguments::try_parse_from(words).expect_err(bad);
            assert_eq!(error.exit_code(), 2, "{bad}");
        }
    }

    #[test]
    fn repositories() {
        let path = |name: &str| name.parse::<RepositoryName>().unwrap().path();
        assert_eq!(path("demo/hello"), PathBuf::from("demo/hello.git"));
        assert_eq!(path("demo"), PathBuf::from("demo.git"));
    }
}
