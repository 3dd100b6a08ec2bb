//! The upstream's peer: the instance that the request was given.

use std::ffi::CStr;
use std::rc::Rc;

use corefn_core::names::directive;
use corefn_core::request::Stage;
use corefn_core::retry::ATTEMPTS;

use crate::context::Context;
use crate::handler::{self, Step};
use crate::ngx::{Attempt, Balancer, Choice, Request, Tries, Upstream};
use crate::{respond, resume, retry};

impl Balancer for Context {
    const DIRECTIVE: &'static CStr = directive::INSTANCES;
    const ATTEMPTS: usize = ATTEMPTS;

    fn upstream(&self) -> &Upstream {
        &self.proxying.upstream
    }

    fn on_begin(r: Request<'_>) -> Result<Rc<Self>, String> {
        // (One that may be answered from a cache gets its instance when it is not.)
        let context = Self::of_request(r);
        match context.filter(|context| context.function.borrow().is_some()) {
            Some(context) => {
                context.proxying.reset();
                Ok(context)
            }
            None => Err(format!(
                "an upstream with {} is used where {} is off: write {1} on in the location",
                directive::INSTANCES.to_string_lossy(),
                directive::COREFN.to_string_lossy()
            )),
        }
    }

    fn on_get(self: &Rc<Self>, r: Request<'_>) -> Choice {
        let step = match self.stage() {
            Stage::Granted => Ok(Step::Proceed),
            Stage::Failed(code) => Err(code),
            Stage::Open | Stage::Waiting | Stage::Lost => handler::again(r, self),
        };
        match step {
            Ok(Step::Proceed) => connect(r, self),
            Ok(Step::Wait) => {
                self.proxying.end_with(None);
                Choice::Wait
            }
            Err(code) if self.proxying.upstream.has_stale_answer() => {
                self.proxying.on_failure(code);
                Choice::Busy
            }
            Err(code) => {
                self.proxying.end_with(Some(code));
                Choice::Wait
            }
        }
    }

    fn on_wait(self: &Rc<Self>) {
        self.call_soon(resume::settle);
    }

    fn on_failure(self: &Rc<Self>, r: Request<'_>, attempt: Attempt) -> Tries {
        retry::failed(r, self, attempt)
    }

    fn on_finalize(&self, r: Request<'_>, status: isize) {
        if let Some(code) = self.proxying.error(status) {
            respond::announce(r, self, code);
        }
        self.stop_waiting();
        self.proxying.end_with(None);
    }
}

/// A kept-alive connection to the instance is as good as a new one, if the request can be sent again should that turn
/// out to be closed.
fn connect(r: Request<'_>, context: &Rc<Context>) -> Choice {
    let Some(peer) = context.peer() else {
        return Choice::Fail;
    };
    context.proxying.on_connect();
    if context.is_deferred() {
        // What the function may take is no concern of the dispatcher's answer.
        return Choice::Peer {
            address: peer.endpoint.address.clone(),
            may_reuse: false,
        };
    }
    if let Some(limit) = context.limits().and_then(|limits| limits.timeout()) {
        resume::limit_answer(context, limit);
    }
    Choice::Peer {
        address: peer.endpoint.address.clone(),
        may_reuse: !r.is_streamed() && !context.proxying.wants_new_connection(),
    }
}
