//! The channel between nodes: mutual TLS 1.3 with certificates that the service endorsed.
//!
//! Each node dials every other node and sends on the connection that it dialled; what it receives comes on those that
//! it accepted. Who speaks is read from the certificate, never from a message. A full queue drops consensus messages,
//! which consensus bears; a forwarded request that cannot be queued is answered at once.

mod accepted;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock, Weak},
    time::{Duration, Instant},
};

use bytes::Bytes;
use coco_attest::ReportData;
use coco_crypto::Certificate;
use coco_replica::{JoinRequest, Reply};
use coco_types::{NodeId, TxId};
use parking_lot::{Mutex, RwLock};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufWriter},
    net::{TcpListener, TcpStream},
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    time::timeout,
};
use tracing::{debug, info, warn};

use accepted::accept_nodes;

use crate::{
    acks::Acks,
    config::NodeAddress,
    copy::{CopyQuestion, CopySource},
    directory::Directory,
    driver::{Direction, Inbox, NotQueued},
    frame::{Frame, frame_length},
    govern,
    join::{Answer, Question},
    metrics::Metrics,
    platform::Platform,
    tls::{PeerTls, any_peer_name, peer_id, peer_name},
};

/// Frames that may wait for one peer.
const QUEUE_FRAMES_MAX: usize = 1024;
/// Bytes gathered before they are handed to TLS at once.
const WRITE_BUFFER_BYTES: usize = 256 << 10;
/// Time for TCP and TLS to be established.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Time for one frame to be taken by the network.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection on which nothing arrives for this long is closed; heartbeats come far more often, and between backups what
/// keeps it alive.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// Whoever dialled sends [`Frame::KEEP_ALIVE`] after so long without anything else to say.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(READ_TIMEOUT.as_secs() / 3);
/// Waits between attempts to connect.
const RETRY_MIN: Duration = Duration::from_millis(20);
const RETRY_MAX: Duration = Duration::from_millis(500);
/// Time for a question for a seat, with its answer.
const ASK_TIMEOUT: Duration = Duration::from_secs(3);
/// Nodes that are dialled at one time: voters, those that leave and learners.
const PEERS_MAX: usize = 3 * coco_types::limits::NODES_MAX;
/// Forwarded requests of one kind that may wait for their answers.
const FORWARDS_MAX: usize = 65_536;
/// Bytes of requests that came from one node and are not answered; more are sent back at once.
const FORWARDED_BYTES_MAX: usize = 64 << 20;
/// Each of them counts for so many bytes at least, whatever is in it.
const FORWARDED_BYTES_MIN: usize = 4 << 10;

/// Sends to all peers.
#[derive(Debug)]
pub struct Peers {
    queues: RwLock<BTreeMap<NodeId, mpsc::Sender<Frame>>>,
    forwards: Forwards<Vec<Result<Reply, NotQueued>>>,
    governed: Forwards<govern::Answer>,
    me: NodeId,
    tls: PeerTls,
    inbox: Inbox,
    acks: Acks,
    metrics: Arc<Metrics>,
    runtime: Handle,
}

/// Requests that were forwarded, and whoever waits for their answers.
#[derive(Debug)]
struct Forwards<T>(Mutex<Waiting<T>>);

#[derive(Debug)]
struct Waiting<T> {
    next: u64,
    /// Whoever waits, and the node that was asked.
    senders: BTreeMap<u64, (NodeId, oneshot::Sender<T>)>,
}

/// A place among them, given back when the caller is answered, stops waiting, or goes away.
struct ForwardPlace<'a, T> {
    forwards: &'a Forwards<T>,
    number: u64,
    receiver: oneshot::Receiver<T>,
}

impl<T> Forwards<T> {
    const fn new() -> Self {
        Self(Mutex::new(Waiting { next: 0, senders: BTreeMap::new() }))
    }

