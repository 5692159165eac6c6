//! What a real run reports, and why it may be refused.

use coco_types::{NodeId, Role, Seqno, TxId, View};
use thiserror::Error;

use crate::rules::IDENTITIES_MAX;

/// What an entry is to consensus, with nodes by their names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// The first entry of a view.
    Opening,
    /// Anything that neither signs nor changes who counts.
    Plain,
    /// A signature entry.
    Signature,
    /// A new configuration.
    Reconfigure(Members),
    /// Says that the newest configuration before it is in effect.
    InEffect,
    /// The end of a joint state.
    Leave,
}

/// Who votes, and who only follows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    /// Who votes.
    pub voters: Vec<NodeId>,
    /// Who is sent the log and does not count.
    pub learners: Vec<NodeId>,
}

/// An entry of a real log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TracedEntry {
    /// Its name.
    pub tx_id: TxId,
    /// What it is.
    pub kind: EntryKind,
}

/// What a node begins a life with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Started {
    /// Its view.
    pub view: View,
    /// For whom it voted in it.
    pub vote: Option<NodeId>,
    /// Its whole log.
    pub log: Vec<TracedEntry>,
    /// What it takes for committed.
    pub committed: Seqno,
}

/// What one step of a node's engine handed out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stepped {
    /// Its view after the step.
    pub view: View,
    /// Its part after the step.
    pub role: Role,
    /// A new view or vote that is to be made durable.
    pub ballot: Option<(View, Option<NodeId>)>,
    /// Everything after this seqno is void.
    pub truncate_to: Option<Seqno>,
    /// What follows.
    pub append: Vec<TracedEntry>,
    /// Everything up to here is committed.
    pub committed: Option<Seqno>,
    /// Names the moment at which all of this is durable.
    pub token: Option<u64>,
}

/// Something that a real node did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// It begins a life: from its disk, or as an identity that nobody has seen.
    Started(Started),
    /// Its engine took a step.
    Stepped(Stepped),
    /// Its disk has everything up to this token.
    Persisted(u64),
    /// As a primary it counts on this node to have everything up to there on disk.
    Acknowledged(NodeId, Seqno),
    /// It counts by this configuration from now on, and in the joint state by these outgoing voters too.
    Applied(Members, Option<Vec<NodeId>>),
    /// It tells clients that everything up to here is final.
    Final(Seqno),
}

/// A trace that the model does not have.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("node {node} breaks a rule of the model")]
pub struct Rejection {
    /// Who did it.
    pub node: NodeId,
    /// What.
    #[source]
    pub rule: Rule,
}

/// A rule that was broken.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Rule {
    /// It acts and has not begun.
    #[error("it acts before its first start")]
    NotStarted,
    /// The run has more identities than a set holds.
    #[error("the run has more than {IDENTITIES_MAX} identities")]
    Identities,
    /// Its ballot after a start is older than the durable one.
    #[error(
        "it starts in view {found} with a ballot that cannot follow the durable one of view {durable}"
    )]
    ForgetsBallot {
        /// What its disk had.
        durable: View,
        /// What it starts with.
        found: View,
    },
    /// An identity that nobody has seen has voted.
    #[error("it starts as a new identity that has voted")]
    HasVoted,
    /// Its log after a start lacks what was durable.
    #[error(
        "it starts with a log that agrees with its disk up to {kept}, where {durable} entries were durable"
    )]
    ForgetsEntries {
        /// What is left of it.
        kept: usize,
        /// What was there.
        durable: usize,
    },
    /// It has an entry that no primary made.
    #[error("it has an entry {0} that no primary made")]
    Unmade(TxId),
    /// A ballot that cannot follow the one before.
    #[error("its ballot of view {next} cannot follow that of view {own}")]
    Ballot {
        /// The one before.
        own: View,
        /// The one after.
        next: View,
    },
    /// It acts in a view that is not that of its ballot.
    #[error("it acts in view {view} with a ballot of view {ballot}")]
    View {
        /// Where it acts.
        view: View,
        /// What is to be durable.
        ballot: View,
    },
    /// It votes for a node that does not stand in that view.
    #[error("it votes in view {0} for a node that does not stand")]
    VotesForNobody(View),
    /// It votes for a log that ends before its own.
    #[error("it votes for a log that ends with {candidate}, and its own ends with {own}")]
    VotesForShorter {
        /// The candidate's last entry.
        candidate: TxId,
        /// Its own.
        own: TxId,
    },
    /// It stands for election and may not.
    #[error("it stands in view {0} and is no voter")]
    NoVoter(View),
    /// It is primary of a view that has had one.
    #[error("it is a second primary of view {0}")]
    SecondPrimary(View),
    /// It is primary without a majority.
    #[error("it is primary of view {0} without durable votes of a quorum")]
    NoQuorum(View),
    /// Its entries are not contiguous.
    #[error("entry {found} stands where position {expected} belongs")]
    Position {
        /// The position that comes next.
        expected: usize,
        /// What it has there.
        found: TxId,
    },
    /// A primary adds an entry that is not of its view, or not where that belongs.
    #[error("the primary of view {view} adds {found}")]
    Adds {
        /// Its view.
        view: View,
        /// The entry.
        found: TxId,
    },
    /// A primary proposes before its view is durable, and no vote of another node vouches for it.
    #[error("the primary of view {0} proposes before the view is on its disk")]
    TooEarly(View),
    /// A primary changes the configuration and may not.
    #[error("the primary changes the configuration with {0} at a time when it may not")]
    Changes(TxId),
    /// It takes entries in a view without primary.
    #[error("it takes entries in view {0}, which has no primary")]
    NoPrimary(View),
    /// It takes an entry that its primary has not at that position, or after one that its primary has not.
    #[error("it takes {0}, which does not continue what it has in the log of its primary")]
    Takes(TxId),
    /// It cuts its log and may not.
    #[error(
        "it cuts its log to {to} with {committed} entries committed, and the next one a conflict: {conflicts}"
    )]
    Cuts {
        /// What is left.
        to: usize,
        /// What it knew to be committed.
        committed: usize,
        /// Whether another entry takes the place.
        conflicts: bool,
    },
    /// It commits what nobody may.
    #[error("it takes {to} entries for committed; the network has committed {known}")]
    Commits {
        /// Up to where.
        to: usize,
        /// What the network has committed.
        known: usize,
    },
    /// Committed entries differ, or it takes back what it has committed.
    #[error("it has committed another entry at {0}, or takes it back")]
    Disagrees(usize),
    /// A primary counts on what a node has not.
    #[error(
        "it counts on {said} entries of a node that had {durable} of them on its disk in this view"
    )]
    Acknowledged {
        /// What it believes.
        said: usize,
        /// What is there.
        durable: usize,
    },
    /// It counts by another configuration than its log says.
    #[error("it counts by a configuration that is not the one after what it has committed")]
    Applies,
    /// It tells clients something else than the last signature among what is committed.
    #[error(
        "it calls {said} entries final; the last signature that is committed stands at {signed}"
    )]
    Final {
        /// What it says.
        said: usize,
        /// What it should say.
        signed: usize,
    },
}
