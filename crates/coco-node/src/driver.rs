//! The event loop: one thread that owns the replica, feeds it one input at a time and carries out its effects.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use coco_adapter::{Checked, Entropy, Ticket};
use coco_consensus::{
    Configuration, Fetch, FetchFailed, FetchId, HardState, LogEntry, PersistToken,
};
use coco_governance::{GovernanceError, IssuerKeys};
use coco_ledger::LedgerSecrets;
use coco_replica::{
    Effects, GovernReply, GovernRequest, GovernTask, Governed, Input, Introduction,
    IntroductionReply, JoinReply, JoinRequest, Leads, Now, Replica, Reply, SharedLedgerState,
    SnapshotTask, StepError, Unasked,
};
use coco_types::{Digest, NodeId, Role, Seqno, TxId};
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tracing::{error, info, warn};

use crate::{
    calls::Calls,
    clock::{millis, millis_since, running_ms},
    config::NodeAddress,
    directory::Directory,
    disk::DiskQueue,
    messages::Messages,
    metrics::Metrics,
    peers::Peers,
    service_status::StatusWatch,
    waiters::Waiters,
};

/// Length of a consensus tick in milliseconds; also how closely the signature interval is kept.
pub const TICK_MS: u64 = 10;
/// Inputs taken between two batches, so that a flood of requests cannot starve execution.
const JOBS_PER_TURN_MAX: usize = 1024;
/// How long a primary that stops waits for another one to take over.
const HANDOVER_TIME: Duration = Duration::from_secs(1);

/// Checked transactions of one request, and whoever waits for their answers.
#[derive(Debug)]
pub struct Submission {
    /// What to execute.
    pub transactions: Vec<Checked>,
    /// Where the answers go, one for each, in their order.
    pub reply: oneshot::Sender<Vec<Reply>>,
}

#[derive(Debug)]
pub(crate) enum Job {
    Submit(Submission),
    Message(NodeId, Bytes),
    Persisted(PersistToken),
    Fetched(FetchId, Result<Vec<LogEntry>, FetchFailed>),
    SnapshotMade(Seqno, Option<Digest>),
    Connected(NodeId, Direction),
    Unreachable(NodeId),
    DiskFailed(String),
    /// A node asks for its seat, and waits for the answer.
    Join(Box<JoinRequest>, oneshot::Sender<JoinReply>),
    /// A node that nobody knows says who it is, and waits for the answer.
    Introduce(Box<Introduction>, oneshot::Sender<IntroductionReply>),
    /// A member's request, and whoever waits for the answer.
    Govern(GovernRequest, oneshot::Sender<GovernReply>),
    /// Keys that an issuer of tokens publishes, and whoever waits for the answer.
    IssuerKeys(IssuerKeys, oneshot::Sender<GovernReply>),
    /// An operator asks for a snapshot, and waits for the answer.
    AskSnapshot(oneshot::Sender<GovernReply>),
    /// An operator has the row of a node removed, and waits for the answer.
    RemoveNode(NodeId, oneshot::Sender<GovernReply>),
    /// What was asked for in one of these ways was carried out.
    Governed(Box<Governed>),
    /// A node that this one asked for its seat says who leads.
    Told(NodeId, Leads),
    /// This node was told that it has no place in the network.
    Refused(JoinReply),
    /// A node says that it cannot give the entries that this one's ledger lacks, and from which on.
    Behind(NodeId, TxId),
    Stop,
}

/// Which half of the channel to a peer was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// This node dialled.
    Out,
    /// The peer dialled.
    In,
}

#[derive(Debug, Default)]
struct Load {
    transactions: AtomicUsize,
    messages: Mutex<Messages>,
}

/// The way into the event loop. The channel itself has no bound, since the disk must never wait for the replica; what
/// comes from outside is counted, and refused over a named maximum.
#[derive(Clone, Debug)]
pub struct Inbox {
    sender: Sender<Job>,
    load: Arc<Load>,
    transactions_max: usize,
}

/// The queue of transactions is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotQueued;

