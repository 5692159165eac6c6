//! New nodes in old seats.
//!
//! A node that lost its memory must not go on under its old name: its disk belongs to the host, who may have set it
//! back, and the network counts on what that name has acknowledged. So it comes back as another node and asks for its
//! seat. The primary does, one step at a time, each an entry of its own:
//!
//! 1. *admit*: the new node listens (learner); it brings what its disk has, and gets the rest;
//! 2. *swap*: once it has everything that is committed, and the node that had the seat is still silent, it votes instead of
//!    that one. Two voters change, so the configuration is joint for a while;
//! 3. *leave*: once that is committed, the old configuration is left;
//! 4. *say so*: once that is committed, an entry says that the new configuration is in effect, and which nodes nobody needs
//!    any more. A node that starts with this in its ledger counts by the new one.
//!
//! Learners that members admitted as such listen for good: they take part in no majority, so nobody waits for one that is
//! away. Others that are ready vote from the same step on, and in that step those leave whom members removed or replaced by
//! them (`replacements.rs`).
//!
//! A node that members trust and that never had a vote keeps this trust for whoever comes in its seat, and passes it on when
//! that one gets the vote. A seat whose node members removed is none any more, for those in it that listen either.
//!
//! The node that had the seat learns of it by asking, and ends when a majority of the new voters know that the last of these is
//! committed: earlier, those that count by the configuration before, or would after a start, could need its vote.
//!
//! A seat whose node still answers is not given away: then one of the two is a copy that a host has made, and the other that
//! listens already is let go. Nobody asks people here. The driver has proved that the newcomer runs admitted code and holds
//! the seat's key.

use coco_consensus::{Configuration, Progress, TransferError};
use coco_kv::{MapName, WriteSet};
use coco_ledger::{
    ConfigurationRow, GenesisNode, MembershipError, NODES_MAP, NodeRow, NodeStatus,
    put_endorsed_certificate, put_in_effect, put_pending_node, put_resumed, put_retired_committed,
    put_status, put_successor, read_node,
};
use coco_planted::Bug;
use coco_types::{Digest, NodeId, Role, Seqno, TxId};

use crate::{
    attestations::{ShownEvidence, as_attested},
    effects::Effects,
    hearsay::Leads,
    load::AppendKind,
    replacements::{Ready, Replacements, towards},
    replica::{Replica, StepError},
};

/// A node asks for a seat.
#[derive(Clone, Debug)]
pub struct JoinRequest {
    /// The node: its channel has proved that it holds the key behind its id, and is the one that its evidence shall bind. What it says
    /// itself of its code is not looked at.
    pub node: GenesisNode,
    /// What it shows of its code.
    pub shown: ShownEvidence,
    /// The seat: a signature over the node's id has proved that it holds the key behind this one.
    pub seat: NodeId,
    /// The node went on from its own disk, as the node that it was; this is the last entry that it found there. It wants
    /// no seat, but everybody shall know.
    pub resumed: Option<TxId>,
}

/// What a node that asked for a seat is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinReply {
    /// It is a node of the network, or is about to be: entries will come.
    Admitted,
    /// Not now; to be asked again.
    Later(JoinRefusal),
    /// Not primary; the one it knows of, if any, may be asked.
    NotPrimary(Option<Leads>),
    /// Never: no node of the network has that seat.
    NoSuchSeat,
    /// Never without a vote of the members: what the node shows is not believed, or not admitted.
    OtherCode,
    /// Not before it has shown again what it runs, by introducing itself: its lease has ended. As many have to say so as of
    /// [`JoinReply::Retired`].
    Quarantined,
    /// Never: that node had a seat, and another has it now, as far as the node knows that was asked. One that was cut off
    /// for long hears nothing else of it. It goes on to vote for those who still need it, until a majority of the voters
    /// say so: then they can do without.
    Retired,
}

/// Why a seat is not given now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinRefusal {
    /// Another change of the configuration is under way, or the primary is new.
    Changing,
    /// The node in that seat answers.
    Occupied(NodeId),
}

