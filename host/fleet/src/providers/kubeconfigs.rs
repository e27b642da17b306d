//! Clusters of kubeconfig files.
//!
//! A file that does not parse, or that is being written, keeps what it gave before.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use setpoint_core::grants::glob;
use setpoint_kubernetes::{Access, KubeContext, contexts};

use super::looks::{Found, GONE_AFTER, offer_what_is_found};
use super::paths::{is_pattern, last, list, parent};
use crate::{BoxFuture, Offers, Provider, Reach, cluster_name};

/// How the names of kubeconfigs end, in directories.
const ENDINGS: [&str; 4] = [".kubeconfig.yaml", ".kubeconfig.yml", ".kubeconfig", ".config"];
/// Names of kubeconfigs, in directories.
const NAMES: [&str; 3] = ["kubeconfig", "kubeconfig.yaml", "kubeconfig.yml"];

/// Which contexts of a file are clusters.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Contexts {
    /// Each of them; it is called as the file and the context are, with a dot between.
    #[default]
    All,
    /// The current one; it is called as the file is.
    Current,
}

impl Contexts {
    /// The words for it, in the configuration.
    pub const WORDS: [(&'static str, Self); 2] = [("all", Self::All), ("current", Self::Current)];
}

/// Kubeconfig files, and directories and patterns of them.
pub struct Kubeconfigs {
    /// What the provider is called.
    pub name: String,
    /// What stands before the names of its clusters.
    pub prefix: Option<String>,
    /// Files; directories, of which those count whose names are those of kubeconfigs (`kubeconfig`,
    /// `kubeconfig.yaml`, `*.kubeconfig`, `*.kubeconfig.yaml`, `*.config`); patterns with `*` in the last part.
    pub paths: Vec<PathBuf>,
    /// Which contexts of each file are clusters.
    pub contexts: Contexts,
}

impl Provider for Kubeconfigs {
    fn name(&self) -> &str {
        &self.name
    }

    fn prefix(&self) -> Option<&str> {
        self.prefix.as_deref()
    }

    fn run(self: Arc<Self>, offers: Offers) -> BoxFuture<'static, ()> {
        let look = move |files: &mut Files| files.look(&self);
        Box::pin(offer_what_is_found(offers, Files::default(), look, "no kubeconfig names it any more"))
    }
}

/// When a file is worth reading again.
type Stamp = (u64, Option<SystemTime>);

/// A file as it was read last.
struct File {
    stamp: Option<Stamp>,
    clusters: Vec<(String, Reach)>,
    /// Why it could not be read.
    trouble: Option<String>,
    /// Looks in a row that have not found it.
    missing: u32,
}

#[derive(Default)]
struct Files {
    files: BTreeMap<PathBuf, File>,
    /// Paths that were directories when they were looked at.
    dirs: BTreeSet<PathBuf>,
}

impl Files {
    fn look(&mut self, options: &Kubeconfigs) -> Found {
        let mut found = Found::default();
        // What is in directories that cannot be read is as it was.
        let mut unread = Vec::new();
        let mut there = BTreeSet::new();
        for path in &options.paths {
            match expand(path, self.dirs.contains(path)) {
                Ok((files, is_dir)) => {
                    if is_dir {
                        self.dirs.insert(path.clone());
                    }
                    found.troubles.insert(path.display().to_string(), None);
                    there.extend(files);
                }
                Err(problem) => {
                    found.troubles.insert(path.display().to_string(), Some(problem));
                    unread.push(if is_pattern(path) { parent(path).to_owned() } else { path.clone() });
                }
            }
        }
        for path in &there {
            self.read(path, options.contexts);
        }
        self.files.retain(|path, file| {
            if there.contains(path) || unread.iter().any(|dir| path.starts_with(dir)) {
                return true;
            }
            file.missing += 1;
            let stays = file.missing < GONE_AFTER;
            if !stays {
                found.troubles.insert(path.display().to_string(), None);
            }
            stays
        });
        let mut owners: BTreeMap<String, PathBuf> = BTreeMap::new();
        for (path, file) in &self.files {
            // Of one that never was good its cluster says so.
            let mut trouble = file.trouble.clone().filter(|_| file.clusters.iter().any(|(_, reach)| reach.way.is_ok()));
            for (name, reach) in &file.clusters {
                match owners.get(name) {
                    Some(first) => {
                        let first = first.display();
                        trouble = Some(format!("the cluster {name} is that of {first} already; rename the file"));
                    }
                    None => {
                        owners.insert(name.clone(), path.clone());
                        found.clusters.push((name.clone(), reach.clone()));
                    }
                }
            }
            found.troubles.insert(path.display().to_string(), trouble);
        }
        found
    }

