//! Known bugs, planted on purpose: a simulator that does not find them proves nothing.
//!
//! The code under test asks at the place of each bug whether it is planted: `if coco_planted::is(Bug::CommitUnsigned)`.
//! Without the feature `planted` the answer is a constant `false` and the compiler drops the branch. Only `coco-sim` has a
//! feature that turns it on, and the binary refuses to be built with it; so no build of something that ships holds a bug
//! from here, whatever else is built beside it.
//!
//! With the feature, a bug is planted for the thread that calls `plant`, since a simulated world lives in one thread.

#[cfg(feature = "planted")]
mod planted;

#[cfg(feature = "planted")]
pub use planted::{is, plant};

/// Whether bugs can be planted in this build. What ships asserts that it is not so.
pub const COMPILED_IN: bool = cfg!(feature = "planted");

/// Whether this bug is planted in the present thread: never, in this build.
#[cfg(not(feature = "planted"))]
#[must_use]
pub const fn is(_: Bug) -> bool {
    false
}

/// A bug, named after what the code then does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bug {
    /// `coco-consensus`: acknowledgements and votes leave before the disk has what they promise.
    AnswerBeforeSync,
    /// `coco-consensus`: a primary counts its own disk before that has the entry.
    CountBeforeSync,
    /// `coco-consensus`: the vote is not made durable, only the view.
    ForgetVote,
    /// `coco-consensus`: an entry of an earlier view is committed because a quorum has it.
    CommitOlderView,
    /// `coco-consensus`: data of voided entries stays in the window, under positions that others take.
    KeepVoidData,
    /// `coco-consensus`: a configuration in which more than one voter changes follows without a joint one between.
    SkipJoint,
    /// `coco-replica`: the Merkle tree is not rolled back.
    ForgetTreeRollback,
    /// `coco-replica`: the disk is not told to cut what was rolled back.
    ForgetCut,
    /// `coco-replica`: what a quorum has is committed, whether a signature covers it or not.
    CommitUnsigned,
    /// `coco-replica`: an entry that is here is called committed.
    StatusBeforeCommit,
    /// `coco-replica`: what was begun in an earlier view than the node's own is called invalid.
    StatusAfterView,
    /// `coco-replica`: batches get the wall clock as it is.
    TimeFollowsClock,
    /// `coco-replica`: a chunk ends with any entry.
    EndChunkAnywhere,
    /// `coco-replica`: execution goes on however much is uncommitted.
    IgnoreRoom,
    /// `coco-replica`: a ledger secret stays when the entry that named it is rolled back.
    ForgetPeriodRollback,
    /// `coco-replica`: a snapshot is of the newest entry, committed or not.
    SnapshotOfHead,
    /// `coco-replica`: a snapshot is made without the private maps.
    SnapshotWithoutPrivate,
    /// `coco-replica`: evidence of a snapshot that was rolled back still counts.
    ForgetEvidenceRollback,
    /// `coco-replica`: a snapshot gets its name before its proof is durable.
    NameBeforeProof,
    /// `coco-ledger`: a snapshot is believed whoever signed its proof.
    BelieveAnyProof,
    /// `coco-replica`: a node that members removed keeps its vote.
    KeepRemoved,
    /// `coco-replica`: what a node shows is believed whatever it binds.
    BelieveAnyEvidence,
    /// `coco-kv`: what a transaction read may have been written since.
    SkipReadCheck,
    /// `coco-kv`: ranges that a transaction read may have been written since.
    SkipRangeCheck,
    /// `coco-kv`: compaction drops one version too many.
    CompactTooFar,
    /// `coco-kv`: a rollback leaves the index of history maps as it is.
    ForgetHistoryRollback,
    /// `coco-ledger`: the nonce of a seal is the seqno alone.
    SealBySeqno,
    /// `coco-ledger`: the service signs the root without the last entry.
    SignOlderRoot,
    /// `coco-evm`: a transaction that was executed before is a stranger.
    ForgetEarlier,
    /// `coco-evm`: executing a transaction does not use up its nonce.
    KeepNonce,
}

/// All of them.
pub const ALL: [Bug; 30] = [
    Bug::AnswerBeforeSync,
    Bug::CountBeforeSync,
    Bug::ForgetVote,
    Bug::CommitOlderView,
    Bug::KeepVoidData,
    Bug::SkipJoint,
    Bug::ForgetTreeRollback,
    Bug::ForgetCut,
    Bug::CommitUnsigned,
    Bug::StatusBeforeCommit,
    Bug::StatusAfterView,
    Bug::TimeFollowsClock,
    Bug::EndChunkAnywhere,
    Bug::IgnoreRoom,
    Bug::ForgetPeriodRollback,
    Bug::SnapshotOfHead,
    Bug::SnapshotWithoutPrivate,
    Bug::ForgetEvidenceRollback,
    Bug::NameBeforeProof,
    Bug::BelieveAnyProof,
    Bug::KeepRemoved,
    Bug::BelieveAnyEvidence,
    Bug::SkipReadCheck,
    Bug::SkipRangeCheck,
    Bug::CompactTooFar,
    Bug::ForgetHistoryRollback,
    Bug::SealBySeqno,
    Bug::SignOlderRoot,
    Bug::ForgetEarlier,
    Bug::KeepNonce,
];
