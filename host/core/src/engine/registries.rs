//! Views of kinds for those who only look. They are told of what every reader is told of, at the same time.

use super::Engine;
use crate::key::{Name, Source};
use crate::registry::{Item, Registry, Standing};

impl Engine {
    /// Somebody looks at a kind of a cluster from now on. The registry stays until the engine ends, so that its
    /// versions are those of all who ever look.
    pub fn open_registry(&mut self, source: &Source) {
        let cache = &self.cache;
        let known = || Registry::of(cache.list(source).map(|(id, object)| (cache.keys().key(id), object)));
        self.registries.open(source, known);
    }

    /// How a registry stands, as a whole or in one namespace; none if it is not open.
    pub fn registry_standing(&self, source: &Source, namespace: Option<&Name>) -> Option<Standing> {
        let registry = self.registries.get(source)?;
        Some(Standing { version: registry.version(namespace), state: self.cache.list_state(source, namespace) })
    }

    /// What is in a registry, in order of namespace and name; nothing if it is not open.
    pub fn registry_items(&self, source: &Source, namespace: Option<&Name>) -> Vec<Item> {
        self.registries.get(source).map(|registry| registry.items(namespace).cloned().collect()).unwrap_or_default()
    }

    /// The registries whose content moved, or of whose source something else is known, since this was asked last.
    pub fn moved_registries(&mut self) -> Vec<Source> {
        self.registries.take_moved()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::cache::SourceState;
    use crate::engine::{ClusterFacts, Options, Told};
    use crate::key::Key;
    use crate::object::Object;

    fn engine() -> Engine {
        let mut engine = Engine::new(Options::default(), Arc::new(()));
        engine.add_cluster(0, &"local".into(), ClusterFacts::of("local"));
        engine
    }

    fn source() -> Source {
        Source::new("local", "g", "K")
    }

    fn key(name: &str) -> Key {
        Key::new("local", "g", "K", Some("a"), name)
    }

    fn object(name: &str, version: u64, data: &str) -> Arc<Object> {
        let metadata = json!({"namespace": "a", "name": name, "resourceVersion": version.to_string()});
        Arc::new(Object::new(json!({"apiVersion": "g/v1", "kind": "K", "data": data, "metadata": metadata}), None))
    }

    #[test]
    fn a_registry_is_filled_with_what_is_known_and_told_of_what_comes() {
        let mut engine = engine();
        engine.observed(0, &key("x"), Some(object("x", 1, "one")));
        assert_eq!((engine.registry_standing(&source(), None), engine.moved_registries()), (None, Vec::new()));
        engine.open_registry(&source());
        assert_eq!(engine.registry_items(&source(), None).len(), 1);
        assert!(engine.moved_registries().is_empty(), "who opens it sees what is there");

        engine.observed(1, &key("y"), Some(object("y", 2, "two")));
        engine.observed(2, &key("x"), Some(object("x", 3, "one")));
        assert_eq!((engine.moved_registries(), engine.moved_registries()), (vec![source()], Vec::new()));
        let standing = engine.registry_standing(&source(), Some(&"a".into())).expect("it is open");
        assert_eq!(standing.version, 2);
        engine.observed(3, &key("x"), Some(object("x", 4, "one")));
        assert!(engine.moved_registries().is_empty(), "a version is no content");
        engine.observed(4, &Key::new("local", "g", "Other", Some("a"), "x"), Some(object("x", 5, "other")));
        assert!(engine.moved_registries().is_empty(), "nobody looks at that kind");
    }

    #[test]
    fn what_is_known_of_the_source_is_told_and_takes_nothing_away() {
        let mut engine = engine();
        engine.open_registry(&source());
        let state = |engine: &Engine| engine.registry_standing(&source(), None).map(|standing| standing.state);
        assert!(matches!(state(&engine), Some(SourceState::Unknown(_))), "nobody has heard of the kind");
        engine.source_syncing(&source());
        assert_eq!((engine.moved_registries(), state(&engine)), (vec![source()], Some(SourceState::Syncing)));
        engine.observed(0, &key("x"), Some(object("x", 1, "one")));
        engine.source_synced(1, &source());
        assert_eq!((engine.moved_registries(), state(&engine)), (vec![source()], Some(SourceState::Synced)));
        engine.told(2, &source(), &crate::coverage::Scope::All, Told::Unknown { reason: "away".into() });
        assert_eq!(
            (engine.moved_registries(), state(&engine)),
            (vec![source()], Some(SourceState::Unknown("away".into())))
        );
        assert_eq!(engine.registry_items(&source(), None).len(), 1);
    }
}
