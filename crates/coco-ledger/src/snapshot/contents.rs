//! What a snapshot says of the ledger below it: views, leaves, signatures.
//!
//! CCF's tree in a snapshot is that of its signature entry: the newest leaves and the peaks before them. We keep the
//! leaf of every entry, since entries are read back from the host's disk and compared with their leaves; so the public
//! map [`SNAPSHOT_POSITIONS_MAP`] holds all of them, and a bit for each that is a signature entry.

use coco_kv::{MapName, StateImage, WriteSet, WriteSetView};
use coco_types::{Digest, Seqno, TxId, View, codec::DecodeError};
use thiserror::Error;

use crate::{
    COSE_SIGNATURES_MAP, MerkleTree, ParseSignatureError, SIGNATURES_MAP, SignatureRecord,
    TREE_MAP, genesis::singleton_key,
};

/// `leaves -> 32 bytes for each entry from seqno 1`, `signatures -> a bit for each entry, lowest first`. Stands in
/// snapshots only.
pub const SNAPSHOT_POSITIONS_MAP: &str = "public:coco.snapshot.positions";

const LEAVES: &[u8] = b"leaves";
const SIGNATURES: &[u8] = b"signatures";

/// Most views that a snapshot lists: as many elections a second apart take twelve days.
pub(super) const VIEWS_MAX: u64 = 1 << 20;

/// Parts of a snapshot that contradict each other.
#[derive(Debug, Error)]
pub enum SnapshotContentsError {
    /// The view history is none.
    #[error("view history does not ascend from seqno 1 to {0}")]
    Views(Seqno),
    /// The list of leaves is missing, or has another length.
    #[error("list of leaves has {found} bytes, {seqno} entries have {expected}")]
    Leaves {
        /// The seqno of the snapshot.
        seqno: Seqno,
        /// Bytes that it should have.
        expected: u64,
        /// Bytes that it has.
        found: u64,
    },
    /// The list of signatures is missing, has another length, or does not end with the snapshot's own entry.
    #[error("list of signatures does not end at {0}")]
    Signatures(Seqno),
    /// The last leaf is not the one in the header.
    #[error("leaf of {0} is not the one in the header")]
    Leaf(Seqno),
    /// The signature tables are not those of a signature entry.
    #[error("signature tables are not those of a signature entry")]
    Signature(#[source] ParseSignatureError),
    /// The signature is of another place.
    #[error("signature is of {found}, the snapshot of {expected}")]
    Position {
        /// The snapshot's.
        expected: TxId,
        /// The signature's.
        found: TxId,
    },
    /// The leaves give another root than was signed.
    #[error("leaves give the root {found}, {expected} was signed")]
    Root {
        /// What was signed.
        expected: Digest,
        /// What the leaves give.
        found: Digest,
    },
}

/// Adds the rows of [`SNAPSHOT_POSITIONS_MAP`]: the leaves from seqno 1 on, and the positions of signature entries,
/// ascending.
///
/// # Panics
/// When a signature is past the leaves: the caller counts both.
pub fn put_positions(more: &mut WriteSet, leaves: &[Digest], signatures: &[Seqno]) {
    let mut bits = vec![0_u8; leaves.len().div_ceil(8)];
    for seqno in signatures {
        let at = usize::try_from(seqno.0 - 1).expect("a list of leaves fits memory");
        bits[at / 8] |= 1 << (at % 8);
    }
    let map = MapName::from_static(SNAPSHOT_POSITIONS_MAP);
    more.insert(&map, LEAVES, leaves.iter().flat_map(|leaf| leaf.0).collect::<Vec<u8>>());
    more.insert(&map, SIGNATURES, bits);
}

/// The ledger below a snapshot.
pub(super) struct Positions {
    pub(super) views: Vec<(Seqno, View)>,
    pub(super) tree: MerkleTree,
    pub(super) signatures: Vec<Seqno>,
}

impl Positions {
    pub(super) fn read(
        seqno: Seqno,
        leaf: Digest,
        history: &[Seqno],
        public: &StateImage<'_>,
    ) -> Result<Self, SnapshotContentsError> {
        let views = views(history, seqno).ok_or(SnapshotContentsError::Views(seqno))?;
        let map = public.map(SNAPSHOT_POSITIONS_MAP);
        let row = |key| map.and_then(|map| map.get(key)).unwrap_or_default();
        let tree = tree(seqno, row(LEAVES))?;
        let signatures =
            signatures(seqno, row(SIGNATURES)).ok_or(SnapshotContentsError::Signatures(seqno))?;
        if tree.leaf(seqno.0) != Some(leaf) {
            return Err(SnapshotContentsError::Leaf(seqno));
        }
        let positions = Self { views, tree, signatures };
        positions.check_signature(seqno, public)?;
        Ok(positions)
    }

