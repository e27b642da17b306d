//! Figures of all contenders beside each other.

use std::fmt::Write as _;

use super::contender::Contender;
use crate::report::median;

/// One figure of one contender: the median of its rounds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figure {
    values: Vec<f64>,
}

impl Figure {
    pub(crate) fn add(&mut self, value: f64) {
        self.values.push(value);
    }

    /// The median; none if nothing was measured.
    pub(crate) fn value(&self) -> Option<f64> {
        (!self.values.is_empty()).then(|| median(&mut self.values.clone()))
    }
}

/// What a figure has to be, compared with those of the others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Budget {
    /// There is none.
    None,
    /// No more than each of the others.
    AtMostBoth,
    /// No more than controller-runtime's.
    AtMostControllerRuntime,
}

impl Budget {
    fn words(self) -> &'static str {
        match self {
            Self::None => "—",
            Self::AtMostBoth => "≤ both",
            Self::AtMostControllerRuntime => "≤ controller-runtime",
        }
    }

    fn holds(self, [ours, kube_rs, controller_runtime]: [Option<f64>; 3]) -> Option<bool> {
        let most = match self {
            Self::None => return None,
            Self::AtMostBoth => kube_rs?.min(controller_runtime?),
            Self::AtMostControllerRuntime => controller_runtime?,
        };
        Some(ours? <= most)
    }
}

/// How a number is written.
pub(crate) type Write = fn(f64) -> String;

pub(crate) fn seconds(value: f64) -> String {
    format!("{value:.1} s")
}

pub(crate) fn milliseconds(value: f64) -> String {
    format!("{value:.1} ms")
}

pub(crate) fn count(value: f64) -> String {
    format!("{value:.0}")
}

pub(crate) fn mebibytes(value: f64) -> String {
    format!("{:.0} MiB", value / 1024.0 / 1024.0)
}

struct Row {
    what: String,
    figures: [Figure; 3],
    write: Write,
    budget: Budget,
}

/// The table.
#[derive(Default)]
pub(crate) struct Table {
    rows: Vec<Row>,
}

impl Table {
    /// Adds a figure to the row of this name, which is made if there is none.
    pub(crate) fn add(&mut self, what: &str, budget: Budget, write: Write, of: Contender, value: f64) {
        let column = Contender::ALL.iter().position(|other| *other == of).unwrap_or_default();
        eprintln!("{}: {what}: {}", of.name(), write(value));
        let at = self.rows.iter().position(|row| row.what == what).unwrap_or_else(|| {
            self.rows.push(Row { what: what.to_owned(), figures: Default::default(), write, budget });
            self.rows.len() - 1
        });
        self.rows[at].figures[column].add(value);
    }

    /// As it stands in the docs.
    pub(crate) fn text(&self) -> String {
        let mut table = String::from("| what | Setpoint | kube-rs | controller-runtime | budget | held |\n");
        table.push_str("|---|---|---|---|---|---|\n");
        for Row { what, figures, write, budget } in &self.rows {
            let values = [0, 1, 2].map(|column| figures[column].value());
            let [ours, kube_rs, controller_runtime] = values.map(|value| value.map_or_else(|| "—".to_owned(), write));
            let held = match budget.holds(values) {
                Some(true) => "yes",
                Some(false) => "**no**",
                None => "—",
            };
            let budget = budget.words();
            // Writing to a String cannot fail.
            let _ = writeln!(table, "| {what} | {ours} | {kube_rs} | {controller_runtime} | {budget} | {held} |");
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_the_medians_of_all_and_says_whether_its_budget_holds() {
        let mut table = Table::default();
        for (of, values) in Contender::ALL.into_iter().zip([[3.0, 1.0, 2.0], [4.0, 9.0, 1.0], [2.0, 1.0, 3.0]]) {
            for value in values {
                table.add("time", Budget::AtMostBoth, seconds, of, value);
                table.add("memory", Budget::AtMostControllerRuntime, count, of, value * 2.0);
            }
        }
        table.add("alone", Budget::None, count, Contender::Setpoint, 1.0);
        let text = table.text();
        assert!(text.contains("| time | 2.0 s | 4.0 s | 2.0 s | ≤ both | yes |\n"), "{text}");
        assert!(text.contains("| memory | 4 | 8 | 4 | ≤ controller-runtime | yes |\n"), "{text}");
        assert!(text.contains("| alone | 1 | — | — | — | — |\n"), "{text}");
        assert_eq!(Budget::AtMostBoth.holds([Some(3.0), Some(4.0), Some(2.0)]), Some(false));
        assert_eq!(Budget::AtMostBoth.holds([Some(3.0), None, Some(2.0)]), None);
    }
}
