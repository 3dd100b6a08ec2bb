//! How an order is read.
//!
//! Two 32-bit numbers, little endian: how many arguments and how many variables there are. Then the arguments and the
//! variables, each ended by a NUL, and nothing else. Both sides compile this file, and one of them has neither memory to
//! allocate nor a standard library.

/// The most bytes of an order: Linux takes less for a program (`MAX_ARG_STRLEN` is 32 pages, and all of them together may
/// have a quarter of the stack).
pub const MAX: usize = 4 << 20;

/// The bytes before the texts.
pub(crate) const HEAD: usize = 8;

/// An order that is as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order<'a> {
    /// How many arguments there are, at least one.
    pub arguments: usize,
    /// How many variables follow them.
    pub variables: usize,
    /// The texts, each ended by a NUL.
    pub texts: &'a [u8],
}

/// Reads an order; nothing if the bytes are none.
pub fn parse(bytes: &[u8]) -> Option<Order<'_>> {
    if bytes.len() > MAX {
        return None;
    }
    let (head, texts) = bytes.split_at_checked(HEAD)?;
    let number = |at: usize| {
        let bytes = head.get(at..at + 4)?;
        let number = u32::from_le_bytes(bytes.try_into().ok()?);
        usize::try_from(number).ok()
    };
    let (arguments, variables) = (number(0)?, number(4)?);
    let ends = texts.iter().filter(|&&byte| byte == 0).count();
    let is_whole =
        texts.last() == Some(&0) && arguments > 0 && arguments.checked_add(variables) == Some(ends);
    is_whole.then_some(Order {
        arguments,
        variables,
        texts,
    })
}
