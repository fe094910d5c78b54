//! The drive: an image, the writes that no flush has covered yet, and what goes wrong when the power is cut. Owns the
//! image and all state of the drive; knows neither FUSE nor ext4, never sleeps, never prints. Used under one lock by the
//! threads that serve the file.
//!
//! The image always holds what a reader sees now. Each unsynced write keeps the bytes it replaced, so that a cut can go
//! back to what the last flush made safe and then apply again what the drive happened to have written.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::cut::{CutReport, Fate, Style};

/// What a drive writes whole or not at all.
pub(crate) const SECTOR_BYTES: u64 = 512;
/// Bytes at the front of the disk that are written whole or not at all: ext4 trusts its drive not to tear the superblock,
/// which has one checksum over two sectors and is not protected by the file system's journal.
pub(crate) const FRONT_BYTES: u64 = 4096;
/// Unsynced bytes the drive keeps; beyond that it writes the oldest out by itself, as a drive with a full cache does.
const CACHE_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// How many of the next operations of one kind fail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Failing {
    #[default]
    None,
    Next(u64),
    Forever,
}

impl Failing {
    /// Whether the operation at hand fails; counts it.
    fn strikes(&mut self) -> bool {
        match self {
            Failing::None => false,
            Failing::Forever => true,
            Failing::Next(count) => {
                *count -= 1;
                if *count == 0 {
                    *self = Failing::None;
                }
                true
            }
        }
    }
}

/// The operation at which a cut that is prepared happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trigger {
    /// Right after the drive has taken a write into its cache.
    Write,
    /// When a flush is asked for: as much is unsynced as ever will be.
    Flush,
}

/// A cut that happened: what it did, and when.
pub(crate) type Cut = (CutReport, Instant);

/// What goes wrong while the power is on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Faults {
    pub(crate) reads: Failing,
    pub(crate) writes: Failing,
    pub(crate) flushes: Failing,
    pub(crate) write_latency: Duration,
    pub(crate) flush_latency: Duration,
}

/// Counters since the start.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stats {
    pub(crate) reads: u64,
    pub(crate) writes: u64,
    pub(crate) written_bytes: u64,
    pub(crate) flushes: u64,
    /// Operations that were answered with an error because a fault was asked for.
    pub(crate) failed: u64,
    /// Operations that were answered with an error because the power was off.
    pub(crate) refused: u64,
    pub(crate) cuts: u64,
}

/// A write that no flush has covered.
#[derive(Debug)]
struct Unsynced {
    offset: u64,
    before: Box<[u8]>,
    after: Box<[u8]>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Disk {
    image: File,
    size: u64,
    is_on: bool,
    unsynced: VecDeque<Unsynced>,
    unsynced_bytes: u64,
    faults: Faults,
    prepared: Option<(Trigger, Option<Style>)>,
    cut: Option<Cut>,
    stats: Stats,
    rng: SmallRng,
}

fn eio() -> io::Error {
    rustix::io::Errno::IO.into()
}

impl Disk {
    /// A disk of `size` bytes on `image`, which is as long; power on, nothing unsynced. `seed` decides every cut.
    pub(crate) fn new(image: File, size: u64, seed: u64) -> Disk {
        Disk {
            image,
            size,
            is_on: true,
            unsynced: VecDeque::new(),
            unsynced_bytes: 0,
            faults: Faults::default(),
            prepared: None,
            cut: None,
            stats: Stats::default(),
            rng: SmallRng::seed_from_u64(seed),
        }
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    pub(crate) fn stats(&self) -> Stats {
        self.stats
    }

    /// Writes that no flush has covered, and their bytes.
    pub(crate) fn unsynced(&self) -> (usize, u64) {
        (self.unsynced.len(), self.unsynced_bytes)
    }

    pub(crate) fn faults(&self) -> Faults {
        self.faults
    }

    pub(crate) fn set_faults(&mut self, faults: Faults) {
        self.faults = faults;
    }

    /// Refuses while the power is off or if a fault strikes; `failing` picks the fault of the operation.
    fn pass(&mut self, failing: impl FnOnce(&mut Faults) -> &mut Failing) -> io::Result<()> {
        if !self.is_on {
            self.stats.refused += 1;
            return Err(eio());
        }
        if failing(&mut self.faults).strikes() {
            self.stats.failed += 1;
            return Err(eio());
        }
        Ok(())
    }

    /// The part of `length` bytes at `offset` that lies on the disk.
    fn clipped(&self, offset: u64, length: usize) -> usize {
        usize::try_from(self.size.saturating_sub(offset)).map_or(length, |left| left.min(length))
    }

    fn bytes(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; self.clipped(offset, length)];
        self.image.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }

