//! The ledger as bytes: what is written, signed, proven and checked, without knowing of an operating system's
//! files, clocks or networks.
//!
//! The formats are CCF's, byte for byte, so that auditors' existing tools read a ledger made here.
//!
//! ```text
//!   write set ─ seal ─▶ entry ─ leaf ─▶ Merkle tree ─ root ─▶ signature entry (node's and service's signature)
//!                         │                                        │
//!                         └── chunk file ◀─────────────────────────┘ ─▶ receipt: leaf, path, signature
//! ```
//!
//! - An **entry** ([`seal`], [`EntryView`]) holds one write set: public maps in the clear, private maps under the
//!   [`LedgerSecret`] of its period ([`LedgerSecrets`]). Its leaf hashes the whole entry, its commit evidence and its claims digest.
//! - The **tree** ([`MerkleTree`]) has one leaf an entry, and a leaf of zeros before the first.
//! - A **signature entry** at seqno *s* signs the root over leaves 0 to *s* − 1, then becomes leaf *s* itself.
//! - A **receipt** ([`Receipt`]) proves to anyone who knows the service certificate that an entry is under such a root.
//! - An **endorsement** ([`EndorsementRow`], [`Endorsements`]) says of a service that was recovered which key it had and up to
//!   where it signed.
//! - A **chunk** ([`Chunk`], [`ChunkName`]) is one file of entries; a closed one ends on a signature entry and a table.
//! - A **snapshot** ([`seal_snapshot`], [`SnapshotFile`]) is the state as of a signature entry, with a receipt of its
//!   evidence.
//! - The **files** ([`LedgerFiles`], [`LedgerWriter`]) are the chunks in a [`Folder`], which somebody else brings.
//! - The **verifier** ([`Verifier`]) is fed chunks and believes nothing but the service certificate.

mod chunk;
mod endorsement;
mod entry;
mod files;
mod first;
mod folder;
mod genesis;
mod membership;
mod merkle;
mod periods;
mod receipt;
mod recovery;
mod secret;
mod signature;
mod snapshot;
mod verify;

pub use chunk::{
    CHUNK_BYTES_DEFAULT, CHUNK_HEADER_BYTES, Chunk, ChunkError, ChunkFault, ChunkName,
    ParseChunkNameError, chunk_files, close_chunk, open_chunk,
};
pub use coco_crypto::SealError;
pub use endorsement::{
    ENDORSEMENTS_MAX, EndorsedService, EndorsementError, EndorsementRow, Endorsements, Epoch,
    PREVIOUS_ENDORSEMENT_MAP,
};
pub use entry::{
    ENTRY_HEADER_BYTES, EntryFlags, EntryView, OpenEntry, OpenEntryError, SealEntryError,
    SealedEntry, entry_bytes, seal,
};
pub use files::{
    LedgerFiles, LedgerFilesError, LedgerWriter, PUT_ASIDE, PutAside, ReplayError, TornTail,
    settle_open_chunk, used_chunks,
};
pub use first::FirstLedger;
pub use folder::{
    FileError, FileOperation, Folder, FolderFile, SECTOR_BYTES, read_part, read_whole,
};
pub use genesis::{
    ENDORSED_CERTIFICATES_MAP, GenesisNode, NODES_MAP, NodeStatus, SERVICE_MAP, ServiceStatus,
    genesis_write_set, put_service, singleton_key,
};
pub use membership::{
    CONFIGURATION_MAP, ConfigurationRow, IN_EFFECT_MAP, KEPT_FIELDS, MembershipError, NodeRow,
    RESUMED_MAP, put_endorsed_certificate, put_in_effect, put_introduced_node, put_let_in_again,
    put_pending_node, put_quarantined, put_resumed, put_retired_committed, put_status,
    put_successor, read_in_effect, read_node,
};
pub use merkle::{MerkleTree, PathStep, root_from_path};
pub use periods::{LedgerSecrets, PERIODS_MAX, Period, PeriodError};
pub use receipt::{
    EarlierService, LeafComponents, NodeWord, Receipt, ReceiptError, ReceiptVerifier, ServiceKey,
    ServiceNodes, VerifiedReceipt, VerifyReceiptError, verify_cose, verify_cose_under, verify_json,
    verify_json_under,
};
pub use recovery::{
    LAST_SIGNED_ROOT_MAP, PREVIOUS_SERVICE_MAP, Recovery, service_began, service_status,
};
pub use secret::{LEDGER_SECRET_BYTES, LedgerSecret};
pub use signature::{
    COSE_SIGNATURES_MAP, ParseSignatureError, SIGNATURES_MAP, ServiceSigner, SignatureRecord,
    Signer, TREE_MAP, VerifySignatureError, signature_write_set,
};
pub use snapshot::{
    ParseSnapshotNameError, SNAPSHOT_BYTES_MAX, SNAPSHOT_EVIDENCE_MAP, SNAPSHOT_POSITIONS_MAP,
    SealSnapshotError, SealedSnapshot, SnapshotContentsError, SnapshotError, SnapshotEvidence,
    SnapshotFault, SnapshotFile, SnapshotName, SnapshotParts, VerifiedSnapshot, put_positions,
    seal_snapshot,
};
pub use verify::{
    LedgerFault, LedgerReport, UnsignedRange, UnsignedWhat, Verifier, VerifyLedgerError,
    note_services,
};
