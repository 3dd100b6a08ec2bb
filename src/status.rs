//! What there is, for who asks for it: the page and what it is told, Prometheus' text, JSON, and the logs of builds.
//!
//! All of it is one location's, and the client says by `Accept` which it wants.

use std::rc::Rc;
use std::time::Duration;

use corefn_core::error::ErrorCode;
use corefn_core::feed::EVENT_STREAM;
use corefn_core::metrics::{self, Snapshot};
use corefn_core::page::{self, Page, page};
use corefn_engine::runtime::Command;

use crate::context::Context;
use crate::ngx::{Answer, Attached, Request, guard, is_ending, now};
use crate::respond;
use crate::source::{View, snapshot};
use crate::viewers::{PATIENCE, Viewer, Viewing, Wish};
use crate::worker::{self, Worker};

/// "Method Not Allowed".
const WRONG_METHOD: u16 = 405;

/// "Bad Request".
const BAD_REQUEST: u16 = 400;

/// "Not Found".
const NOT_FOUND: u16 = 404;

/// "Service Unavailable".
const UNAVAILABLE: u16 = 503;

/// What a log's name comes behind, in the query.
const LOG: &str = "log=";

/// The media type of a log.
const PLAIN: &str = "text/plain; charset=utf-8";

/// How often a page is told what has changed.
const OFTEN: Duration = Duration::from_secs(1);

/// When it is told for the second time: by then there is what others were asked for.
const EARLY: Duration = Duration::from_millis(150);

/// When it is told more of a look at everything.
const SOON: Duration = Duration::from_millis(1);

/// How long a page may take to read what it is told.
const SLOWEST: Duration = Duration::from_secs(60);

/// After how long a page must ask anew: whoever may no longer see it has to be refused at some time.
const LONGEST: Duration = Duration::from_secs(600);

/// The answer to a request. (Requests for functions are handled beside it, and are not to pay for its room on the stack.)
#[cold]
#[inline(never)]
pub fn answer(r: Request<'_>) -> Answer {
    if !r.is_read() {
        return Answer::status(WRONG_METHOD);
    }
    if let Err(status) = r.discard_body() {
        return Answer::Status(status);
    }
    let Some(worker) = worker::get() else {
        return Answer::status(respond::INTERNAL);
    };
    let accepts = |kind: &str| {
        let mut values = r.headers("Accept");
        values.any(|value| value.starts_with(kind.as_bytes()))
    };
    let json = accepts(metrics::JSON);
    if let Some(name) = r.query().strip_prefix(LOG.as_bytes()) {
        let Some(build) = build(name) else {
            return Answer::status(BAD_REQUEST);
        };
        return ask(r, &worker, PLAIN, |number| Command::ReadLog {
            number,
            build,
        });
    }
    if accepts(EVENT_STREAM) {
        let feed = Wish::Feed {
            feed: Box::default(),
            since: now(),
            sent: None,
        };
        return begin(r, &worker, feed, Duration::ZERO);
    }
    if accepts(PAGE) {
        return or_internal(page_for(r).map(Answer::Body));
    }
    let kind = if json { metrics::JSON } else { metrics::TEXT };
    ask(r, &worker, kind, |number| Command::Measure {
        number,
        snapshot: Box::new(measured(&worker)),
        json,
    })
}

/// Has the runtime thread asked for an answer of a media type.
fn ask(
    r: Request<'_>,
    worker: &Worker,
    kind: &'static str,
    command: impl FnOnce(u64) -> Command,
) -> Answer {
    let number = worker.viewers.draw();
    let answer = begin(r, worker, Wish::Answer { number, kind }, PATIENCE);
    if matches!(answer, Answer::Suspended) {
        worker.runtime.send(command(number));
    }
    answer
}

/// What is measured, of each function as well.
fn measured(worker: &Worker) -> Snapshot {
    Snapshot {
        functions: worker.shard.metrics.functions(),
        ..snapshot(worker)
    }
}

/// What the media type of the page begins with.
const PAGE: &str = "text/html";

fn or_internal(answer: Option<Answer>) -> Answer {
    answer.unwrap_or(Answer::status(respond::INTERNAL))
}

/// The build of which a query wants the log: `<revision>/<repository>`.
fn build(name: &[u8]) -> Option<String> {
    let name = str::from_utf8(name).ok()?;
    let is_plain = |it: char| it.is_ascii_alphanumeric() || "-_./".contains(it);
    let (revision, repository) = name.split_once('/')?;
    name.chars()
        .all(is_plain)
        .then(|| format!("{revision} {repository}"))
}

/// Has the request wait for what it wants; `after` a time a page is told of it, and whoever has no answer by then is refused.
fn begin(r: Request<'_>, worker: &Worker, wish: Wish, after: Duration) -> Answer {
    // (nginx would look for its rest, where it is to be seen whether the client goes away.)
    if r.is_discarding() || !r.is_main() {
        return Answer::status(BAD_REQUEST);
    }
    let Some(context) = Context::of(r) else {
        return Answer::status(respond::INTERNAL);
    };
    let is_page = matches!(wish, Wish::Feed { .. });
    context.viewing.replace(Some(Rc::new(Viewing::new(wish))));
    let viewer: Rc<dyn Viewer> = context.clone();
    if !worker.viewers.join(Rc::downgrade(&viewer), is_page) {
        return Answer::status(UNAVAILABLE);
    }
    if !r.suspend() {
        return Answer::status(respond::INTERNAL);
    }
    context.call_after(after, on_time);
    Answer::Suspended
}

