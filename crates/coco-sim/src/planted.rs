//! Known bugs, planted on purpose in the world around the replica and inside of it: a simulator that does not find them
//! proves nothing.

use std::panic;

use coco_planted::Bug;

use crate::{run_with, what_was_said};

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
    /// A client is told of the entry of another client's transfer.
    AnswerOfAnother,
    /// A node that is asked for a copy of its ledger gives one whose last entry is damaged.
    GiveDamagedCopy,
    /// Nodes start with the engine's own maxima in place of those that they were given.
    IgnoreLimits,
    /// One of the crates under test has it. Can be planted in builds with the feature `planted` only.
    Inside(Bug),
}

/// A bug that is known, and what the simulator must make of it.
#[derive(Clone, Copy, Debug)]
pub struct Known<B> {
    /// The bug.
    pub bug: B,
    /// The number of seeds, from zero on, within which it must be found.
    pub seeds: u64,
    /// How it shows: what the check that finds it says, one of these. Whatever else a run fails with did not find it.
    pub shows: &'static [&'static str],
}

const fn known<B: Copy>(bug: B, seeds: u64, shows: &'static [&'static str]) -> Known<B> {
    Known { bug, seeds, shows }
}

/// Bugs around the code under test.
pub const AROUND: [Known<Planted>; 12] = [
    known(
        Planted::AcknowledgeBeforeSync,
        10,
        &["on the disks of no majority", "agrees with its disk up to"],
    ),
    known(Planted::ForgetHardState, 200, &["a ballot that cannot follow the durable one"]),
    known(Planted::LieAboutSync, 20, &["agrees with its disk up to", "starts with less than"]),
    known(
        Planted::ReadUncommitted,
        70,
        &["a node showed a committed state that is no more", "a node shows what was"],
    ),
    known(Planted::SendInTheClear, 5, &["private bytes leave a node"]),
    known(
        Planted::SyncNoFile,
        10,
        &[
            "has lost what it acknowledged",
            "could not start again",
            "starts with less than",
            "does not start",
            "agrees with its disk up to",
        ],
    ),
    known(
        Planted::SyncNoFolder,
        10,
        &[
            "has lost what it acknowledged",
            "could not start again",
            "starts with less than",
            "does not start",
            "agrees with its disk up to",
        ],
    ),
    known(
        Planted::StartFromOldDisk,
        40,
        &["agrees with its disk up to", "a ballot that cannot follow the durable one"],
    ),
    known(Planted::CompleteBeforeSync, 660, &["its evidence is in"]),
    known(Planted::AnswerOfAnother, 20, &["was committed as"]),
    known(Planted::GiveDamagedCopy, 40, &["is refused: entry"]),
    known(Planted::IgnoreLimits, 10, &["at most"]),
];

/// Bugs inside of the code under test.
pub const INSIDE: [Known<Bug>; coco_planted::ALL.len()] = [
    known(
        Bug::AnswerBeforeSync,
        20,
        &["without durable votes of a quorum", "on the disks of no majority"],
    ),
    known(
        Bug::CountBeforeSync,
        20,
        &["entries for committed; the network has committed", "on the disks of no majority"],
    ),
    known(Bug::ForgetVote, 200, &["without durable votes of a quorum", "voted"]),
    known(
        Bug::CommitOlderView,
        40,
        &["entries for committed; the network has committed", "of which no quorum has an entry"],
    ),
    known(
        Bug::KeepVoidData,
        80,
        &["which does not continue what it has in the log of its primary"],
    ),
    known(Bug::SkipJoint, 40, &["the configuration of entry"]),
    known(
        Bug::ForgetTreeRollback,
        20,
        &[
            "own proposals come back as they were",
            "the tree has every entry",
            "another entry committed",
        ],
    ),
    known(Bug::ForgetCut, 20, &["has another entry committed at", "was never written like this"]),
    known(
        Bug::CommitUnsigned,
        5,
        &[
            "entries final; the last signature that is committed stands at",
            "commits what no signature covers",
        ],
    ),
    known(Bug::StatusBeforeCommit, 50, &["is final", "changes a verdict", "and has shown"]),
    known(Bug::StatusAfterView, 20, &["changes a verdict"]),
    known(Bug::TimeFollowsClock, 30, &["time runs backwards"]),
    known(Bug::EndChunkAnywhere, 40, &["which signs nothing"]),
    known(Bug::IgnoreRoom, 50, &["entries uncommitted", "bytes uncommitted"]),
    known(
        Bug::ForgetPeriodRollback,
        560,
        &["cannot be taken: Load(Open", "is sealed under", "has other secrets"],
    ),
    known(Bug::SnapshotOfHead, 40, &["makes another snapshot of"]),
    known(
        Bug::SnapshotWithoutPrivate,
        50,
        &["the state does not fit: the image has no index key", "the image has no"],
    ),
    known(Bug::ForgetEvidenceRollback, 1_300, &["commit evidence does not belong to the entry at"]),
    known(Bug::NameBeforeProof, 50, &["is not a COSE message of the form"]),
    known(Bug::BelieveAnyProof, 200, &["has another snapshot_"]),
    known(Bug::KeepRemoved, 210, &["not over"]),
    known(Bug::BelieveAnyEvidence, 400, &["is not to be believed"]),
    known(Bug::SkipReadCheck, 10, &["was committed after"]),
    known(Bug::SkipRangeCheck, 30, &["was committed after"]),
    known(Bug::CompactTooFar, 20, &["makes another snapshot of", "at version", "and needs"]),
    known(Bug::ForgetHistoryRollback, 5, &["was written, at version"]),
    known(Bug::SealBySeqno, 300, &["is sealed with the nonce of another entry"]),
    known(Bug::SignOlderRoot, 10, &["does not verify over the root"]),
    known(
        Bug::ForgetEarlier,
        20,
        &["a transfer in order is refused: nonce too low", "is executed twice"],
    ),
    known(Bug::KeepNonce, 5, &["not over"]),
];

/// All bugs that this build can plant.
pub fn all() -> impl Iterator<Item = Known<Planted>> {
    let inside = INSIDE.into_iter().filter(|_| coco_planted::COMPILED_IN);
    let inside =
        inside.map(|Known { bug, seeds, shows }| known(Planted::Inside(bug), seeds, shows));
    AROUND.into_iter().chain(inside)
}

impl Known<Planted> {
    /// Whether a run with it planted fails, and says what it must say.
    ///
    /// # Errors
    /// What it says instead.
    ///
    /// # Panics
    /// When this build cannot plant it.
    pub fn is_found_by(&self, seed: u64) -> Result<Option<String>, String> {
        let Err(why) = panic::catch_unwind(|| run_with(seed, Some(self.bug))) else {
            return Ok(None);
        };
        let said = what_was_said(why.as_ref());
        if self.shows.iter().any(|shows| said.contains(shows)) { Ok(Some(said)) } else { Err(said) }
    }
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
            | Self::CompleteBeforeSync
            | Self::AnswerOfAnother
            | Self::GiveDamagedCopy
            | Self::IgnoreLimits => format!("{self:?}"),
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
