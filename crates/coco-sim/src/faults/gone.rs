//! A disk is lost for good: it does nothing any more, or everything on it is gone.

use crate::{
    folder::Faults,
    plan::Restart,
    world::{Damage, World},
};

pub(super) fn die(world: &mut World) -> bool {
    let Some(node) = world.victim() else { return false };
    let machine = &mut world.machines[node];
    machine.damage = Some(Damage::Dead);
    machine.folder.set_faults(Faults { is_dead: true, ..machine.folder.faults() });
    true
}

pub(super) fn vanish(world: &mut World) -> bool {
    if world.plan.restart == Restart::Rejoin {
        let node = world.dice.place(world.plan.nodes);
        let may_be = world.may_lose(node);
        if may_be {
            world.replace_disk(node);
        }
        return may_be;
    }
    let Some(node) = world.victim() else { return false };
    if world.machines[node].replica.is_some() {
        world.end(node);
    }
    let machine = &mut world.machines[node];
    machine.damage = Some(Damage::Gone);
    machine.folder.wipe();
    world.marks.reach("all of a disk was lost");
    world.abandon(node);
    true
}
