//! Ethereum JSON-RPC over HTTP: reads are answered from the committed state of this node, writes go to the primary.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use coco_adapter::{History, HistoryError};
use coco_evm::rpc::{Call, Query, ReadView, Responses, Submit, Wait, Weight};
use coco_kv::{MapName, Snapshot};
use coco_types::{Seqno, TxId, TxStatus};
use hyper::{
    StatusCode,
    body::Bytes,
    header::{
        ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_MAX_AGE,
        HeaderValue,
    },
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    ledger_api::{ANY_ORIGIN, invalid_query},
    respond::{self, Reply},
    route::waits_for_commit,
    service::Service,
    submit::{PRIMARY_TIME, Submitted},
};
use crate::clock::running_ms;

/// Most heads that one query looks at, when they are rolled back under it.
const HEADS_MAX: usize = 3;
/// Most heavy queries that run at one time. They leave some of the edge's blocking threads to receipts, files and
/// simulations.
const HEAVY_RUNNING_MAX: usize = 12;
/// Most heavy queries that wait for a place; one more is refused.
const HEAVY_WAITING_MAX: usize = 256;
/// Most light queries that read the ledger at one time, since what they look for is not in memory.
const READING_MAX: usize = 2;
/// Most of them that wait for a place: on a backup no new block is in memory before the first of those who ask for it has
/// read it.
const READING_WAITING_MAX: usize = 4096;
/// Light queries answered between two yields.
const QUERIES_PER_TURN: usize = 64;

/// Answers a browser's question before its first request.
pub(crate) fn preflight() -> Reply {
    let mut response = respond::empty(StatusCode::NO_CONTENT);
    let headers = response.headers_mut();
    headers.insert(ANY_ORIGIN.0, ANY_ORIGIN.1);
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST"));
    headers.insert(
        ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static("content-type, authorization"),
    );
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    response
}

/// Answers one JSON-RPC body while the service is not open.
pub(crate) fn closed(service: &Service, body: &[u8]) -> Reply {
    let parsed = service.rpc().parse(body);
    let mut responses = Responses::new(parsed.is_batch);
    let message = format!("FrontendNotOpen: the service is {}", service.status().word());
    for call in &parsed.calls {
        match call {
            Call::Done(response) => responses.push(response),
            Call::Notification => {}
            Call::Query(_) | Call::Submit(_) => responses.push(&call.refused(&message)),
        }
    }
    let mut response = respond::json_text(responses.finish());
    response.headers_mut().insert(ANY_ORIGIN.0, ANY_ORIGIN.1);
    response
}

/// Answers one JSON-RPC body.
pub(crate) async fn answer(service: &Arc<Service>, body: Bytes, query: &str) -> Reply {
    let waits = match waits_for_commit(query) {
        Ok(waits) => waits,
        Err(message) => return invalid_query(message),
    };
    let parsed = service.rpc().parse(&body);
    let mut batch = Batch { service, waits, calls: parsed.calls, at: None };
    let (text, at) = batch.answer(parsed.is_batch).await;
    let mut response = respond::json_text(text);
    response.headers_mut().insert(ANY_ORIGIN.0, ANY_ORIGIN.1);
    respond::at(response, at)
}

/// Places for queries that take long.
#[derive(Debug)]
pub(super) struct QueryPlaces {
    heavy: Places,
    /// For light ones that read the ledger. Heavy ones do not hold them up.
    reading: Places,
}

/// Places for queries of one kind.
#[derive(Debug)]
struct Places {
    /// For those that run and those that wait.
    admitted: Arc<Semaphore>,
    running: Arc<Semaphore>,
    /// What one is refused with when too many wait.
    full: String,
}

/// One of them, given back when it is dropped.
#[derive(Debug)]
struct Place {
    _admitted: OwnedSemaphorePermit,
    _running: OwnedSemaphorePermit,
}

impl QueryPlaces {
    pub(super) fn new() -> Self {
        Self {
            heavy: Places::new("heavy queries", HEAVY_RUNNING_MAX, HEAVY_WAITING_MAX),
            reading: Places::new("look-ups in the ledger", READING_MAX, READING_WAITING_MAX),
        }
    }
}

impl Places {
    fn new(kind: &str, running_max: usize, waiting_max: usize) -> Self {
        Self {
            admitted: Arc::new(Semaphore::new(running_max + waiting_max)),
            running: Arc::new(Semaphore::new(running_max)),
            full: format!(
                "limit exceeded: {running_max} {kind} run on this node and {waiting_max} wait, \
                 try again later"
            ),
        }
    }

    /// Waits until a place is free, first come, first served; nothing when too many wait already.
    async fn take(&self) -> Option<Place> {
        let admitted = Arc::clone(&self.admitted).try_acquire_owned().ok()?;
        let running = Arc::clone(&self.running).acquire_owned().await.ok()?;
        Some(Place { _admitted: admitted, _running: running })
    }
}

