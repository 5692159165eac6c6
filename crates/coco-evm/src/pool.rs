//! Transactions that wait for their turn: per sender in nonce order, between senders by price and arrival.
//!
//! A sender's transactions form a queue. Those whose nonces follow the account's without a hole may be executed; the
//! first of them stands in the common line. Those behind a hole are *gapped*: they wait a short, bounded time for the
//! missing nonce and are then refused with the nonce that was expected. The line is ordered by tip when the chain
//! charges fees, and by arrival otherwise.
//!
//! Funds are not looked at here. The executor does so in the order of execution, where money that arrives earlier in
//! the same block counts; the answer comes one block later and is right.
//!
//! The pool keeps nothing between a sender's transactions: the account's nonce comes in with each of them, since it
//! may change without the sender's doing (EIP-7702).

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use alloy_consensus::Transaction;
use alloy_primitives::{Address, B256};
use coco_adapter::{Answer, Refusal, Ticket, Verdict};
use revm::primitives::hardfork::SpecId;

use crate::transaction::{PooledTx, check_rules, refusals};

/// Most transactions that wait at once.
pub const TRANSACTIONS_MAX: usize = 65_536;

/// Most bytes of transactions that wait at once: room for the largest number of ordinary ones, and a bound on large
/// ones.
pub const BYTES_MAX: usize = 256 << 20;

/// Most transactions of one sender that wait at once.
pub const PER_SENDER_MAX: usize = 4_096;

/// How long a transaction waits for the nonces before it, in milliseconds. Long enough for requests that overtake one
/// another on parallel connections; whoever skips a nonce for good learns of it at once.
pub const GAP_WAIT_MS: u64 = 250;

/// How long a transaction waits for its turn, in milliseconds.
pub const LIFETIME_MS: u64 = 60_000;

/// Most callers that wait for one transaction.
pub const TICKETS_MAX: usize = 16;

/// How long a sender's missing nonce is remembered after it was waited for in vain, in milliseconds.
pub const GAP_MEMORY_MS: u64 = 2_000;

/// Senders whose missing nonces are remembered. One more makes the pool forget them all.
const MISSED_SENDERS_MAX: usize = 4_096;

/// How much more a replacement offers than what it replaces, in per cent of fee and tip.
pub const PRICE_BUMP_PERCENT: u128 = 10;

/// The pool's maxima. The defaults are the constants of this module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolLimits {
    /// Transactions.
    pub transactions: usize,
    /// Bytes of transactions.
    pub bytes: usize,
    /// Transactions of one sender.
    pub per_sender: usize,
    /// Milliseconds behind a nonce gap.
    pub gap_wait_ms: u64,
    /// Milliseconds in all.
    pub lifetime_ms: u64,
}

impl Default for PoolLimits {
    fn default() -> Self {
        Self {
            transactions: TRANSACTIONS_MAX,
            bytes: BYTES_MAX,
            per_sender: PER_SENDER_MAX,
            gap_wait_ms: GAP_WAIT_MS,
            lifetime_ms: LIFETIME_MS,
        }
    }
}

/// What the next block asks of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rules {
    /// The rules in force.
    pub(crate) spec: SpecId,
    /// Most gas that one transaction may allow.
    pub(crate) gas_cap: u64,
    /// Gas of the whole block.
    pub(crate) gas_limit: u64,
    /// The block's base fee in wei, when the chain charges fees.
    pub(crate) base_fee: Option<u64>,
}

/// Counts of what waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct PoolStatus {
    /// Transactions that may be executed.
    pub executable: usize,
    /// Transactions behind a nonce gap.
    pub gapped: usize,
    /// Bytes of both.
    pub bytes: usize,
}

/// The waiting transactions.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    limits: PoolLimits,
    senders: BTreeMap<Address, Sender>,
    known: BTreeMap<B256, (Address, u64)>,
    line: BTreeSet<Turn>,
    gapped: BTreeSet<(u64, Address, u64)>,
    arrivals: BTreeMap<u64, (Address, u64)>,
    arrived: u64,
    bytes: usize,
    /// For which nonce of a sender something waited in vain, and until when.
    missed: BTreeMap<Address, (u64, u64)>,
}

