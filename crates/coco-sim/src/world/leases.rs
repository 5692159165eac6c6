//! Leases of nodes in a world: nodes show again and again what they run, hosts keep them from it, and an operator has whoever was
//! quarantined introduce itself again.

use std::collections::{BTreeMap, BTreeSet};

use coco_governance::{LeaseRow, tables::NODES_LEASES};
use coco_kv::MapName;
use coco_replica::{Input, JoinRequest, LEASE_GRACE_MS, ShownEvidence};
use coco_types::NodeId;

use super::{Event, OPERATOR_US_MAX, World};
use crate::{
    machine::{Machine, Origin},
    plan::{Micros, Restart},
    roster::Roster,
};

/// Time after which a node shows again what it runs.
const SHOW_US: Micros = 3_000_000;
/// A primary may take a node that has just been lost for one that answers for so long, at the most.
const UNNOTICED_US: Micros = 3_000_000;
/// Time for a lease to be ended that is over, and for its node to be away for some time, at the most.
const AWAY_US_MAX: Micros = LEASE_GRACE_MS * 1_000 + 20_000_000;

/// What a world knows of leases.
#[derive(Debug, Default)]
pub(super) struct Leases {
    /// Until when hosts withhold what their nodes run.
    withheld: BTreeMap<usize, Micros>,
    /// The newest row of each seat's lease at the primary, and since when it is there.
    seen: BTreeMap<NodeId, (LeaseRow, Micros)>,
    /// Machines that were quarantined, and whose operators have them introduce themselves again.
    again: BTreeSet<usize>,
    /// Seats that were let in again and do not vote yet.
    returning: BTreeSet<NodeId>,
    /// Nobody waits for the answers of the step under way.
    is_unasked: bool,
}

impl Leases {
    /// Hosts withhold nothing any more.
    pub(super) fn heal(&mut self) {
        self.withheld.clear();
    }

    /// Whether a machine waits to be let in again.
    pub(super) fn comes_again(&self, node: usize) -> bool {
        self.again.contains(&node)
    }

    /// The machine that introduces itself again by the key of this seat.
    pub(super) fn who_comes_again(&self, machines: &[Machine], seat: NodeId) -> Option<usize> {
        self.again.iter().copied().find(|node| machines[*node].seat == seat)
    }

    /// Whether somebody votes now who was let in again.
    pub(super) fn note_votes(&mut self, roster: &Roster) -> bool {
        let before = self.returning.len();
        self.returning.retain(|seat| roster.voter(*seat).is_none());
        self.returning.len() < before
    }
}

impl World {
    /// A node that has started will show what it runs, where there are leases.
    pub(super) fn begin_to_show(&mut self, node: usize) {
        if self.plan.lease_s.is_some() {
            let wait_us = self.dice.between(1, SHOW_US);
            self.plan_for(node, wait_us, Event::Show(node));
        }
    }

    /// A node shows the primary that it knows of what it runs.
    pub(super) fn show(&mut self, node: usize) {
        self.plan_for(node, SHOW_US, Event::Show(node));
        if self.is_withheld(node) {
            self.marks.reach("a host withheld what its node runs");
            return;
        }
        let machine = &self.machines[node];
        let Some(replica) = &machine.replica else { return };
        let Some(primary) = replica.state().read().primary() else { return };
        let Some(to) = self.machines.iter().position(|other| other.id == primary) else { return };
        let (record, seat) = (machine.record.clone(), machine.seat);
        if to == node {
            let shown = ShownEvidence::insecure_of(&record);
            return self.shown(node, JoinRequest { node: record, shown, seat, resumed: None });
        }
        if let Some(wait_us) = self.way(node, to) {
            let shown = self.shows(&record);
            let request = JoinRequest { node: record, shown, seat, resumed: None };
            self.plan_event(wait_us, Event::Shown(to, Box::new(request)), None);
        }
    }

    /// A node is shown what another runs, which waits for no answer.
    pub(super) fn shown(&mut self, to: usize, request: JoinRequest) {
        self.leases.is_unasked = true;
        self.step(to, Input::Join(Box::new(request)));
        self.leases.is_unasked = false;
    }

    /// Whether nobody waits for the answers of the step under way.
    pub(crate) const fn answers_nobody(&self) -> bool {
        self.leases.is_unasked
    }

    /// Whether its host keeps a node from showing what it runs.
    pub(crate) fn is_withheld(&self, node: usize) -> bool {
        self.leases.withheld.get(&node).is_some_and(|until| *until > self.time)
    }

