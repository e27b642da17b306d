//! Tables as kubectl draws them: upper-case headers, three spaces between columns, no borders.

use crate::output::one_line;

/// Between columns.
const GAP: &str = "   ";

/// A table that is being filled.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Table {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
    widths: Vec<usize>,
}

impl Table {
    /// A table with these columns; names are shown in upper case.
    pub(crate) fn new<S: AsRef<str>>(columns: &[S]) -> Self {
        let header: Vec<String> = columns.iter().map(|name| one_line(&name.as_ref().to_uppercase())).collect();
        Self { widths: header.iter().map(|cell| cell.chars().count()).collect(), header, rows: Vec::new() }
    }

    /// Adds a row. Cells are one line each; missing ones are empty.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        let cells: Vec<String> = cells.iter().map(|cell| one_line(cell)).collect();
        for (width, cell) in self.widths.iter_mut().zip(&cells) {
            *width = (*width).max(cell.chars().count());
        }
        self.rows.push(cells);
    }

    /// The table, header first. Nothing if it has no rows.
    pub(crate) fn render(&self) -> String {
        if self.rows.is_empty() { String::new() } else { self.line(&self.header) + &self.body() }
    }

    /// The rows alone.
    pub(crate) fn body(&self) -> String {
        self.rows.iter().map(|row| self.line(row)).collect()
    }

    /// A later table with the widths of this one at least, so that its rows stand below these.
    pub(crate) fn widened(&self, mut later: Table) -> Table {
        for (width, before) in later.widths.iter_mut().zip(&self.widths) {
            *width = (*width).max(*before);
        }
        later
    }

    fn line(&self, cells: &[String]) -> String {
        let mut line = String::new();
        for (index, cell) in cells.iter().enumerate() {
            line.push_str(cell);
            if index + 1 < cells.len() {
                let width = self.widths.get(index).copied().unwrap_or_default();
                line.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.chars().count())));
                line.push_str(GAP);
            }
        }
        line.truncate(line.trim_end().len());
        line.push('\n');
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells(cells: &[&str]) -> Vec<String> {
        cells.iter().map(|cell| (*cell).to_owned()).collect()
    }

    #[test]
    fn columns_stand_below_each_other_and_no_line_ends_in_spaces() {
        let mut table = Table::new(&["Name", "state", "AGE"]);
        table.row(cells(&["a-long-name", "Synced", "5m"]));
        table.row(cells(&["ü", "", ""]));
        assert_eq!(table.render(), "NAME          STATE    AGE\na-long-name   Synced   5m\nü\n");
    }

    #[test]
    fn a_table_without_rows_is_nothing() {
        assert_eq!(Table::new(&["NAME"]).render(), "");
    }

    #[test]
    fn a_cell_cannot_break_the_line_or_speak_to_the_terminal() {
        let mut table = Table::new(&["NAME", "MESSAGE"]);
        table.row(cells(&["a", "two\nlines \u{1b}[31mred\r"]));
        assert_eq!(table.render(), "NAME   MESSAGE\na      two lines [31mred\n");
    }

    #[test]
    fn later_rows_keep_the_widths_of_earlier_ones() {
        let mut first = Table::new(&["NAME", "STATE"]);
        first.row(cells(&["long-name", "Synced"]));
        let mut second = Table::new(&["NAME", "STATE"]);
        second.row(cells(&["a", "Error"]));
        assert_eq!(first.widened(second).body(), "a           Error\n");
    }
}
