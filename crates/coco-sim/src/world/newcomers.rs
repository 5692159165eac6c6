//! Nodes that come and go by members' votes.
//!
//! A newcomer is a machine with an empty disk. It introduces itself until members trust it, is given the secrets of the ledger
//! by a node that knows this trust to be committed, copies a ledger, and asks for its place like any other. What a world
//! can bear of removals and losses together is decided here, too: members of a simulated network are not careless.

use std::collections::{BTreeMap, BTreeSet};

use coco_consensus::Configuration;
use coco_governance::{LeaseRow, tables::NODES_LEASES};
use coco_kv::MapName;
use coco_ledger::{LedgerSecrets, NODES_MAP, NodeRow, NodeStatus, read_node};
use coco_replica::{Input, Introduction, IntroductionReply};
use coco_types::NodeId;

use super::{Event, OPERATOR_US_MAX, World};
use crate::{
    machine::{Machine, Origin},
    members::Ask,
    plan::{Micros, Restart},
    roster::Roster,
};

/// Time between two introductions.
const INTRODUCE_US: Micros = 700_000;

/// What a world knows of nodes that come and go.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    /// What the network has committed.
    pub(super) roster: Roster,
    /// Nodes that some member has proposed to remove.
    removals: Vec<NodeId>,
    /// Whom newcomers ask next.
    hints: BTreeMap<usize, usize>,
}

impl World {
    /// The nodes of new operators that will come.
    pub(super) fn begin_newcomers(&mut self) {
        for number in 0..self.plan.newcomers {
            let number = self.plan.nodes + number;
            let at = self.dice.below(self.plan.safety_us / 2);
            self.plan_event(at, Event::Newcomer(None, number), None);
        }
    }

    /// A newcomer's machine is made, or introduces itself.
    pub(super) fn newcomer(&mut self, at: Option<usize>, number: usize) {
        let at = at.unwrap_or_else(|| {
            let machine = Machine::newcomer(number, &self.keys);
            self.add_machine(machine)
        });
        if self.given_up[at] || !self.introduces_itself(at) {
            return;
        }
        self.plan_event(INTRODUCE_US, Event::Newcomer(Some(at), number), None);
        let hint = self.nodes.hints.remove(&at);
        let to = hint.unwrap_or_else(|| self.dice.place(self.machines.len()));
        if to == at || self.machines[to].replica.is_none() || self.is_withheld(at) {
            return;
        }
        let Some(wait_us) = self.way(at, to) else { return };
        let node = self.machines[at].record_of_seat(&self.keys);
        let shown = self.shows(&node);
        let introduction = Introduction { node, shown, public_key_pem: "double".into() };
        let input = Input::Introduce(Box::new(introduction));
        self.plan_event(wait_us, Event::Input(to, input), None);
    }

    /// Answers to newcomers go the same way back.
    pub(super) fn answer_newcomers(
        &mut self,
        node: usize,
        answers: Vec<(NodeId, IntroductionReply)>,
    ) {
        for (id, reply) in answers {
            let again = self.leases.who_comes_again(&self.machines, id);
            let to = again.or_else(|| self.machines.iter().position(|machine| machine.id == id));
            let Some(to) = to else { continue };
            if let Some(wait_us) = self.way(node, to) {
                self.plan_event(wait_us, Event::Introduced(to, node, reply), None);
            }
        }
    }

    pub(super) fn introduced(&mut self, at: usize, by: usize, reply: IntroductionReply) {
        if !self.introduces_itself(at) {
            return;
        }
        let is_again = self.leases.comes_again(at);
        match reply {
            IntroductionReply::Known { status: NodeStatus::Pending, .. } => {
                self.marks.reach("a node of a new operator introduced itself");
            }
            IntroductionReply::Known { status: NodeStatus::Trusted, .. } => {
                let Some(secrets) = self.secrets_for(at, by) else { return };
                if is_again {
                    self.is_let_in_again(at);
                } else {
                    self.marks.reach("a node of a new operator was trusted");
                }
                self.machines[at].given = Some(secrets);
                let wait_us = self.dice.between(1_000, OPERATOR_US_MAX);
                self.start_in(at, wait_us);
            }
            IntroductionReply::Known { status: NodeStatus::Retired, .. } if is_again => {
                // That may not be committed yet.
                if self.is_out(at) {
                    self.leaves(at);
                } else {
                    let lives = &self.machines[at].lives;
                    let is_wanted = lives.iter().any(|node| self.nodes.removals.contains(node));
                    assert!(is_wanted, "n{at} comes again, and is told that members removed it");
                }
            }
            IntroductionReply::Known { status: NodeStatus::Retired, .. } => {
                self.marks.reach("a node of a new operator was removed before it came");
                self.given_up[at] = true;
            }
            IntroductionReply::NotPrimary(primary) => {
                let primary = primary
                    .and_then(|id| self.machines.iter().position(|machine| machine.id == id));
                self.nodes.hints.extend(primary.map(|primary| (at, primary)));
            }
            IntroductionReply::Later => {}
            IntroductionReply::NotBelieved(_) => self.is_not_believed(self.machines[at].seat),
            IntroductionReply::TooMany => panic!("few come"),
        }
    }

