//! What the ledger says of its secrets, beside the members' shares: the newest for the nodes, and each under the next.
//!
//! ```text
//!   entry s: a row with the new secret, encrypted to each node         ─▶ used from s + 1 on
//!            the secret before, sealed under the new one, by its first entry
//! ```
//!
//! So a node that is named in the newest row has all secrets, from a snapshot as well: it unwinds them down to those that it
//! has. The entry with which a recovery begins names its own seqno instead: there is no secret before that could seal it.

use std::collections::{BTreeMap, BTreeSet};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use coco_crypto::SecretBytes;
use coco_governance::{ErrorCode, GovernanceError, open_secret, seal_secret, tables};
use coco_kv::{MapKind, MapName, MapSpec, StateImage, Transaction, WriteSet};
use coco_ledger::{
    CONFIGURATION_MAP, ConfigurationRow, GenesisNode, LEDGER_SECRET_BYTES, LedgerSecret,
    LedgerSecrets, NODES_MAP, NodeStatus, Period, PeriodError, read_node, singleton_key,
};
use coco_types::{NodeId, Seqno};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::node_cipher::{NodeCipher, NodeKeyError};

/// `one key -> JSON`: the newest ledger secret, encrypted to each node.
pub const NODE_SECRETS_MAP: &str = "public:coco.internal.node_ledger_secrets";
/// `first seqno of a period, big-endian -> bytes`: its secret, sealed under that of the period after it.
pub const PAST_SECRETS_MAP: &str = "public:coco.internal.past_ledger_secrets";

/// `one key -> JSON number`: since when the newest ledger secret is used, in seconds since 1970.
pub const SECRET_SINCE_MAP: &str = "public:coco.internal.ledger_secret_since";

/// The maps, for the schema.
pub(crate) fn period_maps() -> [MapSpec; 3] {
    [NODE_SECRETS_MAP, PAST_SECRETS_MAP, SECRET_SINCE_MAP]
        .map(|name| MapSpec::new(MapName::from_static(name), MapKind::Ordered))
}

/// A period whose secret does not come out.
#[derive(Debug, Error)]
pub enum ReadPeriodError {
    /// The row is none.
    #[error("the row of the nodes' secrets is malformed")]
    Row(#[source] serde_json::Error),
    /// It is not for this node.
    #[error(
        "the ledger secret from {from} on is not encrypted to this node, which was not trusted then"
    )]
    NotForThisNode {
        /// The first entry of the period.
        from: Seqno,
    },
    /// A secret does not open under the one after it.
    #[error("the ledger secret from {from} on does not open under the one after it")]
    Past {
        /// The first entry of its period.
        from: Seqno,
    },
    /// The periods are no sequence.
    #[error(transparent)]
    Order(#[from] PeriodError),
}

/// A row of [`NODE_SECRETS_MAP`].
#[derive(Serialize, Deserialize)]
pub(crate) struct NodeSecrets {
    /// The first entry of the period; the next one, if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    from: Option<u64>,
    /// By node id, in base64.
    secrets: BTreeMap<String, String>,
}

impl NodeSecrets {
    /// Encrypts a secret to nodes, each with its key.
    pub(crate) fn new<'a>(
        cipher: &dyn NodeCipher,
        secret: &SecretBytes,
        nodes: impl IntoIterator<Item = (NodeId, &'a str)>,
    ) -> Result<Self, GovernanceError> {
        let encrypt = |(node, key): (NodeId, &str)| {
            let encrypted = cipher
                .encrypt(key, secret)
                .map_err(|error| refused(format!("the node {node}: {error}")))?;
            Ok((node.to_string(), STANDARD.encode(encrypted)))
        };
        let secrets = nodes.into_iter().map(encrypt).collect::<Result<_, GovernanceError>>()?;
        Ok(Self { from: None, secrets })
    }

    pub(crate) fn read(row: &[u8]) -> Result<Self, ReadPeriodError> {
        serde_json::from_slice(row).map_err(ReadPeriodError::Row)
    }

    pub(crate) fn put(&self, writes: &mut WriteSet) {
        writes.insert(&MapName::from_static(NODE_SECRETS_MAP), singleton_key(), self.encode());
    }

    fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("text has a JSON form")
    }

    /// Where the period begins that the row at `at` names.
    pub(crate) fn from(&self, at: Seqno) -> Seqno {
        self.from.map_or(at.next(), Seqno)
    }

    /// The secret, if it is for the node that can decrypt it. Whose id is whose is not asked: a node comes back under
    /// another one, with the same key.
    pub(crate) fn open(&self, cipher: &dyn NodeCipher) -> Option<LedgerSecret> {
        let decrypted = self.secrets.values().find_map(|encrypted| {
            let encrypted = STANDARD.decode(encrypted).ok()?;
            cipher.decrypt(&encrypted)
        });
        ledger_secret(&decrypted?)
    }
}

