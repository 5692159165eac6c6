//! What must hold of nodes that come and go: each change of a row was decided by members or is a node's successor in its seat,
//! and each configuration is the next step to what the rows say.

use std::collections::{BTreeMap, BTreeSet};

use coco_consensus::Configuration;
use coco_ledger::{NodeRow, NodeStatus};
use coco_types::{NodeId, Seqno};

use super::{Does, leases};
use crate::roster::{Changed, Roster, RowChange};

/// What members decided of nodes in one entry.
#[derive(Debug, Default)]
pub(super) struct Decided {
    trusted: BTreeSet<NodeId>,
    removed: BTreeSet<NodeId>,
    listening: BTreeSet<NodeId>,
    promoted: BTreeSet<NodeId>,
    /// Who makes room, and for whom.
    replaced: BTreeMap<NodeId, BTreeSet<NodeId>>,
}

impl Decided {
    /// Takes what an accepted proposal does.
    pub(super) fn take(&mut self, does: &Does) {
        self.trusted.extend(&does.trusts);
        self.removed.extend(does.removes);
        self.listening.extend(does.listens);
        self.promoted.extend(does.promotes);
        if !does.replaces.is_empty() {
            self.promoted.extend(&does.trusts);
        }
        for node in &does.replaces {
            self.replaced.insert(*node, does.trusts.iter().copied().collect());
        }
    }

    /// Judges what an entry changed, given the tables after it.
    ///
    /// # Panics
    /// When nobody decided that.
    pub(super) fn judge(&self, roster: &Roster, changed: &Changed, at: Seqno) {
        for row in &changed.rows {
            let is_right =
                self.allows(roster, row, changed) && self.allows_said(roster, row, changed);
            let (node, before, after) = row;
            assert!(is_right, "{node} becomes {after:?} after {before:?}, at {at}");
        }
        if let Some((before, after)) = &changed.configuration {
            assert!(before.may_become(after), "{after:?} follows {before:?}, at {at}");
            check(roster, before, after, at);
            check_replaced(roster, changed, before, after, at);
        }
    }

    /// Whether what a row says of the node's part was said by members, or of the node that had the seat before.
    fn allows_said(&self, roster: &Roster, row: &RowChange, changed: &Changed) -> bool {
        let (node, before, Some(after)) = row else { return true };
        let had = before.as_ref().is_some_and(|row| row.learner);
        // Members may have named what it was before it started again.
        let same = |other: &NodeId| roster.seat(*other) == roster.seat(*node);
        let is_role_right = match (had, after.learner) {
            (false, true) => self.listening.iter().any(same),
            (true, false) => self.promoted.iter().any(same),
            (false, false) | (true, true) => true,
        };
        let had = before.as_ref().map(|row| row.successors.as_slice()).unwrap_or_default();
        let set = |seats: &[NodeId]| seats.iter().copied().collect::<BTreeSet<_>>();
        let is_left = |(other, _, row): &RowChange| {
            other != node
                && roster.seat(*other) == after.seat
                && row.as_ref().is_some_and(|row| {
                    row.status == NodeStatus::Retired && row.successors == after.successors
                })
        };
        let are_successors_right = had == after.successors
            || self.replaced.iter().any(|(of, by)| {
                let seats: BTreeSet<NodeId> = by.iter().map(|node| roster.seat(*node)).collect();
                same(of) && seats == set(&after.successors)
            })
            || changed.rows.iter().any(is_left);
        is_role_right && are_successors_right
    }

    fn allows(&self, roster: &Roster, row: &RowChange, changed: &Changed) -> bool {
        use NodeStatus::{Pending, Retired, Trusted};
        let (node, before, after) = row;
        let status = |row: &Option<NodeRow>| row.as_ref().map(|row| row.status);
        let seat = roster.seat(*node);
        let moves = changed.configuration.is_some();
        // Its lease has ended, and nobody in its seat takes part.
        let is_away = roster.has_lease_ended(seat) && !roster.takes_part(seat);
        // In the same entry the trust in a seat passes from one node to another.
        let passes = |from: NodeStatus, to: NodeStatus| {
            let is_other = |(other, before, after): &RowChange| {
                other != node
                    && roster.seat(*other) == seat
                    && status(before) == Some(from)
                    && status(after) == Some(to)
            };
            moves && changed.rows.iter().any(is_other)
        };
        match (status(before), status(after)) {
            (None, Some(Pending)) => seat == *node || moves,
            (None | Some(Pending), Some(Trusted)) => {
                let is_let_in_again = seat == *node && leases::begins_anew(changed, seat);
                is_let_in_again || self.trusted.contains(node) || passes(Trusted, Retired)
            }
            (Some(Trusted | Retired), Some(Pending)) => seat == *node && is_away,
            (Some(Pending), None) => self.removed.contains(node),
            (Some(Pending | Trusted), Some(Retired)) => {
                // It may never have come, and those vote for whom it makes room.
                moves
                    || is_away
                    || roster.have_successors_votes(before.as_ref())
                    || self.removed.iter().any(|other| roster.seat(*other) == seat)
            }
            (Some(Retired), Some(Retired)) | (None, None) => true,
            (before, after) => before == after,
        }
    }
}

