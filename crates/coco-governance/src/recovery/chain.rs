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
//! Whoever feeds it has verified the ledger, or opens its entries with what comes out: then each shows whether its secret is
//! the right one.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use coco_crypto::{RecoveryShare, SecretBytes, SharedSecret};
use coco_kv::{MapName, WriteSetView};
use coco_types::Seqno;
use thiserror::Error;

use super::{OpenSharingError, PastSecretRow, SharesRow, open_secret};
use crate::tables::{PAST_LEDGER_SECRET, RECOVERY_SHARES, singleton_key};

/// What a ledger says of its secrets, up to the last entry that was taken.
#[derive(Clone, Debug)]
pub struct SecretChain {
    /// The last sharing.
    pub(super) sharing: Option<(Seqno, SharesRow)>,
    /// What was said at the beginning of each period, oldest first.
    periods: Vec<Recorded>,
    shares_map: MapName,
    past_map: MapName,
}

#[derive(Clone, Debug)]
struct Recorded {
    /// The entry that said it.
    at: Seqno,
    /// The first entry of the period.
    from: Seqno,
    row: PastSecretRow,
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
        let [shares_map, past_map] =
            [RECOVERY_SHARES, PAST_LEDGER_SECRET].map(MapName::from_static);
        Self { sharing: None, periods: Vec::new(), shares_map, past_map }
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
        if let Some(row) = writes.get(&self.past_map, singleton_key()) {
            let row: PastSecretRow = serde_json::from_slice(row).map_err(wrong)?;
            let from = row.next_version.map_or(at.next(), Seqno);
            if let Some(before) = self.periods.last().filter(|before| before.from >= from) {
                let reason =
                    format!("a period from {from} does not follow one from {}", before.from);
                return Err(ChainError::Row { at, reason });
            }
            self.periods.push(Recorded { at, from, row });
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
        let [older @ .., last] = &self.periods[..] else { return Err(ChainError::NoShares) };
        let mut secrets = vec![(last.from, newest)];
        let mut later = last;
        for recorded in older.iter().rev() {
            let secret = past(later, Some(recorded.from), &secrets[secrets.len() - 1].1)?;
            secrets.push((recorded.from, secret));
            later = recorded;
        }
        // The first period has none before it.
        if let Some(previous) = &later.row.previous_ledger_secret {
            let named = Seqno(previous.version);
            return Err(ChainError::Gap { at: later.at, named, found: None });
        }
        secrets.reverse();
        Ok(secrets)
    }
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
    let Some(previous) = &later.row.previous_ledger_secret else {
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
