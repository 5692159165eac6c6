//! A partition that comes and goes: a link, or all links of a node, every 0.2 to 5 seconds.

use crate::world::World;

const PERIOD_US: [u64; 4] = [200_000, 600_000, 2_000_000, 5_000_000];
const TIMES_MAX: u64 = 8;

pub(super) fn act(world: &mut World) -> bool {
    let nodes = world.machines.len();
    if nodes == 1 {
        return false;
    }
    let node = world.primary().filter(|_| world.dice.per_mille(500));
    let node = node.unwrap_or_else(|| world.dice.place(nodes));
    let only = (node + 1 + world.dice.place(nodes - 1)) % nodes;
    let is_one_link = world.dice.per_mille(500);
    let period_us = world.dice.one_of(&PERIOD_US);
    let mut at = world.time;
    for _ in 0..world.dice.between(2, TIMES_MAX) {
        let end = at + world.dice.between(period_us / 4, period_us);
        for other in (0..nodes).filter(|other| !is_one_link || *other == only) {
            world.cuts.both_later(node, other, world.time, (at, end));
        }
        at = end + world.dice.between(period_us / 4, period_us);
    }
    world.marks.reach("a partition came and went several times");
    true
}
