//! `setpoint plugin new`: the skeleton of a plugin.

use std::path::{Path, PathBuf};

use super::embedded::TEMPLATE;
use super::sdk;
use crate::args::NewArgs;
use crate::failure::Failure;
use crate::names::{is_dns_label, plural};
use crate::output::print;

const DEFAULT_GROUP: &str = "examples.setpoint.dev";
const DEFAULT_VERSION: &str = "v1alpha1";
/// Files of the template end in this, so that nobody takes them for code.
const SUFFIX: &str = ".tmpl";
/// Names that the skeleton uses itself: a kind of that name would not compile.
const TAKEN: &[&str] = &[
    "Child",
    "ConfigMap",
    "Context",
    "Describe",
    "Deserialize",
    "Error",
    "JsonSchema",
    "Kind",
    "NoConfig",
    "Option",
    "Outcome",
    "Reconciler",
    "Result",
    "Self",
    "Serialize",
    "String",
];

/// What the plugin reconciles, and what it is called.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Names {
    crate_name: String,
    group: String,
    version: String,
    kind: String,
    plural: String,
}

/// Writes the skeleton and says what to do next.
pub(super) fn new(args: &NewArgs) -> Result<(), Failure> {
    let names = names(&args.name, args.kind.as_deref())?;
    let dir = args.dir.clone().unwrap_or_else(|| PathBuf::from(&names.crate_name));
    check_empty(&dir)?;
    let sdk = sdk::directory(args.sdk.as_deref())?;
    scaffold(&dir, &names, &sdk)?;
    print(&format!(
        "{}: a plugin that reconciles {}.{}/{}\n\nnext:\n  cd {}\n  cargo test\n  setpoint plugin build\n",
        dir.display(),
        names.kind,
        names.group,
        names.version,
        dir.display()
    ))
}

fn names(name: &str, kind: Option<&str>) -> Result<Names, Failure> {
    if !is_label(name) {
        return Err(Failure::usage(format!("the name {name:?} is no DNS label"))
            .hint("write it as redis-cluster: small letters, digits and dashes, a letter first, at most 63"));
    }
    let (group, version, kind) = match kind {
        None => (DEFAULT_GROUP.to_owned(), DEFAULT_VERSION.to_owned(), camel_case(name)),
        Some(text) => parse_kind(text)?,
    };
    if TAKEN.contains(&kind.as_str()) {
        return Err(Failure::usage(format!("the kind {kind} has a name that the SDK or Rust uses"))
            .hint("give it another one with --kind GROUP/VERSION/KIND"));
    }
    Ok(Names { crate_name: name.to_owned(), group, version, plural: plural(&kind), kind })
}

fn parse_kind(text: &str) -> Result<(String, String, String), Failure> {
    let wrong = |problem: &str| {
        Failure::usage(format!("--kind {text:?}: {problem}"))
            .hint(format!("write it as {DEFAULT_GROUP}/{DEFAULT_VERSION}/RedisCluster"))
    };
    let parts: Vec<&str> = text.split('/').collect();
    let [group, version, kind] = parts[..] else { return Err(wrong("GROUP/VERSION/KIND expected")) };
    if group.split('.').count() < 2 || !group.split('.').all(is_dns_label) {
        return Err(wrong("the group is no DNS name with a dot"));
    }
    if !is_version(version) {
        return Err(wrong("the version is not like v1, v1beta1 or v1alpha1"));
    }
    let begins_well = kind.starts_with(|c: char| c.is_ascii_uppercase());
    if !begins_well || kind.len() > 63 || !kind.chars().all(|c| c.is_ascii_alphanumeric()) {
        return Err(wrong("the kind is not in CamelCase"));
    }
    Ok((group.to_owned(), version.to_owned(), kind.to_owned()))
}

/// A DNS label that is a crate's name as well.
fn is_label(text: &str) -> bool {
    is_dns_label(text) && text.starts_with(|c: char| c.is_ascii_lowercase())
}

fn is_version(text: &str) -> bool {
    let Some(rest) = text.strip_prefix('v') else { return false };
    let number = |text: &str| !text.is_empty() && !text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit());
    match rest.split_once("alpha").or_else(|| rest.split_once("beta")) {
        Some((major, minor)) => number(major) && number(minor),
        None => number(rest),
    }
}

fn camel_case(name: &str) -> String {
    let title = |part: &str| {
        let mut chars = part.chars();
        chars.next().map_or_else(String::new, |first| first.to_ascii_uppercase().to_string() + chars.as_str())
    };
    name.split('-').map(title).collect()
}

