//! The space that the data directory has and a start needs. Judges as a start does: the journals at their full size must fit
//! before the first one, and later starts find them there.

use std::path::Path;

use ouzel_broker::BrokerConfig;
use rustix::fs::statvfs;

use super::finding::Finding;
use super::place::Place;
use crate::units::{exact_bytes, human_bytes};

const MIB: u64 = 1024 * 1024;

/// Below this share of its file system, free space is soon gone.
const FREE_SHARE_MIN: u64 = 10;

/// Bytes that this user may still write there.
pub(super) fn free_bytes(dir: &Path) -> Option<u64> {
    let stat = statvfs(dir).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

pub(super) fn look(place: &Place, config: &BrokerConfig) -> Option<Finding> {
    let stat = statvfs(&place.measured).ok()?;
    let (free, all) = (stat.f_bavail.saturating_mul(stat.f_frsize), stat.f_blocks.saturating_mul(stat.f_frsize));
    // File systems of the kernel's own have no space to speak of.
    if all == 0 {
        return None;
    }
    let is_first_start = !place.data_dir.join("metadata").exists();
    let least = u64::from(config.shards) * BrokerConfig::JOURNAL_BYTES_MIN;
    Some(judge(free, all, config.journal_bytes_max, least, is_first_start))
}

fn judge(free: u64, all: u64, journal_bytes_max: u64, journal_bytes_least: u64, is_first_start: bool) -> Finding {
    let check = "free space";
    let seen = format!("{} of {}", human_bytes(free), human_bytes(all));
    let journals = human_bytes(journal_bytes_max);
    if is_first_start && free < journal_bytes_max {
        let missing = human_bytes(journal_bytes_max - free);
        // Records need room beside the journals.
        let fitting = free / 2 / MIB * MIB;
        let remedy = match fitting >= journal_bytes_least {
            true => format!("free {missing}, or set journal.bytes.max = \"{}\"", exact_bytes(fitting)),
            false => format!("free {missing}"),
        };
        return Finding::blocking(
            check,
            format!("{seen}, and the journals of a first start may take {journals}"),
            remedy,
        );
    }
    if free < all / FREE_SHARE_MIN {
        return Finding::wanting(
            check,
            format!("{seen}: producers are refused once it is used up"),
            "delete topics (`ouzel topic delete T`), or grow the file system",
        );
    }
    Finding::good(check, format!("{seen}; journals may take {journals} of it"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::State;

    #[test]
    fn a_first_start_needs_room_for_its_journals_and_later_ones_have_it() {
        let gib = 1 << 30;
        assert_eq!(judge(50 * gib, 100 * gib, gib, MIB, true).state, State::Good);
        let tight = judge(gib / 2, 100 * gib, gib, MIB, true);
        assert_eq!(tight.state, State::Blocking);
        assert_eq!(tight.remedy.as_deref(), Some("free 512.0 MiB, or set journal.bytes.max = \"256MiB\""));
        let full = judge(MIB, 100 * gib, gib, MIB, true);
        assert_eq!(full.remedy.as_deref(), Some("free 1023.0 MiB"), "no journal fits there");
        assert_eq!(judge(gib / 2, 100 * gib, gib, MIB, false).state, State::Wanting);
    }
}
