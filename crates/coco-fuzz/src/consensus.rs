//! What engines say to each other, and what one writes for itself.

use bytes::Bytes;
use coco_consensus::{HardState, PeerMessage};

pub(crate) fn message(data: &[u8]) {
    let bytes = Bytes::copy_from_slice(data);
    if let Ok(message) = PeerMessage::decode(&bytes) {
        assert_eq!(message.encode(), bytes, "a message has one encoding");
    }
}

pub(crate) fn hard_state(data: &[u8]) {
    if let Ok(state) = HardState::decode(data) {
        assert_eq!(state.encode(), data, "a hard state has one encoding");
    }
}
