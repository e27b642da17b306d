//! Compiled code, kept between starts (design §6).
//!
//! Compiled code is native code: whoever can change it can do anything. So it is kept where only
//! this user can write (0700), never taken from anywhere else, and checked before it is used. An
//! entry is two files: `KEY.cwasm` and `KEY.sha256`, where KEY says which component it was made of
//! and for which engine on which machine. Whatever is wrong with an entry, it is made again.

use std::fs::{self, File};
use std::hash::{Hash, Hasher};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use sha2::{Digest as _, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::digest::{Digest, hex};
use crate::error::PluginError;

const CODE: &str = "cwasm";
const CHECK: &str = "sha256";

/// The cache in one directory, for one engine.
pub(crate) struct CodeCache {
    dir: PathBuf,
    fingerprint: String,
    max_bytes: u64,
    files: AtomicU64,
}

/// Code whose content was checked. It can be mapped as often as needed.
pub(crate) struct Code {
    file: File,
    path: PathBuf,
}

impl Code {
    /// Maps it. A mapping takes memory for what is used of it, and gives it back with the component.
    pub(crate) fn map(&self, engine: &Engine) -> wasmtime::Result<Component> {
        deserialize(engine, &self.file, &self.path)
    }
}

impl CodeCache {
    /// Opens the directory, makes it if it is not there, and makes it private.
    ///
    /// # Errors
    /// If it cannot be made, is no directory, or belongs to somebody else.
    pub(crate) fn open(dir: &Path, engine: &Engine, max_bytes: u64) -> Result<Self, PluginError> {
        private_dir(dir).map_err(|error| PluginError::Cache { path: dir.to_owned(), reason: error.to_string() })?;
        Ok(Self { dir: dir.to_owned(), fingerprint: fingerprint(engine), max_bytes, files: AtomicU64::new(0) })
    }

    /// The code of a component, if it is there and right, and a first mapping of it.
    pub(crate) fn load(&self, engine: &Engine, digest: &Digest) -> Option<(Component, Code)> {
        let path = self.path(digest, CODE);
        match self.try_load(engine, &path, digest) {
            Ok(loaded) => Some(loaded),
            Err(error) if error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::NotFound) => {
                None
            }
            Err(error) => {
                tracing::warn!(plugin = digest.short(), error = format!("{error:#}"), "compiled code is made again");
                self.remove(&path);
                None
            }
        }
    }

    fn try_load(&self, engine: &Engine, path: &Path, digest: &Digest) -> wasmtime::Result<(Component, Code)> {
        let expected = fs::read_to_string(self.path(digest, CHECK))?;
        let mut file = File::open(path)?;
        // Read, not mapped: what is read through a mapping stays in the memory of this process.
        let mut sha = Sha256::new();
        let mut buffer = vec![0; 128 * 1024];
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                count => sha.update(&buffer[..count]),
            }
        }
        if hex(&sha.finalize()) != expected.trim() {
            wasmtime::bail!("it is not what was written");
        }
        // The age of an entry is that of its last use.
        let _ = file.set_modified(SystemTime::now());
        let code = Code { file, path: path.to_owned() };
        Ok((code.map(engine)?, code))
    }

    /// Keeps the code of a component. A cache that cannot be written only costs time at the next
    /// start, so nothing fails because of it.
    pub(crate) fn store(&self, digest: &Digest, component: &Component) {
        let stored = component.serialize().map_err(|error| format!("{error:#}")).and_then(|code| {
            // The check is written last: without it the code is not used.
            self.write(&self.path(digest, CODE), &code)
                .and_then(|()| self.write(&self.path(digest, CHECK), hex(&Sha256::digest(&code)).as_bytes()))
                .and_then(|()| self.evict(&self.path(digest, CODE)))
                .map_err(|error| error.to_string())
        });
        if let Err(error) = stored {
            tracing::warn!(plugin = digest.short(), error, "compiled code is not kept");
        }
    }

    fn path(&self, digest: &Digest, extension: &str) -> PathBuf {
        self.dir.join(format!("{digest}-{}.{extension}", self.fingerprint))
    }

    /// Writes a whole file or none.
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let number = self.files.fetch_add(1, Ordering::Relaxed);
        let temporary = self.dir.join(format!(".{}-{number}.tmp", std::process::id()));
        // One left by a process of the same number that was killed.
        let _ = fs::remove_file(&temporary);
        let written = private_file(&temporary)
            .and_then(|mut file| file.write_all(bytes))
            .and_then(|()| fs::rename(&temporary, path));
        if written.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        written
    }

    /// Removes what was not used for longest until the rest fits; never `keep`.
    fn evict(&self, keep: &Path) -> io::Result<()> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let path = entry.path();
            if path.extension().is_some_and(|extension| extension == CODE)
                && let Ok(metadata) = entry.metadata()
            {
                entries.push((metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH), metadata.len(), path));
            }
        }
        let mut total: u64 = entries.iter().map(|(_, length, _)| length).sum();
        entries.sort();
        for (_, length, path) in entries {
            if total <= self.max_bytes {
                break;
            }
            if path != keep {
                self.remove(&path);
                total = total.saturating_sub(length);
            }
        }
        Ok(())
    }

    /// Code that is in use stays mapped; the file is only no longer found.
    fn remove(&self, code: &Path) {
        let _ = fs::remove_file(code.with_extension(CHECK));
        let _ = fs::remove_file(code);
    }
}

