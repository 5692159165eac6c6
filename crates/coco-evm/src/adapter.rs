//! Ethereum under the framework's contract: one block is one batch, one store transaction, one entry of the ledger.
//!
//! A transaction is answered once, when it was executed or will not be. The answer to a transaction that was executed
//! before names the entry that holds it, so sending one twice is harmless.

use std::{collections::BTreeMap, sync::Arc};

use alloy_consensus::Transaction as _;
use alloy_primitives::{Address, B256};
use coco_adapter::{
    Adapter, Answer, Checked, Clocks, Execution, Outside, Refusal, Ticket, Verdict,
};
use coco_kv::{MapSpec, Reader, Snapshot, Transaction};
use coco_planted::Bug;
use coco_types::{Digest, Seqno};

use revm::context::result::InvalidTransaction;

use crate::{
    executor::{ExecutedBlock, Executor, InvalidReason},
    genesis::Fees,
    pool::{Held, Pool, PoolLimits, PoolStatus, Rules},
    rpc::BlockCache,
    state::{self, Head},
    transaction::{PooledTx, refusals},
};

/// The replica's half of the adapter.
#[derive(Debug)]
pub struct EvmAdapter {
    executor: Executor,
    pool: Pool,
    cache: Arc<BlockCache>,
    /// The newest block, as of the version that it was read at.
    newest: Option<(Seqno, Head)>,
    /// The clock that waits are timed by, as last heard of.
    running_ms: u64,
    /// Answers that came up where none can be returned.
    due: Vec<Answer>,
    /// The block that was just executed.
    batch: Option<Batch>,
    /// Most transactions that the next block takes: fewer than wait, when the one before was too long for an entry.
    next_max: usize,
}

impl EvmAdapter {
    /// An adapter with nothing waiting. Blocks that it executes go into `cache`, where queries find them once they are
    /// committed.
    #[must_use]
    pub fn new(executor: Executor, limits: PoolLimits, cache: Arc<BlockCache>) -> Self {
        Self {
            executor,
            pool: Pool::new(limits),
            cache,
            newest: None,
            running_ms: 0,
            due: Vec::new(),
            batch: None,
            next_max: usize::MAX,
        }
    }

    /// Counts of what waits.
    #[must_use]
    pub fn pool_status(&self) -> PoolStatus {
        self.pool.status()
    }

    /// What the next block after `head` asks; `None` before genesis. A fork may begin by time alone.
    fn rules(&mut self, head: &Snapshot, now_ms: u64) -> Option<Rules> {
        let version = head.version();
        let newest = match self.newest {
            Some((at, newest)) if at == version => newest,
            _ => state::head(&mut &*head, self.executor.maps())?,
        };
        self.newest = Some((version, newest));
        let environment = self.executor.next_environment(&newest, now_ms, B256::ZERO);
        let config = self.executor.config();
        Some(Rules {
            spec: environment.spec,
            gas_cap: config.tx_gas_limit_cap(environment.number, environment.timestamp),
            gas_limit: environment.gas_limit,
            base_fee: if config.fees == Fees::On { environment.base_fee } else { None },
        })
    }

    /// The base fee of the next block, in wei.
    fn base_fee(&self, tx: &mut Transaction<'_>, now_ms: u64) -> u64 {
        let head = state::head(tx, self.executor.maps());
        let next = head.map(|head| self.executor.next_environment(&head, now_ms, B256::ZERO));
        next.and_then(|next| next.base_fee).unwrap_or_default()
    }

    /// Brings the queues of these senders in line with the state. Returns answers to what it has passed.
    fn settle_senders(&mut self, head: &Snapshot, senders: Vec<Address>) -> Vec<Answer> {
        let mut answers = Vec::new();
        for sender in senders {
            let nonce = state::account(&mut &*head, self.executor.maps(), sender)
                .map_or(0, |account| account.nonce);
            answers.extend(self.pool.settle(sender, nonce, self.running_ms));
        }
        answers
    }
}

