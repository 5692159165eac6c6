//! What entries say of ledger secrets for nodes: the newest encrypted to each, and each sealed under the one after it.
//!
//! The replica's own crate writes both tables; here it shows who was given a secret, and which was kept.

use std::{collections::BTreeMap, ops::RangeInclusive};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use coco_kv::{MapName, Transaction, WriteSetView};
use coco_types::Seqno;
use serde::Deserialize;

use super::{
    AuditFault,
    act::rows,
    check_tables,
    nodes::{Configuration, all_nodes},
};
pub(super) use crate::recovery::{NODE_SECRETS, PAST_SECRETS};
use crate::{
    is_secret_outside,
    recovery::{Dealt, SEALED_SECRET_BYTES, check_dealt, has_recovery_members},
    tables::{
        self, ConfigurationRow, PAST_LEDGER_SECRET, RECOVERY_SHARES, SERVICE_CONFIG, singleton_key,
    },
};

/// `one key -> JSON number`: since when the newest ledger secret is used, in seconds since 1970.
pub(super) const SECRET_SINCE: &str = "public:coco.internal.ledger_secret_since";

/// What an entry writes by which the service replaces a ledger secret that is too old.
const OF_REPLACING: [&str; 5] =
    [NODE_SECRETS, PAST_SECRETS, SECRET_SINCE, RECOVERY_SHARES, PAST_LEDGER_SECRET];

/// A row of [`NODE_SECRETS`].
#[derive(Deserialize)]
pub(crate) struct NodeSecrets {
    from: Option<u64>,
    secrets: BTreeMap<String, String>,
}

impl NodeSecrets {
    pub(crate) fn read(row: &[u8]) -> Result<Self, AuditFault> {
        let wrong = |error| AuditFault::Effect(format!("the row of {NODE_SECRETS}: {error}"));
        serde_json::from_slice(row).map_err(wrong)
    }

    /// Where the period begins that the row at `at` names.
    pub(super) fn begins(&self, at: Seqno) -> Seqno {
        self.from.map_or(at.next(), Seqno)
    }

    /// Whether the secret is encrypted to a node.
    pub(crate) fn names(&self, id: &str) -> bool {
        self.secrets.contains_key(id)
    }

    /// Checks that the secret is for these nodes and nobody else. The order is that of ids.
    pub(super) fn check_recipients(&self, nodes: &[String]) -> Result<(), AuditFault> {
        let encrypted =
            |secret: &String| STANDARD.decode(secret).is_ok_and(|secret| !secret.is_empty());
        if !self.secrets.keys().eq(nodes) || !self.secrets.values().all(encrypted) {
            let reason =
                "the new ledger secret is encrypted to others than the nodes of the service";
            return Err(AuditFault::Effect(reason.to_owned()));
        }
        Ok(())
    }
}

/// Checks that the next entry begins a period, by what this one writes. The transaction has what it writes otherwise.
pub(super) fn check_next(
    tx: &mut Transaction<'_>,
    writes: &WriteSetView<'_>,
    previous: Seqno,
) -> Result<(), AuditFault> {
    let row = writes.get(&MapName::from_static(NODE_SECRETS), singleton_key());
    let row = row.ok_or_else(|| AuditFault::Effect("there is no new ledger secret".to_owned()))?;
    let row = NodeSecrets::read(row)?;
    if row.from.is_some() {
        let reason = "the new ledger secret is not used from the next entry on";
        return Err(AuditFault::Effect(reason.to_owned()));
    }
    let taking_part = Configuration::of(tx);
    let nodes = all_nodes(tx).map_err(AuditFault::Tables)?.into_iter();
    let reads_on = nodes.filter(|(id, node)| node.reads_on(id, &taking_part));
    let nodes: Vec<String> = reads_on.map(|(id, _)| id).collect();
    row.check_recipients(&nodes)?;
    check_kept(writes, previous)
}

/// The time since when a secret is used by what the entry with which that begins says: it is of the time of the entry.
pub(super) fn check_begun(
    writes: &WriteSetView<'_>,
    times: &RangeInclusive<u64>,
) -> Result<u64, AuditFault> {
    let row = writes.get(&MapName::from_static(SECRET_SINCE), singleton_key());
    let since = row.and_then(|row| serde_json::from_slice::<u64>(row).ok());
    let wrong = || AuditFault::Effect("a ledger secret is not used since it says".to_owned());
    since.filter(|since| times.contains(since)).ok_or_else(wrong)
}

/// Checks an entry by which the service gives its ledger another secret without a vote: because members said how old one may
/// become, or because a node has it that is quarantined.
pub(super) fn check_replaced(
    tx: &mut Transaction<'_>,
    writes: &WriteSetView<'_>,
    previous: Seqno,
    times: &RangeInclusive<u64>,
) -> Result<(), AuditFault> {
    check_tables(writes, &OF_REPLACING)?;
    let row: Option<ConfigurationRow> =
        tables::read(tx, SERVICE_CONFIG, singleton_key()).map_err(AuditFault::Tables)?;
    let age_max = row.and_then(|row| row.ledger_secret_age_max_s);
    let map = tx.map(&MapName::from_static(SECRET_SINCE));
    let before = map.and_then(|map| tx.get(map, singleton_key()));
    let before = before.and_then(|row| serde_json::from_slice::<u64>(&row).ok());
    let now = check_begun(writes, times)?;
    let is_old = match (age_max, before) {
        (Some(age_max), Some(before)) => now >= before.saturating_add(age_max),
        _ => false,
    };
    if !is_old && !is_secret_outside(tx, previous).map_err(AuditFault::Tables)? {
        let reason = "the ledger secret is replaced, and members did not ask for that by then";
        return Err(AuditFault::Effect(reason.to_owned()));
    }
    check_next(tx, writes, previous)?;
    let row = |name| writes.get(&MapName::from_static(name), singleton_key());
    let (shares, past) = (row(RECOVERY_SHARES), row(PAST_LEDGER_SECRET));
    if has_recovery_members(tx).map_err(AuditFault::Tables)? {
        return check_dealt(tx, Dealt::Rekey { previous }, shares, past)
            .map_err(AuditFault::Effect);
    }
    match (shares, past) {
        (None, None) => Ok(()),
        _ => Err(AuditFault::Effect("shares were dealt, and nobody can hold one".to_owned())),
    }
}

/// Checks that the secret of a period is kept, and no other touched.
pub(super) fn check_kept(writes: &WriteSetView<'_>, from: Seqno) -> Result<(), AuditFault> {
    let kept: Vec<_> = rows(writes, PAST_SECRETS).collect();
    match kept[..] {
        [(key, Some(sealed))]
            if *key == from.0.to_be_bytes() && sealed.len() == SEALED_SECRET_BYTES =>
        {
            Ok(())
        }
        _ => Err(AuditFault::Effect(format!(
            "the ledger secret from {from} on is not kept, or another is changed"
        ))),
    }
}
