//! Signature entries: the primary's word, and the service's, on everything before them.
//!
//! A signature entry at seqno *s* writes three public tables: the node's ECDSA signature over the root of leaves 0 to
//! *s* − 1, the service's `COSE_Sign1` over the same root, and the part of the tree since the signature before. Its
//! bytes follow from few values, and reading one means rebuilding it: any other bytes are refused, so that nothing in
//! it can change unnoticed although no later root covers it yet.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use coco_crypto::{Curve, KeyError, PublicKey, SecretBytes, SigningKey, cose};
use coco_kv::{MapName, WriteSet, WriteSetView};
use coco_planted::Bug;
use coco_types::{Digest, NodeId, Seqno, TxId, codec::DecodeError};
use minicbor::{Decoder, Encoder};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{EntryView, MerkleTree, genesis::singleton_key};

/// The node's signature.
pub const SIGNATURES_MAP: &str = "public:ccf.internal.signatures";
/// The service's signature.
pub const COSE_SIGNATURES_MAP: &str = "public:ccf.internal.cose_signatures";
/// The tree since the signature before.
pub const TREE_MAP: &str = "public:ccf.internal.tree";

/// Whether a map makes the entry that writes it a signature entry.
pub(crate) fn is_signature_map(name: &str) -> bool {
    name == SIGNATURES_MAP || name == COSE_SIGNATURES_MAP
}

/// Who signs roots. One implementation holds the keys, see [`ServiceSigner`]; a simulation may sign faster and mean
/// less.
pub trait Signer {
    /// The node that signs.
    fn node_id(&self) -> NodeId;

    /// Its certificate, endorsed by the service, in PEM.
    fn node_certificate_pem(&self) -> &str;

    /// SHA-256 of the service's public key, in SPKI DER.
    fn service_key_digest(&self) -> Digest;

    /// Signs the root with the node's key: ECDSA over the root as the digest, in DER.
    fn sign_root(&self, root: &Digest) -> Vec<u8>;

    /// Signs the bytes with the service's key: ES384, `r || s`.
    fn sign_cose(&self, to_be_signed: &[u8]) -> Vec<u8>;
}

/// Signs with a node's key and the service's.
#[derive(Clone)]
pub struct ServiceSigner {
    node: SigningKey,
    node_certificate_pem: String,
    service: SigningKey,
}

impl ServiceSigner {
    /// Takes the keys in. Both are on P-384.
    ///
    /// # Errors
    /// [`KeyError`] when one of them is not.
    pub fn new(
        node: &SecretBytes,
        node_certificate_pem: impl Into<String>,
        service: &SecretBytes,
    ) -> Result<Self, KeyError> {
        let key = |secret| SigningKey::from_pkcs8_der(Curve::P384, secret);
        Ok(Self {
            node: key(node)?,
            node_certificate_pem: node_certificate_pem.into(),
            service: key(service)?,
        })
    }

    /// The service's key, which also endorses nodes.
    #[must_use]
    pub const fn service_key(&self) -> &SigningKey {
        &self.service
    }

    /// The node's key.
    #[must_use]
    pub const fn node_key(&self) -> &SigningKey {
        &self.node
    }
}

impl Signer for ServiceSigner {
    fn node_id(&self) -> NodeId {
        self.node.public().node_id()
    }

    fn node_certificate_pem(&self) -> &str {
        &self.node_certificate_pem
    }

    fn service_key_digest(&self) -> Digest {
        self.service.public().digest()
    }

    fn sign_root(&self, root: &Digest) -> Vec<u8> {
        self.node.sign_prehashed(root)
    }

    fn sign_cose(&self, to_be_signed: &[u8]) -> Vec<u8> {
        self.service.sign_fixed(to_be_signed)
    }
}

impl fmt::Debug for ServiceSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServiceSigner({})", self.node_id())
    }
}

