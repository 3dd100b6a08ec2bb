//! `corefn-init` as a process of its own, and what it is told.
#![allow(clippy::unwrap_used)]

use std::fs::{self, File};
use std::io::{IoSlice, Read as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use corefn_sandbox::hand_over::{HandOverError, LISTENER, Program, hand_over, stay};
use corefn_sandbox::{INIT, order};
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType, accept, bind, listen, recv, sendmsg, socket_with,
};

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A process that waits, and the socket that it is connected to.
struct Sandbox {
    folder: tempfile::TempDir,
    listener: OwnedFd,
    process: Child,
}

impl Sandbox {
    fn start() -> Self {
        Self::start_with(&[])
    }

    /// One that is given a program, too.
    fn start_with(program: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let init = folder.path().join("init");
        fs::write(&init, INIT).unwrap();
        fs::set_permissions(&init, fs::Permissions::from_mode(0o755)).unwrap();
        let socket = folder.path().join("socket");
        let listener = listen_at(&socket);
        let process = Command::new(init)
            .arg(socket)
            .args(program)
            .env_clear()
            .env("PATH", "/nowhere:/etc:/usr/bin")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            folder,
            listener,
            process,
        }
    }

    /// The next connection that it makes.
    fn connection(&self) -> OwnedFd {
        accept(&self.listener).unwrap()
    }

    /// What it has printed when it has ended, and with which status.
    fn ended(mut self) -> (String, Option<i32>) {
        let mut text = String::new();
        let mut output = self.process.stdout.take().unwrap();
        output.read_to_string(&mut text).unwrap();
        (text, self.process.wait().unwrap().code())
    }
}

fn listen_at(path: &PathBuf) -> OwnedFd {
    let kind = SocketType::SEQPACKET;
    let socket = socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).unwrap();
    bind(&socket, &SocketAddrUnix::new(path).unwrap()).unwrap();
    listen(&socket, 4).unwrap();
    socket
}

/// Hands a program of this machine over, with its arguments and environment.
async fn become_program(
    sandbox: OwnedFd,
    program: &str,
    arguments: &[&str],
    environment: &[&str],
    listens: bool,
) -> Result<(), HandOverError> {
    let executable = File::open(program).unwrap();
    let order = order::write(arguments.iter().copied(), environment.iter().copied()).unwrap();
    let program = Program {
        executable: executable.as_fd(),
        order: &order,
        listens,
    };
    let handed = hand_over(sandbox, program);
    tokio::time::timeout(PATIENCE, handed).await.unwrap()
}

#[tokio::test]
async fn becomes_what_it_is_told() {
    let sandbox = Sandbox::start();
    let environment = ["PORT=8080", "EMPTY=", "TEXT=two words = and more"];
    let arguments = ["env", "-u", "EMPTY"];
    become_program(
        sandbox.connection(),
        "/usr/bin/env",
        &arguments,
        &environment,
        false,
    )
    .await
    .unwrap();
    let (text, status) = sandbox.ended();
    assert_eq!(text, "PORT=8080\nTEXT=two words = and more\n");
    assert_eq!(status, Some(0));
}

#[tokio::test]
async fn a_large_environment() {
    let sandbox = Sandbox::start();
    // (Linux takes 128 KiB for one text.)
    let value = "x".repeat(100_000);
    let environment: Vec<_> = (0..10).map(|at| format!("V{at}={value}")).collect();
    let environment: Vec<_> = environment.iter().map(String::as_str).collect();
    become_program(
        sandbox.connection(),
        "/usr/bin/env",
        &["env"],
        &environment,
        false,
    )
    .await
    .unwrap();
    assert_eq!(sandbox.ended().0, environment.join("\n") + "\n");
}

