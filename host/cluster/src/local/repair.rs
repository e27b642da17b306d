//! A store that cannot be read is rebuilt from what can be read of it (rule D10). Files say the
//! rest anew, and children are found by their marks.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::effects::{Row, Table};
use super::model::Model;
use super::open::{FILE, OpenError, Opened, make, salvage, set_aside_before};
use super::{REBUILT, STORE_ID};

/// What a repair has kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RepairReport {
    /// The file that was set aside; it stays where it is.
    pub aside: PathBuf,
    /// Rows that were kept, by the name of their table: `records` are objects with their status,
    /// `places` say where children may be, `bookkeeping` is what people said.
    pub kept: BTreeMap<&'static str, usize>,
    /// What could not be read, in words; empty if everything could.
    pub lost: Vec<String>,
    /// Whether the identity of the state is the old one: if not, children in other clusters are
    /// another host's, and have to be handed over by hand (rule B5).
    pub same_identity: bool,
}

pub(super) fn repair(directory: &Path, now: u64) -> Result<RepairReport, OpenError> {
    let at = |path: PathBuf| move |source: io::Error| OpenError::Io { path, source };
    let nothing = |reason| OpenError::NothingToRepair { directory: directory.to_owned(), reason };
    let set_aside = set_aside_before(directory).map_err(at(directory.to_owned()))?;
    if set_aside.is_none() && !directory.join(FILE).exists() {
        return Err(nothing("it holds no state"));
    }
    let aside = match Opened::open(directory, now) {
        Err(OpenError::SetAside { aside } | OpenError::Corrupt { aside, .. }) => aside,
        Err(error) => return Err(error),
        // Rows that make no sense look like a sound file from the outside.
        Ok(mut opened) => match Model::load(0, std::mem::take(&mut opened.rows)) {
            Ok(_) => return Err(nothing("its state can be read")),
            Err(error) => match opened.give_up(now, error.to_string()) {
                OpenError::Corrupt { aside, .. } => aside,
                error => return Err(error),
            },
        },
    };
    // The file that was set aside is evidence: only a copy of it is opened, which may write.
    let copy = directory.join(format!("{FILE}.salvage"));
    let new = directory.join(format!("{FILE}.new"));
    for left_over in [&copy, &new] {
        remove(left_over).map_err(at(left_over.clone()))?;
    }
    fs::copy(&aside, &copy).map_err(at(copy.clone()))?;
    let (rows, mut lost) = salvage(&copy);
    remove(&copy).map_err(at(copy.clone()))?;

    let mut rows = sound(rows, &mut lost);
    let mut kept = BTreeMap::new();
    for (table, ..) in &rows {
        *kept.entry(table.name()).or_default() += 1;
    }
    let same_identity = rows.iter().any(|(table, name, _)| *table == Table::Bookkeeping && name == STORE_ID);
    if !same_identity {
        rows.push((Table::Bookkeeping, STORE_ID.to_owned(), uuid::Uuid::new_v4().to_string().into_bytes()));
    }
    rows.retain(|(table, name, _)| *table != Table::Bookkeeping || name != REBUILT);
    rows.push((Table::Bookkeeping, REBUILT.to_owned(), b"true".to_vec()));
    make(&new, rows)?;
    let path = directory.join(FILE);
    fs::rename(&new, &path).map_err(at(path.clone()))?;
    fs::File::open(directory).and_then(|directory| directory.sync_all()).map_err(at(directory.to_owned()))?;
    Ok(RepairReport { aside, kept, lost, same_identity })
}

/// The rows that make sense, each by itself.
fn sound(rows: Vec<Row>, lost: &mut Vec<String>) -> Vec<Row> {
    let mut model = Model::new();
    rows.into_iter()
        .filter(|(table, key, bytes)| match model.load_row(*table, key, bytes.clone()) {
            Ok(()) => true,
            Err(reason) => {
                lost.push(format!("row `{key}` of table {}: {reason}", table.name()));
                false
            }
        })
        .collect()
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
