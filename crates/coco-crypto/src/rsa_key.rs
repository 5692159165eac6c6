//! Keys of RSA by which makers sign evidence and endorsements: RSASSA-PSS with MGF1 of the same hash and a salt as long as it (RFC
//! 8017, section 8.1; PS256 and PS384 of RFC 8230).

use std::fmt;

use aws_lc_rs::{
    encoding::AsDer,
    rsa::PublicEncryptingKey,
    signature::{RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, UnparsedPublicKey},
};
use coco_types::Digest;
use thiserror::Error;

use crate::{RSA_BITS_MAX, RSA_BITS_MIN, SignatureInvalid, sha256, token_key::SPKI_BYTES_MAX};

/// A key by which no maker's signature is checked.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum RsaKeyError {
    /// Not the plain SPKI form of a key of RSA.
    #[error("not a public key of RSA in SPKI")]
    Form,
    /// Too short or too long.
    #[error("the key has {found} bits, of {RSA_BITS_MIN} to {RSA_BITS_MAX}")]
    Size {
        /// Bits of the key.
        found: usize,
    },
}

/// The hash of a signature under PSS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PssHash {
    /// SHA-256, and a salt of 32 bytes.
    Sha256,
    /// SHA-384, and a salt of 48 bytes.
    Sha384,
}

/// A public key of RSA in its one accepted form: SPKI in DER.
#[derive(Clone, PartialEq, Eq)]
pub struct RsaKey {
    spki: Vec<u8>,
}

impl RsaKey {
    /// Reads a key.
    ///
    /// # Errors
    /// [`RsaKeyError`] when the bytes are not exactly the accepted form of a key of RSA, or it is too short or too long.
    pub fn from_spki_der(spki: &[u8]) -> Result<Self, RsaKeyError> {
        if spki.len() > SPKI_BYTES_MAX {
            return Err(RsaKeyError::Form);
        }
        let key = PublicEncryptingKey::from_der(spki).map_err(|_| RsaKeyError::Form)?;
        let found = key.key_size_bits();
        if !(RSA_BITS_MIN..=RSA_BITS_MAX).contains(&found) {
            return Err(RsaKeyError::Size { found });
        }
        // One key, one encoding: policies name keys by digests of it.
        let canonical = key.as_der().map_err(|_| RsaKeyError::Form)?;
        if canonical.as_ref() == spki {
            Ok(Self { spki: spki.to_vec() })
        } else {
            Err(RsaKeyError::Form)
        }
    }

    /// The key in SPKI DER.
    #[must_use]
    pub fn spki_der(&self) -> &[u8] {
        &self.spki
    }

    /// SHA-256 of the SPKI DER.
    #[must_use]
    pub fn digest(&self) -> Digest {
        sha256(&self.spki)
    }

    /// Checks a signature under PSS.
    ///
    /// # Errors
    /// [`SignatureInvalid`].
    pub fn verify_pss(
        &self,
        hash: PssHash,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), SignatureInvalid> {
        let parameters = match hash {
            PssHash::Sha256 => &RSA_PSS_2048_8192_SHA256,
            PssHash::Sha384 => &RSA_PSS_2048_8192_SHA384,
        };
        let key = UnparsedPublicKey::new(parameters, &self.spki);
        key.verify(message, signature).map_err(|_| SignatureInvalid)
    }
}

impl fmt::Debug for RsaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RsaKey({})", self.digest())
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::{
        rand::SystemRandom,
        rsa::KeySize,
        signature::{
            KeyPair as _, RSA_PKCS1_SHA256, RSA_PSS_SHA256, RSA_PSS_SHA384, RsaEncoding, RsaKeyPair,
        },
    };

    use super::*;
    use crate::decode_pem;

    fn signed(pair: &RsaKeyPair, form: &'static dyn RsaEncoding, message: &[u8]) -> Vec<u8> {
        let mut signature = vec![0; pair.public_modulus_len()];
        pair.sign(form, &SystemRandom::new(), message, &mut signature).unwrap();
        signature
    }

    #[test]
    fn a_signature_counts_under_its_own_hash_and_key() {
        let [pair, other] = [(); 2].map(|()| RsaKeyPair::generate(KeySize::Rsa2048).unwrap());
        let [key, other] = [&pair, &other].map(|pair| {
            RsaKey::from_spki_der(pair.public_key().as_der().unwrap().as_ref()).unwrap()
        });
        let message = b"message";
        let forms: [(PssHash, &'static dyn RsaEncoding); 2] =
            [(PssHash::Sha256, &RSA_PSS_SHA256), (PssHash::Sha384, &RSA_PSS_SHA384)];
        for (hash, form) in forms {
            let signature = signed(&pair, form, message);
            assert_eq!(key.verify_pss(hash, message, &signature), Ok(()));
            assert!(key.verify_pss(hash, b"massage", &signature).is_err());
            assert!(other.verify_pss(hash, message, &signature).is_err());
            for (another, _) in forms.into_iter().filter(|(another, _)| *another != hash) {
                assert!(key.verify_pss(another, message, &signature).is_err());
            }
            assert!(key.verify_pss(hash, message, &signature[1..]).is_err());
            assert!(key.verify_pss(hash, message, &[&[0], &signature[..]].concat()).is_err());
        }
        let old = signed(&pair, &RSA_PKCS1_SHA256, message);
        assert!(key.verify_pss(PssHash::Sha256, message, &old).is_err());
    }

    #[test]
    fn keys_have_2048_to_4096_bits_and_one_form() {
        let der = |pem: &str| decode_pem("PUBLIC KEY", pem).unwrap().unwrap().expose().to_vec();
        let long = der(include_str!("../tests/vectors/rsa4096.public.pem"));
        assert_eq!(RsaKey::from_spki_der(&long).unwrap().spki_der(), long);
        for (other, expected) in [
            (include_str!("../tests/vectors/rsa1024.public.pem"), RsaKeyError::Form),
            (
                include_str!("../tests/vectors/rsa8192.public.pem"),
                RsaKeyError::Size { found: 8192 },
            ),
            (include_str!("../tests/vectors/p384.public.pem"), RsaKeyError::Form),
        ] {
            assert_eq!(RsaKey::from_spki_der(&der(other)), Err(expected));
        }
        assert!(RsaKey::from_spki_der(&[&long[..], &[0]].concat()).is_err());
        assert!(RsaKey::from_spki_der(&long[..long.len() - 1]).is_err());
        // Everything before the number is the same in every key of this size.
        for at in 0..33 {
            let mut other = long.clone();
            other[at] ^= 1;
            assert!(RsaKey::from_spki_der(&other).is_err(), "{at}");
        }
    }
}
