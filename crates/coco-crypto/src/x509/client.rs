//! Certificates by which clients are recognised: the one that a client shows, and that of an authority which issues them.
//!
//! The key of a client may be of any kind that TLS takes: who shows a certificate has proved there to hold its key, and
//! here the certificate counts by its bytes or by its issuer. An authority's key is on a curve of [`Curve`](crate::Curve),
//! signing with the curve's own hash, or Ed25519. A chain has two certificates: an authority issues for clients, and for
//! no authorities.

use std::{collections::BTreeSet, fmt};

use coco_types::Digest;
use x509_parser::{certificate::X509Certificate, oid_registry::Oid};

use super::{
    CertificateError, Validity, check_size, parse, signed::check_signed, signer::SignerKey,
    validity_of,
};
use crate::{pem, sha256};

/// A certificate that a client shows. Reading it believes nothing.
pub struct ClientCertificate<'a> {
    der: &'a [u8],
    parsed: X509Certificate<'a>,
}

impl<'a> ClientCertificate<'a> {
    /// Reads a certificate in DER.
    ///
    /// # Errors
    /// [`CertificateError`] when the bytes are too many or no certificate.
    pub fn read(der: &'a [u8]) -> Result<Self, CertificateError> {
        check_size(der)?;
        Ok(Self { der, parsed: parse(der)? })
    }

    /// SHA-256 of the DER: what names one certificate that is known by its bytes.
    #[must_use]
    pub fn digest(&self) -> Digest {
        sha256(self.der)
    }

    /// SHA-256 of the part that its issuer signed: what names one that is known by its issuer. Whoever has an ECDSA signature
    /// can make a second one of it that verifies as well, and so another certificate, but no other signed part.
    #[must_use]
    pub fn signed_digest(&self) -> Digest {
        sha256(self.parsed.tbs_certificate.as_ref())
    }

    /// The period it claims.
    #[must_use]
    pub fn validity(&self) -> Validity {
        validity_of(&self.parsed)
    }

    /// Its serial number in lower-case hexadecimal, without zeros at the front.
    #[must_use]
    pub fn serial(&self) -> String {
        let digits: String =
            self.parsed.raw_serial().iter().map(|byte| format!("{byte:02x}")).collect();
        match digits.trim_start_matches('0') {
            "" => "0".to_owned(),
            digits => digits.to_owned(),
        }
    }

    /// Checks that it is meant for a client: no authority's, for client authentication if it says for what, without
    /// conditions that are not known here, and without extensions that are doubled or cannot be read.
    ///
    /// # Errors
    /// [`CertificateError`] with the first thing that is wrong.
    pub fn check_use(&self) -> Result<(), CertificateError> {
        check_extensions(&self.parsed)?;
        if is_authority(&self.parsed)? {
            return Err(CertificateError::NotForClients("it is an authority's"));
        }
        let usage = self.parsed.extended_key_usage().map_err(|_| CertificateError::Der)?;
        if usage.is_some_and(|usage| !usage.value.client_auth && !usage.value.any) {
            return Err(CertificateError::NotForClients("its extended key usage"));
        }
        let usage = self.parsed.key_usage().map_err(|_| CertificateError::Der)?;
        if usage.is_some_and(|usage| !usage.value.digital_signature()) {
            return Err(CertificateError::NotForClients("its key usage"));
        }
        Ok(())
    }

    /// Whether it names this authority as its issuer: cheap, and believed by nobody.
    #[must_use]
    pub fn names(&self, authority: &UserAuthority) -> bool {
        self.parsed.issuer().as_raw() == authority.subject
    }

    /// Checks that an authority issued it.
    ///
    /// # Errors
    /// [`CertificateError`] with the first thing that is wrong.
    pub fn verify_issued_by(&self, authority: &UserAuthority) -> Result<(), CertificateError> {
        if !self.names(authority) {
            return Err(CertificateError::Issuer);
        }
        let (key, algorithm) = (&authority.key, authority.key.certificate_algorithm());
        check_signed(self.der, &self.parsed, algorithm, |signed, signature| {
            key.verify_certificate(signed, signature)
        })
    }
}

