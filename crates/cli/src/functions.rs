//! `corefn ls`: what is deployed.

use serde::Serialize;

use corefn_build::output::size;
use corefn_core::deployment::Deployment;
use corefn_core::function::{FunctionName, RevisionId};
use corefn_core::route::Route;

use crate::error::Error;
use crate::installation::Installation;
use crate::print::Printer;

#[derive(Serialize)]
struct Row {
    function: FunctionName,
    revision: RevisionId,
    image: String,
    /// Bytes; none if the image isn't there.
    size: Option<i64>,
    instances: usize,
    /// All routes, the function's own first.
    routes: Vec<Route>,
    /// None if the stack doesn't know them.
    exports: Option<Vec<String>>,
}

/// Lists all functions by name.
pub async fn list(here: &Installation, printer: &Printer) -> Result<(), Error> {
    let mut deployments = here.functions().await?;
    deployments.retain(|deployment| here.shows(&deployment.function));
    deployments.sort_by(|a, b| a.function.cmp(&b.function));
    let instances = here.store.instances().await?;
    let images = here.docker.images().await?;
    let rows: Vec<_> = deployments
        .into_iter()
        .map(|deployment| {
            let image = images
                .iter()
                .find(|image| image.tags.contains(&deployment.image));
            let of =
                |function: &FunctionName| function.plain_text() == deployment.function.as_str();
            let running = instances
                .iter()
                .filter(|leased| of(&leased.instance.function));
            row(&deployment, image.map(|image| image.size), running.count())
        })
        .collect();
    printer.rows(
        ["FUNCTION", "REVISION", "SIZE", "INSTANCES", "ROUTES"],
        &rows,
        |row| {
            let routes: Vec<_> = row.routes.iter().map(ToString::to_string).collect();
            [
                row.function.to_string(),
                row.revision.to_string(),
                row.size
                    .map_or_else(String::new, |bytes| size(bytes.unsigned_abs())),
                row.instances.to_string(),
                routes.join(", "),
            ]
        },
    )
}

fn row(deployment: &Deployment, size: Option<i64>, instances: usize) -> Row {
    let mut routes = vec![Route::of(&deployment.function)];
    routes.extend_from_slice(&deployment.config.routes);
    let exports = deployment.config.exports.as_ref();
    Row {
        function: deployment.function.clone(),
        revision: deployment.revision.clone(),
        image: deployment.image.clone(),
        size,
        instances,
        routes,
        exports: exports.map(|all| all.iter().map(|export| export.name.clone()).collect()),
    }
}
