//! The contract between a replica and the engine that orders its entries.
//!
//! An engine is a state machine without clock, file or socket. The replica hands it ticks, messages, proposals and the
//! news that something reached the disk; after each of those (or after several) it calls [`Engine::poll`] and does
//! what the [`Output`] says:
//!
//! 1. `truncate_to`: roll store, tree and log back to that seqno;
//! 2. `append`: put these entries after it, in order. A backup applies them now, before they commit;
//! 3. `hard_state` and everything appended so far go to disk; when they are durable, call [`Engine::persisted`] with
//!    the `persist` token. Never wait for it: the engine itself holds back what may not be said before;
//! 4. `send`: pass these to the transport, which may lose, repeat or reorder them;
//! 5. `role`, `committed`, `fetch`: take note, and read what is asked for from disk.
//!
//! An entry is *committed* when a quorum has it on disk. That alone does not make a transaction final: the replica
//! also wants a signature entry over it.
//!
//! An entry may carry the next configuration. The replica knows, since it reads entries, and says so at once after the
//! poll that handed it out ([`Engine::reconfigure`]). It takes effect on each node when that node learns that the entry
//! is committed; a primary adds no second one before ([`Engine::can_reconfigure`]). So of all configurations in a log
//! only the last may be one that is not in effect.
//!
//! Absent on purpose: a snapshot of the state.

use std::fmt;

use bytes::Bytes;
use coco_types::{NodeId, Role, Seqno, TxId, View, codec::DecodeError};
use thiserror::Error;

use crate::{Configuration, ConfigurationError, HardState};

/// One position of the ledger.
#[derive(Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// Its name.
    pub tx_id: TxId,
    /// The sealed entry. Empty when it is the opening entry of a view, which every node can make by itself; an opening
    /// entry that was read back from a disk carries its bytes.
    pub data: Bytes,
}

/// How long things take, in ticks of the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// A primary sends a heartbeat every so many ticks; at least 1.
    pub heartbeat_ticks: u32,
    /// A backup that heard nothing waits at least so long before it asks for votes, and a primary that hears no quorum
    /// for so long steps down; more than `heartbeat_ticks`.
    pub election_ticks_min: u32,
    /// It waits at most so long; at least `election_ticks_min`.
    pub election_ticks_max: u32,
}

/// What the engine may hold at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of recent entries kept in memory for backups that lag. Entries that are not yet committed or not yet on
    /// this node's disk are kept beyond it.
    pub window_bytes: usize,
    /// Bytes that a primary may have proposed and not yet seen committed. One entry may reach past it.
    pub uncommitted_bytes: usize,
    /// Bytes of entries in one message; a larger entry travels alone.
    pub message_bytes: usize,
    /// Messages with entries on their way to one backup.
    pub inflight_messages: usize,
}

/// What a node knows when it starts: after genesis, or from its disk.
#[derive(Clone, Debug)]
pub struct Start {
    /// This node. It need not be one of the configuration: a node that is about to join is not yet.
    pub me: NodeId,
    /// The newest configuration that is known to be in effect.
    pub configuration: Configuration,
    /// The one after it, and the entry that carries it, which is not known to be committed.
    pub pending: Option<(Seqno, Configuration)>,
    /// The last one that was made durable. After genesis: [`View::GENESIS`] and no vote.
    pub hard_state: HardState,
    /// The first seqno of each run of entries with the same view, ascending; begins with seqno 1.
    pub views: Vec<(Seqno, View)>,
    /// The last entry on this node's disk; at least 1.
    pub last: Seqno,
    /// What is known to be committed, at most `last`; at least the genesis entries.
    pub committed: Seqno,
    /// The end of the log up to and including `last`, as far as it is at hand. May be empty.
    pub recent: Vec<LogEntry>,
    /// Time-outs.
    pub timing: Timing,
    /// Chooses the election time-outs; another one on each node.
    pub seed: u64,
    /// Maxima.
    pub limits: Limits,
}

/// Names a moment up to which everything handed out must be durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PersistToken(pub u64);

/// Names a request for entries from disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FetchId(pub u64);

