//! What clients did and saw. Times are microseconds on one clock that only runs.

use alloy_primitives::{Address, B256, U256};
use coco_types::TxId;

/// A transfer that a client sent, as often as it took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Write {
    /// Its transaction hash.
    pub(crate) hash: B256,
    pub(crate) from: Address,
    pub(crate) nonce: u64,
    pub(crate) to: Address,
    /// Wei.
    pub(crate) value: U256,
    /// When it was first sent.
    pub(crate) begin_us: u64,
    pub(crate) outcome: Outcome,
}

/// What a client was told of its write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is committed.
    Acknowledged {
        /// When the client heard it.
        end_us: u64,
        /// The entry that holds it.
        id: TxId,
        /// Where it stands in the chain.
        place: Place,
    },
    /// It will never be executed, for this reason.
    Refused(String),
    /// Nothing, until the client gave up: it may have happened or not.
    Unknown,
}

/// A transaction's place in the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) block: u64,
    /// Its number among the block's transactions.
    pub(crate) index: u64,
}

/// One look at an account on one node: committed state, which may be old.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Read {
    /// Which node answered.
    pub(crate) node: usize,
    /// How often it had been started.
    pub(crate) start: u64,
    pub(crate) begin_us: u64,
    pub(crate) end_us: u64,
    pub(crate) account: Address,
    /// The node's last block, asked before the account.
    pub(crate) block_before: u64,
    pub(crate) state: Account,
    /// The node's last block, asked after the account.
    pub(crate) block_after: u64,
}

/// What an account has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) nonce: u64,
    /// Wei.
    pub(crate) balance: U256,
}

/// Everything that the clients of a case did and saw.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    pub(crate) writes: Vec<Write>,
    pub(crate) reads: Vec<Read>,
}
