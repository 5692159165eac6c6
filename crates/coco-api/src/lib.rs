//! The JSON that the outside sees: responses and error codes of `/node` and `/app`, in CCF's shapes and words
//! (CCF 7.0 HTTP API), so that tools written for it work unchanged. How anything is computed is not known here.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The header that carries the transaction id of every response.
pub const TRANSACTION_ID_HEADER: &str = "x-ms-ccf-transaction-id";

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

/// `GET /node/state`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeState {
    /// 64 hexadecimal digits.
    pub node_id: String,
    /// CCF's name of the node's own state; `PartOfNetwork` once it serves.
    pub state: String,
    /// Position of the last signature entry.
    pub last_signed_seqno: u64,
    /// Position from which the node started when it joined.
    pub startup_seqno: u64,
    /// Whether the node has been told to stop.
    pub stop_notice: bool,
}

/// `GET /node/network`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Network {
    /// `Open` once participants may transact.
    pub service_status: String,
    /// PEM.
    pub service_certificate: String,
    /// The view this node is in.
    pub current_view: u64,
    /// The node that executes, when known.
    pub primary_id: Option<String>,
    /// How often the service was recovered from disaster.
    pub recovery_count: u64,
    /// What members attached to the service.
    pub service_data: serde_json::Value,
    /// The first transaction of this incarnation of the service.
    pub current_service_create_txid: String,
}

/// `GET /node/network/nodes`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Nodes {
    /// All nodes of the network.
    pub nodes: Vec<Node>,
}

/// One node of the network.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Node {
    /// 64 hexadecimal digits.
    pub node_id: String,
    /// `Pending`, `Trusted` or `Retired`.
    pub status: String,
    /// Whether it is the primary of the current view, as far as the answering node knows.
    pub primary: bool,
    /// Where it serves, by the interface's name.
    pub rpc_interfaces: BTreeMap<String, RpcInterface>,
    /// What members attached to the node.
    pub node_data: serde_json::Value,
    /// The transaction position that last changed this record.
    pub last_written: u64,
}

/// An interface on which a node serves.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RpcInterface {
    /// Where the node listens.
    pub bind_address: String,
    /// Where others reach it.
    pub published_address: String,
    /// `tcp`.
    pub protocol: String,
}

/// `GET /node/version`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Version {
    /// The interface's name for the software version; ours begins with `coco-`.
    pub ccf_version: String,
    /// Version of the script engine; empty as long as there is none.
    pub quickjs_version: String,
    /// Whether this build weakens protection. True on the virtual platform.
    #[serde(rename = "unsafe")]
    pub is_unsafe: bool,
}

/// `GET /app/commit` and `GET /node/commit`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Commit {
    /// The last committed transaction.
    pub transaction_id: String,
    /// First transaction of each view, when asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub view_history: Option<Vec<String>>,
}

/// `GET /app/tx` and `GET /node/tx`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TxStatusBody {
    /// As asked.
    pub transaction_id: String,
    /// `Unknown`, `Pending`, `Committed` or `Invalid`.
    pub status: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_the_odata_shape() {
        let body = ErrorBody::new(ErrorCode::ResourceNotFound, "no such path");
        assert_eq!(
            serde_json::to_string(&body).expect("serialises"),
            r#"{"error":{"code":"ResourceNotFound","message":"no such path"}}"#
        );
    }

    #[test]
    fn view_history_is_absent_unless_asked_for() {
        let body = Commit { transaction_id: "2.3".into(), view_history: None };
        assert_eq!(
            serde_json::to_string(&body).expect("serialises"),
            r#"{"transaction_id":"2.3"}"#
        );
    }
}
