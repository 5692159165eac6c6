//! What the ledger says when a service begins anew after a disaster: one entry, by the one node that has the ledger.
//!
//! The service has another key from then on, and so another certificate; the node signs under it, and nobody of before
//! takes part any more. Tables and fields are CCF's, which endorses the service before only once the new one opens. Here that
//! stands in the first entry: then every service that ever signed has a link, one that was lost again before it opened, too;
//! the entry says nothing that must wait for members, since who does not trust the new key believes none of it.

use coco_kv::{MapName, WriteSet};
use coco_types::{Digest, NodeId, Seqno, TxId};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{
    ConfigurationRow, EndorsementRow, GenesisNode, MembershipError, NODES_MAP, NodeStatus,
    SERVICE_MAP, ServiceStatus, genesis::NodeInfo, put_endorsed_certificate, put_retired_committed,
    put_status, read_node, singleton_key,
};

/// `one key -> JSON text`: the certificate of the service before the last recovery, in PEM.
pub const PREVIOUS_SERVICE_MAP: &str = "public:ccf.gov.service.previous_service_identity";
/// `one key -> JSON text`: the root that the service before signed last, in hexadecimal.
pub const LAST_SIGNED_ROOT_MAP: &str = "public:ccf.gov.service.previous_service_last_signed_root";

/// A service that begins anew.
#[derive(Clone, Copy, Debug)]
pub struct Recovery<'a> {
    /// The entry that says so.
    pub id: TxId,
    /// The certificate of the service, in PEM.
    pub certificate_pem: &'a str,
    /// That of the service before.
    pub previous_pem: &'a str,
    /// The root that the service before signed last.
    pub signed_root: Digest,
    /// What the service says of the one before.
    pub endorsement: &'a EndorsementRow,
    /// The row of the service until now.
    pub service_row: &'a [u8],
    /// The rows of all nodes until now.
    pub node_rows: &'a [(NodeId, Vec<u8>)],
    /// The node.
    pub node: &'a GenesisNode,
}

impl Recovery<'_> {
    /// The write set of the entry.
    ///
    /// # Errors
    /// [`MembershipError`] when a row of before cannot be read.
    pub fn write_set(&self) -> Result<WriteSet, MembershipError> {
        let mut set = WriteSet::new();
        let mut put = |map: &'static str, key: &[u8], value: &Value| {
            set.insert(&MapName::from_static(map), key, value.to_string().into_bytes());
        };
        put(SERVICE_MAP, singleton_key(), &self.service()?);
        put(PREVIOUS_SERVICE_MAP, singleton_key(), &json!(self.previous_pem));
        put(LAST_SIGNED_ROOT_MAP, singleton_key(), &json!(self.signed_root.to_string()));
        self.endorsement.put(&mut set);
        for (node, row) in self.node_rows {
            if read_node(*node, row)?.status != NodeStatus::Retired {
                put_status(&mut set, *node, row, NodeStatus::Retired)?;
                let key = node.to_string();
                let changed = set.get(&MapName::from_static(NODES_MAP), key.as_bytes()).cloned();
                if let Some(row) = changed {
                    put_retired_committed(&mut set, *node, &row)?;
                }
            }
        }
        let node = self.node;
        let info = serde_json::to_vec(&NodeInfo::of(node, NodeStatus::Trusted, None))
            .map_err(|source| MembershipError { map: NODES_MAP, source })?;
        set.insert(&MapName::from_static(NODES_MAP), node.node_id.to_string().as_bytes(), info);
        put_endorsed_certificate(&mut set, node.node_id, &node.certificate_pem);
        ConfigurationRow { voters: vec![node.node_id], ..ConfigurationRow::default() }
            .put(&mut set);
        Ok(set)
    }

    fn service(&self) -> Result<Value, MembershipError> {
        let failed = |source| MembershipError { map: SERVICE_MAP, source };
        let before: Map<String, Value> =
            serde_json::from_slice(self.service_row).map_err(failed)?;
        let count = before.get("recovery_count").and_then(Value::as_u64).unwrap_or(0);
        let made = service_began(self.service_row)?;
        let mut row = json!({
            "cert": self.certificate_pem,
            "status": ServiceStatus::Recovering,
            "recovery_count": count + 1,
            "current_service_create_txid": self.id.to_string(),
            "previous_service_identity_version": made.map_or(Seqno(1), |made| made.seqno).0,
        });
        if let Some(data) = before.get("service_data") {
            row["service_data"] = data.clone();
        }
        Ok(row)
    }
}

