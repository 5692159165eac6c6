//! A member's key with the certificate by which the service knows it.

use std::{fmt, sync::Arc};

use coco_crypto::{
    Certificate, CertificateError, Ed25519Key, KeyPemError, MemberSigner, SignError,
    SignerCertificate, SigningKey,
};
use coco_governance::MemberId;
use thiserror::Error;

/// A key and a certificate that make no member.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MemberKeyError {
    /// The key cannot be read.
    #[error("the private key cannot be read")]
    Key(#[from] KeyPemError),
    /// The certificate cannot be read.
    #[error("the certificate cannot be read")]
    Certificate(#[from] CertificateError),
    /// The certificate is that of another key.
    #[error("the certificate {0} is that of another key")]
    Pair(MemberId),
}

/// What a member signs with. `Debug` prints the member's id and nothing secret.
#[derive(Clone)]
pub struct MemberKey {
    key: MemberSigner,
    certificate: SignerCertificate,
}

impl MemberKey {
    /// Puts a key and its certificate together.
    ///
    /// # Errors
    /// [`MemberKeyError::Pair`] when they do not belong together.
    pub fn new(key: SigningKey, certificate: Certificate) -> Result<Self, MemberKeyError> {
        Self::of(MemberSigner::Ecdsa(Arc::new(key)), (&certificate).into())
    }

    /// The same, with a key of any kind, which may be in a device.
    ///
    /// # Errors
    /// [`MemberKeyError::Pair`] when they do not belong together.
    pub fn of(key: MemberSigner, certificate: SignerCertificate) -> Result<Self, MemberKeyError> {
        if !key.is_of(&certificate) {
            return Err(MemberKeyError::Pair(MemberId(certificate.digest())));
        }
        Ok(Self { key, certificate })
    }

    /// Reads both from their PEM texts: the key in PKCS #8 or SEC 1, on P-256, P-384 or P-521, or of Ed25519.
    ///
    /// # Errors
    /// [`MemberKeyError`] when one cannot be read, or they do not belong together.
    pub fn from_pem(key: &str, certificate: &str) -> Result<Self, MemberKeyError> {
        let key = match SigningKey::from_pem(key) {
            Err(KeyPemError::Kind) => MemberSigner::Ed25519(Ed25519Key::from_pem(key)?),
            read => MemberSigner::Ecdsa(Arc::new(read?)),
        };
        Self::of(key, SignerCertificate::from_pem(certificate)?)
    }

    /// What the service calls the member: SHA-256 of the certificate in DER.
    #[must_use]
    pub fn id(&self) -> MemberId {
        MemberId(self.certificate.digest())
    }

    /// Its certificate.
    #[must_use]
    pub const fn certificate(&self) -> &SignerCertificate {
        &self.certificate
    }

    /// A signature as COSE carries it.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        self.key.sign(message)
    }
}

impl fmt::Debug for MemberKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemberKey({})", self.id())
    }
}

#[cfg(test)]
mod tests {
    use coco_crypto::{Curve, Validity, member_certificate};

    use super::*;

    #[test]
    fn a_key_and_another_keys_certificate_make_no_member() {
        let validity = Validity { not_before: 0, not_after: 9 };
        let (one, other) = (SigningKey::generate(Curve::P384), SigningKey::generate(Curve::P384));
        let certificate = member_certificate(&one, "one", validity).unwrap();
        let member = MemberKey::new(one, certificate.clone()).unwrap();
        assert_eq!(member.id().0, certificate.digest());
        assert_eq!(format!("{member:?}"), format!("MemberKey({})", certificate.digest()));
        let refused = MemberKey::new(other, certificate).unwrap_err();
        assert_eq!(refused, MemberKeyError::Pair(member.id()));
    }
}
