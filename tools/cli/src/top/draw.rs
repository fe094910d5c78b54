//! The screen: facts about the node, the four lists' names, one list, and a line of help. Owns where things stand and how they
//! look; decides nothing about what they are.

use std::time::Instant;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Block, Clear, Paragraph, Row, Table};

use super::grid::{ColumnKind, Grid, SPACING, shortened};
use super::keys::HELP;
use super::overview::{holdings, identity, traffic, warnings};
use super::tables::Tab;
use super::view::{List, Mode, View};
use crate::units::human_age;

/// Warnings that are shown at most; the rest is counted.
const WARNING_COUNT_MAX: usize = 3;
/// Lines that one warning may take.
const WARNING_LINES_MAX: usize = 3;

/// How things look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Looks {
    strong: Style,
    chosen: Style,
    quiet: Style,
    alarm: Style,
}

impl Looks {
    /// With or without colours; <https://no-color.org> leaves bold and reversed letters.
    pub(super) fn new(is_coloured: bool) -> Looks {
        let plain = Looks {
            strong: Style::new().add_modifier(Modifier::BOLD),
            chosen: Style::new().add_modifier(Modifier::REVERSED),
            quiet: Style::new().add_modifier(Modifier::DIM),
            alarm: Style::new().add_modifier(Modifier::BOLD | Modifier::REVERSED),
        };
        if !is_coloured {
            return plain;
        }
        Looks {
            strong: plain.strong.fg(Color::Cyan),
            alarm: Style::new().add_modifier(Modifier::BOLD).fg(Color::Red),
            ..plain
        }
    }
}

