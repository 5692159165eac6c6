//! Keys or their doubles, and the first entries of a network, as provisioning makes them.

mod derived;

use std::sync::Arc;

use bytes::Bytes;
use coco_crypto::{AEAD_NONCE_BYTES, AeadKey, Certificate, SecretBytes, sha256};
use coco_kv::WriteSet;
use coco_ledger::{
    EndorsedService, FirstLedger, GenesisNode, LedgerSecret, LedgerSecrets, NodeWord, ServiceKey,
    ServiceNodes, ServiceStatus, Signer, VerifyReceiptError, genesis_write_set, put_service,
};
use coco_replica::{Keyring, NodeCipher, NodeKeyError};
use coco_types::{Digest, NodeId};

pub use self::derived::{DerivedKey, DerivedSigner};
use crate::{
    ethereum, members,
    plan::{NEWCOMERS_MAX, NODES_MAX},
};

/// Seconds since 1970 at which every run begins.
pub const START_S: u64 = 1_700_000_000;

/// How many entries every ledger begins with: nodes, a signature, the chain's state, a signature.
pub const FIRST_ENTRIES: u64 = 4;

/// Signs fast and means nothing.
#[derive(Clone, Copy, Debug)]
pub struct DoubleSigner(NodeId);

impl DoubleSigner {
    /// The signer of node number `node`.
    ///
    /// # Panics
    /// Never in a network of a size that is planned.
    #[must_use]
    pub fn new(node: usize) -> Self {
        Self(NodeId([u8::try_from(node + 1).expect("few nodes"); 32]))
    }

    /// The signer of the node that a later life of that machine is.
    ///
    /// # Panics
    /// Never in a run of a length that is planned.
    #[must_use]
    pub fn again(node: usize, life: u64) -> Self {
        let mut id = Self::new(node).0;
        id.0[1..9].copy_from_slice(&life.to_le_bytes());
        Self(id)
    }
}

impl Signer for DoubleSigner {
    fn node_id(&self) -> NodeId {
        self.0
    }

    fn node_certificate_pem(&self) -> &'static str {
        DOUBLE_CERTIFICATE
    }

    fn service_key_digest(&self) -> Digest {
        DOUBLE_SERVICE
    }

    fn sign_root(&self, root: &Digest) -> Vec<u8> {
        sha256(&[self.0.0, root.0].concat()).0.to_vec()
    }

    fn sign_cose(&self, to_be_signed: &[u8]) -> Vec<u8> {
        sha256(to_be_signed).0.repeat(3)
    }
}

/// Says whether a double signed for the service. It takes what [`DoubleSigner`] gives, and nothing else.
#[derive(Clone, Copy, Debug)]
pub struct DoubleService;

impl ServiceKey for DoubleService {
    fn digest(&self) -> Digest {
        DOUBLE_SERVICE
    }

    fn has_signed(&self, to_be_signed: &[u8], signature: &[u8]) -> bool {
        signature == sha256(to_be_signed).0.repeat(3)
    }
}

impl ServiceNodes for DoubleService {
    fn check(&self, word: &NodeWord<'_>) -> Result<Option<EndorsedService>, VerifyReceiptError> {
        let NodeWord { node_id, root, .. } = *word;
        if word.certificate_pem != DOUBLE_CERTIFICATE || !word.endorsements.is_empty() {
            return Err(VerifyReceiptError::NodeId(node_id));
        }
        let signer = DoubleSigner(node_id);
        (signer.sign_root(&root) == word.signature)
            .then_some(None)
            .ok_or(VerifyReceiptError::Signature { root })
    }
}

/// What doubles have for certificates.
const DOUBLE_CERTIFICATE: &str = "no certificate";

/// What doubles say of the service's key.
const DOUBLE_SERVICE: Digest = Digest([0x5e; 32]);

