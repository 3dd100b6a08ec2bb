//! `corefn revisions`, `rollback`, `promote` and `gc`: what was deployed, the way back, and what is no longer kept.

use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde_json::json;

use corefn_build::deploy::First;
use corefn_build::output::{seconds, size};
use corefn_build::release::release;
use corefn_core::deployment::Deployment;
use corefn_core::function::{FunctionName, RevisionId};
use corefn_core::revisions::{FindError, find};
use corefn_engine::docker::Image;
use corefn_engine::releases::with_releases;
use corefn_engine::revisions::{not_kept, remove_not_kept};

use crate::builds;
use crate::error::Error;
use crate::installation::Installation;
use crate::print::{Printer, remark, span};
use crate::unknown::no_function;

/// How many revisions are named where another was meant.
const NAMED: usize = 5;

#[derive(Serialize)]
struct Row {
    function: FunctionName,
    revision: RevisionId,
    /// `current`: it is deployed; `released`: it is beside that one; `previous`: it was deployed before that one; `kept`: it
    /// can be.
    state: &'static str,
    /// Which percentage of the requests it gets, if it is released.
    weight: Option<u8>,
    /// When its image was made, RFC 3339.
    created: Option<String>,
    /// Who pushed it, where it came over ssh.
    account: Option<String>,
    commit: Option<String>,
    /// Bytes.
    size: i64,
    /// How many run.
    instances: usize,
    #[serde(skip)]
    age: Duration,
}

/// Lists a function's revisions that can be deployed, the newest first.
pub async fn list(
    here: &Installation,
    printer: &Printer,
    function: &FunctionName,
) -> Result<(), Error> {
    let images = images(here, function).await?;
    let running = here.store.instances().await?;
    let now = SystemTime::now();
    let rows: Vec<_> = images
        .into_iter()
        .map(|image| {
            let revision = image.deployment.revision.clone();
            let of_it = running.iter().filter(|leased| {
                let instance = &leased.instance;
                instance.function.plain_text() == function.as_str() && instance.revision == revision
            });
            row(image, of_it.count(), now)
        })
        .collect();
    printer.rows(
        ["REVISION", "STATE", "AGE", "ACCOUNT", "SIZE", "INSTANCES"],
        &rows,
        |row| {
            [
                row.revision.to_string(),
                match row.weight {
                    Some(weight) => format!("{}, {weight} %", row.state),
                    None => row.state.to_owned(),
                },
                span(row.age),
                row.account.clone().unwrap_or_default(),
                size(row.size.unsigned_abs()),
                row.instances.to_string(),
            ]
        },
    )
}

fn row(image: Image, instances: usize, now: SystemTime) -> Row {
    let created = jiff::Timestamp::try_from(image.created).ok();
    Row {
        function: image.deployment.function,
        revision: image.deployment.revision,
        weight: image.released.filter(|_| !image.current),
        state: match image {
            Image { current: true, .. } => "current",
            Image {
                released: Some(_), ..
            } => "released",
            Image { previous: true, .. } => "previous",
            _ => "kept",
        },
        created: created.map(|time| time.to_string()),
        account: image.account,
        commit: image.commit,
        size: image.size,
        instances,
        age: now.duration_since(image.created).unwrap_or_default(),
    }
}

/// Deploys the revision that was deployed before, or another that is named. Whoever calls this keeps pushes out.
pub async fn roll_back(
    here: &Installation,
    printer: &Printer,
    function: &FunctionName,
    revision: Option<&str>,
) -> Result<(), Error> {
    let images = images(here, function).await?;
    let image = match revision {
        Some(text) => named(here, function, &images, text)?,
        None => images
            .iter()
            .find(|image| image.previous && !image.current)
            .ok_or_else(|| {
                Error::Refused(format!(
                    "nothing was deployed of {function} before: corefn revisions {function} lists what there is"
                ))
            })?,
    };
    deploy(here, printer, &images, image).await
}

/// Deploys a revision. Whoever calls this keeps pushes out.
pub async fn promote(
    here: &Installation,
    printer: &Printer,
    function: &FunctionName,
    revision: &str,
) -> Result<(), Error> {
    let images = images(here, function).await?;
    let image = named(here, function, &images, revision)?;
    deploy(here, printer, &images, image).await
}

async fn deploy(
    here: &Installation,
    printer: &Printer,
    images: &[Image],
    image: &Image,
) -> Result<(), Error> {
    let deployment = &image.deployment;
    let (function, revision) = (&deployment.function, &deployment.revision);
    let current = images.iter().find(|image| image.current);
    let former = current.map(|image| &image.deployment.revision);
    // (If Redis has another, as when whoever deployed it was killed in the middle, they agree from here on.)
    let known = here.store.deployment(function).await?;
    if former == Some(revision) && known == Some(with_releases(deployment, images)) {
        return is_at(printer, function, revision);
    }
    let sandboxes = here.sandboxes.as_ref();
    let first = release(&here.docker, &here.store, sandboxes, deployment).await?;
    report(printer, images, deployment, &first)
}