/// The write set of a signature entry at `tx_id` over the whole tree. `previous` is the seqno of the signature entry
/// before, zero for the first; `issued_at_s` is in seconds since 1970 and is recorded, never compared.
///
/// # Panics
/// Unless the tree ends right before `tx_id` and `previous` lies within it: the caller counts both.
#[must_use]
pub fn signature_write_set(
    signer: &dyn Signer,
    tree: &MerkleTree,
    tx_id: TxId,
    previous: Seqno,
    issued_at_s: u64,
) -> WriteSet {
    assert_eq!(tree.len(), tx_id.seqno.0, "a signature covers every entry before it");
    let root = tree.root();
    let headers = Headers { key: signer.service_key_digest(), issued_at_s, tx_id };
    let protected = headers.encode();
    let older = tree.root_at(tree.len() - 1).filter(|_| coco_planted::is(Bug::SignOlderRoot));
    let cose_signature =
        signer.sign_cose(&cose::to_be_signed(&protected, &older.unwrap_or(root).0));
    let record = SignatureRecord {
        tx_id,
        node_id: signer.node_id(),
        root,
        signature: signer.sign_root(&root),
        node_certificate_pem: signer.node_certificate_pem().to_owned(),
        issued_at_s,
        service_key: headers.key,
        cose_signature,
    };
    let mut set = record.write_set();
    set.insert(
        &MapName::from_static(TREE_MAP),
        singleton_key(),
        tree.encode(previous.0, tx_id.seqno.0),
    );
    set
}

/// The two signatures of a signature entry, read and not yet verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureRecord {
    /// The entry that carries them.
    pub tx_id: TxId,
    /// The node that signed.
    pub node_id: NodeId,
    /// The root over all entries before.
    pub root: Digest,
    /// The node's signature, in DER.
    pub signature: Vec<u8>,
    /// The node's certificate, in PEM.
    pub node_certificate_pem: String,
    /// When, in seconds since 1970, the signer says.
    pub issued_at_s: u64,
    /// SHA-256 of the service's public key.
    pub service_key: Digest,
    /// The service's signature, `r || s`.
    pub cose_signature: Vec<u8>,
}

/// A signature entry that is not one.
#[derive(Debug, Error)]
pub enum ParseSignatureError {
    /// The entry's public part is malformed.
    #[error("public writes are malformed")]
    Writes(#[from] DecodeError),
    /// A table is missing, or another is written.
    #[error("a signature entry writes its three tables and nothing else")]
    Tables,
    /// The node's signature is not in JSON of the form.
    #[error("node signature is malformed")]
    Json(#[source] serde_json::Error),
    /// The service's signature is not a COSE message of the form.
    #[error("service signature is malformed")]
    Cose,
    /// The bytes are not those that the same values give.
    #[error("{map} is not in its one accepted form")]
    Form {
        /// The table.
        map: &'static str,
    },
}

/// A signature that does not hold.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum VerifySignatureError {
    /// The signed root is another.
    #[error("signed root is {found}, the entries give {expected}")]
    Root {
        /// What the entries give.
        expected: Digest,
        /// What was signed.
        found: Digest,
    },
    /// The node's key is not the one that the id stands for.
    #[error("node key does not belong to the node id")]
    NodeKey,
    /// The service's key is another.
    #[error("signed with the service key {found}, expected {expected}")]
    ServiceKey {
        /// The digest of the key it was checked against.
        expected: Digest,
        /// The digest of the key that signed.
        found: Digest,
    },
    /// The node's signature is not of this root by this key.
    #[error("node signature does not verify")]
    Node,
    /// The service's signature is not of this root by this key.
    #[error("service signature does not verify")]
    Service,
}

impl SignatureRecord {
    /// Reads the signatures of a signature entry; none of any other entry.
    ///
    /// # Errors
    /// [`ParseSignatureError`] when the entry writes a signature table and is not a signature entry.
    pub fn read(entry: &EntryView<'_>) -> Result<Option<Self>, ParseSignatureError> {
        let writes = entry.public_writes()?;
        if !writes.maps().iter().any(|map| is_signature_map(map.name())) {
            return Ok(None);
        }
        if entry.private_bytes() != 0 {
            return Err(ParseSignatureError::Tables);
        }
        Self::from_writes(&writes).map(Some)
    }

