//! A running hash of what happened in a simulated run. Owns eight bytes; decides nothing.
//! Not a checksum of anything stored: it only tells whether two runs from one seed were the same run.

/// FNV-1a over 64-bit words.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trace(u64);

impl Trace {
    pub(super) fn new(seed: u64) -> Trace {
        let mut trace = Trace(0xcbf2_9ce4_8422_2325);
        trace.add(seed);
        trace
    }

    pub(super) fn value(self) -> u64 {
        self.0
    }

    pub(super) fn add(&mut self, value: u64) {
        self.0 = (self.0 ^ value).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(29);
    }

    pub(super) fn add_bytes(&mut self, bytes: &[u8]) {
        self.add(bytes.len() as u64);
        let mut words = bytes.chunks_exact(8);
        for word in &mut words {
            self.add(u64::from_le_bytes(word.try_into().expect("chunks of eight")));
        }
        for byte in words.remainder() {
            self.add(u64::from(*byte));
        }
    }
}
