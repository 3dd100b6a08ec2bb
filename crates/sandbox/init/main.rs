//! `corefn-init`: what runs in a sandbox until it becomes a function.
//!
//! It is given the path of a socket, connects to it, and waits for one message there: a byte that says what comes, and
//! open files. The first is the program to become, the second an order (`src/order/parse.rs`) with its arguments and variables, and
//! the third, if there is one, a socket that the program is to have as [`LISTENER`]. When it has become the program the
//! connection is closed; if it can't, it sends the number of the error (errno(3)), four bytes of little endian, and ends.
//! Another byte, with no file, says that it is to stay what it is, for the sake of its network: it closes the connection too.
//!
//! Whoever is at the other end of the socket may go away before there was a message: then it connects anew, for as long as
//! there is a socket, and ends when there was none for a while.
#![no_std]
#![no_main]
#![no_builtins]
#![deny(unsafe_op_in_unsafe_fn)]

mod memory;
#[path = "../src/order/parse.rs"]
mod order;
mod system;

use core::panic::PanicInfo;

use system::{Descriptor, EFBIG, EINTR, EINVAL, Errno, Message};

/// The first byte of a message: what this version understands.
const VERSION: u8 = 1;

/// The first byte of a message without files: to stay.
const STAY: u8 = 2;

/// The number of the descriptor that a program listens on, the first after standard error.
const LISTENER: Descriptor = 3;

/// The pause between two attempts to connect, in milliseconds.
const PAUSE: u32 = 50;

/// How often it is tried to connect in a row: for about half a minute.
const ATTEMPTS: u32 = 600;

/// How long it sleeps at a time while it stays, in milliseconds.
const DAY: u32 = 86_400_000;

/// The status with which it ends if it can't become the program, as a shell's would.
const CANNOT_EXECUTE: i32 = 126;

/// Where the program begins. `stack` is the count of its arguments, which pointers to them follow.
extern "C" fn begin(stack: *const usize) -> ! {
    // SAFETY: the kernel has put the count there, and behind it so many pointers to texts that end with NUL.
    let path = unsafe {
        match *stack {
            2 => core::ffi::CStr::from_ptr(*stack.add(2) as *const core::ffi::c_char).to_bytes(),
            _ => system::exit(2),
        }
    };
    let mut attempts = 0;
    while attempts < ATTEMPTS {
        attempts += 1;
        if let Ok(socket) = system::socket() {
            if system::connect(socket, path).is_ok() {
                attempts = 0;
                wait(socket);
            }
            system::close(socket);
        }
        system::sleep(PAUSE);
    }
    system::exit(1)
}

/// Waits for the message, and becomes what it says. Returns if there is none to come.
fn wait(socket: Descriptor) {
    let mut version = [0];
    let message = loop {
        match system::receive(socket, &mut version) {
            Err(EINTR) => {}
            Ok(message) if message.length > 0 => break message,
            _ => return,
        }
    };
    if message.length == 1 && version[0] == STAY && message.count == 0 && !message.is_cut {
        system::close(socket);
        loop {
            system::sleep(DAY);
        }
    }
    let why = if version[0] == VERSION && !message.is_cut {
        become_program(&message)
    } else {
        EINVAL
    };
    let _ = system::write(socket, &why.to_le_bytes());
    system::exit(CANNOT_EXECUTE)
}

/// Becomes the program of a message. Returns why it could not.
fn become_program(message: &Message) -> Errno {
    let (program, bytes) = match message.count {
        2 | 3 => (message.descriptors[0], message.descriptors[1]),
        _ => return EINVAL,
    };
    let (arguments, variables) = match read_order(bytes) {
        Ok(lists) => lists,
        Err(errno) => return errno,
    };
    if message.count == 3
        && let Err(errno) = system::duplicate(message.descriptors[2], LISTENER)
    {
        return errno;
    }
    // SAFETY: they are lists as `read_order` makes them.
    unsafe { system::execute(program, arguments, variables) }
}

/// Two lists of pointers to texts, as a program gets them.
type Lists = (*const *const u8, *const *const u8);

/// Reads an order into memory of its own, and lists what is in it.
fn read_order(file: Descriptor) -> Result<Lists, Errno> {
    let size = system::size(file)?;
    if size > order::MAX {
        return Err(EFBIG);
    }
    let memory = system::memory(size)?;
    // SAFETY: it is memory of words, of which the first `size` bytes may be bytes as well.
    let bytes = unsafe { core::slice::from_raw_parts_mut(memory.as_mut_ptr().cast::<u8>(), size) };
    let mut read = 0;
    while read < size {
        match system::read_at(file, &mut bytes[read..], read) {
            Ok(0) => return Err(EINVAL),
            Ok(count) => read += count,
            Err(EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    let order = order::parse(bytes).ok_or(EINVAL)?;
    // (Each list ends with a null pointer, as new memory is.)
    let pointers = system::memory((order.arguments + order.variables + 2) * size_of::<usize>())?;
    let mut next = 0;
    let mut begin = 0;
    for (at, byte) in order.texts.iter().enumerate() {
        if *byte == 0 {
            if next == order.arguments {
                next += 1;
            }
            pointers[next] = &raw const order.texts[begin] as usize;
            next += 1;
            begin = at + 1;
        }
    }
    let lists = pointers.as_ptr().cast::<*const u8>();
    // SAFETY: the second list is behind the first one and its end, in the same memory.
    let variables = unsafe { lists.add(order.arguments + 1) };
    Ok((lists, variables))
}

/// Nothing here is to panic. What does all the same ends the program, and with it the sandbox.
#[panic_handler]
fn panicked(_: &PanicInfo<'_>) -> ! {
    system::exit(101)
}
