//! The ways from Docker's API to root on its host, and around a check of it.

mod calls;
mod readings;
mod services;
mod settings;

use corefn_core::gate::Caller;
use serde_json::{Value, json};

pub use services::archive;

/// One of them.
pub struct Try {
    /// Its line in the documentation.
    pub way: &'static str,
    /// What is tried.
    pub name: String,
    /// What is sent.
    pub bytes: Vec<u8>,
    /// Whether it is no HTTP, or may be none.
    pub is_garbled: bool,
}

/// What there is to try it with.
#[derive(Clone)]
pub struct Scene {
    /// Who tries.
    pub caller: Caller,
    /// The body of a container of the caller's, which is not refused, and its name; of an instance for who makes none.
    pub body: Value,
    pub name: String,
    pub namespace: String,
    /// An instance's container.
    pub container: String,
    /// One that is for a build, and such a one that was started.
    pub build: String,
    pub started_build: String,
    /// The body of one in which a cache is measured.
    pub measure: Value,
    /// A sandbox's container, and one that files are taken out of.
    pub sandbox: String,
    pub fetch: String,
    /// The instance in the caller's body, and another, whose folder is a link.
    pub instance: String,
    pub linked: String,
    /// The image of a function.
    pub own_image: String,
    pub build_network: String,
    /// Somebody else's container, network, and image.
    pub foreign: String,
    pub network: String,
    pub foreign_network: String,
    pub foreign_image: String,
}

/// A request after which the connection ends.
pub fn request(method: &str, path: &str, body: &str) -> Vec<u8> {
    request_with(method, path, body.as_bytes())
}

/// The same with bytes.
pub fn request_with(method: &str, path: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: docker\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

impl Scene {
    /// All of them.
    pub fn tries(&self) -> Vec<Try> {
        let mut all = self.settings();
        if self.caller != Caller::Router {
            all.extend(self.twisted_bodies());
            all.extend(self.of_services());
            return all;
        }
        all.extend(self.twisted_bodies());
        all.extend(self.calls());
        all.extend(self.paths());
        all.extend(self.of_others());
        all.extend(self.framing());
        all
    }

    /// The path of a creation.
    fn create(&self) -> String {
        format!("/v1.41/containers/create?name={}", self.name)
    }

    /// The body with another value in one place.
    fn with(&self, at: &str, value: Value) -> Value {
        let mut body = self.body.clone();
        let (parent, name) = at.rsplit_once('/').expect("a place");
        match body.pointer_mut(parent) {
            Some(Value::Object(object)) => {
                object.insert(name.to_owned(), value);
            }
            Some(Value::Array(values)) => values.insert(0, value),
            Some(other) => panic!("{at} is in {other}"),
            None => body[&parent[1..]] = json!({ name: value }),
        }
        body
    }
}
