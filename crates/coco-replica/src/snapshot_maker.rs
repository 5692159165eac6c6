//! What the thread that makes snapshots does with its tasks, without its waiting: the driver brings the entries, and calls
//! [`SnapshotMaker::finish`] only once the ledger beside the snapshots holds the signature over its evidence. A file that
//! promises more than that ledger has would be refused after a crash.

use std::collections::VecDeque;

use coco_ledger::{FileError, Folder, LedgerSecrets, SnapshotEvidence, SnapshotName};
use coco_types::Digest;
use thiserror::Error;

use crate::{
    EvidenceReceiptError, FinishSnapshot, MakeSnapshot, MakeSnapshotError, SharedLedgerState,
    SnapshotFiles, Unfinished,
};

/// Snapshots that wait for evidence, at most: a primary on a slow disk gives it when its own is written, while others are
/// ahead.
pub const SNAPSHOTS_WAITING_MAX: usize = 4;

/// Makes the snapshots of one node.
#[derive(Debug)]
pub struct SnapshotMaker<F: Folder> {
    files: SnapshotFiles<F>,
    /// Those without evidence yet, oldest first.
    waiting: VecDeque<(SnapshotEvidence, Unfinished<F::File>)>,
}

/// A snapshot that is written down and waits for its evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MadeSnapshot {
    /// What the ledger should say of it.
    pub evidence: SnapshotEvidence,
    /// Bytes of its entry.
    pub bytes: usize,
}

/// What evidence means for the snapshots that wait.
#[derive(Debug)]
pub enum Claim<H> {
    /// It is of this one, which was made here.
    Own(Unfinished<H>),
    /// This node made one of the same seqno with another digest, which is dropped.
    Other {
        /// The digest.
        found: Digest,
    },
    /// None was made here.
    Nothing,
}

/// Why a snapshot is not written down.
#[derive(Debug, Error)]
pub enum WriteSnapshotError {
    /// The state makes none.
    #[error("the state is not written down")]
    Make(#[from] MakeSnapshotError),
    /// The file system refuses.
    #[error("the file is not written")]
    File(#[from] FileError),
}

/// Why a snapshot is not completed.
#[derive(Debug, Error)]
pub enum CompleteSnapshotError {
    /// The entries make no proof.
    #[error("the proof is not made")]
    Receipt(#[from] EvidenceReceiptError),
    /// The file system refuses.
    #[error("the file is not written")]
    File(#[from] FileError),
}

impl<F: Folder> SnapshotMaker<F> {
    /// One that has made none yet.
    #[must_use]
    pub const fn new(files: SnapshotFiles<F>) -> Self {
        Self { files, waiting: VecDeque::new() }
    }

    /// Writes a snapshot down, durable on return. `entry` is its signature entry. The oldest one that waits is dropped when
    /// there are more than [`SNAPSHOTS_WAITING_MAX`].
    ///
    /// # Errors
    /// [`WriteSnapshotError`]: then there is none of this entry.
    pub fn make(
        &mut self,
        make: MakeSnapshot,
        secrets: &LedgerSecrets,
        entry: &[u8],
    ) -> Result<MadeSnapshot, WriteSnapshotError> {
        let seqno = make.tx_id().seqno;
        let sealed = make.seal(secrets, entry)?;
        let unfinished = self.files.write(seqno, &sealed)?;
        let bytes = sealed.head.len() + sealed.sealed.len();
        let evidence = SnapshotEvidence { seqno, digest: sealed.digest };
        self.waiting.push_back((evidence, unfinished));
        if self.waiting.len() > SNAPSHOTS_WAITING_MAX
            && let Some((_, oldest)) = self.waiting.pop_front()
        {
            self.files.discard(oldest);
        }
        Ok(MadeSnapshot { evidence, bytes })
    }

    /// Takes out the snapshot that this evidence is of. The primary gives evidence in order: those before it get none any
    /// more, and are dropped.
    pub fn claim(&mut self, expected: &SnapshotEvidence) -> Claim<F::File> {
        let mut claim = Claim::Nothing;
        while let Some((made, unfinished)) =
            self.waiting.pop_front_if(|(made, _)| made.seqno <= expected.seqno)
        {
            if made == *expected {
                claim = Claim::Own(unfinished);
                continue;
            }
            if made.seqno == expected.seqno {
                claim = Claim::Other { found: made.digest };
            }
            self.files.discard(unfinished);
        }
        claim
    }

    /// Completes a snapshot: adds the proof, gives it its name, and removes the oldest.
    ///
    /// # Errors
    /// [`CompleteSnapshotError`].
    pub fn finish(
        &self,
        unfinished: Unfinished<F::File>,
        finish: &FinishSnapshot,
        secrets: &LedgerSecrets,
        state: &SharedLedgerState,
        [evidence, signature]: [&[u8]; 2],
    ) -> Result<SnapshotName, CompleteSnapshotError> {
        let name = finish.name();
        let proof = match finish.receipt(secrets, state, evidence, signature) {
            Ok(proof) => proof,
            Err(error) => {
                self.files.discard(unfinished);
                return Err(error.into());
            }
        };
        self.files.finish(unfinished, name, &proof)?;
        self.files.remove_old()?;
        Ok(name)
    }

    /// Drops one that was claimed and cannot be completed.
    pub fn discard(&self, unfinished: Unfinished<F::File>) {
        self.files.discard(unfinished);
    }

    /// How many wait for evidence.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }
}
