//! What the ledger says of the nodes while they come and go.
//!
//! A node keeps its key in the memory of its TEE, so a process that starts again is another node. What stays is its
//! *seat*: the key that its operator's disk holds. A new node in an old seat is `Pending` while it catches up, then
//! `Trusted`, and the node that had the seat is `Retired` in the same entry. Who votes while that happens stands in a map
//! of our own beside CCF's: consensus and auditors read it there instead of deriving it.

use coco_kv::{MapName, WriteSet};
use coco_types::{Digest, NodeId, Seqno, TxId};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    GenesisNode, NodeStatus,
    genesis::{ENDORSED_CERTIFICATES_MAP, NODES_MAP, NodeInfo, singleton_key},
};

/// `one key -> JSON`: who takes part in consensus.
pub const CONFIGURATION_MAP: &str = "public:coco.internal.configuration";

/// `one key -> JSON`: which configuration is in effect, written once its own entry is committed. A node that finds this in its
/// ledger counts by that configuration from its start on, and not by the one before it.
pub const IN_EFFECT_MAP: &str = "public:coco.internal.configuration_in_effect";

/// The row of [`CONFIGURATION_MAP`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigurationRow {
    /// Those that vote.
    pub voters: Vec<NodeId>,
    /// Those that voted before, while a joint change is under way.
    pub outgoing: Vec<NodeId>,
    /// Those that only listen.
    pub learners: Vec<NodeId>,
}

/// A row that cannot be read.
#[derive(Debug, Error)]
#[error("a row of {map} is not what this program writes")]
pub struct MembershipError {
    /// Whose row.
    pub map: &'static str,
    /// What is wrong.
    #[source]
    pub source: serde_json::Error,
}

/// What a row of the nodes' table says, as far as membership goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeRow {
    /// Its place in life.
    pub status: NodeStatus,
    /// Its seat. A node of the first entry has its own.
    pub seat: NodeId,
    /// The digest of its code.
    pub code_digest: Digest,
    /// Where clients reach it, `host:port`.
    pub rpc_address: String,
    /// Where other nodes reach it, `host:port`.
    pub peer_address: String,
    /// What new ledger secrets are encrypted to for it, in PEM; none in ledgers from before there were any.
    pub encryption_key_pem: Option<String>,
    /// It is retired, and nobody needs it any more.
    pub retired_committed: bool,
    /// Members want it to listen and never to vote.
    pub learner: bool,
    /// Members want it to leave when these seats vote, all of them in one step; otherwise empty.
    pub successors: Vec<NodeId>,
}

#[derive(Serialize, Deserialize)]
struct InEffect {
    seqno: u64,
}

#[derive(Serialize, Deserialize)]
struct Written {
    voters: Vec<String>,
    outgoing: Vec<String>,
    learners: Vec<String>,
}

#[derive(Deserialize)]
struct Read {
    status: NodeStatus,
    seat: Option<String>,
    code_digest: String,
    encryption_pub_key: Option<String>,
    node_to_node_interface: ReadInterface,
    rpc_interfaces: ReadInterfaces,
    #[serde(default)]
    retired_committed: bool,
    #[serde(default)]
    learner: bool,
    #[serde(default)]
    successors: Vec<String>,
}

#[derive(Deserialize)]
struct ReadInterfaces {
    primary_rpc_interface: ReadInterface,
}

#[derive(Deserialize)]
struct ReadInterface {
    published_address: String,
}

impl ConfigurationRow {
    /// Writes it.
    ///
    /// # Panics
    /// Never: ids have a JSON form.
    pub fn put(&self, set: &mut WriteSet) {
        let hex = |nodes: &[NodeId]| nodes.iter().map(NodeId::to_string).collect();
        let written = Written {
            voters: hex(&self.voters),
            outgoing: hex(&self.outgoing),
            learners: hex(&self.learners),
        };
        let row = serde_json::to_vec(&written).expect("text has a JSON form");
        set.insert(&MapName::from_static(CONFIGURATION_MAP), singleton_key(), row);
    }

    /// Reads it back.
    ///
    /// # Errors
    /// [`MembershipError`].
    pub fn read(row: &[u8]) -> Result<Self, MembershipError> {
        let failed = |source| MembershipError { map: CONFIGURATION_MAP, source };
        let written: Written = serde_json::from_slice(row).map_err(failed)?;
        let ids = |names: Vec<String>| names.iter().map(|name| id(name)).collect::<Result<_, _>>();
        Ok(Self {
            voters: ids(written.voters).map_err(failed)?,
            outgoing: ids(written.outgoing).map_err(failed)?,
            learners: ids(written.learners).map_err(failed)?,
        })
    }
}