    fn place(&self, to: NodeId) -> Option<ForwardPlace<'_, T>> {
        let mut waiting = self.0.lock();
        if waiting.senders.len() >= FORWARDS_MAX {
            return None;
        }
        waiting.next += 1;
        let number = waiting.next;
        let (sender, receiver) = oneshot::channel();
        waiting.senders.insert(number, (to, sender));
        Some(ForwardPlace { forwards: self, number, receiver })
    }

    /// Hands an answer on. One of another node than was asked is none: numbers are easily guessed.
    fn answered(&self, from: NodeId, number: u64, answer: T) {
        let mut waiting = self.0.lock();
        if waiting.senders.get(&number).is_none_or(|(asked, _)| *asked != from) {
            return;
        }
        if let Some((_, sender)) = waiting.senders.remove(&number) {
            let _gone: Result<(), T> = sender.send(answer);
        }
    }
}

impl<T> ForwardPlace<'_, T> {
    async fn wait(mut self, wait: Duration) -> Option<T> {
        timeout(wait, &mut self.receiver).await.ok().and_then(Result::ok)
    }
}

impl<T> Drop for ForwardPlace<'_, T> {
    fn drop(&mut self) {
        self.forwards.0.lock().senders.remove(&self.number);
    }
}

/// Takes what a peer forwards to this node, as if a client had sent it here; never forwards again.
pub trait TakeForwarded: Send + Sync {
    /// Executes transactions.
    fn take(&self, items: Vec<Bytes>)
    -> impl Future<Output = Vec<Result<Reply, NotQueued>>> + Send;

    /// Carries a member's request out.
    fn govern(&self, question: govern::Question) -> impl Future<Output = govern::Answer> + Send;
}

impl Peers {
    /// Starts the tasks that keep a connection to every other node, on the current runtime.
    ///
    /// # Panics
    /// Outside of a runtime.
    #[must_use]
    pub fn dial(
        me: NodeId,
        nodes: &[(NodeId, NodeAddress)],
        tls: &PeerTls,
        inbox: &Inbox,
        metrics: &Arc<Metrics>,
    ) -> Arc<Self> {
        let peers = Self {
            queues: RwLock::default(),
            forwards: Forwards::new(),
            governed: Forwards::new(),
            me,
            tls: tls.clone(),
            inbox: inbox.clone(),
            acks: Acks::default(),
            metrics: Arc::clone(metrics),
            runtime: Handle::current(),
        };
        peers.add(nodes);
        Arc::new(peers)
    }

    /// Dials these nodes too, unless they are dialled already.
    pub fn add(&self, nodes: &[(NodeId, NodeAddress)]) {
        let mut queues = self.queues.write();
        for (id, address) in nodes.iter().filter(|(id, _)| *id != self.me) {
            if queues.contains_key(id) || queues.len() >= PEERS_MAX {
                continue;
            }
            let (sender, receiver) = mpsc::channel(QUEUE_FRAMES_MAX);
            queues.insert(*id, sender);
            let link = Link {
                id: *id,
                address: address.peer.clone(),
                tls: self.tls.clone(),
                inbox: self.inbox.clone(),
                metrics: Arc::clone(&self.metrics),
            };
            self.runtime.spawn(link.run(receiver));
        }
    }

    /// Dials these nodes and no others, except that a node which this one follows stays: a configuration that is old need
    /// not name it, and without an answer it sends nothing newer.
    pub fn keep(&self, nodes: &[(NodeId, NodeAddress)], followed: Option<NodeId>) {
        let stays = |id: &NodeId| followed == Some(*id) || nodes.iter().any(|(node, _)| node == id);
        self.queues.write().retain(|id, _| stays(id));
        self.add(nodes);
    }

    /// How far the other nodes are.
    pub(crate) const fn acks(&self) -> &Acks {
        &self.acks
    }

    /// Whether there is a way to a node: it is dialled, or is this one.
    pub(crate) fn reaches(&self, node: NodeId) -> bool {
        node == self.me || self.queues.read().contains_key(&node)
    }

