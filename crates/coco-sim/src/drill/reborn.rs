//! The node with which a service begins anew: its driver's part, alone, on a disk whose power may go at any time.

use std::collections::VecDeque;

use bytes::Bytes;
use coco_adapter::{Checked, Entropy, Ticket};
use coco_evm::block::PooledTx;
use coco_governance::{ErrorCode, GovernanceError, Reply, tables};
use coco_kv::MapName;
use coco_ledger::{
    GenesisNode, LedgerSecrets, SERVICE_MAP, ServiceStatus, service_status, singleton_key,
};
use coco_replica::{
    Effects, GovernReply, GovernRequest, Input, Introduction, IntroductionReply, JoinReply,
    JoinRequest, Replica, ShownEvidence,
};
use coco_types::{NodeId, Role, TxId, TxStatus};
use serde_json::Value;

use crate::{
    dice::Dice,
    folder::{Faults, SimFolder},
    genesis::{Keys, START_S},
    machine::{Down, Machine, StartAs, index},
    marks::Marks,
    plan::{Micros, Plan, TICK_US},
    private::{MARKER_BYTES, Private},
    trace::Trace,
    world::members::carry_out,
};

/// What one thing that somebody waits for takes at the most, in ticks.
const PATIENCE_TICKS: u32 = 1_000;
/// How often something is asked again that a crash or a change of views came between.
const TRIES: u32 = 100;
/// A batch is executed so often in one tick, at the most.
const BATCHES_A_TICK: u32 = 4;
/// The power goes within so many operations of a disk, at the most, once it is to go.
const OPERATIONS: u64 = 40;

/// The node.
#[derive(Debug)]
pub(super) struct Reborn {
    pub(super) machine: Machine,
    pub(super) keys: Keys,
    pub(super) time: Micros,
    pub(super) dice: Dice,
    pub(super) marks: Marks,
    /// Every so many of a thousand ticks, its power is about to go.
    pub(super) fragile: u64,
    /// The entries that it began with: its disk may have a snapshot in place of the first of them.
    began_with: Vec<Bytes>,
    plan: Plan,
    trace: Trace,
    private: Private,
    tickets: u64,
    entropy: u64,
    /// What came of questions.
    governed: Vec<(Ticket, GovernReply)>,
    replies: Vec<(Ticket, coco_replica::Reply)>,
    /// What nodes were told that ask to come in.
    introduced: Vec<(NodeId, IntroductionReply)>,
    joins: Vec<(NodeId, JoinReply)>,
    /// Members have given these back.
    recovered: Option<LedgerSecrets>,
}

/// A member's request was refused.
pub(super) type Refused = GovernanceError;

impl Reborn {
    /// The node whose files somebody has made, before its first start.
    pub(super) fn new(
        (keys, plan): (Keys, Plan),
        (folder, entries, given): (SimFolder, Vec<Bytes>, LedgerSecrets),
        (time, dice): (Micros, Dice),
        private: Private,
    ) -> Self {
        folder.watch(&private);
        let trace = Trace::new(&[keys.signer(0).node_id()], &entries);
        let began_with = entries.clone();
        Self {
            machine: Machine::reborn(&keys, folder, entries, given),
            keys,
            time,
            dice,
            marks: Marks::default(),
            fragile: 0,
            began_with,
            plan,
            trace,
            private,
            tickets: 0,
            entropy: 0,
            governed: Vec::new(),
            replies: Vec::new(),
            introduced: Vec::new(),
            joins: Vec::new(),
            recovered: None,
        }
    }

