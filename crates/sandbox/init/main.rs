//! `corefn-init`: what runs in a sandbox until it becomes a function.
//!
//! It is given the path of a socket, connects to it, and waits for messages there: a byte that says what comes, and open
//! files.
//!
//! | byte | files | what it does |
//! |---|---|---|
//! | [`LISTEN`] | a socket | keeps it as [`LISTENER`], for what it becomes, in the place of one that it has |
//! | [`BECOME`] | a program, and an order (`src/order/parse.rs`) with its arguments and variables | becomes the program, without the socket |
//! | [`BECOME_AND_LISTEN`] | the same | becomes the program, which has the socket |
//! | [`STAY`] | none | stays what it is, for the sake of its network |
//!
//! When it has done one of the last three the connection is closed; if it can't, it sends the number of the error (errno(3)),
//! four bytes of little endian, and ends. Whoever is at the other end of the socket may go away before that: then it
//! connects anew, for as long as there is a socket, and ends when there was none for a while.
//!
//! If it is given a program besides, by its name and arguments, it becomes that when it has been sent the socket, and takes
//! nothing else: so a runtime is started that can't be sent one itself.
#![no_std]
#![no_main]
#![no_builtins]
#![deny(unsafe_op_in_unsafe_fn)]

mod memory;
#[path = "../src/order/parse.rs"]
mod order;
mod system;

use core::panic::PanicInfo;

use system::{Descriptor, EFBIG, EINTR, EINVAL, ENAMETOOLONG, ENOENT, Errno, Message};

/// The byte of a message with a program.
const BECOME: u8 = 1;

/// The byte of a message without files: to stay.
const STAY: u8 = 2;

/// The byte of a message with a socket.
const LISTEN: u8 = 3;

/// The byte of a message with a program that listens.
const BECOME_AND_LISTEN: u8 = 4;

/// The number of the descriptor that a program listens on. (What is opened here has smaller ones.)
const LISTENER: Descriptor = 9;

/// The pause between two attempts to connect, in milliseconds.
const PAUSE: u32 = 50;

/// How often it is tried to connect in a row: for about half a minute.
const ATTEMPTS: u32 = 600;

/// How long it sleeps at a time while it stays, in milliseconds.
const DAY: u32 = 86_400_000;

/// The status with which it ends if it can't become the program, as a shell's would.
const CANNOT_EXECUTE: i32 = 126;

/// The most bytes of a program's path, with the NUL that ends it (`PATH_MAX` of limits.h).
const PATH: usize = 4096;

/// A program by its name.
#[derive(Clone, Copy)]
struct Named {
    /// Its arguments, the first of which is its name.
    arguments: *const *const u8,
    /// Its variables.
    variables: *const *const u8,
}

/// Where the program begins. `stack` is the count of its arguments, which pointers to them follow, and after a null pointer
/// those to its variables.
extern "C" fn begin(stack: *const usize) -> ! {
    // SAFETY: the kernel has put the count there, and behind it so many pointers to texts that end with NUL.
    let (path, named) = unsafe {
        let count = *stack;
        if count < 2 {
            system::exit(2);
        }
        let named = Named {
            arguments: stack.add(3).cast(),
            variables: stack.add(count + 2).cast(),
        };
        (
            text(*stack.add(2) as *const u8),
            (count > 2).then_some(named),
        )
    };
    let mut listens = false;
    let mut attempts = 0;
    while attempts < ATTEMPTS {
        attempts += 1;
        if let Ok(socket) = system::socket() {
            if system::connect(socket, path).is_ok() {
                attempts = 0;
                wait(socket, named, &mut listens);
            }
            system::close(socket);
        }
        system::sleep(PAUSE);
    }
    system::exit(1)
}

/// A text that ends with NUL.
///
/// # Safety
/// It must be one, for as long as the program lasts.
unsafe fn text(at: *const u8) -> &'static [u8] {
    // SAFETY: it is the caller's promise.
    unsafe { core::ffi::CStr::from_ptr(at.cast()).to_bytes() }
}

/// Waits for messages, and becomes what they say. Returns if there is none to come. `listens` is whether there is a
/// [`LISTENER`].
fn wait(socket: Descriptor, named: Option<Named>, listens: &mut bool) {
    let why = loop {
        let mut byte = [0];
        let message = match system::receive(socket, &mut byte) {
            Err(EINTR) => continue,
            Ok(message) if message.length > 0 => message,
            _ => return,
        };
        if message.is_cut {
            break EINVAL;
        }
        match (byte[0], named) {
            (LISTEN, _) => {
                if let Err(errno) = take_listener(&message) {
                    break errno;
                }
                *listens = true;
                if let Some(named) = named {
                    break begin_named(named);
                }
            }
            (BECOME, None) => {
                leave_listener(listens);
                break become_program(&message);
            }
            (BECOME_AND_LISTEN, None) if *listens => break become_program(&message),
            (STAY, None) if message.count == 0 => {
                leave_listener(listens);
                system::close(socket);
                loop {
                    system::sleep(DAY);
                }
            }
            _ => break EINVAL,
        }
    };
    let _ = system::write(socket, &why.to_le_bytes());
    system::exit(CANNOT_EXECUTE)
}

/// Keeps the socket of a message.
fn take_listener(message: &Message) -> Result<(), Errno> {
    if message.count != 1 {
        return Err(EINVAL);
    }
    system::duplicate(message.descriptors[0], LISTENER)?;
    system::close(message.descriptors[0]);
    Ok(())
}

/// Closes the socket that it has, if there is one.
fn leave_listener(listens: &mut bool) {
    if *listens {
        system::close(LISTENER);
        *listens = false;
    }
}

/// Becomes the program of a message. Returns why it could not.
fn become_program(message: &Message) -> Errno {
    if message.count != 2 {
        return EINVAL;
    }
    let (arguments, variables) = match read_order(message.descriptors[1]) {
        Ok(lists) => lists,
        Err(errno) => return errno,
    };
    // SAFETY: they are lists as `read_order` makes them.
    unsafe { system::execute(message.descriptors[0], arguments, variables) }
}

/// Becomes a program that is named, which is looked for as a shell does: where its name has no slash, in the folders of the
/// variable PATH. Returns why it could not.
fn begin_named(program: Named) -> Errno {
    // SAFETY: the kernel has put the lists there, which end with a null pointer, and all the texts.
    let (name, path) = unsafe {
        let mut variable = program.variables;
        let path = loop {
            if (*variable).is_null() {
                break None;
            }
            if let Some(folders) = text(*variable).strip_prefix(b"PATH=") {
                break Some(folders);
            }
            variable = variable.add(1);
        };
        (text(*program.arguments), path)
    };
    if name.contains(&b'/') {
        return begin_at(&[name], program);
    }
    let mut why = ENOENT;
    for folder in path.unwrap_or_default().split(|byte| *byte == b':') {
        match begin_at(&[folder, b"/", name], program) {
            ENOENT => {}
            errno => why = errno,
        }
    }
    why
}

/// Becomes the program at a path, given in pieces. Returns why it could not.
fn begin_at(pieces: &[&[u8]], program: Named) -> Errno {
    let mut path = [0; PATH];
    let mut length = 0;
    for piece in pieces {
        match path.get_mut(length..length + piece.len()) {
            Some(to) => to.copy_from_slice(piece),
            None => return ENAMETOOLONG,
        }
        length += piece.len();
    }
    // (What follows is zero.)
    if length == PATH {
        return ENAMETOOLONG;
    }
    // SAFETY: the path ends with NUL, and the lists are the kernel's.
    unsafe { system::execute_at(path.as_ptr(), program.arguments, program.variables) }
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
