//! The key that seals private writes, and what is derived from it.

use std::{fmt, sync::Arc};

use coco_crypto::{AEAD_NONCE_BYTES, AeadKey, HmacKey, SecretBytes, hkdf_sha256};
use coco_planted::Bug;
use coco_types::TxId;

/// Bytes of a ledger secret.
pub const LEDGER_SECRET_BYTES: usize = 32;

/// The secret of one period of the ledger. Cheap to clone; `Debug` prints its name only.
#[derive(Clone)]
pub struct LedgerSecret(Arc<Keys>);

struct Keys {
    secret: SecretBytes,
    seal: AeadKey,
    commit: HmacKey,
}

impl LedgerSecret {
    /// Prepares the keys of a secret.
    #[must_use]
    pub fn new(secret: &[u8; LEDGER_SECRET_BYTES]) -> Self {
        let commit = coco_crypto::hmac_sha256(secret, COMMIT_LABEL);
        Self(Arc::new(Keys {
            secret: SecretBytes::new(secret.to_vec()),
            seal: AeadKey::new(secret),
            commit: HmacKey::new(&commit.0),
        }))
    }

    /// The secret itself, for whoever seals it to a disk or wraps it for a member.
    #[must_use]
    pub fn secret(&self) -> &SecretBytes {
        &self.0.secret
    }

    /// The commit evidence of a transaction: a text that only holders of the secret can make, revealed when the
    /// transaction is committed. Receipts carry it.
    #[must_use]
    pub fn commit_evidence(&self, tx_id: TxId) -> String {
        format!("ce:{tx_id}:{}", self.0.commit.sign(tx_id.to_string().as_bytes()))
    }

    /// The key of the fingerprints of history maps and of the placement of keys in memory. Every node of the service
    /// derives the same, so that their snapshots are the same.
    #[must_use]
    pub fn index_key(&self) -> [u64; 2] {
        let mut key = [0; 16];
        hkdf_sha256(self.0.secret.expose(), b"", INDEX_LABEL, &mut key);
        let key = u128::from_le_bytes(key);
        #[expect(clippy::cast_possible_truncation, reason = "the two halves of a u128")]
        [key as u64, (key >> 64) as u64]
    }

    /// A key derived from the secret, for one purpose.
    pub(crate) fn derived(&self, label: &[u8]) -> HmacKey {
        HmacKey::new(&coco_crypto::hmac_sha256(self.0.secret.expose(), label).0)
    }

    pub(crate) fn seal_key(&self) -> &AeadKey {
        &self.0.seal
    }
}

/// The nonce of an entry. A view has one primary and one log, so a transaction id names one entry and no nonce serves
/// twice; an entry that was rolled back is followed by one of a later view.
pub(crate) fn nonce(tx_id: TxId) -> [u8; AEAD_NONCE_BYTES] {
    let view = u32::try_from(tx_id.view.0).expect("a view has at most 31 bits");
    let mut nonce = [0; AEAD_NONCE_BYTES];
    nonce[..8].copy_from_slice(&tx_id.seqno.0.to_le_bytes());
    nonce[8..].copy_from_slice(&view.to_le_bytes());
    nonce
}

/// What the cipher takes as the nonce of an entry: the one that the entry shows.
pub(crate) fn cipher_nonce(tx_id: TxId) -> [u8; AEAD_NONCE_BYTES] {
    if coco_planted::is(Bug::SealBySeqno) {
        return nonce(TxId::new(0, tx_id.seqno.0));
    }
    nonce(tx_id)
}

/// What the commit key is derived under. Source: CCF.
const COMMIT_LABEL: &[u8] = b"Commit S";

/// What the key of indices is derived under.
const INDEX_LABEL: &[u8] = b"Coco index";

impl fmt::Debug for LedgerSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LedgerSecret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commit_evidence_names_its_transaction_and_needs_the_secret() {
        // Computed with Python's hmac module: HMAC(HMAC(zeros, "Commit S"), "2.15").
        let evidence = LedgerSecret::new(&[0; 32]).commit_evidence(TxId::new(2, 15));
        assert_eq!(evidence, format!("ce:2.15:{EXPECTED}"));
        assert_ne!(evidence, LedgerSecret::new(&[1; 32]).commit_evidence(TxId::new(2, 15)));
    }

    #[test]
    fn a_secret_prints_its_name_only() {
        assert_eq!(format!("{:?}", LedgerSecret::new(&[7; 32])), "LedgerSecret");
    }

    const EXPECTED: &str = "0aada90c51b845f80e7c9523ed3c30b4f752a3d09e21b6debe4f2be60c5b001d";
}