/// Writes that the configuration in the entry at `at` is in effect.
///
/// # Panics
/// Never: a number has a JSON form.
pub fn put_in_effect(set: &mut WriteSet, at: Seqno) {
    let row = serde_json::to_vec(&InEffect { seqno: at.0 }).expect("a number has a JSON form");
    set.insert(&MapName::from_static(IN_EFFECT_MAP), singleton_key(), row);
}

/// Reads it back.
///
/// # Errors
/// [`MembershipError`].
pub fn read_in_effect(row: &[u8]) -> Result<Seqno, MembershipError> {
    let read: Result<InEffect, _> = serde_json::from_slice(row);
    let failed = |source| MembershipError { map: IN_EFFECT_MAP, source };
    read.map(|row| Seqno(row.seqno)).map_err(failed)
}

/// Writes a node that asks for a seat: `Pending`, with its endorsed certificate.
///
/// # Panics
/// Never: every value has a JSON form.
pub fn put_pending_node(set: &mut WriteSet, node: &GenesisNode, seat: NodeId) {
    let key = node.node_id.to_string();
    let info = NodeInfo::of(node, NodeStatus::Pending, Some(seat));
    let info = serde_json::to_vec(&info).expect("every value has a JSON form");
    set.insert(&MapName::from_static(NODES_MAP), key.as_bytes(), info);
    put_endorsed_certificate(set, node.node_id, &node.certificate_pem);
}

/// Writes a node that nobody knew: its row with its key in PEM, and no certificate. The service endorses it when it is
/// trusted and comes for its place.
///
/// # Panics
/// Never: every value has a JSON form.
pub fn put_introduced_node(
    set: &mut WriteSet,
    node: &GenesisNode,
    public_key_pem: &str,
    status: NodeStatus,
) {
    let info = NodeInfo::of(node, status, None).with_key(public_key_pem);
    let info = serde_json::to_vec(&info).expect("every value has a JSON form");
    set.insert(&MapName::from_static(NODES_MAP), node.node_id.to_string().as_bytes(), info);
}

/// Writes the certificate by which the service endorses a node.
pub fn put_endorsed_certificate(set: &mut WriteSet, node: NodeId, certificate_pem: &str) {
    let certificates = MapName::from_static(ENDORSED_CERTIFICATES_MAP);
    set.insert(&certificates, node.to_string().as_bytes(), certificate_pem.as_bytes());
}

/// `node id -> JSON`: nodes that went on from their own disks, by the last entry that they found there. Whoever reads the
/// ledger sees when a host was believed, and of what.
pub const RESUMED_MAP: &str = "public:coco.internal.resumed";

/// Writes that a node went on from its own disk.
///
/// # Panics
/// Never: a transaction id has a JSON form.
pub fn put_resumed(set: &mut WriteSet, node: NodeId, from: TxId) {
    let row = serde_json::json!({ "transaction_id": from.to_string() });
    let row = serde_json::to_vec(&row).expect("text has a JSON form");
    set.insert(&MapName::from_static(RESUMED_MAP), node.to_string().as_bytes(), row);
}

/// Reads a node's row.
///
/// # Errors
/// [`MembershipError`].
pub fn read_node(node: NodeId, row: &[u8]) -> Result<NodeRow, MembershipError> {
    let failed = |source| MembershipError { map: NODES_MAP, source };
    let read: Read = serde_json::from_slice(row).map_err(failed)?;
    let seat = read.seat.map_or(Ok(node), |seat| id(&seat)).map_err(failed)?;
    let successors = read.successors.iter().map(|seat| id(seat)).collect::<Result<_, _>>();
    // A digest and an id are written alike.
    let code_digest = Digest(id(&read.code_digest).map_err(failed)?.0);
    Ok(NodeRow {
        status: read.status,
        seat,
        code_digest,
        rpc_address: read.rpc_interfaces.primary_rpc_interface.published_address,
        peer_address: read.node_to_node_interface.published_address,
        encryption_key_pem: read.encryption_pub_key,
        retired_committed: read.retired_committed,
        learner: read.learner,
        successors: successors.map_err(failed)?,
    })
}

/// Writes a node's row again with another status.
///
/// # Errors
/// [`MembershipError`] when `row` is no such row.
pub fn put_status(
    set: &mut WriteSet,
    node: NodeId,
    row: &[u8],
    status: NodeStatus,
) -> Result<(), MembershipError> {
    change_row(set, node, row, [("status", serde_json::json!(status))])
}

