//! Keys of issuers of tokens, which the service fetched: of those whose keys members want to be fetched, and nobody else's.

use coco_kv::{Transaction, WriteSetView};

use super::{AuditFault, act::rows, check_tables, nodes::nobody_asked};
use crate::{
    issuer_keys::{KeyRow, is_of_use, is_refreshed},
    tables::{self, JWT_KEYS},
};

/// Checks an entry that takes keys without a vote.
pub(super) fn check(tx: &mut Transaction<'_>, writes: &WriteSetView<'_>) -> Result<(), AuditFault> {
    check_tables(writes, &[JWT_KEYS])?;
    for (id, row) in rows(writes, JWT_KEYS) {
        let before: Option<Vec<KeyRow>> =
            tables::read(tx, JWT_KEYS, id).map_err(AuditFault::Tables)?;
        let before = before.unwrap_or_default();
        let now: Vec<KeyRow> = match row {
            Some(row) => tables::parse(JWT_KEYS, id, row).map_err(AuditFault::Tables)?,
            None => Vec::new(),
        };
        let wrong = |key: &KeyRow, reason: &str| {
            let id = String::from_utf8_lossy(id);
            AuditFault::Effect(format!("the key {id} of {} {reason}", key.issuer))
        };
        let mut is_fetched = Vec::new();
        for key in before.iter().chain(&now) {
            is_fetched.push(is_refreshed(tx, &key.issuer).map_err(AuditFault::Tables)?);
        }
        let (of_before, of_now) = is_fetched.split_at(before.len());
        // Nothing of others changes, nor where it stands among them.
        let others = |keys: &[KeyRow], is_fetched: &[bool]| -> Vec<KeyRow> {
            let of = keys.iter().zip(is_fetched).filter(|(_, is_fetched)| !**is_fetched);
            of.map(|(key, _)| key.clone()).collect()
        };
        if others(&before, of_before) != others(&now, of_now) || before == now {
            return Err(nobody_asked(JWT_KEYS, id));
        }
        for (at, key) in now.iter().enumerate().filter(|(at, _)| of_now[*at]) {
            if now[..at].iter().any(|other| other.issuer == key.issuer) {
                return Err(wrong(key, "is there twice"));
            }
            if !before.contains(key) && !is_of_use(key) {
                return Err(wrong(key, "is of no use"));
            }
        }
    }
    Ok(())
}
