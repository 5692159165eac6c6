//! What entries say of ledger secrets for nodes: the newest encrypted to each, and each sealed under the one after it.
//!
//! The replica's own crate writes both tables; here it shows who was given a secret, and which was kept.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use coco_kv::{MapName, Transaction, WriteSetView};
use coco_types::Seqno;
use serde::Deserialize;

use super::{
    AuditFault,
    act::rows,
    nodes::{Configuration, all_nodes},
};
use crate::{recovery::SEALED_SECRET_BYTES, tables::singleton_key};

/// `one key -> JSON`: the newest ledger secret, encrypted to each node.
pub(super) const NODE_SECRETS: &str = "public:coco.internal.node_ledger_secrets";
/// `first seqno of a period, big-endian -> bytes`: its secret, sealed under that of the period after it.
pub(super) const PAST_SECRETS: &str = "public:coco.internal.past_ledger_secrets";

/// A row of [`NODE_SECRETS`].
#[derive(Deserialize)]
pub(super) struct NodeSecrets {
    from: Option<u64>,
    secrets: BTreeMap<String, String>,
}

impl NodeSecrets {
    pub(super) fn read(row: &[u8]) -> Result<Self, AuditFault> {
        let wrong = |error| AuditFault::Effect(format!("the row of {NODE_SECRETS}: {error}"));
        serde_json::from_slice(row).map_err(wrong)
    }

    /// Where the period begins that the row at `at` names.
    pub(super) fn begins(&self, at: Seqno) -> Seqno {
        self.from.map_or(at.next(), Seqno)
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
    let nodes = all_nodes(tx)?.into_iter();
    let reads_on = |(id, node): &(String, super::nodes::Node)| {
        node.status() == "Trusted" || taking_part.has(id)
    };
    let nodes: Vec<String> = nodes.filter(reads_on).map(|(id, _)| id).collect();
    row.check_recipients(&nodes)?;
    check_kept(writes, previous)
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
