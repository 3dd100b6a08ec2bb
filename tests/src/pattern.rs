//! Bytes that show whether some were lost, doubled or mixed up. The probe makes the same.

/// The first bytes of the pattern.
pub fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(byte).collect()
}

/// A sum over bytes that depends on their order: 64-bit FNV-1a, in hex.
pub fn sum(bytes: &[u8]) -> String {
    let mut sum = 0xcbf2_9ce4_8422_2325_u64;
    for &byte in bytes {
        sum = (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    format!("{sum:016x}")
}

fn byte(at: usize) -> u8 {
    (at ^ (at >> 8) ^ (at >> 16)) as u8
}