impl Inbox {
    pub(crate) fn new(transactions_max: usize) -> (Self, Receiver<Job>) {
        let (sender, receiver) = mpsc::channel();
        (Self { sender, load: Arc::default(), transactions_max }, receiver)
    }

    /// Hands transactions to the replica. One that stops answers nobody.
    ///
    /// # Errors
    /// [`NotQueued`] when too many wait already.
    pub fn submit(&self, submission: Submission) -> Result<(), NotQueued> {
        let count = submission.transactions.len();
        if self.load.transactions.fetch_add(count, Ordering::Relaxed) + count
            > self.transactions_max
        {
            self.load.transactions.fetch_sub(count, Ordering::Relaxed);
            return Err(NotQueued);
        }
        self.put(Job::Submit(submission));
        Ok(())
    }

    /// Hands over a peer's message, or drops it when too many wait.
    pub fn message(&self, from: NodeId, message: Bytes) {
        if self.load.messages.lock().put(from, message.len()) {
            self.put(Job::Message(from, message));
        }
    }

    /// Hands over what a peer says of the entries that this node lacks, as a message.
    pub fn behind(&self, from: NodeId, needs: TxId) {
        if self.load.messages.lock().put(from, 0) {
            self.put(Job::Behind(from, needs));
        }
    }

    /// Says that half of the channel to a peer was made.
    pub fn connected(&self, node: NodeId, direction: Direction) {
        self.put(Job::Connected(node, direction));
    }

    /// Says that the connection to a peer broke.
    pub fn unreachable(&self, node: NodeId) {
        self.put(Job::Unreachable(node));
    }

    /// Passes something on that is answered, and waits for the answer.
    ///
    /// # Errors
    /// When the node stops.
    async fn ask<T>(&self, job: impl FnOnce(oneshot::Sender<T>) -> Job) -> std::io::Result<T> {
        let (sender, reply) = oneshot::channel();
        self.put(job(sender));
        reply.await.map_err(|_| std::io::Error::other("this node stops"))
    }

    /// Passes a question for a seat to the replica, and waits for its answer.
    ///
    /// # Errors
    /// When the node stops.
    pub async fn join(&self, request: JoinRequest) -> std::io::Result<JoinReply> {
        self.ask(|reply| Job::Join(Box::new(request), reply)).await
    }

    /// Passes on who a node says it is, and waits for the answer.
    ///
    /// # Errors
    /// When the node stops.
    pub async fn introduce(
        &self,
        introduction: Introduction,
    ) -> std::io::Result<IntroductionReply> {
        self.ask(|reply| Job::Introduce(Box::new(introduction), reply)).await
    }

    /// Passes a member's request to the replica, and waits for its answer: as long as scripts take, or until this node
    /// is primary no more.
    ///
    /// # Errors
    /// When the node stops.
    pub async fn govern(&self, request: GovernRequest) -> std::io::Result<GovernReply> {
        self.ask(|reply| Job::Govern(request, reply)).await
    }

    /// Passes keys that an issuer publishes to the replica, and waits for its answer.
    ///
    /// # Errors
    /// When the node stops.
    pub async fn issuer_keys(&self, keys: IssuerKeys) -> std::io::Result<GovernReply> {
        self.ask(|reply| Job::IssuerKeys(keys, reply)).await
    }

    /// Asks the replica for a snapshot, and waits for its answer.
    ///
    /// # Errors
    /// When the node stops.
    pub async fn ask_snapshot(&self) -> std::io::Result<GovernReply> {
        self.ask(Job::AskSnapshot).await
    }

    /// Has the row of a node removed that has left.
    ///
    /// # Errors
    /// When the node stops.
    pub async fn remove_node(&self, node: NodeId) -> std::io::Result<GovernReply> {
        self.ask(|reply| Job::RemoveNode(node, reply)).await
    }

    /// Passes on whom a node that was asked for a seat takes for the primary.
    pub fn told(&self, by: NodeId, leads: Leads) {
        self.put(Job::Told(by, leads));
    }

    /// Says that another node has refused this one for good.
    pub fn refused(&self, reply: JoinReply) {
        self.put(Job::Refused(reply));
    }

