//! Machines whose every life is another node, which asks the others for its seat.

use std::collections::{BTreeMap, BTreeSet};

use coco_consensus::Configuration;
use coco_replica::{Input, JoinReply, JoinRequest, Leads, ShownEvidence};
use coco_types::{NodeId, Role};

use crate::{
    client::Doing,
    machine::{Machine, Origin, StartAs},
    plan::{Micros, Restart},
    world::{Event, OPERATOR_US_MAX, World},
};

/// Time between two questions.
const ASK_US: Micros = 300_000;
/// Copies of nodes that a host starts in one run, at most.
const COPIES_MAX: usize = 2;

/// An answer on its way.
#[derive(Debug)]
pub(crate) struct Answered {
    by: NodeId,
    reply: JoinReply,
    /// Who votes, as far as that node knows.
    voters: Vec<NodeId>,
}

impl World {
    /// Which node a machine is that starts.
    pub(crate) fn start_as(&self, node: usize) -> StartAs {
        let machine = &self.machines[node];
        match self.plan.restart {
            _ if machine.goes_on() => StartAs::GoesOn,
            Restart::Rejoin if machine.life > 0 => StartAs::NewNode,
            Restart::Rejoin | Restart::FromDisk => StartAs::Before,
        }
    }

    /// Whether a host may take this node: the network can go on without it, in every configuration that may be in effect.
    /// Where nodes come back by themselves it always can, and reckless hosts do not ask.
    #[must_use]
    pub fn may_lose(&self, node: usize) -> bool {
        self.plan.is_reckless && !self.is_healed() || self.holds(Some(node), None)
    }

    /// Whether nothing says that the network has lost its majority for good, as reckless hosts may have it, and leases that end while
    /// another node is lost.
    pub(crate) fn may_go_on(&self) -> bool {
        let holds = !self.plan.is_reckless || self.holds(None, None);
        holds && (self.leave_nobody_in_need() || self.bears(None, None))
    }

    /// Whether the network can go on without a machine, and whatever becomes of what members have proposed about nodes, the
    /// removal of one more included.
    pub(crate) fn holds(&self, without: Option<usize>, removed: Option<NodeId>) -> bool {
        if self.plan.restart == Restart::FromDisk {
            return true;
        }
        let up = self.machines.iter().enumerate().filter_map(|(at, machine)| {
            let replica = machine.replica.as_ref().filter(|_| Some(at) != without)?;
            Some((machine, replica))
        });
        let all: Vec<_> = up.collect();
        let known: Vec<_> = all
            .iter()
            .flat_map(|(_, replica)| {
                [Some(replica.configuration()), replica.newest_configuration()]
            })
            .flatten()
            .collect();
        // One with a damaged disk may go at any time.
        let is_up =
            |id: NodeId| all.iter().any(|(other, _)| other.id == id && other.damage.is_none());
        // A node that listens may be about to take its seat from whoever has it, also when it has just been lost.
        let seat =
            |id: NodeId| self.machines.iter().find(|m| m.lives.contains(&id)).map(|m| m.seat);
        let uncertain: BTreeSet<_> = known
            .iter()
            .flat_map(|configuration| &configuration.learners)
            .filter(|learner| !is_up(**learner))
            .map(|learner| seat(*learner))
            .collect();
        let is_sure = |id: NodeId| is_up(id) && !uncertain.contains(&seat(id));
        let newcomers_down = |configuration: &Configuration| {
            let is_new = |learner: &NodeId| {
                !is_up(*learner)
                    && configuration.voters.iter().all(|id| seat(*id) != seat(*learner))
            };
            configuration.learners.iter().filter(|learner| is_new(learner)).count()
        };
        let leaving = self.leaving(removed);
        let has = |configuration: &Configuration| {
            self.has_majority(configuration, is_sure, newcomers_down(configuration), &leaving)
        };
        !all.is_empty() && known.into_iter().all(has)
    }

    /// A node that went on from its own disk shall say so.
    pub(crate) fn note_resumed(&mut self, node: usize, start_as: StartAs) {
        let machine = &mut self.machines[node];
        let is_again = start_as == StartAs::Before && machine.life > 1;
        let last = machine.replica.as_ref().map(|replica| replica.state().read().last());
        machine.resumed = last.filter(|_| is_again && self.plan.restart == Restart::FromDisk);
    }

