//! What the model's world looks like at one moment, as small as can be: millions of these are compared.

use std::fmt;

use coco_types::{TxId, View};

use crate::rules::{
    Active, Ballot, Configuration, Kind, agreed, committed_at_start, implied_commit,
};

/// Nodes at the start, which vote.
pub const FOUNDERS: usize = 3;
/// Identities in all: the founders and one that may join.
pub const NODES: usize = FOUNDERS + 1;
/// The one that may join.
pub const SPARE: usize = FOUNDERS;
/// Longest log.
pub const LOG_MAX: usize = 8;
/// The view of the first entry, which has no primary.
pub const FIRST_VIEW: u8 = 1;
/// The newest view that any bound allows.
pub const VIEWS_MAX: usize = 5;

/// An entry's kind, as the model names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// Opens a view.
    Opening,
    /// A client's.
    Client,
    /// Signs what is before it.
    Signature,
    /// Says that the newest change of the configuration is in effect.
    InEffect,
    /// Ends the joint state.
    Leave,
    /// Makes the spare a learner.
    AddLearner,
    /// Makes the spare a voter beside all others: a change of one voter.
    Promote,
    /// Takes a founder out: a change of one voter.
    Remove(u8),
    /// Makes the spare a voter in the place of a founder: a joint change.
    Swap(u8),
}

/// One entry: its view and its code in a byte, which is zero behind the end of a log.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Entry(u8);

/// A log.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Log {
    len: u8,
    entries: [Entry; LOG_MAX],
}

/// A node's part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Does not exist: not yet, or never again.
    #[default]
    Gone,
    /// Follows.
    Backup,
    /// Asks for votes.
    Candidate,
    /// Proposes.
    Primary,
}

/// One identity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Node {
    /// Its part.
    pub role: Role,
    /// The newest view in which it takes part; durable before it says anything in it.
    pub view: u8,
    /// For whom it voted in that view, plus one.
    pub vote: u8,
    /// What it knows to be committed.
    pub commit: u8,
    /// Its log.
    pub log: Log,
    /// How much of it is on its disk for sure: what it has acknowledged.
    pub durable: u8,
    /// As a candidate: who voted for it, a bit for each.
    pub votes: u8,
    /// As a primary: up to where each node said that it has its log on disk.
    pub acked: [u8; NODES],
}

/// What the primary of a view has said. It may be heard at any later time, any number of times, in any order, or never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Said {
    /// Whether the view has had a primary.
    pub has_primary: bool,
    /// Its log, as long as it ever was in this view.
    pub log: Log,
    /// What it knew to be committed at last.
    pub commit: u8,
}

/// Promises that were broken, a bit for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Broken(pub u8);

impl Broken {
    /// A view had two primaries, or one twice.
    pub const TWO_PRIMARIES: Self = Self(1);
    /// A primary of a newer view has not everything that is committed.
    pub const LOST: Self = Self(2);
    /// Two entries are committed at one position.
    pub const DISAGREE: Self = Self(4);
    /// A node cut what it knew to be committed.
    pub const CUT: Self = Self(8);

    /// Notes a promise as broken.
    pub const fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// Whether a promise is broken.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// The world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct State {
    /// All identities.
    pub nodes: [Node; NODES],
    /// By view.
    pub said: [Said; VIEWS_MAX + 1],
    /// What the network has ever committed: nobody in it knows this.
    pub committed: Log,
    /// The newest view in which something was committed.
    pub committed_in: u8,
    /// Crashes so far.
    pub crashes: u8,
    /// What went wrong.
    pub broken: Broken,
}

impl Code {
    /// What the rules call it, above a log after which `before` is the configuration.
    #[must_use]
    pub fn kind(self, before: Configuration) -> Kind {
        let Configuration { voters, learners } = before;
        let with_spare = voters.with(SPARE);
        match self {
            Self::Client => Kind::Client,
            Self::Opening => Kind::Opening,
            Self::Signature => Kind::Signature,
            Self::InEffect => Kind::InEffect,
            Self::Leave => Kind::Leave,
            Self::AddLearner => {
                Kind::Reconfigure(Configuration { voters, learners: learners.with(SPARE) })
            }
            Self::Promote => Kind::Reconfigure(Configuration {
                voters: with_spare,
                learners: learners.without(SPARE),
            }),
            Self::Remove(node) => Kind::Reconfigure(Configuration {
                voters: voters.without(usize::from(node)),
                learners,
            }),
            Self::Swap(node) => Kind::Reconfigure(Configuration {
                voters: with_spare.without(usize::from(node)),
                learners: learners.without(SPARE),
            }),
        }
    }

    const fn number(self) -> u8 {
        match self {
            Self::Opening => 0,
            Self::Client => 1,
            Self::Signature => 2,
            Self::InEffect => 3,
            Self::Leave => 4,
            Self::AddLearner => 5,
            Self::Promote => 6,
            Self::Remove(node) => 7 + node,
            Self::Swap(node) => 10 + node,
        }
    }
}

impl Entry {
    const CODES: u8 = 16;

    /// An entry of a view.
    #[must_use]
    pub const fn new(view: u8, code: Code) -> Self {
        Self(view * Self::CODES + code.number())
    }

    /// The view whose primary made it.
    #[must_use]
    pub const fn view(self) -> u8 {
        self.0 / Self::CODES
    }

