//! Certificates by which makers of processors and clouds vouch for the keys of evidence.
//!
//! Their chains have a few links, each of which whoever appraises looks at by itself: what is read here is read strictly, and what is
//! not looked at is believed by nobody. Keys are on a curve of [`Curve`](crate::Curve) and sign with its own hash, or are of RSA and
//! sign with PSS under SHA-384 and a salt of 48 bytes, as those of AMD, or under PKCS #1 version 1.5 with SHA-256 or SHA-384, as those
//! of Google and Microsoft.

use std::fmt;

use aws_lc_rs::signature::{
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PSS_2048_8192_SHA384,
    RsaParameters, UnparsedPublicKey,
};
use coco_types::Digest;
use x509_parser::{certificate::X509Certificate, oid_registry::Oid};

use super::{
    CertificateError, Validity, algorithm_der,
    chain::{RSA_SHA256_DER, RSA_SHA384_DER},
    check_size,
    client::check_extensions,
    parse,
    signed::{Signed, states},
    validity_of,
};
use crate::{
    KeyError, PublicKey, RsaKey, RsaKeyError, SignatureInvalid,
    pem::{self, Label},
    sha256,
    token_key::without_zeros,
};

/// A certificate of a maker's chain. Reading it believes nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct MakerCertificate {
    der: Vec<u8>,
    spki: Vec<u8>,
    validity: Validity,
}

impl MakerCertificate {
    /// Reads a certificate in DER.
    ///
    /// # Errors
    /// [`CertificateError`] when the bytes are too many or no certificate, an extension stands in it twice
    /// or cannot be read, or one that nobody may pass over is not known here.
    pub fn from_der(der: &[u8]) -> Result<Self, CertificateError> {
        check_size(der)?;
        let parsed = parse(der)?;
        check_extensions(&parsed)?;
        let spki = parsed.public_key().raw.to_vec();
        Ok(Self { der: der.to_vec(), spki, validity: validity_of(&parsed) })
    }

    /// Reads a certificate in PEM.
    ///
    /// # Errors
    /// [`CertificateError`] as [`Self::from_der`], or when the text is no PEM.
    pub fn from_pem(text: &str) -> Result<Self, CertificateError> {
        Self::from_der(&pem::decode(Label::Certificate, text)?)
    }

    /// The bytes.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The certificate in PEM.
    #[must_use]
    pub fn pem(&self) -> String {
        pem::encode(Label::Certificate, &self.der)
    }

    /// SHA-256 of the bytes.
    #[must_use]
    pub fn digest(&self) -> Digest {
        sha256(&self.der)
    }

    /// SHA-256 of the key in SPKI: what names a root.
    #[must_use]
    pub fn key_digest(&self) -> Digest {
        sha256(&self.spki)
    }

    /// The key, where it is on a curve.
    ///
    /// # Errors
    /// [`KeyError::Public`] when it is of another kind.
    pub fn key(&self) -> Result<PublicKey, KeyError> {
        PublicKey::from_spki_der(&self.spki)
    }

    /// The key, where it is of RSA.
    ///
    /// # Errors
    /// [`RsaKeyError`] when it is of another kind, or cannot be used.
    pub fn rsa_key(&self) -> Result<RsaKey, RsaKeyError> {
        RsaKey::from_spki_der(&self.spki)
    }

    /// The period it claims.
    #[must_use]
    pub const fn validity(&self) -> Validity {
        self.validity
    }

    /// Whether its key may sign what is no certificate: it is no authority's, and says nothing else (RFC 5280, section 4.2.1.3).
    ///
    /// # Panics
    /// Never: the bytes were read before.
    #[must_use]
    pub fn may_sign(&self) -> bool {
        let parsed = self.parsed();
        let usage = parsed.key_usage();
        !parsed.is_ca()
            && usage.is_ok_and(|usage| usage.is_none_or(|usage| usage.value.digital_signature()))
    }

