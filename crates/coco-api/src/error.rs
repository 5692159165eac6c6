//! Error codes, and the body of every error.

use serde::{Deserialize, Serialize};

/// Stable error codes, spelled as CCF spells them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ErrorCode {
    /// Something broke inside the node.
    InternalError,
    /// A query parameter has no meaning.
    InvalidQueryParameterValue,
    /// A header has no meaning.
    InvalidHeaderValue,
    /// The body has no meaning.
    InvalidInput,
    /// No such path, node or transaction.
    ResourceNotFound,
    /// The path exists, the method does not.
    UnsupportedHttpVerb,
    /// The body is not of a type that is read here.
    UnsupportedContentType,
    /// The body is over the limit.
    RequestBodyTooLarge,
    /// The headers are over the limit.
    RequestHeaderTooLarge,
    /// The node serves as many requests as it may.
    SessionCapExhausted,
    /// No receipt yet: the transaction is not committed.
    TransactionPendingOrUnknown,
    /// The transaction was rolled back or never possible.
    TransactionInvalid,
    /// The transaction named by the id is none that has a receipt of this kind.
    TransactionNotFound,
    /// No primary is known at the moment.
    PrimaryNotFound,
    /// The queue of transactions is full.
    TooManyPendingTransactions,
    /// The service is not open.
    FrontendNotOpen,
    /// The one who asks may not do this.
    AuthorizationFailed,
    /// No signed request of someone who may act.
    InvalidAuthenticationInfo,
    /// When a proposal was made is no time that counts.
    InvalidCreatedAt,
    /// A part of the path is no name of what stands there.
    InvalidResourceName,
    /// The query does not say which version of the interface is meant.
    MissingApiVersionParameter,
    /// This call does not have the version that the query names.
    UnsupportedApiVersionValue,
    /// The evidence of a node is not that of a node that may join.
    InvalidQuote,
    /// A node is in a state in which it cannot join.
    InvalidNodeState,
    /// Somebody may still need what the ledger says of the node.
    NodeNotRetiredCommitted,
    /// There is no such proposal.
    ProposalNotFound,
    /// The proposal was decided, withdrawn or dropped.
    ProposalNotOpen,
    /// The constitution does not accept the proposal.
    ProposalFailedToValidate,
    /// The proposal was submitted before.
    ProposalReplay,
    /// The proposal was made before the newer half of the recent ones.
    ProposalCreatedTooLongAgo,
    /// The member has as many open proposals as one may have. Ours.
    TooManyOpenProposals,
    /// Another digest than the one that waits for this member.
    StateDigestMismatch,
    /// The member voted otherwise before.
    VoteAlreadyExists,
    /// The member has not voted.
    VoteNotFound,
    /// No recovery is under way that needs shares.
    ServiceNotWaitingForRecoveryShares,
    /// This version does not do it.
    NotImplemented,
    /// There is no backup.
    BackupNotFound,
    /// The request was executed, and is not committed yet.
    TransactionReplicationFailed,
}

/// The body of every error.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ErrorBody {
    /// Its one member.
    pub error: ErrorDetail,
}

/// What was wrong, and what to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ErrorDetail {
    /// For programs.
    pub code: ErrorCode,
    /// For people.
    pub message: String,
    /// Why each way to say who one is was not enough.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<AuthenticationDetail>,
}

/// Why one way to say who one is was not enough.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AuthenticationDetail {
    /// Which way.
    pub auth_policy: String,
    /// For programs.
    pub code: ErrorCode,
    /// For people.
    pub message: String,
}

impl ErrorBody {
    /// An error with its message.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { error: ErrorDetail { code, message: message.into(), details: Vec::new() } }
    }
}
