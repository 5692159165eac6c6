//! How members can bring a service back: who holds a share of what, and what happens when they send it in.
//!
//! ```text
//!   rekey, refresh or opening: share() ─▶ one row: the newest ledger secret under a key that is drawn for it, the key
//!                                         shared k of n and encrypted to each member, digests of the shares
//!              rekey, opening  ─────────▶ and another: the secret before, under the newest
//!   after a disaster: submit(), by k members, each share held against its digest
//!        └─▶ Effect::Recovered ─▶ SecretChain: the newest secret, from it the one before, and so all
//! ```
//!
//! Tables and rows are CCF's; `threshold` and `share_digests` are more than it has, and readers of its form pass over them.
//! docs/adr/0012 says why. What CCF keeps and is left out: where the row before was written, by which CCF finds it
//! without reading the ledger.
//!
//! Departures, each to be stricter: a wrong share is refused when it is sent and not when all have come; a member sends
//! one share; the threshold is that of the sharing, which a vote may have changed since; nonces are never those of an entry.

mod chain;
mod check;
mod own_share;
mod submit;

use std::{collections::BTreeMap, fmt};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use coco_crypto::{
    AEAD_NONCE_BYTES, AeadKey, CombineError, EncryptionKey, EncryptionKeyError, RecoveryShare,
    SHARES_MAX, SHARING_SEED_BYTES, SecretBytes, SharedSecret, hmac_sha256,
};
use coco_kv::Transaction;
use coco_types::Seqno;
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use chain::{ChainError, SecretChain};
pub use own_share::OpenShareError;
pub use submit::{EncryptedShareView, RecoveryProgress, encrypted_share, forget_submitted_shares};

pub(crate) use chain::{NODE_SECRETS, PAST_SECRETS};
pub(crate) use check::{Dealt, SEALED_SECRET_BYTES, check_dealt, has_enough, is_holder};
pub(crate) use submit::submit;

use crate::{
    ErrorCode, GovernanceError,
    tables::{
        self, ConfigurationRow, MEMBERS_ENCRYPTION_KEYS, MEMBERS_INFO, MemberRow, MemberStatus,
        PAST_LEDGER_SECRET, RECOVERY_SHARES, RecoveryRole, SERVICE_CONFIG, singleton_key,
    },
};

/// A ledger secret, and the first entry that is sealed under it.
#[derive(Clone, Copy, Debug)]
pub struct SecretFrom<'a> {
    /// The entry.
    pub from: Seqno,
    /// The secret, of 32 bytes.
    pub secret: &'a SecretBytes,
}

/// Why shares are dealt.
#[derive(Clone, Copy, Debug)]
pub enum Occasion<'a> {
    /// A service opens, for the first time or after a recovery.
    Opening {
        /// What seals its ledger.
        newest: SecretFrom<'a>,
        /// What sealed it before, after a recovery.
        previous: Option<SecretFrom<'a>>,
    },
    /// Members or the threshold changed.
    Refresh {
        /// The ledger secret, which stays.
        newest: &'a SecretBytes,
    },
    /// The ledger gets another secret, from the entry on that follows the one with these writes.
    Rekey {
        /// The other secret.
        next: &'a SecretBytes,
        /// The secret until then.
        previous: SecretFrom<'a>,
    },
}