/// Whether a row of the nodes' secrets begins a period with the entry that it stands in, as a recovery does.
pub(crate) fn begins_with(row: &[u8], at: Seqno) -> bool {
    NodeSecrets::read(row).is_ok_and(|row| row.from == Some(at.0))
}

/// Writes the secret with which a recovered service goes on, from the entry with these writes on, for its first node.
///
/// # Errors
/// [`NodeKeyError`] when nothing can be encrypted to the node.
pub(crate) fn put_recovered_period(
    writes: &mut WriteSet,
    from: Seqno,
    secret: &LedgerSecret,
    node: &GenesisNode,
    cipher: &dyn NodeCipher,
) -> Result<(), NodeKeyError> {
    let encrypted = cipher.encrypt(&node.encryption_key_pem, secret.secret())?;
    let secrets = BTreeMap::from([(node.node_id.to_string(), STANDARD.encode(encrypted))]);
    NodeSecrets { from: Some(from.0), secrets }.put(writes);
    Ok(())
}

/// Writes that the next entry begins a period.
pub(crate) fn begin_period(
    tx: &mut Transaction<'_>,
    cipher: &dyn NodeCipher,
    next: &SecretBytes,
    previous: &Period,
) -> Result<(), GovernanceError> {
    let nodes = recipients(tx)?;
    let nodes = nodes.iter().map(|(node, key)| (*node, key.as_str()));
    let row = NodeSecrets::new(cipher, next, nodes)?;
    // Whoever makes the next entry seals it under this.
    if row.open(cipher).is_none() {
        return Err(refused("this node is none of those that would have the new ledger secret"));
    }
    put(tx, NODE_SECRETS_MAP, singleton_key(), row.encode())?;
    keep_previous(tx, next, previous)
}

/// Writes the secret of a period down, sealed under the one after it.
pub(crate) fn keep_previous(
    tx: &mut Transaction<'_>,
    next: &SecretBytes,
    previous: &Period,
) -> Result<(), GovernanceError> {
    let sealed = seal_secret(next, previous.secret.secret());
    put(tx, PAST_SECRETS_MAP, &previous.from.0.to_be_bytes(), sealed)
}

/// Writes since when the newest secret is used.
pub(crate) fn put_since(tx: &mut Transaction<'_>, now_s: u64) -> Result<(), GovernanceError> {
    put(tx, SECRET_SINCE_MAP, singleton_key(), now_s.to_string().into_bytes())
}

/// Whether the newest secret is older than members want it to be, given the rows of their configuration and of its age. A
/// service that is not open has no such age.
pub(crate) fn is_over_age(configuration: Option<&[u8]>, since: Option<&[u8]>, now_s: u64) -> bool {
    let row =
        configuration.and_then(|row| serde_json::from_slice::<tables::ConfigurationRow>(row).ok());
    let age_max = row.and_then(|row| row.ledger_secret_age_max_s);
    let since = since.and_then(|since| serde_json::from_slice::<u64>(since).ok());
    age_max.zip(since).is_some_and(|(age, since)| now_s >= since.saturating_add(age))
}

/// All periods up to the one from `newest_from` on, whose secret is `newest`: each is opened with the one after it.
pub(crate) fn unwind(
    tx: &mut Transaction<'_>,
    newest_from: Seqno,
    newest: &SecretBytes,
) -> Result<Vec<Period>, GovernanceError> {
    let map = find(tx, PAST_SECRETS_MAP)?;
    let rows = tx.range(map, &[], None, usize::MAX);
    let past = rows.iter().filter_map(|(key, sealed)| Some((seqno(key)?, &**sealed)));
    let secret =
        ledger_secret(newest).ok_or_else(|| refused("the ledger secret has no 32 bytes"))?;
    let newest = Period { from: newest_from, secret };
    unwind_rows(newest, past.filter(|(from, _)| *from < newest_from), &|_| false)
        .map_err(|error| refused(error.to_string()))
}

