//! The certificate that a node shows, and when it makes itself another.
//!
//! Each node holds the service's key, so it endorses itself: nobody votes, and nothing stops. A new certificate is for the same
//! key and names, as long as the one before, and the connections that come from then on see it. In the ledger stands the first
//! one, by which the node's signatures are verified: what matters there is its key. Members may write another one there, from
//! when on and for how long they like; it is shown once it counts.

use std::{sync::Arc, time::Duration};

use coco_crypto::{Certificate, CertificateError, Validity};
use coco_kv::{MapName, Reader, Value};
use coco_ledger::ENDORSED_CERTIFICATES_MAP;
use coco_replica::SharedLedgerState;
use coco_types::NodeId;
use parking_lot::RwLock;
use rustls::{
    client::ResolvesClientCert,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    server::{ClientHello, ResolvesServerCert},
    sign::{CertifiedKey, SigningKey},
};
use tokio::{sync::watch, time};
use tracing::{info, warn};

use crate::{
    clock::seconds_now,
    identity::Identity,
    provision::{CLOCK_SKEW_SECONDS, period_like},
    seat::service_configuration,
};

/// How often a node looks whether its certificate is to be renewed.
const LOOK_EVERY: Duration = Duration::from_secs(3600);
/// How often it looks whether members have given it another one.
const LOOK_AT_ROW_EVERY: Duration = Duration::from_secs(1);

/// What a node shows at both ends of TLS. Everybody has the same.
pub struct Shown {
    key: Arc<dyn SigningKey>,
    now: RwLock<Showing>,
}

struct Showing {
    certificate: Certificate,
    certified: Arc<CertifiedKey>,
}

impl std::fmt::Debug for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shown").field("certificate", &self.now.read().certificate).finish()
    }
}

impl Shown {
    /// The certificate of `identity`, or one in its place if that is to be renewed at `now`, in seconds since 1970; that is
    /// valid for so many days at the most, if members have said it.
    ///
    /// # Errors
    /// When the identity's certificate and key do not belong together.
    pub fn new(
        identity: &Identity,
        now: u64,
        days_max: Option<u64>,
    ) -> Result<Self, rustls::Error> {
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(identity.node_key_pkcs8().to_vec()));
        let provider = aws_lc_rs::default_provider();
        let certified =
            CertifiedKey::from_der(chain(&identity.node_cert), key, &provider).map(Arc::new)?;
        let certificate = identity.node_cert.clone();
        let key = Arc::clone(&certified.key);
        let shown = Self { key, now: RwLock::new(Showing { certificate, certified }) };
        shown.look(identity, now, days_max);
        Ok(shown)
    }

    /// Renews the certificate if it is time, or says why it cannot.
    fn look(&self, identity: &Identity, now: u64, days_max: Option<u64>) {
        if let Err(error) = self.renew_if_due(identity, now, days_max) {
            warn!(%error, "this node's certificate cannot be renewed");
        }
    }

    /// Makes another certificate if this one is in the last third of its time; whether it did.
    fn renew_if_due(
        &self,
        identity: &Identity,
        now: u64,
        days_max: Option<u64>,
    ) -> Result<bool, CertificateError> {
        let present = self.now.read().certificate.validity();
        if !is_due(present, now) {
            return Ok(false);
        }
        self.show(identity.renewed(period_like(now, present, days_max))?);
        Ok(true)
    }

    /// Takes the certificate that the ledger has for this node; whether there is nothing left to do about it.
    fn take(&self, identity: &Identity, pem: &[u8], now: u64) -> bool {
        let certificate = str::from_utf8(pem).ok().and_then(|pem| Certificate::from_pem(pem).ok());
        let is_ours = |certificate: &Certificate| {
            certificate.key() == identity.node_cert.key()
                && certificate.verify_issued_by(&identity.service_cert).is_ok()
                && certificate.check_node().is_ok()
        };
        let Some(certificate) = certificate.filter(is_ours) else {
            warn!(
                "the certificate that the ledger has for this node is of another one, or another service"
            );
            return true;
        };
        let (validity, present) = (certificate.validity(), self.now.read().certificate.clone());
        // Others' clocks may be behind. Where there is no other it is better than none.
        let counts_from = validity.not_before.saturating_add(CLOCK_SKEW_SECONDS);
        if now < counts_from && !is_due(present.validity(), now) {
            return false;
        }
        // The one that it began with may stand there long after it was renewed.
        if certificate == present || certificate == identity.node_cert {
            return true;
        }
        if !is_due(validity, now) {
            self.show(certificate);
        } else if present == identity.node_cert {
            // It was renewed before this start, for as long again.
            match identity.renewed(period_like(now, validity, None)) {
                Ok(again) => self.show(again),
                Err(error) => warn!(%error, "this node's certificate cannot be renewed"),
            }
        }
        true
    }

    fn show(&self, certificate: Certificate) {
        let until = certificate.validity().not_after;
        let certified = Arc::new(CertifiedKey::new(chain(&certificate), Arc::clone(&self.key)));
        *self.now.write() = Showing { certificate, certified };
        info!(until, "this node's certificate is renewed");
    }

    fn certified(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.now.read().certified)
    }

    /// Renews the certificate in time, and as members say, until the node stops.
    pub(crate) async fn look_after(
        self: Arc<Self>,
        identity: Box<Identity>,
        mut written: Written,
        mut stopped: watch::Receiver<bool>,
    ) {
        let mut own = time::interval(LOOK_EVERY);
        let mut row = time::interval(LOOK_AT_ROW_EVERY);
        row.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = own.tick() => self.look(&identity, seconds_now(), written.days_max()),
                _ = row.tick() => {
                    if let Some(pem) = written.unseen()
                        && self.take(&identity, &pem, seconds_now())
                    {
                        written.seen = Some(pem);
                    }
                }
                _ = stopped.wait_for(|stopped| *stopped) => return,
            }
        }
    }
}

