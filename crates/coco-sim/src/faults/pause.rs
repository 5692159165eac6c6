//! A node stands still for a while, preferably the primary: its host does not schedule it. Then it goes on as if nothing
//! had been, with everything that has arrived.

use crate::{plan::TICK_US, world::World};

const STILL_US: [u64; 4] = [50_000, 500_000, 3_000_000, 20_000_000];

pub(super) fn act(world: &mut World) -> bool {
    let any = world.dice.place(world.machines.len());
    let node = world.primary().filter(|_| world.dice.per_mille(700)).unwrap_or(any);
    let still_us = world.dice.one_of(&STILL_US);
    world.machines[node].paused_until = world.time + still_us;
    if still_us / TICK_US > u64::from(world.plan.timing.election_ticks_max) {
        world.marks.reach("a node stood still longer than an election takes");
    }
    true
}
