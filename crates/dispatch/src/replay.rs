//! The request that an invocation was, to be made again.

use bytes::Bytes;
use corefn_core::invocation::Invocation;
use corefn_core::names::header;
use futures_util::stream;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use hyper::header::{CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue};
use tokio::io::AsyncReadExt as _;

use crate::router::Call;
use crate::spool::Content;

/// How many bytes of a body are read at once.
const PIECE: usize = 64 << 10;

/// The call that an invocation asks for; an error says why there can't be one.
pub fn call(content: Content) -> Result<Call, String> {
    let Content {
        invocation:
            Invocation {
                id,
                function,
                method,
                target,
                headers: fields,
                ..
            },
        body,
        length,
    } = content;
    let method = method
        .parse()
        .map_err(|_| format!("{method:?} is no method"))?;
    let mut headers = HeaderMap::with_capacity(fields.len() + 1);
    for (name, value) in fields {
        let wrong = || format!("{name:?} is no header that can be sent");
        // (Its characters are those of ISO 8859-1.)
        let bytes: Option<Vec<u8>> = value.chars().map(|c| u8::try_from(c).ok()).collect();
        let value = HeaderValue::from_bytes(&bytes.ok_or_else(wrong)?).map_err(|_| wrong())?;
        let name: HeaderName = name.parse().map_err(|_| wrong())?;
        headers.append(name, value);
    }
    if let Ok(id) = HeaderValue::from_str(&id.to_string()) {
        headers.insert(header::INVOCATION, id);
    }
    if length > 0 || headers.contains_key(CONTENT_LENGTH) {
        headers.insert(CONTENT_LENGTH, length.into());
    }
    let pieces = stream::try_unfold(body, |mut body| async move {
        let mut piece = Vec::with_capacity(PIECE);
        let read = (&mut body)
            .take(PIECE as u64)
            .read_to_end(&mut piece)
            .await?;
        Ok((read > 0).then(|| (Frame::data(Bytes::from(piece)), body)))
    });
    Ok(Call {
        function,
        method,
        target,
        headers,
        body: StreamBody::new(pieces).boxed_unsync(),
    })
}

#[cfg(test)]
mod tests {
    use corefn_core::invocation::InvocationId;

    use super::*;
    use crate::spool::Spool;

    /// The call of an invocation with this method, header and body.
    async fn replayed(method: &str, fields: &[(&str, &str)], body: &[u8]) -> Result<Call, String> {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(folder.path(), "name").unwrap();
        let fields = fields
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let invocation = Invocation {
            id: InvocationId::from_random([0, 1]),
            function: "demo/hello".parse().unwrap(),
            accepted: 0,
            method: method.to_owned(),
            target: "/a?b".to_owned(),
            headers: fields.collect(),
        };
        let mut draft = spool.begin(&invocation).await.unwrap();
        draft.write(body).await.unwrap();
        draft.keep().await.unwrap();
        let content = spool.read(&invocation.function, invocation.id).await;
        call(content.unwrap().unwrap())
    }

    #[tokio::test]
    async fn it_is_what_it_was() {
        let body = b"line\n".repeat(50_000);
        let fields = [
            ("cookie", "a"),
            ("cookie", "b"),
            ("x", "\u{e4}\u{ff}"),
            ("content-length", "5"),
        ];
        let call = replayed("PATCH", &fields, &body).await.unwrap();
        assert_eq!((call.method.as_str(), &*call.target), ("PATCH", "/a?b"));
        let cookies: Vec<_> = call.headers.get_all("cookie").iter().collect();
        assert_eq!(cookies, ["a", "b"]);
        assert_eq!(call.headers["x"].as_bytes(), b"\xe4\xff");
        let id = "00000000000000000000000000000001";
        assert_eq!(call.headers[header::INVOCATION], id);
        // (What was kept counts.)
        assert_eq!(call.headers[CONTENT_LENGTH], "250000");
        assert_eq!(call.body.collect().await.unwrap().to_bytes(), body);
        let call = replayed("GET", &[], b"").await.unwrap();
        assert!(!call.headers.contains_key(CONTENT_LENGTH));
        assert!(call.body.collect().await.unwrap().to_bytes().is_empty());
        let call = replayed("POST", &[("content-length", "0")], b"")
            .await
            .unwrap();
        assert_eq!(call.headers[CONTENT_LENGTH], "0");
    }

    #[tokio::test]
    async fn what_can_not_be_sent() {
        for (method, field, says) in [
            ("A B", ("a", "b"), "\"A B\" is no method"),
            ("GET", ("a b", "c"), "\"a b\" is no header"),
            ("GET", ("a", "b\nc"), "\"a\" is no header"),
            ("GET", ("a", "\u{100}"), "\"a\" is no header"),
        ] {
            let error = replayed(method, &[field], b"").await.unwrap_err();
            assert!(error.starts_with(says), "{error}");
        }
    }
}
