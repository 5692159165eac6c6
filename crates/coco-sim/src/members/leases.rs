//! What must hold of leases: whoever's lease ends takes part in nothing from then on and is given no secret, until it has shown again
//! what it runs.

use coco_ledger::NodeStatus;
use coco_types::{NodeId, Seqno};

use crate::roster::{Changed, LeaseChange, Roster};

/// Whether a lease that had ended begins anew with an entry.
pub(super) fn begins_anew(changed: &Changed, seat: NodeId) -> bool {
    changed.leases.iter().any(|change| change.0 == seat && is_anew(change))
}

/// Whether the lease of a seat ends with an entry.
pub(super) fn ends(changed: &Changed, seat: NodeId) -> bool {
    changed.leases.iter().any(|(of, _, after)| *of == seat && after.ended_at.is_some())
}

const fn is_anew((_, before, after): &LeaseChange) -> bool {
    matches!(before, Some(before) if before.ended_at.is_some()) && after.ended_at.is_none()
}

/// Judges what an entry says of leases, and whom it names for a new secret, given the tables after it.
///
/// # Panics
/// When it breaks a rule.
pub(super) fn judge(roster: &Roster, changed: &Changed, at: Seqno) {
    for change in &changed.leases {
        let (seat, _, after) = change;
        if is_anew(change) {
            let is_let_in = changed.rows.iter().any(|(node, _, row)| {
                node == seat && row.as_ref().is_some_and(|row| row.status == NodeStatus::Trusted)
            });
            assert!(is_let_in, "the lease of {seat} begins anew, and nobody came, at {at}");
        }
        let now = roster.configuration();
        let mut places = now.voters.iter().chain(&now.learners);
        let has_place = places.any(|node| roster.seat(*node) == *seat);
        let has_ended = after.ended_at.is_some();
        assert!(!(has_ended && has_place), "{seat} has a place, and its lease has ended, at {at}");
    }
    for node in changed.named.iter().flatten() {
        // Until the change is over in which it leaves, it is sent what is committed.
        let row = roster.row(*node);
        let is_leaving = roster.configuration().nodes().any(|other| other == *node)
            || row.is_some_and(|row| row.status != NodeStatus::Pending && !row.retired_committed);
        let has_ended = roster.has_lease_ended(roster.seat(*node));
        assert!(!has_ended || is_leaving, "{node} is quarantined and gets a secret, at {at}");
    }
}
