//! Functions that are asked for and not there.

use corefn_core::function::FunctionName;
use corefn_core::nearest::nearest;

use crate::error::Error;
use crate::installation::Installation;

/// Says that there is no such function, and which one may have been meant.
pub async fn no_function(here: &Installation, function: &FunctionName) -> Error {
    let deployments = match here.functions().await {
        Ok(deployments) => deployments,
        Err(error) => return error.into(),
    };
    let names = deployments.iter().map(|deployment| &deployment.function);
    let shown = names.filter(|name| here.shows(name));
    let meant = nearest(function.as_str(), shown.map(FunctionName::as_str));
    let meant = meant.map_or_else(String::new, |name| format!(" (did you mean {name}?)"));
    Error::Refused(format!(
        "there is no function {function}{meant}: corefn ls lists those there are"
    ))
}
