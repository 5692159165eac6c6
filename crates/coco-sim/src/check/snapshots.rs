//! What must hold of snapshots.

use std::collections::BTreeMap;

use coco_crypto::sha256;
use coco_ledger::{SnapshotEvidence, SnapshotName};
use coco_types::{Digest, Seqno};

/// Every snapshot that any node has made.
#[derive(Debug, Default)]
pub(super) struct Snapshots {
    /// The digest of each, and of how many views the node knew then.
    made: BTreeMap<Seqno, Digest>,
    /// The complete files.
    complete: BTreeMap<SnapshotName, Digest>,
}

impl Snapshots {
    /// A node has written one down: all nodes write the same.
    pub(super) fn made(&mut self, node: usize, evidence: SnapshotEvidence, bytes: &[u8]) {
        let SnapshotEvidence { seqno, digest } = evidence;
        assert_eq!(
            sha256(bytes),
            digest,
            "n{node} wrote down the snapshot of {seqno} that it says"
        );
        let first = *self.made.entry(seqno).or_insert(digest);
        assert_eq!(first, digest, "n{node} makes another snapshot of {seqno}");
    }

    /// A node holds this for a complete snapshot: it is what some node made, with a proof that is the same everywhere.
    pub(super) fn believed(&mut self, node: usize, name: SnapshotName, bytes: &[u8]) {
        let entry = bytes.get(..entry_bytes(bytes)).map(sha256);
        assert_eq!(entry, self.made.get(&name.seqno).copied(), "n{node} believes in {name}");
        let digest = sha256(bytes);
        let first = *self.complete.entry(name).or_insert(digest);
        assert_eq!(first, digest, "n{node} has another {name}");
    }

    /// How many were made, of different seqnos.
    pub(super) fn count(&self) -> usize {
        self.made.len()
    }
}

/// How long the entry is at the front of a snapshot file, as its header says.
fn entry_bytes(file: &[u8]) -> usize {
    let mut size = [0; 8];
    size[..6].copy_from_slice(file.get(2..8).unwrap_or(&[0xff; 6]));
    usize::try_from(u64::from_le_bytes(size)).map_or(usize::MAX, |size| size.saturating_add(8))
}
