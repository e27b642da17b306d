//! The clusters of files: `local`, which is there from the beginning to the end, and the directories of the fleet.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, RwLock, Weak};
use std::time::Duration;

use setpoint_cluster::local::{EventFilter, Local, RecordedEvent};
use setpoint_cluster::source::{FileSource, Position, Scope, SourceEvent, SourceOptions, StartError};
use setpoint_core::engine::Engine;
use setpoint_core::key::{GroupKind, Key, Name, Source};
use setpoint_core::object::Object;
use setpoint_fleet::Directory;
use setpoint_schema::Crd;

use crate::driver::Driver;
use crate::file_rows;
use crate::files::Files;
use crate::kinds::Kinds;
use crate::lock::{lock, read, write};
use crate::views::FileRow;

/// Between looks at whether the first pass on a rebuilt store is over.
const REBUILT_POLL: Duration = Duration::from_secs(1);

/// One of them.
pub(crate) struct FileCluster {
    local: Arc<Local>,
    files: Arc<Files>,
    /// The directory; none: there are no files.
    resources: Option<PathBuf>,
    /// Reads and watches it, from the start to the end.
    source: Mutex<Option<FileSource>>,
}

impl FileCluster {
    fn new(local: Arc<Local>, driver: &Arc<Driver>, resources: Option<PathBuf>) -> Arc<Self> {
        let files = Files::new(local.clone(), driver.clone());
        Arc::new(Self { local, files, resources, source: Mutex::default() })
    }

    /// Its objects.
    pub(crate) fn local(&self) -> &Arc<Local> {
        &self.local
    }

    /// Its name, as it stands in keys.
    pub(crate) fn name(&self) -> &Name {
        setpoint_cluster::Cluster::name(&*self.local)
    }

    /// Reads its files from now on, of the kinds that are known; if there are none, that is known at once.
    ///
    /// # Errors
    /// The directory cannot be one.
    pub(crate) fn start(&self, kinds: &Arc<Kinds>) -> Result<(), StartError> {
        if let Some(resources) = &self.resources {
            let (lookup, take, name) = (kinds.clone(), self.files.clone(), self.name().clone());
            let known = move |group: &str, kind: &str| {
                let crd = lookup.get_in(&name, &GroupKind::new(group, kind))?;
                Some(Scope { namespaced: crd.namespaced })
            };
            let options = SourceOptions {
                cluster: self.name().clone(),
                known: self.local.read(|model| model.files()),
                identity: Files::recorded_identity(&self.local),
                ..SourceOptions::new(resources, Arc::new(known))
            };
            let source = options.start(move |event| take.take(event))?;
            *lock(&self.source) = Some(source);
        } else {
            self.files.take(SourceEvent::InitialScanDone);
        }
        // The kinds that were there before the source: the first scan knows them.
        self.look_again();
        Ok(())
    }

    /// Looks at documents of kinds that nobody knew.
    fn look_again(&self) {
        let ticket = self.files.last_ticket();
        if self.resources.is_none() {
            // Without files there is nothing to look at when a kind comes.
            self.files.take(SourceEvent::Reclassified { ticket });
        } else if let Some(source) = &*lock(&self.source) {
            source.reclassify(ticket);
        }
    }

    /// A person says that the files that are gone are gone for good (rule D1).
    ///
    /// # Errors
    /// Nothing waits for that, or the directory is not there: what it holds cannot be looked at.
    pub(crate) fn confirm(&self) -> Result<(), String> {
        if self.files.suspicion().is_none() {
            return Err("nothing is suspicious: there is nothing to confirm".into());
        }
        if let Some(resources) = self.resources.as_ref().filter(|resources| !resources.is_dir()) {
            let what_to_do = "make it, empty if everything is to go, and confirm again";
            return Err(format!("the resources directory {} is not there: {what_to_do}", resources.display()));
        }
        if let Some(source) = &*lock(&self.source) {
            source.confirm();
        }
        Ok(())
    }

    /// Documents that are no objects, and what is wrong with files.
    pub(crate) fn rows(&self) -> Vec<FileRow> {
        let mut rows = self.files.rows();
        if let Some(message) = self.files.suspicion() {
            rows.insert(0, file_rows::row(".", Position { line: 1, column: 1 }, "Suspicious", message));
        }
        rows.iter_mut().for_each(|row| row.cluster = self.name().to_string());
        rows
    }

