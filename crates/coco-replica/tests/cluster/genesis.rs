//! Keys and the first entries of a network, as provisioning makes them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use bytes::Bytes;
use coco_crypto::{
    Certificate, Curve, DecryptionKey, EndorseNode, SigningKey, Validity, endorse_node,
    service_certificate, sha256,
};
use coco_governance::FirstGovernance;
use coco_kv::WriteSet;
use coco_ledger::{
    FirstLedger, GenesisNode, LedgerSecret, ServiceSigner, ServiceStatus, Signer,
    genesis_write_set, put_service,
};
use coco_replica::Keyring;
use coco_types::{Digest, NodeId};

use crate::bank;

/// Seconds since 1970 at which every run begins.
pub(crate) const START_S: u64 = 1_700_000_000;

/// Signs fast and means nothing.
#[derive(Clone, Debug)]
pub(crate) struct VirtualSigner(NodeId);

impl Signer for VirtualSigner {
    fn node_id(&self) -> NodeId {
        self.0
    }

    fn node_certificate_pem(&self) -> &'static str {
        "no certificate"
    }

    fn service_key_digest(&self) -> Digest {
        Digest([0x5e; 32])
    }

    fn sign_root(&self, root: &Digest) -> Vec<u8> {
        sha256(&[self.0.0, root.0].concat()).0.to_vec()
    }

    fn sign_cose(&self, to_be_signed: &[u8]) -> Vec<u8> {
        let digest = sha256(to_be_signed).0;
        [digest, digest, digest].concat()
    }
}

/// Who signs.
pub(crate) enum Keys {
    Virtual(Vec<VirtualSigner>),
    Real { signers: Vec<ServiceSigner>, service: Certificate },
}

impl Keys {
    pub(crate) fn fast(nodes: usize) -> Self {
        let signer = |n| VirtualSigner(NodeId([u8::try_from(n).expect("few nodes"); 32]));
        Self::Virtual((1..=nodes).map(signer).collect())
    }

    pub(crate) fn real(nodes: usize) -> Self {
        let validity = Validity { not_before: START_S - 3600, not_after: START_S + 3600 };
        let service_key = SigningKey::generate(Curve::P384);
        let service = service_certificate(&service_key, validity).expect("it can be made");
        let signer = |_| {
            let key = SigningKey::generate(Curve::P384);
            let endorse = EndorseNode { key: key.public(), names: &[], validity };
            let cert = endorse_node(&service_key, &service, &endorse).expect("it can be made");
            ServiceSigner::new(&key.pkcs8_der(), cert.pem(), &service_key.pkcs8_der())
                .expect("P-384 keys")
        };
        Self::Real { signers: (0..nodes).map(signer).collect(), service }
    }

    pub(crate) fn signer(&self, node: usize) -> Box<dyn Signer + Send> {
        match self {
            Self::Virtual(signers) => Box::new(signers[node].clone()),
            Self::Real { signers, .. } => Box::new(signers[node].clone()),
        }
    }

    pub(crate) fn ids(&self) -> Vec<NodeId> {
        match self {
            Self::Virtual(signers) => signers.iter().map(Signer::node_id).collect(),
            Self::Real { signers, .. } => signers.iter().map(Signer::node_id).collect(),
        }
    }

    /// What a node reads its ledger with.
    pub(crate) fn keyring(&self, node: usize) -> Keyring {
        match self {
            Self::Virtual(_) => secret().into(),
            Self::Real { .. } => Keyring {
                secrets: secret().into(),
                cipher: Arc::<DecryptionKey>::clone(encryption_key(node)),
            },
        }
    }

    /// The network's description and the service's change to open, or something of that kind.
    fn service_writes(&self, status: ServiceStatus) -> [WriteSet; 2] {
        let mut open = WriteSet::new();
        let Self::Real { signers, service } = self else {
            put_service(&mut open, "no certificate", status);
            return [WriteSet::new(), open];
        };
        let node = |(number, signer): (usize, &ServiceSigner)| GenesisNode {
            node_id: signer.node_id(),
            certificate_pem: signer.node_certificate_pem().to_owned(),
            request_pem: None,
            quote_format: "Insecure_Virtual".into(),
            code_digest: Digest::ZERO,
            rpc_address: "here:1".into(),
            peer_address: "here:2".into(),
            encryption_key_pem: encryption_key(number).public().pem(),
        };
        let nodes: Vec<_> = signers.iter().enumerate().map(node).collect();
        put_service(&mut open, &service.pem(), status);
        [genesis_write_set(&service.pem(), &nodes), open]
    }
}

/// Keys of nodes, which take long to make: all networks have the same.
pub(crate) fn encryption_key(node: usize) -> &'static Arc<DecryptionKey> {
    static KEYS: OnceLock<Mutex<BTreeMap<usize, &'static Arc<DecryptionKey>>>> = OnceLock::new();
    let mut keys = KEYS.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    keys.entry(node).or_insert_with(|| Box::leak(Box::new(Arc::new(DecryptionKey::generate()))))
}

pub(crate) fn secret() -> LedgerSecret {
    LedgerSecret::new(&[0x42; 32])
}

/// How a network's ledger begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FirstEntries {
    /// Everything in one entry, then a signature.
    Two,
    /// The nodes, a signature, the hosted ledger's state, a signature.
    Four,
}

/// The first entries, under the first node's signature.
pub(crate) fn first_entries(
    keys: &Keys,
    count: FirstEntries,
    members: Option<&FirstGovernance>,
    status: ServiceStatus,
) -> Vec<Bytes> {
    let mut ledger = FirstLedger::new(secret());
    let signer = keys.signer(0);
    let mut add = |writes: &WriteSet| {
        ledger.append(writes).expect("it is small");
        ledger.sign(signer.as_ref(), START_S).expect("it is small");
    };
    let [mut nodes, mut open] =
        keys.service_writes(if members.is_some() { status } else { ServiceStatus::Open });
    if let Some(members) = members {
        members.put(&mut open).expect("they can govern");
    }
    match count {
        FirstEntries::Two => {
            bank::opening(&mut nodes);
            add(&nodes);
        }
        FirstEntries::Four => {
            bank::opening(&mut open);
            add(&nodes);
            add(&open);
        }
    }
    ledger.into_entries()
}
