//! Tables and times for people.

use super::paint::Paint;

/// A duration as people say it: the two largest units.
pub(super) fn age(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, minutes) => format!("{minutes}m{:02}s", seconds % 60),
        (0, hours, minutes) => format!("{hours}h{minutes:02}m"),
        (days, hours, _) => format!("{days}d{hours:02}h"),
    }
}

/// Columns of equal width.
pub(super) struct Table {
    right: Vec<bool>,
    rows: Vec<Vec<Cell>>,
}

pub(super) struct Cell {
    text: String,
    state: bool,
}

impl Cell {
    pub(super) fn plain(text: impl ToString) -> Self {
        Self { text: text.to_string(), state: false }
    }

    pub(super) fn state(word: &str) -> Self {
        Self { text: word.to_owned(), state: true }
    }
}

impl Table {
    /// A head that begins with `>` makes its column flush right.
    pub(super) fn new(heads: &[&str]) -> Self {
        let right = heads.iter().map(|head| head.starts_with('>')).collect();
        let heads = heads.iter().map(|head| Cell::plain(head.trim_start_matches('>'))).collect();
        Self { right, rows: vec![heads] }
    }

    pub(super) fn row<const N: usize>(&mut self, cells: [Cell; N]) {
        self.rows.push(cells.into());
    }

    pub(super) fn render(&self, indent: &str, paint: Paint) -> String {
        let width = |column: usize| self.rows.iter().map(|row| row[column].text.chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.right.len()).map(width).collect();
        let mut text = String::new();
        for (at, row) in self.rows.iter().enumerate() {
            text.push_str(indent);
            for (column, cell) in row.iter().enumerate() {
                let last = column + 1 == row.len();
                let width = if last && !self.right[column] { 0 } else { widths[column] };
                let padded = if self.right[column] {
                    format!("{:>width$}", cell.text)
                } else {
                    format!("{:<width$}", cell.text)
                };
                text.push_str(&match (at, cell.state) {
                    (0, _) => paint.dim(&padded),
                    (_, true) => paint.state(&cell.text, &padded),
                    (_, false) => padded,
                });
                text.push_str(if last { "\n" } else { "  " });
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_two_units() {
        for (seconds, text) in [(0, "0s"), (59, "59s"), (60, "1m00s"), (3600, "1h00m"), (90_000, "1d01h")] {
            assert_eq!(age(seconds), text);
        }
    }
}
