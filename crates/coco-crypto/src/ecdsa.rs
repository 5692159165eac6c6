//! ECDSA over P-256, P-384 and P-521.
//!
//! Two ways to sign are offered because the ledger's formats use two: a node signs a Merkle root that *is* the
//! message digest (no further hash), and the service signs COSE structures with the curve's own hash.

use std::fmt;

use aws_lc_rs::{
    digest::{Digest as LcDigest, SHA256, SHA384, SHA512},
    encoding::AsDer,
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED,
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA256_ASN1, ECDSA_P384_SHA384_ASN1,
        ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P384_SHA384_FIXED, ECDSA_P384_SHA384_FIXED_SIGNING,
        ECDSA_P521_SHA256_ASN1, ECDSA_P521_SHA512_ASN1, ECDSA_P521_SHA512_ASN1_SIGNING,
        ECDSA_P521_SHA512_FIXED, ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair,
        EcdsaSigningAlgorithm, EcdsaVerificationAlgorithm, KeyPair as _, ParsedPublicKey,
        UnparsedPublicKey,
    },
};
use coco_types::{Digest, NodeId};
use thiserror::Error;

use crate::{
    SecretBytes,
    cose::{ALGORITHM_ES256, ALGORITHM_ES384, ALGORITHM_ES512},
    sha256,
};

/// The curves that are spoken here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Curve {
    /// NIST P-256, with SHA-256.
    P256,
    /// NIST P-384, with SHA-384: nodes and the service.
    P384,
    /// NIST P-521, with SHA-512: members may have it.
    P521,
}

/// A key that cannot be used.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum KeyError {
    /// Not the PKCS #8 form of a private key on the curve.
    #[error("not a private key of {0:?} in PKCS #8")]
    Private(Curve),
    /// Not the plain SPKI form of a public key on a known curve.
    #[error("not a public key of P-256, P-384 or P-521 in SPKI")]
    Public,
}

/// A signature that is not of this message by this key.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
#[error("the signature does not verify")]
pub struct SignatureInvalid;

/// A private key, wherever it is: in memory, or in a device that never gives it away.
pub trait Signer: fmt::Debug + Send + Sync {
    /// Its public half.
    fn public(&self) -> &PublicKey;

    /// Signs a message with the curve's own hash. The signature is `r || s`, as COSE carries it.
    ///
    /// # Errors
    /// [`SignError`] when a device does not do it.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError>;
}

/// A key that does not sign.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[error("the key does not sign: {reason}")]
pub struct SignError {
    /// What its device says.
    pub reason: String,
}

impl Signer for SigningKey {
    fn public(&self) -> &PublicKey {
        &self.public
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        Ok(self.sign_fixed(message))
    }
}

/// A private key. Cloning shares nothing secret with `Debug`, which prints the public key's digest.
#[derive(Clone)]
pub struct SigningKey {
    /// For signatures in DER.
    der: EcdsaKeyPair,
    /// The same key, for signatures as `r || s`.
    fixed: EcdsaKeyPair,
    public: PublicKey,
}

impl SigningKey {
    /// Makes a new key from the library's entropy.
    ///
    /// # Panics
    /// When the system has no entropy: nothing safe can follow.
    #[must_use]
    pub fn generate(curve: Curve) -> Self {
        let pair = EcdsaKeyPair::generate(curve.signing().0)
            .expect("making a key fails only without entropy");
        let secret = pkcs8(&pair);
        Self::from_pkcs8_der(curve, &secret).expect("a key just made parses")
    }

    /// Reads a key of `curve` from PKCS #8 in DER.
    ///
    /// # Errors
    /// [`KeyError::Private`] when the bytes are something else.
    ///
    /// # Panics
    /// Never: an accepted key has an encoding.
    pub fn from_pkcs8_der(curve: Curve, secret: &SecretBytes) -> Result<Self, KeyError> {
        let (der, fixed) = curve.signing();
        let read = |algorithm| {
            EcdsaKeyPair::from_pkcs8(algorithm, secret.expose())
                .map_err(|_| KeyError::Private(curve))
        };
        let (der, fixed) = (read(der)?, read(fixed)?);
        let spki = der.public_key().as_der().expect("a public key has an encoding");
        let public = PublicKey { curve, spki: spki.as_ref().to_vec() };
        Ok(Self { der, fixed, public })
    }

