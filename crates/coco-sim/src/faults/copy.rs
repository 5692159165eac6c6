//! A malicious host copies a node's disk and starts it elsewhere, while the node goes on or not. Both hold the key of the
//! seat; the network must give it to one of them at most.

use crate::world::World;

pub(super) fn act(world: &mut World) -> bool {
    let node = world.dice.place(world.plan.nodes);
    world.start_copy(node)
}
