//! Running git in tests.

use tokio::process::Command;

/// Variables of a git that may have started the tests; they'd lead ours to its repository.
const GIT_VARIABLES: [&str; 3] = ["GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE"];

/// Keeps the user's own settings of git out of the tests.
pub(crate) fn as_nobody_special(command: &mut Command) -> &mut Command {
    for variable in GIT_VARIABLES {
        command.env_remove(variable);
    }
    for who in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{who}_NAME"), "Somebody");
        command.env(format!("GIT_{who}_EMAIL"), "somebody@example.com");
    }
    command
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
}
