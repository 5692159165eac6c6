//! What the ledger says of its service: the nodes, their certificates, the service's certificate and status.
//!
//! The tables and their JSON are those that auditors' tools ask for; CCF defines them. The first entry writes all
//! three, so that the first signature entry can already be checked, and beside them who votes.

use coco_kv::{MapName, WriteSet};
use coco_types::{Digest, NodeId};
use serde::{Deserialize, Serialize};

use crate::membership::ConfigurationRow;

/// `node id -> JSON`: the nodes of the service.
pub const NODES_MAP: &str = "public:ccf.gov.nodes.info";
/// `node id -> PEM`: the certificates by which the service endorses them.
pub const ENDORSED_CERTIFICATES_MAP: &str = "public:ccf.gov.nodes.endorsed_certificates";
/// `one key -> JSON`: the service's certificate and status.
pub const SERVICE_MAP: &str = "public:ccf.gov.service.info";

/// The key of tables with one row.
#[must_use]
pub const fn singleton_key() -> &'static [u8] {
    &[0; 8]
}

/// The service's lifecycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServiceStatus {
    /// Being set up.
    Opening,
    /// In service.
    Open,
    /// Restored public state, waiting for members' shares.
    WaitingForRecoveryShares,
    /// Being restored.
    Recovering,
}

impl ServiceStatus {
    /// Whether `next` may follow for a service with the same key. A recovery begins another service, whose key is another.
    #[must_use]
    pub fn may_become(self, next: Self) -> bool {
        let follows = match self {
            Self::Opening => matches!(next, Self::Open | Self::WaitingForRecoveryShares),
            Self::Recovering => next == Self::WaitingForRecoveryShares,
            Self::WaitingForRecoveryShares => next == Self::Open,
            Self::Open => false,
        };
        follows || next == self
    }
}

/// A node's lifecycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeStatus {
    /// Asked to join.
    Pending,
    /// Takes part.
    Trusted,
    /// Takes part no more.
    Retired,
}

/// A node as its row says it: one that is there from the first entry on, or asks for a seat later.
#[derive(Clone, Debug)]
pub struct GenesisNode {
    /// Its id.
    pub node_id: NodeId,
    /// The certificate by which the service endorses it, in PEM.
    pub certificate_pem: String,
    /// Its signed request for certificates, in PEM; programs of before made none.
    pub request_pem: Option<String>,
    /// What its evidence is called: `Insecure_Virtual` without hardware.
    pub quote_format: String,
    /// The digest of its code.
    pub code_digest: Digest,
    /// Where clients reach it, `host:port`.
    pub rpc_address: String,
    /// Where other nodes reach it, `host:port`.
    pub peer_address: String,
    /// What new ledger secrets are encrypted to for it: an RSA key in PEM.
    pub encryption_key_pem: String,
}

/// The write set of the first entry. The service is [`ServiceStatus::Opening`].
///
/// # Panics
/// Never: every value has a JSON form.
#[must_use]
pub fn genesis_write_set(service_certificate_pem: &str, nodes: &[GenesisNode]) -> WriteSet {
    let mut set = WriteSet::new();
    let (infos, certificates) =
        (MapName::from_static(NODES_MAP), MapName::from_static(ENDORSED_CERTIFICATES_MAP));
    for node in nodes {
        let key = node.node_id.to_string();
        let info = NodeInfo::of(node, NodeStatus::Trusted, None);
        let info = serde_json::to_vec(&info).expect("every value has a JSON form");
        set.insert(&infos, key.as_bytes(), info);
        set.insert(&certificates, key.as_bytes(), node.certificate_pem.as_bytes());
    }
    let voters = nodes.iter().map(|node| node.node_id).collect();
    ConfigurationRow { voters, ..ConfigurationRow::default() }.put(&mut set);
    put_service(&mut set, service_certificate_pem, ServiceStatus::Opening);
    set
}

/// Writes the service's certificate and status.
///
/// # Panics
/// Never: both have a JSON form.
pub fn put_service(set: &mut WriteSet, certificate_pem: &str, status: ServiceStatus) {
    let info = ServiceInfo { cert: certificate_pem.to_owned(), status };
    let info = serde_json::to_vec(&info).expect("text and an enumeration have a JSON form");
    set.insert(&MapName::from_static(SERVICE_MAP), singleton_key(), info);
}

