//! Keys by which certificates and requests are signed: on a curve of [`Curve`], or Ed25519; and the certificate of
//! one who signs requests.

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use coco_types::Digest;

use super::{CertificateError, Validity, algorithm_der, check_size, parse, validity_of};
use crate::{
    Curve, KeyError, PublicKey, SignatureInvalid,
    cose::ALGORITHM_EDDSA,
    pem::{self, Label},
    sha256,
};

/// A public key of either kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SignerKey {
    Ecdsa(PublicKey),
    /// The raw key.
    Ed25519([u8; 32]),
}

impl SignerKey {
    pub(super) fn from_spki_der(spki: &[u8]) -> Result<Self, KeyError> {
        match spki.strip_prefix(ED25519_SPKI) {
            Some(raw) => raw.try_into().map(Self::Ed25519).map_err(|_| KeyError::Public),
            None => PublicKey::from_spki_der(spki).map(Self::Ecdsa),
        }
    }

    /// How certificates say that such a key signed them, in DER.
    pub(super) const fn certificate_algorithm(&self) -> &'static [u8] {
        match self {
            Self::Ecdsa(key) => algorithm_der(key.curve()),
            Self::Ed25519(_) => ED25519_DER,
        }
    }

    /// Checks a signature as certificates carry it.
    pub(super) fn verify_certificate(
        &self,
        signed: &[u8],
        signature: &[u8],
    ) -> Result<(), SignatureInvalid> {
        match self {
            Self::Ecdsa(key) => key.verify_der(signed, signature),
            Self::Ed25519(key) => verify_ed25519(key, signed, signature),
        }
    }
}

/// The certificate of one who signs requests. Reading it believes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignerCertificate {
    der: Vec<u8>,
    digest: Digest,
    key: SignerKey,
    validity: Validity,
}

impl SignerCertificate {
    /// Reads the first certificate in a PEM text.
    ///
    /// # Errors
    /// [`CertificateError`] when there is none, it is unreadable, or its key is neither on P-256, P-384 or P-521 nor Ed25519.
    pub fn from_pem(text: &str) -> Result<Self, CertificateError> {
        Self::from_der(&pem::decode(Label::Certificate, text)?)
    }

    /// Reads a certificate in DER.
    ///
    /// # Errors
    /// [`CertificateError`], as above.
    pub fn from_der(der: &[u8]) -> Result<Self, CertificateError> {
        check_size(der)?;
        let parsed = parse(der)?;
        let key = SignerKey::from_spki_der(parsed.public_key().raw)?;
        let validity = validity_of(&parsed);
        Ok(Self { der: der.to_vec(), digest: sha256(der), key, validity })
    }

    /// The certificate in DER.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The certificate as PEM.
    #[must_use]
    pub fn pem(&self) -> String {
        pem::encode(Label::Certificate, &self.der)
    }

    /// From when to when it is valid.
    #[must_use]
    pub const fn validity(&self) -> Validity {
        self.validity
    }

    /// What its key is on, as people call it: `P256`, `P384`, `P521` or `Ed25519`.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match &self.key {
            SignerKey::Ecdsa(key) => match key.curve() {
                Curve::P256 => "P256",
                Curve::P384 => "P384",
                Curve::P521 => "P521",
            },
            SignerKey::Ed25519(_) => "Ed25519",
        }
    }

    /// Its key, if that is on a curve of ECDSA.
    #[must_use]
    pub const fn ecdsa_key(&self) -> Option<&PublicKey> {
        match &self.key {
            SignerKey::Ecdsa(key) => Some(key),
            SignerKey::Ed25519(_) => None,
        }
    }

    /// Whether it is that of this key of Ed25519.
    pub(super) fn is_of(&self, public: &[u8; 32]) -> bool {
        matches!(&self.key, SignerKey::Ed25519(key) if key == public)
    }

    /// SHA-256 of the DER: the id of a member whose certificate it is.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// COSE's number of the one algorithm that its key signs under.
    #[must_use]
    pub const fn cose_algorithm(&self) -> i64 {
        match &self.key {
            SignerKey::Ecdsa(key) => key.curve().cose_algorithm(),
            SignerKey::Ed25519(_) => ALGORITHM_EDDSA,
        }
    }

    /// Checks a signature as COSE carries it: `r || s`, or the 64 bytes of Ed25519.
    ///
    /// # Errors
    /// [`SignatureInvalid`].
    pub fn verify_cose(&self, signed: &[u8], signature: &[u8]) -> Result<(), SignatureInvalid> {
        match &self.key {
            SignerKey::Ecdsa(key) => key.verify_fixed(signed, signature),
            SignerKey::Ed25519(key) => verify_ed25519(key, signed, signature),
        }
    }
}