    /// Whether it says that its key is for this purpose (extended key usage; RFC 5280, section 4.2.1.12).
    ///
    /// # Panics
    /// Never: the bytes were read before.
    #[must_use]
    pub fn is_for(&self, purpose: &[u64]) -> bool {
        let Ok(purpose) = Oid::from(purpose) else { return false };
        let parsed = self.parsed();
        let usage = parsed.extended_key_usage().ok().flatten();
        usage.is_some_and(|usage| usage.value.other.contains(&purpose))
    }

    /// The number by which its issuer knows it, big-endian and without zeros at the front.
    ///
    /// # Panics
    /// Never: the bytes were read before.
    #[must_use]
    pub fn serial(&self) -> Vec<u8> {
        without_zeros(self.parsed().raw_serial()).to_vec()
    }

    /// Whom or what it names, where that has exactly one common name.
    ///
    /// # Panics
    /// Never: the bytes were read before.
    #[must_use]
    pub fn common_name(&self) -> Option<String> {
        let parsed = self.parsed();
        let mut names = parsed.subject().iter_common_name();
        match (names.next(), names.next()) {
            (Some(name), None) => name.as_str().ok().map(str::to_owned),
            _ => None,
        }
    }

    /// Whether it may issue others.
    ///
    /// # Panics
    /// Never: the bytes were read before.
    #[must_use]
    pub fn is_authority(&self) -> bool {
        self.parsed().is_ca()
    }

    /// What stands in the extension of this id.
    ///
    /// # Panics
    /// Never: the bytes were read before.
    #[must_use]
    pub fn extension(&self, id: &[u64]) -> Option<Vec<u8>> {
        let id = Oid::from(id).ok()?;
        let parsed = self.parsed();
        let found = parsed.extensions().iter().find(|extension| extension.oid == id);
        found.map(|extension| extension.value.to_vec())
    }

    /// Checks that `issuer` may issue, is the issuer named here, and signed this certificate.
    ///
    /// # Errors
    /// [`CertificateError`] with the first thing that is wrong.
    ///
    /// # Panics
    /// Never: the bytes were read before.
    pub fn verify_issued_by(&self, issuer: &Self) -> Result<(), CertificateError> {
        let (this, above) = (self.parsed(), issuer.parsed());
        let usage = above.key_usage().map_err(|_| CertificateError::Der)?;
        if !above.is_ca() || usage.is_some_and(|usage| !usage.value.key_cert_sign()) {
            return Err(CertificateError::NoAuthority);
        }
        if this.issuer().as_raw() != above.subject().as_raw() {
            return Err(CertificateError::Issuer);
        }
        issuer.verify_signed(&Signed::of_certificate(&self.der, &this))
    }

    /// Checks that the key of this certificate signed that, under the algorithm of its kind.
    pub(super) fn verify_signed(&self, signed: &Signed<'_>) -> Result<(), CertificateError> {
        if let Ok(key) = self.key() {
            return signed.verify(algorithm_der(key.curve()), |message, signature| {
                key.verify_der(message, signature)
            });
        }
        let mut forms = RSA_FORMS.into_iter();
        let written = forms.find(|(form, _)| states(signed.der, signed.tbs, form));
        let (algorithm, parameters) = written.ok_or(CertificateError::Algorithm)?;
        signed.verify(algorithm, |message, signature| {
            let key = UnparsedPublicKey::new(parameters, &self.spki);
            key.verify(message, signature).map_err(|_| SignatureInvalid)
        })
    }

    pub(super) fn parsed(&self) -> X509Certificate<'_> {
        parse(&self.der).expect("it was read before")
    }
}

impl fmt::Debug for MakerCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MakerCertificate({})", self.digest())
    }
}

