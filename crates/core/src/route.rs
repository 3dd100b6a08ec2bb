//! The route table: which function a host and path belong to.
//!
//! Every function answers under `/account/name`, on any host. Further routes name a host, a path
//! prefix, or both. The host's own routes go before those for any host, then the longest prefix
//! wins. A look-up allocates nothing.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::function::FunctionName;

/// A host, or none for any, and a path prefix: no trailing slash, empty for the whole host.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Route {
    host: String,
    prefix: String,
}

/// Why a text is no route.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no route: {why}")]
pub struct RouteError {
    text: String,
    why: &'static str,
}

impl Route {
    /// The route that a function has by its name.
    pub fn of(function: &FunctionName) -> Self {
        Self {
            host: String::new(),
            prefix: format!("/{function}"),
        }
    }

    /// The path prefix.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The host, empty for any.
    pub fn host(&self) -> &str {
        &self.host
    }
}

impl FromStr for Route {
    type Err = RouteError;

    fn from_str(text: &str) -> Result<Self, RouteError> {
        let wrong = |why| RouteError {
            text: text.to_owned(),
            why,
        };
        let slash = text.find('/').unwrap_or(text.len());
        let (host, path) = text.split_at(slash);
        if host.is_empty() && path.trim_end_matches('/').is_empty() {
            return Err(wrong(
                "write a host, a path, or both, such as \"api.example.com/v1\"",
            ));
        }
        if !host
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b))
        {
            return Err(wrong(
                "a host is lower case a-z, 0-9, - and . without a port",
            ));
        }
        let prefix = path.strip_suffix('/').unwrap_or(path);
        if prefix.split('/').count() > MAX_DEPTH {
            return Err(wrong("a path has at most 15 segments"));
        }
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
        for segment in prefix.split('/').skip(1) {
            if segment.is_empty() || segment == "." || segment == ".." {
                return Err(wrong("a path has no empty, . or .. segments"));
            }
            if !segment.bytes().all(plain) {
                return Err(wrong("a path's segments are a-z, A-Z, 0-9, - . _ and ~"));
            }
        }
        Ok(Self {
            host: host.to_owned(),
            prefix: prefix.to_owned(),
        })
    }
}

impl TryFrom<String> for Route {
    type Error = RouteError;

    fn try_from(text: String) -> Result<Self, RouteError> {
        text.parse()
    }
}

impl From<Route> for String {
    fn from(route: Route) -> Self {
        route.to_string()
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.host, self.prefix)
    }
}

/// Finds the value for a host and path.
#[derive(Debug)]
pub struct RouteTable<T> {
    any: Prefixes<T>,
    hosts: HashMap<Box<[u8]>, Prefixes<T>>,
}

type Prefixes<T> = HashMap<Box<[u8]>, T>;

/// The most segments of a route, the empty one before the first slash included: so many of a
/// request's are looked at.
const MAX_DEPTH: usize = 16;

impl<T> Default for RouteTable<T> {
    fn default() -> Self {
        Self {
            any: Prefixes::new(),
            hosts: HashMap::new(),
        }
    }
}

impl<T> RouteTable<T> {
    /// Adds a route and returns what it led to before.
    pub fn insert(&mut self, route: &Route, value: T) -> Option<T> {
        let prefix = route.prefix.as_bytes().into();
        if route.host.is_empty() {
            self.any.insert(prefix, value)
        } else {
            self.hosts
                .entry(route.host.as_bytes().into())
                .or_default()
                .insert(prefix, value)
        }
    }

    /// Takes a route out.
    pub fn remove(&mut self, route: &Route) -> Option<T> {
        let prefix = route.prefix.as_bytes();
        if route.host.is_empty() {
            return self.any.remove(prefix);
        }
        let prefixes = self.hosts.get_mut(route.host.as_bytes())?;
        let value = prefixes.remove(prefix);
        if prefixes.is_empty() {
            self.hosts.remove(route.host.as_bytes());
        }
        value
    }

    /// The value for a lower-case host without port and a normalized path, and the length of the
    /// prefix that led there. `named` has those of functions by their names: they need no route of
    /// their own here.
    pub fn find<'a>(
        &'a self,
        host: &[u8],
        path: &[u8],
        named: impl FnOnce(&[u8]) -> Option<&'a T>,
    ) -> Option<(&'a T, usize)> {
        let of_host = self.hosts.get(host);
        if let Some(found) = of_host.and_then(|prefixes| longest(prefixes, path)) {
            return Some(found);
        }
        let of_any = longest(&self.any, path);
        match end_of_name(path) {
            Some(end) if of_any.is_none_or(|(_, other)| other < end) => {
                let own = named(&path[1..end]).map(|value| (value, end));
                own.or(of_any)
            }
            _ => of_any,
        }
    }

    /// How many routes there are.
    pub fn len(&self) -> usize {
        self.any.len() + self.hosts.values().map(HashMap::len).sum::<usize>()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.any.is_empty() && self.hosts.is_empty()
    }
}

/// Where the first two segments of a path end, which may be a function's name; none if it has fewer.
fn end_of_name(path: &[u8]) -> Option<usize> {
    let rest = path.strip_prefix(b"/")?;
    let mut slashes = rest.iter().enumerate().filter(|&(_, &b)| b == b'/');
    slashes.next()?;
    let end = slashes.next().map_or(rest.len(), |(at, _)| at);
    Some(1 + end)
}