    pub(crate) fn put(&self, job: Job) {
        // The loop ends only when the node stops; then nobody needs the job.
        let _stopping: Result<(), mpsc::SendError<Job>> = self.sender.send(job);
    }
}

/// Why the loop ended other than by being told to.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// The replica cannot go on.
    #[error("the replica cannot go on")]
    Step(#[from] StepError),
    /// The disk failed. What was not acknowledged as durable never will be: the node stops, and its peers go on.
    #[error("the disk failed: {0}")]
    Disk(String),
    /// The network has no place for this node.
    #[error("the network has no place for this node: {}", refusal(.0))]
    Refused(JoinReply),
    /// What this node needs is archived elsewhere.
    #[error("the primary has archived what this node's ledger lacks")]
    Behind(Behind),
    /// Members gave the ledger's secrets back.
    #[error("members have given the ledger's secrets back: the node starts again with them")]
    Recovered(LedgerSecrets),
    /// Members gave the ledger's secrets back, and it does not load under them.
    #[error(
        "the ledger does not load under the secrets that members gave back: {0}. They are not kept: start the node again, \
         which waits for shares as before, or begin the recovery again with another copy of the ledger"
    )]
    Unloadable(String),
}

/// What a node that was left behind has promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Behind {
    /// Everything up to here that it has acknowledged may be committed by its word, and nothing after it.
    pub at_least: Seqno,
    /// View and vote.
    pub hard_state: HardState,
}

const fn refusal(reply: &JoinReply) -> &'static str {
    match reply {
        JoinReply::NoSuchSeat => "no node has the seat whose key is on this disk",
        JoinReply::OtherCode => {
            "the node in its seat ran other code; members have to approve this one first"
        }
        JoinReply::Retired => {
            "members removed it, or its seat was given to another; start it again to ask for the seat"
        }
        JoinReply::Quarantined => {
            "its lease has ended: it did not show in time that it runs code that members admit. Have it introduce itself again \
             (coco network join, with its folder), and start it"
        }
        JoinReply::Admitted | JoinReply::Later(_) | JoinReply::NotPrimary(_) => "not now",
    }
}

/// The loop and what it drives.
#[derive(Debug)]
pub(crate) struct Driver {
    pub(crate) replica: Replica,
    pub(crate) jobs: Receiver<Job>,
    pub(crate) inbox: Inbox,
    pub(crate) disk: DiskQueue,
    pub(crate) fetches: Sender<Fetch>,
    pub(crate) snapshots: Sender<SnapshotTask>,
    pub(crate) governor: Sender<GovernTask>,
    pub(crate) peers: Arc<Peers>,
    pub(crate) waiters: Arc<Waiters>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) state: SharedLedgerState,
    pub(crate) status: StatusWatch,
    pub(crate) calls: Calls,
    pub(crate) started: Instant,
    pub(crate) first_election: FirstElection,
    pub(crate) me: NodeId,
    pub(crate) directory: Directory,
    /// Whether this node votes.
    pub(crate) votes: Arc<AtomicBool>,
    /// View and vote, as they were last handed to the disk.
    pub(crate) hard_state: HardState,
    /// Nodes that were told to copy a snapshot since the last configuration.
    pub(crate) behind: BTreeSet<NodeId>,
    /// Nodes that wait for the answer of the step under way.
    pub(crate) joining: Option<oneshot::Sender<JoinReply>>,
    /// Whoever waits for the answer to an introduction in the step under way.
    pub(crate) introducing: Option<oneshot::Sender<IntroductionReply>>,
    /// Whoever waits for a member's request, by its ticket.
    pub(crate) governing: BTreeMap<Ticket, oneshot::Sender<GovernReply>>,
    /// The next ticket of a member's request.
    pub(crate) next_request: u64,
}

/// After a start somebody must stand for election first. Waiting for the election time-out would do; but when a quorum
/// can be reached both ways and nobody leads, the first node of the configuration stands at once.
#[derive(Debug)]
pub(crate) struct FirstElection {
    /// How many peers must be reached; zero once this node has stood, or when it is not its place to.
    peers_needed: usize,
    reached: BTreeMap<NodeId, [bool; 2]>,
}

