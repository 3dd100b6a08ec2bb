//! The ways from Docker's API to root on its host, and around a check of it.

mod calls;
mod readings;
mod settings;

use serde_json::Value;

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
pub struct Scene {
    /// The body for an instance, which is not refused, and its name.
    pub body: Value,
    pub name: String,
    pub namespace: String,
    /// Its container.
    pub container: String,
    /// One that is for a build.
    pub build: String,
    /// Somebody else's container, network, and image.
    pub foreign: String,
    pub network: String,
    pub foreign_network: String,
    pub foreign_image: String,
}

/// A request after which the connection ends.
pub fn request(method: &str, path: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: docker\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    );
    (head + body).into_bytes()
}

impl Scene {
    /// All of them.
    pub fn tries(&self) -> Vec<Try> {
        let mut all = Vec::new();
        all.extend(self.settings());
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
        match body.pointer_mut(parent).expect("a place that is there") {
            Value::Object(object) => {
                object.insert(name.to_owned(), value);
            }
            Value::Array(values) => values.insert(0, value),
            other => panic!("{at} is in {other}"),
        }
        body
    }
}