    /// Reads what a running drive would return: unsynced writes included. Shorter only at the end of the disk.
    ///
    /// # Errors
    /// EIO: no power, or a fault.
    pub(crate) fn read(&mut self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        self.pass(|faults| &mut faults.reads)?;
        self.stats.reads += 1;
        self.bytes(offset, length)
    }

    /// Takes a write into the drive's cache. Nothing of a write that fails reaches the disk.
    ///
    /// # Errors
    /// EIO: no power, or a fault. ENOSPC: past the end of the disk.
    pub(crate) fn write(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.pass(|faults| &mut faults.writes)?;
        if self.clipped(offset, data.len()) != data.len() {
            return Err(rustix::io::Errno::NOSPC.into());
        }
        let before = self.bytes(offset, data.len())?;
        self.image.write_all_at(data, offset)?;
        self.stats.writes += 1;
        self.stats.written_bytes += data.len() as u64;
        self.unsynced_bytes += data.len() as u64;
        self.unsynced.push_back(Unsynced { offset, before: before.into(), after: data.into() });
        while self.unsynced_bytes > CACHE_BYTES_MAX {
            let Some(oldest) = self.unsynced.pop_front() else { break };
            self.unsynced_bytes -= oldest.after.len() as u64;
        }
        // The answer arrives all the same: a drive cannot call it back.
        self.spring(Trigger::Write)
    }

    /// Makes every write taken so far safe from a cut. A flush that fails makes nothing safe and loses nothing: the
    /// writes stay in the cache, and the next flush that succeeds covers them.
    ///
    /// # Errors
    /// EIO: no power, or a fault.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.spring(Trigger::Flush)?;
        self.pass(|faults| &mut faults.flushes)?;
        self.stats.flushes += 1;
        self.unsynced.clear();
        self.unsynced_bytes = 0;
        Ok(())
    }

    /// Prepares a cut for the next operation of that kind. [`Disk::last_cut`] tells when it has happened.
    pub(crate) fn prepare_cut(&mut self, trigger: Trigger, style: Option<Style>) {
        self.prepared = Some((trigger, style));
        self.cut = None;
    }

    /// The cut after which the power is off; `None` while it is on.
    pub(crate) fn last_cut(&self) -> Option<Cut> {
        self.cut
    }

    fn spring(&mut self, trigger: Trigger) -> io::Result<()> {
        match self.prepared {
            Some((prepared, style)) if prepared == trigger && self.is_on => self.cut(style).map(drop),
            _ => Ok(()),
        }
    }

