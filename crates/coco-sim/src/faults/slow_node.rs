//! A node that is slow: a noisy neighbour, a failing processor. Each of its steps takes 10 to 1,000 times as long, for 1
//! to 60 seconds; what arrives in the meantime waits.

use coco_types::Role;

use crate::world::{WORK_US, World};

const SLOWER: [u64; 4] = [10, 30, 100, 1_000];
const LASTS_US_MAX: u64 = 60_000_000;

pub(super) fn act(world: &mut World) -> bool {
    let any = world.dice.place(world.machines.len());
    let node = world.primary().filter(|_| world.dice.per_mille(500)).unwrap_or(any);
    let step_us = WORK_US * world.dice.one_of(&SLOWER);
    let until = world.time + world.dice.between(1_000_000, LASTS_US_MAX);
    world.queues.slow(node, until, step_us);
    let state = world.machines[node].replica.as_ref().map(coco_replica::Replica::state);
    if state.is_some_and(|state| state.read().role() == Role::Primary) {
        world.marks.reach("a primary became slow");
    }
    true
}