    fn queue(&self, to: NodeId) -> Option<mpsc::Sender<Frame>> {
        self.queues.read().get(&to).cloned()
    }

    /// Asks whoever is at `address`, a node of this service, for a seat, and shows what this node runs; who it was, and what it said.
    ///
    /// # Errors
    /// When nobody of this service is there, or does not answer.
    pub async fn ask(
        &self,
        address: &str,
        question: &Question,
        platform: &Platform,
    ) -> std::io::Result<(NodeId, Answer)> {
        let mut asked = Asked::connect(&self.tls, address).await?;
        let data = self.tls.own_data(asked.stream.get_ref().1, asked.by)?;
        let shown = platform.show_aside(data).await?;
        match asked.ask(&Frame::Join(question.encode(&shown)), ASK_TIMEOUT).await? {
            Frame::Joined(answer) => Answer::decode(&answer)
                .map(|answer| (asked.by, answer))
                .map_err(std::io::Error::other),
            _ => Err(std::io::Error::other("an answer to another question")),
        }
    }

    /// Queues a consensus message; a full queue drops it.
    pub fn send(&self, to: NodeId, message: Bytes) {
        self.queue_or_drop(to, Frame::Consensus(message));
    }

    /// Tells a node that it has to copy a snapshot.
    pub(crate) fn tell_behind(&self, to: NodeId, needs: TxId) {
        self.queue_or_drop(to, Frame::Behind(needs));
    }

    /// Answers what a node forwarded. When its queue is full the other side times out, and may send again.
    fn reply(&self, to: NodeId, frame: Frame) {
        self.queue_or_drop(to, frame);
    }

    fn queue_or_drop(&self, to: NodeId, frame: Frame) {
        if let Some(queue) = self.queues.read().get(&to) {
            // What was lost is sent again.
            let _full: Result<(), mpsc::error::TrySendError<Frame>> = queue.try_send(frame);
        }
    }

    /// Has `to` execute transactions, and waits for its answers. `None` when it cannot be asked or does not answer in
    /// time: what became of the transactions is then unknown, and they may be sent again.
    pub async fn forward(
        &self,
        to: NodeId,
        items: Vec<Bytes>,
        wait: Duration,
    ) -> Option<Vec<Result<Reply, NotQueued>>> {
        let queue = self.queue(to)?;
        let place = self.forwards.place(to)?;
        queue.try_send(Frame::Forward(place.number, items)).ok()?;
        place.wait(wait).await
    }

    /// Has `to` carry a member's request out, and waits for its answer, as [`Self::forward`] does.
    pub async fn forward_to_govern(
        &self,
        to: NodeId,
        question: &govern::Question,
        wait: Duration,
    ) -> Option<govern::Answer> {
        let queue = self.queue(to)?;
        let place = self.governed.place(to)?;
        queue.try_send(Frame::Govern(place.number, question.encode())).ok()?;
        place.wait(wait).await
    }
}

/// A connection on which one question after another is asked.
pub(crate) struct Asked {
    stream: tokio_rustls::client::TlsStream<TcpStream>,
    buffer: bytes::BytesMut,
    /// Whoever answers.
    pub(crate) by: NodeId,
}

impl Asked {
    /// Connects to whoever is at `address`, a node of this service.
    pub(crate) async fn connect(tls: &PeerTls, address: &str) -> std::io::Result<Self> {
        let connecting = async {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let stream = tls.connect(any_peer_name(), stream).await?;
            let by = peer_id(stream.get_ref().1.peer_certificates())
                .ok_or_else(|| std::io::Error::other("the peer's certificate cannot be read"))?;
            Ok(Self { stream, buffer: bytes::BytesMut::new(), by })
        };
        timeout(CONNECT_TIMEOUT, connecting).await.map_err(late)?
    }

