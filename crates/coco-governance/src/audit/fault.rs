//! What can be wrong with how a service was governed.

use coco_kv::ApplyError;
use coco_types::Seqno;
use thiserror::Error;

use crate::{ConstitutionError, GovernanceError, MemberId, ProposalId, RequestError};

/// The first act that the rules of its time did not allow.
#[derive(Clone, Debug, PartialEq, Error)]
#[error("governance, seqno {seqno}{}", whose(.member.as_ref(), .proposal.as_ref()))]
pub struct AuditError {
    /// The entry.
    pub seqno: Seqno,
    /// Who signed the request that the entry records, where one can be read.
    pub member: Option<MemberId>,
    /// The proposal that the request is about, if it is about one.
    pub proposal: Option<ProposalId>,
    /// What is wrong.
    #[source]
    pub fault: Box<AuditFault>,
}

fn whose(member: Option<&MemberId>, proposal: Option<&ProposalId>) -> String {
    let member = member.map(|member| format!(", member {member}"));
    let proposal = proposal.map(|proposal| format!(", proposal {proposal}"));
    member.into_iter().chain(proposal).collect()
}

/// What is wrong with an entry that touches governance.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum AuditFault {
    /// The service changed what only members may change.
    #[error("nobody signed a request for what is written to the row {key:?} of {table}")]
    NoRequest {
        /// The table.
        table: String,
        /// The row.
        key: String,
    },
    /// An entry records more than one request, or removes one.
    #[error("the entry does not record one request: it writes or removes {rows} rows of them")]
    Requests {
        /// How many rows it writes or removes.
        rows: usize,
    },
    /// What is recorded as a request is none.
    #[error("the recorded request is not base64 in JSON")]
    Encoding,
    /// What is recorded as a request is none.
    #[error("the recorded request cannot be read")]
    Request(#[source] RequestError),
    /// What is recorded is a request that changes nothing by itself.
    #[error("the recorded request is one that is never recorded")]
    Message,
    /// The rules of the time did not allow it.
    #[error("the recorded request was not allowed: {}", .0.code.as_str())]
    Refused(#[source] GovernanceError),
    /// The root in the entry is none that was there when it was made.
    #[error("the act names a root that the ledger did not have since the act before")]
    Root,
    /// The entry is of another time than the signatures around it.
    #[error(
        "the entry says that it was {said}, and by the signatures before and after it was {from} to {to}"
    )]
    Time {
        /// What it says, in seconds since 1970.
        said: u64,
        /// The earliest that it can have been.
        from: u64,
        /// The latest.
        to: u64,
    },
    /// What was written is not what the request makes.
    #[error("the row {key:?} of {table} is not what the request makes of it: {reason}")]
    Row {
        /// The table.
        table: String,
        /// The row.
        key: String,
        /// How it differs.
        reason: String,
    },
    /// Members asked the service for something that it did otherwise.
    #[error("what the request asked of the service was not done as it must be: {0}")]
    Effect(String),
    /// A node is not where the rules for nodes put it.
    #[error("the step of node {node} needs a vote, or is none: {reason}")]
    Node {
        /// The node's id.
        node: String,
        /// What is wrong.
        reason: String,
    },
    /// Those who take part in consensus are not those whom members trust.
    #[error("the configuration has {node}, and {reason}")]
    Configuration {
        /// The node's id.
        node: String,
        /// What is wrong.
        reason: String,
    },
    /// A service does not come back from disaster so.
    #[error("the service cannot have been recovered so: {0}")]
    Recovery(String),
    /// A service cannot be founded so.
    #[error("the service cannot have been founded so: {0}")]
    Founding(String),
    /// The first constitution does not run.
    #[error("the first constitution cannot be used")]
    Constitution(#[source] ConstitutionError),
    /// A row from before cannot be read.
    #[error("what the tables hold cannot be read")]
    Tables(#[source] GovernanceError),
    /// Entries are missing, or come again.
    #[error("the entry {expected} should come here")]
    Order {
        /// The one that comes next.
        expected: Seqno,
    },
    /// There are too many tables.
    #[error("the entry cannot be taken")]
    Apply(#[source] ApplyError),
}
