//! HTTPS to one node under the service's certificate, and Ethereum JSON-RPC on it.

use std::{net::SocketAddr, sync::Arc};

use anyhow::{Context, bail, ensure};
use coco_types::TxId;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Request,
    body::Bytes,
    client::conn::http1::{self, SendRequest},
    header::{CONTENT_TYPE, HOST, HeaderValue},
};
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName},
};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

/// Largest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Trust in what one service endorsed.
#[derive(Clone)]
pub(crate) struct Tls(TlsConnector);

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls(..)")
    }
}

impl Tls {
    pub(crate) fn new(service_cert_pem: &str) -> anyhow::Result<Self> {
        let service = coco_crypto::Certificate::from_pem(service_cert_pem)
            .context("the service certificate cannot be read")?;
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(service.der().to_vec()))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }

    /// A handshake with a node.
    pub(crate) async fn connect(
        &self,
        address: SocketAddr,
    ) -> anyhow::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(self.0.connect(ServerName::from(address.ip()), stream).await?)
    }
}

/// An open connection. After an error it is of no use.
#[derive(Debug)]
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    host: HeaderValue,
}

/// What a node answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The transaction that the answer speaks of, or was read at.
    pub(crate) id: Option<TxId>,
    pub(crate) body: Bytes,
}

/// What a call was refused with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) code: i64,
    pub(crate) message: String,
}

impl Connection {
    pub(crate) async fn open(tls: &Tls, address: SocketAddr) -> anyhow::Result<Self> {
        let stream = tls.connect(address).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(async move {
            // Whatever ends the connection also fails the request under way, which reports it.
            drop(connection.await);
        });
        Ok(Self { sender, host: HeaderValue::from_str(&address.to_string())? })
    }

    async fn exchange(&mut self, request: Request<Full<Bytes>>) -> anyhow::Result<Answer> {
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await?;
        let status = response.status().as_u16();
        let id = response.headers().get(coco_api::TRANSACTION_ID_HEADER);
        let id = id.and_then(|id| id.to_str().ok()?.parse().ok());
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| anyhow::anyhow!(error))?.to_bytes();
        Ok(Answer { status, id, body })
    }

    pub(crate) async fn get(&mut self, path: &str) -> anyhow::Result<Answer> {
        let request = Request::get(path).header(HOST, self.host.clone()).body(Full::default())?;
        self.exchange(request).await
    }

    async fn post(&mut self, body: String) -> anyhow::Result<Answer> {
        let request = Request::post("/")
            .header(HOST, self.host.clone())
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .body(Full::new(body.into()))?;
        let answer = self.exchange(request).await?;
        ensure!(
            answer.status == 200,
            "status {}: {}",
            answer.status,
            String::from_utf8_lossy(&answer.body)
        );
        Ok(answer)
    }

    /// One call, with the transaction that its answer names; the outer error is the transport's.
    pub(crate) async fn call(
        &mut self,
        method: &str,
        params: Value,
    ) -> anyhow::Result<(Result<Value, Refused>, Option<TxId>)> {
        let answer = self.post(call_body(0, method, params).to_string()).await?;
        Ok((outcome(&serde_json::from_slice(&answer.body)?)?, answer.id))
    }

    /// Calls in one batch, answered in order; each must succeed.
    pub(crate) async fn call_all(
        &mut self,
        calls: Vec<(&str, Value)>,
    ) -> anyhow::Result<Vec<Value>> {
        let count = calls.len();
        let bodies = calls.into_iter().enumerate();
        let bodies = bodies.map(|(id, (method, params))| call_body(id, method, params));
        let answer = self.post(Value::Array(bodies.collect()).to_string()).await?;
        let Value::Array(answers) = serde_json::from_slice(&answer.body)? else {
            bail!("the answer to a batch is no array")
        };
        ensure!(answers.len() == count, "{} answers to {count} calls", answers.len());
        let mut results = Vec::with_capacity(count);
        for (id, answer) in answers.iter().enumerate() {
            ensure!(answer["id"] == id, "answer {id} of a batch is {answer}");
            match outcome(answer)? {
                Ok(result) => results.push(result),
                Err(refused) => bail!("call {id} of a batch: {refused:?}"),
            }
        }
        Ok(results)
    }
}

fn call_body(id: usize, method: &str, params: Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })
}

/// Result or refusal of one response object.
fn outcome(response: &Value) -> anyhow::Result<Result<Value, Refused>> {
    if let Some(error) = response.get("error") {
        let code = error["code"].as_i64().with_context(|| format!("no code in {response}"))?;
        let message = error["message"].as_str().unwrap_or_default().to_owned();
        return Ok(Err(Refused { code, message }));
    }
    let result = response.get("result");
    Ok(Ok(result.with_context(|| format!("neither result nor error in {response}"))?.clone()))
}

/// Reads a quantity as JSON-RPC writes it.
pub(crate) fn quantity(value: &Value) -> anyhow::Result<u64> {
    let digits = value.as_str().and_then(|text| text.strip_prefix("0x"));
    let digits = digits.with_context(|| format!("{value} is no quantity"))?;
    u64::from_str_radix(digits, 16).with_context(|| format!("{value} is no quantity"))
}

/// Reads anything that is written as text.
pub(crate) fn parsed<T: std::str::FromStr>(value: &Value) -> anyhow::Result<T> {
    let text = value.as_str().with_context(|| format!("{value} is no text"))?;
    text.parse().ok().with_context(|| format!("{text} cannot be read"))
}
