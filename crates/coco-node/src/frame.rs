//! What nodes say to each other over the peer channel, as bytes.
//!
//! A frame is a u32 little-endian length and that many bytes, the first of which names the kind. The channel is
//! mutually authenticated TLS; a frame that does not decode closes it.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use bytes::Bytes;
use coco_adapter::Refusal;
use coco_replica::Reply;
use coco_types::{
    NodeId, TxId,
    codec::{DecodeError, Reader, put_bytes, put_u64},
    limits::PEER_MESSAGE_BYTES_MAX,
};

use crate::driver::NotQueued;

/// Most transactions that one forwarded request may hold; equal to the largest JSON-RPC batch.
pub const FORWARD_ITEMS_MAX: usize = 1000;

/// Longest text inside a forwarded refusal, in bytes. Longer ones are cut on the sending side.
const REFUSAL_TEXT_BYTES_MAX: usize = 64 << 10;

/// Where the rest of a numbered frame begins: after kind and number.
const NUMBERED_AT: usize = 9;

const NUMBER: &str = "number of the request";

/// One message between nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// For the consensus engine; without content, which no message of it is, [`Frame::KEEP_ALIVE`].
    Consensus(Bytes),
    /// Transactions that reached a backup, for the primary to execute. The number comes back in the answer.
    Forward(u64, Vec<Bytes>),
    /// What became of them, in their order.
    Forwarded(u64, Vec<Result<Reply, NotQueued>>),
    /// A node asks for its seat; see [`Question`](crate::join::Question).
    Join(Bytes),
    /// What it is told; see [`Answer`](crate::join::Answer).
    Joined(Bytes),
    /// A node asks for a copy of the ledger; see [`CopyQuestion`](crate::copy::CopyQuestion).
    Copy(Bytes),
    /// What it is given; see [`CopyAnswer`](crate::copy::CopyAnswer).
    Copied(Bytes),
    /// The primary has archived what the node's ledger lacks, from this entry on: it has to copy a snapshot.
    Behind(TxId),
    /// A member's request that reached a backup; see [`Question`](crate::govern::Question). The number comes back in the
    /// answer.
    Govern(u64, Bytes),
    /// What became of it; see [`Answer`](crate::govern::Answer).
    Governed(u64, Bytes),
}

impl Frame {
    /// Says that the connection lives, and nothing else.
    pub const KEEP_ALIVE: Self = Self::Consensus(Bytes::new());

    /// The bytes after the length, in two parts, so that the message of the consensus engine is not copied.
    #[must_use]
    pub fn encode(&self) -> (Vec<u8>, Bytes) {
        let mut out = Vec::new();
        let mut rest = Bytes::new();
        match self {
            Self::Consensus(bytes) => {
                out.push(1);
                rest = bytes.clone();
            }
            Self::Forward(number, items) => {
                out.push(2);
                put_u64(&mut out, *number);
                put_u64(&mut out, items.len() as u64);
                for item in items {
                    put_bytes(&mut out, item);
                }
            }
            Self::Forwarded(number, replies) => {
                out.push(3);
                put_u64(&mut out, *number);
                put_u64(&mut out, replies.len() as u64);
                for reply in replies {
                    put_reply(&mut out, reply);
                }
            }
            Self::Join(bytes) => {
                out.push(4);
                rest = bytes.clone();
            }
            Self::Joined(bytes) => {
                out.push(5);
                rest = bytes.clone();
            }
            Self::Copy(bytes) => {
                out.push(6);
                rest = bytes.clone();
            }
            Self::Copied(bytes) => {
                out.push(7);
                rest = bytes.clone();
            }
            Self::Behind(needs) => {
                out.push(8);
                put_tx_id(&mut out, *needs);
            }
            Self::Govern(number, bytes) => {
                out.push(9);
                put_u64(&mut out, *number);
                rest = bytes.clone();
            }
            Self::Governed(number, bytes) => {
                out.push(10);
                put_u64(&mut out, *number);
                rest = bytes.clone();
            }
        }
        (out, rest)
    }

