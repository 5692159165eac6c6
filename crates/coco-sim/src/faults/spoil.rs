//! A host tampers with a node's newest snapshot: flips a bit, ends it early, makes it longer, or gives it the bytes of an older
//! one. The node must see it, and starts from the next one or from its whole ledger.

use crate::{machine::snapshots, plan::Restart, world::World};

/// About the bytes of a proof.
const PROOF_BYTES: usize = 800;
/// The bytes of the signature in it.
const SIGNATURE_BYTES: usize = 96;

pub(super) fn act(world: &mut World) -> bool {
    let node = world.dice.place(world.machines.len());
    // A node that believes its disk, and has no other way to its state, would be lost.
    if world.plan.restart == Restart::FromDisk && world.machines[node].copied_at.is_some() {
        return false;
    }
    let names = snapshots(&world.machines[node]);
    let Some((newest, older)) = names.split_last() else { return false };
    let folder = world.machines[node].snapshot_folder();
    let older = older.last().and_then(|name| folder.seen(&name.to_string()));
    let how = world.dice.below(5);
    let dice = &mut world.dice;
    let has_changed = folder.tamper(&newest.to_string(), |bytes| match (how, older) {
        (0, Some(older)) => *bytes = older,
        (1, _) => bytes.truncate(dice.place(bytes.len() + 1)),
        (2, _) => bytes.push(0),
        (..) if bytes.is_empty() => bytes.push(0),
        (..) => {
            // The proof is short and at the end, and the signature at the end of it.
            let length = dice.one_of(&[bytes.len(), PROOF_BYTES, SIGNATURE_BYTES]);
            let at = bytes.len() - 1 - dice.place(length.min(bytes.len()));
            bytes[at] ^= 1 << dice.below(8);
        }
    });
    world.marks.reach_if(has_changed, "a host tampered with a snapshot")
}
