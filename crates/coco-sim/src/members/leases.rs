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

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use coco_governance::{LeaseRow, tables::NODES_LEASES};
    use coco_kv::{MapName, WriteSet};
    use coco_ledger::{
        ConfigurationRow, FirstLedger, NODES_MAP, Signer as _, genesis_write_set, put_status,
        singleton_key,
    };
    use coco_replica::NODE_SECRETS_MAP;
    use serde_json::json;

    use super::*;
    use crate::genesis::{DoubleSigner, node_record, secret};

    fn id(node: usize) -> NodeId {
        DoubleSigner::new(node).node_id()
    }

    fn put_configuration(writes: &mut WriteSet, voters: &[usize]) {
        let voters = voters.iter().map(|node| id(*node)).collect();
        ConfigurationRow { voters, outgoing: Vec::new(), learners: Vec::new() }.put(writes);
    }

    /// What a ledger of three nodes begins with.
    fn first() -> WriteSet {
        let nodes: Vec<_> =
            (0..3).map(|node| node_record(&DoubleSigner::new(node), node)).collect();
        let mut writes = genesis_write_set("no certificate", &nodes);
        put_configuration(&mut writes, &[0, 1, 2]);
        writes
    }

    /// The last node's lease is this.
    fn lease(lease: LeaseRow) -> WriteSet {
        let mut writes = WriteSet::new();
        let map = MapName::from_static(NODES_LEASES);
        writes.insert(&map, id(2).to_string().as_bytes(), lease.encode());
        writes
    }

    /// The last node has this status.
    fn status(status: NodeStatus) -> WriteSet {
        let (mut writes, nodes) = (WriteSet::new(), MapName::from_static(NODES_MAP));
        let begun = first();
        let row = begun.get(&nodes, id(2).to_string().as_bytes()).expect("a row").clone();
        put_status(&mut writes, id(2), &row, status).expect("a row");
        writes
    }

    /// A new secret for these nodes.
    fn named(nodes: &[usize]) -> WriteSet {
        let secrets: serde_json::Map<String, serde_json::Value> =
            nodes.iter().map(|node| (id(*node).to_string(), json!("sealed"))).collect();
        let mut writes = WriteSet::new();
        let row = serde_json::to_vec(&json!({ "secrets": secrets })).expect("text");
        writes.insert(&MapName::from_static(NODE_SECRETS_MAP), singleton_key(), row);
        writes
    }

    /// The last node is let go, and its seat is pending.
    fn quarantine() -> Vec<WriteSet> {
        let mut ends = lease(LeaseRow::new(10).ended(30, Seqno(1)));
        put_configuration(&mut ends, &[0, 1]);
        vec![first(), lease(LeaseRow::new(10)), ends, status(NodeStatus::Pending)]
    }

    fn follow(entries: &[WriteSet]) -> Roster {
        let mut ledger = FirstLedger::new(secret());
        entries.iter().for_each(|writes| ledger.append(writes).expect("it is small"));
        let mut roster = Roster::default();
        for (entry, at) in ledger.into_entries().iter().zip(1..) {
            let changed = roster.take(entry);
            judge(&roster, &changed, Seqno(at));
        }
        roster
    }

    fn is_refused(entries: &[WriteSet]) -> bool {
        catch_unwind(AssertUnwindSafe(|| follow(entries))).is_err()
    }

    #[test]
    fn whoever_is_quarantined_is_given_no_secret_until_it_is_let_in_again() {
        let roster = follow(&quarantine());
        assert!(roster.is_quarantined(id(2)) && !roster.is_out(id(2)));
        assert!(roster.is_secret_outside(), "it has the newest");
        let with = |more: Vec<WriteSet>| [quarantine(), more].concat();
        assert!(is_refused(&with(vec![named(&[0, 1, 2])])));
        let roster = follow(&with(vec![named(&[0, 1])]));
        assert!(!roster.is_secret_outside() && roster.lapses() == 1);

        assert!(is_refused(&with(vec![lease(LeaseRow::new(40))])), "nobody came");
        let mut again = lease(LeaseRow::new(40));
        for (map, key, row) in status(NodeStatus::Trusted).iter() {
            again.insert(map, key, row.expect("a row").to_vec());
        }
        let roster = follow(&with(vec![again, named(&[0, 1, 2])]));
        assert!(!roster.is_quarantined(id(2)) && !roster.is_secret_outside());
    }

    /// It may be named as long as it takes part; then the secret is outside.
    #[test]
    fn a_secret_that_was_named_while_a_node_left_is_outside() {
        let mut entries = quarantine();
        entries.insert(3, named(&[0, 1, 2]));
        assert!(follow(&entries).is_secret_outside());
        entries.push(named(&[0, 1]));
        assert!(!follow(&entries).is_secret_outside());
        entries.extend([status(NodeStatus::Trusted), named(&[0, 1, 2])]);
        assert!(
            follow(&entries).is_secret_outside(),
            "members trusted it, and its lease had ended"
        );
    }

    #[test]
    fn a_lease_does_not_end_while_its_node_takes_part() {
        assert!(is_refused(&[first(), lease(LeaseRow::new(10).ended(30, Seqno(1)))]));
    }
}
