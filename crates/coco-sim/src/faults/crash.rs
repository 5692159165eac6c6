//! The power goes: of one node, of some, or of all at once. What a disk was about to make durable is kept from the front
//! up to some step, as a log that is written in order and cut where it is torn keeps it.

use crate::{plan::TICK_US, world::World};

/// Longest time without power.
const DARK_US_MAX: u64 = 8_000_000;

pub(super) fn act(world: &mut World) {
    let nodes = world.machines.len();
    let count = match world.dice.below(4) {
        0 | 1 => 1,
        2 => world.dice.place(nodes) + 1,
        _ => nodes,
    };
    let first = world.dice.place(nodes);
    for node in (0..count).map(|n| (first + n) % nodes) {
        if world.machines[node].replica.is_some() {
            world.crash(node);
            let dark_us = world.dice.between(1_000, DARK_US_MAX);
            world.start_in(node, dark_us);
            // Power that comes back often goes again at once: then nothing of the new life is on the disk yet.
            if world.dice.per_mille(250) {
                let soon_us = world.dice.between(1, TICK_US + 2 * world.plan.disk.sync_us);
                world.crash_again(node, dark_us + soon_us);
            }
        }
    }
}
