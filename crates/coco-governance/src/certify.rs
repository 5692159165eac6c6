//! Where a script's new certificates of the service and of its nodes come from: `ccf.network.generateNetworkCertificate` and
//! `ccf.network.generateEndorsedCertificate`.
//!
//! A script writes down what it has made, in the row that it takes the place of: whoever carries a request out again looks there.
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

    /// The certificate of a node anew, for the same key and names, and for this period.
    ///
    /// # Errors
    /// [`CertificateError`] when `present` is none that the service gives its nodes, or as above.
    fn node_certificate(
        &self,
        present: &Certificate,
        validity: Validity,
    ) -> Result<Certificate, CertificateError>;
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
    /// They were made, and stand in the ledger.
    Recorded(Vec<Certificate>),
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
    /// What is to be renewed is no certificate of a node of this service.
    #[error("what is to be renewed is not the certificate of a node of this service")]
    NoNode,
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
    /// The certificate that takes the place of the service's, for so many days from a time on.
    pub(crate) fn renew_service(
        &self,
        present: &Certificate,
        valid_from: &str,
        days: u32,
    ) -> Result<Certificate, CertifyError> {
        let make = |key: &dyn Certify, validity| key.service_certificate(validity);
        self.renew(present, present, period(valid_from, days)?, make)
    }

    /// The certificate that takes the place of a node's, for the same names as well.
    pub(crate) fn renew_node(
        &self,
        service: &Certificate,
        present: &Certificate,
        valid_from: &str,
        days: u32,
    ) -> Result<Certificate, CertifyError> {
        let is_node = present.check_node().is_ok() && present.verify_issued_by(service).is_ok();
        if !is_node {
            return Err(CertifyError::NoNode);
        }
        let make = |key: &dyn Certify, validity| key.node_certificate(present, validity);
        let made = self.renew(service, present, period(valid_from, days)?, make)?;
        let is_alike = made.node_names() == present.node_names() && made.check_node().is_ok();
        if is_alike { Ok(made) } else { Err(CertifyError::Other) }
    }

    fn renew(
        &self,
        issuer: &Certificate,
        present: &Certificate,
        validity: Validity,
        make: impl FnOnce(&dyn Certify, Validity) -> Result<Certificate, CertificateError>,
    ) -> Result<Certificate, CertifyError> {
        let made = match self {
            Self::None => return Err(CertifyError::Nobody),
            Self::Present => return Ok(present.clone()),
            Self::Made(key) => make(&**key, validity)?,
            Self::Recorded(made) => {
                let made = made.iter().find(|made| made.key() == present.key());
                made.ok_or(CertifyError::Other)?.clone()
            }
        };
        let is_ours = made.key() == present.key() && made.verify_issued_by(issuer).is_ok();
        if is_ours && made.validity() == validity { Ok(made) } else { Err(CertifyError::Other) }
    }
}

fn period(valid_from: &str, days: u32) -> Result<Validity, CertifyError> {
    if !(1..=CERTIFICATE_DAYS_MAX).contains(&days) {
        return Err(CertifyError::Days);
    }
    Validity::of_days(valid_from, days).ok_or(CertifyError::Time)
}

#[cfg(test)]
mod tests {
    use coco_crypto::{
        AltName, Curve, EndorseNode, SigningKey, endorse_node, renew_node, service_certificate,
    };

    use super::*;

    struct Key(SigningKey);

    impl Certify for Key {
        fn service_certificate(&self, validity: Validity) -> Result<Certificate, CertificateError> {
            service_certificate(&self.0, validity)
        }

        fn node_certificate(
            &self,
            present: &Certificate,
            validity: Validity,
        ) -> Result<Certificate, CertificateError> {
            renew_node(&self.0, &self.service_certificate(validity)?, present, validity)
        }
    }

    #[test]
    fn a_renewed_certificate_is_of_the_same_key_and_of_the_period_that_was_asked_for() {
        let validity = Validity { not_before: 1_000, not_after: 2_000 };
        let key = || SigningKey::generate(Curve::P384);
        let ours = Arc::new(Key(key()));
        let present = ours.service_certificate(validity).unwrap();
        let renew = |how: &Certificates, from, days| how.renew_service(&present, from, days);
        let from = "20300101000000Z";
        let made = Certificates::Made(ours);
        let renewed = renew(&made, from, 10).unwrap();
        let expected = Validity { not_before: 1_893_456_000, not_after: 1_894_319_999 };
        assert_eq!((renewed.key(), renewed.validity()), (present.key(), expected));
        assert_eq!(renew(&made, "300101000000Z", 10).unwrap().validity(), expected);
        let recorded = Certificates::Recorded(vec![renewed.clone()]);
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
    #[test]
    fn a_renewed_certificate_of_a_node_has_its_key_and_names_and_the_same_service() {
        let key = || SigningKey::generate(Curve::P384);
        let (ours, node) = (Arc::new(Key(key())), key());
        let validity = Validity { not_before: 1_000, not_after: 2_000 };
        let service = ours.service_certificate(validity).unwrap();
        let names = [AltName::Dns("node.example".to_owned())];
        let endorse = |names: &[AltName]| {
            let endorsement = EndorseNode { key: node.public(), names, validity };
            endorse_node(&ours.0, &service, &endorsement).unwrap()
        };
        let present = endorse(&names);
        let renew =
            |how: &Certificates, present| how.renew_node(&service, present, "20300101000000Z", 10);
        let made = renew(&Certificates::Made(ours.clone()), &present).unwrap();
        assert_eq!(made.key(), present.key());
        assert_eq!(made.node_names(), present.node_names());
        assert!(made.node_names().unwrap().contains(&names[0]));
        assert_eq!(made.validity().not_before, 1_893_456_000);
        let recorded = |made| Certificates::Recorded(vec![service.clone(), made]);
        assert_eq!(renew(&recorded(made.clone()), &present), Ok(made.clone()));
        // Names that nobody gave it.
        let nameless = endorse(&[]);
        assert_eq!(renew(&recorded(made), &nameless), Err(CertifyError::Other));
        // The service's own is no node's, and another service's node is none of ours.
        let made = Certificates::Made(ours.clone());
        assert_eq!(renew(&made, &service), Err(CertifyError::NoNode));
        let other = Key(key());
        let others = other.service_certificate(validity).unwrap();
        let endorsement = EndorseNode { key: node.public(), names: &names, validity };
        let foreign = endorse_node(&other.0, &others, &endorsement).unwrap();
        assert_eq!(renew(&made, &foreign), Err(CertifyError::NoNode));
    }
}