/// Has it looked for what no worker knows by itself.
fn survey(worker: &Worker) {
    if worker.viewers.should_ask(now()) {
        worker.runtime.send(Command::Survey);
    }
}

impl Viewer for Context {
    fn on_answer(&self, number: u64, answer: &Result<Option<String>, ErrorCode>) {
        let Some(viewing) = self.viewing.borrow().clone() else {
            return;
        };
        let kind = match &*viewing.wish.borrow() {
            Wish::Answer { number: mine, kind } if *mine == number => *kind,
            _ => return,
        };
        self.handle().answer(|r| match answer {
            Ok(Some(text)) => {
                let made = head(r, kind, text.len());
                or_internal(made.map(|()| Answer::Body(text.clone())))
            }
            Ok(None) => Answer::status(NOT_FOUND),
            Err(code) => Answer::status(code.status()),
        });
    }
}

/// Called when it is time.
fn on_time(context: &Rc<Context>) {
    guard::twice("on_time", || {
        let Some(viewing) = context.viewing.borrow().clone() else {
            return;
        };
        let next = match &*viewing.wish.borrow() {
            Wish::Feed { sent: None, .. } => Some(EARLY),
            Wish::Feed { .. } => Some(OFTEN),
            Wish::Answer { .. } => None,
        };
        if let Some(next) = next {
            // (Nothing else comes back to it.)
            context.call_after(next, on_time);
            if !has_rest(&viewing)
                && let Some(worker) = worker::get()
            {
                survey(&worker);
            }
        }
        go_on(context, &viewing);
        if has_rest(&viewing) {
            // Others have their turn, then it goes on. (A request that has ended by now is not called again.)
            context.call_after(SOON, on_time);
        }
    });
}

fn has_rest(viewing: &Viewing) -> bool {
    match &*viewing.wish.borrow() {
        Wish::Feed { feed, .. } => feed.has_rest() && viewing.parts.is_sent(),
        Wish::Answer { .. } => false,
    }
}

/// What becomes of a request that waits.
enum Step {
    /// It is told that what it wants can't be had.
    Unavailable,
    /// It is told this, behind a header if there was none yet.
    Tell { text: String, is_first: bool },
    /// It has been told enough.
    End,
    /// It has not read yet what it was told, or there is nothing.
    Wait,
}

/// Gives what there is. The request may be gone when this returns.
fn go_on(context: &Context, viewing: &Viewing) {
    let Some(worker) = worker::get() else {
        return;
    };
    let (handle, parts) = (context.handle(), &viewing.parts);
    let step = next(&worker, viewing);
    match step {
        Step::Unavailable => handle.answer(|_| Answer::status(UNAVAILABLE)),
        Step::Tell { text, is_first } => {
            if !is_first || parts.begin(handle, begin_feed) {
                parts.send(handle, text);
            }
        }
        Step::End => parts.end(handle),
        Step::Wait => {}
    }
}

fn next(worker: &Worker, viewing: &Viewing) -> Step {
    let now = now();
    match &mut *viewing.wish.borrow_mut() {
        Wish::Answer { .. } => Step::Unavailable,
        Wish::Feed { feed, since, sent } => {
            let is_over = is_ending() || now > *since + LONGEST.as_millis() as u64;
            let is_slow = sent.is_some_and(|sent| now > sent + SLOWEST.as_millis() as u64);
            if !viewing.parts.is_sent() {
                return if is_slow { Step::End } else { Step::Wait };
            }
            if is_over && sent.is_some() {
                return Step::End;
            }
            let Some(text) = feed.next(&View::new(worker)) else {
                return Step::Wait;
            };
            let is_first = sent.replace(now).is_none();
            Step::Tell { text, is_first }
        }
    }
}

/// The header of what a page is told.
fn begin_feed(r: Request<'_>) -> Option<()> {
    head(r, EVENT_STREAM, None)?;
    // (Other servers on the way are not to gather it.)
    r.set_header("X-Accel-Buffering", "no")
}

/// Begins a response, which nobody is to keep.
fn head(r: Request<'_>, kind: &str, length: impl Into<Option<usize>>) -> Option<()> {
    r.begin_response(200, kind, length)?;
    r.set_header("Cache-Control", "no-store")?;
    r.set_header("Vary", "Accept")?;
    r.set_header("X-Content-Type-Options", "nosniff")
}

fn page_for(r: Request<'_>) -> Option<String> {
    let Page { document, policy } = page();
    head(r, page::HTML, document.len())?;
    r.set_header("Content-Security-Policy", policy)?;
    r.set_header("Referrer-Policy", "no-referrer")?;
    Some(document.clone())
}
