//! What a node may do: the rules of consensus, each a plain function over plain values.
//!
//! They are written from the protocol and share no code with the engine. The model decides by them what its nodes do, the
//! checker of traces whether what a real node did was allowed; so what was exhausted is what runs are held against.
//!
//! Nodes are small numbers here. Positions count entries, the genesis entries included: position 0 is before the first.

use coco_types::{TxId, View};

/// Most identities of one run: every return of a node under a new identity takes one.
pub const IDENTITIES_MAX: usize = 256;

/// A set of nodes, by their numbers below [`IDENTITIES_MAX`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeSet([u128; 2]);

impl NodeSet {
    /// No node.
    pub const EMPTY: Self = Self([0; 2]);

    /// The set of these nodes.
    ///
    /// # Panics
    /// When a number is not below [`IDENTITIES_MAX`].
    #[must_use]
    pub fn of(nodes: impl IntoIterator<Item = usize>) -> Self {
        nodes.into_iter().fold(Self::EMPTY, Self::with)
    }

    /// This set and one more node.
    ///
    /// # Panics
    /// When the number is not below [`IDENTITIES_MAX`].
    #[must_use]
    pub fn with(mut self, node: usize) -> Self {
        self.0[node / 128] |= 1 << (node % 128);
        self
    }

    /// This set without a node.
    ///
    /// # Panics
    /// When the number is not below [`IDENTITIES_MAX`].
    #[must_use]
    pub fn without(mut self, node: usize) -> Self {
        self.0[node / 128] &= !(1 << (node % 128));
        self
    }

    /// Whether a node is in it.
    #[must_use]
    pub fn has(&self, node: usize) -> bool {
        self.0.get(node / 128).is_some_and(|part| part >> (node % 128) & 1 == 1)
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> u32 {
        self.0[0].count_ones() + self.0[1].count_ones()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Those that are in both.
    #[must_use]
    pub const fn and(&self, other: &Self) -> Self {
        Self([self.0[0] & other.0[0], self.0[1] & other.0[1]])
    }

    /// Those that are in one of the two only.
    #[must_use]
    pub const fn apart(&self, other: &Self) -> Self {
        Self([self.0[0] ^ other.0[0], self.0[1] ^ other.0[1]])
    }

    /// Whether more than half of this set are among `some`.
    #[must_use]
    pub const fn has_majority_in(&self, some: &Self) -> bool {
        self.and(some).len() * 2 > self.len()
    }
}

/// Who votes, and who only follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Configuration {
    /// Who votes.
    pub voters: NodeSet,
    /// Who is sent the log and does not count.
    pub learners: NodeSet,
}

/// What counts on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Active {
    /// The newest configuration that this node knows to be committed.
    pub now: Configuration,
    /// In the joint state: the voters before. A majority of them is needed as well.
    pub outgoing: Option<NodeSet>,
}

/// What an entry is to consensus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The first entry of a view, made by its primary.
    Opening,
    /// Whatever a client wants.
    Client,
    /// The root of all before it, signed.
    Signature,
    /// Says that the newest configuration before it is in effect.
    InEffect,
    /// A new configuration.
    Reconfigure(Configuration),
    /// The end of a joint state.
    Leave,
}

/// A node's view and its vote in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ballot {
    /// The newest view in which it takes part.
    pub view: View,
    /// For whom it voted in that view.
    pub vote: Option<usize>,
}

impl Active {
    /// What counts from the start.
    #[must_use]
    pub const fn new(now: Configuration) -> Self {
        Self { now, outgoing: None }
    }

    /// What counts after an entry is known to be committed. Learners, and a change of one voter, take effect at once: every
    /// majority before and every majority after have a node in common. More voters at a time need the joint state.
    #[must_use]
    pub const fn after(self, kind: Kind) -> Self {
        match kind {
            Kind::Reconfigure(next) if self.now.voters.apart(&next.voters).len() <= 1 => {
                Self { now: next, outgoing: None }
            }
            Kind::Reconfigure(next) => Self { now: next, outgoing: Some(self.now.voters) },
            Kind::Leave => Self { now: self.now, outgoing: None },
            Kind::Opening | Kind::Client | Kind::Signature | Kind::InEffect => self,
        }
    }

    /// What counts once all of `committed` is known to be committed.
    #[must_use]
    pub fn after_all(self, committed: impl IntoIterator<Item = Kind>) -> Self {
        committed.into_iter().fold(self, Self::after)
    }

    /// Whether `some` decide: a majority of every configuration that is in force.
    #[must_use]
    pub fn is_quorum(&self, some: &NodeSet) -> bool {
        self.now.voters.has_majority_in(some)
            && self.outgoing.is_none_or(|voters| voters.has_majority_in(some))
    }