/// Who signs.
#[derive(Debug)]
pub enum Keys {
    /// Doubles, for most seeds.
    Doubles,
    /// Real keys under a real certificate.
    Real {
        /// The seed that they follow from.
        seed: u64,
        /// One for each node.
        signers: Vec<DerivedSigner>,
        /// What an auditor knows.
        service: Box<Certificate>,
        /// What every node of the service holds.
        service_key: Box<DerivedKey>,
    },
}

/// What a machine's double is encrypted to. All its lives have one: a key is sealed with a seat.
fn key_of(machine: usize) -> String {
    format!("double of machine {machine}")
}

/// Encrypts to doubles, and decrypts what was encrypted to this one. The same every time, unlike what it stands for.
#[derive(Debug)]
pub struct DoubleCipher(String);

impl DoubleCipher {
    /// The double of a machine, whatever its life.
    #[must_use]
    pub fn new(machine: usize) -> Self {
        Self(key_of(machine))
    }

    /// The double of whoever has this key.
    #[must_use]
    pub fn of(key_pem: &str) -> Self {
        Self(key_pem.to_owned())
    }

    fn key(text: &str) -> AeadKey {
        AeadKey::new(&sha256(text.as_bytes()).0)
    }
}

impl NodeCipher for DoubleCipher {
    fn encrypt(&self, key_pem: &str, secret: &SecretBytes) -> Result<Vec<u8>, NodeKeyError> {
        let mut nonce = [0; AEAD_NONCE_BYTES];
        nonce.copy_from_slice(&sha256(secret.expose()).0[..AEAD_NONCE_BYTES]);
        Ok(Self::key(key_pem).wrap(nonce, secret))
    }

    fn decrypt(&self, encrypted: &[u8]) -> Option<SecretBytes> {
        Self::key(&self.0).unwrap(encrypted).ok()
    }
}

/// What was encrypted to any machine, for whoever checks them all.
#[must_use]
pub fn opened_by_any(encrypted: &[u8]) -> Option<SecretBytes> {
    (0..NODES_MAX + NEWCOMERS_MAX).find_map(|machine| DoubleCipher::new(machine).decrypt(encrypted))
}

/// What a machine of a simulated network reads its ledger with.
#[must_use]
pub fn keyring(machine: usize) -> Keyring {
    Keyring { secrets: secrets(), cipher: Arc::new(DoubleCipher::new(machine)) }
}

/// What the ledger says of the node with this key, which a machine is.
#[must_use]
pub fn node_record(signer: &dyn Signer, machine: usize) -> GenesisNode {
    GenesisNode {
        node_id: signer.node_id(),
        certificate_pem: signer.node_certificate_pem().to_owned(),
        request_pem: None,
        quote_format: "Insecure_Virtual".into(),
        code_digest: Digest::ZERO,
        rpc_address: "here:1".into(),
        peer_address: "here:2".into(),
        encryption_key_pem: key_of(machine),
    }
}

impl Keys {
    /// Real keys for so many nodes, in the run of a seed.
    ///
    /// # Panics
    /// As [`DerivedKey::new`].
    #[must_use]
    pub fn real(seed: u64, nodes: usize) -> Self {
        Self::real_of(seed, nodes, "")
    }

    /// Real keys of another service in the run of a seed, which this word tells from the others.
    ///
    /// # Panics
    /// As [`DerivedKey::new`].
    #[must_use]
    pub fn real_of(seed: u64, nodes: usize, word: &str) -> Self {
        let service_key = DerivedKey::new(seed, &format!("service{word}"));
        let service = service_key.service_certificate();
        let signer = |node: usize| {
            let key = DerivedKey::new(seed, &format!("machine {node}{word}"));
            DerivedSigner::new(key, service_key.clone(), &service)
        };
        Self::Real {
            seed,
            signers: (0..nodes).map(signer).collect(),
            service: Box::new(service),
            service_key: Box::new(service_key),
        }
    }

