//! What must hold always, checked after every step of every node. A check that fails panics; the run's seed repeats it.

use std::collections::BTreeMap;

use bytes::Bytes;
use coco_consensus::Configuration;
use coco_ledger::{EntryView, SnapshotEvidence, SnapshotName};
use coco_types::{NodeId, Role, Seqno, TxId, TxStatus, View};

mod entries;
mod maxima;
mod snapshots;
mod states;
mod votes;

pub use self::states::{Image, image};
use self::{
    entries::{Entries, Room},
    maxima::Maxima,
    snapshots::Snapshots,
    states::States,
    votes::Votes,
};
use crate::{
    Plan,
    machine::{Machine, index, tx_id},
    private::Private,
};

/// Remembers what was promised.
#[derive(Debug)]
pub struct Check {
    private: Private,
    primaries: BTreeMap<View, usize>,
    /// What the network has committed.
    pub committed: Vec<Bytes>,
    /// Every entry that any node has ever handed out.
    entries: Entries,
    votes: Votes,
    snapshots: Snapshots,
    states: States,
    /// What a primary may have uncommitted when it executes a batch.
    room: Room,
    maxima: Maxima,
    /// What clients were told, and what was said to be final of it.
    told: BTreeMap<TxId, Option<TxStatus>>,
    /// Of each node in its present life: up to where its committed entries were compared.
    compared: Vec<usize>,
    /// What nodes had on their disks when they were last alive.
    left: BTreeMap<NodeId, Vec<Bytes>>,
    /// Of each node in its present life: the configuration that it counted by after its last step.
    configurations: Vec<Option<Configuration>>,
}

impl Check {
    /// Nothing was promised but the first entries.
    #[must_use]
    pub fn new(plan: &Plan, first: &[Bytes], private: Private) -> Self {
        Self {
            private,
            primaries: BTreeMap::new(),
            committed: first.to_vec(),
            entries: Entries::default(),
            votes: Votes::default(),
            snapshots: Snapshots::default(),
            states: States::default(),
            room: Room::of(&plan.settings),
            maxima: Maxima::new(plan),
            told: BTreeMap::new(),
            compared: vec![0; plan.nodes],
            left: BTreeMap::new(),
            configurations: vec![None; plan.nodes],
        }
    }

    /// There is one more machine.
    pub fn add(&mut self) {
        self.compared.push(0);
        self.configurations.push(None);
    }

    /// A node has lost its memory; its disk keeps these entries, if nobody touches them. What it had when it was last alive
    /// counts: a start that does not come to its end may have found a disk that was set back.
    pub fn died(&mut self, node: NodeId, entries: &[Bytes]) {
        self.left.entry(node).or_insert_with(|| entries.to_vec());
    }

    /// A node begins a new life.
    pub fn started(&mut self, node: usize, id: NodeId) {
        self.left.remove(&id);
        self.compared[node] = 0;
        self.configurations[node] = None;
    }

    /// A node hands out an entry, after these.
    ///
    /// # Panics
    /// When it is not what an entry must be.
    pub fn sealed(&mut self, before: &[Bytes], entry: &Bytes) {
        self.entries.sealed(before, entry, &self.private);
    }

    /// A node found these on its disk.
    ///
    /// # Panics
    /// When one of them was never written.
    pub fn knows(&self, entries: &[Bytes]) {
        for (at, entry) in entries.iter().enumerate() {
            let id = tx_id(entry);
            let written = self.committed.get(at).filter(|first| tx_id(first) == id);
            let written = written.or_else(|| self.entries.get(id));
            let written = written.unwrap_or_else(|| panic!("nobody ever wrote {id}"));
            let differs = written.iter().zip(entry).position(|(written, found)| written != found);
            assert!(written == entry, "{id} was never written like this, from {differs:?} on");
        }
    }

    /// A node has written a snapshot down, which its host sees.
    ///
    /// # Panics
    /// When another node wrote down another one of the same seqno, or something private is in the clear.
    pub fn made_snapshot(&mut self, node: usize, evidence: SnapshotEvidence, bytes: &[u8]) {
        self.shown(bytes);
        self.snapshots.made(node, evidence, bytes);
    }

    /// A node holds this for a complete snapshot.
    ///
    /// # Panics
    /// When it is not what nodes made.
    pub fn believes_snapshot(&mut self, node: usize, name: SnapshotName, bytes: &[u8]) {
        self.shown(bytes);
        self.snapshots.believed(node, name, bytes);
    }

    /// Seqnos of which there was a snapshot.
    #[must_use]
    pub fn snapshots(&self) -> usize {
        self.snapshots.count()
    }

    /// How often a node's state was compared with that of another at the same seqno.
    #[must_use]
    pub fn states(&self) -> usize {
        self.states.compared()
    }

    /// A host sees these bytes, on the network or on a disk.
    ///
    /// # Panics
    /// When something private is among them.
    pub fn shown(&self, bytes: &[u8]) {
        self.private.shown(bytes);
    }

    /// A node says this of itself: its log may have it, or whoever asked.
    ///
    /// # Panics
    /// When something private is in it.
    pub fn written(&self, text: &str) {
        self.private.shown(text.as_bytes());
    }

    /// A node says something to another.
    ///
    /// # Panics
    /// When it said the opposite before.
    pub fn said(&mut self, from: NodeId, to: NodeId, message: &Bytes) {
        self.maxima.sent(message);
        self.votes.hear(from, to, message);
    }

