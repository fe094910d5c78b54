//! A table before anybody knows how wide the screen is. Owns the cells, their order, the filter, and which columns are left out
//! where there is no room; knows neither brokers nor terminals. Pure.

use std::cmp::Ordering;

use ratatui::text::Line;

use crate::printable::printable;

/// Between two columns.
pub(super) const SPACING: u16 = 2;
/// What a column that was cut keeps at least.
const WIDTH_MIN: u16 = 8;

/// One column.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    pub(super) name: &'static str,
    pub(super) kind: ColumnKind,
    /// Columns with the highest rank are left out first; those of rank 0 never are.
    pub(super) rank: u8,
}

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ColumnKind {
    /// Words: to the left, sorted from the first.
    Text,
    /// Numbers: to the right, sorted from the largest.
    Number,
}

/// One cell: what is shown, and the number to sort by, where there is one.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Cell {
    pub(super) text: String,
    number: Option<f64>,
}

impl Cell {
    /// Words.
    pub(super) fn text(text: impl Into<String>) -> Cell {
        Cell { text: printable(&text.into()), number: None }
    }

    /// A number as `shown`; a dash where it is not known.
    pub(super) fn number<T: Copy + SortKey>(number: Option<T>, shown: impl FnOnce(T) -> String) -> Cell {
        Cell { text: number.map_or_else(|| "-".to_string(), shown), number: number.map(SortKey::sort_key) }
    }
}

/// The text as far as it fits, with a mark where it was cut.
pub(super) fn shortened(text: &str, width: u16) -> String {
    if Line::raw(text).width() <= usize::from(width) {
        return text.to_string();
    }
    let mut kept = String::new();
    for char in text.chars() {
        kept.push(char);
        if Line::raw(&kept).width() >= usize::from(width) {
            kept.pop();
            break;
        }
    }
    kept + "\u{2026}"
}

/// What cells are sorted by.
pub(super) trait SortKey {
    /// As near as a float comes.
    fn sort_key(self) -> f64;
}

impl SortKey for f64 {
    fn sort_key(self) -> f64 {
        self
    }
}

impl SortKey for u64 {
    fn sort_key(self) -> f64 {
        self as f64
    }
}

/// Which column rows are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sort {
    pub(super) column: usize,
    /// Against the order that the column's kind has.
    pub(super) is_reversed: bool,
}

/// Rows under columns; each row has a cell for each column.
#[derive(Clone, Debug)]
pub(super) struct Grid {
    pub(super) columns: &'static [Column],
    pub(super) rows: Vec<Vec<Cell>>,
}

impl Grid {
    /// Leaves the rows of which a cell of words holds `filter`, whatever its case, in the order of `sort`.
    pub(super) fn arrange(&mut self, filter: &str, sort: Sort) {
        let filter = filter.to_lowercase();
        self.rows.retain(|row| {
            let words = self.columns.iter().zip(row).filter(|(column, _)| column.kind == ColumnKind::Text);
            filter.is_empty() || words.into_iter().any(|(_, cell)| cell.text.to_lowercase().contains(&filter))
        });
        let Some(column) = self.columns.get(sort.column) else { return };
        self.rows.sort_by(|a, b| {
            let (Some(a), Some(b)) = (a.get(sort.column), b.get(sort.column)) else { return Ordering::Equal };
            let order = match column.kind {
                ColumnKind::Text => a.text.cmp(&b.text),
                // What is not known comes last.
                ColumnKind::Number => b.number.partial_cmp(&a.number).unwrap_or(Ordering::Equal),
            };
            if sort.is_reversed { order.reverse() } else { order }
        });
    }

    /// The columns that `room` has room for, and how wide each is. The one that rows are sorted by is among them.
    pub(super) fn fit(&self, room: u16, sort: Sort) -> Vec<(usize, u16)> {
        let mut columns: Vec<(usize, u16)> = (0..self.columns.len()).map(|index| (index, self.width(index))).collect();
        // One long name must not drive out what is told about it: it gives up what is beyond half of the line.
        let half = (room / 2).max(WIDTH_MIN);
        self.cut_name(&mut columns, room, half);
        let rank = |index: usize| match self.columns.get(index) {
            Some(column) if index != sort.column => column.rank,
            _ => 0,
        };
        while total(&columns) > room {
            let Some(last) = columns.iter().map(|(index, _)| rank(*index)).max().filter(|rank| *rank > 0) else {
                break;
            };
            let Some(at) = columns.iter().rposition(|(index, _)| rank(*index) == last) else { break };
            columns.remove(at);
            self.cut_name(&mut columns, room, half);
        }
        self.cut_name(&mut columns, room, WIDTH_MIN);
        columns
    }

