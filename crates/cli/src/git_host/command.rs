//! The words of the command line that come over ssh: who may which.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use clap::Parser as _;

use corefn_build::service;
use corefn_core::access::{Access, Role};
use corefn_core::function::{FunctionName, RepositoryName};
use corefn_core::host::GitHost;
use corefn_engine::access;

use crate::args::{AccessCommand, Arguments, Command, KeyCommand, SecretCommand};
use crate::error::Error;
use crate::installation::{Installation, Viewer};
use crate::print::{Printer, line};
use crate::{
    describe, env, functions, instances, keys, logs, queue, release, remove, repository, revisions,
    schedules, secret, top,
};

/// Who locks and deletes repositories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repositories {
    /// This process.
    Here,
    /// The process that has asked the builder.
    Elsewhere,
}

impl Repositories {
    /// Keeps pushes out of a function's repository, unless somebody else does so already.
    async fn lock(
        self,
        here: &Installation,
        function: &FunctionName,
    ) -> Result<Option<File>, Error> {
        match self {
            Self::Here => repository::lock(&here.projects, function).await,
            Self::Elsewhere => Ok(None),
        }
    }
}

/// Has the builder run a command. What only this side can do for it, it does: the repository is locked while
/// its function is removed, and a key that comes over standard input goes along.
pub(super) async fn have_run(
    home: &Path,
    host: &GitHost,
    access: &Access,
    account: &str,
    words: Vec<String>,
    builder: &Path,
) -> Result<u8, Error> {
    match parse(&words).map(|arguments| arguments.command) {
        Ok(Command::Rm {
            function,
            repository: with_repository,
            ..
        }) if access.role_on(account, &function) == Some(Role::Owner) => {
            let projects = home.join(&host.projects);
            let path = repository::of(&projects, &function);
            let _lock = repository::lock(&projects, &function).await?;
            let status = service::run(builder, account, words, None).await?;
            if status == 0 {
                remove::finish(path.as_deref(), with_repository)?;
            }
            Ok(status)
        }
        Ok(
            Command::Rollback { function, .. }
            | Command::Promote { function, .. }
            | Command::Release { function, .. },
        ) if access.role_on(account, &function) >= Some(Role::Writer) => {
            let _lock = repository::lock(&home.join(&host.projects), &function).await?;
            Ok(service::run(builder, account, words, None).await?)
        }
        Ok(Command::Env(command))
            if command.changes()
                && access.role_on(account, command.function()) >= Some(Role::Writer) =>
        {
            let _lock = repository::lock(&home.join(&host.projects), command.function()).await?;
            Ok(service::run(builder, account, words, None).await?)
        }
        Ok(Command::Secret(SecretCommand::Set { function, name }))
            if access.role_on(account, &function) >= Some(Role::Writer) =>
        {
            let value = secret::typed(&name)? + "\n";
            let _lock = repository::lock(&home.join(&host.projects), &function).await?;
            Ok(service::run(builder, account, words, Some(value)).await?)
        }
        Ok(Command::Secret(SecretCommand::Unset { function, .. }))
            if access.role_on(account, &function) >= Some(Role::Writer) =>
        {
            let _lock = repository::lock(&home.join(&host.projects), &function).await?;
            Ok(service::run(builder, account, words, None).await?)
        }
        Ok(Command::Key(KeyCommand::Add { file: None, .. })) => {
            let mut key = String::new();
            let read = std::io::stdin()
                .take(keys::MAX_KEY)
                .read_to_string(&mut key);
            read.map_err(|cause| Error::Io("standard input can't be read".into(), cause))?;
            Ok(service::run(builder, account, words, Some(key)).await?)
        }
        // The builder also says what is wrong with it.
        _ => Ok(service::run(builder, account, words, None).await?),
    }
}

fn parse(words: &[String]) -> Result<Arguments, clap::Error> {
    Arguments::try_parse_from(std::iter::once("corefn").chain(words.iter().map(String::as_str)))
}