    /// Reads the three tables, which are all that is written.
    pub(crate) fn from_writes(writes: &WriteSetView<'_>) -> Result<Self, ParseSignatureError> {
        let map = |name: &'static str| {
            let map = writes.maps().iter().find(|map| map.name() == name)?;
            map.get(singleton_key())
        };
        let tables = (map(SIGNATURES_MAP), map(COSE_SIGNATURES_MAP), map(TREE_MAP));
        let (Some(node), Some(service), Some(_)) = tables else {
            return Err(ParseSignatureError::Tables);
        };
        if writes.len() != 3 {
            return Err(ParseSignatureError::Tables);
        }
        let node_table: NodeSignature =
            serde_json::from_slice(node).map_err(ParseSignatureError::Json)?;
        let message: String =
            serde_json::from_slice(service).map_err(|_| ParseSignatureError::Cose)?;
        let message = STANDARD.decode(message).map_err(|_| ParseSignatureError::Cose)?;
        let message = cose::Sign1::decode(&message).map_err(|_| ParseSignatureError::Cose)?;
        let headers = Headers::decode(message.protected).ok_or(ParseSignatureError::Cose)?;
        let form = |map| ParseSignatureError::Form { map };
        let record = node_table
            .record(&headers, message.signature.to_vec())
            .ok_or_else(|| form(SIGNATURES_MAP))?;
        if record.node_table() != node {
            return Err(form(SIGNATURES_MAP));
        }
        if record.service_table() != service {
            return Err(form(COSE_SIGNATURES_MAP));
        }
        Ok(record)
    }

    /// Checks both signatures over `root` under the node's and the service's key.
    ///
    /// # Errors
    /// [`VerifySignatureError`] with the first thing that is wrong.
    pub fn verify(
        &self,
        root: &Digest,
        node: &PublicKey,
        service: &PublicKey,
    ) -> Result<(), VerifySignatureError> {
        if self.root != *root {
            return Err(VerifySignatureError::Root { expected: *root, found: self.root });
        }
        if node.node_id() != self.node_id {
            return Err(VerifySignatureError::NodeKey);
        }
        if service.digest() != self.service_key {
            let (expected, found) = (service.digest(), self.service_key);
            return Err(VerifySignatureError::ServiceKey { expected, found });
        }
        node.verify_prehashed(root, &self.signature).map_err(|_| VerifySignatureError::Node)?;
        let signed = cose::to_be_signed(&self.protected(), &root.0);
        service
            .verify_fixed(&signed, &self.cose_signature)
            .map_err(|_| VerifySignatureError::Service)
    }

    /// The protected headers of the service's signature.
    #[must_use]
    pub fn protected(&self) -> Vec<u8> {
        Headers { key: self.service_key, issued_at_s: self.issued_at_s, tx_id: self.tx_id }.encode()
    }

    fn write_set(&self) -> WriteSet {
        let mut set = WriteSet::new();
        set.insert(&MapName::from_static(SIGNATURES_MAP), singleton_key(), self.node_table());
        set.insert(
            &MapName::from_static(COSE_SIGNATURES_MAP),
            singleton_key(),
            self.service_table(),
        );
        set
    }

    fn node_table(&self) -> Vec<u8> {
        let table = NodeSignature {
            node: self.node_id.to_string(),
            sig: STANDARD.encode(&self.signature),
            hashed_nonce: Digest::ZERO.to_string(),
            seqno: self.tx_id.seqno.0,
            view: self.tx_id.view.0,
            commit_seqno: 0,
            commit_view: 0,
            root: self.root.to_string(),
            cert: self.node_certificate_pem.clone(),
        };
        serde_json::to_vec(&table).expect("text and numbers have a JSON form")
    }

    fn service_table(&self) -> Vec<u8> {
        let protected = self.protected();
        let message = cose::Sign1 {
            protected: &protected,
            unprotected: cose::EMPTY_MAP,
            signature: &self.cose_signature,
        };
        serde_json::to_vec(&STANDARD.encode(message.encode())).expect("text has a JSON form")
    }
}

