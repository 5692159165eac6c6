//! The certificate that a node shows, and when it makes itself another.
//!
//! Each node holds the service's key, so it endorses itself: nobody votes, and nothing stops. A new certificate is for the same
//! key and names, and the connections that come from then on see it. In the ledger stands the first one, by which the
//! node's signatures are verified: what matters there is its key.

use std::{sync::Arc, time::Duration};

use coco_crypto::{Certificate, CertificateError, Validity};
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

use crate::{clock::seconds_now, identity::Identity};

/// How often a node looks whether its certificate is to be renewed.
const LOOK_EVERY: Duration = Duration::from_secs(3600);

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
    /// The certificate of `identity`, or one in its place if that is to be renewed at `now`, in seconds since 1970.
    ///
    /// # Errors
    /// When the identity's certificate and key do not belong together.
    pub fn new(identity: &Identity, now: u64) -> Result<Self, rustls::Error> {
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(identity.node_key_pkcs8().to_vec()));
        let provider = aws_lc_rs::default_provider();
        let certified =
            CertifiedKey::from_der(chain(&identity.node_cert), key, &provider).map(Arc::new)?;
        let certificate = identity.node_cert.clone();
        let key = Arc::clone(&certified.key);
        let shown = Self { key, now: RwLock::new(Showing { certificate, certified }) };
        shown.look(identity, now);
        Ok(shown)
    }

    /// Renews the certificate if it is time, or says why it cannot.
    fn look(&self, identity: &Identity, now: u64) {
        if let Err(error) = self.renew_if_due(identity, now) {
            warn!(%error, "this node's certificate cannot be renewed");
        }
    }

    /// Makes another certificate if this one is in the last third of its time; whether it did.
    fn renew_if_due(&self, identity: &Identity, now: u64) -> Result<bool, CertificateError> {
        if !is_due(self.now.read().certificate.validity(), now) {
            return Ok(false);
        }
        let certificate = identity.renewed(now)?;
        let until = certificate.validity().not_after;
        let certified = Arc::new(CertifiedKey::new(chain(&certificate), Arc::clone(&self.key)));
        *self.now.write() = Showing { certificate, certified };
        info!(until, "this node's certificate is renewed");
        Ok(true)
    }

    fn certified(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.now.read().certified)
    }

    /// Renews the certificate in time, until the node stops.
    pub(crate) async fn look_after(
        self: Arc<Self>,
        identity: Box<Identity>,
        mut stopped: watch::Receiver<bool>,
    ) {
        loop {
            tokio::select! {
                () = time::sleep(LOOK_EVERY) => {}
                _ = stopped.wait_for(|stopped| *stopped) => return,
            }
            self.look(&identity, seconds_now());
        }
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
        let (client, server) = tokio::join!(
            tls.connector().connect(any_peer_name(), one),
            tls.acceptor().accept(other)
        );
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
        let shown = Shown::new(&identity, 1_100).unwrap();
        let first = shown.now.read().certificate.clone();
        assert_eq!(first, identity.node_cert);
        assert_eq!(shown.renew_if_due(&identity, 1_199), Ok(false));
        assert_eq!(shown.renew_if_due(&identity, 1_200), Ok(true));
        let second = shown.now.read().certificate.clone();
        assert_eq!(second.key(), first.key());
        assert!(second.validity().contains(1_200 + 365 * 24 * 3600 - 1));
        assert_eq!(second.verify_issued_by(&identity.service_cert), Ok(()));
        assert_eq!(shown.renew_if_due(&identity, 1_201), Ok(false));
    }

    /// Years after everything was made, nodes still take each other for what they are.
    #[tokio::test]
    async fn nodes_outlive_the_certificates_that_they_began_with() {
        let year = 365 * 24 * 3600;
        let began = seconds_now() - 2 * year;
        let identity = identity(Validity { not_before: began, not_after: began + year });
        // Nobody has looked since then: what ended a year ago is refused.
        let late = Arc::new(Shown::new(&identity, began).unwrap());
        let tls = PeerTls::new(&identity, &late).unwrap();
        let (one, other) = tokio::io::duplex(1 << 14);
        let (client, _) = tokio::join!(
            tls.connector().connect(any_peer_name(), one),
            tls.acceptor().accept(other)
        );
        assert!(client.is_err());

        assert_eq!(late.renew_if_due(&identity, seconds_now()), Ok(true));
        let [of_server, of_client] = seen(&tls).await;
        assert_eq!(of_server, of_client);
        assert_eq!(of_server.key(), identity.node_cert.key());
        assert!(of_server.validity().contains(seconds_now()));
        let at_start = Arc::new(Shown::new(&identity, seconds_now()).unwrap());
        seen(&PeerTls::new(&identity, &at_start).unwrap()).await;
    }
}
