//! The copies of a ledger from which a service may come back, and what whoever reads them finds.

use std::str::FromStr;

use bytes::Bytes;
use coco_crypto::Certificate;
use coco_ledger::{
    ChunkName, EntryView, Folder as _, LedgerFault, LedgerFiles, SnapshotName, VerifiedReceipt,
};
use coco_replica::{Reach, RecoverLedgerError};
use coco_types::{Seqno, TxId};

use super::reborn::Reborn;
use crate::{
    dice::Dice,
    folder::SimFolder,
    machine::{Machine, SNAPSHOT_FOLDER, in_full, index, replay_to, tx_id},
    marks::Marks,
    world::disaster::Remains,
};

/// Where a copy comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum From {
    /// There are the disks of all nodes.
    AllDisks,
    /// There are some of them.
    SomeDisks,
    /// There is what a node had some time before.
    Backup,
    /// The service that is lost had one node.
    OnlyDisk,
}

/// A copy.
#[derive(Debug)]
pub(super) struct Copy {
    folder: SimFolder,
    /// Of what is on this disk its node has said that it is durable, up to this signature.
    promised: Seqno,
    /// And up to this entry.
    durable: Seqno,
    /// Something befell it.
    may_lack: bool,
    /// What it was before its first chunks were left out; a snapshot stands for them.
    whole: Option<SimFolder>,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Copies {
    pub(super) from: From,
    copies: Vec<Copy>,
}

/// What the best of them comes to.
#[derive(Debug)]
pub(super) struct Best {
    pub(super) reach: Reach<SimFolder>,
    /// The entries up to its last signature; up to a snapshot those that were committed.
    pub(super) entries: Vec<Bytes>,
}

impl Best {
    /// All entries of a ledger that was made of it.
    pub(super) fn all_entries(&self, folder: &SimFolder) -> Vec<Bytes> {
        let base = self.reach.snapshot.map_or(Seqno::ZERO, |name| name.seqno);
        entries(folder, &self.entries[..index(base)], Seqno(u64::from(u32::MAX)))
    }

    /// The same from what a recovery left that was begun with this and never opened. Whoever names that one as the service that
    /// was lost is refused, since its members have no shares of it; who names the one before it has what there was.
    ///
    /// # Panics
    /// When it is otherwise.
    pub(super) fn of_unopened(&self, unopened: &Reborn, previous: &Certificate) -> Self {
        let copy = Copy::of_reborn(unopened);
        let own = unopened.keys.certificate().expect("it is real");
        match copy.reach(own, &[]) {
            Err(RecoverLedgerError::NotOpen(_)) => {}
            Err(error) => panic!("what never opened is refused for: {}", in_full(&error)),
            Ok(reach) => panic!("what never opened can be brought back up to {}", reach.signed),
        }
        let reach = copy.reach(previous, &[]);
        let reach = reach.unwrap_or_else(|error| panic!("it is refused: {}", in_full(&error)));
        assert_eq!(reach.signed, self.reach.signed, "it goes as far as the copy of before");
        assert_eq!(reach.services_after, 1, "what never opened is left out");
        let entries = copy.entries(&reach, &self.entries);
        assert!(entries == self.entries, "it holds what the copy of before holds");
        Self { reach, entries }
    }
}

impl Copy {
    fn of(machine: &Machine) -> Self {
        let is_signature =
            |entry: &&Bytes| EntryView::parse(entry).is_ok_and(|entry| entry.is_signature());
        let signed = machine.disk.entries.iter().rfind(is_signature);
        Self {
            promised: signed.map_or(Seqno::ZERO, |entry| tx_id(entry).seqno),
            durable: Seqno(machine.disk.entries.len() as u64),
            may_lack: machine.may_lack_something(),
            folder: machine.folder.copy(),
            whole: None,
        }
    }

    /// Of the only node of a service, which may have come back from a snapshot.
    fn of_reborn(reborn: &Reborn) -> Self {
        let mut copy = Self::of(&reborn.machine);
        if names::<ChunkName>(&copy.folder).all(|name| name.first > Seqno(1)) {
            copy.whole = Some(copy.folder.copy());
        }
        copy
    }

