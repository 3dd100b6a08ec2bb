//! The function that CoreFn's tests deploy: a small HTTP/1.1 server that shows what it gets, and
//! misbehaves when asked to.
//!
//! | path | answer |
//! |---|---|
//! | `/status/N` | that status, with a short body |
//! | `/sleep/MS` | 200 after so long |
//! | `/together/MS` | the same, and how many did so at once, and before |
//! | `/stream/COUNT/MS` | COUNT chunks, one line each, so far apart |
//! | `/download/BYTES` | so many bytes of the pattern |
//! | `/upload/NAME` | counts and sums up the body as it arrives, and reports it at its end |
//! | `/seen/NAME` | how much of that upload has arrived until now |
//! | `/early` | 413 before it has read the body, which it never does |
//! | `/trailers` | chunks with a trailer |
//! | `/break` | none: the connection is closed |
//! | `/break/BYTES` | as `/download`, but the connection is closed halfway |
//! | `/has/NAME` | whether that upload has begun |
//! | `/header/NAME/VALUE` | a header with that field |
//! | `/huge-header` | a header of 100,000 bytes |
//! | `/env` | its environment |
//! | `/whoami` | its user, capabilities and what it can write to |
//! | `/traces` | its files, descriptors, arguments, and the processes that it sees |
//! | `/use/memory` | none: it uses all memory that it gets |
//! | `/use/threads`, `/use/files`, `/use/disk` | how many threads, open files and bytes of `/tmp` it could have |
//! | `/use/log/BYTES` | 200 when it has written so much to its log |
//! | `/use/processors/MS` | how many milliseconds of processors it has used in so many |
//! | `/reach/IP/PORT` | whether it can connect there within a second |
//! | `/shout/PORT` | how many datagrams it could send to all that are near, by broadcast |
//! | `/hears/PORT/MS` | from where it gets a datagram there within so long |
//! | `/exit` | none: the process ends with code 3 |
//! | `/dies/CONTAINER/COUNT` | none: as one that is killed; of another container than the one named, 200 |
//! | anything with `Upgrade: echo` | 101, and then whatever it gets |
//! | anything else | what it has seen of the request |
//!
//! Answers are JSON where they hold data. The variable `MODE` makes it misbehave from its start:
//! `never-listen`, `exit`, `wrong-port`, `loopback`, `slow-start:MS`. Where it is given a socket (`stacks/README.md`), it
//! serves there as well.
//!
//! Started with `wait` and the path of a socket, it is a runtime that waits (`stacks/README.md`). What it is handed has no
//! meaning to it but its variables, with which it begins anew.
//!
//! It stands on nothing but the standard library, so that `rustc` alone makes it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use std::{env, fs, process, thread};

fn main() {
    end_on_sigterm();
    let mut arguments = env::args_os().skip(1);
    if arguments.next().is_some_and(|word| word == "wait") {
        wait(Path::new(&arguments.next().unwrap_or_default()));
    }
    let mode = env::var("MODE").unwrap_or_default();
    let mut port: u16 = env::var("PORT")
        .ok()
        .and_then(|port| port.parse().ok())
        .unwrap_or(8080);
    let mut host = "0.0.0.0";
    match mode.split_once(':').unwrap_or((&mode, "")) {
        ("never-listen", _) => {
            println!("the probe will not listen");
            sleep(3_600_000);
        }
        ("exit", _) => {
            eprintln!("the probe exits on purpose");
            process::exit(3);
        }
        ("wrong-port", _) => port += 1,
        ("loopback", _) => host = "127.0.0.1",
        ("slow-start", time) => sleep(time.parse().unwrap_or(1000)),
        _ => {}
    }
    let listener = TcpListener::bind((host, port)).unwrap_or_else(|error| {
        eprintln!("the probe can't listen on {host}:{port}: {error}");
        process::exit(1)
    });
    listen_on_socket();
    println!("the probe listens on {host}:{port}");
    for stream in listener.incoming().flatten() {
        match DYING.load(Ordering::SeqCst) {
            NOT => {}
            LISTENS => sleep(3_600_000),
            _ => {
                // Held, so that the kernel does not reset it.
                let _last = listener.accept();
                drop(listener);
                sleep(1000);
                process::exit(3);
            }
        }
        thread::spawn(move || {
            // A client that goes away is no reason to complain.
            let _ = serve(stream);
        });
    }
}

