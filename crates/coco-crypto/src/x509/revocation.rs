//! Lists by which makers revoke certificates that they issued (RFC 5280, section 5).
//!
//! Lists that say less than all of what their issuer revoked are refused: those of changes, and those of some certificates only.

use std::{collections::BTreeSet, fmt};

use coco_types::Digest;
use thiserror::Error;
use x509_parser::{
    extensions::X509Extension, prelude::FromDer as _, revocation_list::CertificateRevocationList,
    x509::X509Version,
};

use super::{CertificateError, MakerCertificate, Validity, seconds, signed::Signed};
use crate::{sha256, token_key::without_zeros};

/// Largest list that is read, in bytes. Intel's have some thousand.
pub const REVOCATION_LIST_BYTES_MAX: usize = 128 << 10;

/// Most certificates that one list revokes. Intel's revoke some dozens.
pub const REVOKED_MAX: usize = 4096;

/// A list that cannot be read or believed.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum RevocationListError {
    /// The bytes are no list.
    #[error("list of revoked certificates is not X.509 of version 2 in DER")]
    Der,
    /// More bytes than are read.
    #[error("list of revoked certificates has {found} bytes, at most {limit} are read")]
    Long {
        /// Bytes given.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// More certificates than are read.
    #[error("list of {found} revoked certificates, at most {limit} are read")]
    Many {
        /// How many are on it.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// It does not say until when it counts.
    #[error("list of revoked certificates does not say when the next one comes")]
    NextUpdate,
    /// It may say less than all.
    #[error("list of revoked certificates has an extension that is not known here")]
    Extension,
    /// The authority that it was checked against did not issue it.
    #[error("list of revoked certificates was not issued by this authority")]
    Issued(#[source] CertificateError),
}

/// A list of revoked certificates. Reading it believes nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct RevocationList {
    der: Vec<u8>,
    validity: Validity,
    /// Big-endian, without zeros at the front.
    serials: BTreeSet<Vec<u8>>,
}

impl RevocationList {
    /// Reads a list in DER.
    ///
    /// # Errors
    /// [`RevocationListError`] when the bytes or the certificates on it are too many, it is no list, does not say when the next one
    /// comes, an extension stands in it twice or cannot be read, or one may make it say less than all.
    pub fn from_der(der: &[u8]) -> Result<Self, RevocationListError> {
        if der.len() > REVOCATION_LIST_BYTES_MAX {
            let (found, limit) = (der.len(), REVOCATION_LIST_BYTES_MAX);
            return Err(RevocationListError::Long { found, limit });
        }
        let parsed = parse(der)?;
        if parsed.version() != Some(X509Version::V2) {
            return Err(RevocationListError::Der);
        }
        check_extensions(parsed.extensions(), &OF_A_LIST)?;
        let revoked = &parsed.tbs_cert_list.revoked_certificates;
        if revoked.len() > REVOKED_MAX {
            return Err(RevocationListError::Many { found: revoked.len(), limit: REVOKED_MAX });
        }
        for one in revoked {
            check_extensions(one.extensions(), &OF_AN_ENTRY)?;
        }
        let next = parsed.next_update().ok_or(RevocationListError::NextUpdate)?;
        let validity =
            Validity { not_before: seconds(parsed.last_update()), not_after: seconds(next) };
        let serials = revoked.iter().map(|one| without_zeros(one.raw_serial()).to_vec()).collect();
        Ok(Self { der: der.to_vec(), validity, serials })
    }

    /// The bytes.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// SHA-256 of the bytes.
    #[must_use]
    pub fn digest(&self) -> Digest {
        sha256(&self.der)
    }

    /// From when it says so until when the next one comes.
    #[must_use]
    pub const fn validity(&self) -> Validity {
        self.validity
    }

    /// How many certificates are on it.
    #[must_use]
    pub fn revoked(&self) -> usize {
        self.serials.len()
    }

    /// Whether a certificate with this [`MakerCertificate::serial`], which the issuer of the list issued, is on it.
    #[must_use]
    pub fn revokes(&self, serial: &[u8]) -> bool {
        self.serials.contains(without_zeros(serial))
    }

    /// Checks that `issuer` may issue lists, is the issuer named here, and signed this list.
    ///
    /// # Errors
    /// [`RevocationListError::Issued`] with the first thing that is wrong.
    ///
    /// # Panics
    /// Never: the bytes were read before.
    pub fn verify_issued_by(&self, issuer: &MakerCertificate) -> Result<(), RevocationListError> {
        self.check_issuer(issuer).map_err(RevocationListError::Issued)
    }

    fn check_issuer(&self, issuer: &MakerCertificate) -> Result<(), CertificateError> {
        let this = parse(&self.der).expect("it was read before");
        let above = issuer.parsed();
        let usage = above.key_usage().map_err(|_| CertificateError::Der)?;
        if !above.is_ca() || usage.is_some_and(|usage| !usage.value.crl_sign()) {
            return Err(CertificateError::NoAuthority);
        }
        if this.issuer().as_raw() != above.subject().as_raw() {
            return Err(CertificateError::Issuer);
        }
        issuer.verify_signed(&Signed {
            der: &self.der,
            tbs: this.tbs_cert_list.as_ref(),
            is_same_inside: this.signature_algorithm == this.tbs_cert_list.signature,
            signature: &this.signature_value.data,
        })
    }
}

impl fmt::Debug for RevocationList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RevocationList({} of {})", self.digest(), self.serials.len())
    }
}

fn parse(der: &[u8]) -> Result<CertificateRevocationList<'_>, RevocationListError> {
    match CertificateRevocationList::from_der(der) {
        Ok(([], list)) => Ok(list),
        _ => Err(RevocationListError::Der),
    }
}

/// Checks that each extension stands once, can be read, and is one of these. Whether it is critical does not matter: none is passed
/// over.
fn check_extensions(
    extensions: &[X509Extension<'_>],
    known: &[&[u8]],
) -> Result<(), RevocationListError> {
    let mut seen = BTreeSet::new();
    for found in extensions {
        let id = found.oid.as_bytes();
        if !seen.insert(id) || found.parsed_extension().error().is_some() {
            return Err(RevocationListError::Der);
        }
        if !known.contains(&id) {
            return Err(RevocationListError::Extension);
        }
    }
    Ok(())
}

/// The list's number, and which key of its issuer signed it.
const OF_A_LIST: [&[u8]; 2] = [&[0x55, 0x1d, 0x14], &[0x55, 0x1d, 0x23]];
/// Why a certificate was revoked, and since when it may have been wrong.
const OF_AN_ENTRY: [&[u8]; 2] = [&[0x55, 0x1d, 0x15], &[0x55, 0x1d, 0x18]];

#[cfg(test)]
mod tests;
