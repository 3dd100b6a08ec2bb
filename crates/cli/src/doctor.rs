//! `corefn doctor`: is everything there that an installation needs, and if not, what helps.

mod files;
mod finding;
mod services;

use std::path::Path;

use corefn_core::deployment::Deployment;
use corefn_core::host::Host;
use corefn_engine::docker::Docker;
use corefn_engine::home;
use corefn_engine::secrets::SecretStore;
use corefn_engine::store::Store;

use crate::error::Error;
use crate::firewall;
use crate::print::{Printer, line};

use finding::{Finding, State};

/// Looks at everything, and says what it has found. Returns the exit status: 1 if something is wrong.
pub async fn examine(home: &Path, printer: &Printer) -> Result<u8, Error> {
    let findings = match home::read(home) {
        Ok(host) => look(home, &host).await,
        Err(error) => vec![Finding::wrong(
            "settings",
            error.to_string(),
            "correct the file; docs/host.md lists its keys",
        )],
    };
    if printer.is_json() {
        printer.one(&findings, "")?;
    } else {
        for finding in &findings {
            line(&finding.text())?;
        }
    }
    let is_wrong = findings.iter().any(|finding| finding.state == State::Wrong);
    Ok(u8::from(is_wrong))
}

async fn look(home: &Path, host: &Host) -> Vec<Finding> {
    let mut findings = vec![Finding::ok(
        "settings",
        format!("of {}, namespace {}", home.display(), host.namespace),
    )];
    let store = Store::new(&host.redis, &host.namespace);
    let docker = Docker::new(&host.docker, &host.namespace);
    match &store {
        Ok(store) => findings.extend(services::redis(store).await),
        Err(error) => findings.push(Finding::wrong("redis", error.to_string(), services::REDIS)),
    }
    findings.extend(services::docker(&docker).await);
    findings.push(services::gate(home, host).await);
    if let Ok(store) = &store {
        findings.extend(services::functions(store, &docker).await);
        findings.extend(secrets(home, host, store).await);
        findings.extend(services::invocations(home, host, store).await);
    }
    findings.extend(services::keeper(home, host, &docker).await);
    findings.extend(services::builder(home, host).await);
    findings.extend(files::stacks(home, host));
    findings.extend(files::repositories(home, host));
    findings.extend(files::access(home));
    findings.push(rules(host));
    findings
}

/// Whether the values can be had of all secrets of what is deployed.
async fn secrets(home: &Path, host: &Host, store: &Store) -> Vec<Finding> {
    let (check, values) = ("secrets", SecretStore::new(&home.join(&host.secrets)));
    // (That Redis can't be used is said already.)
    let deployments = store.deployments().await.unwrap_or_default();
    let (mut findings, mut count) = (Vec::new(), 0);
    for Deployment {
        function, config, ..
    } in &deployments
    {
        for (name, id) in &config.secrets {
            count += 1;
            if let Err(error) = values.get(function, name, *id) {
                let remedy = format!(
                    "put the folder back as it was, or corefn secret set {function} {name}"
                );
                findings.push(Finding::wrong(check, error.to_string(), remedy));
            }
        }
    }
    if findings.is_empty() {
        findings.push(Finding::ok(check, format!("{count} can be opened")));
    }
    findings
}

fn rules(host: &Host) -> Finding {
    let check = "firewall";
    match firewall::is_loaded(host) {
        Ok(true) => Finding::ok(check, "is loaded"),
        Ok(false) => Finding::warning(
            check,
            "is not loaded: functions and builds reach what listens on the host, and a cloud's metadata",
            "corefn firewall load, as root",
        ),
        Err(error) => Finding::warning(check, error.to_string(), "run corefn doctor as root"),
    }
}
