//! Disks that are slow, and syncs that fail. After a failed sync nothing on that disk can be promised, so the node stops;
//! what the disk kept is drawn like in a crash.

use crate::world::World;

const SLOW_US_MAX: u64 = 10_000_000;

pub(super) fn slow(world: &mut World) {
    let node = world.dice.place(world.machines.len());
    world.machines[node].slow_until = world.time + world.dice.between(100_000, SLOW_US_MAX);
}

pub(super) fn fail(world: &mut World) {
    let node = world.dice.place(world.machines.len());
    if world.machines[node].replica.is_some() {
        world.machines[node].sync_fails = true;
    }
}
