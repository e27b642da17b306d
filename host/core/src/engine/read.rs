//! Tracked reads: a read registers its dependency before it is answered (rules A3, A4, A8, A9).

use std::sync::Arc;

use super::Engine;
use super::plugins::PluginInfo;
use crate::cache::{Seen, SourceState};
use crate::contract::{ListQuery, ReadError, ReadScope};
use crate::deps::{List, MaskId};
use crate::key::{GroupKind, Key, KeyId, Source};
use crate::mask::Mask;

/// An answer to a read, or the advice to wait for a source that is being synced.
#[derive(Debug)]
pub enum Answered<T> {
    /// The answer.
    Now(Result<T, ReadError>),
    /// The source is still syncing: ask again when it is synced, at the latest after 1 s with
    /// `wait` false, which answers `unavailable` (rule A4).
    Syncing(Source),
}

impl Engine {
    /// Reads one object for the running attempt of `reader`. None is proven absence.
    pub fn read_get(&mut self, reader: KeyId, key: &Key, wait: bool) -> Answered<Option<Arc<str>>> {
        let mask = match self.admit(reader, &key.group_kind(), &key.cluster, Some(key.namespace.as_deref()), false) {
            Ok((mask, _)) => mask,
            Err(error) => return Answered::Now(Err(error)),
        };
        let target = self.cache.intern(key);
        let known = self.add_edge(reader, target, mask).and_then(|()| self.needs_single(reader, target));
        if let Err(error) = known {
            return Answered::Now(Err(error));
        }
        if self.is_outdated(target) {
            return self.unknown(reader, key.source(), being_written(key), wait);
        }
        match self.cache.read(target) {
            Seen::Present(object) => Answered::Now(Ok(Some(self.deps.mask(mask).view(&object)))),
            Seen::Absent => Answered::Now(Ok(None)),
            Seen::Unknown(why) => {
                let syncing = self.cache.state_of(key, false) == SourceState::Syncing;
                self.unknown(reader, key.source(), why, wait && syncing)
            }
        }
    }

    /// Reads a whole list for the running attempt of `reader`, in order of namespace and name.
    pub fn read_list(&mut self, reader: KeyId, query: &ListQuery, wait: bool) -> Answered<Vec<Arc<str>>> {
        let namespace = query.namespace.as_deref();
        let admitted = self.admit(reader, &query.kind, &query.cluster, namespace.map(Some), true);
        let list = match admitted.and_then(|(mask, info)| list_of(&info, query, mask)) {
            Ok(list) => list,
            Err(error) => return Answered::Now(Err(error)),
        };
        if let Err(error) = self.add_list_edge(reader, &list) {
            return Answered::Now(Err(error));
        }
        match self.cache.list_state(&list.source, list.namespace.as_ref()) {
            SourceState::Synced if self.is_any_outdated(&list.source, list.namespace.as_ref()) => {
                let why = being_written(&list.source);
                return self.unknown(reader, list.source, why, wait);
            }
            SourceState::Synced => {}
            SourceState::Syncing => {
                let why = format!("{} is not synced yet", list.source);
                return self.unknown(reader, list.source, why, wait);
            }
            SourceState::Unknown(why) => return self.unknown(reader, list.source, why, false),
        }
        Answered::Now(Ok(self.items(&list, self.deps.mask(list.mask))))
    }

    fn items(&self, list: &List, mask: &Mask) -> Vec<Arc<str>> {
        match &list.namespace {
            Some(namespace) => self
                .cache
                .list_namespace(&list.source, namespace)
                .filter(|(_, object)| list.matches(object))
                .map(|(_, object)| mask.view(object))
                .collect(),
            None => self
                .cache
                .list(&list.source)
                .filter(|(_, object)| list.matches(object))
                .map(|(_, object)| mask.view(object))
                .collect(),
        }
    }

    /// Reads one object as a loaded plugin would see it, for calls without effects: the shadow (rule D11)
    /// and `plan`. Nothing depends on the answer, and nothing is waited for.
    ///
    /// # Errors
    /// As a read of the plugin's own; `unavailable` if no such plugin is loaded.
    pub fn peek_get(&self, plugin: &str, key: &Key) -> Result<Option<Arc<str>>, ReadError> {
        self.peek_get_as(self.loaded(plugin)?, key)
    }

