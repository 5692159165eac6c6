//! What a service does by itself when it comes back from disaster: it begins anew with one node, and ends the recovery once
//! enough members have sent their shares. What lies between is members' acts: they open the one that they mean.

use std::{collections::BTreeSet, ops::RangeInclusive};

use coco_kv::{MapName, Transaction, WriteSetView};
use coco_types::{Digest, Seqno};
use serde_json::{Map, Value, json};

use super::{
    AuditFault, AuditedEntry, CONFIGURATION,
    act::rows,
    check_tables,
    nodes::{Configuration, Node, all_nodes},
    secrets::{NODE_SECRETS, NodeSecrets, PAST_SECRETS, SECRET_SINCE, check_begun, check_kept},
};
use crate::{
    certify::service_of,
    recovery::{Dealt, check_dealt, has_enough, has_recovery_members},
    tables::{
        self, ENCRYPTED_SUBMITTED_SHARES, NODES_ENDORSED_CERTIFICATES, NODES_INFO,
        PAST_LEDGER_SECRET, PREVIOUS_SERVICE_ENDORSEMENT, PREVIOUS_SERVICE_IDENTITY,
        RECOVERY_SHARES, SERVICE_INFO, singleton_key,
    },
};

const LAST_SIGNED_ROOT: &str = "public:ccf.gov.service.previous_service_last_signed_root";

/// What a beginning writes.
const OF_BEGINNING: [&str; 8] = [
    SERVICE_INFO,
    PREVIOUS_SERVICE_IDENTITY,
    // It is held against keys and roots where the ledger is verified.
    PREVIOUS_SERVICE_ENDORSEMENT,
    LAST_SIGNED_ROOT,
    NODES_INFO,
    NODES_ENDORSED_CERTIFICATES,
    CONFIGURATION,
    NODE_SECRETS,
];

/// What an end writes.
const OF_END: [&str; 6] = [
    SERVICE_INFO,
    ENCRYPTED_SUBMITTED_SHARES,
    PAST_SECRETS,
    SECRET_SINCE,
    RECOVERY_SHARES,
    PAST_LEDGER_SECRET,
];

/// The periods of ledger secrets: the newest, and the one before it.
#[derive(Clone, Copy)]
pub(super) struct Periods {
    pub(super) newest: Seqno,
    pub(super) previous: Option<Seqno>,
}

/// Checks an entry in which the service says by itself what it is.
pub(super) fn check(
    tx: &mut Transaction<'_>,
    entry: &AuditedEntry<'_>,
    periods: Periods,
    times: &RangeInclusive<u64>,
) -> Result<(), AuditFault> {
    let row = entry.writes.get(&MapName::from_static(SERVICE_INFO), singleton_key());
    let next = row.and_then(|row| serde_json::from_slice::<Map<String, Value>>(row).ok());
    let before: Option<Map<String, Value>> =
        tables::read(tx, SERVICE_INFO, singleton_key()).map_err(AuditFault::Tables)?;
    let (Some(before), Some(next)) = (before, next) else {
        return Err(wrong("the row of the service is removed, or none"));
    };
    let allowed = match next.get("status").and_then(Value::as_str) {
        Some("Recovering") => {
            check_beginning(tx, entry, &before, &next)?;
            &OF_BEGINNING[..]
        }
        Some("Open") => {
            check_end(tx, entry.writes, &before, &next, periods)?;
            check_begun(entry.writes, times)?;
            &OF_END[..]
        }
        _ => &[],
    };
    check_tables(entry.writes, allowed)
}

fn check_beginning(
    tx: &mut Transaction<'_>,
    entry: &AuditedEntry<'_>,
    before: &Map<String, Value>,
    next: &Map<String, Value>,
) -> Result<(), AuditFault> {
    let one = |name| {
        let row = entry.writes.get(&MapName::from_static(name), singleton_key());
        row.and_then(|row| serde_json::from_slice::<String>(row).ok())
    };
    let service = |row: &Map<String, Value>| row.get("cert")?.as_str().and_then(service_of);
    let (ours, theirs) = (service(before), service(next));
    if theirs.is_none() || theirs == ours {
        // Whoever still has the key of a service has no disaster to come back from.
        return Err(wrong("it does not begin another service"));
    }
    if ours.is_none() || one(PREVIOUS_SERVICE_IDENTITY).as_deref().and_then(service_of) != ours {
        return Err(wrong("it does not name the service before it"));
    }
    let count = |row: &Map<String, Value>| {
        row.get("recovery_count").and_then(Value::as_u64).unwrap_or_default()
    };
    if count(next) != count(before).saturating_add(1) {
        return Err(wrong("it does not count the recoveries"));
    }
    // The last entry of the service before is its signature, over what came before that.
    let signed = entry.tx_id.seqno.0.checked_sub(2).and_then(|upto| (entry.root)(Seqno(upto)));
    let named = one(LAST_SIGNED_ROOT).and_then(|root| root.parse::<Digest>().ok());
    if signed.is_none() || named != signed {
        return Err(wrong("it does not name the root that the service before signed last"));
    }
    let node = only_node(tx, entry.writes)?;
    let row = entry.writes.get(&MapName::from_static(NODE_SECRETS), singleton_key());
    let secrets = NodeSecrets::read(row.ok_or_else(|| wrong("it has no ledger secret"))?)?;
    if secrets.begins(entry.tx_id.seqno) != entry.tx_id.seqno {
        return Err(wrong("its ledger secret is not used from its first entry on"));
    }
    secrets.check_recipients(&[node])
}

