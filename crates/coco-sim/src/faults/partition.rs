//! Links are cut: one node from all, two halves, one way only, two halves with a bridge (one node that sees both), one link,
//! or the links of one node for different times. Each cut is mended by itself after a while.

use crate::world::World;

const CUT_US_MAX: u64 = 10_000_000;

pub(super) fn act(world: &mut World) -> bool {
    let nodes = world.machines.len();
    if nodes == 1 {
        return false;
    }
    let until = (world.time, world.time + world.dice.between(100_000, CUT_US_MAX));
    let node = world.primary().filter(|_| world.dice.per_mille(500));
    let node = node.unwrap_or_else(|| world.dice.place(nodes));
    let other = (node + 1 + world.dice.place(nodes - 1)) % nodes;
    match world.dice.below(6) {
        0 => (0..nodes).for_each(|all| world.cuts.both(node, all, until)),
        1 => {
            let size = world.dice.place(nodes);
            let is_here = |at: usize| (at + nodes - node) % nodes <= size;
            for one in (0..nodes).filter(|at| is_here(*at)) {
                (0..nodes)
                    .filter(|at| !is_here(*at))
                    .for_each(|at| world.cuts.both(one, at, until));
            }
        }
        2 => {
            world.marks.reach("a link was cut one way");
            if world.dice.per_mille(500) {
                (0..nodes).for_each(|to| world.cuts.cut(node, to, until));
            } else {
                (0..nodes).for_each(|from| world.cuts.cut(from, node, until));
            }
        }
        3 => bridge(world, node, until),
        4 => world.cuts.both(node, other, until),
        _ => {
            for at in (0..nodes).filter(|at| *at != node) {
                let until = (world.time, world.time + world.dice.between(100_000, CUT_US_MAX));
                world.cuts.both(node, at, until);
            }
        }
    }
    true
}

/// All nodes but one fall into two halves that see one another no more; that one sees both.
fn bridge(world: &mut World, bridge: usize, until: (u64, u64)) {
    let nodes = world.machines.len();
    let others: Vec<usize> = (1..nodes).map(|at| (bridge + at) % nodes).collect();
    let (here, there) = others.split_at(others.len() / 2);
    if here.is_empty() {
        return;
    }
    for one in here {
        there.iter().for_each(|other| world.cuts.both(*one, *other, until));
    }
    world.marks.reach("two halves saw one node and not one another");
}
