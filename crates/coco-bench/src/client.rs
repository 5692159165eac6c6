//! One keep-alive HTTP/1.1 connection, as cheap as it can be: a body out, a body in.

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Request,
    client::conn::http1::{self, SendRequest},
    header::{CONTENT_TYPE, HOST, HeaderValue},
};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Where a server listens: `http://host:port/path`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    authority: String,
    path: String,
}

impl Endpoint {
    /// Reads a plain HTTP address.
    ///
    /// # Errors
    /// When the scheme is not `http` or the host is missing.
    pub(crate) fn parse(url: &str) -> anyhow::Result<Self> {
        let Some(rest) = url.strip_prefix("http://") else {
            bail!("{url}: only http:// addresses are supported");
        };
        let (authority, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
        if authority.is_empty() {
            bail!("{url}: no host");
        }
        let authority =
            if authority.contains(':') { authority.to_owned() } else { format!("{authority}:80") };
        Ok(Self { authority, path: path.to_owned() })
    }
}

/// An open connection. After an error it must be dropped and opened anew.
#[derive(Debug)]
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    endpoint: Endpoint,
    host: HeaderValue,
}

impl Connection {
    pub(crate) async fn open(endpoint: &Endpoint) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(&endpoint.authority)
            .await
            .with_context(|| format!("connecting to {}", endpoint.authority))?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(async move {
            // Whatever ends the connection also fails the request under way, which reports it.
            drop(connection.await);
        });
        let host = HeaderValue::from_str(&endpoint.authority)?;
        Ok(Self { sender, endpoint: endpoint.clone(), host })
    }

    /// Sends one JSON body, on a new connection if the server has closed this one while it was idle, and returns the
    /// body of the answer. JSON-RPC errors come in the body, whatever the status.
    pub(crate) async fn post(&mut self, body: Bytes) -> anyhow::Result<Bytes> {
        if self.sender.ready().await.is_err() {
            // Nothing was sent yet, so nothing can be sent twice.
            *self = Self::open(&self.endpoint).await?;
            self.sender.ready().await?;
        }
        let request = Request::post(self.endpoint.path.as_str())
            .header(HOST, self.host.clone())
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .body(Full::new(body))?;
        let response = self.sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX)
            .collect()
            .await
            .map_err(|error| anyhow::anyhow!("reading the answer: {error}"))?
            .to_bytes();
        if !status.is_success() && body.first().is_none_or(|byte| !matches!(byte, b'{' | b'[')) {
            bail!("http status {}", status.as_u16());
        }
        Ok(body)
    }
}

/// Receipts of several large blocks fit; an endless answer does not.
const ANSWER_BYTES_MAX: usize = 1 << 29;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let parse =
            |url| Endpoint::parse(url).map(|endpoint| (endpoint.authority, endpoint.path)).ok();
        let both = |authority: &str, path: &str| Some((authority.to_owned(), path.to_owned()));
        assert_eq!(parse("http://127.0.0.1:8545"), both("127.0.0.1:8545", "/"));
        assert_eq!(parse("http://node/eth/x"), both("node:80", "/eth/x"));
        assert_eq!(parse("https://node"), None);
        assert_eq!(parse("http:///x"), None);
    }
}