    /// A client hears that its transaction stands in this entry.
    pub fn told(&mut self, id: TxId) {
        self.told.entry(id).or_default();
    }

    /// What nodes said to be final of the entries that clients were told of.
    pub fn verdicts(&self) -> impl Iterator<Item = (TxId, Option<TxStatus>)> {
        self.told.iter().map(|(id, status)| (*id, *status))
    }

    /// Looks at a node after a step.
    ///
    /// # Panics
    /// When something does not hold.
    pub fn look(&mut self, machines: &[Machine], node: usize) {
        self.look_at_ledger(machines, node);
        if let Some(replica) = &machines[node].replica {
            self.maxima.look(node, replica, &machines[node].ledger);
        }
    }

    fn look_at_ledger(&mut self, machines: &[Machine], node: usize) {
        let this = &machines[node];
        let Some(replica) = &this.replica else { return };
        let state = replica.state();
        let state = state.read();
        if state.role() == Role::Primary {
            let first = *self.primaries.entry(state.view()).or_insert(node);
            assert_eq!(first, node, "two primaries in view {}", state.view());
        }
        let last = this.ledger.last().map(|entry| tx_id(entry));
        assert_eq!(Some(state.last()), last, "n{node} hands out all that it has");
        assert_eq!(state.tree().len(), state.last().seqno.0 + 1, "the tree has every entry");
        assert_eq!(replica.reader().version(), state.last().seqno, "the store has every entry");

        // What this step has committed was counted by what was in effect before it, or by what it put into effect.
        let now = replica.configuration();
        let before = self.configurations[node].replace(now.clone());
        let counted: Vec<Configuration> = before.into_iter().chain([now.clone()]).collect();
        let committed = index(state.committed().seqno);
        if state.role() == Role::Primary {
            self.room.check(&this.ledger, state.view(), committed);
        }
        assert!(committed >= self.compared[node], "n{node} takes back what is committed");
        if committed == self.compared[node] {
            return;
        }
        for at in self.compared[node]..committed {
            let entry = &this.ledger[at];
            match self.committed.get(at) {
                Some(chosen) => {
                    assert!(chosen == entry, "n{node} has another entry committed at {}", at + 1);
                }
                None => {
                    self.commit(machines, &counted, entry);
                    if state.role() == Role::Primary {
                        self.check_view_is_open(machines, &counted, this);
                    }
                }
            }
        }
        let before = Seqno(self.compared[node] as u64);
        self.states.committed(node, &replica.reader(), before, state.committed().seqno);
        self.maxima.committed(node, &replica.reader(), state.committed().seqno);
        self.compared[node] = committed;
        let is_signature =
            EntryView::parse(&this.ledger[committed - 1]).is_ok_and(|entry| entry.is_signature());
        assert!(is_signature, "n{node} commits what no signature covers");
        for (id, verdict) in &mut self.told {
            let status = state.status(*id);
            if matches!(status, TxStatus::Committed | TxStatus::Invalid) {
                let first = *verdict.get_or_insert(status);
                assert_eq!(first, status, "n{node} changes a verdict on {id}");
            }
        }
    }

    fn commit(&mut self, machines: &[Machine], counted: &[Configuration], entry: &Bytes) {
        let id = tx_id(entry);
        let majority = self.majority_has(machines, counted, self.committed.len(), entry);
        assert!(majority, "{id} is committed, on the disks of no majority");
        self.committed.push(entry.clone());
    }

    /// What is committed by counting disks is of the primary's own view, or stands before such an entry: an older entry
    /// may still be voided by a primary that never saw it, however many disks have it (Ongaro and Ousterhout 2014,
    /// section 5.4.2).
    fn check_view_is_open(
        &self,
        machines: &[Machine],
        counted: &[Configuration],
        primary: &Machine,
    ) {
        let Some(replica) = &primary.replica else { return };
        let view = replica.state().read().view();
        let first = entries::opening_of(primary, view);
        let opening = primary.ledger.get(first);
        let is_open =
            opening.is_some_and(|entry| self.majority_has(machines, counted, first, entry));
        assert!(is_open, "a primary commits in view {view}, of which no quorum has an entry");
    }

    /// Whether an entry is on the disks of a majority of one of these configurations. Of a node that has lost
    /// its memory counts what it left, whatever its host has done to the disk since.
    fn majority_has(
        &self,
        machines: &[Machine],
        counted: &[Configuration],
        at: usize,
        entry: &Bytes,
    ) -> bool {
        let has = |id: NodeId| {
            let alive =
                machines.iter().find(|machine| machine.id == id && machine.replica.is_some());
            let entries = match alive {
                Some(machine) => &machine.disk.entries,
                None => match self.left.get(&id) {
                    Some(entries) => entries,
                    None => return false,
                },
            };
            entries.get(at) == Some(entry)
        };
        counted.iter().any(|configuration| configuration.majority(has))
    }

    /// A disk forgets nothing that is committed.
    ///
    /// # Panics
    /// When it would.
    pub fn truncates(&self, entries: &[Bytes], to: usize) {
        let (lost, kept) = (entries.get(to), self.committed.get(to));
        let is_committed = lost.is_some() && lost == kept;
        assert!(!is_committed, "a committed entry after {to} is cut from a disk");
    }
}
