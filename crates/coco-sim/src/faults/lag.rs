//! A node that is up and well, but what it says takes very long to arrive: up to several election time-outs. Others take
//! it for dead, and hear afterwards what it said before.

use crate::{plan::TICK_US, world::World};

const LASTS_US_MAX: u64 = 10_000_000;
const EXTRA_US: [u64; 4] = [100_000, 500_000, 2_000_000, 8_000_000];

pub(super) fn act(world: &mut World) -> bool {
    let any = world.dice.place(world.machines.len());
    let node = world.primary().filter(|_| world.dice.per_mille(500)).unwrap_or(any);
    let until = world.time + world.dice.between(500_000, LASTS_US_MAX);
    let extra_us = world.dice.one_of(&EXTRA_US);
    world.wires.lag(node, until, extra_us);
    if extra_us / TICK_US > u64::from(world.plan.timing.election_ticks_max) {
        world.marks.reach("what a node said took longer than an election");
    }
    true
}
