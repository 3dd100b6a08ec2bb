//! How images are named that others have made.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// The registry of names that name none.
pub const DEFAULT_REGISTRY: &str = "docker.io";

/// What precedes a name of one segment in that registry.
const LIBRARY: &str = "library";

/// The tag of names that have none.
const DEFAULT_TAG: &str = "latest";

/// How many bytes the name and the tag may have.
const MOST_NAME: usize = 255;
const MOST_TAG: usize = 128;

/// A reference to an image by its name, with a registry and a tag or digest, as Docker's `reference` has it
/// (<https://pkg.go.dev/github.com/distribution/reference>). An image can also be known by its identifier, or by the begin of that: this
/// is none of these.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ImageReference {
    registry: String,
    path: String,
    /// A tag, or the digest.
    version: Version,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Version {
    Tag(String),
    Digest(String),
}

/// Why a text refers to no image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is no name of an image: write one such as debian:bookworm-slim or registry.example.org/team/image:1"
)]
pub struct ImageReferenceError(String);

impl ImageReference {
    /// Where it is pulled from: a host, with a port if it has one.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// Its name, with the registry.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.path)
    }

    /// Its tag, or its digest.
    pub fn version(&self) -> &str {
        match &self.version {
            Version::Tag(version) | Version::Digest(version) => version,
        }
    }

    /// Whether it is among the names that an installation gives to images.
    pub fn is_of(&self, namespace: &str) -> bool {
        let within = self.path.strip_prefix(namespace);
        self.registry == DEFAULT_REGISTRY && within.is_some_and(|rest| rest.starts_with('/'))
    }

    /// Whether its registry is an address, or this machine, rather than a host that others know by its name.
    pub fn has_bare_registry(&self) -> bool {
        let host = self
            .registry
            .rsplit_once(':')
            .map_or(&*self.registry, |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        // (Of an IPv4 address there are shorter forms, such as 127.1 and 2130706433, and others in hexadecimal.)
        let is_number = |label: &str| label.starts_with(|first: char| first.is_ascii_digit());
        let last = host.rsplit('.').next().unwrap_or(host);
        host.parse::<IpAddr>().is_ok()
            || is_number(last)
            || last.eq_ignore_ascii_case("localhost")
            || !host.contains('.')
    }
}

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = match self.version {
            Version::Tag(_) => ':',
            Version::Digest(_) => '@',
        };
        write!(f, "{}{mark}{}", self.name(), self.version())
    }
}

impl FromStr for ImageReference {
    type Err = ImageReferenceError;

    fn from_str(text: &str) -> Result<Self, ImageReferenceError> {
        let read = || {
            let (rest, digest) = match text.split_once('@') {
                Some((rest, digest)) => (rest, Some(digest)),
                None => (text, None),
            };
            let (registry, rest) = match rest.split_once('/') {
                Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => {
                    (first, rest)
                }
                _ => (DEFAULT_REGISTRY, rest),
            };
            // (Docker's own names for its registry.)
            let registry = match registry {
                "index.docker.io" => DEFAULT_REGISTRY,
                registry => registry,
            };
            let (path, tag) = match rest.split_once(':') {
                Some((path, tag)) => (path, Some(tag)),
                None => (rest, None),
            };
            let path = match registry == DEFAULT_REGISTRY && !path.contains('/') {
                true => format!("{LIBRARY}/{path}"),
                false => path.to_owned(),
            };
            let is_name = is_registry(registry)
                && path.split('/').all(is_component)
                && registry.len() + path.len() < MOST_NAME
                && tag.is_none_or(is_tag)
                && digest.is_none_or(is_digest);
            let version = match (tag, digest) {
                (_, Some(digest)) => Version::Digest(digest.to_owned()),
                (tag, None) => Version::Tag(tag.unwrap_or(DEFAULT_TAG).to_owned()),
            };
            is_name.then(|| Self {
                registry: registry.to_owned(),
                path,
                version,
            })
        };
        read().ok_or_else(|| ImageReferenceError(text.to_owned()))
    }
}

