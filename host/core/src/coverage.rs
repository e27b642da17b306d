//! Which objects of a kind are watched, and what that says of those that are not there (rules A4, A8).
//!
//! A cluster may show a kind through several reflectors: all of it, one namespace, one object, or only what
//! carries an owner mark. An object that none of them would show is unknown, never absent.

use std::collections::BTreeMap;

use crate::Time;
use crate::cache::SourceState;
use crate::effects::OWNER_LABEL;
use crate::key::{Key, Name};
use crate::object::Object;

/// What one reflector shows of a kind.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Scope {
    /// All objects.
    All,
    /// Those of one namespace.
    Namespace(Name),
    /// One object, by namespace and name.
    Object(Option<Name>, Name),
    /// Those with an owner mark, whoever set it, in one namespace or in all: what children need. It proves
    /// nothing of objects without one.
    Owned(Option<Name>),
}

impl Scope {
    /// Whether a reflector of this scope shows the object of this key, were it as `object`.
    pub fn shows(&self, key: &Key, object: Option<&Object>) -> bool {
        match self {
            Scope::All => true,
            Scope::Namespace(namespace) => key.namespace.as_ref() == Some(namespace),
            Scope::Object(namespace, name) => key.namespace == *namespace && key.name == *name,
            Scope::Owned(namespace) => {
                (namespace.is_none() || key.namespace == *namespace)
                    && object.is_some_and(|object| object.label(OWNER_LABEL).is_some())
            }
        }
    }

    /// Whether an object that such a reflector does not show is absent, and not only without a mark.
    pub fn proves_absence(&self) -> bool {
        !matches!(self, Scope::Owned(_))
    }
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Scope::All => f.write_str("all"),
            Scope::Namespace(namespace) => write!(f, "namespace {namespace}"),
            Scope::Object(Some(namespace), name) => write!(f, "{namespace}/{name}"),
            Scope::Object(None, name) => f.write_str(name),
            Scope::Owned(None) => f.write_str("owned"),
            Scope::Owned(Some(namespace)) => write!(f, "owned in {namespace}"),
        }
    }
}

/// A complete list that is on its way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Listing {
    /// Objects that it has shown carry this number, or a later one's.
    pub(crate) number: u32,
    /// When it was asked for.
    pub(crate) asked: Time,
}

/// What is known through one reflector.
#[derive(Clone, Default, Debug)]
pub(crate) struct Watched {
    pub(crate) state: SourceState,
    /// The newest version that it has shown, by event or bookmark.
    pub(crate) version: Box<str>,
    pub(crate) listing: Option<Listing>,
}

/// The reflectors of one kind.
#[derive(Clone, Default, Debug)]
pub(crate) struct Coverage {
    scopes: BTreeMap<Scope, Watched>,
}

static SYNCING: SourceState = SourceState::Syncing;

impl Coverage {
    /// Whether nothing is watched.
    pub(crate) fn is_empty(&self) -> bool {
        self.scopes.is_empty()
    }

    pub(crate) fn scopes(&self) -> impl Iterator<Item = &Scope> {
        self.scopes.keys()
    }

    pub(crate) fn get(&self, scope: &Scope) -> Option<&Watched> {
        self.scopes.get(scope)
    }

    pub(crate) fn entry(&mut self, scope: &Scope) -> &mut Watched {
        self.scopes.entry(scope.clone()).or_default()
    }

    pub(crate) fn remove(&mut self, scope: &Scope) -> bool {
        self.scopes.remove(scope).is_some()
    }

    /// The kind as a whole: that of the reflector that shows all; else the worst of those that show more
    /// than one object; else the worst. Before there is any, the first is on its way.
    pub(crate) fn state(&self) -> &SourceState {
        if let Some(all) = self.scopes.get(&Scope::All) {
            return &all.state;
        }
        let wide = self.scopes.iter().filter(|(scope, _)| !matches!(scope, Scope::Object(..)));
        let wide = wide.map(|(_, watched)| &watched.state).max_by_key(|state| badness(state));
        let any = || self.scopes.values().map(|watched| &watched.state).max_by_key(|state| badness(state));
        wide.or_else(any).unwrap_or(&SYNCING)
    }

