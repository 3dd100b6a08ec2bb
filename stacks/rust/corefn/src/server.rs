//! HTTP around the exports.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Bytes};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::GracefulShutdown;

use crate::export::{Call, Export, Exports};
use crate::listener::Listener;
use crate::reply::{Outcome, Reply};

/// The largest request body, in bytes. It is held in memory as a whole.
const BODY_LIMIT: usize = 64 << 20;

/// How long to wait after a failed accept, which means that the process is out of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until `stop` is ready, then lets every request that has begun come to its end.
pub async fn serve(listener: Listener, exports: Exports, stop: impl Future<Output = ()>) {
    let exports = Arc::new(exports);
    let connections = GracefulShutdown::new();
    let mut stop = pin!(stop);
    loop {
        // Accepting comes first: whoever has connected before the stop is answered.
        let accepted = poll_fn(|context| match listener.poll_accept(context) {
            Poll::Ready(accepted) => Poll::Ready(Some(accepted)),
            Poll::Pending => stop.as_mut().poll(context).map(|()| None),
        });
        let stream = match accepted.await {
            Some(Ok(stream)) => stream,
            Some(Err(error)) => {
                eprintln!("corefn: can't accept a connection: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
            None => break,
        };
        let exports = Arc::clone(&exports);
        let service = service_fn(move |request| {
            let exports = Arc::clone(&exports);
            async move { Ok::<_, Infallible>(respond(&exports, request).await) }
        });
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        // A connection that breaks off is its client's affair.
        tokio::spawn(connections.watch(connection));
    }
    drop(listener);
    connections.shutdown().await;
}

async fn respond<B>(exports: &Exports, request: Request<B>) -> Response<Full<Bytes>>
where
    B: Body<Data = Bytes>,
    B::Error: std::error::Error + Send + Sync + 'static,
{
    let Some(export) = exports.at(request.uri().path()) else {
        return response(Reply::text(404, "No function is exported under this name."));
    };
    if ![Method::GET, Method::HEAD, Method::POST].contains(request.method()) {
        let text = "A function is called with GET or POST.";
        let mut response = response(Reply::text(405, text));
        let allowed = HeaderValue::from_static("GET, HEAD, POST");
        response.headers_mut().insert(ALLOW, allowed);
        return response;
    }
    let outcome = match read(request.into_body()).await {
        Ok(body) => call(export, body).await,
        Err(reply) => Err(reply),
    };
    response(outcome.unwrap_or_else(|reply| {
        if reply.status >= 500 {
            let text = String::from_utf8_lossy(&reply.body);
            eprintln!("corefn: {} failed: {text}", export.name);
        }
        reply
    }))
}

async fn read<B>(body: B) -> Result<Bytes, Reply>
where
    B: Body<Data = Bytes>,
    B::Error: std::error::Error + Send + Sync + 'static,
{
    let too_large = || Reply::text(413, format!("The body is larger than {BODY_LIMIT} bytes."));
    if body.size_hint().lower() > BODY_LIMIT as u64 {
        return Err(too_large());
    }
    match Limited::new(body, BODY_LIMIT).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large()),
        Err(error) => Err(Reply::text(400, format!("The body can't be read: {error}"))),
    }
}

/// Calls the function in a task of its own, so that its panic ends nothing else.
async fn call(export: &'static Export, body: Bytes) -> Outcome {
    let called = match export.call {
        Call::Blocking(function) => tokio::task::spawn_blocking(move || function(body)).await,
        Call::Async(function) => tokio::spawn(function(body)).await,
    };
    // The panic's own message is in the log already, and may be nothing for the caller's eyes.
    called.unwrap_or_else(|_| Err(Reply::failure("The function panicked.")))
}

fn response(reply: Reply) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(reply.body));
    *response.status_mut() =
        StatusCode::from_u16(reply.status).expect("replies are made with valid codes only");
    if let Some(content_type) = reply.content_type {
        let value = HeaderValue::from_static(content_type);
        response.headers_mut().insert(CONTENT_TYPE, value);
    }
    response
}

#[cfg(test)]
mod tests;
