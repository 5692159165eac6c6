//! What a world does for its members.

use std::{cell::RefCell, collections::BTreeMap};

use coco_adapter::Ticket;
use coco_crypto::SHARING_SEED_BYTES;
use coco_governance::{
    Engine, ErrorCode, Governance, GovernanceError, ProposalId, Reply, tables::ProposalState,
};
use coco_ledger::LedgerSecrets;
use coco_replica::{GovernReply, GovernRequest, GovernTask, Input};
use coco_types::{NodeId, TxId, TxStatus};

use super::{Event, World};
use crate::{
    audit,
    client::PATIENCE_US,
    genesis::START_S,
    log::Happened,
    members::{self, Ask, MEMBERS, Told},
    plan::Micros,
};

/// How long a member waits before it looks again at what it is at.
const LOOK_US: Micros = 50_000;
/// An auditor looks at one ledger in so many.
const AUDITED_ONE_IN: usize = 4;
/// How many of the newest proposals members vote on.
const VOTED_ON: usize = 3;
/// A member gives up a request after so many questions: others may have made it impossible.
const QUESTIONS_MAX: u32 = 40;

/// The members of a world, if it has any.
#[derive(Debug, Default)]
pub(super) struct Members {
    doing: Vec<Doing>,
    /// Proposals that somebody was told of.
    proposals: Vec<(ProposalId, usize)>,
    /// Those of them that would remove a node.
    removals: BTreeMap<ProposalId, NodeId>,
    tickets: u64,
    next_value: u64,
    told: Vec<Told>,
    /// What each signed last, and when: whoever asks again sends the same bytes.
    signed: [Option<(Ask, u64, GovernRequest)>; MEMBERS],
}

/// What a member is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doing {
    Resting,
    /// It wants this done, which it signed at this time.
    Asking {
        ask: Ask,
        signed_at: u64,
        question: Option<(Ticket, Micros)>,
        questions: u32,
        favourite: Option<usize>,
    },
    /// It was told, and waits for that to be final.
    Waiting {
        told: Heard,
    },
}

/// What, about which proposal, by which entry.
type Heard = (Ask, ProposalId, TxId);

impl Members {
    pub(super) fn are_at_rest(&self) -> bool {
        self.doing.iter().all(|doing| *doing == Doing::Resting)
    }

    fn request(&mut self, member: usize, ask: Ask, signed_at: u64) -> GovernRequest {
        if let Some((last, at, request)) = &self.signed[member]
            && (*last, *at) == (ask, signed_at)
        {
            return request.clone();
        }
        let request = members::request(member, ask, signed_at);
        self.signed[member] = Some((ask, signed_at, request.clone()));
        request
    }
}

/// Of a thousand other proposals of members with shares so many have them dealt anew.
const RESHARES: u64 = 150;

/// Carries a request out, as the thread for such does. Which requests came before changes nothing but time, so all runs
/// of a thread share what was compiled.
pub(crate) fn carry_out(
    task: GovernTask,
    seed: &[u8; SHARING_SEED_BYTES],
) -> coco_replica::Governed {
    thread_local! {
        static GOVERNANCE: RefCell<Option<Governance>> = const { RefCell::new(None) };
    }
    GOVERNANCE.with(|governance| {
        let mut governance = governance.borrow_mut();
        task.run(governance.get_or_insert_with(|| Governance::new(&Engine::new())), seed)
    })
}

impl World {
    /// Wakes the members, if there are any.
    pub(super) fn begin_members(&mut self) {
        if self.plan.govern_us.is_none() {
            return;
        }
        self.members.doing = vec![Doing::Resting; MEMBERS];
        for member in 0..MEMBERS {
            let at = self.dice.below(1_000_000);
            self.plan_event(at, Event::Member(member), None);
        }
    }

    pub(super) fn member(&mut self, member: usize) {
        match self.members.doing[member] {
            Doing::Resting => {
                let every_us = self.plan.govern_us.unwrap_or(LOOK_US);
                let per_mille = (1000 * LOOK_US / every_us.max(1)).clamp(1, 1000);
                if !self.is_healed && self.dice.per_mille(per_mille) {
                    let ask = self.choose(member);
                    let signed_at = START_S + self.time / 1_000_000;
                    self.ask_for(member, ask, signed_at, 0, None);
                }
            }
            Doing::Asking { question: Some((_, until)), .. } if until > self.time => {}
            Doing::Asking { questions: QUESTIONS_MAX, .. } => {
                self.members.doing[member] = Doing::Resting;
            }
            Doing::Asking { ask, signed_at, questions, favourite, .. } => {
                self.ask_for(member, ask, signed_at, questions, favourite);
            }
            Doing::Waiting { told } => self.look_at(member, told),
        }
        self.plan_event(LOOK_US, Event::Member(member), None);
    }

