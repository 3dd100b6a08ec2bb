//! The names of a function's exports, as a router needs them.

use crate::config::Export;

/// What stands between two names: no path that nginx hands on has it.
const END: u8 = 0;

/// The exports of a function, of which a router knows thousands: their names, in one piece of memory.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Exports(Option<Box<[u8]>>);

impl Exports {
    /// Those of a configuration; without any list of them, every path may be asked for.
    pub fn new(exports: Option<&[Export]>) -> Self {
        let join = |exports: &[Export]| {
            let names = exports
                .iter()
                .flat_map(|export| export.name.bytes().chain([END]));
            names.collect()
        };
        Self(exports.map(join))
    }

    /// Whether a request for `rest`, the path behind the prefix, can be answered by some export.
    /// Every path can where the stack doesn't name its exports.
    pub fn have(&self, rest: &[u8]) -> bool {
        let Some(names) = &self.0 else {
            return true;
        };
        let rest = rest.strip_prefix(b"/").unwrap_or(rest);
        let mut names = names.split(|byte| *byte == END);
        !rest.is_empty() && names.any(|name| name == rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(names: &[&str]) -> Exports {
        let exports = names.iter().map(|name| Export {
            name: (*name).to_owned(),
            ..Export::default()
        });
        Exports::new(Some(&exports.collect::<Vec<_>>()))
    }

    #[test]
    fn whole_names_only() {
        assert!(Exports::new(None).have(b"/anything/at/all"));
        let exports = of(&["SayHello", "Add"]);
        assert!(exports.have(b"/SayHello") && exports.have(b"/Add"));
        for other in [
            &b"/"[..],
            b"",
            b"/sayhello",
            b"/SayHello/",
            b"/SayHell",
            b"/SayHello2",
            b"/SayHello\0Add",
            b"/\0",
        ] {
            assert!(!exports.have(other), "{other:?}");
        }
        assert!(!of(&[]).have(b"/x") && !of(&[]).have(b"/"));
    }
}
