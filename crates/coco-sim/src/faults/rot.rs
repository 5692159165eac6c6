//! Bits flip on a disk: some of one sector, of one node. A damaged node may stop, at a start or when it reads what is
//! damaged; it must not hand the damage on.

use crate::world::{Damage, World};

pub(super) fn act(world: &mut World) {
    let Some(node) = world.victim() else { return };
    if world.machines[node].folder.rot(&mut world.dice) {
        world.machines[node].damage = Some(Damage::Rot);
        world.marks.reach("bits of a disk were flipped");
    }
}
