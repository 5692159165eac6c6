//! Nodes that do not show in time what they run are quarantined.
//!
//! Where members want that (`node_lease_s`), each seat has a lease. Its node says again and again what it runs, over the channel that
//! proves its key, and the primary writes down that the lease begins anew, if members admit that code. One whose lease is over
//! is let go in these steps:
//!
//! 1. its lease has ended, and the configuration is without it: one entry;
//! 2. once that is in effect, its seat is pending again, as before members trusted it;
//! 3. the ledger gets another secret, which is not encrypted to it (`governing.rs`), as after a node was removed.
//!
//! It takes part in nothing then, and is told so when it asks. To come back it needs no vote: its operator has it introduce itself
//! again, with evidence, and it gets the secrets and asks for its seat like any other node. Who was away meanwhile learns of it from others
//! (`hearsay.rs`).
//!
//! The time is the ledger's. A clock that jumps may end all leases at once, so a primary lets nobody go before it has seen a lease
//! as over for [`LEASE_GRACE_MS`]: whoever runs shows itself meanwhile. A primary that could not renew its own lease for that long lets
//! nobody go, and hands over when it is over; where all nodes run code that members do not admit any more, they stay what they are.

use std::collections::{BTreeMap, BTreeSet};

use coco_consensus::Configuration;
use coco_governance::{
    LeaseRow,
    tables::{ConfigurationRow, NODES_LEASES, SERVICE_CONFIG},
};
use coco_kv::{MapName, WriteSet};
use coco_ledger::{
    MembershipError, NodeRow, NodeStatus, put_let_in_again, put_quarantined, put_status,
    singleton_key,
};
use coco_types::{NodeId, Role};

use crate::{
    attestations::{ShownEvidence, as_attested},
    introductions::{Introduction, IntroductionReply},
    replacements::towards,
    replica::{Replica, StepError},
};

/// How often a primary looks at the leases, in milliseconds.
pub const LEASE_LOOK_MS: u64 = 2_000;
/// For how long a primary has seen that a lease is over before it lets the node go, in milliseconds. Nodes whose lease is to be
/// renewed ask several times meanwhile.
pub const LEASE_GRACE_MS: u64 = 10_000;

/// What a primary has seen of leases.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    /// When they are looked at again, by the monotonic clock.
    next_look_ms: u64,
    /// Seats whose lease is over, and since when this node has seen that.
    over_since: BTreeMap<NodeId, u64>,
    /// Since when this node's own lease is to be renewed, and is not.
    own_due_since: Option<u64>,
}

impl Leases {
    fn forget(&mut self) {
        *self = Self { next_look_ms: self.next_look_ms, ..Self::default() };
    }

    /// Those seats of which the lease is over that have been so for long enough.
    fn late(&mut self, over: BTreeSet<NodeId>, now_ms: u64) -> Vec<NodeId> {
        self.over_since.retain(|seat, _| over.contains(seat));
        for seat in over {
            self.over_since.entry(seat).or_insert(now_ms);
        }
        let is_late = |since: u64| now_ms - since >= LEASE_GRACE_MS;
        let late = self.over_since.iter().filter(|(_, since)| is_late(**since));
        late.map(|(seat, _)| *seat).collect()
    }

    /// Whether this node's own lease is to be renewed, and has been for so long that this node cannot do it.
    fn is_overdue(&mut self, is_due: bool, now_ms: u64) -> bool {
        self.own_due_since = is_due.then(|| self.own_due_since.unwrap_or(now_ms));
        self.own_due_since.is_some_and(|since| now_ms - since >= LEASE_GRACE_MS)
    }
}

impl Replica {
    /// Begins, ends and follows up leases, if this node is primary and it is time.
    pub(crate) fn look_at_leases(&mut self) -> Result<(), StepError> {
        if self.engine.role() != Role::Primary {
            self.leases.forget();
            return Ok(());
        }
        let now_ms = self.now_mono_ms();
        if now_ms < self.leases.next_look_ms {
            return Ok(());
        }
        self.leases.next_look_ms = now_ms + LEASE_LOOK_MS;
        if self.next_tx_id().is_none() || (self.can_admit() && self.settle_quarantined()?) {
            return Ok(());
        }
        let Some(lease_s) = self.lease_s() else {
            self.leases.forget();
            return Ok(());
        };
        let (now_s, rows) = (self.block_time_ms() / 1000, self.all_rows()?);
        let (mut begin, mut over) = (BTreeSet::new(), BTreeSet::new());
        for (seat, has_place) in self.believed_seats(&rows) {
            match self.lease_of(seat) {
                Some(lease) if lease.ended_at.is_some() => {}
                Some(lease) if lease.is_over(lease_s, now_s) => drop(over.insert(seat)),
                Some(lease) if !lease.is_ahead(now_s) => {}
                // One that has not come yet shows itself when it does.
                None if !has_place => {}
                Some(_) | None => drop(begin.insert(seat)),
            }
        }
        if !begin.is_empty() {
            return self.begin_leases(begin, now_s);
        }
        let late = self.leases.late(over, now_ms);
        let mine = rows.iter().find(|(node, _)| *node == self.me()).map(|(_, row)| row.seat);
        let is_mine_due = mine
            .filter(|seat| !late.contains(seat))
            .and_then(|seat| self.lease_of(seat))
            .is_some_and(|lease| lease.is_to_renew(lease_s, now_s));
        let cannot_show = self.leases.is_overdue(is_mine_due, now_ms);
        if late.is_empty() || cannot_show || !self.can_admit() {
            return Ok(());
        }
        self.quarantine(&late, &rows)
    }

