//! Rare states that runs should reach. A simulator that never reaches them proves less than it seems to.

use std::collections::BTreeMap;

/// What was reached, and how many times.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks(BTreeMap<&'static str, u64>);

/// States that a thousand seeds must reach, each of them.
pub const REQUIRED: [&str; 38] = [
    "a client was told of an entry that did not survive",
    "a client was told of an earlier entry",
    "a node rolled back what it had executed or taken",
    "a node started again from its disk",
    "a node lost what its disk had not yet",
    "a crash left a part of a group of writes",
    "a primary stepped down",
    "a chunk ended",
    "entries were fetched from disk for a node that lags",
    "a message was lost",
    "a message arrived twice",
    "a link was cut one way",
    "a node stood still longer than an election takes",
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
];

impl Marks {
    /// Notes that `state` was reached.
    pub fn reach(&mut self, state: &'static str) {
        *self.0.entry(state).or_default() += 1;
    }

    /// Adds what another run reached.
    pub fn merge(&mut self, other: &Self) {
        for (state, times) in &other.0 {
            *self.0.entry(state).or_default() += times;
        }
    }

    /// Required states that were not reached.
    #[must_use]
    pub fn missing(&self) -> Vec<&'static str> {
        REQUIRED.into_iter().filter(|state| !self.0.contains_key(state)).collect()
    }

    /// Every state that was reached, with how many times.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.0.iter().map(|(state, times)| (*state, *times))
    }
}
