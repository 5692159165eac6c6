//! A network that loses everything for a moment: all links at once, or all of one node, one burst after the other.

use crate::world::World;

const BURST_US: [u64; 3] = [2_000, 30_000, 300_000];
const BURSTS_MAX: u64 = 6;

pub(super) fn act(world: &mut World) -> bool {
    let nodes = world.machines.len();
    if nodes == 1 {
        return false;
    }
    let of = world.dice.per_mille(500).then(|| world.dice.place(nodes));
    let mut at = world.time;
    for _ in 0..world.dice.between(1, BURSTS_MAX) {
        let end = at + world.dice.one_of(&BURST_US);
        for one in 0..nodes {
            for other in one + 1..nodes {
                if of.is_none_or(|of| of == one || of == other) {
                    world.cuts.both_later(one, other, world.time, (at, end));
                }
            }
        }
        at = end + world.dice.between(1_000, 500_000);
    }
    world.marks.reach("everything on the wire was lost for a moment");
    true
}
