//! `corefn access`: what accounts may do with others' repositories.

use std::path::Path;

use serde_json::json;

use corefn_core::access::Grant;
use corefn_engine::access;

use crate::args::AccessCommand;
use crate::error::Error;
use crate::print::Printer;

/// Changes or lists what was granted.
pub fn run(home: &Path, printer: &Printer, command: AccessCommand) -> Result<(), Error> {
    match command {
        AccessCommand::Grant { on, account, role } => {
            access::change(home, |access| access.grant(&on, &account, role))?;
            let granted = json!({ "on": on.as_str(), "account": account, "role": role });
            printer.one(&granted, &format!("{account} is {role} of {on}"))
        }
        AccessCommand::Revoke { on, account } => {
            access::change(home, |access| access.revoke(&on, &account))?;
            let revoked = json!({ "on": on.as_str(), "account": account });
            printer.one(
                &revoked,
                &format!("{account} has no grant on {on} any more"),
            )
        }
        AccessCommand::List { on } => {
            let on = on.map(|on| on.to_string());
            list(home, printer, |grant| {
                on.as_ref().is_none_or(|on| grant.on == *on)
            })
        }
    }
}

/// Lists those grants that are to be seen.
pub fn list(home: &Path, printer: &Printer, seen: impl Fn(&Grant) -> bool) -> Result<(), Error> {
    let access = access::read(home)?;
    let rows: Vec<_> = access.grants().iter().filter(|grant| seen(grant)).collect();
    printer.rows(["ON", "ACCOUNT", "ROLE"], &rows, |grant| {
        [
            grant.on.clone(),
            grant.account.clone(),
            grant.role.to_string(),
        ]
    })
}