    /// The signature tables are those of this place and sign these leaves.
    fn check_signature(
        &self,
        seqno: Seqno,
        public: &StateImage<'_>,
    ) -> Result<(), SnapshotContentsError> {
        let mut tables = WriteSet::new();
        for name in [SIGNATURES_MAP, COSE_SIGNATURES_MAP, TREE_MAP] {
            if let Some(row) = public.map(name).and_then(|map| map.get(singleton_key())) {
                tables.insert(&MapName::from_static(name), singleton_key(), row);
            }
        }
        let bytes = tables.encode(coco_kv::Domain::Public);
        let malformed = |error: DecodeError| SnapshotContentsError::Signature(error.into());
        let writes = WriteSetView::parse(&bytes, &[]).map_err(malformed)?;
        let record =
            SignatureRecord::from_writes(&writes).map_err(SnapshotContentsError::Signature)?;
        let expected = TxId { view: self.views.last().map_or(View(0), |(_, view)| *view), seqno };
        if record.tx_id != expected {
            return Err(SnapshotContentsError::Position { expected, found: record.tx_id });
        }
        let found = self.tree.root_at(seqno.0).unwrap_or(Digest::ZERO);
        if record.root != found {
            return Err(SnapshotContentsError::Root { expected: record.root, found });
        }
        Ok(())
    }
}

/// CCF's view history: for each view from 1 on, the first seqno of it or of the next that has any.
pub(super) fn view_history(views: &[(Seqno, View)]) -> Vec<Seqno> {
    let mut history = Vec::new();
    for (first, view) in views {
        while (history.len() as u64) < view.0 {
            history.push(*first);
        }
    }
    history
}

/// The views that have entries, from CCF's view history.
fn views(history: &[Seqno], last: Seqno) -> Option<Vec<(Seqno, View)>> {
    let is_history = history.first() == Some(&Seqno(1))
        && history.is_sorted()
        && history.last().is_some_and(|first| *first <= last);
    is_history.then(|| {
        let mut views: Vec<(Seqno, View)> = Vec::new();
        for (first, view) in history.iter().zip(1..) {
            match views.last_mut() {
                Some(run) if run.0 == *first => run.1 = View(view),
                _ => views.push((*first, View(view))),
            }
        }
        views
    })
}

fn tree(seqno: Seqno, leaves: &[u8]) -> Result<MerkleTree, SnapshotContentsError> {
    let (found, expected) = (leaves.len() as u64, seqno.0.saturating_mul(32));
    if found != expected {
        return Err(SnapshotContentsError::Leaves { seqno, expected, found });
    }
    let mut tree = MerkleTree::new();
    leaves.as_chunks().0.iter().for_each(|leaf| tree.append(Digest(*leaf)));
    Ok(tree)
}

fn signatures(seqno: Seqno, bits: &[u8]) -> Option<Vec<Seqno>> {
    (bits.len() as u64 == seqno.0.div_ceil(8)).then_some(())?;
    let positions = bits.iter().zip(0_u64..).flat_map(|(byte, at)| {
        (0..8).filter(move |bit| byte >> bit & 1 == 1).map(move |bit| Seqno(at * 8 + bit + 1))
    });
    let positions: Vec<Seqno> = positions.collect();
    (positions.last() == Some(&seqno)).then_some(positions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_without_entries_begin_where_the_next_does() {
        let runs = [(Seqno(1), View(2)), (Seqno(5), View(3)), (Seqno(9), View(7))];
        let history = view_history(&runs);
        assert_eq!(history, [1, 1, 5, 9, 9, 9, 9].map(Seqno));
        assert_eq!(views(&history, Seqno(9)).as_deref(), Some(&runs[..]));
        assert_eq!(views(&history, Seqno(8)), None);
        assert_eq!(views(&[Seqno(2)], Seqno(8)), None);
        assert_eq!(views(&[Seqno(1), Seqno(3), Seqno(2)], Seqno(8)), None);
        assert_eq!(views(&[], Seqno(8)), None);
    }

    #[test]
    fn signatures_are_bits() {
        for last in 1..40 {
            let all: Vec<Seqno> =
                (1..=last).filter(|n| n % 3 == 1 || *n == last).map(Seqno).collect();
            let mut more = WriteSet::new();
            let leaves = vec![Digest::ZERO; usize::try_from(last).unwrap()];
            put_positions(&mut more, &leaves, &all);
            let bits = more.get(&MapName::from_static(SNAPSHOT_POSITIONS_MAP), SIGNATURES).unwrap();
            assert_eq!(signatures(Seqno(last), bits), Some(all));
            assert_eq!(signatures(Seqno(last + 1), bits), None);
        }
    }
}
