//! What a function that does nothing costs a worker in its table.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use corefn_core::config::{Export, FunctionConfig};
use corefn_core::deployment::Deployment;
use corefn_core::function::RevisionId;
use corefn_core::table::Table;

/// Counts what is allocated.
struct Counting;

static USED: AtomicUsize = AtomicUsize::new(0);

/// The memory that an allocation takes, as glibc's malloc has it on 64 bits: 8 bytes before each, all in steps of 16, and 32
/// at least.
fn taken(layout: Layout) -> usize {
    (layout.size() + 8).next_multiple_of(16).max(32)
}

// SAFETY: all is done by the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        USED.fetch_add(taken(layout), Ordering::Relaxed);
        // SAFETY: the caller's promises are handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        USED.fetch_sub(taken(layout), Ordering::Relaxed);
        // SAFETY: as above; it has come from there.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A function as a push of one of the examples deploys it.
fn deployment(number: usize) -> Deployment {
    let exports = ["Add", "HelloWorld", "Multiply", "Now", "SayHello"].map(|name| Export {
        name: name.to_owned(),
        argument: Some("json".to_owned()),
        answer: Some("json".to_owned()),
        example: Some("{\"A\":1,\"B\":2}".to_owned()),
    });
    let function: String = format!("account-{}/function-{number}", number % 100);
    let revision = RevisionId("20261126T110338-19b25cc".to_owned());
    Deployment {
        image: format!("corefn/{function}:{revision}"),
        function: function.parse().expect("it is a name"),
        revision,
        config: FunctionConfig {
            exports: Some(exports.into()),
            executable: Some("0123456789abcdef".repeat(4)),
            ..FunctionConfig::default()
        },
        releases: Vec::new(),
    }
}

#[test]
fn bytes_a_function() {
    /// As many as half of the table's places, when it has room for as many again.
    const FUNCTIONS: usize = 10_000;
    const MOST: usize = 600;
    let before = USED.load(Ordering::Relaxed);
    let mut table = Table::<()>::with_capacity(FUNCTIONS);
    for number in 0..FUNCTIONS {
        table.on_deployed(deployment(number));
    }
    let bytes = (USED.load(Ordering::Relaxed) - before) / FUNCTIONS;
    println!("{bytes} bytes a function");
    assert!(bytes <= MOST, "{bytes} bytes");
    while table.shrink() {}
}