/// Serves on the socket that it was given, if it was given one, as well.
fn listen_on_socket() {
    const BACKLOG: i32 = 4096;
    unsafe extern "C" {
        fn listen(socket: i32, backlog: i32) -> i32;
    }
    let Ok(number) = env::var("COREFN_SOCKET") else {
        return;
    };
    let number = number.parse().expect("it is the number of a descriptor");
    // SAFETY: it takes numbers.
    assert_eq!(
        unsafe { listen(number, BACKLOG) },
        0,
        "the probe can't listen on its socket"
    );
    // SAFETY: nobody else has the descriptor.
    let listener = unsafe { UnixListener::from_raw_fd(number) };
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // (What is done with a connection is the same, but for what a unix socket has no need of.)
            let stream = TcpStream::from(OwnedFd::from(stream));
            thread::spawn(move || serve(stream));
        }
    });
}

/// Waits until it is told what to become, and becomes it; ends when nobody was there to tell it for half a minute.
fn wait(path: &Path) -> ! {
    const ATTEMPTS: u32 = 600;
    const CANNOT_EXECUTE: i32 = 126;
    let mut attempts = 0;
    while attempts < ATTEMPTS {
        attempts += 1;
        let Ok(mut socket) = UnixStream::connect(path) else {
            sleep(50);
            continue;
        };
        attempts = 0;
        let Ok((variables, archive)) = told(&mut socket) else {
            continue;
        };
        let why = match archive.starts_with(b"070701") {
            // (The connection is closed by the program's beginning.)
            true => process::Command::new("/probe").envs(variables).exec(),
            false => io::Error::from_raw_os_error(22),
        };
        let _ = socket.write_all(&why.raw_os_error().unwrap_or(5).to_le_bytes());
        process::exit(CANNOT_EXECUTE);
    }
    process::exit(1)
}

/// What it is told: variables, and an archive.
fn told(socket: &mut UnixStream) -> io::Result<(Vec<(String, String)>, Vec<u8>)> {
    let mut number = || {
        let mut bytes = [0; 4];
        socket.read_exact(&mut bytes)?;
        io::Result::Ok(u32::from_le_bytes(bytes) as usize)
    };
    let (mut order, mut archive) = (vec![0; number()?], vec![0; number()?]);
    socket.read_exact(&mut order)?;
    socket.read_exact(&mut archive)?;
    let number = |at: usize| {
        let bytes = order.get(at..at + 4)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?) as usize)
    };
    let (Some(arguments), Some(variables)) = (number(0), number(4)) else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    let texts = String::from_utf8_lossy(&order[8..]);
    let texts = texts.split('\0').skip(arguments).take(variables);
    let texts = texts.filter_map(|text| text.split_once('='));
    let variables = texts.map(|(name, value)| (name.to_owned(), value.to_owned()));
    Ok((variables.collect(), archive))
}

/// The first process of a container gets only the signals it asks for.
fn end_on_sigterm() {
    unsafe extern "C" {
        fn signal(number: i32, handler: extern "C" fn(i32)) -> usize;
        fn _exit(code: i32) -> !;
    }
    extern "C" fn end(_: i32) {
        // SAFETY: _exit may be called from a signal's handler.
        unsafe { _exit(0) }
    }
    const SIGTERM: i32 = 15;
    // SAFETY: the handler does nothing that a handler may not.
    unsafe { signal(SIGTERM, end) };
}

struct Request {
    method: String,
    target: Vec<u8>,
    version: String,
    headers: Vec<(String, Vec<u8>)>,
}

