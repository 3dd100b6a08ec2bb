//! The command line's arguments.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use clap_complete::Shell;

use corefn_core::access::Role;
use corefn_core::environment::check_name;
use corefn_core::function::{FunctionName, RepositoryName};
use corefn_core::invocation::InvocationId;

use crate::assignment::Assignment;
use crate::init::Template;
use crate::logs::Wanted;
use crate::top::Rounds;

/// Functions that are deployed with git push and run on demand.
#[derive(Debug, Parser)]
#[command(name = "corefn", version, arg_required_else_help = true)]
pub struct Arguments {
    /// Print JSON.
    #[arg(long, global = true)]
    pub json: bool,

    /// The installation's home, with its host.toml [default: $COREFN_HOME, else /var/lib/corefn, else ./var]
    // (The help of this and the next is documentation to the compiler, so names may stand there.)
    #[arg(long, global = true, value_name = "DIR")]
    pub home: Option<PathBuf>,

    /// The git host whose builder does it, host, user@host or user@host:port, or what the configuration calls it: as
    /// ssh does it [default: $COREFN_REMOTE, else the configuration's, where there is no home]
    #[arg(long, global = true, value_name = "HOST", conflicts_with = "home")]
    pub remote: Option<String>,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write the files of a first function
    Init {
        /// What for
        template: Template,
        /// The folder [default: this one]
        folder: Option<PathBuf>,
    },
    /// Push the commit that is checked out here, to be deployed
    Deploy {
        /// The repository, account/name [default: the one that was deployed to from here before]
        repository: Option<RepositoryName>,
        /// Release it beside what is deployed: the percentage of the requests that it gets
        #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..=100))]
        weight: Option<u8>,
    },
    /// Repositories, which functions are pushed to
    #[command(subcommand)]
    Repo(RepositoryCommand),
    /// List functions
    #[command(visible_alias = "list")]
    Ls,
    /// Say all there is to say of a function
    Describe {
        /// The function, account/name
        function: FunctionName,
    },
    /// Ask a function, and say how long what took
    Invoke {
        #[command(flatten)]
        question: Question,
    },
    /// List running instances
    Ps,
    /// Show what functions use, over and over
    Top {
        #[command(flatten)]
        rounds: Rounds,
    },
    /// Print what a function's instances wrote
    Logs {
        /// The function, account/name
        function: FunctionName,
        #[command(flatten)]
        wanted: Wanted,
    },
    /// Remove a function: its instances, which get 10 seconds to finish, routes and images. The
    /// repository is kept
    Rm {
        /// The function, account/name
        function: FunctionName,
        /// Delete the repository as well, with all of its history
        #[arg(long)]
        repository: bool,
        /// Don't ask
        #[arg(short, long)]
        yes: bool,
    },
    /// List a function's revisions that can be deployed, the newest first
    Revisions {
        /// The function, account/name
        function: FunctionName,
    },
    /// Go back to the revision that was deployed before, or to another. Nothing is built; it is warm before it takes over
    Rollback {
        /// The function, account/name
        function: FunctionName,
        /// The revision, or as much of its time or its commit as no other has [default: the one that was deployed before]
        revision: Option<String>,
    },
    /// Deploy a revision, an older or a newer one
    Promote {
        /// The function, account/name
        function: FunctionName,
        /// The revision, or as much of its time or its commit as no other has
        revision: String,
    },
    /// Release a revision beside the current one: to a share of the requests, and at an address of its own
    Release {
        /// The function, account/name
        function: FunctionName,
        /// The revision, or as much of its time or its commit as no other has
        revision: String,
        /// The percentage of the requests that it gets; with 0 it is had at its own address alone
        #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..=100))]
        #[arg(required_unless_present = "end")]
        weight: Option<u8>,
        /// Have it released no more
        #[arg(long, conflicts_with = "weight")]
        end: bool,
    },
    /// The variables of a function's environment
    #[command(subcommand)]
    Env(EnvCommand),
    /// The secrets of a function, which it gets as variables of its environment
    #[command(subcommand)]
    Secret(SecretCommand),
    /// List the lines of functions' schedules: when each is due next, and what came of the last call
    Schedules {
        /// Only of this function
        function: Option<FunctionName>,
    },
    /// Invocations, whose clients do not wait for the answer
    #[command(subcommand)]
    Queue(QueueCommand),
    /// Remove the images of revisions that are not kept, as the cleaner does by itself
    Gc {
        /// Only list them
        #[arg(long)]
        dry_run: bool,
    },
    /// List what was pushed, the newest first
    #[command(args_conflicts_with_subcommands = true)]
    Builds {
        /// Only to this repository
        repository: Option<RepositoryName>,
        /// What else to do
        #[command(subcommand)]
        command: Option<BuildsCommand>,
    },
    /// Accounts' keys, for git push over ssh
    #[command(subcommand)]
    Key(KeyCommand),
    /// What accounts may do with others' repositories
    #[command(subcommand)]
    Access(AccessCommand),
    /// Keep functions and builds from the host and its network, with rules of nftables
    #[command(subcommand)]
    Firewall(FirewallCommand),
    /// Print the user of Redis that CoreFn needs, as a file of users (aclfile) has it, without its password
    Acl {
        /// What it is called
        #[arg(default_value = "corefn")]
        user: String,
    },
    /// Look at all that an installation needs, and say how to mend what is wrong; then the status is 1
    Doctor,
    /// Print what a shell needs to complete words of this program
    Completion {
        /// The shell
        shell: Shell,
    },
    /// Write the manual's pages
    Man {
        /// The folder
        folder: PathBuf,
    },
    /// Print the version
    Version,
    /// What sshd and the builder run
    #[command(subcommand, hide = true)]
    GitHost(GitHostCommand),
}

