//! What a module keeps of a request.
//!
//! It is owned by the request's pool, and closed with it, however the request ends. Whoever works with it shares it,
//! so that its memory is there though the request ends meanwhile. Internal redirects wipe nginx's pointer to it, so
//! it is found by the pool's cleanups too.

use std::cell::{Cell, RefCell};
use std::ffi::c_void;
use std::ptr::{self, NonNull};
use std::rc::Rc;
use std::thread::LocalKey;

use ngx::ffi::{
    NGX_OK, ngx_connection_t, ngx_handle_read_event, ngx_http_block_reading, ngx_http_cleanup_add,
    ngx_http_core_run_phases, ngx_http_request_empty_handler, ngx_http_request_t,
    ngx_http_run_posted_requests, ngx_http_test_reading, ngx_int_t, ngx_log_t,
    ngx_pool_cleanup_add, ngx_pool_cleanup_t, ngx_post_event, ngx_posted_events,
};
use ngx::http::HttpModule;

use super::{Request, guard};

/// What a module keeps of a request.
pub trait Attached: Sized + 'static {
    /// The module.
    type Module: HttpModule;

    /// It is made.
    fn new(handle: Handle) -> Self;

    /// Where those of requests that have ended are kept for others.
    fn spares() -> &'static LocalKey<Spares<Self>>;

    /// The request.
    fn handle(&self) -> &Handle;

    /// An internal redirect has wiped it: the request begins anew.
    fn on_redirect(&self);

    /// The request is over, and only its log is still to be written.
    fn on_leave(&self);

    /// The request has ended: gives everything back.
    fn on_end(&self);

    /// The request's, made if there is none. None if there is no memory.
    fn of(r: Request<'_>) -> Option<Rc<Self>> {
        if let Some(attached) = Self::current(r) {
            return Some(attached);
        }
        let attached = match wiped::<Self>(r) {
            Some(attached) => {
                attached.on_redirect();
                attached
            }
            None => create::<Self>(r)?,
        };
        // SAFETY: nginx allocated a pointer for each module.
        unsafe { *place::<Self>(r) = Rc::as_ptr(&attached).cast_mut().cast() };
        Some(attached)
    }

    /// The request's if there is one, wiped or not, as it is.
    fn find(r: Request<'_>) -> Option<Rc<Self>> {
        Self::current(r).or_else(|| wiped(r))
    }

    /// The request's, unless there is none or an internal redirect has wiped it.
    fn current(r: Request<'_>) -> Option<Rc<Self>> {
        // SAFETY: nginx allocated a pointer for each module. It is null, or one that of() has set, which
        // the request's pool has.
        unsafe {
            let attached = *place::<Self>(r);
            (!attached.is_null()).then(|| share(attached))
        }
    }
}

/// The memory of what was kept of requests that have ended. It is used again, so that a request needs no more memory
/// than nginx has for it.
pub type Spares<T> = RefCell<Vec<Rc<T>>>;

/// How many are kept at most.
const MOST_SPARES: usize = 64;

/// A request that may have ended. Whoever keeps one has nothing of the request when it has.
pub struct Handle(Cell<Option<NonNull<ngx_http_request_t>>>);

impl Handle {
    /// The request. It must be asked for again after what may end it.
    pub fn request(&self) -> Option<Request<'_>> {
        let request = self.0.get()?;
        // SAFETY: the pool's cleanup takes the pointer out before the request's memory is gone.
        Some(unsafe { Request::new(request.as_ptr()) })
    }

    /// The log of the request's connection, which outlives the request.
    pub(super) fn log(&self) -> Option<NonNull<ngx_log_t>> {
        let request = self.request()?;
        // SAFETY: a request has a connection.
        NonNull::new(unsafe { (*request.fields().connection).log })
    }

    /// Has nginx run the phases of a request that was suspended. It may have ended when this returns.
    pub fn resume(&self) {
        let Some(mut request) = self.request() else {
            return;
        };
        let fields = request.fields_mut();
        fields.read_event_handler = Some(ngx_http_block_reading);
        fields.write_event_handler = Some(ngx_http_core_run_phases);
        let connection: *mut ngx_connection_t = fields.connection;
        // SAFETY: the request has not ended yet. It may within the first call; its connection's memory stays.
        unsafe {
            ngx_http_core_run_phases(request.as_ptr());
            ngx_http_run_posted_requests(connection);
        }
    }
}