/// Who waits for a transaction and since when: what the pool knows of one that was taken out for execution.
#[derive(Debug)]
pub(crate) struct Held {
    /// Who waits.
    pub(crate) tickets: Vec<Ticket>,
    arrival: u64,
    arrived_ms: u64,
    tip: u128,
}

impl Pool {
    /// An empty pool.
    #[must_use]
    pub(crate) fn new(limits: PoolLimits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Takes a transaction of an account whose next nonce is `nonce` by the newest state. Answers that are due at once go
    /// into `answers`, also when it is refused: those of a replaced transaction, and of ones that the account's nonce has
    /// passed.
    ///
    /// # Errors
    /// The refusal for the transaction itself.
    pub(crate) fn admit(
        &mut self,
        now_ms: u64,
        ticket: Ticket,
        transaction: PooledTx,
        nonce: u64,
        rules: &Rules,
        answers: &mut Vec<Answer>,
    ) -> Result<(), Refusal> {
        if let Some((sender, nonce)) = self.known.get(&transaction.hash) {
            return self.join(*sender, *nonce, ticket);
        }
        let sender = transaction.sender;
        let place = transaction.envelope.nonce();
        if place < nonce {
            return Err(refusals::nonce_too_low(nonce, place));
        }
        check_rules(&transaction.envelope, rules.spec, rules.gas_cap)?;
        if transaction.envelope.gas_limit() > rules.gas_limit {
            return Err(refusals::exceeds_block_gas_limit());
        }
        let fee_cap = transaction.envelope.max_fee_per_gas();
        if let Some(base_fee) = rules.base_fee
            && fee_cap < u128::from(base_fee)
        {
            return Err(refusals::fee_cap_too_low(sender, fee_cap, base_fee));
        }
        answers.extend(self.settle(sender, nonce, now_ms));
        self.check_gap(sender, place, nonce, now_ms)?;
        match self.room_for(&transaction)? {
            Room::New => {
                let tip = rules.base_fee.map_or(0, |base_fee| tip(&transaction, base_fee));
                let (tickets, arrival) = (vec![ticket], self.arrived);
                self.arrived += 1;
                self.senders.entry(sender).or_insert_with(|| Sender::new(nonce));
                self.store(transaction, Held { tickets, arrival, arrived_ms: now_ms, tip });
                self.link(sender, place, now_ms);
            }
            Room::Replaces => answers.extend(self.replace(ticket, transaction, rules)),
        }
        Ok(())
    }

    /// How many transactions may be executed.
    #[must_use]
    pub(crate) fn ready(&self) -> usize {
        if self.line.is_empty() { 0 } else { self.known.len() - self.gapped.len() }
    }

    /// Counts of what waits.
    #[must_use]
    pub(crate) fn status(&self) -> PoolStatus {
        PoolStatus { executable: self.ready(), gapped: self.gapped.len(), bytes: self.bytes }
    }

    /// Takes out the first transaction of the line, when it allows no more than `gas_left` and is no longer than
    /// `bytes_left`. The sender's next one takes its own place in the line.
    pub(crate) fn take(&mut self, gas_left: u64, bytes_left: usize) -> Option<(PooledTx, Held)> {
        let address = self.line.first()?.sender;
        let sender = self.senders.get_mut(&address).expect("who stands in the line has a queue");
        let nonce = sender.next;
        let waiting =
            sender.queue.get(&nonce).expect("who stands in the line has the next transaction");
        if waiting.transaction.envelope.gas_limit() > gas_left
            || waiting.transaction.raw.len() > bytes_left
        {
            return None;
        }
        self.line.pop_first();
        sender.turn = None;
        sender.next += 1;
        let Waiting { transaction, held, .. } =
            *sender.queue.remove(&nonce).expect("it was found above");
        if let Some(following) = sender.queue.get(&sender.next) {
            let turn = following.turn(address);
            sender.turn = Some(turn);
            self.line.insert(turn);
        }
        if sender.queue.is_empty() {
            self.senders.remove(&address);
        }
        self.known.remove(&transaction.hash);
        self.arrivals.remove(&held.arrival);
        self.bytes -= transaction.raw.len();
        Some((transaction, held))
    }

    /// Puts back a transaction that was taken but not executed. It keeps its arrival. [`Pool::settle`] must follow for
    /// its sender.
    pub(crate) fn put_back(&mut self, transaction: PooledTx, held: Held) {
        let nonce = transaction.envelope.nonce();
        let sender = self.senders.entry(transaction.sender).or_insert_with(|| Sender::new(nonce));
        assert!(
            !sender.queue.contains_key(&nonce),
            "nothing is admitted while a block is executed"
        );
        self.store(transaction, held);
    }

    /// Brings a sender's queue in line with the account's nonce. Returns answers to what it has passed.
    pub(crate) fn settle(&mut self, address: Address, nonce: u64, now_ms: u64) -> Vec<Answer> {
        let Some(sender) = self.senders.get_mut(&address) else { return Vec::new() };
        if sender.next == nonce && sender.is_linked {
            return Vec::new();
        }
        if let Some(turn) = sender.turn.take() {
            self.line.remove(&turn);
        }
        let still = sender.queue.split_off(&nonce);
        let passed = std::mem::replace(&mut sender.queue, still);
        sender.next = nonce;
        sender.end = nonce;
        for (place, waiting) in &mut sender.queue {
            match (*place == sender.end, waiting.gapped_since) {
                (true, since) => {
                    sender.end += 1;
                    waiting.gapped_since = None;
                    if let Some(since) = since {
                        self.gapped.remove(&(since, address, *place));
                    }
                }
                (false, None) => {
                    waiting.gapped_since = Some(now_ms);
                    self.gapped.insert((now_ms, address, *place));
                }
                (false, Some(_)) => {}
            }
        }
        sender.is_linked = true;
        if let Some(first) = sender.queue.get(&nonce) {
            let turn = first.turn(address);
            sender.turn = Some(turn);
            self.line.insert(turn);
        }
        if sender.queue.is_empty() {
            self.senders.remove(&address);
        }
        let mut answers = Vec::new();
        for (place, waiting) in passed {
            self.forget(&waiting, address, place);
            answers.extend(refuse(waiting.held.tickets, &refusals::nonce_too_low(nonce, place)));
        }
        answers
    }

    /// Whether something of this sender is in the pool.
    pub(crate) fn holds(&self, sender: Address) -> bool {
        self.senders.contains_key(&sender)
    }

    /// Every sender with something in the pool.
    pub(crate) fn senders(&self) -> impl Iterator<Item = Address> {
        self.senders.keys().copied()
    }

    /// Drops what has waited too long, and answers.
    pub(crate) fn expire(&mut self, now_ms: u64) -> Vec<Answer> {
        let mut answers = Vec::new();
        while let Some((since, sender, nonce)) = self.gapped.first().copied()
            && since.saturating_add(self.limits.gap_wait_ms) <= now_ms
        {
            let expected = self.senders.get(&sender).expect("a gapped transaction has a queue").end;
            let old =
                self.unlink(sender, nonce, now_ms).expect("a gapped transaction is in its queue");
            answers.extend(refuse(old.tickets, &refusals::nonce_gap(expected, nonce)));
            if self.missed.len() >= MISSED_SENDERS_MAX {
                self.missed.clear();
            }
            self.missed.insert(sender, (expected, since + self.limits.gap_wait_ms));
        }
        while let Some((sender, nonce)) = self.arrivals.first_key_value().map(|(_, place)| *place) {
            let arrived_ms = self.senders[&sender].queue[&nonce].held.arrived_ms;
            if arrived_ms.saturating_add(self.limits.lifetime_ms) > now_ms {
                break;
            }
            let old = self.unlink(sender, nonce, now_ms).expect("what has arrived is in its queue");
            answers.extend(refuse(old.tickets, &refusals::expired(now_ms - arrived_ms)));
        }
        answers
    }

    /// Drops everything; returns who waited, in the order of arrival.
    pub(crate) fn clear(&mut self) -> Vec<Ticket> {
        let mut old =
            std::mem::replace(self, Self { arrived: self.arrived, ..Self::new(self.limits) });
        let mut tickets = Vec::new();
        for (sender, nonce) in old.arrivals.values() {
            let sender = old.senders.get_mut(sender).expect("what has arrived has a queue");
            let waiting = sender.queue.remove(nonce).expect("what has arrived is in its queue");
            tickets.extend(waiting.held.tickets);
        }
        tickets
    }
}

#[derive(Debug)]
struct Sender {
    /// The account's next nonce, counting what was taken for execution.
    next: u64,
    /// The first nonce from `next` on that is missing.
    end: u64,
    /// Whether `end`, the line and the gaps agree with the queue.
    is_linked: bool,
    turn: Option<Turn>,
    /// Boxed: a transaction is large, and the tree moves its values.
    queue: BTreeMap<u64, Box<Waiting>>,
}

#[derive(Debug)]
struct Waiting {
    transaction: PooledTx,
    held: Held,
    gapped_since: Option<u64>,
}

/// A place in the line: the highest tip first, then the first to arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    tip: Reverse<u128>,
    arrival: u64,
    sender: Address,
}