    /// Reads what [`Frame::encode`] wrote.
    ///
    /// # Errors
    /// [`DecodeError`] when the bytes are none.
    pub fn decode(bytes: &Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let frame = match reader.u8("kind of frame")? {
            1 => return Ok(Self::Consensus(bytes.slice(1..))),
            2 => {
                let number = reader.u64(NUMBER)?;
                let count = bounded_count(&mut reader, 8, "forwarded transactions")?;
                let items =
                    (0..count).map(|_| reader.bytes("transaction").map(Bytes::copy_from_slice));
                Self::Forward(number, items.collect::<Result<_, _>>()?)
            }
            3 => {
                let number = reader.u64(NUMBER)?;
                let count = bounded_count(&mut reader, 1, "forwarded answers")?;
                Self::Forwarded(
                    number,
                    (0..count).map(|_| reply(&mut reader)).collect::<Result<_, _>>()?,
                )
            }
            4 => return Ok(Self::Join(bytes.slice(1..))),
            5 => return Ok(Self::Joined(bytes.slice(1..))),
            6 => return Ok(Self::Copy(bytes.slice(1..))),
            7 => return Ok(Self::Copied(bytes.slice(1..))),
            8 => Self::Behind(tx_id(&mut reader)?),
            9 => return Ok(Self::Govern(reader.u64(NUMBER)?, bytes.slice(NUMBERED_AT..))),
            10 => return Ok(Self::Governed(reader.u64(NUMBER)?, bytes.slice(NUMBERED_AT..))),
            found => {
                return Err(DecodeError::Value { field: "kind of frame", found: u64::from(found) });
            }
        };
        reader.end()?;
        Ok(frame)
    }
}

/// The length of a frame, when it is within the limit.
///
/// # Errors
/// [`DecodeError::Over`] when it is not.
pub fn frame_length(prefix: [u8; 4]) -> Result<usize, DecodeError> {
    let found = u32::from_le_bytes(prefix);
    match usize::try_from(found) {
        Ok(length) if length <= PEER_MESSAGE_BYTES_MAX => Ok(length),
        _ => Err(DecodeError::Over {
            field: "length of a frame",
            found: u64::from(found),
            limit: PEER_MESSAGE_BYTES_MAX as u64,
        }),
    }
}

fn bounded_count(
    reader: &mut Reader<'_>,
    item_bytes_min: usize,
    field: &'static str,
) -> Result<usize, DecodeError> {
    let count = reader.count(item_bytes_min, field)?;
    if count > FORWARD_ITEMS_MAX {
        return Err(DecodeError::Over {
            field,
            found: count as u64,
            limit: FORWARD_ITEMS_MAX as u64,
        });
    }
    Ok(count)
}

pub(crate) fn put_tx_id(out: &mut Vec<u8>, id: TxId) {
    put_u64(out, id.view.0);
    put_u64(out, id.seqno.0);
}

fn put_reply(out: &mut Vec<u8>, reply: &Result<Reply, NotQueued>) {
    let reply = match reply {
        Ok(reply) => reply,
        Err(NotQueued) => return out.push(5),
    };
    match reply {
        Reply::Executed(id) => {
            out.push(0);
            put_tx_id(out, *id);
        }
        Reply::Earlier(id) => {
            out.push(1);
            put_tx_id(out, *id);
        }
        Reply::Refused(refusal) => {
            out.push(2);
            put_u64(out, u64::from_le_bytes(refusal.code.to_le_bytes()));
            put_text(out, &refusal.message);
            out.push(u8::from(refusal.data.is_some()));
            if let Some(data) = &refusal.data {
                put_text(out, data);
            }
        }
        Reply::NotPrimary(None) => out.push(3),
        Reply::NotPrimary(Some(node)) => {
            out.push(4);
            out.extend_from_slice(&node.0);
        }
    }
}

pub(crate) fn put_text(out: &mut Vec<u8>, text: &str) {
    put_bytes(
        out,
        text.get(..text.floor_char_boundary(REFUSAL_TEXT_BYTES_MAX)).unwrap_or(text).as_bytes(),
    );
}

pub(crate) fn tx_id(reader: &mut Reader<'_>) -> Result<TxId, DecodeError> {
    Ok(TxId::new(reader.u64("view")?, reader.u64("seqno")?))
}

pub(crate) fn text(reader: &mut Reader<'_>) -> Result<String, DecodeError> {
    let bytes = reader.bytes("text")?;
    let (found, limit) = (bytes.len() as u64, REFUSAL_TEXT_BYTES_MAX as u64);
    if found > limit {
        return Err(DecodeError::Over { field: "text", found, limit });
    }
    let text = str::from_utf8(bytes)
        .map_err(|_| DecodeError::Value { field: "bytes of a text", found })?;
    Ok(text.to_owned())
}