/// Who has a seat.
#[derive(Clone, Copy, Debug, Default)]
struct Occupants {
    voter: Option<NodeId>,
    learner: Option<NodeId>,
}

pub(crate) fn from_row(row: ConfigurationRow) -> Configuration {
    let ConfigurationRow { voters, outgoing, learners } = row;
    Configuration { voters, outgoing, learners }
}

fn to_row(configuration: &Configuration) -> ConfigurationRow {
    let Configuration { voters, outgoing, learners } = configuration.clone();
    ConfigurationRow { voters, outgoing, learners }
}

impl Replica {
    pub(crate) fn join(
        &mut self,
        request: &JoinRequest,
        effects: &mut Effects,
    ) -> Result<(), StepError> {
        let reply = self.admit_node(request)?;
        effects.joins.push((request.node.node_id, reply));
        Ok(())
    }

    fn admit_node(&mut self, request: &JoinRequest) -> Result<JoinReply, StepError> {
        let JoinRequest { node, shown, seat, resumed } = request;
        let farewell = self.farewell(node.node_id, *seat)?;
        // Anybody knows that, once the change has ended here. While it lasts the vote of the node that leaves may be needed.
        if let Some(reply) = farewell
            && self.core.is_configuration_settled()
        {
            return Ok(reply);
        }
        if self.engine.role() != Role::Primary {
            let committed = self.core.state.read().committed;
            let leads = |node| Leads { node, committed };
            return Ok(JoinReply::NotPrimary(self.engine.primary().map(leads)));
        }
        if farewell.is_some() {
            return Ok(JoinReply::Later(JoinRefusal::Changing));
        }
        let Occupants { voter, learner } = self.occupants(*seat)?;
        if voter == Some(node.node_id) || learner == Some(node.node_id) {
            self.renew_lease(*seat, node.node_id, shown)?;
            return self.note_resumed(node.node_id, *resumed);
        }
        if voter.is_none() && learner.is_none() {
            return self.admit_newcomer(node, *seat, shown);
        }
        let mut running = Vec::new();
        for occupant in [voter, learner].into_iter().flatten() {
            if let Some(row) = self.row(occupant) {
                running.push(read_node(occupant, &row)?.code_digest);
            }
        }
        let Ok(attested) = self.appraise(node.node_id, shown, &running) else {
            return Ok(JoinReply::OtherCode);
        };
        let mut occupants = [voter, learner].into_iter().flatten();
        if let Some(other) = occupants.clone().find(|node| self.answers(*node)) {
            return Ok(JoinReply::Later(JoinRefusal::Occupied(other)));
        }
        // A new primary does not know yet whether they answer.
        if !occupants.all(|node| self.is_silent(node)) || !self.can_admit() {
            return Ok(JoinReply::Later(JoinRefusal::Changing));
        }
        let now = self.engine.configuration();
        let mut learners = now.learners.clone();
        learners.retain(|other| Some(*other) != learner);
        learners.push(node.node_id);
        let next = now.step_to(now.voters.clone(), learners);
        if next.is_joint() || !now.may_become(&next) {
            return Ok(JoinReply::Later(JoinRefusal::Changing));
        }
        let mut writes = WriteSet::new();
        // A node that members trust keeps that until it, or one in its seat, has a vote.
        if let Some(gone) = learner
            && !(voter.is_none() && gone == *seat)
        {
            self.retire(&mut writes, gone)?;
            self.nodes_changed = true;
        }
        self.put_newcomer(&mut writes, &as_attested(node, &attested), *seat)?;
        self.put_shown(&mut writes, shown, &attested);
        self.propose_configuration(writes, next)?;
        Ok(JoinReply::Admitted)
    }

    /// What is said to a node that takes part in nothing and shall not come as it is.
    fn farewell(&self, node: NodeId, seat: NodeId) -> Result<Option<JoinReply>, MembershipError> {
        if self.engine.configuration().contains(node) {
            return Ok(None);
        }
        if self.is_quarantined(seat)? {
            return Ok(Some(JoinReply::Quarantined));
        }
        // Of one that members removed while it was quarantined nothing is left but its lease.
        let is_retired = self.status(node)? == Some(NodeStatus::Retired)
            || node == seat && self.has_lease_ended(seat);
        Ok(is_retired.then_some(JoinReply::Retired))
    }