    /// The key in PKCS #8 DER, as TLS libraries take it and sealed files keep it.
    #[must_use]
    pub fn pkcs8_der(&self) -> SecretBytes {
        pkcs8(&self.der)
    }

    /// Its public half.
    #[must_use]
    pub const fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Signs a digest as it is, without hashing it again. The signature is in DER.
    ///
    /// # Panics
    /// Never with a key that was accepted.
    #[must_use]
    pub fn sign_prehashed(&self, digest: &Digest) -> Vec<u8> {
        let digest = match self.public.curve {
            Curve::P256 => LcDigest::import_less_safe(&digest.0, &SHA256),
            Curve::P384 => {
                // The library pairs P-384 with SHA-384 for signing. ECDSA reads a digest as one big-endian number and
                // does not shift one that is no longer than the group order, so 16 zero bytes before the 32 change
                // nothing but the length.
                let mut padded = [0; 48];
                padded[16..].copy_from_slice(&digest.0);
                LcDigest::import_less_safe(&padded, &SHA384)
            }
            Curve::P521 => {
                // As above, with SHA-512.
                let mut padded = [0; 64];
                padded[32..].copy_from_slice(&digest.0);
                LcDigest::import_less_safe(&padded, &SHA512)
            }
        };
        let digest = digest.expect("the length is that of the hash");
        self.der.sign_digest(&digest).expect("an accepted key signs").as_ref().to_vec()
    }

    /// Signs a message with the curve's own hash. The signature is in DER, as certificates carry it.
    ///
    /// # Panics
    /// Never with a key that was accepted.
    #[must_use]
    pub fn sign_der(&self, message: &[u8]) -> Vec<u8> {
        self.der
            .sign(&SystemRandom::new(), message)
            .expect("an accepted key signs")
            .as_ref()
            .to_vec()
    }

    /// Signs a message with the curve's own hash. The signature is `r || s`, as COSE carries it.
    ///
    /// # Panics
    /// Never with a key that was accepted.
    #[must_use]
    pub fn sign_fixed(&self, message: &[u8]) -> Vec<u8> {
        self.fixed
            .sign(&SystemRandom::new(), message)
            .expect("an accepted key signs")
            .as_ref()
            .to_vec()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({:?} {})", self.public.curve, self.public.digest())
    }
}

/// A public key in its one accepted form: SPKI in DER with a named curve and an uncompressed point.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PublicKey {
    curve: Curve,
    spki: Vec<u8>,
}

impl PublicKey {
    /// Reads a key.
    ///
    /// # Errors
    /// [`KeyError::Public`] when the bytes are not exactly the accepted form of a point on a known curve.
    pub fn from_spki_der(spki: &[u8]) -> Result<Self, KeyError> {
        for curve in Curve::ALL {
            let Ok(key) = ParsedPublicKey::new(curve.verifying().0, spki) else { continue };
            // One key, one encoding: node ids are digests of it.
            let canonical = key.as_der().map_err(|_| KeyError::Public)?;
            if canonical.as_ref() == spki {
                return Ok(Self { curve, spki: spki.to_vec() });
            }
        }
        Err(KeyError::Public)
    }

    /// The key with these coordinates, big-endian and of the curve's full length.
    ///
    /// # Errors
    /// [`KeyError::Public`] when they are no point of the curve.
    pub fn from_coordinates(curve: Curve, x: &[u8], y: &[u8]) -> Result<Self, KeyError> {
        let (prefix, bytes): (&[u8], usize) = match curve {
            Curve::P256 => (SPKI_P256, 32),
            Curve::P384 => (SPKI_P384, 48),
            Curve::P521 => (SPKI_P521, 66),
        };
        if x.len() != bytes || y.len() != bytes {
            return Err(KeyError::Public);
        }
        let key = Self::from_spki_der(&[prefix, x, y].concat())?;
        if key.curve == curve { Ok(key) } else { Err(KeyError::Public) }
    }

