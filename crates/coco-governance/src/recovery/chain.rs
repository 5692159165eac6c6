//! From one key back to all ledger secrets: what a ledger's public entries say of them.
//!
//! ```text
//!   entry:    1 ... 11            12 ... 40            41 ...
//!   secret:   first               second               third
//!   row at:   2: newest from 1    11: first under      40: second under
//!                                     second               third
//!   shares ─▶ key ─▶ third ─▶ second ─▶ first
//! ```
//!
//! Where nobody could hold a share when a period began, members' tables say nothing of it: then it is taken from what nodes go by.
//! The period from the first entry on needs no row of its own.
//!
//! Whoever feeds it has verified the ledger, or opens its entries with what comes out: then each shows whether its secret is
//! the right one.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use coco_crypto::{RecoveryShare, SecretBytes, SharedSecret};
use coco_kv::{MapImage, MapName, MapView, StateImage, WriteSetView};
use coco_types::Seqno;
use serde::Deserialize;
use thiserror::Error;

use super::{OpenSharingError, PastSecret, PastSecretRow, SharesRow, open_secret};
use crate::tables::{PAST_LEDGER_SECRET, RECOVERY_SHARES, singleton_key};

/// `one key -> JSON`: the newest ledger secret, encrypted to each node.
pub(crate) const NODE_SECRETS: &str = "public:coco.internal.node_ledger_secrets";
/// `first seqno of a period, big-endian -> bytes`: its secret, sealed under that of the period after it.
pub(crate) const PAST_SECRETS: &str = "public:coco.internal.past_ledger_secrets";

/// What a ledger says of its secrets, up to the last entry that was taken.
#[derive(Clone, Debug)]
pub struct SecretChain {
    /// The last sharing.
    pub(super) sharing: Option<(Seqno, SharesRow)>,
    /// What was said at the beginning of each period, oldest first.
    periods: Vec<Recorded>,
    /// Where the newest period begins by what nodes are told, that of a recovery which has not ended included.
    newest: Option<Seqno>,
    shares_map: MapName,
    past_map: MapName,
    node_secrets_map: MapName,
}

#[derive(Clone, Debug)]
struct Recorded {
    /// The entry that said it.
    at: Seqno,
    /// The first entry of the period.
    from: Seqno,
    /// The secret before, under this period's.
    previous: Option<PastSecret>,
}

/// A ledger whose secrets do not come out.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ChainError {
    /// A row is not as it should be.
    #[error("what the entry {at} says of ledger secrets cannot be read: {reason}")]
    Row {
        /// The entry.
        at: Seqno,
        /// What is wrong with it.
        reason: String,
    },
    /// Nobody holds a share.
    #[error("the ledger has no recovery shares")]
    NoShares,
    /// The shares give nothing.
    #[error("the shares dealt in the entry {at} do not give the newest ledger secret")]
    Sharing {
        /// The entry.
        at: Seqno,
        /// The cause.
        source: OpenSharingError,
    },
    /// A period is missing between two.
    #[error("the entry {at} names a period from {named}, and the one before it is from {found:?}")]
    Gap {
        /// The entry.
        at: Seqno,
        /// Where the period before should begin.
        named: Seqno,
        /// Where it does, if there is one.
        found: Option<Seqno>,
    },
    /// A secret does not open under the one after it.
    #[error("the ledger secret from {from} does not open under the next, in the entry {at}")]
    Past {
        /// The entry.
        at: Seqno,
        /// Where its period begins.
        from: Seqno,
    },
}

impl SecretChain {
    /// Nothing is known yet.
    #[must_use]
    pub fn new() -> Self {
        let [shares_map, past_map, node_secrets_map] =
            [RECOVERY_SHARES, PAST_LEDGER_SECRET, NODE_SECRETS].map(MapName::from_static);
        let (sharing, periods, newest) = (None, Vec::new(), None);
        Self { sharing, periods, newest, shares_map, past_map, node_secrets_map }
    }

