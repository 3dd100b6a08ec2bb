//! What a sandbox is told to become: arguments and environment of a program, as bytes.

mod parse;

use parse::HEAD;
pub use parse::{MAX, Order, parse};

/// Writes an order: the arguments, of which the first is the program's name, and the variables, `NAME=value` each.
/// Nothing if there is no argument, a NUL in a text, or more than [`MAX`] bytes.
pub fn write<'a>(
    arguments: impl IntoIterator<Item = &'a str>,
    variables: impl IntoIterator<Item = &'a str>,
) -> Option<Vec<u8>> {
    let mut bytes = vec![0; HEAD];
    let mut add = |texts: &mut dyn Iterator<Item = &'a str>| {
        let mut count = 0u32;
        for text in texts {
            bytes.extend_from_slice(text.as_bytes());
            bytes.push(0);
            count += 1;
        }
        count
    };
    let arguments = add(&mut arguments.into_iter());
    let variables = add(&mut variables.into_iter());
    bytes[..4].copy_from_slice(&arguments.to_le_bytes());
    bytes[4..HEAD].copy_from_slice(&variables.to_le_bytes());
    // (A NUL within a text makes the counts wrong.)
    parse(&bytes).is_some().then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn orders() {
        let bytes = write(["/function", "-v"], ["PORT=8080", "EMPTY="]).unwrap();
        let order = parse(&bytes).unwrap();
        assert_eq!((order.arguments, order.variables), (2, 2));
        assert_eq!(order.texts, b"/function\0-v\0PORT=8080\0EMPTY=\0");
        assert!(write(["/function"], []).is_some());
        for (arguments, variables) in [
            (&[][..], &["A=b"][..]),
            (&["a\0b"], &[]),
            (&["a"], &["A=\0"]),
        ] {
            let written = write(arguments.iter().copied(), variables.iter().copied());
            assert_eq!(written, None);
        }
        let long = "x".repeat(MAX - HEAD);
        assert!(write([&long[1..]], []).is_some());
        assert_eq!(write([&*long], []), None);
    }

    #[test]
    fn what_is_no_order() {
        let good = write(["a", "b"], ["c"]).unwrap();
        for cut in 0..good.len() {
            assert_eq!(parse(&good[..cut]), None, "{cut}");
        }
        for at in 0..8 {
            let mut other = good.clone();
            other[at] ^= 0x81;
            assert_eq!(parse(&other), None, "{at}");
        }
        let mut counts = [0; 16];
        counts[..8].fill(0xff);
        assert_eq!(parse(&counts), None);
    }

    proptest! {
        /// Whatever the bytes, what is read has as many texts as it says.
        #[test]
        fn counts_are_right(bytes in prop::collection::vec(0u8..4, 0..40)) {
            if let Some(order) = parse(&bytes) {
                let texts = order.texts.split_inclusive(|byte| *byte == 0);
                prop_assert_eq!(texts.count(), order.arguments + order.variables);
                prop_assert!(order.arguments > 0 && order.texts.ends_with(&[0]));
            }
        }
    }
}
