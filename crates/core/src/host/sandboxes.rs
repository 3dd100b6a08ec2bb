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
    /// How many are made at the same time.
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
            at_once: 1,
            executables: 2 << 30,
        }
    }
}

impl Sandboxes {
    /// How many of a kind wait.
    pub fn size(&self) -> Size {
        let Self {
            floor,
            ceiling,
            at_once,
            ..
        } = *self;
        Size {
            floor,
            ceiling,
            at_once,
        }
    }

    /// Says what can't be.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.at_once == 0 {
            return Err("sandboxes.at_once is 0: write 1 or more".to_owned());
        }
        if self.floor > self.ceiling {
            let Self { floor, ceiling, .. } = self;
            return Err(format!(
                "sandboxes.floor is {floor}, and sandboxes.ceiling only {ceiling}: write {floor} or more there"
            ));
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
        let all = "folder = '/f'\nfloor = 1\nceiling = 3\nat_once = 2\nexecutables = '1G'";
        let sandboxes = parse(all).unwrap();
        assert_eq!(
            sandboxes.size(),
            Size {
                floor: 1,
                ceiling: 3,
                at_once: 2
            }
        );
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
            ("floor = 17", "floor is 17"),
        ] {
            let error = parse(bad).unwrap().check().unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }
}
