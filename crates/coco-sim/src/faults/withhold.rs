//! A host withholds the evidence of what its node runs, for longer than its lease. Everything else of the node goes on.

use crate::world::World;

/// Of a thousand times that a primary would be kept from it, it is so many: such a one lets nobody else go.
const OF_PRIMARY: u64 = 200;

pub(super) fn act(world: &mut World) -> bool {
    let node = world.dice.place(world.machines.len());
    let is_spared = world.primary() == Some(node) && !world.dice.per_mille(OF_PRIMARY);
    !is_spared && world.withhold(node)
}
