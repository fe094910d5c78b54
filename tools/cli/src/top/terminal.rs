//! The terminal while `ouzel top` has it: raw, on its other screen, without a cursor. Owns that it is given back as it was, at the
//! end, after an error and before the words of a panic; ends by signals are led to the same end by `live.rs`.

use std::time::Instant;

use anyhow::{Context, Result};
use ratatui::DefaultTerminal;

use super::draw::{Looks, draw};
use super::view::View;

/// The terminal, until it is dropped.
pub(super) struct Screen {
    terminal: DefaultTerminal,
    looks: Looks,
}

impl Screen {
    /// Takes the terminal. From now on a panic gives it back first, also where a panic ends the process.
    pub(super) fn enter() -> Result<Screen> {
        let is_coloured = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let terminal = ratatui::try_init().inspect_err(|_| ratatui::restore());
        Ok(Screen {
            terminal: terminal.context("cannot use this terminal; try --once")?,
            looks: Looks::new(is_coloured),
        })
    }

    /// Shows the view as of now.
    pub(super) fn show(&mut self, view: &mut View) -> Result<()> {
        let shown = self.terminal.draw(|frame| draw(frame, view, &self.looks, Instant::now()));
        shown.map(drop).context("cannot write to the terminal")
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        ratatui::restore();
    }
}