/// The row of [`SIGNATURES_MAP`], in CCF's field order.
#[derive(Serialize, Deserialize)]
struct NodeSignature {
    node: String,
    sig: String,
    /// A remnant of CCF's Byzantine protocol: zeros.
    hashed_nonce: String,
    seqno: u64,
    view: u64,
    commit_seqno: u64,
    commit_view: u64,
    root: String,
    cert: String,
}

impl NodeSignature {
    fn record(self, headers: &Headers, cose_signature: Vec<u8>) -> Option<SignatureRecord> {
        let tx_id = TxId::new(self.view, self.seqno);
        (headers.tx_id == tx_id).then_some(())?;
        Some(SignatureRecord {
            tx_id,
            node_id: self.node.parse().ok()?,
            root: self.root.parse().ok()?,
            signature: STANDARD.decode(self.sig).ok()?,
            node_certificate_pem: self.cert,
            issued_at_s: headers.issued_at_s,
            service_key: headers.key,
            cose_signature,
        })
    }
}

/// What the protected headers of the service's signature say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Headers {
    pub(crate) key: Digest,
    pub(crate) issued_at_s: u64,
    pub(crate) tx_id: TxId,
}

impl Headers {
    /// The map in deterministic CBOR: algorithm, key id, CWT claims (issuer, subject, time), the kind of verifiable
    /// data structure, and the transaction id.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(160);
        self.write(&mut Encoder::new(&mut bytes)).expect("memory takes every write");
        bytes
    }

    fn write(
        &self,
        to: &mut Encoder<&mut Vec<u8>>,
    ) -> Result<(), minicbor::encode::Error<core::convert::Infallible>> {
        to.map(5)?;
        to.i64(1)?.i64(cose::ALGORITHM_ES384)?;
        to.i64(4)?.bytes(self.key.to_string().as_bytes())?;
        to.i64(15)?.map(3)?;
        to.i64(1)?.str(ISSUER)?.i64(2)?.str(SUBJECT)?.i64(6)?.u64(self.issued_at_s)?;
        to.i64(VERIFIABLE_DATA_STRUCTURE)?.i64(CCF_LEDGER_SHA256)?;
        to.str("ccf.v1")?.map(1)?;
        to.str("txid")?.str(&self.tx_id.to_string())?;
        Ok(())
    }

    /// Reads exactly what [`Self::encode`] writes.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let headers = Self::read(&mut Decoder::new(bytes)).ok()?;
        (headers.encode() == bytes).then_some(headers)
    }

    fn read(from: &mut Decoder<'_>) -> Result<Self, minicbor::decode::Error> {
        let wrong = |_| minicbor::decode::Error::message("header");
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap_or_default();
        // What is passed over here is compared by the caller.
        from.map()?;
        skip_numbers(from, 3)?;
        let key = text(from.bytes()?).parse().map_err(wrong)?;
        from.i64()?;
        from.map()?;
        for _claim in [ISSUER, SUBJECT] {
            from.i64()?;
            from.str()?;
        }
        from.i64()?;
        let issued_at_s = from.u64()?;
        skip_numbers(from, 2)?;
        from.str()?;
        from.map()?;
        from.str()?;
        let tx_id = from.str()?.parse().map_err(wrong)?;
        Ok(Self { key, issued_at_s, tx_id })
    }
}

fn skip_numbers(from: &mut Decoder<'_>, count: usize) -> Result<(), minicbor::decode::Error> {
    (0..count).try_for_each(|_| from.i64().map(drop))
}