    /// Asks, and waits for the whole answer, but not longer than `wait`.
    pub(crate) async fn ask(&mut self, question: &Frame, wait: Duration) -> std::io::Result<Frame> {
        let asking = async {
            write_frame(&mut self.stream, question).await?;
            let answer = read_frame(&mut self.stream, &mut self.buffer).await?;
            answer.ok_or_else(|| std::io::ErrorKind::UnexpectedEof.into())
        };
        timeout(wait, asking).await.map_err(late)?
    }
}

fn late(_: tokio::time::error::Elapsed) -> std::io::Error {
    std::io::ErrorKind::TimedOut.into()
}

/// The task that holds the connection to one peer.
struct Link {
    id: NodeId,
    address: String,
    tls: PeerTls,
    inbox: Inbox,
    metrics: Arc<Metrics>,
}

impl Link {
    async fn run(self, mut queue: mpsc::Receiver<Frame>) {
        let mut retry = RETRY_MIN;
        let mut has_said = false;
        loop {
            match self.connect().await {
                Ok(mut stream) => {
                    info!(peer = %self.id, address = self.address, "connected to peer");
                    let connected = Instant::now();
                    // What was queued while the peer was away is stale.
                    while queue.try_recv().is_ok() {}
                    self.inbox.connected(self.id, Direction::Out);
                    match self.send(&mut stream, &mut queue, KEEP_ALIVE_EVERY).await {
                        Ok(()) => return,
                        Err(error) => info!(peer = %self.id, %error, "connection to peer broke"),
                    }
                    self.inbox.unreachable(self.id);
                    // A peer that shows its certificate and then closes is no reason for haste.
                    if connected.elapsed() > RETRY_MAX {
                        retry = RETRY_MIN;
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::Unsupported && !has_said => {
                    has_said = true;
                    warn!(peer = %self.id, address = self.address, %error, "cannot speak with peer");
                }
                Err(error) => {
                    debug!(peer = %self.id, address = self.address, %error, "cannot connect to peer");
                }
            }
            tokio::time::sleep(retry).await;
            retry = (retry * 2).min(RETRY_MAX);
            if queue.is_closed() {
                return;
            }
        }
    }

    async fn connect(&self) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
        let connecting = async {
            let stream = TcpStream::connect(&self.address).await?;
            stream.set_nodelay(true)?;
            self.tls.connect(peer_name(self.id), stream).await
        };
        let stream = timeout(CONNECT_TIMEOUT, connecting).await.map_err(late)??;
        let found = peer_id(stream.get_ref().1.peer_certificates());
        if found != Some(self.id) {
            return Err(std::io::Error::other(format!(
                "{} is another node than expected",
                self.address
            )));
        }
        Ok(stream)
    }

    /// Sends until the queue closes, gathering what is there into one write. Nobody answers here, so that whatever is read
    /// is the connection's end: it is dialled again before there is something to say that would be lost.
    async fn send(
        &self,
        stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
        queue: &mut mpsc::Receiver<Frame>,
        keep_alive_every: Duration,
    ) -> std::io::Result<()> {
        let mut out = BufWriter::with_capacity(WRITE_BUFFER_BYTES, stream);
        loop {
            let first = tokio::select! {
                next = timeout(keep_alive_every, queue.recv()) => match next {
                    Ok(Some(frame)) => frame,
                    Ok(None) => return Ok(()),
                    Err(_quiet) => Frame::KEEP_ALIVE,
                },
                read = out.read_u8() => return Err(read.map_or_else(
                    |error| error,
                    |_| std::io::Error::other("an answer that nobody asked for"),
                )),
            };
            let mut next = Some(first);
            while let Some(frame) = next {
                let (first, rest) = frame.encode();
                let length =
                    u32::try_from(first.len() + rest.len()).map_err(std::io::Error::other)?;
                self.metrics.peer_bytes_sent.inc_by(u64::from(length));
                timeout(WRITE_TIMEOUT, async {
                    out.write_all(&length.to_le_bytes()).await?;
                    out.write_all(&first).await?;
                    out.write_all(&rest).await
                })
                .await
                .map_err(late)??;
                next = queue.try_recv().ok();
            }
            timeout(WRITE_TIMEOUT, out.flush()).await.map_err(late)??;
        }
    }
}

/// What a node does with what its peers send.
pub(crate) struct Receiver<F> {
    pub(crate) inbox: Inbox,
    pub(crate) peers: Arc<Peers>,
    pub(crate) directory: Directory,
    pub(crate) copies: CopySource,
    /// Whoever executes what is forwarded.
    pub(crate) forwarded: OnceLock<F>,
    pub(crate) places: ForwardedPlaces,
}

/// Places for bytes of what connected nodes forwarded, whatever the connection.
#[derive(Debug, Default)]
pub(crate) struct ForwardedPlaces(Mutex<BTreeMap<NodeId, Weak<Semaphore>>>);

impl ForwardedPlaces {
    fn of(&self, node: NodeId) -> Arc<Semaphore> {
        let mut places = self.0.lock();
        if let Some(places) = places.get(&node).and_then(Weak::upgrade) {
            return places;
        }
        places.retain(|_, places| places.strong_count() > 0);
        let new = Arc::new(Semaphore::new(FORWARDED_BYTES_MAX));
        places.insert(node, Arc::downgrade(&new));
        new
    }
}

/// Accepts connections of peers until the task is dropped.
pub(crate) async fn accept<F: TakeForwarded + 'static>(
    listener: TcpListener,
    tls: PeerTls,
    receiver: Arc<Receiver<F>>,
) {
    accept_nodes(listener, tls, move |stream, certificate| {
        receive(stream, certificate, Arc::clone(&receiver))
    })
    .await;
}

