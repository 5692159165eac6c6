//! What the ledger says of its service and nodes, followed entry by entry.

use std::collections::BTreeMap;

use coco_crypto::{Certificate, PublicKey};
use coco_kv::{Domain, MapImage, MapName, MapView, StateImage, WriteSet, WriteSetView};
use coco_types::NodeId;
use serde::de::DeserializeOwned;

use super::LedgerFault;
use crate::{
    PREVIOUS_SERVICE_MAP, SignatureRecord,
    genesis::{
        ENDORSED_CERTIFICATES_MAP, NODES_MAP, NodeState, NodeStatus, SERVICE_MAP, ServiceInfo,
        ServiceStatus, singleton_key,
    },
};

/// The service as the entries so far describe it.
#[derive(Clone, Debug)]
pub(super) struct Service {
    /// What the auditor trusts: the services that followed each other by recoveries, this one and later ones.
    trusted: Vec<Certificate>,
    status: Option<ServiceStatus>,
    nodes: BTreeMap<NodeId, NodeStatus>,
    endorsed: BTreeMap<NodeId, Endorsed>,
}

#[derive(Clone, Debug)]
struct Endorsed {
    pem: String,
    certificate: Certificate,
}

impl Service {
    /// Oldest first: the ledger goes from each to the next by a recovery.
    pub(super) const fn new(trusted: Vec<Certificate>) -> Self {
        Self { trusted, status: None, nodes: BTreeMap::new(), endorsed: BTreeMap::new() }
    }

    /// The service's key.
    pub(super) fn key(&self) -> &PublicKey {
        self.certificate().key()
    }

    /// Its certificate.
    pub(super) fn certificate(&self) -> &Certificate {
        self.trusted.first().expect("the last one is never taken away")
    }

    /// Whether the ledger has come to the last service.
    pub(super) const fn is_last(&self) -> bool {
        self.trusted.len() == 1
    }

    pub(super) const fn status(&self) -> Option<ServiceStatus> {
        self.status
    }

    /// The service as a snapshot describes it, and those that follow it. Certificates that services before this one issued are
    /// left out, as they are at a recovery: their nodes sign nothing any more.
    pub(super) fn restored(
        trusted: Vec<Certificate>,
        public: &StateImage<'_>,
    ) -> Result<Self, LedgerFault> {
        let service = Self::new(trusted);
        let mut set = WriteSet::new();
        for name in [NODES_MAP, ENDORSED_CERTIFICATES_MAP, SERVICE_MAP] {
            let rows = public.map(name).into_iter().flat_map(MapImage::iter);
            let stays = |value: &[u8]| {
                name != ENDORSED_CERTIFICATES_MAP || !is_of_another(value, service.certificate())
            };
            for (key, _, value) in rows.filter(|(_, _, value)| stays(value)) {
                set.insert(&MapName::from_static(name), key, value);
            }
        }
        let bytes = set.encode(Domain::Public);
        let mut service = service;
        service.apply(&WriteSetView::parse(&bytes, &[])?)?;
        Ok(service)
    }