    /// Writes down a node that comes. One that members trust stays what it is, also when another was in its seat meanwhile: its
    /// disk was lost, and it begins once more.
    fn put_newcomer(
        &self,
        writes: &mut WriteSet,
        node: &GenesisNode,
        seat: NodeId,
    ) -> Result<(), StepError> {
        if node.node_id == seat && self.trusted_newcomer(seat)?.is_some() {
            put_endorsed_certificate(writes, seat, &node.certificate_pem);
        } else {
            put_pending_node(writes, node, seat);
        }
        Ok(())
    }

    /// A node that members trust, and that is not in the configuration, comes for its place; or another does in its seat,
    /// since its process started again before it had one.
    fn admit_newcomer(
        &mut self,
        node: &GenesisNode,
        seat: NodeId,
        shown: &ShownEvidence,
    ) -> Result<JoinReply, StepError> {
        let Some(row) = self.trusted_newcomer(seat)? else { return Ok(JoinReply::NoSuchSeat) };
        // It may have been admitted when the node introduced itself, and not any more; and where members admit none any more, it is
        // the code that they trusted the node with.
        let Ok(attested) = self.appraise(node.node_id, shown, &[row.code_digest]) else {
            return Ok(JoinReply::OtherCode);
        };
        let now = self.engine.configuration();
        let mut learners = now.learners.clone();
        learners.push(node.node_id);
        let next = now.step_to(now.voters.clone(), learners);
        if !self.can_admit() || !now.may_become(&next) {
            return Ok(JoinReply::Later(JoinRefusal::Changing));
        }
        let mut writes = WriteSet::new();
        self.put_newcomer(&mut writes, &as_attested(node, &attested), seat)?;
        self.put_shown(&mut writes, shown, &attested);
        self.propose_configuration(writes, next)?;
        Ok(JoinReply::Admitted)
    }

    /// Writes down that a node went on from its own disk.
    fn note_resumed(
        &mut self,
        node: NodeId,
        resumed: Option<TxId>,
    ) -> Result<JoinReply, StepError> {
        let Some(from) = resumed else { return Ok(JoinReply::Admitted) };
        let Some(id) = self.next_tx_id() else {
            return Ok(JoinReply::Later(JoinRefusal::Changing));
        };
        let mut writes = WriteSet::new();
        put_resumed(&mut writes, node, from);
        self.write_down(id, &writes)?;
        Ok(JoinReply::Admitted)
    }

    /// Makes an entry of what the network says of its nodes.
    pub(crate) fn write_down(&mut self, id: TxId, writes: &WriteSet) -> Result<(), StepError> {
        self.core.store.apply(id.seqno, writes).expect("the next version, and few maps");
        self.propose(id, writes, &Digest::ZERO, AppendKind::PLAIN)
    }

    /// The next step of a change that is under way, if it can be done now.
    pub(crate) fn advance_membership(&mut self) -> Result<(), StepError> {
        let now = self.engine.configuration().clone();
        if self.engine.role() != Role::Primary
            || (!now.is_joint()
                && now.learners.is_empty()
                && !self.nodes_changed
                && !self.core.has_unsaid_configuration())
            || !self.can_reconfigure()
        {
            return Ok(());
        }
        if now.is_joint() {
            return self.leave(&now);
        }
        if self.core.has_unsaid_configuration() {
            return self.say_in_effect();
        }
        let mut ready = Vec::new();
        for learner in now.learners.clone() {
            let Some(row) = self.row(learner) else { continue };
            let found = read_node(learner, &row)?;
            let voter = self.occupants(found.seat)?.voter;
            if voter.is_some_and(|voter| self.is_there_again(voter)) {
                return self.dismiss(learner);
            }
            if !self.has_caught_up(learner) {
                continue;
            }
            match voter {
                // Members removed it: it leaves, and so does whoever comes in its seat.
                Some(voter) if self.status(voter)? == Some(NodeStatus::Retired) => {}
                Some(voter) if self.is_silent(voter) => return self.swap(voter, learner),
                // What was heard of it may have been on its way for long.
                Some(_) => {}
                None if self.is_to_vote(&found)? => {
                    ready.push(Ready { node: learner, seat: found.seat });
                }
                None => {}
            }
        }
        let is_idle = self
            .idle_after
            .as_ref()
            .is_some_and(|(configuration, known)| *configuration == now && *known == ready);
        if self.nodes_changed || !(ready.is_empty() || is_idle) {
            self.follow_members(&ready)
        } else {
            Ok(())
        }
    }