    /// What a node gives to one whose trust it knows to be committed: the secrets of all periods that are.
    fn secrets_for(&self, at: usize, by: usize) -> Option<LedgerSecrets> {
        let replica = self.machines[by].replica.as_ref()?;
        let state = replica.state();
        let state = state.read();
        let committed = state.committed().seqno;
        let snapshot = replica.reader().snapshot(committed).ok()?;
        let map = snapshot.map(&MapName::from_static(NODES_MAP))?;
        let id = self.machines[at].seat;
        let row = snapshot.get(map, id.to_string().as_bytes())?;
        let status = read_node(id, &row).expect("nodes write rows that can be read").status;
        let leases = snapshot.map(&MapName::from_static(NODES_LEASES))?;
        let lease = snapshot.get(leases, id.to_string().as_bytes());
        let has_ended =
            lease.and_then(|row| LeaseRow::read(&row)).is_some_and(|row| row.ended_at.is_some());
        if status != NodeStatus::Trusted || has_ended {
            return None;
        }
        let periods = state.secrets().periods().iter();
        let known = periods.filter(|period| period.from <= committed.next()).cloned();
        Some(LedgerSecrets::new(known).expect("they are a sequence"))
    }

    /// What a member proposes about nodes, if it does.
    pub(super) fn choose_about_nodes(&mut self) -> Option<Ask> {
        if !self.plan.changes_nodes() || !self.dice.per_mille(600) {
            return None;
        }
        let roster = &self.nodes.roster;
        let pending: Vec<_> = roster
            .all(NodeStatus::Pending)
            .filter(|(node, row)| row.seat == *node)
            .map(|(node, _)| node)
            .collect();
        if !pending.is_empty() && self.dice.per_mille(800) {
            let node = pending[self.dice.place(pending.len())];
            return Some(match self.dice.below(4) {
                0 => Ask::Listen(node),
                1 => self.choose_to_replace(&pending).unwrap_or(Ask::Trust(node)),
                _ => Ask::Trust(node),
            });
        }
        if !self.dice.per_mille(500) {
            return None;
        }
        let roster = &self.nodes.roster;
        let learners = roster.all(NodeStatus::Trusted).filter(|(_, row)| row.learner);
        let learners: Vec<_> = learners.map(|(node, _)| node).collect();
        if !learners.is_empty() && self.dice.per_mille(500) {
            return Some(Ask::Promote(learners[self.dice.place(learners.len())]));
        }
        let roster = &self.nodes.roster;
        let mut known: Vec<_> = roster.all(NodeStatus::Trusted).map(|(node, _)| node).collect();
        known.extend(roster.all(NodeStatus::Pending).map(|(node, _)| node));
        if known.is_empty() {
            return None;
        }
        let node = known[self.dice.place(known.len())];
        let is_again = self.nodes.removals.contains(&node);
        let has_more = self.nodes.removals.len() < self.plan.removals;
        if !is_again {
            if !has_more || !self.bears(None, Some(node)) || !self.holds(None, Some(node)) {
                return None;
            }
            self.nodes.removals.push(node);
        }
        Some(Ask::Remove(node))
    }

