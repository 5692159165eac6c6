//! Where a script's new certificates of the service and of its nodes come from: `ccf.network.generateNetworkCertificate` and
//! `ccf.network.generateEndorsedCertificate`.
//!
//! A script writes down what it has made, in the row that it takes the place of: whoever carries a request out again looks there.
//!
//! A node's certificate answers the request that the node has signed, for its key and names, and that stands in its row (CCF). A
//! node of before has no request there: its present certificate stands for one. No other key and no other names are certified,
//! whatever a script hands in.
//!
//! A renewed certificate is for the same key. Whoever holds that makes it; whoever carries a request out again, to check it,
//! takes the one that the ledger has; and where nothing lasts the present one stands for it, so that nobody who only
//! asks is given a signature of the service.

use std::{fmt, sync::Arc};

use coco_crypto::{
    AltName, Certificate, CertificateError, EndorseNode, NodeRequest, NodeRequestError, PublicKey,
    Validity,
};
use coco_kv::Transaction;
use coco_types::Digest;
use serde::Deserialize;
use thiserror::Error;

use crate::tables::{self, NODES_ENDORSED_CERTIFICATES, NODES_INFO};

/// Most days of a certificate, whatever a constitution allows.
pub const CERTIFICATE_DAYS_MAX: u32 = 3650;

/// Holds the service's key.
pub trait Certify: Send + Sync {
    /// The service's certificate for this period.
    ///
    /// # Errors
    /// [`CertificateError`] when the period cannot stand in a certificate.
    fn service_certificate(&self, validity: Validity) -> Result<Certificate, CertificateError>;

    /// The certificate of a node, for exactly these names.
    ///
    /// # Errors
    /// [`CertificateError`] when a name or the period cannot stand in a certificate.
    fn node_certificate(&self, node: &EndorseNode<'_>) -> Result<Certificate, CertificateError>;
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
    /// What is to be certified is neither a request nor a certificate of a node of this service.
    #[error(
        "what is to be certified is neither a node's request in PEM nor the certificate of a node of this service"
    )]
    NoNode,
    /// It is a request that cannot be believed.
    #[error(transparent)]
    Request(#[from] NodeRequestError),
    /// It is for a key of which no node of the service is called.
    #[error(
        "the request for a certificate is for the key of {0}, which is no trusted node of this service"
    )]
    NoSuchNode(String),
    /// It is another one than the node made when it came.
    #[error("the request for a certificate is not the one in the row of the node {0}")]
    OtherRequest(String),
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

/// Whom a certificate is made for.
pub(crate) struct Applicant {
    key: PublicKey,
    names: Vec<AltName>,
    /// What stands for the new one where none is made.
    present: Certificate,
}

/// What is read of a node's row.
#[derive(Deserialize)]
struct Asking {
    status: String,
    seat: Option<String>,
    certificate_signing_request: Option<String>,
}

impl Applicant {
    /// Reads a node's request, or its present certificate.
    pub(crate) fn read(
        tx: &mut Transaction<'_>,
        service: &Certificate,
        pem: &str,
    ) -> Result<Self, CertifyError> {
        if NodeRequest::is_in(pem) {
            return Self::of_request(tx, service, &NodeRequest::from_pem(pem)?);
        }
        let present = Certificate::from_pem(pem).map_err(|_| CertifyError::NoNode)?;
        Self::of_present(service, present)
    }

    /// The node whose request that is. Members trust it, or it comes in the seat of one that they trust.
    fn of_request(
        tx: &mut Transaction<'_>,
        service: &Certificate,
        request: &NodeRequest,
    ) -> Result<Self, CertifyError> {
        let node = request.key().node_id().to_string();
        let row = tables::read::<Asking>(tx, NODES_INFO, node.as_bytes()).ok().flatten();
        let row = row.filter(|row| {
            row.status == "Trusted" || (row.status == "Pending" && row.seat.is_some())
        });
        let Some(row) = row else { return Err(CertifyError::NoSuchNode(node)) };
        let recorded = row.certificate_signing_request.as_deref().map(NodeRequest::from_pem);
        if recorded.and_then(Result::ok).as_ref() != Some(request) {
            return Err(CertifyError::OtherRequest(node));
        }
        let present = tables::get(tx, NODES_ENDORSED_CERTIFICATES, node.as_bytes()).ok().flatten();
        let present =
            present.and_then(|pem| Certificate::from_pem(str::from_utf8(&pem).ok()?).ok());
        let present = present.unwrap_or_else(|| service.clone());
        Ok(Self { key: request.key().clone(), names: request.names().to_vec(), present })
    }

    fn of_present(service: &Certificate, present: Certificate) -> Result<Self, CertifyError> {
        if present.check_node().is_err() || present.verify_issued_by(service).is_err() {
            return Err(CertifyError::NoNode);
        }
        let (key, names) = (present.key().clone(), present.node_names()?);
        Ok(Self { key, names, present })
    }