    /// Starts it, as often as it takes.
    ///
    /// # Panics
    /// When it does not start from its disk, or has less than it has acknowledged.
    pub(super) fn start(&mut self) {
        for _ in 0..TRIES {
            let operations_left =
                self.dice.per_mille(5 * self.fragile).then(|| self.dice.below(10));
            let folder = &self.machine.folder;
            folder.set_faults(Faults { operations_left, ..folder.faults() });
            let (plan, keys) = (&self.plan, &self.keys);
            let (dice, before) = (&mut self.dice, &self.began_with);
            let started =
                self.machine.start(plan, keys, StartAs::Before, dice, &self.trace, before);
            match started {
                Ok(found) => {
                    assert!(!found.is_less, "it starts with less than it has acknowledged");
                    return;
                }
                Err(_) if self.machine.folder.faults().is_dark() => {
                    self.marks.reach("the power went while a service that came back was loaded");
                    self.machine.go_down(Down::Dark, &mut self.dice);
                }
                Err(fault) => panic!("it does not start: {fault}: {fault:?}"),
            }
        }
        panic!("it does not start in {TRIES} tries");
    }

    /// Its power goes, and comes again.
    fn crash(&mut self) {
        self.machine.go_down(Down::Dark, &mut self.dice);
        self.start();
    }

    /// Lets a tick pass. Whether it was up all the while.
    pub(super) fn tick(&mut self) -> bool {
        self.time += TICK_US;
        if self.dice.per_mille(self.fragile) {
            let operations_left = Some(self.dice.below(OPERATIONS));
            let folder = &self.machine.folder;
            folder.set_faults(Faults { operations_left, ..folder.faults() });
        }
        let mut is_up = self.take(Input::Tick);
        for _ in 0..BATCHES_A_TICK {
            if is_up && self.machine.replica.as_ref().is_some_and(Replica::has_work) {
                let entropy = self.entropy();
                is_up = self.take(Input::Work(entropy));
            }
        }
        is_up
    }

    fn entropy(&mut self) -> Entropy {
        let mut entropy = self.dice.bytes();
        self.entropy += 1;
        entropy[..MARKER_BYTES].copy_from_slice(&self.private.marker(b'e', self.entropy));
        Entropy(entropy)
    }

    /// Lets ticks pass until `is_so`.
    ///
    /// # Panics
    /// When it never is.
    pub(super) fn wait(&mut self, what: &str, mut is_so: impl FnMut(&Self) -> bool) {
        for _ in 0..PATIENCE_TICKS {
            if is_so(self) {
                return;
            }
            self.tick();
        }
        panic!("it waits for good: {what}");
    }

