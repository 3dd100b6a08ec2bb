//! Spans, as OpenTelemetry's collectors take them.
//!
//! What a request belongs to is W3C's `traceparent` (<https://www.w3.org/TR/trace-context/#traceparent-header>), and spans are
//! sent as OTLP's JSON (<https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>).

use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

/// The header by which a client says what its request belongs to.
pub const HEADER: &str = "traceparent";

/// Where collectors take spans, behind their address.
pub const PATH: &str = "/v1/traces";

/// What a span belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parent {
    /// The trace.
    pub trace: [u8; 16],
    /// The span in it; none if the trace begins here.
    pub span: Option<[u8; 8]>,
    /// Whether whoever began it has it recorded: what belongs to a trace that is not is not, either.
    pub is_recorded: bool,
}

impl Parent {
    /// What a header says; nothing if it is none.
    pub fn read(header: &[u8]) -> Option<Self> {
        let text = str::from_utf8(header).ok()?;
        let mut parts = text.split('-');
        let version = bytes::<1>(parts.next()?)?;
        let trace = bytes::<16>(parts.next()?)?;
        let span = bytes::<8>(parts.next()?)?;
        let flags = bytes::<1>(parts.next()?)?;
        // (Later versions may say more behind that.)
        let is_known = version == [0] && parts.next().is_none() || (1..0xff).contains(&version[0]);
        let is_whole = trace != [0; 16] && span != [0; 8];
        (is_known && is_whole).then_some(Self {
            trace,
            span: Some(span),
            is_recorded: flags[0] & 1 == 1,
        })
    }
}

/// Lower-case hexadecimal digits of so many bytes.
fn bytes<const N: usize>(digits: &str) -> Option<[u8; N]> {
    let is_digit = |it: &u8| it.is_ascii_digit() || (b'a'..=b'f').contains(it);
    if digits.len() != 2 * N || !digits.as_bytes().iter().all(is_digit) {
        return None;
    }
    let mut bytes = [0; N];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(bytes)
}

fn digits(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // (Writing to a string can't fail.)
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Something that took its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// What it belongs to.
    pub parent: Parent,
    /// Its own identifier.
    pub id: [u8; 8],
    /// What it was, the same for all of its kind.
    pub name: &'static str,
    /// When it began.
    pub begin: SystemTime,
    /// How long it took.
    pub took: Duration,
    /// What is known of it.
    pub attributes: Vec<(&'static str, String)>,
    /// Why it failed, if it did.
    pub error: Option<String>,
}

/// Spans of a service, as a collector takes them.
pub fn export(service: &str, spans: &[Span]) -> String {
    let spans: Vec<Value> = spans.iter().map(span).collect();
    let version = env!("CARGO_PKG_VERSION");
    let all = json!({
        "resourceSpans": [{
            "resource": { "attributes": attributes(&[
                ("service.name", service.to_owned()),
                ("service.version", version.to_owned()),
            ]) },
            "scopeSpans": [{
                "scope": { "name": "corefn", "version": version },
                "spans": spans,
            }],
        }],
    });
    all.to_string()
}

fn span(span: &Span) -> Value {
    /// `SPAN_KIND_INTERNAL`, and `STATUS_CODE_ERROR`.
    const INTERNAL: u8 = 1;
    const ERROR: u8 = 2;
    let since = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let nanos = |time: SystemTime| since(time).as_nanos().to_string();
    let mut value = json!({
        "traceId": digits(&span.parent.trace),
        "spanId": digits(&span.id),
        "name": span.name,
        "kind": INTERNAL,
        "startTimeUnixNano": nanos(span.begin),
        "endTimeUnixNano": nanos(span.begin + span.took),
        "attributes": attributes(&span.attributes),
    });
    if let Some(parent) = span.parent.span {
        value["parentSpanId"] = digits(&parent).into();
    }
    if let Some(error) = &span.error {
        value["status"] = json!({ "code": ERROR, "message": error });
    }
    value
}

fn attributes(all: &[(&str, String)]) -> Vec<Value> {
    let each = all
        .iter()
        .map(|(key, value)| json!({ "key": key, "value": { "stringValue": value } }));
    each.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn parents_are_read_as_the_recommendation_has_it() {
        let parent = Parent::read(GOOD.as_bytes()).unwrap();
        assert_eq!(digits(&parent.trace), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(
            parent.span,
            Some([0, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7])
        );
        for good in [
            GOOD.replace("-01", "-03"),
            GOOD.replace("00-4", "01-4"),
            format!("{}-more", GOOD.replace("00-4", "cc-4")),
        ] {
            assert_eq!(Parent::read(good.as_bytes()), Some(parent), "{good}");
        }
        for bad in [
            "",
            "00",
            &GOOD.replace("-01", "-1"),
            &GOOD.replace("-01", ""),
            &GOOD.replace("00-4", "ff-4"),
            &GOOD.replace("4bf9", "4BF9"),
            &GOOD.replace("4bf9", "+bf9"),
            &GOOD.replace("4bf9", "4bf"),
            &format!("{GOOD}-more"),
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-é4bf92f3577b34da6a3ce929d0e0e47-00f067aa0ba902b7-01",
        ] {
            assert_eq!(Parent::read(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(Parent::read(b"\xff"), None);
        let other = Parent::read(GOOD.replace("-01", "-02").as_bytes()).unwrap();
        assert!(parent.is_recorded && !other.is_recorded);
    }

    #[test]
    fn spans_are_what_collectors_take() {
        let parent = Parent::read(GOOD.as_bytes()).unwrap();
        let begin = UNIX_EPOCH + Duration::from_nanos(1_700_000_000_000_000_001);
        let all = [
            Span {
                parent,
                id: [1; 8],
                name: "start",
                begin,
                took: Duration::from_micros(2),
                attributes: vec![("faas.name", "demo/\"hello\"".to_owned())],
                error: None,
            },
            Span {
                parent: Parent {
                    span: None,
                    ..parent
                },
                id: [2; 8],
                name: "build",
                begin,
                took: Duration::ZERO,
                attributes: Vec::new(),
                error: Some("it does not compile".to_owned()),
            },
        ];
        let value: Value = serde_json::from_str(&export("corefn-router", &all)).unwrap();
        let resource = &value["resourceSpans"][0];
        let named = &resource["resource"]["attributes"][0];
        assert_eq!(named["value"]["stringValue"], "corefn-router");
        let spans = &resource["scopeSpans"][0]["spans"];
        assert_eq!(
            spans[0],
            json!({
                "traceId": "4bf92f3577b34da6a3ce929d0e0e4736",
                "spanId": "0101010101010101",
                "parentSpanId": "00f067aa0ba902b7",
                "name": "start",
                "kind": 1,
                "startTimeUnixNano": "1700000000000000001",
                "endTimeUnixNano": "1700000000000002001",
                "attributes": [{ "key": "faas.name", "value": { "stringValue": "demo/\"hello\"" } }],
            })
        );
        assert_eq!(spans[1]["parentSpanId"], Value::Null);
        assert_eq!(
            spans[1]["status"],
            json!({ "code": 2, "message": "it does not compile" })
        );
    }
}
