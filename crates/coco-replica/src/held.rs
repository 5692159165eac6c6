//! What a replica holds at the moment, for whoever watches that its maxima hold.

use coco_consensus::Status;

use crate::Replica;

/// What a replica holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// What consensus holds: at most what its `Limits` say.
    pub consensus: Status,
    /// Members' requests that wait for their turn: at most [`GOVERN_WAITING_MAX`](crate::GOVERN_WAITING_MAX).
    pub govern_waiting: usize,
}

impl Replica {
    /// What it holds now.
    #[must_use]
    pub fn held(&self) -> Held {
        Held { consensus: self.engine.status(), govern_waiting: self.governing.waiting() }
    }
}
