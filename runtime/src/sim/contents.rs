//! What one simulated file holds: the bytes a reader sees, the bytes that would survive a power cut, and the changes
//! between the two. Owns no names, no clock and no randomness of its own. Lives on the one thread of a simulated run.

use std::collections::VecDeque;
use std::rc::Rc;

use rand::Rng;
use rand::rngs::SmallRng;

/// What a drive writes whole or not at all.
pub(super) const SECTOR_BYTES: usize = 512;

/// How a power cut treats what was not synced. Every cut draws its own temper, so that some cuts lose everything, some
/// nothing, and most a mixture: uniform coins alone would almost never produce the two extremes.
#[derive(Clone, Copy, Debug)]
pub(super) struct CutTemper {
    /// Of 256 unsynced writes, how many vanish.
    drop_of_256: u32,
    /// Of 256 unsynced writes that do not vanish, how many are torn.
    tear_of_256: u32,
}

impl CutTemper {
    pub(super) fn draw(rng: &mut SmallRng) -> CutTemper {
        let level = |rng: &mut SmallRng| match rng.random_range(0..6u32) {
            0 => 0,
            1 => 256,
            2 => 16,
            _ => rng.random_range(32..224),
        };
        CutTemper { drop_of_256: level(rng), tear_of_256: level(rng) }
    }
}

/// What became of one unsynced write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Kept,
    Dropped,
    Torn,
}

/// A completed change that no fdatasync has covered yet.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Write {
        offset: usize,
        bytes: Vec<u8>,
    },
    /// The file is made exactly this long; new bytes are zero.
    Resize {
        bytes: usize,
    },
}

/// A copy shares the bytes until either is written to: recorded runs are copied thousands of times.
#[derive(Clone, Debug, Default)]
pub(super) struct Contents {
    /// What a read sees now.
    live: Rc<Vec<u8>>,
    /// What the platter holds for certain.
    durable: Rc<Vec<u8>>,
    /// Completed changes in order of completion, oldest first.
    unsynced: VecDeque<Change>,
    /// How many changes left `unsynced` at its front; with its length this numbers every change for ever.
    retired: u64,
}

impl Contents {
    pub(super) fn len(&self) -> usize {
        self.live.len()
    }

    pub(super) fn live(&self) -> &[u8] {
        &self.live
    }

    pub(super) fn durable(&self) -> &[u8] {
        &self.durable
    }

    #[cfg(test)]
    pub(super) fn unsynced_count(&self) -> usize {
        self.unsynced.len()
    }

    /// Bytes at `offset`, fewer than asked only at the end of the file.
    pub(super) fn read(&self, offset: usize, bytes: usize) -> &[u8] {
        let start = offset.min(self.live.len());
        let end = offset.saturating_add(bytes).min(self.live.len());
        &self.live[start..end]
    }

    /// A change completed: readers see it, the platter may not.
    pub(super) fn complete(&mut self, change: Change) {
        apply(Rc::make_mut(&mut self.live), &change);
        self.unsynced.push_back(change);
    }

    /// The number that a sync issued now makes durable: every change that has completed before it.
    pub(super) fn sync_mark(&self) -> u64 {
        self.retired + self.unsynced.len() as u64
    }

    /// The sync that took `mark` returned.
    pub(super) fn sync(&mut self, mark: u64) {
        while self.retired < mark {
            let Some(change) = self.unsynced.pop_front() else { break };
            apply(Rc::make_mut(&mut self.durable), &change);
            self.retired += 1;
        }
    }

    /// The sync that took `mark` failed: as ext4 does, what it covered is taken for clean, so no later sync writes it.
    /// Each covered change reached the platter or did not; direct reads see what the platter has.
    pub(super) fn sync_fails(&mut self, mark: u64, rng: &mut SmallRng) {
        while self.retired < mark {
            let Some(change) = self.unsynced.pop_front() else { break };
            if rng.random_bool(0.25) {
                apply(Rc::make_mut(&mut self.durable), &change);
            }
            self.retired += 1;
        }
        self.live.clone_from(&self.durable);
        for change in &self.unsynced {
            apply(Rc::make_mut(&mut self.live), change);
        }
    }

