//! What stands on the screen, at sizes that people have.

use std::time::{Duration, Instant};

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{KeyCode, KeyEvent};
use ratatui::style::{Color, Modifier};

use super::draw::{Looks, draw};
use super::fixture;
use super::keys::press;
use super::view::{Trouble, View};

fn view() -> View {
    let mut view = View::new("127.0.0.1:9191");
    view.picture = Some(fixture::picture());
    view
}

fn drawn(view: &mut View, width: u16, height: u16, looks: Looks) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a screen");
    terminal.draw(|frame| draw(frame, view, &looks, Instant::now())).expect("drawn");
    terminal.backend().buffer().clone()
}

fn lines_of(buffer: &Buffer) -> Vec<String> {
    let rows = buffer.content().chunks(usize::from(buffer.area.width));
    rows.map(|row| row.iter().map(|cell| cell.symbol()).collect::<String>().trim_end().to_string()).collect()
}

/// The screen after these keys.
fn screen(view: &mut View, width: u16, height: u16, keys: &[KeyCode]) -> Vec<String> {
    let mut lines = lines_of(&drawn(view, width, height, Looks::new(true)));
    for key in keys {
        press(view, KeyEvent::from(*key));
        lines = lines_of(&drawn(view, width, height, Looks::new(true)));
    }
    lines
}

/// The words of the line that begins with `first`.
fn words<'a>(lines: &'a [String], first: &str) -> Vec<&'a str> {
    let line = lines.iter().find(|line| line.split_whitespace().next() == Some(first));
    line.unwrap_or_else(|| panic!("{first} begins no line of {lines:#?}")).split_whitespace().collect()
}

/// Where a column and a cell end; numbers stand under the end of their header.
fn end_of(line: &str, word: &str) -> usize {
    line.chars().count() - line[line.find(word).expect("the word")..].chars().count() + word.chars().count()
}

#[test]
fn eighty_by_twenty_four_has_the_node_and_what_matters_of_each_shard() {
    let lines = screen(&mut view(), 80, 24, &[]);
    assert_eq!(lines.len(), 24);
    assert_eq!(lines[0], "ouzel 0.1.0   node 1   serving   up 1h 02m   127.0.0.1:9191");
    assert_eq!(lines[1], "in 3.0 MiB/s   out 0 B/s   200 requests/s   produce p99 2.0 ms");
    assert_eq!(lines[2], "connections 2   cpu 50 %   memory 64.0 MiB   partitions 6");
    assert_eq!(lines[3].trim(), "1 Shards (2)   2 Topics (2)   3 Groups (1)   4 Connections (2)");
    assert!(lines[4].starts_with("shard") && lines[4].contains("journal") && !lines[4].contains("connections"));
    assert_eq!(words(&lines[5..], "1")[..4], ["1", "online", "42", "%"]);
    assert_eq!(end_of(&lines[4], "queued"), end_of(&lines[5], "  3"), "{lines:#?}");
    assert!(lines[23].starts_with("1/2   q quit   ? help"), "{lines:#?}");
}

#[test]
fn a_wide_screen_has_every_column() {
    let lines = screen(&mut view(), 160, 50, &[]);
    for column in
        ["payload/s", "commits/s", "in flight", "dirty", "cache", "hits", "buffers", "partitions", "connections"]
    {
        assert!(lines[4].contains(column), "{column} is not in {}", lines[4]);
    }
    assert!(lines.iter().all(|line| line.chars().count() <= 160));
}

#[test]
fn a_narrow_screen_keeps_names_and_what_is_busy() {
    for (width, height) in [(40, 12), (20, 8), (10, 5), (1, 1)] {
        for tab in ['1', '2', '3', '4', '?'] {
            screen(&mut view(), width, height, &[KeyCode::Char(tab)]);
        }
    }
    let lines = screen(&mut view(), 40, 12, &[KeyCode::Char('2')]);
    assert_eq!(lines[1], "in 3.0 MiB/s   out 0 B/s");
    assert_eq!(words(&lines, "clicks")[..3], ["clicks", "1.0", "MiB"]);
}

#[test]
fn lists_are_sorted_filtered_and_scrolled() {
    let mut view = view();
    let lines = screen(&mut view, 80, 24, &[KeyCode::Char('2'), KeyCode::Char('r')]);
    assert!(lines[4].starts_with("topic\u{25b2}") && lines[5].starts_with("orders"), "{lines:#?}");
    let keys = ['/', 'l', 'i', 'c', 'k'].map(KeyCode::Char);
    let lines = screen(&mut view, 80, 24, &keys);
    assert!(lines[5].starts_with("clicks") && lines[6].is_empty() && lines[23] == "filter: lick_", "{lines:#?}");
    let lines = screen(&mut view, 80, 24, &[KeyCode::Char('4'), KeyCode::Esc, KeyCode::Char('4')]);
    assert_eq!(words(&lines, "127.0.0.1:5000")[1..3], ["rdkafka", "kafka"]);
    let lines = screen(&mut view, 80, 24, &[KeyCode::End]);
    assert!(lines[22].starts_with("127.0.0.1:5049") && lines[23].starts_with("50/50"), "{lines:#?}");
    let lines = screen(&mut view, 80, 24, &[KeyCode::PageUp, KeyCode::PageUp]);
    assert!(lines[23].starts_with("14/50"), "{lines:#?}");
}

#[test]
fn a_group_shows_its_lag_and_whether_it_catches_up() {
    let lines = screen(&mut view(), 80, 24, &[KeyCode::Char('3')]);
    assert_eq!(words(&lines, "billing"), ["billing", "consumer", "Stable", "2", "4", "-3.0"]);
}

#[test]
fn a_broker_that_is_away_is_said_above_what_was_known_last() {
    let mut view = view();
    let since = Instant::now().checked_sub(Duration::from_secs(65)).expect("a clock that runs");
    view.trouble = Some(Trouble {
        since,
        why: "cannot reach the admin port of a broker at 127.0.0.1:9191: Connection refused".to_string(),
    });
    let lines = screen(&mut view, 80, 24, &[]);
    assert!(lines[3].starts_with("no answer for 1m 05s, trying again: cannot reach"), "{lines:#?}");
    assert!(lines[4].ends_with("Connection refused") && lines[5].contains("Shards"), "{lines:#?}");
    assert_eq!(words(&lines, "0")[1], "online");
    let blank = screen(&mut View::new("127.0.0.1:9191"), 80, 24, &[]);
    assert_eq!(blank[0], "ouzel top: asking 127.0.0.1:9191 ...");
}

#[test]
fn help_and_pause_are_seen() {
    let lines = screen(&mut view(), 80, 24, &[KeyCode::Char('p'), KeyCode::Char('?')]);
    assert!(lines[0].starts_with("PAUSED"), "{lines:#?}");
    assert!(lines.iter().any(|line| line.contains("sort by the next column")), "{lines:#?}");
}

#[test]
fn without_colours_letters_are_bold_and_reversed_only() {
    let mut view = view();
    view.picture.as_mut().expect("a picture").notes.push("something".to_string());
    let (plain, coloured) = (drawn(&mut view, 80, 24, Looks::new(false)), drawn(&mut view, 80, 24, Looks::new(true)));
    let is_coloured =
        |buffer: &Buffer| buffer.content().iter().any(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset);
    assert!(!is_coloured(&plain) && is_coloured(&coloured));
    assert!(plain.content().iter().any(|cell| cell.modifier.contains(Modifier::REVERSED)));
}