    /// Makes the first column of words as narrow as the line needs it, but not below `width_min`.
    fn cut_name(&self, columns: &mut [(usize, u16)], room: u16, width_min: u16) {
        let is_text = |index: usize| self.columns.get(index).is_some_and(|column| column.kind == ColumnKind::Text);
        let Some(at) = columns.iter().position(|(index, _)| is_text(*index)) else { return };
        let (index, width) = columns[at];
        let others = total(columns) - width;
        let whole = self.width(index);
        columns[at].1 = room.saturating_sub(others).clamp(width_min.min(whole), whole);
    }

    /// Cells of the screen that the widest text of a column takes, its name and the mark of the sorted column included.
    fn width(&self, index: usize) -> u16 {
        let name = self.columns.get(index).map_or(0, |column| column.name.len() + 1);
        let cells = self.rows.iter().filter_map(|row| row.get(index)).map(|cell| Line::raw(&cell.text).width());
        u16::try_from(cells.max().unwrap_or(0).max(name)).unwrap_or(u16::MAX)
    }
}

fn total(columns: &[(usize, u16)]) -> u16 {
    let spaces = SPACING * u16::try_from(columns.len().saturating_sub(1)).unwrap_or(0);
    columns.iter().fold(spaces, |total, (_, width)| total.saturating_add(*width))
}

#[cfg(test)]
mod tests {
    use super::*;

    static COLUMNS: [Column; 3] = [
        Column { name: "name", kind: ColumnKind::Text, rank: 0 },
        Column { name: "rate", kind: ColumnKind::Number, rank: 2 },
        Column { name: "size", kind: ColumnKind::Number, rank: 1 },
    ];

    fn grid() -> Grid {
        let row = |name: &str, rate: Option<f64>, size: u64| {
            vec![
                Cell::text(name),
                Cell::number(rate, |rate| rate.to_string()),
                Cell::number(Some(size), |size| size.to_string()),
            ]
        };
        let rows = vec![row("Orders", Some(2.0), 10), row("clicks", None, 9), row("bills\x1b[2J", Some(-1.0), 100)];
        Grid { columns: &COLUMNS, rows }
    }

    fn names(sort: Sort, filter: &str) -> Vec<String> {
        let mut grid = grid();
        grid.arrange(filter, sort);
        grid.rows.into_iter().map(|mut row| row.remove(0).text).collect()
    }

    #[test]
    fn numbers_are_sorted_from_the_largest_and_words_from_the_first() {
        let by = |column, is_reversed| names(Sort { column, is_reversed }, "");
        assert_eq!(by(2, false), ["bills?[2J", "Orders", "clicks"]);
        assert_eq!(by(2, true), ["clicks", "Orders", "bills?[2J"]);
        assert_eq!(by(1, false), ["Orders", "bills?[2J", "clicks"]);
        assert_eq!(by(0, false), ["Orders", "bills?[2J", "clicks"]);
        assert_eq!(by(7, false).len(), 3);
    }

    #[test]
    fn a_filter_looks_at_words_alone() {
        assert_eq!(names(Sort::default(), "oRd"), ["Orders"]);
        assert!(names(Sort::default(), "10").is_empty());
    }

    #[test]
    fn a_long_name_is_cut_before_a_column_goes() {
        let mut grid = grid();
        grid.rows[0][0] = Cell::text("x".repeat(100));
        assert_eq!(grid.fit(200, Sort::default()), [(0, 100), (1, 5), (2, 5)]);
        assert_eq!(grid.fit(60, Sort::default()), [(0, 46), (1, 5), (2, 5)]);
        assert_eq!(grid.fit(24, Sort::default()), [(0, 17), (2, 5)]);
        assert_eq!(shortened("orders", 6), "orders");
        assert_eq!(shortened("orders", 5), "orde\u{2026}");
        assert_eq!(shortened("\u{6ce8}\u{6587}\u{66f8}", 5), "\u{6ce8}\u{6587}\u{2026}");
    }

    #[test]
    fn columns_of_high_rank_go_first_and_then_the_name_is_cut() {
        let fitted = |room| grid().fit(room, Sort::default());
        assert_eq!(fitted(40), [(0, 9), (1, 5), (2, 5)]);
        assert_eq!(fitted(23), [(0, 9), (1, 5), (2, 5)]);
        assert_eq!(fitted(22), [(0, 9), (2, 5)]);
        assert_eq!(fitted(15), [(0, 8), (2, 5)]);
        assert_eq!(fitted(14), [(0, 9)]);
        assert_eq!(fitted(5), [(0, 8)]);
        assert_eq!(fitted(0), [(0, 8)]);
        assert_eq!(grid().fit(15, Sort { column: 1, is_reversed: false }), [(0, 8), (1, 5)]);
    }
}