    /// Whether members trust a learner that has this row, or the node in whose seat it comes, and not to listen only.
    fn is_to_vote(&self, learner: &NodeRow) -> Result<bool, StepError> {
        let trusted = match learner.status {
            NodeStatus::Trusted => Some(learner.clone()),
            NodeStatus::Pending | NodeStatus::Retired => self.trusted_newcomer(learner.seat)?,
        };
        Ok(trusted.is_some_and(|row| !row.learner))
    }

    /// Learners that wait in a seat that is none any more; none of them is known to the ledger, or has been trusted.
    fn stranded(&self, gone: &[NodeId]) -> Result<Vec<NodeId>, StepError> {
        let mut stranded = Vec::new();
        for learner in &self.engine.configuration().learners {
            let is_stranded = match self.row(*learner) {
                None => true,
                Some(row) => {
                    let NodeRow { seat, status, .. } = read_node(*learner, &row)?;
                    let voter = self.occupants(seat)?.voter;
                    status == NodeStatus::Pending
                        && voter.is_none_or(|voter| gone.contains(&voter))
                        && self.trusted_newcomer(seat)?.is_none()
                }
            };
            if is_stranded {
                stranded.push(*learner);
            }
        }
        Ok(stranded)
    }

    /// The next step towards what members decided of nodes: those that are ready vote, and who is retired or replaced leaves,
    /// in one step. What cannot be done now stays asked for; where too few would be left that answer, those that are ready
    /// vote meanwhile.
    fn follow_members(&mut self, ready: &[Ready]) -> Result<(), StepError> {
        let now = self.engine.configuration().clone();
        let rows = self.all_rows()?;
        let (mut gone, mut is_unsaid) = (Vec::new(), false);
        for (node, row) in &rows {
            match row.status {
                NodeStatus::Retired if now.contains(*node) => gone.push(*node),
                NodeStatus::Retired => is_unsaid |= !row.retired_committed,
                NodeStatus::Trusted | NodeStatus::Pending => {}
            }
        }
        if is_unsaid {
            return self.say_in_effect();
        }
        if coco_planted::is(Bug::KeepRemoved) {
            gone.clear();
        }
        let comes_back =
            rows.iter().filter(|(node, row)| !row.learner && self.is_pending_again(*node, row));
        let quarantined: Vec<NodeId> = comes_back.map(|(node, _)| *node).collect();
        let Replacements { replaced, seats, waiting } =
            Replacements::of(&rows, &now, ready, &quarantined);
        let free = ready.iter().copied().filter(|ready| !waiting.contains(&ready.seat));
        let (mut together, alone): (Vec<Ready>, Vec<Ready>) =
            free.partition(|ready| seats.contains(&ready.seat));
        let stranded = self.stranded(&[&*gone, &*replaced].concat())?;
        let removed = [&*gone, &*stranded].concat();
        let out = [&*removed, &*replaced].concat();
        let comes_together: Vec<NodeId> = together.iter().map(|ready| ready.node).collect();
        together.extend(&alone);
        let whole = towards(&now, &out, &together);
        if whole == now {
            if !replaced.is_empty() {
                return self.retire_absent(&replaced);
            }
            self.nodes_changed = false;
            self.idle_after = Some((now, ready.to_vec()));
            return Ok(());
        }
        let me = self.me();
        let can = |next: &Configuration| {
            // Another primary lets this node go, but in a joint change, which the one ends that leads after it.
            let is_mine = now.voters.contains(&me) && !next.voters.contains(&me);
            *next != now
                && now.may_become(next)
                && next.majority(|node| self.answers(node))
                && (!is_mine || next.is_joint())
        };
        let retired = [&*stranded, &*replaced].concat();
        if comes_together.iter().all(|node| whole.voters.contains(node)) && can(&whole) {
            return self.take_step(whole, &together, &retired);
        }
        for (out, retired) in [(&*removed, &*stranded), (&[], &[])] {
            let next = towards(&now, out, &alone);
            if can(&next) {
                return self.take_step(next, &alone, retired);
            }
        }
        if out.contains(&me) {
            self.hand_over(|other| !out.contains(&other));
        }
        Ok(())
    }

