//! Changes of the files and plugins under a running host.

use std::fs;
use std::path::PathBuf;

use crate::built;
use crate::host::Host;
use crate::setup::{copy, put};

impl Host {
    /// Writes a file of resources, complete or not at all; the path is relative to their directory.
    ///
    /// # Panics
    /// It cannot be written.
    pub fn write(&self, path: &str, text: &str) {
        if let Some(place) = self.place() {
            return place.write(&[(path.to_owned(), text.to_owned())]);
        }
        put(&self.resources().join(path), text);
    }

    /// Removes a file of resources.
    ///
    /// # Panics
    /// It cannot be removed.
    pub fn remove(&self, path: &str) {
        if let Some(place) = self.place() {
            return place.remove(path);
        }
        remove(self.resources().join(path));
    }

    /// Deletes an object that somebody has made, if it is there, as a person does; for the kind see [`Host::path`].
    ///
    /// # Panics
    /// Nobody answers.
    pub fn delete(&self, kind: &str, name: &str) {
        if let Some(place) = self.place() {
            return place.delete(&kind.to_lowercase(), name);
        }
        let path = format!("/v1/objects/{}", Self::path(kind, name));
        self.client().delete(&path).unwrap_or_else(|error| panic!("DELETE {path}: {error}"));
    }

    /// Puts a plugin into the plugins directory as `FILE.wasm`: new, or in the place of another.
    ///
    /// # Panics
    /// It is not built, or cannot be written.
    pub fn install(&self, plugin: &str, file: &str) {
        copy(&built::guest(plugin), &self.plugins().join(format!("{file}.wasm")));
    }

    /// Puts bytes into the plugins directory as `FILE.wasm`; see [`crate::component`].
    ///
    /// # Panics
    /// They cannot be written.
    pub fn install_bytes(&self, bytes: &[u8], file: &str) {
        put(&self.plugins().join(format!("{file}.wasm")), bytes);
    }

    /// Takes `FILE.wasm` out of the plugins directory.
    ///
    /// # Panics
    /// It cannot be removed.
    pub fn uninstall(&self, file: &str) {
        remove(self.plugins().join(format!("{file}.wasm")));
    }

    /// The directory of resources.
    pub fn resources(&self) -> PathBuf {
        self.root().join("resources")
    }

    /// The directory of plugins.
    pub fn plugins(&self) -> PathBuf {
        self.root().join("plugins")
    }
}

fn remove(path: PathBuf) {
    fs::remove_file(&path).unwrap_or_else(|error| panic!("{} cannot be removed: {error}", path.display()));
}
