//! A message between nodes as seen from outside: readable, and nothing more.

use bytes::Bytes;
use coco_types::{View, codec::DecodeError};

use super::codec::Message;

/// A message that one node's engine wrote for another's, for whoever looks at traffic without taking part in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerMessage(Message);

impl PeerMessage {
    /// Reads a message as [`crate::Engine::receive`] does, before the protocol sees it.
    ///
    /// # Errors
    /// [`DecodeError`] when the bytes are no message, or one that cannot be without looking at the log.
    pub fn decode(bytes: &Bytes) -> Result<Self, DecodeError> {
        Message::decode(bytes).map(Self)
    }

    /// The bytes of the message: the one encoding that it has.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        self.0.encode()
    }

    /// The view of the sender; of a pre-vote, the view that is asked for.
    #[must_use]
    pub const fn view(&self) -> View {
        self.0.view
    }
}
