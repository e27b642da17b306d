//! One reflector: it does what `setpoint_core::reflector` says, and tells the sink.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use setpoint_cluster::Sink;
use setpoint_core::coverage::Scope;
use setpoint_core::engine::{Checked, Told};
use setpoint_core::key::{GroupVersionKind, Source};
use setpoint_core::mask::Mask;
use setpoint_core::reflector::{End, Notice, Reflector, Step};
use tokio::sync::Notify;

use super::Shared;
use super::stream::{Selection, Shown, Stream};
use crate::failure::Failure;
use crate::health::{Check, WatchHealth};
use crate::intake::Intake;
use crate::kinds::{Kind, NotFound};

/// One reflector of a part of a kind.
pub(crate) struct Watcher {
    shared: Arc<Shared>,
    /// Who hears of it: the host, or what looks at definitions.
    sink: Arc<dyn Sink>,
    pub(crate) kind: GroupVersionKind,
    source: Source,
    pub(crate) scope: Scope,
    mask: Mutex<Mask>,
    machine: Mutex<Reflector>,
    /// What is not known is a warning: somebody needs it.
    loud: bool,
    /// What is under way is dropped, and what is to be done is asked anew.
    again: Notify,
}

/// What a mutex guards: nothing is left half-way by a panic here.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Watcher {
    pub(crate) fn new(
        shared: Arc<Shared>,
        sink: Arc<dyn Sink>,
        kind: GroupVersionKind,
        scope: Scope,
        mask: Mask,
    ) -> Arc<Self> {
        let source = Source { cluster: shared.name.clone(), kind: kind.group_kind() };
        let streams = shared.streams.load(Ordering::Relaxed);
        let machine = Reflector::new(shared.now(), streams, super::random());
        Arc::new(Self {
            shared,
            sink,
            kind,
            source,
            scope,
            mask: Mutex::new(mask),
            machine: Mutex::new(machine),
            loud: true,
            again: Notify::new(),
        })
    }

    /// The same of what the host can do without.
    pub(crate) fn quiet(self: Arc<Self>) -> Arc<Self> {
        match Arc::try_unwrap(self) {
            Ok(watcher) => Arc::new(Self { loud: false, ..watcher }),
            Err(shared) => shared,
        }
    }

    /// More is wanted of each object: everything is listed anew. Answers whether that is so.
    pub(crate) fn widen(&self, mask: &Mask) -> bool {
        let mut known = locked(&self.mask);
        if known.covers(mask) {
            return false;
        }
        *known = known.union(mask);
        drop(known);
        locked(&self.machine).relist();
        self.again.notify_one();
        true
    }

    /// Something has changed that may end what it waits for.
    pub(crate) fn hurry(&self) {
        let mut machine = locked(&self.machine);
        if !machine.is_known() {
            machine.hurry();
            drop(machine);
            self.again.notify_one();
        }
    }

    /// The definition of its kind is another one now.
    pub(crate) fn relist(&self) {
        locked(&self.machine).relist();
        self.again.notify_one();
    }

    pub(crate) fn mask(&self) -> Mask {
        locked(&self.mask).clone()
    }

    pub(crate) fn health(&self) -> WatchHealth {
        let machine = locked(&self.machine);
        let now = self.shared.now();
        WatchHealth {
            kind: self.kind.clone(),
            scope: self.scope.clone(),
            known: machine.is_known(),
            missing: machine.is_missing(),
            trouble: machine.trouble().map(str::to_owned),
            silent_for: now.saturating_sub(machine.last_progress()),
            stalled: machine.is_stalled(now),
            relists: machine.relists(),
        }
    }

    fn tell(&self, told: Told) {
        self.sink.told(&self.source, &self.scope, told);
    }

    fn notice(&self, notice: Option<Notice>) {
        match notice {
            Some(Notice::Unknown(reason)) => {
                if self.loud {
                    tracing::warn!(kind = %self.source, scope = %self.scope, "nothing is known at present: {reason}");
                }
                self.tell(Told::Unknown { reason });
            }
            Some(Notice::Known) => self.tell(Told::Known),
            None => {}
        }
    }

    /// It is not wanted any more.
    pub(crate) fn ended(&self) {
        self.tell(Told::Ended);
    }

    /// Says that the first list is on its way. Before [`Watcher::run`], so that nobody takes the kind for one that
    /// nobody watches.
    pub(crate) fn announce(&self) {
        self.tell(Told::Syncing);
    }

    /// Runs until it is dropped.
    pub(crate) async fn run(self: Arc<Self>) {
        loop {
            let again = self.again.notified();
            let step = locked(&self.machine).step(self.shared.now());
            let work = async {
                match step {
                    Step::Wait { until } => {
                        tokio::time::sleep_until(self.shared.at(until)).await;
                        None
                    }
                    Step::List { streaming } => self.list(streaming).await,
                    Step::Ask => self.ask().await,
                    Step::Watch { version } => Some(self.watch(&version).await),
                }
            };
            let end = tokio::select! {
                end = self.while_doubting(work) => end,
                () = again => None,
            };
            if let Some(end) = end {
                match end {
                    End::NotServed(_) => self.shared.kinds.forget(&self.source.kind),
                    End::NoStreaming => self.shared.streams.store(false, Ordering::Relaxed),
                    _ => {}
                }
                tracing::debug!(kind = %self.source, scope = %self.scope, ?end, "a list or watch has ended");
                let notice = locked(&self.machine).ended(self.shared.now(), end);
                self.notice(notice);
            }
        }
    }

    /// What was lost becomes unknown in time, even while a try to reach it hangs.
    async fn while_doubting<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            let doubts_at = locked(&self.machine).doubts_at();
            let Some(at) = doubts_at else { return work.await };
            tokio::select! {
                done = &mut work => return done,
                () = tokio::time::sleep_until(self.shared.at(at)) => {
                    let notice = locked(&self.machine).doubt(self.shared.now());
                    self.notice(notice);
                }
            }
        }
    }

    /// Finds the kind. None: it was not found, which ends this try.
    async fn find(&self) -> Result<Arc<Kind>, End> {
        match self.shared.kinds.find(&self.source.kind).await {
            Ok(kind) => Ok(kind),
            Err(NotFound::NotServed(why)) => Err(End::NotServed(why)),
            Err(NotFound::Failed(Failure::Status(status))) if status.is_busy() => {
                Err(End::Busy(status.retry_after.map(|seconds| seconds * 1_000), status.text()))
            }
            Err(NotFound::Failed(failure)) => Err(End::Lost(failure.to_string())),
        }
    }

    fn parts(&self) -> (Selection, Intake) {
        let mask = locked(&self.mask).clone();
        let selection = Selection::of(&self.scope, mask.is_metadata_only());
        (selection, self.shared.intake(self.kind.clone(), mask))
    }

    async fn list(&self, streaming: bool) -> Option<End> {
        let kind = match self.find().await {
            Ok(kind) => kind,
            Err(end) => return Some(end),
        };
        let (selection, intake) = self.parts();
        let (transport, resource) = (&*self.shared.transport, &kind.resource);
        let stream = Stream { transport, resource, selection: &selection, intake: &intake };
        if streaming {
            return Some(self.follow(&stream, None).await);
        }
        self.tell(Told::ListBegins);
        match stream.list(&mut |shown| self.hear(shown)).await {
            Ok(version) => {
                self.listed(version);
                None
            }
            Err(failure) => Some(stream.end(&failure)),
        }
    }

    /// Which version has the server come to?
    async fn ask(&self) -> Option<End> {
        let kind = match self.find().await {
            Ok(kind) => kind,
            Err(end) => return Some(end),
        };
        let (selection, intake) = self.parts();
        let (transport, resource) = (&*self.shared.transport, &kind.resource);
        let stream = Stream { transport, resource, selection: &selection, intake: &intake };
        match stream.version().await {
            Ok(version) => {
                locked(&self.machine).server_is_at(self.shared.now(), &version);
                None
            }
            Err(failure) => Some(stream.end(&failure)),
        }
    }

    async fn watch(&self, version: &str) -> End {
        let kind = match self.find().await {
            Ok(kind) => kind,
            Err(end) => return end,
        };
        let (selection, intake) = self.parts();
        let (transport, resource) = (&*self.shared.transport, &kind.resource);
        self.follow(&Stream { transport, resource, selection: &selection, intake: &intake }, Some(version)).await
    }

    async fn follow(&self, stream: &Stream<'_>, version: Option<&str>) -> End {
        let begun = || {
            if version.is_none() {
                self.tell(Told::ListBegins);
            }
            let notice = locked(&self.machine).begun(self.shared.now());
            self.notice(notice);
        };
        stream.watch(version, begun, &mut |shown| self.hear(shown)).await
    }

    fn hear(&self, shown: Shown) {
        let now = self.shared.now();
        match shown {
            Shown::Object(key, object) => {
                let version = object.as_ref().map(|object| object.resource_version());
                locked(&self.machine).progress(now, version);
                self.tell(Told::Object(key, object));
            }
            Shown::Unreadable(key) => {
                locked(&self.machine).progress(now, None);
                self.tell(Told::Unreadable(key));
            }
            Shown::Bookmark(version) => {
                locked(&self.machine).progress(now, Some(&version));
                self.tell(Told::Bookmark { version });
            }
            Shown::Listed(version) => self.listed(version),
        }
    }

    fn listed(&self, version: String) {
        locked(&self.machine).listed(self.shared.now(), version.clone());
        self.tell(Told::ListEnds { version });
    }

    /// What it shows as the server has it now: each object with its version (rule A11).
    pub(crate) async fn check(&self) -> Check {
        let (source, scope) = (self.source.clone(), self.scope.clone());
        let mut listed = Vec::new();
        let version = match self.find().await {
            Ok(kind) => {
                let (selection, intake) = self.parts();
                let selection = selection.metadata();
                let (transport, resource) = (&*self.shared.transport, &kind.resource);
                let stream = Stream { transport, resource, selection: &selection, intake: &intake };
                let mut hear = |shown| {
                    if let Shown::Object(key, Some(object)) = shown {
                        let (uid, version) = (object.uid().into(), object.resource_version().into());
                        listed.push(Checked { key, uid, version });
                    }
                };
                stream.list(&mut hear).await.map_err(|failure| failure.to_string())
            }
            Err(End::NotServed(why)) => Err(why),
            Err(end) => Err(format!("{end:?}")),
        };
        Check { source, scope, result: version.map(|version| (version, listed)) }
    }
}
