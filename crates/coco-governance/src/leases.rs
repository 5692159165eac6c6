//! Leases of nodes: for how long one is believed to run what it showed, where members want that.
//!
//! The service writes the rows by itself. A lease is renewed when its node shows again what it runs, and ended when it did not in time.
//! The node is quarantined then: it takes part in nothing and is given no secret. It comes back without a vote, with new evidence.
//! The lease of a node that members removed has ended, too: for both the ledger gets another secret.

use std::collections::BTreeMap;

use coco_kv::{MapName, Transaction};
use coco_types::Seqno;
use serde::{Deserialize, Serialize};

use crate::{
    GovernanceError,
    audit::{Configuration, NodeSecrets, all_nodes},
    recovery::NODE_SECRETS,
    tables::{self, NODES_LEASES, singleton_key},
};

/// How far a lease may seem to have been renewed in the future, in seconds: the clock of a primary was ahead.
const AHEAD_MAX_S: u64 = 300;

/// A row of [`NODES_LEASES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseRow {
    /// When the node showed what it runs, in seconds since 1970.
    pub renewed_at: u64,
    /// When the lease had ended, and its node was quarantined; or when its node had left for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<u64>,
    /// From which entry on the ledger secret is used that was the newest then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_from: Option<u64>,
}

impl LeaseRow {
    /// A lease that begins now.
    #[must_use]
    pub const fn new(now_s: u64) -> Self {
        Self { renewed_at: now_s, ended_at: None, secret_from: None }
    }

    /// The same lease, which ends now, while this ledger secret is the newest.
    #[must_use]
    pub const fn ended(self, now_s: u64, newest: Seqno) -> Self {
        Self { ended_at: Some(now_s), secret_from: Some(newest.0), ..self }
    }

    /// Reads a row; nothing, if it is none.
    #[must_use]
    pub fn read(row: &[u8]) -> Option<Self> {
        serde_json::from_slice(row).ok()
    }

    /// The bytes of the row.
    ///
    /// # Panics
    /// Never: numbers have a JSON form.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("numbers have a JSON form")
    }

    /// Whether the time is over that members gave.
    #[must_use]
    pub const fn is_over(&self, lease_s: u64, now_s: u64) -> bool {
        now_s >= self.renewed_at.saturating_add(lease_s)
    }

    /// Whether the node shall show again what it runs: a quarter of the time is over, or the clock was wrong at the last time.
    #[must_use]
    pub const fn is_to_renew(&self, lease_s: u64, now_s: u64) -> bool {
        self.ended_at.is_none() && (self.is_over(lease_s / 4, now_s) || self.is_ahead(now_s))
    }

    /// Whether it was renewed in the future.
    #[must_use]
    pub const fn is_ahead(&self, now_s: u64) -> bool {
        self.renewed_at > now_s.saturating_add(AHEAD_MAX_S)
    }
}

/// Whether a node that was removed or is quarantined has the ledger secret that is used from `newest` on, the newest. It would not be
/// given another one.
///
/// # Errors
/// [`GovernanceError`] when a table is not there, or the row of a node cannot be read.
pub fn is_secret_outside(tx: &mut Transaction<'_>, newest: Seqno) -> Result<bool, GovernanceError> {
    let ended = tables::rows(tx, NODES_LEASES)?.into_iter().filter_map(|(seat, row)| {
        let lease = LeaseRow::read(&row)?;
        lease.ended_at?;
        Some((String::from_utf8_lossy(&seat).into_owned(), lease.secret_from == Some(newest.0)))
    });
    let mut outside: BTreeMap<String, bool> = ended.collect();
    if outside.is_empty() {
        return Ok(false);
    }
    let map = tx.map(&MapName::from_static(NODE_SECRETS));
    let row = map.and_then(|map| tx.get(map, singleton_key()));
    let named = row.and_then(|row| NodeSecrets::read(&row).ok());
    let taking_part = Configuration::of(tx);
    for (id, node) in all_nodes(tx)? {
        let seat = node.seat(&id);
        if node.reads_on(&id, &taking_part) {
            outside.remove(seat);
        } else if let Some(has_newest) = outside.get_mut(seat) {
            // It may have been named while it was about to leave.
            *has_newest |= named.as_ref().is_some_and(|named| named.names(&id));
        }
    }
    Ok(outside.into_values().any(|has_newest| has_newest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_renewed_early_and_never_counts_from_the_future() {
        let lease = LeaseRow::new(1_000);
        assert_eq!(LeaseRow::read(&lease.encode()), Some(lease));
        assert_eq!(LeaseRow::read(b"{}"), None);
        for (now, renews, over) in [
            (1_000, false, false),
            (1_099, false, false),
            (1_100, true, false),
            (1_399, true, false),
            (1_400, true, true),
            (u64::MAX, true, true),
        ] {
            assert_eq!((lease.is_to_renew(400, now), lease.is_over(400, now)), (renews, over));
        }
        let ahead = LeaseRow::new(2_000);
        assert_eq!([1_700, 1_699].map(|now| ahead.is_to_renew(4_000, now)), [false, true]);
        let ended = lease.ended(1_500, Seqno(7));
        assert!(!ended.is_to_renew(400, 9_999), "it takes more than that");
        assert_eq!(LeaseRow::read(&ended.encode()), Some(ended));
    }
}
