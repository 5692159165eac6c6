//! One call to one node: connect, ask, read the answer. Bounded in size; the caller bounds the time.

use std::{
    io,
    time::{SystemTime, UNIX_EPOCH},
};

use coco_api::TRANSACTION_ID_HEADER;
use coco_attest::{Channel, End};
use coco_crypto::Certificate;
use coco_types::TxId;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Request,
    body::Bytes,
    client::conn::http1,
    header::{CONTENT_TYPE, DATE, HOST, HeaderValue, LOCATION, RANGE},
};
use hyper_util::rt::TokioIo;
use rustls::ClientConnection;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use crate::{
    Answer, CallError, Endpoint, Refusal,
    call::{Call, Kind, Shows},
};

/// Largest answer that is read, in bytes. The largest there is, a list of all participants, has some thousand bytes each.
pub const ANSWER_BYTES_MAX: usize = 64 << 20;

/// The status of an answer that only says where to ask.
const MOVED: u16 = 308;

/// How far a call came. Whoever gives up on it must know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Whether a request that changes something may have arrived.
    pub(crate) may_be_done: bool,
}

/// Asks one node.
pub(crate) async fn ask(
    endpoint: &Endpoint,
    tls: &TlsConnector,
    call: &Call,
    progress: &mut Progress,
) -> Result<Answer, CallError> {
    let unreachable = |source| CallError::Unreachable { endpoint: endpoint.clone(), source };
    let stream = TcpStream::connect(endpoint.authority()).await.map_err(unreachable)?;
    stream.set_nodelay(true).map_err(unreachable)?;
    let unshown = |source| CallError::Unshown { endpoint: endpoint.clone(), source };
    let Some(name) = endpoint.name() else {
        if call.shows.is_some() {
            return Err(unshown(io::ErrorKind::Unsupported.into()));
        }
        return talk(endpoint, stream, call, progress).await;
    };
    match tls.connect(name.clone(), stream).await {
        Ok(stream) => {
            let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
            let certificate = chain.first().and_then(|der| Certificate::from_der(der).ok());
            let answer = match &call.shows {
                None => talk(endpoint, stream, call, progress).await?,
                Some(shows) => {
                    let body = body_for(stream.get_ref().1, certificate.as_ref(), shows);
                    let call = Call { body: body.map_err(unshown)?, ..call.clone() };
                    talk(endpoint, stream, &call, progress).await?
                }
            };
            Ok(Answer { certificate, ..answer })
        }
        Err(source) if is_transport(&source) => Err(unreachable(source)),
        Err(source) => Err(CallError::NotTheService { endpoint: endpoint.clone(), source }),
    }
}

/// The body of a call that shows evidence on this connection, to the holder of the key of `other`.
fn body_for(
    connection: &ClientConnection,
    other: Option<&Certificate>,
    shows: &Shows,
) -> io::Result<Bytes> {
    let other = other.ok_or(io::ErrorKind::InvalidData)?.key().node_id();
    let end = End::Dialled;
    let export = |out, label: &[u8], context: Option<&[u8]>| {
        connection.export_keying_material(out, label, context)
    };
    let exporter = end.exporter(export).map_err(io::Error::other)?;
    let Shows { own, service, body } = shows;
    let channel = Channel { end, service: *service, own: *own, other, exporter };
    body(&channel.report_data()).map(Bytes::from)
}

/// Whether a handshake failed because the connection did, and not because of what was said on it.
fn is_transport(error: &io::Error) -> bool {
    error.get_ref().is_none_or(|inner| !inner.is::<rustls::Error>())
}

async fn talk<S>(
    endpoint: &Endpoint,
    stream: S,
    call: &Call,
    progress: &mut Progress,
) -> Result<Answer, CallError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let broken = |source| CallError::Broken { endpoint: endpoint.clone(), source };
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(error.into()))?;
    // Ends with the sender; aborted besides, so that a node that keeps the connection open holds nothing here.
    let connection = AbortOnDrop(tokio::spawn(connection));
    let mut request = Request::builder()
        .method(call.method.clone())
        .uri(&call.target)
        .header(HOST, endpoint.authority());
    if let Some(content_type) = call.content_type {
        request = request.header(CONTENT_TYPE, content_type);
    }
    if let Some((first, last)) = call.range {
        request = request.header(RANGE, format!("bytes={first}-{last}"));
    }
    let request =
        request.body(Full::new(call.body.clone())).map_err(|error| broken(error.into()))?;
    progress.may_be_done |= call.kind == Kind::Change;
    let response = sender.send_request(request).await.map_err(|error| broken(error.into()))?;
    let status = response.status().as_u16();
    let transaction = response
        .headers()
        .get(TRANSACTION_ID_HEADER)
        .and_then(|value| value.to_str().ok()?.parse::<TxId>().ok());
    let date = response.headers().get(DATE).and_then(seconds);
    let is_way = status == MOVED && call.kind == Kind::Question;
    let location = response.headers().get(LOCATION).filter(|_| is_way);
    let location = location.and_then(|location| location.to_str().ok()).map(str::to_owned);
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
    let body = body.map_err(broken)?.to_bytes().to_vec();
    drop(connection);
    if (200..300).contains(&status) || location.is_some() {
        let endpoint = endpoint.clone();
        let certificate = None;
        return Ok(Answer { endpoint, status, transaction, location, date, certificate, body });
    }
    Err(CallError::Refused {
        endpoint: endpoint.clone(),
        refusal: Box::new(Refusal::read(status, &body)),
    })
}

/// A date of HTTP in seconds since 1970.
fn seconds(date: &HeaderValue) -> Option<u64> {
    let date: SystemTime = httpdate::parse_http_date(date.to_str().ok()?).ok()?;
    date.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs())
}

struct AbortOnDrop<T>(tokio::task::JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
