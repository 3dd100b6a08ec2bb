//! What is measured, for who asks for it: Prometheus' text, or JSON.

use corefn_core::metrics::{self, Snapshot};
use corefn_engine::runtime::Service;

use crate::ngx::{Answer, Request, now, version};
use crate::respond;
use crate::worker::{self, Worker};

/// "Method Not Allowed".
const WRONG_METHOD: u16 = 405;

/// The answer to a request for it.
pub fn answer(r: Request<'_>) -> Answer {
    if !r.is_read() {
        return Answer::status(WRONG_METHOD);
    }
    if let Err(status) = r.discard_body() {
        return Answer::Status(status);
    }
    let body = worker::get().and_then(|worker| {
        let snapshot = snapshot(&worker);
        let (kind, body) = if wants_json(r) {
            (metrics::JSON, metrics::json(&snapshot))
        } else {
            (metrics::TEXT, metrics::text(&snapshot))
        };
        r.begin_response(200, kind, body.len())?;
        r.set_header("Cache-Control", "no-store")?;
        Some(body)
    });
    body.map_or(Answer::status(respond::INTERNAL), Answer::Body)
}

/// Whether the client asks for JSON before anything else.
fn wants_json(r: Request<'_>) -> bool {
    r.headers("Accept")
        .any(|value| value.starts_with(metrics::JSON.as_bytes()))
}

/// What this worker knows, and what all of them count.
fn snapshot(worker: &Worker) -> Snapshot {
    let metrics = &worker.shard.metrics;
    let (mut busy, mut idle, mut in_flight) = (0, 0, 0);
    let now = now();
    for peer in worker
        .endpoints
        .borrow()
        .values()
        .filter_map(|it| it.upgrade())
    {
        let load = u64::from(peer.endpoint.counters.load());
        in_flight += load;
        match load {
            0 if peer.endpoint.is_usable(now) => idle += 1,
            0 => {}
            _ => busy += 1,
        }
    }
    let waiting = worker.shard.host().map_or(0, |slot| slot.load());
    Snapshot {
        nginx: version().to_owned(),
        workers: metrics.workers(),
        deployed: worker.table.borrow().len() as u64,
        busy,
        idle,
        in_flight,
        waiting: waiting.into(),
        functions: metrics.functions(),
        waits: metrics.waits(),
        errors: metrics.errors(),
        starts: metrics.starts(),
        fates: metrics.fates(),
        redis: metrics.is_up(Service::Redis),
        docker: metrics.is_up(Service::Docker),
    }
}
