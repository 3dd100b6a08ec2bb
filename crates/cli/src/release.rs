//! `corefn release`: a revision beside the current one, to a share of the requests.

use serde_json::json;

use corefn_build::output::seconds;
use corefn_build::release::{end_release, release_beside};
use corefn_core::function::FunctionName;

use crate::error::Error;
use crate::installation::Installation;
use crate::print::{Printer, remark};
use crate::revisions;

/// Releases the revision that a text means with that percentage, or without one has it released no more. Whoever calls this
/// keeps pushes out.
pub async fn run(
    here: &Installation,
    printer: &Printer,
    function: &FunctionName,
    revision: &str,
    weight: Option<u8>,
) -> Result<(), Error> {
    let images = revisions::images(here, function).await?;
    let image = revisions::named(here, function, &images, revision)?;
    let revision = &image.deployment.revision;
    let url = here.url_of(&function.at(revision));
    let former = image.released.filter(|_| !image.current);
    let Some(weight) = weight else {
        if former.is_none() {
            return Err(Error::Refused(format!(
                "revision {revision} of {function} is not released beside the current one: corefn revisions {function} lists \
                 those that are"
            )));
        }
        end_release(&here.docker, &here.store, image).await?;
        let is =
            json!({ "function": function, "revision": revision, "former": former, "weight": null });
        let text = format!("revision {revision} of {function} is released no more");
        return printer.one(&is, &text);
    };
    let sandboxes = here.sandboxes.as_ref();
    let (docker, store) = (&here.docker, &here.store);
    let first = release_beside(docker, store, sandboxes, &images, image, weight).await?;
    let is = json!({
        "function": function,
        "revision": revision,
        "former": former,
        "weight": weight,
        "url": url,
        "instance": first.as_ref().map(|first| first.instance.id),
    });
    let warm = first.map_or_else(String::new, |first| {
        format!(", warm after {}", seconds(first.took))
    });
    let text = format!("revision {revision} of {function} gets {weight} % of the requests{warm}");
    printer.one(&is, &text)?;
    if !printer.is_json() {
        remark(&format!("all that are sent to {url} get it"));
    }
    Ok(())
}
