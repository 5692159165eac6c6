//! Ethereum as a hosted ledger protocol: its transactions, state, blocks, queries and JSON-RPC, as pure functions
//! over the store.
//!
//! The execution half is [`executor`]: it takes checked transactions, runs them on `revm` against a store transaction
//! and leaves a block behind. What it reads and writes is laid out in [`state`]; [`genesis`] makes block 0, [`fork`]
//! says which rules hold when, [`trie`] keeps the Merkle Patricia root for chains that want one.
//!
//! The outward half is [`transaction`] (decoding and signature recovery on the edge), [`pool`] (waiting transactions),
//! [`adapter`] (the framework's contract) and [`rpc`] (queries).
//!
//! Absent on purpose: gossip, uncles, proof of work, withdrawals, blobs.

pub mod adapter;
pub mod block;
pub mod executor;
pub mod fork;
pub mod genesis;
pub mod pool;
pub mod rpc;
pub mod state;
pub mod transaction;
pub mod trie;
