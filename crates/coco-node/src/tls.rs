//! TLS 1.3 for peers (mutual) and clients, on rustls with aws-lc-rs. No other crypto provider is built.

use std::{io, sync::Arc};

use coco_attest::{Channel, EXPORTER_BYTES, End, ReportData};
use coco_crypto::{Certificate, peer_dns_name};
use coco_types::{Digest, NodeId};
use rustls::{
    AlertDescription, ClientConfig, ClientConnection, ConnectionCommon, DigitallySignedStruct,
    DistinguishedName, RootCertStore, ServerConfig, ServerConnection, SignatureScheme,
    client::{
        Resumption, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::{
        NoServerSessionStorage, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    version::TLS13,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use crate::{identity::Identity, shown::Shown};

/// What nodes speak with each other, as TLS names it (ALPN). Who names another one, or none, is not spoken with.
const PEER_PROTOCOL: &[u8] = b"coco-peer/2";

/// The TLS settings of one node.
#[derive(Clone)]
pub struct PeerTls {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
    /// SHA-256 of the service's key.
    service: Digest,
    me: NodeId,
}

/// What a TLS session exports for the end that shows evidence.
///
/// # Errors
/// When the handshake has not ended.
pub(crate) fn exporter<Data>(
    connection: &ConnectionCommon<Data>,
    end: End,
) -> io::Result<[u8; EXPORTER_BYTES]> {
    let export = |out, label: &[u8], context: Option<&[u8]>| {
        connection.export_keying_material(out, label, context)
    };
    end.exporter(export).map_err(io::Error::other)
}

impl std::fmt::Debug for PeerTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PeerTls(..)")
    }
}

/// The name by which a node's certificate answers to its peers; the whole id is compared with the certificate's key after the
/// handshake.
pub(crate) fn peer_name(id: NodeId) -> ServerName<'static> {
    ServerName::try_from(peer_dns_name(id)).expect("forty digits and two labels are a DNS name")
}

/// The node that a certificate chain, already verified, belongs to: SHA-256 of its key.
pub(crate) fn peer_id(chain: Option<&[CertificateDer<'_>]>) -> Option<NodeId> {
    Some(peer_certificate(chain)?.key().node_id())
}

/// The first certificate of a chain, already verified.
pub(crate) fn peer_certificate(chain: Option<&[CertificateDer<'_>]>) -> Option<Certificate> {
    Certificate::from_der(chain?.first()?).ok()
}

/// A name that every node's certificate has, for calls to whoever is at an address: what counts there is that the
/// service endorsed it.
pub(crate) fn any_peer_name() -> ServerName<'static> {
    ServerName::try_from("localhost").expect("it is a DNS name")
}

impl PeerTls {
    /// Settings that present what `shown` shows and trust what the service of `identity` endorsed itself, nothing else.
    ///
    /// # Errors
    /// When the service's certificate cannot be used.
    pub fn new(identity: &Identity, shown: &Arc<Shown>) -> Result<Self, rustls::Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(identity.service_cert.der().to_vec()))?;
        let roots = Arc::new(roots);
        let unusable =
            |error: rustls::server::VerifierBuilderError| rustls::Error::General(error.to_string());
        let clients =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
                .build()
                .map_err(unusable)?;
        let servers = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider))
            .build()
            .map_err(unusable)?;
        let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(Arc::new(Directly(clients)))
            .with_cert_resolver(Arc::clone(shown) as _);
        server.alpn_protocols = vec![PEER_PROTOCOL.to_vec()];
        resume_nothing(&mut server);
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Directly(servers)))
            .with_client_cert_resolver(Arc::clone(shown) as _);
        client.alpn_protocols = vec![PEER_PROTOCOL.to_vec()];
        client.resumption = Resumption::disabled();
        let service = identity.service_cert.key().digest();
        let me = identity.node_id;
        Ok(Self { server: Arc::new(server), client: Arc::new(client), service, me })
    }

    /// What this node shows on a connection that it dialled to `other`.
    ///
    /// # Errors
    /// When the handshake has not ended.
    pub(crate) fn own_data(
        &self,
        connection: &ClientConnection,
        other: NodeId,
    ) -> io::Result<ReportData> {
        self.dialled(connection, self.me, other)
    }

    /// What the node `own` shows that dialled this one on a connection.
    ///
    /// # Errors
    /// When the handshake has not ended.
    pub(crate) fn data_of(
        &self,
        connection: &ServerConnection,
        own: NodeId,
    ) -> io::Result<ReportData> {
        self.dialled(connection, own, self.me)
    }

    /// What the end shows that dialled.
    fn dialled<Data>(
        &self,
        connection: &ConnectionCommon<Data>,
        own: NodeId,
        other: NodeId,
    ) -> io::Result<ReportData> {
        let end = End::Dialled;
        let (service, exporter) = (self.service, exporter(connection, end)?);
        Ok(Channel { end, service, own, other, exporter }.report_data())
    }

    /// Shakes hands with a node that connects.
    ///
    /// # Errors
    /// When it is none of this service, or speaks another protocol: [`io::ErrorKind::Unsupported`].
    pub(crate) async fn accept<S>(&self, stream: S) -> io::Result<server::TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let acceptor = TlsAcceptor::from(Arc::clone(&self.server));
        let stream = acceptor.accept(stream).await.map_err(plainly)?;
        check_protocol(stream.get_ref().1.alpn_protocol())?;
        Ok(stream)
    }

    /// Shakes hands with a node that this one connects to, which must answer to `name`.
    ///
    /// # Errors
    /// As [`Self::accept`].
    pub(crate) async fn connect<S>(
        &self,
        name: ServerName<'static>,
        stream: S,
    ) -> io::Result<client::TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let connector = TlsConnector::from(Arc::clone(&self.client));
        let stream = connector.connect(name, stream).await.map_err(plainly)?;
        check_protocol(stream.get_ref().1.alpn_protocol())?;
        Ok(stream)
    }
}

