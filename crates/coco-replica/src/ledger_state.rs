//! What readers outside the replica may see of the ledger's position: status of transactions, tree paths, role.

use std::sync::Arc;

use coco_ledger::{LedgerSecrets, MerkleTree};
use coco_planted::Bug;
use coco_types::{Digest, NodeId, Role, Seqno, TxId, TxStatus, View};
use parking_lot::{RwLock, RwLockReadGuard};

/// The positions and the tree of one node's ledger.
#[derive(Debug)]
pub struct LedgerState {
    pub(crate) tree: MerkleTree,
    /// Positions of all signature entries, ascending.
    pub(crate) signatures: Vec<Seqno>,
    /// The first seqno of each view, ascending in both.
    pub(crate) views: Vec<(Seqno, View)>,
    pub(crate) committed: Seqno,
    pub(crate) committed_time_s: u64,
    pub(crate) started_from: Seqno,
    pub(crate) role: Role,
    pub(crate) view: View,
    pub(crate) primary: Option<NodeId>,
    pub(crate) secrets: LedgerSecrets,
}

impl LedgerState {
    pub(crate) fn new(secrets: LedgerSecrets) -> Self {
        Self {
            secrets,
            tree: MerkleTree::new(),
            signatures: Vec::new(),
            views: Vec::new(),
            committed: Seqno::ZERO,
            committed_time_s: 0,
            started_from: Seqno::ZERO,
            role: Role::Backup,
            view: View::GENESIS,
            primary: None,
        }
    }

    /// What begins with a snapshot, of that entry and time.
    pub(crate) fn from_snapshot(secrets: LedgerSecrets, at: Seqno, time_s: u64) -> Self {
        let committed_time_s = time_s;
        Self { committed: at, started_from: at, committed_time_s, ..Self::new(secrets) }
    }

    /// Takes in that everything up to `to` is committed, and that something of it names this time.
    pub(crate) fn commit(&mut self, to: Seqno, time_s: u64) {
        self.committed = to;
        self.committed_time_s = self.committed_time_s.max(time_s);
    }

    /// The last entry, committed or not.
    #[must_use]
    pub fn last(&self) -> TxId {
        self.tx_id(Seqno(self.tree.len().saturating_sub(1)))
    }

    /// The last committed entry; always a signature entry or nothing.
    #[must_use]
    pub fn committed(&self) -> TxId {
        self.tx_id(self.committed)
    }

    /// The latest time that a committed signature or block names, in seconds since 1970; zero, where this node knows none.
    #[must_use]
    pub const fn committed_time_s(&self) -> u64 {
        self.committed_time_s
    }

    /// The snapshot that this node started from; zero, if it read the whole ledger.
    #[must_use]
    pub const fn started_from(&self) -> Seqno {
        self.started_from
    }