/// Draws everything.
pub(super) fn draw(frame: &mut Frame, view: &mut View, looks: &Looks, now: Instant) {
    let alarms = wrapped(&alarms(view, now), frame.area().width);
    let alarm_lines = u16::try_from(alarms.len()).unwrap_or(0);
    let [head, alarm, tabs, body, foot] = Layout::vertical([
        Constraint::Length(3),
        Constraint::Length(alarm_lines),
        Constraint::Length(1),
        Constraint::Min(0),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    draw_head(frame, head, view, looks);
    frame.render_widget(Text::from_iter(alarms).style(looks.alarm), alarm);
    draw_tabs(frame, tabs, view, looks);
    let row_count = draw_list(frame, body, view, looks);
    draw_foot(frame, foot, view, row_count, looks);
    if view.mode == Mode::Help {
        draw_help(frame, looks);
    }
}

/// What is wrong, a line each.
fn alarms(view: &View, now: Instant) -> Vec<String> {
    let away = view.trouble.as_ref().map(|trouble| {
        let age_ms = now.saturating_duration_since(trouble.since).as_millis();
        format!("no answer for {}, trying again: {}", human_age(u64::try_from(age_ms).unwrap_or(u64::MAX)), trouble.why)
    });
    let mut warnings = view.picture.as_ref().map(warnings).unwrap_or_default();
    if warnings.len() > WARNING_COUNT_MAX {
        let more = warnings.split_off(WARNING_COUNT_MAX - 1).len();
        warnings.push(format!("and {more} more warnings, see `ouzel top --once`"));
    }
    away.into_iter().chain(warnings).collect()
}

/// The same on lines of at most `width`, cut between words.
fn wrapped(texts: &[String], width: u16) -> Vec<String> {
    let wrap = |text: &String| {
        let mut lines = vec![String::new()];
        for word in text.split(' ') {
            match lines.last_mut() {
                Some(line) if line.is_empty() => line.push_str(word),
                Some(line) if Line::raw(format!("{line} {word}")).width() <= usize::from(width) => {
                    line.push(' ');
                    line.push_str(word);
                }
                _ => lines.push(word.to_string()),
            }
        }
        lines.truncate(WARNING_LINES_MAX);
        lines
    };
    texts.iter().flat_map(wrap).collect()
}

fn draw_head(frame: &mut Frame, area: Rect, view: &View, looks: &Looks) {
    let Some(picture) = &view.picture else {
        let asking = format!("ouzel top: asking {} ...", view.address);
        return frame.render_widget(Line::styled(asking, looks.strong), area);
    };
    let overview = &picture.overview;
    let mut first = identity(overview);
    if view.is_paused {
        first.insert(0, "PAUSED".to_string());
    }
    first.push(view.address.clone());
    let lines = [(first, looks.strong), (traffic(overview), Style::new()), (holdings(overview), Style::new())];
    let lines = lines.map(|(facts, style)| Line::styled(fitting(&facts, area.width), style));
    frame.render_widget(Text::from_iter(lines), area);
}

/// As many facts as the line has room for, but the first in any case.
fn fitting(facts: &[String], width: u16) -> String {
    let mut line = String::new();
    for fact in facts {
        let separator = if line.is_empty() { "" } else { "   " };
        if !line.is_empty() && line.len() + separator.len() + fact.len() > usize::from(width) {
            break;
        }
        line = format!("{line}{separator}{fact}");
    }
    line
}

fn draw_tabs(frame: &mut Frame, area: Rect, view: &View, looks: &Looks) {
    let is_narrow = area.width < 70;
    let spans = Tab::ALL.into_iter().flat_map(|tab| {
        let count = view.picture.as_ref().filter(|_| !is_narrow).map(|picture| tab.row_count(picture));
        let count = count.map_or_else(String::new, |count| format!(" ({count})"));
        let title = format!(" {} {}{count} ", tab.index() + 1, tab.title());
        let style = if tab == view.tab { looks.chosen } else { Style::new() };
        [Span::styled(title, style), Span::raw(if is_narrow { "" } else { " " })]
    });
    frame.render_widget(Line::from_iter(spans), area);
}

/// Draws the list and says how many rows it has.
fn draw_list(frame: &mut Frame, area: Rect, view: &mut View, looks: &Looks) -> usize {
    let Some(picture) = &view.picture else { return 0 };
    let tab = view.tab;
    let mut grid = tab.grid(picture);
    let is_asked_for = tab == Tab::Connections && picture.connections.is_none();
    let list = view.list();
    grid.arrange(&list.filter, list.sort);
    list.settle(grid.rows.len(), usize::from(area.height.saturating_sub(1)));
    let fitted = grid.fit(area.width, list.sort);
    list.columns = fitted.iter().map(|(index, _)| *index).collect();
    frame.render_widget(table(&grid, &fitted, list, looks), area);
    if grid.rows.is_empty() {
        let said = match (is_asked_for, list.filter.is_empty()) {
            (true, _) => "asking ...",
            (false, true) => "none",
            (false, false) => "none that the filter lets through",
        };
        let [_, below] = Layout::vertical([Constraint::Length(1), Constraint::Min(0)]).areas(area);
        frame.render_widget(Line::styled(said, looks.quiet), below);
    }
    grid.rows.len()
}

/// The rows that are on the screen; the others are not even made.
fn table(grid: &Grid, fitted: &[(usize, u16)], list: &List, looks: &Looks) -> Table<'static> {
    let aligned = |index: usize, text: String| match grid.columns.get(index).map(|column| column.kind) {
        Some(ColumnKind::Number) => Text::raw(text).right_aligned(),
        _ => Text::raw(text),
    };
    let header = fitted.iter().map(|(index, _)| {
        let name = grid.columns.get(*index).map_or("", |column| column.name);
        let is_sorted = *index == list.sort.column;
        let mark = if !is_sorted {
            ""
        } else if list.sort.is_reversed {
            "\u{25b2}"
        } else {
            "\u{25bc}"
        };
        aligned(*index, format!("{name}{mark}"))
    });
    let rows = grid.rows.iter().enumerate().skip(list.top).take(list.page_rows).map(|(at, row)| {
        let cells = fitted.iter().map(|(index, width)| {
            aligned(*index, row.get(*index).map(|cell| shortened(&cell.text, *width)).unwrap_or_default())
        });
        Row::new(cells).style(if at == list.selected { looks.chosen } else { Style::new() })
    });
    let widths: Vec<Constraint> = fitted.iter().map(|(_, width)| Constraint::Length(*width)).collect();
    Table::new(rows.collect::<Vec<_>>(), widths)
        .header(Row::new(header.collect::<Vec<_>>()).style(looks.strong))
        .column_spacing(SPACING)
}

fn draw_foot(frame: &mut Frame, area: Rect, view: &mut View, row_count: usize, looks: &Looks) {
    let mode = view.mode;
    let list = view.list();
    if mode == Mode::Filtering {
        let line = Line::from(vec![Span::styled("filter: ", looks.strong), Span::raw(format!("{}_", list.filter))]);
        return frame.render_widget(line, area);
    }
    let mut facts = vec![format!("{}/{row_count}", (list.selected + 1).min(row_count))];
    if !list.filter.is_empty() {
        facts.push(format!("filter: {}", list.filter));
    }
    let help = ["q quit", "? help", "1-4 list", "s sort", "/ filter", "p pause", "r reverse"];
    facts.extend(help.map(str::to_string));
    frame.render_widget(Line::styled(fitting(&facts, area.width), looks.quiet), area);
}

fn draw_help(frame: &mut Frame, looks: &Looks) {
    let lines = HELP
        .map(|(key, meaning)| Line::from(vec![Span::styled(format!(" {key:<21} "), looks.strong), Span::raw(meaning)]));
    let width = lines.iter().map(Line::width).max().unwrap_or(0) + 3;
    let height = u16::try_from(lines.len() + 2).unwrap_or(u16::MAX);
    let area =
        frame.area().centered(Constraint::Max(u16::try_from(width).unwrap_or(u16::MAX)), Constraint::Max(height));
    frame.render_widget(Clear, area);
    frame.render_widget(Paragraph::new(Text::from_iter(lines)).block(Block::bordered().title(" Keys ")), area);
}
