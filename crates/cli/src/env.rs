//! `corefn env`: the variables of a function's environment.

use std::collections::BTreeMap;

use serde::Serialize;

use corefn_build::configure::configure;
use corefn_core::config::FunctionConfig;
use corefn_core::environment::check_size;
use corefn_core::function::FunctionName;
use corefn_core::names::MANIFEST;
use corefn_core::nearest::nearest;
use corefn_engine::docker::Image;

use crate::args::EnvCommand;
use crate::assignment::Assignment;
use crate::error::Error;
use crate::installation::Installation;
use crate::print::Printer;
use crate::revisions::{images, is_at, report};

#[derive(Serialize)]
struct Row<'a> {
    name: &'a str,
    value: &'a str,
    /// `set` by this command, or by [`MANIFEST`].
    from: &'static str,
}

impl EnvCommand {
    /// The function that is concerned.
    pub fn function(&self) -> &FunctionName {
        match self {
            Self::List { function } | Self::Set { function, .. } | Self::Unset { function, .. } => {
                function
            }
        }
    }

    /// Whether it changes anything.
    pub fn changes(&self) -> bool {
        !matches!(self, Self::List { .. })
    }
}

/// Runs one of the commands. Whoever calls this keeps pushes out while it changes anything.
pub async fn run(
    here: &Installation,
    printer: &Printer,
    command: &EnvCommand,
) -> Result<(), Error> {
    let function = command.function();
    let images = images(here, function).await?;
    let current = images
        .iter()
        .find(|image| image.current)
        .ok_or_else(|| Error::Refused(format!("the image of {function} is gone: push it again")))?;
    let mut variables = current.deployment.config.env_set.clone();
    match command {
        EnvCommand::List { .. } => return list(printer, current),
        EnvCommand::Set {
            variables: assigned,
            ..
        } => {
            for Assignment { name, value } in assigned {
                if current.deployment.config.secrets.contains_key(name) {
                    return Err(Error::Refused(format!(
                        "{name} is a secret of {function}: corefn secret unset {function} {name} first"
                    )));
                }
                variables.insert(name.clone(), value.clone());
            }
        }
        EnvCommand::Unset { names, .. } => {
            for name in names {
                if variables.remove(name).is_none() {
                    return Err(not_set(function, name, current));
                }
            }
        }
    }
    deploy(here, printer, &images, current, variables).await
}

fn list(printer: &Printer, current: &Image) -> Result<(), Error> {
    let config = &current.deployment.config;
    let rows: Vec<_> = config
        .environment()
        .into_iter()
        .map(|(name, value)| Row {
            name,
            value,
            from: if config.env_set.contains_key(name) {
                "set"
            } else {
                MANIFEST
            },
        })
        .collect();
    printer.rows(["NAME", "VALUE", "FROM"], &rows, |row| {
        [row.name, row.value, row.from].map(str::to_owned)
    })
}

/// Why a variable can't be unset.
fn not_set(function: &FunctionName, name: &str, current: &Image) -> Error {
    let config = &current.deployment.config;
    if config.env.contains_key(name) {
        return Error::Refused(format!(
            "{name} of {function} is its {MANIFEST}'s: take it out there, and push"
        ));
    }
    let meant = nearest(name, config.env_set.keys().map(String::as_str));
    let meant = meant.map_or_else(String::new, |name| format!(" (did you mean {name}?)"));
    Error::Refused(format!(
        "{name} is not set for {function}{meant}: corefn env list {function} lists what is"
    ))
}

async fn deploy(
    here: &Installation,
    printer: &Printer,
    images: &[Image],
    current: &Image,
    variables: BTreeMap<String, String>,
) -> Result<(), Error> {
    let (function, config) = (&current.deployment.function, &current.deployment.config);
    if config.env_set == variables {
        return is_at(printer, function, &current.deployment.revision);
    }
    let all = config.env.iter().chain(&variables);
    check_size(
        &all.map(|(name, value)| (name.clone(), value.clone()))
            .collect(),
    )
    .map_err(Error::Refused)?;
    let sandboxes = here.sandboxes.as_ref();
    let config = FunctionConfig {
        env_set: variables,
        ..config.clone()
    };
    let set = configure(
        &here.docker,
        &here.store,
        sandboxes,
        current,
        config,
        here.account(),
    );
    let (deployment, first) = set.await?;
    report(printer, images, &deployment, &first)
}
