//! Keys of issuers of tokens, fetched from the issuers, where members want that.
//!
//! ```text
//!   issuer/.well-known/openid-configuration ─▶ jwks_uri ─▶ keys ─▶ replica ─▶ an entry, if they are others than before
//! ```
//!
//! The primary of an open service does it: `OpenID` Connect Discovery 1.0 (section 4), over TLS, by the certificates that members
//! gave the issuer and by no others. The host of this machine can hold an answer back, and so keep an old key in use; it
//! cannot make one. Whether the document names the issuer as its own is not looked at, as in CCF: it came from there.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use coco_governance::{
    GovernanceError, ISSUER_KEYS_BYTES_MAX, IssuerKeys, IssuerTerms,
    rows::{JwtIssuerRow, Rows, parse},
    tables::{CA_CERT_BUNDLES, JWT_ISSUERS},
};
use coco_replica::GovernReply;
use coco_types::Role;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{
    Request, StatusCode, Uri,
    client::conn::http1,
    header::{ACCEPT, HOST, USER_AGENT},
};
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, InvalidDnsNameError, ServerName},
};
use serde::Deserialize;
use thiserror::Error;
use tokio::{net::TcpStream, sync::watch, time::timeout};
use tokio_rustls::TlsConnector;
use tracing::{info, warn};

use super::service::Service;
use crate::disk::in_full;

/// Most issuers whose keys are fetched.
const ISSUERS_MAX: usize = 100;
/// How often it is looked whether something is to be fetched.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How long after a failure it is tried again, unless the interval is shorter.
const RETRY: Duration = Duration::from_secs(60);
/// Time for one document.
const FETCH_TIME: Duration = Duration::from_secs(10);
/// Where an issuer describes itself.
const DISCOVERY: &str = "/.well-known/openid-configuration";

