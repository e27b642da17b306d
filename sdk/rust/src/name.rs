//! Names and hashes that are the same at each call.

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::Key;

/// What a name may have at most: a DNS label.
const LONGEST: usize = 63;
/// Letters of hash in a name: 80 bits.
const HASH: usize = 16;

/// A name for a child: the prefix, a dash, and a hash of the owner's key and the parts (rule B10).
///
/// A DNS label of at most 63 letters whatever the prefix is: letters that may not be there become
/// dashes, and it is shortened. Other owner or other parts, other name; the same, the same name, in
/// every later version of this function too.
pub fn stable_name<S: AsRef<str>>(owner: &Key, prefix: &str, parts: impl IntoIterator<Item = S>) -> String {
    let mut hash = Sha256::new();
    // Each part with its length, so that ("ab", "c") and ("a", "bc") differ.
    let mut add = |part: &str| {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    };
    for part in [&owner.cluster, &owner.group, &owner.kind] {
        add(part);
    }
    add(owner.namespace.as_deref().unwrap_or_default());
    add(&owner.name);
    for part in parts {
        add(part.as_ref());
    }
    let prefix: String = prefix
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
        .take(LONGEST - HASH - 1)
        .collect();
    let prefix = prefix.trim_matches('-');
    // Some kinds, such as Service, want a letter at the beginning.
    let prefix = if prefix.is_empty() { "x" } else { prefix };
    format!("{prefix}-{}", letters(&hash.finalize()))
}

/// A hash of content, 16 lower-case letters and digits: for an annotation that shows or causes a
/// change. The same for equal JSON, whatever the order of keys in maps; the fields of a struct count
/// by name.
///
/// # Errors
/// If the value cannot be written as JSON, such as a map whose keys are no text.
pub fn content_hash<T: Serialize + ?Sized>(content: &T) -> Result<String, serde_json::Error> {
    // Through a `Value`, whose maps are sorted.
    let json = serde_json::to_value(content)?;
    Ok(letters(&Sha256::digest(json.to_string().as_bytes())))
}

/// The first 80 bits in base32 letters.
fn letters(digest: &[u8]) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let (mut bits, mut count) = (0u32, 0u32);
    let mut text = String::with_capacity(HASH);
    for byte in digest.iter().take(HASH * 5 / 8) {
        bits = (bits << 8) | u32::from(*byte);
        count += 8;
        while count >= 5 {
            count -= 5;
            text.push(char::from(ALPHABET[(bits >> count) as usize & 31]));
        }
        bits &= (1 << count) - 1;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn key(name: &str) -> Key {
        Key {
            cluster: "local".into(),
            group: "g".into(),
            kind: "K".into(),
            namespace: Some("n".into()),
            name: name.into(),
        }
    }

    #[test]
    fn a_name_depends_on_the_owner_and_each_part() {
        let names = [
            stable_name(&key("a"), "p", ["x", "y"]),
            stable_name(&key("b"), "p", ["x", "y"]),
            stable_name(&key("a"), "p", ["xy"]),
            stable_name(&key("a"), "p", ["x", "z"]),
            stable_name(&key("a"), "q", ["x", "y"]),
        ];
        let unique: std::collections::BTreeSet<&String> = names.iter().collect();
        assert_eq!(unique.len(), names.len(), "{names:?}");
        assert_eq!(names[0], stable_name(&key("a"), "p", ["x", "y"]));
    }

    #[test]
    fn a_name_never_changes_between_versions() {
        assert_eq!(stable_name(&key("a"), "p", ["x"]), "p-rfq5cmbvvsqax26r");
        assert_eq!(content_hash(&[1]).ok().as_deref(), Some("bafj5vbikwppmatg"));
    }

    #[test]
    fn a_name_is_a_dns_label_whatever_the_prefix() {
        let long = "x".repeat(200);
        for prefix in ["", "-", "My Server!", "ümlaut", "a.b/c", long.as_str()] {
            let name = stable_name(&key("a"), prefix, ["x"]);
            assert!(name.len() <= LONGEST && name.len() > HASH, "{name}");
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'), "{name}");
            assert!(name.starts_with(|c: char| c.is_ascii_alphanumeric()), "{name}");
        }
    }

    #[test]
    fn the_order_of_a_map_does_not_change_a_content_hash() -> Result<(), serde_json::Error> {
        let hashes = (0..20)
            .map(|_| content_hash(&(0..50).map(|n| (n.to_string(), n)).collect::<HashMap<_, _>>()))
            .collect::<Result<std::collections::BTreeSet<_>, _>>()?;
        assert_eq!(hashes.len(), 1);
        assert_ne!(content_hash(&1)?, content_hash(&2)?);
        Ok(())
    }
}
