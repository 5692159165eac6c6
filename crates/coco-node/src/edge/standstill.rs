//! How long a connection may stand still, and how many bytes of answers may wait for clients that do not take them.
//!
//! The HTTP library ends an HTTP/1.1 connection on which no request comes. It knows no such time for HTTP/2, and for neither
//! does it notice a client that takes nothing of its answer: such a connection holds its place, and its answer memory, for
//! as long as the client likes. So each connection counts what it has open, and when each answer has to be taken.

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use coco_api::ErrorCode;
use coco_evm::rpc::RESPONSE_BYTES_MAX;
use http_body_util::{BodyExt, Either, Full};
use hyper::{
    Response,
    body::{Body, Bytes, Frame, SizeHint},
};
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::{
    downloads::DOWNLOAD_TIME,
    respond::{self, Reply, ReplyBody},
};

/// Bytes of answers that may wait for their clients, over all connections; some ten of the longest.
pub(super) const ANSWER_BYTES_MAX: usize = 256 << 20;
/// Bytes of answers that may wait on one connection.
const CONNECTION_BYTES_MAX: usize = 2 * RESPONSE_BYTES_MAX;
/// Bytes up to which an answer is never refused, whatever waits: what was done is said. How many there are is bounded by the
/// requests that connections may have open.
const SHORT_BYTES: usize = 4 << 10;
/// Time for an answer to be taken, beside what its length needs.
const ANSWER_TIME: Duration = Duration::from_secs(30);
/// Bytes a second at which a client takes its answer at least.
const ANSWER_RATE_MIN: u64 = 32 << 10;
/// How long an answer may wait while others find no room: then whoever has let theirs wait longest is disconnected.
const CONTENDED_TIME: Duration = Duration::from_secs(2);
/// Time for the room of such connections to come free.
const ROOM_TIME: Duration = Duration::from_secs(1);
/// How long a connection stays without a request.
const IDLE_TIME: Duration = Duration::from_secs(60);
/// How often a connection is looked at.
const LOOK_TIME: Duration = Duration::from_secs(1);

/// Why a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standstill {
    /// Nobody asks for anything.
    Idle,
    /// Nobody takes an answer.
    Unread,
}

/// The answers that wait, over all connections.
#[derive(Debug)]
pub(super) struct Answers {
    places: Arc<Semaphore>,
    connections: Mutex<Vec<Weak<Activity>>>,
}

/// What one connection has open.
#[derive(Debug)]
pub(super) struct Activity {
    doing: Mutex<Doing>,
    /// That others need the room.
    makes_room: Notify,
}

#[derive(Debug)]
struct Doing {
    /// Requests whose answers were not taken, and when those have to be; none while an answer is made, for which there is
    /// another time-out.
    open: BTreeMap<u64, Option<Due>>,
    /// Bytes of answers that were not taken.
    bytes: usize,
    next: u64,
    idle_since: Instant,
}

/// When an answer was given, and until when it has to be taken.
#[derive(Clone, Copy, Debug)]
struct Due {
    since: Instant,
    until: Instant,
}

/// A request, until its answer was taken.
#[derive(Debug)]
pub(super) struct Open {
    activity: Arc<Activity>,
    number: u64,
    /// Bytes of its answer.
    bytes: usize,
}

