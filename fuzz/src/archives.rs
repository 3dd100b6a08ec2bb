//! What a build has left for its runtime: an archive that Docker makes of whatever is in the folder.
//!
//! What is packed is small enough, has each path once and after its folder's beginning, and says so itself.

use std::io::Read as _;

use corefn_sandbox::archive::{MAX, pack};
use cpio::newc::Reader;

/// Checks one input.
///
/// # Panics
/// When something is wrong with what is made of it.
pub fn run(bytes: &[u8]) {
    let Ok(Some(packed)) = pack(bytes) else {
        return;
    };
    assert!(packed.len() <= MAX);
    let mut rest = packed.as_slice();
    let mut last = None;
    loop {
        let mut reader = Reader::new(rest).expect("what is packed can be read");
        if reader.entry().is_trailer() {
            assert!(reader.finish().is_ok_and(<[u8]>::is_empty));
            return;
        }
        let name = reader.entry().name().to_owned();
        let parts: Vec<_> = name.split('/').map(str::to_owned).collect();
        assert!(last < Some(parts.clone()), "{name} comes after {last:?}");
        last = Some(parts);
        let mut contents = Vec::new();
        let read = reader.read_to_end(&mut contents);
        assert_eq!(read.ok(), usize::try_from(reader.entry().file_size()).ok());
        rest = reader.finish().expect("what is packed can be read");
    }
}
