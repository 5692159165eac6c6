//! How a new ledger secret reaches the nodes, and shares of it the members: encrypted to each, in the ledger.

use std::{fmt, sync::Arc};

use coco_crypto::{DecryptionKey, EncryptionKey, SecretBytes};
use coco_ledger::{LedgerSecret, LedgerSecrets};
use thiserror::Error;

/// What encrypts to nodes and members, and decrypts what was encrypted to this node.
///
/// CCF's form is RSA-OAEP, and that is what a node's [`DecryptionKey`] does. Simulations bring a double.
pub trait NodeCipher: Send + Sync {
    /// Encrypts a secret to the key of a node or a member, as its row has it.
    ///
    /// # Errors
    /// [`NodeKeyError`] when nothing can be encrypted to it.
    fn encrypt(&self, key_pem: &str, secret: &SecretBytes) -> Result<Vec<u8>, NodeKeyError>;

    /// Decrypts what was encrypted to this node; nothing when it was not.
    fn decrypt(&self, encrypted: &[u8]) -> Option<SecretBytes>;
}

/// What a node reads its ledger with: the secrets that it was given, and what decrypts those that come later.
#[derive(Clone)]
pub struct Keyring {
    /// The secrets that it was given.
    pub secrets: LedgerSecrets,
    /// Its half of the key that its row names.
    pub cipher: Arc<dyn NodeCipher>,
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring").field("secrets", &self.secrets).finish_non_exhaustive()
    }
}

/// For ledgers whose secrets are all known.
impl From<LedgerSecrets> for Keyring {
    fn from(secrets: LedgerSecrets) -> Self {
        Self { secrets, cipher: Arc::new(()) }
    }
}

/// For ledgers of one period.
impl From<LedgerSecret> for Keyring {
    fn from(secret: LedgerSecret) -> Self {
        LedgerSecrets::from(secret).into()
    }
}

/// A key that nothing can be encrypted to.
#[derive(Debug, Error)]
#[error("nothing can be encrypted to the key: {0}")]
pub struct NodeKeyError(pub String);

impl NodeCipher for DecryptionKey {
    fn encrypt(&self, key_pem: &str, secret: &SecretBytes) -> Result<Vec<u8>, NodeKeyError> {
        let key =
            EncryptionKey::from_pem(key_pem).map_err(|error| NodeKeyError(error.to_string()))?;
        key.encrypt(secret.expose()).map_err(|error| NodeKeyError(error.to_string()))
    }

    fn decrypt(&self, encrypted: &[u8]) -> Option<SecretBytes> {
        Self::decrypt(self, encrypted).ok()
    }
}

/// Of one who has no key: it reads ledgers whose secrets it was given, and begins no period.
impl NodeCipher for () {
    fn encrypt(&self, _: &str, _: &SecretBytes) -> Result<Vec<u8>, NodeKeyError> {
        Err(NodeKeyError("there is no cipher here".to_owned()))
    }

    fn decrypt(&self, _: &[u8]) -> Option<SecretBytes> {
        None
    }
}