/// TLS goes on without a protocol when one side names none; nodes do not.
fn check_protocol(agreed: Option<&[u8]>) -> io::Result<()> {
    if agreed == Some(PEER_PROTOCOL) { Ok(()) } else { Err(other_protocol()) }
}

/// Words of its own for a handshake that failed because the two sides name different protocols.
fn plainly(error: io::Error) -> io::Error {
    match error.get_ref().and_then(|error| error.downcast_ref()) {
        Some(
            rustls::Error::NoApplicationProtocol
            | rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol),
        ) => other_protocol(),
        _ => error,
    }
}

fn other_protocol() -> io::Error {
    let ours = String::from_utf8_lossy(PEER_PROTOCOL);
    let message = format!(
        "the other side does not speak {ours}, as nodes of this version do: both need the same version"
    );
    io::Error::new(io::ErrorKind::Unsupported, message)
}

/// A session that is resumed brings the certificates of the first one, and nobody looks at them again. So none is.
fn resume_nothing(server: &mut ServerConfig) {
    server.session_storage = Arc::new(NoServerSessionStorage {});
    server.send_tls13_tickets = 0;
}

/// Believes what a root itself issued. A service also issues a certificate for the key of the service before it, for
/// receipts: whoever stole that key is no node. So other certificates of a chain are not looked at, and nodes show none.
#[derive(Debug)]
struct Directly<V>(V);