    /// A host withholds what its node runs for longer than its lease, if the network can go on without that node. Whether it does.
    pub(crate) fn withhold(&mut self, node: usize) -> bool {
        let Some(lease_s) = self.plan.lease_s else { return false };
        let machine = &self.machines[node];
        let is_there = machine.replica.is_some() && machine.origin != Origin::Copy;
        let id = Some(machine.id);
        if !is_there || self.is_withheld(node) || !self.bears(None, id) || !self.holds(None, id) {
            return false;
        }
        let least_us = lease_s * 1_000_000 + LEASE_GRACE_MS * 1_000;
        let until = self.time + self.dice.between(least_us, lease_s * 1_000_000 + AWAY_US_MAX);
        self.leases.withheld.insert(node, until);
        true
    }

    /// Notes what leases there are at a node that has written something, if it is the primary.
    pub(super) fn notice_leases(&mut self, node: usize) {
        if self.plan.lease_s.is_none() || self.primary() != Some(node) {
            return;
        }
        let Some(replica) = &self.machines[node].replica else { return };
        let head = replica.reader().head();
        let Some(map) = head.map(&MapName::from_static(NODES_LEASES)) else { return };
        for (key, row) in head.range(map, &[], None, usize::MAX) {
            let seat: NodeId =
                str::from_utf8(&key).ok().and_then(|key| key.parse().ok()).expect("a seat");
            let lease = LeaseRow::read(&row).expect("a lease");
            let known = self.leases.seen.entry(seat).or_insert((lease, self.time));
            if known.0 != lease {
                *known = (lease, self.time);
            }
        }
    }

    /// Nodes whose leases may be about to end, or are withheld: a primary that waits for them would not wait much longer, by whatever
    /// clock.
    pub(super) fn late_nodes(&self) -> Vec<NodeId> {
        let Some(lease_s) = self.plan.lease_s else { return Vec::new() };
        let clocks_jump = self.plan.faults.clock.is_some() || self.plan.faults.drift.is_some();
        let lease_us = if clocks_jump { 0 } else { lease_s * 1_000_000 };
        let least_us = lease_us + LEASE_GRACE_MS * 1_000 - UNNOTICED_US;
        let is_late = |(at, machine): &(usize, &Machine)| {
            self.is_withheld(*at)
                || self.leases.seen.get(&machine.seat).is_some_and(|(lease, since)| {
                    lease.ended_at.is_some() || self.time - since >= least_us
                })
        };
        let late = self.machines.iter().enumerate().filter(is_late);
        late.flat_map(|(_, machine)| machine.lives.clone()).collect()
    }

    /// Whether the seat of a machine is quarantined, as far as that is committed.
    pub(super) fn is_quarantined(&self, node: usize) -> bool {
        self.plan.lease_s.is_some() && self.nodes.roster.is_quarantined(self.machines[node].seat)
    }

    /// A node has learned that its lease has ended: its process ends, and its operator has it introduce itself again.
    pub(crate) fn quarantined(&mut self, node: usize) {
        if self.is_out(node) {
            return self.leaves(node);
        }
        let machine = &self.machines[node];
        self.marks.reach(match machine.id == machine.seat {
            true => "a node learned that its lease had ended",
            false => "a node that came later in its seat learned that its lease had ended",
        });
        self.end(node);
        self.introduce_again(node);
    }

    /// The operator of a node that is down has it introduce itself again, by its seat's key.
    pub(super) fn introduce_again(&mut self, node: usize) {
        assert!(self.machines[node].replica.is_none(), "n{node} is up");
        if self.machines[node].origin != Origin::Copy && self.leases.again.insert(node) {
            let wait_us = self.dice.between(1_000_000, OPERATOR_US_MAX);
            self.plan_event(wait_us, Event::Newcomer(Some(node), node), None);
        }
    }

    /// Whether a machine introduces itself: it is a newcomer's that was given nothing yet, or was quarantined.
    pub(super) fn introduces_itself(&self, node: usize) -> bool {
        self.machines[node].is_stranger() || self.leases.comes_again(node)
    }

    /// A machine that was quarantined is let in again, and is given the secrets of the ledger.
    pub(super) fn is_let_in_again(&mut self, node: usize) {
        self.marks.reach("a node was let in again after its lease had ended");
        self.leases.again.remove(&node);
        self.leases.returning.insert(self.machines[node].seat);
    }

    /// Whether leases take nobody away from those who go on without a node that is lost for good: there are none, no node is, or it comes
    /// back as another.
    pub(crate) fn leave_nobody_in_need(&self) -> bool {
        let is_lost = |node: usize| self.is_lost(node) && !self.is_out(node);
        self.plan.lease_s.is_none()
            || self.plan.restart == Restart::Rejoin
            || !(0..self.machines.len()).any(is_lost)
    }

    /// Whether nobody whose lease has ended has the newest secret.
    pub(crate) fn leases_settled(&self) -> bool {
        self.plan.lease_s.is_none() || !self.nodes.roster.is_secret_outside()
    }
}