/// Says that a function is at a revision already.
pub fn is_at(
    printer: &Printer,
    function: &FunctionName,
    revision: &RevisionId,
) -> Result<(), Error> {
    let is = json!({ "function": function, "revision": revision, "changed": false });
    printer.one(
        &is,
        &format!("{function} is at revision {revision} already"),
    )
}

/// Says what is deployed now; `images` are those there were before.
pub fn report(
    printer: &Printer,
    images: &[Image],
    deployment: &Deployment,
    first: &First,
) -> Result<(), Error> {
    let (function, revision) = (&deployment.function, &deployment.revision);
    let current = images.iter().find(|image| image.current);
    let former = current.map(|image| &image.deployment.revision);
    let is = json!({
        "function": function,
        "revision": revision,
        "changed": true,
        "former": former,
        "instance": first.instance.id,
    });
    let took = seconds(first.took);
    printer.one(
        &is,
        &format!("{function} is at revision {revision}, warm after {took}"),
    )?;
    if let Some(former) = former.filter(|_| !printer.is_json()) {
        remark(&format!(
            "it was at {former}: corefn rollback {function} goes back there, and the next push deploys anew"
        ));
    }
    Ok(())
}

pub async fn is_deployed(here: &Installation, function: &FunctionName) -> Result<bool, Error> {
    Ok(here.store.deployment(function).await?.is_some())
}

/// All images of a function that is deployed, the newest revision first.
pub async fn images(here: &Installation, function: &FunctionName) -> Result<Vec<Image>, Error> {
    let mut images = here.docker.images_of(function).await?;
    images.retain(Image::can_be_deployed);
    // (The image that is deployed may be gone.)
    let is_current = images.iter().any(|image| image.current);
    if !is_current && !is_deployed(here, function).await? {
        return Err(no_function(here, function).await);
    }
    images.sort_by(|a, b| b.deployment.revision.cmp(&a.deployment.revision));
    Ok(images)
}

/// The image of the revision that a text means.
pub fn named<'a>(
    here: &Installation,
    function: &FunctionName,
    images: &'a [Image],
    text: &str,
) -> Result<&'a Image, Error> {
    let ids = images.iter().map(|image| &image.deployment.revision);
    let wrong = match find(ids, text) {
        Ok(revision) => {
            let mut images = images.iter();
            let image = images.find(|image| image.deployment.revision == *revision);
            return image.ok_or_else(|| Error::Refused(format!("{revision} is gone")));
        }
        Err(wrong) => wrong,
    };
    let (what, ids) = match wrong {
        FindError::Several(ids) => (
            format!("{text} may be several revisions of {function}"),
            ids,
        ),
        FindError::None => {
            let logs = builds::deployed(here, function)?;
            if let Ok(revision) = find(&logs, text) {
                return Err(Error::Refused(format!(
                    "revision {revision} of {function} was deployed, but its image is no longer kept: push its commit \
                     again (corefn revisions {function} lists what is kept)"
                )));
            }
            let ids = images.iter().map(|image| image.deployment.revision.clone());
            (
                format!("{function} has no revision {text}"),
                ids.collect::<Vec<_>>(),
            )
        }
    };
    let mut ids: Vec<_> = ids.iter().map(ToString::to_string).collect();
    if ids.len() > NAMED {
        ids.truncate(NAMED);
        ids.push("…".to_owned());
    }
    Err(Error::Refused(format!(
        "{what}: give one of {} (corefn revisions {function} lists them)",
        ids.join(", ")
    )))
}

#[derive(Serialize)]
struct Removed {
    function: FunctionName,
    revision: RevisionId,
    /// Bytes, those that it has in common with others included.
    size: i64,
    #[serde(skip)]
    age: Duration,
}

/// Removes the images of revisions that are not kept, or only lists them.
pub async fn collect(here: &Installation, printer: &Printer, dry_run: bool) -> Result<(), Error> {
    let images = if dry_run {
        not_kept(&here.docker, &here.revisions).await?
    } else {
        remove_not_kept(&here.docker, &here.revisions).await?
    };
    let now = SystemTime::now();
    let mut rows: Vec<_> = images
        .into_iter()
        .map(|image| Removed {
            function: image.deployment.function,
            revision: image.deployment.revision,
            size: image.size,
            age: now.duration_since(image.created).unwrap_or_default(),
        })
        .collect();
    rows.sort_by(|a, b| (&a.function, &a.revision).cmp(&(&b.function, &b.revision)));
    printer.rows(["FUNCTION", "REVISION", "AGE", "SIZE"], &rows, |row| {
        [
            row.function.to_string(),
            row.revision.to_string(),
            span(row.age),
            size(row.size.unsigned_abs()),
        ]
    })
}