/// A wish for entries that are on this node's disk and no longer in the engine's memory. Every one must be answered
/// with [`Engine::fetched`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// To be given back with the answer.
    pub id: FetchId,
    /// The first entry.
    pub from: Seqno,
    /// The last entry, included.
    pub to: Seqno,
    /// Stop after so many bytes, but not before the first entry.
    pub bytes_max: usize,
}

/// The entries could not be read. The engine asks again later.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum FetchFailed {
    /// The disk does not give them now.
    #[error("the entries could not be read from disk")]
    Unreadable,
    /// They are kept elsewhere. Nodes that wait for them are named in [`Output::behind`].
    #[error("the entries are archived")]
    Archived,
}

/// This node's part has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoleChange {
    /// What it is now.
    pub role: Role,
    /// In this view.
    pub view: View,
    /// The primary of that view, if this node has heard from it.
    pub primary: Option<NodeId>,
}

/// What has to be done now, in the order of the fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// The part of this node, when it changed since the last poll; the newest one if it changed more than once.
    pub role: Option<RoleChange>,
    /// Everything after this seqno is void. Never below what is committed.
    pub truncate_to: Option<Seqno>,
    /// What follows, without gaps, this node's own proposals included.
    pub append: Vec<LogEntry>,
    /// To be made durable together with `append`.
    pub hard_state: Option<HardState>,
    /// To be given to [`Engine::persisted`] once all of the above, and of all outputs before, is durable.
    pub persist: Option<PersistToken>,
    /// Messages to send at once.
    pub send: Vec<(NodeId, Bytes)>,
    /// Everything up to here is on disk at a quorum. Always among the entries that have been handed out.
    pub committed: Option<Seqno>,
    /// Entries wanted from this node's disk.
    pub fetch: Vec<Fetch>,
    /// Nodes whose next entries this one has archived ([`FetchFailed::Archived`]), as far as it knows, with the first of
    /// those: they have to begin from a snapshot.
    pub behind: Vec<(NodeId, TxId)>,
}

/// How far a node has come, as its primary sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Which node.
    pub node: NodeId,
    /// It has everything up to here on disk.
    pub matched: Seqno,
    /// It was heard of within the last `election_ticks_min`, in this view.
    pub active: bool,
    /// Nothing was heard of it for `election_ticks_min`, for all of which this node was primary. One that is neither this nor
    /// active has not had the time to answer.
    pub silent: bool,
    /// Messages with entries that are on their way to it: at most [`Limits::inflight_messages`].
    pub inflight: usize,
}

/// Numbers for metrics and for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// This node's part.
    pub role: Role,
    /// The current view.
    pub view: View,
    /// Its primary, if known.
    pub primary: Option<NodeId>,
    /// The last entry of the log.
    pub last: Seqno,
    /// The last entry that is known to be on this node's disk.
    pub persisted: Seqno,
    /// The last entry that is on disk at a quorum.
    pub committed: Seqno,
    /// The node to which the primary's part is being handed.
    pub transfer_to: Option<NodeId>,
    /// Bytes proposed by this primary and not yet committed.
    pub uncommitted_bytes: usize,
    /// The first entry that is still in memory.
    pub window_first: Seqno,
    /// Bytes of the entries in memory.
    pub window_bytes: usize,
    /// Messages that wait for this node's disk.
    pub messages_held: usize,
    /// Fetches that have not been answered.
    pub fetches_open: usize,
    /// All nodes, in the order of the configuration; empty unless this node is the primary.
    pub progress: Vec<Progress>,
    /// The configuration in effect.
    pub configuration: Configuration,
}

/// Orders entries for a replica.
pub trait Engine: Send + fmt::Debug {
    /// One tick of time has passed.
    fn tick(&mut self);

    /// A message from another node has arrived; `from` is who the transport says it is. Entries in it share the
    /// buffer.
    ///
    /// # Errors
    /// [`ReceiveError`]; the message had no effect.
    fn receive(&mut self, from: NodeId, message: &Bytes) -> Result<(), ReceiveError>;

    /// Asks for votes now instead of after the time-out. Has no effect on a primary, on a node that does not vote, and on one
    /// that votes alone while its log is not on its disk.
    fn campaign(&mut self);

    /// The name that the next proposal gets, if it may be proposed now: this node is primary, the opening entry of its
    /// view went out through [`Engine::poll`], no transfer is running, and there is room for uncommitted entries.
    fn next_tx_id(&self) -> Option<TxId>;

