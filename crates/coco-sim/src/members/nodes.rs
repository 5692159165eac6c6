//! What must hold of nodes that come and go: each change of a row was decided by members or is a node's successor in its seat,
//! and each configuration is the next step to what the rows say.

use std::collections::BTreeSet;

use coco_consensus::Configuration;
use coco_ledger::{NodeRow, NodeStatus};
use coco_types::{NodeId, Seqno};

use crate::roster::{Changed, Roster};

/// What members decided of nodes in one entry.
#[derive(Debug, Default)]
pub(super) struct Decided {
    pub(super) trusted: BTreeSet<NodeId>,
    pub(super) removed: BTreeSet<NodeId>,
}

impl Decided {
    /// Judges what an entry changed, given the tables after it.
    ///
    /// # Panics
    /// When nobody decided that.
    pub(super) fn judge(&self, roster: &Roster, changed: &Changed, at: Seqno) {
        for (node, before, after) in &changed.rows {
            let is_right = self.allows(roster, *node, before.as_ref(), after.as_ref(), changed);
            assert!(is_right, "{node} becomes {after:?} after {before:?}, at {at}");
        }
        if let Some((before, after)) = &changed.configuration {
            assert!(before.may_become(after), "{after:?} follows {before:?}, at {at}");
            check(roster, before, after, at);
        }
    }

    fn allows(
        &self,
        roster: &Roster,
        node: NodeId,
        before: Option<&NodeRow>,
        after: Option<&NodeRow>,
        changed: &Changed,
    ) -> bool {
        use NodeStatus::{Pending, Retired, Trusted};
        let status = |row: Option<&NodeRow>| row.map(|row| row.status);
        let moves = changed.configuration.is_some();
        // In the same entry the trust in a seat passes from one node to another.
        let passes = |seat: NodeId, from: NodeStatus, to: NodeStatus| {
            let is_other = |(other, before, after): &(NodeId, Option<NodeRow>, Option<NodeRow>)| {
                *other != node
                    && roster.seat(*other) == seat
                    && status(before.as_ref()) == Some(from)
                    && status(after.as_ref()) == Some(to)
            };
            moves && changed.rows.iter().any(is_other)
        };
        match (status(before), status(after)) {
            (None, Some(Pending)) => roster.seat(node) == node || moves,
            (None | Some(Pending), Some(Trusted)) => {
                self.trusted.contains(&node) || passes(roster.seat(node), Trusted, Retired)
            }
            (Some(Pending), None) => self.removed.contains(&node),
            (Some(Pending | Trusted), Some(Retired)) => moves || self.removed.contains(&node),
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
    }
    for node in before.voters.iter().filter(|node| !after.voters.contains(node)) {
        assert_eq!(status(node), Some(NodeStatus::Retired), "{node} votes no more from {at} on");
    }
    for node in after.learners.iter().filter(|node| !before.learners.contains(node)) {
        assert!(status(node).is_some(), "nobody knows {node}, which listens from {at} on");
    }
    let seats: BTreeSet<NodeId> = after.voters.iter().map(|node| roster.seat(*node)).collect();
    assert_eq!(seats.len(), after.voters.len(), "a seat has two votes from {at} on");
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
    }
    for (node, row) in roster.all(NodeStatus::Trusted) {
        let votes = now.voters.contains(&node);
        assert!(votes || may_stay_away(row.seat), "{node} is trusted and does not vote in the end");
    }
}
