//! What a node must never forget: its view and its vote in it.
//!
//! A node that forgot its vote could vote twice in one view, and two primaries could follow. The commit position is
//! not part of it: it is learnt again from the primary.

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

use coco_types::{
    NodeId, View,
    codec::{DecodeError, Reader},
};
use thiserror::Error;

/// To be durable before any message that follows from it leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HardState {
    /// The newest view that this node takes part in.
    pub view: View,
    /// For whom it voted in that view.
    pub vote: Option<NodeId>,
}

/// Why a stored hard state cannot be used.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum HardStateError {
    /// Not in the format.
    #[error("the stored view and vote do not follow their format")]
    Malformed(#[source] DecodeError),
    /// In the format, but not what was written.
    #[error("the stored view and vote have the checksum {found:08x}, not {expected:08x}")]
    Checksum {
        /// What the bytes have.
        expected: u32,
        /// What is stored.
        found: u32,
    },
}

impl HardState {
    /// Always [`HARD_STATE_BYTES`] bytes: format, view, whether there is a vote, the vote or zeros, CRC-32 of it all.
    #[must_use]
    pub fn encode(&self) -> [u8; HARD_STATE_BYTES] {
        let mut out = [0; HARD_STATE_BYTES];
        let (covered, checksum) = out.split_at_mut(COVERED_BYTES);
        let fields = [FORMAT]
            .into_iter()
            .chain(self.view.0.to_le_bytes())
            .chain([u8::from(self.vote.is_some())])
            .chain(self.vote.unwrap_or_default().0);
        covered.iter_mut().zip(fields).for_each(|(byte, field)| *byte = field);
        checksum.copy_from_slice(&crc32(covered).to_le_bytes());
        out
    }

    /// Reads what [`HardState::encode`] wrote.
    ///
    /// # Errors
    /// [`HardStateError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, HardStateError> {
        let (state, covered, found) = Self::fields(bytes).map_err(HardStateError::Malformed)?;
        let expected = crc32(covered);
        if found != expected {
            return Err(HardStateError::Checksum { expected, found });
        }
        Ok(state)
    }

    fn fields(bytes: &[u8]) -> Result<(Self, &[u8], u32), DecodeError> {
        let mut reader = Reader::new(bytes);
        let covered = Reader::new(bytes).take(COVERED_BYTES, "hard state")?;
        let format = reader.u8("format")?;
        if format != FORMAT {
            return Err(DecodeError::Value { field: "format", found: u64::from(format) });
        }
        let view = reader.u64("view")?;
        if view > View::MAX.0 {
            return Err(DecodeError::Over { field: "view", found: view, limit: View::MAX.0 });
        }
        let voted = reader.u8("voted")?;
        let node = NodeId(reader.array("vote")?);
        let vote = match voted {
            0 if node == NodeId::default() => None,
            0 => return Err(DecodeError::Value { field: "vote without a vote", found: 0 }),
            1 => Some(node),
            other => return Err(DecodeError::Value { field: "voted", found: u64::from(other) }),
        };
        let checksum = reader.u32("checksum")?;
        reader.end()?;
        Ok((Self { view: View(view), vote }, covered, checksum))
    }
}

/// CRC-32 as in IEEE 802.3, bit by bit: the input is a few dozen bytes. It finds torn writes; it is no protection
/// against people.
fn crc32(bytes: &[u8]) -> u32 {
    let sum = bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            if sum & 1 == 1 { sum >> 1 ^ 0xedb8_8320 } else { sum >> 1 }
        })
    });
    !sum
}

/// Bytes of a stored hard state.
pub const HARD_STATE_BYTES: usize = COVERED_BYTES + 4;
/// Bytes before the checksum.
const COVERED_BYTES: usize = 1 + 8 + 1 + 32;
/// The only format so far.
const FORMAT: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_was_written() {
        for state in [
            HardState::default(),
            HardState { view: View::MAX, vote: None },
            HardState { view: View(7), vote: Some(NodeId([9; 32])) },
        ] {
            assert_eq!(HardState::decode(&state.encode()), Ok(state));
        }
    }

    #[test]
    fn the_checksum_is_the_one_everybody_uses() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    /// Found by the fuzzer, which made the checksum right.
    #[test]
    fn no_vote_has_one_encoding() {
        let mut bytes = HardState { view: View(7), vote: None }.encode();
        bytes[20] = 9;
        let checksum = crc32(&bytes[..COVERED_BYTES]);
        bytes[COVERED_BYTES..].copy_from_slice(&checksum.to_le_bytes());
        assert!(matches!(HardState::decode(&bytes), Err(HardStateError::Malformed(_))));
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_found() {
        let good = HardState { view: View(7), vote: Some(NodeId([9; 32])) }.encode();
        for bit in 0..good.len() * 8 {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(HardState::decode(&bad).is_err(), "bit {bit}");
        }
        for length in 0..good.len() {
            assert!(HardState::decode(&good[..length]).is_err(), "{length} bytes");
        }
        assert!(HardState::decode(&[&good[..], &[0]].concat()).is_err());
    }
}
