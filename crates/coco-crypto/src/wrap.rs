//! A short secret sealed under a key, in CCF's form: `16 bytes tag | 12 bytes nonce | sealed bytes`.

use crate::{AEAD_NONCE_BYTES, AEAD_TAG_BYTES, AeadKey, SealError, SecretBytes};

impl AeadKey {
    /// Seals `secret`. The nonce stands in the result; the caller sees to it that it serves once under this key.
    #[must_use]
    pub fn wrap(&self, nonce: [u8; AEAD_NONCE_BYTES], secret: &SecretBytes) -> Vec<u8> {
        let mut wrapped = vec![0; HEAD_BYTES];
        wrapped.extend_from_slice(secret.expose());
        let tag = self.seal(nonce, b"", &mut wrapped[HEAD_BYTES..]);
        wrapped[..AEAD_TAG_BYTES].copy_from_slice(&tag);
        wrapped[AEAD_TAG_BYTES..HEAD_BYTES].copy_from_slice(&nonce);
        wrapped
    }

    /// Opens what [`AeadKey::wrap`] sealed.
    ///
    /// # Errors
    /// [`SealError`] when it was sealed under another key, or is anything else.
    pub fn unwrap(&self, wrapped: &[u8]) -> Result<SecretBytes, SealError> {
        let (tag, rest) = wrapped.split_first_chunk().ok_or(SealError)?;
        let (nonce, sealed) = rest.split_first_chunk().ok_or(SealError)?;
        self.open(*nonce, b"", sealed, tag).map(SecretBytes::new)
    }
}

const HEAD_BYTES: usize = AEAD_TAG_BYTES + AEAD_NONCE_BYTES;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_wrapped_unwraps_under_the_same_key_only() {
        let (key, secret) = (AeadKey::new(&[7; 32]), SecretBytes::new(vec![5; 32]));
        let wrapped = key.wrap([3; 12], &secret);
        assert_eq!((wrapped.len(), &wrapped[16..28]), (60, &[3; 12][..]));
        assert_eq!(key.unwrap(&wrapped), Ok(secret));
        assert_eq!(AeadKey::new(&[8; 32]).unwrap(&wrapped), Err(SealError));
        for at in 0..wrapped.len() {
            let mut altered = wrapped.clone();
            altered[at] ^= 1;
            assert_eq!(key.unwrap(&altered), Err(SealError), "byte {at}");
            assert_eq!(key.unwrap(&wrapped[..at]), Err(SealError), "{at} bytes");
        }
    }
}