    /// Reads a whole list as [`Engine::peek_get`] reads one object, in order of namespace and name.
    ///
    /// # Errors
    /// As [`Engine::peek_get`].
    pub fn peek_list(&self, plugin: &str, query: &ListQuery) -> Result<Vec<Arc<str>>, ReadError> {
        self.peek_list_as(self.loaded(plugin)?, query)
    }

    /// [`Engine::peek_get`] for a version that need not be loaded, with its description and its grants.
    ///
    /// # Errors
    /// As a read of the plugin's own.
    pub fn peek_get_as(&self, info: &PluginInfo, key: &Key) -> Result<Option<Arc<str>>, ReadError> {
        let mask = self.admitted(info, &key.group_kind(), &key.cluster, Some(key.namespace.as_deref()), false)?;
        match self.cache.read_by_key(key) {
            Seen::Present(object) => Ok(Some(mask.view(&object))),
            Seen::Absent => Ok(None),
            Seen::Unknown(why) => Err(ReadError::Unavailable(why)),
        }
    }

    /// [`Engine::peek_list`] for a version that need not be loaded, with its description and its grants.
    ///
    /// # Errors
    /// As a read of the plugin's own.
    pub fn peek_list_as(&self, info: &PluginInfo, query: &ListQuery) -> Result<Vec<Arc<str>>, ReadError> {
        let namespace = query.namespace.as_deref();
        let mask = self.admitted(info, &query.kind, &query.cluster, namespace.map(Some), true)?;
        let list = list_of(info, query, MaskId::ALL)?;
        match self.cache.list_state(&list.source, list.namespace.as_ref()) {
            SourceState::Synced => Ok(self.items(&list, mask)),
            SourceState::Syncing => Err(ReadError::Unavailable(format!("{} is not synced yet", list.source))),
            SourceState::Unknown(why) => Err(ReadError::Unavailable(why)),
        }
    }

    fn loaded(&self, plugin: &str) -> Result<&PluginInfo, ReadError> {
        let found = self.plugins().find(|info| &*info.name == plugin);
        found.map(|info| &**info).ok_or_else(|| ReadError::Unavailable(format!("no plugin {plugin} is loaded")))
    }

    /// `wait`: it may be known in a moment.
    fn unknown<T>(&mut self, reader: KeyId, source: Source, why: String, wait: bool) -> Answered<T> {
        if let Some(state) = self.state(reader) {
            let old = state.reads.sources.contains(&source);
            let new = state.new_reads.as_ref().is_some_and(|r| r.sources.contains(&source));
            if !new && !old {
                self.deps.add_source(reader, &source);
            }
        }
        if let Some(reads) = self.state_mut(reader).and_then(|s| s.new_reads.as_mut())
            && !reads.sources.contains(&source)
        {
            reads.sources.push(source.clone());
        }
        if wait {
            return Answered::Syncing(source);
        }
        if let Some(state) = self.state_mut(reader) {
            state.unavailable.get_or_insert_with(|| why.clone());
        }
        Answered::Now(Err(ReadError::Unavailable(why)))
    }

    /// [`Self::admitted`] for the plugin of `reader`, and its mask, interned.
    fn admit(
        &mut self,
        reader: KeyId,
        kind: &GroupKind,
        cluster: &str,
        namespace: Option<Option<&str>>,
        list: bool,
    ) -> Result<(MaskId, Arc<PluginInfo>), ReadError> {
        let info = self
            .state(reader)
            .and_then(|state| self.plugins.get(state.plugin.0 as usize))
            .and_then(|plugin| plugin.info.clone())
            .ok_or_else(|| ReadError::Unavailable("the plugin is being removed".into()))?;
        let mask = self.admitted(&info, kind, cluster, namespace, list)?;
        Ok((self.deps.intern_mask(mask), info))
    }

