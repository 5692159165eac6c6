//! Rare states that runs should reach. A simulator that never reaches them proves less than it seems to.

use std::collections::BTreeMap;

/// What was reached, and how many times.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks(BTreeMap<&'static str, u64>);

/// States that two thousand seeds must reach, each of them, half of them from where leases begin. Rarer ones have seeds of their own in
/// the tests.
pub const REQUIRED: [&str; 127] = [
    "a client was told of an entry that did not survive",
    "a client was told of an earlier entry",
    "a client sent a transfer before the one that it follows",
    "a client read an earlier state",
    "a client that had heard nothing was told of its first entry",
    "a node rolled back what it had executed or taken",
    "what was rolled back had never reached a disk",
    "what was rolled back had been on some disks, on no quorum's",
    "a node started again from its disk",
    "the network wrote down that a node went on from its disk",
    "a node lost what its disk had not yet",
    "a crash left a part of a group of writes",
    "a batch survived a crash without its signature",
    "a signature entry was the last to survive a crash",
    "the power went again before a node was up for long",
    "less than a quorum was up",
    "all nodes were down at once",
    "a primary stepped down",
    "two nodes took themselves for the primary",
    "a primary's pool was full",
    "a primary of an older view executed a batch",
    "a primary with a clock behind executed a batch",
    "a vote was refused",
    "a node was told that it would not get a vote",
    "a backup could not append",
    "an entry was committed before its primary's disk had it",
    "a node learned in a view that an earlier one's entries are committed",
    "a chunk ended",
    "entries were fetched from disk for a node that lags",
    "a message was lost",
    "a message arrived twice",
    "everything on the wire was lost for a moment",
    "damage on the wire broke a channel",
    "what a node said took longer than an election",
    "a link was cut one way",
    "two halves saw one node and not one another",
    "links stopped one by one and came back in another order",
    "a partition came and went several times",
    "a node stood still longer than an election takes",
    "a primary became slow",
    "a slow node took no more messages in",
    "a sync failed and its node stopped",
    "a process ended and its disk stayed",
    "a crash left a hole before what it left",
    "a torn tail was cut at a start",
    "a new file's name was lost",
    "a rename was lost",
    "the power went in the middle of a write",
    "the power went during a start",
    "a disk was full and its node stopped",
    "a disk died and its node stopped",
    "all of a disk was lost",
    "bits of a disk were flipped",
    "a write went astray",
    "a node refused a damaged file",
    "a wall clock went backwards",
    "a wall clock stood still",
    "a wall clock ran at another pace",
    "the primary was asked to hand over",
    "a node started again as another",
    "a node was admitted to its seat",
    "a node listened before it voted",
    "two majorities were needed",
    "a change of the configuration ended",
    "a disk was set back",
    "a host started a copy of a node",
    "a node asked for a seat whose node answers",
    "a node learned that its seat is another's",
    "a node was told to take over",
    "a snapshot was completed",
    "a snapshot waited until its node's disk had its evidence",
    "a snapshot was lost because its node went down before its evidence came",
    "a snapshot could not be written",
    "a primary gave the evidence that an earlier view owed",
    "a node started from a snapshot",
    "a host tampered with a snapshot",
    "a node started from an older snapshot because a newer one was damaged",
    "a node found no good snapshot and read its whole ledger",
    "chunks were archived",
    "chunks came back from the archive",
    "a node started without the chunks that are archived",
    "an archived entry was asked for",
    "a primary could not give what a node needed",
    "a node was left behind",
    "a node came back with an empty disk",
    "a node copied a snapshot and the ledger after it",
    "a node copied a ledger from its beginning",
    "the power went in the middle of a copy",
    "members accepted a proposal",
    "what a member was told did not survive",
    "a member sent its proposal again that had been taken",
    "a member voted twice",
    "members gave the ledger another secret",
    "the ledger has another secret since a node left",
    "a node started from a snapshot of a later period",
    "a node of a new operator introduced itself",
    "a node of a new operator was trusted",
    "a node of a new operator votes",
    "a node listens for good",
    "nodes made room for others in one step",
    "two nodes of new operators got their votes at once",
    "members removed a node",
    "members removed the primary",
    "a node that members removed left",
    "a node was replaced by one of a new operator",
    "a sync failed for good and its node stopped",
    "a folder could not be synced and its node stopped",
    "a host put an older version of a chunk in its place",
    "a host put another network's chunk in a chunk's place",
    "a host exchanged two chunks",
    "a host swapped a closed chunk and the node refused it",
    "a host swapped a closed chunk and the node started without it",
    "a node started with another's chunk, the same",
    "a host removed a snapshot",
    "a host exchanged two snapshots",
    "a host put an older snapshot under a newer one's name",
    "a host put another network's snapshot in a snapshot's place",
    "a node started from another's snapshot",
    "a network that had lost its majority stood still",
    "a host showed what its node had shown before",
    "a host showed what another node runs",
    "evidence of another node or channel was not believed",
    "a host withheld what its node runs",
    "a lease ended and its node was quarantined",
    "a node learned that its lease had ended",
    "a node was let in again after its lease had ended",
    "a node votes again after its lease had ended",
];

impl Marks {
    /// Notes that `state` was reached.
    pub fn reach(&mut self, state: &'static str) {
        *self.0.entry(state).or_default() += 1;
    }

    /// Notes that `state` was reached, if it was; whether it was.
    pub fn reach_if(&mut self, is_reached: bool, state: &'static str) -> bool {
        if is_reached {
            self.reach(state);
        }
        is_reached
    }

    /// Adds what another run reached.
    pub fn merge(&mut self, other: &Self) {
        for (state, times) in &other.0 {
            *self.0.entry(state).or_default() += times;
        }
    }

    /// Those of these states that were not reached.
    #[must_use]
    pub fn missing(&self, required: &[&'static str]) -> Vec<&'static str> {
        required.iter().copied().filter(|state| !self.0.contains_key(state)).collect()
    }

    /// Every state that was reached, with how many times.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.0.iter().map(|(state, times)| (*state, *times))
    }
}
