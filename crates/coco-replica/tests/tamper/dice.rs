//! Chance that falls the same way in every run.

use std::ops::Range;

pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    fn next(&mut self) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// The bits of a byte that are flipped, one after the other: one of them in a share of all bytes, or each of each.
    pub(crate) fn bits(&mut self, percent: u64) -> Range<u64> {
        if percent == 100 {
            return 0..8;
        }
        let (is_chosen, bit) = (self.next() % 100 < percent, self.next() % 8);
        if is_chosen { bit..bit + 1 } else { 0..0 }
    }
}
