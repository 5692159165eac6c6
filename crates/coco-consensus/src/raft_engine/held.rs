//! What may not be said before the disk has something.

use bytes::Bytes;
use coco_types::NodeId;

use super::codec;

/// What one ready of the `raft` crate left to be said after the disk has it, and what came after that and only has to keep
/// its place.
pub(super) struct Held {
    pub(super) number: u64,
    /// It brought something that has to reach the disk.
    pub(super) to_disk: bool,
    pub(super) messages: Vec<(NodeId, Bytes)>,
}

impl Held {
    /// Adds a message that came later. While a disk hangs, every heartbeat asks for an answer, so the newest answer takes the
    /// place of those before, and nothing is said twice. What is too much then is lost, as on any way between nodes.
    pub(super) fn join(&mut self, to: NodeId, message: Bytes) {
        self.messages.retain(|(other, earlier)| {
            *other != to || *earlier != message && !codec::stands_for(&message, earlier)
        });
        if self.messages.len() < MESSAGES_MAX {
            self.messages.push((to, message));
        }
    }
}

/// Messages that join one ready: for each node of the largest configuration a few kinds of answers.
pub(super) const MESSAGES_MAX: usize = 8 * coco_types::limits::NODES_MAX;