/// Whether an active member has a key for a share.
///
/// # Errors
/// [`GovernanceError`] when the tables cannot be read.
pub fn has_recovery_members(tx: &mut Transaction<'_>) -> Result<bool, GovernanceError> {
    for (id, _) in tables::rows(tx, MEMBERS_ENCRYPTION_KEYS)? {
        let member: Option<MemberRow> = tables::read(tx, MEMBERS_INFO, &id)?;
        let takes_part = |member: MemberRow| {
            member.status == MemberStatus::Active
                && member.recovery_role != Some(RecoveryRole::NonParticipant)
        };
        if member.is_some_and(takes_part) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Encrypts a share to a key of its member, in PEM; or says why it cannot.
pub type EncryptShare<'a> = &'a dyn Fn(&str, &SecretBytes) -> Result<Vec<u8>, String>;

/// Encrypts a share in CCF's form, by RSA-OAEP: an [`EncryptShare`].
///
/// # Errors
/// What is wrong with the key.
pub fn encrypt_share(key_pem: &str, share: &SecretBytes) -> Result<Vec<u8>, String> {
    read_key(key_pem.as_bytes())?.encrypt(share.expose()).map_err(|error| error.to_string())
}

/// Deals shares to all active recovery members, and writes them down.
///
/// `seed` is as secret as the ledger secret itself, must not come into the ledger in any form, and serves once.
///
/// # Errors
/// [`GovernanceError`] when there is nobody to deal to, the threshold cannot be met, or a member's key is unusable. The
/// transaction is to be dropped then.
///
/// # Panics
/// When a ledger secret has not 32 bytes.
pub fn share(
    tx: &mut Transaction<'_>,
    occasion: &Occasion<'_>,
    seed: &[u8; SHARING_SEED_BYTES],
    encrypt: EncryptShare<'_>,
) -> Result<(), GovernanceError> {
    let (newest, past) = match *occasion {
        Occasion::Refresh { newest } => (newest, None),
        Occasion::Opening { newest: SecretFrom { from, secret }, previous } => {
            let previous = previous.map(|previous| PastSecret::new(previous, secret));
            let row =
                PastSecretRow { previous_ledger_secret: previous, next_version: Some(from.0) };
            (secret, Some(row))
        }
        Occasion::Rekey { next, previous } => {
            let previous = Some(PastSecret::new(previous, next));
            (next, Some(PastSecretRow { previous_ledger_secret: previous, next_version: None }))
        }
    };
    let row = RecoveryMembers::read(tx)?.deal(newest, seed, encrypt)?;
    tables::write(tx, RECOVERY_SHARES, singleton_key(), &row)?;
    if let Some(past) = past {
        tables::write(tx, PAST_LEDGER_SECRET, singleton_key(), &past)?;
    }
    Ok(())
}

/// The newest ledger secret of the last sharing, from the key that its shares give.
///
/// # Errors
/// [`GovernanceError`] when nothing was shared, or the key is not that one.
pub fn newest_secret(
    tx: &mut Transaction<'_>,
    key: &SharedSecret,
) -> Result<SecretBytes, GovernanceError> {
    let row: Option<SharesRow> = tables::read(tx, RECOVERY_SHARES, singleton_key())?;
    let row = row.ok_or_else(|| broken("the ledger has no recovery shares"))?;
    row.unwrap(key).map_err(|error| broken(error.to_string()))
}

/// Seals a ledger secret under another: how each is kept under the one after it.
///
/// # Panics
/// When `under` has not 32 bytes.
#[must_use]
pub fn seal_secret(under: &SecretBytes, secret: &SecretBytes) -> Vec<u8> {
    wrap_under(under, secret)
}

/// Opens what [`seal_secret`] sealed, if it is a ledger secret under this one.
///
/// # Panics
/// When `under` has not 32 bytes.
#[must_use]
pub fn open_secret(under: &SecretBytes, sealed: &[u8]) -> Option<SecretBytes> {
    let secret = ledger_key(under).unwrap(sealed).ok()?;
    (secret.expose().len() == LEDGER_SECRET_BYTES).then_some(secret)
}

/// The row of [`RECOVERY_SHARES`]. Bytes are in base64; keys within are ids of members.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SharesRow {
    /// The newest ledger secret, under the shared key.
    wrapped_latest_ledger_secret: String,
    /// What each member decrypts.
    encrypted_shares: BTreeMap<String, String>,
    /// How many shares give the key. Ours.
    threshold: usize,
    /// Of each share, in hexadecimal. Ours.
    share_digests: BTreeMap<String, String>,
}

/// The row of [`PAST_LEDGER_SECRET`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct PastSecretRow {
    /// None when the ledger has its first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    previous_ledger_secret: Option<PastSecret>,
    /// From which entry on the newest is used; by default from the one on that follows this row's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next_version: Option<u64>,
}

/// The secret before the newest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct PastSecret {
    /// In base64, under the newest.
    encrypted_data: String,
    /// From which entry on it was used.
    version: u64,
}