    /// Hands over to the voter that is furthest of those that answer and may lead, if there is one. A transfer under way is not begun
    /// again, and whoever wanted one that fails tries it again.
    pub(crate) fn hand_over(&mut self, may_lead: impl Fn(NodeId) -> bool) {
        if let Some(next) = self.successor(may_lead) {
            let _under_way: Result<(), TransferError> = self.engine.transfer_to(next);
        }
    }

    /// Retires nodes that make room and have not come themselves.
    fn retire_absent(&mut self, nodes: &[NodeId]) -> Result<(), StepError> {
        let Some(id) = self.next_tx_id() else { return Ok(()) };
        let mut writes = WriteSet::new();
        for node in nodes {
            self.retire(&mut writes, *node)?;
        }
        self.write_down(id, &writes)
    }

    /// Goes over to the next configuration. Those that are ready and vote in it are trusted from now on, and those are retired
    /// whose seats they have, and those in `retired`.
    fn take_step(
        &mut self,
        next: Configuration,
        ready: &[Ready],
        retired: &[NodeId],
    ) -> Result<(), StepError> {
        let mut writes = WriteSet::new();
        for node in retired {
            self.retire(&mut writes, *node)?;
        }
        // Who listened in a seat that is none any more may be left.
        self.nodes_changed = true;
        for Ready { node, seat } in ready.iter().filter(|ready| next.voters.contains(&ready.node)) {
            if node != seat {
                self.succeed(&mut writes, *node, *seat)?;
            }
        }
        self.propose_configuration(writes, next)
    }

    /// Writes down that the newest configuration is in effect, and that nobody needs those any more who are retired and not in it.
    fn say_in_effect(&mut self) -> Result<(), StepError> {
        let Some(id) = self.next_tx_id() else { return Ok(()) };
        let mut writes = WriteSet::new();
        let newest = self.core.newest_configuration_at();
        if let Some(newest) = newest {
            put_in_effect(&mut writes, newest);
        }
        let rows = self.all_rows()?;
        for (node, NodeRow { status, retired_committed, seat, .. }) in &rows {
            let is_gone = *status == NodeStatus::Retired
                && !retired_committed
                && !self.engine.configuration().contains(*node);
            let Some(row) = self.row(*node).filter(|_| is_gone) else { continue };
            put_retired_committed(&mut writes, *node, &row)?;
            let mut of_seat = rows.iter().filter(|(_, row)| row.seat == *seat);
            // A node that came in the seat may have left, and the one that members removed be about to.
            if of_seat.all(|(_, row)| row.status == NodeStatus::Retired)
                && self.is_away(*seat, &rows)
            {
                self.end_lease(&mut writes, *seat);
            }
        }
        self.write_down(id, &writes)?;
        if let Some(newest) = newest {
            self.core.note_in_effect(id.seqno, newest);
        }
        Ok(())
    }

    /// What the ledger says of all nodes that ever were.
    pub(crate) fn all_rows(&self) -> Result<Vec<(NodeId, NodeRow)>, MembershipError> {
        let head = self.core.store.reader().head();
        let Some(map) = head.map(&MapName::from_static(NODES_MAP)) else { return Ok(Vec::new()) };
        let rows = head.range(map, &[], None, usize::MAX);
        // A key that is no id is no node: a constitution may have written it.
        let rows = rows.into_iter().filter_map(|(key, row)| {
            let node: NodeId = str::from_utf8(&key).ok()?.parse().ok()?;
            Some(read_node(node, &row).map(|row| (node, row)))
        });
        rows.collect()
    }