/// Who issues, in the service's signatures. Keys identify services; this names the kind.
const ISSUER: &str = "coco";
/// What is signed.
const SUBJECT: &str = "coco.ledger";
/// The header that says what kind of tree a proof is from.
const VERIFIABLE_DATA_STRUCTURE: i64 = 395;
/// CCF's tree, which is ours.
const CCF_LEDGER_SHA256: i64 = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EntryFlags, LedgerSecret, seal};

    fn signer() -> ServiceSigner {
        let (node, service) =
            (SigningKey::generate(Curve::P384), SigningKey::generate(Curve::P384));
        ServiceSigner::new(&node.pkcs8_der(), "PEM", &service.pkcs8_der()).unwrap()
    }

    fn tree(n: u8) -> MerkleTree {
        let mut tree = MerkleTree::new();
        (1..n).for_each(|i| tree.append(Digest([i; 32])));
        tree
    }

    fn entry_of(set: &WriteSet) -> Vec<u8> {
        let secret = LedgerSecret::new(&[3; 32]);
        seal(&secret, TxId::new(2, 9), EntryFlags::NONE, &Digest::ZERO, set).unwrap().bytes.to_vec()
    }

    #[test]
    fn signatures_are_read_back_and_verify() {
        let (signer, tree) = (signer(), tree(9));
        let set = signature_write_set(&signer, &tree, TxId::new(2, 9), Seqno(4), 1_700_000_000);
        let bytes = entry_of(&set);
        let entry = EntryView::parse(&bytes).unwrap();
        assert!(entry.is_signature());
        let record = SignatureRecord::read(&entry).unwrap().unwrap();
        assert_eq!(
            (record.tx_id, record.node_id, record.root),
            (TxId::new(2, 9), signer.node_id(), tree.root())
        );
        let (node, service) = (signer.node_key().public(), signer.service_key().public());
        assert_eq!(record.verify(&tree.root(), node, service), Ok(()));
        assert_eq!(
            record.verify(&tree.root(), service, service),
            Err(VerifySignatureError::NodeKey)
        );
        assert!(matches!(
            record.verify(&tree.root(), node, node),
            Err(VerifySignatureError::ServiceKey { .. })
        ));
        assert!(matches!(
            record.verify(&Digest::ZERO, node, service),
            Err(VerifySignatureError::Root { .. })
        ));
        let other = SignatureRecord { issued_at_s: 5, ..record.clone() };
        assert_eq!(other.verify(&tree.root(), node, service), Err(VerifySignatureError::Service));
        let other = SignatureRecord { signature: Vec::new(), ..record };
        assert_eq!(other.verify(&tree.root(), node, service), Err(VerifySignatureError::Node));
    }

    #[test]
    fn an_ordinary_entry_has_no_signature() {
        let mut set = WriteSet::new();
        set.insert(&MapName::from_static("public:other"), b"k", &b"v"[..]);
        assert!(
            SignatureRecord::read(&EntryView::parse(&entry_of(&set)).unwrap()).unwrap().is_none()
        );
    }

    #[test]
    fn a_signature_entry_writes_nothing_else() {
        let set = signature_write_set(&signer(), &tree(9), TxId::new(2, 9), Seqno(0), 0);
        for name in ["public:other", "secret", TREE_MAP] {
            let mut more = set.clone();
            more.insert(&MapName::from_static(name), b"k", &b"v"[..]);
            let bytes = entry_of(&more);
            let refused = SignatureRecord::read(&EntryView::parse(&bytes).unwrap());
            assert!(matches!(refused, Err(ParseSignatureError::Tables)), "{name}");
        }
    }

    #[test]
    fn the_protected_headers_are_deterministic_cbor() {
        let headers =
            Headers { key: Digest([1; 32]), issued_at_s: 1_700_000_000, tx_id: TxId::new(2, 9) };
        let bytes = headers.encode();
        let key = "01".repeat(32);
        let expected = [
            &[0xa5, 0x01, 0x38, 0x22, 0x04, 0x58, 0x40][..],
            key.as_bytes(),
            &[0x0f, 0xa3, 0x01, 0x64],
            b"coco",
            &[0x02, 0x6b],
            b"coco.ledger",
            &[0x06, 0x1a, 0x65, 0x53, 0xf1, 0x00, 0x19, 0x01, 0x8b, 0x02, 0x66],
            b"ccf.v1",
            &[0xa1, 0x64],
            b"txid",
            &[0x63],
            b"2.9",
        ]
        .concat();
        assert_eq!(bytes, expected);
        assert_eq!(Headers::decode(&bytes), Some(headers));
        assert_eq!(Headers::decode(&bytes[..bytes.len() - 1]), None);
    }
}