/// Nothing that it had open is open in the program but what it shall have.
#[tokio::test]
async fn leaves_nothing_open() {
    // How much it has open before and after: first with the connection, then with the folder that `ls` reads.
    let files = async |sent: u8, listens: bool| {
        let sandbox = Sandbox::start();
        // (Once it is connected it has nothing open any more that is its parent's.)
        let connection = sandbox.connection();
        let before = fs::read_dir(format!("/proc/{}/fd", sandbox.process.id())).unwrap();
        let before = before.count();
        let folder = tempfile::tempdir().unwrap();
        for number in 0..sent {
            let listener = listen_at(&folder.path().join(number.to_string()));
            tell(&connection, &[3], &[listener.as_fd()]);
        }
        let arguments = ["ls", "/proc/self/fd"];
        become_program(connection, "/bin/ls", &arguments, &[], listens)
            .await
            .unwrap();
        let (text, _) = sandbox.ended();
        let own = LISTENER.to_string();
        assert_eq!(text.lines().any(|line| line == own), listens, "{text}");
        (before, text.lines().count())
    };
    for sent in 0..3 {
        let (before, after) = files(sent, false).await;
        assert_eq!(after, before, "{sent} sent");
    }
    for sent in 1..3 {
        let (before, after) = files(sent, true).await;
        assert_eq!(after, before + 1, "{sent} sent");
    }
}

/// A program that is named gets the socket, and is found as a shell finds it.
#[tokio::test]
async fn becomes_what_is_named() {
    for name in ["ls", "/bin/ls"] {
        let sandbox = Sandbox::start_with(&[name, "-l", "/proc/self/fd/"]);
        let connection = sandbox.connection();
        let listener = listen_at(&sandbox.folder.path().join("serve"));
        tell(&connection, &[3], &[listener.as_fd()]);
        let mut why = [0; 8];
        let (length, _) = recv(&connection, &mut why, RecvFlags::empty()).unwrap();
        assert_eq!(
            length, 0,
            "{name}: the connection is closed by its beginning"
        );
        let (text, status) = sandbox.ended();
        assert_eq!(status, Some(0));
        let own = format!(" {LISTENER} -> socket:");
        assert!(text.contains(&own), "{name}: {text}");
        assert_eq!(text.matches("socket:").count(), 1, "{name}: {text}");
    }
    let long = "x".repeat(5000);
    // (ENOENT, EACCES and ENAMETOOLONG of errno(3).)
    for (name, wanted) in [
        ("corefn-no-such-program", 2),
        ("os-release", 13),
        (&*long, 36),
    ] {
        let sandbox = Sandbox::start_with(&[name]);
        let connection = sandbox.connection();
        let listener = listen_at(&sandbox.folder.path().join("serve"));
        tell(&connection, &[3], &[listener.as_fd()]);
        assert_eq!(told(&connection), wanted, "{name}");
        assert_eq!(sandbox.ended(), (String::new(), Some(126)), "{name}");
    }
}

#[tokio::test]
async fn says_why_it_can_not() {
    for (program, kind) in [
        ("/etc/passwd", std::io::ErrorKind::PermissionDenied),
        // A script would have to be opened once more, by a name that it has not.
        ("/usr/bin/ldd", std::io::ErrorKind::NotFound),
    ] {
        let sandbox = Sandbox::start();
        let became = become_program(sandbox.connection(), program, &["x"], &[], false).await;
        match became.unwrap_err() {
            HandOverError::Program(error) => assert_eq!(error.kind(), kind, "{program}: {error}"),
            other => panic!("{program}: {other}"),
        }
        assert_eq!(sandbox.ended().1, Some(126));
    }
    let sandbox = Sandbox::start();
    let executable = File::open("/bin/true").unwrap();
    let program = Program {
        executable: executable.as_fd(),
        order: b"no order",
        listens: false,
    };
    let became = hand_over(sandbox.connection(), program).await;
    assert!(matches!(became, Err(HandOverError::Order)), "{became:?}");
}

/// Whoever is at the other end may go away, and come again.
#[tokio::test]
async fn connects_again() {
    let sandbox = Sandbox::start();
    for _ in 0..3 {
        drop(sandbox.connection());
    }
    let socket = sandbox.folder.path().join("socket");
    fs::remove_file(&socket).unwrap();
    let Sandbox {
        folder, process, ..
    } = sandbox;
    let sandbox = Sandbox {
        listener: listen_at(&socket),
        folder,
        process,
    };
    become_program(
        sandbox.connection(),
        "/bin/echo",
        &["echo", "here"],
        &[],
        false,
    )
    .await
    .unwrap();
    assert_eq!(sandbox.ended(), ("here\n".to_owned(), Some(0)));
}