    pub(crate) const fn key(&self) -> &PublicKey {
        &self.key
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
        let validity = period(valid_from, days)?;
        if matches!(self, Self::Present) {
            return Ok(present.clone());
        }
        self.make(present, present.key(), validity, |by| by.service_certificate(validity))
    }

    /// The certificate of a node, for exactly the names that it asked for.
    pub(crate) fn endorse_node(
        &self,
        service: &Certificate,
        node: &Applicant,
        valid_from: &str,
        days: u32,
    ) -> Result<Certificate, CertifyError> {
        let validity = period(valid_from, days)?;
        let Applicant { key, names, present } = node;
        if matches!(self, Self::Present) {
            return Ok(present.clone());
        }
        let asked = EndorseNode { key, names, validity };
        let made = self.make(service, key, validity, |by| by.node_certificate(&asked))?;
        let is_alike = made.node_names().as_ref() == Ok(names) && made.check_node().is_ok();
        if is_alike { Ok(made) } else { Err(CertifyError::Other) }
    }

    /// The new certificate for a key and a period, by the service.
    fn make(
        &self,
        service: &Certificate,
        key: &PublicKey,
        validity: Validity,
        make: impl FnOnce(&dyn Certify) -> Result<Certificate, CertificateError>,
    ) -> Result<Certificate, CertifyError> {
        let made = match self {
            Self::None | Self::Present => return Err(CertifyError::Nobody),
            Self::Made(by) => make(&**by)?,
            Self::Recorded(made) => {
                let made = made.iter().find(|made| made.key() == key);
                made.ok_or(CertifyError::Other)?.clone()
            }
        };
        let is_ours = made.key() == key && made.verify_issued_by(service).is_ok();
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
        AltName, Curve, EndorseNode, SigningKey, endorse_node, node_names, service_certificate,
    };
    use coco_kv::{MapName, Store, WriteSet};
    use coco_types::Seqno;
    use serde_json::json;

    use super::*;

    struct Key(SigningKey);

    impl Certify for Key {
        fn service_certificate(&self, validity: Validity) -> Result<Certificate, CertificateError> {
            service_certificate(&self.0, validity)
        }

        fn node_certificate(
            &self,
            node: &EndorseNode<'_>,
        ) -> Result<Certificate, CertificateError> {
            endorse_node(&self.0, &self.service_certificate(node.validity)?, node)
        }
    }

    const FROM: &str = "20300101000000Z";
    const VALIDITY: Validity = Validity { not_before: 1_000, not_after: 2_000 };

    fn key() -> SigningKey {
        SigningKey::generate(Curve::P384)
    }

    fn host(name: &str) -> [AltName; 1] {
        [AltName::Dns(name.to_owned())]
    }

    #[test]
    fn a_renewed_certificate_is_of_the_same_key_and_of_the_period_that_was_asked_for() {
        let ours = Arc::new(Key(key()));
        let present = ours.service_certificate(VALIDITY).unwrap();
        let renew = |how: &Certificates, from, days| how.renew_service(&present, from, days);
        let made = Certificates::Made(ours);
        let renewed = renew(&made, FROM, 10).unwrap();
        let expected = Validity { not_before: 1_893_456_000, not_after: 1_894_319_999 };
        assert_eq!((renewed.key(), renewed.validity()), (present.key(), expected));
        assert_eq!(renew(&made, "300101000000Z", 10).unwrap().validity(), expected);
        let recorded = Certificates::Recorded(vec![renewed.clone()]);
        assert_eq!(renew(&recorded, FROM, 10), Ok(renewed));
        assert_eq!(renew(&recorded, FROM, 11), Err(CertifyError::Other));
        let other = Certificates::Made(Arc::new(Key(key())));
        assert_eq!(renew(&other, FROM, 10), Err(CertifyError::Other));
        assert_eq!(renew(&Certificates::Present, FROM, 10), Ok(present.clone()));
        assert_eq!(renew(&Certificates::None, FROM, 10), Err(CertifyError::Nobody));
        for wrong in ["", "20300101", "2030-01-01T00:00:00Z", "20300101000000", "20301301000000Z"] {
            assert_eq!(renew(&made, wrong, 10), Err(CertifyError::Time), "{wrong}");
        }
        assert_eq!(renew(&made, FROM, 0), Err(CertifyError::Days));
        assert_eq!(renew(&made, FROM, CERTIFICATE_DAYS_MAX + 1), Err(CertifyError::Days));
    }