    /// Leaves out the chunks below its newest snapshot, or its oldest, if it has one.
    fn leave_tail(&mut self, dice: &mut Dice) {
        let snapshots = names::<SnapshotName>(&self.snapshots());
        let takes_newest = dice.per_mille(700);
        let name = if takes_newest { snapshots.max() } else { snapshots.min() };
        let Some(name) = name else { return };
        self.whole = Some(self.folder.copy());
        for chunk in names::<ChunkName>(&self.folder).collect::<Vec<_>>() {
            if chunk.last.is_some_and(|last| last <= name.seqno) {
                self.folder.forget(&chunk.to_string());
            }
        }
        // An archive is no part of what is kept.
        self.may_lack |= self.folder.has_spoiled();
    }

    fn snapshots(&self) -> SimFolder {
        self.folder.folder(SNAPSHOT_FOLDER)
    }

    /// What an operator makes of it.
    fn reach(
        &self,
        previous: &Certificate,
        receipts: &[VerifiedReceipt],
    ) -> Result<Reach<SimFolder>, RecoverLedgerError> {
        match self.whole {
            None => Reach::of(self.folder.clone(), previous, receipts),
            Some(_) => {
                Reach::from_snapshot(self.folder.clone(), self.snapshots(), previous, receipts)
            }
        }
    }

    /// The entries that are left, up to one. What a snapshot stands for is what was committed.
    fn entries(&self, reach: &Reach<SimFolder>, committed: &[Bytes]) -> Vec<Bytes> {
        let base = reach.snapshot.map_or(Seqno::ZERO, |name| name.seqno);
        entries(&self.folder, &committed[..index(base)], reach.signed.seqno)
    }
}

impl Copy {
    /// Why it may be refused with this. A tail may be where its whole would be, for the same.
    ///
    /// # Panics
    /// When it may not.
    fn excused_with(&self, error: &RecoverLedgerError, previous: &Certificate) -> &'static str {
        let whole = self.whole.as_ref().filter(|_| !self.may_lack);
        let whole = whole.and_then(|whole| Reach::of(whole.clone(), previous, &[]).err());
        let whole = whole.filter(|error| !matches!(error, RecoverLedgerError::NoLedger));
        self.excused(whole.as_ref().unwrap_or(error))
    }

    /// Why it may be refused with this, as a mark.
    ///
    /// # Panics
    /// When it may not.
    fn excused(&self, error: &RecoverLedgerError) -> &'static str {
        let text = in_full(error);
        match error {
            RecoverLedgerError::NoSnapshot(_) => {
                assert!(self.may_lack, "a snapshot and its tail are refused: {text}");
                "a snapshot and its tail were refused"
            }
            RecoverLedgerError::NoLedger => {
                let begins = names::<ChunkName>(&self.folder).any(|name| name.first == Seqno(1));
                assert!(!begins, "a copy is refused: {text}");
                "a copy that does not begin with the first entry was refused"
            }
            // What was never durable may have a hole before a signature, and nobody sees that the signature was not, either.
            RecoverLedgerError::Verify(error) if error.seqno > self.durable => {
                "a copy was refused for a hole before a signature that was never durable"
            }
            RecoverLedgerError::Verify(error) => {
                assert!(self.may_lack, "a copy is refused: {text}");
                match error.fault {
                    LedgerFault::Gap { .. } => "a copy that lacks a chunk was refused",
                    _ => "a damaged copy was refused",
                }
            }
            RecoverLedgerError::File(_) | RecoverLedgerError::Copy(_) => {
                assert!(self.may_lack, "a copy is refused: {text}");
                "a damaged copy was refused"
            }
            // A chunk of another network names its service, and is read before it is verified.
            RecoverLedgerError::LaterOpen(_) => {
                assert!(self.may_lack, "a copy is refused: {text}");
                "a copy with another network's chunk was refused"
            }
            _ => panic!("a copy is refused: {text}"),
        }
    }
}

/// The files in a folder that have such names.
fn names<N: FromStr>(folder: &SimFolder) -> impl Iterator<Item = N> + use<N> {
    let names = folder.names().expect("nothing is wrong with a copy");
    names.into_iter().filter_map(|name| name.parse().ok())
}

