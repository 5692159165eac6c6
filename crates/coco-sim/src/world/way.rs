//! How messages travel: whether they arrive, how often, and when.

use super::World;
use crate::plan::Micros;

impl World {
    /// After how long a message arrives, once, twice or never.
    pub(super) fn way(&mut self, node: usize, to: usize) -> Vec<Micros> {
        if !self.cuts.carries(node, to, self.time) {
            return Vec::new();
        }
        let network = self.plan.network;
        if !self.is_healed && self.dice.per_mille(network.loss) {
            self.marks.reach("a message was lost");
            return Vec::new();
        }
        let mut copies = 1;
        if !self.is_healed && self.dice.per_mille(network.duplicates) {
            self.marks.reach("a message arrived twice");
            copies = 2;
        }
        let delay = |_| network.delay_min_us + self.dice.around(network.delay_mean_us).max(1);
        (0..copies).map(delay).collect()
    }
}
