//! What every request handler shares, and the way from a request to its handler.

use std::{sync::Arc, time::Duration};

use coco_api::ErrorCode;
use coco_evm::{rpc::Rpc, transaction::EvmCheck};
use coco_ledger::LedgerSecrets;
use coco_replica::{LedgerState, SharedLedgerState};
use coco_types::NodeId;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::{
    Method, Request, StatusCode,
    body::{Body, Bytes, Incoming},
    header::{ALLOW, HeaderValue},
};
use tokio::time::timeout;

use super::{
    ethereum, ledger_api,
    respond::{self, Reply},
    route::{QUERY_BYTES_MAX, Route, route},
};
use crate::{
    config::Limits,
    directory::Directory,
    driver::Inbox,
    history::LedgerHistory,
    metrics::{Metrics, StatusLabel},
    peers::Peers,
    waiters::Waiters,
};

/// The parts that a service is made of.
#[derive(Debug)]
pub struct ServiceParts {
    /// This node.
    pub node_id: NodeId,
    /// PEM of the service's certificate.
    pub service_cert_pem: String,
    /// PEM of this node's certificate.
    pub node_cert_pem: String,
    /// All nodes and where they serve.
    pub nodes: Directory,
    /// What clients may ask for.
    pub limits: Limits,
    /// The ledger's positions.
    pub state: SharedLedgerState,
    /// The store.
    pub reader: coco_kv::Reader,
    /// Past values.
    pub history: Arc<LedgerHistory>,
    /// For commit evidence in receipts.
    pub secrets: LedgerSecrets,
    /// The way to the replica.
    pub inbox: Inbox,
    /// The way to the other nodes.
    pub peers: Arc<Peers>,
    /// Callers who wait for a commit.
    pub waiters: Arc<Waiters>,
    /// Ethereum queries.
    pub rpc: Rpc,
    /// Ethereum transactions.
    pub checker: EvmCheck,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Whether the node was told to stop.
    pub stop: tokio::sync::watch::Receiver<bool>,
}

/// Answers requests.
#[derive(Debug)]
pub struct Service {
    parts: ServiceParts,
}

impl Service {
    /// A service of these parts.
    #[must_use]
    pub const fn new(parts: ServiceParts) -> Self {
        Self { parts }
    }

    pub(crate) const fn parts(&self) -> &ServiceParts {
        &self.parts
    }

    pub(crate) const fn limits(&self) -> &Limits {
        &self.parts.limits
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.parts.metrics
    }

    pub(crate) fn state(&self) -> parking_lot::RwLockReadGuard<'_, LedgerState> {
        self.parts.state.read()
    }

    pub(crate) const fn node_id(&self) -> NodeId {
        self.parts.node_id
    }

    pub(crate) const fn inbox(&self) -> &Inbox {
        &self.parts.inbox
    }

    pub(crate) fn peers(&self) -> &Peers {
        &self.parts.peers
    }

    pub(crate) fn waiters(&self) -> &Waiters {
        &self.parts.waiters
    }

    pub(crate) const fn checker(&self) -> &EvmCheck {
        &self.parts.checker
    }

    pub(crate) const fn rpc(&self) -> &Rpc {
        &self.parts.rpc
    }

    pub(crate) fn is_stopping(&self) -> bool {
        *self.parts.stop.borrow()
    }

    /// Answers one request. Never fails: what goes wrong is an answer.
    pub(crate) async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Reply {
        let is_head = request.method() == Method::HEAD;
        let time =
            Duration::from_millis(self.limits().request_timeout_ms + self.limits().body_timeout_ms);
        let response = match timeout(time, Box::pin(self.route(request))).await {
            Ok(response) => response,
            Err(_) => respond::error(
                ErrorCode::InternalError,
                "the request took too long; what it did is unknown",
            ),
        };
        let response = if response.headers().contains_key(coco_api::TRANSACTION_ID_HEADER) {
            response
        } else {
            let committed = self.state().committed();
            respond::at(response, committed)
        };
        self.metrics()
            .responses
            .get_or_create(&StatusLabel { status: response.status().as_u16() })
            .inc();
        if is_head { response.map(|_| http_body_util::Full::default()) } else { response }
    }

    async fn route(self: &Arc<Self>, request: Request<Incoming>) -> Reply {
        let method = request.method().clone();
        let path = request.uri().path().to_owned();
        let query = request.uri().query().unwrap_or("").to_owned();
        match route(&method, &path, &query) {
            Route::Ethereum => match self.body(request).await {
                Ok(body) => ethereum::answer(self, body, &query).await,
                Err(refused) => refused,
            },
            Route::Preflight => ethereum::preflight(),
            Route::Ledger => ledger_api::answer(self, &path, &query).await,
            Route::NotAllowed { allow } => not_allowed(allow),
            Route::Nothing => {
                respond::error(ErrorCode::ResourceNotFound, format!("there is nothing at {path}"))
            }
            Route::LongQuery => respond::error(
                ErrorCode::InvalidQueryParameterValue,
                format!("the query is longer than {QUERY_BYTES_MAX} bytes"),
            ),
        }
    }

    /// The whole body, within its limits of size and time.
    async fn body(&self, request: Request<Incoming>) -> Result<Bytes, Reply> {
        let limit = self.limits().body_bytes_max;
        let too_large = || {
            let message = format!("the body is larger than {limit} bytes; split the batch");
            closing(respond::error(ErrorCode::RequestBodyTooLarge, message))
        };
        // What a client announces is refused before it is sent.
        if request.body().size_hint().lower() > limit as u64 {
            return Err(too_large());
        }
        let reading = Limited::new(request.into_body(), limit).collect();
        match timeout(Duration::from_millis(self.limits().body_timeout_ms), reading).await {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
            Ok(Err(error)) => Err(closing(respond::error(
                ErrorCode::InvalidInput,
                format!("the body cannot be read: {error}"),
            ))),
            Err(_) => {
                let mut late =
                    respond::error(ErrorCode::InvalidInput, "the body did not arrive in time");
                *late.status_mut() = StatusCode::REQUEST_TIMEOUT;
                Err(closing(late))
            }
        }
    }
}

fn closing(mut response: Reply) -> Reply {
    response.headers_mut().insert(hyper::header::CONNECTION, HeaderValue::from_static("close"));
    response
}

fn not_allowed(allow: &'static str) -> Reply {
    let mut response =
        respond::error(ErrorCode::UnsupportedHttpVerb, format!("this path answers to {allow}"));
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    response
}