    /// What is in the way of it, for people.
    pub(crate) fn problems(&self) -> Vec<String> {
        let suspicion = self.files.suspicion().map(|suspicion| format!("SourceSuspicious: {suspicion}"));
        let trouble = self.local.trouble().map(|trouble| format!("StoreTrouble: {trouble}"));
        let unread = "the resources directory has not been read completely yet";
        let unread = (!self.files.scanned()).then(|| unread.to_owned());
        unread.into_iter().chain(suspicion).chain(trouble).collect()
    }

    /// Its files are not read any more. Blocks until what is being told has been.
    pub(crate) fn stop(&self) {
        let source = lock(&self.source).take();
        if let Some(source) = source {
            source.stop();
        }
    }
}

/// All of them.
pub(crate) struct FileClusters {
    driver: Arc<Driver>,
    kinds: Arc<Kinds>,
    local: Arc<FileCluster>,
    /// The directories of the fleet.
    others: RwLock<BTreeMap<Name, Arc<FileCluster>>>,
}

impl FileClusters {
    /// `local`, with the directory of its files if it has one. Nobody is told of it yet.
    pub(crate) fn new(
        driver: &Arc<Driver>,
        kinds: &Arc<Kinds>,
        local: Arc<Local>,
        resources: Option<PathBuf>,
    ) -> Arc<Self> {
        let local = FileCluster::new(local, driver, resources);
        Arc::new(Self { driver: driver.clone(), kinds: kinds.clone(), local, others: RwLock::default() })
    }

    /// What `local` has is told.
    pub(crate) fn begin(&self) {
        for crd in self.local.local.read(|model| model.kinds()) {
            self.kinds.insert(crd);
        }
        self.take_in(&self.local, &[]);
    }

    /// `local`.
    pub(crate) fn local(&self) -> &Arc<FileCluster> {
        &self.local
    }

    /// The one of a name; none: that is no cluster of files.
    pub(crate) fn of(&self, name: &str) -> Option<Arc<FileCluster>> {
        if name == &**self.local.name() {
            return Some(self.local.clone());
        }
        read(&self.others).get(name).cloned()
    }

    /// All in the order of their names, `local` first.
    pub(crate) fn all(&self) -> Vec<Arc<FileCluster>> {
        std::iter::once(self.local.clone()).chain(read(&self.others).values().cloned()).collect()
    }

    /// The file that defines an object, if one does.
    pub(crate) fn file_of(&self, key: &Key) -> Option<String> {
        self.of(&key.cluster)?.local.read(|model| model.file_of(key)).map(|file| file.to_string())
    }

    /// All objects of a kind.
    pub(crate) fn objects(&self, kind: &GroupKind) -> Vec<(Arc<Key>, Arc<Object>)> {
        let of = |cluster: &Arc<FileCluster>| {
            let (name, objects) = (cluster.name().clone(), cluster.local.objects(kind));
            objects.into_iter().map(move |object| (Arc::new(object.key(&name)), object))
        };
        self.all().iter().flat_map(of).collect()
    }

    /// Why the newest content of an object was not taken.
    pub(crate) fn problems(&self, key: &Key) -> Vec<String> {
        let problems = |cluster: Arc<FileCluster>| {
            cluster.local.read(|model| model.problems(key).iter().map(ToString::to_string).collect())
        };
        self.of(&key.cluster).map(problems).unwrap_or_default()
    }

    /// Events that are kept, oldest first.
    pub(crate) fn events(&self, filter: &EventFilter) -> Vec<RecordedEvent> {
        let mut events: Vec<RecordedEvent> =
            self.all().iter().flat_map(|cluster| cluster.local.events(filter)).collect();
        events.sort_by_key(|event| event.last);
        events
    }

    /// Serves these kinds beside those that it has, and tells what is there. What is not there is not proven absent before
    /// its files have been read.
    fn take_in(&self, cluster: &FileCluster, crds: &[Arc<Crd>]) {
        // The cluster's lock is taken before the engine's, everywhere.
        let (places, served) = cluster.local.read(|model| (model.places(), model.kinds()));
        let served: Vec<Arc<Crd>> = served.into_iter().chain(crds.iter().cloned()).collect();
        let sources = self.sources_in(cluster, &served);
        self.driver.with(|engine, _| {
            engine.restore_places(places);
            sources.iter().for_each(|source| engine.source_syncing(source));
        });
        for source in &sources {
            cluster.files.kind_served_from_start(&source.kind);
        }
        for crd in crds {
            drop(cluster.local.install_kind((**crd).clone()));
        }
        cluster.local.snapshot();
    }