    /// The seats whose node members trust, and whether one of that seat takes part. A node that was removed leaves without its lease.
    fn believed_seats(&self, rows: &[(NodeId, NodeRow)]) -> BTreeMap<NodeId, bool> {
        let mut seats: BTreeMap<_, _> = trusted_seats(rows).map(|seat| (seat, false)).collect();
        for (node, row) in rows {
            if let Some(has_place) = seats.get_mut(&row.seat) {
                *has_place |= self.engine.configuration().contains(*node);
            }
        }
        seats
    }

    /// For how long members believe a node, in seconds; nothing for ever.
    fn lease_s(&self) -> Option<u64> {
        let row = self.newest(SERVICE_CONFIG, singleton_key())?;
        serde_json::from_slice::<ConfigurationRow>(&row).ok()?.lease_s()
    }

    /// The lease of a seat. A row that a constitution has spoilt is none.
    fn lease_of(&self, seat: NodeId) -> Option<LeaseRow> {
        LeaseRow::read(&self.newest(NODES_LEASES, seat.to_string().as_bytes())?)
    }

    /// Whether the lease of a seat has ended: it is quarantined, or about to be, or was removed.
    pub(crate) fn has_lease_ended(&self, seat: NodeId) -> bool {
        self.lease_of(seat).is_some_and(|lease| lease.ended_at.is_some())
    }

    /// Whether a seat is quarantined, or about to be: it comes back without a vote.
    pub(crate) fn is_quarantined(&self, seat: NodeId) -> Result<bool, MembershipError> {
        let is_there =
            |(_, row): &(NodeId, NodeRow)| row.seat == seat && row.status != NodeStatus::Retired;
        Ok(self.has_lease_ended(seat) && self.all_rows()?.iter().any(is_there))
    }

    /// Whether a node with this row is pending again, and comes back without a vote.
    pub(crate) fn is_pending_again(&self, node: NodeId, row: &NodeRow) -> bool {
        row.status == NodeStatus::Pending && row.seat == node && self.has_lease_ended(node)
    }

    /// Whether nobody of a seat has a place.
    pub(crate) fn is_away(&self, seat: NodeId, rows: &[(NodeId, NodeRow)]) -> bool {
        !rows.iter().any(|(node, row)| row.seat == seat && self.has_place(*node))
    }

    /// Writes that the lease of a seat has ended now.
    pub(crate) fn end_lease(&self, writes: &mut WriteSet, seat: NodeId) {
        let now_s = self.block_time_ms() / 1000;
        let lease = self.lease_of(seat).unwrap_or(LeaseRow::new(now_s));
        put(writes, seat, lease.ended(now_s, self.core.state.read().secrets.newest().from));
    }

    fn begin_leases(&mut self, seats: BTreeSet<NodeId>, now_s: u64) -> Result<(), StepError> {
        let Some(id) = self.next_tx_id() else { return Ok(()) };
        let mut writes = WriteSet::new();
        seats.into_iter().for_each(|seat| put(&mut writes, seat, LeaseRow::new(now_s)));
        self.write_down(id, &writes)
    }

    /// Takes in what a node that has its seat runs.
    pub(crate) fn renew_lease(
        &mut self,
        seat: NodeId,
        node: NodeId,
        shown: &ShownEvidence,
    ) -> Result<(), StepError> {
        let Some(lease_s) = self.lease_s() else { return Ok(()) };
        let now_s = self.block_time_ms() / 1000;
        let is_due = self.lease_of(seat).is_some_and(|lease| lease.is_to_renew(lease_s, now_s));
        if !is_due || !trusted_seats(&self.all_rows()?).any(|trusted| trusted == seat) {
            return Ok(());
        }
        let (Ok(attested), Some(id)) = (self.appraise(node, shown, &[]), self.next_tx_id()) else {
            return Ok(());
        };
        let mut writes = WriteSet::new();
        put(&mut writes, seat, LeaseRow::new(now_s));
        self.put_shown(&mut writes, shown, &attested);
        self.write_down(id, &writes)
    }

