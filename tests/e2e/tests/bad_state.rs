//! State that cannot be read or written any more: the host says what happened and what to do, and
//! never starts empty and deletes (rule D10, design §9.7).

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};
use setpoint_e2e::{CONFIG_BUNDLE, CONFIG_MAP, HOSTILE, config_bundle, config_map, echo, hostile};
use setpoint_test_support::{Host, Setup, Start, Stopped};

const STORE: &str = ".setpoint/state.redb";
/// Of the fleet: reconciled objects.
const RECONCILED: usize = 3;

fn fleet() -> Setup {
    Host::setup()
        .plugin("hostile")
        .plugin("config-bundle")
        .file("a.yaml", &echo("a", 1))
        .file("parent.yaml", &parent(15))
        .file("bundle.yaml", &config_bundle("shop"))
        .file("m.yaml", &config_map("m", &[("bundle", "shop")], &[("k", "v")]))
}

/// An owner of so many children. A word that is nowhere else marks its place in the state.
fn parent(children: usize) -> String {
    let list = (0..children).map(|number| format!("{{name: c-{number}}}")).collect::<Vec<_>>().join(", ");
    hostile("Hostile", "parent", &format!("behaviour: children, value: unmistakable, children: [{list}]"))
}

fn child_names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("c-{number}")).collect()
}

/// Everything is there as the files say, and nothing was deleted on the way.
fn is_whole(host: &Host) {
    host.all_synced(RECONCILED, Duration::from_secs(20));
    host.at_rest();
    for name in child_names(15) {
        assert!(host.object(CONFIG_MAP, &name).is_some(), "{name} is gone");
    }
    assert_eq!(host.object(CONFIG_MAP, "shop").map(|map| map["data"].clone()), Some(json!({"k": "v"})));
    assert!(host.object(CONFIG_BUNDLE, "shop").is_some());
    assert_eq!(host.metric("setpoint_deletes_total", &[]), 0.0, "{}", host.log_tail());
}

/// It does not start, and says what it did and what to do.
fn refused(stopped: Stopped) -> Stopped {
    match stopped.try_start() {
        Start::Up(host) => panic!("it started\n{}", host.log_tail()),
        Start::Refused(stopped, ran) => {
            let said = ran.failed(1);
            assert!(said.contains("set aside") && said.contains("setpoint repair"), "{said}");
            stopped
        }
    }
}

/// What becomes of the bytes of a store.
type Damage = fn(Vec<u8>) -> Vec<u8>;

#[test]
fn a_state_that_is_none_is_set_aside_repaired_by_hand_and_nothing_is_deleted() {
    let mut host = fleet().start();
    is_whole(&host);
    let damages: [(&str, Damage); 2] = [
        ("something else", |_| b"this is no database\n".repeat(10_000)),
        ("without its beginning", |mut bytes| {
            bytes[..4096].fill(0xff);
            bytes
        }),
    ];
    for (damage, spoil) in damages {
        let stopped = host.stop();
        let spoiled = spoil(stopped.read(STORE));
        stopped.write(STORE, &spoiled);
        let stopped = refused(stopped);
        // It stays so until somebody acts: an empty start would be a lie.
        let stopped = refused(stopped);
        let left = fs::read_dir(stopped.root().join(".setpoint")).unwrap_or_else(|error| panic!("{error}"));
        let mut aside = left.flatten().filter(|entry| entry.file_name().to_string_lossy().contains(".corrupt-"));
        let kept = aside.any(|entry| fs::read(entry.path()).is_ok_and(|bytes| bytes == spoiled));
        assert!(kept, "{damage}: what was set aside is kept as it was");
        let said = stopped.cli(&["repair"]).ok();
        assert!(!said.trim().is_empty(), "{damage}: it says what was kept");
        host = stopped.start();
        is_whole(&host);
    }
}

#[test]
fn a_state_that_is_damaged_somewhere_never_makes_the_host_delete() {
    let mut host = fleet().start();
    is_whole(&host);
    let middle = |mut bytes: Vec<u8>, part: usize| {
        let at = bytes.len() * part / 4;
        bytes[at..at + 64].fill(0xa5);
        bytes
    };
    for damage in ["nothing in it", "the first half of it", "a quarter", "the middle", "three quarters"] {
        let stopped = host.stop();
        let whole = stopped.read(STORE);
        let half = whole.len() / 2;
        let spoiled = match damage {
            "nothing in it" => Vec::new(),
            "the first half of it" => whole[..half].to_vec(),
            "a quarter" => middle(whole, 1),
            "the middle" => middle(whole, 2),
            _ => middle(whole, 3),
        };
        stopped.write(STORE, spoiled);
        // Whether it is noticed depends on what was there; either way nothing is lost.
        host = match stopped.try_start() {
            Start::Up(host) => host,
            Start::Refused(stopped, ran) => {
                let said = ran.failed(1);
                assert!(said.contains("setpoint repair"), "{damage}: {said}");
                stopped.cli(&["repair"]).ok();
                stopped.start()
            }
        };
        is_whole(&host);
    }
}