async fn receive<F: TakeForwarded + 'static>(
    mut stream: tokio_rustls::server::TlsStream<TcpStream>,
    certificate: Certificate,
    receiver: Arc<Receiver<F>>,
) -> std::io::Result<()> {
    let Receiver { inbox, peers, directory, .. } = &*receiver;
    // Whom the service endorsed is a node, or was, or asks to be: this node's ledger need not know yet.
    let from = certificate.key().node_id();
    inbox.connected(from, Direction::In);
    let forwarded = receiver.places.of(from);
    let mut buffer = bytes::BytesMut::with_capacity(WRITE_BUFFER_BYTES);
    while let Some(frame) = read_frame(&mut stream, &mut buffer).await? {
        match frame {
            Frame::Consensus(nothing) if nothing.is_empty() => {}
            Frame::Consensus(message) => inbox.message(from, message),
            Frame::Forwarded(number, replies) => peers.forwards.answered(from, number, replies),
            Frame::Governed(number, answer) => {
                let answer = govern::Answer::decode(&answer).map_err(std::io::Error::other)?;
                peers.governed.answered(from, number, answer);
            }
            Frame::Govern(number, question) => {
                let question =
                    govern::Question::decode(&question).map_err(std::io::Error::other)?;
                let Some(place) = forwarded_place(&forwarded, question.envelope.len()) else {
                    peers.reply(from, Frame::Governed(number, govern::Answer::Busy.encode()));
                    continue;
                };
                let receiver = Arc::clone(&receiver);
                tokio::spawn(async move {
                    govern(from, number, question, &receiver).await;
                    drop(place);
                });
            }
            Frame::Forward(number, items) => {
                let bytes = items.iter().map(Bytes::len).sum();
                let Some(place) = forwarded_place(&forwarded, bytes) else {
                    let replies = vec![Err(NotQueued); items.len()];
                    peers.reply(from, Frame::Forwarded(number, replies));
                    continue;
                };
                let receiver = Arc::clone(&receiver);
                tokio::spawn(async move {
                    answer(from, number, items, &receiver).await;
                    drop(place);
                });
            }
            Frame::Behind(needs) => inbox.behind(from, needs),
            Frame::Copy(question) => {
                let question = CopyQuestion::decode(&question).map_err(std::io::Error::other)?;
                let copies = receiver.copies.clone();
                let answer = tokio::task::spawn_blocking(move || copies.answer(&question)).await?;
                timeout(WRITE_TIMEOUT, write_frame(&mut stream, &Frame::Copied(answer.encode())))
                    .await
                    .map_err(late)??;
            }
            Frame::Join(question) => {
                let data = peers.tls.data_of(stream.get_ref().1, from)?;
                let reply = inbox.join(asked(&question, data, &certificate)?).await?;
                let answer = Answer { reply, nodes: directory.all() };
                timeout(WRITE_TIMEOUT, write_frame(&mut stream, &Frame::Joined(answer.encode())))
                    .await
                    .map_err(late)??;
                // What was shown binds this connection, so there is one question on it.
                return Ok(());
            }
            Frame::Joined(_) | Frame::Copied(_) => {
                return Err(std::io::Error::other("an answer that nobody asked for"));
            }
        }
    }
    Ok(())
}

