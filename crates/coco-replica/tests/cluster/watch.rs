//! What must hold always, checked after every step of every node.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use coco_adapter::Ticket;
use coco_ledger::EntryView;
use coco_replica::{Reply, Settings};
use coco_types::{Role, TxId, TxStatus, View};

use crate::{
    bank,
    network::{Node, index, tx_id},
};

/// Remembers what was promised.
pub(crate) struct Watch {
    primaries: BTreeMap<View, usize>,
    /// What the network has committed.
    pub(crate) committed: Vec<Bytes>,
    /// Entries that callers were told of.
    pub(crate) told: BTreeSet<TxId>,
    /// What was said to be final.
    verdicts: BTreeMap<TxId, TxStatus>,
    answered: BTreeSet<Ticket>,
    /// Every entry that any node has ever handed out.
    sealed: BTreeMap<TxId, Bytes>,
    /// A test forges entries: theirs are not compared until a node refuses them.
    pub(crate) has_forgery: bool,
    /// Of each node since it started: up to where its committed entries were compared, and how many times.
    compared: Vec<usize>,
}

impl Watch {
    pub(crate) fn new(nodes: usize, genesis: &[Bytes]) -> Self {
        Self {
            primaries: BTreeMap::new(),
            committed: genesis.to_vec(),
            told: BTreeSet::new(),
            verdicts: BTreeMap::new(),
            answered: BTreeSet::new(),
            sealed: BTreeMap::new(),
            has_forgery: false,
            compared: vec![0; nodes],
        }
    }

    pub(crate) fn started(&mut self, node: usize) {
        self.compared[node] = 0;
    }

    /// A transaction id names one entry for ever: callers hold it, and it is the nonce of the entry's seal. What was
    /// handed out may have been seen, whether a disk ever had it or not.
    pub(crate) fn check_sealed(&mut self, entry: &Bytes) {
        let id = tx_id(entry);
        let first = self.sealed.entry(id).or_insert_with(|| entry.clone());
        assert!(first == entry || self.has_forgery, "two entries are sealed as {id}");
    }

    /// A disk forgets nothing that is committed.
    pub(crate) fn check_truncate(&self, entries: &[Bytes], to: usize) {
        let (lost, kept) = (entries.get(to), self.committed.get(to));
        assert!(
            lost.is_none() || kept.is_none() || lost != kept,
            "a committed entry after {to} is cut from a disk"
        );
    }

    pub(crate) fn check(&mut self, nodes: &[Node], node: usize, replies: &[(Ticket, Reply)]) {
        let this = &nodes[node];
        let Some(replica) = &this.replica else { return };
        let state = replica.state();
        let state = state.read();

        if state.role() == Role::Primary {
            let first = *self.primaries.entry(state.view()).or_insert(node);
            assert_eq!(first, node, "two primaries in view {}", state.view());
        }
        assert_eq!(
            state.last().seqno.0,
            this.ledger.len() as u64,
            "n{node} hands out all that it has"
        );
        assert_eq!(
            state.last(),
            this.ledger.last().map(|entry| tx_id(entry)).expect("there is a genesis")
        );
        assert_eq!(state.tree().len(), state.last().seqno.0 + 1);
        assert_eq!(replica.reader().version(), state.last().seqno);
        assert_eq!(bank::total(&replica.reader()), bank::TOTAL, "n{node} makes or loses money");

        let committed = index(state.committed().seqno);
        assert!(committed >= self.compared[node], "n{node} takes back what is committed");
        for at in self.compared[node]..committed {
            let entry = &this.ledger[at];
            match self.committed.get(at) {
                Some(chosen) => {
                    assert!(
                        chosen == entry || self.has_forgery,
                        "n{node} has another entry committed at {}",
                        at + 1
                    );
                }
                None => self.commit(nodes, entry),
            }
        }
        self.compared[node] = committed;
        let is_signature =
            EntryView::parse(&this.ledger[committed - 1]).is_ok_and(|entry| entry.is_signature());
        assert!(is_signature, "n{node} commits what no signature covers");

        for (ticket, reply) in replies {
            assert!(self.answered.insert(*ticket), "{ticket:?} is answered twice");
            if let Reply::Executed(id) = reply {
                self.told.insert(*id);
            }
        }
        for id in &self.told {
            let status = state.status(*id);
            if matches!(status, TxStatus::Committed | TxStatus::Invalid) {
                let first = *self.verdicts.entry(*id).or_insert(status);
                assert_eq!(first, status, "n{node} changes a verdict on {id}");
            }
        }
    }

    fn commit(&mut self, nodes: &[Node], entry: &Bytes) {
        let at = self.committed.len();
        let has = |node: &Node| node.disk.entries.get(at) == Some(entry);
        let durable = nodes.iter().filter(|node| has(node)).count();
        // Whom a primary counts, since members may have removed some.
        let configurations = nodes.iter().filter_map(|node| {
            let replica = node.replica.as_ref()?;
            let state = replica.state();
            let state = state.read();
            (state.role() == Role::Primary).then(|| (state.view(), replica.configuration()))
        });
        let newest = configurations.max_by_key(|(view, _)| *view);
        let is_durable = match newest {
            Some((_, now)) => {
                now.majority(|id| nodes.iter().any(|node| node.id == id && has(node)))
            }
            None => durable > nodes.len() / 2,
        };
        assert!(
            is_durable || self.has_forgery,
            "{} is committed, on {durable} disks",
            tx_id(entry)
        );
        self.committed.push(entry.clone());
    }

    pub(crate) fn verdict(&self, id: TxId) -> Option<TxStatus> {
        self.verdicts.get(&id).copied()
    }
}

/// Every chunk ends with the first signature entry after so many bytes, or with one that is due for a snapshot, and
/// nowhere else. Returns how many end.
pub(crate) fn check_chunks(ledger: &[Bytes], first_checked: usize, settings: &Settings) -> usize {
    let Settings { chunk_bytes, snapshot_entries, .. } = *settings;
    let (mut bytes, mut chunks, mut signed) = (0, 0, 0);
    for (at, entry) in ledger.iter().enumerate() {
        let view = EntryView::parse(entry).expect("ledgers hold entries");
        let ends = view.flags().contains(coco_ledger::EntryFlags::CHUNK_AFTER);
        let seqno = at as u64 + 1;
        let is_snapshot =
            snapshot_entries > 0 && (signed + 1..=seqno).any(|n| n % snapshot_entries == 0);
        let is_due =
            at >= first_checked && view.is_signature() && (bytes >= chunk_bytes || is_snapshot);
        if view.is_signature() {
            signed = seqno;
        }
        assert_eq!(ends, is_due, "chunk end at {} after {bytes} bytes", view.tx_id());
        bytes = if ends { 0 } else { bytes + entry.len() as u64 };
        chunks += usize::from(ends);
    }
    chunks
}
