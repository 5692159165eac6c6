//! Nodes that leave when others vote in their place, all in one step.
//!
//! Members name whom a node makes room for. As long as one of those is not ready, none of them votes and nobody leaves: so the
//! network goes from the one set of nodes to the other through a single joint configuration. Successors whom members
//! do not trust any more, or want to listen only, are not waited for, and a node that has none left stays.

use std::collections::BTreeSet;

use coco_consensus::Configuration;
use coco_ledger::{NodeRow, NodeStatus};
use coco_types::{NodeId, limits::NODES_MAX};

/// A learner that has everything that is committed and is to vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ready {
    pub(crate) node: NodeId,
    pub(crate) seat: NodeId,
}

/// What can be done now of what members said about successors.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Replacements {
    /// Who leaves with the next step: trusted nodes, whether they have come or not, and those that came again in their seats.
    pub(crate) replaced: Vec<NodeId>,
    /// The seats for which they leave.
    pub(crate) seats: Vec<NodeId>,
    /// Seats that get no vote yet, since others with which they come are not ready.
    pub(crate) waiting: Vec<NodeId>,
}

impl Replacements {
    /// As the rows of all nodes say. A node for which another makes room stays until it has taken that one's place.
    /// Seats that are `quarantined` and are to vote come back, and are waited for.
    pub(crate) fn of(
        rows: &[(NodeId, NodeRow)],
        now: &Configuration,
        ready: &[Ready],
        quarantined: &[NodeId],
    ) -> Self {
        let trusted = || rows.iter().filter(|(_, row)| row.status == NodeStatus::Trusted);
        let is_to_vote = |seat: NodeId| {
            quarantined.contains(&seat)
                || trusted().any(|(_, row)| row.seat == seat && !row.learner)
        };
        let votes = |seat: NodeId| {
            now.voters
                .iter()
                .any(|voter| trusted().any(|(id, row)| id == voter && row.seat == seat))
        };
        let is_ready = |seat: NodeId| ready.iter().any(|ready| ready.seat == seat);
        // Who leaves, and who comes in its place.
        let mut leave: Vec<(NodeId, Vec<NodeId>)> = Vec::new();
        let comes = |seat: &NodeId| trusted().any(|(_, row)| row.successors.contains(seat));
        for (node, row) in trusted().filter(|(_, row)| !comes(&row.seat)) {
            let successors = row.successors.iter().copied().filter(|seat| is_to_vote(*seat));
            let successors: Vec<NodeId> = successors.collect();
            if !successors.is_empty() {
                leave.push((*node, successors));
            }
        }
        let mut waiting = Vec::new();
        loop {
            let comes =
                |seat: &NodeId| votes(*seat) || (is_ready(*seat) && !waiting.contains(seat));
            let (complete, open): (Vec<_>, Vec<_>) =
                leave.iter().partition(|(_, seats)| seats.iter().all(comes));
            let held = open.iter().flat_map(|(_, seats)| seats).copied();
            let held: BTreeSet<NodeId> =
                held.filter(|seat| !votes(*seat) && !waiting.contains(seat)).collect();
            if held.is_empty() {
                let left: Vec<NodeId> = complete.iter().map(|(node, _)| *node).collect();
                let of_left = |seat: NodeId| {
                    rows.iter().any(|(node, row)| row.seat == seat && left.contains(node))
                };
                let leaves = |(node, row): &&(NodeId, NodeRow)| {
                    left.contains(node) || now.contains(*node) && of_left(row.seat)
                };
                let replaced = rows.iter().filter(leaves).map(|(node, _)| *node).collect();
                let seats = complete.iter().flat_map(|(_, seats)| seats).copied().collect();
                return Self { replaced, seats, waiting };
            }
            // Others may have counted on them. There are fewer that are not held each time.
            waiting.extend(held);
        }
    }
}

