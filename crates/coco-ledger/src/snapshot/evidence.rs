//! The entry that says which snapshot the service stands by.

use coco_kv::{MapName, WriteSet, WriteSetView};
use coco_types::{Digest, Seqno};
use serde::{Deserialize, Serialize};

use crate::genesis::singleton_key;

/// `one key -> JSON`: the digest and the seqno of the newest snapshot. CCF defines it.
pub const SNAPSHOT_EVIDENCE_MAP: &str = "public:ccf.internal.snapshot_evidence";

/// What an evidence entry says. The entry's claims digest is the snapshot's digest, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotEvidence {
    /// The signature entry as of which the snapshot is.
    pub seqno: Seqno,
    /// SHA-256 of the snapshot's entry.
    pub digest: Digest,
}

#[derive(Serialize, Deserialize)]
struct Row {
    hash: String,
    version: u64,
}

impl SnapshotEvidence {
    /// The write set of the evidence entry.
    ///
    /// # Panics
    /// Never: text and a number have a JSON form.
    #[must_use]
    pub fn write_set(&self) -> WriteSet {
        let row = Row { hash: self.digest.to_string(), version: self.seqno.0 };
        let row = serde_json::to_vec(&row).expect("text and a number have a JSON form");
        let mut set = WriteSet::new();
        set.insert(&MapName::from_static(SNAPSHOT_EVIDENCE_MAP), singleton_key(), row);
        set
    }

    /// What an entry's writes say of a snapshot; none when they say nothing, or nothing that can be read.
    #[must_use]
    pub fn read(writes: &WriteSetView<'_>) -> Option<Self> {
        let map = writes.maps().iter().find(|map| map.name() == SNAPSHOT_EVIDENCE_MAP)?;
        let row: Row = serde_json::from_slice(map.get(singleton_key())?).ok()?;
        Some(Self { seqno: Seqno(row.version), digest: row.hash.parse().ok()? })
    }
}

#[cfg(test)]
mod tests {
    use coco_kv::Domain;

    use super::*;

    #[test]
    fn the_row_is_ccfs_and_is_read_back() {
        let evidence = SnapshotEvidence { seqno: Seqno(17), digest: Digest([0xab; 32]) };
        let bytes = evidence.write_set().encode(Domain::Public);
        let json = format!("{{\"hash\":\"{}\",\"version\":17}}", "ab".repeat(32));
        assert!(bytes.windows(json.len()).any(|window| window == json.as_bytes()));
        let view = WriteSetView::parse(&bytes, &[]).unwrap();
        assert_eq!(SnapshotEvidence::read(&view), Some(evidence));
        assert_eq!(SnapshotEvidence::read(&WriteSetView::default()), None);
    }
}
