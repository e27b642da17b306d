//! Components as bytes: damaged ones, and others made of those that are built without building them.

use std::fs;

use crate::built;

/// How the mark of a variant begins, and how long its name may be.
const MARK: &str = "setpoint-hostile-variant:";
const NAME: usize = 31;

/// The bytes of a built component; for its name see [`built::guest`].
///
/// # Panics
/// It is not there, or cannot be read.
pub fn bytes(plugin: &str) -> Vec<u8> {
    let file = built::guest(plugin);
    fs::read(&file).unwrap_or_else(|error| panic!("{} cannot be read: {error}", file.display()))
}

/// The same component with another digest: with a custom section more, which nobody reads.
#[must_use]
pub fn with_other_digest(mut bytes: Vec<u8>, number: u8) -> Vec<u8> {
    // Section 0 of 6 bytes: the length of its name, its name, its content.
    bytes.extend([0, 6, 4, b't', b'e', b's', b't', number]);
    bytes
}

/// A variant of the test double, such as `panics`: `plugins/hostile/src/variant.rs` has all of them.
///
/// # Panics
/// The component has no mark that could be written over.
pub fn variant(name: &str) -> Vec<u8> {
    let mut bytes = bytes("hostile");
    let places = places(&bytes, MARK);
    let &[place] = places.as_slice() else { panic!("the mark of variants is there {} times", places.len()) };
    assert!(name.len() <= NAME, "{name} is too long");
    let at = place + MARK.len();
    bytes[at..at + NAME].fill(b' ');
    bytes[at..at + name.len()].copy_from_slice(name.as_bytes());
    bytes
}

/// With one text in the place of another of the same length, wherever it is.
///
/// # Panics
/// It is nowhere, or the lengths differ.
#[must_use]
pub fn patched(mut bytes: Vec<u8>, from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len(), "{from} and {to} have different lengths");
    let places = places(&bytes, from);
    assert!(!places.is_empty(), "{from} is nowhere in the component");
    for at in places {
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
    }
    bytes
}

fn places(bytes: &[u8], text: &str) -> Vec<usize> {
    let found = bytes.windows(text.len()).enumerate().filter(|(_, window)| *window == text.as_bytes());
    found.map(|(at, _)| at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_replaced_wherever_it_is() {
        assert_eq!(patched(b"a@1 b@1".to_vec(), "@1", "@9"), b"a@9 b@9");
    }

    #[test]
    fn another_digest_takes_one_section_more() {
        let other = with_other_digest(b"\0asm".to_vec(), 7);
        assert_eq!(&other[4..], b"\0\x06\x04test\x07");
    }
}