    /// The key of this uncompressed point: 4, and both coordinates.
    ///
    /// # Errors
    /// [`KeyError::Public`] when it is no point of the curve in this form.
    pub fn from_point(curve: Curve, point: &[u8]) -> Result<Self, KeyError> {
        let Some((4, coordinates)) = point.split_first() else { return Err(KeyError::Public) };
        let (x, y) = coordinates.split_at(coordinates.len() / 2);
        Self::from_coordinates(curve, x, y)
    }

    /// Its curve.
    #[must_use]
    pub const fn curve(&self) -> Curve {
        self.curve
    }

    /// The key in SPKI DER.
    #[must_use]
    pub fn spki_der(&self) -> &[u8] {
        &self.spki
    }

    /// The key in SPKI as PEM.
    #[must_use]
    pub fn to_pem(&self) -> String {
        crate::pem::encode(crate::pem::Label::PublicKey, &self.spki)
    }

    /// SHA-256 of the SPKI DER: what key identifiers in COSE headers spell out in hex.
    #[must_use]
    pub fn digest(&self) -> Digest {
        sha256(&self.spki)
    }

    /// The node id that belongs to this key.
    #[must_use]
    pub fn node_id(&self) -> NodeId {
        NodeId(self.digest().0)
    }

    /// The point, uncompressed.
    pub(crate) fn point(&self) -> &[u8] {
        let bytes = match self.curve {
            Curve::P256 => 65,
            Curve::P384 => 97,
            Curve::P521 => 133,
        };
        &self.spki[self.spki.len() - bytes..]
    }

    /// Checks a signature in DER over a digest that was not hashed again.
    ///
    /// # Errors
    /// [`SignatureInvalid`].
    ///
    /// # Panics
    /// Never: the length of the digest is in its type.
    pub fn verify_prehashed(
        &self,
        digest: &Digest,
        signature: &[u8],
    ) -> Result<(), SignatureInvalid> {
        let algorithm = match self.curve {
            Curve::P256 => &ECDSA_P256_SHA256_ASN1,
            Curve::P384 => &ECDSA_P384_SHA256_ASN1,
            Curve::P521 => &ECDSA_P521_SHA256_ASN1,
        };
        let digest =
            LcDigest::import_less_safe(&digest.0, &SHA256).expect("the length is that of the hash");
        UnparsedPublicKey::new(algorithm, &self.spki)
            .verify_digest(&digest, signature)
            .map_err(|_| SignatureInvalid)
    }

    /// Checks a signature in DER over a message under the curve's own hash.
    ///
    /// # Errors
    /// [`SignatureInvalid`].
    pub fn verify_der(&self, message: &[u8], signature: &[u8]) -> Result<(), SignatureInvalid> {
        UnparsedPublicKey::new(self.curve.verifying().0, &self.spki)
            .verify(message, signature)
            .map_err(|_| SignatureInvalid)
    }

    /// Checks a signature `r || s` over a message under the curve's own hash.
    ///
    /// # Errors
    /// [`SignatureInvalid`].
    pub fn verify_fixed(&self, message: &[u8], signature: &[u8]) -> Result<(), SignatureInvalid> {
        UnparsedPublicKey::new(self.curve.verifying().1, &self.spki)
            .verify(message, signature)
            .map_err(|_| SignatureInvalid)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({:?} {})", self.curve, self.digest())
    }
}

impl Curve {
    /// All of them, the most used first.
    pub const ALL: [Self; 3] = [Self::P384, Self::P256, Self::P521];

    /// COSE's number of the algorithm by which keys on it sign (RFC 9053, section 2.1).
    #[must_use]
    pub const fn cose_algorithm(self) -> i64 {
        match self {
            Self::P256 => ALGORITHM_ES256,
            Self::P384 => ALGORITHM_ES384,
            Self::P521 => ALGORITHM_ES512,
        }
    }

    /// The library's signing algorithms: signatures in DER, and as `r || s`.
    pub(crate) const fn signing(
        self,
    ) -> (&'static EcdsaSigningAlgorithm, &'static EcdsaSigningAlgorithm) {
        match self {
            Self::P256 => (&ECDSA_P256_SHA256_ASN1_SIGNING, &ECDSA_P256_SHA256_FIXED_SIGNING),
            Self::P384 => (&ECDSA_P384_SHA384_ASN1_SIGNING, &ECDSA_P384_SHA384_FIXED_SIGNING),
            Self::P521 => (&ECDSA_P521_SHA512_ASN1_SIGNING, &ECDSA_P521_SHA512_FIXED_SIGNING),
        }
    }

