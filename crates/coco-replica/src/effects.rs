//! What the replica wants done.

use bytes::Bytes;
use coco_adapter::{Refusal, Ticket};
use coco_consensus::{Configuration, Fetch, HardState, PersistToken};
use coco_governance::GovernanceError;
use coco_ledger::LedgerSecrets;
use coco_types::{NodeId, Seqno, TxId};

use crate::{GovernReply, GovernTask, IntroductionReply, JoinReply, SnapshotTask, Unasked};

/// Writes that belong together. They are carried out in order, and the token is handed back once they are durable.
#[derive(Debug, Default)]
pub struct Persist {
    /// First cut the ledger so that this is its last entry.
    pub truncate_to: Option<Seqno>,
    /// Then append these entries; the flag says that the chunk ends after the entry.
    pub entries: Vec<(Bytes, bool)>,
    /// Then replace the hard state.
    pub hard_state: Option<HardState>,
    /// Then make everything durable and give this back as `Input::Persisted`.
    pub token: Option<PersistToken>,
}

impl Persist {
    /// Whether there is nothing to do.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.truncate_to.is_none()
            && self.entries.is_empty()
            && self.hard_state.is_none()
            && self.token.is_none()
    }
}

/// What becomes of a submitted transaction, as far as this replica can say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Executed in this entry, which is not committed yet.
    Executed(TxId),
    /// The same transaction stands in this earlier entry.
    Earlier(TxId),
    /// The adapter refused it.
    Refused(Refusal),
    /// This node is not primary; the one it knows of, if any, may be asked.
    NotPrimary(Option<NodeId>),
}

/// Everything that one step wants done.
#[derive(Debug, Default)]
pub struct Effects {
    /// Writes, in order.
    pub persist: Vec<Persist>,
    /// Messages to other nodes; may be lost.
    pub send: Vec<(NodeId, Bytes)>,
    /// Answers to callers.
    pub replies: Vec<(Ticket, Reply)>,
    /// Entries to read back from disk for a node that lags.
    pub fetch: Vec<Fetch>,
    /// Nodes that need what is archived here, as far as this one knows, and the first entry of it: unless they have that
    /// entry, they have to begin from a snapshot. They are named again as long as it is so.
    pub behind: Vec<(NodeId, TxId)>,
    /// Work on snapshots, in order.
    pub snapshots: Vec<SnapshotTask>,
    /// The last committed transaction, when it has moved.
    pub committed: Option<TxId>,
    /// The position to which uncommitted entries were rolled back.
    pub rolled_back: Option<Seqno>,
    /// Role, view or primary has changed.
    pub role_changed: bool,
    /// A member's request to be carried out by the thread for such.
    pub govern: Option<GovernTask>,
    /// Answers to members.
    pub governed: Vec<(Ticket, GovernReply)>,
    /// What this node, as primary, began by itself and was refused, with the reason. Nobody else hears of it.
    pub refused: Vec<(Unasked, GovernanceError)>,
    /// Members have given all secrets of a recovered ledger back, and that is committed. This node goes on with its ledger
    /// loaded again under them.
    pub recovered: Option<LedgerSecrets>,
    /// Answers to nodes that asked for a seat.
    pub joins: Vec<(NodeId, JoinReply)>,
    /// Answers to nodes that introduced themselves.
    pub introduced: Vec<(NodeId, IntroductionReply)>,
    /// Another configuration is in effect.
    pub configuration: Option<Configuration>,
}
