//! What a broker says about its recoveries on stderr, summed up. Owns the reading of that one line; never judges it.

/// Sums over the lines that a broker writes after each recovery, in its log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recoveries {
    /// Recoveries, the first start in an empty directory included if the broker mentions it.
    pub count: u64,
    /// Journals whose last commit was torn, and cut.
    pub torn_tails: u64,
    /// Journals that ended without a seal: a commit may have been in flight.
    pub unsealed: u64,
    /// Times a journal began to use its files again.
    pub wraps: u64,
    /// Commits that were read.
    pub commits: u64,
}

impl Recoveries {
    /// Reads the lines that carry `torn_tails=`; what else the line says does not matter.
    pub fn of_log(text: &str) -> Recoveries {
        let mut sums = Recoveries::default();
        for line in text.lines().filter(|line| line.contains("torn_tails=")) {
            sums.count += 1;
            sums.torn_tails += field(line, "torn_tails=");
            sums.unsealed += field(line, "unsealed=");
            sums.wraps += field(line, "wraps=");
            sums.commits += field(line, "commits=");
        }
        sums
    }

    /// Adds another's sums.
    pub fn add(&mut self, other: &Recoveries) {
        self.count += other.count;
        self.torn_tails += other.torn_tails;
        self.unsealed += other.unsealed;
        self.wraps += other.wraps;
        self.commits += other.commits;
    }
}

/// The number behind the word that is `name`; 0 if there is none.
fn field(line: &str, name: &str) -> u64 {
    line.split_ascii_whitespace().find_map(|word| word.strip_prefix(name)?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recovery_lines_are_summed_and_other_lines_left_alone() {
        let log = "\
            2026-01-01T00:00:00Z  INFO ouzel_broker: recovered journals=4 commits=10 torn_tails=1 unsealed=2 wraps=3 bytes=5\n\
            2026-01-01T00:00:00Z  INFO ouzel_broker: listening wraps=9\n\
            2026-01-01T00:00:01Z  INFO ouzel_broker: recovered journals=1 commits=7 torn_tails=0 unsealed=1 wraps=0 bytes=5\n";
        let sums = Recoveries { count: 2, torn_tails: 1, unsealed: 3, wraps: 3, commits: 17 };
        assert_eq!(Recoveries::of_log(log), sums);
    }
}