    /// A directory takes part, and the driver knows it.
    pub(crate) fn engage(&self, directory: &Directory) {
        let cluster = FileCluster::new(directory.local().clone(), &self.driver, directory.root().map(Into::into));
        // What comes from now on comes by `serve` as well.
        write(&self.others).insert(cluster.name().clone(), cluster.clone());
        let brought = self.kinds.all().into_iter().filter(|crd| !crd.manifest().is_null());
        let brought: Vec<Arc<Crd>> = self.kinds.served_in(cluster.name(), brought).collect();
        self.take_in(&cluster, &brought);
        if let Err(error) = cluster.start(&self.kinds) {
            // It was a directory a moment ago.
            tracing::error!(cluster = %cluster.name(), %error, "its files cannot be read");
        }
        if cluster.local.rebuilt() {
            let (driver, name) = (self.driver.clone(), cluster.name().clone());
            let over = move |engine: &Engine| engine.held().is_empty() && engine.rebuilt_is_over_in(&name);
            tokio::spawn(end_rebuilt(driver, Arc::downgrade(&cluster), over));
        }
    }

    /// A directory does not take part any more.
    pub(crate) fn disengage(&self, name: &Name) {
        let cluster = write(&self.others).remove(name);
        if let Some(cluster) = cluster {
            // It waits for what is being read.
            drop(tokio::task::spawn_blocking(move || cluster.stop()));
        }
    }

    /// Where objects of these kinds are.
    pub(crate) fn sources(&self, crds: &[Arc<Crd>]) -> Vec<Source> {
        self.all().iter().flat_map(|cluster| self.sources_in(cluster, crds)).collect()
    }

    fn sources_in(&self, cluster: &FileCluster, crds: &[Arc<Crd>]) -> Vec<Source> {
        let served = self.kinds.served_in(cluster.name(), crds.iter().cloned());
        served.map(|crd| Source::new(cluster.name(), &crd.group, &crd.kind)).collect()
    }

    /// Kinds of a plugin are served from now on, or with another schema. What their documents say is known once
    /// [`FileClusters::look_again`] was called.
    pub(crate) fn serve(&self, crds: &[Arc<Crd>]) {
        for cluster in self.all() {
            for crd in self.kinds.served_in(cluster.name(), crds.iter().cloned()) {
                cluster.files.kind_served(&GroupKind::new(&crd.group, &crd.kind));
                drop(cluster.local.install_kind((*crd).clone()));
            }
        }
    }

    /// Looks at documents of kinds that nobody knew.
    pub(crate) fn look_again(&self) {
        self.all().iter().for_each(|cluster| cluster.look_again());
    }

    /// Whether files with unknown fields are refused.
    pub(crate) fn set_strict(&self, strict: bool) {
        self.all().iter().for_each(|cluster| cluster.local.set_strict(strict));
    }

    /// No files are read any more. Blocks.
    pub(crate) fn stop(&self) {
        self.all().iter().for_each(|cluster| cluster.stop());
    }

    /// Writes what is queued. Blocks.
    pub(crate) fn close(&self) {
        self.all().iter().for_each(|cluster| cluster.local.close());
    }
}

/// Until the first pass on a rebuilt store is `over`, a restart has to begin as carefully as this start
/// did (rule D10). Deletions that wait for a person keep it open, and so do objects whose plugin is not
/// there or is not called.
pub(crate) async fn end_rebuilt(driver: Arc<Driver>, cluster: Weak<FileCluster>, over: impl Fn(&Engine) -> bool) {
    let cluster = loop {
        let Some(cluster) = cluster.upgrade() else { return };
        if cluster.files.scanned() && driver.look(&over) {
            break cluster;
        }
        drop(cluster);
        tokio::time::sleep(REBUILT_POLL).await;
    };
    match cluster.local.first_pass_over().await {
        Ok(()) => tracing::info!(cluster = %cluster.name(), "the first pass on the rebuilt state is over"),
        Err(error) => {
            let cluster = cluster.name();
            tracing::error!(%cluster, %error, "the end of the first pass on the rebuilt state could not be recorded");
        }
    }
}