/// What a node with this certificate asks for that is on the other end of a channel.
fn asked(
    question: &[u8],
    data: ReportData,
    certificate: &Certificate,
) -> std::io::Result<JoinRequest> {
    let (question, shown) =
        Question::decode(question, data.transcript).map_err(std::io::Error::other)?;
    question.verified(certificate, shown).ok_or_else(|| {
        std::io::Error::other(
            "a question for a seat without the seat's signature, or with a request that is not this node's",
        )
    })
}

/// A place for a forwarded request of so many bytes, if there is one.
fn forwarded_place(places: &Arc<Semaphore>, bytes: usize) -> Option<OwnedSemaphorePermit> {
    let bytes = u32::try_from(bytes.max(FORWARDED_BYTES_MIN)).ok()?;
    Arc::clone(places).try_acquire_many_owned(bytes).ok()
}

/// The next frame; nothing when the other side has closed between two frames.
async fn read_frame(
    stream: &mut (impl AsyncReadExt + Unpin),
    buffer: &mut bytes::BytesMut,
) -> std::io::Result<Option<Frame>> {
    while buffer.len() < 4 {
        if timeout(READ_TIMEOUT, stream.read_buf(buffer)).await.map_err(late)?? == 0 {
            return Ok(None);
        }
    }
    let length = frame_length([buffer[0], buffer[1], buffer[2], buffer[3]])
        .map_err(std::io::Error::other)?;
    while buffer.len() < 4 + length {
        buffer.reserve((4 + length - buffer.len()).min(WRITE_BUFFER_BYTES));
        if timeout(READ_TIMEOUT, stream.read_buf(buffer)).await.map_err(late)?? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    let frame = buffer.split_to(4 + length).split_off(4).freeze();
    Frame::decode(&frame).map(Some).map_err(std::io::Error::other)
}

/// Writes one frame; whoever writes many gathers them instead.
async fn write_frame(
    stream: &mut (impl AsyncWriteExt + Unpin),
    frame: &Frame,
) -> std::io::Result<()> {
    let (first, rest) = frame.encode();
    let length = u32::try_from(first.len() + rest.len()).map_err(std::io::Error::other)?;
    stream.write_all(&length.to_le_bytes()).await?;
    stream.write_all(&first).await?;
    stream.write_all(&rest).await?;
    stream.flush().await
}

async fn answer<F: TakeForwarded>(
    from: NodeId,
    number: u64,
    items: Vec<Bytes>,
    receiver: &Receiver<F>,
) {
    let count = items.len();
    let replies = match receiver.forwarded.get() {
        Some(taker) => taker.take(items).await,
        None => vec![Ok(Reply::NotPrimary(None)); count],
    };
    receiver.peers.reply(from, Frame::Forwarded(number, replies));
}

async fn govern<F: TakeForwarded>(
    from: NodeId,
    number: u64,
    question: govern::Question,
    receiver: &Receiver<F>,
) {
    let answer = match receiver.forwarded.get() {
        Some(taker) => taker.govern(question).await,
        None => govern::Answer::NotPrimary(None),
    };
    receiver.peers.reply(from, Frame::Governed(number, answer.encode()));
}
