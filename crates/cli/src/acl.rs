//! `corefn acl`: what CoreFn needs of Redis.

use std::path::Path;

use serde_json::json;

use corefn_engine::acl::Rules;
use corefn_engine::home;

use crate::error::Error;
use crate::print::Printer;

/// Prints the user of Redis, as a file of users has it.
pub fn show(home: &Path, printer: &Printer, user: &str) -> Result<(), Error> {
    let is_plain = |byte: u8| byte.is_ascii_graphic();
    if user.is_empty() || !user.bytes().all(is_plain) {
        return Err(Error::Refused(format!(
            "{user:?} is no user of Redis: write a name without spaces"
        )));
    }
    let rules = Rules::of(&home::read(home)?.namespace);
    let value = json!({
        "user": user,
        "keys": rules.keys,
        "channels": rules.channels,
        "commands": rules.commands,
    });
    printer.one(&value, &rules.line(user))
}
