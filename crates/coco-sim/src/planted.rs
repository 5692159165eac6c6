//! Known bugs, planted on purpose in the world around the replica and inside of it: a simulator that does not find them
//! proves nothing.

use coco_planted::Bug;

/// A bug of a driver, a disk, a reader, or of the code under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    /// Writes are reported as durable when they are handed to the disk.
    AcknowledgeBeforeSync,
    /// A crash makes a node forget its view and whom it voted for.
    ForgetHardState,
    /// A disk loses in a crash what it had reported as durable.
    LieAboutSync,
    /// Reads show what is executed, and call it committed.
    ReadUncommitted,
    /// A node sends what it holds in the clear.
    SendInTheClear,
    /// One of the crates under test has it. Can be planted in builds with the feature `planted` only.
    Inside(Bug),
}

/// Bugs around the code under test, each with the number of seeds, from zero on, within which it must be found.
pub const AROUND: [(Planted, u64); 5] = [
    (Planted::AcknowledgeBeforeSync, 40),
    (Planted::ForgetHardState, 2000),
    (Planted::LieAboutSync, 40),
    (Planted::ReadUncommitted, 40),
    (Planted::SendInTheClear, 5),
];

/// Bugs inside of the code under test, as above.
pub const INSIDE: [(Bug, u64); coco_planted::ALL.len()] = [
    (Bug::AnswerBeforeSync, 2000),
    (Bug::CountBeforeSync, 2000),
    (Bug::ForgetVote, 2000),
    (Bug::CommitOlderView, 2000),
    (Bug::KeepVoidData, 2000),
    (Bug::ForgetTreeRollback, 2000),
    (Bug::ForgetCut, 2000),
    (Bug::CommitUnsigned, 2000),
    (Bug::StatusBeforeCommit, 2000),
    (Bug::StatusAfterView, 2000),
    (Bug::TimeFollowsClock, 2000),
    (Bug::ProposeBeforeViewDurable, 2000),
    (Bug::EndChunkAnywhere, 2000),
    (Bug::IgnoreRoom, 2000),
    (Bug::SkipReadCheck, 2000),
    (Bug::SkipRangeCheck, 2000),
    (Bug::CompactTooFar, 2000),
    (Bug::ForgetHistoryRollback, 2000),
    (Bug::SealBySeqno, 2000),
    (Bug::SignOlderRoot, 2000),
    (Bug::ForgetEarlier, 2000),
    (Bug::KeepNonce, 2000),
];

/// All bugs that this build can plant.
pub fn all() -> impl Iterator<Item = (Planted, u64)> {
    let inside = INSIDE.into_iter().filter(|_| coco_planted::COMPILED_IN);
    AROUND.into_iter().chain(inside.map(|(bug, seeds)| (Planted::Inside(bug), seeds)))
}

impl Planted {
    /// Its name on command lines.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::Inside(bug) => format!("{bug:?}"),
            Self::AcknowledgeBeforeSync
            | Self::ForgetHardState
            | Self::LieAboutSync
            | Self::ReadUncommitted
            | Self::SendInTheClear => format!("{self:?}"),
        }
    }
}

/// Plants a bug in what runs on this thread, if it is one inside of the code under test; else takes out what is there.
///
/// # Panics
/// When this build cannot plant it.
#[cfg(feature = "planted")]
pub(crate) fn plant(planted: Option<Planted>) {
    let inside = match planted {
        Some(Planted::Inside(bug)) => Some(bug),
        _ => None,
    };
    coco_planted::plant(inside);
}

/// As above; this build can plant nothing there.
#[cfg(not(feature = "planted"))]
pub(crate) fn plant(planted: Option<Planted>) {
    let is_inside = matches!(planted, Some(Planted::Inside(_)));
    assert!(!is_inside, "this build has no bugs inside: build it with --features planted");
}
