//! Who may have a name and a kind: two plugins never have one, and what is given up by one is free
//! for another, in whatever order the files come.

use setpoint_core::contract::Description;
use setpoint_core::key::GroupKind;

/// A plugin that runs, as far as others have to know.
pub(super) struct Claim<'a> {
    pub(super) file: &'a str,
    pub(super) name: &'a str,
    pub(super) kinds: Vec<GroupKind>,
    /// Its file is not there at present.
    pub(super) gone: bool,
}

/// The kinds that a plugin reconciles.
pub(super) fn kinds(description: &Description) -> Vec<GroupKind> {
    description.kinds.iter().map(|owned| owned.kind.group_kind()).collect()
}

/// Whether a plugin in `file` may have this name and these kinds beside the others. Answers the file
/// that it was in until now, if it was renamed.
///
/// # Errors
/// Who has it, and what to do.
pub(super) fn place(
    file: &str,
    name: &str,
    kinds: &[GroupKind],
    others: &[Claim<'_>],
) -> Result<Option<String>, String> {
    let mut moved = None;
    for other in others.iter().filter(|other| other.file != file) {
        if other.name == name {
            if !other.gone {
                return Err(format!("the plugin {name} runs already, from {}; remove one of them", other.file));
            }
            moved = Some(other.file.to_owned());
        } else if let Some(kind) = kinds.iter().find(|kind| other.kinds.contains(kind)) {
            return Err(format!(
                "the kind {kind} is reconciled by the plugin {} from {}; remove one of them, or replace that one by a \
                 version without the kind: this one starts by itself then",
                other.name, other.file
            ));
        }
    }
    Ok(moved)
}

/// Whether others may have what a plugin had and has no more.
pub(super) fn frees(before: &[GroupKind], after: &[GroupKind]) -> bool {
    before.iter().any(|kind| !after.contains(kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(names: &[&str]) -> Vec<GroupKind> {
        names.iter().map(|name| GroupKind::new("g", name)).collect()
    }

    fn claim<'a>(file: &'a str, name: &'a str, names: &[&str]) -> Claim<'a> {
        Claim { file, name, kinds: kinds(names), gone: false }
    }

    #[test]
    fn a_kind_that_is_taken_is_refused_and_is_free_once_its_plugin_gives_it_up() {
        let before = [claim("a.wasm", "a", &["K", "L"]), claim("b.wasm", "b", &["M"])];
        let refused = place("b.wasm", "b", &kinds(&["M", "K"]), &before).expect_err("taken");
        assert!(refused.starts_with("the kind K.g is reconciled by the plugin a from a.wasm"), "{refused}");
        assert_eq!(place("a.wasm", "a", &kinds(&["L"]), &before), Ok(None));
        assert!(frees(&kinds(&["K", "L"]), &kinds(&["L"])) && !frees(&kinds(&["L"]), &kinds(&["K", "L"])));
        let after = [claim("a.wasm", "a", &["L"]), claim("b.wasm", "b", &["M"])];
        assert_eq!(place("b.wasm", "b", &kinds(&["M", "K"]), &after), Ok(None));
        assert_eq!(place("c.wasm", "c", &kinds(&["K"]), &after), Ok(None), "a plugin that is new may have it as well");
    }

    #[test]
    fn a_file_that_is_renamed_is_the_same_plugin_and_a_copy_is_not() {
        let mut running = [claim("a.wasm", "a", &["K"])];
        let refused = place("copy.wasm", "a", &kinds(&["K"]), &running);
        assert_eq!(refused, Err("the plugin a runs already, from a.wasm; remove one of them".into()));
        running[0].gone = true;
        assert_eq!(place("copy.wasm", "a", &kinds(&["K"]), &running), Ok(Some("a.wasm".into())));
    }
}
