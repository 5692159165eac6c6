//! What a world does for its clients.

use alloy_primitives::Address;
use coco_adapter::{Checked, Ticket};
use coco_evm::block::PooledTx;
use coco_replica::{Input, Reply};
use coco_types::{Seqno, TxId, TxStatus};

use super::{Event, World};
use crate::{
    client::{Doing, Done, PATIENCE_US, PAUSE_US},
    ethereum::{self, VALUE_MAX},
    genesis::FIRST_ENTRIES,
    log::Happened,
    machine::Machine,
    plan::Micros,
    planted::Planted,
};

/// Of so many transfers in a thousand the one that follows is sent before them.
const AHEAD_PER_MILLE: u64 = 50;
/// Of so many reads in a thousand one asks for an earlier state.
const PAST_PER_MILLE: u64 = 300;

/// No run is longer: both phases at their longest, and some.
const RUN_US_MAX: Micros = 150_000_000;

impl World {
    pub(super) fn node_up(&mut self) -> Option<usize> {
        let is_up =
            |machine: &Machine| machine.replica.is_some() && machine.paused_until <= self.time;
        let up: Vec<usize> =
            (0..self.machines.len()).filter(|node| is_up(&self.machines[*node])).collect();
        (!up.is_empty()).then(|| up[self.dice.place(up.len())])
    }

    pub(super) fn client(&mut self, number: usize) {
        self.maybe_read();
        let wait_us = match self.clients[number].doing.clone() {
            Doing::Resting if self.rested() => {
                self.begin(number);
                PAUSE_US
            }
            Doing::Resting => PAUSE_US,
            Doing::Asking { question: Some((_, until)), .. } if until > self.time => PAUSE_US,
            Doing::Asking { transfer, begun_us, .. } => {
                self.ask(number, transfer, begun_us);
                PAUSE_US
            }
            Doing::Waiting { transfer, begun_us, id } => {
                if let Some(node) = self.node_up() {
                    self.ask_status(number, node, (transfer, begun_us, id));
                }
                PAUSE_US
            }
        };
        self.plan_event(wait_us.max(1), Event::Client(number), None);
    }

    /// Whether a client begins something now: on the average so often that the plan's transfers fill the time for them.
    fn rested(&mut self) -> bool {
        let rest_us = self.plan.safety_us * self.clients.len() as u64 / self.plan.transfers;
        let per_mille = (1000 * PAUSE_US / rest_us.max(1)).clamp(1, 1000);
        let may_begin = self.begun < self.plan.transfers && !self.is_healed;
        may_begin && self.dice.per_mille(per_mille)
    }

    fn begin(&mut self, number: usize) {
        self.clients[number].was_told = false;
        let nonce = self.clients[number].nonce;
        let (transfer, begun_us) = match self.clients[number].ahead.take() {
            Some(ahead) => ahead,
            None => (self.new_transfer(number, nonce), self.time),
        };
        if self.dice.per_mille(AHEAD_PER_MILLE) {
            self.send_ahead(number, nonce + 1);
        }
        self.ask(number, transfer, begun_us);
    }

    fn new_transfer(&mut self, number: usize, nonce: u64) -> PooledTx {
        self.begun += 1;
        // One receiver is nobody's account, and one is a contract.
        let to = match self.dice.place(self.clients.len() + 2) {
            to if to < self.clients.len() => ethereum::account(to),
            to if to == self.clients.len() => Address::repeat_byte(7),
            _ => ethereum::tally(),
        };
        let value = self.dice.between(1, VALUE_MAX);
        let marker = self.private.marker(b't', self.begun);
        ethereum::transfer(number, nonce, (to, value), marker)
    }

    /// A client sends the transfer after its next one to somebody, and does not listen.
    fn send_ahead(&mut self, number: usize, nonce: u64) {
        let Some(node) = self.node_up() else { return };
        let transfer = self.new_transfer(number, nonce);
        self.clients[number].ahead = Some((transfer.clone(), self.time));
        self.next_ticket += 1;
        let ticket = Ticket(self.next_ticket);
        self.marks.reach("a client sent a transfer before the one that it follows");
        self.step(node, Input::Submit(vec![(ticket, Checked::new(transfer))]));
    }

    fn ask(&mut self, number: usize, transfer: PooledTx, begun_us: Micros) {
        let favourite = self.clients[number].favourite.take();
        let node = favourite.filter(|node| self.machines[*node].replica.is_some());
        let Some(node) = node.or_else(|| self.node_up()) else {
            self.clients[number].doing = Doing::Asking { transfer, begun_us, question: None };
            return;
        };
        let raw = transfer.raw.0.clone();
        self.next_ticket += 1;
        let ticket = Ticket(self.next_ticket);
        self.tickets.insert(ticket, number);
        let checked = Checked::new(transfer.clone());
        let question = Some((ticket, self.time + PATIENCE_US));
        self.clients[number].doing = Doing::Asking { transfer, begun_us, question };
        // Some clients go away without waiting for the answer, and ask again later.
        if self.dice.per_mille(30) {
            self.tickets.remove(&ticket);
        }
        let nonce = self.clients[number].nonce;
        self.note(node, || Happened::Asks { client: number, nonce });
        self.step(node, Input::Submit(vec![(ticket, checked)]));
        if self.plan.planted == Some(Planted::SendInTheClear) {
            let to = self.machines[(node + 1) % self.machines.len()].id;
            self.send(node, to, raw);
        }
    }

