//! Votes on the network: a node gives one in a view, whatever happens to it in between.

use std::collections::BTreeMap;

use bytes::Bytes;
use coco_consensus::{Said, What};
use coco_types::{NodeId, View};

/// Longest message that can be a vote or ask for one.
const VOTE_BYTES_MAX: usize = 64;

/// For whom each node has voted in each view, as everybody could hear.
#[derive(Debug, Default)]
pub(super) struct Votes(BTreeMap<(NodeId, View), NodeId>);

impl Votes {
    /// A node says something to another. Asking for votes is a vote for oneself.
    pub(super) fn hear(&mut self, from: NodeId, to: NodeId, message: &Bytes) {
        if message.len() > VOTE_BYTES_MAX {
            return;
        }
        let Ok(Said { view, what }) = Said::read(message) else { return };
        let choice = match what {
            What::Vote { .. } => from,
            What::Voted { granted: true } => to,
            What::Voted { granted: false }
            | What::Append { .. }
            | What::Appended { .. }
            | What::Refused { .. }
            | What::PreVote { .. }
            | What::PreVoted { .. }
            | What::Heartbeat { .. }
            | What::HeartbeatSeen
            | What::TakeOver => return,
        };
        let first = *self.0.entry((from, view)).or_insert(choice);
        assert!(first == choice, "{from} votes in view {view} for {first} and for {choice}");
    }
}
