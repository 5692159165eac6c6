//! What peers have sent and the replica has not taken yet: counted, in all and for each peer.

use std::collections::BTreeMap;

use coco_types::NodeId;

/// What may wait in all; more is dropped, which consensus bears.
const WAITING_MAX: Waiting = Waiting { messages: 8192, bytes: 256 << 20 };
/// What may wait of one peer, so that none fills the inbox alone: twice the bytes that a primary has on its way to a
/// backup.
const WAITING_PER_PEER_MAX: Waiting = Waiting { messages: 2048, bytes: 64 << 20 };

/// Messages, and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Waiting {
    messages: usize,
    bytes: usize,
}

impl Waiting {
    /// With one more of so many bytes, if that is no more than `max`.
    fn with(self, bytes: usize, max: Self) -> Option<Self> {
        let messages = self.messages.checked_add(1).filter(|messages| *messages <= max.messages)?;
        let bytes = self.bytes.checked_add(bytes).filter(|bytes| *bytes <= max.bytes)?;
        Some(Self { messages, bytes })
    }

    const fn without(self, bytes: usize) -> Self {
        Self { messages: self.messages - 1, bytes: self.bytes - bytes }
    }
}

/// How much waits.
#[derive(Debug, Default)]
pub(crate) struct Messages {
    all: Waiting,
    /// Of those of whom something waits.
    by_peer: BTreeMap<NodeId, Waiting>,
}

impl Messages {
    /// Counts a message, if there is room for it; whether there was.
    pub(crate) fn put(&mut self, from: NodeId, bytes: usize) -> bool {
        let of_peer = self.by_peer.get(&from).copied().unwrap_or_default();
        let all = self.all.with(bytes, WAITING_MAX);
        let Some((all, of_peer)) = all.zip(of_peer.with(bytes, WAITING_PER_PEER_MAX)) else {
            return false;
        };
        self.all = all;
        self.by_peer.insert(from, of_peer);
        true
    }

    /// One that was counted is taken.
    ///
    /// # Panics
    /// When none of the kind was.
    pub(crate) fn taken(&mut self, from: NodeId, bytes: usize) {
        let of_peer = self.by_peer.get_mut(&from).expect("it was counted");
        *of_peer = of_peer.without(bytes);
        if of_peer.messages == 0 {
            self.by_peer.remove(&from);
        }
        self.all = self.all.without(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn peer(number: u8) -> NodeId {
        NodeId([number; 32])
    }

    /// How many messages of one size are taken of a peer, of at most `tries`.
    fn taken(messages: &mut Messages, from: NodeId, bytes: usize, tries: usize) -> usize {
        (0..tries).take_while(|_| messages.put(from, bytes)).count()
    }

    #[test]
    fn one_peer_has_its_share_and_all_have_theirs() {
        let Waiting { messages: each, bytes: each_bytes } = WAITING_PER_PEER_MAX;
        let tries = 2 * WAITING_MAX.messages;
        for (size, share, all) in [
            (0, each, WAITING_MAX.messages),
            (each_bytes / 4, 4, WAITING_MAX.bytes / (each_bytes / 4)),
            (each_bytes, 1, WAITING_MAX.bytes / each_bytes),
        ] {
            let mut messages = Messages::default();
            assert_eq!(taken(&mut messages, peer(0), size, tries), share, "{size}");
            assert_eq!(taken(&mut messages, peer(1), size, tries), share, "{size}");
            let others = (2..10).map(|number| taken(&mut messages, peer(number), size, tries));
            assert_eq!(2 * share + others.sum::<usize>(), all, "{size}");
            messages.taken(peer(0), size);
            assert!(!messages.put(peer(1), size), "it has its share");
            assert!(messages.put(peer(0), size) && !messages.put(peer(0), size));
        }
        assert!(!Messages::default().put(peer(0), each_bytes + 1));
    }

    #[test]
    fn what_is_taken_leaves_nothing_behind() {
        let mut messages = Messages::default();
        for (from, bytes) in [(1, 5), (2, 0), (1, 7)] {
            assert!(messages.put(peer(from), bytes));
        }
        for (from, bytes) in [(1, 5), (1, 7), (2, 0)] {
            messages.taken(peer(from), bytes);
        }
        assert_eq!(messages.all, Waiting::default());
        assert!(messages.by_peer.is_empty());
    }
}
