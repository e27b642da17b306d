//! Directories of files, each a cluster.
//!
//! Which there are is looked at every other second. What is in their files is the file source's.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use setpoint_core::grants::glob;

use super::paths::{is_pattern, last, list, parent};
use crate::{BoxFuture, Offers, Provider, Reach, Way, cluster_name};

/// Between two looks.
const POLL: Duration = Duration::from_secs(2);
/// A directory is gone if so many looks in a row have not found it.
const GONE_AFTER: u32 = 2;

/// Directories, and patterns of them.
pub struct Directories {
    /// What the provider is called.
    pub name: String,
    /// What stands before the names of its clusters.
    pub prefix: Option<String>,
    /// Directories, each a cluster that is called as it is; patterns with `*` in the last part.
    pub paths: Vec<PathBuf>,
}

impl Provider for Directories {
    fn name(&self) -> &str {
        &self.name
    }

    fn prefix(&self) -> Option<&str> {
        self.prefix.as_deref()
    }

    fn run(self: Arc<Self>, offers: Offers) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let mut looks = Looks::default();
            loop {
                let this = self.clone();
                let looked = tokio::task::spawn_blocking(move || {
                    let found = looks.look(&this.paths);
                    (looks, found)
                });
                // Only the end of the program keeps it from ending well.
                let Ok((again, found)) = looked.await else { return };
                looks = again;
                found.offer(&offers);
                tokio::time::sleep(POLL).await;
            }
        })
    }
}

/// What a look has found.
#[derive(Default)]
struct Found {
    clusters: BTreeMap<String, PathBuf>,
    /// What is wrong, and what is not, by path.
    troubles: BTreeMap<String, Option<String>>,
}

/// Directories that patterns have found, and in how many looks in a row each was missing.
#[derive(Default)]
struct Looks(BTreeMap<PathBuf, u32>);

impl Looks {
    fn look(&mut self, paths: &[PathBuf]) -> Found {
        let mut found = Found::default();
        let (mut there, mut unread) = (BTreeSet::new(), BTreeSet::new());
        for path in paths {
            if !is_pattern(path) {
                // One that is named and not there shows that itself.
                there.insert(path.clone());
                continue;
            }
            let (dir, pattern) = (parent(path), last(path));
            let listed = list(dir, |name, path| glob(&pattern, name) && path.is_dir());
            found.troubles.insert(path.display().to_string(), listed.as_ref().err().cloned());
            match listed {
                Ok(directories) => there.extend(directories),
                // What is in there is as it was.
                Err(_) => {
                    unread.insert(dir.to_owned());
                }
            }
        }
        for path in &there {
            self.0.insert(path.clone(), 0);
        }
        self.0.retain(|path, missing| {
            if !there.contains(path) && !path.parent().is_some_and(|dir| unread.contains(dir)) {
                *missing += 1;
            }
            *missing < GONE_AFTER
        });
        for path in self.0.keys() {
            found.add(path);
        }
        found
    }
}

impl Found {
    fn offer(self, offers: &Offers) {
        for (about, what) in &self.troubles {
            offers.trouble(about, what.as_deref());
        }
        for (name, path) in &self.clusters {
            let refused = offers.engage(name, Reach::of(Way::Directory(path.clone()))).err();
            offers.trouble(&format!("cluster {name}"), refused.map(|refused| refused.to_string()).as_deref());
        }
        offers.all(self.clusters.keys().map(String::as_str), "its directory is not there any more");
    }

    fn add(&mut self, path: &Path) {
        let name = cluster_name(&last(path));
        let trouble = match (name.is_empty(), self.clusters.get(&name)) {
            (true, _) => Some("no cluster can be called like that; rename the directory".to_owned()),
            (false, Some(first)) => {
                Some(format!("the cluster {name} is that of {} already; rename the directory", first.display()))
            }
            (false, None) => None,
        };
        if trouble.is_none() {
            self.clusters.insert(name, path.to_owned());
        }
        self.troubles.insert(path.display().to_string(), trouble);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(found: &Found) -> Vec<&str> {
        found.clusters.keys().map(String::as_str).collect()
    }

    #[test]
    fn each_directory_of_a_pattern_is_a_cluster_until_it_has_gone() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["team-a", "Team_B", "other", ".team-hidden"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        std::fs::write(dir.path().join("team-file"), "").unwrap();
        let paths = [dir.path().join("*eam*"), dir.path().join("named")];
        let mut looks = Looks::default();
        assert_eq!(names(&looks.look(&paths)), ["named", "team-a", "team-b"]);
        std::fs::remove_dir(dir.path().join("team-a")).unwrap();
        assert_eq!(names(&looks.look(&paths)), ["named", "team-a", "team-b"], "it may be being replaced");
        assert_eq!(names(&looks.look(&paths)), ["named", "team-b"]);
        std::fs::create_dir(dir.path().join("team-a")).unwrap();
        assert_eq!(names(&looks.look(&paths)), ["named", "team-a", "team-b"]);

        // A directory that cannot be looked into says nothing of what is in it.
        let moved = dir.path().with_extension("moved");
        std::fs::rename(dir.path(), &moved).unwrap();
        for _ in 0..3 {
            let found = looks.look(&paths);
            assert_eq!(names(&found), ["named", "team-a", "team-b"]);
            assert!(found.troubles[&paths[0].display().to_string()].as_deref().unwrap().contains("cannot be read"));
        }
        std::fs::rename(&moved, dir.path()).unwrap();
        assert_eq!(looks.look(&paths).troubles[&paths[0].display().to_string()], None);
    }

    #[test]
    fn two_directories_of_one_name_are_one_cluster() {
        let mut looks = Looks::default();
        let found = looks.look(&["/one/team".into(), "/two/team".into(), "/three/_".into()]);
        assert_eq!(found.clusters, BTreeMap::from([("team".to_owned(), "/one/team".into())]));
        assert!(found.troubles["/two/team"].as_deref().unwrap().contains("rename"));
        assert!(found.troubles["/three/_"].as_deref().unwrap().contains("rename"));
    }
}