    /// Whether a plugin described this kind and was granted it, and through which mask it sees it.
    /// `namespace`: of one object, `Some(None)` for a cluster-scoped one; none for all namespaces.
    fn admitted<'a>(
        &self,
        info: &'a PluginInfo,
        kind: &GroupKind,
        cluster: &str,
        namespace: Option<Option<&str>>,
        list: bool,
    ) -> Result<&'a Mask, ReadError> {
        let Some(read) = info.description.reads.iter().find(|r| r.kind.group_kind() == *kind) else {
            return Err(ReadError::NotDescribed(format!("the plugin does not describe that it reads {kind}")));
        };
        if list && read.scope == ReadScope::Named {
            let text = format!("{kind} is described with scope `named`; `list` needs scope `all`");
            return Err(ReadError::NotDescribed(text));
        }
        match (self.shapes.namespaced(cluster, kind), namespace) {
            (Some(true), Some(None)) => {
                return Err(ReadError::Invalid(format!("{kind} is namespaced: the key has no namespace")));
            }
            (Some(false), Some(Some(namespace))) => {
                let text = format!("{kind} is cluster-scoped: the key has the namespace {namespace}");
                return Err(ReadError::Invalid(text));
            }
            _ => {}
        }
        // Which labels a cluster has is known when it is there; until then it is waited for.
        let awaited = info.granted().is_by_label() && !self.clusters.contains_key(cluster);
        if !awaited && !info.grants.may_read(kind, cluster, namespace.flatten()) {
            return Err(ReadError::NotGranted(format!("grant it with read:{}@{cluster}", kind.path())));
        }
        Ok(info.mask(kind))
    }

    fn room(&self, reader: KeyId) -> Result<(), ReadError> {
        let len = self.state(reader).and_then(|s| s.new_reads.as_ref()).map_or(0, |reads| reads.len());
        if len < self.options.read_set_limit {
            return Ok(());
        }
        let text = format!("one call may read {} objects and lists", self.options.read_set_limit);
        Err(ReadError::LimitExceeded(text))
    }

    fn add_edge(&mut self, reader: KeyId, target: KeyId, mask: MaskId) -> Result<(), ReadError> {
        let edge = (target, mask);
        let Some(state) = self.state(reader) else { return Ok(()) };
        if state.new_reads.as_ref().is_some_and(|reads| reads.gets.contains(&edge)) {
            return Ok(());
        }
        self.room(reader)?;
        let known = self.state(reader).is_some_and(|s| s.reads.gets.binary_search(&edge).is_ok());
        if !known {
            self.deps.add_get(reader, target, mask);
        }
        if let Some(reads) = self.state_mut(reader).and_then(|s| s.new_reads.as_mut()) {
            reads.gets.push(edge);
        }
        Ok(())
    }

    fn add_list_edge(&mut self, reader: KeyId, list: &List) -> Result<(), ReadError> {
        let found = self.deps.find_list(list);
        let (old, new) = match (found, self.state(reader)) {
            (Some(id), Some(state)) => (
                state.reads.lists.binary_search(&id).is_ok(),
                state.new_reads.as_ref().is_some_and(|reads| reads.lists.contains(&id)),
            ),
            _ => (false, false),
        };
        if new {
            return Ok(());
        }
        self.room(reader)?;
        let id = match found {
            Some(id) if old => id,
            _ => self.deps.add_list(reader, list.clone()),
        };
        if let Some(reads) = self.state_mut(reader).and_then(|s| s.new_reads.as_mut()) {
            reads.lists.push(id);
        }
        Ok(())
    }
}

fn being_written(what: &dyn std::fmt::Display) -> String {
    format!("{what} is being written, and what was shown of it before is not known yet")
}

/// A question with its index looked up.
fn list_of(info: &PluginInfo, query: &ListQuery, mask: MaskId) -> Result<List, ReadError> {
    let index = match &query.index {
        None => None,
        Some((name, value)) => match info.index(&query.kind, name) {
            Some(path) => Some((path.clone(), value.clone())),
            None => return Err(ReadError::NotDescribed(format!("{} has no index {name:?}", query.kind))),
        },
    };
    List::of(query, index, mask).map_err(|error| ReadError::Invalid(error.to_string()))
}