impl Answers {
    /// Room for so many bytes.
    pub(super) fn new(bytes: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(bytes)), connections: Mutex::default() }
    }

    /// A new connection.
    pub(super) fn connection(&self) -> Arc<Activity> {
        let activity = Activity::new();
        let mut connections = self.connections.lock();
        connections.retain(|other| other.strong_count() > 0);
        connections.push(Arc::downgrade(&activity));
        activity
    }

    /// Room for the bytes of an answer, if need be of those who have let theirs wait longest.
    async fn room(&self, bytes: u32) -> Option<OwnedSemaphorePermit> {
        if let Ok(room) = Arc::clone(&self.places).try_acquire_many_owned(bytes) {
            return Some(room);
        }
        let is_made = self.make_room(bytes as usize, Instant::now());
        let room = Arc::clone(&self.places).acquire_many_owned(bytes);
        if is_made { timeout(ROOM_TIME, room).await.ok()?.ok() } else { None }
    }

    /// Ends the connections that have let answers wait longest, until there is room for so many bytes; whether there will
    /// be.
    fn make_room(&self, bytes: usize, now: Instant) -> bool {
        let mut waiting: Vec<_> = self
            .connections
            .lock()
            .iter()
            .filter_map(Weak::upgrade)
            .filter_map(|activity| Some((activity.waits_since()?, activity)))
            .filter(|((since, _), _)| now.duration_since(*since) > CONTENDED_TIME)
            .collect();
        waiting.sort_by_key(|((since, _), _)| *since);
        let mut free = self.places.available_permits();
        for ((_, bytes_of), activity) in waiting {
            if free >= bytes {
                break;
            }
            activity.makes_room.notify_one();
            free = free.saturating_add(bytes_of);
        }
        free >= bytes
    }
}

impl Activity {
    fn new() -> Arc<Self> {
        let doing = Doing { open: BTreeMap::new(), bytes: 0, next: 0, idle_since: Instant::now() };
        Arc::new(Self { doing: Mutex::new(doing), makes_room: Notify::new() })
    }

    /// Since when the oldest of its answers waits, and how many bytes all of them have.
    fn waits_since(&self) -> Option<(Instant, usize)> {
        let doing = self.doing.lock();
        let since = doing.open.values().flatten().map(|due| due.since).min()?;
        (doing.bytes > 0).then_some((since, doing.bytes))
    }

    /// A request has come.
    pub(super) fn begin(self: &Arc<Self>) -> Open {
        let mut doing = self.doing.lock();
        let number = doing.next;
        doing.next += 1;
        doing.open.insert(number, None);
        Open { activity: Arc::clone(self), number, bytes: 0 }
    }

    /// Ends when the connection should.
    pub(super) async fn stands_still(&self) -> Standstill {
        loop {
            if timeout(LOOK_TIME, self.makes_room.notified()).await.is_ok() {
                return Standstill::Unread;
            }
            if let Some(standstill) = self.look(Instant::now()) {
                return standstill;
            }
        }
    }

    fn look(&self, now: Instant) -> Option<Standstill> {
        let doing = self.doing.lock();
        if doing.open.values().flatten().any(|due| due.until < now) {
            return Some(Standstill::Unread);
        }
        let is_idle = doing.open.is_empty() && now.duration_since(doing.idle_since) > IDLE_TIME;
        is_idle.then_some(Standstill::Idle)
    }
}

impl Open {
    /// Counts the bytes of the answer, which have to be taken in the time that they and those before them need; whether there
    /// is room for them on the connection.
    fn answered(&mut self, bytes: usize) -> bool {
        let mut doing = self.activity.doing.lock();
        if bytes > SHORT_BYTES && doing.bytes.saturating_add(bytes) > CONNECTION_BYTES_MAX {
            return false;
        }
        doing.bytes += bytes;
        self.bytes = bytes;
        let needs = Duration::from_secs(doing.bytes as u64 / ANSWER_RATE_MIN);
        doing.open.insert(self.number, Some(Due::within(ANSWER_TIME + needs)));
        true
    }

    fn has_to_be_taken_in(&self, time: Duration) {
        self.activity.doing.lock().open.insert(self.number, Some(Due::within(time)));
    }
}

impl Due {
    fn within(time: Duration) -> Self {
        let since = Instant::now();
        Self { since, until: since + time }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut doing = self.activity.doing.lock();
        doing.open.remove(&self.number);
        doing.bytes -= self.bytes;
        doing.idle_since = Instant::now();
    }
}

