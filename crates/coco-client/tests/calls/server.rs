//! A service with nodes that answer as they are told.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::{SystemTime, UNIX_EPOCH},
};

use coco_client::Endpoint;
use coco_crypto::{
    Certificate, Curve, EndorseNode, SigningKey, Validity, endorse_node, service_certificate,
};
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    header::CONTENT_TYPE,
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_rustls::TlsAcceptor;

/// A service that endorses nodes.
#[derive(Debug)]
pub(crate) struct Service {
    key: SigningKey,
    certificate: Certificate,
    validity: Validity,
}

impl Service {
    pub(crate) fn new() -> Self {
        let key = SigningKey::generate(Curve::P384);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let validity = Validity { not_before: now - 60, not_after: now + 3600 };
        let certificate = service_certificate(&key, validity).unwrap();
        Self { key, certificate, validity }
    }

    pub(crate) const fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// What its nodes say of it.
    pub(crate) fn network_json(&self) -> String {
        serde_json::json!({
            "service_status": "Open",
            "service_certificate": self.certificate.pem(),
            "current_view": 2,
            "primary_id": null,
            "recovery_count": 0,
            "service_data": null,
            "current_service_create_txid": "2.1",
        })
        .to_string()
    }

    fn acceptor(&self) -> TlsAcceptor {
        let key = SigningKey::generate(Curve::P384);
        let node = EndorseNode { key: key.public(), names: &[], validity: self.validity };
        let certificate = endorse_node(&self.key, &self.certificate, &node).unwrap();
        let chain = vec![CertificateDer::from(certificate.der().to_vec())];
        let secret = PrivatePkcs8KeyDer::from(key.pkcs8_der().expose().to_vec());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, PrivateKeyDer::from(secret))
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}

/// What a node does about a request.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    Answer {
        status: u16,
        body: String,
        transaction: Option<String>,
    },
    /// It closes the connection.
    Close,
    /// It says nothing.
    Never,
}

impl Reply {
    pub(crate) fn json(status: u16, body: &str) -> Self {
        Self::Answer { status, body: body.to_owned(), transaction: None }
    }

    pub(crate) fn of_transaction(self, id: &str) -> Self {
        match self {
            Self::Answer { status, body, .. } => {
                Self::Answer { status, body, transaction: Some(id.to_owned()) }
            }
            other => other,
        }
    }
}

/// What a node was asked.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// Method and target.
    pub(crate) line: String,
    pub(crate) content_type: String,
    pub(crate) body: Vec<u8>,
}

/// A node; it ends with this value.
#[derive(Debug)]
pub(crate) struct Server {
    endpoint: Endpoint,
    asked: Arc<Mutex<Vec<Asked>>>,
    task: JoinHandle<()>,
}

impl Server {
    /// A node that does about its `n`th request what it is told.
    pub(crate) async fn start(
        service: &Service,
        reply: impl Fn(usize) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::serve(Some(service.acceptor()), reply).await
    }

    /// One that proves nothing: it speaks plain HTTP.
    pub(crate) async fn plain(reply: impl Fn(usize) -> Reply + Send + Sync + 'static) -> Self {
        Self::serve(None, reply).await
    }

    async fn serve(
        acceptor: Option<TlsAcceptor>,
        reply: impl Fn(usize) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let scheme = if acceptor.is_some() { "https" } else { "http" };
        let endpoint = format!("{scheme}://{}", listener.local_addr().unwrap()).parse().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let reply = Arc::new(reply);
        let log = Arc::clone(&asked);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (log, reply) = (Arc::clone(&log), Arc::clone(&reply));
                let answer = service_fn(move |request| answer(request, log.clone(), reply.clone()));
                let http = http1::Builder::new();
                let Some(acceptor) = &acceptor else {
                    tokio::spawn(http.serve_connection(TokioIo::new(stream), answer));
                    continue;
                };
                // A client that does not believe this node ends the handshake.
                let Ok(stream) = acceptor.accept(stream).await else { continue };
                tokio::spawn(http.serve_connection(TokioIo::new(stream), answer));
            }
        });
        Self { endpoint, asked, task }
    }

    pub(crate) const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A reason to close the connection.
#[derive(Debug)]
struct Closed;

impl std::fmt::Display for Closed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("closed")
    }
}

impl std::error::Error for Closed {}

async fn answer(
    request: Request<Incoming>,
    log: Arc<Mutex<Vec<Asked>>>,
    reply: Arc<impl Fn(usize) -> Reply>,
) -> Result<Response<Full<Bytes>>, Closed> {
    let line = format!("{} {}", request.method(), request.uri());
    let content_type = request
        .headers()
        .get(CONTENT_TYPE)
        .map(|value| value.to_str().unwrap().to_owned())
        .unwrap_or_default();
    let body = request.into_body().collect().await.unwrap().to_bytes().to_vec();
    let n = {
        let mut log = log.lock().unwrap();
        log.push(Asked { line, content_type, body });
        log.len() - 1
    };
    match reply(n) {
        Reply::Answer { status, body, transaction } => {
            let mut response = Response::builder().status(status);
            if let Some(id) = transaction {
                response = response.header(coco_api::TRANSACTION_ID_HEADER, id);
            }
            Ok(response.body(Full::from(body)).unwrap())
        }
        Reply::Close => Err(Closed),
        Reply::Never => {
            std::future::pending::<Infallible>().await;
            Err(Closed)
        }
    }
}
