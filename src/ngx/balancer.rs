//! Methods of balancing: which peer an attempt to send a request goes to.

use std::ffi::{CStr, c_void};
use std::rc::Rc;

use ngx::ffi::{
    NGX_AGAIN, NGX_BUSY, NGX_DONE, NGX_ERROR, NGX_HTTP_UPSTREAM_CREATE, NGX_OK, NGX_PEER_FAILED,
    ngx_array_push, ngx_conf_t, ngx_connection_log_error_e_NGX_ERROR_INFO, ngx_event_connect_peer,
    ngx_event_get_peer, ngx_http_request_t, ngx_http_upstream_server_t,
    ngx_http_upstream_srv_conf_t, ngx_int_t, ngx_peer_connection_t, ngx_uint_t,
};
use ngx::http::{HttpModuleServerConf, NgxHttpUpstreamModule};

use super::attached::share;
use super::{Address, Attached, Attempt, Request, Upstream, guard, log};

/// A method of balancing, whose peers are found by what is attached to a request.
pub trait Balancer: Attached {
    /// The directive that chooses it.
    const DIRECTIVE: &'static CStr;
    /// How many attempts there are, at most.
    const ATTEMPTS: usize;

    /// nginx's part of it.
    fn upstream(&self) -> &Upstream;

    /// Whether the request may be proxied by it; if not, why not, for the log.
    ///
    /// # Errors
    /// The text.
    fn on_begin(r: Request<'_>) -> Result<Rc<Self>, String>;

    /// nginx needs a peer.
    fn on_get(self: &Rc<Self>, r: Request<'_>) -> Choice;

    /// nginx has begun to wait, since the choice was that. It waits until [`Upstream::wake`].
    fn on_wait(self: &Rc<Self>);

    /// An attempt has failed. Returns what becomes of those that are left.
    fn on_failure(self: &Rc<Self>, r: Request<'_>, attempt: Attempt) -> Tries;

    /// nginx is done, and is about to end the request with a status.
    fn on_finalize(&self, r: Request<'_>, status: ngx_int_t);
}

/// What an attempt is made with.
pub enum Choice {
    /// A peer.
    Peer {
        /// Where it listens.
        address: Rc<Address>,
        /// Whether a kept-alive connection will do.
        may_reuse: bool,
    },
    /// There is none yet.
    Wait,
    /// There is none. nginx goes by what the operator has said for that.
    Busy,
    /// There is none, for something is wrong.
    Fail,
}

/// What becomes of the attempts that are left after one failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tries {
    /// That one is not counted.
    Keep,
    /// That one is counted.
    Count,
    /// There is no other.
    End,
}

/// Makes it the method of the upstream whose directive is read.
///
/// # Errors
/// Why it can't be.
pub fn choose<B: Balancer>(cf: &mut ngx_conf_t) -> Result<(), String> {
    let upstream = NgxHttpUpstreamModule::server_conf_mut(cf)
        .ok_or("there is no upstream around it".to_owned())?;
    if upstream.peer.init_upstream.is_some() {
        let name = B::DIRECTIVE.to_string_lossy();
        return Err(format!(
            "{name} is not the first method of balancing in its upstream: write it once, before keepalive"
        ));
    }
    upstream.peer.init_upstream = Some(init_upstream::<B>);
    upstream.flags = NGX_HTTP_UPSTREAM_CREATE as ngx_uint_t;
    // nginx refuses an upstream without a server; this one has no address and is never used.
    // SAFETY: nginx made the array for servers. The place is a new element, and all zeros are a server without
    // addresses.
    unsafe {
        let server = ngx_array_push(upstream.servers).cast::<ngx_http_upstream_server_t>();
        if server.is_null() {
            return Err("there is no memory left".to_owned());
        }
        server.write_bytes(0, 1);
    }
    Ok(())
}

/// Called by nginx when the whole configuration is read.
unsafe extern "C" fn init_upstream<B: Balancer>(
    cf: *mut ngx_conf_t,
    upstream: *mut ngx_http_upstream_srv_conf_t,
) -> ngx_int_t {
    guard::status("init_upstream", || {
        // SAFETY: nginx passes its configuration and an upstream of it, which has an array of servers.
        let (cf, upstream, servers) = unsafe {
            let upstream = &mut *upstream;
            let servers = (*upstream.servers).nelts;
            (&mut *cf, upstream, servers)
        };
        let mut wrong = (servers > 1).then_some("server");
        if !upstream.shm_zone.is_null() {
            wrong = Some("zone");
        }
        if let Some(other) = wrong {
            let name = B::DIRECTIVE.to_string_lossy();
            let text = format!(
                "the upstream with {name} has a {other} too: delete the {other}; its peers are found by themselves"
            );
            log::conf(cf, log::NGX_LOG_EMERG, &text);
            return NGX_ERROR as ngx_int_t;
        }
        upstream.peer.init = Some(init::<B>);
        NGX_OK as ngx_int_t
    })
}

/// Called by nginx for each request that is proxied to the upstream.
unsafe extern "C" fn init<B: Balancer>(
    raw: *mut ngx_http_request_t,
    _: *mut ngx_http_upstream_srv_conf_t,
) -> ngx_int_t {
    guard::status("peer_init", || {
        // SAFETY: nginx passes a request, which does not end by this.
        let r = unsafe { Request::new(raw) };
        let own = match B::on_begin(r) {
            Ok(own) => own,
            Err(text) => {
                r.log(log::NGX_LOG_ERR, &text);
                return NGX_ERROR as ngx_int_t;
            }
        };
        // SAFETY: a request that is proxied has an upstream.
        let upstream = unsafe { &mut *r.fields().upstream };
        upstream.peer.data = Rc::as_ptr(&own).cast_mut().cast();
        upstream.peer.get = Some(get::<B>);
        upstream.peer.free = Some(free::<B>);
        upstream.peer.tries = B::ATTEMPTS;
        own.upstream().begin(upstream, finalize::<B>);
        NGX_OK as ngx_int_t
    })
}

/// Called by nginx when it needs a connection.
unsafe extern "C" fn get<B: Balancer>(
    pc: *mut ngx_peer_connection_t,
    data: *mut c_void,
) -> ngx_int_t {
    guard::status("peer_get", || {
        // SAFETY: nginx passes a peer of a request that it proxies, and the data that init() has set.
        let own: Rc<B> = unsafe { share(data) };
        let Some(r) = own.handle().request() else {
            return NGX_ERROR as ngx_int_t;
        };
        own.upstream().on_get();
        let choice = own.on_get(r);
        // SAFETY: as above; nothing else uses the peer meanwhile.
        let pc = unsafe { &mut *pc };
        match choice {
            Choice::Peer { address, may_reuse } => {
                own.upstream().keep(address.clone());
                connect(pc, &address, may_reuse)
            }
            Choice::Wait if own.upstream().placeholder.open(pc) => {
                own.on_wait();
                NGX_AGAIN as ngx_int_t
            }
            Choice::Busy => NGX_BUSY as ngx_int_t,
            Choice::Wait | Choice::Fail => NGX_ERROR as ngx_int_t,
        }
    })
}

/// Names the address to nginx, or opens a connection to it where a kept-alive one won't do.
fn connect(pc: &mut ngx_peer_connection_t, address: &Address, may_reuse: bool) -> ngx_int_t {
    address.name_peer(pc);
    pc.set_cached(0);
    pc.connection = std::ptr::null_mut();
    // What goes wrong with a connection is for the balancer to tell.
    pc.set_log_error(ngx_connection_log_error_e_NGX_ERROR_INFO);
    if may_reuse {
        return NGX_OK as ngx_int_t;
    }
    // With any other status than this, `keepalive` does not look for a connection of its own.
    let mut own = *pc;
    own.get = Some(ngx_event_get_peer);
    // SAFETY: a peer with an address; nginx opens the connection and looks after it.
    let status = unsafe { ngx_event_connect_peer(&mut own) };
    pc.connection = own.connection;
    if status == NGX_OK as ngx_int_t {
        NGX_DONE as ngx_int_t
    } else {
        status
    }
}

/// Called by nginx when it is done with a connection.
unsafe extern "C" fn free<B: Balancer>(
    pc: *mut ngx_peer_connection_t,
    data: *mut c_void,
    state: ngx_uint_t,
) {
    let mut tries = Tries::Keep;
    let done = guard::nothing("peer_free", || {
        // SAFETY: as of get().
        let own: Rc<B> = unsafe { share(data) };
        if state & NGX_PEER_FAILED as ngx_uint_t != 0
            && let Some(r) = own.handle().request()
            && let Some(attempt) = own.upstream().attempt()
        {
            tries = own.on_failure(r, attempt);
        }
    });
    // SAFETY: as of get().
    let pc = unsafe { &mut *pc };
    // nginx would count another try for a kept-alive connection.
    pc.set_cached(0);
    match tries {
        // With a try left, nginx would try for ever.
        _ if !done => pc.tries = 0,
        Tries::Keep => {}
        Tries::Count => pc.tries = pc.tries.saturating_sub(1),
        Tries::End => pc.tries = 0,
    }
}

/// Called by nginx when it is done with the proxying.
unsafe extern "C" fn finalize<B: Balancer>(raw: *mut ngx_http_request_t, status: ngx_int_t) {
    let mut original = None;
    guard::nothing("finalize", || {
        // SAFETY: nginx passes a request, which does not end before the original is called.
        let r = unsafe { Request::new(raw) };
        if let Some(own) = B::find(r) {
            original = own.upstream().original();
            own.on_finalize(r, status);
            own.upstream().end();
        }
    });
    if let Some(original) = original {
        // SAFETY: the module that proxies has set it.
        unsafe { original(raw, status) };
    }
}
