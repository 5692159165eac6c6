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
    /// Files are written and never synced.
    SyncNoFile,
    /// Files are made and renamed, and their folder is never synced.
    SyncNoFolder,
    /// Nodes start again as what they were, from disks that their host sets back.
    StartFromOldDisk,
    /// Snapshots are completed before the disk beside them has their evidence.
    CompleteBeforeSync,
    /// One of the crates under test has it. Can be planted in builds with the feature `planted` only.
    Inside(Bug),
}

/// Bugs around the code under test, each with the number of seeds, from zero on, within which it must be found.
pub const AROUND: [(Planted, u64); 9] = [
    (Planted::AcknowledgeBeforeSync, 10),
    (Planted::ForgetHardState, 200),
    (Planted::LieAboutSync, 20),
    (Planted::ReadUncommitted, 70),
    (Planted::SendInTheClear, 5),
    (Planted::SyncNoFile, 10),
    (Planted::SyncNoFolder, 10),
    (Planted::StartFromOldDisk, 40),
    (Planted::CompleteBeforeSync, 1_660),
];

/// Bugs inside of the code under test, as above.
pub const INSIDE: [(Bug, u64); coco_planted::ALL.len()] = [
    (Bug::AnswerBeforeSync, 20),
    (Bug::CountBeforeSync, 20),
    (Bug::ForgetVote, 700),
    (Bug::CommitOlderView, 40),
    (Bug::KeepVoidData, 80),
    (Bug::SkipJoint, 40),
    (Bug::ForgetTreeRollback, 20),
    (Bug::ForgetCut, 20),
    (Bug::CommitUnsigned, 5),
    (Bug::StatusBeforeCommit, 50),
    (Bug::StatusAfterView, 20),
    (Bug::TimeFollowsClock, 30),
    (Bug::EndChunkAnywhere, 40),
    (Bug::IgnoreRoom, 50),
    (Bug::ForgetPeriodRollback, 280),
    (Bug::SnapshotOfHead, 40),
    (Bug::SnapshotWithoutPrivate, 50),
    (Bug::ForgetEvidenceRollback, 1_300),
    (Bug::NameBeforeProof, 50),
    (Bug::BelieveAnyProof, 2_340),
    (Bug::KeepRemoved, 210),
    (Bug::SkipReadCheck, 10),
    (Bug::SkipRangeCheck, 30),
    (Bug::CompactTooFar, 20),
    (Bug::ForgetHistoryRollback, 5),
    (Bug::SealBySeqno, 300),
    (Bug::SignOlderRoot, 10),
    (Bug::ForgetEarlier, 20),
    (Bug::KeepNonce, 5),
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
            | Self::SendInTheClear
            | Self::SyncNoFile
            | Self::SyncNoFolder
            | Self::StartFromOldDisk
            | Self::CompleteBeforeSync => format!("{self:?}"),
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
