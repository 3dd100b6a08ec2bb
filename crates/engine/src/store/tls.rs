//! Redis over TLS: `rediss://host:port/db`, with files in the parameters of the URL.

use std::fs;

use redis::io::tcp::TcpSettings;
use redis::{
    Client, ClientTlsConfig, ConnectionAddr, ErrorKind, IntoConnectionInfo as _, RedisError,
    TlsCertificates,
};

/// The parameters of a URL that name files, in PEM: the authorities that Redis' certificate is of, if not those that the system
/// trusts; and a certificate that Redis asks for, with its key.
const AUTHORITIES: &str = "ca";
const CERTIFICATE: &str = "cert";
const KEY: &str = "key";

/// A client of the Redis that a URL names. Reads the files that it names, and does no other IO.
///
/// # Errors
/// When it is no URL, or a file can't be read.
pub(super) fn client(url: &str, settings: TcpSettings) -> Result<Client, RedisError> {
    let (rest, files) = take_files(url);
    let info = rest
        .as_str()
        .into_connection_info()?
        .set_tcp_settings(settings);
    match info.addr() {
        ConnectionAddr::TcpTls {
            insecure: false, ..
        } => {}
        ConnectionAddr::TcpTls { .. } => {
            return Err(wrong(
                "ca=/file says whom to trust; #insecure is not for servers",
            ));
        }
        _ if files == Files::default() => return Client::open(info),
        _ => return Err(wrong("ca, cert and key are for rediss://")),
    }
    // (Which cryptography is used is asked for once, by whoever comes first.)
    let _ = rustls::crypto::ring::default_provider().install_default();
    let read = |file: Option<String>| file.map(|file| read(&file)).transpose();
    let client_tls = match (read(files.cert)?, read(files.key)?) {
        (Some(client_cert), Some(client_key)) => Some(ClientTlsConfig {
            client_cert,
            client_key,
        }),
        (None, None) => None,
        _ => return Err(wrong("cert and key belong together")),
    };
    let certificates = TlsCertificates {
        client_tls,
        root_cert: read(files.ca)?,
    };
    Client::build_with_tls(info, certificates)
}

/// The files that a URL names.
#[derive(Debug, Default, PartialEq)]
struct Files {
    ca: Option<String>,
    cert: Option<String>,
    key: Option<String>,
}

/// A URL without the parameters that name files, and those.
fn take_files(url: &str) -> (String, Files) {
    let mut files = Files::default();
    let Some((rest, query)) = url.split_once('?') else {
        return (url.to_owned(), files);
    };
    let mut others = Vec::new();
    for pair in query.split('&') {
        match pair.split_once('=') {
            Some((AUTHORITIES, file)) => files.ca = Some(file.to_owned()),
            Some((CERTIFICATE, file)) => files.cert = Some(file.to_owned()),
            Some((KEY, file)) => files.key = Some(file.to_owned()),
            _ => others.push(pair),
        }
    }
    match others.is_empty() {
        true => (rest.to_owned(), files),
        false => (format!("{rest}?{}", others.join("&")), files),
    }
}

fn read(file: &str) -> Result<Vec<u8>, RedisError> {
    fs::read(file).map_err(|cause| wrong(&format!("{file} can't be read: {cause}")))
}

fn wrong(why: &str) -> RedisError {
    RedisError::from((ErrorKind::InvalidClientConfig, "the URL", why.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client_of(url: &str) -> Result<Client, String> {
        client(url, TcpSettings::default()).map_err(|error| error.to_string())
    }

    #[test]
    fn files_are_no_part_of_the_url() {
        let file = |name: &str| Some(format!("/{name}"));
        for (url, rest, files) in [
            ("rediss://h:1/0", "rediss://h:1/0", Files::default()),
            (
                "rediss://h:1/0?ca=/a",
                "rediss://h:1/0",
                Files {
                    ca: file("a"),
                    ..Files::default()
                },
            ),
            (
                "rediss://h:1/0?cert=/c&protocol=resp3&key=/k",
                "rediss://h:1/0?protocol=resp3",
                Files {
                    ca: None,
                    cert: file("c"),
                    key: file("k"),
                },
            ),
            (
                "unix:///r?user=u&pass=p",
                "unix:///r?user=u&pass=p",
                Files::default(),
            ),
        ] {
            assert_eq!(take_files(url), (rest.to_owned(), files), "{url}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert!(client_of("rediss://u:p@h:1/0").is_ok());
        for (url, says) in [
            (
                "rediss://h:1/0?ca=/nowhere/ca.pem",
                "/nowhere/ca.pem can't be read",
            ),
            (
                "rediss://h:1/0?cert=/dev/null",
                "cert and key belong together",
            ),
            (
                "redis://h:1/0?ca=/dev/null",
                "ca, cert and key are for rediss://",
            ),
            (
                "unix:///r?ca=/dev/null",
                "ca, cert and key are for rediss://",
            ),
            ("rediss://h:1/0#insecure", "ca=/file says whom to trust"),
        ] {
            let error = client_of(url).err().unwrap_or_else(|| panic!("{url}"));
            assert!(error.contains(says), "{error}");
        }
    }
}