/// An executed block whose fate is not known yet.
#[derive(Debug)]
struct Batch {
    executed: ExecutedBlock,
    /// Everything that was taken for it, by hash.
    taken: BTreeMap<B256, Taken>,
    base_fee: u64,
}

/// What an included transaction does not say of itself.
#[derive(Debug)]
struct Taken {
    held: Held,
    authorities: Vec<Option<Address>>,
}

impl Adapter for EvmAdapter {
    fn schema(&self) -> Vec<MapSpec> {
        state::schema()
    }

    fn admit(
        &mut self,
        head: &Reader,
        clocks: Clocks,
        ticket: Ticket,
        transaction: Checked,
    ) -> Vec<Answer> {
        self.running_ms = clocks.running_ms;
        let mut answers = std::mem::take(&mut self.due);
        let transaction: PooledTx =
            transaction.open().expect("the framework hands an adapter what its own check has made");
        let head = head.head();
        let maps = *self.executor.maps();
        let nonce = state::account(&mut &head, &maps, transaction.sender)
            .map_or(0, |account| account.nonce);
        if transaction.envelope.nonce() < nonce
            && !coco_planted::is(Bug::ForgetEarlier)
            && let Some(seqno) = head.locate(maps.transactions, transaction.hash.as_slice()).first()
        {
            // The index may name an entry falsely, one time in very many. Whoever then looks for the receipt finds
            // none, and answers as for any nonce that is too low.
            answers.push(Answer { ticket, verdict: Verdict::Earlier(*seqno) });
            return answers;
        }
        let now_ms = clocks.running_ms;
        let admitted = match self.rules(&head, clocks.time_ms) {
            Some(rules) => {
                self.pool.admit(now_ms, ticket, transaction, nonce, &rules, &mut answers)
            }
            None => Err(refusals::refusal("the chain has no genesis block yet")),
        };
        if let Err(refusal) = admitted {
            answers.push(Answer { ticket, verdict: Verdict::Refused(refusal) });
        }
        answers
    }

    fn ready(&self) -> usize {
        self.pool.ready()
    }

    fn execute(&mut self, tx: &mut Transaction<'_>, outside: &Outside) -> Execution {
        assert!(self.batch.is_none(), "what became of the block before is known");
        let mut taken = BTreeMap::new();
        let mut bytes_left = BLOCK_RAW_BYTES_MAX;
        let most = std::mem::replace(&mut self.next_max, usize::MAX);
        let base_fee = self.base_fee(tx, outside.time_ms);
        let pool = &mut self.pool;
        let executed = self.executor.execute_block(
            tx,
            outside.time_ms,
            B256::from(outside.entropy.0),
            |gas_left| {
                if taken.len() == most {
                    return None;
                }
                let (transaction, held) = pool.take(gas_left, bytes_left)?;
                bytes_left -= transaction.raw.len();
                let authorities = transaction.authorities.clone();
                taken.insert(transaction.hash, Taken { held, authorities });
                Some(transaction)
            },
        );
        let claims = executed.block.as_ref().map_or(Digest::ZERO, |block| Digest(block.hash.0));
        let is_empty = executed.block.is_none();
        self.batch = Some(Batch { executed, taken, base_fee });
        Execution { claims, is_empty }
    }

