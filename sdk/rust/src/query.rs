//! Questions to the host.

use crate::bindings::setpoint::reconciler::types::{GroupKind, Key};
use crate::{RawQuery, ReadError, Resource};

/// Where an object is, seen from the reconciled one: by default in its cluster and namespace.
///
/// A name alone will do wherever one is asked for: `cx.get::<ConfigMap>("settings")`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ObjectRef {
    name: String,
    namespace: Option<String>,
    cluster: Option<String>,
}

impl ObjectRef {
    /// The object of this name beside the reconciled one.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), namespace: None, cluster: None }
    }

    /// In this namespace.
    #[must_use]
    pub fn in_namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = Some(namespace.into());
        self
    }

    /// In this cluster.
    #[must_use]
    pub fn in_cluster(mut self, cluster: impl Into<String>) -> Self {
        self.cluster = Some(cluster.into());
        self
    }

    pub(crate) fn key<T: Resource>(self, owner: &Key) -> Result<Key, ReadError> {
        let namespace = match (T::NAMESPACED, self.namespace.or_else(|| owner.namespace.clone())) {
            (false, _) => None,
            (true, Some(namespace)) => Some(namespace),
            (true, None) => {
                return Err(ReadError::Invalid(format!(
                    "{} {} needs a namespace, as the reconciled object has none",
                    T::KIND,
                    self.name
                )));
            }
        };
        Ok(Key {
            cluster: self.cluster.unwrap_or_else(|| owner.cluster.clone()),
            group: T::GROUP.into(),
            kind: T::KIND.into(),
            namespace,
            name: self.name,
        })
    }
}

impl<S: Into<String>> From<S> for ObjectRef {
    fn from(name: S) -> Self {
        Self::new(name)
    }
}

/// Which objects of a kind: by default all in the cluster and namespace of the reconciled one, or in
/// all namespaces if it has none.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Query {
    cluster: Option<String>,
    namespace: Namespaces,
    labels: Vec<String>,
    invalid: Option<String>,
    index: Option<(String, String)>,
    page: Option<u32>,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
enum Namespaces {
    #[default]
    Own,
    All,
    One(String),
}

impl Query {
    /// All objects beside the reconciled one.
    pub fn new() -> Self {
        Self::default()
    }

    /// In this cluster.
    #[must_use]
    pub fn in_cluster(mut self, cluster: impl Into<String>) -> Self {
        self.cluster = Some(cluster.into());
        self
    }

    /// In this namespace.
    #[must_use]
    pub fn in_namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = Namespaces::One(namespace.into());
        self
    }

    /// In all namespaces that the operator granted.
    #[must_use]
    pub fn in_all_namespaces(mut self) -> Self {
        self.namespace = Namespaces::All;
        self
    }

    /// With this label of this value. Several requirements have all to hold.
    ///
    /// Key and value may come from users: what is no label cannot change the question, the read
    /// fails as invalid.
    #[must_use]
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        let (key, value) = (key.into(), value.into());
        if key.is_empty() || !key.chars().chain(value.chars()).all(is_label_letter) {
            self.invalid.get_or_insert(format!("`{key}={value}` is no label"));
        }
        self.labels.push(format!("{key}={value}"));
        self
    }

    /// With all of these labels, as in `matchLabels`.
    #[must_use]
    pub fn labels<K: Into<String>, V: Into<String>>(self, labels: impl IntoIterator<Item = (K, V)>) -> Self {
        labels.into_iter().fold(self, |query, (key, value)| query.label(key, value))
    }

    /// With labels that match a selector as kubectl writes it: `app=a,tier in (b,c),!old`.
    #[must_use]
    pub fn selector(mut self, selector: impl Into<String>) -> Self {
        let selector = selector.into();
        if !selector.trim().is_empty() {
            self.labels.push(selector);
        }
        self
    }

    /// With this value in a declared index; see [`crate::Read::index`].
    #[must_use]
    pub fn index(mut self, index: impl Into<String>, value: impl Into<String>) -> Self {
        self.index = Some((index.into(), value.into()));
        self
    }

    /// How many objects to ask for at a time: 1 to 500, the default. All pages are read in any case.
    #[must_use]
    pub fn page_size(mut self, objects: u32) -> Self {
        self.page = Some(objects);
        self
    }

    pub(crate) fn raw<T: Resource>(self, owner: &Key) -> Result<RawQuery, ReadError> {
        if let Some(problem) = self.invalid {
            return Err(ReadError::Invalid(problem));
        }
        let namespace = match self.namespace {
            _ if !T::NAMESPACED => None,
            Namespaces::Own => owner.namespace.clone(),
            Namespaces::All => None,
            Namespaces::One(namespace) => Some(namespace),
        };
        Ok(RawQuery {
            cluster: self.cluster,
            kind: GroupKind { group: T::GROUP.into(), kind: T::KIND.into() },
            namespace,
            labels: (!self.labels.is_empty()).then(|| self.labels.join(",")),
            index: self.index.map(|(index, value)| crate::host::IndexMatch { index, value }),
            limit: Some(self.page.unwrap_or(500)),
            continue_: None,
        })
    }
}

fn is_label_letter(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.' | '/')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ConfigMap;

    fn owner(namespace: Option<&str>) -> Key {
        Key {
            cluster: "local".into(),
            group: "g".into(),
            kind: "K".into(),
            namespace: namespace.map(Into::into),
            name: "o".into(),
        }
    }

    #[test]
    fn a_name_alone_means_beside_the_reconciled_object() {
        let key = ObjectRef::from("a").key::<ConfigMap>(&owner(Some("n")));
        let expected = Key {
            cluster: "local".into(),
            group: String::new(),
            kind: "ConfigMap".into(),
            namespace: Some("n".into()),
            name: "a".into(),
        };
        assert_eq!(key, Ok(expected));
    }

    #[test]
    fn a_namespaced_kind_is_not_looked_for_without_a_namespace() {
        assert!(matches!(ObjectRef::new("a").key::<ConfigMap>(&owner(None)), Err(ReadError::Invalid(_))));
        assert!(ObjectRef::new("a").in_namespace("n").key::<ConfigMap>(&owner(None)).is_ok());
    }

    #[test]
    fn a_label_of_a_user_cannot_widen_the_question() {
        let raw = |query: Query| query.raw::<ConfigMap>(&owner(Some("n"))).map(|q| q.labels);
        assert_eq!(raw(Query::new().label("a", "b").selector("!c")), Ok(Some("a=b,!c".into())));
        assert!(matches!(raw(Query::new().label("a", "b,c=d")), Err(ReadError::Invalid(_))));
        assert!(matches!(raw(Query::new().label("", "b")), Err(ReadError::Invalid(_))));
        assert_eq!(raw(Query::new()), Ok(None));
    }
}
