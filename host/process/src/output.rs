//! What a process wrote last to standard output and standard error: lines with their time, within a
//! bound, however much it writes and however it is cut into lines.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::net::unix::pipe;
use tokio::sync::watch;
use tokio::time::Instant;

/// What is kept of each stream, in bytes, with [`LINE_COST`] for each line.
pub const KEPT: usize = 64 * 1024;
/// What is kept of one line, in bytes. The rest of a longer one is dropped.
pub const LONGEST_LINE: usize = 8 * 1024;
/// What a line counts besides its text.
pub const LINE_COST: usize = 48;

const REDACTED: &str = "[REDACTED]";
/// Longer secrets are looked for in pieces of this size, so that one that is cut off is found as well.
const PIECE: usize = 256;
/// Shorter ones are found everywhere, and hide nothing.
const SHORTEST_SECRET: usize = 4;

/// Read at once.
const CHUNK: usize = 16 * 1024;
/// A process that writes more than [`FLOOD`] bytes within [`WINDOW`] waits for the rest of it: the host
/// has other things to do. So at most 20 MiB/s are read of each stream.
const FLOOD: usize = 1024 * 1024;
const WINDOW: Duration = Duration::from_millis(50);

/// A stream of output.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// One line that a process wrote.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub struct Line {
    /// When it was complete, or what there is of it was read: Unix milliseconds.
    pub at: u64,
    /// Where it was written.
    pub stream: Stream,
    /// The text, without secrets of the process and without the line's end. What is not UTF-8 is
    /// replaced; control characters are as they came.
    pub text: String,
    /// Whether it was longer than [`LONGEST_LINE`], and the rest is missing.
    pub cut: bool,
}

#[derive(Debug)]
struct Kept {
    /// Its place among the lines of both streams.
    number: u64,
    line: Line,
}

/// The end of one stream.
#[derive(Debug, Default)]
struct Ring {
    lines: VecDeque<Kept>,
    bytes: usize,
    /// A line without its end, up to [`LONGEST_LINE`] and what it takes to find a secret that is cut.
    open: Vec<u8>,
    /// There was more of it.
    overflow: bool,
    /// The last byte was a carriage return, which a line feed belongs to.
    returned: bool,
}

#[derive(Debug, Default)]
struct Rings {
    stdout: Ring,
    stderr: Ring,
    written: u64,
    /// What must not be shown, longest first.
    secrets: Vec<String>,
}

/// The output of one process, over all its starts.
#[derive(Debug, Default)]
pub(crate) struct Output {
    rings: Mutex<Rings>,
    /// How often something was written; [`ENDED`] when nobody is to wait for more.
    writes: watch::Sender<u64>,
}

/// What [`Output::writes`] stays at.
const ENDED: u64 = u64::MAX;

/// Tells when a process has written something.
#[derive(Clone, Debug)]
pub struct OutputChanges(watch::Receiver<u64>);

impl OutputChanges {
    /// Waits until something was written that was not told of before; the first time for nothing, since what was
    /// written is not known yet. None when the process is not supervised any more. Given up while it waits, nothing is
    /// lost.
    pub async fn next(&mut self) -> Option<()> {
        self.0.changed().await.ok()?;
        (*self.0.borrow_and_update() != ENDED).then_some(())
    }
}

impl Output {
    fn rings(&self) -> MutexGuard<'_, Rings> {
        // Right after every step, so one left by a panic is as good.
        self.rings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells of what is written from now on.
    pub(crate) fn changes(&self) -> OutputChanges {
        let mut writes = self.writes.subscribe();
        writes.mark_changed();
        OutputChanges(writes)
    }

    /// Who waits for more waits for nothing.
    pub(crate) fn close(&self) {
        self.writes.send_replace(ENDED);
    }

    fn wrote(&self) {
        self.writes.send_modify(|writes| *writes = writes.saturating_add(1));
    }