    /// This node's role.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.role
    }

    /// The view this node is in; at least that of its last entry.
    #[must_use]
    pub const fn view(&self) -> View {
        self.view
    }

    /// The primary of that view, when known.
    #[must_use]
    pub const fn primary(&self) -> Option<NodeId> {
        self.primary
    }

    /// The view of the entry at `seqno`; view zero for positions before the first entry.
    #[must_use]
    pub fn view_at(&self, seqno: Seqno) -> View {
        let after = self.views.partition_point(|(first, _)| *first <= seqno);
        after.checked_sub(1).and_then(|i| self.views.get(i)).map_or(View(0), |(_, view)| *view)
    }

    /// The transaction id of the entry at `seqno` in this node's ledger.
    #[must_use]
    pub fn tx_id(&self, seqno: Seqno) -> TxId {
        TxId { view: self.view_at(seqno), seqno }
    }

    /// Whether this is the transaction id of an entry of this node's ledger.
    #[must_use]
    pub fn has(&self, id: TxId) -> bool {
        id.seqno <= self.last().seqno && self.tx_id(id.seqno) == id
    }

    /// The first transaction id of each view, ascending.
    #[must_use]
    pub fn view_history(&self) -> Vec<TxId> {
        self.views.iter().map(|(seqno, view)| TxId { view: *view, seqno: *seqno }).collect()
    }

    /// What this node can say of a transaction id.
    ///
    /// A position that is committed belongs to one view for ever, so any other view is invalid there. An entry that is
    /// here but not committed is pending. Anything else may still come, unless its view ended before its position: a
    /// committed entry of a later view at a lower position rules it out.
    #[must_use]
    pub fn status(&self, id: TxId) -> TxStatus {
        if id.seqno == Seqno::ZERO || id.view == View(0) {
            return TxStatus::Invalid;
        }
        if id.seqno <= self.committed {
            return if self.view_at(id.seqno) == id.view {
                TxStatus::Committed
            } else {
                TxStatus::Invalid
            };
        }
        if id.view < self.view_at(self.committed)
            || coco_planted::is(Bug::StatusAfterView) && id.view < self.view
        {
            return TxStatus::Invalid;
        }
        if self.has(id) {
            if coco_planted::is(Bug::StatusBeforeCommit) {
                return TxStatus::Committed;
            }
            return TxStatus::Pending;
        }
        TxStatus::Unknown
    }

    /// The first signature entry after `seqno`, which is the one that covers it. A signature entry is itself covered
    /// by the next one.
    #[must_use]
    pub fn covering_signature(&self, seqno: Seqno) -> Option<Seqno> {
        self.signatures.get(self.signatures.partition_point(|s| *s <= seqno)).copied()
    }

    /// The last signature entry at or below `seqno`.
    #[must_use]
    pub fn last_signature(&self, seqno: Seqno) -> Option<Seqno> {
        self.signatures
            .partition_point(|s| *s <= seqno)
            .checked_sub(1)
            .and_then(|i| self.signatures.get(i))
            .copied()
    }

    /// The secrets of the entries that are here, and of the next. Cheap to clone.
    #[must_use]
    pub const fn secrets(&self) -> &LedgerSecrets {
        &self.secrets
    }

    /// The Merkle tree over all entries.
    #[must_use]
    pub const fn tree(&self) -> &MerkleTree {
        &self.tree
    }

    pub(crate) fn append(&mut self, id: TxId, leaf: Digest, is_signature: bool) {
        assert_eq!(id.seqno.0, self.tree.len(), "entries are appended in order");
        match self.views.last() {
            Some((_, view)) if *view == id.view => {}
            Some((_, view)) => {
                assert!(*view < id.view, "views never decrease along the ledger");
                self.views.push((id.seqno, id.view));
            }
            None => self.views.push((id.seqno, id.view)),
        }
        self.tree.append(leaf);
        if is_signature {
            self.signatures.push(id.seqno);
        }
    }

    pub(crate) fn truncate(&mut self, to: Seqno) {
        assert!(
            to >= self.committed,
            "a committed entry is never rolled back: asked {to}, committed {}",
            self.committed
        );
        if !coco_planted::is(Bug::ForgetTreeRollback) {
            self.tree.truncate(to.0 + 1);
        }
        self.signatures.truncate(self.signatures.partition_point(|s| *s <= to));
        self.views.truncate(self.views.partition_point(|(first, _)| *first <= to));
        if !coco_planted::is(Bug::ForgetPeriodRollback) {
            self.secrets.rollback(to);
        }
    }
}

/// A handle by which many threads read one [`LedgerState`]; only the replica writes it.
#[derive(Clone, Debug)]
pub struct SharedLedgerState(pub(crate) Arc<RwLock<LedgerState>>);

impl SharedLedgerState {
    /// Looks at it. Hold the guard briefly: the replica waits for it.
    pub fn read(&self) -> RwLockReadGuard<'_, LedgerState> {
        self.0.read()
    }
}

#[cfg(test)]
mod tests {
    use coco_ledger::LedgerSecret;

    use super::*;

    fn state() -> LedgerState {
        let mut state = LedgerState::new(LedgerSecret::new(&[7; 32]).into());
        for (view, seqno, signature) in
            [(2, 1, false), (2, 2, true), (3, 3, false), (3, 4, false), (3, 5, true), (3, 6, false)]
        {
            state.append(TxId::new(view, seqno), Digest([7; 32]), signature);
        }
        state.committed = Seqno(5);
        state
    }

    #[test]
    fn status_follows_position_and_view() {
        let state = state();
        for (id, status) in [
            ("2.1", TxStatus::Committed),
            ("3.1", TxStatus::Invalid),
            ("3.5", TxStatus::Committed),
            ("2.5", TxStatus::Invalid),
            ("3.6", TxStatus::Pending),
            ("3.7", TxStatus::Unknown),
            ("4.6", TxStatus::Unknown),
            ("2.6", TxStatus::Invalid),
            ("2.0", TxStatus::Invalid),
            ("0.1", TxStatus::Invalid),
        ] {
            assert_eq!(state.status(id.parse().expect("well-formed")), status, "{id}");
        }
    }

    #[test]
    fn truncation_forgets_views_and_signatures_together() {
        let mut state = state();
        state.committed = Seqno(2);
        state.truncate(Seqno(2));
        assert_eq!(state.last(), TxId::new(2, 2));
        assert_eq!(state.covering_signature(Seqno(2)), None);
        assert_eq!(state.covering_signature(Seqno(1)), Some(Seqno(2)));
        assert_eq!(state.view_history(), [TxId::new(2, 1)]);
    }

    #[test]
    #[should_panic(expected = "never rolled back")]
    fn committed_entries_are_never_rolled_back() {
        state().truncate(Seqno(4));
    }
}
