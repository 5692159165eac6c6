//! Ordered, versioned maps from bytes to bytes.
//!
//! One [`Store`] writes; any number of [`Reader`]s on other threads read. Each committed write set makes one *version*,
//! numbered by the seqno of its entry. A version stays readable until [`Store::compact`] drops it, and the newest ones
//! can be taken back exactly with [`Store::rollback`].
//!
//! ```text
//!   Reader::begin ─▶ Transaction ── finish ─▶ Changes ── Store::commit ─▶ WriteSet ─▶ the ledger
//!   Reader::snapshot ─▶ Snapshot (one version, while the writer goes on)
//!   a write set from the ledger or the primary ── Store::apply
//!   Snapshot::encode ─▶ the image of a version ── StateImage::parse ── Store::restore
//! ```
//!
//! A map is of one of four kinds, see [`MapKind`]: point access in a flat hash table, ranges in a tree, a compact index
//! of what stays in the ledger, or nothing at all. Versions of one key hang together in a chain, newest first; an undo
//! log of the keys that each version touched makes rollback and compaction cost what those versions wrote, and not what
//! the maps hold. A version becomes visible at once, after all its writes.
//!
//! Absent: encryption, disk, clock, threads. Whoever calls bounds the number of retained versions and of snapshots.

mod cell;
mod hash;
mod history;
mod image;
mod key;
mod name;
mod ordered;
mod point;
mod restore;
mod shards;
mod shared;
mod snapshot;
mod store;
mod table;
mod transaction;
mod view;
mod write_set;

pub use coco_types::codec::DecodeError;
pub use image::{MapImage, StateImage};
pub use name::{Domain, MAP_NAME_BYTES_MAX, MapId, MapKind, MapName, MapNameError, MapSpec};
pub use restore::RestoreError;
pub use snapshot::{NotRetained, Reader, Snapshot};
pub use store::{ApplyError, CommitError, MAPS_MAX, RollbackError, Store};
pub use transaction::{Changes, Transaction};
pub use view::{MapView, WriteSetView};
pub use write_set::{KEY_BYTES_MAX, WriteSet};

use std::sync::Arc;

use key::Key;

/// A value, shared between the store, its snapshots and write sets.
pub type Value = Arc<[u8]>;
