//! Which objects somebody asks for.

use setpoint_core::key::{GroupKind, Key, group_of_word};
use setpoint_core::native;
use setpoint_core::object::Object;
use setpoint_core::selector::{Selector, SelectorError};

use crate::kinds::Kinds;
use crate::views::Filter;

/// A [`Filter`] that was understood. State and plugin are not looked at here: they are properties of
/// rows, not of objects.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    filter: Filter,
    /// What `kind` means among the kinds that are served now; none: every kind.
    kinds: Option<Vec<GroupKind>>,
    labels: Selector,
}

impl Wanted {
    /// # Errors
    /// The label selector does not parse.
    pub(crate) fn of(filter: &Filter, kinds: &Kinds) -> Result<Self, SelectorError> {
        let labels = filter.labels.as_deref().map(Selector::parse).transpose()?.unwrap_or_default();
        let group = filter.group.as_deref().map(group_of_word);
        let named = |word: &str| -> Vec<GroupKind> {
            let found = kinds.named(word);
            let found = found.iter().map(|crd| GroupKind::new(&crd.group, &crd.kind));
            found.filter(|kind| group.is_none_or(|group| *kind.group == *group)).collect()
        };
        Ok(Self { kinds: filter.kind.as_deref().map(named), labels, filter: filter.clone() })
    }

    /// The kinds that `kind` and `group` mean; none: every kind.
    pub(crate) fn kinds(&self) -> Option<&[GroupKind]> {
        self.kinds.as_deref()
    }

    /// Whether objects of a kind are meant: what the host says of itself is shown to those who ask for it.
    pub(crate) fn asks_for(&self, group: &str, kind: &str) -> bool {
        self.kinds.is_some() || self.filter.group.is_some() || !native::is_shown(group, kind)
    }

    /// Whether one object is meant by its name.
    pub(crate) fn is_named(&self) -> bool {
        self.filter.name.is_some()
    }

    /// Whether an object of this key may be meant, whatever its labels are.
    pub(crate) fn key(&self, key: &Key) -> bool {
        let filter = &self.filter;
        filter.cluster.as_deref().is_none_or(|cluster| *key.cluster == *cluster)
            && filter.group.as_deref().is_none_or(|group| *key.group == *group_of_word(group))
            && self.kinds.as_ref().is_none_or(|kinds| kinds.contains(&key.group_kind()))
            && filter.namespace.as_deref().is_none_or(|namespace| key.namespace.as_deref() == Some(namespace))
            && filter.name.as_deref().is_none_or(|name| *key.name == *name)
    }

    /// Whether an object has the labels that are asked for; one that is gone has none.
    pub(crate) fn labels(&self, object: Option<&Object>) -> bool {
        self.labels.matches(object.map(Object::labels).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn wanted(filter: &Filter) -> Result<Wanted, SelectorError> {
        Wanted::of(filter, &Kinds::default())
    }

    #[test]
    fn labels_choose_among_objects_as_kubectl_does() -> Result<(), SelectorError> {
        let object = |labels: serde_json::Value| {
            Object::new(json!({"kind": "A", "metadata": {"name": "a", "labels": labels}}), None)
        };
        let filter = Filter { labels: Some("app=a,!old".into()), ..Filter::default() };
        let wanted = wanted(&filter)?;
        assert!(wanted.labels(Some(&object(json!({"app": "a"})))));
        assert!(!wanted.labels(Some(&object(json!({"app": "a", "old": ""})))));
        assert!(!wanted.labels(None));
        Ok(())
    }

    #[test]
    fn a_selector_that_does_not_parse_says_where() {
        let filter = Filter { labels: Some("app=a,tier on (b)".into()), ..Filter::default() };
        let text = wanted(&filter).map(|_| ()).map_err(|error| error.to_string());
        assert!(text.is_err_and(|text| text.contains("at character 12")));
    }

    #[test]
    fn a_word_that_is_no_kind_selects_nothing() -> Result<(), SelectorError> {
        let filter = Filter { kind: Some("nothing".into()), ..Filter::default() };
        let wanted = wanted(&filter)?;
        assert_eq!(wanted.kinds(), Some(&[][..]));
        assert!(!wanted.key(&Key::new("local", "", "ConfigMap", Some("default"), "a")));
        Ok(())
    }
}