fn serve(stream: TcpStream) -> io::Result<()> {
    let _ = stream.set_nodelay(true);
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream;
    while let Some(request) = read_head(&mut reader)? {
        if request.header("upgrade") == "echo" {
            write!(
                writer,
                "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n"
            )?;
            return echo(&mut reader, &mut writer);
        }
        answer(&request, &mut reader, &mut writer)?;
        if request.header("connection").eq_ignore_ascii_case("close")
            || request.version == "HTTP/1.0"
        {
            return Ok(());
        }
    }
    Ok(())
}

fn answer(
    request: &Request,
    reader: &mut BufReader<TcpStream>,
    writer: &mut TcpStream,
) -> io::Result<()> {
    let target = String::from_utf8_lossy(&request.target).into_owned();
    let path = target.split('?').next().unwrap_or_default();
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    let number = |text: &str| text.parse::<u64>().unwrap_or(0);
    if let ["upload", name] = parts[..] {
        return upload(name, Body::of(request, reader), request, writer);
    }
    if parts[..] == ["early"] {
        send(
            writer,
            request,
            "413",
            &[("Connection", "close")],
            b"too much\n",
        )?;
        // Closed at once, what was not read would reset the connection.
        sleep(500);
        return Err(io::ErrorKind::ConnectionAborted.into());
    }
    let mut body = Vec::new();
    Body::of(request, reader).read_to_end(&mut body)?;
    match parts[..] {
        ["status", status] => send(
            writer,
            request,
            status,
            &[],
            format!("status {status}\n").as_bytes(),
        ),
        ["sleep", time] => {
            sleep(number(time));
            send(writer, request, "200", &[], b"slept\n")
        }
        ["together", time] => {
            let seen = together(number(time), writer)?;
            json(writer, request, &seen)
        }
        ["told"] => {
            while uploads().remove("told").is_none() {
                sleep(5);
            }
            send(writer, request, "200", &[], b"told\n")
        }
        ["asked", count] => asked(number(count), writer),
        ["stream", count, time] => stream(number(count), number(time), request, writer),
        ["download", count] => download(number(count) as usize, request, writer),
        ["trailers"] => {
            let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n";
            let body = match request.method.as_str() {
                "HEAD" => "",
                _ => "5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n",
            };
            writer.write_all((head.to_owned() + body).as_bytes())
        }
        ["break"] => Err(io::ErrorKind::ConnectionAborted.into()),
        ["break", count] => {
            let bytes = vec![b'x'; number(count) as usize / 2];
            write!(writer, "HTTP/1.1 200 OK\r\nContent-Length: {count}\r\n\r\n")?;
            writer.write_all(&bytes)?;
            Err(io::ErrorKind::ConnectionAborted.into())
        }
        ["seen", name] => json(
            writer,
            request,
            &uploads().get(name).copied().unwrap_or(0).to_string(),
        ),
        ["has", name] => json(writer, request, &uploads().contains_key(name).to_string()),
        ["header", name, value] => send(writer, request, "200", &[(name, value)], b"a header\n"),
        ["huge-header"] => {
            let value = "x".repeat(100_000);
            send(writer, request, "200", &[("X-Huge", &value)], b"huge\n")
        }
        // Its query is the value of a header.
        ["answers", name] => {
            let value = target.split_once('?').map_or("", |(_, query)| query);
            let headers: Vec<_> = value.split('&').map(|value| (name, value)).collect();
            send(writer, request, "302", &headers, b"")
        }
        ["env"] => {
            let pairs = env::vars()
                .map(|(name, value)| format!("{}:{}", quote_text(&name), quote_text(&value)));
            json(
                writer,
                request,
                &format!("{{{}}}", pairs.collect::<Vec<_>>().join(",")),
            )
        }
        ["whoami"] => json(writer, request, &whoami()),
        ["traces"] => json(writer, request, &traces()),
        ["use", what] => json(writer, request, &use_all(what).to_string()),
        ["use", "log", count] => {
            let line = "x".repeat(1023);
            for _ in 0..number(count) / 1024 {
                println!("{line}");
            }
            send(writer, request, "200", &[], b"written\n")
        }
        ["use", "processors", time] => {
            json(writer, request, &use_processors(number(time)).to_string())
        }
        ["reach", ip, port] => json(writer, request, &reach(ip, port)),
        ["shout", port] => json(writer, request, &shout(number(port) as u16)?),
        ["hears", port, time] => {
            json(writer, request, &hears(number(port) as u16, number(time)))
        }
        ["dies", container, count] => dies(container, number(count) as usize, writer),
        ["exit"] => {
            eprintln!("the probe exits because it was asked to");
            process::exit(3);
        }
        _ => json(writer, request, &seen(request, &body)),
    }
}