    /// What is known of one object by those reflectors that would show it; none if none would. `claims`:
    /// whether it is enough that it would be shown if it carried a mark.
    pub(crate) fn of_object(&self, namespace: Option<&Name>, name: &Name, claims: bool) -> Option<&SourceState> {
        let shows = |scope: &Scope| match scope {
            Scope::All => true,
            Scope::Namespace(only) => namespace == Some(only),
            Scope::Object(ns, only) => ns.as_ref() == namespace && only == name,
            Scope::Owned(only) => claims && (only.is_none() || only.as_ref() == namespace),
        };
        self.best(shows)
    }

    /// What is known of all objects of a namespace, or of all there are; none if nobody would show them.
    pub(crate) fn of_list(&self, namespace: Option<&Name>) -> Option<&SourceState> {
        self.best(|scope| match scope {
            Scope::All => true,
            Scope::Namespace(only) => namespace == Some(only),
            Scope::Object(..) | Scope::Owned(_) => false,
        })
    }

    /// Whether another reflector than `but` is there that is synced and shows this object, whatever its labels are.
    pub(crate) fn shown_elsewhere(&self, key: &Key, but: &Scope) -> bool {
        self.scopes.iter().any(|(scope, watched)| {
            scope != but && scope.proves_absence() && watched.state == SourceState::Synced && scope.shows(key, None)
        })
    }

    /// Whether a reflector of marked objects shows this one.
    pub(crate) fn shown_as_owned(&self, key: &Key, object: Option<&Object>) -> bool {
        self.scopes.keys().any(|scope| !scope.proves_absence() && scope.shows(key, object))
    }

    fn best(&self, shows: impl Fn(&Scope) -> bool) -> Option<&SourceState> {
        let states = self.scopes.iter().filter(|(scope, _)| shows(scope)).map(|(_, watched)| &watched.state);
        states.min_by_key(|state| badness(state))
    }
}

fn badness(state: &SourceState) -> u8 {
    match state {
        SourceState::Synced => 0,
        SourceState::Syncing => 1,
        SourceState::Unknown(_) => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        text.into()
    }

    fn coverage(scopes: &[(Scope, SourceState)]) -> Coverage {
        let mut coverage = Coverage::default();
        for (scope, state) in scopes {
            coverage.entry(scope).state = state.clone();
        }
        coverage
    }

    #[test]
    fn an_object_that_nobody_would_show_is_unknown() {
        let team = coverage(&[(Scope::Namespace(name("team")), SourceState::Synced)]);
        assert_eq!(team.of_object(Some(&name("team")), &name("a"), false), Some(&SourceState::Synced));
        assert_eq!(team.of_object(Some(&name("other")), &name("a"), false), None);
        assert_eq!(team.of_list(Some(&name("team"))), Some(&SourceState::Synced));
        assert_eq!(team.of_list(None), None, "one namespace is not all");
    }

    #[test]
    fn what_carries_a_mark_says_nothing_of_what_carries_none() {
        let owned = coverage(&[(Scope::Owned(None), SourceState::Synced)]);
        assert_eq!(owned.of_object(Some(&name("a")), &name("b"), false), None);
        assert_eq!(owned.of_object(Some(&name("a")), &name("b"), true), Some(&SourceState::Synced));
        assert_eq!(owned.of_list(None), None);
        assert_eq!(*owned.state(), SourceState::Synced, "as a place of children it is complete");
    }

    #[test]
    fn one_reflector_that_knows_is_enough_for_an_object_and_all_are_needed_for_a_kind() {
        let two = coverage(&[
            (Scope::Namespace(name("a")), SourceState::Synced),
            (Scope::Namespace(name("b")), SourceState::Unknown("away".into())),
            (Scope::Object(Some(name("b")), name("x")), SourceState::Synced),
        ]);
        assert_eq!(two.of_object(Some(&name("b")), &name("x"), false), Some(&SourceState::Synced));
        assert_eq!(*two.state(), SourceState::Unknown("away".into()));
    }
}