    pub(super) fn reply(&mut self, node: usize, ticket: Ticket, reply: Reply) {
        let Some(number) = self.tickets.remove(&ticket) else { return };
        let Doing::Asking { transfer, begun_us, question: Some((waits, _)) } =
            self.clients[number].doing.clone()
        else {
            return;
        };
        if waits != ticket {
            return;
        }
        self.check.written(&format!("{reply:?}"));
        self.note(node, || Happened::Answers { client: number, reply: format!("{reply:?}") });
        self.clients[number].doing = match reply {
            Reply::Executed(id) | Reply::Earlier(id) => {
                if matches!(reply, Reply::Earlier(_)) {
                    self.marks.reach("a client was told of an earlier entry");
                    if !self.clients[number].was_told {
                        self.marks
                            .reach("a client that had heard nothing was told of its first entry");
                    }
                }
                self.check.told(id);
                self.clients[number].was_told = true;
                self.clients[number].favourite = Some(node);
                let id = self.other_answer().unwrap_or(id);
                Doing::Waiting { transfer, begun_us, id }
            }
            Reply::NotPrimary(primary) => {
                let primary = primary
                    .and_then(|id| self.machines.iter().position(|machine| machine.id == id));
                self.clients[number].favourite = primary;
                Doing::Asking { transfer, begun_us, question: None }
            }
            Reply::Refused(refusal) => {
                self.marks.reach(allowed_refusal(&refusal.message));
                Doing::Asking { transfer, begun_us, question: None }
            }
        };
    }

    /// A planted bug: the answer to another's question.
    fn other_answer(&self) -> Option<TxId> {
        let is_planted = self.plan.planted == Some(Planted::AnswerOfAnother);
        self.done.first().filter(|_| is_planted).map(|done| done.id)
    }

    fn ask_status(
        &mut self,
        number: usize,
        node: usize,
        (transfer, begun_us, id): (PooledTx, Micros, TxId),
    ) {
        let Some(replica) = &self.machines[node].replica else { return };
        let status = replica.state().read().status(id);
        if matches!(status, TxStatus::Committed | TxStatus::Invalid) {
            let (id, status) = (id.to_string(), format!("{status:?}"));
            self.note(node, || Happened::Tells { client: number, id, status });
        }
        match status {
            TxStatus::Committed => {
                let shown = self.shown.entry((node, self.machines[node].life)).or_default();
                *shown = id.seqno.max(*shown);
                self.done.push(Done { hash: transfer.hash, id, begun_us, done_us: self.time });
                self.clients[number].nonce += 1;
                self.clients[number].doing = Doing::Resting;
            }
            TxStatus::Invalid => {
                self.marks.reach("a client was told of an entry that did not survive");
                self.clients[number].doing = Doing::Asking { transfer, begun_us, question: None };
            }
            TxStatus::Pending | TxStatus::Unknown => {}
        }
    }

    /// Reads an account somewhere: at what that node knows to be committed, or at what it still has from before that.
    fn maybe_read(&mut self) {
        if !self.dice.per_mille(100) {
            return;
        }
        let Some(node) = self.node_up() else { return };
        let account = ethereum::account(self.dice.place(self.clients.len()));
        let Some(replica) = &self.machines[node].replica else { return };
        let committed = replica.state().read().committed().seqno;
        let shown = self.shown.entry((node, self.machines[node].life)).or_default();
        assert!(committed >= *shown, "n{node} shows {committed}, and has shown {shown}");
        *shown = committed;
        let at = match self.plan.planted {
            Some(Planted::ReadUncommitted) => replica.state().read().last().seqno,
            _ => committed,
        };
        let reader = replica.reader();
        let seen = ethereum::look(&reader, at, account);
        self.seen.push(seen.expect("the committed version is always there"));
        if self.dice.per_mille(PAST_PER_MILLE) {
            let oldest = reader.oldest().max(Seqno(FIRST_ENTRIES)).min(at);
            let before = Seqno(self.dice.between(oldest.0, at.0));
            if let Some(seen) = ethereum::look(&reader, before, account) {
                self.marks.reach("a client read an earlier state");
                self.seen.push(seen);
            }
        }
    }
}

/// Why a transfer that is in order may be refused all the same, as a mark.
///
/// # Panics
/// When it may not.
fn allowed_refusal(message: &str) -> &'static str {
    let allowed = [
        ("nonce too high", "a primary refused a nonce that it did not know of"),
        ("transaction expired", "a primary that reached no quorum let a transfer expire"),
        ("txpool is full", "a primary's pool was full"),
        ("already known", "a primary that reached no quorum was asked too often for one transfer"),
    ];
    // No run is as long as an hour by which a clock may be set, and no wait is longer than its run.
    let waited_ms = message.split_ascii_whitespace().rev().nth(1).and_then(|ms| ms.parse().ok());
    let is_true = waited_ms.is_none_or(|waited_ms: u64| waited_ms * 1000 < RUN_US_MAX);
    let found = allowed.into_iter().find(|(start, _)| is_true && message.starts_with(start));
    found.unwrap_or_else(|| panic!("a transfer in order is refused: {message}")).1
}