impl From<&super::Certificate> for SignerCertificate {
    fn from(certificate: &super::Certificate) -> Self {
        let key = SignerKey::Ecdsa(certificate.key().clone());
        let (digest, validity) = (certificate.digest(), certificate.validity());
        Self { der: certificate.der().to_vec(), digest, key, validity }
    }
}

fn verify_ed25519(key: &[u8; 32], signed: &[u8], signature: &[u8]) -> Result<(), SignatureInvalid> {
    UnparsedPublicKey::new(&ED25519, key).verify(signed, signature).map_err(|_| SignatureInvalid)
}

/// The identifier of Ed25519, whole.
const ED25519_DER: &[u8] = &[0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70];

/// What comes before the raw key in SPKI.
const ED25519_SPKI: &[u8] =
    &[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
    use rcgen::{CertificateParams, KeyPair};

    use crate::cose::{ALGORITHM_ES256, ALGORITHM_ES384, ALGORITHM_ES512};

    use super::*;

    fn certificate(algorithm: &'static rcgen::SignatureAlgorithm) -> (KeyPair, String) {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let pem = CertificateParams::default().self_signed(&key).unwrap().pem();
        (key, pem)
    }

    #[test]
    fn a_signature_of_ed25519_verifies_under_its_own_key() {
        let (key, pem) = certificate(&rcgen::PKCS_ED25519);
        let read = SignerCertificate::from_pem(&pem).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(&key.serialize_der()).unwrap();
        assert_eq!(read.key, SignerKey::Ed25519(pair.public_key().as_ref().try_into().unwrap()));
        assert_eq!(read.cose_algorithm(), ALGORITHM_EDDSA);
        let signature = pair.sign(b"message");
        assert_eq!(read.verify_cose(b"message", signature.as_ref()), Ok(()));
        assert!(read.verify_cose(b"massage", signature.as_ref()).is_err());
        let (_, other) = certificate(&rcgen::PKCS_ED25519);
        let other = SignerCertificate::from_pem(&other).unwrap();
        assert!(other.verify_cose(b"message", signature.as_ref()).is_err());
        assert!(read.verify_cose(b"message", &signature.as_ref()[..63]).is_err());
        assert!(read.verify_cose(b"message", b"").is_err());
    }

    #[test]
    fn curves_are_read_as_ever_and_nothing_else() {
        for (algorithm, expected) in [
            (&rcgen::PKCS_ECDSA_P256_SHA256, ALGORITHM_ES256),
            (&rcgen::PKCS_ECDSA_P384_SHA384, ALGORITHM_ES384),
            (&rcgen::PKCS_ECDSA_P521_SHA512, ALGORITHM_ES512),
        ] {
            let (_, pem) = certificate(algorithm);
            let read = SignerCertificate::from_pem(&pem).unwrap();
            assert_eq!(read.cose_algorithm(), expected);
            assert_eq!(
                read,
                SignerCertificate::from(&super::super::Certificate::from_pem(&pem).unwrap())
            );
        }
        let (_, rsa) = certificate(&rcgen::PKCS_RSA_SHA256);
        assert_eq!(
            SignerCertificate::from_pem(&rsa).unwrap_err(),
            CertificateError::Key(KeyError::Public)
        );
    }
}
