use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use tempfile::TempDir;

use crate::source::read::{MAX_FILE, ReadError, read_text};
use crate::source::scan::{Scan, scan};

fn look(root: &Path) -> Scan {
    scan(root, &mut |_, _| ())
}

fn files(scan: &Scan) -> Vec<&str> {
    scan.files.keys().map(|file| &**file).collect()
}

fn write(root: &Path, file: &str) {
    let path = root.join(file);
    fs::create_dir_all(path.parent().expect("a parent")).expect("directory");
    fs::write(path, "a: 1\n").expect("write");
}

#[test]
fn a_scan_finds_yaml_and_json_at_any_depth_and_nothing_else() {
    let dir = TempDir::new().expect("tempdir");
    let wanted = ["a.yaml", "a/b/c.yml", "a/b/d.json", "z.json"];
    wanted.iter().for_each(|file| write(dir.path(), file));
    for file in [
        "readme.md",
        "a.yaml~",
        ".a.yaml.swp",
        "#a.yaml#",
        ".#a.yaml",
        ".hidden.yaml",
        ".git/config.yaml",
        "..data/x.yaml",
        "4913",
        "a.yaml.tmp",
    ] {
        write(dir.path(), file);
    }
    let mut entered = Vec::new();
    let scan = scan(dir.path(), &mut |path, _| entered.push(path.to_owned()));
    assert_eq!(files(&scan), wanted);
    assert!(scan.complete && scan.errors.is_empty() && scan.identity.is_some());
    assert_eq!(entered.len(), 3, "the root, a and a/b: {entered:?}");
    let directories: Vec<&str> = scan.directories.iter().map(|directory| &*directory.relative).collect();
    assert_eq!(directories, ["", "a", "a/b"]);
}

#[test]
fn a_state_tells_a_changed_file_even_if_its_times_were_set_back() {
    let dir = TempDir::new().expect("tempdir");
    write(dir.path(), "a.yaml");
    let path = dir.path().join("a.yaml");
    let before = look(dir.path());
    let modified = fs::metadata(&path).expect("metadata").modified().expect("time");
    std::thread::sleep(std::time::Duration::from_millis(20));
    fs::write(&path, "b: 2\n").expect("write");
    fs::File::options().write(true).open(&path).expect("open").set_modified(modified).expect("set back");
    let after = look(dir.path());
    assert_ne!(before.files["a.yaml"], after.files["a.yaml"]);
    assert_eq!(before.identity, after.identity);
}

#[test]
fn a_mounted_config_map_is_read_through_its_links() {
    let dir = TempDir::new().expect("tempdir");
    write(dir.path(), "..2024_1/a.yaml");
    write(dir.path(), "..2024_1/sub/b.yaml");
    symlink("..2024_1", dir.path().join("..data")).expect("link");
    symlink("..data/a.yaml", dir.path().join("a.yaml")).expect("link");
    symlink("..data/sub", dir.path().join("sub")).expect("link");
    let scan = look(dir.path());
    assert_eq!(files(&scan), ["a.yaml", "sub/b.yaml"]);
    assert!(scan.outside.iter().any(|path| path.ends_with("..2024_1")), "{:?}", scan.outside);
}

#[test]
fn loops_dead_links_and_special_files_are_refused_one_by_one() {
    let dir = TempDir::new().expect("tempdir");
    write(dir.path(), "a/good.yaml");
    symlink("..", dir.path().join("a/up")).expect("link");
    symlink("nowhere", dir.path().join("dead.yaml")).expect("link");
    symlink("self.yaml", dir.path().join("self.yaml")).expect("link");
    symlink("/dev/zero", dir.path().join("zero.yaml")).expect("link");
    let scan = look(dir.path());
    assert_eq!(files(&scan), ["a/good.yaml"]);
    let refused: Vec<&str> = scan.errors.keys().map(|file| &**file).collect();
    assert_eq!(refused, ["a/up", "dead.yaml", "self.yaml", "zero.yaml"]);
    assert!(scan.complete, "the rest was looked at nevertheless");
}

#[test]
fn a_root_that_is_missing_or_no_directory_has_no_identity() {
    let dir = TempDir::new().expect("tempdir");
    write(dir.path(), "file");
    for path in ["missing", "file"] {
        let scan = look(&dir.path().join(path));
        assert!(scan.identity.is_none() && !scan.complete, "{path}");
    }
}

#[test]
fn a_linked_root_has_the_identity_of_where_it_leads() {
    let dir = TempDir::new().expect("tempdir");
    write(dir.path(), "one/a.yaml");
    write(dir.path(), "two/a.yaml");
    let root = dir.path().join("current");
    symlink("one", &root).expect("link");
    let first = look(&root);
    assert_eq!(first.identity, look(&dir.path().join("one")).identity);
    fs::remove_file(&root).expect("remove");
    symlink("two", &root).expect("link");
    assert_ne!(first.identity, look(&root).identity);
}

#[test]
fn a_file_that_is_too_large_is_refused_without_being_read() {
    let dir = TempDir::new().expect("tempdir");
    let path = dir.path().join("a.yaml");
    fs::File::create(&path).expect("create").set_len(MAX_FILE + 1).expect("sparse");
    let scan = look(dir.path());
    assert!(scan.errors["a.yaml"].message.contains("bytes"));
    assert!(matches!(read_text(&path), Err(ReadError::Refused(_))));
    assert!(matches!(read_text(&dir.path().join("b.yaml")), Err(ReadError::Gone)));
}

#[test]
fn a_text_that_is_not_utf8_is_refused_where_it_is_not() {
    let dir = TempDir::new().expect("tempdir");
    let path = dir.path().join("a.yaml");
    fs::write(&path, b"a: 1\nb: \xc3\xa4\xff\n").expect("write");
    let Err(ReadError::Refused(error)) = read_text(&path) else { panic!("not UTF-8") };
    assert_eq!((error.position.line, error.position.column), (2, 5));
}

#[test]
fn an_unreadable_directory_hides_only_what_is_below_it() {
    let dir = TempDir::new().expect("tempdir");
    write(dir.path(), "a.yaml");
    write(dir.path(), "locked/b.yaml");
    let locked = dir.path().join("locked");
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o000)).expect("chmod");
    // A privileged user reads it all the same; then there is nothing to be seen here.
    let privileged = fs::read_dir(&locked).is_ok();
    let scan = look(dir.path());
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o755)).expect("chmod");
    if privileged {
        assert_eq!(files(&scan), ["a.yaml", "locked/b.yaml"]);
    } else {
        assert_eq!(files(&scan), ["a.yaml"]);
        assert!(scan.errors.contains_key("locked") && scan.complete);
    }
}
