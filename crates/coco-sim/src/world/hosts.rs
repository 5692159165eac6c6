//! What hosts keep of their nodes' disks, and what they put there instead.

use std::collections::{BTreeMap, VecDeque};

use coco_ledger::{ChunkName, Folder, SnapshotName};

use super::{Damage, World};
use crate::{machine::StartFault, plan::Restart};

/// Most chunk files that a host keeps of one node, as they once were; then it forgets the oldest.
const HOARD_MAX: usize = 48;
/// How long a host that changes something on a node's disk has the node down.
const DARK_US_MAX: u64 = 3_000_000;

/// What hosts keep.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    /// Chunk files as they were at some time, by node.
    hoards: BTreeMap<usize, VecDeque<(ChunkName, Vec<u8>)>>,
    /// What a node was given that is down, and should make do with.
    gifts: BTreeMap<usize, Gift>,
}

/// Something of another node that a host put on a node's disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gift {
    /// A chunk that is the same.
    Chunk,
    /// A snapshot.
    Snapshot(SnapshotName),
}

impl World {
    /// A host looks at the disk of a node, and keeps its chunk files.
    pub(crate) fn hoard(&mut self, node: usize) {
        let folder = &self.machines[node].folder;
        let names = folder.names().unwrap_or_default();
        let hoard = self.hosts.hoards.entry(node).or_default();
        for name in names.iter().filter_map(|name| name.parse::<ChunkName>().ok()) {
            let Some(bytes) = folder.seen(&name.to_string()) else { continue };
            if hoard.iter().any(|(kept, same)| *kept == name && *same == bytes) {
                continue;
            }
            if hoard.len() >= HOARD_MAX {
                hoard.pop_front();
            }
            hoard.push_back((name, bytes));
        }
    }

    /// What a host has kept of a node's chunks.
    pub(crate) fn hoarded(&self, node: usize) -> impl Iterator<Item = &(ChunkName, Vec<u8>)> {
        self.hosts.hoards.get(&node).into_iter().flatten()
    }

    /// Takes the power of a node that is up, for a while.
    pub(crate) fn hold_down(&mut self, node: usize) {
        if self.machines[node].replica.is_some() {
            self.crash(node);
            let dark_us = self.dice.between(1_000, DARK_US_MAX);
            self.start_in(node, dark_us);
        }
    }

    /// The ledger of a node that is down is not its own any more. Whether it notices is to be seen; a node that starts as
    /// another has promised nothing.
    pub(crate) fn has_swapped(&mut self, node: usize) {
        let machine = &mut self.machines[node];
        machine.damage = Some(Damage::Swapped);
        if self.plan.restart == Restart::Rejoin {
            machine.promises_nothing();
        }
    }

    /// A node that is down was given this.
    pub(crate) fn gave(&mut self, node: usize, gift: Gift) {
        self.hosts.gifts.insert(node, gift);
    }

    /// Whether a node that is down was given something.
    pub(super) fn was_given(&self, node: usize) -> bool {
        self.hosts.gifts.contains_key(&node)
    }

    /// A node started whose host may have put something in place.
    pub(super) fn notice_swapped(&mut self, node: usize) {
        match self.hosts.gifts.remove(&node) {
            Some(Gift::Chunk) => self.marks.reach("a node started with another's chunk, the same"),
            Some(Gift::Snapshot(name)) if self.machines[node].making.used == Some(name) => {
                self.marks.reach("a node started from another's snapshot");
            }
            Some(Gift::Snapshot(_)) | None => {}
        }
        if self.machines[node].damage == Some(Damage::Swapped) {
            self.marks.reach("a host swapped a closed chunk and the node started without it");
        }
    }

    /// A node did not start, and names a damaged file.
    pub(super) fn notice_refusal(&mut self, node: usize, fault: &StartFault) {
        self.marks.reach("a node refused a damaged file");
        if self.machines[node].damage == Some(Damage::Swapped) {
            self.marks.reach(match fault {
                StartFault::Load(error) if error.is_loss() => {
                    "a host gave a node a snapshot of more than its ledger has, and it refused"
                }
                _ => "a host swapped a closed chunk and the node refused it",
            });
        }
    }
}