impl ServerCertVerifier for Directly<Arc<WebPkiServerVerifier>> {
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

impl ClientCertVerifier for Directly<Arc<dyn ClientCertVerifier>> {
    fn offer_client_auth(&self) -> bool {
        self.0.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.0.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.0.verify_client_cert(end_entity, &[], now)
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

/// Settings for clients: the node's endorsed certificate, HTTP/2 and HTTP/1.1, TLS 1.3. A client may show a certificate,
/// any: what it is worth is decided where it is used.
///
/// # Errors
/// None with the protocol version that is built in.
pub fn client_acceptor(shown: &Arc<Shown>) -> Result<TlsAcceptor, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let any = AnyCertificate(provider.signature_verification_algorithms);
    let mut server = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(Arc::new(any))
        .with_cert_resolver(Arc::clone(shown) as _);
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    resume_nothing(&mut server);
    Ok(TlsAcceptor::from(Arc::new(server)))
}

/// Takes any certificate whose key the client has proved to hold, and none at all. Who may do what with it is decided
/// where it is used: nodes that nobody knows yet show one that they made themselves.
#[derive(Debug)]
struct AnyCertificate(WebPkiSupportedAlgorithms);

impl ClientCertVerifier for AnyCertificate {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("only TLS 1.3 is spoken".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use coco_crypto::{
        Curve, EndorseNode, SigningKey, Validity, endorse_node, endorse_service,
        service_certificate,
    };
    use rustls::{HandshakeKind, pki_types::PrivatePkcs8KeyDer};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::{clock::seconds_now, shown::tests::identity};

    /// Somebody with this chain and key who believes `roots`, names these protocols, and resumes what it can.
    fn somebody(
        roots: RootCertStore,
        chain: &[&Certificate],
        key: &SigningKey,
        protocols: &[&[u8]],
    ) -> PeerTls {
        let chain: Vec<_> =
            chain.iter().map(|one| CertificateDer::from(one.der().to_vec())).collect();
        let (service, me) = (Digest::ZERO, key.public().node_id());
        let key = || PrivatePkcs8KeyDer::from(key.pkcs8_der().expose().to_vec()).into();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain.clone(), key())
            .unwrap();
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key())
            .unwrap();
        server.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        client.alpn_protocols.clone_from(&server.alpn_protocols);
        PeerTls { server: Arc::new(server), client: Arc::new(client), service, me }
    }

    /// What this node says to somebody whom it dials, and to the same one who dials it.
    async fn met(ours: &PeerTls, theirs: &PeerTls) -> [io::Result<()>; 2] {
        let (one, other) = tokio::io::duplex(1 << 14);
        let acceptor = TlsAcceptor::from(Arc::clone(&theirs.server));
        let (dialled, _) = tokio::join!(ours.connect(any_peer_name(), one), acceptor.accept(other));
        let (one, other) = tokio::io::duplex(1 << 14);
        let connector = TlsConnector::from(Arc::clone(&theirs.client));
        let (_, accepted) =
            tokio::join!(connector.connect(any_peer_name(), one), ours.accept(other));
        [dialled.map(drop), accepted.map(drop)]
    }

    /// How the second of two connections began, after what comes with the first was read.
    async fn second_handshake(
        connector: &TlsConnector,
        acceptor: &TlsAcceptor,
    ) -> [Option<HandshakeKind>; 2] {
        let mut kinds = [None; 2];
        for _ in 0..2 {
            let (one, other) = tokio::io::duplex(1 << 14);
            let (client, server) =
                tokio::join!(connector.connect(any_peer_name(), one), acceptor.accept(other));
            let (mut client, mut server) = (client.unwrap(), server.unwrap());
            server.write_all(b"x").await.unwrap();
            server.flush().await.unwrap();
            assert_eq!(client.read_u8().await.unwrap(), b'x');
            kinds = [client.get_ref().1.handshake_kind(), server.get_ref().1.handshake_kind()];
        }
        kinds
    }

    /// A node, and somebody whom its service endorsed as well.
    fn two(protocols: &[&[u8]]) -> (PeerTls, Arc<Shown>, PeerTls) {
        let now = seconds_now();
        let validity = Validity { not_before: now - 60, not_after: now + 3600 };
        let ours = identity(validity);
        let service_key =
            SigningKey::from_pkcs8_der(Curve::P384, ours.service_key_secret()).unwrap();
        let key = SigningKey::generate(Curve::P384);
        let request = EndorseNode { key: key.public(), names: &[], validity };
        let node = endorse_node(&service_key, &ours.service_cert, &request).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(ours.service_cert.der().to_vec())).unwrap();
        let shown = Arc::new(Shown::new(&ours, now, None).unwrap());
        let theirs = somebody(roots, &[&node], &key, protocols);
        (PeerTls::new(&ours, &shown).unwrap(), shown, theirs)
    }

    #[tokio::test]
    async fn no_connection_resumes_another() {
        let (ours, shown, theirs) = two(&[PEER_PROTOCOL]);
        let [node, other] = [&ours, &theirs].map(|tls| {
            (
                TlsConnector::from(Arc::clone(&tls.client)),
                TlsAcceptor::from(Arc::clone(&tls.server)),
            )
        });
        let resumed = [Some(HandshakeKind::Resumed); 2];
        let full = [Some(HandshakeKind::Full); 2];
        assert_eq!(second_handshake(&other.0, &other.1).await, resumed, "others do");
        assert_eq!(second_handshake(&other.0, &node.1).await, full, "the port of nodes");
        assert_eq!(second_handshake(&node.0, &other.1).await, full, "what nodes dial");

        let mut http = ClientConfig::clone(&theirs.client);
        http.alpn_protocols.clear();
        let clients = client_acceptor(&shown).unwrap();
        let begun = second_handshake(&TlsConnector::from(Arc::new(http)), &clients).await;
        assert_eq!(begun, full, "the port of clients");
    }

