//! Shapes of `/node`, and of what `/node`, `/app` and `/gov` have in common.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// `GET /node/state`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeState {
    /// 64 hexadecimal digits.
    pub node_id: String,
    /// CCF's name of the node's own state: `PartOfNetwork`; or `PartOfPublicNetwork` while the service is being recovered and
    /// has not got the secrets of what is private.
    pub state: String,
    /// Position of the last signature entry.
    pub last_signed_seqno: u64,
    /// Position of the snapshot that the node started from; 0 if it read the whole ledger.
    pub startup_seqno: u64,
    /// Whether the node has been told to stop.
    pub stop_notice: bool,
    /// In a recovery, the last entry whose private part is to be read again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery_target_seqno: Option<u64>,
    /// In a recovery, the last entry whose private part was read again. It is 0 until all secrets are there: then the node
    /// reads everything before it serves again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_recovered_seqno: Option<u64>,
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
    /// Version of the script engine, which is QuickJS-NG.
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

/// `GET /node/jwt_keys/refresh/metrics`: how often this node fetched keys of issuers of tokens since it started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JwtRefresh {
    /// How often.
    pub attempts: u64,
    /// How often it got keys and the service took them.
    pub successes: u64,
    /// How often not.
    pub failures: u64,
}

/// `GET /node/metrics`: the connections of clients, since the node started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeMetrics {
    /// Over all interfaces.
    pub sessions: SessionMetrics,
}

/// Connections of clients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionMetrics {
    /// Open now.
    pub active: u64,
    /// Open at one time, at most.
    pub peak: u64,
    /// By the interface's name.
    pub interfaces: BTreeMap<String, InterfaceSessions>,
}

/// Connections at one interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceSessions {
    /// Open now.
    pub active: u64,
    /// Open at one time, at most.
    pub peak: u64,
    /// Connections from which on requests are refused.
    pub soft_cap: u64,
    /// Connections from which on others are closed at once.
    pub hard_cap: u64,
    /// What came in that was no request.
    pub errors: SessionErrors,
}

/// How often something came in that was no request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionErrors {
    /// No HTTP.
    pub parsing: u64,
    /// Headers over the limit.
    pub request_header_too_large: u64,
    /// A body over the limit.
    pub request_payload_too_large: u64,
}

/// `GET /node/historical_cache`: what a node keeps in memory of the ledger's past, for whoever reads it next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoricalCache {
    /// Its bytes, about.
    pub estimated_size: u64,
}

/// `GET /node/quotes`, and by another name `GET /node/attestations`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Quotes {
    /// One of each trusted node.
    pub quotes: Vec<Quote>,
}

/// `GET /node/attestations`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Attestations {
    /// One of each trusted node.
    pub attestations: Vec<Quote>,
}

/// A node's evidence: `GET /node/quotes/self` and `GET /node/attestations/self`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Quote {
    /// 64 hexadecimal digits.
    pub node_id: String,
    /// What the hardware signed, in base64.
    pub raw: String,
    /// Who vouches for the hardware, in base64.
    pub endorsements: String,
    /// Its kind; `Insecure_Virtual` without hardware.
    pub format: String,
    /// The digest of the code, in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measurement: Option<String>,
    /// Who vouches for the utility VM, in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uvm_endorsements: Option<String>,
    /// How much its platform proves: `insecure`, `measured_boot`, `hypervisor` or `processor`. Ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
}

/// `GET /node/service/previous_identity`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PreviousIdentity {
    /// PEM.
    pub previous_service_identity: String,
}

/// `GET /node/consensus`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Consensus {
    /// Its one member.
    pub details: ConsensusDetails,
}

/// What this node knows of consensus.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ConsensusDetails {
    /// How far the others are, by id; empty on a node that is not the primary.
    #[serde(default)]
    pub acks: BTreeMap<String, ConsensusAck>,
    /// Who votes. Two, while one replaces the other.
    pub configs: Vec<ConsensusConfiguration>,
    /// The view this node is in.
    pub current_view: u64,
    /// `Leader`, `Follower` or `Candidate`.
    pub leadership_state: String,
    /// Nodes that only listen, and where they are reached.
    pub learners: BTreeMap<String, ConsensusNode>,
    /// `Active` while this node votes, else `Learner`; after its removal `RetirementInitiated` while it still votes, and then
    /// `Retired`.
    pub membership_state: String,
    /// The primary, when known.
    pub primary_id: Option<String>,
    /// Always `OneTransaction`: several nodes may change at one time.
    pub reconfiguration_type: String,
    /// After its removal: `Ordered` while it takes part, then `Completed`, and `RetiredCommitted` once nobody needs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retirement_phase: Option<String>,
    /// Whether time goes on.
    pub ticking: bool,
}

/// What a primary knows of another node.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct ConsensusAck {
    /// How long ago it was heard of, in milliseconds.
    pub last_received_ms: u64,
    /// It has everything up to here on disk.
    pub seqno: u64,
}

/// Nodes that vote together.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ConsensusConfiguration {
    /// The entry that says so. Where one configuration replaces another, both stand in the same.
    #[serde(default)]
    pub idx: u64,
    /// The same as `idx`, as in CCF.
    #[serde(default)]
    pub rid: u64,
    /// By id.
    pub nodes: BTreeMap<String, ConsensusNode>,
}

/// Where consensus reaches a node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ConsensusNode {
    /// Host and port; empty when this node does not know it.
    pub address: String,
}
