//! The four lists: which columns each has, in which order, and how a number in it is written. Owns the words that stand above
//! columns; knows neither the screen nor where numbers come from. Pure.

use super::grid::{Cell, Column, ColumnKind, Grid};
use super::picture::{GroupRow, Picture, ShardRow, TopicRow};
use super::sample::Connection;
use crate::units::{human_age, human_bytes, human_rate};

/// One list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tab {
    Shards,
    Topics,
    Groups,
    Connections,
}

impl Tab {
    /// All, in their order.
    pub(super) const ALL: [Tab; 4] = [Tab::Shards, Tab::Topics, Tab::Groups, Tab::Connections];

    /// Its title.
    pub(super) fn title(self) -> &'static str {
        match self {
            Tab::Shards => "Shards",
            Tab::Topics => "Topics",
            Tab::Groups => "Groups",
            Tab::Connections => "Connections",
        }
    }

    /// Its place among all.
    pub(super) fn index(self) -> usize {
        self as usize
    }

    /// Its columns.
    pub(super) fn columns(self) -> &'static [Column] {
        match self {
            Tab::Shards => &SHARDS,
            Tab::Topics => &TOPICS,
            Tab::Groups => &GROUPS,
            Tab::Connections => &CONNECTIONS,
        }
    }

    /// How many rows it has, where that is known.
    pub(super) fn row_count(self, picture: &Picture) -> u64 {
        match self {
            Tab::Shards => picture.shards.len() as u64,
            Tab::Topics => picture.topics.len() as u64,
            Tab::Groups => picture.groups.len() as u64,
            Tab::Connections => picture.overview.connection_count,
        }
    }

    /// Its rows.
    pub(super) fn grid(self, picture: &Picture) -> Grid {
        let rows = match self {
            Tab::Shards => picture.shards.iter().map(shard).collect(),
            Tab::Topics => picture.topics.iter().map(topic).collect(),
            Tab::Groups => picture.groups.iter().map(group).collect(),
            Tab::Connections => picture.connections.iter().flatten().map(connection).collect(),
        };
        Grid { columns: self.columns(), rows }
    }
}

const fn words(name: &'static str, rank: u8) -> Column {
    Column { name, kind: ColumnKind::Text, rank }
}

const fn number(name: &'static str, rank: u8) -> Column {
    Column { name, kind: ColumnKind::Number, rank }
}

static SHARDS: [Column; 14] = [
    number("shard", 0),
    words("state", 0),
    number("busy", 0),
    number("payload/s", 1),
    number("commits/s", 3),
    number("queued", 1),
    number("in flight", 2),
    number("journal", 1),
    number("dirty", 3),
    number("cache", 2),
    number("hits", 3),
    number("buffers", 6),
    number("partitions", 4),
    number("connections", 5),
];

fn shard(row: &ShardRow) -> Vec<Cell> {
    vec![
        // The first shard comes first, unlike the largest number elsewhere: it is sorted by what is not its text.
        Cell::number(Some(-f64::from(row.shard)), |_| row.shard.to_string()),
        Cell::text(row.state.as_str()),
        share(row.busy_ratio),
        bytes_rate(row.payload_bytes_per_s),
        rate(row.commits_per_s),
        count(row.queued),
        count(row.requests_in_flight),
        share(Some(row.journal_ratio)),
        bytes(Some(row.dirty_bytes)),
        bytes(Some(row.cache_bytes)),
        share(row.cache_hit_ratio),
        bytes(Some(row.connection_bytes)),
        count(row.partitions),
        count(row.connections),
    ]
}

static TOPICS: [Column; 6] = [
    words("topic", 0),
    number("partitions", 2),
    number("in/s", 0),
    number("records/s", 3),
    number("out/s", 0),
    number("size", 1),
];

fn topic(row: &TopicRow) -> Vec<Cell> {
    vec![
        Cell::text(row.topic.as_str()),
        count(row.partitions),
        bytes_rate(row.bytes_in_per_s),
        rate(row.records_in_per_s),
        bytes_rate(row.bytes_out_per_s),
        bytes(row.stored_bytes),
    ]
}

static GROUPS: [Column; 6] = [
    words("group", 0),
    words("kind", 2),
    words("state", 1),
    number("members", 1),
    number("lag", 0),
    number("lag change/s", 0),
];

fn group(row: &GroupRow) -> Vec<Cell> {
    vec![
        Cell::text(row.group.as_str()),
        Cell::text(row.kind.as_str()),
        Cell::text(row.state.as_str()),
        count(row.members),
        Cell::number(row.lag, |lag| lag.to_string()),
        Cell::number(row.lag_per_s, |change| match change {
            0.0 => "0".to_string(),
            change if change > 0.0 => format!("+{}", human_rate(change)),
            change => format!("-{}", human_rate(-change)),
        }),
    ]
}

static CONNECTIONS: [Column; 6] = [
    words("peer", 0),
    words("client", 0),
    words("protocol", 2),
    number("in flight", 1),
    number("age", 1),
    number("shard", 3),
];

fn connection(row: &Connection) -> Vec<Cell> {
    vec![
        Cell::text(row.peer.as_str()),
        Cell::text(row.client.as_deref().unwrap_or("-")),
        Cell::text(row.protocol.as_str()),
        count(row.requests_in_flight),
        Cell::number(Some(row.age_ms), human_age),
        count(u64::from(row.shard)),
    ]
}

fn count(count: u64) -> Cell {
    Cell::number(Some(count), |count| count.to_string())
}

fn rate(rate: Option<f64>) -> Cell {
    Cell::number(rate, human_rate)
}

fn bytes(bytes: Option<u64>) -> Cell {
    Cell::number(bytes, human_bytes)
}

fn bytes_rate(rate: Option<f64>) -> Cell {
    Cell::number(rate, |rate| human_bytes(rate as u64))
}

fn share(ratio: Option<f64>) -> Cell {
    Cell::number(ratio, percent)
}

/// A share of 1 in percent.
pub(super) fn percent(ratio: f64) -> String {
    format!("{:.0} %", ratio * 100.0)
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::super::grid::Sort;
    use super::*;

    #[test]
    fn every_row_has_a_cell_for_each_column() {
        let picture = fixture::picture();
        for tab in Tab::ALL {
            let mut grid = tab.grid(&picture);
            assert!(!grid.rows.is_empty(), "{tab:?}");
            assert!(grid.rows.iter().all(|row| row.len() == grid.columns.len()), "{tab:?}");
            grid.arrange("", Sort::default());
            assert!(Tab::ALL[tab.index()] == tab && grid.columns[0].rank == 0);
        }
    }

    #[test]
    fn shards_stand_in_their_order_and_lag_has_its_sign() {
        let picture = fixture::picture();
        let mut shards = Tab::Shards.grid(&picture);
        shards.arrange("", Sort::default());
        let first: Vec<&str> = shards.rows.iter().map(|row| row[0].text.as_str()).collect();
        assert_eq!(first, ["0", "1"]);
        assert_eq!(Tab::Groups.grid(&picture).rows[0][5].text, "-3.0");
    }
}