/// What members say of a seat in the row of the node that has it, and whoever takes it over keeps.
pub const KEPT_FIELDS: [&str; 2] = ["node_data", "successors"];

/// Writes a node's row again: it takes the seat of the node in `before`, and is [`NodeStatus::Trusted`] as that was.
///
/// # Errors
/// [`MembershipError`] when `row` or `before` is no such row.
pub fn put_successor(
    set: &mut WriteSet,
    node: NodeId,
    row: &[u8],
    before: &[u8],
) -> Result<(), MembershipError> {
    let mut before = fields(before)?;
    let kept = KEPT_FIELDS.into_iter().filter_map(|field| Some((field, before.remove(field)?)));
    let status = [("status", serde_json::json!(NodeStatus::Trusted))];
    change_row(set, node, row, kept.chain(status))
}

/// Writes the row of a seat again whose node is quarantined: pending, with what members said of the node in `before` that had come in
/// it.
///
/// # Errors
/// [`MembershipError`] when `row` or `before` is no such row.
pub fn put_quarantined(
    set: &mut WriteSet,
    seat: NodeId,
    row: &[u8],
    before: &[u8],
) -> Result<(), MembershipError> {
    let (mut changed, mut before) = (fields(row)?, fields(before)?);
    for field in KEPT_FIELDS {
        let kept = before.remove(field).map(|kept| changed.insert(field.to_owned(), kept));
        if kept.is_none() {
            changed.remove(field);
        }
    }
    changed.insert("status".to_owned(), serde_json::json!(NodeStatus::Pending));
    changed.insert("retired_committed".to_owned(), serde_json::json!(false));
    put_fields(set, seat, &changed)
}

/// Writes a node's row again: it is [`NodeStatus::Trusted`], and runs and is reached as it has shown now.
///
/// # Errors
/// [`MembershipError`] when `row` is no such row.
///
/// # Panics
/// Never: every value has a JSON form.
pub fn put_let_in_again(
    set: &mut WriteSet,
    node: &GenesisNode,
    row: &[u8],
) -> Result<(), MembershipError> {
    let shown = NodeInfo::of(node, NodeStatus::Trusted, None);
    let shown = serde_json::to_value(&shown).expect("every value has a JSON form");
    let shown = shown.as_object().expect("a row has fields").clone();
    let mut changed = fields(row)?;
    changed.extend(shown);
    put_fields(set, node.node_id, &changed)
}

/// Writes a retired node's row again, saying that its retirement is committed: CCF's word for a node that nobody needs
/// any more.
///
/// # Errors
/// [`MembershipError`] when `row` is no such row.
pub fn put_retired_committed(
    set: &mut WriteSet,
    node: NodeId,
    row: &[u8],
) -> Result<(), MembershipError> {
    change_row(set, node, row, [("retired_committed", serde_json::json!(true))])
}

fn fields(row: &[u8]) -> Result<serde_json::Map<String, serde_json::Value>, MembershipError> {
    serde_json::from_slice(row).map_err(|source| MembershipError { map: NODES_MAP, source })
}

fn change_row<'a>(
    set: &mut WriteSet,
    node: NodeId,
    row: &[u8],
    changes: impl IntoIterator<Item = (&'a str, serde_json::Value)>,
) -> Result<(), MembershipError> {
    let mut fields = fields(row)?;
    fields.extend(changes.into_iter().map(|(field, value)| (field.to_owned(), value)));
    put_fields(set, node, &fields)
}

fn put_fields(
    set: &mut WriteSet,
    node: NodeId,
    fields: &serde_json::Map<String, serde_json::Value>,
) -> Result<(), MembershipError> {
    let row =
        serde_json::to_vec(fields).map_err(|source| MembershipError { map: NODES_MAP, source })?;
    set.insert(&MapName::from_static(NODES_MAP), node.to_string().as_bytes(), row);
    Ok(())
}

