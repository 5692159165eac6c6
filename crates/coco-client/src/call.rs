//! The calls: what is asked for, and what for.

use std::{fmt, io, num::NonZeroU64, sync::Arc};

use coco_attest::ReportData;
use coco_governance::{MemberId, Message, ProposalId};
use coco_types::{Digest, NodeId};
use hyper::{Method, body::Bytes};

use crate::{API_VERSION, Envelope};

/// What is asked of a node.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) method: Method,
    /// With the query.
    pub(crate) target: String,
    pub(crate) content_type: Option<&'static str>,
    pub(crate) body: Bytes,
    /// The first and the last byte of the answer, where not all of it is asked for.
    pub(crate) range: Option<(u64, u64)>,
    pub(crate) kind: Kind,
    /// What makes the body where it follows from the connection.
    pub(crate) shows: Option<Shows>,
}

/// What makes a body for a connection: evidence of the node that asks binds it.
#[derive(Clone)]
pub(crate) struct Shows {
    /// The node.
    pub(crate) own: NodeId,
    /// SHA-256 of the service's key.
    pub(crate) service: Digest,
    pub(crate) body: Arc<Body>,
}

/// The body that shows what a connection binds.
type Body = dyn Fn(&ReportData) -> io::Result<Vec<u8>> + Send + Sync;

impl fmt::Debug for Shows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shows({})", self.own)
    }
}

/// Whether it matters that a call got lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It changes nothing.
    Question,
    /// It changes something.
    Change,
}

impl Call {
    /// Reads a path that needs no version.
    pub(crate) fn get(target: impl Into<String>) -> Self {
        Self {
            method: Method::GET,
            target: target.into(),
            content_type: None,
            body: Bytes::new(),
            range: None,
            kind: Kind::Question,
            shows: None,
        }
    }

    /// Reads so many bytes of a file.
    pub(crate) fn part(target: &str, offset: u64, bytes: NonZeroU64) -> Self {
        let last = offset.saturating_add(bytes.get() - 1);
        Self { range: Some((offset, last)), ..Self::get(target) }
    }

    /// Reads a path under `/gov`.
    pub(crate) fn gov(path: &str) -> Self {
        Self::get(versioned(path))
    }

    /// Reads participants, or those whose ids come after a text.
    pub(crate) fn users(after: Option<&str>) -> Self {
        let mut call = Self::gov(USERS);
        if let Some(after) = after {
            call.target.push_str("&after=");
            call.target.extend(after.bytes().map(|byte| format!("%{byte:02X}")));
        }
        call
    }

    fn post(target: String, content_type: &'static str, body: &[u8], kind: Kind) -> Self {
        let (method, body) = (Method::POST, Bytes::copy_from_slice(body));
        Self { method, content_type: Some(content_type), body, kind, ..Self::get(target) }
    }

    /// Hands a member's request in.
    pub(crate) fn submit(envelope: &Envelope) -> Self {
        let target = versioned(&envelope.path());
        Self::post(target, "application/cose", envelope.bytes(), Kind::Change)
    }

    /// Says who a node is. Said twice it is the same.
    pub(crate) fn join(shows: Shows) -> Self {
        let call = Self::post("/node/join".to_owned(), "application/json", &[], Kind::Question);
        Self { shows: Some(shows), ..call }
    }

    /// Asks what a proposal would change.
    pub(crate) fn simulate(proposal: &[u8]) -> Self {
        let target = versioned("/gov/members/proposals:simulate");
        Self::post(target, "application/json", proposal, Kind::Question)
    }

    /// Whether the answer is read from what is committed, and says up to where.
    pub(crate) fn reads_state(&self) -> bool {
        self.kind == Kind::Question
            && ["/gov/", "/node/network"].iter().any(|path| self.target.starts_with(path))
    }
}

/// A path under `/gov` with the version that every call there needs.
fn versioned(path: &str) -> String {
    format!("{path}?api-version={API_VERSION}")
}

/// Where participants are listed.
pub(crate) const USERS: &str = "/gov/service/users";

pub(crate) fn proposal_path(proposal: ProposalId) -> String {
    format!("/gov/members/proposals/{proposal}")
}

pub(crate) fn member_path(member: MemberId) -> String {
    format!("/gov/service/members/{member}")
}

/// Where a member's request is sent to.
pub(crate) fn path_of(message: Message, signer: MemberId) -> String {
    match message {
        Message::Proposal => "/gov/members/proposals:create".to_owned(),
        Message::Ballot(proposal) => {
            format!("{}/ballots/{signer}:submit", proposal_path(proposal))
        }
        Message::Withdrawal(proposal) => format!("{}:withdraw", proposal_path(proposal)),
        Message::StateDigest => format!("/gov/members/state-digests/{signer}:update"),
        Message::Ack => format!("/gov/members/state-digests/{signer}:ack"),
        Message::RecoveryShare | Message::EncryptedRecoveryShare => {
            format!("/gov/recovery/members/{signer}:recover")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_goes_on_after_any_text() {
        let target = |after| Call::users(after).target;
        let all = format!("/gov/service/users?api-version={API_VERSION}");
        assert_eq!(target(None), all);
        assert_eq!(target(Some("3f&")), format!("{all}&after=%33%66%26"));
    }

    #[test]
    fn every_kind_of_request_has_its_place() {
        let (member, proposal) = (MemberId(Digest([0xaa; 32])), ProposalId(Digest([0xbb; 32])));
        let (m, p) = ("aa".repeat(32), "bb".repeat(32));
        for (message, expected) in [
            (Message::Proposal, "/gov/members/proposals:create".to_owned()),
            (Message::Ballot(proposal), format!("/gov/members/proposals/{p}/ballots/{m}:submit")),
            (Message::Withdrawal(proposal), format!("/gov/members/proposals/{p}:withdraw")),
            (Message::StateDigest, format!("/gov/members/state-digests/{m}:update")),
            (Message::Ack, format!("/gov/members/state-digests/{m}:ack")),
            (Message::RecoveryShare, format!("/gov/recovery/members/{m}:recover")),
        ] {
            assert_eq!(path_of(message, member), expected);
        }
    }
}
