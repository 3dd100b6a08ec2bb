//! `corefn completion` and `man`, and the page about the command line: all made of its definition.

use std::fs;
use std::io;
use std::path::Path;

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::args::Arguments;
use crate::error::Error;

/// Prints the script with which a shell completes words.
pub fn completion(shell: Shell) -> Result<(), Error> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "corefn", &mut script);
    io::Write::write_all(&mut io::stdout(), &script).map_err(Error::Print)
}

/// Writes the manual's pages into a folder, which is made if it isn't there.
pub fn pages(folder: &Path) -> Result<(), Error> {
    let written = fs::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to(Arguments::command(), folder));
    written.map_err(|cause| {
        let what = format!("the manual can't be written to {}", folder.display());
        Error::Io(what, cause)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Arg, Command};

    /// The variable with which the page is written anew.
    const UPDATE: &str = "UPDATE_DOCS";

    /// What the table begins with.
    const TABLE: &str = "| command | | |\n|---|---|---|\n";

    /// What a command says of itself, without the dots of sentences that its help has none of.
    fn about(command: &Command) -> String {
        let about = command.get_about();
        about.map(ToString::to_string).unwrap_or_default()
    }

    fn rows(path: &str, command: &Command, table: &mut String) {
        for inner in command.get_subcommands().filter(|it| !it.is_hide_set()) {
            let path = format!("{path}{}", inner.get_name());
            if inner.get_arguments().next().is_some() || inner.get_subcommands().next().is_none() {
                let said = |arg: &Arg| {
                    let name = match (arg.get_long(), arg.get_value_names()) {
                        (Some(long), _) if !arg.get_action().takes_values() => format!("--{long}"),
                        (Some(long), names) => {
                            format!("--{long} {}", names.map_or("", |names| &names[0]))
                        }
                        (None, names) => names.map_or("", |names| &names[0]).to_owned(),
                    };
                    let help = arg.get_help().map(ToString::to_string);
                    format!("`{name}`: {}", help.unwrap_or_default().replace('\n', " "))
                };
                let arguments: Vec<_> = inner.get_arguments().map(said).collect();
                let row = format!(
                    "| `{path}` | {} | {} |\n",
                    about(inner).replace('\n', " "),
                    arguments.join("<br>")
                );
                table.push_str(&row);
            }
            rows(&format!("{path} "), inner, table);
        }
    }

    fn table() -> String {
        let mut table = TABLE.to_owned();
        rows("", &Arguments::command(), &mut table);
        table
    }

    #[test]
    fn page_has_the_definition_s_table() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/command-line.md");
        let text = fs::read_to_string(&path).unwrap();
        let (head, _) = text.split_once(TABLE).unwrap();
        let page = format!("{head}{}", table());
        if std::env::var_os(UPDATE).is_some() {
            fs::write(&path, &page).unwrap();
        } else {
            let path = path.display();
            assert!(
                text == page,
                "{path} is not what args.rs says: run the test with {UPDATE}=1"
            );
        }
    }

    #[test]
    fn manual_has_a_page_for_each_command() {
        let folder = tempfile::tempdir().unwrap();
        let man = folder.path().join("man1");
        pages(&man).unwrap();
        for name in ["corefn", "corefn-rollback", "corefn-builds-log"] {
            let page = fs::read_to_string(man.join(format!("{name}.1"))).unwrap();
            assert!(page.contains(".SH NAME"), "{name}");
        }
        let file = man.join("corefn.1");
        let error = pages(&file).unwrap_err().to_string();
        assert!(error.contains("can't be written to"), "{error}");
    }
}