struct Batch<'a> {
    service: &'a Arc<Service>,
    /// Whether plain submissions wait for the commit, too.
    waits: bool,
    calls: Vec<Call>,
    /// The last transaction that this batch wrote.
    at: Option<TxId>,
}

impl Batch<'_> {
    /// Calls are answered in order; neighbouring submissions go to the replica together.
    async fn answer(&mut self, is_batch: bool) -> (Vec<u8>, TxId) {
        let mut responses = Responses::new(is_batch);
        let mut calls = std::mem::take(&mut self.calls).into_iter().peekable();
        let mut light = 0;
        while let Some(call) = calls.next() {
            if responses.is_full() && !matches!(call, Call::Submit(_)) {
                responses.push(&call.too_large());
                continue;
            }
            match call {
                Call::Done(response) => responses.push(&response),
                Call::Notification => {}
                Call::Query(query) => {
                    light += 1;
                    if light % QUERIES_PER_TURN == 0 {
                        tokio::task::yield_now().await;
                    }
                    responses.push(&self.query(query).await);
                }
                Call::Submit(first) => {
                    let mut submits = vec![first];
                    while let Some(Call::Submit(next)) =
                        calls.next_if(|call| matches!(call, Call::Submit(_)))
                    {
                        submits.push(next);
                    }
                    for response in self.submit(submits).await {
                        responses.push(&response);
                    }
                }
            }
        }
        let at = self.at.unwrap_or_else(|| self.service.state().committed());
        (responses.finish(), at)
    }

    async fn query(&self, query: Query) -> Vec<u8> {
        let places = self.service.querying();
        let places = match query.weight() {
            Weight::Light => match in_memory(|history| run(self.service, &query, history)) {
                Some(answer) => return answer,
                None => &places.reading,
            },
            Weight::Heavy => &places.heavy,
        };
        let Some(place) = places.take().await else { return query.over_limit(&places.full) };
        let broke = query.broke();
        self.reading(place, move |service, history| run(service, &query, history))
            .await
            .unwrap_or(broke)
    }

    /// What `look` finds with the ledger at hand, on a thread that may wait for the disk. Only a runtime that stops answers
    /// nothing.
    async fn reading<T: Send + 'static>(
        &self,
        place: Place,
        look: impl FnOnce(&Service, &dyn History) -> T + Send + 'static,
    ) -> Option<T> {
        let service = Arc::clone(self.service);
        let look = move || {
            // Held until it ends, also when nobody waits for its answer any more.
            let _place = place;
            look(&service, service.parts().history.as_ref())
        };
        tokio::task::spawn_blocking(look).await.ok()
    }

    async fn submit(&mut self, submits: Vec<Submit>) -> Vec<Vec<u8>> {
        let started = Instant::now();
        let raw: Vec<Bytes> = submits.iter().map(|submit| submit.raw.0.clone()).collect();
        let looks_for = |submit: &Submit| match submit.wait {
            Wait::Executed => PRIMARY_TIME,
            Wait::Receipt { timeout_ms } => Duration::from_millis(timeout_ms),
        };
        let deadline = started + submits.iter().map(looks_for).max().unwrap_or_default();
        let submitted = self.service.submit(raw.clone(), deadline).await;
        let mut responses = Vec::with_capacity(submits.len());
        let mut to_see_through = Vec::new();
        for ((submit, raw), submitted) in submits.iter().zip(raw).zip(submitted) {
            if let Submitted::In(id) = submitted {
                self.at = self.at.max(Some(id));
            }
            let wait = match submit.wait {
                Wait::Executed if self.waits => {
                    Some(Duration::from_millis(self.service.limits().request_timeout_ms))
                }
                Wait::Executed => None,
                Wait::Receipt { timeout_ms } => Some(Duration::from_millis(timeout_ms)),
            };
            responses.push(match (submitted, wait) {
                (Submitted::In(id), None) => {
                    to_see_through.push((raw, id));
                    self.service.rpc().submitted(submit)
                }
                (submitted, None) => self.failed(submit, &submitted),
                (submitted, Some(wait)) => {
                    self.commit(submit, raw, submitted, started + wait).await
                }
            });
        }
        self.service.see_through(to_see_through);
        responses
    }

    /// Waits for the commit of one submission and answers with its hash or receipt.
    async fn commit(
        &mut self,
        submit: &Submit,
        raw: Bytes,
        submitted: Submitted,
        deadline: Instant,
    ) -> Vec<u8> {
        let rpc = self.service.rpc();
        let (submitted, status) = self.service.submit_and_commit(raw, submitted, deadline).await;
        let Submitted::In(id) = submitted else { return self.failed(submit, &submitted) };
        self.at = self.at.max(Some(id));
        match (status, submit.wait) {
            (TxStatus::Committed, Wait::Executed) => rpc.submitted(submit),
            (TxStatus::Committed, Wait::Receipt { .. }) => self.receipt(submit).await,
            (TxStatus::Pending | TxStatus::Unknown | TxStatus::Invalid, _) => rpc.timed_out(submit),
        }
    }

    /// The receipt of a committed submission.
    async fn receipt(&self, submit: &Submit) -> Vec<u8> {
        let look = |submit: &Submit, service: &Service, history: &dyn History| {
            let (_, committed) = service.committed();
            let rpc = service.rpc();
            rpc.receipt(submit, &view(service, &committed, &committed, history))
                .unwrap_or_else(|| rpc.timed_out(submit))
        };
        if let Some(receipt) = in_memory(|history| look(submit, self.service, history)) {
            return receipt;
        }
        let places = &self.service.querying().reading;
        let Some(place) = places.take().await else {
            return self.service.rpc().unread(submit, &places.full);
        };
        let asked = submit.clone();
        self.reading(place, move |service, history| look(&asked, service, history))
            .await
            .unwrap_or_else(|| self.service.rpc().timed_out(submit))
    }

    fn failed(&self, submit: &Submit, submitted: &Submitted) -> Vec<u8> {
        let rpc = self.service.rpc();
        match submitted {
            Submitted::In(_) => rpc.submitted(submit),
            Submitted::Refused(refusal) => rpc.refused(submit, refusal),
            Submitted::Full => rpc.unavailable(submit, "txpool is full"),
            Submitted::NoPrimary => {
                rpc.unavailable(submit, "no primary could be reached; send the transaction again")
            }
        }
    }
}

