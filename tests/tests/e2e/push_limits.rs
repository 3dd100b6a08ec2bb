//! Builds that want more than they may have, or what they may not reach.

use std::fs;

use corefn_core::names::HOST_FILE;
use corefn_tests::Home;
use corefn_tests::push::{Repository, builds};

use crate::push_rejected::{State, deployed};

/// What a build does, the limits that the host has set for it, and what the pusher is told, one way or the other.
pub struct Row {
    does: &'static str,
    limits: &'static str,
    says: &'static [&'static str],
}

/// What both kinds of builds do. A shell runs it.
const ROWS: &[Row] = &[
    Row {
        does: "yes",
        limits: "output = '100K'",
        says: &[
            "the build was ended: it printed more than 102 kB (build.output of the host's settings)",
        ],
    },
    Row {
        does: "echo begun; sleep 1000",
        limits: "timeout = '4s'",
        says: &[
            "the build was ended: it took longer than 4s (build.timeout of the host's settings)",
        ],
    },
    Row {
        does: "i=0; while [ $((i += 1)) -lt 5000 ]; do sleep 60 & done",
        limits: "pids = 32",
        says: &["Cannot fork"],
    },
    Row {
        does: "head -c 100000000 /dev/zero >/tmp/large; sleep 1000",
        limits: "disk = '50M'",
        says: &[
            "the build was ended: it wrote more than 52.4 MB (build.disk of the host's settings)",
        ],
    },
    Row {
        does: "perl -e '$x = q(a) x 300_000_000; print length $x'",
        limits: "memory = '64M'",
        says: &[
            "it was killed: most likely it ran out of memory (build.memory",
            "the build was killed: most likely it ran out of memory, of which it has 67.1 MB",
        ],
    },
    Row {
        does: "mount -t tmpfs none /mnt",
        limits: "",
        says: &["permission denied", "must be superuser"],
    },
    Row {
        does: "ls /var/run/docker.sock",
        limits: "",
        says: &["docker.sock': No such file"],
    },
    Row {
        does: "rm -rf --no-preserve-root / 2>/dev/null; echo done; exit 3",
        limits: "",
        says: &["non-zero code: 3", "failed with status 3"],
    },
];

impl Row {
    /// Has the host hold to the limits.
    fn set(&self, home: &Home, settings: &str) {
        let text = format!("{settings}\n[build]\n{}\n", self.limits);
        home.folder.write(HOST_FILE, text);
    }

    /// Pushes what it does, which changes nothing.
    async fn push(&self, home: &Home, repository: &Repository) {
        let good = State::of(home, repository).await;
        repository.commit(self.does).await;
        let pushed = repository.push().await;
        println!("---- {}\n{}\n", self.does, pushed.output);
        let pushed = pushed.rejected(&["error: "]);
        let is_told = self.says.iter().any(|says| pushed.output.contains(says));
        assert!(is_told, "{:?} is not in:\n{}", self.says, pushed.output);
        assert_eq!(State::of(home, repository).await, good, "{}", self.does);
        assert_eq!(builds(&home.docker).await.len(), 0, "{}", self.does);
    }
}

/// What Docker's own builder is held to in another way than a container of ours. The proof tries all.
#[tokio::test]
async fn dockerfiles_are_contained() {
    let limits = ["pids", "disk", "memory"];
    commands_of_dockerfiles_are_contained(|row| {
        limits.iter().any(|limit| row.limits.starts_with(limit))
    })
    .await;
}

/// Tries those that `which` lets pass, one that removes all there is among them.
pub async fn commands_of_dockerfiles_are_contained(which: impl Fn(&Row) -> bool) {
    let home = Home::builder("contained").without_nginx().start().await;
    let hello = deployed(&home, "demo/hello").await;
    let (settings, dockerfile) = (home.folder.read(HOST_FILE), hello.read("Dockerfile"));
    for row in ROWS.iter().filter(|row| which(row)) {
        row.set(&home, &settings);
        hello.write("Dockerfile", &format!("{dockerfile}RUN {}\n", row.does));
        row.push(&home, &hello).await;
    }
    // What it deletes is gone from its own image, which then doesn't start.
    let row = Row {
        does: "rm -rf --no-preserve-root / 2>/dev/null; true",
        limits: "",
        says: &["the new revision does not start"],
    };
    if which(&row) {
        row.set(&home, &settings);
        hello.write("Dockerfile", &format!("{dockerfile}RUN {}\n", row.does));
        row.push(&home, &hello).await;
        hello.write("Dockerfile", &dockerfile);
        hello.commit("Good again").await;
        hello.push().await.accepted();
    }
}

