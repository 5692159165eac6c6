//! Members' signed requests on their way to the replica: here, or on the primary by way of the channel between nodes.
//!
//! ```text
//!   question  u8 call, its ids of 32 bytes each, the envelope's u64 length and its bytes
//!   answer    u8 kind, then by kind: transaction id and JSON; code and message; a node's id; nothing
//! ```

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::fmt;

use bytes::Bytes;
use coco_governance::{ErrorCode, GovernanceError, MemberId, ProposalId, Reply, Route};
use coco_replica::GovernReply;
use coco_types::{
    Digest, NodeId, TxId,
    codec::{DecodeError, Reader, put_bytes},
    limits::ENTRY_BYTES_MAX,
};

use crate::frame::{put_text, put_tx_id, text, tx_id};

/// Longest signed request, in bytes: CCF's limit on bodies.
pub const ENVELOPE_BYTES_MAX: usize = 1 << 20;

/// Longest JSON of an answer, in bytes. What it shows stands in one row of one entry.
pub const ANSWER_BYTES_MAX: usize = ENTRY_BYTES_MAX;

/// A member's request, with the call that it came with.
#[derive(Clone, PartialEq, Eq)]
pub struct Question {
    /// The call.
    pub route: Route,
    /// What was signed, with its signature.
    pub envelope: Bytes,
}

impl fmt::Debug for Question {
    /// Without the envelope: it may hold a share.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Question").field("route", &self.route).finish_non_exhaustive()
    }
}

/// What a node says to a request: [`GovernReply`], with the answer as the client is to see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Carried out, in this entry, which is not committed yet.
    Done {
        /// The entry.
        id: TxId,
        /// The answer, for when it is committed; none when nothing is left to say.
        json: Option<Bytes>,
    },
    /// Not carried out; nothing of it remains.
    Refused(GovernanceError),
    /// Not the primary; the one it knows of, if any, may be asked.
    NotPrimary(Option<NodeId>),
    /// Too many wait.
    Busy,
}

impl Question {
    /// As bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(self.envelope.len().saturating_add(128));
        match self.route {
            Route::CreateProposal => out.push(0),
            Route::WithdrawProposal(proposal) => {
                out.push(1);
                out.extend_from_slice(&proposal.0.0);
            }
            Route::SubmitBallot { proposal, member } => {
                out.push(2);
                out.extend_from_slice(&proposal.0.0);
                out.extend_from_slice(&member.0.0);
            }
            Route::UpdateStateDigest(member) => {
                out.push(3);
                out.extend_from_slice(&member.0.0);
            }
            Route::Acknowledge(member) => {
                out.push(4);
                out.extend_from_slice(&member.0.0);
            }
            Route::SubmitRecoveryShare(member) => {
                out.push(5);
                out.extend_from_slice(&member.0.0);
            }
        }
        put_bytes(&mut out, &self.envelope);
        out.into()
    }

    /// Reads what [`Question::encode`] wrote.
    ///
    /// # Errors
    /// [`DecodeError`] when the bytes are none.
    pub fn decode(bytes: &Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let route = match reader.u8("call")? {
            0 => Route::CreateProposal,
            1 => Route::WithdrawProposal(ProposalId(digest(&mut reader)?)),
            2 => Route::SubmitBallot {
                proposal: ProposalId(digest(&mut reader)?),
                member: MemberId(digest(&mut reader)?),
            },
            3 => Route::UpdateStateDigest(MemberId(digest(&mut reader)?)),
            4 => Route::Acknowledge(MemberId(digest(&mut reader)?)),
            5 => Route::SubmitRecoveryShare(MemberId(digest(&mut reader)?)),
            found => return Err(DecodeError::Value { field: "call", found: u64::from(found) }),
        };
        let envelope = bounded(reader.bytes("envelope")?, "envelope", ENVELOPE_BYTES_MAX)?;
        let envelope = bytes.slice_ref(envelope);
        reader.end()?;
        Ok(Self { route, envelope })
    }
}

impl From<GovernReply> for Answer {
    fn from(reply: GovernReply) -> Self {
        match reply {
            GovernReply::Done { id, reply } => Self::Done { id, json: json(reply) },
            GovernReply::Refused(error) => Self::Refused(error),
            GovernReply::NotPrimary(primary) => Self::NotPrimary(primary),
            GovernReply::Busy => Self::Busy,
        }
    }
}

/// What the client is to see.
fn json(reply: Reply) -> Option<Bytes> {
    let text = match reply {
        Reply::Proposal(view) => serde_json::to_vec(&view),
        Reply::StateDigest { member, state_digest } => {
            let member_id = member.to_string();
            serde_json::to_vec(&coco_api::gov::StateDigest { member_id, state_digest })
        }
        Reply::RecoveryProgress(progress) => serde_json::to_vec(&progress),
        Reply::Done => return None,
    };
    Some(text.expect("our shapes have string keys and no failing parts").into())
}

