//! Receipts: proof, checkable offline, that an entry is in the ledger of a service.
//!
//! Two forms of one thing. The JSON form carries the node's signature and the certificate by which the service endorses
//! the node; the COSE form carries the service's own signature. Both lead from the parts of a leaf along a path to the
//! signed root. Validity periods of certificates are not checked: a receipt is for years.
//!
//! A receipt of a service that was recovered since then is signed under another key than the one that is trusted. It is
//! believed along endorsements, and within the epoch that they give that key ([`ReceiptVerifier`]).

mod cose;
mod json;

use coco_crypto::{Certificate, CertificateError, sha256};
use coco_types::{Digest, NodeId, ParseIdError, TxId, codec::DecodeError};
use thiserror::Error;

use crate::{
    EndorsedService, EndorsementError, Endorsements, EntryView, MerkleTree, PathStep,
    SignatureRecord, entry, root_from_path,
};

pub(crate) use cose::verify_cose_of;
pub use cose::{ServiceKey, verify_cose, verify_cose_under};
pub use json::{NodeWord, ServiceNodes, verify_json, verify_json_under};

/// What a leaf is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeafComponents {
    /// SHA-256 of the entry.
    pub write_set_digest: Digest,
    /// The text that shows the entry was committed, and names its transaction.
    pub commit_evidence: String,
    /// What the application claims about the transaction; zeros for nothing.
    pub claims_digest: Digest,
}

impl LeafComponents {
    /// The leaf.
    #[must_use]
    pub fn leaf(&self) -> Digest {
        let evidence = sha256(self.commit_evidence.as_bytes());
        entry::leaf(&self.write_set_digest, &evidence, &self.claims_digest)
    }

    /// The transaction that the commit evidence names.
    ///
    /// # Errors
    /// [`ParseIdError`] when the text is no commit evidence.
    pub fn tx_id(&self) -> Result<TxId, ParseIdError> {
        let wrong = || ParseIdError::TxId(self.commit_evidence.chars().take(64).collect());
        let mut parts = self.commit_evidence.split(':');
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some("ce"), Some(tx_id), Some(_), None) => tx_id.parse(),
            _ => Err(wrong()),
        }
    }
}

/// A receipt of this node's own making.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    tx_id: TxId,
    /// None in the receipt of a signature entry by itself: it proves its root and nothing below.
    leaf: Option<LeafComponents>,
    path: Vec<PathStep>,
    signature: SignatureRecord,
    earlier: Option<EarlierService>,
}

/// How the service that signed a receipt is endorsed by the one of today.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EarlierService {
    /// A certificate of its key, issued by the service of today.
    pub certificate: Certificate,
    /// The endorsements from the service of today to that one.
    pub endorsements: Endorsements,
}

/// Parts that make no receipt.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum ReceiptError {
    /// The entry is malformed.
    #[error("entry is malformed")]
    Entry(#[from] DecodeError),
    /// The signature does not cover the entry.
    #[error("signature at {signature} does not cover the entry at {entry}")]
    Uncovered {
        /// The entry.
        entry: TxId,
        /// The signature entry.
        signature: TxId,
    },
    /// The commit evidence is another entry's.
    #[error("commit evidence does not belong to the entry at {0}")]
    CommitEvidence(TxId),
    /// The tree holds another leaf, or too few.
    #[error("tree does not hold the entry at {0}")]
    Leaf(TxId),
    /// The tree has another root than the signature.
    #[error("tree does not have the root that was signed at {0}")]
    Root(TxId),
}