/// Takes its time, and counts how many do so at once: how many at the most, and how many have begun before. Whoever has
/// closed the connection meanwhile doesn't count.
fn together(time: u64, connection: &TcpStream) -> io::Result<String> {
    static INSIDE: Mutex<Vec<Arc<TcpStream>>> = Mutex::new(Vec::new());
    static MOST: AtomicUsize = AtomicUsize::new(0);
    static BEGUN: AtomicUsize = AtomicUsize::new(0);
    let inside = || {
        INSIDE
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    };
    let own = Arc::new(connection.try_clone()?);
    let before = {
        let mut inside = inside();
        inside.retain(|other| is_open(other));
        inside.push(own.clone());
        MOST.fetch_max(inside.len(), Ordering::SeqCst);
        BEGUN.fetch_add(1, Ordering::SeqCst)
    };
    sleep(time);
    inside().retain(|other| !Arc::ptr_eq(other, &own));
    let most = MOST.load(Ordering::SeqCst);
    let host = fs::read_to_string("/etc/hostname").unwrap_or_default();
    let host = quote(host.trim().as_bytes());
    Ok(format!(
        "{{\"most\":{most},\"before\":{before},\"host\":{host}}}\n"
    ))
}

/// Whether the other side has not closed a connection that nobody reads from or writes to meanwhile.
fn is_open(connection: &TcpStream) -> bool {
    let peek = || {
        connection.set_nonblocking(true)?;
        let peeked = connection.peek(&mut [0]);
        connection.set_nonblocking(false)?;
        peeked
    };
    match peek() {
        Ok(count) => count > 0,
        Err(error) => error.kind() == io::ErrorKind::WouldBlock,
    }
}

/// Whether, and how, the process dies.
static DYING: AtomicU8 = AtomicU8::new(NOT);
const NOT: u8 = 0;
/// It accepts nobody, and still listens.
const LISTENS: u8 = 1;
/// It accepts the next, and listens no more.
const LINGERS: u8 = 2;

/// Ends the process as the system ends one that is killed: this connection is closed, and what it listens on only when
/// `count` others are connected there, whom nobody accepts. With a `count` of 0 the next that connects is not told for a
/// second that nobody is there, and all others are at once.
fn dies(container: &str, count: usize, writer: &mut TcpStream) -> io::Result<()> {
    if env::var("HOSTNAME").unwrap_or_default() != container {
        return writer.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nanother\n");
    }
    let how = if count > 0 { LISTENS } else { LINGERS };
    DYING.store(how, Ordering::SeqCst);
    // Who waits for a connection gets one, and then no more.
    let own = writer.local_addr()?;
    let _ = TcpStream::connect(own);
    if count == 0 {
        return Err(io::ErrorKind::ConnectionAborted.into());
    }
    let mut known = connections(own.port());
    let before = known.len();
    thread::spawn(move || {
        while known.len() < before + count {
            sleep(1);
            known.extend(connections(own.port()));
        }
        process::exit(3);
    });
    Err(io::ErrorKind::ConnectionAborted.into())
}

