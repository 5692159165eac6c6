//! The power goes: of one node, of some, or of all at once; or only their processes end; or the power goes in the middle of
//! the next writes. What a disk does to writes that were not durable is the matter of [`folder`](crate::folder).

use crate::{folder::Faults, plan::TICK_US, world::World};

/// Longest time without power.
const DARK_US_MAX: u64 = 8_000_000;
/// Most writes, syncs and changes of names that are carried out before the power goes in their middle.
const OPERATIONS_MAX: u64 = 20;

pub(super) fn act(world: &mut World) -> bool {
    let nodes = world.machines.len();
    let count = match world.dice.below(4) {
        0 | 1 => 1,
        2 => world.dice.place(nodes) + 1,
        _ => nodes,
    };
    let first = world.dice.place(nodes);
    let how = world.dice.below(4);
    let mut has_acted = false;
    for node in (0..count).map(|n| (first + n) % nodes) {
        if world.machines[node].replica.is_some() && world.may_lose(node) {
            has_acted = true;
            if how == 0 {
                world.marks.reach("a process ended and its disk stayed");
                world.end(node);
            } else if how == 1 {
                world.crash(node);
            } else {
                let operations_left = Some(world.dice.below(OPERATIONS_MAX));
                let folder = &world.machines[node].folder;
                folder.set_faults(Faults { operations_left, ..folder.faults() });
                continue;
            }
            let dark_us = world.dice.between(1_000, DARK_US_MAX);
            world.start_in(node, dark_us);
            // Power that comes back often goes again at once: then nothing of the new life is on the disk yet.
            if world.dice.per_mille(250) {
                let soon_us = world.dice.between(1, TICK_US + 2 * world.plan.disk.sync_us);
                world.crash_again(node, dark_us + soon_us);
            }
        }
    }
    has_acted
}
