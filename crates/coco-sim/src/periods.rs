//! The secrets of ledgers, as the rows in them say: what checkers and auditors open entries with, whatever nodes hold.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use coco_crypto::SecretBytes;
use coco_kv::MapName;
use coco_ledger::{EntryView, LedgerSecret, LedgerSecrets, Period, singleton_key};
use coco_replica::NODE_SECRETS_MAP;
use coco_types::{Seqno, TxId};
use serde_json::Value;

use crate::{
    genesis::{opened_by_any, secret, secrets},
    machine::{index, tx_id},
};

/// Every secret that an entry named which some node has handed out.
#[derive(Debug, Default)]
pub struct Named(BTreeMap<TxId, LedgerSecret>);

impl Named {
    /// Notes what an entry says: the secret that it names, if it does.
    ///
    /// # Panics
    /// As [`named`].
    pub fn note(&mut self, entry: &EntryView<'_>) -> Option<&LedgerSecret> {
        self.0.insert(entry.tx_id(), named(entry)?.secret);
        self.0.get(&entry.tx_id())
    }

    /// The secret of the entry that stands at `seqno` after these: the newest that one of them names.
    #[must_use]
    pub fn at(&self, before: &[Bytes], seqno: Seqno) -> LedgerSecret {
        let is_before = |id: &TxId| {
            let found = before.get(index(id.seqno) - 1).filter(|_| id.seqno < seqno);
            found.is_some_and(|entry| tx_id(entry) == *id)
        };
        let newest = self.0.iter().rev().find(|(id, _)| is_before(id));
        newest.map_or_else(secret, |(_, secret)| secret.clone())
    }
}

/// The period that an entry begins, if it does: with the entry after it, or, in a recovery, with itself.
///
/// # Panics
/// When nodes are told different secrets, or the row is none.
#[must_use]
pub fn named(entry: &EntryView<'_>) -> Option<Period> {
    let writes = entry.public_writes().expect("nodes keep entries");
    let row = writes.get(&MapName::from_static(NODE_SECRETS_MAP), singleton_key())?;
    let row: Value = serde_json::from_slice(row).expect("a row");
    let open = |encrypted: &Value| -> SecretBytes {
        let encrypted = STANDARD.decode(encrypted.as_str().expect("a text")).expect("base64");
        opened_by_any(&encrypted).expect("it is for one of the machines")
    };
    let mut secrets = row["secrets"].as_object().expect("secrets").values().map(open);
    let first = secrets.next().expect("it is for somebody");
    let is_one = secrets.all(|other| other.expose() == first.expose());
    assert!(is_one, "{} tells nodes different secrets", entry.tx_id());
    let secret = LedgerSecret::new(first.expose().try_into().expect("as long as a secret"));
    let from = row["from"].as_u64().map_or(entry.tx_id().seqno.next(), Seqno);
    Some(Period { from, secret })
}

/// The secrets of a whole ledger.
///
/// # Panics
/// As [`named`].
#[must_use]
pub fn of_ledger(ledger: &[Bytes]) -> LedgerSecrets {
    let mut found = secrets();
    for entry in ledger {
        let entry = EntryView::parse(entry).expect("ledgers hold entries");
        if let Some(Period { from, secret }) = named(&entry) {
            found.append(from, secret).expect("periods follow one another");
        }
    }
    found
}