/// What code depends on besides the component: the engine's version and settings, the processor.
/// With a real digest, because it is compared between builds of this program.
fn fingerprint(engine: &Engine) -> String {
    struct Sha(Sha256);
    impl Hasher for Sha {
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }

        fn finish(&self) -> u64 {
            let bytes = self.0.clone().finalize();
            bytes[..8].iter().fold(0, |word, byte| (word << 8) | u64::from(*byte))
        }
    }
    let mut sha = Sha(Sha256::new());
    engine.precompile_compatibility_hash().hash(&mut sha);
    hex(&sha.0.finalize()[..12])
}

/// Maps the code of a file whose content was just checked through the same descriptor, so that what
/// was checked is what is mapped, even if the name was given to another file meanwhile.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
fn deserialize(engine: &Engine, file: &File, _: &Path) -> wasmtime::Result<Component> {
    use std::os::fd::AsRawFd;
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    // SAFETY: the file was written by this program in a directory that only this user can write,
    // and has the digest that was noted when it was written: it is what `Component::serialize`
    // returned. It is only ever replaced as a whole, by another file of that name. The engine itself
    // checks that it was made by the same version with the same settings.
    unsafe { Component::deserialize_file(engine, path) }
}

/// As on Linux, but reading the file by its name a second time, where descriptors have no names.
#[cfg(not(target_os = "linux"))]
#[allow(unsafe_code)]
fn deserialize(engine: &Engine, _: &File, path: &Path) -> wasmtime::Result<Component> {
    // SAFETY: the file is in a directory that only this user can write, is only ever replaced as a
    // whole by what `Component::serialize` returned, and its digest was just checked. The engine
    // itself checks that it was made by the same version with the same settings.
    unsafe { Component::deserialize_file(engine, path) }
}

#[cfg(unix)]
fn private_dir(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
    if !dir.exists() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    }
    let metadata = fs::symlink_metadata(dir)?;
    if !metadata.is_dir() {
        return Err(io::Error::other("it is not a directory"));
    }
    // Who we are is told by whom a new file belongs to.
    let probe = dir.join(format!(".{}.probe", std::process::id()));
    let _ = fs::remove_file(&probe);
    let owner = private_file(&probe).and_then(|file| file.metadata()).map(|metadata| metadata.uid());
    let _ = fs::remove_file(&probe);
    if owner? != metadata.uid() {
        return Err(io::Error::other("it belongs to another user"));
    }
    if metadata.mode() & 0o077 != 0 {
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

#[cfg(not(unix))]
fn private_dir(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)
}