    fn choose(&mut self, member: usize) -> Ask {
        let known = self.members.proposals.len();
        let newest = known.saturating_sub(VOTED_ON);
        if known > 0 && self.dice.per_mille(650) {
            let (proposal, by) = self.members.proposals[newest + self.dice.place(known - newest)];
            if by == member && self.dice.per_mille(200) {
                return Ask::Withdraw(proposal);
            }
            return Ask::Vote(proposal, self.dice.per_mille(750));
        }
        if let Some(ask) = self.choose_about_nodes() {
            return ask;
        }
        if self.dice.per_mille(self.plan.rekeys) {
            return Ask::Rekey;
        }
        if self.plan.has_shares && self.dice.per_mille(RESHARES) {
            return Ask::Reshare;
        }
        match self.dice.place(10) {
            0 => Ask::EndChunk,
            1 if self.plan.settings.snapshot_entries > 0 => Ask::Snapshot,
            _ => {
                self.members.next_value += 1;
                Ask::SetData { of: self.dice.place(MEMBERS), to: self.members.next_value }
            }
        }
    }

    fn ask_for(
        &mut self,
        member: usize,
        ask: Ask,
        signed_at: u64,
        questions: u32,
        favourite: Option<usize>,
    ) {
        let up = favourite.filter(|node| self.machines[*node].replica.is_some());
        let node = up.or_else(|| self.node_up());
        let questions = questions + 1;
        let mut question = None;
        let ticket = self.next_governing_ticket();
        if node.is_some() {
            question = Some((ticket, self.time + PATIENCE_US));
        }
        self.members.doing[member] =
            Doing::Asking { ask, signed_at, question, questions, favourite: None };
        let Some(node) = node else { return };
        let what = format!("{ask:?}");
        self.note(node, || Happened::Governs { member, what });
        let request = self.members.request(member, ask, signed_at);
        self.step(node, Input::Govern(ticket, request));
    }

    /// One that no request had before.
    pub(super) const fn next_governing_ticket(&mut self) -> Ticket {
        self.members.tickets += 1;
        Ticket(self.members.tickets)
    }

    /// A node has something for its thread, and answers.
    pub(super) fn answer_members(
        &mut self,
        node: usize,
        task: Option<GovernTask>,
        replies: Vec<(Ticket, GovernReply)>,
    ) {
        if let Some(task) = task {
            let wait_us = self.dice.around(self.plan.governed_us);
            self.plan_for(node, wait_us, Event::Governed(node, Box::new(task)));
        }
        for (ticket, reply) in replies {
            self.answer_member(node, ticket, reply);
        }
    }

    pub(super) fn governed(&mut self, node: usize, task: GovernTask) {
        let governed = carry_out(task, &self.dice.bytes());
        self.step(node, Input::Governed(Box::new(governed)));
    }

    fn answer_member(&mut self, node: usize, ticket: Ticket, reply: GovernReply) {
        let waits = |doing: &Doing| matches!(doing, Doing::Asking { question: Some((waits, _)), .. } if *waits == ticket);
        // Whoever asked elsewhere meanwhile does not listen any more.
        let Some(member) = self.members.doing.iter().position(waits) else { return };
        let Doing::Asking { ask, signed_at, questions, .. } = self.members.doing[member] else {
            return;
        };
        let what = format!("{reply:?}");
        self.check.written(&what);
        self.note(node, || Happened::Governs { member, what });
        let again =
            |favourite| Doing::Asking { ask, signed_at, question: None, questions, favourite };
        self.members.doing[member] = match reply {
            GovernReply::Done { id, reply } => match (ask, reply) {
                (_, Reply::Proposal(view)) => {
                    let proposal = view.proposal_id.parse().expect("an id");
                    if !self.members.proposals.iter().any(|(known, _)| *known == proposal) {
                        self.members.proposals.push((proposal, member));
                        if let Ask::Remove(of) = ask {
                            self.members.removals.insert(proposal, of);
                        }
                    }
                    let removed = self.members.removals.get(&proposal);
                    let is_own = removed == Some(&self.machines[node].id);
                    if is_own && view.proposal_state == ProposalState::Accepted {
                        self.marks.reach("members removed the primary");
                    }
                    self.check.told(id);
                    Doing::Waiting { told: (ask, proposal, id) }
                }
                // A proposal that is not known any more needs no withdrawal.
                (Ask::Withdraw(_), _) => Doing::Resting,
                (_, other) => panic!("{ask:?} is answered {other:?}"),
            },
            GovernReply::NotPrimary(primary) => {
                self.marks.reach("a member asked a node that was not primary, or no more");
                let primary = primary
                    .and_then(|id| self.machines.iter().position(|machine| machine.id == id));
                again(primary)
            }
            GovernReply::Busy => again(None),
            GovernReply::Refused(error) => {
                self.marks.reach(allowed_refusal(ask, &error));
                Doing::Resting
            }
        };
    }

