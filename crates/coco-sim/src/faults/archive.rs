//! A host keeps chunk files elsewhere that a node with a complete snapshot does not need to run: all of them, or some. Later
//! it may bring them back.

use coco_ledger::{ChunkName, Folder};

use crate::{
    machine::{Machine, newest_snapshot},
    world::World,
};

pub(super) fn act(world: &mut World) {
    let node = world.dice.place(world.machines.len());
    if world.machines[node].folder.away() > 0 && world.dice.per_mille(500) {
        world.machines[node].folder.bring_back();
        world.marks.reach("chunks came back from the archive");
        return;
    }
    let Some(names) = old_chunks(&world.machines[node]) else { return };
    let kept_per_mille = world.dice.one_of(&[0, 0, 500]);
    let mut count = 0;
    for name in names {
        let is_kept = world.dice.per_mille(kept_per_mille);
        let folder = &world.machines[node].folder;
        count += usize::from(!is_kept && folder.take_away(&name.to_string()));
    }
    if count > 0 {
        world.marks.reach("chunks were archived");
    }
}

/// The committed chunks up to the newest snapshot; none when the disk does not say.
fn old_chunks(machine: &Machine) -> Option<Vec<ChunkName>> {
    let snapshot = newest_snapshot(machine)?;
    let names = machine.folder.names().ok()?;
    let chunks = names.iter().filter_map(|name| name.parse::<ChunkName>().ok());
    let is_old = |chunk: &ChunkName| {
        chunk.is_committed && chunk.last.is_some_and(|last| last <= snapshot.seqno)
    };
    Some(chunks.filter(is_old).collect())
}