impl PastSecret {
    fn new(past: SecretFrom<'_>, newest: &SecretBytes) -> Self {
        let encrypted_data = STANDARD.encode(wrap_under(newest, past.secret));
        Self { encrypted_data, version: past.from.0 }
    }
}

/// Why shares that were sent give nothing.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum OpenSharingError {
    /// A share is none of this sharing.
    #[error(
        "the share number {number} belongs to no member of this sharing: it is wrong, or of another one"
    )]
    Unknown {
        /// Which of those that were given, from one.
        number: usize,
    },
    /// They do not suffice, or are there twice.
    #[error("the shares do not give the key")]
    Combine(#[from] CombineError),
    /// The shares are right, and what was recorded with them is not.
    #[error("the key that the recorded shares give does not open the recorded ledger secret")]
    Record,
}

impl SharesRow {
    /// The member that this share was dealt to.
    fn holder(&self, share: &RecoveryShare) -> Option<&str> {
        self.share_digests.keys().find(|holder| self.is_of(share, holder)).map(|holder| &**holder)
    }

    /// Whether this share was dealt to this member.
    fn is_of(&self, share: &RecoveryShare, holder: &str) -> bool {
        let digest = self.share_digests.get(holder);
        digest.is_some_and(|digest| share.digest(holder.as_bytes()).to_string() == *digest)
    }

    /// Puts the key together. Each share must be one of this sharing.
    fn combine(&self, shares: &[RecoveryShare]) -> Result<SharedSecret, OpenSharingError> {
        if let Some(at) = shares.iter().position(|share| self.holder(share).is_none()) {
            return Err(OpenSharingError::Unknown { number: at + 1 });
        }
        let secret = SharedSecret::combine(shares, self.threshold)?;
        self.unwrap(&secret)?;
        Ok(secret)
    }

    /// The newest ledger secret.
    fn unwrap(&self, key: &SharedSecret) -> Result<SecretBytes, OpenSharingError> {
        let wrapped = STANDARD.decode(&self.wrapped_latest_ledger_secret);
        let wrapped = wrapped.map_err(|_| OpenSharingError::Record)?;
        key.wrapping_key()
            .unwrap(&wrapped)
            .ok()
            .filter(|secret| secret.expose().len() == LEDGER_SECRET_BYTES)
            .ok_or(OpenSharingError::Record)
    }
}

/// Everyone who gets something.
struct RecoveryMembers {
    /// Those who hold shares, in the order of ids, and their keys in PEM.
    participants: Vec<(String, String)>,
    /// Those who hold the key itself.
    owners: Vec<(String, String)>,
    threshold: usize,
}

impl RecoveryMembers {
    /// Active members with a key, and how many of them are needed.
    fn read(tx: &mut Transaction<'_>) -> Result<Self, GovernanceError> {
        let (mut participants, mut owners) = (Vec::new(), Vec::new());
        for (id, pem) in tables::rows(tx, MEMBERS_ENCRYPTION_KEYS)? {
            let member: Option<MemberRow> = tables::read(tx, MEMBERS_INFO, &id)?;
            let Some(member) = member.filter(|member| member.status == MemberStatus::Active) else {
                continue;
            };
            let id = String::from_utf8_lossy(&id).into_owned();
            let holders = match member.recovery_role {
                Some(RecoveryRole::NonParticipant) => continue,
                Some(RecoveryRole::Owner) => &mut owners,
                // A key without a role is from before there were roles.
                Some(RecoveryRole::Participant) | None => &mut participants,
            };
            let usable = read_key(&pem).map(|_| String::from_utf8_lossy(&pem).into_owned());
            let pem = usable.map_err(|error| {
                broken(format!("the encryption key of the member {id} is unusable: {error}"))
            })?;
            holders.push((id, pem));
        }
        let row: Option<ConfigurationRow> = tables::read(tx, SERVICE_CONFIG, singleton_key())?;
        let threshold = row.and_then(|row| row.recovery_threshold).unwrap_or_default();
        let threshold = usize::try_from(threshold).unwrap_or(usize::MAX);
        let found = Self { participants, owners, threshold };
        found.check()?;
        Ok(found)
    }