    /// What must not be shown from now on.
    pub(crate) fn hide<'a>(&self, secrets: impl Iterator<Item = &'a str>) {
        let mut pieces: Vec<String> = secrets.flat_map(pieces).collect();
        pieces.sort_unstable_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        pieces.dedup();
        self.rings().secrets = pieces;
    }

    /// The lines of both streams as they came, an unfinished one of each at the end.
    pub(crate) fn lines(&self) -> Vec<Line> {
        let rings = self.rings();
        let mut kept: Vec<(u64, Line)> = Vec::new();
        for (stream, ring) in [(Stream::Stdout, &rings.stdout), (Stream::Stderr, &rings.stderr)] {
            kept.extend(ring.lines.iter().map(|kept| (kept.number, kept.line.clone())));
            if !ring.open.is_empty() {
                let mut open = line(stream, &ring.open, ring.overflow, &rings.secrets);
                without_beginning(&mut open.text, &rings.secrets);
                kept.push((u64::MAX, open));
            }
        }
        kept.sort_by_key(|(number, _)| *number);
        kept.into_iter().map(|(_, line)| line).collect()
    }

    pub(crate) fn push(&self, stream: Stream, bytes: &[u8]) {
        let mut rings = self.rings();
        let Rings { stdout, stderr, written, secrets } = &mut *rings;
        let ring = if stream == Stream::Stdout { stdout } else { stderr };
        let mut rest = bytes;
        while let Some(at) = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            ring.add(&rest[..at]);
            let feed = rest[at] == b'\n';
            // What overwrites itself, as progress does, is lines as well.
            if !(feed && ring.returned && ring.open.is_empty()) && (feed || !ring.open.is_empty()) {
                ring.finish(stream, written, secrets);
            }
            ring.returned = !feed;
            rest = &rest[at + 1..];
        }
        if !rest.is_empty() {
            ring.add(rest);
            ring.returned = false;
        }
        drop(rings);
        self.wrote();
    }

    /// A stream has ended: what there is of its last line is a line.
    fn end(&self, stream: Stream) {
        let mut rings = self.rings();
        let Rings { stdout, stderr, written, secrets } = &mut *rings;
        let ring = if stream == Stream::Stdout { stdout } else { stderr };
        if !ring.open.is_empty() {
            ring.finish(stream, written, secrets);
        }
        ring.returned = false;
        drop(rings);
        self.wrote();
    }
}