/// The ledger for who must not wait for the disk: has nothing, and takes note of being asked.
#[derive(Debug, Default)]
struct NotNow {
    asked: AtomicBool,
}

impl History for NotNow {
    fn read(&self, seqno: Seqno, _: &MapName, _: &[u8]) -> Result<Option<Bytes>, HistoryError> {
        self.asked.store(true, Ordering::Relaxed);
        Err(HistoryError::Unreadable { seqno, source: io::ErrorKind::WouldBlock.into() })
    }
}

/// What `look` finds without reading the ledger; nothing when it asked for that. It is then to look again, elsewhere: the
/// threads of the edge serve all clients, and a block may take long to read and to decode.
fn in_memory<T>(look: impl FnOnce(&dyn History) -> T) -> Option<T> {
    let history = NotNow::default();
    let found = look(&history);
    (!history.asked.into_inner()).then_some(found)
}

fn run(service: &Service, query: &Query, history: &dyn History) -> Vec<u8> {
    let (_, committed) = service.committed();
    let answer =
        |head: &Snapshot| service.rpc().query(query, &view(service, &committed, head, history));
    let answered = if query.sees_pending() {
        on_whole_head(|| service.parts().reader.head(), &committed, answer)
    } else {
        unbroken(|| answer(&committed))
    };
    answered.unwrap_or_else(|| {
        tracing::error!(method = query.name(), "a query broke");
        query.broke()
    })
}

/// Looks at a head until it was whole to the end: what is rolled back meanwhile mixes versions, and may break whoever looks
/// at it. Where heads are torn again and again, looks at the committed state, which never is. Nothing, when the look broke
/// over a whole one.
fn on_whole_head<T>(
    head: impl Fn() -> Snapshot,
    committed: &Snapshot,
    look: impl Fn(&Snapshot) -> T,
) -> Option<T> {
    for _ in 0..HEADS_MAX {
        let head = head();
        let seen = unbroken(|| look(&head));
        if !head.is_torn() {
            return seen;
        }
    }
    unbroken(|| look(committed))
}

/// What `look` returns, unless it panics. It changes nothing that a panic could leave half done: tables of filters and caches
/// are changed under short locks of their own.
fn unbroken<T>(look: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(look)).ok()
}

/// A view of this node's ledger, with `head` as the newest state, which is no older than the committed one.
fn view<'a>(
    service: &'a Service,
    committed: &'a Snapshot,
    head: &'a Snapshot,
    history: &'a dyn History,
) -> ReadView<'a> {
    ReadView::new(&service.parts().reader, committed, head, history, &running_ms)
}

#[cfg(test)]
mod tests {
    use std::{
        cell::{Cell, RefCell},
        pin::Pin,
        task::{Context, Poll, Waker},
    };

    use coco_evm::{
        executor::Executor,
        genesis::{ChainConfig, Genesis},
        rpc::{BlockCache, Rpc, RpcConfig},
        state::{self, EvmMaps},
    };
    use coco_kv::{Store, WriteSet};

    use super::*;

    /// A ledger of one entry.
    struct Ledger(WriteSet);

