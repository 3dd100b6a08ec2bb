//! `corefn invoke`: asks a function, and says how long what took.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use corefn_core::function::FunctionName;
use corefn_core::names::header;
use corefn_engine::home;
use serde_json::Value;

use crate::args::{Arguments, Question};
use crate::error::Error;
use crate::installation::Installation;
use crate::remote;

/// How long it waits between two requests.
const PAUSE: Duration = Duration::from_secs(1);

/// The program that asks.
const CURL: &str = "curl";

/// Asks, and prints the answer to standard output and the times to standard error. Returns 0 if the status is below 400.
pub async fn invoke(arguments: &Arguments, question: &Question) -> Result<u8, Error> {
    let (function, rest) = split(&question.target)?;
    let url = format!("{}{rest}", url(arguments, &function)?);
    loop {
        let is_answered = ask(&url, question)?;
        if !question.watch {
            return Ok(u8::from(!is_answered));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// The function of a target, and the path and query that follow it.
fn split(target: &str) -> Result<(FunctionName, &str), Error> {
    let target = target.strip_prefix('/').unwrap_or(target);
    let end = target.find('?').unwrap_or(target.len());
    let second = target[..end].match_indices('/').nth(1);
    let (name, rest) = target.split_at(second.map_or(end, |(at, _)| at));
    let function = FunctionName::read(name).map_err(|error| Error::Refused(format!("{error}")))?;
    Ok((function, rest))
}

/// Where a function answers, as the installation's settings have it.
fn url(arguments: &Arguments, function: &FunctionName) -> Result<String, Error> {
    let Some(remote) = remote::find(arguments) else {
        let home = home::find(arguments.home.clone())?;
        let here = Installation::open(&home, None)?;
        return Ok(here.url_of(function));
    };
    let plain = function.plain_text();
    let said = remote::ask(&remote?, &["describe", plain, "--json"])?;
    let described: Option<Value> = serde_json::from_slice(&said).ok();
    let url = described.and_then(|described| Some(described.get("url")?.as_str()?.to_owned()));
    let url = url.and_then(|url| Some(format!("{}{function}", url.strip_suffix(plain)?)));
    url.ok_or_else(|| {
        Error::Refused(format!(
            "the git host does not say where {function} answers"
        ))
    })
}

/// Asks once. Returns whether there is an answer, with a status below 400.
fn ask(url: &str, question: &Question) -> Result<bool, Error> {
    let mut curl = Command::new(CURL);
    let options = ["--silent", "--show-error", "--globoff", "--path-as-is"];
    curl.args(options).arg("--fail-with-body");
    // (The status, and the platform's code where it is an error of that.)
    let times = format!(
        "%{{stderr}}%{{http_code}} %header{{{}}} connected after %{{time_connect}} s, began after %{{time_starttransfer}} s, \
         ended after %{{time_total}} s, %{{size_download}} bytes\\n",
        header::ERROR
    );
    curl.args(["--write-out", &times]);
    if question.watch {
        curl.args(["--output", "/dev/null"]);
    }
    if let Some(data) = &question.data {
        curl.args(["--data-binary", data]);
        curl.args(["--header", &format!("Content-Type: {}", content_type(data))]);
    }
    for header in &question.header {
        curl.args(["--header", header]);
    }
    let status = curl.arg("--").arg(url).status();
    let status = status.map_err(|cause| {
        let what = format!("{CURL} can't be run (Debian has it in the package {CURL})");
        Error::Io(what, cause)
    })?;
    Ok(status.success())
}

/// The type of a body that is given as it is, or as the name of a file.
fn content_type(data: &str) -> &'static str {
    let is_json = match data.strip_prefix('@') {
        Some(file) => Path::new(file).extension().is_some_and(|it| it == "json"),
        None => serde_json::from_str::<Value>(data).is_ok_and(|it| it.is_object() || it.is_array()),
    };
    if is_json {
        "application/json"
    } else {
        "text/plain; charset=utf-8"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets() {
        for (target, function, rest) in [
            ("a/b", "a/b", ""),
            ("/a/b", "a/b", ""),
            ("a/b/Say", "a/b", "/Say"),
            ("a/b/c/d?e=f/g", "a/b", "/c/d?e=f/g"),
            ("a/b?c/d", "a/b", "?c/d"),
            ("a/b/", "a/b", "/"),
        ] {
            let (found, left) = split(target).unwrap();
            assert_eq!((found.as_str(), left), (function, rest), "{target}");
        }
        for bad in ["", "a", "a?b/c", "A/b", "//a/b"] {
            assert!(split(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn types() {
        for json in ["{\"a\":1}", "[1]", "@x.json"] {
            assert_eq!(content_type(json), "application/json", "{json}");
        }
        for text in ["World", "1", "\"x\"", "{", "@x.txt", "@-", ""] {
            assert!(content_type(text).starts_with("text/plain"), "{text}");
        }
    }
}
