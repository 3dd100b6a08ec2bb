//! The functions that a compiler expects of any system to work on memory.
//!
//! They are as plain as can be: what they work on here is small, and is touched once.

/// # Safety
/// As of C's function of that name.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    let mut at = 0;
    while at < count {
        // SAFETY: both have `count` bytes, of which this is one.
        unsafe { *to.add(at) = *from.add(at) };
        at += 1;
    }
    to
}

/// # Safety
/// As of C's function of that name.
#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    if to.cast_const() <= from {
        // SAFETY: both have `count` bytes, and each is read before it is written.
        return unsafe { memcpy(to, from, count) };
    }
    let mut at = count;
    while at > 0 {
        at -= 1;
        // SAFETY: both have `count` bytes, of which this is one.
        unsafe { *to.add(at) = *from.add(at) };
    }
    to
}

/// # Safety
/// As of C's function of that name.
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, byte: i32, count: usize) -> *mut u8 {
    let mut at = 0;
    while at < count {
        // SAFETY: it has `count` bytes, of which this is one.
        unsafe { *to.add(at) = byte as u8 };
        at += 1;
    }
    to
}

/// # Safety
/// As of C's function of that name.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(one: *const u8, other: *const u8, count: usize) -> i32 {
    let mut at = 0;
    while at < count {
        // SAFETY: both have `count` bytes, of which this is one.
        let (a, b) = unsafe { (*one.add(at), *other.add(at)) };
        if a != b {
            return i32::from(a) - i32::from(b);
        }
        at += 1;
    }
    0
}

/// # Safety
/// As of C's function of that name.
#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(one: *const u8, other: *const u8, count: usize) -> i32 {
    // SAFETY: as of this one.
    unsafe { memcmp(one, other, count) }
}

/// # Safety
/// As of C's function of that name.
#[unsafe(no_mangle)]
unsafe extern "C" fn strlen(text: *const u8) -> usize {
    let mut length = 0;
    // SAFETY: the text has a NUL, and nothing behind it is read.
    while unsafe { *text.add(length) } != 0 {
        length += 1;
    }
    length
}
