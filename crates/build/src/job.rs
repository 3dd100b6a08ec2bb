//! What is to be built, as a hook sends it to whoever builds.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use corefn_core::function::{RepositoryName, RevisionId, check_segment};
use corefn_core::release::ALL;

use crate::error::BuildError;

/// What is to be built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// The repository that was pushed to.
    pub repository: String,
    /// The branch that was pushed to, as people call it.
    pub branch: String,
    /// The commit, in hexadecimal digits.
    pub commit: String,
    /// The revision that it becomes.
    pub revision: RevisionId,
    /// Who pushed, where it came over ssh.
    pub account: Option<String>,
    /// The percentage of the requests that it is released to beside what is deployed, where it does not take its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u8>,
    /// A revision of an earlier push to the repository that nobody knows of whether it was deployed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsettled: Option<RevisionId>,
}

impl Job {
    /// The repository's name, when the whole job is as a hook sends it.
    ///
    /// # Errors
    /// [`BuildError::Rejected`] with what is wrong.
    pub fn check(&self) -> Result<RepositoryName, BuildError> {
        let wrong = |what: &str| BuildError::rejected(format!("the hook's {what} is none"));
        let hexadecimal = |text: &str| text.bytes().all(|b| b.is_ascii_hexdigit());
        if !matches!(self.commit.len(), 40 | 64) || !hexadecimal(&self.commit) {
            return Err(wrong("commit"));
        }
        let time = self.revision.0.strip_suffix(&self.commit[..7]);
        let time = time.and_then(|time| time.strip_suffix('-'));
        let is_time =
            |time: &str| time.len() == 15 && time.bytes().all(|b| b.is_ascii_digit() || b == b'T');
        if !time.is_some_and(is_time) {
            return Err(wrong("revision"));
        }
        let mut account = self.account.iter();
        if account.any(|account| check_segment(account).is_err()) {
            return Err(wrong("account"));
        }
        if self.weight.is_some_and(|weight| weight > ALL) {
            return Err(wrong("weight"));
        }
        self.repository.parse().map_err(|_| wrong("repository"))
    }
}

/// The identifier of a revision: UTC and the commit.
pub(crate) fn revision(commit: &str, now: SystemTime) -> RevisionId {
    let now = jiff::Timestamp::try_from(now).unwrap_or_default();
    let commit = commit.get(..7).unwrap_or(commit);
    RevisionId(format!("{}-{commit}", now.strftime("%Y%m%dT%H%M%S")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn revisions() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let id = revision("0123456789abcdef0123456789abcdef01234567", now);
        assert_eq!(id.0, "20231114T221320-0123456");
    }

    #[test]
    fn jobs_are_checked() {
        let job = Job {
            repository: "demo/hello".into(),
            branch: "main".into(),
            commit: "0123456789abcdef0123456789abcdef01234567".into(),
            revision: RevisionId("20231114T221320-0123456".into()),
            account: Some("alice".into()),
            weight: Some(100),
            unsettled: None,
        };
        assert_eq!(job.check().unwrap().to_string(), "demo/hello");
        for (bad, what) in [
            (
                Job {
                    weight: Some(101),
                    ..job.clone()
                },
                "weight",
            ),
            (
                Job {
                    account: Some("alice\n".into()),
                    ..job.clone()
                },
                "account",
            ),
            (
                Job {
                    repository: "../x".into(),
                    ..job.clone()
                },
                "repository",
            ),
            (
                Job {
                    commit: "x".into(),
                    ..job.clone()
                },
                "commit",
            ),
            (
                Job {
                    commit: "g".repeat(40),
                    ..job.clone()
                },
                "commit",
            ),
            (
                Job {
                    revision: RevisionId("latest".into()),
                    ..job.clone()
                },
                "revision",
            ),
            (
                Job {
                    revision: RevisionId("20231114T221320-0123457".into()),
                    ..job.clone()
                },
                "revision",
            ),
            (
                Job {
                    revision: RevisionId("../../../etc/xx-0123456".into()),
                    ..job.clone()
                },
                "revision",
            ),
        ] {
            let error = bad.check().unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        }
    }
}
