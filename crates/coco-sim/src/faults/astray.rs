//! A write goes astray: one sector of the next sync lands on another sector, and the disk says that all is well.

use crate::{
    folder::Faults,
    world::{Damage, World},
};

pub(super) fn act(world: &mut World) -> bool {
    let Some(node) = world.victim() else { return false };
    let misdirects = Some(world.dice.bits());
    let machine = &mut world.machines[node];
    machine.folder.set_faults(Faults { misdirects, ..machine.folder.faults() });
    machine.damage = Some(Damage::Misdirected);
    true
}