enum Room {
    New,
    Replaces,
}

impl Sender {
    const fn new(nonce: u64) -> Self {
        Self { next: nonce, end: nonce, is_linked: true, turn: None, queue: BTreeMap::new() }
    }
}

impl Waiting {
    const fn turn(&self, sender: Address) -> Turn {
        Turn { tip: Reverse(self.held.tip), arrival: self.held.arrival, sender }
    }
}

impl Pool {
    /// A gap that was waited for in vain a moment ago is not waited for again: a client that skipped a nonce and sends
    /// on would otherwise pay the wait for each of its requests.
    fn check_gap(
        &mut self,
        sender: Address,
        place: u64,
        nonce: u64,
        now_ms: u64,
    ) -> Result<(), Refusal> {
        let Some((expected, since_ms)) = self.missed.get(&sender).copied() else { return Ok(()) };
        let end = self.senders.get(&sender).map_or(nonce, |sender| sender.end);
        if end != expected || now_ms.saturating_sub(since_ms) > GAP_MEMORY_MS {
            self.missed.remove(&sender);
            return Ok(());
        }
        if place > end { Err(refusals::nonce_gap(end, place)) } else { Ok(()) }
    }

    fn join(&mut self, sender: Address, nonce: u64, ticket: Ticket) -> Result<(), Refusal> {
        let sender = self.senders.get_mut(&sender).expect("a known transaction has a queue");
        let waiting = sender.queue.get_mut(&nonce).expect("a known transaction is in its queue");
        if waiting.held.tickets.len() >= TICKETS_MAX {
            return Err(refusals::already_known());
        }
        waiting.held.tickets.push(ticket);
        Ok(())
    }

