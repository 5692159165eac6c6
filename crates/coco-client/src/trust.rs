//! The identity of a service, which is its key, and what it endorses.

use std::{fmt, str::FromStr, sync::Arc};

use coco_crypto::{Certificate, CertificateError, SigningKey};
use coco_types::Digest;
use rustls::{
    ClientConfig, ConfigBuilder, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        VerifierBuilderError, WantsClientCert, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime},
    version::TLS13,
};
use thiserror::Error;
use tokio_rustls::TlsConnector;

/// SHA-256 of the public key of a service, its SPKI in DER: short enough to be told over the telephone. It stays when the
/// certificate is renewed, and changes with a recovery from disaster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceIdentity(pub Digest);

impl ServiceIdentity {
    /// The identity of the service that has this certificate.
    #[must_use]
    pub fn of(certificate: &Certificate) -> Self {
        Self(certificate.key().digest())
    }
}

impl fmt::Display for ServiceIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.0)
    }
}

impl FromStr for ServiceIdentity {
    type Err = coco_types::ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.strip_prefix("sha256:").unwrap_or(text).parse().map(Self)
    }
}

/// A certificate that no service can be recognised by.
#[derive(Debug, Error)]
pub enum TrustError {
    /// It is none.
    #[error("the certificate of the service cannot be read")]
    Certificate(#[from] CertificateError),
    /// TLS cannot use it.
    #[error("the certificate of the service cannot be used for TLS")]
    Tls(#[from] rustls::Error),
}

/// TLS that believes whoever has a certificate from this service itself, and nobody else.
pub(crate) fn pinned(service: &Certificate) -> Result<TlsConnector, TrustError> {
    let config = believing(service)?.with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// [`pinned`], showing a certificate and proving its key.
pub(crate) fn pinned_as(
    service: &Certificate,
    key: &SigningKey,
    certificate: &Certificate,
) -> Result<TlsConnector, TrustError> {
    let chain = vec![CertificateDer::from(certificate.der().to_vec())];
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.pkcs8_der().expose().to_vec()));
    let config = believing(service)?.with_client_auth_cert(chain, key)?;
    Ok(TlsConnector::from(Arc::new(config)))
}

fn believing(
    service: &Certificate,
) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, TrustError> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(service.der().to_vec()))?;
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
        .build()
        .map_err(|error: VerifierBuilderError| rustls::Error::General(error.to_string()))?;
    let builder = ClientConfig::builder_with_provider(provider());
    let builder = builder.with_protocol_versions(&[&TLS13])?.dangerous();
    Ok(builder.with_custom_certificate_verifier(Arc::new(Directly(verifier))))
}

/// Believes what a root itself issued. A service also issues a certificate for the key of the service before it, for
/// receipts: whoever stole that key is no node. So other certificates of a chain are not looked at, and nodes show none.
#[derive(Debug)]
struct Directly(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for Directly {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.0.verify_server_cert(end_entity, &[], server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// TLS that believes anybody. Good for one thing: to fetch a certificate that is then compared with an identity which was
/// told another way.
pub(crate) fn danger_unverified() -> TlsConnector {
    let provider = provider();
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13])
        .expect("the provider has TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(DangerAnybody(provider)))
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

#[derive(Debug)]
struct DangerAnybody(Arc<CryptoProvider>);

impl ServerCertVerifier for DangerAnybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use coco_crypto::{
        Curve, EndorseNode, Validity, endorse_node, endorse_service, service_certificate,
    };

    use rustls::ServerConfig;
    use tokio_rustls::TlsAcceptor;

    use super::*;

    /// Whether a client of the service believes a server that shows this chain and has this key.
    async fn is_believed(service: &Certificate, chain: &[&Certificate], key: &SigningKey) -> bool {
        let chain = chain.iter().map(|one| CertificateDer::from(one.der().to_vec())).collect();
        let key = PrivatePkcs8KeyDer::from(key.pkcs8_der().expose().to_vec());
        let server = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key.into())
            .unwrap();
        let (one, other) = tokio::io::duplex(1 << 14);
        let (believed, _) = tokio::join!(
            pinned(service).unwrap().connect(ServerName::try_from("localhost").unwrap(), one),
            TlsAcceptor::from(Arc::new(server)).accept(other)
        );
        believed.is_ok()
    }

    #[tokio::test]
    async fn whom_the_key_of_a_service_before_endorsed_is_no_node() {
        let validity = Validity { not_before: 0, not_after: 4_000_000_000 };
        let [stolen, service_key, key] = [(); 3].map(|()| SigningKey::generate(Curve::P384));
        let before = service_certificate(&stolen, validity).unwrap();
        let service = service_certificate(&service_key, validity).unwrap();
        let link = endorse_service(&service_key, &service, stolen.public()).unwrap();
        let request = EndorseNode { key: key.public(), names: &[], validity };
        let forged = endorse_node(&stolen, &before, &request).unwrap();
        let node = endorse_node(&service_key, &service, &request).unwrap();
        for (name, chain, key, expected) in [
            ("a node", &[&node][..], &key, true),
            ("a node with more than is looked at", &[&node, &link], &key, true),
            ("endorsed by the key of before", &[&forged, &link], &key, false),
            ("the key of before itself", &[&link], &stolen, false),
        ] {
            assert_eq!(is_believed(&service, chain, key).await, expected, "{name}");
        }
    }

    #[test]
    fn a_renewed_certificate_is_of_the_same_service() {
        let [ours, theirs] = [(); 2].map(|()| SigningKey::generate(Curve::P384));
        let of = |key: &SigningKey, year: u64| {
            let validity = Validity { not_before: year * 31_536_000, not_after: 4_000_000_000 };
            ServiceIdentity::of(&service_certificate(key, validity).unwrap())
        };
        assert_eq!(of(&ours, 56), of(&ours, 57));
        assert_ne!(of(&ours, 56), of(&theirs, 56));
    }

    #[test]
    fn an_identity_is_read_as_it_is_printed() {
        let identity = ServiceIdentity(Digest([0xab; 32]));
        let text = identity.to_string();
        assert_eq!(text, format!("sha256:{}", "ab".repeat(32)));
        assert_eq!(text.parse(), Ok(identity));
        assert_eq!("ab".repeat(32).parse(), Ok(identity));
        assert!("sha256:ab".parse::<ServiceIdentity>().is_err());
    }
}