    impl History for Ledger {
        fn read(&self, _: Seqno, map: &MapName, key: &[u8]) -> Result<Option<Bytes>, HistoryError> {
            Ok(self.0.get(map, key).map(|value| Bytes::copy_from_slice(value)))
        }
    }

    #[test]
    fn a_light_query_reads_the_ledger_elsewhere_and_once() {
        let mut store = Store::new(state::schema(), [1, 2]);
        let maps = EvmMaps::find(|name| store.map(name)).expect("it is the schema");
        let genesis = Genesis::new(ChainConfig::new(7));
        let mut tx = store.begin();
        genesis.write(&mut tx, &maps);
        let changes = tx.finish();
        let ledger = Ledger(store.commit(Seqno(1), changes).expect("nobody else writes"));
        let executor = Executor::new(Arc::new(genesis.config), maps);
        let cache = Arc::new(BlockCache::default());
        let rpc = Rpc::new(RpcConfig::new(7), executor, cache, [7; 32]);
        let (reader, head) = (store.reader(), store.reader().head());
        let query = |method: &str, params: &str| {
            let body =
                format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#);
            match rpc.parse(body.as_bytes()).calls.pop() {
                Some(Call::Query(query)) => query,
                other => panic!("no query: {other:?}"),
            }
        };
        let answer = |query: &Query, history: &dyn History| {
            rpc.query(query, &ReadView::new(&reader, &head, &head, history, &|| 0))
        };
        let number = query("eth_blockNumber", "[]");
        let block = query("eth_getBlockByNumber", r#"["latest",false]"#);
        assert_eq!((number.weight(), block.weight()), (Weight::Light, Weight::Light));
        assert!(in_memory(|history| answer(&number, history)).is_some());
        assert_eq!(in_memory(|history| answer(&block, history)), None, "it is not in memory");
        let read = answer(&block, &ledger);
        assert_eq!(in_memory(|history| answer(&block, history)), Some(read), "now it is");
        assert_eq!(query("eth_gasPrice", "[]").weight(), Weight::Heavy, "it reads many");
    }

    #[test]
    fn heavy_queries_wait_for_a_place_and_are_refused_when_too_many_do() {
        let QueryPlaces { heavy: places, .. } = QueryPlaces::new();
        type Taking<'a> = Pin<Box<dyn Future<Output = Option<Place>> + 'a>>;
        let take = || -> Taking<'_> { Box::pin(places.take()) };
        let poll =
            |taking: &mut Taking<'_>| taking.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        let run = |_| match poll(&mut take()) {
            Poll::Ready(Some(place)) => place,
            other => panic!("a place is free: {other:?}"),
        };
        let mut running: Vec<Place> = (0..HEAVY_RUNNING_MAX).map(run).collect();
        let mut waiting: Vec<Taking<'_>> = (0..HEAVY_WAITING_MAX).map(|_| take()).collect();
        assert!(waiting.iter_mut().all(|waiting| poll(waiting).is_pending()));
        assert!(matches!(poll(&mut take()), Poll::Ready(None)));
        // Who gives up makes room for another one to wait, and who ends for one to run.
        waiting.pop();
        let mut last = take();
        assert!(poll(&mut last).is_pending());
        running.pop();
        assert!(matches!(poll(&mut waiting[0]), Poll::Ready(Some(_))));
        assert!(poll(&mut last).is_pending());
    }

    #[test]
    fn a_query_at_pending_is_answered_from_a_head_that_stood_to_the_end() {
        let store = RefCell::new(Store::new(Vec::new(), [1, 2]));
        let reader = store.borrow().reader();
        let committed = reader.head();
        let next = || {
            let mut store = store.borrow_mut();
            let changes = store.begin().finish();
            store.commit(reader.version().next(), changes).expect("nobody else writes");
            reader.head()
        };
        let looks = Cell::new(0);
        // Rolled back under the first `torn` looks, the first of which breaks over it.
        let ask = |torn: usize| {
            looks.set(0);
            on_whole_head(next, &committed, |head| {
                looks.set(looks.get() + 1);
                if looks.get() <= torn {
                    store.borrow_mut().rollback(committed.version()).expect("it is retained");
                    assert!(looks.get() > 1, "values of several versions");
                }
                head.version()
            })
        };
        assert_eq!((ask(0), looks.get()), (Some(committed.version().next()), 1));
        store.borrow_mut().rollback(committed.version()).expect("it is retained");
        assert_eq!((ask(1), looks.get()), (Some(committed.version().next()), 2));
        store.borrow_mut().rollback(committed.version()).expect("it is retained");
        assert_eq!((ask(HEADS_MAX), looks.get()), (Some(committed.version()), HEADS_MAX + 1));
        let broken = on_whole_head(next, &committed, |_| -> Seqno { panic!("a bug") });
        assert_eq!(broken, None);
    }
}
