//! Random values of every message, for tests and for the seeds of fuzzing. Owns what is likely: edges, short strings, few
//! elements. Never in a build that does not ask for it (feature `samples`). Any core.
//!
//! What is borrowed by a value is leaked: a run makes as much as it needs and ends.

/// Draws from a seed.
#[derive(Debug)]
pub struct Sampler {
    state: u64,
}

impl Sampler {
    /// The values that follow from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Sampler {
        Sampler { state: seed }
    }

    /// The next 64 bits (splitmix64).
    pub fn draw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.state;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.draw() % end
    }

    /// An integer of so many bits, often a small one or one at an edge; the higher bits are to be cut.
    pub(super) fn integer(&mut self, bits: u32) -> u64 {
        match self.below(8) {
            0 => 0,
            1 => u64::MAX,
            2 => (1 << (bits - 1)) - 1,
            3 => 1 << (bits - 1),
            4 | 5 => self.below(100),
            _ => self.draw(),
        }
    }

    /// A short text that is leaked.
    pub(super) fn text(&mut self) -> &'static str {
        const TEXTS: [&str; 4] = ["", "orders", "é\u{1f426}", "a.b_c-9"];
        match self.below(16) {
            0..12 => {
                let digits = self.below(1000);
                let text = TEXTS[self.below(4) as usize];
                if digits.is_multiple_of(2) { text } else { format!("{text}{digits}").leak() }
            }
            // Varint lengths of two bytes.
            12 => "x".repeat(127 + self.below(3) as usize).leak(),
            _ => "group",
        }
    }
}