#[test]
fn after_a_repair_nothing_is_deleted_until_somebody_has_looked() {
    let host = fleet().start();
    is_whole(&host);
    let stopped = host.stop();
    // One object's row is damaged, so that the whole cannot be trusted; the others can be read.
    let mut bytes = stopped.read(STORE);
    let word = b"unmistakable\"";
    let places: Vec<usize> =
        bytes.windows(word.len()).enumerate().filter(|(_, part)| *part == word.as_slice()).map(|(at, _)| at).collect();
    assert!(!places.is_empty(), "the word is not in the state");
    for at in places {
        bytes[at + word.len() - 1] = b'\\';
    }
    stopped.write(STORE, bytes);
    let stopped = refused(stopped);
    stopped.cli(&["repair"]).ok();
    // Twelve of fifteen children are wanted no more: more than a person would let go unseen.
    stopped.write("resources/parent.yaml", parent(3));
    let host = stopped.start_without_waiting();
    host.wait_for("the deletions are held", |host| {
        let rows = host.list("/v1/held");
        let held: usize = rows.iter().filter_map(|row| row["deletions"].as_array()).map(Vec::len).sum();
        (held == 12 && rows.iter().all(|row| row["left"] == 0)).then_some(())
    });
    let missing = |host: &Host| child_names(15).iter().any(|name| host.object(CONFIG_MAP, name).is_none());
    host.never("nothing may be deleted", Duration::from_millis(500), missing);
    host.cli(&["confirm", "hostile"]).ok();
    host.wait_for("confirmed, they go", |host| {
        let there = child_names(15).iter().filter(|name| host.object(CONFIG_MAP, name).is_some()).count();
        (there == 3).then_some(())
    });
}

#[test]
fn a_full_disk_is_said_and_loses_nothing_that_was_accepted() {
    let host = Host::setup()
        .plugin("hostile")
        .file("a.yaml", &echo("a", 1))
        .file("h.yaml", &hostile("Hostile", "h", "behaviour: children, value: 0, children: [{name: c}]"))
        .start();
    host.all_synced(2, Duration::from_secs(20));
    host.cli(&["pause", "hostile", "a"]).ok();
    host.at_rest();
    let identities = |host: &Host| {
        let of = |kind: &str, name: &str| host.object(kind, name).map(|object| object["metadata"]["uid"].clone());
        [of(HOSTILE, "a"), of(HOSTILE, "h"), of(CONFIG_MAP, "c")]
    };
    let before = identities(&host);
    assert!(before.iter().all(Option::is_some), "{before:?}");
    let stopped = host.stop();
    let size = stopped.read(STORE).len() as u64;
    let host = stopped.with_largest_file(Some(size.next_multiple_of(512))).start();
    let mut files = 0;
    let why = host.wait_within("it says that it can keep no more", Duration::from_secs(60), |host| {
        if files < 64 {
            let spec = format!("behaviour: ok, value: {}", "x".repeat(1 << 20));
            host.write(&format!("big-{files}.yaml"), &hostile("Hostile", &format!("big-{files}"), &spec));
            files += 1;
        }
        let answer = host.get("/readyz");
        (answer.status == 503).then_some(answer.text).filter(|text| text.contains("cannot be written"))
    });
    assert!(why.contains("free space"), "it says what to do: {why}");
    // What cannot be kept is not accepted.
    let said = host.cli(&["disable", "hostile"]).failed(1);
    assert!(said.contains("cannot be written"), "{said}");

    let host = host.cut_off().with_largest_file(None).start_without_waiting();
    assert_eq!(identities(&host), before);
    let object = host.object(HOSTILE, "a").unwrap_or_default();
    let paused = &object["metadata"]["annotations"]["setpoint.dev/paused"];
    assert_eq!(*paused, "true", "an answered pause is not forgotten: {object}");
    let kinds = host.list("/v1/kinds");
    let kind = kinds.iter().find(|row| row["kind"] == "Hostile").unwrap_or(&Value::Null);
    assert_eq!(kind["disabled"], false, "what was refused has not happened");
    host.wait_within("with room again, every file is through", Duration::from_secs(60), |host| {
        let rows = host.rows("Hostile");
        let done = |row: &&Value| {
            row["state"] == "Synced" && row["name"].as_str().is_some_and(|name| name.starts_with("big-"))
        };
        (rows.iter().filter(done).count() == files).then_some(())
    });
    host.wait_for("it is ready", |host| host.ready().then_some(()));
    assert_eq!(host.metric("setpoint_deletes_total", &[]), 0.0);
}