/// What the ledger has for this node's certificate.
#[derive(Debug)]
pub(crate) struct Written {
    reader: Reader,
    state: SharedLedgerState,
    node: String,
    /// The row that was taken last.
    seen: Option<Value>,
}

impl Written {
    pub(crate) fn new(reader: Reader, state: SharedLedgerState, node: NodeId) -> Self {
        Self { reader, state, node: node.to_string(), seen: None }
    }

    /// For how many days members let a node's certificate be valid, if they have decided.
    pub(crate) fn days_max(&self) -> Option<u64> {
        service_configuration(&self.reader)?.maximum_node_certificate_validity_days
    }

    /// The committed row, if it is another than the one that was taken.
    fn unseen(&self) -> Option<Value> {
        let committed = self.state.read().committed().seqno;
        let snapshot = self.reader.snapshot(committed).ok()?;
        let map = snapshot.map(&MapName::from_static(ENDORSED_CERTIFICATES_MAP))?;
        let row = snapshot.get(map, self.node.as_bytes())?;
        let is_seen = self.seen.as_ref().is_some_and(|seen| Arc::ptr_eq(seen, &row));
        (!is_seen).then_some(row)
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.certified())
    }
}

impl ResolvesClientCert for Shown {
    fn resolve(
        &self,
        _root_hint_subjects: &[&[u8]],
        _sigschemes: &[rustls::SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        Some(self.certified())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Whether two thirds of the period are over.
const fn is_due(validity: Validity, now: u64) -> bool {
    let Validity { not_before, not_after } = validity;
    now >= not_before + not_after.saturating_sub(not_before) / 3 * 2
}

fn chain(certificate: &Certificate) -> Vec<CertificateDer<'static>> {
    vec![CertificateDer::from(certificate.der().to_vec())]
}

#[cfg(test)]
pub(crate) mod tests {
    use coco_crypto::{
        Curve, DecryptionKey, EndorseNode, SigningKey, endorse_node, service_certificate,
    };
    use coco_ledger::LedgerSecret;

    use super::*;
    use crate::tls::{PeerTls, any_peer_name, peer_certificate};

    /// Of a service and a node whose certificates began and end then.
    pub(crate) fn identity(validity: Validity) -> Identity {
        let (key, service_key) =
            (SigningKey::generate(Curve::P384), SigningKey::generate(Curve::P384));
        let service = service_certificate(&service_key, validity).unwrap();
        let endorsement = EndorseNode { key: key.public(), names: &[], validity };
        let node = endorse_node(&service_key, &service, &endorsement).unwrap();
        let encryption_key = Arc::new(DecryptionKey::generate());
        let secrets = LedgerSecret::new(&[7; 32]).into();
        Identity::new(&key, node, &service_key, service, encryption_key, secrets)
    }

    /// What the two ends of a connection see of each other.
    async fn seen(tls: &PeerTls) -> [Certificate; 2] {
        let (one, other) = tokio::io::duplex(1 << 14);
        let (client, server) = tokio::join!(tls.connect(any_peer_name(), one), tls.accept(other));
        let (client, server) = (client.unwrap(), server.unwrap());
        let of_server = client.get_ref().1.peer_certificates();
        let of_client = server.get_ref().1.peer_certificates();
        [of_server, of_client].map(|chain| peer_certificate(chain).unwrap())
    }

    #[test]
    fn a_certificate_is_renewed_in_the_last_third_of_its_time() {
        let validity = Validity { not_before: 1_000, not_after: 1_300 };
        assert!(!is_due(validity, 1_199) && is_due(validity, 1_200) && is_due(validity, 2_000));
        let identity = identity(validity);
        let shown = Shown::new(&identity, 1_100, None).unwrap();
        let first = shown.now.read().certificate.clone();
        assert_eq!(first, identity.node_cert);
        assert_eq!(shown.renew_if_due(&identity, 1_199, None), Ok(false));
        assert_eq!(shown.renew_if_due(&identity, 1_200, None), Ok(true));
        let second = shown.now.read().certificate.clone();
        assert_eq!(second.key(), first.key());
        // As long as the one before, and never shorter than clocks differ.
        assert_eq!(second.validity(), period_like(1_200, validity, None));
        assert_eq!(second.verify_issued_by(&identity.service_cert), Ok(()));
        assert_eq!(shown.renew_if_due(&identity, 1_201, None), Ok(false));
    }

    #[test]
    fn a_certificate_that_members_gave_is_shown_once_it_counts() {
        let day = 24 * 3600;
        let ours = identity(Validity { not_before: 0, not_after: 365 * day });
        let shown = Shown::new(&ours, day, None).unwrap();
        let first = shown.now.read().certificate.clone();
        let given = |validity| ours.renewed(validity).unwrap();
        let present = || shown.now.read().certificate.clone();
        // What it has already, what does not count yet, and what is another's.
        assert!(shown.take(&ours, first.pem().as_bytes(), day));
        let later = given(Validity { not_before: 3 * day, not_after: 33 * day });
        assert!(!shown.take(&ours, later.pem().as_bytes(), day));
        let stranger = identity(Validity { not_before: 0, not_after: 9 * day });
        assert!(shown.take(&ours, stranger.node_cert.pem().as_bytes(), day));
        assert!(shown.take(&ours, b"PEM", day));
        assert_eq!(present(), first);

        // Other nodes' clocks may be an hour behind.
        assert!(!shown.take(&ours, later.pem().as_bytes(), 3 * day + CLOCK_SKEW_SECONDS - 1));
        assert!(shown.take(&ours, later.pem().as_bytes(), 3 * day + CLOCK_SKEW_SECONDS));
        assert_eq!(present(), later);
        // It renews itself for as long again, or for as long as members allow.
        let days = |shown: &Shown| {
            let Validity { not_before, not_after } = shown.now.read().certificate.validity();
            (not_after - not_before) / day
        };
        assert_eq!(shown.renew_if_due(&ours, 24 * day, None), Ok(true));
        assert_eq!(days(&shown), 30);
        assert_eq!(shown.renew_if_due(&ours, 50 * day, Some(20)), Ok(true));
        assert_eq!(days(&shown), 20);
        // So does the process that comes after it and has the sealed one only.
        let again = Shown::new(&ours, 60 * day, None).unwrap();
        assert!(again.take(&ours, later.pem().as_bytes(), 60 * day));
        assert_eq!(days(&again), 30);
    }

    /// Years after everything was made, nodes still take each other for what they are.
    #[tokio::test]
    async fn nodes_outlive_the_certificates_that_they_began_with() {
        let year = 365 * 24 * 3600;
        let began = seconds_now() - 2 * year;
        let identity = identity(Validity { not_before: began, not_after: began + year });
        // Nobody has looked since then: what ended a year ago is refused.
        let late = Arc::new(Shown::new(&identity, began, None).unwrap());
        let tls = PeerTls::new(&identity, &late).unwrap();
        let (one, other) = tokio::io::duplex(1 << 14);
        let (client, _) = tokio::join!(tls.connect(any_peer_name(), one), tls.accept(other));
        assert!(client.is_err());

        assert_eq!(late.renew_if_due(&identity, seconds_now(), None), Ok(true));
        let [of_server, of_client] = seen(&tls).await;
        assert_eq!(of_server, of_client);
        assert_eq!(of_server.key(), identity.node_cert.key());
        assert!(of_server.validity().contains(seconds_now()));
        let at_start = Arc::new(Shown::new(&identity, seconds_now(), None).unwrap());
        seen(&PeerTls::new(&identity, &at_start).unwrap()).await;
    }
}
