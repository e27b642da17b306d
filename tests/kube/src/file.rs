//! Files that other programs may be reading.

use std::io::Write as _;
use std::path::Path;

use tempfile::NamedTempFile;

/// Writes a file in one step, so that whoever reads it reads what it said before or what it says now, though several
/// threads write it.
///
/// # Panics
/// It cannot be written.
pub(crate) fn write(path: &Path, text: &str) {
    let dir = path.parent().unwrap_or(Path::new("."));
    NamedTempFile::new_in(dir)
        .and_then(|mut new| new.write_all(text.as_bytes()).map(|()| new))
        .and_then(|new| new.persist(path).map_err(std::io::Error::from))
        .unwrap_or_else(|error| panic!("{} cannot be written: {error}", path.display()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_never_sees_a_file_that_is_half_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.yaml");
        let text = "line\n".repeat(10_000);
        write(&path, &text);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| (0..100).for_each(|_| write(&path, &text)));
            }
            for _ in 0..200 {
                assert_eq!(std::fs::read_to_string(&path).unwrap().len(), text.len());
            }
        });
    }
}