    /// Lets a learner go whose seat another node has.
    fn dismiss(&mut self, learner: NodeId) -> Result<(), StepError> {
        let now = self.engine.configuration();
        let learners = now.learners.iter().copied().filter(|node| *node != learner).collect();
        let next = now.step_to(now.voters.clone(), learners);
        let mut writes = WriteSet::new();
        self.retire(&mut writes, learner)?;
        // Once that is committed, an entry says that nobody needs it.
        self.nodes_changed = true;
        self.propose_configuration(writes, next)
    }

    fn swap(&mut self, voter: NodeId, learner: NodeId) -> Result<(), StepError> {
        let now = self.engine.configuration();
        let other = |node: &NodeId| *node != voter && *node != learner;
        let mut voters: Vec<NodeId> = now.voters.iter().copied().filter(other).collect();
        voters.push(learner);
        let learners = now.learners.iter().copied().filter(other).collect();
        let next = now.step_to(voters, learners);
        let mut writes = WriteSet::new();
        self.succeed(&mut writes, learner, voter)?;
        self.propose_configuration(writes, next)
    }

    fn leave(&mut self, now: &Configuration) -> Result<(), StepError> {
        if !now.voters.contains(&self.me()) {
            // Whoever leads after the change ends it.
            self.hand_over(|_| true);
            return Ok(());
        }
        let next = now.step_to(now.voters.clone(), now.learners.clone());
        self.propose_configuration(WriteSet::new(), next)
    }

    /// A node takes over the seat of another: it is trusted as that was, which is retired.
    fn succeed(
        &self,
        writes: &mut WriteSet,
        node: NodeId,
        before: NodeId,
    ) -> Result<(), MembershipError> {
        let Some(row) = self.row(node) else { return Ok(()) };
        match self.row(before) {
            Some(before) => put_successor(writes, node, &row, &before)?,
            None => put_status(writes, node, &row, NodeStatus::Trusted)?,
        }
        self.retire(writes, before)
    }

    pub(crate) fn retire(
        &self,
        writes: &mut WriteSet,
        node: NodeId,
    ) -> Result<(), MembershipError> {
        let Some(row) = self.row(node) else { return Ok(()) };
        put_status(writes, node, &row, NodeStatus::Retired)
    }

    pub(crate) fn propose_configuration(
        &mut self,
        mut writes: WriteSet,
        next: Configuration,
    ) -> Result<(), StepError> {
        let Some(id) = self.next_tx_id() else { return Ok(()) };
        to_row(&next).put(&mut writes);
        self.write_down(id, &writes)?;
        self.core.note_configuration(id.seqno, next.clone());
        self.engine.reconfigure(id.seqno, next);
        Ok(())
    }

    fn can_reconfigure(&self) -> bool {
        self.next_tx_id().is_some() && self.engine.can_reconfigure()
    }

    /// Whether a learner may be added: not during a change, and not before an entry says that the last one is in effect. Only
    /// the newest few configurations are remembered, so nobody would say it afterwards.
    pub(crate) fn can_admit(&self) -> bool {
        !self.engine.configuration().is_joint()
            && !self.core.has_unsaid_configuration()
            && self.can_reconfigure()
    }

    pub(crate) fn me(&self) -> NodeId {
        self.signer.node_id()
    }

    /// What the ledger says of the nodes of the configuration in effect.
    ///
    /// # Errors
    /// [`MembershipError`] when a row cannot be read.
    pub fn node_rows(&self) -> Result<Vec<(NodeId, NodeRow)>, MembershipError> {
        let nodes = self.engine.configuration().nodes();
        let rows = nodes.filter_map(|node| Some((node, self.row(node)?)));
        rows.map(|(node, row)| Ok((node, read_node(node, &row)?))).collect()
    }