/// Who is connected to a port, as the kernel has it: those that nobody has accepted as well, and of these also those
/// that have gone away again, since nothing else would show who came for a moment.
fn connections(port: u16) -> HashSet<String> {
    const ESTABLISHED: &str = "01";
    const CLOSE_WAIT: &str = "08";
    let table = fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    let words = |line: &str| {
        line.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    table
        .lines()
        .map(words)
        .filter(|words| words[1].ends_with(&format!(":{port:04X}")))
        .filter(|words| [ESTABLISHED, CLOSE_WAIT].contains(&words[3].as_str()))
        .map(|words| words[2].clone())
        .collect()
}

/// What it has seen of the request. Bytes are characters of Latin-1.
fn seen(request: &Request, body: &[u8]) -> String {
    let mut headers: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in &request.headers {
        headers.entry(name.clone()).or_default().push(quote(value));
    }
    let headers: Vec<String> = headers
        .iter()
        .map(|(name, values)| format!("{}:[{}]", quote(name.as_bytes()), values.join(",")))
        .collect();
    format!(
        "{{\"method\":{},\"target\":{},\"version\":{},\"headers\":{{{}}},\"length\":{},\"sum\":{},\"body\":{}}}",
        quote(request.method.as_bytes()),
        quote(&request.target),
        quote(request.version.as_bytes()),
        headers.join(","),
        body.len(),
        quote(Sum::of(body).hex().as_bytes()),
        quote(&body[..body.len().min(1000)])
    )
}

/// Uses as much of something as it gets, and says how much that was.
fn use_all(what: &str) -> usize {
    match what {
        "memory" => {
            let mut all = Vec::new();
            loop {
                // (Not of zeros alone, which the kernel would not have to keep.)
                all.push(vec![1_u8; 1 << 20]);
            }
        }
        "threads" => {
            static GO: AtomicUsize = AtomicUsize::new(0);
            GO.store(0, Ordering::SeqCst);
            let mut all = Vec::new();
            let wait = || {
                while GO.load(Ordering::SeqCst) == 0 {
                    sleep(20);
                }
            };
            while let Ok(one) = thread::Builder::new().stack_size(32 << 10).spawn(wait) {
                all.push(one);
            }
            GO.store(1, Ordering::SeqCst);
            let count = all.len();
            all.into_iter().for_each(|one| drop(one.join()));
            count
        }
        "files" => {
            let mut all = Vec::new();
            while let Ok(file) = fs::File::open("/dev/null") {
                all.push(file);
            }
            all.len()
        }
        "disk" => {
            let mut count = 0;
            if let Ok(mut file) = fs::File::create("/tmp/all") {
                while let Ok(more @ 1..) = file.write(&[1; 64 << 10]) {
                    count += more;
                }
            }
            let _ = fs::remove_file("/tmp/all");
            count
        }
        _ => 0,
    }
}

/// Has several threads do nothing as fast as they can, and says how many milliseconds of processors that took.
fn use_processors(time: u64) -> u64 {
    // (The third and the fourth number after the name's end: what it has used itself, in hundredths of a second. proc(5))
    let used = || {
        let text = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let rest = text.rsplit_once(')').map_or("", |(_, rest)| rest);
        let numbers = rest.split_whitespace().skip(11).take(2);
        10 * numbers.filter_map(|number| number.parse::<u64>().ok()).sum::<u64>()
    };
    let (begin, before) = (std::time::Instant::now(), used());
    let busy = move || {
        while begin.elapsed() < Duration::from_millis(time) {
            std::hint::spin_loop();
        }
    };
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let threads: Vec<_> = (0..processors.max(4)).map(|_| thread::spawn(busy)).collect();
    threads.into_iter().for_each(|thread| drop(thread.join()));
    used() - before
}

fn whoami() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        quote(
            line.unwrap_or_default()
                .split_whitespace()
                .next()
                .unwrap_or_default()
                .as_bytes(),
        )
    };
    let writable = |path: &str| fs::write(path, "probe").is_ok();
    format!(
        "{{\"uid\":{},\"gid\":{},\"effective\":{},\"permitted\":{},\"bounding\":{},\"no_new_privileges\":{},\
         \"seccomp\":{},\"ipv6\":{},\"root_writable\":{},\"tmp_writable\":{}}}",
        field("Uid"),
        field("Gid"),
        field("CapEff"),
        field("CapPrm"),
        field("CapBnd"),
        field("NoNewPrivs"),
        field("Seccomp"),
        quote(fs::read("/proc/net/if_inet6").unwrap_or_default().as_slice()),
        writable("/probe"),
        writable("/tmp/probe")
    )
}

