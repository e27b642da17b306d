//! Whatever the disk does, at whatever write: what was answered is kept, what was shown is kept, and
//! nothing is deleted that nobody deleted (design §9.7, rule D10).

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::Mutex;

use proptest::prelude::*;
use serde_json::json;
use setpoint_core::key::Source;
use setpoint_core::op::{Answer, Op, Refusal};

use super::super::keeping::Board;
use super::super::open::read_table;
use super::super::store::Store;
use super::super::{Durable, Local, Table};
use super::disk::{Disk, Fault};
use super::*;
use crate::{Cluster, Sink};

/// What there is, as far as somebody gave it: uids and times aside.
type Picture = BTreeMap<String, Value>;

fn entry(key: &Key, object: &Object) -> (String, Value) {
    let value = object.value();
    let content = json!({
        "spec": value["spec"], "status": value["status"], "annotations": value["metadata"]["annotations"],
        "terminating": object.terminating(),
    });
    (key.to_string(), content)
}

/// What the watch showed last.
#[derive(Default)]
struct Watcher(Mutex<Picture>);

impl Watcher {
    fn picture(&self) -> Picture {
        self.0.lock().unwrap().clone()
    }
}

impl Sink for Watcher {
    fn observed(&self, key: &Key, object: Option<Arc<Object>>) {
        let mut picture = self.0.lock().unwrap();
        match object {
            Some(object) => picture.extend([entry(key, &object)]),
            None => drop(picture.remove(&key.to_string())),
        }
    }
    fn source_known(&self, _: &Source) {}
    fn source_unknown(&self, _: &Source, _: &str) {}
}

#[derive(Clone, Debug)]
enum Step {
    /// A file gives an object of this size.
    File(u8, i64),
    /// The file of an object is gone.
    FileGone(u8),
    Child(u8, i64),
    Delete(u8),
    Status(u8, i64),
    Finalizer(u8, bool),
    Pause(u8, bool),
    Bookkeeping(u8),
}

fn named(number: u8) -> Key {
    key(&format!("o{number}"))
}

/// Begins a step, and answers when it is kept. A step that is refused by a rule changes nothing.
fn begin(local: &Local, step: &Step) -> Durable {
    let there = |number: u8| local.read(|model| model.get(&named(number)));
    let nothing = || local.flush();
    let perform = |op: Option<Op>| op.map_or_else(nothing, |op| local.begin(&op).1);
    match step {
        Step::File(number, size) => {
            let key = named(*number);
            match local.desired(&key, document(&key, json!({"spec": {"size": size}})), "f.yaml") {
                Ok((_, durable)) => durable,
                Err(_) => nothing(),
            }
        }
        Step::FileGone(number) => local.undesired(&named(*number)),
        Step::Child(number, size) => perform(Some(apply_op(&named(*number), A, true, json!({"spec": {"size": size}})))),
        Step::Delete(number) => local.change(|model, now| model.delete(now, &named(*number))).1,
        Step::Status(number, count) => {
            perform(there(*number).map(|object| status_op(&object, &named(*number), STATUS, json!({"count": count}))))
        }
        Step::Finalizer(number, present) => {
            perform(there(*number).map(|object| finalizer_op(&object, &named(*number), *present)))
        }
        Step::Pause(number, paused) => {
            let value = paused.then_some("true");
            local.change(|model, now| model.annotate(now, &named(*number), "setpoint.dev/paused", value)).1
        }
        Step::Bookkeeping(number) => local.bookkeeping_put("note", Some(&[*number])),
    }
}

fn shown(local: &Local) -> Picture {
    local.all().iter().map(|(key, object)| entry(key, object)).collect()
}

/// What there is before each step and after the last, on a cluster that never fails; with the value
/// in the bookkeeping.
fn pictures(steps: &[Step]) -> Vec<(Picture, Option<Vec<u8>>)> {
    let local = Local::in_memory(Arc::new(Watcher::default()));
    local.install_kind(crd(&redis())).wait().unwrap();
    let look = |local: &Local| (shown(local), local.bookkeeping_get("note"));
    let mut pictures = vec![look(&local)];
    for step in steps {
        begin(&local, step).wait().unwrap();
        pictures.push(look(&local));
    }
    pictures
}

/// A cluster on a disk, with its kind served and all of that on the disk.
fn cluster(disk: &Disk) -> (Local, Arc<Watcher>) {
    let watcher = Arc::new(Watcher::default());
    let board = Arc::new(Board::new(model(), watcher.clone()));
    let store = Store::start(disk.open(), board.clone()).expect("the writer starts");
    let local = Local::with("local".into(), board, Some(store), Arc::new(|| 0));
    local.install_kind(crd(&redis())).wait().unwrap();
    (local, watcher)
}

