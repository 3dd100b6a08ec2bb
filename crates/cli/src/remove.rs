//! `corefn rm`: the end of a function.

use std::fs;
use std::path::Path;
use std::time::Duration;

use futures_util::future::try_join_all;
use serde_json::json;

use corefn_core::function::FunctionName;
use corefn_core::instance::Instance;
use corefn_core::names::{self, label};
use corefn_engine::docker::Image;

use crate::error::Error;
use crate::installation::Installation;
use crate::print::{self, Printer, remark};
use crate::repository;
use crate::unknown::no_function;

/// How long an instance has to end what is under way.
const GRACE: Duration = Duration::from_secs(10);

/// Removes a function, and its repository if that is asked for.
pub async fn remove(
    here: &Installation,
    printer: &Printer,
    function: &FunctionName,
    with_repository: bool,
    yes: bool,
) -> Result<(), Error> {
    confirm(function, with_repository, yes)?;
    let repository = repository::of(&here.projects, function);
    // A push that is being built would bring the function back.
    let _lock = repository::lock(&here.projects, function).await?;
    let is_asked_for = with_repository && repository.is_some();
    undeploy(here, printer, function, is_asked_for).await?;
    finish(repository.as_deref(), with_repository)
}

/// Asks whether a function shall be removed, unless that was said.
pub fn confirm(function: &FunctionName, with_repository: bool, yes: bool) -> Result<(), Error> {
    let repository = match with_repository {
        true => ", and its repository with all of its history",
        false => "",
    };
    print::confirm(
        yes,
        &format!("remove {function} with its instances and all of its revisions{repository}"),
    )
}

/// Removes all there is of a function but its repository, which somebody keeps locked meanwhile. That there is
/// none is an error, unless the repository is to be deleted next.
pub async fn undeploy(
    here: &Installation,
    printer: &Printer,
    function: &FunctionName,
    with_repository: bool,
) -> Result<(), Error> {
    // The image store is the truth about what is deployed, so this tag goes first: nobody who
    // rebuilds the index from here on finds the function.
    let images = here.docker.images().await?;
    let (images, others): (Vec<_>, Vec<_>) = images
        .into_iter()
        .partition(|image| image.deployment.function == *function);
    if with_repository {
        check_alone(&here.projects, function, &others)?;
    }
    let current = format!(
        "{}:{}",
        names::image(here.docker.namespace(), function),
        names::CURRENT_TAG
    );
    here.docker.remove_image(&current).await?;
    let cache = names::cache_image(here.docker.namespace(), function);
    here.docker.remove_image(&cache).await?;
    let mut deployed = here.store.remove(function).await?;
    for deployment in here.store.deployments().await? {
        if deployment.function.plain_text() == function.as_str() {
            deployed |= here.store.remove(&deployment.function).await?;
        }
    }
    let instances = stop_instances(here, function).await?;
    for tag in images.iter().flat_map(|image| &image.tags) {
        here.docker.remove_image(tag).await?;
    }
    let had_secrets = here.secrets.remove(function)?;
    let is_known = deployed || had_secrets || instances > 0 || !images.is_empty();
    if !is_known && !with_repository {
        return Err(no_function(here, function).await);
    }
    let removed = json!({
        "function": function,
        "instances": instances,
        "images": images.len(),
        "repository": with_repository.then(|| repository::of(&here.projects, function)),
    });
    let text = format!(
        "removed {function} (instances: {instances}, images: {})",
        images.len()
    );
    printer.one(&removed, &text)
}

/// Refuses to delete a repository that other functions are deployed from. Only an account's own may have several.
fn check_alone(projects: &Path, function: &FunctionName, others: &[Image]) -> Result<(), Error> {
    if projects.join(format!("{function}.git")).exists() {
        return Ok(());
    }
    let account = function.account();
    let of_account = |image: &&Image| image.repository.as_deref() == Some(account);
    let mut names: Vec<&str> = others
        .iter()
        .filter(|image| image.current)
        .filter(of_account)
        .map(|image| image.deployment.function.as_str())
        .collect();
    if names.is_empty() {
        return Ok(());
    }
    names.sort_unstable();
    Err(Error::Refused(format!(
        "the repository {account} also deploys {}: remove these first, or leave out --repository",
        names.join(", ")
    )))
}

/// Deletes the repository of a function that was removed, if that is asked for, or says that it is kept.
pub fn finish(repository: Option<&Path>, with_repository: bool) -> Result<(), Error> {
    match repository {
        Some(path) if with_repository => {
            delete(path)?;
            remark(&format!("deleted {}", path.display()));
        }
        Some(path) => remark(&format!(
            "kept {}: a push to it deploys again",
            path.display()
        )),
        None => {}
    }
    Ok(())
}

/// Ends all instances of a function, those that Redis doesn't know as well. Returns how many there
/// were.
async fn stop_instances(here: &Installation, function: &FunctionName) -> Result<usize, Error> {
    let known = here.store.instances().await?;
    let known = known
        .iter()
        .filter(|leased| leased.instance.function.plain_text() == function.as_str());
    for leased in known.clone() {
        here.store.drain(&leased.instance).await?;
    }
    let containers = here.docker.containers().await?;
    let ours = containers.iter().filter(|container| {
        let says_so = container.is_of(function) && container.labels.contains_key(label::INSTANCE);
        // (A sandbox that has just become one has no name yet by which Docker would know.)
        says_so
            || known
                .clone()
                .any(|leased| leased.instance.container == container.id)
    });
    let stopped =
        try_join_all(ours.map(|container| here.docker.stop(&container.id, GRACE))).await?;
    for leased in known {
        let Instance { id, function, .. } = &leased.instance;
        here.store.forget(*id, function).await?;
    }
    Ok(stopped.len())
}

fn delete(repository: &Path) -> Result<(), Error> {
    fs::remove_dir_all(repository)
        .map_err(|cause| Error::Io(format!("{} can't be deleted", repository.display()), cause))
}
