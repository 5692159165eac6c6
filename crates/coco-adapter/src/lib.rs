//! The contract between the framework and a hosted ledger protocol.
//!
//! An adapter has two halves. [`Check`] runs on the edge, on many threads: it decodes what a client sent and verifies
//! its signatures, and needs nothing but the bytes. [`Adapter`] runs on the replica, alone and in order: it admits
//! checked transactions, and executes them in batches, one batch an entry of the ledger. Queries are the adapter's own
//! affair: they read a [`coco_kv::Snapshot`] and, for what is no longer in memory, a [`History`].
//!
//! The contract knows no adapter. It has no clock and no entropy: both come in as [`Outside`] values, which the
//! framework records in the entry so that any node can execute it again.

use std::{any::Any, fmt};

use bytes::Bytes;
use coco_kv::{MapName, MapSpec, Reader, Transaction};
use coco_types::{Digest, Seqno};
use thiserror::Error;

/// Names one caller who waits for an answer. Chosen by the framework, unique in the life of a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// A transaction whose form and signatures were verified. Only the adapter that made it can open it.
pub struct Checked(Box<dyn Any + Send>);

impl Checked {
    /// Wraps an adapter's own type.
    #[must_use]
    pub fn new<T: Any + Send>(transaction: T) -> Self {
        Self(Box::new(transaction))
    }

    /// Opens it again.
    ///
    /// # Errors
    /// Gives itself back when it holds another type, that is, when it was made by another adapter.
    pub fn open<T: Any>(self) -> Result<T, Self> {
        self.0.downcast().map(|inner| *inner).map_err(Self)
    }
}

impl fmt::Debug for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Checked(..)")
    }
}

/// A transaction that will not be executed, and why, in the words of the hosted protocol.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct Refusal {
    /// The protocol's own error code.
    pub code: i64,
    /// What was wrong and what to do.
    pub message: String,
    /// What the protocol attaches to the error, as text.
    pub data: Option<String>,
}

/// What became of an admitted transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is part of the entry that was just executed.
    Executed,
    /// The same transaction was executed before, in the entry at this position.
    Earlier(Seqno),
    /// It is not, and will not be, executed.
    Refused(Refusal),
}

/// An answer to a caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Who waits for it.
    pub ticket: Ticket,
    /// What became of the transaction.
    pub verdict: Verdict,
}

/// The clocks at the moment when something is handed to an adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clocks {
    /// Milliseconds since 1970, as [`Outside::time_ms`] would be now. The host sets this clock: it may jump or stand still.
    pub time_ms: u64,
    /// Milliseconds of a clock that only runs. What waits is timed by it.
    pub running_ms: u64,
}

/// Fresh entropy for one batch. It is private: `Debug` prints its name only.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Entropy(pub [u8; 32]);

impl fmt::Debug for Entropy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Entropy")
    }
}

/// What a batch reads from outside. The framework records it in the batch's entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outside {
    /// Milliseconds since 1970 by the primary's clock; never decreases from entry to entry.
    pub time_ms: u64,
    /// Fresh entropy.
    pub entropy: Entropy,
}

/// One executed batch.
#[derive(Debug)]
pub struct Execution {
    /// Digest of what the adapter claims of this entry to readers of its receipt; zero for none.
    pub claims: Digest,
    /// Whether anything was executed. When not, the transaction is dropped and no entry is made.
    pub is_empty: bool,
}

/// The edge's half: decodes and verifies, on any thread.
pub trait Check: Send + Sync {
    /// Decodes `bytes` and verifies every signature in it.
    ///
    /// # Errors
    /// The refusal to answer with.
    fn check(&self, bytes: &[u8]) -> Result<Checked, Refusal>;
}

/// The replica's half: admits, executes, forgets. Deterministic in its inputs.
pub trait Adapter: Send {
    /// The maps that it keeps.
    fn schema(&self) -> Vec<MapSpec>;

    /// Takes a checked transaction into the queue. Answers that are due at once are returned, among them possibly
    /// answers to earlier tickets (a replaced transaction). `head` reads the newest state, committed or not.
    fn admit(
        &mut self,
        head: &Reader,
        clocks: Clocks,
        ticket: Ticket,
        transaction: Checked,
    ) -> Vec<Answer>;

    /// How many transactions wait that [`Adapter::execute`] could take now.
    fn ready(&self) -> usize;

    /// Executes the next batch on `tx`. What became of the batch follows: [`Adapter::settle`] or [`Adapter::take_back`].
    fn execute(&mut self, tx: &mut Transaction<'_>, outside: &Outside) -> Execution;

    /// The batch just executed stands, or was empty. Answers to the callers whose transactions are in it, or were refused
    /// while it was made. `head` reads the state that it left.
    fn settle(&mut self, head: &Reader) -> Vec<Answer>;

    /// The batch just executed writes more than an entry holds, and was dropped: `head` reads the state before it. Its
    /// transactions wait as before, and the next batch has at most half as many. One that was alone is refused, which is
    /// among the answers.
    fn take_back(&mut self, head: &Reader) -> Vec<Answer>;

    /// Answers to transactions that have waited too long by the clock of [`Clocks::running_ms`]. Called every few
    /// milliseconds.
    fn expire(&mut self, running_ms: u64) -> Vec<Answer>;

    /// The store was rolled back: what the adapter knows of the newest state is stale.
    fn rolled_back(&mut self, head: &Reader);

    /// This node is not primary any more: every waiting transaction is dropped, its tickets are returned.
    fn abandon(&mut self) -> Vec<Ticket>;
}

/// Why a value of the past could not be read.
#[derive(Debug, Error)]
pub enum HistoryError {
    /// The entry cannot be read from this disk.
    #[error("entry {seqno} cannot be read")]
    Unreadable {
        /// Its position.
        seqno: Seqno,
        /// The cause.
        source: std::io::Error,
    },
    /// The entry is in a chunk file that is kept elsewhere.
    #[error("entry {seqno} is archived: its chunk file is not on this node's disk")]
    Archived {
        /// Its position.
        seqno: Seqno,
    },
    /// The bytes on disk are not those that the Merkle tree holds.
    #[error("entry {seqno} on disk is not the entry that the ledger holds")]
    Altered {
        /// Its position.
        seqno: Seqno,
    },
}

/// Reads values of history maps back from the ledger.
pub trait History: Send + Sync {
    /// The value that the entry at `seqno` wrote under `key`, decrypted and checked against the Merkle tree; `None`
    /// when it wrote none (the compact index may name an entry falsely).
    ///
    /// # Errors
    /// [`HistoryError`] when the entry cannot be read or is not what it was.
    fn read(&self, seqno: Seqno, map: &MapName, key: &[u8]) -> Result<Option<Bytes>, HistoryError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entropy_prints_its_name_only() {
        let outside = Outside { time_ms: 1, entropy: Entropy([7; 32]) };
        assert_eq!(format!("{outside:?}"), "Outside { time_ms: 1, entropy: Entropy }");
    }

    #[test]
    fn a_checked_transaction_opens_only_as_what_it_is() {
        let checked = Checked::new(7_u32);
        let checked = checked.open::<u64>().expect_err("it is no u64");
        assert_eq!(checked.open::<u32>().expect("it is a u32"), 7);
    }
}