impl FirstElection {
    /// It is the place of the first of `nodes`.
    pub(crate) fn of(nodes: &[(NodeId, NodeAddress)], me: NodeId) -> Self {
        let is_first = nodes.first().is_some_and(|(id, _)| *id == me);
        let peers_needed = if is_first { nodes.len() / 2 } else { 0 };
        Self { peers_needed, reached: BTreeMap::new() }
    }

    /// Notes a connection; whether this is the moment to stand.
    fn connected(&mut self, node: NodeId, direction: Direction) -> bool {
        let halves = self.reached.entry(node).or_default();
        halves[usize::from(direction == Direction::In)] = true;
        let is_due = self.peers_needed > 0
            && self.reached.values().filter(|halves| halves.iter().all(|half| *half)).count()
                >= self.peers_needed;
        if is_due {
            self.peers_needed = 0;
        }
        is_due
    }
}

enum Turn {
    Go,
    Stop,
}

impl Driver {
    /// Runs until told to stop.
    ///
    /// # Errors
    /// [`DriverError`] when the node cannot go on.
    pub(crate) fn run(mut self) -> Result<(), DriverError> {
        let mut next_tick = Instant::now();
        let mut stop_at: Option<Instant> = None;
        loop {
            if let Turn::Stop = self.take_jobs(next_tick)?
                && stop_at.is_none()
            {
                let time = if self.hand_over()? { HANDOVER_TIME } else { Duration::ZERO };
                stop_at = Some(Instant::now() + time);
            }
            if self.replica.has_work() {
                let mut entropy = [0; 32];
                aws_lc_rs::rand::fill(&mut entropy)
                    .map_err(|_| DriverError::Disk("no entropy from the system".into()))?;
                self.step(Input::Work(Entropy(entropy)))?;
            }
            let now = Instant::now();
            if now >= next_tick {
                self.step(Input::Tick)?;
                self.peers.acks().look(self.me, &self.replica.progress(), running_ms());
                // After a pause one tick is made up for, not all: a node that slept must listen before it votes.
                next_tick = now + Duration::from_millis(TICK_MS);
            }
            if let Some(at) = stop_at
                && (now >= at || self.state.read().role() != Role::Primary)
            {
                return Ok(());
            }
        }
    }

    /// Takes what has arrived; waits for it only when there is nothing to execute.
    fn take_jobs(&mut self, next_tick: Instant) -> Result<Turn, DriverError> {
        let mut turn = Turn::Go;
        let mut next = if self.replica.has_work() {
            self.jobs.try_recv().ok()
        } else {
            match self.jobs.recv_timeout(next_tick.saturating_duration_since(Instant::now())) {
                Ok(job) => Some(job),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return Ok(Turn::Stop),
            }
        };
        let mut taken = 0;
        while let Some(job) = next {
            if let Turn::Stop = self.take_job(job)? {
                turn = Turn::Stop;
            }
            taken += 1;
            next = if taken < JOBS_PER_TURN_MAX { self.jobs.try_recv().ok() } else { None };
        }
        Ok(turn)
    }

