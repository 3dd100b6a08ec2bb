//! The builder as a service, with what a hook sends and what none does. What it builds is shown end to
//! end; here Docker and Redis are out of reach.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use corefn_core::names::env as variables;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

const LONG: Duration = Duration::from_secs(30);

/// A builder that runs.
struct Builder {
    home: TempDir,
    child: Child,
}

impl Builder {
    fn start() -> Self {
        let home = tempfile::tempdir().unwrap();
        let settings = "redis = 'unix:///nowhere/redis.sock'\ndocker = 'unix:///nowhere/docker.sock'\n\
                        url = 'http://h'\nstacks = 'stacks'\nprojects = 'projects'\n\
                        builder = 'run/builder.sock'\n";
        fs::write(home.path().join("host.toml"), settings).unwrap();
        fs::create_dir(home.path().join("stacks")).unwrap();
        let child = serve(home.path()).spawn().unwrap();
        let builder = Self { home, child };
        let begin = Instant::now();
        while UnixStream::connect(builder.socket()).is_err() {
            assert!(begin.elapsed() < LONG, "it does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
        builder
    }

    fn socket(&self) -> std::path::PathBuf {
        self.home.path().join("run/builder.sock")
    }

    /// Sends bytes, and returns all frames that come back.
    fn says(&self, bytes: &[u8]) -> Vec<(u8, String)> {
        let mut stream = UnixStream::connect(self.socket()).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        // It may have heard enough before the end.
        let _ = stream.write_all(bytes);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let (mut frames, mut rest) = (Vec::new(), answer.as_slice());
        while let [kind, a, b, c, d, more @ ..] = rest {
            let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
            frames.push((*kind, String::from_utf8_lossy(&more[..length]).into_owned()));
            rest = &more[length..];
        }
        frames
    }

    /// Sends bytes that must be refused with a text.
    fn refuses(&self, bytes: &[u8], text: &str) {
        let frames = self.says(bytes);
        let said: String = frames
            .iter()
            .filter(|(kind, _)| *kind == b'M')
            .map(|(_, text)| text.as_str())
            .collect();
        assert!(
            said.starts_with("error: ") && said.contains(text),
            "{frames:?}"
        );
        assert_eq!(frames.last(), Some(&(b'X', "\u{1}".to_owned())));
    }
}

impl Drop for Builder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn serve(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_corefn-build"));
    command
        .arg("serve")
        .env(variables::HOME, home)
        .stdin(Stdio::null())
        .stderr(Stdio::piped());
    command
}

fn frame(kind: u8, bytes: &[u8]) -> Vec<u8> {
    let mut frame = vec![kind];
    frame.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
    frame.extend_from_slice(bytes);
    frame
}

fn job(repository: &str) -> Vec<u8> {
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let job = serde_json::json!({ "build": {
        "repository": repository,
        "branch": "main",
        "commit": commit,
        "revision": format!("20231114T221320-{}", &commit[..7]),
    }});
    frame(b'R', job.to_string().as_bytes())
}

/// A whole request, with a tree of one file.
fn request(repository: &str, path: &str) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
    header.set_entry_type(tar::EntryType::Regular);
    header.set_mode(0o644);
    header.set_size(0);
    header.set_cksum();
    archive.append(&header, std::io::empty()).unwrap();
    let archive = archive.into_inner().unwrap();
    [job(repository), frame(b'D', &archive), frame(b'E', b"")].concat()
}

#[test]
fn what_hooks_send_is_checked() {
    let builder = Builder::start();
    builder.refuses(
        &request("../etc", "Dockerfile"),
        "the hook's repository is none",
    );
    builder.refuses(
        &request("demo/hello", "../../etc/passwd"),
        "no path that can be built",
    );
    let none = [job("demo/hello"), frame(b'E', b"")].concat();
    builder.refuses(&none, "has no files");
    let noise = [job("demo/hello"), frame(b'D', &[7; 4096]), frame(b'E', b"")].concat();
    builder.refuses(&noise, "the pushed files can't be read");
    for account in ["-x", "../x", ""] {
        let run = serde_json::json!({ "run": { "account": account, "words": ["ls"] } });
        builder.refuses(
            &frame(b'R', run.to_string().as_bytes()),
            &format!("{account:?}"),
        );
    }
}

#[test]
fn what_no_hook_sends_gets_no_answer() {
    let builder = Builder::start();
    for bytes in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &frame(b'R', b"{}"),
        &frame(b'R', b"\xff"),
        &frame(b'D', b"x"),
        b"R\xff\xff\xff\xff",
    ] {
        assert_eq!(builder.says(bytes), [], "{bytes:?}");
    }
    // It asks whether the branch is still as it was, and hears that it isn't.
    let mut stream = UnixStream::connect(builder.socket()).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream.write_all(&request("demo/hello", "x")).unwrap();
    let mut asked = [0; 6];
    stream.read_exact(&mut asked).unwrap();
    assert_eq!(asked, [b'?', 0, 0, 0, 1, 0]);
    stream.write_all(&frame(b'A', &[0])).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(
        answer.contains("main has been pushed to meanwhile"),
        "{answer:?}"
    );
}

#[test]
fn one_at_a_socket() {
    let mut builder = Builder::start();
    let second = serve(builder.home.path()).output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(said.contains("another builder listens on"), "{said}");
    // One that is killed leaves its socket behind, which is no hindrance.
    builder.child.kill().unwrap();
    builder.child.wait().unwrap();
    assert!(builder.socket().exists());
    builder.child = serve(builder.home.path()).spawn().unwrap();
    let begin = Instant::now();
    while UnixStream::connect(builder.socket()).is_err() {
        assert!(begin.elapsed() < LONG, "it does not listen");
        std::thread::sleep(Duration::from_millis(10));
    }
    let id = Pid::from_raw(i32::try_from(builder.child.id()).unwrap()).unwrap();
    kill_process(id, Signal::TERM).unwrap();
    assert!(builder.child.wait().unwrap().success());
}

#[test]
fn settings_without_a_socket() {
    let home = tempfile::tempdir().unwrap();
    let settings = "redis = 'unix:///r'\nurl = 'http://h'\nstacks = 's'\nprojects = 'p'\n";
    fs::write(home.path().join("host.toml"), settings).unwrap();
    let run = serve(home.path()).output().unwrap();
    assert_eq!(run.status.code(), Some(1));
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(said.contains("add a line such as builder"), "{said}");
}