    /// Whether a node may stand for election.
    #[must_use]
    pub fn has_voter(&self, node: usize) -> bool {
        self.now.voters.has(node) || self.outgoing.is_some_and(|voters| voters.has(node))
    }

    /// Whether a primary sends its log to a node.
    #[must_use]
    pub fn has_member(&self, node: usize) -> bool {
        self.has_voter(node) || self.now.learners.has(node)
    }

    /// Whether the joint state is to be left.
    #[must_use]
    pub const fn is_joint(&self) -> bool {
        self.outgoing.is_some()
    }
}

impl Kind {
    /// Whether it changes who counts.
    #[must_use]
    pub const fn changes_configuration(self) -> bool {
        matches!(self, Self::Reconfigure(_) | Self::Leave)
    }
}

/// Whether a node's ballot may become this one: views only grow, and there is one vote in each.
#[must_use]
pub fn may_become(own: Ballot, next: Ballot) -> bool {
    next.view > own.view || (next.view == own.view && (own.vote.is_none() || own.vote == next.vote))
}

/// Whether a node may vote for a candidate by what their logs end with.
#[must_use]
pub fn is_up_to_date(candidate: TxId, own: TxId) -> bool {
    candidate >= own
}

/// Whether the primary of `view` may commit up to an entry of `entry_view` that `durable_on` have on their disks.
#[must_use]
pub fn may_commit(view: View, entry_view: View, active: &Active, durable_on: &NodeSet) -> bool {
    entry_view == view && active.is_quorum(durable_on)
}

/// Whether a node may cut its log: nothing that it knows to be committed, and only before an entry that is another one
/// in the log of its primary.
#[must_use]
pub fn may_truncate(to: usize, committed: usize, conflicts: bool) -> bool {
    to >= committed && conflicts
}

/// Up to which position two logs agree.
#[must_use]
pub fn agreed<E: PartialEq>(one: &[E], other: &[E]) -> usize {
    one.iter().zip(other).take_while(|(one, other)| one == other).count()
}

/// Whether the primary of `view` may append a new configuration: it has committed an entry of its own view, and no change
/// waits to be committed or to be left.
#[must_use]
pub fn may_reconfigure(
    view: View,
    committed_view: View,
    active: &Active,
    uncommitted: impl IntoIterator<Item = Kind>,
) -> bool {
    committed_view == view
        && !active.is_joint()
        && !uncommitted.into_iter().any(Kind::changes_configuration)
}

/// Whether a primary may say that the newest configuration is in effect: it counts by it, and it is none that is to be left.
#[must_use]
pub fn may_say_in_effect(active: &Active, uncommitted: impl IntoIterator<Item = Kind>) -> bool {
    !active.is_joint() && !uncommitted.into_iter().any(Kind::changes_configuration)
}

/// Whether a primary may append the end of the joint state: it is in it, and no end of it waits to be committed.
#[must_use]
pub fn may_leave(active: &Active, uncommitted: impl IntoIterator<Item = Kind>) -> bool {
    active.is_joint() && !uncommitted.into_iter().any(Kind::changes_configuration)
}

/// What a log itself says to be committed: a change of configuration is, once another one stands above it, since a primary
/// appends that only when it has committed the one before.
///
/// A node that forgets what is committed when it starts again must not forget this: it would count by voters who are no
/// more, beside those who are.
#[must_use]
pub fn implied_commit(log: impl IntoIterator<Item = Kind>) -> usize {
    let changes = log.into_iter().zip(1..).filter(|(kind, _)| kind.changes_configuration());
    let (before, _) = changes.fold((0, 0), |(_, last), (_, position)| (last, position));
    before
}

/// What a log that a node starts from says to be committed: a change of configuration is, too, once a primary said above it
/// that it is in effect.
///
/// A node that runs hears soon what is committed. One that starts again may have lost whom it would have to ask, when it
/// counted by the voters before.
#[must_use]
pub fn committed_at_start(log: impl IntoIterator<Item = Kind> + Clone) -> usize {
    let implied = implied_commit(log.clone());
    let said =
        log.into_iter().zip(1..).fold((0, 0), |(said, change), (kind, position)| match kind {
            Kind::InEffect => (change, change),
            _ if kind.changes_configuration() => (said, position),
            _ => (said, change),
        });
    implied.max(said.0)
}

/// What is final for clients: up to the last signature among what is committed.
#[must_use]
pub fn service_commit(committed: impl IntoIterator<Item = Kind>) -> usize {
    let signatures = committed.into_iter().zip(1..).filter(|(kind, _)| *kind == Kind::Signature);
    signatures.last().map_or(0, |(_, position)| position)
}
