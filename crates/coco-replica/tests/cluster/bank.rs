//! The smallest hosted ledger with a law: accounts, transfers, and a total that never changes.
//!
//! Every kind of map is used, so that roll-back and restart are seen on each.

use std::collections::VecDeque;

use coco_adapter::{
    Adapter, Answer, Checked, Clocks, Execution, Outside, Refusal, Ticket, Verdict,
};
use coco_kv::{MapId, MapKind, MapName, MapSpec, Reader, Transaction, WriteSet};
use coco_types::{Digest, Seqno};

/// Account to balance.
pub(crate) const BALANCES: &str = "bank.balances";
/// Transfer to the seqno of its entry.
pub(crate) const DONE: &str = "bank.done";
/// Transfer to what was done; in the ledger only, with an index.
pub(crate) const SLIPS: &str = "bank.slips";
/// Block time of the last batch.
pub(crate) const TIME: &str = "public:bank.time";

pub(crate) const ACCOUNTS: u8 = 6;
pub(crate) const OPENING_BALANCE: u64 = 100;
pub(crate) const TOTAL: u64 = ACCOUNTS as u64 * OPENING_BALANCE;
/// How long a transfer waits before it is refused.
pub(crate) const PATIENCE_MS: u64 = 60_000;

pub(crate) const SHORT_OF_MONEY: i64 = 1;
pub(crate) const WAITS_ALREADY: i64 = 2;
pub(crate) const TOO_LATE: i64 = 3;
pub(crate) const TOO_LONG: i64 = 4;

/// No account: whoever pays it gets a slip that no entry holds.
pub(crate) const PRINTER: u8 = u8::MAX;
const LONG_SLIP_BYTES: usize = 17 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Transfer {
    pub(crate) id: u64,
    pub(crate) from: u8,
    pub(crate) to: u8,
    pub(crate) amount: u64,
}

#[derive(Debug)]
pub(crate) struct Bank {
    /// Most transfers in one entry.
    batch: usize,
    /// Most of them in the next entry.
    next: usize,
    queue: VecDeque<(Ticket, Transfer, u64)>,
    /// What was just executed, and how.
    executed: Vec<((Ticket, Transfer, u64), Verdict)>,
}

impl Bank {
    pub(crate) const fn new(batch: usize) -> Self {
        Self { batch, next: batch, queue: VecDeque::new(), executed: Vec::new() }
    }
}

pub(crate) fn schema() -> Vec<MapSpec> {
    [
        (BALANCES, MapKind::Point),
        (DONE, MapKind::Ordered),
        (SLIPS, MapKind::History),
        (TIME, MapKind::Point),
    ]
    .map(|(name, kind)| MapSpec { name: MapName::from_static(name), kind })
    .into()
}

/// What the accounts hold in the beginning.
pub(crate) fn opening(writes: &mut WriteSet) {
    for account in 0..ACCOUNTS {
        writes.insert(
            &MapName::from_static(BALANCES),
            &[account],
            OPENING_BALANCE.to_le_bytes().as_slice(),
        );
    }
}

pub(crate) fn number(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().expect("numbers have eight bytes"))
}

fn map(tx: &Transaction<'_>, name: &'static str) -> MapId {
    tx.map(&MapName::from_static(name)).expect("it is in the schema")
}

fn refused(code: i64, message: &str) -> Verdict {
    Verdict::Refused(Refusal { code, message: message.into(), data: None })
}

fn transfer(tx: &mut Transaction<'_>, transfer: &Transfer) -> Verdict {
    let (done, balances, slips) = (map(tx, DONE), map(tx, BALANCES), map(tx, SLIPS));
    let key = transfer.id.to_be_bytes();
    if transfer.to == PRINTER {
        tx.put(slips, &key, vec![0; LONG_SLIP_BYTES]);
        return Verdict::Executed;
    }
    if let Some(seqno) = tx.get(done, &key) {
        return Verdict::Earlier(Seqno(number(&seqno)));
    }
    let balance = |tx: &mut Transaction<'_>, account: u8| {
        number(&tx.get(balances, &[account]).expect("it is open"))
    };
    let Some(left) = balance(tx, transfer.from).checked_sub(transfer.amount) else {
        return refused(SHORT_OF_MONEY, "not enough money");
    };
    tx.put(balances, &[transfer.from], left.to_le_bytes().as_slice());
    let more = balance(tx, transfer.to) + transfer.amount;
    tx.put(balances, &[transfer.to], more.to_le_bytes().as_slice());
    let seqno = tx.version().next();
    tx.put(done, &key, seqno.0.to_le_bytes().as_slice());
    tx.put(slips, &key, format!("{transfer:?}").as_bytes());
    Verdict::Executed
}

