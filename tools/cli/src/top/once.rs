//! The same as plain text or JSON, once: for pipes, scripts and reports. Owns how it is printed. Runs on the CLI's main thread.

use std::time::Duration;

use anyhow::Result;

use super::grid::{ColumnKind, Sort};
use super::overview::{holdings, identity, traffic, warnings};
use super::picture::Picture;
use super::rates;
use super::sampler::Sampler;
use super::tables::Tab;
use crate::connect::block_on;
use crate::output::{print_json, print_line, table};

/// Takes two samples, `interval` apart, and prints what lies between them.
///
/// # Errors
/// The broker does not answer, or nobody reads stdout.
pub(super) fn run(address: &str, interval: Duration, is_json: bool) -> Result<()> {
    let picture = block_on(async {
        let mut sampler = Sampler::new(address);
        let before = sampler.sample().await?;
        tokio::time::sleep(interval).await;
        let mut picture = rates::picture(Some(&before), &sampler.sample().await?);
        picture.connect(sampler.connections().await);
        Ok(picture)
    })?;
    if is_json { print_json(&picture) } else { print_line(&text(&picture)) }
}

fn text(picture: &Picture) -> String {
    let overview = &picture.overview;
    let head = [identity(overview), traffic(overview), holdings(overview)].map(|facts| facts.join("   ")).join("\n");
    let warnings = warnings(picture).into_iter().map(|warning| format!("warning: {warning}"));
    let tables = Tab::ALL.map(|tab| {
        let mut grid = tab.grid(picture);
        grid.arrange("", Sort::default());
        let header: Vec<&str> = grid.columns.iter().map(|column| column.name).collect();
        let numbers = (0..).zip(grid.columns).filter(|(_, column)| column.kind == ColumnKind::Number);
        let numbers: Vec<usize> = numbers.map(|(index, _)| index).collect();
        let rows = grid.rows.into_iter().map(|row| row.into_iter().map(|cell| cell.text).collect());
        format!("\n{}\n{}", tab.title().to_lowercase(), table(&header, &numbers, rows))
    });
    [head].into_iter().chain(warnings).chain(tables).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;

    #[test]
    fn the_text_has_the_node_its_warnings_and_every_list() {
        let mut picture = fixture::picture();
        picture.notes.push("2 more topics are not shown".to_string());
        let text = text(&picture);
        for shown in ["ouzel 0.1.0", "in 3.0 MiB/s", "warning: 2 more topics", "shards", "clicks", "billing", "rdkafka"]
        {
            assert!(text.contains(shown), "{shown} is not in {text}");
        }
    }
}
