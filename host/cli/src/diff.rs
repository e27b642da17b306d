//! The difference of two texts, line by line, as `diff -u` shows it.

use std::fmt::Write;
use std::ops::Range;

use anstyle::{AnsiColor, Style};

/// Lines around a change that are shown as well.
const CONTEXT: usize = 3;
/// Texts that differ in more lines than this are shown as one that goes and one that comes: the
/// time and memory that the smallest difference takes grow with the square of it.
const MOST: usize = 1_000;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Edit<'t> {
    Keep(&'t str),
    Remove(&'t str),
    Add(&'t str),
}

impl Edit<'_> {
    fn changes(self) -> bool {
        !matches!(self, Edit::Keep(_))
    }
}

/// What has to be done to `before` to make it `after`: hunks with three lines of context, `- ` before
/// what goes and `+ ` before what comes. The blank keeps lists in YAML readable. Nothing if they
/// have the same lines.
pub(crate) fn unified(before: &str, after: &str) -> String {
    let edits = script(&before.lines().collect::<Vec<_>>(), &after.lines().collect::<Vec<_>>());
    let mut text = String::new();
    for hunk in hunks(&edits) {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}", header(&edits, &hunk));
        for edit in &edits[hunk] {
            let (mark, line) = match edit {
                Edit::Keep(line) => ("  ", line),
                Edit::Remove(line) => ("- ", line),
                Edit::Add(line) => ("+ ", line),
            };
            let mark = if line.is_empty() { mark.trim_end() } else { mark };
            let _ = writeln!(text, "{mark}{line}");
        }
    }
    text
}

/// A difference in colours: red goes, green comes.
pub(crate) fn coloured(unified: &str) -> String {
    let colour = |line: &str| match line.as_bytes().first() {
        Some(b'-') => Style::new().fg_color(Some(AnsiColor::Red.into())),
        Some(b'+') => Style::new().fg_color(Some(AnsiColor::Green.into())),
        Some(b'@') => Style::new().fg_color(Some(AnsiColor::Cyan.into())),
        _ => Style::new(),
    };
    unified
        .lines()
        .map(|line| {
            let style = colour(line);
            format!("{style}{line}{style:#}\n")
        })
        .collect()
}

