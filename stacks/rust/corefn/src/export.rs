//! The functions that carry the attribute, and how they are found.

use std::fmt;
use std::pin::Pin;

use hyper::body::Bytes;
use serde::Serialize;

use crate::reply::Outcome;

/// A function that carries the attribute. Every one in the executable is found, whichever crate it is
/// in: the attribute leaves an entry that the linker gathers.
pub struct Export {
    /// The name under which it answers.
    pub name: &'static str,
    /// Its path in the source, for messages.
    pub function: &'static str,
    /// What its argument is.
    pub argument: fn() -> Kind,
    /// An example of its argument, if that is JSON and one can be made up.
    pub example: fn() -> Option<String>,
    /// What its answer is, if it doesn't fail.
    pub answer: fn() -> Kind,
    /// The way to call it.
    pub call: Call,
}

inventory::collect!(Export);

/// The way to call a function with a request's body.
#[derive(Clone, Copy)]
pub enum Call {
    /// It may block.
    Blocking(fn(Bytes) -> Outcome),
    /// It doesn't block.
    Async(fn(Bytes) -> Pin<Box<dyn Future<Output = Outcome> + Send>>),
}

/// What a value is on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Nothing.
    None,
    /// UTF-8.
    Text,
    /// JSON.
    Json,
}

/// All exports, each under a name of its own.
pub struct Exports(Vec<&'static Export>);

/// Two functions have one name.
#[derive(Debug, PartialEq, Eq)]
pub struct DuplicateName {
    name: &'static str,
    functions: [&'static str; 2],
}

impl Exports {
    /// All that are in this executable.
    pub fn collect() -> Result<Self, DuplicateName> {
        Self::new(inventory::iter::<Export>.into_iter().collect())
    }

    fn new(mut exports: Vec<&'static Export>) -> Result<Self, DuplicateName> {
        exports.sort_by_key(|export| (export.name, export.function));
        match exports.windows(2).find(|pair| pair[0].name == pair[1].name) {
            Some(pair) => Err(DuplicateName {
                name: pair[0].name,
                functions: [pair[0].function, pair[1].function],
            }),
            None => Ok(Self(exports)),
        }
    }

    /// The export that answers at `path`: a slash and its name, exactly.
    pub fn at(&self, path: &str) -> Option<&'static Export> {
        let name = path.strip_prefix('/')?;
        let index = self
            .0
            .binary_search_by_key(&name, |export| export.name)
            .ok()?;
        Some(self.0[index])
    }

    /// What `--exports` prints: a JSON list of objects with `name`, `argument`, `answer` and, where there
    /// is one, an `example` of the argument, sorted by name.
    pub fn to_json(&self) -> String {
        #[derive(Serialize)]
        struct Entry {
            name: &'static str,
            argument: Kind,
            answer: Kind,
            #[serde(skip_serializing_if = "Option::is_none")]
            example: Option<String>,
        }
        let entries = self.0.iter().map(|export| Entry {
            name: export.name,
            argument: (export.argument)(),
            answer: (export.answer)(),
            example: (export.example)(),
        });
        serde_json::to_string(&entries.collect::<Vec<_>>()).expect("plain strings are always JSON")
    }
}

impl fmt::Display for DuplicateName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            functions: [first, second],
        } = self;
        write!(
            formatter,
            "`{first}` and `{second}` are both exported as `{name}`; \
             name one of them otherwise: #[corefn::function(name = \"…\")]"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reply::Reply;

    const fn export(name: &'static str, function: &'static str) -> Export {
        Export {
            name,
            function,
            argument: || Kind::None,
            example: || None,
            answer: || Kind::Text,
            call: Call::Blocking(|_| Ok(Reply::empty())),
        }
    }

    static B: Export = export("B", "x::b");
    static A: Export = export("A", "x::a");
    static ROOT: Export = export("", "x::root");
    static OTHER_A: Export = export("A", "y::a");

    #[test]
    fn found_by_the_exact_path() {
        let exports = Exports::new(vec![&B, &A]).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(exports.at("/A").unwrap().function, "x::a");
        assert_eq!(exports.at("/B").unwrap().function, "x::b");
        for path in ["/", "", "A", "/a", "/A/", "//A", "/AB", "*"] {
            assert!(exports.at(path).is_none(), "{path}");
        }
        let exports = Exports::new(vec![&B, &ROOT]).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(exports.at("/").unwrap().function, "x::root");
        assert!(exports.at("").is_none());
    }

    #[test]
    fn listed_by_name() {
        let exports = Exports::new(vec![&B, &A]).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(
            exports.to_json(),
            r#"[{"name":"A","argument":"none","answer":"text"},{"name":"B","argument":"none","answer":"text"}]"#
        );
    }

    #[test]
    fn one_name_for_one_function() {
        let Err(error) = Exports::new(vec![&OTHER_A, &B, &A]) else {
            panic!("two functions named A");
        };
        let text = error.to_string();
        assert!(
            text.contains("`x::a` and `y::a` are both exported as `A`"),
            "{text}"
        );
    }
}
