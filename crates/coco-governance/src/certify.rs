//! Where a script's new certificate of the service comes from: `ccf.network.generateNetworkCertificate`.
//!
//! A renewed certificate is for the same key. Whoever holds that makes it; whoever carries a request out again, to check it,
//! takes the one that the ledger has; and where nothing lasts the present one stands for it, so that nobody who only
//! asks is given a signature of the service.

use std::{fmt, sync::Arc};

use coco_crypto::{Certificate, CertificateError, Validity};
use coco_types::Digest;
use thiserror::Error;

/// Most days of a certificate, whatever a constitution allows.
pub const CERTIFICATE_DAYS_MAX: u32 = 3650;

/// Holds the service's key.
pub trait Certify: Send + Sync {
    /// The service's certificate for this period.
    ///
    /// # Errors
    /// [`CertificateError`] when the period cannot stand in a certificate.
    fn service_certificate(&self, validity: Validity) -> Result<Certificate, CertificateError>;
}

/// Which service a certificate in PEM is of: a service is its key, and its certificate may be renewed. Nothing, if it is no
/// certificate.
#[must_use]
pub fn service_of(certificate_pem: &str) -> Option<Digest> {
    Some(Certificate::from_pem(certificate_pem).ok()?.key().digest())
}

/// Where it comes from.
#[derive(Clone)]
pub enum Certificates {
    /// From nowhere: the service's key is not here.
    None,
    /// It is made.
    Made(Arc<dyn Certify>),
    /// It was made, and stands in the ledger.
    Recorded(Box<Certificate>),
    /// The present one stands for it.
    Present,
}

/// Why there is no certificate.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CertifyError {
    /// Not a time.
    #[error("valid_from must be a time like 20261231235959Z")]
    Time,
    /// Too short or too long.
    #[error("a certificate is valid for 1 to {CERTIFICATE_DAYS_MAX} days")]
    Days,
    /// Nobody here can make one.
    #[error("the service's certificate cannot be made here")]
    Nobody,
    /// The row of the service is not in order.
    #[error("the service has no certificate to renew")]
    NoService,
    /// What was made is not what was asked for.
    #[error("the new certificate is not one of this service for this period")]
    Other,
    /// It cannot be made.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Made(_) => "Made",
            Self::Recorded(_) => "Recorded",
            Self::Present => "Present",
        })
    }
}

impl Certificates {
    /// The certificate that takes the place of `present`, for so many days from a time on.
    pub(crate) fn renew(
        &self,
        present: &Certificate,
        valid_from: &str,
        days: u32,
    ) -> Result<Certificate, CertifyError> {
        if !(1..=CERTIFICATE_DAYS_MAX).contains(&days) {
            return Err(CertifyError::Days);
        }
        let validity = Validity::of_days(valid_from, days).ok_or(CertifyError::Time)?;
        let made = match self {
            Self::None => return Err(CertifyError::Nobody),
            Self::Present => return Ok(present.clone()),
            Self::Made(key) => key.service_certificate(validity)?,
            Self::Recorded(made) => (**made).clone(),
        };
        let is_ours = made.key() == present.key() && made.verify_issued_by(present).is_ok();
        if is_ours && made.validity() == validity { Ok(made) } else { Err(CertifyError::Other) }
    }
}

#[cfg(test)]
mod tests {
    use coco_crypto::{Curve, SigningKey, service_certificate};

    use super::*;

    struct Key(SigningKey);

    impl Certify for Key {
        fn service_certificate(&self, validity: Validity) -> Result<Certificate, CertificateError> {
            service_certificate(&self.0, validity)
        }
    }

    #[test]
    fn a_renewed_certificate_is_of_the_same_key_and_of_the_period_that_was_asked_for() {
        let validity = Validity { not_before: 1_000, not_after: 2_000 };
        let key = || SigningKey::generate(Curve::P384);
        let ours = Arc::new(Key(key()));
        let present = ours.service_certificate(validity).unwrap();
        let renew = |how: &Certificates, from, days| how.renew(&present, from, days);
        let from = "20300101000000Z";
        let made = Certificates::Made(ours);
        let renewed = renew(&made, from, 10).unwrap();
        let expected = Validity { not_before: 1_893_456_000, not_after: 1_894_319_999 };
        assert_eq!((renewed.key(), renewed.validity()), (present.key(), expected));
        assert_eq!(renew(&made, "300101000000Z", 10).unwrap().validity(), expected);
        let recorded = Certificates::Recorded(Box::new(renewed.clone()));
        assert_eq!(renew(&recorded, from, 10), Ok(renewed));
        assert_eq!(renew(&recorded, from, 11), Err(CertifyError::Other));
        let other = Certificates::Made(Arc::new(Key(key())));
        assert_eq!(renew(&other, from, 10), Err(CertifyError::Other));
        assert_eq!(renew(&Certificates::Present, from, 10), Ok(present.clone()));
        assert_eq!(renew(&Certificates::None, from, 10), Err(CertifyError::Nobody));
        for wrong in ["", "20300101", "2030-01-01T00:00:00Z", "20300101000000", "20301301000000Z"] {
            assert_eq!(renew(&made, wrong, 10), Err(CertifyError::Time), "{wrong}");
        }
        assert_eq!(renew(&made, from, 0), Err(CertifyError::Days));
        assert_eq!(renew(&made, from, CERTIFICATE_DAYS_MAX + 1), Err(CertifyError::Days));
    }
}