    /// A node without a vote, or without a primary, asks somebody for its seat; one that went on from its disk says so.
    pub(crate) fn ask_for_seat(&mut self, node: usize) {
        if !self.nodes_ask() && self.machines[node].resumed.is_none() {
            return;
        }
        self.plan_for(node, ASK_US, Event::AskForSeat(node));
        // Whoever asks shows what it runs.
        if self.is_withheld(node) {
            return;
        }
        let machine = &self.machines[node];
        let Some(replica) = &machine.replica else { return };
        let knows_primary = replica.state().read().primary().is_some();
        if replica.configuration().votes(machine.id) && knows_primary && machine.resumed.is_none() {
            return;
        }
        let others: Vec<usize> = (0..self.machines.len()).filter(|other| *other != node).collect();
        let (seat, resumed) = (machine.seat, machine.resumed);
        let record = machine.record.clone();
        if resumed.is_some() && replica.state().read().role() == Role::Primary {
            let shown = ShownEvidence::insecure_of(&record);
            return self.seat_asked(node, JoinRequest { node: record, shown, seat, resumed });
        }
        let hint = self.machines[node].hint.take();
        let to = match hint {
            Some(hint) => hint,
            None if others.is_empty() => return,
            None => others[self.dice.place(others.len())],
        };
        if let Some(wait_us) = self.way(node, to) {
            let shown = self.shows(&record);
            let request = JoinRequest { node: record, shown, seat, resumed };
            self.plan_event(wait_us, Event::SeatAsked(to, Box::new(request)), None);
        }
    }

    pub(crate) fn seat_asked(&mut self, to: usize, request: JoinRequest) {
        self.step(to, Input::Join(Box::new(request)));
    }

    /// Answers go the same way back.
    pub(crate) fn answer_seats(&mut self, node: usize, answers: Vec<(NodeId, JoinReply)>) {
        if self.answers_nobody() {
            return;
        }
        for (id, reply) in answers {
            let state = match reply {
                JoinReply::Admitted => "a node was admitted to its seat",
                JoinReply::Later(coco_replica::JoinRefusal::Occupied(_)) => {
                    "a node asked for a seat whose node answers"
                }
                JoinReply::Later(coco_replica::JoinRefusal::Changing) => {
                    "a node asked for its seat while others change"
                }
                JoinReply::NotPrimary(_) => "a node asked somebody for its seat who cannot give it",
                JoinReply::Retired => "a node asked for the seat that it had lost",
                JoinReply::NoSuchSeat if self.plan.changes_nodes() => {
                    "a node asked for a seat that is none"
                }
                JoinReply::Quarantined => "a node was told that its lease has ended",
                JoinReply::NoSuchSeat => panic!("every seat was there from the beginning"),
                JoinReply::OtherCode => {
                    self.is_not_believed(id);
                    continue;
                }
            };
            self.marks.reach(state);
            let Some(to) = self.machines.iter().position(|machine| machine.id == id) else {
                continue;
            };
            let Some(wait_us) = self.way(node, to) else { continue };
            let machine = &self.machines[node];
            let replica = machine.replica.as_ref().expect("it has just answered");
            let voters = replica.configuration().voters.clone();
            let answered = Answered { by: machine.id, reply, voters };
            self.plan_for(to, wait_us, Event::SeatAnswered(to, Box::new(answered)));
        }
    }

    pub(crate) fn seat_answered(&mut self, node: usize, answered: Answered) {
        let Answered { by, reply, voters } = answered;
        match reply {
            JoinReply::NotPrimary(Some(leads)) => {
                let hint = self.machines.iter().position(|machine| machine.id == leads.node);
                self.machines[node].hint = hint.filter(|hint| *hint != node);
                self.told(node, by, leads);
            }
            JoinReply::Retired | JoinReply::Quarantined => {
                let farewells = &mut self.machines[node].farewells;
                farewells.insert(by);
                if !Configuration::of(voters).majority(|voter| farewells.contains(&voter)) {
                    return;
                }
                if reply == JoinReply::Retired {
                    self.retired(node);
                } else {
                    self.quarantined(node);
                }
            }
            // A primary that is none any more may not know of a seat yet. A node with a vote knows better; another is started
            // again by somebody.
            JoinReply::NoSuchSeat if self.votes(node) => {}
            JoinReply::NoSuchSeat if !self.is_out(node) => self.ends_and_starts(node),
            JoinReply::NoSuchSeat => self.leaves(node),
            JoinReply::Admitted if self.machines[node].resumed.is_some() => {
                self.marks.reach("the network wrote down that a node went on from its disk");
                self.machines[node].resumed = None;
            }
            JoinReply::Admitted
            | JoinReply::Later(_)
            | JoinReply::NotPrimary(None)
            | JoinReply::OtherCode => {}
        }
    }

    /// A node hears from another who leads.
    fn told(&mut self, node: usize, by: NodeId, leads: Leads) {
        let listens = |world: &Self| {
            let replica = world.machines[node].replica.as_ref()?;
            Some(replica.listens_to(leads.node).expect("a row"))
        };
        let before = listens(self);
        self.step(node, Input::Told(by, leads));
        if before == Some(false) && listens(self) == Some(true) {
            self.marks.reach("a node believed another of who leads that it knew as quarantined");
        }
    }

