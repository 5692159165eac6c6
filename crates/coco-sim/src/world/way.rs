//! How messages travel: whether they arrive, how often, and when.

use std::collections::BTreeMap;

use coco_replica::Input;

use super::{Event, World};
use crate::{
    faults::{Damage, damage_strikes},
    plan::{Micros, TICK_US},
};

/// What is wrong with the wires of single nodes.
#[derive(Clone, Debug, Default)]
pub struct Wires {
    damaged: BTreeMap<usize, Damage>,
    /// Until when what a node says takes how much longer.
    lags: BTreeMap<usize, (Micros, Micros)>,
}

impl Wires {
    /// Puts damage on a node's wire, in place of what was there.
    pub fn damage(&mut self, node: usize, damage: Damage) {
        self.damaged.insert(node, damage);
    }

    /// The damage on a node's wire.
    #[must_use]
    pub fn damage_of(&self, node: usize) -> Damage {
        self.damaged.get(&node).copied().unwrap_or_default()
    }

    /// Makes what a node says take longer, until then.
    pub fn lag(&mut self, node: usize, until: Micros, extra_us: Micros) {
        self.lags.insert(node, (until, extra_us));
    }

    /// Mends everything.
    pub fn heal(&mut self) {
        *self = Self::default();
    }

    fn extra_us(&self, node: usize, time: Micros) -> Micros {
        let lag = self.lags.get(&node).filter(|(until, _)| *until > time);
        lag.map_or(0, |(_, extra_us)| *extra_us)
    }
}

impl World {
    /// How long something takes from one node to another; nothing when it does not arrive.
    pub(crate) fn way(&mut self, node: usize, to: usize) -> Option<Micros> {
        if !self.cuts.carries(node, to, self.time) || damage_strikes(self, node, to) {
            return None;
        }
        if !self.is_healed && self.dice.per_mille(self.plan.network.loss) {
            self.marks.reach("a message was lost");
            return None;
        }
        Some(self.delay(node))
    }

    /// How long it takes a second time, when it arrives twice.
    pub(super) fn way_again(&mut self, node: usize) -> Option<Micros> {
        if self.is_healed || !self.dice.per_mille(self.plan.network.duplicates) {
            return None;
        }
        self.marks.reach("a message arrived twice");
        Some(self.delay(node))
    }

    /// A network that has healed is as fast as elections ask for. Where a round trip takes as long as a time-out nobody leads for
    /// long, and each who tries adds an entry that the others have to get.
    pub(super) fn calm(&mut self) {
        let timing = &self.plan.timing;
        let most_us = u64::from(timing.election_ticks_min) * TICK_US * 2 / 5;
        let network = &mut self.plan.network;
        let round_trip_us = network.round_trip_us();
        if round_trip_us > most_us {
            self.marks.reach("a network was slower than its elections until it healed");
            for delay_us in [&mut network.delay_min_us, &mut network.delay_mean_us] {
                *delay_us = *delay_us * most_us / round_trip_us;
            }
        }
    }

    fn delay(&mut self, node: usize) -> Micros {
        let least_us = self.plan.network.delay_min_us + self.wires.extra_us(node, self.time);
        least_us + self.dice.around(self.plan.network.delay_mean_us).max(1)
    }

    /// The channel between two nodes breaks: both will hear of it.
    pub(crate) fn breaks(&mut self, one: usize, other: usize) {
        for (at, peer) in [(one, other), (other, one)] {
            let peer = self.machines[peer].id;
            let wait_us = self.dice.around(self.plan.network.delay_mean_us).max(1);
            self.plan_for(at, wait_us, Event::Input(at, Input::Unreachable(peer)));
        }
    }
}
