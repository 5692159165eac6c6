//! AES-256-GCM with nonces that the caller chooses.
//!
//! GCM breaks when one key seals two different messages under one nonce. Callers derive the nonce from something that
//! never repeats under that key: the ledger uses the transaction id.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use thiserror::Error;

/// Bytes of a key.
pub const AEAD_KEY_BYTES: usize = 32;

/// Bytes of a nonce.
pub const AEAD_NONCE_BYTES: usize = 12;

/// Bytes of an authentication tag.
pub const AEAD_TAG_BYTES: usize = 16;

/// Sealed bytes that do not open under this key, nonce and associated data.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
#[error("sealed bytes do not authenticate")]
pub struct SealError;

/// An AES-256-GCM key with its schedule prepared.
pub struct AeadKey(LessSafeKey);

impl AeadKey {
    /// Prepares `key`.
    ///
    /// # Panics
    /// Never: the length is in the type.
    #[must_use]
    pub fn new(key: &[u8; AEAD_KEY_BYTES]) -> Self {
        Self(LessSafeKey::new(
            UnboundKey::new(&AES_256_GCM, key).expect("32 bytes are a key of AES-256"),
        ))
    }

    /// Encrypts `bytes` in place and returns the tag over them and `associated`.
    ///
    /// # Panics
    /// Past 64 GiB, the limit of GCM; every input here is bounded far below.
    #[must_use]
    pub fn seal(
        &self,
        nonce: [u8; AEAD_NONCE_BYTES],
        associated: &[u8],
        bytes: &mut [u8],
    ) -> [u8; AEAD_TAG_BYTES] {
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self
            .0
            .seal_in_place_separate_tag(nonce, Aad::from(associated), bytes)
            .expect("sealing fails only past the length limit of GCM");
        tag.as_ref().try_into().expect("a tag of GCM has 16 bytes")
    }

    /// Checks the tag and decrypts `sealed` into a new buffer.
    ///
    /// # Errors
    /// [`SealError`] when key, nonce, associated data, bytes or tag are not those of the sealing.
    pub fn open(
        &self,
        nonce: [u8; AEAD_NONCE_BYTES],
        associated: &[u8],
        sealed: &[u8],
        tag: &[u8; AEAD_TAG_BYTES],
    ) -> Result<Vec<u8>, SealError> {
        let mut plain = vec![0; sealed.len()];
        self.0
            .open_separate_gather(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(associated),
                sealed,
                tag,
                &mut plain,
            )
            .map_err(|_| SealError)?;
        Ok(plain)
    }
}

impl fmt::Debug for AeadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AeadKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sealing_is_the_standard_one() {
        // Test case 14 of the GCM submission: zero key, zero nonce, 16 zero bytes.
        let mut bytes = [0; 16];
        let tag = AeadKey::new(&[0; 32]).seal([0; 12], b"", &mut bytes);
        assert_eq!(bytes[..4], [0xce, 0xa7, 0x40, 0x3d]);
        assert_eq!(tag[..4], [0xd0, 0xd1, 0xc8, 0xa7]);
    }

    #[test]
    fn what_was_sealed_opens_and_nothing_else_does() {
        let key = AeadKey::new(&[7; 32]);
        let mut bytes = *b"private";
        let tag = key.seal([1; 12], b"public", &mut bytes);
        assert_eq!(key.open([1; 12], b"public", &bytes, &tag).as_deref(), Ok(&b"private"[..]));
        assert_eq!(key.open([2; 12], b"public", &bytes, &tag), Err(SealError));
        assert_eq!(key.open([1; 12], b"Public", &bytes, &tag), Err(SealError));
        assert_eq!(key.open([1; 12], b"public", &bytes[1..], &tag), Err(SealError));
        assert_eq!(key.open([1; 12], b"public", &bytes, &[0; 16]), Err(SealError));
        assert_eq!(AeadKey::new(&[8; 32]).open([1; 12], b"public", &bytes, &tag), Err(SealError));
    }
}