    /// Puts a transaction in the place of the one that waits with its nonce: it waits since when that one does, in its turn
    /// unless it offers more. Answers those who waited for that one.
    fn replace(&mut self, ticket: Ticket, transaction: PooledTx, rules: &Rules) -> Vec<Answer> {
        let (address, nonce) = (transaction.sender, transaction.envelope.nonce());
        let refusal = refusals::replaced(transaction.hash);
        let sender = self.senders.get_mut(&address).expect("what is replaced has a queue");
        let waiting = sender.queue.get_mut(&nonce).expect("what is replaced is in its queue");
        self.known.insert(transaction.hash, (address, nonce));
        self.bytes += transaction.raw.len();
        waiting.held.tip = rules.base_fee.map_or(0, |base_fee| tip(&transaction, base_fee));
        let old = std::mem::replace(&mut waiting.transaction, transaction);
        self.known.remove(&old.hash);
        self.bytes -= old.raw.len();
        if nonce == sender.next
            && let Some(turn) = sender.turn.replace(waiting.turn(address))
        {
            self.line.remove(&turn);
            self.line.insert(waiting.turn(address));
        }
        refuse(std::mem::replace(&mut waiting.held.tickets, vec![ticket]), &refusal).collect()
    }

    fn room_for(&self, transaction: &PooledTx) -> Result<Room, Refusal> {
        let sender = self.senders.get(&transaction.sender);
        let envelope = &transaction.envelope;
        if let Some(old) = sender.and_then(|sender| sender.queue.get(&envelope.nonce())) {
            let bytes_left = self.bytes - old.transaction.raw.len();
            let old = &old.transaction.envelope;
            let fee = outbids(envelope.max_fee_per_gas(), old.max_fee_per_gas());
            let tip = outbids(envelope.priority_fee_or_price(), old.priority_fee_or_price());
            if !(fee && tip) {
                return Err(refusals::replacement_underpriced());
            }
            if bytes_left + transaction.raw.len() > self.limits.bytes {
                return Err(refusals::pool_full());
            }
            return Ok(Room::Replaces);
        }
        let pooled = sender.map_or(0, |sender| sender.queue.len());
        if pooled >= self.limits.per_sender {
            return Err(refusals::account_limit(pooled));
        }
        if self.known.len() >= self.limits.transactions
            || self.bytes + transaction.raw.len() > self.limits.bytes
        {
            return Err(refusals::pool_full());
        }
        Ok(Room::New)
    }

