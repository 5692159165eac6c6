//! A malicious host puts a disk aside, and some other time gives its node that old one instead of its own.

use crate::world::{Damage, World};

pub(super) fn act(world: &mut World) -> bool {
    let node = world.dice.place(world.machines.len());
    let old = world.machines[node].copy.take().filter(|_| world.may_lose(node));
    let Some(old) = old else {
        let machine = &mut world.machines[node];
        // A new disk that nothing was copied to yet is nothing to keep.
        if machine.wants_copy.is_some() {
            return false;
        }
        let damage = machine.damage.filter(Damage::is_of_bytes);
        machine.copy = Some((machine.disk.clone(), machine.folder.copy(), damage));
        return false;
    };
    world.hold_down(node);
    let (promise, folder, damage) = old;
    let is_back = promise.entries.len() < world.machines[node].disk.entries.len();
    world.marks.reach_if(is_back, "a disk was set back");
    let machine = &mut world.machines[node];
    (machine.disk, machine.folder, machine.damage) = (promise, folder, damage);
    is_back
}