    /// The power goes: each unsynced change is kept, dropped or torn, independently of the others. `in_flight` are
    /// writes that were issued and never completed; they come last, as the newest. Returns the fates.
    pub(super) fn cut(&mut self, in_flight: Vec<Change>, temper: CutTemper, rng: &mut SmallRng) -> Vec<Fate> {
        let mut fates = Vec::new();
        let mut resizes_survive = true;
        let changes: Vec<Change> = self.unsynced.drain(..).chain(in_flight).collect();
        self.retired += changes.len() as u64;
        for change in changes {
            let fate = match &change {
                // File sizes are metadata: the file system's own journal keeps their order, so a prefix survives.
                Change::Resize { .. } => {
                    resizes_survive &= rng.random_range(0..256) >= temper.drop_of_256;
                    if resizes_survive {
                        apply(Rc::make_mut(&mut self.durable), &change);
                        Fate::Kept
                    } else {
                        Fate::Dropped
                    }
                }
                Change::Write { offset, bytes } => self.cut_write(*offset, bytes, temper, rng),
            };
            fates.push(fate);
        }
        self.live.clone_from(&self.durable);
        fates
    }

    fn cut_write(&mut self, offset: usize, bytes: &[u8], temper: CutTemper, rng: &mut SmallRng) -> Fate {
        if rng.random_range(0..256) < temper.drop_of_256 {
            // The new length may survive although the bytes did not: they read as zeros.
            if rng.random_bool(0.25) {
                grow(Rc::make_mut(&mut self.durable), offset + bytes.len());
            }
            return Fate::Dropped;
        }
        if rng.random_range(0..256) >= temper.tear_of_256 {
            write(Rc::make_mut(&mut self.durable), offset, bytes);
            return Fate::Kept;
        }
        let sectors = bytes.len().div_ceil(SECTOR_BYTES);
        let keeps = torn_sectors(sectors, rng);
        if rng.random_bool(0.5) {
            grow(Rc::make_mut(&mut self.durable), offset + bytes.len());
        }
        for (index, sector) in bytes.chunks(SECTOR_BYTES).enumerate() {
            if keeps[index] {
                write(Rc::make_mut(&mut self.durable), offset + index * SECTOR_BYTES, sector);
            }
        }
        Fate::Torn
    }

    /// The process died and the machine did not: everything completed stays visible, and stays unsynced. An in-flight
    /// write happened, did not, or happened in part.
    pub(super) fn kill(&mut self, in_flight: Vec<Change>, rng: &mut SmallRng) {
        for change in in_flight {
            match (rng.random_range(0..4u32), change) {
                (0, _) => {}
                (1, Change::Write { offset, mut bytes }) => {
                    let sectors = bytes.len() / SECTOR_BYTES;
                    bytes.truncate(rng.random_range(0..=sectors) * SECTOR_BYTES);
                    if !bytes.is_empty() {
                        self.complete(Change::Write { offset, bytes });
                    }
                }
                (_, change) => self.complete(change),
            }
        }
    }

    /// Damages one byte at rest, where a reader and a power cut both see it. False past the end of the file.
    pub(super) fn corrupt(&mut self, offset: usize, mask: u8) -> bool {
        let Some(byte) = Rc::make_mut(&mut self.live).get_mut(offset) else { return false };
        *byte ^= mask;
        if let Some(byte) = Rc::make_mut(&mut self.durable).get_mut(offset) {
            *byte ^= mask;
        }
        true
    }
}

/// Which sectors of a torn write arrive: a prefix, a suffix, all but one, or any subset.
fn torn_sectors(count: usize, rng: &mut SmallRng) -> Vec<bool> {
    let at = rng.random_range(0..count.max(1));
    match rng.random_range(0..4u32) {
        0 => (0..count).map(|sector| sector < at).collect(),
        1 => (0..count).map(|sector| sector >= at).collect(),
        2 => (0..count).map(|sector| sector != at).collect(),
        _ => (0..count).map(|_| rng.random_bool(0.5)).collect(),
    }
}

fn apply(target: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write { offset, bytes } => write(target, *offset, bytes),
        Change::Resize { bytes } => target.resize(*bytes, 0),
    }
}

fn write(target: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    grow(target, offset + bytes.len());
    target[offset..offset + bytes.len()].copy_from_slice(bytes);
}

