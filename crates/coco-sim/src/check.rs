//! What must hold always, checked after every step of every node. A check that fails panics; the run's seed repeats it.

use std::collections::BTreeMap;

use bytes::Bytes;
use coco_consensus::Configuration;
use coco_ledger::EntryView;
use coco_types::{NodeId, Role, TxId, TxStatus, View};

use crate::{
    ethereum::Canary,
    machine::{Machine, index, tx_id},
};

/// Remembers what was promised.
#[derive(Debug)]
pub struct Check {
    /// What must not be seen outside of a node.
    canary: Canary,
    primaries: BTreeMap<View, usize>,
    /// What the network has committed.
    pub committed: Vec<Bytes>,
    /// Every entry that any node has ever handed out.
    sealed: BTreeMap<TxId, Bytes>,
    /// What clients were told, and what was said to be final of it.
    told: BTreeMap<TxId, Option<TxStatus>>,
    /// Of each node in its present life: up to where its committed entries were compared.
    compared: Vec<usize>,
    /// What nodes had on their disks when they were last alive.
    left: BTreeMap<NodeId, Vec<Bytes>>,
    /// Every configuration that was in effect anywhere.
    configurations: Vec<Configuration>,
}

impl Check {
    /// Nothing was promised but the first entries.
    #[must_use]
    pub fn new(nodes: usize, first: &[Bytes], canary: Canary) -> Self {
        Self {
            canary,
            primaries: BTreeMap::new(),
            committed: first.to_vec(),
            sealed: BTreeMap::new(),
            told: BTreeMap::new(),
            compared: vec![0; nodes],
            left: BTreeMap::new(),
            configurations: Vec::new(),
        }
    }

    /// There is one more machine.
    pub fn add(&mut self) {
        self.compared.push(0);
    }

    /// A node has lost its memory; its disk keeps these entries, if nobody touches them.
    pub fn died(&mut self, node: NodeId, entries: &[Bytes]) {
        self.left.insert(node, entries.to_vec());
    }

    /// A node begins a new life.
    pub fn started(&mut self, node: usize) {
        self.compared[node] = 0;
    }

    /// A transaction id names one entry for ever: clients hold it, and it is the nonce of the entry's seal.
    ///
    /// # Panics
    /// When two entries have one name.
    pub fn sealed(&mut self, entry: &Bytes) {
        let id = tx_id(entry);
        let first = self.sealed.entry(id).or_insert_with(|| entry.clone());
        assert!(first == entry, "two entries are sealed as {id}");
    }

    /// A node found these on its disk.
    ///
    /// # Panics
    /// When one of them was never written.
    pub fn knows(&self, entries: &[Bytes]) {
        for (at, entry) in entries.iter().enumerate() {
            let id = tx_id(entry);
            let written = self.committed.get(at).filter(|first| tx_id(first) == id);
            let written = written.or_else(|| self.sealed.get(&id));
            let written = written.unwrap_or_else(|| panic!("nobody ever wrote {id}"));
            let differs = written.iter().zip(entry).position(|(written, found)| written != found);
            assert!(written == entry, "{id} was never written like this, from {differs:?} on");
        }
    }

    /// A host sees these bytes, on the network or on a disk.
    ///
    /// # Panics
    /// When something private is among them.
    pub fn shown(&self, bytes: &[u8]) {
        let leak = bytes.windows(self.canary.len()).position(|part| part == self.canary);
        assert_eq!(leak, None, "private bytes leave a node");
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

        if !self.configurations.contains(replica.configuration()) {
            self.configurations.push(replica.configuration().clone());
        }
        let committed = index(state.committed().seqno);
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
                None => self.commit(machines, entry),
            }
        }
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

    fn commit(&mut self, machines: &[Machine], entry: &Bytes) {
        let at = self.committed.len();
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
        let id = tx_id(entry);
        let majority = self.configurations.iter().any(|configuration| configuration.majority(has));
        assert!(majority, "{id} is committed, on the disks of no majority");
        self.committed.push(entry.clone());
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