fn private_file(path: &Path) -> io::Result<File> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The smallest component there is, made different by a custom section.
    fn component(engine: &Engine, name: u8) -> (Digest, Component) {
        let bytes = [0, b'a', b's', b'm', 0x0d, 0, 1, 0, 0, 2, 1, name];
        (Digest::of(&bytes), Component::from_binary(engine, &bytes).expect("an empty component"))
    }

    fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
        let mut found: Vec<_> = fs::read_dir(dir)
            .expect("the directory")
            .map(|entry| entry.expect("an entry").path())
            .filter(|path| path.extension().is_some_and(|found| found == extension))
            .collect();
        found.sort();
        found
    }

    #[test]
    fn what_is_stored_is_found_again_and_nothing_else_is() {
        let dir = tempfile::tempdir().expect("a directory");
        let engine = Engine::default();
        let cache = CodeCache::open(&dir.path().join("a/b"), &engine, u64::MAX).expect("a cache");
        let (digest, component) = component(&engine, b'a');
        assert!(cache.load(&engine, &digest).is_none());
        cache.store(&digest, &component);
        let again = CodeCache::open(&dir.path().join("a/b"), &engine, u64::MAX).expect("a cache");
        let (_, code) = again.load(&engine, &digest).expect("it is there");
        assert!(code.map(&engine).is_ok(), "as often as needed");
        assert!(again.load(&engine, &Digest::of(b"another")).is_none());

        let mut config = wasmtime::Config::new();
        config.epoch_interruption(true);
        let other = Engine::new(&config).expect("an engine");
        let cache = CodeCache::open(&dir.path().join("a/b"), &other, u64::MAX).expect("a cache");
        assert!(cache.load(&other, &digest).is_none(), "another engine has other code");
        assert_eq!(files(&dir.path().join("a/b"), "tmp").len(), 0);
    }

    #[test]
    fn code_that_was_changed_or_cut_is_thrown_away_and_made_again() {
        let dir = tempfile::tempdir().expect("a directory");
        let engine = Engine::default();
        let cache = CodeCache::open(dir.path(), &engine, u64::MAX).expect("a cache");
        let (digest, component) = component(&engine, b'a');
        for damage in ["flipped", "cut", "emptied"] {
            cache.store(&digest, &component);
            let path = files(dir.path(), CODE).pop().expect("code");
            let mut code = fs::read(&path).expect("code");
            match damage {
                "flipped" => code[100] ^= 1,
                "cut" => code.truncate(50),
                _ => code.clear(),
            }
            fs::write(&path, code).expect("written");
            assert!(cache.load(&engine, &digest).is_none(), "{damage}");
            assert!(files(dir.path(), CODE).is_empty(), "{damage}");
        }
        cache.store(&digest, &component);
        fs::remove_file(files(dir.path(), CHECK).pop().expect("a check")).expect("removed");
        assert!(cache.load(&engine, &digest).is_none(), "without its check code is not used");
        cache.store(&digest, &component);
        assert!(cache.load(&engine, &digest).is_some());
    }

    #[test]
    fn what_was_not_used_for_longest_goes_first() {
        let dir = tempfile::tempdir().expect("a directory");
        let engine = Engine::default();
        let all: Vec<_> = (b'a'..b'e').map(|name| component(&engine, name)).collect();
        let length = all[0].1.serialize().expect("code").len() as u64;
        let cache = CodeCache::open(dir.path(), &engine, 3 * length + length / 2).expect("a cache");
        for (age, (digest, component)) in all[..3].iter().enumerate() {
            cache.store(digest, component);
            let file = File::options().write(true).open(cache.path(digest, CODE)).expect("code");
            let then = SystemTime::now() - std::time::Duration::from_secs(100 - age as u64);
            file.set_modified(then).expect("a time");
        }
        assert!(cache.load(&engine, &all[0].0).is_some(), "a use makes the oldest the youngest");
        cache.store(&all[3].0, &all[3].1);
        let there: Vec<bool> = all.iter().map(|(digest, _)| cache.path(digest, CODE).exists()).collect();
        assert_eq!(there, [true, false, true, true]);
        assert!(!cache.path(&all[1].0, CHECK).exists());
    }

    #[cfg(unix)]
    #[test]
    fn nobody_else_can_read_or_write_it() {
        use std::os::unix::fs::PermissionsExt;
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        let dir = tempfile::tempdir().expect("a directory");
        let engine = Engine::default();
        let open = dir.path().join("open");
        fs::create_dir(&open).expect("made");
        fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).expect("opened");
        let cache = CodeCache::open(&open, &engine, u64::MAX).expect("a cache");
        assert_eq!(mode(&open), 0o700);
        let (digest, component) = component(&engine, b'a');
        cache.store(&digest, &component);
        assert_eq!(mode(&cache.path(&digest, CODE)), 0o600);
        assert_eq!(mode(&cache.path(&digest, CHECK)), 0o600);

        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&open, &link).expect("a link");
        let refused = CodeCache::open(&link, &engine, u64::MAX).err().expect("refused").to_string();
        assert!(refused.contains("it is not a directory"), "{refused}");
        let file = dir.path().join("file");
        fs::write(&file, "").expect("a file");
        assert!(CodeCache::open(&file, &engine, u64::MAX).is_err());
    }
}