    /// The library's verification algorithms, in the same order.
    const fn verifying(
        self,
    ) -> (&'static EcdsaVerificationAlgorithm, &'static EcdsaVerificationAlgorithm) {
        match self {
            Self::P256 => (&ECDSA_P256_SHA256_ASN1, &ECDSA_P256_SHA256_FIXED),
            Self::P384 => (&ECDSA_P384_SHA384_ASN1, &ECDSA_P384_SHA384_FIXED),
            Self::P521 => (&ECDSA_P521_SHA512_ASN1, &ECDSA_P521_SHA512_FIXED),
        }
    }
}

/// What comes before the coordinates in SPKI: the curve, and that the point is uncompressed.
const SPKI_P256: &[u8] = b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00\x04";
const SPKI_P384: &[u8] = b"\x30\x76\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22\x03\x62\x00\x04";
const SPKI_P521: &[u8] = b"\x30\x81\x9b\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x23\x03\x81\x86\x00\x04";

pub(crate) fn pkcs8(pair: &EcdsaKeyPair) -> SecretBytes {
    let document = pair.to_pkcs8v1().expect("a private key has an encoding");
    SecretBytes::new(document.as_ref().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_verify_under_their_own_key_message_and_form() {
        for curve in Curve::ALL {
            let (key, other) = (SigningKey::generate(curve), SigningKey::generate(curve));
            let digest = sha256(b"message");
            let prehashed = key.sign_prehashed(&digest);
            assert_eq!(key.public().verify_prehashed(&digest, &prehashed), Ok(()));
            assert!(key.public().verify_prehashed(&sha256(b"other"), &prehashed).is_err());
            assert!(other.public().verify_prehashed(&digest, &prehashed).is_err());

            let fixed = key.sign_fixed(b"message");
            assert_eq!(key.public().verify_fixed(b"message", &fixed), Ok(()));
            assert!(key.public().verify_fixed(b"massage", &fixed).is_err());
            assert!(key.public().verify_der(b"message", &fixed).is_err());

            let der = key.sign_der(b"message");
            assert_eq!(key.public().verify_der(b"message", &der), Ok(()));
            assert!(other.public().verify_der(b"message", &der).is_err());
        }
    }

    #[test]
    fn keys_survive_their_encodings() {
        for curve in Curve::ALL {
            let key = SigningKey::generate(curve);
            let again = SigningKey::from_pkcs8_der(curve, &key.pkcs8_der()).unwrap();
            assert_eq!(again.public(), key.public());
            let public = PublicKey::from_spki_der(key.public().spki_der()).unwrap();
            assert_eq!(public.verify_der(b"m", &again.sign_der(b"m")), Ok(()));
        }
    }

    #[test]
    fn a_key_is_made_of_its_coordinates() {
        for curve in Curve::ALL {
            let key = SigningKey::generate(curve);
            let point = &key.public().point()[1..];
            let (x, y) = point.split_at(point.len() / 2);
            assert_eq!(PublicKey::from_coordinates(curve, x, y), Ok(key.public().clone()));
            for (x, y) in [(y, x), (&x[1..], y), (x, &y[1..]), (point, b"")] {
                assert_eq!(PublicKey::from_coordinates(curve, x, y), Err(KeyError::Public));
            }
        }
    }

    #[test]
    fn other_forms_of_a_key_are_refused() {
        let key = SigningKey::generate(Curve::P384);
        assert_eq!(PublicKey::from_spki_der(key.public().point()), Err(KeyError::Public));
        assert_eq!(PublicKey::from_spki_der(b""), Err(KeyError::Public));
        let mut long = key.public().spki_der().to_vec();
        long.push(0);
        assert_eq!(PublicKey::from_spki_der(&long), Err(KeyError::Public));
        assert!(SigningKey::from_pkcs8_der(Curve::P256, &key.pkcs8_der()).is_err());
    }

    #[test]
    fn a_private_key_prints_its_public_digest_only() {
        let key = SigningKey::generate(Curve::P384);
        assert_eq!(format!("{key:?}"), format!("SigningKey(P384 {})", key.public().digest()));
    }
}
