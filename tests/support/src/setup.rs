//! What is there before a host starts.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;

use crate::Host;
use crate::built;
use crate::place::{Place, in_cluster};

/// A temporary directory with `plugins`, `resources` and whatever was put into them.
///
/// The host runs in that directory with its default paths, so that those are what is tested.
#[derive(Debug)]
pub struct Setup {
    pub(crate) root: TempDir,
    pub(crate) args: Vec<String>,
    pub(crate) wait_until_ready: bool,
    /// Where its objects are; none: in files.
    pub(crate) place: Option<Arc<Place>>,
    /// Objects that are there before it starts, by file.
    pub(crate) objects: Vec<(String, String)>,
    /// Writes that would make a file longer than so many bytes fail.
    pub(crate) largest_file: Option<u64>,
}

impl Setup {
    /// Empty directories.
    ///
    /// # Panics
    /// They cannot be made.
    pub fn new() -> Self {
        let root = tempfile::Builder::new()
            .prefix("setpoint-test-")
            .tempdir()
            .unwrap_or_else(|error| panic!("a temporary directory cannot be made: {error}"));
        for part in ["plugins", "resources", "home"] {
            make_dir(&root.path().join(part));
        }
        let place = in_cluster().then(Place::new);
        let args = place.iter().flat_map(|place| place.args()).collect();
        Self { root, args, wait_until_ready: true, place, objects: Vec::new(), largest_file: None }
    }

    /// Where it will run.
    pub fn directory(&self) -> &Path {
        self.root.path()
    }

    /// With a plugin, as `NAME.wasm`.
    #[must_use]
    pub fn plugin(self, name: &str) -> Self {
        copy(&built::guest(name), &self.root.path().join("plugins").join(format!("{name}.wasm")));
        self
    }

    /// With bytes as the plugin `FILE.wasm`; see [`crate::component`].
    #[must_use]
    pub fn plugin_bytes(self, bytes: &[u8], file: &str) -> Self {
        put(&self.root.path().join("plugins").join(format!("{file}.wasm")), bytes);
        self
    }

    /// With a file of resources; the path is relative to their directory. In a cluster its objects are there instead.
    #[must_use]
    pub fn file(mut self, path: &str, text: &str) -> Self {
        if self.place.is_some() {
            self.objects.push((path.to_owned(), text.to_owned()));
            return self;
        }
        put(&self.root.path().join("resources").join(path), text);
        self
    }

    /// With a configuration file, `setpoint.yaml`.
    #[must_use]
    pub fn config(self, text: &str) -> Self {
        put(&self.root.path().join("setpoint.yaml"), text);
        self.arg("--config").arg("setpoint.yaml")
    }

    /// With another argument of `setpoint run`.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// With more arguments of `setpoint run`.
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = String>) -> Self {
        self.args.extend(args);
        self
    }

    /// Started, it is not waited for until it is ready, only until it listens.
    #[must_use]
    pub fn without_waiting(mut self) -> Self {
        self.wait_until_ready = false;
        self
    }

    /// Starts it.
    ///
    /// # Panics
    /// It does not get ready within half a minute.
    pub fn start(mut self) -> Host {
        let objects = std::mem::take(&mut self.objects);
        if let Some(place) = &self.place {
            place.write(&objects);
        }
        Host::start(self)
    }
}

impl Default for Setup {
    fn default() -> Self {
        Self::new()
    }
}

pub(crate) fn make_dir(path: &Path) {
    fs::create_dir_all(path).unwrap_or_else(|error| panic!("{} cannot be made: {error}", path.display()));
}

/// Complete or not at all, as careful editors and `setpoint plugin build` write.
pub(crate) fn put(path: &Path, content: impl AsRef<[u8]>) {
    let dir = path.parent().unwrap_or(Path::new("."));
    make_dir(dir);
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let new = dir.join(format!(".{name}.new"));
    fs::write(&new, content)
        .and_then(|()| fs::rename(&new, path))
        .unwrap_or_else(|error| panic!("{} cannot be written: {error}", path.display()));
}

pub(crate) fn copy(from: &Path, to: &Path) {
    let bytes = fs::read(from).unwrap_or_else(|error| panic!("{} cannot be read: {error}", from.display()));
    put(to, bytes);
}
