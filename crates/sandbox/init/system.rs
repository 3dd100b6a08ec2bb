//! The calls of Linux that the program needs, and nothing more (syscalls(2), and the headers of Linux for the numbers).

use core::arch::{asm, global_asm};

/// A file descriptor.
pub type Descriptor = i32;

/// What a call has failed with: a number of errno(3).
pub type Errno = i32;

#[cfg(target_arch = "x86_64")]
mod number {
    pub const WRITE: usize = 1;
    pub const CLOSE: usize = 3;
    pub const FSTAT: usize = 5;
    pub const MMAP: usize = 9;
    pub const PREAD64: usize = 17;
    pub const NANOSLEEP: usize = 35;
    pub const SOCKET: usize = 41;
    pub const CONNECT: usize = 42;
    pub const RECVMSG: usize = 47;
    pub const EXIT_GROUP: usize = 231;
    pub const DUP3: usize = 292;
    pub const EXECVEAT: usize = 322;
}

#[cfg(target_arch = "aarch64")]
mod number {
    pub const DUP3: usize = 24;
    pub const CLOSE: usize = 57;
    pub const WRITE: usize = 64;
    pub const PREAD64: usize = 67;
    pub const FSTAT: usize = 80;
    pub const EXIT_GROUP: usize = 94;
    pub const NANOSLEEP: usize = 101;
    pub const SOCKET: usize = 198;
    pub const CONNECT: usize = 203;
    pub const RECVMSG: usize = 212;
    pub const MMAP: usize = 222;
    pub const EXECVEAT: usize = 281;
}

// The kernel begins a program with the stack's pointer at the count of its arguments, followed by pointers to them.
#[cfg(target_arch = "x86_64")]
global_asm!(
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "mov rdi, rsp",
    "and rsp, -16",
    "call {begin}",
    begin = sym crate::begin,
);
#[cfg(target_arch = "aarch64")]
global_asm!(
    ".globl _start",
    "_start:",
    "mov x29, xzr",
    "mov x30, xzr",
    "mov x0, sp",
    "and sp, x0, #-16",
    "bl {begin}",
    begin = sym crate::begin,
);

/// Calls the kernel.
///
/// # Safety
/// The arguments must be what the call of that number takes; what it writes to must be the caller's.
unsafe fn call(number: usize, arguments: [usize; 6]) -> Result<usize, Errno> {
    let [a, b, c, d, e, f] = arguments;
    let result: isize;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the kernel keeps all registers but these; the rest is the caller's promise.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") a,
            in("rsi") b,
            in("rdx") c,
            in("r10") d,
            in("r8") e,
            in("r9") f,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: the kernel keeps all registers but this; the rest is the caller's promise.
    unsafe {
        asm!(
            "svc 0",
            in("x8") number,
            inlateout("x0") a as isize => result,
            in("x1") b,
            in("x2") c,
            in("x3") d,
            in("x4") e,
            in("x5") f,
            options(nostack),
        );
    }
    // (The last page of numbers is errors.)
    if (-4095..0).contains(&result) {
        return Err(-result as Errno);
    }
    Ok(result as usize)
}

/// Ends the program.
pub fn exit(status: i32) -> ! {
    loop {
        // SAFETY: it takes a number.
        let _ = unsafe { call(number::EXIT_GROUP, [status as usize, 0, 0, 0, 0, 0]) };
    }
}

/// Sleeps for so many milliseconds, or until a signal comes.
pub fn sleep(milliseconds: u32) {
    let time: [i64; 2] = [
        i64::from(milliseconds / 1000),
        i64::from(milliseconds % 1000) * 1_000_000,
    ];
    // SAFETY: it reads a `timespec`, which is two numbers of 64 bits.
    let _ = unsafe { call(number::NANOSLEEP, [time.as_ptr() as usize, 0, 0, 0, 0, 0]) };
}

/// Closes a descriptor.
pub fn close(descriptor: Descriptor) {
    // SAFETY: it takes a number.
    let _ = unsafe { call(number::CLOSE, [descriptor as usize, 0, 0, 0, 0, 0]) };
}

