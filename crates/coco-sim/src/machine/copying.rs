//! The part of a node that gives copies of its ledger, and takes one.

use bytes::Bytes;
use coco_consensus::{Fetch, FetchId, HardState};
use coco_evm::state;
use coco_ledger::{LedgerFiles, ServiceKey, SnapshotName};
use coco_replica::{CopiedLedger, LoadLedger, PlaceCopyError, SnapshotFiles};
use coco_types::{Seqno, View};

use super::{Machine, Promise, WantedCopy, in_full, snapshots};

/// What a node gives to another that has too little.
#[derive(Debug)]
pub struct Offer {
    /// One of its snapshots, or none.
    snapshot: Option<(SnapshotName, Vec<u8>)>,
    /// What comes after it and is committed, as far as it can be read.
    entries: Vec<Bytes>,
    committed: Seqno,
}

/// Why a copy is not there.
#[derive(Debug)]
pub enum CopyFault {
    /// It ends before what its taker has acknowledged, or before the evidence of its snapshot.
    Short,
    /// It does not verify.
    Refused(String),
    /// It cannot be written.
    Place(PlaceCopyError),
}

impl Machine {
    /// What it has to give, what is best first: what follows each of its snapshots, and its ledger from the beginning. With a
    /// planted bug, each with the last entry damaged.
    ///
    /// # Panics
    /// When it is down.
    #[must_use]
    pub fn offers(&self, damages: bool) -> Vec<Offer> {
        let replica = self.replica.as_ref().expect("it answers");
        let committed = replica.state().read().committed().seqno;
        let names = snapshots(self).into_iter().rev().map(Some).chain([None]);
        let offer = |name: Option<SnapshotName>| {
            let from = name.map_or(Seqno::ZERO, |name| name.seqno).next();
            let fetch = Fetch { id: FetchId(0), from, to: committed, bytes_max: usize::MAX };
            let entries = if from > committed { Ok(Vec::new()) } else { self.read(&fetch) };
            let entries = entries.unwrap_or_default().into_iter().map(|entry| entry.data);
            let mut entries: Vec<Bytes> = entries.collect();
            if let Some(last) = entries.last_mut().filter(|_| damages) {
                *last = damaged(last);
            }
            let snapshot = name.map(|name| (name, self.shown(&name.to_string())));
            Offer { snapshot, entries, committed }
        };
        names.map(offer).collect()
    }

    /// Takes what another gave; whether a snapshot was in it.
    ///
    /// # Errors
    /// [`CopyFault`].
    pub fn copy(
        &mut self,
        offer: Offer,
        at_least: Seqno,
        service: &dyn ServiceKey,
    ) -> Result<bool, CopyFault> {
        let Offer { snapshot, entries, committed } = offer;
        if committed < at_least || committed == Seqno::ZERO {
            return Err(CopyFault::Short);
        }
        let keyring = self.keyring();
        let load = LoadLedger {
            keyring: &keyring,
            service,
            schema: &state::schema(),
            retained_entries: 0,
        };
        let refused = |error: &dyn std::error::Error| CopyFault::Refused(in_full(error));
        let of = snapshot.as_ref().map(|(name, bytes)| (*name, bytes.as_slice()));
        let mut copied = CopiedLedger::begin(&load, of).map_err(|error| refused(&error))?;
        for entry in entries {
            copied.push(entry).map_err(|error| refused(&error))?;
        }
        if !copied.is_enough(committed) || copied.last() < at_least {
            return Err(CopyFault::Short);
        }
        let known = copied.committed(committed);
        self.first_copied = self.first_copied.or(Some(self.life));
        self.place(copied, snapshot.as_ref()).map_err(CopyFault::Place)?;
        self.copied = Some(known);
        self.copied_at = snapshot.as_ref().map(|(name, _)| name.seqno);
        Ok(snapshot.is_some())
    }

    fn place(
        &self,
        copied: CopiedLedger,
        snapshot: Option<&(SnapshotName, Vec<u8>)>,
    ) -> Result<(), PlaceCopyError> {
        let snapshots = SnapshotFiles::open(self.snapshot_folder())?;
        let mut unfinished = None;
        if let Some((name, bytes)) = snapshot {
            let mut file = snapshots.begin_copy(name.seqno)?;
            file.append(bytes)?;
            unfinished = Some(file);
        }
        copied.place(LedgerFiles::open(self.folder.clone())?, &snapshots, unfinished)
    }

    /// Whoever starts from its disk is a new node, and what the one before said does not bind it.
    pub fn promises_nothing(&mut self) {
        let hard_state = HardState { view: View::GENESIS, vote: None };
        self.disk = Promise { hard_state, entries: Vec::new() };
    }

    /// The host is about to bring back what it took away.
    pub fn note_brought_back(&mut self) {
        if self.first_copied.is_some() && self.folder.away() > 0 {
            self.old_chunks = Some(self.life);
        }
    }

    /// Everything on its disk is gone. Whoever starts from it is a new node that has promised nothing.
    pub fn lose_all(&mut self) {
        self.folder.wipe();
        self.promises_nothing();
        self.copied_at = None;
        self.old_chunks = None;
        self.damage = None;
        self.wants_copy = Some(WantedCopy { at_least: Seqno::ZERO, goes_on: false });
        self.copy = None;
    }
}

/// An entry whose last bit is another.
fn damaged(entry: &Bytes) -> Bytes {
    let mut bytes = entry.to_vec();
    bytes.iter_mut().rev().take(1).for_each(|byte| *byte ^= 1);
    bytes.into()
}
