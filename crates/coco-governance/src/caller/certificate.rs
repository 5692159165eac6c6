//! By a certificate that was shown in TLS.

use coco_crypto::{CertificateError, ClientCertificate, UserAuthority, Validity};
use coco_types::Digest;
use thiserror::Error;

use super::Caller;
use crate::{
    GovernanceError, MemberId,
    rows::{OrganisationRow, Rows, UserRow, parse},
    tables::{
        MEMBERS_CERTS, MEMBERS_INFO, MemberRow, ORGANISATIONS, ORGANISATIONS_REVOCATIONS,
        USERS_CERTS, USERS_INFO,
    },
};

/// Most organisations that a certificate is compared with: the first ones by name. Our own constitution takes no more.
pub const ORGANISATIONS_MAX: usize = 100;

/// Why nobody is recognised by a certificate.
#[derive(Debug, Error)]
pub enum ByCertificateError {
    /// Not a certificate.
    #[error("the certificate cannot be read: {0}")]
    Unreadable(#[source] CertificateError),
    /// No participant, no member, and of no organisation.
    #[error("the certificate {id} is no participant's, no member's, and no organisation's")]
    Unknown {
        /// SHA-256 of it.
        id: Digest,
    },
    /// It names an organisation's authority, which did not issue it.
    #[error(
        "the certificate names the authority of {organisation:?}, and is not issued by it: {source}"
    )]
    NotIssued {
        /// Whose authority.
        organisation: String,
        /// What is wrong.
        source: CertificateError,
    },
    /// The authority issued it for something else.
    #[error("{organisation:?} issued the certificate for something else: {source}")]
    OtherUse {
        /// Who.
        organisation: String,
        /// What is wrong.
        source: CertificateError,
    },
    /// Revoked by members.
    #[error("the certificate with the serial number {serial} of {organisation:?} is revoked")]
    Revoked {
        /// Whose user.
        organisation: String,
        /// In hexadecimal.
        serial: String,
    },
    /// Outside of its own period.
    #[error("the certificate is valid from {} to {}, and it is {now}", .validity.not_before, .validity.not_after)]
    Period {
        /// Of the certificate.
        validity: Validity,
        /// In seconds since 1970.
        now: u64,
    },
    /// The certificate of the organisation's authority is outside of its own period.
    #[error("the authority of {organisation:?} is valid from {} to {}, and it is {now}", .validity.not_before, .validity.not_after)]
    PeriodOfAuthority {
        /// Whose authority.
        organisation: String,
        /// Of its certificate.
        validity: Validity,
        /// In seconds since 1970.
        now: u64,
    },
    /// The tables cannot be read.
    #[error(transparent)]
    Tables(#[from] GovernanceError),
}

/// Who a certificate belongs to whose key is held by whoever shows it, at the time `now` in seconds since 1970.
///
/// # Errors
/// [`ByCertificateError`] with the first thing that is wrong.
pub fn by_certificate(rows: &mut Rows, der: &[u8], now: u64) -> Result<Caller, ByCertificateError> {
    let shown = ClientCertificate::read(der).map_err(ByCertificateError::Unreadable)?;
    let id = shown.digest();
    let key = id.to_string().into_bytes();
    let caller = if rows.get(USERS_CERTS, &key)?.is_some() {
        let row: Option<UserRow> = rows.read(USERS_INFO, &key)?;
        Caller::User { id, data: row.unwrap_or_default().user_data }
    } else if rows.get(MEMBERS_CERTS, &key)?.is_some()
        && let Some(row) = rows.read::<MemberRow>(MEMBERS_INFO, &key)?
    {
        let (status, data) = (row.status, row.member_data.unwrap_or_default());
        Caller::Member { id: MemberId(id), status, data }
    } else {
        user_of_an_organisation(rows, &shown, now)?
    };
    let validity = shown.validity();
    if validity.contains(now) {
        Ok(caller)
    } else {
        Err(ByCertificateError::Period { validity, now })
    }
}

fn user_of_an_organisation(
    rows: &mut Rows,
    shown: &ClientCertificate<'_>,
    now: u64,
) -> Result<Caller, ByCertificateError> {
    let mut refused = ByCertificateError::Unknown { id: shown.digest() };
    for row in rows.page(ORGANISATIONS, None, ORGANISATIONS_MAX)? {
        let OrganisationRow { cert, user_data } = parse(ORGANISATIONS, &row)?;
        // Another constitution may have let in what is no authority; then it has no users.
        let Ok(authority) = UserAuthority::from_pem(&cert) else { continue };
        if !shown.names(&authority) {
            continue;
        }
        let organisation = String::from_utf8_lossy(&row.0).into_owned();
        // Two authorities may bear one name.
        if let Err(source) = shown.verify_issued_by(&authority) {
            refused = ByCertificateError::NotIssued { organisation, source };
            continue;
        }
        let validity = authority.validity();
        if !validity.contains(now) {
            return Err(ByCertificateError::PeriodOfAuthority { organisation, validity, now });
        }
        if let Err(source) = shown.check_use() {
            return Err(ByCertificateError::OtherUse { organisation, source });
        }
        let revoked: Option<Vec<String>> = rows.read(ORGANISATIONS_REVOCATIONS, &row.0)?;
        let serial = shown.serial();
        if revoked.is_some_and(|revoked| revoked.contains(&serial)) {
            return Err(ByCertificateError::Revoked { organisation, serial });
        }
        let id = shown.signed_digest();
        return Ok(Caller::OrganisationUser { id, organisation, data: user_data });
    }
    Err(refused)
}