/// How authorities with keys of RSA sign: what certificates call it, whole, and what that is.
const RSA_FORMS: [(&[u8], &RsaParameters); 4] = [
    (RSA_PSS_SHA384_WITH_TRAILER_DER, &RSA_PSS_2048_8192_SHA384),
    (RSA_PSS_SHA384_DER, &RSA_PSS_2048_8192_SHA384),
    (RSA_SHA256_DER, &RSA_PKCS1_2048_8192_SHA256),
    (RSA_SHA384_DER, &RSA_PKCS1_2048_8192_SHA384),
];

/// RSA-PSS with SHA-384, MGF1 with the same, and a salt of 48 bytes (RFC 4055). AMD writes the only trailer that there is in the
/// certificates of its authorities, and in some of chips.
const RSA_PSS_SHA384_WITH_TRAILER_DER: &[u8] = &[
    0x30, 0x46, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a, 0x30, 0x39, 0xa0,
    0x0f, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05, 0x00,
    0xa1, 0x1c, 0x30, 0x1a, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x08, 0x30,
    0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05, 0x00, 0xa2, 0x03,
    0x02, 0x01, 0x30, 0xa3, 0x03, 0x02, 0x01, 0x01,
];
const RSA_PSS_SHA384_DER: &[u8] = &[
    0x30, 0x41, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a, 0x30, 0x34, 0xa0,
    0x0f, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05, 0x00,
    0xa1, 0x1c, 0x30, 0x1a, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x08, 0x30,
    0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05, 0x00, 0xa2, 0x03,
    0x02, 0x01, 0x30,
];

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(text: &str) -> MakerCertificate {
        MakerCertificate::from_pem(text).unwrap()
    }

    /// The second and third of these were issued by the first: under SHA-384 and SHA-512. Itself it signed under SHA-256.
    const ROOT: &str = include_str!("../../tests/vectors/chain/rsa_root.pem");
    const LEAF: &str = include_str!("../../tests/vectors/chain/rsa_leaf.pem");
    const AUTHORITY: &str = include_str!("../../tests/vectors/chain/p384_authority.pem");
    /// Of the same name as the first.
    const OTHER_ROOT: &str = include_str!("../../tests/vectors/chain/other_root.pem");

    #[test]
    fn authorities_of_rsa_sign_under_two_hashes() {
        let invalid = Err(CertificateError::Signature(SignatureInvalid));
        for (below, above, expected) in [
            (ROOT, ROOT, Ok(())),
            (LEAF, ROOT, Ok(())),
            (AUTHORITY, ROOT, Err(CertificateError::Algorithm)),
            (OTHER_ROOT, OTHER_ROOT, Err(CertificateError::Algorithm)),
            (LEAF, OTHER_ROOT, invalid.clone()),
            (ROOT, OTHER_ROOT, invalid),
            (ROOT, LEAF, Err(CertificateError::NoAuthority)),
            (LEAF, AUTHORITY, Err(CertificateError::Issuer)),
        ] {
            assert_eq!(certificate(below).verify_issued_by(&certificate(above)), expected);
        }
        let (root, leaf) = (certificate(ROOT), certificate(LEAF));
        for at in 0..leaf.der().len() {
            let mut altered = leaf.der().to_vec();
            altered[at] ^= 1;
            let read = MakerCertificate::from_der(&altered);
            let is_issued = read.is_ok_and(|leaf| leaf.verify_issued_by(&root).is_ok());
            assert!(!is_issued, "byte {at}");
        }
    }

    #[test]
    fn a_key_signs_what_its_certificate_says() {
        let (root, leaf, authority) =
            (certificate(ROOT), certificate(LEAF), certificate(AUTHORITY));
        assert_eq!([&root, &leaf, &authority].map(|one| one.may_sign()), [false, true, false]);
        assert_eq!(
            [&root, &leaf, &authority].map(|one| one.rsa_key().is_ok()),
            [true, true, false]
        );
        assert_eq!([&root, &leaf, &authority].map(|one| one.key().is_ok()), [false, false, true]);
        assert!(!leaf.is_for(&[1, 3, 6, 1, 5, 5, 7, 3, 1]));
    }
}
