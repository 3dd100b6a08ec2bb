//! What nginx's event loop is to call later, once: after a time, or as soon as it has returned.

use std::cell::{Cell, OnceCell, RefCell, UnsafeCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;
use std::rc::{Rc, Weak};
use std::time::Duration;

use ngx::ffi::{
    ngx_add_timer, ngx_cycle_t, ngx_del_timer, ngx_delete_posted_event, ngx_event_t, ngx_log_t,
    ngx_msec_t, ngx_post_event, ngx_posted_events,
};

use super::Handle;

/// What is called.
pub type Call<T> = fn(&Rc<T>);

/// A call that the event loop owes a `T`. What was owed before is not called any more, nor is anything when this is
/// dropped, or when the target is gone by then.
///
/// It takes no memory before it is used.
pub struct Callback<T>(OnceCell<Box<Owed<T>>>);

/// It stays where it is, since nginx keeps pointers to the event.
struct Owed<T> {
    event: UnsafeCell<ngx_event_t>,
    target: RefCell<Weak<T>>,
    call: Cell<Option<Call<T>>>,
}

impl<T> Default for Callback<T> {
    fn default() -> Self {
        Self(OnceCell::new())
    }
}

impl<T> Callback<T> {
    /// Has `call` called after a time, unless the request has ended.
    pub fn after(&self, time: Duration, request: &Handle, target: Weak<T>, call: Call<T>) {
        let Some(log) = request.log() else {
            return;
        };
        let event = self.owe(log, target, call);
        // SAFETY: the event is set up, and stays where it is until cancel() takes it back, at the latest when this is
        // dropped.
        unsafe { ngx_add_timer(event, time.as_millis() as ngx_msec_t) };
    }

    /// Has `call` called after a time in a process's life, which need not wait for it before it ends.
    pub fn in_process(&self, time: Duration, cycle: &ngx_cycle_t, target: Weak<T>, call: Call<T>) {
        let Some(log) = NonNull::new(cycle.log) else {
            return;
        };
        let event = self.owe(log, target, call);
        // SAFETY: as of after().
        unsafe {
            (*event).set_cancelable(1);
            ngx_add_timer(event, time.as_millis() as ngx_msec_t);
        }
    }

    /// Has `call` called when nginx has returned to its event loop; as of [`Callback::after`].
    pub fn soon(&self, request: &Handle, target: Weak<T>, call: Call<T>) {
        let Some(log) = request.log() else {
            return;
        };
        let event = self.owe(log, target, call);
        // SAFETY: as of after().
        unsafe { ngx_post_event(event, &raw mut ngx_posted_events) };
    }

    /// Nothing is owed any more, and the target is let go of.
    pub fn cancel(&self) {
        let Some(owed) = self.0.get() else {
            return;
        };
        owed.target.take();
        let event = owed.event.get();
        // SAFETY: the event is ours, and nginx's own marks say whether it is in the timers or in the queue.
        unsafe {
            if (*event).timer_set() != 0 {
                ngx_del_timer(event);
            }
            if (*event).posted() != 0 {
                ngx_delete_posted_event(event);
            }
        }
    }

    fn owe(&self, log: NonNull<ngx_log_t>, target: Weak<T>, call: Call<T>) -> *mut ngx_event_t {
        self.cancel();
        let owed = self.0.get_or_init(|| {
            Box::new(Owed {
                // SAFETY: all zeros are an event that is not set.
                event: UnsafeCell::new(unsafe { std::mem::zeroed() }),
                target: RefCell::new(Weak::new()),
                call: Cell::new(None),
            })
        });
        owed.target.replace(target);
        owed.call.set(Some(call));
        let event = owed.event.get();
        // SAFETY: nginx does not look at an event that is neither in its timers nor in its queue.
        unsafe {
            (*event).data = std::ptr::from_ref::<Owed<T>>(owed).cast_mut().cast();
            (*event).handler = Some(run::<T>);
            (*event).log = log.as_ptr();
        }
        event
    }
}

impl<T> Drop for Callback<T> {
    fn drop(&mut self) {
        self.cancel();
    }
}

/// Called by nginx, which has taken the event out of its timers or its queue. The called one tells of its panics.
unsafe extern "C" fn run<T>(event: *mut ngx_event_t) {
    // SAFETY: owe() set the data to the event's own owner, which would have taken the event back when it ended.
    let owed = unsafe { &*(*event).data.cast::<Owed<T>>() };
    let target = owed.target.borrow().upgrade();
    // It may end all other uses of the target, and so the event: nothing is done with that after this.
    if let (Some(target), Some(call)) = (target, owed.call.get()) {
        let _ = catch_unwind(AssertUnwindSafe(move || call(&target)));
    }
}
