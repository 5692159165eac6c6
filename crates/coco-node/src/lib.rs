//! Driver and edge of a node: event loop, disk, peers, TLS, HTTP, metrics.
//!
//! Everything here deals with the operating system and none of it knows the protocol's rules: those are in the
//! replica, which this crate feeds and whose effects it carries out.
//!
//! Threads of one node: `replica` (the event loop), `disk` (append and sync), `fetch` (reads for nodes that lag),
//! `snapshots` (writes the state down), `governor` (members' requests),
//! `peers` (one runtime thread for the channel between nodes, so that heartbeats never queue behind client work) and
//! `edge` (as many runtime threads as cores, for clients).

mod acks;
pub mod address;
mod calls;
mod catch_up;
mod clock;
pub mod config;
pub mod copy;
pub mod directory;
pub mod disk;
pub mod driver;
pub mod edge;
pub mod folder;
pub mod frame;
pub mod govern;
mod governor;
pub mod history;
pub mod identity;
pub mod join;
mod messages;
pub mod metrics;
pub mod newcomer;
pub mod node;
pub mod peers;
pub mod platform;
pub mod provision;
pub mod recover;
pub mod replay;
mod seal;
mod seat;
pub mod service_status;
pub mod shown;
pub mod snapshot_files;
mod snapshotter;
pub mod tls;
pub mod waiters;

pub use config::{LoadConfigError, NodeConfig};
pub use node::{Node, StartNodeError};
