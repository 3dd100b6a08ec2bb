//! How many sandboxes wait, and where: the table `sandboxes` of the settings.

use serde::Deserialize;

use super::bytes;
use crate::pool::Size;

/// The sandboxes of a host.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sandboxes {
    /// The folder of their sockets and of executables, from the home.
    pub folder: String,
    /// How many of a kind wait at least.
    pub floor: usize,
    /// How many of a kind wait at most.
    pub ceiling: usize,
    /// How many with a runtime in them wait at least, for each that functions are deployed for.
    pub runtime_floor: usize,
    /// How many of those wait at most.
    pub runtime_ceiling: usize,
    /// How many of a kind are made at the same time.
    pub at_once: usize,
    /// Bytes of the executables that are kept.
    #[serde(deserialize_with = "bytes")]
    pub executables: u64,
}

impl Default for Sandboxes {
    fn default() -> Self {
        Self {
            folder: "sandboxes".to_owned(),
            floor: 2,
            ceiling: 16,
            runtime_floor: 1,
            runtime_ceiling: 4,
            at_once: 1,
            executables: 2 << 30,
        }
    }
}

impl Sandboxes {
    /// How many of a kind wait that have nothing in them yet.
    pub fn size(&self) -> Size {
        Size {
            floor: self.floor,
            ceiling: self.ceiling,
            at_once: self.at_once,
        }
    }

    /// How many of a kind wait that have a runtime in them, which takes memory.
    pub fn runtime_size(&self) -> Size {
        Size {
            floor: self.runtime_floor,
            ceiling: self.runtime_ceiling,
            at_once: self.at_once,
        }
    }

    /// Says what can't be.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.at_once == 0 {
            return Err("sandboxes.at_once is 0: write 1 or more".to_owned());
        }
        for (of, Size { floor, ceiling, .. }) in
            [("", self.size()), ("runtime_", self.runtime_size())]
        {
            if floor > ceiling {
                return Err(format!(
                    "sandboxes.{of}floor is {floor}, and sandboxes.{of}ceiling only {ceiling}: write {floor} or more there"
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings() {
        let parse = |text: &str| toml::from_str::<Sandboxes>(text);
        assert_eq!(parse("").unwrap(), Sandboxes::default());
        let all = "folder = '/f'\nfloor = 1\nceiling = 3\nruntime_floor = 0\nruntime_ceiling = 5\nat_once = 2\n\
                   executables = '1G'";
        let sandboxes = parse(all).unwrap();
        assert_eq!(
            sandboxes.size(),
            Size {
                floor: 1,
                ceiling: 3,
                at_once: 2
            }
        );
        let size = sandboxes.runtime_size();
        assert_eq!((size.floor, size.ceiling, size.at_once), (0, 5, 2));
        assert_eq!(
            (sandboxes.folder.as_str(), sandboxes.executables),
            ("/f", 1 << 30)
        );
        for bad in ["colour = 1", "floor = -1", "executables = 5"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert_eq!(sandboxes.check(), Ok(()));
        assert_eq!(parse("floor = 0\nceiling = 0").unwrap().check(), Ok(()));
        for (bad, says) in [
            ("at_once = 0", "at_once is 0"),
            (
                "floor = 17",
                "sandboxes.floor is 17, and sandboxes.ceiling only 16",
            ),
            (
                "runtime_floor = 5",
                "sandboxes.runtime_floor is 5, and sandboxes.runtime_ceiling only 4",
            ),
        ] {
            let error = parse(bad).unwrap().check().unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }
}