    /// Nodes that vote make room for those that wait, if the world bears that they leave.
    fn choose_to_replace(&mut self, pending: &[NodeId]) -> Option<Ask> {
        let mut voters = self.nodes.roster.configuration().voters.clone();
        let most = pending.len().min(2);
        let mut remove = Vec::new();
        while remove.len() < most && !voters.is_empty() {
            let place = self.dice.place(voters.len());
            let node = voters.swap_remove(place);
            let is_again = self.nodes.removals.contains(&node);
            let has_more = self.nodes.removals.len() < self.plan.removals;
            let bears = || self.bears(None, Some(node)) && self.holds(None, Some(node));
            if is_again || (has_more && bears()) {
                if !is_again {
                    self.nodes.removals.push(node);
                }
                remove.push(node);
            }
        }
        let pair = |nodes: &[NodeId]| Some((*nodes.first()?, nodes.get(1).copied()));
        Some(Ask::Replace(pair(&remove)?, pair(&pending[..most])?))
    }

    /// Whether a machine has its place and members want it to listen for good.
    pub(crate) fn listens(&self, machine: &Machine) -> bool {
        self.nodes.roster.listens(machine.seat)
            && machine
                .replica
                .as_ref()
                .is_some_and(|replica| replica.configuration().learners.contains(&machine.id))
    }

    /// Whether a machine's seat was taken away by members.
    pub(crate) fn is_out(&self, at: usize) -> bool {
        self.plan.changes_nodes() && self.nodes.roster.is_out(self.machines[at].seat)
    }

    /// Nodes whose votes somebody may be about to take away, this one among them.
    pub(crate) fn leaving(&self, also: Option<NodeId>) -> BTreeSet<NodeId> {
        self.nodes.removals.iter().copied().chain(also).chain(self.late_nodes()).collect()
    }

    /// Whether more voters are well than are lost for good, also when this machine is lost, and whatever becomes of what
    /// members have proposed, and of the removal of that node.
    pub(crate) fn bears(&self, lost: Option<usize>, removed: Option<NodeId>) -> bool {
        let (mut well, mut ill) = (0, 0);
        let leaving = self.leaving(removed);
        for (at, machine) in self.machines.iter().enumerate() {
            if machine.origin == Origin::Copy || self.is_out(at) {
                continue;
            }
            let voter = self.nodes.roster.voter(machine.seat);
            if self.is_lost(at) || lost == Some(at) {
                // A newcomer may get its vote in the moment in which it is lost.
                ill += usize::from(voter.is_some() || machine.life > 0);
            } else if voter.is_some_and(|voter| !leaving.contains(&voter)) {
                well += 1;
            }
        }
        // Until an entry says that the newest configuration is in effect, a node that goes on from its disk counts by the one
        // before, whose voters may be needed.
        let is_said = self.plan.restart != Restart::FromDisk || self.nodes.roster.is_settled();
        well > ill && is_said
    }

    /// Whether a configuration has a majority for certain: of the voters those are up that `is_sure` names, members may be
    /// about to remove some of them, and newcomers that are down may be about to vote.
    pub(crate) fn has_majority(
        &self,
        configuration: &Configuration,
        is_sure: impl Fn(NodeId) -> bool,
        newcomers_down: usize,
        leaving: &BTreeSet<NodeId>,
    ) -> bool {
        let has = |voters: &[NodeId]| {
            let sure = voters.iter().filter(|node| is_sure(**node));
            let (leave, stay): (Vec<NodeId>, Vec<NodeId>) =
                sure.partition(|node| leaving.contains(node));
            2 * stay.len() > voters.len() - leave.len() + newcomers_down
        };
        has(&configuration.voters) && (!configuration.is_joint() || has(&configuration.outgoing))
    }

    /// A node has learned that members took its seat away: nobody starts it again.
    pub(crate) fn leaves(&mut self, node: usize) {
        assert!(self.is_out(node), "n{node} has no seat, and nobody removed it");
        self.marks.reach("a node that members removed left");
        if self.machines[node].replica.is_some() {
            self.crash(node);
        }
        self.given_up[node] = true;
    }

    /// Whether a seat has to have a vote in the end.
    pub(crate) fn is_expected(&self, at: usize) -> bool {
        match self.machines[at].origin {
            Origin::Copy => false,
            // One that was quarantined may come back together with others.
            Origin::First => !self.is_out(at) && !self.waits_for_good(self.machines[at].seat),
            Origin::Newcomer => {
                let seat = self.machines[at].seat;
                let roster = &self.nodes.roster;
                let is_wanted = roster.trusts(seat) || roster.is_quarantined(seat);
                is_wanted && !self.waits_for_good(seat)
            }
        }
    }

