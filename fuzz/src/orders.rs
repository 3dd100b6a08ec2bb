//! What `corefn-init` is told to become, which comes from whoever has its socket.
//!
//! What is accepted has as many texts as it says, and is what would be written for them.

use corefn_sandbox::order;

/// Checks one input.
///
/// # Panics
/// When something is wrong with what is made of it.
pub fn run(bytes: &[u8]) {
    let Some(read) = order::parse(bytes) else {
        return;
    };
    let texts: Vec<&[u8]> = read.texts.split_inclusive(|byte| *byte == 0).collect();
    assert_eq!(texts.len(), read.arguments + read.variables);
    assert!(read.arguments > 0);
    let mut written = Vec::new();
    for count in [read.arguments, read.variables] {
        written.extend(u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
    }
    for text in texts {
        assert_eq!(text.last(), Some(&0));
        written.extend(text);
    }
    assert_eq!(written, bytes);
}
