//! Receipts: proof, checkable offline, that an entry is in the ledger of a service.
//!
//! Two forms of one thing. The JSON form carries the node's signature and the certificate by which the service endorses
//! the node; the COSE form carries the service's own signature. Both lead from the parts of a leaf along a path to the
//! signed root. Validity periods of certificates are not checked: a receipt is for years.

mod cose;
mod json;

use coco_crypto::{CertificateError, sha256};
use coco_types::{Digest, NodeId, ParseIdError, TxId, codec::DecodeError};
use thiserror::Error;

use crate::{EntryView, MerkleTree, PathStep, SignatureRecord, entry, root_from_path};

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
        Ok(Self { tx_id, leaf: Some(leaf), path, signature: signature.clone() })
    }

    /// The receipt of a signature entry by itself: its root, signed. There is no COSE form.
    #[must_use]
    pub fn of_signature(signature: &SignatureRecord) -> Self {
        Self { tx_id: signature.tx_id, leaf: None, path: Vec::new(), signature: signature.clone() }
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
