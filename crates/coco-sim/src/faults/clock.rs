//! A host sets the wall clock of a node: a little, an hour, or back. Nothing that must be right depends on it.

use crate::world::World;

const HOUR_MS: i64 = 3_600_000;

pub(super) fn act(world: &mut World) -> bool {
    let node = world.dice.place(world.machines.len());
    let ahead_ms = world.dice.one_of(&[0, 5, -5, 2_000, -2_000, HOUR_MS, -HOUR_MS]);
    if ahead_ms < world.machines[node].wall_ahead_ms {
        world.marks.reach("a wall clock went backwards");
    }
    std::mem::replace(&mut world.machines[node].wall_ahead_ms, ahead_ms) != ahead_ms
}
