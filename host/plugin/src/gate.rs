//! Whether a file can be a component at all, before anything of it is believed (rule D12): the
//! magic, the kind, and that every section that it announces is there.

use crate::error::PluginError;

const MAGIC: &[u8] = b"\0asm";
const COMPONENT: &[u8] = &[0x0d, 0x00, 0x01, 0x00];
const MODULE: &[u8] = &[0x01, 0x00, 0x00, 0x00];
const ELF: &[u8] = b"\x7fELF";

/// Looks at the frame of the file only; what is in the sections is the compiler's to judge.
pub(crate) fn check(bytes: &[u8]) -> Result<(), PluginError> {
    if bytes.is_empty() {
        return Err(PluginError::Empty);
    }
    if bytes.starts_with(ELF) {
        return Err(PluginError::Precompiled);
    }
    let head = &bytes[..bytes.len().min(8)];
    if !head.starts_with(MAGIC) {
        // A file of a few bytes may be the beginning of a real one.
        if head.len() < MAGIC.len() && MAGIC.starts_with(head) {
            return Err(truncated(0, 8, head.len()));
        }
        let begin = bytes.trim_ascii_start();
        return Err(if begin.starts_with(b"(component") || begin.starts_with(b"(module") || begin.starts_with(b";;") {
            PluginError::Text
        } else {
            PluginError::NotWasm(head.to_vec())
        });
    }
    match &head[MAGIC.len()..] {
        COMPONENT => sections(bytes),
        MODULE => Err(PluginError::CoreModule),
        short if short.len() < 4 => Err(truncated(0, 8, head.len())),
        other => Err(PluginError::Compile(format!("unknown version {other:02x?} of the binary format"))),
    }
}

fn sections(bytes: &[u8]) -> Result<(), PluginError> {
    let mut at = 8;
    while at < bytes.len() {
        let body = &bytes[at + 1..];
        let Some((length, digits)) = leb128(body) else {
            return Err(if body.len() < 5 {
                truncated(at, body.len() + 2, body.len() + 1)
            } else {
                PluginError::Compile(format!("the length of the section at byte {at} is not a number"))
            });
        };
        let rest = body.len() - digits;
        if length > rest {
            return Err(truncated(at, length, rest));
        }
        at += 1 + digits + length;
    }
    Ok(())
}

/// An unsigned 32-bit number, and how many bytes it takes.
fn leb128(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut value: u64 = 0;
    for (index, byte) in bytes.iter().take(5).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return u32::try_from(value).ok().map(|value| (value as usize, index + 1));
        }
    }
    None
}

fn truncated(offset: usize, expected: usize, found: usize) -> PluginError {
    PluginError::Truncated { offset, expected, found }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thing_that_is_no_component_has_its_own_text() {
        let text = |bytes: &[u8]| check(bytes).map_err(|error| error.to_string()).expect_err("refused");
        assert_eq!(text(b""), "the file is empty");
        assert!(text(b"#!/bin/sh\n").starts_with("this is not WebAssembly"));
        assert!(text(b"  (module)").starts_with("this is WebAssembly text"));
        assert!(text(b"\0asm\x01\0\0\0").starts_with("this is a core WebAssembly module"));
        assert!(text(b"\x7fELF\x02\x01\x01").starts_with("this is compiled code"));
        assert!(text(b"\0asm\x0e\0\x01\0").contains("unknown version"));
    }

    #[test]
    fn every_proper_beginning_of_a_component_is_cut_off() {
        // Two custom sections; the second has a length of two digits.
        let mut whole = b"\0asm\x0d\0\x01\0\x00\x05\x04name\x00\xc8\x01\x02ab".to_vec();
        whole.resize(8 + 7 + 3 + 200, 7);
        assert!(check(&whole).is_ok());
        for end in 1..whole.len() {
            let complete = [8, 15].contains(&end);
            match check(&whole[..end]) {
                Ok(()) => assert!(complete, "{end}"),
                Err(error) => assert!(!complete && matches!(error, PluginError::Truncated { .. }), "{end}: {error}"),
            }
        }
    }

    #[test]
    fn a_section_length_that_is_no_number_is_damage_and_not_a_cut() {
        let bytes = b"\0asm\x0d\0\x01\0\x00\xff\xff\xff\xff\xff\xff";
        assert!(matches!(check(bytes), Err(PluginError::Compile(_))));
    }
}