/// It goes on as a process that does nothing, and holds no connection.
#[tokio::test]
async fn stays_what_it_is() {
    let mut sandbox = Sandbox::start();
    let files = format!("/proc/{}/fd", sandbox.process.id());
    let connection = sandbox.connection();
    let before = fs::read_dir(&files).unwrap().count();
    let listener = listen_at(&sandbox.folder.path().join("serve"));
    tell(&connection, &[3], &[listener.as_fd()]);
    stay(connection).await.unwrap();
    assert_eq!(sandbox.process.try_wait().unwrap(), None);
    assert_eq!(fs::read_dir(&files).unwrap().count(), before - 1);
    sandbox.process.kill().unwrap();
    assert_eq!(sandbox.ended(), (String::new(), None));
}

/// Sends any message.
fn tell(sandbox: &OwnedFd, bytes: &[u8], files: &[BorrowedFd<'_>]) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !files.is_empty() {
        assert!(control.push(SendAncillaryMessage::ScmRights(files)));
    }
    sendmsg(
        sandbox,
        &[IoSlice::new(bytes)],
        &mut control,
        SendFlags::NOSIGNAL,
    )
    .unwrap();
}

/// The number of the error that it sends.
fn told(sandbox: &OwnedFd) -> i32 {
    let mut why = [0; 8];
    let (length, _) = recv(sandbox, &mut why, RecvFlags::empty()).unwrap();
    assert_eq!(length, 4);
    i32::from_le_bytes(why[..4].try_into().unwrap())
}

/// What is no message of this version, or no order, ends it with a reason.
#[tokio::test]
async fn takes_nothing_else() {
    let file = |bytes: &[u8]| {
        let mut file = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut file, bytes).unwrap();
        file
    };
    let program = File::open("/bin/true").unwrap();
    let good = file(&order::write(["true"], []).unwrap());
    let (pipe, _other) = std::io::pipe().unwrap();
    let huge = file(&[]);
    huge.set_len(1 << 40).unwrap();
    let [none, cut, zeros] = [&b""[..], b"\x02\0\0\0\0\0\0\0a\0", &[0; 64]].map(file);
    let order = |order: &File| {
        [program.as_fd(), order.as_fd()].map(|file| file.try_clone_to_owned().unwrap())
    };
    let many: Vec<_> = (0..4)
        .map(|_| good.as_fd().try_clone_to_owned().unwrap())
        .collect();
    let one = || vec![good.as_fd().try_clone_to_owned().unwrap()];
    let cases: [(&str, &[u8], Vec<OwnedFd>, i32); 15] = [
        ("another version", &[9], order(&good).into(), 22),
        ("a socket, without it", &[3], Vec::new(), 22),
        ("a socket, and more", &[3], order(&good).into(), 22),
        ("to listen, without a socket", &[4], order(&good).into(), 22),
        ("to stay, with files", &[2], order(&good).into(), 22),
        ("to stay, and more", &[2, 2], Vec::new(), 22),
        ("more bytes", &[1, 1], order(&good).into(), 22),
        ("no files", &[1], Vec::new(), 22),
        ("no order", &[1], one(), 22),
        ("too many files", &[1], many, 22),
        ("an empty order", &[1], order(&none).into(), 22),
        ("a part of an order", &[1], order(&cut).into(), 22),
        ("zeros", &[1], order(&zeros).into(), 22),
        ("more than there may be", &[1], order(&huge).into(), 27),
        (
            "a pipe",
            &[1],
            vec![
                program.as_fd().try_clone_to_owned().unwrap(),
                pipe.as_fd().try_clone_to_owned().unwrap(),
            ],
            22,
        ),
    ];
    for (what, bytes, files, wanted) in cases {
        let sandbox = Sandbox::start();
        let connection = sandbox.connection();
        let files: Vec<_> = files.iter().map(|file| file.as_fd()).collect();
        tell(&connection, bytes, &files);
        assert_eq!(told(&connection), wanted, "{what}");
        assert_eq!(sandbox.ended(), (String::new(), Some(126)), "{what}");
    }
}
