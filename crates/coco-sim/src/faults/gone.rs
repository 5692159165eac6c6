//! A disk is lost for good: it does nothing any more, or everything on it is gone.

use crate::{
    folder::Faults,
    plan::Restart,
    world::{Damage, World},
};

pub(super) fn die(world: &mut World) {
    let Some(node) = world.victim() else { return };
    let machine = &mut world.machines[node];
    machine.damage = Some(Damage::Dead);
    machine.folder.set_faults(Faults { is_dead: true, ..machine.folder.faults() });
}

pub(super) fn vanish(world: &mut World) {
    if world.plan.restart == Restart::Rejoin {
        let node = world.dice.place(world.plan.nodes);
        if world.may_lose(node) {
            world.replace_disk(node);
        }
        return;
    }
    let Some(node) = world.victim() else { return };
    if world.machines[node].replica.is_some() {
        world.end(node);
    }
    let machine = &mut world.machines[node];
    machine.damage = Some(Damage::Gone);
    machine.folder.wipe();
    world.marks.reach("all of a disk was lost");
    world.abandon(node);
}
