//! What the person at the terminal looks at: which list, from which row, in which order, through which filter. Owns that state
//! and how samples change it; keys change it in `keys.rs`, and `draw.rs` shows it.

use std::time::Instant;

use anyhow::{Error, Result};

use super::grid::Sort;
use super::picture::Picture;
use super::rates;
use super::sample::{Connections, Sample};
use super::tables::Tab;

/// What keys mean at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Commands.
    Looking,
    /// Letters of a filter.
    Filtering,
    /// The help is open.
    Help,
}

/// How one list is looked at.
#[derive(Clone, Debug, Default)]
pub(super) struct List {
    pub(super) selected: usize,
    /// The row that stands first on the screen.
    pub(super) top: usize,
    pub(super) sort: Sort,
    pub(super) filter: String,
    /// The columns that the screen had room for.
    pub(super) columns: Vec<usize>,
    /// The rows that the screen had room for.
    pub(super) page_rows: usize,
}

impl List {
    /// Moves the selection into the rows there are, and the rows so that the selection is on the screen.
    pub(super) fn settle(&mut self, row_count: usize, page_rows: usize) {
        self.page_rows = page_rows;
        let page_rows = page_rows.max(1);
        self.selected = self.selected.min(row_count.saturating_sub(1));
        let lowest_top = (self.selected + 1).saturating_sub(page_rows);
        self.top = self.top.clamp(lowest_top, self.selected).min(row_count.saturating_sub(page_rows));
    }
}

/// That the broker does not answer, and since when: its last answer, or the first question.
#[derive(Debug)]
pub(super) struct Trouble {
    pub(super) since: Instant,
    pub(super) why: String,
}

/// Everything on the screen.
#[derive(Debug)]
pub(super) struct View {
    /// The admin port.
    pub(super) address: String,
    pub(super) tab: Tab,
    pub(super) lists: [List; Tab::ALL.len()],
    pub(super) mode: Mode,
    pub(super) is_paused: bool,
    pub(super) picture: Option<Picture>,
    pub(super) trouble: Option<Trouble>,
    /// The last sample, which the next one is held against also while nothing moves on the screen.
    last: Option<Sample>,
}

impl View {
    /// Nothing is known yet.
    pub(super) fn new(address: &str) -> View {
        View {
            address: address.to_string(),
            tab: Tab::Shards,
            lists: Default::default(),
            mode: Mode::Looking,
            is_paused: false,
            picture: None,
            trouble: None,
            last: None,
        }
    }

    /// The list that is looked at.
    pub(super) fn list(&mut self) -> &mut List {
        &mut self.lists[self.tab.index()]
    }

    /// A sample came, or why there is none.
    pub(super) fn sampled(&mut self, sample: Result<Sample>, now: Instant) {
        match sample {
            Ok(sample) => {
                self.trouble = None;
                if !self.is_paused {
                    let connections = self.picture.take().and_then(|picture| picture.connections);
                    self.picture = Some(Picture { connections, ..rates::picture(self.last.as_ref(), &sample) });
                }
                self.last = Some(sample);
            }
            Err(error) => {
                let last_answer = self.last.as_ref().map_or(now, |last| last.at);
                let since = self.trouble.as_ref().map_or(last_answer, |trouble| trouble.since);
                self.trouble = Some(Trouble { since, why: said(&error) });
            }
        }
    }

    /// The connections came, or why there are none.
    pub(super) fn connected(&mut self, connections: Result<Connections>) {
        if self.is_paused {
            return;
        }
        if let Some(picture) = &mut self.picture {
            picture.connect(connections);
        }
    }
}

impl Picture {
    /// Adds the connections, or why they are missing.
    pub(super) fn connect(&mut self, connections: Result<Connections>) {
        match connections {
            Ok(Connections { connections, left_out }) => {
                self.connections = Some(connections);
                if left_out > 0 {
                    self.notes.push(format!("{left_out} more connections are not shown"));
                }
            }
            Err(error) => self.notes.push(format!("connections cannot be listed now: {}", said(&error))),
        }
    }
}

/// An error and its causes in one line.
fn said(error: &Error) -> String {
    error.chain().map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::fixture;
    use super::*;

    #[test]
    fn a_broker_that_is_away_is_away_since_its_last_answer_and_back_with_the_next() {
        let mut view = View::new("127.0.0.1:9191");
        let start = Instant::now();
        view.sampled(Ok(fixture::sample(start)), start);
        for second in 1..3 {
            view.sampled(
                Err(anyhow::anyhow!("refused").context("cannot reach it")),
                start + Duration::from_secs(second),
            );
        }
        let trouble = view.trouble.as_ref().expect("trouble");
        assert_eq!((trouble.since, trouble.why.as_str()), (start, "cannot reach it: refused"));
        assert!(view.picture.is_some());
        let later = start + Duration::from_secs(4);
        view.sampled(Ok(fixture::sample(later)), later);
        assert!(view.trouble.is_none());
        assert_eq!(view.picture.expect("a picture").overview.requests_per_s, Some(0.0));
    }

    #[test]
    fn a_paused_screen_stands_still_and_goes_on_with_rates_of_the_last_interval() {
        let mut view = View::new("127.0.0.1:9191");
        let start = Instant::now();
        let mut sample = fixture::sample(start);
        view.sampled(Ok(sample.clone()), start);
        view.is_paused = true;
        sample.at += Duration::from_secs(1);
        sample.requests += 50.0;
        view.sampled(Ok(sample.clone()), sample.at);
        view.connected(Ok(Connections::default()));
        let picture = view.picture.as_ref().expect("a picture");
        assert!(picture.overview.requests_per_s.is_none() && picture.connections.is_none());
        view.is_paused = false;
        sample.at += Duration::from_secs(1);
        sample.requests += 7.0;
        view.sampled(Ok(sample.clone()), sample.at);
        assert_eq!(view.picture.expect("a picture").overview.requests_per_s, Some(7.0));
    }

    #[test]
    fn the_selection_stays_on_the_screen_and_in_the_rows() {
        let settled = |selected, top, row_count, page_rows| {
            let mut list = List { selected, top, ..List::default() };
            list.settle(row_count, page_rows);
            (list.selected, list.top)
        };
        assert_eq!(settled(0, 0, 0, 10), (0, 0));
        assert_eq!(settled(12, 0, 50, 10), (12, 3));
        assert_eq!(settled(5, 20, 50, 10), (5, 5));
        assert_eq!(settled(usize::MAX - 1, 0, 50, 10), (49, 40));
        assert_eq!(settled(40, 35, 12, 10), (11, 2));
        assert_eq!(settled(3, 0, 12, 0), (3, 3));
    }
}
