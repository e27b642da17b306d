//! Which components of a plugin ran: the one that runs, the one before, and the one that a person
//! went back from (rule D11). The components are kept under their digests in the state directory;
//! which is which is in the store, so that a rollback survives a restart.

use std::collections::{BTreeSet, VecDeque};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use setpoint_cluster::local::Local;
use setpoint_plugin::Digest;

use crate::kept::Kept;

/// Where components are kept, in the state directory.
pub const COMPONENTS: &str = "components";

/// The components of one plugin, by their digests.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Version {
    /// The one that runs, or ran last.
    pub(crate) running: String,
    /// The one that ran before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) previous: Option<String>,
    /// The one in the file, which a person went back from: not used until the file has another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) avoided: Option<String>,
}

impl Version {
    /// A component out of the file runs.
    fn from_file(before: Option<&Version>, digest: &str) -> Self {
        let previous = match before {
            Some(before) if before.running == digest => before.previous.clone(),
            Some(before) => Some(before.running.clone()),
            None => None,
        };
        Self { running: digest.to_owned(), previous, avoided: None }
    }

    /// The previous component runs again while the file has `in_file`; none if there is no previous
    /// one. Twice is back where it began.
    pub(crate) fn turned(&self, in_file: &str) -> Option<Self> {
        let running = self.previous.clone()?;
        let avoided = (running != in_file).then(|| in_file.to_owned());
        Some(Self { running, previous: Some(self.running.clone()), avoided })
    }
}

/// A component that is to be kept.
struct Keep {
    plugin: String,
    digest: String,
    bytes: Vec<u8>,
}

/// The components that ran, of all plugins.
pub(crate) struct Versions {
    dir: PathBuf,
    known: Kept<Version>,
    /// Oldest first.
    to_keep: Mutex<VecDeque<Keep>>,
    /// Held by who writes into the directory.
    writing: Mutex<()>,
}

impl Versions {
    /// As recorded before the last stop.
    pub(crate) fn open(state_dir: &Path, local: Arc<Local>) -> Arc<Self> {
        Arc::new(Self {
            dir: state_dir.join(COMPONENTS),
            known: Kept::open(local, "plugin-versions", "there is no rollback"),
            to_keep: Mutex::default(),
            writing: Mutex::default(),
        })
    }

    /// What is known of a plugin.
    pub(crate) fn of(&self, plugin: &str) -> Option<Version> {
        self.known.of(plugin)
    }

    /// A component out of the file runs: it is kept, and so is the one before it. That it runs is recorded at
    /// once, its bytes are written on a blocking thread: in the order of these calls, and before
    /// [`Versions::read`] reads.
    pub(crate) fn runs(self: &Arc<Self>, plugin: &str, digest: &str, bytes: Vec<u8>) {
        self.known.update(|known| {
            let version = Version::from_file(known.get(plugin), digest);
            known.insert(plugin.to_owned(), version);
        });
        let keep = Keep { plugin: plugin.to_owned(), digest: digest.to_owned(), bytes };
        self.to_keep.lock().unwrap_or_else(PoisonError::into_inner).push_back(keep);
        let this = self.clone();
        drop(tokio::task::spawn_blocking(move || this.keep_all()));
    }

    /// Writes what is to be kept, and removes what no longer is. Blocks.
    pub(crate) fn keep_all(&self) {
        let _one = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let next = || self.to_keep.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let mut any = false;
        while let Some(Keep { plugin, digest, bytes }) = next() {
            any = true;
            if let Err(error) = self.keep(&digest, &bytes) {
                tracing::warn!(plugin, %error, "the component cannot be kept: there will be no rollback to it");
            }
        }
        if any {
            self.sweep();
        }
    }

    /// What is recorded of a plugin from now on; durable when it returns.
    ///
    /// # Errors
    /// The store cannot keep it: what was recorded stays.
    pub(crate) async fn set(&self, plugin: &str, version: Version) -> Result<(), String> {
        self.known.set(plugin, version).await
    }

    /// The bytes of a component that ran. Blocks.
    ///
    /// # Errors
    /// It is not there any more, or is damaged.
    pub(crate) fn read(&self, digest: &str) -> Result<Vec<u8>, String> {
        self.keep_all();
        let bytes =
            fs::read(self.path(digest)).map_err(|error| format!("the component {digest} was not kept: {error}"))?;
        if Digest::of(&bytes).as_str() != digest {
            let what_to_do = "put its file into the plugins directory";
            return Err(format!("the component {digest} that was kept is damaged; {what_to_do}"));
        }
        Ok(bytes)
    }

    fn path(&self, digest: &str) -> PathBuf {
        self.dir.join(format!("{digest}.wasm"))
    }

