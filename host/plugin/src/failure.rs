//! Why a call ended without an answer, in words (rule C8, design §4).

use wasmtime::{Error, Trap};

use crate::call::CallFailure;
use crate::limits::{LimitKind, MAX_FAILURE_TEXT, cut};
use crate::state::State;

/// How a call was ended.
#[derive(Debug)]
pub(crate) enum Stop {
    /// It took too long.
    Wall,
    /// The engine stopped it.
    Error(Error),
}

/// What to tell people: the limit or the trap, and what the plugin printed last (rule C8).
pub(crate) fn explain(stop: &Stop, state: &State) -> CallFailure {
    let printed = state.output.as_ref().map(|output| output.text()).unwrap_or_default();
    let beyond = |limit: LimitKind| (with_last_line(limit.sentence(&state.limits), &printed), Some(limit));
    let (message, limit) = match stop {
        Stop::Wall => beyond(LimitKind::Wall),
        Stop::Error(error) => match state.limit.or_else(|| limit_of(error)) {
            Some(limit) => beyond(limit),
            None => (message(error, &printed), None),
        },
    };
    CallFailure::Trap { message: cut(message, MAX_FAILURE_TEXT), limit }
}

fn limit_of(error: &Error) -> Option<LimitKind> {
    if error.downcast_ref::<Trap>() == Some(&Trap::StackOverflow) {
        return Some(LimitKind::Stack);
    }
    // The engine's error for this has a type that it does not name.
    let text = error.root_cause().to_string();
    text.starts_with("too much data is being copied between the host and the guest").then_some(LimitKind::OutcomeBytes)
}

fn message(error: &Error, printed: &str) -> String {
    if let Some(panic) = panic_message(printed) {
        return format!("the plugin panicked: {panic}");
    }
    let reason = error.root_cause().to_string();
    let reason = reason.strip_prefix("wasm trap: ").unwrap_or(&reason);
    with_last_line(format!("the plugin trapped: {reason}"), printed)
}

fn with_last_line(sentence: String, printed: &str) -> String {
    match printed.lines().rev().map(str::trim).find(|line| !line.is_empty()) {
        Some(last) => format!("{sentence}; it printed last: {last}"),
        None => sentence,
    }
}

/// The message of the last panic in what Rust prints: a line with the place, then the message, then
/// a note.
fn panic_message(printed: &str) -> Option<String> {
    let (_, panic) = printed.rsplit_once(" panicked at ")?;
    let (place, rest) = panic.split_once('\n').unwrap_or((panic, ""));
    let place = place.trim().trim_end_matches(':');
    let message = rest.split("\nnote: ").next().unwrap_or_default().trim();
    let message = message.strip_prefix("note: ").map_or(message, |_| "");
    Some(if message.is_empty() { format!("at {place}") } else { format!("{message} (at {place})") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_of_a_panic_is_found_in_what_was_printed() {
        let printed = "starting\n\nthread '<unnamed>' (1) panicked at src/lib.rs:10:5:\nno \"redis\": \
                       gone\nsecond line\nnote: run with `RUST_BACKTRACE=1` environment variable to display a backtrace\n";
        assert_eq!(panic_message(printed).as_deref(), Some("no \"redis\": gone\nsecond line (at src/lib.rs:10:5)"));
        let twice = format!("{printed}thread 'main' panicked at src/b.rs:1:1:\nagain\n");
        assert_eq!(panic_message(&twice).as_deref(), Some("again (at src/b.rs:1:1)"));
        assert_eq!(panic_message("thread 'main' panicked at src/b.rs:1:1:\n").as_deref(), Some("at src/b.rs:1:1"));
        assert_eq!(
            panic_message("thread 'main' panicked at src/b.rs:1:1:\nnote: run with").as_deref(),
            Some("at src/b.rs:1:1")
        );
        assert_eq!(panic_message("all is well\n"), None);
    }

    #[test]
    fn without_a_panic_the_trap_and_the_last_line_are_told() {
        let error = Error::from(Trap::UnreachableCodeReached);
        assert_eq!(message(&error, ""), "the plugin trapped: wasm `unreachable` instruction executed");
        assert_eq!(
            message(&error, "one\nmemory allocation of 5 bytes failed\n\n"),
            "the plugin trapped: wasm `unreachable` instruction executed; it printed last: memory allocation of 5 bytes failed"
        );
    }

    #[test]
    fn a_limit_is_told_with_the_last_line() {
        let sentence = || "timeout: the call took longer than 30s".to_owned();
        assert_eq!(with_last_line(sentence(), " \n"), sentence());
        assert_eq!(
            with_last_line(sentence(), "one\nasking the moon\n"),
            "timeout: the call took longer than 30s; it printed last: asking the moon"
        );
    }

    #[test]
    fn an_exhausted_stack_is_a_limit() {
        assert_eq!(limit_of(&Error::from(Trap::StackOverflow)), Some(LimitKind::Stack));
        assert_eq!(limit_of(&Error::from(Trap::MemoryOutOfBounds)), None);
    }
}
