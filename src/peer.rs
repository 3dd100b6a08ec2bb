//! The upstream's peer: the instance that the request was given.

use std::cell::Cell;
use std::ffi::c_void;
use std::net::SocketAddr;

use ngx::ffi::{
    NGX_ERROR, NGX_LOG_ERR, NGX_OK, NGX_PEER_FAILED, ngx_http_request_t,
    ngx_http_upstream_srv_conf_t, ngx_int_t, ngx_peer_connection_t, ngx_str_t, ngx_uint_t,
};

use corefn_core::names::directive;
use corefn_engine::runtime::Command;

use crate::context::Context;
use crate::raw::now;
use crate::zone::Slot;
use crate::{guard, log, worker};

/// How long after asking whether an instance is still there it isn't asked again.
const SUSPICION: u64 = 1_000;

/// What a worker keeps of an instance: the shared slot, and the address in nginx's form.
pub struct Seat {
    /// Its slot.
    pub slot: Slot,
    address: socket2::SockAddr,
    name: ngx_str_t,
    /// What the name points to.
    _text: Box<str>,
    suspected: Cell<u64>,
}

impl Seat {
    /// A seat at an address.
    pub fn new(slot: Slot, address: SocketAddr) -> Self {
        let text = address.to_string().into_boxed_str();
        Self {
            slot,
            address: address.into(),
            name: ngx_str_t {
                len: text.len(),
                data: text.as_ptr().cast_mut(),
            },
            _text: text,
            suspected: Cell::new(0),
        }
    }
}

/// Called for each request that is proxied to the upstream.
pub unsafe extern "C" fn init(
    r: *mut ngx_http_request_t,
    _: *mut ngx_http_upstream_srv_conf_t,
) -> ngx_int_t {
    guard::status("peer_init", || {
        // SAFETY: nginx passes a valid request with an upstream.
        let (r, upstream) = unsafe { (&*r, &mut *(*r).upstream) };
        let Some(context) = Context::find(r).filter(|context| context.peer().is_some()) else {
            let text = format!(
                "an upstream with {} is used where {} is off: write {1} on in the location",
                directive::INSTANCES.to_string_lossy(),
                directive::COREFN.to_string_lossy()
            );
            // SAFETY: a request's connection has a log.
            unsafe { log::write(NGX_LOG_ERR, (*r.connection).log, &text) };
            return NGX_ERROR as ngx_int_t;
        };
        upstream.peer.data = std::ptr::from_ref(context).cast_mut().cast();
        upstream.peer.get = Some(get);
        upstream.peer.free = Some(free);
        upstream.peer.tries = 1;
        NGX_OK as ngx_int_t
    })
}

/// Called when nginx needs the address.
unsafe extern "C" fn get(pc: *mut ngx_peer_connection_t, data: *mut c_void) -> ngx_int_t {
    guard::status("peer_get", || {
        // SAFETY: nginx passes a valid connection, and what init() set as data.
        let (pc, context) = unsafe { (&mut *pc, &*data.cast::<Context>()) };
        let Some(peer) = context.peer() else {
            return NGX_ERROR as ngx_int_t;
        };
        // The context keeps the peer, and so the address and the name, as long as the request.
        let seat = &peer.slot;
        pc.sockaddr = seat.address.as_ptr().cast_mut().cast();
        pc.socklen = seat.address.len();
        pc.name = std::ptr::from_ref(&seat.name).cast_mut();
        pc.set_cached(0);
        pc.connection = std::ptr::null_mut();
        NGX_OK as ngx_int_t
    })
}

/// Called when nginx is done with the connection.
unsafe extern "C" fn free(pc: *mut ngx_peer_connection_t, data: *mut c_void, state: ngx_uint_t) {
    // Outside of the guard: with a try left, nginx would try for ever.
    // SAFETY: as of get().
    unsafe { (*pc).tries = (*pc).tries.saturating_sub(1) };
    guard::nothing("peer_free", || {
        // SAFETY: as of get().
        let context = unsafe { &*data.cast::<Context>() };
        if state & NGX_PEER_FAILED as ngx_uint_t == 0 {
            return;
        }
        let (Some(peer), Some(worker)) = (context.peer(), worker::get()) else {
            return;
        };
        if now().saturating_sub(peer.slot.suspected.replace(now())) >= SUSPICION {
            worker.runtime.send(Command::Suspect {
                instance: peer.instance.id,
            });
        }
    });
}