    /// Adds an entry to the log. It comes out of [`Engine::poll`] like any other, and with it what must be sent: several
    /// proposals between two polls travel together. Succeeds with exactly the name that [`Engine::next_tx_id`] gave, when
    /// that gave one and `data` has a size that is allowed.
    ///
    /// # Errors
    /// [`ProposeError`]; nothing was added.
    fn propose(&mut self, data: Bytes) -> Result<TxId, ProposeError>;

    /// Whether the next entry may carry a configuration: an entry can be proposed, no configuration waits to be
    /// committed, and something of this view is, so that everything inherited is as well.
    fn can_reconfigure(&self) -> bool;

    /// The entry at `at`, which was the primary's proposal or came out of the last poll, carries this configuration. Must
    /// be said before anything else happens.
    ///
    /// # Panics
    /// When there is no such entry, or the configuration may not follow the one before it
    /// ([`Configuration::may_become`]): the replica checks both.
    fn reconfigure(&mut self, at: Seqno, next: Configuration);

    /// The configuration in effect.
    fn configuration(&self) -> &Configuration;

    /// Everything handed out up to this token is durable on this node. Tokens come back in any number, ascending; one
    /// stands for all before it. One that was never handed out is ignored.
    fn persisted(&mut self, token: PersistToken);

    /// Answers a [`Fetch`]: a prefix of the wanted entries, at least one.
    fn fetched(&mut self, id: FetchId, entries: Result<Vec<LogEntry>, FetchFailed>);

    /// Hands the primary's part to another node. Nothing can be proposed until that has happened or
    /// `election_ticks_min` have passed.
    ///
    /// # Errors
    /// [`TransferError`].
    fn transfer_to(&mut self, node: NodeId) -> Result<(), TransferError>;

    /// The transport could not deliver to this node.
    fn unreachable(&mut self, node: NodeId);

    /// What has to be done since the last call.
    fn poll(&mut self) -> Output;

    /// This node's part.
    fn role(&self) -> Role;

    /// The current view.
    fn view(&self) -> View;

    /// The primary of the current view, if known.
    fn primary(&self) -> Option<NodeId>;

    /// The last entry that is on disk at a quorum.
    fn committed(&self) -> Seqno;

    /// The last entry of the log, polled or not.
    fn last(&self) -> Seqno;

    /// How far every node has come, in the order of the configuration; empty unless this node is the primary.
    fn progress(&self) -> Vec<Progress>;

    /// All of it, for metrics.
    fn status(&self) -> Status;
}

/// Why an engine did not start.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum StartError {
    /// The configuration is none.
    #[error("the nodes make no configuration")]
    Configuration(#[source] ConfigurationError),
    /// The configuration that waits may not follow the one in effect, or stands at an entry that is not there.
    #[error("the configuration of entry {0} does not follow")]
    Pending(Seqno),
    /// The time-outs contradict each other.
    #[error("the timing {0:?} is not 0 < heartbeat < shortest election time-out <= longest")]
    Timing(Timing),
    /// A limit is zero, or no message of the peer protocol could hold what it allows.
    #[error("the limits {0:?} cannot be met")]
    Limits(Limits),
    /// The positions contradict each other.
    #[error("last entry {last}, committed {committed} and view {view} do not belong together")]
    Positions {
        /// The last entry.
        last: Seqno,
        /// What is said to be committed.
        committed: Seqno,
        /// The view of the hard state.
        view: View,
    },
    /// The runs of views are not ascending from seqno 1, or reach past the end or past the hard state.
    #[error("run {run} of the views is out of order")]
    Views {
        /// Which one, from zero.
        run: usize,
    },
    /// The recent entries are not the end of the log.
    #[error("recent entry {found} stands where {expected} belongs")]
    Recent {
        /// What belongs there.
        expected: TxId,
        /// What was given.
        found: TxId,
    },
}

