//! The path and the parameters of a request.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;
use url::form_urlencoded;

use super::{OLDEST, Refused, Version};
use crate::json;

/// The version that a path begins with, and its segments.
pub(super) fn split(path: &str) -> Result<(Option<Version>, Vec<&str>), Refused> {
    let odd = || Refused::new("a path that can be read in two ways");
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.:-".contains(&byte);
    let mut words: Vec<_> = path.strip_prefix('/').ok_or_else(odd)?.split('/').collect();
    let is_word = |word: &&str| {
        !word.is_empty() && !word.contains("..") && *word != "." && word.bytes().all(is_plain)
    };
    if !words.iter().all(is_word) {
        return Err(odd());
    }
    let number = |text: &str| {
        let is_whole = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|_| is_whole)
    };
    let version = words.first().and_then(|word| {
        let (major, minor) = word.strip_prefix('v')?.split_once('.')?;
        let (major, minor) = (number(major)?, number(minor)?);
        Some(Version { major, minor })
    });
    if version.is_some() {
        words.remove(0);
    }
    match version {
        Some(version) if version < OLDEST => Err(Refused::new(format!(
            "{version} of the API, before {OLDEST}"
        ))),
        version => Ok((version, words)),
    }
}

pub(super) fn read_json(body: &[u8]) -> Result<Value, Refused> {
    json::read(body).map_err(Refused::new)
}

/// The parameters of a request.
pub(super) struct Query(BTreeMap<String, String>);

impl Query {
    pub(super) fn read(text: &str) -> Result<Self, Refused> {
        let mut all = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(text.as_bytes()) {
            if let Some(_former) = all.insert(name.clone().into_owned(), value.into_owned()) {
                return Err(Refused::new(format!("{name:?} twice")));
            }
        }
        Ok(Self(all))
    }

    pub(super) fn ignore(&mut self, names: &[&str]) {
        for name in names {
            self.0.remove(*name);
        }
    }

    /// Takes a parameter which must be one of these, or absent where nothing is one.
    pub(super) fn only(&mut self, name: &str, values: &[&str]) -> Result<(), Refused> {
        let value = self.0.remove(name);
        match values.contains(&value.as_deref().unwrap_or_default()) {
            true => Ok(()),
            false => Err(Refused::new(format!(
                "{name}={}",
                value.unwrap_or_default()
            ))),
        }
    }

    pub(super) fn take(&mut self, name: &str) -> Result<String, Refused> {
        let value = self.0.remove(name);
        value.ok_or_else(|| Refused::new(format!("no {name}")))
    }

    /// Takes a parameter that need not be there.
    pub(super) fn may_take(&mut self, name: &str) -> Option<String> {
        self.0.remove(name)
    }

    /// Takes a number; `None` where there is none.
    pub(super) fn number(&mut self, name: &str) -> Result<Option<u64>, Refused> {
        let value = self.0.remove(name);
        value.map(|text| number(name, &text)).transpose()
    }

    /// Takes what is so or not; it is not where nothing is said.
    pub(super) fn is(&mut self, name: &str) -> Result<bool, Refused> {
        match self.0.remove(name).as_deref() {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(other) => Err(Refused::new(format!("{name}={other}"))),
        }
    }

    /// Takes an object of texts; `None` where there is none. (Names that differ in their case are different, such as those of
    /// variables.)
    pub(super) fn texts(&mut self, name: &str) -> Result<Option<HashMap<String, String>>, Refused> {
        let read = |text: String| {
            let texts = serde_json::from_str(&text);
            texts.map_err(|error| Refused::new(format!("{name}: {error}")))
        };
        self.0.remove(name).map(read).transpose()
    }

    pub(super) fn filters(&mut self) -> Result<BTreeMap<String, Vec<String>>, Refused> {
        let filters = self.may_filters()?;
        filters.ok_or_else(|| Refused::new("no filters"))
    }

    /// Takes the filters; `None` where there are none.
    pub(super) fn may_filters(&mut self) -> Result<Option<BTreeMap<String, Vec<String>>>, Refused> {
        let read = |text: String| {
            let filters = serde_json::from_value(read_json(text.as_bytes())?);
            filters.map_err(|error| Refused::new(format!("filters: {error}")))
        };
        self.0.remove("filters").map(read).transpose()
    }

    /// The labels that are filtered by, and nothing else.
    pub(super) fn labels(&mut self) -> Result<Vec<String>, Refused> {
        only_labels(self.filters()?)
    }

    pub(super) fn end(self) -> Result<(), Refused> {
        match self.0.into_keys().next() {
            None => Ok(()),
            Some(name) => Err(Refused::new(format!("a parameter {name:?}"))),
        }
    }
}

/// The number that a parameter is.
pub(super) fn number(name: &str, text: &str) -> Result<u64, Refused> {
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = is_plain.then(|| text.parse().ok()).flatten();
    number.ok_or_else(|| Refused::new(format!("{name}={text}")))
}

pub(super) fn only_labels(
    mut filters: BTreeMap<String, Vec<String>>,
) -> Result<Vec<String>, Refused> {
    let labels = filters.remove("label");
    match (labels, filters.into_keys().next()) {
        (Some(labels), None) => Ok(labels),
        (None, _) => Err(Refused::new("no filter by labels")),
        (_, Some(name)) => Err(Refused::new(format!("a filter by {name:?}"))),
    }
}
