//! What was looked at, how it is, and what helps.

use serde::Serialize;

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As it should be.
    Ok,
    /// Works, and could be better.
    Warning,
    /// Something doesn't work.
    Wrong,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub check: &'static str,
    /// How it is.
    pub state: State,
    /// What was seen.
    pub says: String,
    /// What helps; nothing where all is well.
    pub remedy: Option<String>,
}

impl Finding {
    /// All is well.
    pub fn ok(check: &'static str, says: impl Into<String>) -> Self {
        Self {
            check,
            state: State::Ok,
            says: says.into(),
            remedy: None,
        }
    }

    /// It could be better.
    pub fn warning(
        check: &'static str,
        says: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            state: State::Warning,
            remedy: Some(remedy.into()),
            ..Self::ok(check, says)
        }
    }

    /// It doesn't work.
    pub fn wrong(check: &'static str, says: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            state: State::Wrong,
            ..Self::warning(check, says, remedy)
        }
    }

    /// For people: a line, and another with what helps.
    pub fn text(&self) -> String {
        let state = match self.state {
            State::Ok => "ok",
            State::Warning => "warning",
            State::Wrong => "WRONG",
        };
        let says = self.says.replace('\n', " ");
        let line = format!("{state:8} {:13} {says}", self.check);
        match &self.remedy {
            Some(remedy) => format!("{line}\n{:22} to mend it: {remedy}", ""),
            None => line,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn for_people() {
        let fine = Finding::ok("redis", "7.0.15");
        assert_eq!(fine.text(), "ok       redis         7.0.15");
        let wrong = Finding::wrong("docker", "is\naway", "start it");
        assert_eq!(
            wrong.text(),
            "WRONG    docker        is away\n                       to mend it: start it"
        );
    }
}
