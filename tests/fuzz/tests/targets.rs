//! Every target on what is kept of it, and on mutations of that for a bounded time.
//!
//! `SETPOINT_FUZZ_SECONDS` says for how long each (5), `SETPOINT_FUZZ_SEED` repeats a run's choices. An
//! input that breaks a promise is made as small as it gets and written to a file; kept in
//! `regressions/TARGET`, it is tried first from then on.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};
use setpoint_fuzz::{TARGETS, Target, corpus};

/// Inputs between two looks at the clock.
const BATCH: u32 = 32;

/// One change of an input.
#[derive(Clone, Debug)]
enum Edit {
    Insert(Index, Vec<u8>),
    Replace(Index, Vec<u8>),
    Remove(Index, usize),
    Repeat(Index, usize),
    Flip(Index, u8),
    Cut(Index),
}

impl Edit {
    fn apply(&self, data: &mut Vec<u8>) {
        let at = |index: &Index| index.index(data.len() + 1);
        match self {
            Self::Insert(index, word) => {
                let at = at(index);
                data.splice(at..at, word.iter().copied());
            }
            Self::Replace(index, word) => {
                let at = at(index);
                let end = data.len().min(at + word.len());
                data.splice(at..end, word.iter().copied());
            }
            Self::Remove(index, count) => {
                let at = at(index);
                let end = data.len().min(at + count);
                data.drain(at..end);
            }
            Self::Repeat(index, count) => {
                let at = at(index);
                let part = data[at..data.len().min(at + count)].to_vec();
                data.splice(at..at, part);
            }
            Self::Flip(index, bit) => {
                let at = at(index);
                if let Some(byte) = data.get_mut(at) {
                    *byte ^= 1 << (bit % 8);
                }
            }
            Self::Cut(index) => {
                let at = at(index);
                data.truncate(at);
            }
        }
    }
}

/// Examples with changes, two examples joined, and words in a row.
fn inputs(target: &'static Target, examples: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let words: Vec<Vec<u8>> = target.words.iter().map(|word| word.as_bytes().to_vec()).collect();
    let word = || prop_oneof![4 => select(words.clone()), 1 => vec(any::<u8>(), 1..8)];
    let place = any::<Index>;
    let edit = prop_oneof![
        3 => (place(), word()).prop_map(|(at, word)| Edit::Insert(at, word)),
        3 => (place(), word()).prop_map(|(at, word)| Edit::Replace(at, word)),
        2 => (place(), 1..40_usize).prop_map(|(at, count)| Edit::Remove(at, count)),
        2 => (place(), 1..200_usize).prop_map(|(at, count)| Edit::Repeat(at, count)),
        2 => (place(), any::<u8>()).prop_map(|(at, bit)| Edit::Flip(at, bit)),
        1 => place().prop_map(Edit::Cut),
    ];
    let example = || select(examples.clone());
    let joined = (example(), place(), example(), place()).prop_map(|(a, end, b, begin)| {
        let (end, begin) = (end.index(a.len() + 1), begin.index(b.len() + 1));
        [&a[..end], &b[begin..]].concat()
    });
    let begun = prop_oneof![6 => example(), 2 => joined, 1 => Just(Vec::new())];
    let changed = (begun, vec(edit, 0..8)).prop_map(|(mut data, edits)| {
        edits.iter().for_each(|edit| edit.apply(&mut data));
        data
    });
    let row = vec(word(), 0..24).prop_map(|words| words.concat());
    let longest = target.longest;
    prop_oneof![4 => changed, 1 => row].prop_map(move |mut data| {
        data.truncate(longest);
        data
    })
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// A seed's 32 bytes.
fn rng(seed: u64) -> TestRng {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    TestRng::from_seed(RngAlgorithm::ChaCha, &bytes)
}

/// Written beside what is built.
fn written(target: &Target, data: &[u8]) -> String {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("broken-{}", target.name));
    match fs::write(&file, data) {
        Ok(()) => format!("it is in {}; keep it in tests/fuzz/regressions/{}", file.display(), target.name),
        Err(error) => format!("{} cannot be written: {error}; its bytes: {data:?}", file.display()),
    }
}

