//! A host swaps a closed, committed chunk of a node that is down: for an older version of it, for another node's, for one of
//! another network, or two of the node's own for one another; or it gives one that is not committed the name of one that is.
//! Another node's is mostly the same, and then the node must start; everything else it refuses with the file's name, or does
//! without it, and never takes it for what the network has committed.

use coco_ledger::{ChunkName, Folder};
use coco_types::Seqno;

use crate::{
    foreign::foreign,
    plan::Restart,
    world::{Gift, World},
};

pub(super) fn act(world: &mut World) -> bool {
    let Some(node) = world.victim() else { return false };
    world.hoard(node);
    if world.machines[node].goes_on() || closed(world, node).is_empty() {
        return false;
    }
    world.hold_down(node);
    // A node that goes on from its disk believes the name.
    if world.plan.restart == Restart::Rejoin && world.dice.per_mille(300) {
        return promoted(world, node);
    }
    let chunks = committed(world, node);
    let Some(newest) = chunks.last() else { return false };
    // The newest is the one that a node reads again for certain.
    let place = world.dice.place(chunks.len());
    let chunk = world.dice.one_of(&[*newest, chunks[place]]);
    match world.dice.below(4) {
        0 => older(world, node, chunk),
        1 => of_another(world, node, chunk),
        2 => of_another_network(world, node, chunk),
        _ => exchanged(world, node, chunk, &chunks),
    }
}

/// The closed chunks on a node's disk, oldest first; none when it does not say.
fn closed(world: &World, node: usize) -> Vec<ChunkName> {
    let names = world.machines[node].folder.names().unwrap_or_default();
    let chunks = names.iter().filter_map(|name| name.parse::<ChunkName>().ok());
    let mut chunks: Vec<ChunkName> = chunks.filter(|chunk| chunk.last.is_some()).collect();
    chunks.sort_unstable();
    chunks
}

fn committed(world: &World, node: usize) -> Vec<ChunkName> {
    closed(world, node).into_iter().filter(|chunk| chunk.is_committed).collect()
}

/// Which entries are in a chunk, as its name says.
fn range(chunk: ChunkName) -> (Seqno, Option<Seqno>) {
    (chunk.first, chunk.last)
}

/// What is most like a chunk, of these: of the same entries, else from the same one on, else any.
fn most_like<'a>(
    chunk: ChunkName,
    of: impl Iterator<Item = &'a (ChunkName, Vec<u8>)>,
) -> Option<Vec<u8>> {
    let difference = |(name, _): &&(ChunkName, Vec<u8>)| match *name {
        name if range(name) == range(chunk) => 0,
        ChunkName { first, .. } if first == chunk.first => 1,
        ChunkName { .. } => 2,
    };
    of.min_by_key(difference).map(|(_, bytes)| bytes.clone())
}

fn replace(
    world: &mut World,
    node: usize,
    chunk: ChunkName,
    bytes: Vec<u8>,
    mark: &'static str,
) -> bool {
    let is_done = world.machines[node].folder.tamper(&chunk.to_string(), |old| *old = bytes);
    if is_done {
        world.has_swapped(node);
        world.marks.reach(mark);
    }
    is_done
}

fn older(world: &mut World, node: usize, chunk: ChunkName) -> bool {
    let now = world.machines[node].folder.seen(&chunk.to_string());
    // What an earlier view had in its place is a ledger, too, and whoever believes its disk believes that.
    let is_believed =
        |name: ChunkName| world.plan.restart == Restart::FromDisk && range(name) == range(chunk);
    let others = world
        .hoarded(node)
        .filter(|(name, bytes)| Some(bytes) != now.as_ref() && !is_believed(*name));
    let Some(bytes) = most_like(chunk, others) else { return false };
    replace(world, node, chunk, bytes, "a host put an older version of a chunk in its place")
}

fn of_another(world: &mut World, node: usize, chunk: ChunkName) -> bool {
    let nodes = world.machines.len();
    let other = world.dice.place(nodes);
    let chunks = committed(world, other);
    let Some(place) = (!chunks.is_empty() && other != node).then(|| world.dice.place(chunks.len()))
    else {
        return false;
    };
    let is_same = |other: &&ChunkName| range(**other) == range(chunk);
    let found = chunks.iter().find(is_same).unwrap_or(&chunks[place]).to_string();
    let seen = |node: usize, name: &str| world.machines[node].folder.seen(name);
    let (now, then) = (seen(node, &chunk.to_string()), seen(other, &found));
    if now == then {
        world.gave(node, Gift::Chunk);
        return true;
    }
    let mark = "a host put another node's chunk in a chunk's place";
    then.is_some_and(|bytes| replace(world, node, chunk, bytes, mark))
}

fn of_another_network(world: &mut World, node: usize, chunk: ChunkName) -> bool {
    let Some(bytes) = most_like(chunk, foreign().chunks.iter()) else { return false };
    replace(world, node, chunk, bytes, "a host put another network's chunk in a chunk's place")
}

fn exchanged(world: &mut World, node: usize, chunk: ChunkName, chunks: &[ChunkName]) -> bool {
    let other = chunks[world.dice.place(chunks.len())];
    let folder = &world.machines[node].folder;
    let is_done = other != chunk && folder.exchange(&chunk.to_string(), &other.to_string());
    if is_done {
        world.has_swapped(node);
        world.marks.reach("a host exchanged two chunks");
    }
    is_done
}

/// Nothing but its name says that a chunk is committed, and a host gives names. Nothing is lost, and the node must start.
fn promoted(world: &mut World, node: usize) -> bool {
    let Some(chunk) = closed(world, node).into_iter().rfind(|chunk| !chunk.is_committed) else {
        return false;
    };
    let name = ChunkName { is_committed: true, ..chunk };
    let is_done = world.machines[node].folder.call(&chunk.to_string(), &name.to_string());
    world.marks.reach_if(is_done, "a host said of a chunk that it is committed")
}
