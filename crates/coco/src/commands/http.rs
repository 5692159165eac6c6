//! One GET, over plain HTTP or over HTTPS with a pinned service certificate.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::{Context, bail};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, body::Bytes, client::conn::http1, header::HOST};
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};

/// Largest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 4 << 20;
/// Time for the whole exchange.
const TIME: Duration = Duration::from_secs(10);

/// Fetches `url`; anything but 200 is an error that shows the answer.
pub(crate) fn get(url: &str, service_cert: Option<&Path>) -> anyhow::Result<Vec<u8>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (status, body) = runtime.block_on(async {
        let (is_tls, rest) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (None, Some(rest)) => (false, rest),
            (None, None) => bail!("{url} is no http or https URL"),
        };
        let (authority, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
        if !is_tls {
            return get_plain(authority, path).await;
        }
        let Some(path_to_cert) = service_cert else {
            bail!("https needs --service-cert: the certificate of the service that you trust")
        };
        let pem = std::fs::read_to_string(path_to_cert)
            .with_context(|| format!("cannot read {}", path_to_cert.display()))?;
        timeout(TIME, get_tls(authority, path, &pem))
            .await
            .with_context(|| format!("{authority} did not answer in time"))?
    })?;
    if status != 200 {
        bail!("{url} answered {status}: {}", String::from_utf8_lossy(&body));
    }
    Ok(body)
}

/// Fetches a path over plain HTTP; the status and the body.
pub(crate) async fn get_plain(authority: &str, path: &str) -> anyhow::Result<(u16, Vec<u8>)> {
    let exchange = async {
        let stream = TcpStream::connect(authority).await?;
        exchange(stream, authority, path).await
    };
    timeout(TIME, exchange).await.with_context(|| format!("{authority} did not answer in time"))?
}

async fn get_tls(authority: &str, path: &str, pem: &str) -> anyhow::Result<(u16, Vec<u8>)> {
    let service = coco_crypto::Certificate::from_pem(pem)
        .context("the service certificate cannot be read")?;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(service.der().to_vec()))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())?;
    let stream = TcpStream::connect(authority)
        .await
        .with_context(|| format!("cannot connect to {authority}"))?;
    let stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    exchange(stream, authority, path).await
}

async fn exchange<S>(stream: S, authority: &str, path: &str) -> anyhow::Result<(u16, Vec<u8>)>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let task = tokio::spawn(connection);
    let request = Request::get(path).header(HOST, authority).body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    let status = response.status().as_u16();
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
    task.abort();
    Ok((status, body.map_err(|error| anyhow::anyhow!(error))?.to_bytes().to_vec()))
}