/// Nothing is ever overwritten.
fn check_empty(dir: &Path) -> Result<(), Failure> {
    let mut entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Failure::io(dir, &error)),
    };
    if entries.next().is_none() {
        return Ok(());
    }
    Err(Failure::new(format!("{}: there are files already", dir.display()))
        .hint("give another directory with --dir DIR"))
}

fn scaffold(dir: &Path, names: &Names, sdk: &Path) -> Result<(), Failure> {
    // Within a TOML string.
    let sdk = sdk.display().to_string().replace('\\', "\\\\").replace('"', "\\\"");
    let values = [
        ("{{crate}}", names.crate_name.as_str()),
        ("{{kind}}", &names.kind),
        ("{{group}}", &names.group),
        ("{{version}}", &names.version),
        ("{{plural}}", &names.plural),
        ("{{sdk_path}}", &sdk),
    ];
    for (path, content) in TEMPLATE {
        let file = dir.join(path.strip_suffix(SUFFIX).unwrap_or(path));
        let mut text = String::from_utf8_lossy(content).into_owned();
        for (placeholder, value) in values {
            text = text.replace(placeholder, value);
        }
        sdk::write(&file, text.as_bytes()).map_err(|error| Failure::io(&file, &error))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_from_the_name_of_the_plugin() {
        let expected = Names {
            crate_name: "redis-cluster".into(),
            group: "examples.setpoint.dev".into(),
            version: "v1alpha1".into(),
            kind: "RedisCluster".into(),
            plural: "redisclusters".into(),
        };
        assert_eq!(names("redis-cluster", None), Ok(expected.clone()));
        let other = Names {
            group: "a.io".into(),
            version: "v1".into(),
            kind: "Policy".into(),
            plural: "policies".into(),
            ..expected
        };
        assert_eq!(names("redis-cluster", Some("a.io/v1/Policy")), Ok(other));
    }

    #[test]
    fn wrong_names_are_wrong_usage_and_say_how_to_write_them() {
        let said = |name: &str, kind: Option<&str>| {
            names(name, kind).map(|_| ()).map_err(|failure| (failure.to_string(), failure.exit))
        };
        assert_eq!(
            said("Redis_Cluster", None),
            Err(("error: the name \"Redis_Cluster\" is no DNS label\nhint: write it as redis-cluster: small letters, digits and dashes, a letter first, at most 63".into(), 2))
        );
        assert_eq!(
            said("redis", Some("a.io/Redis")),
            Err(("error: --kind \"a.io/Redis\": GROUP/VERSION/KIND expected\nhint: write it as examples.setpoint.dev/v1alpha1/RedisCluster".into(), 2))
        );
        for (name, kind) in [
            ("error", None),
            ("1a", None),
            ("-a", None),
            ("a", Some("io/v1/A")),
            ("a", Some("a.io/1/A")),
            ("a", Some("a.io/v0/A")),
            ("a", Some("a.io/v1beta/A")),
            ("a", Some("a.io/v1/a")),
            ("a", Some("a.io/v1/A-b")),
        ] {
            assert!(said(name, kind).is_err_and(|(_, exit)| exit == 2), "{name} {kind:?}");
        }
    }

    #[test]
    fn the_skeleton_is_complete_and_no_placeholder_is_left() -> Result<(), Box<dyn std::error::Error>> {
        let parent = tempfile::tempdir()?;
        let dir = parent.path().join("redis-cluster");
        check_empty(&dir)?;
        scaffold(&dir, &names("redis-cluster", None)?, Path::new("/sdk"))?;
        let read = |name: &str| std::fs::read_to_string(dir.join(name));
        assert!(read("Cargo.toml")?.contains("setpoint-sdk = { path = \"/sdk\" }"));
        assert!(read("Cargo.toml")?.contains("name = \"redis-cluster\""));
        assert!(read("src/lib.rs")?.contains("struct RedisClusterSpec"));
        assert!(read("example.yaml")?.contains("kind: RedisCluster"));
        assert!(read("tests/scenarios/default.yaml")?.contains("kind: RedisCluster"));
        assert_eq!(read(".gitignore")?, "/target\n");
        for (path, _) in TEMPLATE {
            let text = read(path.strip_suffix(SUFFIX).ok_or("a file of the template without its suffix")?)?;
            assert!(!text.contains("{{") || path.ends_with(".rs.tmpl"), "{path}: {text}");
            for word in ["{{crate}}", "{{kind}}", "{{group}}", "{{version}}", "{{plural}}", "{{sdk_path}}"] {
                assert!(!text.contains(word), "{path}: {word}");
            }
        }
        assert!(check_empty(&dir).is_err_and(|failure| failure.message.ends_with("there are files already")));
        Ok(())
    }
}
