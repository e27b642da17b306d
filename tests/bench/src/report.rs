//! Figures beside their budgets.

use std::fmt::Write as _;

/// One figure.
struct Row {
    what: String,
    figure: String,
    budget: &'static str,
    held: Option<bool>,
}

/// All figures of a run.
pub(crate) struct Report {
    rows: Vec<Row>,
}

impl Report {
    pub(crate) fn new() -> Self {
        Self { rows: Vec::new() }
    }

    /// A figure with its budget; `held`: whether it is within, if there is one.
    pub(crate) fn row(&mut self, what: impl Into<String>, figure: String, budget: &'static str, held: Option<bool>) {
        let row = Row { what: what.into(), figure, budget, held };
        eprintln!("{}: {}", row.what, row.figure);
        self.rows.push(row);
    }

    /// The table, as it stands in the docs.
    pub(crate) fn print(&self) {
        let mut table = String::from("| what | figure | budget | held |\n|---|---|---|---|\n");
        for Row { what, figure, budget, held } in &self.rows {
            let held = match held {
                Some(true) => "yes",
                Some(false) => "**no**",
                None => "—",
            };
            let _ = writeln!(table, "| {what} | {figure} | {budget} | {held} |");
        }
        print!("{table}");
    }
}

/// Resident memory of a process in bytes; of this one for `self`.
pub(crate) fn resident(process: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// The value at a fraction of a sorted list.
pub(crate) fn quantile(sorted: &[f64], fraction: f64) -> f64 {
    let at = ((sorted.len() as f64 - 1.0) * fraction).round() as usize;
    sorted.get(at).copied().unwrap_or(f64::NAN)
}

/// Median of a list.
pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    quantile(values, 0.5)
}