/// Runs a command of the command line, as far as the account may.
pub(super) async fn run(
    home: &Path,
    account: String,
    words: Vec<String>,
    repositories: Repositories,
) -> Result<u8, Error> {
    let arguments = match parse(&words) {
        Ok(arguments) => arguments,
        Err(usage) => {
            let text = usage.render().to_string();
            return match usage.exit_code() {
                0 => line(text.trim_end()).map(|()| 0),
                status => {
                    crate::print::remark(text.trim_end());
                    Ok(u8::try_from(status).unwrap_or(2))
                }
            };
        }
    };
    let printer = Printer::new(arguments.json);
    if arguments.home.is_some() || arguments.remote.is_some() {
        return Err(Error::Refused(
            "--home and --remote are not for those who come over ssh".into(),
        ));
    }
    let access = access::read(home)?;
    let viewer = Viewer { account, access };
    match arguments.command {
        Command::Version => printer.version()?,
        Command::Describe { function } => {
            viewer.must_see(&function)?;
            describe::describe(&here(home, viewer)?, &printer, &function).await?;
        }
        Command::Completion { .. }
        | Command::Man { .. }
        | Command::Init { .. }
        | Command::Invoke { .. }
        | Command::Deploy { .. } => {
            return Err(Error::Refused(
                "that is done where it is wanted, by corefn itself".into(),
            ));
        }
        Command::Ls => functions::list(&here(home, viewer)?, &printer).await?,
        Command::Ps => instances::list(&here(home, viewer)?, &printer).await?,
        Command::Top { rounds } => top::show(&here(home, viewer)?, &printer, &rounds).await?,
        Command::Logs { function, wanted } => {
            viewer.must_see(&function)?;
            logs::print(&here(home, viewer)?, &printer, &function, &wanted).await?;
        }
        Command::Builds {
            repository,
            command,
        } => crate::builds(&here(home, viewer)?, &printer, repository.as_ref(), command)?,
        Command::Key(command) => keys_for(home, &printer, &viewer.account, command)?,
        Command::Access(command) => access_for(home, &printer, &viewer, command)?,
        Command::Repo(_) => {
            return Err(Error::Refused(
                "a repository is made by the first push to it".into(),
            ));
        }
        Command::Rm {
            function,
            repository,
            yes,
        } => {
            viewer.must_own(&function)?;
            let here = here(home, viewer)?;
            match repositories {
                Repositories::Here => {
                    remove::remove(&here, &printer, &function, repository, yes).await?
                }
                Repositories::Elsewhere => {
                    remove::confirm(&function, repository, yes)?;
                    remove::undeploy(&here, &printer, &function, repository).await?;
                }
            }
        }
        Command::Revisions { function } => {
            viewer.must_see(&function)?;
            revisions::list(&here(home, viewer)?, &printer, &function).await?;
        }
        Command::Schedules { function } => {
            function
                .as_ref()
                .map_or(Ok(()), |function| viewer.must_see(function))?;
            schedules::list(&here(home, viewer)?, &printer, function.as_ref()).await?;
        }
        Command::Queue(command) => {
            match command.function() {
                Some(function) if command.changes() => viewer.must_write(function)?,
                Some(function) => viewer.must_see(function)?,
                None => {}
            }
            queue::run(&here(home, viewer)?, &printer, &command).await?;
        }
        Command::Rollback { function, revision } => {
            viewer.must_write(&function)?;
            let here = here(home, viewer)?;
            let _lock = repositories.lock(&here, &function).await?;
            revisions::roll_back(&here, &printer, &function, revision.as_deref()).await?;
        }
        Command::Promote { function, revision } => {
            viewer.must_write(&function)?;
            let here = here(home, viewer)?;
            let _lock = repositories.lock(&here, &function).await?;
            revisions::promote(&here, &printer, &function, &revision).await?;
        }
        Command::Release {
            function,
            revision,
            weight,
            ..
        } => {
            viewer.must_write(&function)?;
            let here = here(home, viewer)?;
            let _lock = repositories.lock(&here, &function).await?;
            release::run(&here, &printer, &function, &revision, weight).await?;
        }
        Command::Env(command) => {
            if !command.changes() {
                viewer.must_see(command.function())?;
                return env::run(&here(home, viewer)?, &printer, &command)
                    .await
                    .map(|()| 0);
            }
            viewer.must_write(command.function())?;
            let here = here(home, viewer)?;
            let _lock = repositories.lock(&here, command.function()).await?;
            env::run(&here, &printer, &command).await?;
        }
        Command::Secret(command) => {
            let Some(function) = command.function() else {
                return Err(Error::Refused(
                    "keys are rotated on the host itself: ask its operator".into(),
                ));
            };
            if !command.changes() {
                viewer.must_see(function)?;
                return secret::run(&here(home, viewer)?, &printer, &command)
                    .await
                    .map(|()| 0);
            }
            viewer.must_write(function)?;
            let here = here(home, viewer)?;
            let _lock = repositories.lock(&here, function).await?;
            secret::run(&here, &printer, &command).await?;
        }
        Command::Acl { .. }
        | Command::Firewall(_)
        | Command::GitHost(_)
        | Command::Gc { .. }
        | Command::Doctor => {
            return Err(Error::Refused(
                "that is done on the host itself: ask its operator".into(),
            ));
        }
    }
    Ok(0)
}

