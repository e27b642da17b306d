//! Which processes are there, and whose are they?
//!
//! On Linux `/proc` answers it, in full for the descendants of one process: the keeper is a subreaper,
//! so what descends from it stays below it whatever it does. Elsewhere, and where there is no `/proc`,
//! only process groups are known.

use std::collections::{BTreeMap, BTreeSet};

use rustix::process::{Pid, Signal, kill_process, kill_process_group, test_kill_process_group};

/// The variable that marks a process, and all that it starts, as belonging to one start of one host:
/// the host's mark, a dot, and the number of the start.
pub(crate) const TAG: &str = "SETPOINT_PROCESS";

/// One process, for as long as it lives: the number alone is used again for others.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Process {
    pid: i32,
    /// When it began, in ticks of the system.
    began: u64,
}

/// What can be told to end.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Target {
    Process(Process),
    Group(i32),
}

/// What is looked for: everything that one start brought about.
#[derive(Debug)]
pub(crate) struct Family<'a> {
    pub(crate) id: u64,
    /// The process that was started, which leads the group of the same number.
    pub(crate) leader: i32,
    /// Whether that number still is its own.
    pub(crate) leader_is_there: bool,
    /// Members that were seen before.
    pub(crate) seen: &'a BTreeSet<Process>,
}

/// What belongs to a family.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Member {
    pub(crate) target: Target,
    /// It left the group of the leader.
    pub(crate) escaped: bool,
}

impl Member {
    /// Itself, if it is known as more than a part of a group.
    pub(crate) fn process(&self) -> Option<Process> {
        match self.target {
            Target::Process(process) => Some(process),
            Target::Group(_) => None,
        }
    }
}

/// The living members of each family, and those descendants of `keeper` that belong to none.
#[derive(Default, Debug)]
pub(crate) struct Survey {
    pub(crate) members: BTreeMap<u64, Vec<Member>>,
    pub(crate) strangers: Vec<Target>,
}

impl Survey {
    /// Looks at everything below `keeper`, whose mark in the environment is `mark`.
    pub(crate) fn take(keeper: i32, mark: &str, families: &[Family<'_>]) -> Self {
        match table() {
            Some(table) => sort(&table, keeper, families, |pid| tag_of(pid, mark)),
            None => groups(families),
        }
    }
}

/// Only what is in the group of its leader.
fn groups(families: &[Family<'_>]) -> Survey {
    let mut survey = Survey::default();
    for family in families {
        if Pid::from_raw(family.leader).is_some_and(|leader| test_kill_process_group(leader).is_ok()) {
            let group = Member { target: Target::Group(family.leader), escaped: false };
            survey.members.insert(family.id, vec![group]);
        }
    }
    survey
}

/// All processes with this mark, whoever is their parent: for when the keeper is gone.
pub(crate) fn marked(mark: &str) -> Vec<Target> {
    let table = table().unwrap_or_default();
    let marked = table.iter().filter(|row| !row.dead && tag_of(row.process.pid, mark).is_some());
    marked.map(|row| Target::Process(row.process)).collect()
}

/// Sends a signal. What is gone meanwhile is no error.
pub(crate) fn signal(target: Target, signal: Signal) {
    match target {
        Target::Group(leader) => {
            if let Some(leader) = Pid::from_raw(leader) {
                let _gone = kill_process_group(leader, signal);
            }
        }
        Target::Process(process) => {
            if let Some(pid) = Pid::from_raw(process.pid) {
                signal_process(process, pid, signal);
            }
        }
    }
}

/// A handle is taken first, and the number looked at again after: a number that is used for another
/// process by now is never hit.
#[cfg(target_os = "linux")]
fn signal_process(process: Process, pid: Pid, signal: Signal) {
    use rustix::process::{PidfdFlags, pidfd_open, pidfd_send_signal};
    let handle = pidfd_open(pid, PidfdFlags::empty());
    if row(process.pid).is_none_or(|row| row.process != process) {
        return;
    }
    let sent = handle.and_then(|handle| pidfd_send_signal(handle, signal));
    // Kernels and sandboxes without handles.
    if matches!(sent, Err(rustix::io::Errno::NOSYS | rustix::io::Errno::PERM)) {
        let _gone = kill_process(pid, signal);
    }
}

#[cfg(not(target_os = "linux"))]
fn signal_process(_: Process, pid: Pid, signal: Signal) {
    let _gone = kill_process(pid, signal);
}

/// A row of the table of processes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Row {
    process: Process,
    parent: i32,
    group: i32,
    /// It has ended, and nobody has asked how yet.
    dead: bool,
}

/// All processes; none where there is no such table.
fn table() -> Option<Vec<Row>> {
    if !cfg!(target_os = "linux") {
        return None;
    }
    let mut rows = Vec::new();
    for entry in std::fs::read_dir("/proc").ok()?.flatten() {
        let pid = entry.file_name().to_str().and_then(|name| name.parse().ok());
        rows.extend(pid.and_then(row));
    }
    // Not to see even oneself means that nothing can be seen.
    (!rows.is_empty()).then_some(rows)
}

fn row(pid: i32) -> Option<Row> {
    // The name in it is whatever the process says.
    let text = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    parse(pid, &String::from_utf8_lossy(&text))
}

/// A line of `/proc/PID/stat` (proc(5)). The name stands in brackets and may have any in itself.
fn parse(pid: i32, stat: &str) -> Option<Row> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let ended = matches!(fields.next()?, "Z" | "X" | "x");
    let parent = fields.next()?.parse().ok()?;
    let group = fields.next()?.parse().ok()?;
    // Fields 3 to 5 are read; its threads are counted in field 20, it began in field 22.
    let threads: u64 = fields.nth(14)?.parse().ok()?;
    let began = fields.nth(1)?.parse().ok()?;
    // One whose first thread has ended goes on with the others.
    let dead = ended && threads <= 1;
    Some(Row { process: Process { pid, began }, parent, group, dead })
}