    /// Gives it an input, and what follows from that. Whether its power stayed.
    fn take(&mut self, input: Input) -> bool {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let Some(stepped) = self.machine.step(self.time, input) else { return false };
            let effects = stepped.unwrap_or_else(|error| panic!("it stops: {error}: {error:?}"));
            if !self.carry_out(effects, &mut inputs) {
                self.marks.reach("the power went in the middle of a recovery");
                self.crash();
                return false;
            }
            if let Some(secrets) = self.recovered.take() {
                self.go_on(secrets);
                return false;
            }
        }
        true
    }

    fn carry_out(&mut self, effects: Effects, inputs: &mut VecDeque<Input>) -> bool {
        assert!(effects.send.is_empty(), "it is alone");
        for persist in effects.persist {
            if let Some(to) = persist.truncate_to {
                self.machine.ledger.truncate(index(to));
            }
            for (entry, _) in &persist.entries {
                self.private.shown(entry);
                self.machine.ledger.push(entry.clone());
            }
            self.machine.persist(persist);
        }
        if let Some(committed) = effects.committed {
            self.machine.note_committed(committed.seqno);
            self.trace.is_final(self.machine.id, committed.seqno);
        }
        if let Some(task) = effects.govern {
            let governed = carry_out(task, &self.dice.bytes());
            inputs.push_back(Input::Governed(Box::new(governed)));
        }
        assert!(effects.refused.is_empty(), "it is refused: {:?}", effects.refused);
        self.governed.extend(effects.governed);
        self.replies.extend(effects.replies);
        self.introduced.extend(effects.introduced);
        self.joins.extend(effects.joins);
        self.recovered = effects.recovered.or(self.recovered.take());
        if self.machine.writes.is_empty() {
            return true;
        }
        self.machine.in_sync = Some(self.machine.writes.len());
        match self.machine.synced() {
            Ok(token) => {
                inputs.extend(token.map(Input::Persisted));
                true
            }
            Err(error) => {
                assert!(self.machine.folder.faults().is_dark(), "its disk works: {error}");
                self.machine.fail();
                false
            }
        }
    }

    /// Its process loads the ledger under all secrets; or its power goes before it has sealed them.
    fn go_on(&mut self, secrets: LedgerSecrets) {
        if self.fragile > 0 && self.dice.per_mille(300) {
            self.marks.reach("the power went before the secrets that came back were sealed");
            return self.crash();
        }
        self.machine.given = Some(secrets);
        self.machine.go_down(Down::Ended, &mut self.dice);
        self.start();
    }

    /// A member asks for something, until it is committed or refused.
    ///
    /// # Errors
    /// What it is refused with.
    ///
    /// # Panics
    /// When there is no answer.
    pub(super) fn ask(&mut self, request: &GovernRequest) -> Result<Reply, Refused> {
        for _ in 0..TRIES {
            self.tickets += 1;
            let ticket = Ticket(self.tickets);
            self.governed.clear();
            let mut is_up = self.take(Input::Govern(ticket, request.clone()));
            let mut ticks = 0;
            let answer = loop {
                let at = self.governed.iter().position(|(waits, _)| *waits == ticket);
                if let Some(at) = at {
                    break Some(self.governed.swap_remove(at).1);
                }
                if !is_up || ticks == PATIENCE_TICKS {
                    break None;
                }
                is_up = self.tick();
                ticks += 1;
            };
            match answer {
                Some(GovernReply::Done { id, reply }) if self.is_final(id) => return Ok(reply),
                Some(GovernReply::Refused(error)) => return Err(error),
                Some(GovernReply::Done { .. } | GovernReply::NotPrimary(_) | GovernReply::Busy)
                | None => {
                    self.tick();
                }
            }
        }
        panic!("a request is never answered");
    }

    /// Whether an entry becomes final. It does not, when a crash takes it first.
    fn is_final(&mut self, id: TxId) -> bool {
        for _ in 0..PATIENCE_TICKS {
            match self.replica().state().read().status(id) {
                TxStatus::Committed => return true,
                TxStatus::Invalid | TxStatus::Unknown => return false,
                TxStatus::Pending => {}
            }
            self.tick();
        }
        panic!("{id} is never final");
    }

    /// A client sends a transfer, until it is committed.
    ///
    /// # Panics
    /// When it is refused.
    pub(super) fn send(&mut self, transfer: &PooledTx) {
        for _ in 0..TRIES {
            self.tickets += 1;
            let ticket = Ticket(self.tickets);
            self.replies.clear();
            let submitted = vec![(ticket, Checked::new(transfer.clone()))];
            let mut is_up = self.take(Input::Submit(submitted));
            let mut ticks = 0;
            while is_up && ticks < PATIENCE_TICKS {
                let reply = self.replies.iter().find(|(waits, _)| *waits == ticket);
                match reply.map(|(_, reply)| reply) {
                    Some(coco_replica::Reply::Executed(id) | coco_replica::Reply::Earlier(id)) => {
                        let id = *id;
                        if self.is_final(id) {
                            return;
                        }
                        break;
                    }
                    Some(coco_replica::Reply::Refused(why)) => {
                        panic!("a transfer is refused: {why:?}")
                    }
                    Some(coco_replica::Reply::NotPrimary(_)) => break,
                    None => is_up = self.tick(),
                }
                ticks += 1;
            }
            self.tick();
        }
        panic!("a transfer is never final");
    }

    /// Waits until it is primary.
    pub(super) fn wait_to_lead(&mut self) {
        let leads = |node: &Self| node.replica().state().read().role() == Role::Primary;
        self.wait("it leads", leads);
    }

    /// A node that nobody knows says who it is, until it is told for good.
    ///
    /// # Panics
    /// When it never is.
    pub(super) fn introduce(&mut self, node: &GenesisNode) -> IntroductionReply {
        let (node, shown) = (node.clone(), ShownEvidence::insecure_of(node));
        let introduction = Introduction { node, shown, public_key_pem: "double".into() };
        for _ in 0..TRIES {
            self.wait_to_lead();
            self.introduced.clear();
            self.take(Input::Introduce(Box::new(introduction.clone())));
            match self.introduced.pop().map(|(_, reply)| reply) {
                Some(IntroductionReply::Known { id, .. }) if !self.is_final(id) => {}
                None | Some(IntroductionReply::NotPrimary(_) | IntroductionReply::Later) => {
                    self.tick();
                }
                Some(reply) => return reply,
            }
        }
        panic!("an introduction is never answered");
    }

    /// A node asks for a seat, until it is told for good.
    ///
    /// # Panics
    /// When it never is.
    pub(super) fn join(&mut self, node: &GenesisNode, seat: NodeId) -> JoinReply {
        let (node, shown) = (node.clone(), ShownEvidence::insecure_of(node));
        let request = JoinRequest { node, shown, seat, resumed: None };
        for _ in 0..TRIES {
            self.wait_to_lead();
            self.joins.clear();
            self.take(Input::Join(Box::new(request.clone())));
            match self.joins.pop().map(|(_, reply)| reply) {
                None | Some(JoinReply::NotPrimary(_) | JoinReply::Later(_)) => {
                    self.tick();
                }
                Some(reply) => return reply,
            }
        }
        panic!("who asks for a seat is never answered");
    }

    pub(super) fn replica(&self) -> &Replica {
        self.machine.replica.as_ref().expect("it is up whenever somebody looks")
    }

    /// A row of one of its tables, as it is now.
    pub(super) fn row(&self, map: &'static str, key: &[u8]) -> Option<Value> {
        serde_json::from_slice(&self.bytes(map, key)?).ok()
    }

    fn bytes(&self, map: &'static str, key: &[u8]) -> Option<coco_kv::Value> {
        let head = self.replica().reader().head();
        head.get(head.map(&MapName::from_static(map))?, key)
    }

    /// Whether members admitted the code that the ledger says this node to run. Everybody can read both.
    pub(super) fn runs_admitted_code(&self) -> bool {
        let row = self.row(tables::NODES_INFO, self.machine.id.to_string().as_bytes());
        let row = row.expect("the ledger knows its node");
        let code = row["code_digest"].as_str().expect("it says what it runs");
        self.bytes(tables::VIRTUAL_MEASUREMENTS, code.as_bytes()).is_some()
    }

    pub(super) fn status(&self) -> Option<ServiceStatus> {
        service_status(&self.bytes(SERVICE_MAP, singleton_key())?)
    }

    /// What the last sharing encrypted to a member.
    pub(super) fn encrypted_share(&self, member: &str) -> Option<String> {
        let row = self.row(tables::RECOVERY_SHARES, singleton_key())?;
        Some(row["encrypted_shares"][member].as_str()?.to_owned())
    }

    /// When a request is signed now.
    pub(super) const fn now_s(&self) -> u64 {
        START_S + self.time / 1_000_000
    }

    /// Whether a refusal says that its like was there before.
    pub(super) fn is_replay(refused: &Refused) -> bool {
        refused.code == ErrorCode::ProposalReplay
    }

    /// Everything that it holds is committed.
    pub(super) fn come_to_rest(&mut self) {
        self.fragile = 0;
        self.wait("everything is committed", |it| {
            let state = it.replica().state();
            let state = state.read();
            state.committed() == state.last() && !it.replica().has_work()
        });
    }
}