    fn check(&self) -> Result<(), GovernanceError> {
        let Self { participants, owners, threshold } = self;
        let (shares, keys) = (participants.len(), owners.len());
        if shares + keys == 0 {
            return Err(broken("no active member has a key to encrypt a share to"));
        }
        if shares + keys > SHARES_MAX {
            let found = shares + keys;
            return Err(broken(format!("{found} recovery members, of at most {SHARES_MAX}")));
        }
        if *threshold == 0 {
            return Err(broken("the recovery threshold is not set, or zero"));
        }
        if *threshold > self.shares() {
            let message = format!(
                "the recovery threshold is {threshold}, and {shares} active members hold shares"
            );
            return Err(broken(message));
        }
        Ok(())
    }

    /// How many shares are dealt. Where all are owners there is one nevertheless, which nobody gets.
    fn shares(&self) -> usize {
        self.participants.len().max(1)
    }

    fn deal(
        &self,
        newest: &SecretBytes,
        seed: &[u8; SHARING_SEED_BYTES],
        encrypt: EncryptShare<'_>,
    ) -> Result<SharesRow, GovernanceError> {
        let (secret, shares) = SharedSecret::deal(seed, self.shares(), self.threshold)
            .map_err(|error| broken(error.to_string()))?;
        // The key is drawn for this one use: no other nonce is needed, and CCF has none.
        let wrapped = secret.wrapping_key().wrap([0; AEAD_NONCE_BYTES], newest);
        let mut row = SharesRow {
            wrapped_latest_ledger_secret: STANDARD.encode(wrapped),
            encrypted_shares: BTreeMap::new(),
            threshold: self.threshold,
            share_digests: BTreeMap::new(),
        };
        let parts = self.participants.iter().zip(shares.into_iter().map(RecoveryShare::from));
        let wholes = self.owners.iter().map(|owner| (owner, secret.clone().into()));
        for ((id, key), share) in parts.chain(wholes) {
            let encoded = SecretBytes::new(share.encode().to_vec());
            let encrypted = encrypt(key, &encoded).map_err(|error| {
                broken(format!("nothing can be encrypted to the member {id}: {error}"))
            })?;
            row.encrypted_shares.insert(id.clone(), STANDARD.encode(encrypted));
            row.share_digests.insert(id.clone(), share.digest(id.as_bytes()).to_string());
        }
        Ok(row)
    }
}

/// The key that a member gave for shares to be encrypted to.
pub(crate) fn read_key(pem: &[u8]) -> Result<EncryptionKey, String> {
    let chain = |error: EncryptionKeyError| match std::error::Error::source(&error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    };
    let pem = str::from_utf8(pem).map_err(|error| error.to_string())?;
    EncryptionKey::from_pem(pem).map_err(chain)
}

/// Seals a secret under a ledger secret, as CCF does, but with a nonce that follows from both. So no nonce serves for two
/// secrets, whoever seals; and its highest bit is set, which that of an entry never is.
fn wrap_under(under: &SecretBytes, secret: &SecretBytes) -> Vec<u8> {
    let nonce_key = hmac_sha256(under.expose(), NONCE_LABEL);
    let mut nonce = [0; AEAD_NONCE_BYTES];
    nonce.copy_from_slice(&hmac_sha256(&nonce_key.0, secret.expose()).0[..AEAD_NONCE_BYTES]);
    nonce[AEAD_NONCE_BYTES - 1] |= 0x80;
    ledger_key(under).wrap(nonce, secret)
}

fn ledger_key(secret: &SecretBytes) -> AeadKey {
    AeadKey::new(secret.expose().try_into().expect("a ledger secret has 32 bytes"))
}

/// What cannot be helped by whoever asks: the tables do not allow it.
fn broken(message: impl Into<String>) -> GovernanceError {
    GovernanceError::new(ErrorCode::InternalError, message)
}

const LEDGER_SECRET_BYTES: usize = coco_crypto::AEAD_KEY_BYTES;
const NONCE_LABEL: &[u8] = b"Coco nonce under a ledger secret";

impl fmt::Debug for RecoveryMembers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecoveryMembers")
            .field("threshold", &self.threshold)
            .finish_non_exhaustive()
    }
}