/// Why a message was refused.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum ReceiveError {
    /// From this node itself, or from one more stranger than is listened to.
    #[error("{0} is not another node of the network")]
    Sender(NodeId),
    /// Not in the format of the peer protocol.
    #[error("the message does not follow the peer protocol")]
    Malformed(#[source] DecodeError),
    /// Another node believes that this one has entries which it has not. Either that node is broken, or this node lost
    /// what it had called durable and must not go on.
    #[error("a peer says that this node has entry {said}, but the log ends at {last}")]
    Missing {
        /// What the other node says.
        said: Seqno,
        /// The end of this log.
        last: Seqno,
    },
    /// A backup claims to have entries that were never proposed.
    #[error("a peer acknowledges entry {said}, but the log ends at {last}")]
    Unproposed {
        /// What it acknowledges.
        said: Seqno,
        /// The end of this log.
        last: Seqno,
    },
    /// It continues from an entry that no primary can have: one of an older view than what is committed before it.
    #[error("a peer continues from {previous}, and {committed} is committed")]
    Contradicts {
        /// The entry that it continues from.
        previous: TxId,
        /// What is committed here.
        committed: TxId,
    },
    /// From a node that is in no configuration here, and of a view that is too far above what is committed.
    #[error("a node of no configuration speaks of view {said}, at most {limit} is believed")]
    FarView {
        /// The view of the message.
        said: View,
        /// The newest that is believed.
        limit: View,
    },
    /// The answer to a vote request that has not left this node; or a word by which a node that votes alone would stand for
    /// election before its log is on its disk.
    #[error(
        "an answer to a vote request that has not been sent, or a call for an election before its time"
    )]
    Unasked,
    /// It speaks as primary of a view that has another one.
    #[error("{said} speaks as primary of a view whose primary is {primary}")]
    OtherPrimary {
        /// Who speaks.
        said: NodeId,
        /// The primary.
        primary: NodeId,
    },
}

/// Why an entry was not proposed.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum ProposeError {
    /// Another node is primary, or none.
    #[error("this node is not primary")]
    NotPrimary {
        /// Who is, if known.
        primary: Option<NodeId>,
    },
    /// The opening entry of the view has not been polled.
    #[error("the view has not been opened")]
    NotOpened,
    /// The part of primary is being handed over.
    #[error("the primary is handing over to {to}")]
    Transferring {
        /// To whom.
        to: NodeId,
    },
    /// Too much is waiting to be committed.
    #[error("{uncommitted_bytes} bytes wait for a quorum, {limit} are allowed")]
    Full {
        /// What is waiting.
        uncommitted_bytes: usize,
        /// What may wait.
        limit: usize,
    },
    /// An entry without bytes would be taken for an opening entry.
    #[error("the entry is empty")]
    Empty,
    /// The entry is too large.
    #[error("the entry has {bytes} bytes, {limit} are allowed")]
    TooLarge {
        /// What it has.
        bytes: usize,
        /// What it may have.
        limit: usize,
    },
}

/// Why the primary's part is not being handed over.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum TransferError {
    /// This node has nothing to hand over.
    #[error("this node is not primary")]
    NotPrimary,
    /// Not another node of the configuration.
    #[error("{0} is not another node of the configuration")]
    Receiver(NodeId),
}

impl Output {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Debug for LogEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Entries are sealed, but a log line has no use for their bytes.
        write!(f, "{}({} bytes)", self.tx_id, self.data.len())
    }
}

impl Default for Timing {
    /// For ticks of 10 ms: heartbeats every 50 ms, elections after 500 to 1000 ms.
    fn default() -> Self {
        Self { heartbeat_ticks: 5, election_ticks_min: 50, election_ticks_max: 100 }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            window_bytes: WINDOW_BYTES_MAX,
            uncommitted_bytes: UNCOMMITTED_BYTES_MAX,
            message_bytes: MESSAGE_BYTES_MAX,
            inflight_messages: INFLIGHT_MESSAGES_MAX,
        }
    }
}

/// Recent entries in memory: enough for a backup that was away for two or three seconds under full load. One that was away for longer
/// is served from the disk.
pub const WINDOW_BYTES_MAX: usize = 16 << 20;
/// Proposed and not committed: what three nodes can write to disk within about a second.
pub const UNCOMMITTED_BYTES_MAX: usize = 64 << 20;
/// Entries in one message: large enough to fill a link, small enough not to delay a heartbeat.
pub const MESSAGE_BYTES_MAX: usize = 512 << 10;
/// Messages on their way to one backup; with [`MESSAGE_BYTES_MAX`] 32 MiB per backup.
pub const INFLIGHT_MESSAGES_MAX: usize = 64;
