//! What authorities sign, byte for byte: nothing that no signature covers may be anything else than it is.

use x509_parser::certificate::X509Certificate;

use super::CertificateError;
use crate::SignatureInvalid;

/// Checks that a certificate is signed under exactly this algorithm.
pub(super) fn check_signed(
    der: &[u8],
    this: &X509Certificate<'_>,
    algorithm: &[u8],
    verify: impl FnOnce(&[u8], &[u8]) -> Result<(), SignatureInvalid>,
) -> Result<(), CertificateError> {
    Signed::of_certificate(der, this).verify(algorithm, verify)
}

/// What an authority signed: a certificate, or a list of revoked ones.
pub(super) struct Signed<'a> {
    pub(super) der: &'a [u8],
    /// The signed part.
    pub(super) tbs: &'a [u8],
    /// Whether the algorithm within it is the one behind it.
    pub(super) is_same_inside: bool,
    pub(super) signature: &'a [u8],
}

impl<'a> Signed<'a> {
    pub(super) fn of_certificate(der: &'a [u8], this: &'a X509Certificate<'_>) -> Self {
        Self {
            der,
            tbs: this.tbs_certificate.as_ref(),
            is_same_inside: this.signature_algorithm == this.tbs_certificate.signature,
            signature: &this.signature_value.data,
        }
    }

    /// Checks that it is signed under exactly this algorithm.
    pub(super) fn verify(
        &self,
        algorithm: &[u8],
        verify: impl FnOnce(&[u8], &[u8]) -> Result<(), SignatureInvalid>,
    ) -> Result<(), CertificateError> {
        // The parser reads the algorithm loosely, so its exact bytes are compared: those after the signed part, and
        // within it by what the parser made of them.
        if !states(self.der, self.tbs, algorithm) || !self.is_same_inside {
            return Err(CertificateError::Algorithm);
        }
        // It reads tags and lengths outside the signed part loosely, too, and no signature covers those.
        if encoded(self.tbs, algorithm, self.signature) != self.der {
            return Err(CertificateError::Der);
        }
        Ok(verify(self.tbs, self.signature)?)
    }
}

/// Whether exactly this algorithm stands after the signed part.
pub(super) fn states(der: &[u8], tbs: &[u8], algorithm: &[u8]) -> bool {
    let after = header_bytes(der).saturating_add(tbs.len());
    der.get(after..).unwrap_or_default().starts_with(algorithm)
}

/// Bytes of the tag and length that a DER sequence starts with.
fn header_bytes(der: &[u8]) -> usize {
    match der.get(1) {
        Some(long @ 0x81..=0x84) => 2 + usize::from(long & 0x0f),
        _ => 2,
    }
}

/// The one encoding of a certificate, or a request for one, with these parts.
pub(super) fn encoded(tbs: &[u8], algorithm: &[u8], signature: &[u8]) -> Vec<u8> {
    const SEQUENCE: u8 = 0x30;
    const BIT_STRING: u8 = 0x03;
    // The byte before the bits says that all of the last byte counts.
    let bits = [&header(BIT_STRING, signature.len() + 1), &[0][..], signature].concat();
    let body = [tbs, algorithm, &bits].concat();
    [header(SEQUENCE, body.len()), body].concat()
}

/// A DER tag and length, in the shortest form.
fn header(tag: u8, length: usize) -> Vec<u8> {
    let bytes = length.to_be_bytes();
    let digits = bytes.iter().position(|byte| *byte != 0).map_or(&[][..], |at| &bytes[at..]);
    match *digits {
        [] => vec![tag, 0],
        [short @ ..=0x7f] => vec![tag, short],
        // At most eight digits.
        _ => [&[tag, 0x80 | digits.len().to_le_bytes()[0]], digits].concat(),
    }
}