impl Copies {
    /// What is left of a network.
    pub(super) fn of_nodes(remains: &Remains, dice: &mut Dice) -> Self {
        let from = dice.one_of(&[From::AllDisks, From::AllDisks, From::SomeDisks, From::Backup]);
        let machines = &remains.machines;
        let copies = match from {
            From::Backup => {
                let (folder, may_lack) = (remains.backup.copy(), remains.backup_suffered);
                // It was copied at once: nothing of it is half written.
                let durable = Seqno(u64::MAX);
                vec![Copy { folder, promised: Seqno::ZERO, durable, may_lack, whole: None }]
            }
            From::SomeDisks => {
                let (first, count) = (dice.place(machines.len()), dice.place(2) + 1);
                let some = (0..count).map(|at| &machines[(first + at) % machines.len()]);
                some.map(Copy::of).collect()
            }
            From::AllDisks | From::OnlyDisk => {
                // What a host had put elsewhere is found again.
                let back = |machine: &Machine| machine.folder.away() > 0 && dice.per_mille(800);
                let backs: Vec<bool> = machines.iter().map(back).collect();
                let copy = |(machine, back): (&Machine, bool)| {
                    let copy = Copy::of(machine);
                    if back {
                        let _beside: usize = copy.folder.bring_back();
                    }
                    copy
                };
                machines.iter().zip(backs).map(copy).collect()
            }
        };
        Self { from, copies }
    }

    /// What is left of a service of one node.
    pub(super) fn of_one(reborn: &Reborn) -> Self {
        Self { from: From::OnlyDisk, copies: vec![Copy::of_reborn(reborn)] }
    }

    /// Nobody has kept the first chunks, where there is a snapshot that stands for them.
    pub(super) fn leave_tails(&mut self, dice: &mut Dice) {
        self.copies.iter_mut().for_each(|copy| copy.leave_tail(dice));
    }

    /// Whether something befell a copy that had everything up to an entry.
    pub(super) fn may_lack(&self, last: Seqno) -> bool {
        self.copies.iter().any(|copy| copy.may_lack && copy.durable >= last)
    }

    /// The copy that reaches furthest; of those that hold what a receipt proves, if that is wanted.
    ///
    /// # Panics
    /// When a copy is refused that nothing befell, or taken that lacks what a receipt proves.
    pub(super) fn best(
        &self,
        previous: &Certificate,
        committed: &[Bytes],
        (at, receipt, is_wanted): (Seqno, &VerifiedReceipt, bool),
        marks: &mut Marks,
    ) -> Option<Best> {
        let mut best = None::<Best>;
        for copy in &self.copies {
            let reach = match copy.reach(previous, &[]) {
                Ok(reach) => reach,
                Err(error) => {
                    marks.reach(copy.excused_with(&error, previous));
                    continue;
                }
            };
            assert!(
                copy.may_lack || reach.signed.seqno >= copy.promised,
                "what was durable up to {} comes back up to {}",
                copy.promised,
                reach.signed
            );
            let entries = copy.entries(&reach, committed);
            assert_eq!(entries.len(), index(reach.signed.seqno), "as far as it reaches");
            let proven = std::slice::from_ref(receipt);
            let is_taken = copy.reach(previous, proven).is_ok();
            let has_it = entries.get(index(at) - 1) == committed.get(index(at) - 1);
            assert_eq!(is_taken, has_it, "a receipt of entry {at} is held against a copy");
            if !is_taken {
                marks.reach("a copy lacked what a receipt proves, and was refused");
                if is_wanted {
                    continue;
                }
            }
            let order = |id: TxId| (id.view, id.seqno);
            if best.as_ref().is_none_or(|best| order(reach.signed) > order(best.reach.signed)) {
                best = Some(Best { reach, entries });
            }
        }
        best
    }
}

/// The entries in a copy, up to one, after those of `base`.
fn entries(folder: &SimFolder, base: &[Bytes], upto: Seqno) -> Vec<Bytes> {
    // Opening files changes them.
    let mut files = LedgerFiles::open(folder.copy()).expect("it was read before");
    let mut entries = base.to_vec();
    let from = Seqno(base.len() as u64).next();
    // What follows the entry that is asked for may be damaged.
    let _read: Result<(), _> = replay_to(&mut entries, &mut files, from);
    entries.truncate(index(upto));
    entries
}
