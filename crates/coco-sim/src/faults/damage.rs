//! Bits flip and messages end early on the wire of a node. Nodes speak through mutual TLS, so damage breaks the channel:
//! the message is lost, so is whatever is said until the channel stands again, and both ends hear that it broke. That
//! damaged bytes are never taken for a message is for the tests of the peer protocol, which feeds them directly.

use crate::{plan::Micros, world::World};

const LASTS_US_MAX: u64 = 5_000_000;
/// How long it takes to dial and to shake hands again.
const DIAL_US_MAX: u64 = 300_000;
/// Messages in a thousand.
const DAMAGED: [u64; 3] = [2, 20, 200];

/// The wire of a node.
#[derive(Clone, Copy, Debug, Default)]
pub struct Damage {
    until: Micros,
    per_mille: u64,
}

pub(super) fn act(world: &mut World) -> bool {
    let node = world.dice.place(world.machines.len());
    let until = world.time + world.dice.between(50_000, LASTS_US_MAX);
    let per_mille = world.dice.one_of(&DAMAGED);
    world.wires.damage(node, Damage { until, per_mille });
    true
}

/// Whether a message from one node to another is damaged on its way; then their channel is broken.
pub(crate) fn strikes(world: &mut World, from: usize, to: usize) -> bool {
    let time = world.time;
    let likely = [from, to].map(|node| world.wires.damage_of(node));
    let per_mille = likely
        .into_iter()
        .filter(|damage| damage.until > time)
        .map(|damage| damage.per_mille)
        .max()
        .unwrap_or_default();
    if per_mille == 0 || !world.dice.per_mille(per_mille) {
        return false;
    }
    let until = time + world.dice.between(1_000, DIAL_US_MAX);
    world.cuts.both(from, to, (time, until));
    world.breaks(from, to);
    world.marks.reach("damage on the wire broke a channel");
    true
}