    /// Whether this node has its place in the configuration in effect: it votes, or members want it to listen for good.
    ///
    /// # Errors
    /// [`StepError::Membership`] when a row cannot be read.
    pub fn is_settled(&self) -> Result<bool, StepError> {
        let (now, me) = (self.engine.configuration(), self.me());
        if !now.learners.contains(&me) {
            return Ok(now.votes(me));
        }
        let row = self.row(me).map(|row| read_node(me, &row)).transpose()?;
        let trusted = self.trusted_newcomer(row.map_or(me, |row| row.seat))?;
        Ok(trusted.is_some_and(|row| row.learner))
    }

    /// The other voter that is furthest, of those that answer and may lead; none on a backup.
    #[must_use]
    pub fn successor(&self, may_lead: impl Fn(NodeId) -> bool) -> Option<NodeId> {
        let voters = &self.engine.configuration().voters;
        let is_next = |other: &Progress| {
            other.active
                && other.node != self.me()
                && voters.contains(&other.node)
                && may_lead(other.node)
        };
        let others = self.engine.progress().into_iter().filter(is_next);
        others.max_by_key(|other| other.matched).map(|next| next.node)
    }

    /// How far a node of the configuration has come; none on a backup.
    fn progress_of(&self, node: NodeId) -> Option<Progress> {
        self.engine.progress().into_iter().find(|other| other.node == node)
    }

    /// Whether a node was heard of lately; this one always is.
    pub(crate) fn answers(&self, node: NodeId) -> bool {
        node == self.me() || self.progress_of(node).is_some_and(|other| other.active)
    }

    /// Whether a node was away when its seat was asked for, and has the entry that admitted the other by now; or is primary.
    fn is_there_again(&self, node: NodeId) -> bool {
        let Some(admitted) = self.core.newest_configuration_at() else { return false };
        let has = |other: Progress| other.active && other.matched >= admitted;
        node == self.me() || self.progress_of(node).is_some_and(has)
    }

    /// Whether a node had the time to be heard of, and was not.
    fn is_silent(&self, node: NodeId) -> bool {
        self.progress_of(node).is_some_and(|other| other.silent)
    }

    fn has_caught_up(&self, node: NodeId) -> bool {
        let committed: Seqno = self.engine.committed();
        self.progress_of(node).is_some_and(|other| other.active && other.matched >= committed)
    }

    fn occupants(&self, seat: NodeId) -> Result<Occupants, MembershipError> {
        let configuration = self.engine.configuration();
        let mut occupants = Occupants::default();
        for node in configuration.nodes() {
            let found = match self.row(node) {
                Some(row) => read_node(node, &row)?.seat,
                None => node,
            };
            if found != seat {
                continue;
            }
            if configuration.voters.contains(&node) {
                occupants.voter = Some(node);
            } else if configuration.learners.contains(&node) {
                occupants.learner = Some(node);
            }
        }
        Ok(occupants)
    }

    /// Whether a node is in the configuration in effect, or in one that is about to be.
    pub(crate) fn has_place(&self, node: NodeId) -> bool {
        self.engine.configuration().contains(node)
            || self.core.newest_configuration().is_some_and(|next| next.contains(node))
    }

    fn status(&self, node: NodeId) -> Result<Option<NodeStatus>, MembershipError> {
        self.row(node).map(|row| read_node(node, &row).map(|row| row.status)).transpose()
    }

    /// What the ledger says of a node.
    pub(crate) fn row(&self, node: NodeId) -> Option<coco_kv::Value> {
        self.newest(NODES_MAP, node.to_string().as_bytes())
    }

    /// What the ledger says of a node, and which entry does.
    pub(crate) fn row_and_entry(&self, node: NodeId) -> Option<(coco_kv::Value, Seqno)> {
        let head = self.core.store.reader().head();
        let (map, key) = (head.map(&MapName::from_static(NODES_MAP))?, node.to_string());
        Some((head.get(map, key.as_bytes())?, head.written(map, key.as_bytes())?))
    }
}
