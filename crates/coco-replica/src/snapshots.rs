//! Snapshots, as the replica sees them: when one is due, and what the ledger says of it.
//!
//! Every node makes its own, of the same entry and with the same bytes, and only the digest is agreed on:
//!
//! 1. Due is the first signature entry at or after each multiple of [`Settings::snapshot_entries`]. Its chunk ends with
//!    it. Once it is committed the replica hands out [`MakeSnapshot`]: a reader of that version, which stays in memory
//!    while another thread writes it down. The replica goes on.
//! 2. [`Input::SnapshotMade`] brings the digest back. The primary writes it into the ledger as evidence; if it is lost
//!    before, the next primary does, with its own digest.
//! 3. Once the evidence is committed every replica hands out [`FinishSnapshot`]. Whoever has a snapshot of that digest
//!    completes its file with a receipt; one that has another digest drops it.
//!
//! [`Settings::snapshot_entries`]: crate::Settings::snapshot_entries
//! [`Input::SnapshotMade`]: crate::Input::SnapshotMade

use std::collections::VecDeque;

use coco_kv::{Domain, MapKind, MapName, MapSpec, Reader, Snapshot, StateImage, WriteSet};
use coco_ledger::{
    EntryView, LedgerSecrets, ParseSignatureError, Receipt, ReceiptError, SNAPSHOT_EVIDENCE_MAP,
    SNAPSHOT_POSITIONS_MAP, SealSnapshotError, SealedSnapshot, SignatureRecord, SnapshotEvidence,
    SnapshotName, SnapshotParts, put_positions, seal_snapshot,
};
use coco_planted::Bug;
use coco_types::{Digest, Seqno, TxId, codec::DecodeError, codec::Reader as Bytes};
use thiserror::Error;

use crate::{LedgerState, SharedLedgerState};

/// Fewest entries between two snapshots. The evidence and the signature over it are two entries; with three a quiet
/// network would make one snapshot after another.
pub const SNAPSHOT_ENTRIES_MIN: u64 = 10;

/// What the thread that makes snapshots should do. Tasks are done in their order.
#[derive(Debug)]
pub enum SnapshotTask {
    /// Write one down, then bring [`Input::SnapshotMade`](crate::Input::SnapshotMade).
    Make(MakeSnapshot),
    /// Complete the one of this evidence, if it was made here.
    Finish(FinishSnapshot),
}

/// The state as of a committed signature entry, and what is needed to write it down. The version stays in memory while
/// this lives.
#[derive(Debug)]
pub struct MakeSnapshot {
    id: TxId,
    state: Snapshot,
    ledger: SharedLedgerState,
    marks: Marks,
}

/// The digest that the service stands by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FinishSnapshot {
    /// Which snapshot.
    pub snapshot: SnapshotEvidence,
    /// The entry that says so, committed.
    pub evidence: TxId,
    /// The signature entry over it.
    pub signature: Seqno,
}

/// Values of the replica that follow from the ledger and are needed to go on from a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Marks {
    /// Bytes of entries since the last chunk end.
    pub(crate) chunk_bytes: u64,
    /// The largest block time.
    pub(crate) time_ms: u64,
}