/// The secrets of a snapshot's ledger: those that are known, and those that its public part has for this node.
pub(crate) fn of_image(
    known: LedgerSecrets,
    cipher: &dyn NodeCipher,
    public: &StateImage<'_>,
) -> Result<LedgerSecrets, ReadPeriodError> {
    let rows = |name| public.map(name).into_iter().flat_map(|map| map.iter());
    let Some((_, at, row)) = rows(NODE_SECRETS_MAP).next() else { return Ok(known) };
    let row = NodeSecrets::read(row)?;
    let from = row.from(at);
    let is_known = |from: Seqno| known.periods().iter().any(|period| period.from == from);
    // What is before the first that is known is not for a service that is being recovered.
    if is_known(from) || !known.knows(from) {
        return Ok(known);
    }
    let secret = row.open(cipher).ok_or(ReadPeriodError::NotForThisNode { from })?;
    let past = rows(PAST_SECRETS_MAP).filter_map(|(key, _, sealed)| Some((seqno(key)?, sealed)));
    let fresh = unwind_rows(Period { from, secret }, past, &is_known)?;
    let first = fresh.first().map_or(from, |period| period.from);
    let kept = known.periods().iter().filter(|period| period.from < first).cloned();
    Ok(LedgerSecrets::new(kept.chain(fresh))?)
}

/// Where the newest period of a snapshot's ledger begins, if it is not the first.
pub(crate) fn newest_of_image(public: &StateImage<'_>) -> Result<Option<Seqno>, ReadPeriodError> {
    let rows = public.map(NODE_SECRETS_MAP).into_iter().flat_map(|map| map.iter());
    let mut newest = rows.map(|(_, at, row)| NodeSecrets::read(row).map(|row| row.from(at)));
    newest.next().transpose()
}

/// Opens secret after secret, newest first, until one that is known; oldest first in what comes out.
fn unwind_rows<'a>(
    newest: Period,
    past: impl Iterator<Item = (Seqno, &'a [u8])>,
    is_known: &dyn Fn(Seqno) -> bool,
) -> Result<Vec<Period>, ReadPeriodError> {
    let past: BTreeMap<Seqno, &[u8]> = past.collect();
    let mut periods = vec![newest];
    for (from, sealed) in past.into_iter().rev() {
        if is_known(from) {
            break;
        }
        let under = periods[periods.len() - 1].secret.secret();
        let secret = open_secret(under, sealed).and_then(|secret| ledger_secret(&secret));
        periods.push(Period { from, secret: secret.ok_or(ReadPeriodError::Past { from })? });
    }
    periods.reverse();
    Ok(periods)
}

/// Who reads on: nodes that members trust, and those that take part or may still do so, with their keys.
fn recipients(tx: &mut Transaction<'_>) -> Result<Vec<(NodeId, String)>, GovernanceError> {
    let map = tx.map(&MapName::from_static(CONFIGURATION_MAP));
    let row = map.and_then(|map| tx.get(map, singleton_key()));
    let row = row.map(|row| ConfigurationRow::read(&row)).transpose();
    let ConfigurationRow { voters, outgoing, learners } =
        row.map_err(|error| refused(error.to_string()))?.unwrap_or_default();
    let taking_part: BTreeSet<NodeId> =
        voters.into_iter().chain(outgoing).chain(learners).collect();
    let map = find(tx, NODES_MAP)?;
    let mut found = Vec::new();
    for (key, row) in tx.range(map, &[], None, usize::MAX) {
        let Some(node) = str::from_utf8(&key).ok().and_then(|key| key.parse().ok()) else {
            continue;
        };
        let row = read_node(node, &row).map_err(|error| refused(error.to_string()))?;
        // A node that leaves is sent entries until the configuration without it is in effect.
        let is_leaving = row.status == NodeStatus::Retired && !row.retired_committed;
        if row.status != NodeStatus::Trusted && !taking_part.contains(&node) && !is_leaving {
            continue;
        }
        if is_leaving && row.encryption_key_pem.is_none() {
            continue;
        }
        let key = row.encryption_key_pem.ok_or_else(|| {
            refused(format!(
                "the node {node} has no key that a new ledger secret could be encrypted to"
            ))
        })?;
        found.push((node, key));
    }
    Ok(found)
}

fn put(
    tx: &mut Transaction<'_>,
    map: &'static str,
    key: &[u8],
    value: Vec<u8>,
) -> Result<(), GovernanceError> {
    let map = find(tx, map)?;
    tx.put(map, key, value);
    Ok(())
}

pub(crate) fn find(
    tx: &Transaction<'_>,
    name: &'static str,
) -> Result<coco_kv::MapId, GovernanceError> {
    tx.map(&MapName::from_static(name)).ok_or_else(|| refused(format!("there is no table {name}")))
}

fn seqno(key: &[u8]) -> Option<Seqno> {
    Some(Seqno(u64::from_be_bytes(key.try_into().ok()?)))
}

fn ledger_secret(secret: &SecretBytes) -> Option<LedgerSecret> {
    let secret: &[u8; LEDGER_SECRET_BYTES] = secret.expose().try_into().ok()?;
    Some(LedgerSecret::new(secret))
}

pub(crate) fn refused(message: impl Into<String>) -> GovernanceError {
    GovernanceError::new(ErrorCode::InternalError, message)
}