impl Answer {
    /// As bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::new();
        match self {
            Self::Done { id, json: None } => {
                out.push(0);
                put_tx_id(&mut out, *id);
            }
            Self::Done { id, json: Some(json) } => {
                out.push(1);
                put_tx_id(&mut out, *id);
                put_bytes(&mut out, json);
            }
            Self::Refused(error) => {
                out.push(2);
                put_text(&mut out, error.code.as_str());
                put_text(&mut out, &error.message);
            }
            Self::NotPrimary(None) => out.push(3),
            Self::NotPrimary(Some(node)) => {
                out.push(4);
                out.extend_from_slice(&node.0);
            }
            Self::Busy => out.push(5),
        }
        out.into()
    }

    /// Reads what [`Answer::encode`] wrote.
    ///
    /// # Errors
    /// [`DecodeError`] when the bytes are none.
    pub fn decode(bytes: &Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let answer = match reader.u8("kind of answer")? {
            0 => Self::Done { id: tx_id(&mut reader)?, json: None },
            1 => {
                let id = tx_id(&mut reader)?;
                let json = bounded(reader.bytes("JSON")?, "JSON", ANSWER_BYTES_MAX)?;
                Self::Done { id, json: Some(bytes.slice_ref(json)) }
            }
            2 => {
                let name = text(&mut reader)?;
                let found = name.len() as u64;
                let code = ErrorCode::from_name(&name)
                    .ok_or(DecodeError::Value { field: "bytes of a code", found })?;
                Self::Refused(GovernanceError { code, message: text(&mut reader)? })
            }
            3 => Self::NotPrimary(None),
            4 => Self::NotPrimary(Some(NodeId(reader.array("node")?))),
            5 => Self::Busy,
            found => {
                return Err(DecodeError::Value {
                    field: "kind of answer",
                    found: u64::from(found),
                });
            }
        };
        reader.end()?;
        Ok(answer)
    }
}

fn digest(reader: &mut Reader<'_>) -> Result<Digest, DecodeError> {
    reader.array("id").map(Digest)
}

fn bounded<'a>(
    bytes: &'a [u8],
    field: &'static str,
    limit: usize,
) -> Result<&'a [u8], DecodeError> {
    if bytes.len() <= limit {
        Ok(bytes)
    } else {
        Err(DecodeError::Over { field, found: bytes.len() as u64, limit: limit as u64 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROPOSAL: ProposalId = ProposalId(Digest([1; 32]));
    const MEMBER: MemberId = MemberId(Digest([2; 32]));

    #[test]
    fn every_question_and_answer_comes_back() {
        for route in [
            Route::CreateProposal,
            Route::WithdrawProposal(PROPOSAL),
            Route::SubmitBallot { proposal: PROPOSAL, member: MEMBER },
            Route::UpdateStateDigest(MEMBER),
            Route::Acknowledge(MEMBER),
            Route::SubmitRecoveryShare(MEMBER),
        ] {
            let question = Question { route, envelope: Bytes::from_static(b"signed") };
            let bytes = question.encode();
            assert_eq!(Question::decode(&bytes), Ok(question));
            for cut in 0..bytes.len() {
                assert!(Question::decode(&bytes.slice(..cut)).is_err(), "{route:?} cut at {cut}");
            }
        }
        let id = TxId::new(2, 7);
        let refusals =
            ErrorCode::ALL.map(|code| Answer::Refused(GovernanceError::new(code, "so it is")));
        for answer in [
            Answer::Done { id, json: None },
            Answer::Done { id, json: Some(Bytes::from_static(b"{}")) },
            Answer::NotPrimary(None),
            Answer::NotPrimary(Some(NodeId([4; 32]))),
            Answer::Busy,
        ]
        .into_iter()
        .chain(refusals)
        {
            let bytes = answer.encode();
            assert_eq!(Answer::decode(&bytes).as_ref(), Ok(&answer));
            for cut in 0..bytes.len() {
                assert!(Answer::decode(&bytes.slice(..cut)).is_err(), "{answer:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn an_envelope_has_a_limit() {
        for (bytes, ok) in [
            (ENVELOPE_BYTES_MAX - 1, true),
            (ENVELOPE_BYTES_MAX, true),
            (ENVELOPE_BYTES_MAX + 1, false),
        ] {
            let question =
                Question { route: Route::CreateProposal, envelope: vec![7; bytes].into() };
            assert_eq!(Question::decode(&question.encode()).is_ok(), ok, "{bytes}");
        }
    }

    #[test]
    fn a_code_that_nobody_knows_is_none() {
        let mut out = vec![2];
        put_text(&mut out, "Unheard");
        put_text(&mut out, "of");
        assert!(Answer::decode(&out.into()).is_err());
    }
}