fn grow(target: &mut Vec<u8>, bytes: usize) {
    if target.len() < bytes {
        target.resize(bytes, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    fn block(fill: u8, sectors: usize) -> Vec<u8> {
        vec![fill; sectors * SECTOR_BYTES]
    }

    fn write_of(offset: usize, bytes: Vec<u8>) -> Change {
        Change::Write { offset, bytes }
    }

    #[test]
    fn a_sync_covers_only_what_completed_before_it_was_issued() {
        let mut contents = Contents::default();
        contents.complete(write_of(0, block(1, 1)));
        let mark = contents.sync_mark();
        contents.complete(write_of(SECTOR_BYTES, block(2, 1)));
        contents.sync(mark);
        assert_eq!(contents.durable(), block(1, 1));
        assert_eq!(contents.unsynced_count(), 1);
        assert_eq!(contents.read(0, 4096), [block(1, 1), block(2, 1)].concat());
    }

    #[test]
    fn a_cut_keeps_drops_and_tears_each_write_on_its_own() {
        let mut seen = std::collections::BTreeSet::new();
        let mut reordered = false;
        for seed in 0..400 {
            let mut rng = SmallRng::seed_from_u64(seed);
            let mut contents = Contents::default();
            contents.complete(write_of(0, block(9, 8)));
            contents.sync(contents.sync_mark());
            contents.complete(write_of(0, block(1, 4)));
            contents.complete(write_of(4 * SECTOR_BYTES, block(2, 4)));
            let temper = CutTemper::draw(&mut rng);
            let fates = contents.cut(Vec::new(), temper, &mut rng);
            reordered |= fates == [Fate::Dropped, Fate::Kept];
            for (fate, half) in fates.iter().zip(contents.live().chunks(4 * SECTOR_BYTES)) {
                let old = half.iter().filter(|byte| **byte == 9).count();
                assert_eq!(old % SECTOR_BYTES, 0, "sectors are never torn");
                match fate {
                    Fate::Kept => assert_eq!(old, 0),
                    Fate::Dropped => assert_eq!(old, half.len()),
                    Fate::Torn => {}
                }
                seen.insert(format!("{fate:?}"));
            }
            assert_eq!(contents.live(), contents.durable());
            assert_eq!(contents.unsynced_count(), 0);
        }
        assert_eq!(seen.len(), 3);
        assert!(reordered, "a later write survived an earlier one");
    }

    #[test]
    fn synced_bytes_survive_every_cut() {
        for seed in 0..100 {
            let mut rng = SmallRng::seed_from_u64(seed);
            let mut contents = Contents::default();
            contents.complete(write_of(0, block(7, 3)));
            contents.sync(contents.sync_mark());
            contents.complete(write_of(3 * SECTOR_BYTES, block(8, 3)));
            let temper = CutTemper::draw(&mut rng);
            contents.cut(vec![write_of(6 * SECTOR_BYTES, block(3, 1))], temper, &mut rng);
            assert_eq!(contents.read(0, 3 * SECTOR_BYTES), block(7, 3));
        }
    }

    #[test]
    fn a_failed_sync_loses_data_that_a_later_sync_reports_safe() {
        let mut lost = false;
        for seed in 0..20 {
            let mut rng = SmallRng::seed_from_u64(seed);
            let mut contents = Contents::default();
            contents.complete(write_of(0, block(1, 2)));
            contents.sync(contents.sync_mark());
            contents.complete(write_of(0, block(2, 2)));
            contents.sync_fails(contents.sync_mark(), &mut rng);
            contents.sync(contents.sync_mark());
            lost |= contents.durable() == block(1, 2);
            assert_eq!(contents.live(), contents.durable());
        }
        assert!(lost);
    }

    #[test]
    fn a_kill_keeps_what_completed_but_not_across_a_later_power_cut() {
        let mut rng = SmallRng::seed_from_u64(3);
        let mut contents = Contents::default();
        contents.complete(write_of(0, block(5, 1)));
        contents.kill(Vec::new(), &mut rng);
        assert_eq!(contents.live(), block(5, 1));
        assert!(contents.durable().is_empty());
    }

    #[test]
    fn truncation_is_lost_or_kept_but_never_reordered_with_another_truncation() {
        for seed in 0..200 {
            let mut rng = SmallRng::seed_from_u64(seed);
            let mut contents = Contents::default();
            contents.complete(Change::Resize { bytes: 4096 });
            contents.complete(Change::Resize { bytes: 1024 });
            let temper = CutTemper::draw(&mut rng);
            contents.cut(Vec::new(), temper, &mut rng);
            assert!([0, 4096, 1024].contains(&contents.len()));
        }
    }
}