impl Adapter for Bank {
    fn schema(&self) -> Vec<MapSpec> {
        schema()
    }

    fn admit(
        &mut self,
        head: &Reader,
        clocks: Clocks,
        ticket: Ticket,
        transaction: Checked,
    ) -> Vec<Answer> {
        let transfer: Transfer = transaction.open().expect("the bank checks only transfers");
        let done = head.map(&MapName::from_static(DONE)).expect("it is in the schema");
        let verdict = if let Some(seqno) = head.head().get(done, &transfer.id.to_be_bytes()) {
            Verdict::Earlier(Seqno(number(&seqno)))
        } else if self.queue.iter().any(|(_, other, _)| other.id == transfer.id) {
            refused(WAITS_ALREADY, "it waits already")
        } else {
            self.queue.push_back((ticket, transfer, clocks.running_ms));
            return Vec::new();
        };
        vec![Answer { ticket, verdict }]
    }

    fn ready(&self) -> usize {
        self.queue.len()
    }

    fn execute(&mut self, tx: &mut Transaction<'_>, outside: &Outside) -> Execution {
        let time = map(tx, TIME);
        let before = tx.get(time, b"now").map_or(0, |before| number(&before));
        assert!(
            outside.time_ms >= before,
            "block time runs backwards, from {before} to {}",
            outside.time_ms
        );
        assert!(self.executed.is_empty(), "what became of the batch before is known");
        let batch = self.queue.drain(..self.next.min(self.queue.len()));
        self.executed = batch.map(|waited| (waited, transfer(tx, &waited.1))).collect();
        self.next = self.batch;
        let is_empty = !self.executed.iter().any(|(_, verdict)| *verdict == Verdict::Executed);
        tx.put(time, b"now", outside.time_ms.to_le_bytes().as_slice());
        Execution { claims: Digest([1; 32]), is_empty }
    }

    fn settle(&mut self, _: &Reader) -> Vec<Answer> {
        let executed = self.executed.drain(..);
        executed.map(|((ticket, ..), verdict)| Answer { ticket, verdict }).collect()
    }

    fn take_back(&mut self, head: &Reader) -> Vec<Answer> {
        assert_eq!(total(head), TOTAL, "nothing is left of what was dropped");
        if let [((ticket, ..), _)] = self.executed[..] {
            self.executed.clear();
            return vec![Answer { ticket, verdict: refused(TOO_LONG, "no entry holds it") }];
        }
        self.next = self.executed.len() / 2;
        self.executed.drain(..).rev().for_each(|(waited, _)| self.queue.push_front(waited));
        Vec::new()
    }

    fn expire(&mut self, now_ms: u64) -> Vec<Answer> {
        let is_late = |(_, _, since): &mut (Ticket, Transfer, u64)| {
            now_ms.saturating_sub(*since) > PATIENCE_MS
        };
        let mut answers = Vec::new();
        while let Some((ticket, ..)) = self.queue.pop_front_if(is_late) {
            answers.push(Answer { ticket, verdict: refused(TOO_LATE, "it waited too long") });
        }
        answers
    }

    fn rolled_back(&mut self, head: &Reader) {
        assert_eq!(
            total(head),
            TOTAL,
            "the store is whole when the adapter hears of the roll-back"
        );
    }

    fn abandon(&mut self) -> Vec<Ticket> {
        self.queue.drain(..).map(|(ticket, ..)| ticket).collect()
    }
}

/// All the money there is in the newest version.
pub(crate) fn total(reader: &Reader) -> u64 {
    balances(reader).iter().sum()
}

pub(crate) fn balances(reader: &Reader) -> Vec<u64> {
    let head = reader.head();
    let map = head.map(&MapName::from_static(BALANCES)).expect("it is in the schema");
    (0..ACCOUNTS).map(|account| number(&head.get(map, &[account]).expect("it is open"))).collect()
}