impl Receipt {
    /// Makes the receipt of an entry from its bytes, its commit evidence, and a signature entry after it. The tree may
    /// have grown past the signature.
    ///
    /// # Errors
    /// [`ReceiptError`] when the parts do not belong together; a receipt that is made verifies.
    ///
    /// # Panics
    /// Never, unless the tree contradicts itself.
    pub fn assemble(
        entry: &[u8],
        commit_evidence: String,
        tree: &MerkleTree,
        signature: &SignatureRecord,
    ) -> Result<Self, ReceiptError> {
        let entry = EntryView::parse(entry)?;
        let (tx_id, size) = (entry.tx_id(), signature.tx_id.seqno.0);
        if tx_id.seqno >= signature.tx_id.seqno {
            return Err(ReceiptError::Uncovered { entry: tx_id, signature: signature.tx_id });
        }
        if sha256(commit_evidence.as_bytes()) != *entry.commit_evidence_digest() {
            return Err(ReceiptError::CommitEvidence(tx_id));
        }
        let write_set_digest = entry.write_set_digest();
        let leaf =
            LeafComponents { write_set_digest, commit_evidence, claims_digest: *entry.claims() };
        if tree.leaf(tx_id.seqno.0) != Some(leaf.leaf()) {
            return Err(ReceiptError::Leaf(tx_id));
        }
        if tree.root_at(size) != Some(signature.root) {
            return Err(ReceiptError::Root(signature.tx_id));
        }
        let path = tree.path(tx_id.seqno.0, size).ok_or(ReceiptError::Leaf(tx_id))?;
        assert_eq!(
            root_from_path(leaf.leaf(), &path),
            signature.root,
            "a path leads to the root of its tree"
        );
        Ok(Self { tx_id, leaf: Some(leaf), path, signature: signature.clone(), earlier: None })
    }

    /// The receipt of a signature entry by itself: its root, signed. There is no COSE form.
    #[must_use]
    pub fn of_signature(signature: &SignatureRecord) -> Self {
        let (tx_id, signature) = (signature.tx_id, signature.clone());
        Self { tx_id, leaf: None, path: Vec::new(), signature, earlier: None }
    }

    /// The same receipt, of a service that was recovered since then.
    #[must_use]
    pub fn of_earlier(self, service: EarlierService) -> Self {
        Self { earlier: Some(service), ..self }
    }

    /// The transaction it is about.
    #[must_use]
    pub const fn tx_id(&self) -> TxId {
        self.tx_id
    }

    /// What its leaf is made of; none in the receipt of a signature entry.
    #[must_use]
    pub const fn leaf_components(&self) -> Option<&LeafComponents> {
        self.leaf.as_ref()
    }

    /// The signature entry that covers it.
    #[must_use]
    pub const fn signature(&self) -> &SignatureRecord {
        &self.signature
    }

    /// The JSON form.
    #[must_use]
    pub fn json(&self) -> String {
        json::encode(self)
    }

    /// The COSE form; none for a signature entry.
    #[must_use]
    pub fn cose(&self) -> Option<Vec<u8>> {
        self.leaf.as_ref().map(|leaf| cose::encode(leaf, &self.path, &self.signature))
    }
}

/// What a receipt that verified says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedReceipt {
    /// The transaction; none when the receipt is of a signature entry, which names only a root.
    pub tx_id: Option<TxId>,
    /// What the leaf is made of.
    pub leaf_components: Option<LeafComponents>,
    /// The root that was signed.
    pub root: Digest,
    /// The node that signed; none when the service signed.
    pub node_id: Option<NodeId>,
}

/// Verifies receipts for somebody who trusts one service, and, as far as it endorses them, those before it.
#[derive(Clone, Debug)]
pub struct ReceiptVerifier {
    pub(crate) service: Certificate,
    /// The newest first.
    pub(crate) before: Vec<EndorsedService>,
}

impl ReceiptVerifier {
    /// `service` is what is trusted.
    #[must_use]
    pub const fn new(service: Certificate) -> Self {
        Self { service, before: Vec::new() }
    }

    /// Also takes receipts of the services that `endorsements` lead to.
    ///
    /// # Errors
    /// [`EndorsementError`] when they do not begin with the service that is trusted, or break off.
    pub fn with_endorsements(self, endorsements: &Endorsements) -> Result<Self, EndorsementError> {
        let before = endorsements.verify(self.service.key())?;
        Ok(Self { before, ..self })
    }

    /// Verifies the JSON form. A receipt may bring endorsements of its own.
    ///
    /// # Errors
    /// [`VerifyReceiptError`] with the first thing that is wrong.
    pub fn json(&self, receipt: &[u8]) -> Result<VerifiedReceipt, VerifyReceiptError> {
        verify_json_under(receipt, self)
    }

    /// Verifies the COSE form.
    ///
    /// # Errors
    /// [`VerifyReceiptError`] with the first thing that is wrong.
    pub fn cose(&self, receipt: &[u8]) -> Result<VerifiedReceipt, VerifyReceiptError> {
        cose::verify(receipt, self)
    }
}