/// What a host finds that is started on a disk, and that it can write there.
fn restarted(disk: &Disk) -> (Picture, Option<Vec<u8>>) {
    let database = disk.open();
    let mut rows = Vec::new();
    for table in Table::ALL {
        read_table(&database, table, &mut rows).expect("the disk works");
    }
    let mut model = Model::load(7, rows).expect("rows that were kept can be read");
    model.install_kind(crd(&redis()));
    let board = Arc::new(Board::new(model, Arc::new(Watcher::default())));
    let store = Store::start(database, board.clone()).expect("the writer starts");
    let local = Local::with("local".into(), board, Some(store), Arc::new(|| 0));
    let found = (shown(&local), local.bookkeeping_get("note"));
    local.bookkeeping_put("later", Some(b"1")).wait().expect("there is room again");
    found
}

fn scenario() -> Vec<Step> {
    vec![
        Step::File(0, 1),
        Step::Child(1, 1),
        Step::Finalizer(0, true),
        Step::Status(0, 3),
        Step::Bookkeeping(1),
        Step::File(0, 2),
        Step::Pause(1, true),
        Step::FileGone(0),
        Step::Child(2, 5),
        Step::Delete(1),
        Step::Finalizer(0, false),
        Step::Bookkeeping(2),
    ]
}

/// Plays the scenario one step after the other on a disk that fails, and checks everything that is
/// promised. Answers whether the fault came.
fn play_on(fault: Fault) -> bool {
    let steps = scenario();
    let pictures = pictures(&steps);
    let disk = Disk::default();
    let (local, watcher) = cluster(&disk);
    disk.arm(Some(fault));
    let failed = steps.iter().position(|step| begin(&local, step).wait().is_err());
    let done = failed.unwrap_or(steps.len());
    let seen = (shown(&local), local.bookkeeping_get("note"));
    assert_eq!(seen, pictures[done], "{fault:?}: what is shown is what is kept");
    assert_eq!(watcher.picture(), pictures[done].0, "{fault:?}: what was told is what is kept");
    if failed.is_some() {
        let trouble = local.trouble().expect("it is said");
        assert!(trouble.contains("cannot be written") && trouble.contains("restart"), "{trouble}");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let answer = runtime.block_on(local.perform(apply_op(&key("later"), A, false, json!({"spec": {}}))));
        assert!(matches!(&answer, Answer::Refused(Refusal::Transient(text)) if *text == trouble), "{answer:?}");
        assert!(!shown(&local).contains_key(&key("later").to_string()));
    }
    local.close();
    drop(local);
    let found = restarted(&disk.mended());
    let after = pictures.get(done + 1).unwrap_or(&pictures[done]);
    let before = &pictures[done];
    assert!(found == *before || found == *after, "{fault:?}: {found:?} is not {before:?} or {after:?}");
    failed.is_some()
}

/// How many operations of the disk the scenario takes.
fn operations() -> u64 {
    let disk = Disk::default();
    let (local, _) = cluster(&disk);
    disk.arm(None);
    for step in scenario() {
        begin(&local, &step).wait().unwrap();
    }
    disk.operations()
}

#[test]
fn a_full_or_broken_disk_at_any_write_loses_nothing_that_was_answered() {
    let count = operations();
    assert!(count > 20, "{count} operations are no scenario");
    let failed = (0..count).filter(|number| play_on(Fault::From(*number, ErrorKind::StorageFull))).count();
    assert!(failed > 20, "{failed} of {count} operations matter");
}

#[test]
fn one_failure_at_any_write_ends_the_writing_and_nothing_is_half_done() {
    for number in 0..operations() {
        let kind = if number % 2 == 0 { ErrorKind::StorageFull } else { ErrorKind::Other };
        play_on(Fault::Once(number, kind));
    }
}

#[test]
fn a_change_is_shown_only_when_it_is_kept() {
    let disk = Disk::default();
    let (local, watcher) = cluster(&disk);
    begin(&local, &Step::File(0, 1)).wait().unwrap();
    begin(&local, &Step::Finalizer(0, true)).wait().unwrap();
    disk.arm(Some(Fault::From(0, ErrorKind::StorageFull)));
    let before = watcher.picture();
    assert!(local.undesired(&named(0)).wait().is_err());
    let marked = local.object(&named(0)).is_some_and(|object| object.terminating());
    assert!(!marked && watcher.picture() == before, "a deletion mark that is not kept was shown");
    assert!(!local.read(|model| model.get(&named(0)).unwrap().terminating()), "and reads go on with what is kept");
}