    /// Cuts the power: of each unsynced write nothing, all, or some sectors reach the disk, in any order, as `style` and
    /// the seed have it. From here on everything fails until [`Disk::power_on`]. While the power is off, a cut is the last one.
    ///
    /// # Errors
    /// The image cannot be read or written: then the disk is not usable any more.
    pub(crate) fn cut(&mut self, style: Option<Style>) -> io::Result<Cut> {
        self.prepared = None;
        if let (false, Some(cut)) = (self.is_on, self.cut) {
            return Ok(cut);
        }
        self.is_on = false;
        self.stats.cuts += 1;
        let style = style.unwrap_or_else(|| Style::random(&mut self.rng));
        let mut report = CutReport::new(style);
        for write in self.unsynced.iter().rev() {
            self.image.write_all_at(&write.before, write.offset)?;
        }
        let turn = self.rng.random_range(0..self.unsynced.len().max(1));
        for (index, write) in self.unsynced.drain(..).enumerate() {
            let fate = style.fate(index, turn, &mut self.rng);
            let mut kept_bytes = 0;
            for (offset, sector) in sectors(write.offset, &write.after) {
                let is_kept = match fate {
                    Fate::Kept => true,
                    Fate::Lost => false,
                    Fate::Torn if offset < FRONT_BYTES => false,
                    Fate::Torn => self.rng.random(),
                };
                if is_kept {
                    self.image.write_all_at(sector, offset)?;
                    kept_bytes += sector.len();
                }
            }
            report.add(write.after.len(), kept_bytes);
        }
        self.unsynced_bytes = 0;
        let cut = (report, Instant::now());
        self.cut = Some(cut);
        Ok(cut)
    }

    /// The power is back; faults that were asked for before are gone.
    pub(crate) fn power_on(&mut self) {
        self.is_on = true;
        self.cut = None;
        self.faults = Faults::default();
    }

    /// Flips one bit of what lies on the disk, as rot would: no write, nothing to lose in a cut.
    ///
    /// # Errors
    /// The offset is not on the disk, or the image cannot be written.
    pub(crate) fn flip(&mut self, offset: u64, bit: u8) -> io::Result<()> {
        if offset >= self.size {
            return Err(io::Error::other(format!("offset {offset} is behind the end of the disk, {}", self.size)));
        }
        let mask = 1u8 << (bit % 8);
        let mut byte = [0];
        self.image.read_exact_at(&mut byte, offset)?;
        self.image.write_all_at(&[byte[0] ^ mask], offset)?;
        // What a cut may put back or put there later is the same rotten byte.
        for write in &mut self.unsynced {
            let Some(at) = offset.checked_sub(write.offset).and_then(|at| usize::try_from(at).ok()) else { continue };
            if let (Some(before), Some(after)) = (write.before.get_mut(at), write.after.get_mut(at)) {
                *before ^= mask;
                *after ^= mask;
            }
        }
        Ok(())
    }
}