/// A row of [`SERVICE_MAP`].
#[derive(Serialize, Deserialize)]
pub(crate) struct ServiceInfo {
    pub(crate) cert: String,
    pub(crate) status: ServiceStatus,
}

/// What is read back of a row of [`NODES_MAP`].
#[derive(Deserialize)]
pub(crate) struct NodeState {
    pub(crate) status: NodeStatus,
}

#[derive(Serialize)]
pub(crate) struct NodeInfo<'a> {
    status: NodeStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    seat: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    public_key: Option<&'a str>,
    quote_info: QuoteInfo<'a>,
    code_digest: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate_signing_request: Option<&'a str>,
    encryption_pub_key: &'a str,
    node_to_node_interface: Interface<'a>,
    rpc_interfaces: RpcInterfaces<'a>,
}

#[derive(Serialize)]
struct QuoteInfo<'a> {
    format: &'a str,
    quote: &'a str,
    endorsements: &'a str,
}

#[derive(Serialize)]
struct Interface<'a> {
    bind_address: &'a str,
    published_address: &'a str,
}

#[derive(Serialize)]
struct RpcInterfaces<'a> {
    primary_rpc_interface: Interface<'a>,
}

impl<'a> NodeInfo<'a> {
    /// The same row with the node's key, in PEM, for a node that the service has not endorsed.
    pub(crate) fn with_key(self, public_key: &'a str) -> Self {
        Self { public_key: Some(public_key), ..self }
    }

    /// A row for a node, in a seat that is not its own.
    pub(crate) fn of(node: &'a GenesisNode, status: NodeStatus, seat: Option<NodeId>) -> Self {
        let interface =
            |address: &'a str| Interface { bind_address: address, published_address: address };
        Self {
            status,
            seat: seat.map(|seat| seat.to_string()),
            public_key: None,
            quote_info: QuoteInfo { format: &node.quote_format, quote: "", endorsements: "" },
            code_digest: node.code_digest.to_string(),
            certificate_signing_request: node.request_pem.as_deref(),
            encryption_pub_key: &node.encryption_key_pem,
            node_to_node_interface: interface(&node.peer_address),
            rpc_interfaces: RpcInterfaces { primary_rpc_interface: interface(&node.rpc_address) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CONFIGURATION_MAP;

    #[test]
    fn a_service_moves_on_and_a_recovery_is_another_service() {
        use ServiceStatus::{Open, Opening, Recovering, WaitingForRecoveryShares as Waiting};
        let all = [Opening, Open, Waiting, Recovering];
        let allowed = [(Opening, Open), (Opening, Waiting), (Recovering, Waiting), (Waiting, Open)];
        for from in all {
            for to in all {
                let expected = to == from || allowed.contains(&(from, to));
                assert_eq!(from.may_become(to), expected, "{from:?} to {to:?}");
            }
        }
    }

    #[test]
    fn the_first_entry_writes_the_tables_of_nodes_and_service() {
        let node = GenesisNode {
            node_id: NodeId([7; 32]),
            certificate_pem: "PEM".to_owned(),
            request_pem: Some("REQUEST".to_owned()),
            quote_format: "Insecure_Virtual".to_owned(),
            code_digest: Digest([1; 32]),
            rpc_address: "127.0.0.1:1".to_owned(),
            peer_address: "127.0.0.1:2".to_owned(),
            encryption_key_pem: "KEY".to_owned(),
        };
        let set = genesis_write_set("SERVICE", &[node]);
        let names: Vec<&str> = set.map_names().map(MapName::as_str).collect();
        let maps = [ENDORSED_CERTIFICATES_MAP, NODES_MAP, SERVICE_MAP, CONFIGURATION_MAP];
        assert_eq!(names, maps);
        let service = set.get(&MapName::from_static(SERVICE_MAP), singleton_key()).unwrap();
        assert_eq!(&**service, br#"{"cert":"SERVICE","status":"Opening"}"#);
        let id = "07".repeat(32);
        let info = set.get(&MapName::from_static(NODES_MAP), id.as_bytes()).unwrap();
        assert!(
            info.starts_with(br#"{"status":"Trusted","quote_info":{"format":"Insecure_Virtual""#)
        );
        let read: serde_json::Value = serde_json::from_slice(info).unwrap();
        assert_eq!(read["certificate_signing_request"], "REQUEST");
    }
}