/// The longest prefix of whole segments that is there.
fn longest<'a, T>(prefixes: &'a Prefixes<T>, path: &[u8]) -> Option<(&'a T, usize)> {
    let mut ends = [0; MAX_DEPTH];
    let mut count = 1;
    for (at, _) in path.iter().enumerate().skip(1).filter(|&(_, &b)| b == b'/') {
        if count == MAX_DEPTH {
            break;
        }
        ends[count] = at;
        count += 1;
    }
    if count < MAX_DEPTH {
        ends[count] = path.len();
        count += 1;
    }
    ends[..count]
        .iter()
        .rev()
        .find_map(|&end| prefixes.get(&path[..end]).map(|value| (value, end)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn table(routes: &[&str]) -> RouteTable<String> {
        let mut table = RouteTable::default();
        for route in routes {
            table.insert(&route.parse().unwrap(), (*route).to_owned());
        }
        table
    }

    #[test]
    fn longest_prefix_of_the_host_first() {
        let table = table(&[
            "/demo/hello",
            "/demo/hello/deep",
            "api.example.com",
            "api.example.com/v1",
        ]);
        for (host, path, want) in [
            ("x", "/demo/hello", Some(("/demo/hello", 11))),
            ("x", "/demo/hello/SayHello", Some(("/demo/hello", 11))),
            ("x", "/demo/hello/", Some(("/demo/hello", 11))),
            ("x", "/demo/hello/deep/er", Some(("/demo/hello/deep", 16))),
            ("x", "/demo/hellox", None),
            ("x", "/demo", None),
            ("x", "/", None),
            ("x", "", None),
            ("api.example.com", "/", Some(("api.example.com", 0))),
            (
                "api.example.com",
                "/demo/hello",
                Some(("api.example.com", 0)),
            ),
            (
                "api.example.com",
                "/v1/users",
                Some(("api.example.com/v1", 3)),
            ),
        ] {
            let found = table.find(host.as_bytes(), path.as_bytes(), |_| None);
            assert_eq!(found.map(|(v, n)| (v.as_str(), n)), want, "{host}{path}");
        }
    }

    #[test]
    fn removal() {
        let mut table = table(&["/a/b", "h", "h/c"]);
        assert_eq!(table.len(), 3);
        for route in ["/a/b", "h", "h/c"] {
            assert!(!table.is_empty());
            assert!(table.remove(&route.parse().unwrap()).is_some());
        }
        assert!(table.is_empty());
        assert!(table.hosts.is_empty());
    }

    /// A function answers under its name unless a route that is as long, or longer, or of the host, leads elsewhere.
    #[test]
    fn names() {
        let table = table(&["/demo", "/demo/hello/deep", "/demo/taken", "h/demo", "/x/y"]);
        let own = "own".to_owned();
        let named = |name: &[u8]| {
            [&b"demo/hello"[..], b"demo/taken"]
                .contains(&name)
                .then_some(&own)
        };
        for (host, path, want) in [
            ("", "/demo/hello", Some(("own", 11))),
            ("", "/demo/hello/", Some(("own", 11))),
            ("", "/demo/hello/x/y", Some(("own", 11))),
            ("", "/demo/hello/deep/er", Some(("/demo/hello/deep", 16))),
            ("", "/demo/hellox", Some(("/demo", 5))),
            ("", "/demo/taken/x", Some(("/demo/taken", 11))),
            ("", "/demo", Some(("/demo", 5))),
            ("", "/demo/", Some(("/demo", 5))),
            ("h", "/demo/hello", Some(("h/demo", 5))),
            ("", "/x/y/z", Some(("/x/y", 4))),
            ("", "/x", None),
            ("", "//demo/hello", None),
            ("", "demo/hello", None),
            ("", "/", None),
            ("", "", None),
        ] {
            let found = table.find(host.as_bytes(), path.as_bytes(), named);
            assert_eq!(found.map(|(v, n)| (v.as_str(), n)), want, "{host}{path}");
        }
    }

    #[test]
    fn texts() {
        for (text, shown) in [
            ("/v1/", "/v1"),
            ("api.example.com/", "api.example.com"),
            ("h/a/b", "h/a/b"),
        ] {
            let route: Route = text.parse().unwrap();
            assert_eq!(route.to_string(), shown);
            assert_eq!(format!("{}{}", route.host(), route.prefix()), shown);
            assert_eq!(String::from(route), shown);
        }
        let route: Route = "h/a".parse().unwrap();
        assert_eq!((route.host(), route.prefix()), ("h", "/a"));
        let deep = "/x".repeat(16);
        for bad in [
            "", "/", "//", "h//a", "h/..", "H/a", "h:80/a", "h/a b", "h/%41", "h/a?b", &deep,
        ] {
            assert!(bad.parse::<Route>().is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn deepest_route() {
        let deep = "/x".repeat(15);
        let table = table(&[&deep]);
        assert!(table.find(b"", deep.as_bytes(), |_| None).is_some());
        for deeper in ["/", "/y", "/y/z", "/y/z/x/x/x"] {
            assert!(
                table
                    .find(b"", format!("{deep}{deeper}").as_bytes(), |_| None)
                    .is_some()
            );
        }
    }

    proptest! {
        /// Whatever the path, what is found is a prefix of whole segments.
        #[test]
        fn finds_whole_segments(path in proptest::collection::vec(any::<u8>(), 0..200)) {
            let table = table(&["/a/b", "/a", "/a/b/c"]);
            if let Some((route, end)) = table.find(b"", &path, |_| None) {
                prop_assert_eq!(route.as_bytes(), &path[..end]);
                prop_assert!(end == path.len() || path[end] == b'/');
            }
        }
    }
}