    /// Both ends bind the same, which no other connection and no other direction binds.
    #[tokio::test]
    async fn what_evidence_binds_is_known_to_both_ends_and_differs_by_connection() {
        let (ours, _, theirs) = two(&[PEER_PROTOCOL]);
        let theirs = PeerTls { service: ours.service, ..theirs };
        let mut seen = Vec::new();
        for (dials, accepts) in [(&ours, &theirs), (&ours, &theirs), (&theirs, &ours)] {
            let (one, other) = tokio::io::duplex(1 << 14);
            let (connector, acceptor) = (
                TlsConnector::from(Arc::clone(&dials.client)),
                TlsAcceptor::from(Arc::clone(&accepts.server)),
            );
            let (client, server) =
                tokio::join!(connector.connect(any_peer_name(), one), acceptor.accept(other));
            let (client, server) = (client.unwrap(), server.unwrap());
            let shown = dials.own_data(client.get_ref().1, accepts.me).unwrap();
            assert_eq!(accepts.data_of(server.get_ref().1, dials.me).unwrap(), shown);
            assert_eq!(shown.node, dials.me);
            assert!(!seen.contains(&shown.transcript), "as on another connection");
            seen.push(shown.transcript);
            // Were it the other end that shows something, it would bind something else.
            let other = exporter(client.get_ref().1, End::Accepted).unwrap();
            assert_ne!(exporter(client.get_ref().1, End::Dialled).unwrap(), other);
        }
    }

    #[tokio::test]
    async fn nodes_speak_one_protocol_and_say_so() {
        let other: &[u8] = b"coco-peer/1";
        for (protocols, expected) in [
            (&[PEER_PROTOCOL][..], true),
            (&[other, PEER_PROTOCOL], true),
            (&[other], false),
            (&[], false),
        ] {
            let (ours, _, theirs) = two(protocols);
            for result in met(&ours, &theirs).await {
                assert_eq!(result.is_ok(), expected, "{protocols:?}: {result:?}");
                if let Err(error) = result {
                    assert_eq!(error.kind(), io::ErrorKind::Unsupported, "{error}");
                    assert!(error.to_string().contains("coco-peer/2"), "{error}");
                }
            }
        }
    }

    #[tokio::test]
    async fn whom_the_key_of_a_service_before_endorsed_is_no_peer() {
        let now = seconds_now();
        let validity = Validity { not_before: now - 60, not_after: now + 3600 };
        let [stolen, key] = [(); 2].map(|()| SigningKey::generate(Curve::P384));
        let before = service_certificate(&stolen, validity).unwrap();
        let ours = identity(validity);
        let service_key =
            SigningKey::from_pkcs8_der(Curve::P384, ours.service_key_secret()).unwrap();
        let link = endorse_service(&service_key, &ours.service_cert, stolen.public()).unwrap();
        let request = EndorseNode { key: key.public(), names: &[], validity };
        let forged = endorse_node(&stolen, &before, &request).unwrap();
        let node = endorse_node(&service_key, &ours.service_cert, &request).unwrap();
        let tls = PeerTls::new(&ours, &Arc::new(Shown::new(&ours, now, None).unwrap())).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(ours.service_cert.der().to_vec())).unwrap();
        for (name, chain, key, expected) in [
            ("a node", &[&node][..], &key, true),
            ("a node with more than is looked at", &[&node, &link], &key, true),
            ("endorsed by the key of before", &[&forged, &link], &key, false),
            ("the key of before itself", &[&link], &stolen, false),
        ] {
            let theirs = somebody(roots.clone(), chain, key, &[PEER_PROTOCOL]);
            let believed = met(&tls, &theirs).await.map(|met| met.is_ok());
            assert_eq!(believed, [expected; 2], "{name}");
        }
    }
}
