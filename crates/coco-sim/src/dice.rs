//! Where every decision of a run comes from.

/// `SplitMix64` (Steele, Lea and Flood 2014).
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Dice that always fall the same way for one seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub const fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// As many bytes as a secret has.
    pub fn bytes(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes.chunks_mut(8).for_each(|part| part.copy_from_slice(&self.bits().to_le_bytes()));
        bytes
    }

    /// A number below `sides`, which is not zero.
    pub const fn below(&mut self, sides: u64) -> u64 {
        self.bits() % sides
    }

    /// A number from `low` to `high`, both included.
    pub const fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// A place in something of this length, which is not zero.
    ///
    /// # Panics
    /// Never: the place is below a length that exists in memory.
    pub fn place(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).expect("below a length in memory")
    }

    /// One of these.
    pub fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.place(choices.len())]
    }

    /// True so many times in a thousand.
    pub const fn per_mille(&mut self, times: u64) -> bool {
        self.below(1000) < times
    }

    /// A waiting time around `mean`: mostly shorter, sometimes up to five times as long.
    pub const fn around(&mut self, mean: u64) -> u64 {
        let scale = match self.below(10) {
            0..6 => self.between(1, 100),
            6..9 => self.between(100, 200),
            _ => self.between(200, 500),
        };
        mean * scale / 100
    }
}
