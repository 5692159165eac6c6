//! A member takes its own share out of a copy of the ledger.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use coco_crypto::{DecryptionKey, RecoveryShare};
use coco_types::Seqno;
use thiserror::Error;

use super::SecretChain;

/// A key that gives no share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum OpenShareError {
    /// Nobody holds a share.
    #[error("the ledger has no recovery shares")]
    NoShares,
    /// The key is nobody's who was given one.
    #[error("the key opens none of the {shares} shares that were dealt in the entry {at}")]
    NotHeld {
        /// The entry.
        at: Seqno,
        /// How many there are.
        shares: usize,
    },
}

impl SecretChain {
    /// The share of the last sharing that was encrypted to this key, with the id of the member it was dealt to.
    ///
    /// # Errors
    /// [`OpenShareError`]; also when something opens that is not the share by its recorded digest.
    pub fn open_share(
        &self,
        key: &DecryptionKey,
    ) -> Result<(String, RecoveryShare), OpenShareError> {
        let (at, row) = self.sharing.as_ref().ok_or(OpenShareError::NoShares)?;
        let open = |encrypted: &String| {
            let share = key.decrypt(&STANDARD.decode(encrypted).ok()?).ok()?;
            RecoveryShare::decode(share.expose()).ok()
        };
        let opened = row.encrypted_shares.iter().find_map(|(holder, encrypted)| {
            let share = open(encrypted).filter(|share| row.is_of(share, holder))?;
            Some((holder.clone(), share))
        });
        opened.ok_or(OpenShareError::NotHeld { at: *at, shares: row.encrypted_shares.len() })
    }
}
