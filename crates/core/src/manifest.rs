//! The manifest, `corefn.toml`: what a repository says about its function.
//!
//! Everything in it has a default, and so has the whole file. A key that has no effect is not
//! accepted: what is read here is all that this version does.

use toml::de::{DeTable, DeValue};

use crate::config::{Export, FunctionConfig, Limits};
use crate::function::{FunctionName, check_segment};
use crate::names;

pub use problem::{ManifestError, Position, Problem};
use reader::{Entry, Reader};

mod problem;
mod reader;
mod values;

/// A repository's manifest, checked.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Manifest {
    name: Option<(String, Position)>,
    stack: Option<(String, Position)>,
    config: FunctionConfig,
}

/// What the builder found out about a function that its manifest doesn't say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Found {
    /// The named entry points, where the stack knows them.
    pub exports: Option<Vec<Export>>,
    /// `uid[:gid]` that the image asks for, where it does.
    pub user: Option<String>,
}

const ROOT_KEYS: &[&str] = &["function"];
const FUNCTION_KEYS: &[&str] = &[
    "env", "health", "limits", "name", "network", "routes", "scale", "stack",
];
const LIMITS_KEYS: &[&str] = &["body", "cpus", "memory", "pids", "requests", "timeout"];
const SCALE_KEYS: &[&str] = &["idle"];

impl Manifest {
    /// Reads a manifest's text.
    ///
    /// # Errors
    /// [`ManifestError`] with every wrong key and value, each with its place and what to write.
    /// Where the text is no TOML, what is wrong with that is all that is reported.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        let mut reader = Reader::new(text);
        let (root, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            reader.problem(error.span().unwrap_or(0..0), error.message());
        }
        let mut manifest = Self::default();
        if errors.is_empty() {
            manifest.read_root(&mut reader, root.get_ref());
        }
        reader.finish(manifest)
    }

    /// The name of the function that a repository deploys.
    ///
    /// `account` is the first segment of the repository's path and `name` the second. A
    /// repository of one segment takes the second from the manifest.
    ///
    /// # Errors
    /// [`ManifestError`] when the manifest's name is missing where it is needed, differs from the
    /// repository's, or either is no name.
    pub fn function(
        &self,
        account: &str,
        name: Option<&str>,
    ) -> Result<FunctionName, ManifestError> {
        let (name, at) = match (name, &self.name) {
            (None, None) => {
                return Err(ManifestError::new(
                    None,
                    format!(
                        "the repository {account} deploys {account}/<name>, and no name is set: \
                         write a line [function] and below it name = \"hello\""
                    ),
                ));
            }
            (Some(name), Some((other, at))) if name != other => {
                return Err(ManifestError::new(
                    Some(*at),
                    format!(
                        "name is {other:?}, but the repository {account}/{name} deploys \
                         {account}/{name}: leave name out, or push to {account}/{other}"
                    ),
                ));
            }
            (Some(name), other) => (name, other.as_ref().map(|(_, at)| *at)),
            (None, Some((name, at))) => (name.as_str(), Some(*at)),
        };
        FunctionName::new(account, name)
            .map_err(|error| ManifestError::new(at, format!("the function's name: {error}")))
    }

    /// The stack that the manifest asks for, and where it does.
    pub fn stack(&self) -> Option<(&str, Position)> {
        self.stack.as_ref().map(|(stack, at)| (stack.as_str(), *at))
    }

    /// The configuration to deploy: the manifest's values and what was found.
    pub fn config(&self, found: Found) -> FunctionConfig {
        FunctionConfig {
            exports: found.exports,
            user: found.user,
            ..self.config.clone()
        }
    }

    fn read_root(&mut self, reader: &mut Reader<'_>, root: &DeTable<'_>) {
        for entry in reader.entries("", root, ROOT_KEYS) {
            let table = match entry.value.get_ref() {
                DeValue::Array(functions) if functions.len() > 1 => {
                    reader.problem(
                        functions[1].span(),
                        format!(
                            "there are {} functions: this version deploys one function a \
                             repository, so keep one [function] and give the others \
                             repositories of their own",
                            functions.len()
                        ),
                    );
                    None
                }
                DeValue::Array(functions) => functions.first().and_then(|only| {
                    let only = Entry {
                        value: only,
                        ..entry
                    };
                    reader.table(&only, "[function]")
                }),
                _ => reader.table(&entry, "[function]"),
            };
            if let Some(table) = table {
                self.read_function(reader, table);
            }
        }
    }

    fn read_function(&mut self, reader: &mut Reader<'_>, table: &DeTable<'_>) {
        for entry in reader.entries("function", table, FUNCTION_KEYS) {
            match entry.key {
                "name" => {
                    self.name = reader.place(&entry, values::NAME, |text| {
                        check_segment(text).map_err(|e| e.to_string())
                    })
                }
                "stack" => {
                    self.stack = reader.place(&entry, values::STACK, |text| {
                        check_segment(text).map_err(|_| {
                            format!(
                                "{text:?} is no stack: write a name such as {}",
                                values::STACK
                            )
                        })
                    })
                }
                "routes" => self.config.routes = values::routes(reader, &entry),
                "health" => self.config.health = values::health(reader, &entry),
                "env" => self.config.env = values::env(reader, &entry),
                "limits" => self.read_limits(reader, &entry),
                "scale" => self.read_scale(reader, &entry),
                "network" => self.config.network = values::network(reader, &entry),
                _ => {}
            }
        }
    }

    fn read_limits(&mut self, reader: &mut Reader<'_>, entry: &Entry<'_>) {
        let Some(table) = reader.table(entry, r#"limits = { memory = "128M" }"#) else {
            return;
        };
        let default = Limits::default();
        for entry in reader.entries("limits", table, LIMITS_KEYS) {
            let limits = &mut self.config.limits;
            match entry.key {
                "memory" => {
                    limits.memory = values::memory(reader, &entry).unwrap_or(default.memory)
                }
                "cpus" => {
                    limits.nano_cpus = values::cpus(reader, &entry).unwrap_or(default.nano_cpus)
                }
                "requests" => limits.requests = values::requests(reader, &entry),
                "timeout" => limits.timeout_ms = values::timeout(reader, &entry),
                "body" => limits.body = values::body(reader, &entry),
                "pids" => limits.pids = values::pids(reader, &entry).unwrap_or(default.pids),
                _ => {}
            }
        }
    }

    fn read_scale(&mut self, reader: &mut Reader<'_>, entry: &Entry<'_>) {
        let Some(table) = reader.table(entry, r#"scale = { idle = "60s" }"#) else {
            return;
        };
        for entry in reader.entries("scale", table, SCALE_KEYS) {
            if entry.key == "idle" {
                self.config.idle_ms = values::idle(reader, &entry);
            }
        }
    }
}

/// What the manifest is called in errors.
const FILE: &str = names::MANIFEST;

#[cfg(test)]
mod tests;
