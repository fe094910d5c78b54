//! What goes to stdout: tables for people, JSON for programs. Owns the writing, its buffer and the difference between a
//! closed stdout and any other error; never logs. Runs on the CLI's main thread.

use std::io::{BufWriter, IsTerminal, StdoutLock, Write};

use anyhow::{Context, Result};
use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};
use serde::Serialize;

use crate::printable::printable;
use crate::refusal::StdoutClosed;

/// Bytes gathered before they are written.
const BUFFER_BYTES: usize = 64 * 1024;

/// Buffered stdout.
pub(crate) struct Output {
    writer: BufWriter<StdoutLock<'static>>,
}

impl Output {
    /// Locks stdout.
    pub(crate) fn new() -> Output {
        Output { writer: BufWriter::with_capacity(BUFFER_BYTES, std::io::stdout().lock()) }
    }

    /// Gathers bytes.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.writer.write_all(bytes).context(StdoutClosed)
    }

    /// Writes what was gathered.
    pub(crate) fn flush(&mut self) -> Result<()> {
        self.writer.flush().context(StdoutClosed)
    }

    /// Whether anything waits to be written.
    pub(crate) fn is_dirty(&self) -> bool {
        !self.writer.buffer().is_empty()
    }
}

/// Prints one line.
pub(crate) fn print_line(text: &str) -> Result<()> {
    let mut output = Output::new();
    output.write(text.as_bytes())?;
    output.write(b"\n")?;
    output.flush()
}

/// Prints one object as one line of JSON.
pub(crate) fn print_json<T: Serialize>(value: &T) -> Result<()> {
    print_line(&serde_json::to_string(value)?)
}

/// A table with a header; the columns named in `numbers` stand to the right. Cells may hold names that anybody has chosen.
pub(crate) fn table(header: &[&str], numbers: &[usize], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    if std::io::stdout().is_terminal() {
        table.load_preset(presets::UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
    } else {
        table.load_preset(presets::NOTHING);
    }
    table.set_header(header.to_vec());
    for row in rows {
        table.add_row(row.iter().map(|text| Cell::new(printable(text))));
    }
    for index in numbers {
        if let Some(column) = table.column_mut(*index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.trim_fmt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_holds_its_header_and_rows() {
        let text = table(&["name", "count"], &[1], [vec!["orders".to_string(), "6".to_string()]]);
        assert!(text.contains("name") && text.contains("orders") && text.lines().count() >= 2, "{text}");
    }

    #[test]
    fn a_name_in_a_table_does_nothing_to_the_terminal() {
        let text = table(&["group"], &[], [vec!["a\u{1b}]0;x\u{7}\u{202e}b\nc".to_string()]]);
        assert!(text.contains("a?]0;x??b?c"), "{}", text.escape_debug());
    }
}
