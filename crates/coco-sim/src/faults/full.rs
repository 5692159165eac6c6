//! A disk has room for some more bytes, and then for none until an operator comes.

use crate::{folder::Faults, world::World};

/// Most bytes that are left.
const ROOM_MAX: u64 = 20_000;

pub(super) fn act(world: &mut World) -> bool {
    let node = world.dice.place(world.machines.len());
    let bytes_left = Some(world.dice.below(ROOM_MAX));
    let machine = &world.machines[node];
    if machine.replica.is_none() {
        return false;
    }
    machine.folder.set_faults(Faults { bytes_left, ..machine.folder.faults() });
    true
}
