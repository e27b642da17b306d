//! `kill -9` at random instants under load: nothing accepted is lost, nothing needs a repair, and in
//! the end everything is as the files say (design §9.7). `SETPOINT_KILLS` says how often (30),
//! `SETPOINT_KILLS_SEED` repeats a run's choices.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use setpoint_e2e::{CONFIG_MAP, HOSTILE, echo, hostile, shows};
use setpoint_test_support::Host;

const ECHOES: usize = 12;
const OWNERS: usize = 4;
const PAUSED: &str = "/metadata/annotations/setpoint.dev~1paused";

/// xorshift64: the same choices for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    fn pick(&mut self, limit: usize) -> usize {
        usize::try_from(self.below(limit as u64)).unwrap_or_default()
    }
}

/// What the host has shown of an object, and must not forget.
#[derive(Clone, PartialEq, Debug)]
struct Seen {
    uid: Value,
    generation: u64,
}

/// What the files say, and what the host has accepted.
struct Model {
    /// The value in the file of each echo; none: there is no such file.
    echoes: Vec<Option<u64>>,
    /// The child that each owner's file wants beside the one that it always wants.
    owners: Vec<u64>,
    seen: BTreeMap<String, Seen>,
    /// What was answered; none while an answer is missing.
    disabled: Option<bool>,
    paused: Vec<Option<bool>>,
    next: u64,
}

fn owner_text(number: usize, child: u64) -> String {
    let children = format!("[{{name: o-{number}-keep}}, {{name: o-{number}-{child}}}]");
    hostile("Hostile", &format!("o-{number}"), &format!("behaviour: children, value: 0, children: {children}"))
}

impl Model {
    fn new() -> Self {
        Self {
            echoes: (0..ECHOES).map(|_| Some(0)).collect(),
            owners: vec![0; OWNERS],
            seen: BTreeMap::new(),
            disabled: Some(false),
            paused: vec![Some(false); OWNERS],
            next: 1,
        }
    }

    /// One change by somebody. The host may be killed before, during or after it.
    fn act(&mut self, host: &Host, random: &mut Random) {
        let (echo_at, owner_at) = (random.pick(ECHOES), random.pick(OWNERS));
        let name = format!("k-{echo_at}");
        match random.below(16) {
            0..6 => {
                self.echoes[echo_at] = Some(self.next);
                host.write(&format!("{name}.yaml"), &echo(&name, self.next));
                self.next += 1;
            }
            6 => {
                if self.echoes[echo_at].take().is_some() {
                    host.remove(&format!("{name}.yaml"));
                    self.seen.remove(&name);
                }
            }
            7..9 => {
                self.owners[owner_at] = random.below(3);
                host.write(&format!("o-{owner_at}.yaml"), &owner_text(owner_at, self.owners[owner_at]));
            }
            9 => {
                let child = Host::path(CONFIG_MAP, &format!("o-{owner_at}-{}", self.owners[owner_at]));
                // It comes back, and whether it was there is left to the moment.
                let _ = host.client().delete(&format!("/v1/objects/{child}"));
            }
            10..12 => {
                let path = Host::path(HOSTILE, &format!("o-{owner_at}"));
                let _ = host.client().post(&format!("/v1/reconciles/{path}/trigger"));
            }
            12 => {
                let wanted = random.below(2) == 0;
                let verb = if wanted { "disable" } else { "enable" };
                let path = format!("/v1/kinds/examples.setpoint.dev/Hostile/{verb}");
                self.disabled = None;
                self.disabled = accepted(host, &path).then_some(wanted);
            }
            13 => {
                let wanted = random.below(2) == 0;
                let verb = if wanted { "pause" } else { "resume" };
                let path = Host::path(HOSTILE, &format!("o-{owner_at}"));
                self.paused[owner_at] = None;
                self.paused[owner_at] = accepted(host, &format!("/v1/reconciles/{path}/{verb}")).then_some(wanted);
            }
            _ => self.look(host),
        }
    }

    /// Remembers what the host shows as current of what the files say now.
    fn look(&mut self, host: &Host) {
        let Ok(answer) = host.client().get("/v1/objects?kind=Hostile") else { return };
        let shown = answer.json();
        for object in shown.as_array().map(Vec::as_slice).unwrap_or_default() {
            let Some(name) = object["metadata"]["name"].as_str() else { continue };
            let current = match name.strip_prefix("k-").and_then(|number| number.parse::<usize>().ok()) {
                Some(number) => self.echoes[number].is_some_and(|value| object["spec"]["value"] == value),
                None => true,
            };
            if current && object["metadata"]["deletionTimestamp"].is_null() {
                self.seen.insert(name.to_owned(), seen(object));
            }
        }
    }