/// The number of the start in the environment of a process, if it has this mark.
fn tag_of(pid: i32, mark: &str) -> Option<u64> {
    let environment = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
    tag_in(&environment, mark)
}

fn tag_in(environment: &[u8], mark: &str) -> Option<u64> {
    let variables = environment.split(|byte| *byte == 0).filter_map(|variable| std::str::from_utf8(variable).ok());
    let tag = variables.filter_map(|variable| variable.strip_prefix(TAG)?.strip_prefix('=')).next()?;
    tag.strip_prefix(mark)?.strip_prefix('.')?.parse().ok()
}

/// Walks down from the keeper. What a member started is a member, whatever it did since; one whose
/// parent is gone is known by its group, because it was seen before, or by the tag in its environment.
fn sort(table: &[Row], keeper: i32, families: &[Family<'_>], tag: impl Fn(i32) -> Option<u64>) -> Survey {
    let mut children: BTreeMap<i32, Vec<&Row>> = BTreeMap::new();
    for row in table {
        children.entry(row.parent).or_default().push(row);
    }
    let own_family = |row: &Row| {
        let known = families.iter().find(|family| {
            (family.leader_is_there && family.leader == row.process.pid)
                || family.leader == row.group
                || family.seen.contains(&row.process)
        });
        let known = known.map(|family| family.id);
        known.or_else(|| tag(row.process.pid).filter(|id| families.iter().any(|family| family.id == *id)))
    };
    let mut survey = Survey::default();
    // Nobody is its own ancestor, but a table that was read while it changed may say so.
    let below = |parent: i32| children.get(&parent).into_iter().flatten().copied();
    let mut waiting: Vec<(&Row, Option<u64>)> = below(keeper).map(|row| (row, None)).collect();
    let mut looked_at = BTreeSet::from([keeper]);
    while let Some((row, of_parent)) = waiting.pop() {
        if !looked_at.insert(row.process.pid) {
            continue;
        }
        let id = of_parent.or_else(|| own_family(row));
        if !row.dead {
            let target = Target::Process(row.process);
            match id {
                Some(id) => {
                    let escaped = families.iter().all(|family| family.id != id || family.leader != row.group);
                    survey.members.entry(id).or_default().push(Member { target, escaped });
                }
                None => survey.strangers.push(target),
            }
        }
        waiting.extend(below(row.process.pid).map(|row| (row, id)));
    }
    survey
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEEPER: i32 = 100;

    fn at(pid: i32, parent: i32, group: i32) -> Row {
        Row { process: Process { pid, began: 1 }, parent, group, dead: false }
    }

    fn pid(target: Target) -> i32 {
        match target {
            Target::Process(process) => process.pid,
            Target::Group(leader) => -leader,
        }
    }

    fn pids(members: &[Member]) -> Vec<i32> {
        let mut pids: Vec<i32> = members.iter().map(|member| pid(member.target)).collect();
        pids.sort_unstable();
        pids
    }

    fn families(seen: &BTreeSet<Process>) -> [Family<'_>; 2] {
        [
            Family { id: 1, leader: 200, leader_is_there: true, seen },
            Family { id: 2, leader: 300, leader_is_there: false, seen: const { &BTreeSet::new() } },
        ]
    }

    #[test]
    fn a_line_about_a_process_is_read_whatever_its_name_is() {
        let tail = "S 1 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 1 1 18446744073709551615";
        let threads = "Z 1 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 3 0 987654 1 1 18446744073709551615";
        for name in ["(sh)", "(a b)", "(:-) S 9 9 9)", "(\u{fffd}()"] {
            let row = parse(42, &format!("42 {name} {tail}")).expect("it is a line");
            assert_eq!(row, Row { process: Process { pid: 42, began: 987_654 }, parent: 1, group: 42, dead: false });
        }
        assert!(parse(42, &format!("42 (sh) Z{}", &tail[1..])).expect("it is a line").dead);
        assert!(!parse(42, &format!("42 (sh) {threads}")).expect("it is a line").dead, "two threads go on");
        for broken in ["", "42 (sh)", "42 (sh) S", "42 (sh) S x y z", "42 (sh) S 1 42 42 0 -1"] {
            assert_eq!(parse(42, broken), None, "{broken}");
        }
    }

    #[test]
    fn a_tag_is_found_among_other_variables_and_only_that_of_the_host() {
        let of = |environment: &str| tag_in(environment.replace(' ', "\0").as_bytes(), "mark");
        assert_eq!(of("PATH=/bin SETPOINT_PROCESS=mark.17 A="), Some(17));
        for other in ["", "A=SETPOINT_PROCESS=mark.17", "SETPOINT_PROCESS=other.17", "SETPOINT_PROCESS=mark.x"] {
            assert_eq!(of(other), None, "{other}");
        }
        assert_eq!(tag_in(b"\xff\xfe\0SETPOINT_PROCESS=mark.1\0", "mark"), Some(1));
    }

    #[test]
    fn members_are_found_by_ancestor_group_memory_and_tag() {
        let seen = BTreeSet::from([Process { pid: 230, began: 1 }]);
        let table = [
            at(1, 0, 1),
            at(KEEPER, 50, KEEPER),
            at(200, KEEPER, 200),
            at(210, 200, 200),
            // Went into a session of its own, below a member.
            at(220, 210, 220),
            // Its parent is gone, and it was seen before.
            at(230, KEEPER, 230),
            at(231, 230, 231),
            // The leader of the other family is gone, and its group is not.
            at(310, KEEPER, 300),
            // A tag is all that is left.
            at(320, KEEPER, 320),
            // Nothing is left.
            at(400, KEEPER, 400),
            // Not below the keeper, with the number of a group.
            at(500, 1, 200),
            Row { dead: true, ..at(240, 200, 200) },
        ];
        let tag = |pid: i32| (pid == 320).then_some(2);
        let survey = sort(&table, KEEPER, &families(&seen), tag);
        assert_eq!(pids(&survey.members[&1]), [200, 210, 220, 230, 231]);
        assert_eq!(pids(&survey.members[&2]), [310, 320]);
        let escaped: Vec<Member> = survey.members[&1].iter().copied().filter(|member| member.escaped).collect();
        assert_eq!(pids(&escaped), [220, 230, 231]);
        assert_eq!(survey.strangers.iter().map(|target| pid(*target)).collect::<Vec<_>>(), [400]);
    }

    #[test]
    fn the_number_of_a_leader_that_is_gone_names_nobody() {
        let seen = BTreeSet::new();
        let survey = sort(&[at(300, KEEPER, 7)], KEEPER, &families(&seen), |_| None);
        assert!(survey.members.is_empty());
        assert_eq!(survey.strangers.iter().map(|target| pid(*target)).collect::<Vec<_>>(), [300]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_signal_never_hits_another_process_of_the_same_number() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("sleep is there");
        let pid = i32::try_from(child.id()).expect("a small number");
        let process = row(pid).expect("it is there").process;
        signal(Target::Process(Process { began: process.began + 1, ..process }), Signal::KILL);
        std::thread::sleep(std::time::Duration::from_millis(100));
        assert!(child.try_wait().expect("it is a child").is_none(), "the wrong one was hit");
        signal(Target::Process(process), Signal::KILL);
        child.wait().expect("it ended");
    }

    proptest! {
        /// A process names itself, and writes its environment, as it likes.
        #[test]
        fn what_a_process_says_of_itself_is_read_without_harm(text in ".{0,80}", bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _nothing = (parse(1, &text), tag_in(&bytes, "mark"));
            let tail = "S 7 8 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 1 1";
            let row = parse(1, &format!("1 ({text}) {tail}")).expect("it is a line");
            prop_assert_eq!((row.parent, row.group, row.process.began), (7, 8, 987_654));
        }

        /// Whatever the table says, each descendant is looked at once, and nobody else is.
        #[test]
        fn exactly_the_descendants_are_sorted(
            parents in proptest::collection::vec((0i32..12, 0i32..12), 1..12),
            tags in proptest::collection::vec(proptest::option::of(0u64..4), 12),
        ) {
            let table: Vec<Row> = parents.iter().enumerate().map(|(at, (parent, group))| {
                Row { process: Process { pid: at as i32, began: 0 }, parent: *parent, group: *group, dead: false }
            }).collect();
            let seen = BTreeSet::new();
            let families = [Family { id: 1, leader: 3, leader_is_there: true, seen: &seen }];
            let survey = sort(&table, 0, &families, |pid| tags[pid as usize]);
            let mut sorted: Vec<i32> = survey.strangers.iter().map(|target| pid(*target)).collect();
            sorted.extend(survey.members.values().flat_map(|targets| pids(targets)));
            sorted.sort_unstable();
            let mut below = BTreeSet::from([0]);
            for _ in 0..table.len() {
                below.extend(table.iter().filter(|row| below.contains(&row.parent)).map(|row| row.process.pid).collect::<Vec<_>>());
            }
            // The keeper itself is not among them, unless a broken table says that it is below one of them.
            sorted.retain(|pid| *pid != 0);
            let expected: Vec<i32> = below.into_iter().filter(|pid| *pid != 0).collect();
            prop_assert_eq!(sorted, expected);
        }
    }
}
