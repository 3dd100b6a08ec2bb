//! The manifest, `corefn.toml`: what a repository says about its functions.
//!
//! Everything in it has a default, and so has the whole file. A key that has no effect is not
//! accepted: what is read here is all that this version does.

use std::collections::HashMap;

use toml::de::{DeTable, DeValue};

use crate::config::{Export, FunctionConfig, Limits};
use crate::function::{FunctionName, check_segment};
use crate::lease::DEFAULT_IDLE;
use crate::names;
use crate::network::{Network, NetworkName};
use crate::route::Route;
use crate::schedule::Schedule;

pub use problem::{ManifestError, Position, Problem};
use reader::{Entry, Reader};

pub mod keys;
mod modules;
mod problem;
mod reader;
mod values;

/// A repository's manifest, checked.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Manifest {
    functions: Vec<Declaration>,
}

/// What a manifest says of one function.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Declaration {
    at: Option<Position>,
    name: Option<(String, Position)>,
    stack: Option<(String, Position)>,
    path: Option<(String, Position)>,
    secrets: Vec<(String, Position)>,
    schedule: Vec<(Schedule, Position)>,
    network: Option<(Network, Position)>,
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

/// The most functions of a repository: each is a build with a container of its own.
const MOST_FUNCTIONS: usize = 100;

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

    /// The functions that a repository deploys, at least one, with what the manifest says of each.
    ///
    /// `account` is the first segment of the repository's path and `name` the second. A repository of two
    /// deploys the one function of that name; one of one segment those that its manifest names.
    ///
    /// # Errors
    /// [`ManifestError`] with every name that is missing, is no name, differs from the repository's, or is
    /// there twice, and every route that two functions want.
    pub fn functions(
        &self,
        account: &str,
        name: Option<&str>,
    ) -> Result<Vec<(FunctionName, Declaration)>, ManifestError> {
        let declarations = match &self.functions[..] {
            [] => vec![Declaration::default()],
            some => some.to_vec(),
        };
        if let (Some(name), [_, second, ..]) = (name, &declarations[..]) {
            return Err(ManifestError::new(
                second.at,
                format!(
                    "there are {} functions, but the repository {account}/{name} deploys one: keep one, or push \
                     to the repository {account}, which deploys {account}/<name> for each",
                    declarations.len()
                ),
            ));
        }
        if let Some(beyond) = declarations.get(MOST_FUNCTIONS) {
            let what = format!(
                "there are more than {MOST_FUNCTIONS} functions: give some a repository of their own"
            );
            return Err(ManifestError::new(beyond.at, what));
        }
        let (mut functions, mut problems) = (Vec::new(), Vec::new());
        let mut owners = HashMap::new();
        for declaration in declarations {
            let function = declaration.function(account, name).and_then(|function| {
                declaration.claim(&function, &mut owners)?;
                Ok(function)
            });
            match function {
                Ok(function) => functions.push((function, declaration)),
                Err(problem) => problems.push(problem),
            }
        }
        if problems.is_empty() {
            Ok(functions)
        } else {
            Err(ManifestError::of(problems))
        }
    }

    fn read_root(&mut self, reader: &mut Reader<'_>, root: &DeTable<'_>) {
        for entry in reader.entries("", root, &["function"]) {
            let functions = match entry.value.get_ref() {
                DeValue::Array(functions) => functions.iter().collect(),
                _ => vec![entry.value],
            };
            // (Each has a place that is counted out in the text, so that many would take long.)
            for value in functions.into_iter().take(MOST_FUNCTIONS + 1) {
                let one = Entry { value, ..entry };
                if let Some(table) = reader.table(&one, "[function]") {
                    let mut declaration = Declaration {
                        at: Some(reader.position(value)),
                        ..Declaration::default()
                    };
                    declaration.read(reader, table);
                    self.functions.push(declaration);
                }
            }
        }
    }
}

impl Declaration {
    /// The secrets that must be set, and where it says so.
    pub fn secrets(&self) -> impl Iterator<Item = (&str, Position)> {
        self.secrets.iter().map(|(name, at)| (name.as_str(), *at))
    }

    /// The lines of its schedule, and where each is.
    pub fn schedule(&self) -> impl Iterator<Item = (&Schedule, Position)> {
        self.schedule.iter().map(|(line, at)| (line, *at))
    }

    /// The network of the host's settings that it is on, if it is, and where it says so.
    pub fn network(&self) -> Option<(NetworkName, Position)> {
        match self.network {
            Some((Network::Named(name), at)) => Some((name, at)),
            _ => None,
        }
    }

    /// The stack that is asked for, and where.
    pub fn stack(&self) -> Option<(&str, Position)> {
        self.stack.as_ref().map(|(stack, at)| (stack.as_str(), *at))
    }

    /// The folder with the function's files, from the repository's root, and where it is named; none for all files.
    pub fn path(&self) -> Option<(&str, Position)> {
        self.path.as_ref().map(|(path, at)| (path.as_str(), *at))
    }