fn keeps_its_promises(name: &str) {
    let target = Target::named(name).expect("a target of this name");
    let kept = corpus::of(name).expect("what is kept can be read");
    assert!(!kept.is_empty(), "there is no example in {}", corpus::examples(name).display());
    for input in &kept {
        // Named before, as what takes the process with it says no more.
        println!("{}", input.path);
        target.check(&input.data);
    }
    let seconds = number("SETPOINT_FUZZ_SECONDS").unwrap_or(5);
    let seed = number("SETPOINT_FUZZ_SEED").unwrap_or_else(|| {
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(1, |since| u64::from(since.subsec_nanos()))
    });
    let strategy = inputs(target, kept.into_iter().map(|input| input.data).collect());
    let config = Config { cases: BATCH, failure_persistence: None, max_shrink_time: 5_000, ..Config::default() };
    let (began, mut batches) = (Instant::now(), 0_u64);
    while began.elapsed() < Duration::from_secs(seconds) {
        let rng = rng(seed.wrapping_add(batches.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        let ran = TestRunner::new_with_rng(config.clone(), rng).run(&strategy, |data| {
            // What is slow ends early, and not after a whole batch.
            if began.elapsed() < Duration::from_secs(2 * seconds + 1) {
                target.check(&data);
            }
            Ok(())
        });
        match ran {
            Ok(()) => {}
            Err(TestError::Fail(reason, data)) => panic!(
                "{reason}\nSETPOINT_FUZZ_SEED={seed} finds this input:\n{}\n{}",
                String::from_utf8_lossy(&data),
                written(target, &data)
            ),
            Err(TestError::Abort(reason)) => panic!("no inputs: {reason}"),
        }
        batches += 1;
    }
    target.end();
    let tried = batches * u64::from(BATCH);
    println!("measured: fuzz {name}: {tried} inputs in {seconds} s, SETPOINT_FUZZ_SEED={seed}");
}

#[test]
fn a_text_of_yaml_is_read_or_refused_with_its_place() {
    keeps_its_promises("yaml");
}

#[test]
fn a_configuration_is_read_or_refused_with_its_place() {
    keeps_its_promises("config");
}

#[test]
fn a_selector_that_parses_survives_its_own_text() {
    keeps_its_promises("selector");
}

#[test]
fn a_mask_shows_at_its_paths_what_the_object_has_there() {
    keeps_its_promises("mask");
}

#[test]
fn whatever_an_mcp_server_writes_each_request_is_answered_once() {
    keeps_its_promises("mcp");
}

#[test]
fn a_grant_never_gives_more_than_was_written() {
    keeps_its_promises("grants");
}

#[test]
fn a_key_that_parses_survives_its_own_text() {
    keeps_its_promises("key");
}

#[test]
fn what_a_definition_admits_it_admits_again_as_it_is() {
    keeps_its_promises("schema");
}

#[test]
fn a_recording_is_read_or_refused_and_hides_what_is_secret() {
    keeps_its_promises("recording");
}

#[test]
fn no_outcome_gets_a_child_past_grants_and_description() {
    keeps_its_promises("outcome");
}

#[test]
fn a_damaged_component_is_refused_with_a_reason() {
    if std::env::var_os("SETPOINT_TEST_GUESTS").is_none() {
        println!("SKIPPED: SETPOINT_TEST_GUESTS is not set");
        return;
    }
    keeps_its_promises("component");
}

#[test]
fn a_request_is_answered_whatever_it_is_and_the_host_stays_well() {
    keeps_its_promises("http");
}

/// A target that nothing runs promises nothing.
#[test]
fn every_target_is_tried_here() {
    let this = include_str!("targets.rs");
    for target in &TARGETS {
        let call = format!("    keeps_its_promises(\"{}\");", target.name);
        assert!(this.lines().any(|line| line == call), "{} is not tried", target.name);
    }
}
