//! What a key does to the view. Owns the keys, and the words that explain them. Pure.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::tables::Tab;
use super::view::{Mode, View};

/// Letters of a filter; names are no longer.
const FILTER_CHARS_MAX: usize = 249;

/// Every key, as the help shows them.
pub(super) const HELP: [(&str, &str); 10] = [
    ("1 2 3 4", "shards, topics, groups, connections"),
    ("Tab, Left, Right", "the next list, the one before"),
    ("Up, Down, PgUp, PgDn", "move; also k and j, Home and End"),
    ("s", "sort by the next column"),
    ("r", "reverse the order"),
    ("/", "filter by part of a name; Enter keeps, Esc drops it"),
    ("p", "pause: the screen stands still"),
    ("?", "this help"),
    ("q, Esc, Ctrl-C", "quit"),
    ("-", "not known, or not yet: rates need two samples"),
];

/// What follows from a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    GoOn,
    Quit,
}

/// Does what the key asks for.
pub(super) fn press(view: &mut View, key: KeyEvent) -> Outcome {
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return if key.code == KeyCode::Char('c') { Outcome::Quit } else { Outcome::GoOn };
    }
    match view.mode {
        Mode::Looking => return command(view, key.code),
        Mode::Filtering => filter(view, key.code),
        Mode::Help => view.mode = Mode::Looking,
    }
    Outcome::GoOn
}

fn command(view: &mut View, key: KeyCode) -> Outcome {
    let page = view.list().page_rows.max(1);
    match key {
        KeyCode::Char('q') | KeyCode::Esc => return Outcome::Quit,
        KeyCode::Char('1') => view.tab = Tab::Shards,
        KeyCode::Char('2') => view.tab = Tab::Topics,
        KeyCode::Char('3') => view.tab = Tab::Groups,
        KeyCode::Char('4') => view.tab = Tab::Connections,
        KeyCode::Tab | KeyCode::Right => turn(view, 1),
        KeyCode::BackTab | KeyCode::Left => turn(view, Tab::ALL.len() - 1),
        KeyCode::Up | KeyCode::Char('k') => select(view, |row| row.saturating_sub(1)),
        KeyCode::Down | KeyCode::Char('j') => select(view, |row| row.saturating_add(1)),
        KeyCode::PageUp => select(view, |row| row.saturating_sub(page)),
        KeyCode::PageDown => select(view, |row| row.saturating_add(page)),
        KeyCode::Home => select(view, |_| 0),
        // Drawing moves it into the rows there are.
        KeyCode::End => select(view, |_| usize::MAX - 1),
        KeyCode::Char('s') => sort_by_next(view),
        KeyCode::Char('r') => view.list().sort.is_reversed ^= true,
        KeyCode::Char('/') => view.mode = Mode::Filtering,
        KeyCode::Char('p') => view.is_paused ^= true,
        KeyCode::Char('?') => view.mode = Mode::Help,
        _ => {}
    }
    Outcome::GoOn
}

fn filter(view: &mut View, key: KeyCode) {
    match key {
        KeyCode::Enter => view.mode = Mode::Looking,
        KeyCode::Esc => {
            view.list().filter.clear();
            view.mode = Mode::Looking;
        }
        KeyCode::Backspace => drop(view.list().filter.pop()),
        KeyCode::Char(char) if view.list().filter.chars().count() < FILTER_CHARS_MAX => view.list().filter.push(char),
        _ => {}
    }
}

fn turn(view: &mut View, steps: usize) {
    view.tab = Tab::ALL[(view.tab.index() + steps) % Tab::ALL.len()];
}

fn select(view: &mut View, to: impl Fn(usize) -> usize) {
    let list = view.list();
    // The last drawing left it where rows are; many keys may come before the next.
    list.selected = to(list.selected).min(usize::MAX - 1);
}

/// The next of the columns that are on the screen.
fn sort_by_next(view: &mut View) {
    let list = view.list();
    let next = list.columns.iter().find(|column| **column > list.sort.column).or(list.columns.first());
    list.sort.column = next.copied().unwrap_or(0);
    list.sort.is_reversed = false;
}

#[cfg(test)]
mod tests {
    use super::super::grid::Sort;
    use super::*;

    fn after(view: &mut View, keys: &[KeyCode]) -> Outcome {
        keys.iter().map(|key| press(view, KeyEvent::from(*key))).last().expect("a key")
    }

    fn view() -> View {
        View::new("127.0.0.1:9191")
    }

    #[test]
    fn tabs_are_reached_by_number_and_in_turn() {
        for (keys, tab) in [
            (&[KeyCode::Char('4')][..], Tab::Connections),
            (&[KeyCode::Tab], Tab::Topics),
            (&[KeyCode::Char('4'), KeyCode::Right], Tab::Shards),
            (&[KeyCode::BackTab], Tab::Connections),
            (&[KeyCode::Char('3'), KeyCode::Left], Tab::Topics),
        ] {
            let mut view = view();
            assert_eq!(after(&mut view, keys), Outcome::GoOn);
            assert_eq!(view.tab, tab, "{keys:?}");
        }
    }

    #[test]
    fn letters_belong_to_the_filter_until_it_is_kept_or_dropped() {
        let mut view = view();
        let word = ['/', 'q', 's', 'x'].map(KeyCode::Char);
        assert_eq!(after(&mut view, &word), Outcome::GoOn);
        after(&mut view, &[KeyCode::Backspace, KeyCode::Enter]);
        assert_eq!((view.mode, view.list().filter.as_str()), (Mode::Looking, "qs"));
        after(&mut view, &[KeyCode::Char('/'), KeyCode::Esc]);
        assert_eq!((view.mode, view.list().filter.as_str()), (Mode::Looking, ""));
        assert_eq!(after(&mut view, &[KeyCode::Esc]), Outcome::Quit);
    }

    #[test]
    fn control_c_quits_whatever_is_open() {
        for opened in ['/', '?', 'p'] {
            let mut view = view();
            after(&mut view, &[KeyCode::Char(opened)]);
            let key = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
            assert_eq!(press(&mut view, key), Outcome::Quit);
        }
        let mut view = view();
        assert_eq!(after(&mut view, &[KeyCode::Char('?'), KeyCode::Char('q')]), Outcome::GoOn);
        assert_eq!(after(&mut view, &[KeyCode::Char('q')]), Outcome::Quit);
    }

    #[test]
    fn sorting_goes_round_the_columns_that_are_seen() {
        let mut view = view();
        view.list().columns = vec![0, 2, 5];
        let mut seen = Vec::new();
        for _ in 0..3 {
            after(&mut view, &[KeyCode::Char('s')]);
            seen.push(view.list().sort.column);
        }
        assert_eq!(seen, [2, 5, 0]);
        after(&mut view, &[KeyCode::Char('r')]);
        assert_eq!(view.list().sort, Sort { column: 0, is_reversed: true });
    }

    #[test]
    fn moving_never_leaves_what_a_row_can_be() {
        let mut view = view();
        view.list().page_rows = 10;
        after(&mut view, &[KeyCode::End, KeyCode::Down, KeyCode::PageDown]);
        view.list().settle(30, 10);
        assert_eq!(view.list().selected, 29);
        after(&mut view, &[KeyCode::PageUp, KeyCode::Up]);
        assert_eq!(view.list().selected, 18);
        after(&mut view, &[KeyCode::Home, KeyCode::Up, KeyCode::PageUp]);
        assert_eq!(view.list().selected, 0);
    }
}
