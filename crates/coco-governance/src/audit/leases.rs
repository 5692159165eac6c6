//! Leases of nodes, which the service renews and ends by itself.

use std::{collections::BTreeMap, ops::RangeInclusive};

use coco_kv::{Transaction, WriteSetView};
use coco_types::Seqno;

use super::{
    AuditFault,
    act::rows,
    nodes::{Nodes, nobody_asked},
};
use crate::{
    LeaseRow,
    tables::{self, ConfigurationRow, NODES_LEASES, SERVICE_CONFIG, singleton_key},
};

/// The leases before an entry and after it, by seat.
pub(super) struct Leases {
    before: BTreeMap<String, LeaseRow>,
    after: BTreeMap<String, LeaseRow>,
}

impl Leases {
    pub(super) fn read(
        tx: &mut Transaction<'_>,
        writes: &WriteSetView<'_>,
    ) -> Result<Self, AuditFault> {
        let seat = |key: &[u8]| String::from_utf8_lossy(key).into_owned();
        let rows_before = tables::rows(tx, NODES_LEASES).map_err(AuditFault::Tables)?.into_iter();
        let before: BTreeMap<_, _> = rows_before
            .filter_map(|(key, row)| Some((seat(&key), LeaseRow::read(&row)?)))
            .collect();
        let mut after = before.clone();
        for (key, row) in rows(writes, NODES_LEASES) {
            let row =
                row.and_then(LeaseRow::read).ok_or_else(|| nobody_asked(NODES_LEASES, key))?;
            after.insert(seat(key), row);
        }
        Ok(Self { before, after })
    }

    /// Whether the lease of a seat ended before this entry, and is none that begins anew with it.
    pub(super) fn has_ended(&self, seat: &str) -> bool {
        is_ended(&self.before, seat) && is_ended(&self.after, seat)
    }

    /// Whether a seat had a lease before this entry.
    pub(super) fn was_there(&self, seat: &str) -> bool {
        self.before.contains_key(seat)
    }

    /// Whether a lease that had ended begins anew with this entry.
    pub(super) fn begins(&self, seat: &str) -> bool {
        is_ended(&self.before, seat) && !is_ended(&self.after, seat)
    }
}

fn is_ended(leases: &BTreeMap<String, LeaseRow>, seat: &str) -> bool {
    leases.get(seat).is_some_and(|lease| lease.ended_at.is_some())
}

/// Checks what an entry that records no request says of leases.
pub(super) fn check(
    tx: &mut Transaction<'_>,
    writes: &WriteSetView<'_>,
    nodes: &Nodes,
    newest: Seqno,
    times: &RangeInclusive<u64>,
) -> Result<(), AuditFault> {
    let row: Option<ConfigurationRow> =
        tables::read(tx, SERVICE_CONFIG, singleton_key()).map_err(AuditFault::Tables)?;
    let lease_s = row.and_then(|row| row.lease_s());
    let leases = nodes.leases();
    for (key, _) in rows(writes, NODES_LEASES) {
        let seat = String::from_utf8_lossy(key);
        let (before, after) = (leases.before.get(&*seat), leases.after[&*seat]);
        let is_right = match after.ended_at {
            // A clock that was wrong is put right, so it may begin anew with an earlier time.
            None if after.renewed_at > *times.end() => false,
            None if leases.begins(&seat) => nodes.is_let_in_again(&seat),
            None => lease_s.is_some() && nodes.is_trusted(&seat),
            Some(ended_at) => {
                let was_over = |before: &LeaseRow| {
                    before.ended(ended_at, newest) == after
                        && before.ended_at.is_none()
                        && lease_s.is_some_and(|lease_s| before.is_over(lease_s, ended_at))
                        && nodes.is_trusted(&seat)
                        && nodes.has_no_place(&seat)
                };
                let has_left = nodes.has_left(&seat) && after.secret_from == Some(newest.0);
                times.contains(&ended_at) && (before.is_some_and(was_over) || has_left)
            }
        };
        if !is_right {
            return Err(nobody_asked(NODES_LEASES, key));
        }
    }
    Ok(())
}