/// Ranges of edits that are shown together.
fn hunks(edits: &[Edit<'_>]) -> Vec<Range<usize>> {
    let mut hunks: Vec<Range<usize>> = Vec::new();
    for (at, _) in edits.iter().enumerate().filter(|(_, edit)| edit.changes()) {
        let range = at.saturating_sub(CONTEXT)..(at + CONTEXT + 1).min(edits.len());
        match hunks.last_mut() {
            Some(last) if range.start <= last.end => last.end = range.end,
            _ => hunks.push(range),
        }
    }
    hunks
}

/// `@@ -line,lines +line,lines @@`, as patches have it: an empty range names the line before it.
fn header(edits: &[Edit<'_>], hunk: &Range<usize>) -> String {
    let lines = |range: &[Edit<'_>], side: fn(&Edit<'_>) -> bool| range.iter().filter(|edit| side(edit)).count();
    let part = |side: fn(&Edit<'_>) -> bool| {
        let (above, within) = (lines(&edits[..hunk.start], side), lines(&edits[hunk.clone()], side));
        format!("{},{within}", if within == 0 { above } else { above + 1 })
    };
    let old = part(|edit| !matches!(edit, Edit::Add(_)));
    let new = part(|edit| !matches!(edit, Edit::Remove(_)));
    format!("@@ -{old} +{new} @@")
}

/// The edits that make one text of the other. Where lines are replaced, what goes stands first.
fn script<'t>(before: &[&'t str], after: &[&'t str]) -> Vec<Edit<'t>> {
    let head = before.iter().zip(after).take_while(|(a, b)| a == b).count();
    let (old, new) = (&before[head..], &after[head..]);
    let tail = old.iter().rev().zip(new.iter().rev()).take_while(|(a, b)| a == b).count();
    let (old, new) = (&old[..old.len() - tail], &new[..new.len() - tail]);
    let mut edits: Vec<Edit<'t>> = before[..head].iter().copied().map(Edit::Keep).collect();
    match shortest(old, new) {
        Some(middle) => edits.extend(middle),
        None => {
            edits.extend(old.iter().copied().map(Edit::Remove));
            edits.extend(new.iter().copied().map(Edit::Add));
        }
    }
    edits.extend(before[before.len() - tail..].iter().copied().map(Edit::Keep));
    for run in edits.chunk_by_mut(|a, b| a.changes() && b.changes()) {
        run.sort_by_key(|edit| matches!(edit, Edit::Add(_)));
    }
    edits
}

/// The fewest removals and additions, by the greedy algorithm of Myers (An O(ND) Difference Algorithm
/// and Its Variations, 1986). None: they are more than [`MOST`].
fn shortest<'t>(before: &[&'t str], after: &[&'t str]) -> Option<Vec<Edit<'t>>> {
    let (n, m) = (before.len() as isize, after.len() as isize);
    let most = MOST.min(before.len() + after.len()) as isize;
    // Diagonals run from -most - 1 to most + 1.
    let at = |diagonal: isize| (diagonal + most + 1) as usize;
    // How many lines of `before` are behind us at best, by diagonal; and so before each round.
    let mut furthest = vec![0_isize; (2 * most + 3) as usize];
    let mut rounds: Vec<Vec<isize>> = Vec::new();
    let adds = |furthest: &[isize], round: isize, diagonal: isize| {
        diagonal == -round || (diagonal != round && furthest[at(diagonal - 1)] < furthest[at(diagonal + 1)])
    };
    for round in 0..=most {
        rounds.push(furthest.clone());
        for diagonal in (-round..=round).step_by(2) {
            let mut x = match adds(&furthest, round, diagonal) {
                true => furthest[at(diagonal + 1)],
                false => furthest[at(diagonal - 1)] + 1,
            };
            while x < n && x - diagonal < m && before[x as usize] == after[(x - diagonal) as usize] {
                x += 1;
            }
            furthest[at(diagonal)] = x;
            if x >= n && x - diagonal >= m {
                return Some(backtrack(before, after, &rounds, at, adds));
            }
        }
    }
    None
}

fn backtrack<'t>(
    before: &[&'t str],
    after: &[&'t str],
    rounds: &[Vec<isize>],
    at: impl Fn(isize) -> usize,
    adds: impl Fn(&[isize], isize, isize) -> bool,
) -> Vec<Edit<'t>> {
    let (mut x, mut y) = (before.len() as isize, after.len() as isize);
    let mut edits = Vec::new();
    for (round, furthest) in rounds.iter().enumerate().rev() {
        let (round, diagonal) = (round as isize, x - y);
        let added = adds(furthest, round, diagonal);
        let previous = if added { diagonal + 1 } else { diagonal - 1 };
        let from = furthest[at(previous)];
        while x > from && y > from - previous {
            x -= 1;
            y -= 1;
            edits.push(Edit::Keep(before[x as usize]));
        }
        if round == 0 {
            break;
        }
        if added {
            y -= 1;
            edits.push(Edit::Add(after[y as usize]));
        } else {
            x -= 1;
            edits.push(Edit::Remove(before[x as usize]));
        }
    }
    edits.reverse();
    edits
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_difference_has_three_lines_around_each_change() {
        let before = "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\nk\nl\n";
        let after = "a\nb\nc\nd\nE\nE2\nf\ng\nh\ni\nj\nk\nl\n";
        assert_eq!(
            unified(before, after),
            "@@ -2,7 +2,8 @@\n  b\n  c\n  d\n- e\n+ E\n+ E2\n  f\n  g\n  h\n"
        );
        let after = "A\nb\nc\nd\ne\nf\ng\nh\ni\nj\nk\n";
        assert_eq!(
            unified(before, after),
            "@@ -1,4 +1,4 @@\n- a\n+ A\n  b\n  c\n  d\n@@ -9,4 +9,3 @@\n  i\n  j\n  k\n- l\n"
        );
    }

    #[test]
    fn what_is_new_comes_and_what_is_gone_goes() {
        assert_eq!(unified("", "a: 1\n- b\n"), "@@ -0,0 +1,2 @@\n+ a: 1\n+ - b\n");
        assert_eq!(unified("a: 1\n", ""), "@@ -1,1 +0,0 @@\n- a: 1\n");
        assert_eq!(unified("a\n", "a"), "");
    }

    #[test]
    fn texts_that_have_nothing_in_common_are_replaced_as_a_whole() {
        let many = |word: &str| (0..2 * MOST).map(|n| format!("{word}{n}\n")).collect::<String>();
        let text = unified(&many("a"), &many("b"));
        let count = |mark: &str| text.lines().filter(|line| line.starts_with(mark)).count();
        assert_eq!((count("- "), count("+ "), count("  "), count("@@")), (2 * MOST, 2 * MOST, 0, 1));
        let first = text.lines().position(|line| line.starts_with("+ "));
        assert_eq!(first, Some(1 + 2 * MOST), "what goes stands first");
    }

    #[test]
    fn colours_change_no_text() {
        let plain = unified("a\nb\n", "a\nc\n");
        let painted = coloured(&plain);
        assert_ne!(painted, plain);
        assert_eq!(anstream::adapter::strip_str(&painted).to_string(), plain);
    }

    fn lines() -> impl Strategy<Value = Vec<String>> {
        proptest::collection::vec("[a-d]", 0..24)
    }

    /// The length of the longest common subsequence, by the plain table.
    fn common(a: &[&str], b: &[&str]) -> usize {
        let mut row = vec![0; b.len() + 1];
        for x in a {
            let mut diagonal = 0;
            for (j, y) in b.iter().enumerate() {
                let above = row[j + 1];
                row[j + 1] = if x == y { diagonal + 1 } else { above.max(row[j]) };
                diagonal = above;
            }
        }
        row[b.len()]
    }

    proptest! {
        #[test]
        fn the_edits_lead_from_one_to_the_other_and_are_as_few_as_can_be(before in lines(), after in lines()) {
            let before: Vec<&str> = before.iter().map(String::as_str).collect();
            let after: Vec<&str> = after.iter().map(String::as_str).collect();
            let edits = script(&before, &after);
            let side = |left_out: fn(&Edit<'_>) -> bool| -> Vec<&str> {
                edits
                    .iter()
                    .filter(|edit| !left_out(edit))
                    .map(|edit| match edit { Edit::Keep(line) | Edit::Remove(line) | Edit::Add(line) => *line })
                    .collect()
            };
            prop_assert_eq!(side(|edit| matches!(edit, Edit::Add(_))), before.clone());
            prop_assert_eq!(side(|edit| matches!(edit, Edit::Remove(_))), after.clone());
            let kept = edits.iter().filter(|edit| !edit.changes()).count();
            prop_assert_eq!(kept, common(&before, &after));
        }
    }
}
