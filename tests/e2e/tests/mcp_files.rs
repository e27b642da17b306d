//! Files of MCP servers that come and go faster than the host believes it (rule D2): the last state on disk wins.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use setpoint_e2e::{MCP_SERVER, PROBE, PROCESS, in_state, pid_of, test_mcp_server};
use setpoint_test_support::Host;

/// What the files say of a server at a moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Said {
    /// No file defines it.
    Nothing,
    /// The one file does.
    One,
    /// Another file does, and otherwise.
    Other,
}

const ALL: [Said; 3] = [Said::Nothing, Said::One, Said::Other];
/// Between two steps: within the debounce, and about as long as a removal takes to be believed.
const PAUSES: [u64; 4] = [0, 60, 300, 600];
/// A removal is believed after a second. One that was undone well before it was none.
const BELIEVED: Duration = Duration::from_millis(700);
const SETTLED: Duration = Duration::from_secs(12);

/// One server with the states that its files go through.
struct Played {
    name: String,
    pause: Duration,
    states: [Said; 3],
    /// What the files say now.
    now: Said,
    gone_since: Option<Instant>,
    /// It was never gone for so long that it may have been deleted.
    same: bool,
}

impl Played {
    fn file(&self, said: Said) -> String {
        format!("{}/{}.yaml", if said == Said::One { "one" } else { "other" }, self.name)
    }

    fn step(&mut self, host: &Host, next: Said) {
        if self.now != Said::Nothing && self.now != next {
            host.remove(&self.file(self.now));
            self.gone_since = Some(Instant::now());
        }
        if next != Said::Nothing {
            host.write(&self.file(next), &text(&self.name, next));
            let gone = self.gone_since.take().map(|since| since.elapsed()).unwrap_or_default();
            self.same &= gone < BELIEVED;
        }
        self.now = next;
    }
}

fn text(name: &str, said: Said) -> String {
    test_mcp_server(name, &["--name", if said == Said::One { "one" } else { "other" }], "")
}

fn uid(host: &Host, name: &str) -> Option<Value> {
    host.object(MCP_SERVER, name).map(|object| object["metadata"]["uid"].clone())
}

/// All states in all orders, three steps long, at several speeds. Every server runs at first.
#[test]
fn however_files_of_servers_come_and_go_the_last_state_on_disk_wins() {
    let orders = ALL.iter().flat_map(|a| ALL.iter().flat_map(move |b| ALL.iter().map(move |c| [*a, *b, *c])));
    let mut all: Vec<Played> = orders
        .enumerate()
        .map(|(at, states)| Played {
            name: format!("s{at}"),
            pause: Duration::from_millis(PAUSES[at % PAUSES.len()]),
            states,
            now: Said::One,
            gone_since: None,
            same: true,
        })
        .collect();
    // One that stays, so that the directory is seen to be there.
    let mut setup = Host::setup().plugin("mcp-server").arg("--grant").arg("mcp-server=process");
    setup = setup.file("stays.yaml", &test_mcp_server("stays", &[], ""));
    for played in &all {
        setup = setup.file(&played.file(Said::One), &text(&played.name, Said::One));
    }
    let host = setup.start();
    for played in &all {
        host.wait_within(&format!("{} runs", played.name), SETTLED, |host| in_state(host, &played.name, "Running"));
    }
    let before: Vec<_> = all.iter().map(|played| (uid(&host, &played.name), pid_of(&host, &played.name))).collect();

    let began = Instant::now();
    let mut groups: BTreeMap<Duration, Vec<&mut Played>> = BTreeMap::new();
    for played in &mut all {
        groups.entry(played.pause).or_default().push(played);
    }
    thread::scope(|scope| {
        for (pause, mut group) in groups {
            let host = &host;
            scope.spawn(move || {
                for step in 0..3 {
                    for played in &mut group {
                        let next = played.states[step];
                        played.step(host, next);
                    }
                    thread::sleep(pause);
                }
            });
        }
    });
    for (played, (first, pid)) in all.iter().zip(&before) {
        let (name, last) = (&played.name, played.now);
        let what = format!("{name} is as {:?} with {:?} between them leave it", played.states, played.pause);
        host.wait_within(&what, SETTLED, |host| match last {
            Said::Nothing => {
                [MCP_SERVER, PROCESS, PROBE].iter().all(|kind| host.object(kind, name).is_none()).then_some(())
            }
            _ => {
                let said = if last == Said::One { "one" } else { "other" };
                let probe = host.object(PROBE, name)?;
                (in_state(host, name, "Running").is_some() && probe["status"]["server"]["name"] == said).then_some(())
            }
        });
        if last != Said::Nothing && played.same {
            assert_eq!(uid(&host, name), *first, "{what}: it was made anew");
        }
        if last == Said::One && played.same && !played.states.contains(&Said::Other) {
            assert_eq!(pid_of(&host, name), *pid, "{what}: it was restarted though nothing of it changed");
        }
    }
    // And it stays so: nothing that was seen late is still to come.
    host.at_rest();
    let after = host.versions();
    host.never("nothing changes any more", Duration::from_millis(1_500), |host| host.versions() != after);
    let running = host.rows("Process").len();
    assert_eq!(running, 1 + all.iter().filter(|played| played.now != Said::Nothing).count());
    println!(
        "measured: {} interleavings, from the first step to rest: {:.1} s",
        all.len(),
        began.elapsed().as_secs_f64()
    );
}
