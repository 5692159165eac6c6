//! What clients do: each sends one transfer after the other, to any node, again when it hears nothing, and believes a
//! transfer to be final when some node says that it is committed. In between it reads balances anywhere,
//! and what they were. Some send their next transfer ahead, without waiting for what becomes of the one before.

use coco_adapter::Ticket;
use coco_evm::block::PooledTx;
use coco_types::TxId;

use crate::plan::Micros;

/// How long a client waits for an answer before it asks another node.
pub const PATIENCE_US: Micros = 1_500_000;
/// How long it waits before it asks again for the status of its transfer, or after it was turned away.
pub const PAUSE_US: Micros = 20_000;

/// One client.
#[derive(Debug)]
pub struct Client {
    /// The nonce of its next transfer.
    pub nonce: u64,
    /// What it is at.
    pub doing: Doing,
    /// It was told of an entry for its transfer.
    pub was_told: bool,
    /// The node that it takes for the primary.
    pub favourite: Option<usize>,
    /// The transfer after this one, which it has sent already, and when.
    pub ahead: Option<(PooledTx, Micros)>,
}

/// What a client is at.
#[derive(Clone, Debug)]
pub enum Doing {
    /// Nothing.
    Resting,
    /// It wants this transfer executed.
    Asking {
        /// The transfer.
        transfer: PooledTx,
        /// When it began.
        begun_us: Micros,
        /// The question that it waits for the answer of, and until when.
        question: Option<(Ticket, Micros)>,
    },
    /// It was told that the transfer stands in this entry, and waits for that to be final.
    Waiting {
        /// The transfer.
        transfer: PooledTx,
        /// When it began.
        begun_us: Micros,
        /// The entry.
        id: TxId,
    },
}

/// A transfer that a client was told is committed.
#[derive(Clone, Debug)]
pub struct Done {
    /// Its hash.
    pub hash: alloy_primitives::B256,
    /// Where.
    pub id: TxId,
    /// When the client began to ask for it.
    pub begun_us: Micros,
    /// When it was told.
    pub done_us: Micros,
}

impl Client {
    /// A client that rests.
    #[must_use]
    pub const fn new() -> Self {
        Self { nonce: 0, doing: Doing::Resting, was_told: false, favourite: None, ahead: None }
    }

    /// Whether it waits for nothing.
    #[must_use]
    pub const fn is_at_rest(&self) -> bool {
        matches!(self.doing, Doing::Resting)
    }
}

impl Default for Client {
    fn default() -> Self {
        Self::new()
    }
}

/// Real time and the order of the ledger agree: a transfer that was begun after another was known to be committed stands
/// behind it.
///
/// # Panics
/// When one stands before it.
pub fn check_order(done: &[Done]) {
    let mut by_begin: Vec<&Done> = done.iter().collect();
    by_begin.sort_unstable_by_key(|done| done.begun_us);
    let mut by_end = by_begin.clone();
    by_end.sort_unstable_by_key(|done| done.done_us);
    let mut ended = by_end.into_iter().peekable();
    let mut newest: Option<&Done> = None;
    for next in by_begin {
        while let Some(before) = ended.next_if(|before| before.done_us < next.begun_us) {
            newest = newest.into_iter().chain([before]).max_by_key(|done| done.id.seqno);
        }
        if let Some(before) = newest {
            assert!(
                before.id.seqno < next.id.seqno,
                "{} was committed as {} before {} began, which stands at {}",
                before.hash,
                before.id,
                next.hash,
                next.id
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::B256;

    use super::*;

    fn done(id: u64, begun_us: Micros, done_us: Micros) -> Done {
        Done { hash: B256::with_last_byte(1), id: TxId::new(2, id), begun_us, done_us }
    }

    #[test]
    fn transfers_that_overlap_may_stand_in_any_order() {
        check_order(&[done(9, 0, 10), done(5, 9, 30), done(9, 5, 12), done(11, 31, 40)]);
    }

    #[test]
    #[should_panic(expected = "before")]
    fn a_transfer_does_not_stand_before_one_that_was_over() {
        check_order(&[done(9, 0, 10), done(8, 11, 12)]);
    }
}