impl fmt::Debug for ClientCertificate<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientCertificate({})", self.digest())
    }
}

/// The certificate of an authority whose clients are recognised. It may be issued by another one, which nobody asks for:
/// it is trusted by its bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct UserAuthority {
    der: Vec<u8>,
    subject: Vec<u8>,
    key: SignerKey,
    validity: Validity,
}

impl UserAuthority {
    /// Reads a text with one certificate, which says that it may issue others.
    ///
    /// # Errors
    /// [`CertificateError`] when there are several, it is unreadable, has a key of another kind, may not issue, or has
    /// conditions that are not known here or extensions that are doubled or cannot be read.
    pub fn from_pem(text: &str) -> Result<Self, CertificateError> {
        // One more than is taken, to tell how many there are.
        let mut bundle = pem::decode_all(text, 2)?;
        let (Some(der), true) = (bundle.pop(), bundle.is_empty()) else {
            return Err(CertificateError::NotOne { found: bundle.len() + 1 });
        };
        check_size(&der)?;
        let parsed = parse(&der)?;
        check_extensions(&parsed)?;
        let usage = parsed.key_usage().map_err(|_| CertificateError::Der)?;
        if !is_authority(&parsed)? || usage.is_some_and(|usage| !usage.value.key_cert_sign()) {
            return Err(CertificateError::NoAuthority);
        }
        let key = SignerKey::from_spki_der(parsed.public_key().raw)?;
        let (subject, validity) = (parsed.subject().as_raw().to_vec(), validity_of(&parsed));
        Ok(Self { subject, key, validity, der })
    }

    /// SHA-256 of the DER.
    #[must_use]
    pub fn digest(&self) -> Digest {
        sha256(&self.der)
    }

    /// The period it claims.
    #[must_use]
    pub const fn validity(&self) -> Validity {
        self.validity
    }
}

impl fmt::Debug for UserAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UserAuthority({})", self.digest())
    }
}

/// The key of a certificate in SPKI, of whatever kind.
///
/// # Errors
/// [`CertificateError`] when the bytes are too many or no certificate.
pub fn certificate_key(der: &[u8]) -> Result<Vec<u8>, CertificateError> {
    check_size(der)?;
    Ok(parse(der)?.public_key().raw.to_vec())
}

/// Whether a certificate may issue others, by what it says once.
fn is_authority(certificate: &X509Certificate<'_>) -> Result<bool, CertificateError> {
    let constraints = certificate.basic_constraints().map_err(|_| CertificateError::Der)?;
    Ok(constraints.is_some_and(|constraints| constraints.value.ca))
}

/// Checks that each extension stands once and can be read, so that none counts as absent, and that whatever a certificate
/// makes a condition is looked at here, or says nothing about whoever shows it.
pub(super) fn check_extensions(certificate: &X509Certificate<'_>) -> Result<(), CertificateError> {
    let mut seen = BTreeSet::new();
    for found in certificate.extensions() {
        if !seen.insert(found.oid.as_bytes()) || found.parsed_extension().error().is_some() {
            return Err(CertificateError::Der);
        }
    }
    let is_known = |oid: &Oid<'_>| KNOWN_EXTENSIONS.contains(&oid.as_bytes());
    if certificate.extensions().iter().all(|found| !found.critical || is_known(&found.oid)) {
        Ok(())
    } else {
        Err(CertificateError::CriticalExtension)
    }
}

/// Key usage, subject's other names, basic constraints, extended key usage.
const KNOWN_EXTENSIONS: [&[u8]; 4] =
    [&[0x55, 0x1d, 0x0f], &[0x55, 0x1d, 0x11], &[0x55, 0x1d, 0x13], &[0x55, 0x1d, 0x25]];

#[cfg(test)]
mod tests;