#[test]
fn a_kind_is_not_announced_by_a_store_that_has_failed() {
    #[derive(Default)]
    struct Known(Mutex<Vec<String>>);
    impl Sink for Known {
        fn observed(&self, _: &Key, _: Option<Arc<Object>>) {}
        fn source_known(&self, source: &Source) {
            self.0.lock().unwrap().push(format!("{} known", source.kind.kind));
        }
        fn source_unknown(&self, source: &Source, _: &str) {
            self.0.lock().unwrap().push(format!("{} unknown", source.kind.kind));
        }
    }
    let disk = Disk::default();
    let known = Arc::new(Known::default());
    let board = Arc::new(Board::new(model(), known.clone()));
    let store = Store::start(disk.open(), board.clone()).expect("the writer starts");
    let local = Local::with("local".into(), board, Some(store), Arc::new(|| 0));
    disk.arm(Some(Fault::From(0, ErrorKind::StorageFull)));
    // What the file says cannot be taken: that the object is absent is not proven by that.
    let refused = local.desired(&named(0), document(&named(0), json!({"spec": {}})), "f.yaml");
    assert!(refused.unwrap().1.wait().is_err());
    local.announce(&[kind()]);
    local.doubt(&[kind()], "for a test");
    assert_eq!(*known.0.lock().unwrap(), ["Redis unknown"]);
}

#[test]
fn whoever_panics_over_a_change_ends_the_writing_and_not_its_telling_why() {
    struct Clumsy;
    impl Sink for Clumsy {
        fn observed(&self, key: &Key, _: Option<Arc<Object>>) {
            assert!(&*key.name != "o1", "o1 is too much");
        }
        fn source_known(&self, _: &Source) {}
        fn source_unknown(&self, _: &Source, _: &str) {}
    }
    let disk = Disk::default();
    let board = Arc::new(Board::new(model(), Arc::new(Clumsy)));
    let store = Store::start(disk.open(), board.clone()).expect("the writer starts");
    let local = Local::with("local".into(), board, Some(store), Arc::new(|| 0));
    begin(&local, &Step::Child(0, 1)).wait().unwrap();
    assert_eq!(local.trouble(), None);
    begin(&local, &Step::Child(1, 1)).wait().expect("it is on disk, whatever became of the telling");
    let text = local.trouble().expect("it is said");
    assert!(text.contains("o1 is too much") && text.contains("restart it"), "{text}");
    let refused = begin(&local, &Step::Child(2, 1)).wait().unwrap_err();
    assert_eq!(refused.to_string(), text, "nothing more is taken, and the reason is given at once");
    assert!(local.object(&named(1)).is_some() && local.object(&named(2)).is_none(), "reads show what is on disk");
    local.close();
    assert_eq!(restarted(&disk).0.len(), 2);
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0u8..4, 1i64..5).prop_map(|(name, size)| Step::File(name, size)),
        1 => (0u8..4).prop_map(Step::FileGone),
        3 => (0u8..4, 1i64..5).prop_map(|(name, size)| Step::Child(name, size)),
        1 => (0u8..4).prop_map(Step::Delete),
        2 => (0u8..4, 0i64..9).prop_map(|(name, count)| Step::Status(name, count)),
        2 => (0u8..4, any::<bool>()).prop_map(|(name, present)| Step::Finalizer(name, present)),
        1 => (0u8..4, any::<bool>()).prop_map(|(name, paused)| Step::Pause(name, paused)),
        1 => any::<u8>().prop_map(Step::Bookkeeping),
    ];
    prop::collection::vec(step, 1..14)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_loss_of_power_at_any_moment_leaves_what_was_answered_and_what_was_shown(
        steps in steps(), at in 0u64..80, luck in any::<u64>(), at_once in any::<bool>(),
    ) {
        let pictures = pictures(&steps);
        let disk = Disk::default();
        let (local, watcher) = cluster(&disk);
        disk.arm(Some(Fault::Power(at)));
        let results: Vec<bool> = if at_once {
            // Many writes share a commit: all of it is there, or nothing.
            let waiting: Vec<Durable> = steps.iter().map(|step| begin(&local, step)).collect();
            waiting.into_iter().map(|durable| durable.wait().is_ok()).collect()
        } else {
            steps.iter().map(|step| begin(&local, step).wait().is_ok()).collect()
        };
        let done = results.iter().take_while(|kept| **kept).count();
        prop_assert!(results[done..].iter().all(|kept| !kept), "nothing is answered behind a failure: {:?}", results);
        local.close();
        let (told, seen) = (watcher.picture(), shown(&local));
        prop_assert_eq!(&told, &seen);
        drop(local);
        let found = restarted(&disk.after_power_loss(luck));
        prop_assert!(
            pictures[done..].contains(&found),
            "{:?} was found, which is nothing from {:?} on", found, pictures[done]
        );
        if done == steps.len() {
            prop_assert_eq!(&found, &pictures[done]);
        }
        prop_assert!(pictures[..=done].iter().any(|(picture, _)| *picture == told), "{:?} was told", told);
    }
}
