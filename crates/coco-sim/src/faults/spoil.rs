//! A host tampers with a node's newest snapshot: flips a bit, ends it early, makes it longer, or gives it the bytes of an older
//! one. The node must see it, and starts from the next one or from its whole ledger.

use coco_ledger::{Folder, SnapshotName};

use crate::{machine::newest_snapshot, world::World};

/// About the bytes of a proof.
const PROOF_BYTES: usize = 800;

pub(super) fn act(world: &mut World) {
    let node = world.dice.place(world.machines.len());
    let Some(newest) = newest_snapshot(&world.machines[node]) else { return };
    let folder = world.machines[node].snapshot_folder();
    let names = folder.names().unwrap_or_default();
    let names = names.iter().filter_map(|name| name.parse::<SnapshotName>().ok());
    let older = names.filter(|name| *name < newest).max();
    let older = older.and_then(|name| folder.seen(&name.to_string()));
    let how = world.dice.below(4);
    let dice = &mut world.dice;
    let has_changed = folder.tamper(&newest.to_string(), |bytes| match (how, older) {
        (0, Some(older)) => *bytes = older,
        (1, _) => bytes.truncate(dice.place(bytes.len() + 1)),
        (2, _) => bytes.push(0),
        (..) if bytes.is_empty() => bytes.push(0),
        (..) => {
            // The proof is short, and at the end.
            let length = dice.one_of(&[bytes.len(), PROOF_BYTES.min(bytes.len())]);
            let at = bytes.len() - 1 - dice.place(length);
            bytes[at] ^= 1 << dice.below(8);
        }
    });
    if has_changed {
        world.marks.reach("a host tampered with a snapshot");
    }
}