    /// Not synced: what a power cut leaves of it is told by its digest.
    fn keep(&self, digest: &str, bytes: &[u8]) -> io::Result<()> {
        let path = self.path(digest);
        if fs::metadata(&path).is_ok_and(|metadata| metadata.len() == bytes.len() as u64) {
            return Ok(());
        }
        let mut directory = fs::DirBuilder::new();
        directory.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut directory, 0o700);
        directory.create(&self.dir)?;
        let new = path.with_extension("new");
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(&new)?.write_all(bytes)?;
        fs::rename(&new, &path)
    }

    /// Removes components that nobody can go back to.
    fn sweep(&self) {
        let known = self.known.all();
        let used: BTreeSet<PathBuf> = known
            .values()
            .flat_map(|version| [Some(&version.running), version.previous.as_ref(), version.avoided.as_ref()])
            .flatten()
            .map(|digest| self.path(digest))
            .collect();
        let Ok(entries) = fs::read_dir(&self.dir) else { return };
        for path in entries.flatten().map(|entry| entry.path()) {
            let ours = path.extension().is_some_and(|extension| extension == "wasm");
            if ours
                && !used.contains(&path)
                && let Err(error) = fs::remove_file(&path)
            {
                tracing::debug!(%error, "a component that is not needed any more stays");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use setpoint_cluster::local::LocalOptions;

    use super::*;

    fn digest(bytes: &[u8]) -> String {
        Digest::of(bytes).to_string()
    }

    fn open(dir: &Path) -> (Arc<Versions>, Arc<Local>) {
        let local = Local::open(LocalOptions::new(dir), Arc::new(())).expect("a state");
        (Versions::open(dir, local.clone()), local)
    }

    #[test]
    fn going_back_twice_is_where_it_began_and_a_new_file_leaves_it() {
        let first = Version::from_file(None, "1");
        assert_eq!(first.turned("1"), None, "there is nothing before the first");
        let second = Version::from_file(Some(&first), "2");
        assert_eq!(Version::from_file(Some(&second), "2"), second, "the same again is no change");
        let back = second.turned("2").expect("a previous one");
        let parts = (back.running.as_str(), back.previous.as_deref(), back.avoided.as_deref());
        assert_eq!(parts, ("1", Some("2"), Some("2")));
        assert_eq!(back.turned("2"), Some(second));
        let third = Version::from_file(Some(&back), "3");
        assert_eq!((third.previous.as_deref(), third.avoided), (Some("1"), None));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_rollback_survives_a_restart_with_its_components() {
        let dir = tempfile::tempdir().expect("a directory");
        let (one, two, three) = (digest(b"one"), digest(b"two"), digest(b"three"));
        let (versions, local) = open(dir.path());
        versions.runs("p", &one, b"one".to_vec());
        versions.runs("p", &two, b"two".to_vec());
        let turned = versions.of("p").and_then(|version| version.turned(&two)).expect("a previous one");
        versions.set("p", turned.clone()).await.expect("kept");
        versions.keep_all();
        drop(versions);
        tokio::task::spawn_blocking(move || local.close()).await.expect("closed");

        let (versions, local) = open(dir.path());
        assert_eq!(versions.of("p"), Some(turned));
        assert_eq!(versions.read(&one), Ok(b"one".to_vec()));
        versions.runs("p", &three, b"three".to_vec());
        assert_eq!(versions.of("p").and_then(|version| version.previous), Some(one.clone()));
        assert!(versions.read(&one).is_ok() && versions.read(&two).is_err(), "only what can be gone back to is kept");
        fs::write(versions.path(&one), b"other").expect("written");
        assert!(versions.read(&one).is_err_and(|error| error.contains("damaged")));
        drop(versions);
        tokio::task::spawn_blocking(move || local.close()).await.expect("closed");
    }

    #[cfg(unix)]
    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_kept_is_for_the_user_alone() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().expect("a directory");
        let (versions, local) = open(dir.path());
        versions.runs("p", &digest(b"one"), b"one".to_vec());
        versions.keep_all();
        let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
        assert_eq!((mode(&versions.dir), mode(&versions.path(&digest(b"one")))), (0o700, 0o600));
        tokio::task::spawn_blocking(move || local.close()).await.expect("closed");
    }

    /// The lock is held meanwhile: whoever writes on this thread waits for ever.
    #[tokio::test]
    async fn components_are_kept_in_order_and_off_the_async_threads() {
        let dir = tempfile::tempdir().expect("a directory");
        let (versions, local) = open(dir.path());
        let all: Vec<String> = (0..20u8).map(|at| digest(&[at])).collect();
        {
            let _writing = versions.writing.lock().expect("nobody has panicked");
            for (at, digest) in (0..20u8).zip(&all) {
                versions.runs("p", digest, vec![at]);
            }
            let last = Version { running: all[19].clone(), previous: Some(all[18].clone()), avoided: None };
            assert_eq!(versions.of("p"), Some(last), "it is recorded at once");
            assert!(!versions.dir.exists(), "and written by another thread");
        }
        assert_eq!(versions.read(&all[19]), Ok(vec![19]));
        assert_eq!(versions.read(&all[18]), Ok(vec![18]));
        let kept = fs::read_dir(&versions.dir).expect("it can be listed").count();
        assert_eq!(kept, 2, "only what can be gone back to is kept");
        tokio::task::spawn_blocking(move || local.close()).await.expect("closed");
    }
}