/// What the key of a service of before signed counts up to its last signature, and nothing after. `signature` is where the
/// form says that it was signed.
fn check_epoch(
    service: &EndorsedService,
    signature: Option<TxId>,
    verified: &VerifiedReceipt,
) -> Result<(), VerifyReceiptError> {
    let epoch = &service.epoch;
    let is_within = match (verified.tx_id, signature) {
        (Some(tx_id), Some(signature)) => {
            epoch.reaches(tx_id)
                && epoch.contains(signature)
                && (signature != epoch.last || verified.root == epoch.root)
        }
        (Some(tx_id), None) => epoch.reaches(tx_id),
        // A root alone names no place, so nobody can say that it is not newer; but for the last one.
        (None, _) => verified.root == epoch.root,
    };
    if is_within {
        Ok(())
    } else {
        Err(VerifyReceiptError::Epoch { tx_id: verified.tx_id, last: epoch.last })
    }
}

/// A receipt that proves nothing.
#[derive(Debug, Error)]
pub enum VerifyReceiptError {
    /// More bytes than are read.
    #[error("receipt has {found} bytes, at most {limit} are read")]
    Long {
        /// Bytes given.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// Not JSON of the form.
    #[error("receipt is not JSON of the form")]
    Json(#[source] serde_json::Error),
    /// A field of the JSON form is malformed.
    #[error("field {0} is malformed or missing")]
    Field(&'static str),
    /// Not COSE of the form.
    #[error("receipt is not a COSE message of the form")]
    Cose,
    /// The commit evidence names no transaction.
    #[error("commit evidence names no transaction")]
    CommitEvidence(#[source] ParseIdError),
    /// The path is longer than any.
    #[error("path has {found} steps, at most {limit} are followed")]
    Path {
        /// Steps given.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// The service certificate, which the verifier brought, is unreadable.
    #[error("service certificate is unreadable")]
    Service(#[source] CertificateError),
    /// The node's certificate does not lead to the service's.
    #[error("node certificate is not endorsed by the service")]
    Endorsement(#[source] CertificateError),
    /// Endorsements of earlier services, which the receipt brought, do not hold.
    #[error("endorsements of earlier services do not hold")]
    Earlier(#[source] EndorsementError),
    /// The node was endorsed by an earlier service, and nothing says up to where that one signed.
    #[error("receipt is of an earlier service, and nothing says up to where that one signed")]
    NoEpoch,
    /// Signed with the key of an earlier service, and not within what that one signed.
    #[error("receipt is signed by a service that ended at {last}, {}", match .tx_id {
        Some(tx_id) => format!("and {tx_id} is not of its time"),
        None => "and nothing says that its root is not newer".to_owned(),
    })]
    Epoch {
        /// What the receipt is about; none when it is of a signature entry.
        tx_id: Option<TxId>,
        /// The last signature of that service.
        last: TxId,
    },
    /// The node's certificate is of another key than the node id says.
    #[error("node certificate does not belong to node {0}")]
    NodeId(NodeId),
    /// Signed by another service.
    #[error("receipt is signed with the service key {found}, expected {expected}")]
    ServiceKey {
        /// The digest of the service's key.
        expected: Digest,
        /// The digest of the key that signed.
        found: Digest,
    },
    /// The signature is not of the root that leaf and path lead to.
    #[error("signature does not verify over the root {root}")]
    Signature {
        /// Where leaf and path lead.
        root: Digest,
    },
}

/// Largest receipt that is read, in bytes: certificates, and the longest path.
const RECEIPT_BYTES_MAX: usize = 256 << 10;

/// Longest path that is followed: one step for each bit of a seqno.
const PATH_STEPS_MAX: usize = 64;

fn check_limits(bytes: usize) -> Result<(), VerifyReceiptError> {
    if bytes <= RECEIPT_BYTES_MAX {
        Ok(())
    } else {
        Err(VerifyReceiptError::Long { found: bytes, limit: RECEIPT_BYTES_MAX })
    }
}

fn check_path(found: usize) -> Result<(), VerifyReceiptError> {
    if found <= PATH_STEPS_MAX {
        Ok(())
    } else {
        Err(VerifyReceiptError::Path { found, limit: PATH_STEPS_MAX })
    }
}