    fn read(&mut self, path: &Path, which: Contexts) {
        let stamp = std::fs::metadata(path).ok().map(|metadata| (metadata.len(), metadata.modified().ok()));
        if let Some(file) = self.files.get_mut(path) {
            file.missing = 0;
            // One that was not good is read again: it may be half written, with the same size and time.
            if stamp.is_some() && file.stamp == stamp && file.trouble.is_none() {
                return;
            }
        }
        let result = contexts(path).and_then(|contexts| clusters_of(path, contexts, which));
        let known = self.files.remove(path);
        let file = match result {
            Ok(clusters) => File { stamp, clusters, trouble: None, missing: 0 },
            Err(problem) => {
                // The name of the file is said beside.
                let problem = problem.strip_prefix(&format!("{}: ", path.display())).unwrap_or(&problem).to_owned();
                let usable = |file: &File| file.clusters.iter().any(|(_, reach)| reach.way.is_ok());
                let clusters = match known {
                    Some(file) if usable(&file) => file.clusters,
                    _ => vec![(stem(path), Reach::unusable(format!("{}: {problem}", path.display())))],
                };
                File { stamp, clusters, trouble: Some(problem), missing: 0 }
            }
        };
        self.files.insert(path.to_owned(), file);
    }
}

fn clusters_of(path: &Path, contexts: Vec<KubeContext>, which: Contexts) -> Result<Vec<(String, Reach)>, String> {
    let stem = stem(path);
    let mut names = BTreeSet::new();
    let mut clusters = Vec::new();
    for KubeContext { name: context, server, current } in contexts {
        let name = match which {
            Contexts::Current if current => stem.clone(),
            Contexts::Current => continue,
            Contexts::All => format!("{stem}.{}", cluster_name(&context)),
        };
        if !names.insert(name.clone()) {
            return Err(format!("two of its contexts are called {name} as clusters; rename one"));
        }
        let access = Access::Kubeconfig { path: Some(path.to_owned()), context: Some(context) };
        let instance = format!("{server} {access:?}");
        clusters.push((name, Reach { instance, ..Reach::of(access) }));
    }
    if clusters.is_empty() {
        return Err("it has no current-context".into());
    }
    Ok(clusters)
}

/// What the clusters of a file are called.
fn stem(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let ending = ENDINGS.iter().chain(&[".yaml", ".yml"]).find(|ending| name.ends_with(**ending));
    cluster_name(ending.map_or(&*name, |ending| &name[..name.len() - ending.len()]))
}

/// The files that a path stands for, and whether it is a directory. `was_dir`: it was one before, and what was in it is
/// not gone because it is not there.
fn expand(path: &Path, was_dir: bool) -> Result<(Vec<PathBuf>, bool), String> {
    if is_pattern(path) {
        let pattern = last(path);
        return list(parent(path), |name, path| glob(&pattern, name) && !path.is_dir()).map(|files| (files, false));
    }
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => {
            list(path, |name, path| is_kubeconfig(name) && !path.is_dir()).map(|files| (files, true))
        }
        Err(error) if was_dir => Err(format!("it cannot be read: {error}")),
        // One that is named and not there shows that when it is read.
        _ => Ok((vec![path.to_owned()], false)),
    }
}

fn is_kubeconfig(name: &str) -> bool {
    NAMES.contains(&name) || ENDINGS.iter().any(|ending| name.len() > ending.len() && name.ends_with(ending))
}

#[cfg(test)]
#[path = "kubeconfigs_tests.rs"]
mod tests;
