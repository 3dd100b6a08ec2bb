//! `NAME=value`, as an argument.

use std::str::FromStr;

use corefn_core::environment::{check_name, check_value};

/// A variable and its value, as they are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The variable.
    pub name: String,
    /// What it is set to.
    pub value: String,
}

impl FromStr for Assignment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text
            .split_once('=')
            .ok_or("write NAME=value, in quotes if there are spaces in it")?;
        check_name(name)?;
        check_value(name, value)?;
        Ok(Self {
            name: name.to_owned(),
            value: value.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assignments() {
        let read = |text: &str| text.parse::<Assignment>();
        let assigned = |name: &str, value: &str| Assignment {
            name: name.to_owned(),
            value: value.to_owned(),
        };
        assert_eq!(read("A=b"), Ok(assigned("A", "b")));
        assert_eq!(read("A="), Ok(assigned("A", "")));
        assert_eq!(read("A=b=c d"), Ok(assigned("A", "b=c d")));
        for (bad, why) in [
            ("A", "NAME=value"),
            ("=b", "no variable's name"),
            ("1=b", "no variable's name"),
            ("PORT=1", "set by the platform"),
            ("A=\0", "NUL"),
        ] {
            assert!(read(bad).unwrap_err().contains(why), "{bad}");
        }
    }
}
