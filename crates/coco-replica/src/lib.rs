//! One node's whole mind: an input in, effects out.
//!
//! The replica owns the store, the Merkle tree, the consensus engine and the adapter, and keeps them in step. It never
//! waits, and knows no clock, file, socket or thread: the driver brings in time, messages, finished writes and checked
//! transactions, and carries out the [`Effects`] that come back.
//!
//! The life of a transaction here:
//!
//! 1. [`Input::Submit`] admits it to the adapter's queue.
//! 2. [`Input::Work`] executes the next batch on the store, seals the write set into an entry, appends its leaf to the
//!    tree and proposes it. Nothing waits for replication.
//! 3. A signature entry follows when the queue is empty and the previous signature has committed, or when
//!    [`Settings::signature_interval_ms`] have passed.
//! 4. The entry is committed when a quorum has it on disk and a signature entry that covers it is there too.
//!
//! Members' requests run scripts, which takes longer than the replica may: see `governing.rs`.
//!
//! When the view is lost, everything not committed by the new primary is rolled back: store, tree, log and status
//! together, to the same position.

#![deny(clippy::wildcard_enum_match_arm)]

mod attestations;
mod copy_ledger;
mod effects;
mod governing;
mod hard_state_file;
mod hearsay;
mod held;
mod introductions;
mod leases;
mod ledger_state;
mod load;
mod load_ledger;
mod membership;
mod node_cipher;
mod outside;
mod own_disk;
mod periods;
mod read_entries;
mod recover_ledger;
mod recover_secrets;
mod replacements;
mod replica;
mod snapshot_files;
mod snapshot_maker;
mod snapshots;
mod storage;

pub use attestations::{
    Attestation, AttestationAudit, AttestationError, AttestationRowError, ShownEvidence,
};
pub use copy_ledger::{CopiedLedger, PlaceCopyError};
pub use effects::{Effects, Persist, Reply};
pub use governing::{
    GOVERN_TRIES_MAX, GOVERN_WAITING_BY_MEMBER_MAX, GOVERN_WAITING_MAX, GovernReply, GovernRequest,
    GovernTask, Governed, SECRET_LOOK_MS, SNAPSHOT_ASKED_MAP, Unasked,
};
pub use hard_state_file::{HardStateFile, HardStateFileError};
pub use hearsay::Leads;
pub use held::Held;
pub use introductions::{Introduction, IntroductionReply, PENDING_NODES_MAX};
pub use leases::{LEASE_GRACE_MS, LEASE_LOOK_MS};
pub use ledger_state::{LedgerState, SharedLedgerState};
pub use load::{LoadError, Loader, PAST_BYTES_MAX, RECENT_BYTES_MAX, RestoreSnapshotError};
pub use load_ledger::{LoadLedger, LoadLedgerError, UseSnapshotError};
pub use membership::{JoinRefusal, JoinReply, JoinRequest};
pub use node_cipher::{Keyring, NodeCipher, NodeKeyError};
pub use outside::{OUTSIDE_MAP, decode_outside, encode_outside};
pub use periods::{NODE_SECRETS_MAP, PAST_SECRETS_MAP, ReadPeriodError, SECRET_SINCE_MAP};
pub use read_entries::{ReadEntriesError, read_entries};
pub use recover_ledger::{NewService, Reach, RecoverLedgerError};
pub use recover_secrets::{ReadSecretsError, RecoverSecrets, RecoverSecretsError};
pub use replica::{Input, Now, Replica, Settings, StepError};
pub use snapshot_files::{SNAPSHOT_FILE_BYTES_MAX, SNAPSHOTS_KEPT, SnapshotFiles, Unfinished};
pub use snapshot_maker::{
    Claim, CompleteSnapshotError, MadeSnapshot, SNAPSHOTS_WAITING_MAX, SnapshotMaker,
    WriteSnapshotError,
};
pub use snapshots::{
    EvidenceReceiptError, FinishSnapshot, MakeSnapshot, MakeSnapshotError, SNAPSHOT_ENTRIES_MIN,
    SnapshotTask,
};
pub use storage::{Storage, StorageError, Synced};
