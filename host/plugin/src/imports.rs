//! What a component may import, and which version of the contract it speaks.

use crate::error::PluginError;

/// The versions of the contract that this host can run.
pub const KNOWN_VERSIONS: &[&str] = &["0.1.0"];

/// The interface by whose version the contract's version is told.
const GUEST: &str = "setpoint:reconciler/guest@";

/// What the language's runtime needs and nothing more, in any version 0.2.
const WASI: &[&str] = &[
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stderr",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stderr",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/wall-clock",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
    "wasi:random/random",
];

/// What of the contract a plugin imports.
const CONTRACT: &[&str] = &["setpoint:reconciler/log", "setpoint:reconciler/objects", "setpoint:reconciler/types"];

/// The version of the contract that a component with these exports speaks.
pub(crate) fn version<'a>(exports: impl Iterator<Item = &'a str> + Clone) -> Result<&'static str, PluginError> {
    let Some(found) = exports.clone().find_map(|name| name.strip_prefix(GUEST)) else {
        return Err(PluginError::OtherWorld { exports: exports.map(str::to_owned).collect() });
    };
    match KNOWN_VERSIONS.iter().find(|version| **version == found) {
        Some(version) => Ok(version),
        None => Err(PluginError::UnknownVersion { found: found.to_owned() }),
    }
}

/// Refuses everything that plugins do not have, by name.
pub(crate) fn check<'a>(imports: impl Iterator<Item = &'a str>, contract: &str) -> Result<(), PluginError> {
    let names: Vec<String> = imports.filter(|name| !allowed(name, contract)).map(str::to_owned).collect();
    if names.is_empty() { Ok(()) } else { Err(PluginError::Imports { names }) }
}

fn allowed(name: &str, contract: &str) -> bool {
    let (interface, version) = name.split_once('@').unwrap_or((name, ""));
    (WASI.contains(&interface) && version.starts_with("0.2.")) || (CONTRACT.contains(&interface) && version == contract)
}

/// What to do about refused imports.
pub(crate) fn hints(names: &[String]) -> String {
    const HINTS: &[(&str, &str)] = &[
        (
            "wasi:filesystem",
            "there are no files: remove std::fs and dependencies that use it, and read a ConfigMap or Secret instead",
        ),
        ("wasi:sockets", "there are no sockets: remove std::net and dependencies that use it"),
        ("wasi:http", "this host gives plugins no network"),
        ("wasi:", "only wasi 0.2 io, cli, clocks and random are there"),
        ("setpoint:", "all parts of the contract must have one version"),
        ("", "plugins can only import setpoint:reconciler and parts of wasi 0.2"),
    ];
    let mut said = Vec::new();
    for name in names {
        if let Some((_, hint)) = HINTS.iter().find(|(prefix, _)| name.starts_with(prefix))
            && !said.contains(hint)
        {
            said.push(*hint);
        }
    }
    format!(" ({})", said.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_that_of_the_guest_interface() {
        let found = version(["wasi:cli/run@0.2.6", "setpoint:reconciler/guest@0.1.0"].into_iter());
        assert_eq!(found.ok(), Some("0.1.0"));
        let unknown = version(["setpoint:reconciler/guest@0.7.0"].into_iter()).expect_err("unknown").to_string();
        assert!(unknown.contains("0.7.0") && unknown.contains("knows 0.1.0"), "{unknown}");
        let other = version(["wasi:cli/run@0.2.6"].into_iter()).expect_err("other world").to_string();
        assert!(other.contains("exports wasi:cli/run@0.2.6") && other.contains("cdylib"), "{other}");
    }

    #[test]
    fn files_sockets_and_unknown_packages_are_refused_by_name_with_a_hint() {
        let asked = [
            "wasi:io/poll@0.2.6",
            "setpoint:reconciler/objects@0.1.0",
            "wasi:filesystem/types@0.2.6",
            "wasi:filesystem/preopens@0.2.6",
            "wasi:clocks/wall-clock@0.3.0",
            "acme:vault/secrets",
        ];
        let error = check(asked.into_iter(), "0.1.0").expect_err("refused");
        let PluginError::Imports { names } = &error else { panic!("{error}") };
        assert_eq!(names, &asked[2..].to_vec());
        let text = error.to_string();
        assert!(text.contains("there are no files") && text.contains("only wasi 0.2"), "{text}");
        assert_eq!(text.matches("there are no files").count(), 1);
        assert!(check(asked[..2].iter().copied(), "0.1.0").is_ok());
        assert!(check(asked[..2].iter().copied(), "0.2.0").is_err());
    }
}