fn id(text: &str) -> Result<NodeId, serde_json::Error> {
    text.parse().map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_comes_back() {
        let [a, b, c] = [1, 2, 3].map(|n| NodeId([n; 32]));
        let row =
            ConfigurationRow { voters: vec![a, b], outgoing: vec![a, c], learners: Vec::new() };
        let mut set = WriteSet::new();
        row.put(&mut set);
        let written = set.get(&MapName::from_static(CONFIGURATION_MAP), singleton_key()).unwrap();
        assert_eq!(ConfigurationRow::read(written).unwrap(), row);
        assert!(ConfigurationRow::read(b"{}").is_err());
        let short = br#"{"voters":["07"],"outgoing":[],"learners":[]}"#;
        assert!(ConfigurationRow::read(short).is_err());
    }

    #[test]
    fn a_configuration_is_in_effect_by_its_entry() {
        let mut set = WriteSet::new();
        put_in_effect(&mut set, Seqno(17));
        let row = set.get(&MapName::from_static(IN_EFFECT_MAP), singleton_key()).unwrap();
        assert_eq!((&**row, read_in_effect(row).unwrap()), (&br#"{"seqno":17}"#[..], Seqno(17)));
        assert!(read_in_effect(b"17").is_err());
    }

    #[test]
    fn a_node_that_resumed_is_named_with_its_last_entry() {
        let mut set = WriteSet::new();
        put_resumed(&mut set, NodeId([7; 32]), TxId::new(2, 9));
        let row = set.get(&MapName::from_static(RESUMED_MAP), "07".repeat(32).as_bytes()).unwrap();
        assert_eq!(&**row, br#"{"transaction_id":"2.9"}"#);
    }

    #[test]
    fn a_node_goes_from_pending_to_retired_and_keeps_its_row() {
        let node_id = NodeId([7; 32]);
        let node = GenesisNode {
            node_id,
            certificate_pem: "PEM".to_owned(),
            request_pem: None,
            quote_format: "Insecure_Virtual".to_owned(),
            code_digest: Digest([1; 32]),
            rpc_address: "127.0.0.1:1".to_owned(),
            peer_address: "127.0.0.1:2".to_owned(),
            encryption_key_pem: "KEY".to_owned(),
        };
        let (key, nodes) = (node_id.to_string(), MapName::from_static(NODES_MAP));
        let mut set = WriteSet::new();
        put_pending_node(&mut set, &node, NodeId([9; 32]));
        for status in [NodeStatus::Pending, NodeStatus::Trusted, NodeStatus::Retired] {
            let row = set.get(&nodes, key.as_bytes()).unwrap().clone();
            put_status(&mut set, node_id, &row, status).unwrap();
            let row = set.get(&nodes, key.as_bytes()).unwrap();
            let expected = NodeRow {
                status,
                seat: NodeId([9; 32]),
                code_digest: node.code_digest,
                rpc_address: node.rpc_address.clone(),
                peer_address: node.peer_address.clone(),
                encryption_key_pem: Some("KEY".to_owned()),
                retired_committed: false,
                learner: false,
                successors: Vec::new(),
            };
            assert_eq!(read_node(node_id, row).unwrap(), expected);
        }
        let row = set.get(&nodes, key.as_bytes()).unwrap().clone();
        put_retired_committed(&mut set, node_id, &row).unwrap();
        let text = String::from_utf8(set.get(&nodes, key.as_bytes()).unwrap().to_vec()).unwrap();
        assert!(text.contains(r#""retired_committed":true"#) && text.contains("127.0.0.1:2"));
        assert!(put_status(&mut set, node_id, b"no", NodeStatus::Trusted).is_err());
    }

    #[test]
    fn whoever_takes_a_seat_keeps_what_members_said_of_it() {
        let [node, seat, next] = [7, 9, 11].map(|n| NodeId([n; 32]));
        let row = |status: &str, data: &str| {
            format!(
                r#"{{"status":"{status}","seat":"{seat}","code_digest":"{seat}",{data}
                "node_to_node_interface":{{"published_address":"a:1"}},
                "rpc_interfaces":{{"primary_rpc_interface":{{"published_address":"a:2"}}}}}}"#
            )
        };
        let said = format!(r#""node_data":{{"site":"B"}},"successors":["{next}"],"learner":true,"#);
        let (before, after) = (row("Retired", &said), row("Pending", ""));
        let mut set = WriteSet::new();
        put_successor(&mut set, node, after.as_bytes(), before.as_bytes()).unwrap();
        let written = set.get(&MapName::from_static(NODES_MAP), node.to_string().as_bytes());
        let written = written.expect("it is written");
        let read = read_node(node, written).unwrap();
        assert_eq!((read.status, &*read.successors), (NodeStatus::Trusted, &[next][..]));
        assert!(!read.learner, "who takes over a vote has one");
        assert_eq!(fields(written).unwrap()["node_data"]["site"], "B");
        assert!(read_node(node, row("Trusted", r#""successors":["07"],"#).as_bytes()).is_err());
        assert!(put_successor(&mut set, node, after.as_bytes(), b"[]").is_err());
    }
}