impl Request<'_> {
    /// Suspends the request: its phases are not run until it is resumed. Whether the client goes away is watched for,
    /// and the body may keep arriving. False if nginx can't watch the connection.
    pub fn suspend(mut self) -> bool {
        // SAFETY: a request has a connection with a read event.
        let watched = unsafe {
            let event = (*self.fields().connection).read;
            if (*event).ready() != 0 {
                // Perhaps the client has gone already: nginx isn't told of that again.
                ngx_post_event(event, &raw mut ngx_posted_events);
                NGX_OK as ngx_int_t
            } else {
                ngx_handle_read_event(event, 0)
            }
        };
        if watched != NGX_OK as ngx_int_t {
            return false;
        }
        let fields = self.fields_mut();
        fields.read_event_handler = Some(ngx_http_test_reading);
        fields.write_event_handler = Some(ngx_http_request_empty_handler);
        true
    }
}

/// The request's pool has one, until it is destroyed.
type Owned<T> = Option<Rc<T>>;

/// Where nginx keeps the module's pointer.
fn place<T: Attached>(r: Request<'_>) -> *mut *mut c_void {
    // SAFETY: nginx allocated a pointer for each module.
    unsafe { r.fields().ctx.add(T::Module::module().ctx_index) }
}

/// What a pointer of nginx's leads to.
///
/// # Safety
/// It is that of an [`Rc`] which the request's pool has, and the pool is not destroyed yet.
pub(super) unsafe fn share<T: Attached>(attached: *mut c_void) -> Rc<T> {
    let attached = attached.cast::<T>().cast_const();
    // SAFETY: the caller's.
    unsafe {
        Rc::increment_strong_count(attached);
        Rc::from_raw(attached)
    }
}

/// A subrequest has its own in the pool of the main request.
fn wiped<T: Attached>(r: Request<'_>) -> Option<Rc<T>> {
    // SAFETY: the pool's cleanups are a list that ends with null; create() gave those with our handler their data.
    unsafe {
        let mut cleanup = (*r.fields().pool).cleanup;
        while let Some(this) = cleanup.as_ref() {
            if is_ours::<T>(this)
                && let Some(attached) = &*this.data.cast::<Owned<T>>()
                && attached.handle().0.get().map(NonNull::as_ptr) == Some(r.as_ptr())
            {
                return Some(attached.clone());
            }
            cleanup = this.next;
        }
    }
    None
}

fn create<T: Attached>(r: Request<'_>) -> Option<Rc<T>> {
    let attached = make(T::new(Handle(Cell::new(NonNull::new(r.as_ptr())))));
    // SAFETY: the request has not ended, and so has a pool. With the cleanup it gives room for what it owns.
    unsafe {
        let cleanup = ngx_pool_cleanup_add(r.fields().pool, size_of::<Owned<T>>()).as_mut()?;
        cleanup
            .data
            .cast::<Owned<T>>()
            .write(Some(attached.clone()));
        cleanup.handler = Some(end::<T>);
    }
    // SAFETY: as above; the pool, and so what it owns, outlives these cleanups.
    let cleanup = unsafe { ngx_http_cleanup_add(r.as_ptr(), 0).as_mut()? };
    cleanup.handler = Some(leave::<T>);
    cleanup.data = Rc::as_ptr(&attached).cast_mut().cast();
    Some(attached)
}

/// Puts it into memory that was used before, if there is some.
fn make<T: Attached>(new: T) -> Rc<T> {
    let spare = T::spares().with_borrow_mut(Vec::pop);
    if let Some(mut spare) = spare
        && let Some(former) = Rc::get_mut(&mut spare)
    {
        *former = new;
        return spare;
    }
    Rc::new(new)
}

/// Keeps its memory for another, if nobody can find it any more.
fn keep<T: Attached>(mut attached: Rc<T>) {
    if Rc::get_mut(&mut attached).is_none() {
        return;
    }
    T::spares().with_borrow_mut(|spares| {
        if spares.len() < MOST_SPARES {
            spares.push(attached);
        }
    });
}

fn is_ours<T: Attached>(cleanup: &ngx_pool_cleanup_t) -> bool {
    let ours: unsafe extern "C" fn(*mut c_void) = end::<T>;
    cleanup
        .handler
        .is_some_and(|handler| ptr::fn_addr_eq(handler, ours))
}

/// Called by nginx when the request is over.
unsafe extern "C" fn leave<T: Attached>(data: *mut c_void) {
    guard::twice("leave", || {
        // SAFETY: create() set the data, and the pool is destroyed later.
        let attached = unsafe { share::<T>(data) };
        attached.on_leave();
    });
}

/// Called by nginx when the request's pool is destroyed.
unsafe extern "C" fn end<T: Attached>(data: *mut c_void) {
    // SAFETY: create() has set the data.
    let Some(attached) = (unsafe { (*data.cast::<Owned<T>>()).take() }) else {
        return;
    };
    let is_closed = guard::twice("drop_context", || attached.on_end());
    attached.handle().0.set(None);
    guard::nothing("forget_context", move || {
        if is_closed {
            keep(attached);
        }
        // (Otherwise what it owns is given back by its parts.)
    });
}