fn here(home: &Path, viewer: Viewer) -> Result<Installation, Error> {
    Installation::open(home, Some(viewer))
}

/// An account sees, adds and removes keys of its own.
fn keys_for(
    home: &Path,
    printer: &Printer,
    viewer: &str,
    command: KeyCommand,
) -> Result<(), Error> {
    let of = match &command {
        KeyCommand::List { account } => account.as_deref(),
        KeyCommand::Add { account, .. } | KeyCommand::Rm { account, .. } => Some(account.as_str()),
    };
    if of.is_some_and(|account| account != viewer) {
        let text = format!("{viewer} may only see and change its own keys");
        return Err(Error::Refused(text));
    }
    match command {
        KeyCommand::List { .. } => keys::list(home, printer, Some(viewer)),
        KeyCommand::Add { file: Some(_), .. } => Err(Error::Refused(format!(
            "a file's name means nothing here: send the key itself, as in ssh git@HOST -p PORT \
             key add {viewer} < id_ed25519.pub"
        ))),
        command => keys::run(home, printer, command),
    }
}

/// Who owns something says who else gets in; anybody sees what concerns them.
fn access_for(
    home: &Path,
    printer: &Printer,
    viewer: &Viewer,
    command: AccessCommand,
) -> Result<(), Error> {
    let owns = |on: &RepositoryName| {
        let role = viewer.access.role(&viewer.account, on);
        match role {
            Some(Role::Owner) => Ok(()),
            _ => Err(Error::Refused(format!(
                "{} does not own {on}, so it can't let anybody in there",
                viewer.account
            ))),
        }
    };
    match &command {
        AccessCommand::Grant { on, .. } | AccessCommand::Revoke { on, .. } => {
            owns(on)?;
            crate::access::run(home, printer, command)
        }
        AccessCommand::List { on } => crate::access::list(home, printer, |grant| {
            let owned = grant.on.parse().is_ok_and(|on| owns(&on).is_ok());
            (owned || grant.account == viewer.account)
                && on.as_ref().is_none_or(|on| grant.on == on.as_str())
        }),
    }
}

impl Viewer {
    /// Checks that a function is its own, or one that it owns together with others.
    fn must_own(&self, function: &FunctionName) -> Result<(), Error> {
        self.must_see(function)?;
        match self.access.role_on(&self.account, function) {
            Some(Role::Owner) => Ok(()),
            _ => Err(Error::Refused(format!(
                "{} does not own {function}, so it can't remove it",
                self.account
            ))),
        }
    }

    /// Checks that it may push to a function's repository, which others may have let it into.
    fn must_write(&self, function: &FunctionName) -> Result<(), Error> {
        self.must_see(function)?;
        if self.access.role_on(&self.account, function) >= Some(Role::Writer) {
            return Ok(());
        }
        Err(Error::Refused(format!(
            "{} may see {function} and not say which revision is deployed: ask who owns it for the role writer",
            self.account
        )))
    }

    /// Checks that a function is to be seen.
    fn must_see(&self, function: &FunctionName) -> Result<(), Error> {
        if self.sees(function) {
            return Ok(());
        }
        Err(Error::Refused(format!(
            "there is no function {function}, or none that {} may see: ls lists those there are",
            self.account
        )))
    }
}