impl Ring {
    fn add(&mut self, bytes: &[u8]) {
        let room = (LONGEST_LINE + 2 * PIECE).saturating_sub(self.open.len());
        self.overflow |= bytes.len() > room;
        self.open.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn finish(&mut self, stream: Stream, written: &mut u64, secrets: &[String]) {
        let line = line(stream, &self.open, self.overflow, secrets);
        self.open.clear();
        // A long line is no reason to hold its room for ever.
        self.open.shrink_to(256);
        self.overflow = false;
        self.bytes += line.text.len() + LINE_COST;
        self.lines.push_back(Kept { number: *written, line });
        *written += 1;
        while self.bytes > KEPT
            && let Some(oldest) = self.lines.pop_front()
        {
            self.bytes -= oldest.line.text.len() + LINE_COST;
        }
    }
}

fn line(stream: Stream, bytes: &[u8], overflow: bool, secrets: &[String]) -> Line {
    let whole = String::from_utf8_lossy(bytes);
    Line { at: now(), stream, text: redacted(&whole, secrets), cut: overflow || whole.len() > LONGEST_LINE }
}

/// The first [`LONGEST_LINE`] bytes of the text, without secrets that begin in it.
fn redacted(text: &str, secrets: &[String]) -> String {
    let end = (0..=text.len().min(LONGEST_LINE)).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    let mut shown = String::new();
    let mut at = 0;
    while at < end {
        // The longest comes first, so it is the one that counts where several begin.
        let found = secrets.iter().filter_map(|secret| Some((text[at..].find(secret.as_str())? + at, secret.len())));
        let Some((start, length)) = found.min_by_key(|(start, _)| *start).filter(|(start, _)| *start < end) else {
            shown.push_str(&text[at..end]);
            break;
        };
        shown.push_str(&text[at..start]);
        shown.push_str(REDACTED);
        at = start + length;
    }
    shown
}

/// The text without the beginning of a secret of which the rest has not come yet.
fn without_beginning(text: &mut String, secrets: &[String]) {
    let begins = |secret: &String| {
        let lengths = (SHORTEST_SECRET..secret.len()).rev().filter(|length| secret.is_char_boundary(*length));
        lengths.into_iter().find(|length| text.ends_with(&secret[..*length]))
    };
    if let Some(length) = secrets.iter().filter_map(begins).max() {
        text.truncate(text.len() - length);
        text.push_str(REDACTED);
    }
}

/// A secret as it may come: line by line, and long lines in pieces.
fn pieces(secret: &str) -> Vec<String> {
    let mut pieces = Vec::new();
    for line in secret.split(['\n', '\r']).filter(|line| line.len() >= SHORTEST_SECRET) {
        if line.len() <= PIECE {
            pieces.push(line.to_owned());
            continue;
        }
        // Of one size, so that none is so short that it hides something else.
        let chars: Vec<char> = line.chars().collect();
        let count = chars.len().div_ceil(PIECE / 4);
        pieces.extend(chars.chunks(chars.len().div_ceil(count)).map(String::from_iter));
    }
    pieces
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Reads a stream to its end.
pub(crate) async fn read(pipe: pipe::Receiver, stream: Stream, output: &Output) {
    let mut window = Instant::now();
    let mut in_window = 0;
    loop {
        if pipe.readable().await.is_err() {
            break;
        }
        match read_some(&pipe, stream, output) {
            Ok(0) => break,
            Ok(read) => in_window += read,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
            Err(_) => break,
        }
        if window.elapsed() >= WINDOW {
            (window, in_window) = (Instant::now(), 0);
        } else if in_window > FLOOD {
            tokio::time::sleep_until(window + WINDOW).await;
        }
    }
    output.end(stream);
}

/// In a function of its own, so that a stream that says nothing holds no buffer.
fn read_some(pipe: &pipe::Receiver, stream: Stream, output: &Output) -> std::io::Result<usize> {
    let mut buffer = [0; CHUNK];
    let read = pipe.try_read(&mut buffer)?;
    output.push(stream, &buffer[..read]);
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn texts(output: &Output) -> Vec<String> {
        output.lines().into_iter().map(|line| line.text).collect()
    }

    #[test]
    fn lines_of_both_streams_come_in_the_order_in_which_they_were_finished() {
        let output = Output::default();
        output.push(Stream::Stdout, b"one\ntw");
        output.push(Stream::Stderr, b"bad\n");
        output.push(Stream::Stdout, b"o\nand a promp");
        assert_eq!(texts(&output), ["one", "bad", "two", "and a promp"]);
        assert_eq!(output.lines()[1].stream, Stream::Stderr);
        output.end(Stream::Stdout);
        output.push(Stream::Stderr, b"last\n");
        assert_eq!(texts(&output), ["one", "bad", "two", "and a promp", "last"]);
    }

    #[test]
    fn returns_and_line_feeds_end_lines_and_blank_lines_stay() {
        let output = Output::default();
        for part in ["a\r\n\r\nb\n\nc\r", "\nd\r10%\r20%\r", "done\n"] {
            output.push(Stream::Stdout, part.as_bytes());
        }
        assert_eq!(texts(&output), ["a", "b", "", "c", "d", "10%", "20%", "done"]);
    }

    #[test]
    fn a_line_without_an_end_costs_no_more_than_the_longest_line() {
        let output = Output::default();
        for _ in 0..1_000 {
            output.push(Stream::Stderr, &[b'x'; 10_000]);
        }
        assert!(output.rings().stderr.open.capacity() <= 4 * LONGEST_LINE);
        output.push(Stream::Stderr, b"\nnext\n");
        let lines = output.lines();
        assert_eq!((lines[0].text.len(), lines[0].cut), (LONGEST_LINE, true));
        assert_eq!((lines[1].text.as_str(), lines[1].cut), ("next", false));
    }

    #[test]
    fn secrets_of_the_process_are_not_in_its_output_wherever_they_are_cut() {
        let output = Output::default();
        let long = "0123456789abcdef".repeat(4_000);
        let secrets = ["hunter2", "first line\nsecond line\n", "abc", &long];
        output.hide(secrets.into_iter());
        output.push(Stream::Stdout, b"password=hunt");
        output.push(Stream::Stdout, b"er2!\nfirst line\n-second line-\nabc\n");
        output.push(Stream::Stdout, format!("key={long}\n").as_bytes());
        output.push(Stream::Stdout, b"open hunter2 hunte");
        let texts = texts(&output);
        assert_eq!(texts[..4], ["password=[REDACTED]!", "[REDACTED]", "-[REDACTED]-", "abc"]);
        assert!(!texts[4].contains("0123456789"), "{}", texts[4]);
        assert_eq!(texts[5], "open [REDACTED] [REDACTED]", "the rest may be on its way");
    }

    #[tokio::test]
    async fn who_follows_is_woken_by_what_is_written_and_by_nothing_else() {
        let output = Output::default();
        let mut changes = output.changes();
        assert_eq!(changes.next().await, Some(()), "what is there is not known yet");
        let nothing = tokio::time::timeout(Duration::from_millis(50), changes.next()).await;
        assert!(nothing.is_err(), "nothing was written");
        output.push(Stream::Stderr, b"one\n");
        output.push(Stream::Stderr, b"two\n");
        assert_eq!(changes.next().await, Some(()));
        assert!(tokio::time::timeout(Duration::from_millis(50), changes.next()).await.is_err(), "both are told of");
        output.close();
        output.push(Stream::Stderr, b"what is still in the pipe\n");
        assert_eq!((changes.next().await, texts(&output).len()), (None, 3));
    }

    proptest! {
        /// Whatever comes, in whatever pieces, a secret is never shown, and what is kept is bounded.
        #[test]
        fn no_secret_is_shown_at_any_time(
            parts in proptest::collection::vec(
                prop_oneof![
                    3 => Just(b"hunter2hunter3".to_vec()),
                    1 => Just(b"hunter".to_vec()),
                    2 => proptest::collection::vec(any::<u8>(), 0..40),
                    1 => (0usize..LONGEST_LINE + 600).prop_map(|length| vec![b'x'; length]),
                    1 => Just(b"\n".to_vec()),
                ],
                1..40,
            ),
            cut in 1usize..7,
        ) {
            let output = Output::default();
            output.hide(["hunter2", "hunter2hunter3"].into_iter());
            for part in parts {
                for piece in part.chunks(if part.len() > 100 { 997 } else { cut }) {
                    output.push(Stream::Stderr, piece);
                }
                let lines = output.lines();
                for line in &lines {
                    prop_assert!(!line.text.contains("hunter2"), "{:?}", line.text);
                    // What stands for a short secret is longer than it.
                    prop_assert!(line.text.len() <= 2 * LONGEST_LINE, "{}", line.text.len());
                }
                let cost: usize = lines.iter().map(|line| line.text.len() + LINE_COST).sum();
                prop_assert!(cost <= KEPT + 2 * LONGEST_LINE);
            }
        }

        /// However the bytes come, the lines are those of the whole text, and what is kept is the end of them.
        #[test]
        fn the_end_of_the_text_is_kept_however_it_comes(
            lines in proptest::collection::vec("[a-zé ]{0,2000}", 0..120),
            cuts in proptest::collection::vec(1usize..5_000, 1..20),
        ) {
            let output = Output::default();
            let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
            let (mut rest, mut at) = (text.as_bytes(), 0);
            while !rest.is_empty() {
                let (part, after) = rest.split_at(cuts[at % cuts.len()].min(rest.len()));
                output.push(Stream::Stdout, part);
                (rest, at) = (after, at + 1);
            }
            let kept = texts(&output);
            prop_assert_eq!(&kept[..], &lines[lines.len() - kept.len()..]);
            let cost = |lines: &[String]| lines.iter().map(|line| line.len() + LINE_COST).sum::<usize>();
            prop_assert!(cost(&kept) <= KEPT);
            let dropped = lines.len() - kept.len();
            prop_assert!(dropped == 0 || cost(&lines[dropped - 1..]) > KEPT, "more is dropped than has to be");
        }
    }
}
