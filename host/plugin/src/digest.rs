//! What identifies a plugin.

use std::fmt;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

/// The SHA-256 of a component: 64 lower-case hexadecimal digits. Plugins are identified by it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(Arc<str>);

impl Digest {
    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(hex(&Sha256::digest(bytes)).into())
    }

    /// Reads 64 hexadecimal digits, with or without `sha256:` before them. None if it is not that.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix("sha256:").unwrap_or(text);
        let right = digits.len() == 64 && digits.bytes().all(|b| b.is_ascii_hexdigit());
        right.then(|| Self(digits.to_ascii_lowercase().into()))
    }

    /// The 64 digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first 12 digits, for people.
    pub fn short(&self) -> &str {
        &self.0[..12]
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.0)
    }
}

/// Lower-case hexadecimal digits of bytes.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_the_sha256_in_hexadecimal() {
        let digest = Digest::of(b"abc");
        assert_eq!(digest.as_str(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(digest.short(), "ba7816bf8f01");
    }

    #[test]
    fn a_digest_is_read_in_the_ways_people_write_it() {
        let digest = Digest::of(b"abc");
        assert_eq!(Digest::parse(&format!("sha256:{digest}")), Some(digest.clone()));
        assert_eq!(Digest::parse(&digest.as_str().to_uppercase()), Some(digest));
        assert_eq!(Digest::parse("sha256:ba78"), None);
        assert_eq!(Digest::parse(&"g".repeat(64)), None);
    }
}
