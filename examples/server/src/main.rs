//! A whole program as a function: it serves HTTP itself, here with the standard library alone. It
//! answers any request with what the request was.
#![forbid(unsafe_code)]

use std::env;
use std::error::Error;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;

use signal_hook::consts::SIGTERM;
use signal_hook::flag::register_conditional_shutdown;

/// The longest line of a request's head that is read, in bytes.
const LINE_LIMIT: u64 = 16 << 10;

fn main() -> Result<(), Box<dyn Error>> {
    // The first process of a container must handle SIGTERM itself, or it is killed only after a while.
    register_conditional_shutdown(SIGTERM, 0, Arc::new(AtomicBool::new(true)))?;
    let port: u16 = env::var("PORT").map_or(Ok(8080), |port| port.parse())?;
    let listener = TcpListener::bind(("0.0.0.0", port))?;
    for stream in listener.incoming() {
        let stream = stream?;
        thread::spawn(move || {
            if let Err(error) = serve(&stream) {
                eprintln!("a connection broke off: {error}");
            }
        });
    }
    Ok(())
}

/// Answers the requests of one connection, one after the other.
fn serve(stream: &TcpStream) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    while let Some(request) = read_line(&mut reader)? {
        let mut length = 0;
        while let Some(header) = read_line(&mut reader)?.filter(|line| !line.is_empty()) {
            let field = header.split_once(':');
            let is_length = |(name, _): &(&str, &str)| name.eq_ignore_ascii_case("content-length");
            if let Some((_, value)) = field.filter(is_length) {
                length = value.trim().parse().map_err(io::Error::other)?;
            }
        }
        let received = io::copy(&mut reader.by_ref().take(length), &mut io::sink())?;
        let method_and_path = request.trim_end_matches(" HTTP/1.1");
        let answer = format!("{method_and_path}, {received} bytes\n");
        let mut writer = stream;
        write!(
            writer,
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\r\n{answer}",
            answer.len()
        )?;
    }
    Ok(())
}

/// The next line without its end; none at the end of the stream.
fn read_line(reader: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut line = String::new();
    reader.take(LINE_LIMIT).read_line(&mut line)?;
    Ok(line.strip_suffix("\r\n").map(str::to_owned))
}