    /// Takes in what an entry writes.
    pub(super) fn apply(&mut self, writes: &WriteSetView<'_>) -> Result<(), LedgerFault> {
        // Nodes are endorsed by the service that the entry names.
        for map in writes.maps().iter().filter(|map| map.name() == SERVICE_MAP) {
            self.apply_service(map)?;
        }
        for map in writes.maps() {
            match map.name() {
                NODES_MAP => self.apply_nodes(map)?,
                ENDORSED_CERTIFICATES_MAP => self.apply_certificates(map)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// The key of the node that made a signature, once it may sign.
    pub(super) fn signer(&self, record: &SignatureRecord) -> Result<&PublicKey, LedgerFault> {
        let node_id = record.node_id;
        let status = self.nodes.get(&node_id).copied();
        // A retired node may still sign the entries that make its retirement known.
        if !matches!(status, Some(NodeStatus::Trusted | NodeStatus::Retired)) {
            return Err(LedgerFault::Signer { node_id, status });
        }
        let endorsed =
            self.endorsed.get(&node_id).ok_or(LedgerFault::Signer { node_id, status })?;
        if endorsed.pem != record.node_certificate_pem && !self.has_issued(endorsed, record) {
            return Err(LedgerFault::OtherCertificate(node_id));
        }
        Ok(endorsed.certificate.key())
    }

    /// Whether the certificate in a signature is the node's as well. Members may give it another one; it signs on with the one that it
    /// began with, of the same key.
    fn has_issued(&self, endorsed: &Endorsed, record: &SignatureRecord) -> bool {
        Certificate::from_pem(&record.node_certificate_pem).is_ok_and(|other| {
            // One certificate has one text.
            other.pem() == record.node_certificate_pem
                && other.key() == endorsed.certificate.key()
                && other.verify_issued_by(self.certificate()).is_ok()
                && other.check_node().is_ok()
        })
    }

    fn apply_nodes(&mut self, map: &MapView<'_>) -> Result<(), LedgerFault> {
        for (key, value) in map.iter() {
            let node_id = node_id(key, NODES_MAP)?;
            match value {
                Some(row) => {
                    let state: NodeState = json(row, NODES_MAP)?;
                    self.nodes.insert(node_id, state.status);
                }
                None => drop(self.nodes.remove(&node_id)),
            }
        }
        Ok(())
    }

    fn apply_certificates(&mut self, map: &MapView<'_>) -> Result<(), LedgerFault> {
        for (key, value) in map.iter() {
            let node_id = node_id(key, ENDORSED_CERTIFICATES_MAP)?;
            let Some(pem) = value else {
                self.endorsed.remove(&node_id);
                continue;
            };
            let pem = String::from_utf8(pem.to_vec())
                .map_err(|_| LedgerFault::Row { map: ENDORSED_CERTIFICATES_MAP })?;
            let fault =
                |error| LedgerFault::Certificate { whose: format!("node {node_id}"), error };
            let certificate = Certificate::from_pem(&pem).map_err(fault)?;
            certificate.verify_issued_by(self.certificate()).map_err(fault)?;
            certificate.check_node().map_err(fault)?;
            if certificate.key().node_id() != node_id {
                return Err(LedgerFault::NodeKey(node_id));
            }
            self.endorsed.insert(node_id, Endorsed { pem, certificate });
        }
        Ok(())
    }

    fn apply_service(&mut self, map: &MapView<'_>) -> Result<(), LedgerFault> {
        let row = map.get(singleton_key()).ok_or(LedgerFault::Row { map: SERVICE_MAP })?;
        let info: ServiceInfo = json(row, SERVICE_MAP)?;
        let fault = |error| LedgerFault::Certificate { whose: "the service".to_owned(), error };
        let certificate = Certificate::from_pem(&info.cert).map_err(fault)?;
        if certificate.key() != self.key() {
            return self.apply_recovery(&certificate, info.status);
        }
        if let Some(from) = self.status.filter(|status| !status.may_become(info.status)) {
            return Err(LedgerFault::Transition { from, to: info.status });
        }
        self.status = Some(info.status);
        Ok(())
    }

    /// The service goes on as another one: nodes that the one before endorsed sign no more.
    fn apply_recovery(
        &mut self,
        certificate: &Certificate,
        status: ServiceStatus,
    ) -> Result<(), LedgerFault> {
        let is_next = self.trusted.get(1).is_some_and(|next| next.key() == certificate.key());
        if status != ServiceStatus::Recovering || self.status.is_none() || !is_next {
            return Err(if status == ServiceStatus::Recovering && self.status.is_some() {
                LedgerFault::OtherService(certificate.digest())
            } else {
                LedgerFault::ServiceKey
            });
        }
        self.trusted.remove(0);
        self.endorsed.clear();
        self.status = Some(status);
        Ok(())
    }
}

/// Whether a node's certificate can be read, and another service than this one issued it.
fn is_of_another(pem: &[u8], service: &Certificate) -> bool {
    let certificate = str::from_utf8(pem).ok().and_then(|pem| Certificate::from_pem(pem).ok());
    certificate.is_some_and(|certificate| certificate.verify_issued_by(service).is_err())
}

/// The certificates of the services that a ledger went through, from what its entries say of them. Nothing is verified: an
/// auditor who trusts the last one gives them all to the [`Verifier`](super::Verifier), which holds the entries against
/// them. Where entries before are not read, the first one that is named may have gone on from another: then that is first.
///
/// # Errors
/// [`LedgerFault`] when an entry's row of the service cannot be read.
pub fn note_services(
    services: &mut Vec<Certificate>,
    writes: &WriteSetView<'_>,
) -> Result<(), LedgerFault> {
    let row = writes.get(&MapName::from_static(SERVICE_MAP), singleton_key());
    let Some(row) = row else { return Ok(()) };
    let info: ServiceInfo = json(row, SERVICE_MAP)?;
    let fault = |error| LedgerFault::Certificate { whose: "the service".to_owned(), error };
    let certificate = Certificate::from_pem(&info.cert).map_err(fault)?;
    let previous = writes.get(&MapName::from_static(PREVIOUS_SERVICE_MAP), singleton_key());
    if let Some(previous) = previous.filter(|_| services.is_empty()) {
        let previous: String = json(previous, PREVIOUS_SERVICE_MAP)?;
        services.push(Certificate::from_pem(&previous).map_err(fault)?);
    }
    if services.last().is_none_or(|last| last.key() != certificate.key()) {
        services.push(certificate);
    }
    Ok(())
}

fn node_id(key: &[u8], map: &'static str) -> Result<NodeId, LedgerFault> {
    let text = std::str::from_utf8(key).map_err(|_| LedgerFault::Row { map })?;
    text.parse().map_err(|_| LedgerFault::Row { map })
}

fn json<T: DeserializeOwned>(row: &[u8], map: &'static str) -> Result<T, LedgerFault> {
    serde_json::from_slice(row).map_err(|error| LedgerFault::Json { map, error })
}
