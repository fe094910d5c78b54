//! Checksums of the blocks of a log that no segment holds yet, taken as the blocks are appended: the bytes are in the
//! core's cache then, and whatever happens to them between here and the file will be found by whoever reads the file.
//! Owns no bytes. Lives on the owner shard, one a partition.

use std::collections::VecDeque;

use ouzel_protocol::crc;

use crate::config::BLOCK;

/// CRC-32C of each block from a log position on.
#[derive(Debug, Default)]
pub(crate) struct BlockChecksums {
    /// Log position of the first one; a block boundary.
    first: u64,
    whole: VecDeque<u32>,
    /// That of the block that is not full yet, and the bytes of it so far.
    open: u32,
    open_bytes: usize,
}

impl BlockChecksums {
    /// None, from log position `first` on.
    pub(crate) fn starting_at(first: u64) -> Self {
        debug_assert!(first.is_multiple_of(BLOCK as u64));
        Self { first, ..Self::default() }
    }

    /// The log has grown by `bytes`.
    pub(crate) fn append(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(BLOCK - self.open_bytes));
            self.open = crc::crc32c_append(self.open, now);
            self.open_bytes += now.len();
            if self.open_bytes == BLOCK {
                self.whole.push_back(std::mem::take(&mut self.open));
                self.open_bytes = 0;
            }
            bytes = later;
        }
    }

    /// Those of the blocks in `from..to`, log positions on block boundaries.
    ///
    /// # Panics
    /// When they are not all there.
    pub(crate) fn of(&self, from: u64, to: u64) -> Vec<u32> {
        let at = |position: u64| {
            let bytes = position.checked_sub(self.first).expect("blocks that no segment holds");
            usize::try_from(bytes / BLOCK as u64).expect("the tail fits in memory")
        };
        self.whole.range(at(from)..at(to)).copied().collect()
    }

    /// Forgets those before log position `to`: a segment holds the blocks.
    pub(crate) fn forget(&mut self, to: u64) {
        while self.first < to && self.whole.pop_front().is_some() {
            self.first += BLOCK as u64;
        }
    }
}

/// Those of the whole blocks in `bytes`.
pub(crate) fn of_bytes(bytes: &[u8]) -> Vec<u32> {
    bytes.chunks_exact(BLOCK).map(crc::crc32c).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_have_their_checksums_however_they_were_appended() {
        let bytes: Vec<u8> = (0..5 * BLOCK + 100).map(|at| (at * 7 % 251) as u8).collect();
        let mut checksums = BlockChecksums::starting_at(BLOCK as u64);
        for piece in bytes.chunks(1000) {
            checksums.append(piece);
        }
        let block = BLOCK as u64;
        assert_eq!(checksums.of(block, 6 * block), of_bytes(&bytes));
        checksums.forget(3 * block);
        assert_eq!(checksums.of(3 * block, 6 * block), of_bytes(&bytes[2 * BLOCK..]));
        checksums.append(&bytes[5 * BLOCK + 100..]);
        checksums.append(&bytes[..BLOCK - 100]);
        let last = [&bytes[5 * BLOCK..], &bytes[..BLOCK - 100]].concat();
        assert_eq!(checksums.of(6 * block, 7 * block), of_bytes(&last));
    }
}
