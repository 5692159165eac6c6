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
}

impl ErrorBody {
    /// An error with its message.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { error: ErrorDetail { code, message: message.into() } }
    }
}
