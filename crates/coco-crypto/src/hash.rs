//! SHA-256, and what is built on it.

use std::fmt;

use aws_lc_rs::{digest, hkdf, hmac};
use coco_types::Digest;

/// SHA-256 of `bytes`.
#[must_use]
pub fn sha256(bytes: &[u8]) -> Digest {
    to_digest(&digest::digest(&digest::SHA256, bytes))
}

/// SHA-384 of `bytes`.
///
/// # Panics
/// Never: the length of the digest is that of the hash.
#[must_use]
pub fn sha384(bytes: &[u8]) -> [u8; 48] {
    let digest = digest::digest(&digest::SHA384, bytes);
    digest.as_ref().try_into().expect("SHA-384 has 48 bytes")
}

/// HMAC-SHA-256 of `message` under `key`, of any length.
#[must_use]
pub fn hmac_sha256(key: &[u8], message: &[u8]) -> Digest {
    HmacKey::new(key).sign(message)
}

/// HKDF-SHA-256 (RFC 5869): fills `out` from `secret`, `salt` and `info`.
///
/// # Panics
/// When `out` is longer than 255 times 32 bytes, which the function does not define.
pub fn hkdf_sha256(secret: &[u8], salt: &[u8], info: &[u8], out: &mut [u8]) {
    struct Length(usize);
    impl hkdf::KeyType for Length {
        fn len(&self) -> usize {
            self.0
        }
    }
    hkdf::Salt::new(hkdf::HKDF_SHA256, salt)
        .extract(secret)
        .expand(&[info], Length(out.len()))
        .expect("at most 255 blocks are asked for")
        .fill(out)
        .expect("the length was given by the buffer itself");
}

/// SHA-256 over bytes that arrive in parts.
#[derive(Clone)]
pub struct Sha256(digest::Context);

impl Sha256 {
    /// Nothing hashed yet.
    #[must_use]
    pub fn new() -> Self {
        Self(digest::Context::new(&digest::SHA256))
    }

    /// Hashes `bytes` after what came before.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of everything that was given.
    #[must_use]
    pub fn finish(self) -> Digest {
        to_digest(&self.0.finish())
    }
}

impl Default for Sha256 {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sha256")
    }
}

/// An HMAC-SHA-256 key with its inner state prepared.
#[derive(Clone)]
pub struct HmacKey(hmac::Key);

impl HmacKey {
    /// Prepares `key`, of any length.
    #[must_use]
    pub fn new(key: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// The code of `message`.
    ///
    /// # Panics
    /// Never: the code is as long as a digest.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Digest {
        Digest(hmac::sign(&self.0, message).as_ref().try_into().expect("HMAC-SHA-256 has 32 bytes"))
    }
}

impl fmt::Debug for HmacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HmacKey")
    }
}

fn to_digest(digest: &digest::Digest) -> Digest {
    Digest(digest.as_ref().try_into().expect("SHA-256 has 32 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sha256_is_the_standard_one_whole_and_in_parts() {
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256(b"abc").to_string(), abc);
        let mut parts = Sha256::new();
        parts.update(b"a");
        parts.update(b"bc");
        assert_eq!(parts.finish().to_string(), abc);
    }

    #[test]
    fn hmac_matches_rfc_4231_case_2() {
        let code = hmac_sha256(b"Jefe", b"what do ya want for nothing?");
        assert_eq!(
            code.to_string(),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn hkdf_matches_rfc_5869_case_1() {
        let salt: Vec<u8> = (0..=0x0c).collect();
        let info: Vec<u8> = (0xf0..=0xf9).collect();
        let mut out = [0; 42];
        hkdf_sha256(&[0x0b; 22], &salt, &info, &mut out);
        assert_eq!(out[..4], [0x3c, 0xb2, 0x5f, 0x25]);
        assert_eq!(out[38..], [0x87, 0x18, 0x58, 0x65]);
    }

    #[test]
    fn keys_do_not_print() {
        assert_eq!(format!("{:?}", HmacKey::new(b"secret")), "HmacKey");
    }
}
