//! Disks that are slow, and syncs that fail. After a failed sync nothing on that disk can be promised, so the node stops.
//! The system goes on to show what was not written, and takes it for written.

use crate::{folder::Faults, world::World};

const SLOW_US_MAX: u64 = 10_000_000;

pub(super) fn slow(world: &mut World) {
    let node = world.dice.place(world.machines.len());
    world.machines[node].slow_until = world.time + world.dice.between(100_000, SLOW_US_MAX);
}

pub(super) fn fail(world: &mut World) {
    let node = world.dice.place(world.machines.len());
    let machine = &world.machines[node];
    if machine.replica.is_some() {
        machine.folder.set_faults(Faults { sync_fails: true, ..machine.folder.faults() });
    }
}