/// All that it can see of itself and of others. What differs from one start to another, such as a socket's number, is
/// left out.
fn traces() -> String {
    let mut files = Vec::new();
    collect(Path::new("/"), &mut files);
    let unix = fs::read_to_string("/proc/self/net/unix").unwrap_or_default();
    let unix: HashSet<&str> = unix
        .lines()
        .filter_map(|line| line.split_whitespace().nth(6))
        .collect();
    let mut descriptors: Vec<String> = names("/proc/self/fd")
        .iter()
        // (That of the listing is gone.)
        .filter_map(|name| fs::read_link(format!("/proc/self/fd/{name}")).ok())
        .map(|target| target.display().to_string())
        .map(|target| match target.strip_prefix("socket:[") {
            Some(inode) if unix.contains(&inode.trim_end_matches(']')) => "unix socket".to_owned(),
            _ => target.split(':').next().unwrap_or_default().to_owned(),
        })
        // How many connections there are is a matter of the moment.
        .filter(|target| !target.starts_with("/proc/") && target != "socket")
        .collect();
    files.sort();
    descriptors.sort();
    let arguments = fs::read_to_string("/proc/self/cmdline").unwrap_or_default();
    let arguments = arguments
        .split_terminator('\0')
        .map(str::to_owned)
        .collect();
    let processes = names("/proc");
    let is_process = |name: &String| name.bytes().all(|byte| byte.is_ascii_digit());
    let processes = processes.into_iter().filter(is_process).collect();
    let lists = [
        ("files", files),
        ("descriptors", descriptors),
        ("arguments", arguments),
        ("processes", processes),
    ];
    let lists = lists.map(|(name, list)| {
        let list: Vec<_> = list.iter().map(|text| quote(text.as_bytes())).collect();
        format!("\"{name}\":[{}]", list.join(","))
    });
    format!("{{{}}}", lists.join(","))
}

/// The files below a folder, except for those that the kernel makes up.
fn collect(folder: &Path, files: &mut Vec<String>) {
    for name in names(&folder.display().to_string()) {
        let path = folder.join(name);
        if ["/proc", "/sys", "/dev"]
            .iter()
            .any(|of| path == Path::new(of))
        {
            continue;
        }
        files.push(path.display().to_string());
        if path.is_dir() && !path.is_symlink() {
            collect(&path, files);
        }
    }
}

fn names(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

fn reach(ip: &str, port: &str) -> String {
    let Ok(address) = format!("{ip}:{port}").parse() else {
        return quote(b"no address");
    };
    match TcpStream::connect_timeout(&address, Duration::from_secs(1)) {
        Ok(_) => quote(b"reached"),
        Err(error) => quote(error.to_string().as_bytes()),
    }
}

/// Sends to everybody near.
fn shout(port: u16) -> io::Result<String> {
    let socket = UdpSocket::bind(("0.0.0.0", 0))?;
    socket.set_broadcast(true)?;
    // (All hosts of the network it is on, of any network, and all that take part in multicast.)
    let near = own_network().map(|network| network | 0xffff);
    let all = [near, Some(u32::MAX), Some(0xe000_0001)];
    let sent = all.into_iter().flatten().filter(|address| {
        let to = (Ipv4Addr::from(*address), port);
        socket.send_to(b"shout", to).is_ok()
    });
    Ok(sent.count().to_string())
}

/// The network that it is on, as the kernel's table of routes has it (proc(5)): that with a mask.
fn own_network() -> Option<u32> {
    let table = fs::read_to_string("/proc/net/route").ok()?;
    table.lines().skip(1).find_map(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        let number = |at: usize| u32::from_str_radix(words.get(at)?, 16).ok();
        (number(7)? != 0).then(|| Some(number(1)?.swap_bytes()))?
    })
}