fn reply(reader: &mut Reader<'_>) -> Result<Result<Reply, NotQueued>, DecodeError> {
    Ok(Ok(match reader.u8("kind of answer")? {
        0 => Reply::Executed(tx_id(reader)?),
        1 => Reply::Earlier(tx_id(reader)?),
        2 => {
            let code = i64::from_le_bytes(reader.array("code")?);
            let message = text(reader)?;
            let data = match reader.u8("has data")? {
                0 => None,
                1 => Some(text(reader)?),
                found => {
                    return Err(DecodeError::Value { field: "has data", found: u64::from(found) });
                }
            };
            Reply::Refused(Refusal { code, message, data })
        }
        3 => Reply::NotPrimary(None),
        4 => Reply::NotPrimary(Some(NodeId(reader.array("node")?))),
        5 => return Ok(Err(NotQueued)),
        found => {
            return Err(DecodeError::Value { field: "kind of answer", found: u64::from(found) });
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(frame: &Frame) -> Bytes {
        let (first, rest) = frame.encode();
        [first.as_slice(), &rest].concat().into()
    }

    #[test]
    fn every_frame_comes_back() {
        let refusal =
            Refusal { code: -32000, message: "nonce too low".into(), data: Some("5".into()) };
        for frame in [
            Frame::Consensus(Bytes::from_static(b"abc")),
            Frame::KEEP_ALIVE,
            Frame::Forward(7, vec![Bytes::from_static(b"x"), Bytes::new()]),
            Frame::Forwarded(
                7,
                vec![
                    Ok(Reply::Executed(TxId::new(2, 3))),
                    Ok(Reply::Earlier(TxId::new(2, 1))),
                    Ok(Reply::Refused(refusal)),
                    Ok(Reply::NotPrimary(None)),
                    Ok(Reply::NotPrimary(Some(NodeId([4; 32])))),
                    Err(NotQueued),
                ],
            ),
            Frame::Copy(Bytes::from_static(b"q")),
            Frame::Copied(Bytes::from_static(b"a")),
            Frame::Behind(TxId::new(2, 7)),
            Frame::Govern(7, Bytes::from_static(b"q")),
            Frame::Governed(7, Bytes::from_static(b"a")),
        ] {
            let bytes = whole(&frame);
            assert_eq!(Frame::decode(&bytes).as_ref(), Ok(&frame));
            let ends_anywhere = match frame {
                Frame::Consensus(_) | Frame::Copy(_) | Frame::Copied(_) => 1,
                Frame::Govern(..) | Frame::Governed(..) => NUMBERED_AT,
                _ => bytes.len(),
            };
            for cut in 1..bytes.len() {
                if cut < ends_anywhere {
                    assert!(Frame::decode(&bytes.slice(..cut)).is_err(), "cut at {cut}");
                }
            }
        }
        assert!(Frame::decode(&Bytes::from_static(&[9])).is_err());
    }

    #[test]
    fn a_refusal_has_one_encoding_and_a_limit() {
        let frame = |text: &[u8], has_data: u8| {
            let mut out = vec![3];
            put_u64(&mut out, 7);
            put_u64(&mut out, 1);
            out.push(2);
            put_u64(&mut out, 5);
            put_bytes(&mut out, text);
            out.push(has_data);
            if has_data != 0 {
                put_bytes(&mut out, b"data");
            }
            Frame::decode(&out.into()).is_ok()
        };
        assert!(frame(b"text", 0) && frame(b"text", 1) && !frame(b"text", 2));
        assert!(!frame(&[0xff], 0), "no text");
        for (bytes, ok) in [
            (REFUSAL_TEXT_BYTES_MAX - 1, true),
            (REFUSAL_TEXT_BYTES_MAX, true),
            (REFUSAL_TEXT_BYTES_MAX + 1, false),
        ] {
            assert_eq!(frame(&vec![b'a'; bytes], 0), ok, "{bytes}");
        }
    }

    #[test]
    fn lengths_and_counts_have_a_limit() {
        let limit = u32::try_from(PEER_MESSAGE_BYTES_MAX).expect("fits");
        assert!(frame_length((limit - 1).to_le_bytes()).is_ok());
        assert!(frame_length(limit.to_le_bytes()).is_ok());
        assert!(frame_length((limit + 1).to_le_bytes()).is_err());
        for (count, ok) in [(FORWARD_ITEMS_MAX, true), (FORWARD_ITEMS_MAX + 1, false)] {
            let frame = Frame::Forward(1, vec![Bytes::new(); count]);
            assert_eq!(Frame::decode(&whole(&frame)).is_ok(), ok, "{count}");
        }
    }
}