    /// Puts a transaction into its sender's queue, which exists, and into the tables that do not depend on its place.
    fn store(&mut self, transaction: PooledTx, held: Held) {
        let (address, nonce) = (transaction.sender, transaction.envelope.nonce());
        self.known.insert(transaction.hash, (address, nonce));
        self.arrivals.insert(held.arrival, (address, nonce));
        self.bytes += transaction.raw.len();
        let sender = self.senders.get_mut(&address).expect("the caller made the queue");
        sender.is_linked = false;
        sender.queue.insert(nonce, Box::new(Waiting { transaction, held, gapped_since: None }));
    }

    /// Gives one stored transaction its place: in the run that may be executed, or behind the gap.
    fn link(&mut self, address: Address, nonce: u64, now_ms: u64) {
        let sender = self.senders.get_mut(&address).expect("a stored transaction has a queue");
        sender.is_linked = true;
        if nonce > sender.end {
            let waiting = sender.queue.get_mut(&nonce).expect("it was stored");
            waiting.gapped_since = Some(now_ms);
            self.gapped.insert((now_ms, address, nonce));
            return;
        }
        sender.end = nonce + 1;
        while let Some(waiting) = sender.queue.get_mut(&sender.end) {
            if let Some(since) = waiting.gapped_since.take() {
                self.gapped.remove(&(since, address, sender.end));
            }
            sender.end += 1;
        }
        if nonce == sender.next {
            let turn = sender.queue[&nonce].turn(address);
            sender.turn = Some(turn);
            self.line.insert(turn);
        }
    }

    /// Takes a transaction out for good. What stood behind it is gapped from now on.
    fn unlink(&mut self, address: Address, nonce: u64, now_ms: u64) -> Option<Held> {
        let sender = self.senders.get_mut(&address)?;
        let waiting = sender.queue.remove(&nonce)?;
        if waiting.gapped_since.is_none() {
            for (place, later) in sender.queue.range_mut(nonce..sender.end) {
                later.gapped_since = Some(now_ms);
                self.gapped.insert((now_ms, address, *place));
            }
            sender.end = nonce;
            if nonce == sender.next
                && let Some(turn) = sender.turn.take()
            {
                self.line.remove(&turn);
            }
        }
        if sender.queue.is_empty() {
            self.senders.remove(&address);
        }
        self.forget(&waiting, address, nonce);
        Some(waiting.held)
    }

    fn forget(&mut self, waiting: &Waiting, address: Address, nonce: u64) {
        self.known.remove(&waiting.transaction.hash);
        self.arrivals.remove(&waiting.held.arrival);
        self.bytes -= waiting.transaction.raw.len();
        if let Some(since) = waiting.gapped_since {
            self.gapped.remove(&(since, address, nonce));
        }
    }
}

/// What the transaction pays the block's maker for each unit of gas, in wei.
fn tip(transaction: &PooledTx, base_fee: u64) -> u128 {
    let over = transaction.envelope.max_fee_per_gas().saturating_sub(u128::from(base_fee));
    transaction.envelope.priority_fee_or_price().min(over)
}

/// Whether a replacement offers enough more than what it replaces.
fn outbids(new: u128, old: u128) -> bool {
    let bump = old / 100 * PRICE_BUMP_PERCENT + old % 100 * PRICE_BUMP_PERCENT / 100;
    new > old && new >= old.saturating_add(bump)
}

fn refuse(tickets: Vec<Ticket>, refusal: &Refusal) -> impl Iterator<Item = Answer> {
    tickets.into_iter().map(|ticket| Answer { ticket, verdict: Verdict::Refused(refusal.clone()) })
}

#[cfg(test)]
mod tests;