fn is_registry(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    let is_port = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let of_address = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let is_host = match of_address {
        Some(address) => address
            .bytes()
            .all(|byte| byte.is_ascii_hexdigit() || byte == b':'),
        None => host.split('.').all(|label| {
            let is_inside = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
            !label.is_empty()
                && label.bytes().all(is_inside)
                && !label.starts_with('-')
                && !label.ends_with('-')
        }),
    };
    is_host && port.is_none_or(is_port)
}

/// Whether a text is a segment of a path: lower-case letters and digits, with a dot, one or two underscores, or dashes between.
fn is_component(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let mut between = text.split(|it: char| it.is_ascii() && is_plain(it as u8));
    let is_separator =
        |text: &str| matches!(text, "" | "." | "_" | "__") || text.bytes().all(|byte| byte == b'-');
    let has_ends =
        text.bytes().next().is_some_and(is_plain) && text.bytes().next_back().is_some_and(is_plain);
    has_ends && between.all(is_separator)
}

fn is_tag(text: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let is_inside = |byte: u8| is_word(byte) || matches!(byte, b'.' | b'-');
    text.len() <= MOST_TAG
        && text.bytes().next().is_some_and(is_word)
        && text.bytes().all(is_inside)
}

fn is_digest(text: &str) -> bool {
    let digits = text.strip_prefix("sha256:");
    digits.is_some_and(|digits| {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        digits.len() == 64 && digits.bytes().all(is_digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<ImageReference, ImageReferenceError> {
        text.parse()
    }

    #[test]
    fn references_are_whole() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        for (text, want) in [
            ("debian", "docker.io/library/debian:latest".to_owned()),
            (
                "debian:bookworm-slim",
                "docker.io/library/debian:bookworm-slim".to_owned(),
            ),
            ("index.docker.io/a", "docker.io/library/a:latest".to_owned()),
            ("a/b-c__d.e:X_1", "docker.io/a/b-c__d.e:X_1".to_owned()),
            ("localhost/a", "localhost/a:latest".to_owned()),
            ("h:5000/a/b/c", "h:5000/a/b/c:latest".to_owned()),
            ("[::1]:5000/a", "[::1]:5000/a:latest".to_owned()),
            (
                &format!("a:1@{digest}"),
                format!("docker.io/library/a@{digest}"),
            ),
            // (Never the identifier of an image, or the begin of one.)
            (
                "0123456789ab",
                "docker.io/library/0123456789ab:latest".to_owned(),
            ),
            (&digest, format!("docker.io/library/{digest}")),
        ] {
            let found = read(text).unwrap();
            assert_eq!(found.to_string(), want);
            assert_eq!(read(&want).unwrap(), found);
        }
        for bad in [
            "",
            "A",
            "a b",
            "a:",
            "a:b:c",
            "a/",
            "/a",
            "a//b",
            "a@sha256:01",
            "a@b",
            "-a",
            "a___b",
            "a..b",
            "h_x.y/a",
            "h:/a",
            "$A",
            "a:.b",
            "http://h/a",
        ] {
            let error = read(bad).unwrap_err().to_string();
            assert!(error.starts_with(&format!("'{bad}' is no name")), "{error}");
        }
    }

    #[test]
    fn what_is_whose() {
        for (text, is) in [
            ("ns/a/b", true),
            ("docker.io/ns/gate:1", true),
            ("ns", false),
            ("nsx/a", false),
            ("h.x/ns/a", false),
        ] {
            assert_eq!(read(text).unwrap().is_of("ns"), is, "{text}");
        }
        for (text, is) in [
            ("localhost/a", true),
            ("a.localhost/a", true),
            ("127.0.0.1:5000/a", true),
            ("127.1:5/a", true),
            ("0x7f.1/a", true),
            ("[::1]/a", true),
            ("h:5000/a", true),
            ("a", false),
            ("ghcr.io/a", false),
            ("h.example.org:5000/a", false),
        ] {
            assert_eq!(read(text).unwrap().has_bare_registry(), is, "{text}");
        }
    }
}
