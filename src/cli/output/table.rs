//! Columns under headings, as `ps(1)` prints them.

use super::color::Paint;

/// On which side a column is flush.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// Rows of cells. Control characters in a cell are escaped: a guest's data cannot drive the terminal.
pub(crate) struct Table {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Vec<Cell>>,
}

/// One cell: its text, and how it is painted.
pub(crate) struct Cell {
    text: String,
    paint: fn(Paint, &str) -> String,
}

impl Cell {
    /// A cell painted by `paint`.
    pub(crate) fn painted(text: impl Into<String>, paint: fn(Paint, &str) -> String) -> Self {
        Self {
            text: clean(&text.into()),
            paint,
        }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Cell::painted(text, |_, text| text.to_owned())
    }
}

impl Table {
    /// A table with these headings and no rows.
    pub(crate) fn new(columns: &[(&'static str, Align)]) -> Self {
        Self {
            columns: columns.to_vec(),
            rows: Vec::new(),
        }
    }

    /// Adds a row; it has a cell for each column.
    pub(crate) fn row(&mut self, cells: Vec<Cell>) {
        debug_assert_eq!(cells.len(), self.columns.len());
        self.rows.push(cells);
    }

    /// The table as text, two spaces between columns and none at a line's end.
    pub(crate) fn render(&self, paint: Paint) -> String {
        let width_of = |column: usize| {
            let cells = self.rows.iter().map(|row| width(&row[column].text));
            cells.fold(self.columns[column].0.len(), usize::max)
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width_of).collect();
        let heading: Vec<Cell> = self
            .columns
            .iter()
            .map(|(name, _)| Cell::painted(*name, Paint::bold))
            .collect();
        let mut text = String::new();
        for row in std::iter::once(&heading).chain(&self.rows) {
            for (column, cell) in row.iter().enumerate() {
                let fill = " ".repeat(widths[column] - width(&cell.text));
                let painted = (cell.paint)(paint, &cell.text);
                let is_last = column + 1 == row.len();
                match (self.columns[column].1, is_last) {
                    (Align::Right, _) => text.extend([fill.as_str(), &painted]),
                    (Align::Left, true) => text.push_str(&painted),
                    (Align::Left, false) => text.extend([painted.as_str(), &fill]),
                }
                if !is_last {
                    text.push_str("  ");
                }
            }
            text.truncate(text.trim_end_matches(' ').len());
            text.push('\n');
        }
        text
    }
}

fn width(text: &str) -> usize {
    text.chars().count()
}

/// `text` with its control characters escaped.
pub(crate) fn clean(text: &str) -> String {
    if text.chars().any(char::is_control) {
        text.escape_debug().to_string()
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_lines_end_clean() {
        let mut table = Table::new(&[
            ("NAME", Align::Left),
            ("XID", Align::Right),
            ("ADDRESS", Align::Left),
        ]);
        table.row(vec!["web".into(), "101".into(), "10.0.0.1".into()]);
        table.row(vec!["database".into(), "9".into(), "".into()]);
        assert_eq!(
            table.render(Paint::PLAIN),
            "NAME      XID  ADDRESS\nweb       101  10.0.0.1\ndatabase    9\n"
        );
    }

    #[test]
    fn a_cell_cannot_drive_the_terminal() {
        assert_eq!(clean("a\x1b[2Jb"), "a\\u{1b}[2Jb");
    }
}