    #[test]
    fn a_renewed_certificate_of_a_node_has_its_key_and_names_and_the_same_service() {
        let (ours, node) = (Arc::new(Key(key())), key());
        let service = ours.service_certificate(VALIDITY).unwrap();
        let endorse = |by: &Key, names: &[AltName]| {
            let issuer = by.service_certificate(VALIDITY).unwrap();
            let endorsement = EndorseNode { key: node.public(), names, validity: VALIDITY };
            endorse_node(&by.0, &issuer, &endorsement).unwrap()
        };
        let names = host("node.example");
        let present = endorse(&ours, &names);
        let read = |present| Applicant::of_present(&service, present);
        let renew = |how: &Certificates, present: &Certificate| {
            how.endorse_node(&service, &read(present.clone())?, FROM, 10)
        };
        let made = renew(&Certificates::Made(ours.clone()), &present).unwrap();
        assert_eq!(made.key(), present.key());
        assert_eq!(made.node_names(), present.node_names());
        assert!(made.node_names().unwrap().contains(&names[0]));
        assert_eq!(made.validity().not_before, 1_893_456_000);
        let recorded = |made| Certificates::Recorded(vec![service.clone(), made]);
        assert_eq!(renew(&recorded(made.clone()), &present), Ok(made.clone()));
        // Names that nobody gave it.
        let nameless = endorse(&ours, &[]);
        assert_eq!(renew(&recorded(made), &nameless), Err(CertifyError::Other));
        // The service's own is no node's, and another service's node is none of ours.
        assert_eq!(read(service.clone()).err(), Some(CertifyError::NoNode));
        let foreign = endorse(&Key(key()), &names);
        assert_eq!(read(foreign).err(), Some(CertifyError::NoNode));
    }

    /// Reads what a script hands in, where these are the rows of nodes.
    fn read(
        service: &Certificate,
        rows: &[(&SigningKey, serde_json::Value)],
        pem: &str,
    ) -> Result<Applicant, CertifyError> {
        let mut store = Store::new(tables::maps(), [1, 2]);
        let mut set = WriteSet::new();
        for (node, row) in rows {
            let id = node.public().node_id().to_string();
            let row = row.to_string().into_bytes();
            set.insert(&MapName::from_static(NODES_INFO), id.as_bytes(), row);
        }
        store.apply(Seqno(1), &set).unwrap();
        Applicant::read(&mut store.reader().begin(), service, pem)
    }

    #[test]
    fn the_request_in_a_nodes_row_is_answered_and_no_other() {
        let (ours, node, other) = (Arc::new(Key(key())), key(), key());
        let service = ours.service_certificate(VALIDITY).unwrap();
        let names = host("node.example");
        let ask = |key: &SigningKey, names: &[AltName]| NodeRequest::new(key, names).unwrap().pem();
        let request = ask(&node, &names);
        let row =
            |status: &str| json!({ "status": status, "certificate_signing_request": request });
        let id = node.public().node_id().to_string();
        let trusted = row("Trusted");
        let asks = |row: &serde_json::Value, pem: &str| {
            read(&service, &[(&node, row.clone())], pem).map(|_| ())
        };

        let applicant = read(&service, &[(&node, trusted.clone())], &request).unwrap();
        let endorse = |how: &Certificates, days| how.endorse_node(&service, &applicant, FROM, days);
        let made = endorse(&Certificates::Made(ours), 10).unwrap();
        assert_eq!(made.key(), node.public());
        assert_eq!(made.node_names(), Ok(node_names(node.public(), &names)));
        let recorded = Certificates::Recorded(vec![made.clone()]);
        assert_eq!(endorse(&recorded, 10), Ok(made));
        assert_eq!(endorse(&recorded, 11), Err(CertifyError::Other));
        assert_eq!(endorse(&Certificates::Present, 10), Ok(service.clone()));

        let mut seated = row("Pending");
        assert_eq!(asks(&seated, &request), Err(CertifyError::NoSuchNode(id.clone())));
        seated["seat"] = json!("ab".repeat(32));
        assert_eq!(asks(&seated, &request), Ok(()));
        assert_eq!(asks(&row("Retired"), &request), Err(CertifyError::NoSuchNode(id.clone())));
        let others = other.public().node_id().to_string();
        let stranger = ask(&other, &names);
        assert_eq!(asks(&trusted, &stranger), Err(CertifyError::NoSuchNode(others)));
        let is_other = Err(CertifyError::OtherRequest(id));
        assert_eq!(asks(&trusted, &ask(&node, &[])), is_other, "for other names");
        assert_eq!(asks(&json!({ "status": "Trusted" }), &request), is_other, "of before");
        let mut forged = trusted.clone();
        forged["certificate_signing_request"] = json!(stranger);
        assert_eq!(asks(&forged, &request), is_other);

        let broken = request.replace("\nMI", "\nMA");
        assert!(matches!(asks(&trusted, &broken), Err(CertifyError::Request(_))));
        let huge = format!("{request}{}", " ".repeat(1 << 20));
        let error = asks(&trusted, &huge).unwrap_err();
        assert!(error.to_string().contains("bytes, at most"), "{error}");
        for garbage in ["", "PEM", &" ".repeat(1 << 20)] {
            assert_eq!(asks(&trusted, garbage), Err(CertifyError::NoNode));
        }
    }
}
