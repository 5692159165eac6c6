//! A host keeps chunk files elsewhere that a node with complete snapshots does not need to run: all of them, or some. Later it
//! may bring them back. What is below the oldest snapshot may be moved at any time; a careless host goes by the newest, and
//! has to bring chunks back when that one is damaged.

use coco_ledger::{ChunkName, Folder};
use coco_types::Seqno;

use crate::{
    machine::{Machine, snapshots},
    world::World,
};

pub(super) fn act(world: &mut World) -> bool {
    let node = world.dice.place(world.machines.len());
    if world.machines[node].folder.away() > 0 && world.dice.per_mille(500) {
        world.bring_back(node);
        world.marks.reach("chunks came back from the archive");
        return true;
    }
    let snapshots = snapshots(&world.machines[node]);
    let (Some(oldest), Some(newest)) = (snapshots.first(), snapshots.last()) else { return false };
    let to = world.dice.one_of(&[oldest.seqno, newest.seqno]);
    let Some(names) = chunks_to(&world.machines[node], to) else { return false };
    let kept_per_mille = world.dice.one_of(&[0, 0, 500]);
    let mut count = 0;
    for name in names {
        let is_kept = world.dice.per_mille(kept_per_mille);
        let folder = &world.machines[node].folder;
        count += usize::from(!is_kept && folder.take_away(&name.to_string()));
    }
    world.marks.reach_if(count > 0, "chunks were archived")
}

/// The committed chunks up to an entry; none when the disk does not say.
fn chunks_to(machine: &Machine, to: Seqno) -> Option<Vec<ChunkName>> {
    let names = machine.folder.names().ok()?;
    let chunks = names.iter().filter_map(|name| name.parse::<ChunkName>().ok());
    let is_old =
        |chunk: &ChunkName| chunk.is_committed && chunk.last.is_some_and(|last| last <= to);
    Some(chunks.filter(is_old).collect())
}
