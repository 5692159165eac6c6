//! The primary is asked to hand its place to some node, whether that one is up or not.

use coco_replica::Input;

use crate::world::World;

pub(super) fn act(world: &mut World) -> bool {
    let to = world.dice.place(world.machines.len());
    let Some(primary) = world.primary().filter(|primary| *primary != to) else { return false };
    world.marks.reach("the primary was asked to hand over");
    let to = world.machines[to].id;
    world.step(primary, Input::TransferTo(to));
    true
}