/// An answer that counts as open, and its bytes as waiting, until they were written to the connection or the connection is
/// gone.
pub(super) async fn watched(reply: Reply, mut open: Open, answers: &Answers) -> Response<Watched> {
    let (head, body) = reply.into_parts();
    let whole = match body {
        Either::Left(whole) => whole,
        Either::Right(_) => {
            open.has_to_be_taken_in(DOWNLOAD_TIME + ANSWER_TIME);
            return Response::from_parts(head, Watched { body, _open: Some(open) });
        }
    };
    let Ok(bytes) = whole.collect().await;
    let bytes = bytes.to_bytes();
    let length = bytes.len();
    let permits = if length > SHORT_BYTES { u32::try_from(length).unwrap_or(u32::MAX) } else { 0 };
    let Some(place) = answers.room(permits).await.filter(|_| open.answered(length)) else {
        let message = format!(
            "answers wait to be taken, at most {CONNECTION_BYTES_MAX} bytes of them on a connection and \
             {ANSWER_BYTES_MAX} in all; take them, and try again"
        );
        let refused = respond::later(ErrorCode::SessionCapExhausted, message);
        return refused.map(|body| Watched { body, _open: None });
    };
    let bytes = Bytes::from_owner(Waiting { bytes, _place: place, _open: open });
    Response::from_parts(head, Watched { body: Either::Left(Full::new(bytes)), _open: None })
}

/// The bytes of an answer. Whoever holds a part of them holds this.
struct Waiting {
    bytes: Bytes,
    _place: OwnedSemaphorePermit,
    _open: Open,
}

impl AsRef<[u8]> for Waiting {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// The body of an answer that is watched.
pub(super) struct Watched {
    body: ReplyBody,
    _open: Option<Open>,
}

impl Body for Watched {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use hyper::{Request, body::Incoming, client::conn, service::service_fn};
    use hyper_util::{
        rt::{TokioExecutor, TokioIo},
        server::conn::auto,
    };

    use super::*;

    /// More than a connection and its buffers take up.
    const LENGTH: usize = 1 << 20;

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(future)
    }

    #[test]
    fn a_connection_is_idle_without_requests_and_not_while_one_is_answered() {
        let activity = Activity::new();
        let late = || Instant::now() + IDLE_TIME + LOOK_TIME;
        assert_eq!(activity.look(Instant::now() + IDLE_TIME - LOOK_TIME), None);
        assert_eq!(activity.look(late()), Some(Standstill::Idle));
        let open = activity.begin();
        assert_eq!(activity.look(late() + DOWNLOAD_TIME), None);
        open.has_to_be_taken_in(IDLE_TIME);
        assert_eq!(activity.look(Instant::now() + IDLE_TIME - LOOK_TIME), None);
        assert_eq!(activity.look(late()), Some(Standstill::Unread));
        drop(open);
        assert_eq!(activity.look(late()), Some(Standstill::Idle));
    }

    #[test]
    fn bytes_that_wait_have_a_limit() {
        let places = Answers::new(SHORT_BYTES + 2);
        let activity = Activity::new();
        let of = |length: usize| {
            let reply = respond::json_text(vec![b' '; length]);
            block_on(watched(reply, activity.begin(), &places))
        };
        let answer = || of(SHORT_BYTES + 1);
        let first = answer();
        assert_eq!(first.status(), 200);
        assert_eq!(answer().status(), 503);
        assert_eq!(of(SHORT_BYTES).status(), 200, "what was done is said");
        let bytes = block_on(first.into_body().collect()).unwrap().to_bytes();
        let part = bytes.slice(3..5);
        drop(bytes);
        assert_eq!(answer().status(), 503, "a part holds the whole");
        drop(part);
        assert_eq!(answer().status(), 200);
    }

    #[test]
    fn one_connection_has_its_share_and_the_time_that_all_of_it_needs() {
        let activity = Activity::new();
        let mut all = [(); 3].map(|()| activity.begin());
        assert_eq!(
            all.each_mut().map(|open| open.answered(RESPONSE_BYTES_MAX)),
            [true, true, false]
        );
        assert!(all[2].answered(SHORT_BYTES));
        let [first, second, third] = all;
        drop((first, third));
        let needs = 2 * RESPONSE_BYTES_MAX as u64 / ANSWER_RATE_MIN;
        let after = |s| Instant::now() + ANSWER_TIME + Duration::from_secs(s);
        assert_eq!(activity.look(after(needs - 1)), None);
        assert_eq!(activity.look(after(needs + 1)), Some(Standstill::Unread));
        drop(second);
        assert_eq!(activity.doing.lock().bytes, 0);
    }

