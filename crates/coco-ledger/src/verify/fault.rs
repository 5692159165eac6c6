//! What can be wrong with a ledger.

use coco_crypto::CertificateError;
use coco_types::{Digest, NodeId, Seqno, TxId, View, codec::DecodeError};
use thiserror::Error;

use crate::{
    ChunkFault, EndorsementError, OpenEntryError, ParseChunkNameError, ParseSignatureError,
    SnapshotFault, VerifySignatureError,
    genesis::{NodeStatus, ServiceStatus},
};

/// A ledger that does not verify: the file, the offset, the seqno, and what is wrong there.
#[derive(Debug, Error)]
#[error("{file} at offset {offset}, seqno {seqno}")]
pub struct VerifyLedgerError {
    /// The file; empty when there is none.
    pub file: String,
    /// The offset: of the entry, where one entry is to blame.
    pub offset: u64,
    /// The seqno of the entry to blame; of the entry that should stand there, where none can be read.
    pub seqno: Seqno,
    /// What is wrong.
    #[source]
    pub fault: LedgerFault,
}

/// What is wrong with a ledger.
#[derive(Debug, Error)]
pub enum LedgerFault {
    /// The file is not named as a chunk is.
    #[error("file is no chunk by its name")]
    Name(#[source] ParseChunkNameError),
    /// The file is no chunk.
    #[error("chunk is malformed")]
    Chunk(#[source] ChunkFault),
    /// Entries are missing between two chunks, or doubled.
    #[error("chunk begins at seqno {found}, expected {expected}")]
    Gap {
        /// The seqno after the last entry.
        expected: Seqno,
        /// The seqno that the name says.
        found: Seqno,
    },
    /// Something follows a chunk that is still open.
    #[error("chunk follows one that is not closed")]
    AfterOpen,
    /// The name says that the chunk is closed, and it is not.
    #[error("chunk is not closed, its name says it is")]
    NotClosed,
    /// The name says another number of entries.
    #[error("chunk holds {found} entries, its name says {expected}")]
    Count {
        /// By the name.
        expected: u64,
        /// In the file.
        found: u64,
    },
    /// A closed chunk does not end on a signature.
    #[error("closed chunk does not end on a signature entry")]
    UnsignedChunk,
    /// An entry has a flag that does not belong there.
    #[error("entry flags do not fit its place in the chunk")]
    Flags,
    /// An entry is out of order.
    #[error("entry has seqno {found}, expected {expected}")]
    Seqno {
        /// The next seqno.
        expected: Seqno,
        /// What the entry says.
        found: Seqno,
    },
    /// An entry is of an earlier view than the one before it.
    #[error("entry is of view {found} after view {before}")]
    View {
        /// The view of the entry before, or the first there can be.
        before: View,
        /// What the entry says.
        found: View,
    },
    /// Writes are malformed.
    #[error("writes are malformed")]
    Writes(#[from] DecodeError),
    /// The entry does not open under the secret that was given.
    #[error("entry does not open")]
    Open(#[from] OpenEntryError),
    /// A signature entry is malformed.
    #[error("signature entry is malformed")]
    SignatureForm(#[source] ParseSignatureError),
    /// A signature is of another place in the ledger.
    #[error("signature of {signed} stands in the entry at {entry}")]
    SignaturePosition {
        /// The entry.
        entry: TxId,
        /// The place that was signed.
        signed: TxId,
    },
    /// A signature does not hold.
    #[error("signature does not hold")]
    Signature(#[source] VerifySignatureError),
    /// This entry is not the one that was signed.
    #[error("entry is not the one that was signed")]
    Leaf(#[source] VerifySignatureError),
    /// The tree in a signature entry is not the one that it signs.
    #[error("recorded tree is not the one that was signed")]
    Tree,
    /// A signature entry makes a claim.
    #[error("signature entry has a claims digest")]
    SignatureClaims,
    /// A governance table has a malformed row.
    #[error("row of {map} is malformed")]
    Row {
        /// The table.
        map: &'static str,
    },
    /// A governance table has a row that is not JSON of its form.
    #[error("row of {map} is not JSON of its form")]
    Json {
        /// The table.
        map: &'static str,
        /// What the parser says.
        #[source]
        error: serde_json::Error,
    },
    /// The service made a step that it may not make.
    #[error("service went from {from:?} to {to:?}")]
    Transition {
        /// Before.
        from: ServiceStatus,
        /// After.
        to: ServiceStatus,
    },
    /// The ledger says another service certificate than the one that is trusted.
    #[error("service has another key than the trusted certificate")]
    ServiceKey,
    /// The ledger goes on as another service than those that are trusted.
    #[error(
        "the service was recovered as another one, whose certificate has the digest {0}: it is not among the trusted ones"
    )]
    OtherService(Digest),
    /// The ledger ends before the recovery from which the trusted service is.
    #[error("ledger ends before the service that is trusted: it is one of before a recovery")]
    EarlierService,
    /// The ledger ends with the entry in which the trusted service begins, and nothing that it signed.
    #[error(
        "the trusted service has signed nothing in this ledger: it is named in the entry {0}, which anybody could append; ask for \
         a copy that reaches further"
    )]
    UnsignedService(TxId),
    /// The endorsement of the service before a recovery does not hold.
    #[error("endorsement of the service before does not hold")]
    Endorsement(#[source] EndorsementError),
    /// The endorsement of the service before a recovery is of another key, or of another part of the ledger.
    #[error("endorsement is not of the service before and of what it signed here")]
    Endorsed,
    /// A service endorses another one elsewhere than in its first entry.
    #[error("endorsement of a service stands where no service begins")]
    EndorsementPlace,
    /// A certificate in the ledger is unreadable, or not endorsed by the service.
    #[error("certificate of {whose} is not acceptable")]
    Certificate {
        /// The node, or the service.
        whose: String,
        /// Why.
        #[source]
        error: CertificateError,
    },
    /// A node's certificate is of a key that the node id does not stand for.
    #[error("certificate of node {0} is of another key")]
    NodeKey(NodeId),
    /// Signed by a node that is not among the service's, or may not sign.
    #[error("signer {node_id} is {status:?}")]
    Signer {
        /// The node.
        node_id: NodeId,
        /// What the ledger says of it; none when it says nothing.
        status: Option<NodeStatus>,
    },
    /// A signature entry carries another certificate than the ledger endorsed.
    #[error("signature entry carries another certificate of node {0} than the ledger endorses")]
    OtherCertificate(NodeId),
    /// A receipt is of another entry than the one at its place, or of a root that the ledger never had.
    #[error("ledger does not hold what the receipt proves{}", match .tx_id {
        Some(tx_id) => format!(": the entry at {tx_id} is another"),
        None => format!(": no signature is over the root {root}"),
    })]
    Receipt {
        /// What the receipt is about; none when it is of a signature entry.
        tx_id: Option<TxId>,
        /// The root that it leads to.
        root: Digest,
    },
    /// An entry is not the one that the snapshot has a leaf of.
    #[error("entry is not the one that the snapshot stands on")]
    SnapshotLeaf,
    /// A snapshot is damaged or forged.
    #[error("snapshot cannot be used")]
    Snapshot(#[source] SnapshotFault),
    /// A snapshot stands on other entries than the ledger's.
    #[error("snapshot of {0} stands on another ledger")]
    SnapshotTree(Seqno),
    /// The ledger's entry where a snapshot has its evidence is another.
    #[error("entry {0} is not the evidence of the snapshot")]
    SnapshotEvidence(TxId),
    /// A snapshot has its evidence in an entry that the ledger does not reach.
    #[error("snapshot has its evidence at {evidence}, the ledger is signed up to {signed}")]
    SnapshotAhead {
        /// Where the evidence is.
        evidence: TxId,
        /// Up to where the ledger is signed.
        signed: Seqno,
    },
    /// Nothing is signed.
    #[error("ledger holds no signature")]
    NoSignature,
    /// The ledger never named its service.
    #[error("ledger does not name its service")]
    NoService,
    /// The ledger ends too early.
    #[error("ledger is signed up to {signed} and does not hold {expected}")]
    Short {
        /// What it has to hold.
        expected: TxId,
        /// What it holds.
        signed: TxId,
    },
}
