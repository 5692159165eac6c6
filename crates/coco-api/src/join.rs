//! `POST /node/join`: what a node says that wants to belong to the network, and what it is told.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a node says of itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JoinRequest {
    /// Where it is reached.
    pub node_info_network: NodeInfoNetwork,
    /// Its evidence.
    pub quote_info: QuoteInfo,
    /// What later ledger secrets are encrypted to for it: an RSA key in PEM.
    pub public_encryption_key: String,
    /// Its signed request for certificates: PKCS #10 in PEM, for its key and addresses. Programs of before sent none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_signing_request: Option<String>,
}

/// Where a node is reached.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeInfoNetwork {
    /// By other nodes.
    pub node_to_node_interface: Interface,
    /// By clients.
    pub rpc_interfaces: RpcInterfaces,
}

/// The interfaces for clients: there is one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RpcInterfaces {
    /// It.
    pub primary_rpc_interface: Interface,
}

/// One interface.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Interface {
    /// `host:port`.
    pub published_address: String,
}

/// The evidence of a node.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct QuoteInfo {
    /// Of which platform.
    pub format: String,
    /// The evidence itself, in base64.
    pub quote: String,
    /// What its maker says of it, as `coco-attest` writes it, in base64.
    #[serde(default)]
    pub endorsements: String,
    /// What was measured, event by event, in base64, where the platform has such a log. Ours.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub event_log: String,
}

/// What the node is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JoinResponse {
    /// `Pending` or `Trusted`.
    pub node_status: String,
    /// Its id.
    pub node_id: String,
    /// What it needs to take part, once it is trusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_info: Option<NetworkInfo>,
}

/// What a trusted node needs to take part.
#[derive(Clone, Serialize, Deserialize)]
pub struct NetworkInfo {
    /// Whether only the public state is there.
    pub public_only: bool,
    /// The state of the service.
    pub service_status: String,
    /// The service's certificate and key.
    pub identity: ServiceIdentity,
    /// The secrets of the ledger, oldest first.
    pub ledger_secrets: Vec<LedgerSecretInfo>,
    /// The certificate by which the service endorses the node, in PEM.
    pub endorsed_certificate: String,
    /// The nodes of the network. Ours.
    pub nodes: Vec<NetworkNode>,
}

/// The identity of the service.
#[derive(Clone, Serialize, Deserialize)]
pub struct ServiceIdentity {
    /// Its certificate, in PEM.
    pub cert: String,
    /// Its private key: PKCS#8, in base64.
    pub priv_key: String,
}

/// A secret of the ledger.
#[derive(Clone, Serialize, Deserialize)]
pub struct LedgerSecretInfo {
    /// The first entry that it seals.
    pub seqno: u64,
    /// It, in base64.
    pub secret: String,
}

/// A node of the network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkNode {
    /// Its id.
    pub node_id: String,
    /// Where other nodes reach it.
    pub peer_address: String,
    /// Where clients reach it.
    pub client_address: String,
}

impl fmt::Debug for NetworkInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = &self.service_status;
        f.debug_struct("NetworkInfo").field("service_status", status).finish_non_exhaustive()
    }
}

impl fmt::Debug for ServiceIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceIdentity").finish_non_exhaustive()
    }
}

impl fmt::Debug for LedgerSecretInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LedgerSecretInfo").field("seqno", &self.seqno).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        let info = NetworkInfo {
            public_only: false,
            service_status: "Open".into(),
            identity: ServiceIdentity { cert: "CERT".into(), priv_key: "SECRET".into() },
            ledger_secrets: vec![LedgerSecretInfo { seqno: 1, secret: "SECRET".into() }],
            endorsed_certificate: "CERT".into(),
            nodes: Vec::new(),
        };
        let shown = format!("{info:?} {:?} {:?}", info.identity, info.ledger_secrets);
        assert!(!shown.contains("SECRET"), "{shown}");
    }
}