    /// What is known after the entry of a snapshot, by its public part.
    ///
    /// # Errors
    /// [`ChainError::Row`].
    pub fn of_image(public: &StateImage<'_>) -> Result<Self, ChainError> {
        let mut chain = Self::new();
        let rows = |map| public.map(map).into_iter().flat_map(MapImage::iter);
        let one = |map| rows(map).find(|(key, ..)| *key == singleton_key());
        let wrong = |at, reason: String| ChainError::Row { at, reason };
        if let Some((_, at, row)) = one(RECOVERY_SHARES) {
            let row = serde_json::from_slice(row).map_err(|error| wrong(at, error.to_string()))?;
            chain.sharing = Some((at, row));
        }
        // Each secret before the newest, sealed under the next, and the entry that says so.
        let mut past = Vec::new();
        for (key, at, sealed) in rows(PAST_SECRETS) {
            let version = key.try_into().map(u64::from_be_bytes);
            let version = version.map_err(|_| wrong(at, format!("a row of {PAST_SECRETS}")))?;
            past.push((at, PastSecret { encrypted_data: STANDARD.encode(sealed), version }));
        }
        let mut newest = None;
        if let Some((_, at, row)) = one(NODE_SECRETS) {
            let row: NodeSecretsRow =
                serde_json::from_slice(row).map_err(|error| wrong(at, error.to_string()))?;
            let from = row.from.map_or(at.next(), Seqno);
            chain.newest = Some(from);
            // A recovery that has not ended keeps nothing yet: then the last period that is kept is not before its own.
            newest = past.last().is_some_and(|(kept, _)| *kept >= at).then_some(from);
        }
        if let Some((_, at, row)) = one(PAST_LEDGER_SECRET).filter(|_| newest.is_none()) {
            let row: PastSecretRow =
                serde_json::from_slice(row).map_err(|error| wrong(at, error.to_string()))?;
            newest = Some(row.next_version.map_or(at.next(), Seqno));
        }
        let begins: Vec<Seqno> = past.iter().map(|(_, secret)| Seqno(secret.version)).collect();
        let begins = begins.into_iter().skip(1).chain(newest);
        for ((at, previous), from) in past.into_iter().zip(begins) {
            chain.record(Recorded { at, from, previous: Some(previous) })?;
        }
        Ok(chain)
    }

    /// Takes the writes of the next entry; public ones suffice.
    ///
    /// # Errors
    /// [`ChainError::Row`].
    pub fn take(&mut self, at: Seqno, writes: &WriteSetView<'_>) -> Result<(), ChainError> {
        let wrong = |error: serde_json::Error| ChainError::Row { at, reason: error.to_string() };
        if let Some(row) = writes.get(&self.shares_map, singleton_key()) {
            self.sharing = Some((at, serde_json::from_slice(row).map_err(wrong)?));
        }
        if let Some(row) = writes.get(&self.node_secrets_map, singleton_key()) {
            let row: NodeSecretsRow = serde_json::from_slice(row).map_err(wrong)?;
            self.newest = Some(row.from.map_or(at.next(), Seqno));
        }
        let recorded = if let Some(row) = writes.get(&self.past_map, singleton_key()) {
            let row: PastSecretRow = serde_json::from_slice(row).map_err(wrong)?;
            let from = row.next_version.map_or(at.next(), Seqno);
            Some(Recorded { at, from, previous: row.previous_ledger_secret })
        } else {
            self.kept(at, writes)?
        };
        recorded.map_or(Ok(()), |recorded| self.record(recorded))
    }

    /// The period that begins by what nodes are told, with an entry that deals no shares: the secret before it is kept for them.
    fn kept(&self, at: Seqno, writes: &WriteSetView<'_>) -> Result<Option<Recorded>, ChainError> {
        let rows = writes.maps().iter().filter(|map| map.name() == PAST_SECRETS);
        let rows: Vec<_> = rows.flat_map(MapView::iter).collect();
        let Some(from) = self.newest.filter(|_| !rows.is_empty()) else { return Ok(None) };
        let wrong = || ChainError::Row { at, reason: format!("the rows of {PAST_SECRETS}") };
        let [(key, Some(sealed))] = rows[..] else { return Err(wrong()) };
        let version = u64::from_be_bytes(key.try_into().map_err(|_| wrong())?);
        let previous = PastSecret { encrypted_data: STANDARD.encode(sealed), version };
        Ok(Some(Recorded { at, from, previous: Some(previous) }))
    }