/// The status of a service, from its row. Nothing when that is of another form.
#[must_use]
pub fn service_status(service_row: &[u8]) -> Option<ServiceStatus> {
    #[derive(Deserialize)]
    struct Row {
        status: ServiceStatus,
    }
    serde_json::from_slice::<Row>(service_row).ok().map(|row| row.status)
}

/// The entry with which a service began, from its row. None when it began with the ledger.
///
/// # Errors
/// [`MembershipError`] when the row cannot be read.
pub fn service_began(service_row: &[u8]) -> Result<Option<TxId>, MembershipError> {
    #[derive(Deserialize)]
    struct Row {
        current_service_create_txid: Option<String>,
    }
    let row: Row = serde_json::from_slice(service_row)
        .map_err(|source| MembershipError { map: SERVICE_MAP, source })?;
    Ok(row.current_service_create_txid.and_then(|id| id.parse().ok()))
}

#[cfg(test)]
mod tests {
    use coco_crypto::{Curve, SigningKey};

    use super::*;
    use crate::{EndorsedService, Epoch, PREVIOUS_ENDORSEMENT_MAP};

    #[test]
    fn nobody_of_before_takes_part_and_the_service_counts_its_recoveries() {
        let node = |n: u8| GenesisNode {
            node_id: NodeId([n; 32]),
            certificate_pem: "CERT".to_owned(),
            request_pem: None,
            quote_format: "Insecure_Virtual".to_owned(),
            code_digest: Digest([1; 32]),
            rpc_address: "127.0.0.1:1".to_owned(),
            peer_address: "127.0.0.1:2".to_owned(),
            encryption_key_pem: "KEY".to_owned(),
        };
        let (old, new) = (node(1), node(2));
        let row = serde_json::to_vec(&NodeInfo::of(&old, NodeStatus::Trusted, None)).unwrap();
        let key = SigningKey::generate(Curve::P384);
        let (first, last) = (TxId::new(2, 1), TxId::new(2, 8));
        let epoch = Epoch { first, last, root: Digest([3; 32]) };
        let before = EndorsedService { key: key.public().clone(), epoch };
        let sign = |bytes: &[u8]| key.sign_fixed(bytes);
        let endorsement = EndorsementRow::new(&before, key.public(), sign, None, 0);
        let recovery = |service_row: &'static [u8]| Recovery {
            id: TxId::new(4, 9),
            certificate_pem: "NEW",
            previous_pem: "OLD",
            signed_root: Digest([3; 32]),
            endorsement: &endorsement,
            service_row,
            node_rows: &[],
            node: &new,
        };
        let rows = [(old.node_id, row)];
        let first = recovery(br#"{"cert":"OLD","status":"Open","service_data":7}"#);
        let set = Recovery { node_rows: &rows, ..first }.write_set().unwrap();
        let status = |node: NodeId| {
            let row = set.get(&MapName::from_static(NODES_MAP), node.to_string().as_bytes());
            let row = read_node(node, row.unwrap()).unwrap();
            (row.status, row.retired_committed)
        };
        assert_eq!(status(old.node_id), (NodeStatus::Retired, true));
        assert_eq!(status(new.node_id), (NodeStatus::Trusted, false));
        let row = set.get(&MapName::from_static(PREVIOUS_ENDORSEMENT_MAP), singleton_key());
        assert_eq!(EndorsementRow::read(row.unwrap()), Ok(endorsement.clone()));
        let service = |set: &WriteSet| -> Value {
            let row = set.get(&MapName::from_static(SERVICE_MAP), singleton_key());
            serde_json::from_slice(row.unwrap()).unwrap()
        };
        let expected = json!({
            "cert": "NEW",
            "status": "Recovering",
            "recovery_count": 1,
            "current_service_create_txid": "4.9",
            "previous_service_identity_version": 1,
            "service_data": 7,
        });
        assert_eq!(service(&set), expected);
        let again = recovery(
            br#"{"cert":"OLD","status":"Open","recovery_count":4,"current_service_create_txid":"3.7"}"#,
        );
        let row = service(&again.write_set().unwrap());
        assert_eq!(
            (&row["recovery_count"], &row["previous_service_identity_version"]),
            (&json!(5), &json!(7))
        );
        assert!(recovery(b"no").write_set().is_err());
    }
}