/// A snapshot that was not made. The ledger is not concerned.
#[derive(Debug, Error)]
pub enum MakeSnapshotError {
    /// The entry that was given is not the signature entry of the snapshot.
    #[error("not the signature entry {0}")]
    Entry(TxId),
    /// The state makes no snapshot.
    #[error("the state makes no snapshot")]
    Seal(#[from] SealSnapshotError),
}

/// A receipt that was not made.
#[derive(Debug, Error)]
pub enum EvidenceReceiptError {
    /// The signature entry does not read.
    #[error("the signature entry {0} does not read")]
    Signature(Seqno),
    /// As before, with a cause.
    #[error("the signature entry {0} holds no readable signature")]
    Record(Seqno, #[source] ParseSignatureError),
    /// The parts do not fit together.
    #[error("evidence and signature make no receipt")]
    Receipt(#[from] ReceiptError),
}

impl MakeSnapshot {
    /// The signature entry as of which the snapshot is.
    #[must_use]
    pub const fn tx_id(&self) -> TxId {
        self.id
    }

    /// Writes the state down and seals it. Takes as long as the state is large; other threads go on. `entry` is the
    /// signature entry, whose tables the store does not keep.
    ///
    /// # Errors
    /// [`MakeSnapshotError`]: then there is no snapshot of this entry.
    ///
    /// # Panics
    /// Never: what is committed stays in the tree.
    pub fn seal(
        self,
        secrets: &LedgerSecrets,
        entry: &[u8],
    ) -> Result<SealedSnapshot, MakeSnapshotError> {
        let Self { id, state, ledger, marks } = self;
        let wrong = || MakeSnapshotError::Entry(id);
        let entry = EntryView::parse(entry).map_err(|_| wrong())?;
        let writes = entry.public_writes().map_err(|_| wrong())?;
        if entry.tx_id() != id || !entry.is_signature() {
            return Err(wrong());
        }
        let mut more = writes.to_write_set();
        let leaves = leaves(&ledger, id.seqno);
        let (signatures, views) = {
            let ledger = ledger.read();
            let signed = ledger.signatures.partition_point(|signature| *signature <= id.seqno);
            let views = ledger.views.partition_point(|(first, _)| *first <= id.seqno);
            (ledger.signatures[..signed].to_vec(), ledger.views[..views].to_vec())
        };
        put_positions(&mut more, &leaves, &signatures);
        marks.put(&mut more);
        let leaf = *leaves.last().expect("the entry has a leaf");
        let public = state.encode(Domain::Public, &more);
        let private = if coco_planted::is(Bug::SnapshotWithoutPrivate) {
            Vec::new()
        } else {
            state.encode(Domain::Private, &more)
        };
        // Later versions need not be kept while the rest is done.
        drop((state, more, leaves));
        let parts =
            SnapshotParts { seqno: id.seqno, leaf, views: &views, public: &public, private };
        Ok(seal_snapshot(secrets.at(id.seqno), parts)?)
    }
}

/// The leaves from seqno 1 to `last`, taken a page at a time, since the replica waits meanwhile.
fn leaves(ledger: &SharedLedgerState, last: Seqno) -> Vec<Digest> {
    let mut leaves = Vec::new();
    let mut next = 1;
    while next <= last.0 {
        let end = last.0.min(next + LEAVES_PAGE - 1);
        let ledger = ledger.read();
        let page = ledger.tree.leaves(next..end + 1).expect("a committed entry stays in the tree");
        leaves.extend_from_slice(page);
        next = end + 1;
    }
    leaves
}

/// Leaves taken at a time: two megabytes.
const LEAVES_PAGE: u64 = 1 << 16;

impl FinishSnapshot {
    /// What the complete file is called.
    #[must_use]
    pub const fn name(&self) -> SnapshotName {
        SnapshotName { seqno: self.snapshot.seqno, evidence: self.evidence.seqno }
    }

    /// The proof that completes the file, from the two entries.
    ///
    /// # Errors
    /// [`EvidenceReceiptError`] when they are not those.
    ///
    /// # Panics
    /// Never: evidence is no signature entry, so its receipt has a COSE form.
    pub fn receipt(
        &self,
        secrets: &LedgerSecrets,
        ledger: &SharedLedgerState,
        evidence: &[u8],
        signature: &[u8],
    ) -> Result<Vec<u8>, EvidenceReceiptError> {
        let at = self.signature;
        let entry = EntryView::parse(signature).map_err(|_| EvidenceReceiptError::Signature(at))?;
        let record = SignatureRecord::read(&entry)
            .map_err(|error| EvidenceReceiptError::Record(at, error))?
            .ok_or(EvidenceReceiptError::Signature(at))?;
        let text = secrets.at(self.evidence.seqno).commit_evidence(self.evidence);
        let ledger = ledger.read();
        let receipt = Receipt::assemble(evidence, text, ledger.tree(), &record)?;
        Ok(receipt.cose().expect("evidence is no signature entry"))
    }
}

/// The private map of snapshots that holds [`Marks`].
const MARKS_MAP: &str = "coco.snapshot.replica";
const CHUNK_BYTES: &[u8] = b"chunk bytes";
const TIME_MS: &[u8] = b"time ms";

impl Marks {
    fn put(self, more: &mut WriteSet) {
        let map = MapName::from_static(MARKS_MAP);
        more.insert(&map, CHUNK_BYTES, self.chunk_bytes.to_le_bytes());
        more.insert(&map, TIME_MS, self.time_ms.to_le_bytes());
    }

    pub(crate) fn read(private: &StateImage<'_>) -> Result<Self, DecodeError> {
        let number = |key| {
            let value = private.map(MARKS_MAP).and_then(|map| map.get(key)).unwrap_or_default();
            let mut bytes = Bytes::new(value);
            let number = bytes.u64("value of the replica")?;
            bytes.end().map(|()| number)
        };
        Ok(Self { chunk_bytes: number(CHUNK_BYTES)?, time_ms: number(TIME_MS)? })
    }
}

/// The maps that snapshots bring: evidence, which is state, and two that stand in snapshots only.
pub(crate) fn snapshot_maps() -> [MapSpec; 3] {
    [
        (SNAPSHOT_EVIDENCE_MAP, MapKind::Ordered),
        (SNAPSHOT_POSITIONS_MAP, MapKind::LedgerOnly),
        (MARKS_MAP, MapKind::LedgerOnly),
    ]
    .map(|(name, kind)| MapSpec::new(MapName::from_static(name), kind))
}

/// What the entries say of snapshots.
#[derive(Debug, Default)]
pub(crate) struct Evidence {
    /// Of the newest snapshot whose evidence is committed.
    committed: Seqno,
    /// Evidence that may still be rolled back, ascending.
    pending: VecDeque<(TxId, SnapshotEvidence)>,
}

impl Evidence {
    pub(crate) fn append(&mut self, id: TxId, evidence: SnapshotEvidence) {
        self.pending.push_back((id, evidence));
    }

    pub(crate) fn rollback(&mut self, to: Seqno) {
        if coco_planted::is(Bug::ForgetEvidenceRollback) {
            return;
        }
        self.pending.retain(|(id, _)| id.seqno <= to);
    }

    /// The evidence that is committed with the entry at `to`.
    pub(crate) fn commit(&mut self, to: Seqno) -> Vec<(TxId, SnapshotEvidence)> {
        let after = self.pending.partition_point(|(id, _)| id.seqno <= to);
        let committed: Vec<_> = self.pending.drain(..after).collect();
        let newest = committed.iter().map(|(_, evidence)| evidence.seqno).max();
        self.committed = self.committed.max(newest.unwrap_or_default());
        committed
    }

    /// The last that was said.
    pub(crate) fn last(&self) -> Option<(TxId, SnapshotEvidence)> {
        self.pending.back().copied()
    }

    /// Whether the ledger has evidence of a snapshot of `seqno`, or of a newer one.
    fn is_given(&self, seqno: Seqno) -> bool {
        self.committed >= seqno || self.pending.iter().any(|(_, given)| given.seqno >= seqno)
    }
}

/// What this node makes.
#[derive(Debug)]
pub(crate) struct Snapshots {
    /// Entries from one to the next; zero for none.
    entries: u64,
    /// The one that is being made. There is one at a time; those that fall due meanwhile are left out.
    making: Option<Seqno>,
    /// The one that was made last, until the ledger has evidence of it.
    made: Option<SnapshotEvidence>,
}

impl Snapshots {
    pub(crate) const fn new(entries: u64) -> Self {
        Self { entries, making: None, made: None }
    }

    /// Whether a snapshot is due of the signature entry at `seqno`, `previous` being the one before.
    pub(crate) const fn is_due_at(&self, previous: Seqno, seqno: Seqno) -> bool {
        match (previous.0.checked_div(self.entries), seqno.0.checked_div(self.entries)) {
            (Some(previous), Some(seqno)) => previous < seqno,
            _ => false,
        }
    }

    /// The newest signature entry up to `to` of which a snapshot is due, if it is above what was committed before and
    /// nothing is being made. `asked` is the newest that members asked for.
    pub(crate) fn due(
        &self,
        state: &LedgerState,
        to: Seqno,
        asked: Option<Seqno>,
    ) -> Option<Seqno> {
        // Under recovery a node has what everybody may read, and the old entries may ask for a snapshot of everything.
        if !state.secrets.is_whole() {
            return None;
        }
        let due = self.due_by_count(state, to).filter(|due| *due <= to).max(asked)?;
        (self.making.is_none() && due > state.committed && due <= to).then_some(due)
    }

    /// The signature entry at or after the last multiple.
    fn due_by_count(&self, state: &LedgerState, to: Seqno) -> Option<Seqno> {
        let multiple = to.0.checked_div(self.entries)?.checked_mul(self.entries)?;
        state.covering_signature(Seqno(multiple.checked_sub(1)?))
    }

    /// Begins one: pins its version. Nothing that is not committed yet was compacted.
    pub(crate) fn begin(
        &mut self,
        id: TxId,
        reader: &Reader,
        ledger: SharedLedgerState,
        marks: Marks,
    ) -> MakeSnapshot {
        let state = if coco_planted::is(Bug::SnapshotOfHead) {
            reader.head()
        } else {
            reader.snapshot(id.seqno).expect("what was not committed before is still in memory")
        };
        self.making = Some(id.seqno);
        MakeSnapshot { id, state, ledger, marks }
    }

    /// One was made, or not.
    pub(crate) fn made(&mut self, seqno: Seqno, digest: Option<Digest>) {
        self.making = self.making.filter(|making| *making != seqno);
        if let Some(digest) = digest {
            self.made = Some(SnapshotEvidence { seqno, digest });
        }
    }

    /// The evidence that a primary owes the ledger.
    pub(crate) fn owed(&mut self, evidence: &Evidence) -> Option<SnapshotEvidence> {
        self.made = self.made.filter(|made| evidence.committed < made.seqno);
        self.made.filter(|made| !evidence.is_given(made.seqno))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(signatures: &[u64], last: u64, committed: u64) -> LedgerState {
        let mut state = LedgerState::new(coco_ledger::LedgerSecret::new(&[7; 32]).into());
        for seqno in 1..=last {
            state.append(TxId::new(2, seqno), Digest([1; 32]), signatures.contains(&seqno));
        }
        state.committed = Seqno(committed);
        state
    }

    #[test]
    fn nothing_is_due_while_a_part_of_the_state_is_unread() {
        let secret = coco_ledger::LedgerSecret::new(&[7; 32]);
        let newest = coco_ledger::Period { from: Seqno(12), secret };
        let secrets = LedgerSecrets::new([newest]).expect("one period");
        let unread = LedgerState { secrets, ..state(&[4, 9, 12, 14], 20, 9) };
        for asked in [None, Some(Seqno(14))] {
            assert!(
                Snapshots::new(10).due(&state(&[4, 9, 12, 14], 20, 9), Seqno(14), asked).is_some()
            );
            assert_eq!(Snapshots::new(10).due(&unread, Seqno(14), asked), None);
        }
    }

    #[test]
    fn due_is_the_first_signature_after_each_multiple() {
        let snapshots = Snapshots::new(10);
        let signatures = [4, 9, 12, 14, 20, 23, 41];
        for (committed, to, due) in [
            (0, 9, None),
            (0, 12, Some(12)),
            (9, 14, Some(12)),
            (12, 14, None),
            (9, 20, Some(20)),
            (14, 23, Some(20)),
            (23, 41, Some(41)),
            (41, 41, None),
        ] {
            let state = state(&signatures, 45, committed);
            assert_eq!(
                snapshots.due(&state, Seqno(to), None),
                due.map(Seqno),
                "{committed} to {to}"
            );
            assert_eq!(Snapshots::new(0).due(&state, Seqno(to), None), None);
        }
        let at: Vec<u64> = signatures
            .windows(2)
            .filter(|pair| snapshots.is_due_at(Seqno(pair[0]), Seqno(pair[1])))
            .map(|pair| pair[1])
            .collect();
        assert_eq!(at, [12, 20, 41], "whoever signs and whoever commits agree");
    }

    #[test]
    fn one_that_is_asked_for_is_due_beside_those() {
        let state = state(&[4, 9, 12, 14], 15, 4);
        for (entries, asked, due) in [
            (0, None, None),
            (0, Some(9), Some(9)),
            (10, Some(9), Some(12)),
            (10, Some(14), Some(14)),
        ] {
            let found = Snapshots::new(entries).due(&state, Seqno(14), asked.map(Seqno));
            assert_eq!(found, due.map(Seqno), "{entries} {asked:?}");
        }
    }

    #[test]
    fn one_is_made_at_a_time() {
        let mut snapshots = Snapshots::new(10);
        snapshots.making = Some(Seqno(12));
        let state = state(&[12, 20], 20, 12);
        assert_eq!(snapshots.due(&state, Seqno(20), None), None);
        snapshots.made(Seqno(12), None);
        assert_eq!(snapshots.due(&state, Seqno(20), None), Some(Seqno(20)));
    }

    #[test]
    fn evidence_is_owed_until_the_ledger_has_it() {
        let (mut snapshots, mut evidence) = (Snapshots::new(10), Evidence::default());
        assert_eq!(snapshots.owed(&evidence), None);
        let made = SnapshotEvidence { seqno: Seqno(12), digest: Digest([1; 32]) };
        snapshots.made(made.seqno, Some(made.digest));
        assert_eq!(snapshots.owed(&evidence), Some(made));
        evidence.append(TxId::new(2, 30), made);
        assert_eq!(snapshots.owed(&evidence), None);
        evidence.rollback(Seqno(29));
        assert_eq!(snapshots.owed(&evidence), Some(made));
        evidence.append(TxId::new(3, 30), made);
        assert_eq!(evidence.commit(Seqno(30)), [(TxId::new(3, 30), made)]);
        assert_eq!(snapshots.owed(&evidence), None);
        evidence.rollback(Seqno(30));
        assert_eq!(snapshots.owed(&evidence), None);
    }
}
