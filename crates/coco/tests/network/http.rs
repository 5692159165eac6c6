//! A small HTTP/1.1 client that also lets a test send what no client should.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use coco_attest::{Channel, End, ReportData};
use coco_crypto::Certificate;
use coco_types::NodeId;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    sign::{CertifiedKey, SingleCertAndKey},
};
use serde_json::Value;

/// Answers up to this size are read; the tests ask for nothing larger.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Time for an answer unless a test says otherwise.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Response {
    /// The value of a header; its name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> anyhow::Result<Value> {
        serde_json::from_slice(&self.body).with_context(|| {
            format!("status {}, no JSON: {}", self.status, String::from_utf8_lossy(&self.body))
        })
    }

    /// The code of an error in the shape that every error has.
    pub(crate) fn error_code(&self) -> anyhow::Result<String> {
        let body = self.json()?;
        let code =
            body["error"]["code"].as_str().with_context(|| format!("no error code in {body}"))?;
        ensure!(
            body["error"]["message"].as_str().is_some_and(|text| !text.is_empty()),
            "no message in {body}"
        );
        Ok(code.to_owned())
    }
}

/// One open connection.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: Stream,
    host: String,
    received: Vec<u8>,
}

impl Connection {
    pub(crate) fn plain(address: SocketAddr, patience: Duration) -> anyhow::Result<Self> {
        Ok(Self {
            stream: Stream::Plain(dial(address, patience)?),
            host: address.to_string(),
            received: Vec::new(),
        })
    }

    /// A TLS connection to a server whose certificate the service endorsed.
    pub(crate) fn tls(address: SocketAddr, service_cert_pem: &str) -> anyhow::Result<Self> {
        Self::tls_with(address, tls_config(service_cert_pem, &[b"http/1.1"])?)
    }

    /// The same, by a client who shows a certificate.
    pub(crate) fn tls_as(
        address: SocketAddr,
        service_cert_pem: &str,
        certificate_der: &[u8],
        key_pem: &str,
    ) -> anyhow::Result<Self> {
        let mut config = tls_config(service_cert_pem, &[b"http/1.1"])?;
        let chain = vec![CertificateDer::from(certificate_der.to_vec())];
        let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes())?;
        let certified = CertifiedKey::from_der(chain, key, config.crypto_provider())?;
        config.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(certified));
        Self::tls_with(address, config)
    }

    fn tls_with(address: SocketAddr, config: ClientConfig) -> anyhow::Result<Self> {
        let name = ServerName::from(address.ip());
        let connection = ClientConnection::new(Arc::new(config), name)?;
        let mut stream = StreamOwned::new(connection, dial(address, PATIENCE)?);
        stream.flush().with_context(|| format!("TLS with {address}"))?;
        Ok(Self {
            stream: Stream::Tls(Box::new(stream)),
            host: address.to_string(),
            received: Vec::new(),
        })
    }

    /// What a node with this key shows on this connection to a service.
    pub(crate) fn report_data(
        &self,
        own: NodeId,
        service: &Certificate,
    ) -> anyhow::Result<ReportData> {
        let Stream::Tls(stream) = &self.stream else { bail!("nobody shows anything here") };
        let end = End::Dialled;
        let export = |out, label: &[u8], context: Option<&[u8]>| {
            stream.conn.export_keying_material(out, label, context)
        };
        let exporter = end.exporter(export)?;
        let (service, other) = (service.key().digest(), self.certificate()?.key().node_id());
        Ok(Channel { end, service, own, other, exporter }.report_data())
    }

    /// The certificate that the server has shown.
    pub(crate) fn certificate(&self) -> anyhow::Result<Certificate> {
        let Stream::Tls(stream) = &self.stream else { bail!("nobody shows one here") };
        let chain = stream.conn.peer_certificates().context("it was shown")?;
        Ok(Certificate::from_der(chain.first().context("a certificate")?)?)
    }

    pub(crate) fn get(&mut self, path: &str) -> anyhow::Result<Response> {
        self.request("GET", path, &[], b"")
    }

    pub(crate) fn post_json(&mut self, path: &str, body: &[u8]) -> anyhow::Result<Response> {
        self.request("POST", path, &[("content-type", "application/json")], body)
    }

    pub(crate) fn request(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> anyhow::Result<Response> {
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\n", self.host);
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() || method == "POST" {
            head.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(body);
        self.send(&bytes)?;
        self.receive(method == "HEAD")
    }

    /// Sends these bytes, whatever they are.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    /// Reads one answer; that to a HEAD has no body.
    pub(crate) fn receive(&mut self, is_bodiless: bool) -> anyhow::Result<Response> {
        let head_end = loop {
            if let Some(at) = self.received.windows(4).position(|window| window == b"\r\n\r\n") {
                break at;
            }
            ensure!(self.more()? > 0, "the connection closed without an answer");
        };
        let head = String::from_utf8(self.received[..head_end].to_vec())?;
        self.received.drain(..head_end + 4);
        let mut lines = head.split("\r\n");
        let status = lines
            .next()
            .and_then(|line| line.split(' ').nth(1))
            .context("no status line")?
            .parse()?;
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let mut response = Response { status, headers, body: Vec::new() };
        if is_bodiless || [204, 304].contains(&status) {
            return Ok(response);
        }
        let length: usize =
            response.header("content-length").context("no content-length")?.parse()?;
        ensure!(length <= ANSWER_BYTES_MAX, "an answer of {length} bytes");
        while self.received.len() < length {
            ensure!(self.more()? > 0, "the connection closed within an answer");
        }
        response.body = self.received.drain(..length).collect();
        Ok(response)
    }

    fn more(&mut self) -> io::Result<usize> {
        let mut buffer = [0; 16 << 10];
        let count = self.stream.read(&mut buffer)?;
        self.received.extend_from_slice(&buffer[..count]);
        Ok(count)
    }

    /// Reads until the other side closes; everything that came. An error when it does not close in time.
    pub(crate) fn until_closed(&mut self) -> anyhow::Result<Vec<u8>> {
        loop {
            match self.more() {
                Ok(0) => return Ok(std::mem::take(&mut self.received)),
                Ok(_) => {}
                Err(error) if is_late(&error) => bail!("the connection is still open"),
                // A reset closes, too, as does TLS that ends without saying so.
                Err(_) => return Ok(std::mem::take(&mut self.received)),
            }
        }
    }
}

fn is_late(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

fn dial(address: SocketAddr, patience: Duration) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, patience)
        .with_context(|| format!("cannot connect to {address}"))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    Ok(stream)
}

/// TLS settings that trust the service and nobody else.
pub(crate) fn tls_config(
    service_cert_pem: &str,
    protocols: &[&[u8]],
) -> anyhow::Result<ClientConfig> {
    let service = Certificate::from_pem(service_cert_pem)?;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(service.der().to_vec()))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(config)
}
