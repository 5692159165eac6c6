//! What every request handler shares, and the way from a request to its handler.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use coco_api::ErrorCode;
use coco_evm::{rpc::Rpc, transaction::EvmCheck};
use coco_governance::rows::{Rows, ServiceRow};
use coco_kv::Snapshot;
use coco_replica::{LedgerState, SharedLedgerState};
use coco_types::{NodeId, TxId};
use http_body_util::{BodyExt, Either, Full, LengthLimitError, Limited};
use hyper::{
    Method, Request, StatusCode,
    body::{Body, Bytes, Incoming},
    header::{ALLOW, HeaderValue},
};
use tokio::{sync::Semaphore, time::timeout};

use super::{
    caller, downloads, ethereum,
    file_digests::FileDigests,
    govern,
    governance::{self, Ask},
    ledger_api::{self, invalid_query},
    newcomers, node_api, openapi, operate, parameters,
    respond::{self, Refused, Reply},
    route::{Names, QUERY_BYTES_MAX, Query, Route, route},
    sessions::Sessions,
    simulate::{self, Simulator},
    standstill::{self, Answers},
    table::{self, Call, Frontend, Row},
};
use crate::{
    clock::seconds_now,
    config::{Limits, OperatorFeature},
    directory::Directory,
    driver::Inbox,
    govern::ENVELOPE_BYTES_MAX,
    history::LedgerHistory,
    identity::Identity,
    metrics::{Metrics, StatusLabel},
    peers::Peers,
    service_status::KnownStatus,
    snapshot_files::SnapshotFiles,
    waiters::Waiters,
};

/// The parts that a service is made of.
#[derive(Debug)]
pub struct ServiceParts {
    /// This node's keys, and the service's.
    pub identity: Box<Identity>,
    /// This node.
    pub node_id: NodeId,
    /// PEM of this node's certificate.
    pub node_cert_pem: String,
    /// All nodes and where they serve.
    pub nodes: Directory,
    /// What clients may ask for.
    pub limits: Limits,
    /// This node's configuration, as everybody may see it: JSON.
    pub shown_config: Bytes,
    /// Whether the service is open.
    pub status: KnownStatus,
    /// The ledger's positions.
    pub state: SharedLedgerState,
    /// The store.
    pub reader: coco_kv::Reader,
    /// Past values.
    pub history: Arc<LedgerHistory>,
    /// This node's snapshots.
    pub snapshots: SnapshotFiles,
    /// What is offered beside what every node offers.
    pub features: BTreeSet<OperatorFeature>,
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
    /// Places for requests of members.
    governing: govern::Places,
    simulator: Arc<Simulator>,
    /// Places for queries that take long.
    querying: ethereum::QueryPlaces,
    /// Places for nodes that want to join.
    joining: Semaphore,
    /// Places for bytes of answers that wait for their clients.
    answers: Answers,
    /// Places for those who download files.
    downloading: Arc<Semaphore>,
    /// Places for calls of operators that change something.
    operating: Arc<Semaphore>,
    /// Digests of files that were given.
    file_digests: FileDigests,
    /// Connections of clients.
    sessions: Arc<Sessions>,
}

