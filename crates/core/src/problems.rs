//! What is wrong now, and what helps, for whoever looks at the page.

use std::collections::HashSet;

use serde::Serialize;

use crate::error::ErrorCode;
use crate::function::FunctionName;
use crate::metrics::Snapshot;
use crate::survey::{BuildState, Survey};
use crate::view::FailureView;

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// What is.
    pub what: String,
    /// What helps, as Markdown.
    pub remedy: String,
}

impl Problem {
    fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            remedy: remedy.into(),
        }
    }
}

/// What is known of what may be wrong.
#[derive(Debug)]
pub struct Signs<'a> {
    /// What is measured.
    pub snapshot: &'a Snapshot,
    /// Whether a keeper is to keep sandboxes.
    pub has_keeper: bool,
    /// The functions that could not be started.
    pub failures: &'a [(FunctionName, FailureView)],
    /// How often each error was answered within the last minute.
    pub errors: &'a [(ErrorCode, u64)],
}

/// All that is wrong, the worst first.
pub fn problems(signs: &Signs<'_>) -> Vec<Problem> {
    let mut found = Vec::new();
    let Survey { records, sandboxes } = &signs.snapshot.survey;
    if !signs.snapshot.redis {
        let what = "Redis can't be reached: what runs goes on, and what is asked for is started by what Docker says";
        found.push(Problem::new(what, ErrorCode::RedisUnavailable.remedy()));
    }
    if !signs.snapshot.docker {
        let what = "Docker can't be reached: what runs goes on, and only sandboxes that wait can be started from";
        found.push(Problem::new(what, ErrorCode::DockerUnavailable.remedy()));
    }
    if signs.has_keeper && sandboxes.is_none() {
        let what = "The keeper of sandboxes does not answer: cold starts are slow";
        let remedy =
            "see whether `corefn-keep` runs, and what it says: `journalctl -u corefn-keep`";
        found.push(Problem::new(what, remedy));
    }
    for (function, failure) in signs.failures {
        let detail = &failure.detail;
        let what = match detail.starts_with(function.as_str()) {
            true => format!("A function can't be started: {detail}"),
            false => format!("{function} can't be started: {detail}"),
        };
        found.push(Problem::new(what, failure.code.remedy()));
    }
    let is_told = |code| signs.failures.iter().any(|(_, it)| it.code == code);
    for (code, count) in signs.errors.iter().filter(|(code, _)| !is_told(*code)) {
        let (title, answers) = (code.title(), if *count == 1 { "answer" } else { "answers" });
        let what = format!("{title}: {count} {answers} of the last minute ({code})");
        found.push(Problem::new(what, code.remedy()));
    }
    let builds = records.iter().flat_map(|records| &records.builds);
    let mut seen = HashSet::new();
    for build in builds.filter(|build| seen.insert(&build.repository)) {
        let (repository, revision) = (&build.repository, &build.revision);
        let log = format!("its log is below, and `corefn builds log {revision}` prints it");
        match build.state {
            BuildState::Rejected => {
                let why = build.error.as_deref().unwrap_or("its log says why");
                let what = format!("The last push to {repository} was rejected: {why}");
                found.push(Problem::new(what, format!("mend it and push again; {log}")));
            }
            BuildState::Lost => {
                let what =
                    format!("The build of {repository}, revision {revision}, was broken off");
                found.push(Problem::new(what, format!("push again; {log}")));
            }
            BuildState::Running | BuildState::Deployed => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::function::RevisionId;
    use crate::survey::{Build, Records};

    fn build(repository: &str, state: BuildState) -> Build {
        Build {
            repository: repository.to_owned(),
            revision: RevisionId("r1".to_owned()),
            account: None,
            began: 0,
            state,
            took_ms: None,
            error: Some("it does not compile".to_owned()),
        }
    }

    #[test]
    fn each_has_what_helps() {
        let mut snapshot = Snapshot {
            redis: true,
            docker: true,
            ..Snapshot::default()
        };
        let told = |snapshot: &Snapshot, has_keeper, failures: &[_], errors: &[_]| {
            let signs = Signs {
                snapshot,
                has_keeper,
                failures,
                errors,
            };
            let told = problems(&signs);
            assert!(told.iter().all(|it| it.remedy.len() > 10), "{told:?}");
            told.into_iter().map(|it| it.what).collect::<Vec<_>>()
        };
        assert!(told(&snapshot, false, &[], &[]).is_empty());
        // (Of each repository, only the last build counts.)
        snapshot.survey.records = Some(Records {
            builds: vec![
                build("demo/a", BuildState::Deployed),
                build("demo/a", BuildState::Rejected),
                build("demo/b", BuildState::Rejected),
                build("demo/c", BuildState::Lost),
                build("demo/d", BuildState::Running),
            ],
            ..Records::default()
        });
        let failure = FailureView {
            code: ErrorCode::FunctionExited,
            detail: "it ended".to_owned(),
            at: 6,
            until: Some(7),
        };
        let other = FailureView {
            code: ErrorCode::ImageMissing,
            detail: "demo/b has no image".to_owned(),
            at: 6,
            until: None,
        };
        let failures = [
            ("demo/a".parse().unwrap(), failure),
            ("demo/b".parse().unwrap(), other),
        ];
        // (Those that a function is told to fail with are not told of again.)
        let errors = [
            (ErrorCode::FunctionExited, 2),
            (ErrorCode::QueueFull, 3),
            (ErrorCode::ZoneFull, 1),
        ];
        assert_eq!(
            told(&snapshot, true, &failures, &errors),
            [
                "The keeper of sandboxes does not answer: cold starts are slow",
                "demo/a can't be started: it ended",
                "A function can't be started: demo/b has no image",
                "Too many requests wait for this function: 3 answers of the last minute (queue-full)",
                "The router has no memory left to count the request: 1 answer of the last minute (zone-full)",
                "The last push to demo/b was rejected: it does not compile",
                "The build of demo/c, revision r1, was broken off",
            ]
        );
        snapshot.survey.sandboxes = Some(Vec::new());
        snapshot.survey.records = None;
        (snapshot.redis, snapshot.docker) = (false, false);
        let told = told(&snapshot, true, &[], &[]);
        assert_eq!(told.len(), 2);
        assert!(told[0].starts_with("Redis") && told[1].starts_with("Docker"));
    }
}