    fn take_job(&mut self, job: Job) -> Result<Turn, DriverError> {
        let input = match job {
            Job::Submit(Submission { transactions, reply }) => {
                let count = transactions.len();
                self.inbox.load.transactions.fetch_sub(count, Ordering::Relaxed);
                let tickets = self.calls.open(count, reply);
                Input::Submit(tickets.zip(transactions).collect())
            }
            Job::Message(from, message) => {
                self.inbox.load.messages.lock().taken(from, message.len());
                self.peers.acks().heard(from, running_ms());
                Input::Message(from, message)
            }
            Job::Persisted(token) => Input::Persisted(token),
            Job::Fetched(id, entries) => Input::Fetched(id, entries),
            Job::SnapshotMade(seqno, digest) => Input::SnapshotMade(seqno, digest),
            Job::Unreachable(node) => Input::Unreachable(node),
            Job::Told(by, leads) => Input::Told(by, leads),
            Job::Connected(node, direction) => {
                if !self.first_election.connected(node, direction)
                    || self.state.read().primary().is_some()
                {
                    return Ok(Turn::Go);
                }
                Input::Campaign
            }
            Job::Join(request, reply) => {
                self.joining = Some(reply);
                Input::Join(request)
            }
            Job::Introduce(introduction, reply) => {
                self.introducing = Some(reply);
                Input::Introduce(introduction)
            }
            Job::Govern(request, reply) => Input::Govern(self.governing_for(reply), request),
            Job::IssuerKeys(keys, reply) => Input::IssuerKeys(self.governing_for(reply), keys),
            Job::AskSnapshot(reply) => Input::AskSnapshot(self.governing_for(reply)),
            Job::RemoveNode(node, reply) => Input::RemoveNode(self.governing_for(reply), node),
            Job::Governed(governed) => Input::Governed(governed),
            Job::Refused(reply) => return Err(DriverError::Refused(reply)),
            Job::Behind(by, needs) => {
                self.inbox.load.messages.lock().taken(by, 0);
                let state = self.state.read();
                // Whoever was primary once may not know what this node has got since; and whoever has the entry of that
                // name has all before it, and may have acknowledged more.
                if state.primary() != Some(by) || state.has(needs) {
                    return Ok(Turn::Go);
                }
                // Nothing from there on that this node has acknowledged can be committed.
                let at_least = needs.seqno.previous();
                return Err(DriverError::Behind(Behind { at_least, hard_state: self.hard_state }));
            }
            Job::DiskFailed(what) => return Err(DriverError::Disk(what)),
            Job::Stop => return Ok(Turn::Stop),
        };
        self.step(input)?;
        Ok(Turn::Go)
    }

    /// The ticket of whoever waits for an answer about governance.
    fn governing_for(&mut self, reply: oneshot::Sender<GovernReply>) -> Ticket {
        let ticket = Ticket(self.next_request);
        self.next_request += 1;
        self.governing.insert(ticket, reply);
        ticket
    }

    fn step(&mut self, input: Input) -> Result<(), DriverError> {
        let effects = self
            .replica
            .step(self.now(), input)
            .inspect_err(|error| error!(%error, "the replica stops"))?;
        self.carry_out(effects)
    }

    fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { wall_ms: millis(wall), mono_ms: millis_since(self.started) }
    }

    /// Another configuration is in effect: who is dialled, and whom clients are told of.
    fn change_configuration(&mut self, configuration: &Configuration) -> Result<(), DriverError> {
        let rows = self.replica.node_rows().map_err(StepError::from)?;
        self.votes.store(configuration.votes(self.me), Ordering::Relaxed);
        if self.replica.is_settled()? {
            self.directory.replace(&rows);
            self.peers.keep(&self.directory.all(), self.state.read().primary());
        } else {
            // The ledger of a node that catches up names nodes that are gone, and not yet those that it hears.
            self.directory.add(&rows);
            self.peers.add(&self.directory.all());
        }
        self.behind.clear();
        let hex = |nodes: &[NodeId]| nodes.iter().map(NodeId::to_string).collect::<Vec<_>>();
        info!(
            voters = ?hex(&configuration.voters),
            outgoing = ?hex(&configuration.outgoing),
            learners = ?hex(&configuration.learners),
            "configuration"
        );
        Ok(())
    }

    fn carry_out(&mut self, effects: Effects) -> Result<(), DriverError> {
        if let Some(configuration) = &effects.configuration {
            self.change_configuration(configuration)?;
        }
        for (_, reply) in effects.joins {
            if let Some(asked) = self.joining.take() {
                let _gone: Result<(), JoinReply> = asked.send(reply);
            }
        }
        for (_, reply) in effects.introduced {
            if let Some(asked) = self.introducing.take() {
                let _gone: Result<(), IntroductionReply> = asked.send(reply);
            }
        }
        if let Some(task) = effects.govern {
            let _failed: Result<(), mpsc::SendError<GovernTask>> = self.governor.send(task);
        }
        for (ticket, reply) in effects.governed {
            if let Some(waits) = self.governing.remove(&ticket) {
                // A caller that has gone away does not need to know.
                let _gone: Result<(), GovernReply> = waits.send(reply);
            }
        }
        for (what, refusal) in effects.refused {
            say_refused(what, &refusal);
        }
        for persist in effects.persist {
            self.hard_state = persist.hard_state.unwrap_or(self.hard_state);
            self.metrics.entries.inc_by(persist.entries.len() as u64);
            self.disk.persist(persist);
        }
        for (to, message) in effects.send {
            self.peers.send(to, message);
        }
        for (ticket, reply) in effects.replies {
            if matches!(reply, Reply::Executed(_)) {
                self.metrics.executed.inc();
            }
            self.calls.answer(ticket, reply);
        }
        for fetch in effects.fetch {
            let _failed: Result<(), mpsc::SendError<Fetch>> = self.fetches.send(fetch);
        }
        for (node, needs) in effects.behind {
            if self.behind.insert(node) {
                warn!(%node, %needs, "a node needs entries that are archived here: it has to copy a snapshot");
            }
            self.peers.tell_behind(node, needs);
        }
        for task in effects.snapshots {
            let _failed: Result<(), mpsc::SendError<SnapshotTask>> = self.snapshots.send(task);
        }
        if effects.role_changed {
            let state = self.state.read();
            let primary = state.primary().map(|id| id.to_string());
            info!(role = ?state.role(), view = %state.view(), primary, "role");
            self.metrics.view.set(i64::try_from(state.view().0).unwrap_or(i64::MAX));
            self.metrics.is_primary.set(i64::from(state.role() == Role::Primary));
        }
        if effects.committed.is_some() || effects.rolled_back.is_some() {
            if let Some(committed) = effects.committed {
                self.status.look(committed.seqno);
            }
            let state = self.state.read();
            self.waiters.wake(&state, effects.rolled_back);
            if let Some(committed) = effects.committed {
                self.metrics.committed.set(i64::try_from(committed.seqno.0).unwrap_or(i64::MAX));
                self.disk.committed(committed.seqno);
            }
        }
        effects.recovered.map_or(Ok(()), |secrets| Err(DriverError::Recovered(secrets)))
    }

    /// Before stopping, a primary gives its place to the node that is furthest; whether there is one.
    fn hand_over(&mut self) -> Result<bool, DriverError> {
        if self.state.read().role() != Role::Primary {
            return Ok(false);
        }
        match self.replica.successor(|_| true) {
            Some(next) => self.step(Input::TransferTo(next)).map(|()| true),
            None => Ok(false),
        }
    }
}

fn say_refused(what: Unasked, reason: &GovernanceError) {
    match what {
        Unasked::OwnSnapshot => {
            warn!(%reason, "no snapshot of this service can be asked for, and nodes that join need one: have members ask for it");
        }
        Unasked::EndOfRecovery => {
            error!(%reason, "all ledger secrets are back, and the recovery cannot be ended: members have to change what it \
                is refused for; it is tried again after each request of theirs");
        }
        Unasked::NextSecret => {
            warn!(%reason, "the ledger secret is older than members want it to be, and cannot be replaced");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever kind a peer's messages are of, they count, and one peer does not fill the inbox for all.
    #[test]
    fn an_inbox_that_one_peer_floods_takes_messages_of_others() {
        let (inbox, jobs) = Inbox::new(1);
        let [flood, other] = [1, 2].map(|number| NodeId([number; 32]));
        for _ in 0..100_000 {
            inbox.behind(flood, TxId::new(2, 7));
        }
        inbox.message(flood, Bytes::from_static(b"one more"));
        inbox.message(other, Bytes::from_static(b"heard"));
        let jobs: Vec<Job> = jobs.try_iter().collect();
        assert!(jobs.len() < 10_000, "{}", jobs.len());
        assert!(matches!(jobs.last(), Some(Job::Message(from, _)) if *from == other));
        assert!(jobs.iter().rev().skip(1).all(|job| matches!(job, Job::Behind(..))));
    }
}