    fn votes(&self, node: usize) -> bool {
        let machine = &self.machines[node];
        machine.replica.as_ref().is_some_and(|replica| replica.configuration().votes(machine.id))
    }

    /// A node has learned that its seat is another's: its process ends, and starts again as another node.
    pub(crate) fn retired(&mut self, node: usize) {
        if self.is_out(node) {
            return self.leaves(node);
        }
        self.marks.reach("a node learned that its seat is another's");
        self.ends_and_starts(node);
    }

    fn ends_and_starts(&mut self, node: usize) {
        self.crash(node);
        let wait_us = self.dice.between(1_000_000, OPERATOR_US_MAX);
        self.start_in(node, wait_us);
    }

    /// A host copies a disk and starts what it takes for the same node. Whether it has not done so too often.
    pub(crate) fn start_copy(&mut self, node: usize) -> bool {
        let is_copy = |machine: &&Machine| machine.origin == Origin::Copy;
        if self.machines.iter().filter(is_copy).count() >= COPIES_MAX {
            return false;
        }
        let copy = Machine::copy_of(&self.machines[node], self.machines.len());
        let at = self.add_machine(copy);
        self.start(at);
        // It will not be healed.
        self.given_up[at] = true;
        self.marks.reach("a host started a copy of a node");
        true
    }

    /// Whether every seat that was not given up has a vote, nobody is on the way to one, and all who vote have the same
    /// ledger, committed to its end.
    pub(crate) fn is_settled(&self) -> bool {
        let comes = |id: &NodeId| {
            let is_it = |m: &&Machine| m.id == *id && m.replica.is_some();
            let machine = self.machines.iter().find(is_it);
            machine.is_some_and(|it| !self.listens(it) && !self.waits_for_good(it.seat))
        };
        let mut ends = BTreeMap::new();
        for machine in self.machines.iter().filter(|m| m.votes() || self.listens(m)) {
            let Some(replica) = &machine.replica else { continue };
            let configuration = replica.configuration();
            let state = replica.state();
            let state = state.read();
            if configuration.is_joint()
                || configuration.learners.iter().any(comes)
                || state.last() != state.committed()
            {
                return false;
            }
            // A node that has lost its seat and has not heard of it is not settled, either.
            let end = state.last();
            if ends.insert(machine.seat, end).is_some_and(|other| other != end) {
                return false;
            }
        }
        if self.plan.changes_nodes() && !(self.nodes_settled() && self.leases_settled()) {
            return false;
        }
        let is_given_up = |node: usize| {
            let seat = self.machines[node].seat;
            self.machines.iter().all(|machine| machine.seat != seat || machine.replica.is_none())
        };
        let is_filled = |node: usize| {
            let seat = self.machines[node].seat;
            ends.contains_key(&seat) || self.given_up[node] && is_given_up(node)
        };
        let all_filled =
            (0..self.machines.len()).filter(|node| self.is_expected(*node)).all(is_filled);
        let distinct: BTreeSet<_> = ends.into_values().collect();
        all_filled && distinct.len() == 1
    }

    /// Who keeps a run from its end.
    pub(crate) fn what_is_missing(&self) -> String {
        let mut text = format!("not over {} µs after the world healed;", self.plan.liveness_us());
        for (number, client) in self.clients.iter().enumerate() {
            match &client.doing {
                Doing::Resting => {}
                Doing::Asking { transfer, question, .. } => {
                    text += &format!(" c{number} asks for {} {question:?},", transfer.hash);
                }
                Doing::Waiting { id, .. } => text += &format!(" c{number} waits for {id},"),
            }
        }
        for (node, machine) in self.machines.iter().enumerate() {
            let Some(replica) = &machine.replica else {
                let Machine { damage, wants_copy, .. } = machine;
                text += &format!(" n{node} is down, damage {damage:?}, wants {wants_copy:?};");
                continue;
            };
            let state = replica.state();
            let state = state.read();
            text += &format!(
                " n{node} is {} {:?} in view {}, damage {:?}, last {}, committed {}, {:?};",
                machine.id,
                state.role(),
                state.view(),
                machine.damage,
                state.last(),
                state.committed(),
                replica.configuration()
            );
        }
        text + &self.who_is_of_the_network()
    }

    /// No seat has two votes.
    pub(crate) fn check_seats(&self, node: usize) {
        let Some(replica) = &self.machines[node].replica else { return };
        let voters = &replica.configuration().voters;
        let seat =
            |id: &NodeId| self.machines.iter().find(|m| m.lives.contains(id)).map(|m| m.seat);
        let mut seats: Vec<_> = voters.iter().map(seat).collect();
        seats.sort_unstable();
        assert!(
            seats.windows(2).all(|pair| pair[0] != pair[1]),
            "a seat has two votes: {voters:?}"
        );
        if !self.plan.changes_nodes() {
            assert_eq!(voters.len(), self.plan.nodes, "every seat has a vote");
        }
    }
}