    /// The configuration to deploy: what is declared, and what was found.
    pub fn config(&self, found: Found) -> FunctionConfig {
        FunctionConfig {
            exports: found.exports,
            user: found.user,
            schedule: self.schedule.iter().map(|(line, _)| line.clone()).collect(),
            network: self
                .network
                .map_or_else(Network::default, |(network, _)| network),
            ..self.config.clone()
        }
    }

    /// The name of the function in a repository.
    fn function(&self, account: &str, name: Option<&str>) -> Result<FunctionName, Problem> {
        let (name, at) = match (name, &self.name) {
            (None, None) => {
                return Err(Problem {
                    at: self.at,
                    what: format!(
                        "the repository {account} deploys {account}/<name>, and no name is set: write a line \
                         [function] and below it name = \"hello\""
                    ),
                });
            }
            (Some(name), Some((other, at))) if name != other => {
                return Err(Problem {
                    at: Some(*at),
                    what: format!(
                        "name is {other:?}, but the repository {account}/{name} deploys {account}/{name}: leave \
                         name out, or push to {account}/{other}"
                    ),
                });
            }
            (Some(name), other) => (name, other.as_ref().map(|(_, at)| *at)),
            (None, Some((name, at))) => (name.as_str(), Some(*at)),
        };
        FunctionName::new(account, name).map_err(|error| Problem {
            at,
            what: format!("the function's name: {error}"),
        })
    }

    /// Takes the function's routes, its own first, unless another function of the repository has one.
    fn claim(
        &self,
        function: &FunctionName,
        owners: &mut HashMap<Route, FunctionName>,
    ) -> Result<(), Problem> {
        let problem = |what| Problem {
            at: self.name.as_ref().map(|(_, at)| *at).or(self.at),
            what,
        };
        let own = Route::of(function);
        if owners.get(&own) == Some(function) {
            let what = "there is another function of this name: give one of them another name";
            return Err(problem(format!("{function}: {what}")));
        }
        for route in std::iter::once(&own).chain(&self.config.routes) {
            let owner = owners
                .entry(route.clone())
                .or_insert_with(|| function.clone());
            if owner != function {
                return Err(problem(format!(
                    "{owner} has the route {route} as well: take it out of one of them"
                )));
            }
        }
        Ok(())
    }

    fn read(&mut self, reader: &mut Reader<'_>, table: &DeTable<'_>) {
        let mut secrets = None;
        for entry in reader.entries("function", table, &keys::names("function")) {
            match entry.key {
                "name" => {
                    self.name = reader.place(&entry, keys::example("name"), |text| {
                        check_segment(text).map_err(|e| e.to_string())
                    })
                }
                "stack" => {
                    self.stack = reader.place(&entry, keys::example("stack"), |text| {
                        check_segment(text).map_err(|_| {
                            format!(
                                "{text:?} is no stack: write a name such as {}",
                                keys::example("stack")
                            )
                        })
                    })
                }
                "path" => {
                    self.path = reader.place(&entry, keys::example("path"), values::check_path)
                }
                "routes" => self.config.routes = values::routes(reader, &entry),
                "health" => self.config.health = values::health(reader, &entry),
                "env" => self.config.env = values::env(reader, &entry),
                "secrets" => secrets = Some(entry),
                "schedule" => self.schedule = values::schedule(reader, &entry),
                "limits" => self.read_limits(reader, &entry),
                "scale" => self.read_scale(reader, &entry),
                "sticky" => self.config.sticky = values::sticky(reader, &entry),
                "network" => self.network = values::network(reader, &entry),
                _ => {}
            }
        }
        if let Some(entry) = secrets {
            self.secrets = values::secrets(reader, &entry, &self.config.env);
        }
    }

    fn read_limits(&mut self, reader: &mut Reader<'_>, entry: &Entry<'_>) {
        let Some(table) = reader.table(entry, keys::example("limits")) else {
            return;
        };
        let default = Limits::default();
        for entry in reader.entries("limits", table, &keys::names("limits")) {
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
        let Some(table) = reader.table(entry, keys::example("scale")) else {
            return;
        };
        let (mut freeze, mut max, mut min, mut is_bounded) = (None, None, None, false);
        for entry in reader.entries("scale", table, &keys::names("scale")) {
            match entry.key {
                "idle" => self.config.idle_ms = values::idle(reader, &entry),
                "freeze" => freeze = Some(entry),
                "concurrency" => {
                    is_bounded = true;
                    self.config.concurrency = values::concurrency(reader, &entry);
                }
                "max" => max = Some(entry),
                "min" => min = Some(entry),
                _ => {}
            }
        }
        if let Some(entry) = max {
            self.config.max_instances = values::max_instances(reader, &entry, is_bounded);
        }
        if let Some(entry) = min {
            let most = self.config.most_instances();
            self.config.min_instances = values::min_instances(reader, &entry, most);
        }
        if let Some(entry) = freeze {
            // (A router's own idle time is not known where an instance is frozen.)
            let idle = *self
                .config
                .idle_ms
                .get_or_insert(DEFAULT_IDLE.as_millis() as u64);
            self.config.freeze_ms = values::freeze(reader, &entry, idle);
        }
    }
}

/// What the manifest is called in errors.
const FILE: &str = names::MANIFEST;

#[cfg(test)]
mod tests;
