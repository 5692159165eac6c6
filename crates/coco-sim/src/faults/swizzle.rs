//! Links of a node, or of all nodes, stop one after the other and come back in another order (swizzle-clogging, as the
//! simulator of `FoundationDB` does it).

use crate::world::World;

const BETWEEN_US_MAX: u64 = 1_500_000;

pub(super) fn act(world: &mut World) -> bool {
    let nodes = world.machines.len();
    if nodes == 1 {
        return false;
    }
    let centre = world.dice.per_mille(500).then(|| world.dice.place(nodes));
    let links = (0..nodes).flat_map(|one| (one + 1..nodes).map(move |other| (one, other)));
    let mut links: Vec<(usize, usize)> = links
        .filter(|(one, other)| centre.is_none_or(|centre| centre == *one || centre == *other))
        .collect();
    shuffle(world, &mut links);
    let mut at = world.time;
    let mut stops = Vec::new();
    for _ in &links {
        at += world.dice.between(1, BETWEEN_US_MAX);
        stops.push(at);
    }
    let mut mends: Vec<usize> = (0..links.len()).collect();
    shuffle(world, &mut mends);
    let is_other_order = !mends.is_sorted();
    for link in mends {
        at += world.dice.between(1, BETWEEN_US_MAX);
        let (one, other) = links[link];
        world.cuts.both_later(one, other, world.time, (stops[link], at));
    }
    if is_other_order {
        world.marks.reach("links stopped one by one and came back in another order");
    }
    true
}

/// Fisher and Yates.
fn shuffle<T>(world: &mut World, items: &mut [T]) {
    for last in (1..items.len()).rev() {
        items.swap(last, world.dice.place(last + 1));
    }
}
