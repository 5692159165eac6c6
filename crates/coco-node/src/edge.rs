//! The client side: HTTPS (and, for development, plain HTTP on loopback), HTTP/1.1 and HTTP/2, with a limit on
//! everything a client controls: connections, headers, bodies and time.

mod caller;
mod downloads;
mod earlier;
mod ethereum;
mod file_digests;
#[cfg(test)]
mod fixture;
mod govern;
mod governance;
pub mod introduction;
mod issuers;
mod ledger_api;
mod newcomers;
mod node_api;
mod openapi;
mod operate;
pub mod parameters;
mod respond;
pub mod route;
mod service;
mod sessions;
mod simulate;
mod standstill;
mod submit;
pub mod table;

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use coco_attest::End;
use hyper::{Request, body::Bytes, body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

pub(crate) use issuers::IssuerFetcher;
use newcomers::ShownCertificate;
pub use openapi::document;
pub use service::{Service, ServiceParts};
use sessions::{Interface, Session};
use standstill::Standstill;

use crate::tls::exporter;

/// Time for a TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Streams that one HTTP/2 connection may have open.
const HTTP2_STREAMS_MAX: u32 = 128;
/// Streams that a client may reset before its connection is closed (CVE-2023-44487).
const HTTP2_RESETS_MAX: usize = 64;
/// Wait after a failed accept, so that running out of file handles does not spin.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);
/// How long open connections may finish their requests after the node was told to stop.
const DRAIN_TIME: Duration = Duration::from_secs(2);

/// What arrives on a listener.
#[derive(Clone)]
pub enum Transport {
    /// TLS with the node's endorsed certificate.
    Tls(TlsAcceptor),
    /// Plain HTTP on a loopback address, for development.
    DevelopmentPlain,
}

impl Transport {
    const fn interface(&self) -> Interface {
        match self {
            Self::Tls(_) => Interface::Client,
            Self::DevelopmentPlain => Interface::Development,
        }
    }
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Tls(_) => "Tls",
            Self::DevelopmentPlain => "DevelopmentPlain",
        })
    }
}

/// Serves clients until `stop` turns true, then lets open requests finish.
pub async fn serve(
    listener: TcpListener,
    transport: Transport,
    service: Arc<Service>,
    places: Arc<Semaphore>,
    mut stop: watch::Receiver<bool>,
) {
    service.sessions().listen(transport.interface());
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopping(&mut stop) => return,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                warn!(%error, "cannot accept a client");
                tokio::time::sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        // Over the limit a connection is closed at once; the client sees a reset, not a hang.
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
        let (transport, service, stop) = (transport.clone(), Arc::clone(&service), stop.clone());
        tokio::spawn(async move {
            let _place = place;
            let session = service.sessions().begin(transport.interface());
            connection(stream, transport, session, service, stop).await;
        });
    }
}

async fn connection(
    stream: TcpStream,
    transport: Transport,
    session: Session,
    service: Arc<Service>,
    stop: watch::Receiver<bool>,
) {
    if stream.set_nodelay(true).is_err() {
        return;
    }
    match transport {
        Transport::DevelopmentPlain => requests(stream, None, session, service, stop).await,
        Transport::Tls(acceptor) => match timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await
        {
            Ok(Ok(stream)) => {
                let connection = stream.get_ref().1;
                let shown = connection.peer_certificates().and_then(<[_]>::first);
                let shown = shown.map(|der| ShownCertificate {
                    der: Bytes::copy_from_slice(der),
                    exporter: exporter(connection, End::Dialled).ok(),
                });
                requests(stream, shown, session, service, stop).await;
            }
            Ok(Err(error)) => debug!(%error, "TLS handshake failed"),
            Err(_) => debug!("TLS handshake timed out"),
        },
    }
}

async fn requests<S>(
    stream: S,
    shown: Option<ShownCertificate>,
    session: Session,
    service: Arc<Service>,
    mut stop: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let limits = *service.limits();
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(limits.header_timeout_ms))
        .max_headers(limits.headers_max)
        .max_buf_size(limits.header_bytes_max.max(8192));
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(HTTP2_STREAMS_MAX)
        .max_pending_accept_reset_streams(HTTP2_RESETS_MAX)
        .max_local_error_reset_streams(HTTP2_RESETS_MAX)
        .max_header_list_size(u32::try_from(limits.header_bytes_max).unwrap_or(u32::MAX))
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(10));
    let session = Arc::new(session);
    let answering = Arc::clone(&session);
    let has_asked = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&has_asked);
    let activity = service.answers().connection();
    let asks = Arc::clone(&activity);
    let handler = service_fn(move |mut request: Request<Incoming>| {
        asked.store(true, Ordering::Relaxed);
        if let Some(shown) = &shown {
            request.extensions_mut().insert(shown.clone());
        }
        let (service, open) = (Arc::clone(&service), asks.begin());
        let session = Arc::clone(&answering);
        async move {
            let reply = Arc::clone(&service).answer(request).await;
            session.answered(reply.status());
            Ok::<_, Infallible>(standstill::watched(reply, open, service.answers()).await)
        }
    });
    let connection = builder.serve_connection(TokioIo::new(stream), handler);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = stopping(&mut stop) => None,
        () = silence(&has_asked, Duration::from_millis(limits.header_timeout_ms)) => return,
        standstill = activity.stands_still() => match standstill {
            Standstill::Idle => None,
            Standstill::Unread => {
                debug!("a client does not take its answer");
                return;
            }
        },
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            timeout(DRAIN_TIME, connection.as_mut()).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        session.failed(&*error);
        debug!(error, "client connection ended");
    }
}

/// Ends when no request has arrived after `time`. The HTTP library's own time-outs begin only once it knows which
/// version the client speaks.
async fn silence(has_asked: &AtomicBool, time: Duration) {
    tokio::time::sleep(time).await;
    if has_asked.load(Ordering::Relaxed) {
        std::future::pending::<()>().await;
    }
}

/// Waits until the node is told to stop.
async fn stopping(stop: &mut watch::Receiver<bool>) {
    // A sender that is gone means that the node is, too.
    let _gone = stop.wait_for(|stop| *stop).await.is_err();
}