/// Writes to a descriptor.
pub fn write(descriptor: Descriptor, bytes: &[u8]) -> Result<usize, Errno> {
    let (at, length) = (bytes.as_ptr() as usize, bytes.len());
    // SAFETY: it reads so many bytes.
    unsafe { call(number::WRITE, [descriptor as usize, at, length, 0, 0, 0]) }
}

/// Reads from a place of a file.
pub fn read_at(file: Descriptor, bytes: &mut [u8], at: usize) -> Result<usize, Errno> {
    let (to, length) = (bytes.as_mut_ptr() as usize, bytes.len());
    // SAFETY: it writes so many bytes at most.
    unsafe { call(number::PREAD64, [file as usize, to, length, at, 0, 0]) }
}

/// How many bytes a file has.
pub fn size(file: Descriptor) -> Result<usize, Errno> {
    // `struct stat` of both processors has less than this, and its size at the same place.
    const WORDS: usize = 24;
    const SIZE: usize = 6;
    let mut status = [0u64; WORDS];
    let to = status.as_mut_ptr() as usize;
    // SAFETY: it writes a `struct stat`, for which there is room.
    unsafe { call(number::FSTAT, [file as usize, to, 0, 0, 0, 0]) }?;
    usize::try_from(status[SIZE]).map_err(|_| EFBIG)
}

/// New memory, all zeros, for as long as the program lasts.
pub fn memory(bytes: usize) -> Result<&'static mut [usize], Errno> {
    const READ_AND_WRITE: usize = 1 | 2;
    const PRIVATE_AND_ANONYMOUS: usize = 2 | 0x20;
    const NO_FILE: usize = usize::MAX;
    let words = bytes.div_ceil(size_of::<usize>());
    let length = words * size_of::<usize>();
    let arguments = [0, length, READ_AND_WRITE, PRIVATE_AND_ANONYMOUS, NO_FILE, 0];
    // SAFETY: the kernel chooses where, and so nothing of the program's is there.
    let at = unsafe { call(number::MMAP, arguments) }? as *mut usize;
    // SAFETY: it was just made, is not given to anybody else, and a page's beginning is aligned for any type.
    Ok(unsafe { core::slice::from_raw_parts_mut(at, words) })
}

/// A socket that gives each message whole, and is closed when another program begins.
pub fn socket() -> Result<Descriptor, Errno> {
    const UNIX: usize = 1;
    const SEQUENCED_PACKETS: usize = 5;
    const CLOSE_ON_EXEC: usize = 0o2_000_000;
    let kind = SEQUENCED_PACKETS | CLOSE_ON_EXEC;
    // SAFETY: it takes numbers.
    unsafe { call(number::SOCKET, [UNIX, kind, 0, 0, 0, 0]) }
        .map(|descriptor| descriptor as Descriptor)
}

/// The most bytes that the path of a socket may have, with the NUL that ends it (unix(7)).
const PATH: usize = 108;

/// Connects to the socket of a path, which has no NUL in it.
pub fn connect(socket: Descriptor, path: &[u8]) -> Result<(), Errno> {
    #[repr(C)]
    struct Address {
        family: u16,
        path: [u8; PATH],
    }
    let mut address = Address {
        family: 1,
        path: [0; PATH],
    };
    if path.len() >= PATH {
        return Err(ENAMETOOLONG);
    }
    address.path[..path.len()].copy_from_slice(path);
    let (at, length) = (&raw const address as usize, size_of::<Address>());
    // SAFETY: it reads an address of that length.
    unsafe { call(number::CONNECT, [socket as usize, at, length, 0, 0, 0]) }.map(drop)
}

/// The most descriptors of a message.
pub const DESCRIPTORS: usize = 2;

/// A message that was received.
pub struct Message {
    /// How many bytes it had; of those that did not fit nothing is known.
    pub length: usize,
    /// Whether there was no room for all of it.
    pub is_cut: bool,
    /// The descriptors that came with it, which are closed when another program begins.
    pub descriptors: [Descriptor; DESCRIPTORS],
    /// How many of them there are.
    pub count: usize,
}