    fn record(&mut self, recorded: Recorded) -> Result<(), ChainError> {
        let Recorded { at, from, previous } = &recorded;
        match self.periods.last() {
            // A service that had another secret before it opened: the row of its opening names no secret before that.
            Some(before) if before.from == *from && previous.is_none() => {}
            Some(before) if before.from >= *from => {
                let reason =
                    format!("a period from {from} does not follow one from {}", before.from);
                return Err(ChainError::Row { at: *at, reason });
            }
            Some(_) | None => self.periods.push(recorded),
        }
        Ok(())
    }

    /// How many shares are needed.
    #[must_use]
    pub fn threshold(&self) -> Option<usize> {
        self.sharing.as_ref().map(|(_, row)| row.threshold)
    }

    /// Puts the key together from shares of the last sharing.
    ///
    /// # Errors
    /// [`ChainError`] that names a share that is not of it, or says how many are missing.
    pub fn combine(&self, shares: &[RecoveryShare]) -> Result<SharedSecret, ChainError> {
        let (at, row) = self.sharing.as_ref().ok_or(ChainError::NoShares)?;
        row.combine(shares).map_err(|source| ChainError::Sharing { at: *at, source })
    }

    /// All ledger secrets, oldest first, each with the first entry that is sealed under it.
    ///
    /// # Errors
    /// [`ChainError`].
    pub fn unwrap(&self, key: &SharedSecret) -> Result<Vec<(Seqno, SecretBytes)>, ChainError> {
        let (at, sharing) = self.sharing.as_ref().ok_or(ChainError::NoShares)?;
        let newest =
            sharing.unwrap(key).map_err(|source| ChainError::Sharing { at: *at, source })?;
        let [older @ .., last] = &self.periods[..] else {
            return Ok(vec![(FIRST, newest)]);
        };
        // It began when nobody could hold a share any more.
        if last.at > *at {
            return Err(ChainError::NoShares);
        }
        let mut secrets = vec![(last.from, newest)];
        let mut later = last;
        for recorded in older.iter().rev() {
            let secret = past(later, Some(recorded.from), &secrets[secrets.len() - 1].1)?;
            secrets.push((recorded.from, secret));
            later = recorded;
        }
        // The first period has none before it. It has no row where nobody could hold a share when the service opened.
        if let Some(previous) = &later.previous {
            let found = (previous.version == FIRST.0).then_some(FIRST);
            let secret = past(later, found, &secrets[secrets.len() - 1].1)?;
            secrets.push((FIRST, secret));
        }
        secrets.reverse();
        Ok(secrets)
    }
}

/// The first entry of the first period.
const FIRST: Seqno = Seqno(1);

/// What matters here of a row of [`NODE_SECRETS`].
#[derive(Deserialize)]
struct NodeSecretsRow {
    /// The first entry of the period; the next one, if left out.
    #[serde(default)]
    from: Option<u64>,
}

impl Default for SecretChain {
    fn default() -> Self {
        Self::new()
    }
}

/// The secret before that of a period.
fn past(
    later: &Recorded,
    found: Option<Seqno>,
    under: &SecretBytes,
) -> Result<SecretBytes, ChainError> {
    let at = later.at;
    let Some(previous) = &later.previous else {
        let reason = "it names no secret before, and there is one".to_owned();
        return Err(ChainError::Row { at, reason });
    };
    let named = Seqno(previous.version);
    if found != Some(named) {
        return Err(ChainError::Gap { at, named, found });
    }
    let sealed = STANDARD.decode(&previous.encrypted_data);
    sealed
        .ok()
        .and_then(|sealed| open_secret(under, &sealed))
        .ok_or(ChainError::Past { at, from: named })
}
