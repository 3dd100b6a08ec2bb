//! What the host's network asks of builds: to trust its certificate authorities, and to use its proxies.

use std::collections::HashMap;
use std::fs;

use corefn_core::host::Host;

use crate::error::BuildError;

/// The folder of the bundle, from the root.
pub(crate) const FOLDER: &str = "etc/corefn";

/// Where builds find the host's bundle of certificate authorities.
pub(crate) const CA_BUNDLE: &str = "/etc/corefn/ca.pem";

/// The variables by which compilers, package managers and what they run find a bundle of
/// certificate authorities.
const CA_VARIABLES: [&str; 7] = [
    "SSL_CERT_FILE",
    "CARGO_HTTP_CAINFO",
    "PIP_CERT",
    "REQUESTS_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
];

/// The variables that lead to the bundle, with their values.
pub(crate) fn ca_variables() -> impl Iterator<Item = String> {
    CA_VARIABLES
        .iter()
        .map(|name| format!("{name}={CA_BUNDLE}"))
}

/// The host's bundle, if it has one.
///
/// # Errors
/// [`BuildError::Io`] when it can't be read.
pub(crate) fn ca_bundle(host: &Host) -> Result<Option<Vec<u8>>, BuildError> {
    let read = |bundle: &String| {
        fs::read(bundle).map_err(BuildError::io(format!(
            "the ca_bundle {bundle} can't be read"
        )))
    };
    host.ca_bundle.as_ref().map(read).transpose()
}

/// The variables that name the host's proxies. Each has two names, for programs know one or the other;
/// Docker's builder takes them as arguments that a `Dockerfile` need not declare, and that no image keeps.
pub(crate) fn proxies(host: &Host) -> HashMap<String, String> {
    let known = [
        ("http_proxy", &host.http_proxy),
        ("https_proxy", &host.https_proxy),
        ("no_proxy", &host.no_proxy),
    ];
    let set = known
        .into_iter()
        .filter_map(|(name, value)| Some((name, value.as_ref()?)));
    set.flat_map(|(name, value)| {
        [name.to_owned(), name.to_uppercase()].map(|name| (name, value.clone()))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_have_two_names() {
        let text = "redis = 'unix:///r'\nurl = 'http://h'\nstacks = '/s'\nprojects = '/p'\n\
                    https_proxy = 'http://p:3128'\nno_proxy = 'a,b'";
        let host = Host::parse("host.toml", text).unwrap();
        let mut found: Vec<_> = proxies(&host).into_iter().collect();
        found.sort();
        let want = [
            ("HTTPS_PROXY", "http://p:3128"),
            ("NO_PROXY", "a,b"),
            ("https_proxy", "http://p:3128"),
            ("no_proxy", "a,b"),
        ];
        assert_eq!(
            found,
            want.map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
    }
}
