//! The maxima that more than one crate must agree on. A limit that one crate alone knows lives in that crate.

/// Largest entry that may enter the ledger, in bytes. A block of 30 million gas that holds nothing but non-zero
/// calldata stays below 2 MiB; the rest is room for write sets.
pub const ENTRY_BYTES_MAX: usize = 16 << 20;

/// Largest message between two nodes, in bytes: one entry of the largest size with its framing.
pub const PEER_MESSAGE_BYTES_MAX: usize = ENTRY_BYTES_MAX + (1 << 20);

/// Most nodes that one configuration may hold.
pub const NODES_MAX: usize = 64;