/// Keys that were not fetched, or not taken.
#[derive(Debug, Error)]
enum FetchError {
    #[error(transparent)]
    Tables(#[from] GovernanceError),
    #[error("members gave it no certificates by which its server is recognised")]
    NoBundle,
    #[error("the certificates of its server cannot be used")]
    Bundle(#[source] rustls::Error),
    #[error("{0} is no URL that begins with https://")]
    Url(String),
    #[error("{0} names no host")]
    Host(String, #[source] InvalidDnsNameError),
    #[error("{0} does not answer")]
    Connect(String, #[source] std::io::Error),
    #[error("{0} does not answer in {FETCH_TIME:?}")]
    Late(String),
    #[error("{0} does not speak HTTP")]
    Http(String, #[source] hyper::Error),
    #[error("{0} answers with {1}")]
    Status(String, StatusCode),
    #[error("the answer of {0} breaks off, or has more than {ISSUER_KEYS_BYTES_MAX} bytes")]
    Body(String),
    #[error("the answer of {0} is no document of that kind")]
    Document(String, #[source] serde_json::Error),
    #[error("{0} is not text")]
    Text(String),
    #[error("the service does not take the keys: {0}")]
    Refused(GovernanceError),
    #[error("this node is not primary any more, or has too much to do")]
    NotNow,
}

/// What is read of an issuer's description.
#[derive(Deserialize)]
struct Description {
    jwks_uri: String,
}

/// Fetches keys again and again.
pub(crate) struct IssuerFetcher {
    service: Arc<Service>,
    every: Duration,
    /// When each is fetched next, as long as these terms hold.
    due: HashMap<String, (Instant, IssuerTerms)>,
}

impl IssuerFetcher {
    pub(crate) fn new(service: Arc<Service>, every: Duration) -> Self {
        Self { service, every, due: HashMap::new() }
    }

    /// Ends when the node is told to stop.
    pub(crate) async fn look_after(mut self, mut stopped: watch::Receiver<bool>) {
        let look_every = LOOK_EVERY.min(self.every);
        loop {
            tokio::select! {
                _ = stopped.wait_for(|is_stopped| *is_stopped) => return,
                () = tokio::time::sleep(look_every) => {}
            }
            let is_primary = self.service.state().role() == Role::Primary;
            if !is_primary || !self.service.status().is_open() {
                // Whoever was primary meanwhile may have fetched others.
                self.due.clear();
                continue;
            }
            match self.wanted() {
                Ok(wanted) => {
                    self.due.retain(|issuer, _| wanted.contains_key(issuer));
                    for (issuer, row) in wanted {
                        if let Err(error) = self.fetch_if_due(issuer, &row).await {
                            warn!(%error, "cannot read what holds for an issuer");
                        }
                    }
                }
                Err(error) => warn!(%error, "cannot read which issuers' keys are to be fetched"),
            }
        }
    }

    /// The issuers whose keys members want to be fetched.
    fn wanted(&self) -> Result<HashMap<String, JwtIssuerRow>, GovernanceError> {
        let (_, mut rows) = self.service.committed_rows();
        let mut wanted = HashMap::new();
        for row in rows.page(JWT_ISSUERS, None, ISSUERS_MAX)? {
            let issuer: JwtIssuerRow = parse(JWT_ISSUERS, &row)?;
            if issuer.auto_refresh {
                wanted.insert(String::from_utf8_lossy(&row.0).into_owned(), issuer);
            }
        }
        Ok(wanted)
    }

    fn terms(&self, issuer: &str) -> Result<Option<IssuerTerms>, GovernanceError> {
        IssuerTerms::of(&mut self.service.committed_rows().1, issuer)
    }

    async fn fetch_if_due(
        &mut self,
        issuer: String,
        row: &JwtIssuerRow,
    ) -> Result<(), GovernanceError> {
        let now = Instant::now();
        let Some(terms) = self.terms(&issuer)? else { return Ok(()) };
        if self.due.get(&issuer).is_some_and(|(due, under)| *due > now && *under == terms) {
            return Ok(());
        }
        let metrics = Arc::clone(&self.service.parts().metrics);
        metrics.issuer_fetches.inc();
        let pause = match self.fetch(&issuer, row, terms).await {
            Ok(()) => {
                metrics.issuer_fetches_done.inc();
                info!(issuer, "fetched the keys of an issuer of tokens");
                self.every
            }
            Err(error) => {
                warn!(
                    issuer,
                    error = in_full(&error),
                    "the keys of an issuer of tokens stay as they are"
                );
                self.every.min(RETRY)
            }
        };
        // What was taken is part of the terms.
        if let Some(terms) = self.terms(&issuer)? {
            self.due.insert(issuer, (now + pause, terms));
        }
        Ok(())
    }

    async fn fetch(
        &self,
        issuer: &str,
        row: &JwtIssuerRow,
        terms: IssuerTerms,
    ) -> Result<(), FetchError> {
        let tls = {
            let (_, mut rows) = self.service.committed_rows();
            recognising(&mut rows, row)?
        };
        let described = format!("{}{DISCOVERY}", issuer.trim_end_matches('/'));
        let document = get(&tls, &described).await?;
        let description: Description = serde_json::from_slice(&document)
            .map_err(|source| FetchError::Document(described, source))?;
        let keys = get(&tls, &description.jwks_uri).await?;
        let jwks =
            String::from_utf8(keys.to_vec()).map_err(|_| FetchError::Text(description.jwks_uri))?;
        let keys = IssuerKeys { issuer: issuer.to_owned(), jwks, terms };
        match self.service.parts().inbox.issuer_keys(keys).await {
            Ok(GovernReply::Done { .. }) => Ok(()),
            Ok(GovernReply::Refused(error)) => Err(FetchError::Refused(error)),
            Ok(GovernReply::NotPrimary(_) | GovernReply::Busy) | Err(_) => Err(FetchError::NotNow),
        }
    }
}

/// TLS that believes the certificates which members gave an issuer.
fn recognising(rows: &mut Rows, row: &JwtIssuerRow) -> Result<TlsConnector, FetchError> {
    let name = row.ca_cert_bundle_name.as_deref().ok_or(FetchError::NoBundle)?;
    let pem: Option<String> = rows.read(CA_CERT_BUNDLES, name.as_bytes())?;
    let bundle = pem.and_then(|pem| coco_crypto::read_bundle(&pem).ok());
    let mut roots = RootCertStore::empty();
    for certificate in bundle.ok_or(FetchError::NoBundle)? {
        roots.add(CertificateDer::from(certificate)).map_err(FetchError::Bundle)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(FetchError::Bundle)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Reads a document.
async fn get(tls: &TlsConnector, url: &str) -> Result<Bytes, FetchError> {
    let got = timeout(FETCH_TIME, get_in_time(tls, url)).await;
    got.unwrap_or_else(|_| Err(FetchError::Late(url.to_owned())))
}

async fn get_in_time(tls: &TlsConnector, url: &str) -> Result<Bytes, FetchError> {
    let named = || url.to_owned();
    let uri: Uri = url.parse().map_err(|_| FetchError::Url(named()))?;
    let authority = uri.authority().filter(|_| uri.scheme_str() == Some("https"));
    let authority = authority.ok_or_else(|| FetchError::Url(named()))?.clone();
    let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
    let name =
        ServerName::try_from(host.clone()).map_err(|error| FetchError::Host(named(), error))?;
    let connect = |error| FetchError::Connect(named(), error);
    let stream = TcpStream::connect((host, authority.port_u16().unwrap_or(443))).await;
    let stream = tls.connect(name, stream.map_err(connect)?).await.map_err(connect)?;
    let http = |error| FetchError::Http(named(), error);
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(http)?;
    let connection = tokio::spawn(connection);
    let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let request = Request::get(path)
        .header(HOST, authority.as_str())
        .header(ACCEPT, "application/json")
        .header(USER_AGENT, concat!("coco/", env!("CARGO_PKG_VERSION")))
        .body(Empty::<Bytes>::new())
        .map_err(|_| FetchError::Url(named()))?;
    let response = sender.send_request(request).await.map_err(http)?;
    let status = response.status();
    if status != StatusCode::OK {
        return Err(FetchError::Status(named(), status));
    }
    let body = Limited::new(response.into_body(), ISSUER_KEYS_BYTES_MAX).collect().await;
    connection.abort();
    Ok(body.map_err(|_| FetchError::Body(named()))?.to_bytes())
}
