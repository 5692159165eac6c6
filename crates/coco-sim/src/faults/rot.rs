//! Bits flip on a disk: some of one sector, of one node. A damaged node may stop, at a start or when it reads what is
//! damaged; it must not hand the damage on.

use crate::{
    machine::SNAPSHOT_FOLDER,
    world::{Damage, World},
};

pub(super) fn act(world: &mut World) -> bool {
    let Some(node) = world.victim() else { return false };
    let Some((file, bits)) = world.machines[node].folder.rot(&mut world.dice) else { return false };
    // Whoever finds its snapshot damaged has others, and the ledger: nothing is lost.
    if file.starts_with(SNAPSHOT_FOLDER) {
        world.marks.reach("bits of a snapshot were flipped");
    } else {
        world.machines[node].damage = Some(if bits > 1 { Damage::Sector } else { Damage::Rot });
        world.marks.reach("bits of a disk were flipped");
    }
    true
}
