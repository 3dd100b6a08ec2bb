//! `corefn key`: the public keys by which ssh knows accounts.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::json;
use ssh_key::{HashAlg, PublicKey};

use corefn_core::access::Key;
use corefn_engine::access;

use crate::args::KeyCommand;
use crate::error::Error;
use crate::print::Printer;

/// The longest key that is read, in bytes. RSA of 16384 bits has 2.8 kB.
pub const MAX_KEY: u64 = 16 << 10;

#[derive(Serialize)]
struct Row {
    account: String,
    name: String,
    fingerprint: String,
    key: String,
}

/// Changes or lists keys.
pub fn run(home: &Path, printer: &Printer, command: KeyCommand) -> Result<(), Error> {
    match command {
        KeyCommand::Add {
            account,
            file,
            name,
        } => add(home, printer, account, file, name),
        KeyCommand::List { account } => list(home, printer, account.as_deref()),
        KeyCommand::Rm { account, key } => remove(home, printer, &account, &key),
    }
}

fn add(
    home: &Path,
    printer: &Printer,
    account: String,
    file: Option<PathBuf>,
    name: Option<String>,
) -> Result<(), Error> {
    let stem = file.as_deref().and_then(Path::file_stem);
    let stem = stem.map(|stem| stem.to_string_lossy().into_owned());
    let (from, text) = read(file)?;
    let (key, comment) = parse(&from, &text)?;
    let name = name.or(comment).or(stem).ok_or_else(|| {
        Error::Refused("the key has no comment to call it by: add --name".to_owned())
    })?;
    if name.is_empty() || name.chars().any(char::is_control) {
        return Err(Error::Refused(format!("{name:?} is no name for a key")));
    }
    let key = Key { account, name, key };
    access::change(home, |access| access.add_key(key.clone()))?;
    let row = row(&key);
    let text = format!("{} is {}'s, as {}", row.fingerprint, row.account, row.name);
    printer.one(&row, &text)
}

/// Lists all keys, or an account's.
pub fn list(home: &Path, printer: &Printer, account: Option<&str>) -> Result<(), Error> {
    let access = access::read(home)?;
    let keys = access.keys().iter();
    let of = |key: &&Key| account.is_none_or(|account| key.account == account);
    let rows: Vec<_> = keys.filter(of).map(row).collect();
    printer.rows(["ACCOUNT", "NAME", "FINGERPRINT"], &rows, |row| {
        [
            row.account.clone(),
            row.name.clone(),
            row.fingerprint.clone(),
        ]
    })
}

fn remove(home: &Path, printer: &Printer, account: &str, key: &str) -> Result<(), Error> {
    let mut name = key.to_owned();
    access::change(home, |access| {
        let mut keys = access.keys().iter();
        let meant = keys.find(|known| known.account == account && row(known).fingerprint == key);
        if let Some(meant) = meant {
            name.clone_from(&meant.name);
        }
        access.remove_key(account, &name)
    })?;
    let removed = json!({ "account": account, "name": name });
    printer.one(&removed, &format!("removed {account}'s key {name}"))
}

fn read(file: Option<PathBuf>) -> Result<(String, String), Error> {
    let from = file
        .as_ref()
        .map_or_else(|| "standard input".to_owned(), |f| f.display().to_string());
    let mut text = String::new();
    let read = match file {
        Some(path) => {
            fs::File::open(path).and_then(|file| file.take(MAX_KEY).read_to_string(&mut text))
        }
        None => std::io::stdin().take(MAX_KEY).read_to_string(&mut text),
    };
    read.map_err(|cause| Error::Io(format!("{from} can't be read"), cause))?;
    Ok((from, text))
}

/// Type and base64 of a public key, and its comment.
fn parse(from: &str, text: &str) -> Result<(String, Option<String>), Error> {
    if text.contains("PRIVATE KEY") {
        return Err(Error::Refused(format!(
            "{from} is a private key, which nobody else must have: give the public one, {from}.pub"
        )));
    }
    let wrong = |why: String| {
        Error::Refused(format!(
            "{from} is no public key of OpenSSH's ({why}): give a file such as id_ed25519.pub"
        ))
    };
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let (Some(line), None) = (lines.next(), lines.next()) else {
        return Err(wrong("one line is wanted".to_owned()));
    };
    let key = PublicKey::from_openssh(line.trim()).map_err(|error| wrong(error.to_string()))?;
    if key.algorithm().is_dsa() {
        return Err(wrong(
            "DSA is broken, and sshd takes no such keys".to_owned(),
        ));
    }
    let comment = Some(key.comment().trim().to_owned()).filter(|comment| !comment.is_empty());
    let bare = PublicKey::new(key.key_data().clone(), "");
    let text = bare
        .to_openssh()
        .map_err(|error| wrong(error.to_string()))?;
    Ok((text.trim_end().to_owned(), comment))
}

fn row(key: &Key) -> Row {
    let known = PublicKey::from_openssh(&key.key);
    let fingerprint = known.map(|known| known.fingerprint(HashAlg::Sha256).to_string());
    Row {
        account: key.account.clone(),
        name: key.name.clone(),
        fingerprint: fingerprint.unwrap_or_default(),
        key: key.key.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";

    #[test]
    fn keys_are_kept_without_their_comment() {
        let (key, comment) = parse("f", &format!("\n {KEY}  me@laptop \n")).unwrap();
        assert_eq!((key.as_str(), comment.as_deref()), (KEY, Some("me@laptop")));
        assert_eq!(parse("f", KEY).unwrap(), (KEY.to_owned(), None));
    }

    #[test]
    fn other_texts() {
        for (text, says) in [
            ("", "one line"),
            ("hello", "no public key"),
            (&format!("{KEY}\n{KEY}"), "one line"),
            ("-----BEGIN OPENSSH PRIVATE KEY-----\n", "private key"),
            ("ssh-ed25519 AAAA", "no public key"),
            (&format!("command=\"x\" {KEY}"), "no public key"),
        ] {
            let error = parse("f", text).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
