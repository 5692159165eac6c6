//! How far the other nodes are, as a primary knows it: for whoever asks what becomes of a node.

use std::collections::BTreeMap;

use coco_consensus::Progress;
use coco_types::{NodeId, Seqno};
use parking_lot::Mutex;

/// What is known of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ack {
    pub(crate) node: NodeId,
    /// It has everything up to here on disk.
    pub(crate) seqno: Seqno,
    /// Milliseconds since it was heard of, or since this node is primary.
    pub(crate) heard_ms_ago: u64,
}

/// What was known at the last tick; of nobody, on a node that is not primary.
#[derive(Debug, Default)]
pub(crate) struct Acks(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    all: Vec<Ack>,
    /// When each node was heard of, in milliseconds on a clock that only runs.
    heard: BTreeMap<NodeId, u64>,
}

impl Acks {
    /// All other nodes.
    pub(crate) fn all(&self) -> Vec<Ack> {
        self.0.lock().all.clone()
    }

    /// Notes that a message of a node came.
    pub(crate) fn heard(&self, node: NodeId, now_ms: u64) {
        self.0.lock().heard.insert(node, now_ms);
    }

    /// Takes in what consensus knows.
    pub(crate) fn look(&self, me: NodeId, progress: &[Progress], now_ms: u64) {
        let mut known = self.0.lock();
        let Known { all, heard } = &mut *known;
        heard.retain(|node, _| progress.iter().any(|one| one.node == *node));
        let others = progress.iter().filter(|one| one.node != me);
        *all = others
            .map(|one| {
                let heard = *heard.entry(one.node).or_insert(now_ms);
                let heard_ms_ago = now_ms.saturating_sub(heard);
                Ack { node: one.node, seqno: one.matched, heard_ms_ago }
            })
            .collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_primary_knows_how_far_the_others_are_and_a_backup_nothing() {
        let [me, other, silent] = [1, 2, 3].map(|byte| NodeId([byte; 32]));
        let of = |node, matched| Progress {
            node,
            matched: Seqno(matched),
            active: true,
            silent: false,
            inflight: 0,
        };
        let progress = [of(me, 9), of(other, 8), of(silent, 0)];
        let acks = Acks::default();
        acks.heard(other, 5);
        acks.look(me, &progress, 10);
        acks.heard(other, 25);
        acks.look(me, &progress, 30);
        let ack = |node, seqno, heard_ms_ago| Ack { node, seqno: Seqno(seqno), heard_ms_ago };
        assert_eq!(acks.all(), [ack(other, 8, 5), ack(silent, 0, 20)]);
        acks.look(me, &[], 40);
        assert_eq!((acks.all().len(), acks.0.lock().heard.len()), (0, 0));
    }
}
