//! Names as Kubernetes has them.

/// The plural as generators of CRDs guess it.
pub(crate) fn plural(kind: &str) -> String {
    let name = kind.to_lowercase();
    let after_vowel = |name: &str| name.chars().rev().nth(1).is_some_and(|c| "aeiou".contains(c));
    if ["s", "x", "z", "ch", "sh"].iter().any(|end| name.ends_with(end)) {
        format!("{name}es")
    } else if name.ends_with('y') && !after_vowel(&name) {
        format!("{}ies", &name[..name.len() - 1])
    } else {
        format!("{name}s")
    }
}

/// Whether a text is a DNS label in small letters.
pub(crate) fn is_dns_label(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !text.is_empty() && text.len() <= 63 && text.chars().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plurals_are_those_of_english() {
        let plurals: Vec<String> = ["Redis", "Box", "Policy", "Gateway", "Patch", "Zone"].map(plural).into();
        assert_eq!(plurals, ["redises", "boxes", "policies", "gateways", "patches", "zones"]);
    }

    #[test]
    fn labels_are_those_of_dns() {
        assert!(["a", "setpoint-system", "0a"].into_iter().all(is_dns_label));
        assert!(!["", "-a", "a-", "A", "a.b", "a_b"].into_iter().any(is_dns_label));
        assert!(!is_dns_label(&"a".repeat(64)));
    }
}
