//! `corefn`: what a person types.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod access;
mod acl;
mod args;
mod assignment;
mod builds;
mod deploy;
mod describe;
mod doctor;
mod env;
mod error;
mod firewall;
mod functions;
mod git_host;
mod init;
mod installation;
mod instances;
mod invoke;
mod keys;
mod logs;
mod manual;
mod print;
mod queue;
mod release;
mod remote;
mod remove;
mod repository;
mod revisions;
mod schedules;
mod secret;
mod top;
mod unknown;

use std::io::{ErrorKind, Write as _};
use std::path::Path;
use std::process::ExitCode;

use clap::Parser as _;

use args::{Arguments, BuildsCommand, Command, RepositoryCommand};
use corefn_core::function::RepositoryName;
use corefn_engine::home;
use error::Error;
use installation::Installation;
use print::Printer;

fn main() -> ExitCode {
    // Wrong usage ends the process here, with status 2.
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let result = runtime
        .map_err(|cause| Error::Io("no event loop".into(), cause))
        .and_then(|runtime| runtime.block_on(run(arguments)));
    match result {
        Ok(status) => ExitCode::from(status),
        // Whoever reads has seen enough, as in `corefn ls | head -1`.
        Err(Error::Print(error)) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Lists builds, or prints the log of one.
fn builds(
    here: &Installation,
    printer: &Printer,
    repository: Option<&RepositoryName>,
    command: Option<BuildsCommand>,
) -> Result<(), Error> {
    match command {
        Some(BuildsCommand::Log { revision }) => builds::log(here, printer, &revision),
        None => builds::list(here, printer, repository),
    }
}

/// Returns the exit status.
async fn run(arguments: Arguments) -> Result<u8, Error> {
    let printer = &Printer::new(arguments.json);
    // Some words need no home.
    match &arguments.command {
        Command::Version => return printer.version().map(|()| 0),
        Command::Completion { shell } => return manual::completion(*shell).map(|()| 0),
        Command::Man { folder } => return manual::pages(folder).map(|()| 0),
        Command::Init { template, folder } => {
            let folder = folder.as_deref().unwrap_or(Path::new("."));
            return init::write(printer, *template, folder).map(|()| 0);
        }
        Command::Invoke { question } => return invoke::invoke(&arguments, question).await,
        Command::Deploy { repository, weight } => {
            return deploy::deploy(&arguments, repository.as_ref(), *weight).await;
        }
        _ => {}
    }
    let is_local = matches!(arguments.command, Command::GitHost(_));
    if let Some(remote) = remote::find(&arguments).filter(|_| !is_local) {
        return remote::run(&remote?);
    }
    let home = &home::find(arguments.home)?;
    let here = || Installation::open(home, None);
    match arguments.command {
        Command::Repo(RepositoryCommand::Create { name }) => {
            repository::create(&here()?, printer, &name).await?;
        }
        Command::Ls => functions::list(&here()?, printer).await?,
        Command::Ps => instances::list(&here()?, printer).await?,
        Command::Top { rounds } => top::show(&here()?, printer, &rounds).await?,
        Command::Logs { function, wanted } => {
            logs::print(&here()?, printer, &function, &wanted).await?
        }
        Command::Describe { function } => {
            describe::describe(&here()?, printer, &function).await?;
        }
        Command::Rm {
            function,
            repository,
            yes,
        } => remove::remove(&here()?, printer, &function, repository, yes).await?,
        Command::Revisions { function } => revisions::list(&here()?, printer, &function).await?,
        Command::Rollback { function, revision } => {
            let here = here()?;
            let _lock = repository::lock(&here.projects, &function).await?;
            revisions::roll_back(&here, printer, &function, revision.as_deref()).await?;
        }
        Command::Promote { function, revision } => {
            let here = here()?;
            let _lock = repository::lock(&here.projects, &function).await?;
            revisions::promote(&here, printer, &function, &revision).await?;
        }
        Command::Release {
            function,
            revision,
            weight,
            ..
        } => {
            let here = here()?;
            let _lock = repository::lock(&here.projects, &function).await?;
            release::run(&here, printer, &function, &revision, weight).await?;
        }
        Command::Env(command) => {
            let here = here()?;
            let _lock = match command.changes() {
                true => repository::lock(&here.projects, command.function()).await?,
                false => None,
            };
            env::run(&here, printer, &command).await?;
        }
        Command::Secret(command) => {
            let here = here()?;
            let _lock = match command.function().filter(|_| command.changes()) {
                Some(function) => repository::lock(&here.projects, function).await?,
                None => None,
            };
            secret::run(&here, printer, &command).await?;
        }
        Command::Schedules { function } => {
            schedules::list(&here()?, printer, function.as_ref()).await?;
        }
        Command::Queue(command) => queue::run(&here()?, printer, &command).await?,
        Command::Gc { dry_run } => revisions::collect(&here()?, printer, dry_run).await?,
        Command::Builds {
            repository,
            command,
        } => builds(&here()?, printer, repository.as_ref(), command)?,
        Command::Key(command) => keys::run(home, printer, command)?,
        Command::Access(command) => access::run(home, printer, command)?,
        Command::Doctor => return doctor::examine(home, printer).await,
        Command::Acl { user } => acl::show(home, printer, &user)?,
        Command::Firewall(command) => return firewall::run(home, printer, command),
        Command::GitHost(command) => return git_host::run(home, command).await,
        Command::Version
        | Command::Completion { .. }
        | Command::Man { .. }
        | Command::Init { .. }
        | Command::Invoke { .. }
        | Command::Deploy { .. } => {}
    }
    Ok(0)
}