    /// What must be there right after a start.
    fn check(&self, host: &Host, story: &str) {
        let objects: BTreeMap<String, Value> = host
            .list("/v1/objects?kind=Hostile")
            .into_iter()
            .filter_map(|object| Some((object["metadata"]["name"].as_str()?.to_owned(), object)))
            .collect();
        for (name, before) in &self.seen {
            assert!(objects.contains_key(name), "{story}: {name} is lost\n{}", host.log_tail());
            host.wait_for(&format!("{story}: {name} is as new as it was shown to be: {before:?}"), |host| {
                let now = seen(&host.object(HOSTILE, name)?);
                assert_eq!(now.uid, before.uid, "{story}: {name} is another object");
                (now.generation >= before.generation).then_some(())
            });
        }
        if let Some(disabled) = self.disabled {
            let kinds = host.list("/v1/kinds");
            let kind = kinds.iter().find(|row| row["kind"] == "Hostile").unwrap_or(&Value::Null);
            assert_eq!(kind["disabled"], disabled, "{story}: an answered disable or enable is lost");
        }
        for (number, paused) in self.paused.iter().enumerate() {
            let (Some(paused), Some(object)) = (paused, objects.get(&format!("o-{number}"))) else { continue };
            let shown = object.pointer(PAUSED).is_some_and(|value| value == "true");
            assert_eq!(shown, *paused, "{story}: an answered pause or resume of o-{number} is lost");
        }
        for number in 0..OWNERS {
            let name = format!("o-{number}-keep");
            assert!(host.object(CONFIG_MAP, &name).is_some(), "{story}: {name}, which nobody gave up, is lost");
        }
    }

    /// Everything is let go, and becomes as the files say.
    fn converge(&mut self, host: &Host) {
        assert!(accepted(host, "/v1/kinds/examples.setpoint.dev/Hostile/enable"));
        self.disabled = Some(false);
        for number in 0..OWNERS {
            let path = Host::path(HOSTILE, &format!("o-{number}"));
            assert!(accepted(host, &format!("/v1/reconciles/{path}/resume")));
            self.paused[number] = Some(false);
        }
        for (number, value) in self.echoes.iter().enumerate() {
            let name = format!("k-{number}");
            host.wait_within(&format!("{name} is as its file says: {value:?}"), Duration::from_secs(60), |host| {
                match value {
                    Some(value) => shows(host, &name, *value).map(drop),
                    None => host.object(HOSTILE, &name).is_none().then_some(()),
                }
            });
        }
        for (number, child) in self.owners.iter().enumerate() {
            let mut wanted = vec![format!("o-{number}-keep"), format!("o-{number}-{child}")];
            wanted.sort();
            host.wait_within(&format!("the children of o-{number} are {wanted:?}"), Duration::from_secs(60), |host| {
                let prefix = format!("o-{number}-");
                let maps = host.list("/v1/objects?kind=ConfigMap");
                let names = maps.iter().filter_map(|map| map["metadata"]["name"].as_str());
                let mut there: Vec<&str> = names.filter(|name| name.starts_with(&prefix)).collect();
                there.sort_unstable();
                (there == wanted).then_some(())
            });
        }
        host.at_rest();
        // Changes in quick succession wait for quiet, which nothing shows from outside (rule C3).
        host.wait_within("a second passes without a write", Duration::from_secs(20), |host| {
            let before = host.versions();
            thread::sleep(Duration::from_secs(1));
            (host.versions() == before).then_some(())
        });
        let before = host.versions();
        host.never("nothing is written any more", Duration::from_millis(500), |host| host.versions() != before);
        assert_eq!(host.json("/v1/held"), json!([]));
    }
}

fn seen(object: &Value) -> Seen {
    let metadata = &object["metadata"];
    Seen { uid: metadata["uid"].clone(), generation: metadata["generation"].as_u64().unwrap_or_default() }
}

/// Whether it was answered with success. Without an answer it may or may not have happened.
fn accepted(host: &Host, path: &str) -> bool {
    host.client().post(path).is_ok_and(|answer| (200..300).contains(&answer.status))
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[test]
fn kills_at_random_instants_lose_nothing_that_was_accepted() {
    let kills = number("SETPOINT_KILLS").unwrap_or(30);
    let seed = number("SETPOINT_KILLS_SEED").unwrap_or_else(|| {
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(1, |since| u64::from(since.subsec_nanos()))
    });
    println!("measured: {kills} kills with SETPOINT_KILLS_SEED={seed}");
    // Never 0, of which xorshift makes nothing else.
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut model = Model::new();
    let mut setup = Host::setup().plugin("hostile");
    for at in 0..ECHOES {
        setup = setup.file(&format!("k-{at}.yaml"), &echo(&format!("k-{at}"), 0));
    }
    for at in 0..OWNERS {
        setup = setup.file(&format!("o-{at}.yaml"), &owner_text(at, 0));
    }
    let mut host = setup.start();
    host.all_synced(ECHOES + OWNERS, Duration::from_secs(20));
    model.look(&host);
    for kill in 1..=kills {
        let lives = Duration::from_millis(random.below(400));
        thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(lives);
                host.kill();
            });
            while host.ended().is_none() {
                model.act(&host, &mut random);
            }
        });
        host = host.start_again_without_waiting();
        model.check(&host, &format!("after kill {kill} of seed {seed}"));
    }
    model.converge(&host);
    let host = host.start_again();
    model.check(&host, &format!("at the end of seed {seed}"));
    model.converge(&host);
    assert_eq!(host.writes(), 0, "a start on what has converged writes nothing");
}