/// The next configuration: `out` have left, and those that are ready vote, the first first, as far as there is room for them.
pub(crate) fn towards(now: &Configuration, out: &[NodeId], ready: &[Ready]) -> Configuration {
    let stays = |node: &NodeId| !out.contains(node);
    let mut voters: Vec<NodeId> = now.voters.iter().copied().filter(stays).collect();
    let room = NODES_MAX.saturating_sub(voters.len());
    voters.extend(ready.iter().map(|ready| ready.node).filter(stays).take(room));
    let learners = now.learners.iter().copied();
    let learners = learners.filter(|node| stays(node) && !voters.contains(node)).collect();
    now.step_to(voters, learners)
}

#[cfg(test)]
mod tests {
    use coco_types::Digest;

    use super::*;

    const fn node(n: u8) -> NodeId {
        NodeId([n; 32])
    }

    fn nodes(numbers: &[u8]) -> Vec<NodeId> {
        numbers.iter().map(|n| node(*n)).collect()
    }

    fn row(n: u8, seat: u8, status: NodeStatus, successors: &[u8]) -> (NodeId, NodeRow) {
        let row = NodeRow {
            status,
            seat: node(seat),
            code_digest: Digest::ZERO,
            rpc_address: String::new(),
            peer_address: String::new(),
            encryption_key_pem: None,
            retired_committed: false,
            learner: false,
            successors: nodes(successors),
        };
        (node(n), row)
    }

    const fn ready(n: u8, seat: u8) -> Ready {
        Ready { node: node(n), seat: node(seat) }
    }

    fn voters(numbers: &[u8], learners: &[u8]) -> Configuration {
        Configuration { learners: nodes(learners), ..Configuration::of(nodes(numbers)) }
    }

    use NodeStatus::{Pending, Retired, Trusted};

    #[test]
    fn nobody_votes_or_leaves_before_all_that_come_together_are_ready() {
        let rows = [
            row(1, 1, Trusted, &[4, 5]),
            row(2, 2, Trusted, &[4, 5]),
            row(3, 3, Trusted, &[]),
            row(4, 4, Trusted, &[]),
            row(5, 5, Trusted, &[]),
            // The fifth started again before it had a vote.
            row(6, 5, Pending, &[]),
        ];
        let now = voters(&[1, 2, 3], &[4, 6]);
        let found = Replacements::of(&rows, &now, &[ready(4, 4)], &[]);
        assert_eq!(found, Replacements { waiting: nodes(&[4, 5]), ..Replacements::default() });
        let both = [ready(4, 4), ready(6, 5)];
        let found = Replacements::of(&rows, &now, &both, &[]);
        assert_eq!((&*found.replaced, &*found.waiting), (&*nodes(&[1, 2]), &[][..]));
        let next = towards(&now, &found.replaced, &both);
        assert_eq!((next.voters, next.outgoing), (nodes(&[3, 4, 6]), nodes(&[1, 2, 3])));
        assert_eq!(next.learners, []);
    }

    #[test]
    fn who_is_not_trusted_any_more_is_not_waited_for_and_nobody_leaves_for_nobody() {
        let rows = |four, five| {
            [
                row(1, 1, Trusted, &[4, 5]),
                row(2, 2, Trusted, &[]),
                row(4, 4, four, &[]),
                row(5, 5, five, &[]),
            ]
        };
        let now = voters(&[1, 2], &[5]);
        let found = Replacements::of(&rows(Retired, Trusted), &now, &[ready(5, 5)], &[]);
        assert_eq!((found.replaced, found.seats), (nodes(&[1]), nodes(&[5])));
        let found = Replacements::of(&rows(Retired, Retired), &now, &[], &[]);
        assert_eq!(found, Replacements::default());
        // One votes already: it had been trusted before.
        let now = voters(&[1, 2, 4], &[5]);
        let found = Replacements::of(&rows(Trusted, Trusted), &now, &[ready(5, 5)], &[]);
        assert_eq!(found.replaced, nodes(&[1]));
        let found = Replacements::of(&rows(Trusted, Trusted), &now, &[], &[]);
        assert_eq!((found.replaced, found.waiting), (vec![], nodes(&[5])));
        // Members removed the one that was to be replaced.
        let mut gone = rows(Trusted, Trusted);
        gone[0].1.status = Retired;
        assert_eq!(Replacements::of(&gone, &now, &[ready(5, 5)], &[]), Replacements::default());
    }

