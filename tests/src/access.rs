//! Lines of nginx's access log.

use serde::Deserialize;

/// The format of the log in nginx's configuration: one JSON object a line.
pub const FORMAT: &str = r#"log_format probe escape=json '{"request":"$request","uri":"$uri","status":"$status",'
        '"function":"$corefn_function","revision":"$corefn_revision","instance":"$corefn_instance",'
        '"start":"$corefn_start","wait":"$corefn_wait","prefix":"$corefn_prefix",'
        '"id":"$corefn_request_id","upstream":"$upstream_addr","worker":"$pid",'
        '"due":"$http_x_corefn_due"}';"#;

/// A request as nginx logs it. What has no value is empty.
#[derive(Debug, Clone, Deserialize)]
pub struct Access {
    /// The request line.
    pub request: String,
    /// The path, normalized.
    pub uri: String,
    /// The status of the answer.
    pub status: String,
    /// Which function it was for.
    pub function: String,
    /// Which revision answered.
    pub revision: String,
    /// Which instance answered.
    pub instance: String,
    /// `cold`, `thawed` or `warm`.
    pub start: String,
    /// Seconds it waited.
    pub wait: String,
    /// What was taken off the path.
    pub prefix: String,
    /// The request's identifier.
    pub id: String,
    /// Where nginx has sent it.
    pub upstream: String,
    /// Which worker has served it.
    pub worker: String,
    /// When it was due, if it is one that a schedule makes.
    pub due: String,
}

impl Access {
    /// Seconds it waited for an instance.
    ///
    /// # Panics
    /// When the log has none.
    pub fn waited(&self) -> f64 {
        self.wait
            .parse()
            .unwrap_or_else(|_| panic!("no wait in {self:?}"))
    }
}

/// Reads a log.
///
/// # Panics
/// When a line is no object of [`FORMAT`].
pub fn parse(log: &str) -> Vec<Access> {
    log.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}