    #[test]
    fn who_lets_answers_wait_longest_makes_room() {
        let answers = Answers::new(3 * LENGTH);
        let of = |activity: &Arc<Activity>| {
            let reply = respond::json_text(vec![b' '; LENGTH]);
            block_on(watched(reply, activity.begin(), &answers))
        };
        let [oldest, older, taker] = [(); 3].map(|()| answers.connection());
        let held = of(&oldest);
        let also = of(&older);
        drop(of(&taker));
        let own = of(&taker);
        let ends = |activity: &Arc<Activity>| {
            block_on(async { timeout(LOOK_TIME / 10, activity.stands_still()).await.ok() })
        };
        let later = || Instant::now() + CONTENDED_TIME + LOOK_TIME;
        assert!(!answers.make_room(LENGTH, Instant::now()), "nobody waited for long");
        assert!(answers.make_room(LENGTH, later()));
        let all = [&oldest, &older, &taker];
        assert_eq!(all.map(ends), [Some(Standstill::Unread), None, None]);
        drop((held, oldest));
        assert!(answers.make_room(LENGTH, later()), "there is room");
        assert!(answers.make_room(2 * LENGTH, later()));
        assert_eq!([&older, &taker].map(ends), [Some(Standstill::Unread), None]);
        drop((also, own));
        assert!(!answers.make_room(4 * LENGTH, later()), "more than there ever is");
    }

    /// Serves answers that nobody reads; asks by `ask`, who gives back what keeps the connection open.
    async fn unread<T, A: Future<Output = T>>(ask: impl FnOnce(tokio::io::DuplexStream) -> A) {
        let (ours, theirs) = tokio::io::duplex(1 << 10);
        let answers = Arc::new(Answers::new(2 * LENGTH));
        let activity = answers.connection();
        let (asks, waiting) = (Arc::clone(&activity), Arc::clone(&answers));
        let handler = service_fn(move |_: Request<Incoming>| {
            let (open, answers) = (asks.begin(), Arc::clone(&waiting));
            async move {
                let reply = respond::json_text(vec![b' '; LENGTH]);
                Ok::<_, Infallible>(watched(reply, open, &answers).await)
            }
        });
        let serving = tokio::spawn(async move {
            let builder = auto::Builder::new(TokioExecutor::new());
            builder.serve_connection(TokioIo::new(ours), handler).await.is_ok()
        });
        let connection = ask(theirs).await;
        let after = |time| Instant::now() + ANSWER_TIME + time;
        // What the length needs is not over, and then it is.
        assert_eq!(activity.look(after(Duration::from_secs(30))), None);
        assert_eq!(activity.look(after(Duration::from_secs(34))), Some(Standstill::Unread));
        assert_eq!(answers.places.available_permits(), LENGTH);
        // With the connection goes what it held.
        serving.abort();
        assert!(serving.await.is_err_and(|error| error.is_cancelled()));
        drop(connection);
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        assert_eq!(answers.places.available_permits(), 2 * LENGTH);
        assert_eq!(activity.look(after(IDLE_TIME)), Some(Standstill::Idle));
    }

    #[test]
    fn an_answer_that_nobody_takes_is_noticed_in_both_versions_of_http() {
        let request = || Request::get("http://node.example/").body(Full::<Bytes>::default());
        block_on(unread(async |stream| {
            let (mut sender, connection) =
                conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
            tokio::spawn(connection);
            (sender.send_request(request().unwrap()).await.unwrap(), sender)
        }));
        block_on(unread(async |stream| {
            let stream = TokioIo::new(stream);
            let shaken = conn::http2::handshake(TokioExecutor::new(), stream).await;
            let (mut sender, connection) = shaken.unwrap();
            tokio::spawn(connection);
            (sender.send_request(request().unwrap()).await.unwrap(), sender)
        }));
    }
}
