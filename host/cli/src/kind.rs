//! Which kind a word means: kind, plural, singular or short name in any case, with or without
//! `.GROUP`.

use setpoint_core::GroupKind;
use setpoint_runtime::config::nearest;
use setpoint_runtime::views::KindRow;

use crate::failure::Failure;

/// `Kind.group`
pub(crate) fn display(kind: &KindRow) -> String {
    GroupKind::new(&kind.group, &kind.kind).to_string()
}

fn is_called(kind: &KindRow, word: &str) -> bool {
    let names = [&kind.kind, &kind.plural, &kind.singular].into_iter().chain(&kind.short_names);
    let group = kind.group.to_lowercase();
    names.map(|name| name.to_lowercase()).any(|name| {
        let rest = word.strip_prefix(&name);
        name == word || (!group.is_empty() && rest.and_then(|rest| rest.strip_prefix('.')) == Some(&group))
    })
}

/// The one kind that a word means.
///
/// # Errors
/// None or several: which were near, or which they are.
pub(crate) fn resolve<'k>(kinds: &'k [KindRow], word: &str) -> Result<&'k KindRow, Failure> {
    let lower = word.to_lowercase();
    let found: Vec<&KindRow> = kinds.iter().filter(|kind| is_called(kind, &lower)).collect();
    match found.as_slice() {
        [kind] => Ok(kind),
        [] => Err(Failure::new(format!("the kind {word:?} is not known")).hint(near(kinds, word))),
        several => {
            let names: Vec<String> = several.iter().map(|kind| display(kind)).collect();
            Err(Failure::new(format!("{word:?} may be {}", names.join(" or ")))
                .hint("write one of them, with its group"))
        }
    }
}

/// The kind and the name that `KIND`, `KIND NAME` or `KIND/NAME` mean.
///
/// # Errors
/// It means two names, or none where a slash announces one.
pub(crate) fn split<'a>(word: &'a str, name: Option<&'a str>) -> Result<(&'a str, Option<&'a str>), Failure> {
    match (word.split_once('/'), name) {
        (None, name) => Ok((word, name)),
        (Some((kind, name)), None) if !kind.is_empty() && !name.is_empty() && !name.contains('/') => {
            Ok((kind, Some(name)))
        }
        (Some(_), None) => Err(Failure::usage(format!("{word:?} is not KIND/NAME")).hint("such as configmap/web")),
        (Some(_), Some(name)) => Err(Failure::usage(format!("{word:?} has a name, and {name:?} is another"))
            .hint("write KIND NAME or KIND/NAME")),
    }
}

/// The same where a name is needed.
pub(crate) fn split_object<'a>(word: &'a str, name: Option<&'a str>) -> Result<(&'a str, &'a str), Failure> {
    match split(word, name)? {
        (kind, Some(name)) => Ok((kind, name)),
        (kind, None) => Err(Failure::usage("the name of the object is missing")
            .hint(format!("write {kind} NAME or {kind}/NAME; `setpoint get {kind}` shows the names"))),
    }
}

fn near(kinds: &[KindRow], word: &str) -> String {
    let known: Vec<String> = kinds.iter().map(display).collect();
    let known = if known.is_empty() { "none are known".to_owned() } else { format!("known are {}", known.join(", ")) };
    let words: Vec<&str> = kinds
        .iter()
        .flat_map(|kind| [&kind.kind, &kind.plural, &kind.singular].into_iter().chain(&kind.short_names))
        .map(String::as_str)
        .collect();
    // Every short word is near to every short name.
    match nearest(word, &words).filter(|_| word.chars().count() > 2) {
        Some(meant) => format!("did you mean {meant}? {known}"),
        None => known,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn kind(group: &str, kind: &str, plural: &str, short: &[&str]) -> KindRow {
        KindRow {
            group: group.into(),
            version: "v1alpha1".into(),
            kind: kind.into(),
            plural: plural.into(),
            singular: kind.to_lowercase(),
            short_names: short.iter().map(|name| (*name).to_owned()).collect(),
            namespaced: true,
            columns: Vec::new(),
            plugin: Some(plural.into()),
            disabled: false,
            cluster: "local".into(),
        }
    }

    fn kinds() -> Vec<KindRow> {
        vec![
            kind("", "ConfigMap", "configmaps", &[]),
            kind("examples.setpoint.dev", "ConfigBundle", "configbundles", &["cb"]),
            kind("a.io", "Backend", "backends", &[]),
            kind("b.io", "Backend", "backends", &[]),
        ]
    }

    #[test]
    fn a_kind_is_found_by_each_of_its_names_in_any_case() {
        let kinds = kinds();
        for word in [
            "ConfigBundle",
            "configbundles",
            "CONFIGBUNDLE",
            "cb",
            "cb.examples.setpoint.dev",
            "ConfigBundle.Examples.setpoint.dev",
        ] {
            assert_eq!(resolve(&kinds, word).map(|kind| kind.kind.as_str()), Ok("ConfigBundle"), "{word}");
        }
        assert_eq!(resolve(&kinds, "backend.b.io").map(|kind| kind.group.as_str()), Ok("b.io"));
    }

    #[test]
    fn an_object_is_named_by_two_words_or_by_one_with_a_slash() {
        assert_eq!(split("cb", None), Ok(("cb", None)));
        assert_eq!(split("cb", Some("a")), Ok(("cb", Some("a"))));
        assert_eq!(split("cb.a.io/web", None), Ok(("cb.a.io", Some("web"))));
        assert_eq!(split_object("cb/web", None), Ok(("cb", "web")));
        for (word, name) in [("cb/", None), ("/a", None), ("a/b/c", None), ("cb/a", Some("b"))] {
            assert_eq!(split(word, name).map_err(|failure| failure.exit), Err(2), "{word}");
        }
        let missing = split_object("cb", None).map_err(|failure| failure.to_string());
        assert!(missing.is_err_and(|text| text.contains("write cb NAME or cb/NAME")));
    }

    #[test]
    fn a_word_that_means_several_kinds_is_an_error_that_names_them() {
        assert_eq!(
            resolve(&kinds(), "backend").map_err(|failure| failure.to_string()).map(display),
            Err("error: \"backend\" may be Backend.a.io or Backend.b.io\nhint: write one of them, with its group"
                .into())
        );
    }

    #[test]
    fn an_unknown_kind_is_an_error_with_the_nearest_and_the_known_ones() {
        let text =
            |kinds: &[KindRow], word: &str| resolve(kinds, word).map(display).map_err(|failure| failure.to_string());
        assert_eq!(
            text(&kinds(), "configbundel"),
            Err("error: the kind \"configbundel\" is not known\n\
                 hint: did you mean ConfigBundle? known are ConfigMap, ConfigBundle.examples.setpoint.dev, Backend.a.io, Backend.b.io".into())
        );
        assert!(text(&kinds(), "cm").is_err_and(|text| !text.contains("did you mean")));
        assert_eq!(text(&[], "cb"), Err("error: the kind \"cb\" is not known\nhint: none are known".into()));
    }
}