    /// What it is.
    ///
    /// # Panics
    /// Never: only [`Self::new`] makes entries.
    #[must_use]
    pub const fn code(self) -> Code {
        match self.0 % Self::CODES {
            0 => Code::Opening,
            1 => Code::Client,
            2 => Code::Signature,
            3 => Code::InEffect,
            4 => Code::Leave,
            5 => Code::AddLearner,
            6 => Code::Promote,
            number @ 7..=9 => Code::Remove(number - 7),
            number @ 10..=12 => Code::Swap(number - 10),
            13.. => panic!("no code has this number"),
        }
    }

    /// Whether it changes who counts.
    #[must_use]
    pub const fn changes_configuration(self) -> bool {
        self.0 % Self::CODES >= Code::Leave.number()
    }

    fn bare_kind(self) -> Kind {
        self.code().kind(Configuration::default())
    }
}

impl Log {
    /// The log that all founders begin with: one signed entry.
    #[must_use]
    pub fn first() -> Self {
        let mut log = Self::default();
        log.push(Entry::new(FIRST_VIEW, Code::Signature));
        log
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The entries.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries[..self.len()]
    }

    /// The entry at a position, from 1.
    #[must_use]
    pub fn at(&self, position: usize) -> Option<Entry> {
        self.entries().get(position.checked_sub(1)?).copied()
    }

    /// Whether the entry at a position changes who counts.
    #[must_use]
    pub fn changes_configuration_at(&self, position: usize) -> bool {
        self.at(position).is_some_and(Entry::changes_configuration)
    }

    /// Adds an entry.
    ///
    /// # Panics
    /// When it is full: bounds leave room.
    pub fn push(&mut self, entry: Entry) {
        self.entries[self.len()] = entry;
        self.len += 1;
    }

    /// The first entries of it.
    #[must_use]
    pub fn prefix(&self, len: usize) -> Self {
        let mut log = Self::default();
        self.entries().iter().take(len).for_each(|entry| log.push(*entry));
        log
    }

    /// The name of the last entry.
    #[must_use]
    pub fn last(&self) -> TxId {
        let view = self.entries().last().map_or(0, |entry| entry.view());
        TxId::new(u64::from(view), u64::from(self.len))
    }

    /// Up to where it agrees with another one.
    #[must_use]
    pub fn agreed(&self, other: &Self) -> usize {
        agreed(self.entries(), other.entries())
    }

    /// Whether one of the two begins with the other.
    #[must_use]
    pub fn is_in_line_with(&self, other: &Self) -> bool {
        self.agreed(other) == self.len().min(other.len())
    }

    /// What it says itself to be committed.
    #[must_use]
    pub fn implied_commit(&self) -> usize {
        implied_commit(self.kinds())
    }

    /// What it says so to a node that starts.
    #[must_use]
    pub fn committed_at_start(&self) -> usize {
        committed_at_start(self.kinds())
    }

    /// Whether the last entry that changed who votes, or said that this is in effect, is a change.
    #[must_use]
    pub fn has_more_to_say(&self) -> bool {
        let about = |code: &Code| {
            matches!(code, Code::InEffect | Code::Leave | Code::Promote | Code::Remove(_))
        };
        let mut codes = self.entries().iter().rev().map(|entry| entry.code());
        codes.find(about).is_some_and(|code| code != Code::InEffect)
    }

    /// The kinds of its entries, but for what configurations hold.
    pub fn kinds(&self) -> impl Iterator<Item = Kind> + Clone {
        self.entries().iter().map(|entry| entry.bare_kind())
    }

    /// How many entries there are of a kind.
    #[must_use]
    pub fn count(&self, is_kind: impl Fn(Code) -> bool) -> usize {
        self.entries().iter().filter(|entry| is_kind(entry.code())).count()
    }

    /// What counts once the first entries are known to be committed.
    #[must_use]
    pub fn active(&self, first: Active, committed: usize) -> Active {
        let committed = self.entries().iter().take(committed);
        let changes = committed.filter(|entry| entry.changes_configuration());
        changes.fold(first, |active, entry| active.after(entry.code().kind(active.now)))
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}@{}", self.code(), self.view())
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.entries()).finish()
    }
}

impl Node {
    /// A node with this log on its disk, and no vote.
    #[must_use]
    pub fn with_log(log: Log) -> Self {
        let view = log.entries().last().map_or(0, |entry| entry.view());
        let commit = small(log.committed_at_start().max(1));
        Self { role: Role::Backup, view, commit, log, durable: log.len, ..Self::default() }
    }

    /// Its ballot, for the rules.
    #[must_use]
    pub fn ballot(&self) -> Ballot {
        let vote = usize::from(self.vote).checked_sub(1);
        Ballot { view: View(u64::from(self.view)), vote }
    }

    /// What it knows to be committed.
    #[must_use]
    pub fn committed(&self) -> Log {
        self.log.prefix(usize::from(self.commit))
    }

    /// Follows from now on, with nothing remembered of another part.
    pub const fn follow(&mut self) {
        self.role = Role::Backup;
        self.votes = 0;
        self.acked = [0; NODES];
    }
}

/// A small count as it is kept.
///
/// # Panics
/// Never: logs are short.
#[must_use]
pub(super) fn small(count: usize) -> u8 {
    u8::try_from(count).expect("logs are short")
}
