//! The contract of an engine that orders the entries of a ledger, and the `raft` engine.
//!
//! Floor 2. [`Engine`] is the whole public face; [`RaftEngine`] stands behind it. Nothing of the `raft` crate shows:
//! neither its types, nor its protobuf on the network, nor its entries. What a peer sends is read by a bounded codec
//! of our own before the protocol sees it.

#![deny(clippy::wildcard_enum_match_arm)]

mod configuration;
mod engine;
mod hard_state;
mod raft_engine;

pub use configuration::{Configuration, ConfigurationError};
pub use engine::{
    Engine, Fetch, FetchFailed, FetchId, INFLIGHT_MESSAGES_MAX, Limits, LogEntry,
    MESSAGE_BYTES_MAX, Output, PersistToken, Progress, ProposeError, ReceiveError, RoleChange,
    Start, StartError, Status, Timing, TransferError, UNCOMMITTED_BYTES_MAX, WINDOW_BYTES_MAX,
};
pub use hard_state::{HARD_STATE_BYTES, HardState, HardStateError};
pub use raft_engine::RaftEngine;