fn hears(port: u16, time: u64) -> String {
    let heard = UdpSocket::bind(("0.0.0.0", port)).and_then(|socket| {
        socket.set_read_timeout(Some(Duration::from_millis(time)))?;
        socket.recv_from(&mut [0; 8])
    });
    let from = heard.map_or_else(|error| error.to_string(), |(_, from)| from.ip().to_string());
    quote(from.as_bytes())
}

/// Sends each line but the first only when the upload `asked` has come once more.
fn asked(count: u64, writer: &mut TcpStream) -> io::Result<()> {
    write!(
        writer,
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
    )?;
    for at in 0..count {
        while at > 0 && uploads().remove("asked").is_none() {
            sleep(5);
        }
        let line = format!("line {at}\n");
        write!(writer, "{:x}\r\n{line}\r\n", line.len())?;
    }
    write!(writer, "0\r\n\r\n")
}

fn stream(count: u64, time: u64, request: &Request, writer: &mut TcpStream) -> io::Result<()> {
    write!(
        writer,
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
    )?;
    // What came after the header would be taken for the next answer.
    if request.method == "HEAD" {
        return Ok(());
    }
    for at in 0..count {
        if at > 0 {
            sleep(time);
        }
        let line = format!("line {at}\n");
        write!(writer, "{:x}\r\n{line}\r\n", line.len())?;
        writer.flush()?;
    }
    write!(writer, "0\r\n\r\n")
}

fn download(count: usize, request: &Request, writer: &mut TcpStream) -> io::Result<()> {
    const PIECE: usize = 64 << 10;
    write!(
        writer,
        "HTTP/1.1 200 Probe\r\nContent-Length: {count}\r\n\r\n"
    )?;
    if request.method == "HEAD" {
        return Ok(());
    }
    for from in (0..count).step_by(PIECE) {
        let bytes: Vec<u8> = (from..count.min(from + PIECE)).map(pattern).collect();
        writer.write_all(&bytes)?;
    }
    Ok(())
}

fn upload(
    name: &str,
    mut body: Body<'_>,
    request: &Request,
    writer: &mut TcpStream,
) -> io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    let (mut length, mut sum) = (0, Sum::of(b""));
    loop {
        uploads().insert(name.to_owned(), length);
        let count = body.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        sum.add(&buffer[..count]);
        length += count as u64;
    }
    json(
        writer,
        request,
        &format!(
            "{{\"length\":{length},\"sum\":{}}}",
            quote(sum.hex().as_bytes())
        ),
    )
}

/// The bytes of each upload that have arrived.
fn uploads() -> std::sync::MutexGuard<'static, HashMap<String, u64>> {
    static UPLOADS: OnceLock<Mutex<HashMap<String, u64>>> = OnceLock::new();
    UPLOADS.get_or_init(Mutex::default).lock().unwrap()
}

fn echo(reader: &mut BufReader<TcpStream>, writer: &mut TcpStream) -> io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok(()),
            count => writer.write_all(&buffer[..count])?,
        }
    }
}

fn json(writer: &mut TcpStream, request: &Request, text: &str) -> io::Result<()> {
    send(
        writer,
        request,
        "200",
        &[("Content-Type", "application/json")],
        text.as_bytes(),
    )
}