/// Has the installation have one stack, whose build is the repository's own `build.sh`.
pub fn script_stack(home: &Home) {
    let stacks = home.folder.file("stacks");
    fs::create_dir_all(stacks.join("script")).unwrap();
    let write = |name: &str, text: &str| home.folder.write(&format!("stacks/script/{name}"), text);
    write(
        "stack.toml",
        "description = 'A script'\ndetect = ['build.sh']\n",
    );
    write(
        "Dockerfile",
        "ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\n\
         RUN mkdir -p /work/src /work/out /cache && chown 1000:1000 /work/src /work/out /cache\n\
         USER 1000\nWORKDIR /work/src\nCMD [\"sh\", \"build.sh\"]\n",
    );
    let settings = home.folder.read(HOST_FILE);
    let own = format!("stacks = '{}'", stacks.display());
    let lines = settings.lines().map(|line| {
        let is_it = line.starts_with("stacks = ");
        if is_it { own.as_str() } else { line }
    });
    home.folder
        .write(HOST_FILE, lines.collect::<Vec<_>>().join("\n") + "\n");
}

/// The cache that builds share is emptied before it is full, and a build ended that fills it at once.
#[tokio::test]
async fn cache_of_an_account() {
    let home = Home::builder("cache").without_nginx().start().await;
    script_stack(&home);
    let script = Repository::create(&home, "demo/script").await;
    let settings = home.folder.read(HOST_FILE);
    home.folder
        .write(HOST_FILE, format!("{settings}\n[build]\ncache = '40M'\n"));
    let push = async |does: &str| {
        script.write("build.sh", &format!("{does}; exit 3\n"));
        script.commit(does).await;
        let pushed = script.push().await;
        println!("---- {does}\n{}\n", pushed.output);
        pushed
    };
    let emptied = "the cache of demo was emptied: it had ";
    // What is hidden counts as well.
    let little = "mkdir -p /cache/kept && head -c 10000000 /dev/zero >/cache/kept/little && chmod 0 /cache/kept";
    let kept = push(little).await.rejected(&["status 3"]);
    assert!(!kept.output.contains(emptied), "{}", kept.output);
    let more = "ls -A /cache; head -c 12000000 /dev/zero >/cache/more";
    let half = push(more).await.rejected(&["status 3"]);
    assert!(half.output.contains("kept\n"), "{}", half.output);
    assert!(half.output.contains(emptied), "{}", half.output);
    let all = "ls -A /cache | wc -l; head -c 100000000 /dev/zero >/cache/all; sleep 1000";
    let full = push(all).await;
    let full = full.rejected(&["the cache of demo is larger than 41.9 MB, and is emptied"]);
    assert!(full.output.contains("compiling\n0\n"), "{}", full.output);
    assert!(full.output.contains(emptied), "{}", full.output);
    assert_eq!(builds(&home.docker).await.len(), 0);
}

/// What Docker does not hold them to by itself, and one that it does. The proof tries all.
#[tokio::test]
async fn stacks_are_contained() {
    let limits = ["output", "timeout", "disk"];
    builds_of_stacks_are_contained(|row| {
        limits.iter().any(|limit| row.limits.starts_with(limit)) || row.does.starts_with("mount")
    })
    .await;
}

/// Tries those that `which` lets pass.
pub async fn builds_of_stacks_are_contained(which: impl Fn(&Row) -> bool) {
    let home = Home::builder("bounded").without_nginx().start().await;
    script_stack(&home);
    let script = Repository::create(&home, "demo/script").await;
    let settings = home.folder.read(HOST_FILE);
    for row in ROWS.iter().filter(|row| which(row)) {
        row.set(&home, &settings);
        script.write("build.sh", &format!("{}\n", row.does));
        row.push(&home, &script).await;
    }
}