impl Service {
    /// A service of these parts.
    #[must_use]
    pub fn new(parts: ServiceParts) -> Self {
        Self {
            parts,
            governing: govern::Places::default(),
            simulator: Arc::default(),
            querying: ethereum::QueryPlaces::new(),
            joining: Semaphore::new(newcomers::JOINS_MAX),
            answers: Answers::new(standstill::ANSWER_BYTES_MAX),
            downloading: Arc::new(Semaphore::new(downloads::DOWNLOADS_MAX)),
            operating: Arc::new(Semaphore::new(operate::CALLS_MAX)),
            file_digests: FileDigests::default(),
            sessions: Arc::default(),
        }
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

    pub(crate) const fn status(&self) -> &KnownStatus {
        &self.parts.status
    }

    pub(super) const fn querying(&self) -> &ethereum::QueryPlaces {
        &self.querying
    }

    pub(crate) const fn joining(&self) -> &Semaphore {
        &self.joining
    }

    pub(super) const fn answers(&self) -> &Answers {
        &self.answers
    }

    pub(crate) const fn downloading(&self) -> &Arc<Semaphore> {
        &self.downloading
    }

    pub(super) const fn operating(&self) -> &Arc<Semaphore> {
        &self.operating
    }

    pub(super) const fn file_digests(&self) -> &FileDigests {
        &self.file_digests
    }

    pub(super) const fn sessions(&self) -> &Arc<Sessions> {
        &self.sessions
    }

    pub(super) const fn governing(&self) -> &govern::Places {
        &self.governing
    }

    /// The committed position, and the state as of it.
    pub(crate) fn committed(&self) -> (TxId, Snapshot) {
        loop {
            // The position may move on, and its version be let go, between the two steps; then it is asked again.
            let committed = self.state().committed();
            if let Ok(snapshot) = self.parts.reader.snapshot(committed.seqno) {
                return (committed, snapshot);
            }
        }
    }

    /// The committed position, and governance's tables as of it.
    pub(crate) fn committed_rows(&self) -> (TxId, Rows) {
        let (at, snapshot) = self.committed();
        (at, Rows::as_of(&snapshot))
    }

    /// The service's certificate in PEM: the one that the ledger has now, or the one that this node began with as long as it
    /// knows of no other for the same key.
    pub(crate) fn certificate(&self, row: Option<&ServiceRow>) -> String {
        let began_with = &self.parts.identity.service_cert;
        let written = row.and_then(ServiceRow::certificate);
        written.filter(|now| now.key() == began_with.key()).as_ref().unwrap_or(began_with).pem()
    }

    /// The time by which callers are judged, in seconds since 1970.
    pub(super) fn now_s(&self) -> u64 {
        floored(&self.parts.state, seconds_now())
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
        if is_head { response.map(|_| Either::Left(Full::default())) } else { response }
    }

    async fn route(self: &Arc<Self>, request: Request<Incoming>) -> Reply {
        let method = request.method().clone();
        let path = request.uri().path().to_owned();
        let query = request.uri().query().unwrap_or("").to_owned();
        match route(&method, &path, &query) {
            Route::Found(row, names) => self.call(row, &names, &path, &query, request).await,
            Route::NotAllowed { allow } => not_allowed(&allow),
            Route::Nothing if self.is_closed_below(&path) => {
                let message = format!("the service is {}", self.status().word());
                respond::error(ErrorCode::FrontendNotOpen, message)
            }
            Route::Nothing => {
                respond::error(ErrorCode::ResourceNotFound, format!("there is nothing at {path}"))
            }
            Route::LongQuery => respond::error(
                ErrorCode::InvalidQueryParameterValue,
                format!("the query is longer than {QUERY_BYTES_MAX} bytes"),
            ),
        }
    }

    /// Whether a path is the application's, which is closed.
    fn is_closed_below(&self, path: &str) -> bool {
        let rest = path.strip_prefix(Frontend::App.prefix());
        rest.is_some_and(|rest| rest.starts_with('/')) && !self.status().is_open()
    }

    /// Answers a call of the table.
    async fn call(
        self: &Arc<Self>,
        row: &'static Row,
        names: &Names<'_>,
        path: &str,
        query: &str,
        request: Request<Incoming>,
    ) -> Reply {
        let parsed = match Query::parse(query) {
            Ok(parsed) => parsed,
            Err(error) => return invalid_query(error.to_string()),
        };
        if let Err(refused) = parameters::check_version(row.versions, &parsed) {
            return refused.reply();
        }
        if let Some(feature) = row.feature.filter(|feature| !self.parts.features.contains(feature))
        {
            let message = format!(
                "this node does not offer it: client.enabled_operator_features is without {feature:?}"
            );
            return respond::error(ErrorCode::ResourceNotFound, message);
        }
        match row.call {
            Call::Ethereum => self.ethereum(row, query, request).await,
            Call::Preflight => ethereum::preflight(),
            Call::Ledger(call) => ledger_api::answer(self, call, &parsed).await,
            Call::Node(call) => node_api::answer(self, call, names, &parsed),
            Call::Governance(read) => {
                let (at, mut rows) = self.committed_rows();
                let ask = Ask { names, path, query: &parsed };
                respond::at(governance::answer(read, &mut rows, &self.parts.state, &ask), at)
            }
            Call::Write(write) => govern::write(self, row, write, names, request).await,
            Call::Simulate => self.simulate(row, request).await.unwrap_or_else(Refused::reply),
            Call::Join => newcomers::join(self, request).await.unwrap_or_else(Refused::reply),
            Call::Download(call) => downloads::answer(self, call, names, &parsed, &request)
                .await
                .unwrap_or_else(Refused::reply),
            Call::CreateSnapshot => {
                operate::create_snapshot(self, path).await.unwrap_or_else(Refused::reply)
            }
            Call::RemoveNode => operate::remove_node(self, names.get("nodeId"), path)
                .await
                .unwrap_or_else(Refused::reply),
            Call::Caller => caller::answer(self, &request).unwrap_or_else(Refused::reply),
            Call::Api(frontend) => respond::json_text(openapi::document(frontend)),
        }
    }

    async fn ethereum(
        self: &Arc<Self>,
        row: &Row,
        query: &str,
        request: Request<Incoming>,
    ) -> Reply {
        match self.body(request, self.limits().body_bytes_max).await {
            Ok(body) if row.service == table::Service::InAnyState || self.status().is_open() => {
                ethereum::answer(self, body, query).await
            }
            Ok(body) => ethereum::closed(self, &body),
            Err(refused) => refused.reply(),
        }
    }

    async fn simulate(&self, row: &Row, request: Request<Incoming>) -> Result<Reply, Refused> {
        govern::check_content_type(row, &request)?;
        let proposal = self.body(request, ENVELOPE_BYTES_MAX).await?;
        let (at, snapshot) = self.committed();
        let (root, ledger_secret) = {
            let state = self.state();
            // Over all entries up to that version, the leaf before the first among them.
            let root = state.tree().root_at(at.seqno.0 + 1).unwrap_or_default();
            (root, simulate::newest_period(state.secrets(), at.seqno))
        };
        Ok(respond::at(self.simulator.run(snapshot, root, ledger_secret, proposal).await, at))
    }

    /// The whole body, within limits of size and time.
    pub(crate) async fn body(
        &self,
        request: Request<Incoming>,
        limit: usize,
    ) -> Result<Bytes, Refused> {
        let too_large = || {
            let message = format!("the body is larger than {limit} bytes");
            closing(respond::error(ErrorCode::RequestBodyTooLarge, message))
        };
        // What a client announces is refused before it is sent.
        if request.body().size_hint().lower() > limit as u64 {
            return Err(too_large().into());
        }
        let reading = Limited::new(request.into_body(), limit).collect();
        match timeout(Duration::from_millis(self.limits().body_timeout_ms), reading).await {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large().into()),
            Ok(Err(error)) => {
                let message = format!("the body cannot be read: {error}");
                Err(closing(respond::error(ErrorCode::InvalidInput, message)).into())
            }
            Err(_) => {
                let mut late =
                    respond::error(ErrorCode::InvalidInput, "the body did not arrive in time");
                *late.status_mut() = StatusCode::REQUEST_TIMEOUT;
                Err(closing(late).into())
            }
        }
    }
}

/// What the host's clock says, unless the ledger is known to be further: who sets it back revives nothing that has ended.
pub(super) fn floored(state: &SharedLedgerState, host_s: u64) -> u64 {
    host_s.max(state.read().committed_time_s())
}

fn closing(mut response: Reply) -> Reply {
    response.headers_mut().insert(hyper::header::CONNECTION, HeaderValue::from_static("close"));
    response
}

fn not_allowed(allow: &str) -> Reply {
    let mut response =
        respond::error(ErrorCode::UnsupportedHttpVerb, format!("this path answers to {allow}"));
    let allow = HeaderValue::from_str(allow).expect("names of methods and commas");
    response.headers_mut().insert(ALLOW, allow);
    response
}
