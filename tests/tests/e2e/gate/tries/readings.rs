//! What another parser may read otherwise.

use serde_json::json;

use super::{Scene, Try, request};

impl Scene {
    /// The same body in ways that another parser may read otherwise.
    pub(super) fn twisted_bodies(&self) -> Vec<Try> {
        let body = self.body.to_string();
        let end = body.len() - 1;
        let before = &body[..end];
        let host = r#""HostConfig":{"#;
        let bodies = [
            format!(r#"{before},"HostConfig":{{"Privileged":true}}}}"#),
            format!(r#"{before},"hostconfig":{{"Privileged":true}}}}"#),
            format!(r#"{before},"HOSTCONFIG":{{"Privileged":true}}}}"#),
            format!(r#"{before},"Host\u0043onfig":{{"Privileged":true}}}}"#),
            format!(r#"{{"HostConfig":{{"Privileged":true}},{}"#, &body[1..]),
            body.replace(host, &format!(r#"{host}"privileged":true,"#)),
            body.replace(host, &format!(r#"{host}"Binds":null,"binds":["/:/h"],"#)),
            // (Go takes the sign of kelvin for a k, and the long s for an s.)
            body.replace(host, &format!(r#"{host}"Bind\u017f":["/:/h"],"#)),
            body.replace(host, &format!(r#"{host}"Net\u0077or\u212aMode":"host","#)),
            format!(r#"{body}{{"HostConfig":{{"Privileged":true}}}}"#),
            format!("[{body}]"),
            "null".to_owned(),
            String::new(),
            "{".repeat(100_000),
            format!(
                "{before},\"x\":{}{}}}",
                "[".repeat(100_000),
                "]".repeat(100_000)
            ),
            body.replacen('{', "{\u{0}", 1),
            format!("\u{feff}{body}"),
        ];
        let bodies = bodies.into_iter().map(|body| Try {
            way: "JSON with two readings",
            name: body
                .chars()
                .rev()
                .take(80)
                .collect::<String>()
                .chars()
                .rev()
                .collect(),
            bytes: request("POST", &self.create(), &body),
            is_garbled: false,
        });
        bodies.collect()
    }

    /// Paths that a router may take for another.
    pub(super) fn paths(&self) -> Vec<Try> {
        let own = &self.container;
        let paths = [
            format!("/v1.41/../containers/{own}/start"),
            format!("/v1.41/containers/{own}/../../plugins/x/start"),
            format!("/v1.41/containers/{own}/%73tart"),
            format!("/v1.41/containers%2F{own}/start"),
            format!("/v1.41/containers/{own}%2F..%2F..%2Fbuild/start"),
            format!("/v1.41//containers/{own}/start"),
            format!("//v1.41/containers/{own}/start"),
            format!("/v1.41/containers/{own}/start/"),
            format!("/v1.41/containers/{own}//start"),
            format!("/v1.41/CONTAINERS/{own}/start"),
            format!("/V1.41/containers/{own}/start"),
            format!("/v1.41/v1.41/containers/{own}/start"),
            format!("/v1.41/./containers/{own}/start"),
            format!("/v1.41\\containers\\{own}\\start"),
            format!("/v1.41/containers/{own}/start;x"),
            format!("/v01.041e1/containers/{own}/start"),
            format!("/v1/containers/{own}/start"),
            format!("/v99999999999.1/containers/{own}/start"),
            format!("http://docker/v1.41/containers/{own}/start"),
            format!("/v1.41/containers/{}/start", own.to_uppercase()),
            format!("/v1.41/containers/{}/start", &own[..12]),
            format!("/v1.41/containers/{}/start", self.name),
            format!("/v1.41/containers/{own}\u{ff0f}start"),
            "*".to_owned(),
            "/".to_owned(),
        ];
        let paths = paths.map(|path| Try {
            way: "paths with two readings",
            bytes: request("POST", &path, ""),
            name: path,
            is_garbled: true,
        });
        let twice = ["name=x&name=y", "na%6De=x&name=y"].map(|query| Try {
            way: "parameters with two readings",
            name: query.to_owned(),
            bytes: request(
                "POST",
                &format!("/v1.41/containers/create?{query}"),
                &self.body.to_string(),
            ),
            is_garbled: false,
        });
        paths.into_iter().chain(twice).collect()
    }

    /// Requests that begin or end elsewhere than it seems.
    pub(super) fn framing(&self) -> Vec<Try> {
        let create = self.create();
        let body = self.body.to_string();
        let evil = self.with("/HostConfig/Privileged", json!(true)).to_string();
        let (size, length) = (evil.len(), body.len());
        let bad = String::from_utf8(request("POST", &create, &evil)).expect("text");
        let ping = "GET /_ping HTTP/1.1\r\nHost: docker\r\n\r\n";
        let head = |fields: &str| {
            format!(
                "POST {create} HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n{fields}\r\n\r\n"
            )
        };
        let all = [
            ("after another request", format!("{ping}{bad}")),
            (
                "in the body of another",
                String::from_utf8(request("GET", "/v1.41/networks", &bad)).expect("text"),
            ),
            (
                "in pieces",
                format!(
                    "{}{size:x}\r\n{evil}\r\n0\r\n\r\n",
                    head("Transfer-Encoding: chunked")
                ),
            ),
            (
                "in pieces, and of a length",
                format!(
                    "{}0\r\n\r\n{bad}",
                    head("Transfer-Encoding: chunked\r\nContent-Length: 5")
                ),
            ),
            (
                "of a length, and in pieces",
                format!(
                    "{}0\r\n\r\n{bad}",
                    head(&format!(
                        "Content-Length: {length}\r\nTransfer-Encoding: chunked"
                    ))
                ),
            ),
            (
                "of a length and of none",
                format!(
                    "{}{body}",
                    head(&format!(
                        "Content-Length: {length}\r\nTransfer-Encoding: identity"
                    ))
                ),
            ),
            (
                "of two lengths",
                format!(
                    "{}{evil}",
                    head(&format!("Content-Length: {size}\r\nContent-Length: 0"))
                ),
            ),
            (
                "of a length with a sign",
                format!("{}{evil}", head(&format!("Content-Length: +{size}"))),
            ),
            (
                "of a length below 0",
                format!("{}{evil}", head("Content-Length: -1")),
            ),
            (
                "with a space before the colon",
                format!(
                    "{}0\r\n\r\n{bad}",
                    head("Content-Length: 0\r\nTransfer-Encoding : chunked")
                ),
            ),
            (
                "with a folded line",
                format!(
                    "{}0\r\n\r\n{bad}",
                    head("Content-Length: 0\r\nX: y\r\n Transfer-Encoding: chunked")
                ),
            ),
            ("with lines that end otherwise", bad.replace("\r\n", "\n")),
            (
                "with an upgrade",
                format!(
                    "{}{body}",
                    head(&format!("Upgrade: tcp\r\nContent-Length: {length}"))
                ),
            ),
            (
                "with an upgrade to HTTP/2",
                format!(
                    "{}{body}",
                    head(&format!(
                        "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\nContent-Length: {length}"
                    ))
                ),
            ),
            ("in HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned()),
            ("in HTTP/1.0", bad.replace("HTTP/1.1", "HTTP/1.0")),
            ("in HTTP/0.9", "GET /containers/json\r\n".to_owned()),
            ("of no method", bad.replacen("POST", "", 1)),
            (
                "of a long header",
                head(&format!("X: {}", "x".repeat(1 << 20))),
            ),
            ("of many fields", head(&vec!["X: y"; 1000].join("\r\n"))),
            (
                "of a long body",
                format!(
                    "{}{}",
                    head(&format!("Content-Length: {}", 5 << 20)),
                    "x".repeat(5 << 20)
                ),
            ),
            (
                "in TLS",
                "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\u{0}\u{1}\r\n\r\n".to_owned(),
            ),
        ];
        let all = all.map(|(how, text)| Try {
            way: "requests with two ends",
            name: format!("a request {how}"),
            bytes: text.into_bytes(),
            is_garbled: true,
        });
        all.into()
    }
}