    /// Whether a seat comes together with others, of which some never come.
    pub(crate) fn waits_for_good(&self, seat: NodeId) -> bool {
        let never_comes = |seat: NodeId| {
            let machine = self.machines.iter().position(|machine| machine.seat == seat);
            machine.is_some_and(|at| self.given_up[at])
        };
        self.nodes.roster.waits(seat, never_comes)
    }

    /// Whether nobody takes part any more whom members removed.
    pub(crate) fn nodes_settled(&self) -> bool {
        let roster = &self.nodes.roster;
        let is_retired =
            |node| roster.row(node).is_none_or(|row| row.status == NodeStatus::Retired);
        !roster.configuration().nodes().any(is_retired)
            && !roster.configuration().voters.iter().any(|node| roster.is_replaced(*node))
    }

    /// What the ledger says of nodes that have not left.
    pub(crate) fn who_is_of_the_network(&self) -> String {
        let roster = &self.nodes.roster;
        let rows = roster.all(NodeStatus::Trusted).chain(roster.all(NodeStatus::Pending));
        let row = |(id, row): (NodeId, &NodeRow)| {
            let NodeRow { status, seat, learner, successors, .. } = row;
            let has_ended = roster.has_lease_ended(*seat);
            format!(
                " {id} is {status:?} in {seat}, listens {learner}, comes before {successors:?}, lease ended {has_ended};"
            )
        };
        let rows: String = rows.map(row).collect();
        let is_outside = roster.is_secret_outside();
        format!(
            "{rows} somebody outside has the newest secret {is_outside}, given up {:?}",
            self.given_up
        )
    }

    /// Follows what is committed.
    pub(super) fn follow_nodes(&mut self) {
        if !self.plan.changes_nodes() && self.time > 0 {
            return;
        }
        let before = self.nodes.roster.configuration().clone();
        let lapses = self.nodes.roster.lapses();
        self.nodes.roster.follow(&self.check.committed);
        let has_lapsed = self.nodes.roster.lapses() > lapses;
        self.marks.reach_if(has_lapsed, "a lease ended and its node was quarantined");
        let roster = &self.nodes.roster;
        let mut learners = roster.configuration().learners.iter();
        let one_listens = learners
            .any(|node| !before.learners.contains(node) && roster.listens(roster.seat(*node)));
        self.marks.reach_if(one_listens, "a node listens for good");
        let voters = before.voters;
        let now = &self.nodes.roster.configuration().voters;
        if *now == voters || voters.is_empty() {
            return;
        }
        let votes_again = self.leases.note_votes(&self.nodes.roster);
        self.marks.reach_if(votes_again, "a node votes again after its lease had ended");
        let is_newcomer = |node: &NodeId| {
            let seat = self.nodes.roster.seat(*node);
            let found = self.machines.iter().find(|machine| machine.seat == seat);
            found.is_some_and(|machine| machine.origin == Origin::Newcomer)
        };
        let come = now.iter().filter(|node| !voters.contains(node) && is_newcomer(node)).count();
        if come > 0 {
            self.marks.reach("a node of a new operator votes");
        }
        self.marks.reach_if(come > 1, "two nodes of new operators got their votes at once");
        let roster = &self.nodes.roster;
        let made_room = voters.iter().filter(|node| !now.contains(node)).any(|node| {
            let successors = roster.row(*node).map(|row| row.successors.as_slice());
            let mut successors = successors.unwrap_or_default().iter();
            successors.any(|seat| roster.voter(*seat).is_some_and(|id| !voters.contains(&id)))
        });
        self.marks.reach_if(made_room, "nodes made room for others in one step");
        let lost =
            voters.iter().any(|node| self.nodes.roster.is_out(self.nodes.roster.seat(*node)));
        if lost {
            self.marks.reach("members removed a node");
            if now.iter().any(is_newcomer) {
                self.marks.reach("a node was replaced by one of a new operator");
            }
        }
    }

    /// Whether nodes of this world ask for their places.
    pub(crate) fn nodes_ask(&self) -> bool {
        self.plan.restart == Restart::Rejoin || self.plan.changes_nodes()
    }
}
