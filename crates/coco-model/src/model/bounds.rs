//! How much of the world is looked at, and what may be wrong with it.

use super::state::{LOG_MAX, VIEWS_MAX};

/// As whom a node comes back after a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Returns {
    /// As nobody that has voted or acknowledged anything: under a new identity, with any earlier part of its ledger, as a
    /// learner that the others add and later make a voter in the place of the one that crashed.
    AsAnother,
    /// As itself, from a disk that keeps what it was given.
    AsItself,
    /// As itself, from a disk that its host has set back.
    RolledBack,
}

/// How much there is of everything. Counts of entries are those in one log.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// The newest view; elections are for the views from 2 on.
    pub views: u8,
    /// Longest log, the first entry included.
    pub log: usize,
    /// Entries of clients.
    pub clients: usize,
    /// Signatures beside the first.
    pub signatures: usize,
    /// Changes of one voter, and of two.
    pub changes: Changes,
    /// Crashes.
    pub crashes: u8,
    /// As whom a node comes back from one.
    pub returns: Returns,
}

/// How many entries of one log may change who votes, the ends of joint states not counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Changes {
    /// The spare becomes a learner.
    pub learners: usize,
    /// A voter more or a voter less.
    pub singles: usize,
    /// A voter in the place of another.
    pub swaps: usize,
}

/// A rule that nodes break, to see that the model notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A node acknowledges what its disk has not yet.
    AcknowledgeBeforeDurable,
    /// A primary commits entries of earlier views by counting who has them.
    CommitEarlierView,
    /// A node votes twice in a view.
    VoteTwice,
    /// A node votes for candidates whose logs are behind its own.
    VoteForShorterLog,
    /// A node commits what it has, not only what agrees with its primary's log.
    CommitUnverified,
    /// In the joint state only the old voters are counted.
    CountOldVotersOnly,
    /// A primary changes the configuration while a change is pending.
    ChangeWhilePending,
    /// A node that starts again counts by the first configuration until it hears more, whatever its log says.
    ForgetConfiguration,
    /// A primary says that a configuration is in effect while it is pending.
    SayPending,
    /// A node calls final what no signature covers.
    CommitUnsigned,
}

/// Nobody changes the configuration.
const FIXED: Changes = Changes { learners: 0, singles: 0, swaps: 0 };
/// A voter more or less, once.
const SINGLE: Changes = Changes { singles: 1, ..FIXED };
/// A voter in the place of another, once.
const SWAP: Changes = Changes { swaps: 1, ..FIXED };
/// The same, by way of a learner.
const SUCCESSION: Changes = Changes { learners: 1, ..SWAP };

/// A start for the others: three views, two of which have elections.
const PLAIN: Bounds = Bounds {
    views: 3,
    log: 5,
    clients: 1,
    signatures: 1,
    changes: FIXED,
    crashes: 0,
    returns: Returns::AsItself,
};

/// What is exhausted in every run of `ci`: each with its name.
pub const SMALL: [(&str, Bounds); 5] = [
    ("elections", Bounds { views: 4, signatures: 0, ..PLAIN }),
    ("restart from an honest disk", Bounds { crashes: 1, ..PLAIN }),
    (
        "a voter more or less",
        Bounds { clients: 0, signatures: 0, changes: SINGLE, crashes: 1, ..PLAIN },
    ),
    ("a voter for another", Bounds { clients: 0, signatures: 0, changes: SWAP, ..PLAIN }),
    (
        "a disk set back, return as another",
        Bounds {
            log: 6,
            signatures: 0,
            changes: SUCCESSION,
            crashes: 1,
            returns: Returns::AsAnother,
            ..PLAIN
        },
    ),
];

/// What is exhausted when there is time.
pub const LARGE: [(&str, Bounds); 5] = [
    ("elections", Bounds { views: 5, log: 6, signatures: 0, ..PLAIN }),
    ("restart from an honest disk", Bounds { log: 6, clients: 2, crashes: 2, ..PLAIN }),
    (
        "a voter more or less, twice",
        Bounds {
            log: 6,
            clients: 0,
            signatures: 0,
            changes: Changes { singles: 2, ..FIXED },
            crashes: 1,
            ..PLAIN
        },
    ),
    ("a voter for another", Bounds { log: 6, signatures: 0, changes: SWAP, crashes: 1, ..PLAIN }),
    (
        "a disk set back, return as another",
        Bounds {
            log: 7,
            clients: 2,
            changes: SUCCESSION,
            crashes: 1,
            returns: Returns::AsAnother,
            ..PLAIN
        },
    ),
];

impl Bounds {
    /// Whether a joint state can come about.
    #[must_use]
    pub const fn is_joint_reachable(&self) -> bool {
        self.changes.swaps > 0
            && (self.changes.learners > 0 || !matches!(self.returns, Returns::AsAnother))
    }

    /// Whether the arrays have room for it.
    #[must_use]
    pub const fn fits(&self) -> bool {
        self.views as usize <= VIEWS_MAX && self.log <= LOG_MAX
    }
}

impl Changes {
    /// Whether there is any.
    #[must_use]
    pub const fn is_some(&self) -> bool {
        self.learners + self.singles + self.swaps > 0
    }
}