    /// Lets the nodes of these seats go: all of them, or one after the other where too few would be left that answer.
    fn quarantine(
        &mut self,
        seats: &[NodeId],
        rows: &[(NodeId, NodeRow)],
    ) -> Result<(), StepError> {
        let now = self.engine.configuration().clone();
        let of = |seats: &[NodeId]| -> Vec<NodeId> {
            let of_them =
                rows.iter().filter(|(node, row)| seats.contains(&row.seat) && now.contains(*node));
            of_them.map(|(node, _)| *node).collect()
        };
        let out = of(seats);
        if out.contains(&self.me()) {
            self.hand_over(|other| !out.contains(&other));
            return Ok(());
        }
        let without = |out: &[NodeId]| -> Option<Configuration> {
            let next = towards(&now, out, &[]);
            let can = now.may_become(&next) && next.majority(|node| self.answers(node));
            can.then_some(next)
        };
        let all = without(&out).map(|next| (seats.to_vec(), next));
        let alone = |seat: &NodeId| {
            let out = Some(of(&[*seat])).filter(|out| !out.is_empty())?;
            Some((vec![*seat], without(&out)?))
        };
        let one = || seats.iter().find_map(alone);
        let mut writes = WriteSet::new();
        // Those that were let in and never came have no place to lose.
        let (away, there): (Vec<NodeId>, Vec<NodeId>) =
            seats.iter().partition(|seat| of(&[**seat]).is_empty());
        away.iter().for_each(|seat| self.end_lease(&mut writes, *seat));
        if there.is_empty() {
            let Some(id) = self.next_tx_id() else { return Ok(()) };
            return self.write_down(id, &writes);
        }
        let Some((seats, next)) = all.or_else(one) else { return Ok(()) };
        seats.into_iter().for_each(|seat| self.end_lease(&mut writes, seat));
        self.propose_configuration(writes, next)
    }

    /// Makes seats pending whose lease has ended and who take part in nothing any more. Whether there was one.
    fn settle_quarantined(&mut self) -> Result<bool, StepError> {
        let head = self.core.store.reader().head();
        let Some(map) = head.map(&MapName::from_static(NODES_LEASES)) else { return Ok(false) };
        let leases = head.range(map, &[], None, usize::MAX).into_iter();
        let ended = leases.filter_map(|(key, row)| {
            LeaseRow::read(&row)?.ended_at?;
            str::from_utf8(&key).ok()?.parse::<NodeId>().ok()
        });
        let ended: Vec<NodeId> = ended.collect();
        if ended.is_empty() {
            return Ok(false);
        }
        let rows = self.all_rows()?;
        let mut writes = WriteSet::new();
        for seat in ended {
            if self.is_away(seat, &rows) {
                self.make_pending(&mut writes, seat, &rows)?;
            }
        }
        let Some(id) = self.next_tx_id().filter(|_| !writes.is_empty()) else { return Ok(false) };
        // Those that came in the seat are retired, and nobody needs them.
        self.nodes_changed = true;
        self.write_down(id, &writes).map(|()| true)
    }

    /// Writes that a seat is pending, and that those are retired who came in it.
    fn make_pending(
        &self,
        writes: &mut WriteSet,
        seat: NodeId,
        rows: &[(NodeId, NodeRow)],
    ) -> Result<(), StepError> {
        let of_seat = || rows.iter().filter(|(_, row)| row.seat == seat);
        let trusted = of_seat().find(|(_, row)| row.status == NodeStatus::Trusted);
        let Some((node, _)) = trusted else { return Ok(()) };
        for (other, row) in of_seat() {
            if *other != seat && row.status != NodeStatus::Retired {
                self.retire(writes, *other)?;
            }
        }
        if let (Some(row), Some(before)) = (self.row(seat), self.row(*node)) {
            if *node == seat {
                put_status(writes, seat, &row, NodeStatus::Pending)?;
            } else {
                put_quarantined(writes, seat, &row, &before)?;
            }
        }
        Ok(())
    }

    /// Lets a node in again that was quarantined, has this row, and has shown what it runs.
    pub(crate) fn let_in_again(
        &mut self,
        introduction: &Introduction,
        row: &[u8],
    ) -> Result<IntroductionReply, StepError> {
        let node = &introduction.node;
        let attested = match self.appraise(node.node_id, &introduction.shown, &[]) {
            Ok(attested) => attested,
            Err(reason) => return Ok(IntroductionReply::NotBelieved(Box::new(reason))),
        };
        let id = self.next_tx_id().filter(|_| self.has_room() && self.can_admit());
        let Some(id) = id else { return Ok(IntroductionReply::Later) };
        // Before its seat is pending, somebody else has it.
        if !self.is_away(node.node_id, &self.all_rows()?) {
            return Ok(IntroductionReply::Later);
        }
        let mut writes = WriteSet::new();
        put_let_in_again(&mut writes, &as_attested(node, &attested), row)?;
        self.put_shown(&mut writes, &introduction.shown, &attested);
        put(&mut writes, node.node_id, LeaseRow::new(self.block_time_ms() / 1000));
        self.write_down(id, &writes)?;
        Ok(IntroductionReply::Known { status: NodeStatus::Trusted, id })
    }
}

/// The seats of nodes that members trust.
fn trusted_seats(rows: &[(NodeId, NodeRow)]) -> impl Iterator<Item = NodeId> {
    rows.iter().filter(|(_, row)| row.status == NodeStatus::Trusted).map(|(_, row)| row.seat)
}

fn put(writes: &mut WriteSet, seat: NodeId, lease: LeaseRow) {
    let map = MapName::from_static(NODES_LEASES);
    writes.insert(&map, seat.to_string().as_bytes(), lease.encode());
}