/// The pieces of a write that lie in one sector each, with their offsets on the disk.
fn sectors(offset: u64, data: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    let mut rest = data;
    let mut at = offset;
    std::iter::from_fn(move || {
        let in_sector = (SECTOR_BYTES - at % SECTOR_BYTES) as usize;
        let (piece, behind) = rest.split_at(in_sector.min(rest.len()));
        rest = behind;
        let here = at;
        at += piece.len() as u64;
        (!piece.is_empty()).then_some((here, piece))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u64 = 64 * 1024;

    fn disk(seed: u64) -> Disk {
        let image = tempfile::tempfile().expect("an image");
        image.set_len(SIZE).expect("its length");
        Disk::new(image, SIZE, seed)
    }

    fn whole(disk: &mut Disk) -> Vec<u8> {
        disk.read(0, SIZE as usize).expect("power is on")
    }

    #[test]
    fn what_was_flushed_survives_every_cut() {
        for seed in 0..50 {
            let mut disk = disk(seed);
            disk.write(8192, &[7; 4096]).expect("written");
            disk.flush().expect("flushed");
            disk.write(20_480, &[9; 4096]).expect("written");
            disk.cut(None).expect("cut");
            assert!(disk.read(0, 1).is_err(), "no power");
            disk.power_on();
            assert_eq!(disk.read(8192, 4096).expect("read"), [7; 4096]);
        }
    }

    #[test]
    fn unsynced_writes_are_kept_torn_and_lost_and_older_versions_come_back() {
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..300 {
            let mut disk = disk(seed);
            disk.write(8192, &[1; 1024]).expect("written");
            disk.flush().expect("flushed");
            disk.write(8192, &[2; 1024]).expect("written");
            disk.write(8192, &[3; 1024]).expect("written");
            disk.cut(None).expect("cut");
            disk.power_on();
            let after = disk.read(8192, 1024).expect("read");
            assert!(after.chunks(512).all(|sector| sector.iter().all(|byte| *byte == sector[0])), "a sector is whole");
            seen.insert((after[0], after[512]));
        }
        for wanted in [(1, 1), (2, 2), (3, 3), (1, 3), (3, 2)] {
            assert!(seen.contains(&wanted), "{wanted:?} of {seen:?}");
        }
    }

    #[test]
    fn the_superblock_is_never_torn() {
        for seed in 0..100 {
            let mut disk = disk(seed);
            disk.write(0, &[5; 4096]).expect("written");
            disk.cut(Some(Style::Scattered)).expect("cut");
            disk.power_on();
            let front = disk.read(0, 4096).expect("read");
            assert!(front == [5; 4096] || front == [0; 4096], "seed {seed}");
        }
    }

    #[test]
    fn the_same_seed_cuts_in_the_same_way() {
        let cut = |seed| {
            let mut disk = disk(seed);
            (0..40).for_each(|at| disk.write(4096 + at * 1024, &[at as u8 + 1; 1024]).expect("written"));
            disk.cut(None).expect("cut");
            disk.power_on();
            whole(&mut disk)
        };
        assert!((0..10).all(|seed| cut(seed) == cut(seed)));
        assert!((0..10).any(|seed| cut(seed) != cut(seed + 1)));
    }

    #[test]
    fn a_flush_that_fails_makes_nothing_safe_and_the_next_one_does() {
        let mut disk = disk(1);
        disk.set_faults(Faults { flushes: Failing::Next(1), ..Faults::default() });
        disk.write(8192, &[7; 512]).expect("written");
        assert!(disk.flush().is_err());
        assert_eq!(disk.unsynced(), (1, 512));
        disk.flush().expect("the fault is used up");
        assert_eq!(disk.unsynced(), (0, 0));
        assert_eq!(disk.stats().failed, 1);
    }

    #[test]
    fn a_prepared_cut_waits_for_its_operation() {
        let mut disk = disk(1);
        disk.prepare_cut(Trigger::Flush, Some(Style::LoseAll));
        disk.write(8192, &[7; 512]).expect("written");
        assert!(disk.last_cut().is_none());
        assert!(disk.flush().is_err(), "the power went at the flush");
        assert!(disk.last_cut().is_some_and(|(report, _)| report.to_string().ends_with("kept=0 torn=0 lost=1")));
        disk.power_on();
        assert_eq!(disk.read(8192, 1).expect("read"), [0]);
        disk.prepare_cut(Trigger::Write, Some(Style::KeepAll));
        disk.write(8192, &[7; 512]).expect("the write was answered");
        assert!(disk.read(8192, 1).is_err(), "and then the power went");
        disk.power_on();
        assert_eq!(disk.read(8192, 1).expect("read"), [7]);
        disk.flush().expect("only one cut was prepared");
    }

    #[test]
    fn a_failed_write_leaves_the_disk_as_it_was() {
        let mut disk = disk(1);
        disk.set_faults(Faults { writes: Failing::Forever, ..Faults::default() });
        assert!(disk.write(8192, &[7; 512]).is_err());
        assert!(disk.write(8192, &[7; 512]).is_err());
        assert!(whole(&mut disk).iter().all(|byte| *byte == 0));
    }

    #[test]
    fn a_flipped_bit_stays_flipped_through_a_cut() {
        let mut disk = disk(3);
        disk.write(8192, &[0; 512]).expect("written");
        disk.flip(8200, 3).expect("flipped");
        disk.cut(None).expect("cut");
        disk.power_on();
        assert_eq!(disk.read(8200, 1).expect("read"), [8]);
        assert!(disk.flip(SIZE, 0).is_err());
    }

    #[test]
    fn a_write_past_the_end_is_refused_and_a_read_is_short() {
        let mut disk = disk(1);
        assert!(disk.write(SIZE - 512, &[1; 1024]).is_err());
        assert_eq!(disk.read(SIZE - 512, 1024).expect("read").len(), 512);
    }
}