/// Receives a message.
pub fn receive(socket: Descriptor, bytes: &mut [u8]) -> Result<Message, Errno> {
    const CLOSE_ON_EXEC: usize = 0x4000_0000;
    /// `MSG_TRUNC` and `MSG_CTRUNC`.
    const CUT: i32 = 0x20 | 8;
    /// `SOL_SOCKET` and `SCM_RIGHTS`.
    const RIGHTS: (i32, i32) = (1, 1);

    #[repr(C)]
    struct Piece {
        at: *mut u8,
        length: usize,
    }
    /// `struct cmsghdr` and descriptors; the whole is a multiple of eight bytes.
    #[repr(C, align(8))]
    struct Control {
        length: usize,
        level: i32,
        kind: i32,
        descriptors: [Descriptor; DESCRIPTORS + 1],
    }
    #[repr(C)]
    struct Header {
        name: *mut u8,
        name_length: u32,
        pieces: *mut Piece,
        piece_count: usize,
        control: *mut Control,
        control_length: usize,
        flags: i32,
    }

    let mut piece = Piece {
        at: bytes.as_mut_ptr(),
        length: bytes.len(),
    };
    let mut control = Control {
        length: 0,
        level: 0,
        kind: 0,
        descriptors: [-1; DESCRIPTORS + 1],
    };
    let head = core::mem::offset_of!(Control, descriptors);
    let mut header = Header {
        name: core::ptr::null_mut(),
        name_length: 0,
        pieces: &raw mut piece,
        piece_count: 1,
        control: &raw mut control,
        control_length: head + DESCRIPTORS * size_of::<Descriptor>(),
        flags: 0,
    };
    let arguments = [
        socket as usize,
        &raw mut header as usize,
        CLOSE_ON_EXEC,
        0,
        0,
        0,
    ];
    // SAFETY: it writes to what the header names, and no more than that has room for.
    let length = unsafe { call(number::RECVMSG, arguments) }?;
    let mut message = Message {
        length,
        is_cut: header.flags & CUT != 0,
        descriptors: [-1; DESCRIPTORS],
        count: 0,
    };
    if header.control_length >= head && (control.level, control.kind) == RIGHTS {
        let count = control.length.saturating_sub(head) / size_of::<Descriptor>();
        message.count = count.min(DESCRIPTORS);
        message.descriptors[..message.count].copy_from_slice(&control.descriptors[..message.count]);
    }
    Ok(message)
}

/// Makes another descriptor of the same file, of that number, which stays open when another program begins.
pub fn duplicate(descriptor: Descriptor, number: Descriptor) -> Result<(), Errno> {
    // SAFETY: it takes numbers.
    unsafe {
        call(
            number::DUP3,
            [descriptor as usize, number as usize, 0, 0, 0, 0],
        )
    }
    .map(drop)
}

/// Becomes the program in a file. Returns only why it could not.
///
/// # Safety
/// Both lists must be pointers to texts that end with NUL, and end with a null pointer.
pub unsafe fn execute(
    file: Descriptor,
    arguments: *const *const u8,
    variables: *const *const u8,
) -> Errno {
    const EMPTY_PATH: usize = 0x1000;
    let path = c"".as_ptr() as usize;
    let (arguments, variables) = (arguments as usize, variables as usize);
    // SAFETY: the lists are as the caller promises.
    match unsafe {
        call(
            number::EXECVEAT,
            [file as usize, path, arguments, variables, EMPTY_PATH, 0],
        )
    } {
        Ok(_) => 0,
        Err(errno) => errno,
    }
}

/// Becomes the program at a path. Returns only why it could not.
///
/// # Safety
/// As of [`execute`]; the path must end with NUL.
pub unsafe fn execute_at(
    path: *const u8,
    arguments: *const *const u8,
    variables: *const *const u8,
) -> Errno {
    /// `AT_FDCWD`: paths are looked up as those of any call.
    const HERE: usize = -100isize as usize;
    let (path, arguments, variables) = (path as usize, arguments as usize, variables as usize);
    // SAFETY: the path and the lists are as the caller promises.
    match unsafe { call(number::EXECVEAT, [HERE, path, arguments, variables, 0, 0]) } {
        Ok(_) => 0,
        Err(errno) => errno,
    }
}

/// There is no such file.
pub const ENOENT: Errno = 2;

/// Interrupted by a signal.
pub const EINTR: Errno = 4;
/// An argument is wrong.
pub const EINVAL: Errno = 22;
/// The file is too large.
pub const EFBIG: Errno = 27;
/// The name is too long.
pub const ENAMETOOLONG: Errno = 36;