/// The one node that takes part from here on. All others are retired.
fn only_node(tx: &mut Transaction<'_>, writes: &WriteSetView<'_>) -> Result<String, AuditFault> {
    let mut nodes = all_nodes(tx).map_err(AuditFault::Tables)?;
    let known: BTreeSet<String> = nodes.keys().cloned().collect();
    let mut written = BTreeSet::new();
    for (key, row) in rows(writes, NODES_INFO) {
        let id = String::from_utf8_lossy(key).into_owned();
        let row = row.and_then(|row| serde_json::from_slice(row).ok());
        nodes.insert(id.clone(), Node(row.ok_or_else(|| wrong("a row of a node is none"))?));
        written.insert(id);
    }
    let mut new = written.difference(&known);
    let (Some(node), None) = (new.next(), new.next()) else {
        return Err(wrong("a service begins anew with one new node"));
    };
    let is_in_order = |(id, row): (&String, &Node)| {
        row.status() == if id == node { "Trusted" } else { "Retired" }
    };
    if !nodes.iter().all(is_in_order) {
        return Err(wrong("nodes of the service before are not retired"));
    }
    nodes[node].check_request(node).map_err(wrong)?;
    let certified = rows(writes, NODES_ENDORSED_CERTIFICATES).map(|(key, _)| key);
    if !certified.eq([node.as_bytes()]) {
        return Err(wrong("others than its node have certificates"));
    }
    let row = rows(writes, CONFIGURATION).next().and_then(|(_, row)| row);
    let next: Option<Configuration> = row.and_then(|row| serde_json::from_slice(row).ok());
    if next.is_none_or(|next| !next.is_only(node)) {
        return Err(wrong("others than its node take part"));
    }
    Ok(node.clone())
}

fn check_end(
    tx: &mut Transaction<'_>,
    writes: &WriteSetView<'_>,
    before: &Map<String, Value>,
    next: &Map<String, Value>,
    Periods { newest, previous }: Periods,
) -> Result<(), AuditFault> {
    let mut expected = before.clone();
    expected.insert("status".to_owned(), json!("Open"));
    if before.get("status") != Some(&json!("WaitingForRecoveryShares")) || *next != expected {
        return Err(super::nodes::nobody_asked(SERVICE_INFO, singleton_key()));
    }
    if !has_enough(tx).map_err(AuditFault::Tables)? {
        return Err(wrong("it is opened before enough members have sent their shares"));
    }
    let sent = tables::rows(tx, ENCRYPTED_SUBMITTED_SHARES).map_err(AuditFault::Tables)?;
    let forgotten: BTreeSet<&[u8]> = rows(writes, ENCRYPTED_SUBMITTED_SHARES)
        .filter_map(|(key, row)| row.is_none().then_some(key))
        .collect();
    if rows(writes, ENCRYPTED_SUBMITTED_SHARES).count() != forgotten.len()
        || sent.iter().any(|(key, _)| !forgotten.contains(&**key))
    {
        return Err(wrong("the shares that were sent are not forgotten"));
    }
    let previous = previous.ok_or_else(|| wrong("it has no ledger secret of before"))?;
    check_kept(writes, previous)?;
    let row = |name| writes.get(&MapName::from_static(name), singleton_key());
    let (shares, past) = (row(RECOVERY_SHARES), row(PAST_LEDGER_SECRET));
    if has_recovery_members(tx).map_err(AuditFault::Tables)? {
        let dealt = Dealt::Opening { from: newest, previous: Some(previous) };
        return check_dealt(tx, dealt, shares, past).map_err(AuditFault::Effect);
    }
    if shares.is_some() || past.is_some() {
        return Err(wrong("shares were dealt, and nobody can hold one"));
    }
    Ok(())
}

fn wrong(reason: &str) -> AuditFault {
    AuditFault::Recovery(reason.to_owned())
}
