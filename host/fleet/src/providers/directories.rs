//! Directories of files, each a cluster.
//!
//! Only which there are is looked at. What is in their files is the file source's.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use setpoint_core::grants::glob;

use super::looks::{Found, GONE_AFTER, offer_what_is_found};
use super::paths::{is_pattern, last, list, parent};
use crate::{BoxFuture, Offers, Provider, Reach, Way, cluster_name};

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
        let look = move |looks: &mut Looks| looks.look(&self.paths);
        Box::pin(offer_what_is_found(offers, Looks::default(), look, "its directory is not there any more"))
    }
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
        let mut owners: BTreeMap<String, &Path> = BTreeMap::new();
        for path in self.0.keys() {
            let name = cluster_name(&last(path));
            let trouble = match (name.is_empty(), owners.get(&name)) {
                (true, _) => Some("no cluster can be called like that; rename the directory".to_owned()),
                (false, Some(first)) => {
                    Some(format!("the cluster {name} is that of {} already; rename the directory", first.display()))
                }
                (false, None) => {
                    owners.insert(name.clone(), path);
                    found.clusters.push((name, Reach::of(Way::Directory(path.clone()))));
                    None
                }
            };
            found.troubles.insert(path.display().to_string(), trouble);
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(found: &Found) -> Vec<&str> {
        let mut names: Vec<&str> = found.clusters.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        names
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
        assert_eq!(found.clusters, [("team".to_owned(), Reach::of(Way::Directory("/one/team".into())))]);
        assert!(found.troubles["/two/team"].as_deref().unwrap().contains("rename"));
        assert!(found.troubles["/three/_"].as_deref().unwrap().contains("rename"));
    }
}
