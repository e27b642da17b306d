//! Names, times and identities that the embedded cluster gives out. All of it is a function of what
//! is passed in: the simulation plays a day with the same seed twice and gets the same objects.

use jiff::Timestamp;
pub use setpoint_core::effects::{FINALIZER, OWNER_LABEL};

/// The field manager of what files say.
pub const FILE_MANAGER: &str = "setpoint/file";
/// The field manager of what people do by the command line or the API.
pub const PERSON_MANAGER: &str = "setpoint/cli";

/// Milliseconds since 1970 as the API writes times: RFC 3339, UTC, whole seconds.
pub(crate) fn rfc3339(unix_ms: u64) -> String {
    let seconds = i64::try_from(unix_ms / 1000).unwrap_or(i64::MAX);
    Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX).to_string()
}

/// A source of uids in the form of version 4 UUIDs, from a seed.
#[derive(Clone, Debug)]
pub(crate) struct Uids {
    high: u64,
    low: u64,
}

impl Uids {
    pub(crate) fn new(seed: u128) -> Self {
        Self { high: (seed >> 64) as u64, low: seed as u64 }
    }

    pub(crate) fn next(&mut self) -> Box<str> {
        let random = (u128::from(step(&mut self.high)) << 64) | u128::from(step(&mut self.low));
        uuid::Builder::from_random_bytes(random.to_be_bytes()).into_uuid().to_string().into()
    }
}

/// SplitMix64: every state gives another number, so that one seed never gives a uid twice.
fn step(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Standard base64 with padding, as Secrets have it.
pub(crate) fn base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().fold(0u32, |group, byte| (group << 8) | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            if place <= chunk.len() {
                text.push(char::from(ALPHABET[(group >> (18 - 6 * place)) as usize & 63]));
            } else {
                text.push('=');
            }
        }
    }
    text
}

/// Whether a text is standard base64 with padding.
pub(crate) fn is_base64(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    text.len().is_multiple_of(4) && text.len() - body.len() <= 2 && body.bytes().all(|byte| ALPHABET.contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_the_api_writes_them() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(1_790_000_000_999), "2026-09-21T14:13:20Z");
    }

    #[test]
    fn one_seed_gives_the_same_uids_and_none_twice() {
        let (mut a, mut b) = (Uids::new(7), Uids::new(7));
        let first: Vec<_> = (0..100).map(|_| a.next()).collect();
        let second: Vec<_> = (0..100).map(|_| b.next()).collect();
        assert_eq!(first, second);
        assert_eq!(first.iter().collect::<std::collections::BTreeSet<_>>().len(), 100);
        assert_eq!(first[0].len(), 36);
        assert_eq!(&first[0][14..15], "4");
    }

    #[test]
    fn base64_is_the_standard_one() {
        for (plain, coded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64(plain.as_bytes()), coded);
            assert!(is_base64(coded), "{coded}");
        }
        assert!(!is_base64("Zg=") && !is_base64("a b=") && !is_base64("===="));
    }
}
