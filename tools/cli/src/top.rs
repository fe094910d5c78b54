//! `ouzel top`: what a broker does, live. Owns the choice between the live view and plain output; the parts are: asking over HTTP
//! (`http.rs`, `exposition.rs`, `sampler.rs`), what was said (`sample.rs`), what lies between two answers (`rates.rs`, `picture.rs`),
//! lists (`tables.rs`, `grid.rs`, `overview.rs`), and the screen (`view.rs`, `keys.rs`, `draw.rs`, `terminal.rs`, `live.rs`) or its
//! like on paper (`once.rs`). Runs on the CLI's main thread.

mod draw;
mod exposition;
#[cfg(test)]
mod fixture;
mod grid;
mod http;
mod keys;
mod live;
mod once;
mod overview;
mod picture;
mod rates;
mod sample;
mod sampler;
#[cfg(test)]
mod screens;
mod tables;
mod terminal;
mod view;

use std::io::IsTerminal;
use std::time::Duration;

use anyhow::Result;

use crate::args::TopArgs;

/// Shows a broker.
pub(crate) fn run(args: &TopArgs, is_json: bool) -> Result<()> {
    let interval = Duration::from_millis(args.interval_ms);
    if args.once || is_json || !std::io::stdout().is_terminal() {
        once::run(&args.admin, interval, is_json)
    } else {
        live::run(&args.admin, interval)
    }
}