    #[test]
    fn who_is_to_listen_only_is_not_waited_for() {
        let mut rows = [
            row(1, 1, Trusted, &[4, 5]),
            row(2, 2, Trusted, &[]),
            row(4, 4, Trusted, &[]),
            row(5, 5, Trusted, &[]),
        ];
        let now = voters(&[1, 2], &[4, 5]);
        let found = Replacements::of(&rows, &now, &[ready(5, 5)], &[]);
        assert_eq!((found.replaced, found.waiting), (vec![], nodes(&[4, 5])));
        rows[2].1.learner = true;
        let found = Replacements::of(&rows, &now, &[ready(5, 5)], &[]);
        assert_eq!((found.replaced, found.seats), (nodes(&[1]), nodes(&[5])));
        rows[3].1.learner = true;
        assert_eq!(Replacements::of(&rows, &now, &[], &[]), Replacements::default());
    }

    #[test]
    fn a_seat_for_which_two_make_room_waits_for_both() {
        let rows = [
            row(1, 1, Trusted, &[4]),
            row(2, 2, Trusted, &[4, 5]),
            row(4, 4, Trusted, &[]),
            row(5, 5, Trusted, &[]),
        ];
        let now = voters(&[1, 2], &[4, 5]);
        let found = Replacements::of(&rows, &now, &[ready(4, 4)], &[]);
        assert_eq!((found.replaced, found.waiting), (vec![], nodes(&[4, 5])));
        let found = Replacements::of(&rows, &now, &[ready(4, 4), ready(5, 5)], &[]);
        assert_eq!(found.replaced, nodes(&[1, 2]));
    }

    #[test]
    fn who_makes_room_for_one_that_is_to_be_replaced_goes_first() {
        let rows = |two: &[u8]| {
            [row(1, 1, Trusted, &[2]), row(2, 2, Trusted, two), row(3, 3, Trusted, &[])]
        };
        let now = voters(&[1, 3], &[2]);
        let found = Replacements::of(&rows(&[3]), &now, &[ready(2, 2)], &[]);
        assert_eq!((found.replaced, found.seats), (nodes(&[1]), nodes(&[2])));
        let mut after = rows(&[3]);
        after[0].1.status = Retired;
        let found = Replacements::of(&after, &voters(&[2, 3], &[]), &[], &[]);
        assert_eq!(found.replaced, nodes(&[2]));
        // Two that make room for each other stay.
        let found = Replacements::of(&rows(&[1]), &voters(&[1, 2, 3], &[]), &[], &[]);
        assert_eq!(found, Replacements::default());
        // A learner that came again leaves with the one that members trust.
        let again = [row(1, 1, Trusted, &[3]), row(3, 3, Trusted, &[]), row(5, 1, Pending, &[])];
        let found = Replacements::of(&again, &voters(&[3], &[5]), &[], &[]);
        assert_eq!(found.replaced, nodes(&[1, 5]));
        // Whoever has not come need not come any more.
        let found = Replacements::of(&rows(&[3]), &voters(&[3], &[]), &[], &[]);
        assert_eq!((found.replaced, found.waiting), (vec![], nodes(&[2])));
    }

    #[test]
    fn as_many_vote_as_may() {
        let all: Vec<u8> = (1..=64).collect();
        let now = voters(&all[..63], &[64, 65]);
        let next = towards(&now, &[], &[ready(64, 64), ready(65, 65)]);
        assert_eq!((next.voters.len(), next.learners), (NODES_MAX, nodes(&[65])));
        let now = voters(&all, &[65]);
        assert_eq!(towards(&now, &[], &[ready(65, 65)]), now);
    }
}
