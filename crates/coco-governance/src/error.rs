//! Why a request was refused, under CCF's codes.

use thiserror::Error;

/// The stable name of a refusal. All but the last are CCF's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ErrorCode {
    /// The one who asks may not do this.
    AuthorizationFailed,
    /// The service's own rules or data are at fault, or a proposal failed while it was carried out.
    InternalError,
    /// No signed request of a member who may act.
    InvalidAuthenticationInfo,
    /// `created_at` is no time that counts.
    InvalidCreatedAt,
    /// The content is not what the call takes.
    InvalidInput,
    /// What was signed is not what the call names.
    InvalidResourceName,
    /// The proposal was made before the newer half of the recent ones.
    ProposalCreatedTooLongAgo,
    /// The constitution does not accept it.
    ProposalFailedToValidate,
    /// There is no such proposal.
    ProposalNotFound,
    /// It was decided, withdrawn or dropped.
    ProposalNotOpen,
    /// It was submitted before.
    ProposalReplay,
    /// Another digest than the one that waits for this member.
    StateDigestMismatch,
    /// Somebody may still need what the ledger says of the node.
    NodeNotRetiredCommitted,
    /// There is no such thing.
    ResourceNotFound,
    /// No recovery is at the point where shares are sent in.
    ServiceNotWaitingForRecoveryShares,
    /// The member voted otherwise before.
    VoteAlreadyExists,
    /// The member has as many open proposals as one may have. Ours.
    TooManyOpenProposals,
}

impl ErrorCode {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::AuthorizationFailed,
        Self::InternalError,
        Self::InvalidAuthenticationInfo,
        Self::InvalidCreatedAt,
        Self::InvalidInput,
        Self::InvalidResourceName,
        Self::NodeNotRetiredCommitted,
        Self::ProposalCreatedTooLongAgo,
        Self::ProposalFailedToValidate,
        Self::ProposalNotFound,
        Self::ProposalNotOpen,
        Self::ProposalReplay,
        Self::ResourceNotFound,
        Self::ServiceNotWaitingForRecoveryShares,
        Self::StateDigestMismatch,
        Self::VoteAlreadyExists,
        Self::TooManyOpenProposals,
    ];

    /// The one of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.as_str() == name)
    }

    /// The name as it stands in answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AuthorizationFailed => "AuthorizationFailed",
            Self::InternalError => "InternalError",
            Self::InvalidAuthenticationInfo => "InvalidAuthenticationInfo",
            Self::InvalidCreatedAt => "InvalidCreatedAt",
            Self::InvalidInput => "InvalidInput",
            Self::InvalidResourceName => "InvalidResourceName",
            Self::NodeNotRetiredCommitted => "NodeNotRetiredCommitted",
            Self::ProposalCreatedTooLongAgo => "ProposalCreatedTooLongAgo",
            Self::ProposalFailedToValidate => "ProposalFailedToValidate",
            Self::ProposalNotFound => "ProposalNotFound",
            Self::ProposalNotOpen => "ProposalNotOpen",
            Self::ProposalReplay => "ProposalReplay",
            Self::ResourceNotFound => "ResourceNotFound",
            Self::ServiceNotWaitingForRecoveryShares => "ServiceNotWaitingForRecoveryShares",
            Self::StateDigestMismatch => "StateDigestMismatch",
            Self::VoteAlreadyExists => "VoteAlreadyExists",
            Self::TooManyOpenProposals => "TooManyOpenProposals",
        }
    }
}

/// A request that was not carried out. Nothing of it remains.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct GovernanceError {
    /// What kind of refusal.
    pub code: ErrorCode,
    /// What was wrong. Parts of it may be the words of a script or of the one who asked.
    pub message: String,
}

impl GovernanceError {
    /// A refusal.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}
