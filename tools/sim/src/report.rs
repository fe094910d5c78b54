//! What `ouzel-sim` prints: the sums over rounds, the failure with the command that replays it, and one last line for
//! programs. Decides nothing.

use crate::PowerCut;
use crate::round::RoundReport;

/// Sums over rounds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Totals {
    rounds: u64,
    sum: RoundReport,
}

impl Totals {
    pub(crate) fn add(&mut self, report: &RoundReport) {
        self.rounds += 1;
        let (sum, counts, disk) = (&mut self.sum, &report.counts, &report.disk);
        for (total, more) in [
            (&mut sum.lives, report.lives),
            (&mut sum.recoveries_cut, report.recoveries_cut),
            (&mut sum.torn_tails, report.torn_tails),
            (&mut sum.unsealed, report.unsealed),
            (&mut sum.wraps, report.wraps),
            (&mut sum.carries, report.carries),
            (&mut sum.checkpoints, report.checkpoints),
            (&mut sum.counts.sent, counts.sent),
            (&mut sum.counts.acked_disk, counts.acked_disk),
            (&mut sum.counts.acked_written, counts.acked_written),
            (&mut sum.counts.read, counts.read),
            (&mut sum.counts.verified, counts.verified),
            (&mut sum.counts.lost_unpromised, counts.lost_unpromised),
            (&mut sum.counts.lost_written, counts.lost_written),
            (&mut sum.counts.truncations, counts.truncations),
            (&mut sum.counts.log_start_moves, counts.log_start_moves),
            (&mut sum.counts.drops, counts.drops),
            (&mut sum.disk.ops, disk.ops),
            (&mut sum.disk.syncs, disk.syncs),
            (&mut sum.disk.cuts, disk.cuts),
            (&mut sum.disk.kills, disk.kills),
            (&mut sum.disk.kept, disk.kept),
            (&mut sum.disk.dropped, disk.dropped),
            (&mut sum.disk.torn, disk.torn),
        ] {
            *total += more;
        }
        sum.trace = sum.trace.rotate_left(1) ^ report.trace;
    }

    /// Prints a run in which every promise held.
    pub(crate) fn print(&self, args: &PowerCut) {
        if !args.json {
            self.print_table();
        }
        println!("{}", self.line("pass", args.seed, None));
    }

    fn print_table(&self) {
        let (sum, counts, disk) = (&self.sum, &self.sum.counts, &self.sum.disk);
        println!("rounds           {} ({} lives of a node, {} disk operations)", self.rounds, sum.lives, disk.ops);
        println!("power cuts       {} ({} kills)", disk.cuts, disk.kills);
        println!("recoveries cut   {}", sum.recoveries_cut);
        println!("unsynced writes  {} kept, {} dropped, {} torn", disk.kept, disk.dropped, disk.torn);
        println!(
            "batches          {} sent, {} acked at disk, {} at written",
            counts.sent, counts.acked_disk, counts.acked_written
        );
        println!("read             {} batches by readers, {} after restarts", counts.read, counts.verified);
        println!(
            "lost, allowed    {} never acked, {} acked at written before a cut",
            counts.lost_unpromised, counts.lost_written
        );
        println!(
            "changes          {} truncations, {} log-start moves, {} drops",
            counts.truncations, counts.log_start_moves, counts.drops
        );
        println!("torn tails       {} ({} crashes with a commit in flight)", sum.torn_tails, sum.unsealed);
        println!("journal          {} wraps, {} carries, {} checkpoints", sum.wraps, sum.carries, sum.checkpoints);
        println!("every promise held");
    }

    /// The last line: one JSON object for programs.
    pub(crate) fn line(&self, result: &str, seed: u64, failure: Option<&str>) -> String {
        let (sum, counts, disk) = (&self.sum, &self.sum.counts, &self.sum.disk);
        let failure = failure.map_or_else(String::new, |what| format!(",\"failure\":{}", quoted(what)));
        format!(
            "{{\"result\":\"{result}\",\"rounds\":{},\"seed\":{seed},\"lives\":{},\"cuts\":{},\"kills\":{},\"recoveries_cut\":{},\
             \"sent\":{},\"acked_disk\":{},\"acked_written\":{},\"read\":{},\"verified\":{},\"lost_unpromised\":{},\
             \"lost_written\":{},\"torn_writes\":{},\"torn_tails\":{},\"unsealed\":{},\"wraps\":{},\"carries\":{},\
             \"trace\":\"{:016x}\"{failure}}}",
            self.rounds,
            sum.lives,
            disk.cuts,
            disk.kills,
            sum.recoveries_cut,
            counts.sent,
            counts.acked_disk,
            counts.acked_written,
            counts.read,
            counts.verified,
            counts.lost_unpromised,
            counts.lost_written,
            disk.torn,
            sum.torn_tails,
            sum.unsealed,
            sum.wraps,
            sum.carries,
            sum.trace,
        )
    }
}

/// The round being played, for when it fails.
#[derive(Clone)]
pub(crate) struct Summary {
    pub(crate) args: PowerCut,
    pub(crate) seed: u64,
    pub(crate) rounds: u64,
}

impl Summary {
    /// Prints a broken promise and how to see it again.
    pub(crate) fn print_failure(&self, totals: &Totals, what: &str) {
        if !self.args.json {
            println!("FAILED in round {}: {what}", self.rounds);
            println!("replay: {}", self.replay());
        }
        println!("{}", totals.line("fail", self.seed, Some(what)));
    }

    /// A failed assertion of the code under test ends the process: say which round it was.
    pub(crate) fn on_panic(&self) {
        let summary = self.clone();
        std::panic::set_hook(Box::new(move |info| {
            let what = format!("assertion failed: {}", info.to_string().replace('\n', " "));
            eprintln!("{what}");
            if std::env::var_os("RUST_BACKTRACE").is_some() {
                eprintln!("{}", std::backtrace::Backtrace::force_capture());
            }
            let totals = Totals { rounds: summary.rounds - 1, ..Totals::default() };
            summary.print_failure(&totals, &what);
        }));
    }

    fn replay(&self) -> String {
        let mutation = self.args.mutation.as_ref().map_or_else(String::new, |name| format!(" --mutation {name}"));
        format!("ouzel-sim power-cut --rounds 1 --seed {}{mutation}", self.seed)
    }
}

/// A JSON string.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            character if character.is_control() => out.push(' '),
            character => out.push(character),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn text_for_programs_is_one_json_string() {
        assert_eq!(super::quoted("a \"b\"\\\nc"), r#""a \"b\"\\ c""#);
    }
}
