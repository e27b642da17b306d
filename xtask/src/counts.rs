//! Reads what cargo's test harness prints.

/// What came of tests.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Counts {
    /// Tests that passed.
    pub(crate) passed: u64,
    /// Tests that failed.
    pub(crate) failed: u64,
    /// Lines that say that something could not be tested.
    pub(crate) skipped: u64,
    /// It failed, but no test did: it did not compile, or ended too early.
    pub(crate) broken: bool,
    /// Within what the passed tests printed.
    pub(crate) within_successes: bool,
}

impl Counts {
    /// Takes a line; says whether a person wants to see it.
    ///
    /// Passed tests are asked to show what they printed, as it may be that something could not be
    /// tested, or a figure. The rest of it is left out.
    pub(crate) fn take(&mut self, line: &str) -> bool {
        if line == "successes:" {
            self.within_successes = true;
        } else if line == "failures:" {
            self.within_successes = false;
        } else if let Some(result) = line.strip_prefix("test result: ") {
            self.within_successes = false;
            self.passed += number_before(result, " passed");
            self.failed += number_before(result, " failed");
        }
        let skipped = line.trim_start().starts_with("SKIPPED:");
        self.skipped += u64::from(skipped);
        !self.within_successes || skipped || line.starts_with("measured:")
    }

    /// Both together.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            passed: self.passed + other.passed,
            failed: self.failed + other.failed,
            skipped: self.skipped + other.skipped,
            broken: self.broken || other.broken,
            within_successes: false,
        }
    }
}

fn number_before(text: &str, word: &str) -> u64 {
    let before = text.split_once(word).map_or("", |(before, _)| before);
    before.rsplit(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "\
running 3 tests
test a ... ok
test b ... ok
test c ... FAILED

successes:

---- a stdout ----
chatter
measured: a thing: 3 ms
---- b stdout ----
SKIPPED: no server

successes:
    a
    b

failures:

---- c stdout ----
thread 'c' panicked

failures:
    c

test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
";

    #[test]
    fn results_and_skips_are_counted() {
        let mut counts = Counts::default();
        OUTPUT.lines().for_each(|line| {
            counts.take(line);
        });
        assert_eq!((counts.passed, counts.failed, counts.skipped), (2, 1, 1));
        let twice = counts.and(counts);
        assert_eq!((twice.passed, twice.failed, twice.skipped), (4, 2, 2));
    }

    #[test]
    fn of_what_passed_tests_print_only_skips_and_figures_are_shown() {
        let mut counts = Counts::default();
        let shown: Vec<&str> = OUTPUT.lines().filter(|line| counts.take(line)).collect();
        assert!(!shown.contains(&"chatter"));
        for line in ["test a ... ok", "measured: a thing: 3 ms", "SKIPPED: no server", "thread 'c' panicked"] {
            assert!(shown.contains(&line), "{line}");
        }
    }
}
