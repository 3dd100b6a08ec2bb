//! `corefn secret`: variables of a function's environment whose values nobody is shown.

use std::io::Read as _;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;

use corefn_build::configure::configure;
use corefn_core::config::FunctionConfig;
use corefn_core::environment::{self, MAX_SECRET};
use corefn_core::function::FunctionName;
use corefn_core::nearest::nearest;
use corefn_core::secrets::{SecretIds, check_count};
use corefn_engine::docker::Image;

use crate::args::SecretCommand;
use crate::error::Error;
use crate::installation::Installation;
use crate::print::{Printer, remark, span};
use crate::revisions::{is_deployed, report};
use crate::unknown::no_function;

#[derive(Serialize)]
struct Row<'a> {
    name: &'a str,
    /// When its value was set, RFC 3339; none where that is gone.
    set: Option<String>,
    /// Whether it waits for the function's first push.
    waits: bool,
    #[serde(skip)]
    age: Option<Duration>,
}

impl SecretCommand {
    /// The function that is concerned; none if all are.
    pub fn function(&self) -> Option<&FunctionName> {
        match self {
            Self::List { function } | Self::Set { function, .. } | Self::Unset { function, .. } => {
                Some(function)
            }
            Self::Rotate => None,
        }
    }

    /// Whether it changes anything.
    pub fn changes(&self) -> bool {
        !matches!(self, Self::List { .. })
    }
}

/// Reads the value of a secret from standard input.
pub fn typed(name: &str) -> Result<String, Error> {
    let mut typed = Vec::new();
    // (One more than it may have, and the end of the line.)
    let read = std::io::stdin()
        .take(MAX_SECRET as u64 + 2)
        .read_to_end(&mut typed);
    read.map_err(|cause| Error::Io("standard input can't be read".into(), cause))?;
    environment::secret(name, typed).map_err(Error::Refused)
}

/// Runs one of the commands. Whoever calls this keeps pushes out while it changes anything.
pub async fn run(
    here: &Installation,
    printer: &Printer,
    command: &SecretCommand,
) -> Result<(), Error> {
    let Some(function) = command.function() else {
        let count = here.secrets.rotate()?;
        let text = format!("sealed {count} values with a new key");
        return printer.one(&json!({ "values": count }), &text);
    };
    let mut there = here.docker.images_of(function).await?;
    there.retain(Image::can_be_deployed);
    let current = there.iter().find(|image| image.current);
    if current.is_none() && is_deployed(here, function).await? {
        return Err(Error::Refused(format!(
            "the image of {function} is gone: push it again"
        )));
    }
    let before = match current {
        Some(image) => image.deployment.config.secrets.clone(),
        None => here.secrets.waiting(function)?,
    };
    match command {
        SecretCommand::Set { name, .. } => {
            let value = typed(name)?;
            if let Some(image) = current {
                check_free(image, name)?;
            }
            let id = here.secrets.set(function, &value)?;
            change(here, printer, function, &there, |secrets| {
                secrets.insert(name.clone(), id);
                check_count(secrets).map_err(Error::Refused)
            })
            .await
        }
        SecretCommand::Unset { names, .. } => {
            change(here, printer, function, &there, |secrets| {
                names
                    .iter()
                    .try_for_each(|name| match secrets.remove(name) {
                        Some(_) => Ok(()),
                        None => Err(not_set(function, name, &before)),
                    })
            })
            .await
        }
        SecretCommand::List { .. } | SecretCommand::Rotate => {
            if current.is_none() && before.is_empty() {
                return Err(no_function(here, function).await);
            }
            list(here, printer, function, &before, current.is_none())
        }
    }
}

fn list(
    here: &Installation,
    printer: &Printer,
    function: &FunctionName,
    secrets: &SecretIds,
    waits: bool,
) -> Result<(), Error> {
    let now = SystemTime::now();
    let rows: Vec<_> = secrets
        .iter()
        .map(|(name, id)| {
            let at = here.secrets.set_at(function, *id);
            Row {
                name,
                set: at
                    .and_then(|at| Timestamp::try_from(at).ok())
                    .map(|at| at.to_string()),
                waits,
                age: at.map(|at| now.duration_since(at).unwrap_or_default()),
            }
        })
        .collect();
    printer.rows(["NAME", "SET", "STATE"], &rows, |row| {
        let set = row.age.map(|age| format!("{} ago", span(age)));
        let state = match (row.waits, row.age) {
            (_, None) => "its value is gone",
            (true, _) => "waits for the first push",
            (false, _) => "deployed",
        };
        [
            row.name.to_owned(),
            set.unwrap_or_default(),
            state.to_owned(),
        ]
    })
}

/// Deploys a function with other secrets, or has them wait for its first push.
async fn change(
    here: &Installation,
    printer: &Printer,
    function: &FunctionName,
    images: &[Image],
    change: impl FnOnce(&mut SecretIds) -> Result<(), Error>,
) -> Result<(), Error> {
    let Some(current) = images.iter().find(|image| image.current) else {
        here.secrets.change_waiting(function, change)?;
        let names: Vec<_> = here.secrets.waiting(function)?.into_keys().collect();
        let text = match &names[..] {
            [] => format!("no secret waits for the first push of {function}"),
            names => format!(
                "waiting for the first push of {function}: {}",
                names.join(", ")
            ),
        };
        printer.one(&json!({ "function": function, "waiting": names }), &text)?;
        let known = here.functions().await?;
        let known = known.iter().map(|deployment| &deployment.function);
        let known = known.filter(|function| here.shows(function));
        let known = known.map(FunctionName::as_str);
        if let Some(meant) = nearest(function.as_str(), known) {
            remark(&format!(
                "{function} is not deployed (did you mean {meant}?)"
            ));
        }
        return Ok(());
    };
    let mut config = FunctionConfig::clone(&current.deployment.config);
    change(&mut config.secrets)?;
    let set = configure(
        &here.docker,
        &here.store,
        here.sandboxes.as_ref(),
        current,
        config,
        here.account(),
    );
    let (deployment, first) = set.await?;
    report(printer, images, &deployment, &first)
}

/// Checks that no variable has the name of a secret: nobody should have to guess which counts.
fn check_free(current: &Image, name: &str) -> Result<(), Error> {
    let Image { deployment, .. } = current;
    let (function, config) = (&deployment.function, &deployment.config);
    if config.env_set.contains_key(name) {
        return Err(Error::Refused(format!(
            "{name} is a variable of {function}: corefn env unset {function} {name} first"
        )));
    }
    Ok(())
}

/// Why a secret can't be unset.
fn not_set(function: &FunctionName, name: &str, secrets: &SecretIds) -> Error {
    let meant = nearest(name, secrets.keys().map(String::as_str));
    let meant = meant.map_or_else(String::new, |name| format!(" (did you mean {name}?)"));
    Error::Refused(format!(
        "{name} is no secret of {function}{meant}: corefn secret list {function} lists them"
    ))
}
