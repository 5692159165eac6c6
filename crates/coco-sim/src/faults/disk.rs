//! Disks that are slow, and syncs that fail. After a failed sync nothing on that disk can be promised, so the node stops.
//! The system goes on to show what was not written, and takes it for written. It is one sync of a file or of a folder, or from
//! then on every one, with reading and writing as before.

use crate::{
    folder::{FailingSync, Faults},
    world::{Damage, World},
};

const SLOW_US_MAX: u64 = 10_000_000;

pub(super) fn slow(world: &mut World) -> bool {
    let node = world.dice.place(world.machines.len());
    world.machines[node].slow_until = world.time + world.dice.between(100_000, SLOW_US_MAX);
    true
}

pub(super) fn fail(world: &mut World) -> bool {
    let node = world.dice.place(world.machines.len());
    let is_of_folder = world.dice.per_mille(300);
    let machine = &world.machines[node];
    let faults = machine.folder.faults();
    if machine.replica.is_none() || faults.sync_fails.is_some() {
        return false;
    }
    let once = if is_of_folder { FailingSync::Folder } else { FailingSync::File };
    machine.folder.set_faults(Faults { sync_fails: Some(once), ..faults });
    true
}

pub(super) fn fail_for_good(world: &mut World) -> bool {
    let Some(node) = world.victim() else { return false };
    let machine = &mut world.machines[node];
    machine.damage = Some(Damage::Unsynced);
    let sync_fails = Some(FailingSync::All);
    machine.folder.set_faults(Faults { sync_fails, ..machine.folder.faults() });
    true
}