    fn settle(&mut self, head: &Reader) -> Vec<Answer> {
        let Batch { executed, mut taken, base_fee } =
            self.batch.take().expect("a block was executed");
        let mut answers = std::mem::take(&mut self.due);
        let mut senders = Vec::new();
        if taken.is_empty()
            && let Some((transaction, held)) = self.pool.take(u64::MAX, usize::MAX)
        {
            // An empty block had no room for it, and no later one will: it must not hold up the line.
            senders.push(transaction.sender);
            answers.extend(refuse(held, &refusals::exceeds_block_gas_limit()));
        }
        for included in executed.block.iter().flat_map(|block| &block.transactions) {
            let taken = taken.remove(&included.hash).expect("the block holds what was taken");
            let tickets = taken.held.tickets.into_iter();
            answers.extend(tickets.map(|ticket| Answer { ticket, verdict: Verdict::Executed }));
        }
        let was_empty = executed.block.is_none();
        for (transaction, reason) in executed.skipped {
            let Taken { held, .. } =
                taken.remove(&transaction.hash).expect("what was skipped was taken");
            senders.push(transaction.sender);
            match refusal(&transaction, &reason, base_fee, was_empty) {
                None => self.pool.put_back(transaction, held),
                Some(refusal) => answers.extend(refuse(held, &refusal)),
            }
        }
        assert!(taken.is_empty(), "the executor accounts for every transaction that it was given");
        answers.extend(self.settle_senders(&head.head(), senders));
        let moved = executed.nonces.into_iter().filter(|(account, _)| self.pool.holds(*account));
        // Answers have an order that does not depend on that of a hash table.
        for (account, nonce) in BTreeMap::from_iter(moved) {
            answers.extend(self.pool.settle(account, nonce, self.running_ms));
        }
        if let Some(block) = executed.block {
            self.cache.executed(block);
        }
        answers
    }

    fn take_back(&mut self, head: &Reader) -> Vec<Answer> {
        let Batch { executed, mut taken, .. } = self.batch.take().expect("a block was executed");
        let count = taken.len();
        let mut answers = std::mem::take(&mut self.due);
        let included = executed.block.iter().flat_map(|block| &block.transactions);
        let included = included.map(|included| PooledTx {
            envelope: included.transaction.clone(),
            hash: included.hash,
            sender: included.sender,
            raw: included.raw.clone(),
            authorities: Vec::new(),
        });
        let skipped = executed.skipped.into_iter().map(|(transaction, _)| transaction);
        let mut senders = Vec::new();
        for transaction in included.chain(skipped) {
            let Taken { held, authorities } =
                taken.remove(&transaction.hash).expect("the executor returns what was taken");
            senders.push(transaction.sender);
            if count == 1 {
                answers.extend(refuse(held, &refusals::writes_too_much()));
            } else {
                self.pool.put_back(PooledTx { authorities, ..transaction }, held);
            }
        }
        assert!(taken.is_empty(), "the executor accounts for every transaction that it was given");
        self.next_max = if count > 1 { count / 2 } else { usize::MAX };
        answers.extend(self.settle_senders(&head.head(), senders));
        answers
    }

    fn expire(&mut self, running_ms: u64) -> Vec<Answer> {
        self.running_ms = running_ms;
        let mut answers = std::mem::take(&mut self.due);
        answers.extend(self.pool.expire(running_ms));
        answers
    }

    fn rolled_back(&mut self, head: &Reader) {
        self.newest = None;
        let head = head.head();
        let senders = self.pool.senders().collect();
        let answers = self.settle_senders(&head, senders);
        self.due.extend(answers);
    }

    fn abandon(&mut self) -> Vec<Ticket> {
        self.pool.clear()
    }
}

/// Most bytes of transactions in one block. With the state that they usually write, a block fits the largest entry several
/// times over.
pub const BLOCK_RAW_BYTES_MAX: usize = 4 << 20;

/// Why a skipped transaction is refused; `None` when it goes back to wait.
fn refusal(
    transaction: &PooledTx,
    reason: &InvalidReason,
    base_fee: u64,
    was_empty: bool,
) -> Option<Refusal> {
    match reason {
        // An empty block has no room for it: no later one will.
        InvalidReason::BlockFull => was_empty.then(refusals::exceeds_block_gas_limit),
        InvalidReason::Invalid(InvalidTransaction::NonceTooHigh { .. }) => None,
        InvalidReason::Invalid(why) => Some(refusals::invalid(
            transaction.sender,
            transaction.envelope.gas_limit(),
            transaction.envelope.max_fee_per_gas(),
            base_fee,
            why,
        )),
    }
}

fn refuse(held: Held, refusal: &Refusal) -> impl Iterator<Item = Answer> {
    held.tickets
        .into_iter()
        .map(|ticket| Answer { ticket, verdict: Verdict::Refused(refusal.clone()) })
}