    /// The signer of the node that a later life of a machine is.
    #[must_use]
    pub fn again(&self, node: usize, life: u64) -> Box<dyn Signer + Send> {
        match self {
            Self::Doubles => Box::new(DoubleSigner::again(node, life)),
            Self::Real { seed, service, service_key, .. } => {
                let key = DerivedKey::new(*seed, &format!("machine {node} in life {life}"));
                Box::new(DerivedSigner::new(key, service_key.as_ref().clone(), service))
            }
        }
    }

    /// The signer of a node.
    #[must_use]
    pub fn signer(&self, node: usize) -> Box<dyn Signer + Send> {
        match self {
            Self::Doubles => Box::new(DoubleSigner::new(node)),
            Self::Real { signers, .. } => Box::new(signers[node].clone()),
        }
    }

    /// The certificate of the service, if it has a real one.
    #[must_use]
    pub fn certificate(&self) -> Option<&Certificate> {
        match self {
            Self::Doubles => None,
            Self::Real { service, .. } => Some(service),
        }
    }

    /// Under which key a snapshot's proof must hold.
    #[must_use]
    pub fn service(&self) -> &dyn ServiceKey {
        match self {
            Self::Doubles => &DoubleService,
            Self::Real { service, .. } => service.key(),
        }
    }

    /// Whose nodes may sign receipts.
    #[must_use]
    pub fn nodes_of_service(&self) -> &dyn ServiceNodes {
        match self {
            Self::Doubles => &DoubleService,
            Self::Real { service, .. } => service.as_ref(),
        }
    }

    /// Says that the service is open.
    fn open(&self, writes: &mut WriteSet) {
        put_service(writes, &self.service_pem(), ServiceStatus::Open);
    }

    fn service_pem(&self) -> String {
        match self {
            Self::Doubles => DOUBLE_CERTIFICATE.to_owned(),
            Self::Real { service, .. } => service.pem(),
        }
    }

    /// Names nodes and service.
    fn nodes(&self, nodes: usize) -> WriteSet {
        let nodes: Vec<_> =
            (0..nodes).map(|node| node_record(self.signer(node).as_ref(), node)).collect();
        genesis_write_set(&self.service_pem(), &nodes)
    }
}

/// The secret that every simulated ledger begins with.
#[must_use]
pub fn secrets() -> LedgerSecrets {
    secret().into()
}

/// The secret of the first period of every simulated ledger.
#[must_use]
pub fn secret() -> LedgerSecret {
    LedgerSecret::new(&[0x42; 32])
}

/// What members a network has in its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Governed {
    /// None.
    ByNobody,
    /// Some.
    ByMembers,
    /// Some, who hold shares of its secret.
    ByShareHolders,
    /// Some, who believe nodes for so many seconds after these have shown what they run.
    WithLeases(u64),
}

/// The first entries of a network with so many nodes and clients, and members or none, sealed under a secret and signed by
/// the first node.
///
/// # Panics
/// Never: the constant counts what is made here, and it is small.
#[must_use]
pub fn first_entries(
    secret: LedgerSecret,
    keys: &Keys,
    (nodes, clients): (usize, usize),
    governed: Governed,
) -> Vec<Bytes> {
    let mut ledger = FirstLedger::new(secret.clone());
    let signer = keys.signer(0);
    let mut chain = ethereum::opening(clients);
    keys.open(&mut chain);
    match governed {
        Governed::ByNobody => {}
        Governed::ByMembers => members::opening(&mut chain, None),
        Governed::ByShareHolders => members::opening(&mut chain, Some(&secret)),
        Governed::WithLeases(lease_s) => {
            members::opening(&mut chain, None);
            members::give_leases(&mut chain, lease_s);
        }
    }
    for writes in [keys.nodes(nodes), chain] {
        ledger.append(&writes).expect("it is small");
        ledger.sign(signer.as_ref(), START_S).expect("it is small");
    }
    let entries = ledger.into_entries();
    assert_eq!(entries.len() as u64, FIRST_ENTRIES, "as the constant says");
    entries
}