    fn look_at(&mut self, member: usize, told: Heard) {
        let Some(node) = self.node_up() else { return };
        let Some(replica) = &self.machines[node].replica else { return };
        let (ask, proposal, id) = told;
        match replica.state().read().status(id) {
            TxStatus::Committed => {
                self.members.told.push(Told { member, ask, proposal, id });
                self.members.doing[member] = Doing::Resting;
            }
            TxStatus::Invalid => {
                self.marks.reach("what a member was told did not survive");
                self.members.doing[member] = Doing::Resting;
            }
            TxStatus::Pending | TxStatus::Unknown => {}
        }
    }

    /// Holds the ledger against the rules, what members were told against it, and every node's tables against both.
    pub(super) fn check_politics(&mut self, ledger: &[bytes::Bytes], secrets: &LedgerSecrets) {
        if self.plan.govern_us.is_none() {
            return;
        }
        let mut politics = members::Politics::default();
        ledger.iter().for_each(|entry| politics.take(entry, secrets));
        self.members.told.iter().for_each(|told| politics.judge(told));
        for machine in self.machines.iter().filter(|machine| machine.votes()) {
            if let Some(replica) = &machine.replica {
                politics.compare(&replica.reader());
            }
        }
        let may_stay_away = |seat: NodeId| {
            let of_seat = |machine: &&crate::machine::Machine| machine.seat == seat;
            let is_down = |machine: &crate::machine::Machine| machine.replica.is_none();
            self.machines.iter().filter(of_seat).all(is_down) || self.waits_for_good(seat)
        };
        politics.check_voters(may_stay_away);
        // It carries every script out again, which is as much as the run itself.
        if self.dice.place(AUDITED_ONE_IN) == 0 || self.plan.lease_s.is_some() {
            audit::check_governance(ledger);
        }
        for _ in 0..politics.accepted {
            self.marks.reach("members accepted a proposal");
        }
        for _ in 0..politics.rekeyed {
            self.marks.reach("members gave the ledger another secret");
        }
        for _ in 0..politics.replaced {
            self.marks.reach("the ledger has another secret since a node left");
        }
    }
}

/// Why a request in order may be refused all the same, as a mark.
///
/// # Panics
/// When it may not.
fn allowed_refusal(ask: Ask, error: &GovernanceError) -> &'static str {
    match (ask, error.code) {
        (_, ErrorCode::InvalidCreatedAt | ErrorCode::ProposalCreatedTooLongAgo) => {
            "a member's clock was too far from a node's, or it waited too long"
        }
        (Ask::Vote(..) | Ask::Withdraw(_), ErrorCode::ProposalNotOpen) => {
            "a member was late for a proposal"
        }
        (Ask::Vote(..), ErrorCode::ProposalNotFound) => {
            "a member voted on a proposal that was forgotten, or did not survive"
        }
        (Ask::Vote(..), ErrorCode::VoteAlreadyExists) => "a member voted twice",
        (
            Ask::SetData { .. }
            | Ask::EndChunk
            | Ask::Snapshot
            | Ask::Rekey
            | Ask::Reshare
            | Ask::Trust(_)
            | Ask::Listen(_)
            | Ask::Promote(_)
            | Ask::Replace(..)
            | Ask::Remove(_),
            ErrorCode::ProposalReplay,
        ) => "a member sent its proposal again that had been taken",
        (Ask::Vote(..), ErrorCode::InternalError) if is_of_a_node_that_is_gone(error) => {
            "members would trust a node that they had removed"
        }
        (Ask::Vote(..), ErrorCode::InternalError) if is_of_another_part(error) => {
            "members had given a node another part meanwhile"
        }
        (_, ErrorCode::TooManyOpenProposals) => "a member had too many open proposals",
        _ => panic!("{ask:?} is refused: {error:?}"),
    }
}

/// Whether a proposal cannot be carried out because its node votes already, or listens no more, or has left.
fn is_of_another_part(error: &GovernanceError) -> bool {
    [
        "to vote already",
        "is no learner",
        "is not trusted",
        "in the seat of",
        "as what it was before",
    ]
    .iter()
    .any(|of| error.message.contains(of))
}

/// Whether a proposal cannot be carried out because its node was removed meanwhile.
fn is_of_a_node_that_is_gone(error: &GovernanceError) -> bool {
    ["there is no node ", "is retired"].iter().any(|of| error.message.contains(of))
}