fn send(
    writer: &mut TcpStream,
    request: &Request,
    status: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> io::Result<()> {
    let mut head = format!("HTTP/1.1 {status} Probe\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    let empty = ["204", "304"].contains(&status);
    if !empty {
        head += &format!("Content-Length: {}\r\n", body.len());
    }
    let mut all = (head + "\r\n").into_bytes();
    if !empty && request.method != "HEAD" {
        all.extend_from_slice(body);
    }
    writer.write_all(&all)
}

impl Request {
    fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(other, _)| other == name);
        found
            .and_then(|(_, value)| std::str::from_utf8(value).ok())
            .unwrap_or_default()
    }
}

/// Reads up to the empty line; none if the connection has ended.
fn read_head(reader: &mut BufReader<TcpStream>) -> io::Result<Option<Request>> {
    let first = read_line(reader)?;
    let words: Vec<&[u8]> = first.split(|&byte| byte == b' ').collect();
    let [method, target, version] = words[..] else {
        return Ok(None);
    };
    let mut headers = Vec::new();
    loop {
        let line = read_line(reader)?;
        let Some(colon) = line.iter().position(|&byte| byte == b':') else {
            break;
        };
        let name = String::from_utf8_lossy(&line[..colon]).to_lowercase();
        headers.push((name, line[colon + 1..].trim_ascii().to_vec()));
    }
    Ok(Some(Request {
        method: String::from_utf8_lossy(method).into_owned(),
        target: target.to_vec(),
        version: String::from_utf8_lossy(version).into_owned(),
        headers,
    }))
}

fn read_line(reader: &mut BufReader<TcpStream>) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    reader.read_until(b'\n', &mut line)?;
    Ok(line.trim_ascii_end().to_vec())
}

/// A request's body, of a known length or chunked.
struct Body<'a> {
    reader: &'a mut BufReader<TcpStream>,
    left: u64,
    chunked: bool,
}

impl<'a> Body<'a> {
    fn of(request: &Request, reader: &'a mut BufReader<TcpStream>) -> Self {
        Self {
            reader,
            left: request.header("content-length").parse().unwrap_or(0),
            chunked: request.header("transfer-encoding") == "chunked",
        }
    }
}

impl Read for Body<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 && self.chunked {
            let line = read_line(self.reader)?;
            let size = std::str::from_utf8(&line).unwrap_or_default();
            self.left = u64::from_str_radix(size, 16).map_err(io::Error::other)?;
            if self.left == 0 {
                self.chunked = false;
                read_line(self.reader)?;
            }
        }
        if self.left == 0 {
            return Ok(0);
        }
        let most = buffer
            .len()
            .min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let count = self.reader.read(&mut buffer[..most])?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= count as u64;
        if self.left == 0 && self.chunked {
            read_line(self.reader)?;
        }
        Ok(count)
    }
}

/// 64-bit FNV-1a.
struct Sum(u64);

impl Sum {
    fn of(bytes: &[u8]) -> Self {
        let mut sum = Self(0xcbf2_9ce4_8422_2325);
        sum.add(bytes);
        sum
    }

    fn add(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn hex(&self) -> String {
        format!("{:016x}", self.0)
    }
}

/// The pattern of the tests' `pattern` module.
fn pattern(at: usize) -> u8 {
    (at ^ (at >> 8) ^ (at >> 16)) as u8
}

fn quote_text(text: &str) -> String {
    let mut quoted = String::from("\"");
    for char in text.chars() {
        match char {
            '"' | '\\' => quoted.extend(['\\', char]),
            '\0'..' ' => quoted += &format!("\\u{:04x}", char as u32),
            _ => quoted.push(char),
        }
    }
    quoted + "\""
}

/// The same of bytes that need not be text: each is a character.
fn quote(bytes: &[u8]) -> String {
    let mut text = String::from("\"");
    for &byte in bytes {
        match byte {
            b'"' | b'\\' => text.extend(['\\', byte as char]),
            b' '..=b'~' => text.push(byte as char),
            _ => text += &format!("\\u{byte:04x}"),
        }
    }
    text + "\""
}

fn sleep(milliseconds: u64) {
    thread::sleep(Duration::from_millis(milliseconds));
}