/// Who gets a vote is trusted, who loses it is retired, who listens is known, and no seat has two votes.
fn check(roster: &Roster, before: &Configuration, after: &Configuration, at: Seqno) {
    let status = |node: &NodeId| roster.row(*node).map(|row| row.status);
    for node in after.voters.iter().filter(|node| !before.voters.contains(node)) {
        assert_eq!(status(node), Some(NodeStatus::Trusted), "{node} votes from {at} on");
        let listens = roster.row(roster.seat(*node)).is_some_and(|row| row.learner);
        assert!(!listens, "{node} is to listen and votes from {at} on");
    }
    let leaves = |node: &&NodeId| {
        !after.voters.contains(node) && !roster.has_lease_ended(roster.seat(**node))
    };
    for node in before.voters.iter().filter(leaves) {
        assert_eq!(status(node), Some(NodeStatus::Retired), "{node} votes no more from {at} on");
    }
    for node in after.learners.iter().filter(|node| !before.learners.contains(node)) {
        assert!(status(node).is_some(), "nobody knows {node}, which listens from {at} on");
    }
    let seats: BTreeSet<NodeId> = after.voters.iter().map(|node| roster.seat(*node)).collect();
    assert_eq!(seats.len(), after.voters.len(), "a seat has two votes from {at} on");
}

/// Nodes that make room for others leave in the step in which all of those vote whom members still trust, and none of them votes
/// before. One for which another makes room stays until then, and holds nobody up: two may make room for each other.
fn check_replaced(
    roster: &Roster,
    changed: &Changed,
    before: &Configuration,
    after: &Configuration,
    at: Seqno,
) {
    let new = |seat: NodeId| {
        let mut voters = after.voters.iter().filter(|node| !before.voters.contains(node));
        voters.any(|node| roster.seat(*node) == seat)
    };
    for node in &before.voters {
        // What the row said before this entry retired the node.
        let row = changed.rows.iter().find(|(other, ..)| other == node);
        let row = row.map_or_else(|| roster.row(*node), |(_, before, _)| before.as_ref());
        let Some(row) = row.filter(|row| row.status == NodeStatus::Trusted) else { continue };
        // Another process took its seat.
        if after.voters.iter().any(|other| other != node && roster.seat(*other) == row.seat) {
            continue;
        }
        if leases::ends(changed, row.seat) {
            continue;
        }
        if after.voters.contains(node) {
            let comes_early = roster.successors(Some(row)).find(|seat| new(*seat));
            let comes_early = comes_early.filter(|_| !roster.is_made_room_for(row.seat));
            assert_eq!(comes_early, None, "votes beside {node}, which it replaces, at {at}");
        } else {
            let is_replaced = roster.have_successors_votes(Some(row));
            assert!(is_replaced, "{node} leaves before those vote that replace it, at {at}");
        }
    }
}

/// In the end those vote whom members trust, but for nodes that `may_stay_away`, and nobody else.
///
/// # Panics
/// When it is otherwise.
pub(super) fn check_end(roster: &Roster, may_stay_away: impl Fn(NodeId) -> bool) {
    let now = roster.configuration();
    assert!(!now.is_joint(), "a change is not over: {now:?}");
    for node in &now.voters {
        let status = roster.row(*node).map(|row| row.status);
        assert_eq!(status, Some(NodeStatus::Trusted), "{node} votes in the end");
        assert!(!roster.is_replaced(*node), "{node} votes in the end beside those that replace it");
    }
    for (node, row) in roster.all(NodeStatus::Trusted) {
        let votes = now.voters.contains(&node)
            || row.learner && now.learners.iter().any(|learner| roster.seat(*learner) == row.seat);
        assert!(votes || may_stay_away(row.seat), "{node} is trusted and does not vote in the end");
    }
}