/// What is asked.
#[derive(Debug, Clone, clap::Args)]
pub struct Question {
    /// The function and what of it: account/name, account/name/Export, account/name/path?query
    #[arg(value_name = "FUNCTION[/PATH]")]
    pub target: String,
    /// The body; @FILE for a file's, @- for standard input's. What is JSON is sent as such, and anything else as text
    #[arg(short, long, value_name = "TEXT")]
    pub data: Option<String>,
    /// A header more, such as 'Accept: text/html'
    #[arg(short = 'H', long, value_name = "HEADER")]
    pub header: Vec<String>,
    /// Ask every second, until interrupted, and print only how long it took
    #[arg(short, long)]
    pub watch: bool,
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

/// What to do with a function's environment. What changes it makes a revision of its own: the same files, warm before it takes
/// over, and corefn rollback goes back.
#[derive(Debug, Subcommand)]
pub enum EnvCommand {
    /// List the variables, and where they are from
    #[command(visible_alias = "ls")]
    List {
        /// The function, account/name
        function: FunctionName,
    },
    /// Set variables, in place of those of its corefn.toml. They stay when it is pushed anew
    Set {
        /// The function, account/name
        function: FunctionName,
        /// A variable and its value; there may be several
        #[arg(required = true, value_name = "NAME=VALUE")]
        variables: Vec<Assignment>,
    },
    /// Unset variables that were set: what its corefn.toml says of them counts again
    Unset {
        /// The function, account/name
        function: FunctionName,
        /// A variable; there may be several
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
}

/// What to do with a function's secrets. Their values are kept on the host, sealed, and nobody is shown them. What changes them makes
/// a revision of its own: the same files, warm before it takes over, and corefn rollback goes back.
#[derive(Debug, Subcommand)]
pub enum SecretCommand {
    /// List the names of the secrets, and when they were set
    #[command(visible_alias = "ls")]
    List {
        /// The function, account/name
        function: FunctionName,
    },
    /// Set a secret to what standard input has, less the end of its last line. It stays when the function is pushed anew, and may be
    /// set before it is pushed at all
    Set {
        /// The function, account/name
        function: FunctionName,
        /// The variable
        #[arg(value_parser = variable)]
        name: String,
    },
    /// Unset secrets
    Unset {
        /// The function, account/name
        function: FunctionName,
        /// A variable; there may be several
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
    /// Seal all secrets of this host with a new key, and forget the one before
    Rotate,
}

/// What to do with invocations that have not ended well.
#[derive(Debug, Subcommand)]
pub enum QueueCommand {
    /// List how many wait, or a function's own
    #[command(visible_alias = "ls")]
    List {
        /// Only of this function, each by itself
        function: Option<FunctionName>,
        /// How many of a function's in each state
        #[arg(short = 'n', long = "most", value_name = "COUNT", default_value_t = 20)]
        #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000))]
        most: u32,
    },
    /// Call invocations again at once
    Retry {
        /// The function, account/name
        function: FunctionName,
        /// An invocation that is dead or waits to be called again; there may be several [default: all that are dead]
        #[arg(value_name = "INVOCATION")]
        invocations: Vec<InvocationId>,
    },
    /// Remove invocations. What is being called is not
    #[command(visible_alias = "remove")]
    Rm {
        /// The function, account/name
        function: FunctionName,
        /// An invocation; there may be several
        #[arg(value_name = "INVOCATION", required_unless_present = "all")]
        invocations: Vec<InvocationId>,
        /// Remove all of the function's
        #[arg(long, conflicts_with = "invocations")]
        all: bool,
        /// Don't ask
        #[arg(short, long)]
        yes: bool,
    },
}

/// What to do with builds.
#[derive(Debug, Subcommand)]
pub enum BuildsCommand {
    /// Print the log of a build
    Log {
        /// The revision that it made, or would have made
        revision: String,
    },
}

/// What to do with accounts' keys.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Give an account a public key, by which ssh knows it
    Add {
        /// The account
        account: String,
        /// The file with the key, such as id_ed25519.pub; standard input if there is none
        file: Option<PathBuf>,
        /// What the key is called [default: its comment, or the file's name]
        #[arg(long)]
        name: Option<String>,
    },
    /// List keys
    #[command(visible_alias = "ls")]
    List {
        /// Only this account's
        account: Option<String>,
    },
    /// Take a key from an account. It is dead at once
    #[command(visible_alias = "remove")]
    Rm {
        /// The account
        account: String,
        /// What the key is called, or its fingerprint
        key: String,
    },
}

/// What to do with what accounts may do with others' repositories.
#[derive(Debug, Subcommand)]
pub enum AccessCommand {
    /// Let an account in
    Grant {
        /// A repository; or an account, for all of its repositories
        on: RepositoryName,
        /// Who is let in
        account: String,
        /// reader (fetch, ls, ps, logs), writer (push, rollback and release as well) or owner (rm and access as well)
        role: Role,
    },
    /// Take back what was granted
    Revoke {
        /// As it was granted
        on: RepositoryName,
        /// Who was let in
        account: String,
    },
    /// List what was granted
    #[command(visible_alias = "ls")]
    List {
        /// Only on this repository or account
        on: Option<RepositoryName>,
    },
}

/// What to do with the rules that keep functions and builds from the host.
#[derive(Debug, Clone, Copy, Subcommand)]
pub enum FirewallCommand {
    /// Print the rules, as nft -f reads them
    Print,
    /// Load the rules, in the place of those that are loaded
    Load,
    /// Say whether the rules are loaded; if not, end with status 1
    Check,
    /// Remove the rules
    Remove,
}

/// What sshd and the builder run.
#[derive(Debug, Subcommand)]
pub enum GitHostCommand {
    /// Print the line for sshd's AuthorizedKeysCommand, if the key is an account's
    Keys {
        /// The key's type (%t)
        kind: String,
        /// The key in base64 (%k)
        key: String,
    },
    /// Do what $SSH_ORIGINAL_COMMAND says, for an account
    Serve {
        /// The account
        account: String,
    },
    /// Run a command for an account, as far as it may
    Run {
        /// The account
        account: String,
        /// The command
        #[arg(last = true)]
        words: Vec<String>,
    },
}

/// A variable's name.
fn variable(name: &str) -> Result<String, String> {
    check_name(name).map(|()| name.to_owned())
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
            "logs a/b --since 10m --grep error --revision 2023",
            "rm a/b",
            "rm a/b --repository --yes",
            "rm -y a/b",
            "describe a/b",
            "top",
            "top --interval 500ms -n 3",
            "invoke a/b/Say -d World -H Accept:text/html --watch",
            "init python",
            "init rust there",
            "deploy",
            "deploy a/b",
            "deploy a/b --weight 10",
            "doctor --json",
            "completion bash",
            "man /x",
            "--remote git@h:7022 ls",
            "version",
            "repo create demo",
            "repo create demo/hello",
            "builds",
            "revisions a/b",
            "rollback a/b",
            "rollback a/b 20231114T221320-0123456",
            "promote a/b 0123456",
            "release a/b 0123456 --weight 10",
            "release a/b 0123456 --weight 0",
            "release a/b 0123456 --end",
            "env list a/b",
            "env ls a/b",
            "env set a/b A=b C=d=e",
            "env unset a/b A C",
            "schedules",
            "schedules a/b --json",
            "queue ls",
            "queue list a/b -n 5",
            "queue retry a/b",
            "queue retry a/b 000000000000000100000000000000ab",
            "queue rm a/b --all --yes",
            "queue rm a/b 000000000000000100000000000000ab 000000000000000100000000000000ac",
            "gc",
            "gc --dry-run",
            "builds a/b",
            "builds log 20231114T221320-0123456",
            "key add alice",
            "key add alice id.pub --name laptop",
            "key list",
            "key rm alice laptop",
            "access grant alice/hello bob writer",
            "access grant alice bob reader",
            "access revoke alice bob",
            "access list alice/hello",
            "git-host serve alice",
            "git-host run alice -- logs a/b -f",
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
            "top a/b",
            "top --interval soon",
            "top --interval 1ms",
            "describe",
            "init",
            "init cobol",
            "deploy A/b",
            "deploy --weight 101",
            "completion csh",
            "--remote h --home /x ls",
            "logs A/b",
            "revisions",
            "rollback",
            "rollback a/b x y",
            "promote a/b",
            "release a/b",
            "release a/b r",
            "release a/b r --weight",
            "release a/b r --weight 101",
            "release a/b r --weight -1",
            "release a/b r --weight 10 --end",
            "promote a/b@r r",
            "env",
            "env set a/b",
            "env set a/b A",
            "env set a/b PORT=1",
            "env unset a/b",
            "gc a/b",
            "schedules a",
            "queue",
            "queue ls a/b -n 0",
            "queue retry",
            "queue retry a/b 1",
            "queue rm a/b",
            "queue rm a/b --all 000000000000000100000000000000ab",
            "logs a/b --tail x",
            "logs a/b --since yesterday",
            "repo",
            "repo create",
            "repo create a/b/c",
            "repo create ../x",
            "repo create A",
            "colour",
            "key",
            "builds log",
            "builds a/b log x",
            "key add",
            "access grant alice bob",
            "access grant alice bob god",
            "access grant a/b/c bob reader",
            "git-host run alice ls",
        ] {
            let words =
                std::iter::once("corefn").chain(bad.split(' ').filter(|word| !word.is_empty()));
            let error = Arguments::try_parse_from(words).expect_err(bad);
            assert_eq!(error.exit_code(), 2, "{bad}");
        }
    }
}
