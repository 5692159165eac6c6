//! Keys of issuers of tokens, which the service fetched: of those whose keys members want to be fetched, and nobody else's.

use coco_kv::{Transaction, WriteSetView};

use super::{AuditFault, act::rows, is_governed, nodes::nobody_asked};
use crate::{
    issuer_keys::{KeyRow, is_of_use, is_refreshed},
    tables::{self, JWT_KEYS},
};

/// Checks an entry that takes keys without a vote.
pub(super) fn check(tx: &mut Transaction<'_>, writes: &WriteSetView<'_>) -> Result<(), AuditFault> {
    let mut governed = writes.iter().filter(|(table, ..)| is_governed(table));
    if let Some((table, key, _)) = governed.find(|(table, ..)| *table != JWT_KEYS) {
        return Err(nobody_asked(table, key));
    }
    for (id, row) in rows(writes, JWT_KEYS) {
        let before: Option<Vec<KeyRow>> =
            tables::read(tx, JWT_KEYS, id).map_err(AuditFault::Tables)?;
        let before = before.unwrap_or_default();
        let now: Vec<KeyRow> = match row {
            Some(row) => tables::parse(JWT_KEYS, id, row).map_err(AuditFault::Tables)?,
            None => Vec::new(),
        };
        let gone = before.iter().filter(|key| !now.contains(key));
        let come = now.iter().filter(|key| !before.contains(key));
        for (key, comes) in gone.map(|key| (key, false)).chain(come.map(|key| (key, true))) {
            if !is_refreshed(tx, &key.issuer).map_err(AuditFault::Tables)? {
                return Err(nobody_asked(JWT_KEYS, id));
            }
            if comes && !is_of_use(key) {
                let id = String::from_utf8_lossy(id);
                return Err(AuditFault::Effect(format!(
                    "the key {id} of {} is of no use",
                    key.issuer
                )));
            }
        }
    }
    Ok(())
}
