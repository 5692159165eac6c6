//! Offline verification of a whole ledger, chunk by chunk.
//!
//! Believed is one thing: the service certificate. From it follow, entry by entry: the nodes that the ledger endorses,
//! the root that their signature entries sign, and through the roots every byte of every entry before the last
//! signature. What comes after the last signature is reported and not believed. So is the seal of the last signature
//! entry itself, which only a later root or the ledger secret can vouch for.
//!
//! An auditor who must not miss anything says up to which transaction the ledger has to reach: a shortened ledger is a
//! valid one.

mod fault;
mod service;

use std::{collections::BTreeMap, ops::Range};

use coco_crypto::{Certificate, PublicKey};
use coco_kv::{StateImage, WriteSetView};
use coco_types::{Digest, Seqno, TxId, View};

use crate::{
    Chunk, ChunkName, EndorsedService, EndorsementRow, EntryFlags, EntryView, Epoch, LedgerSecrets,
    MerkleTree, PREVIOUS_ENDORSEMENT_MAP, ReceiptVerifier, SERVICE_MAP, SignatureRecord,
    SnapshotEvidence, TREE_MAP, VerifiedReceipt, VerifiedSnapshot,
    chunk::misses_sector,
    entry::{EVIDENCE_START, NONCE_START, TAG_START},
    genesis::{ServiceStatus, singleton_key},
    recovery::service_began,
};

pub use fault::{LedgerFault, VerifyLedgerError};
use service::Service;
pub use service::note_services;

/// Verifies a ledger that it is fed in order. A clone goes on from where the original is.
#[derive(Clone, Debug)]
pub struct Verifier {
    service: Service,
    secrets: Option<LedgerSecrets>,
    tree: MerkleTree,
    /// The next entry. Behind the tree while entries go by that a snapshot has the leaves of.
    next: Seqno,
    /// The snapshot that verification began from.
    began: Option<Seqno>,
    /// The entry with which the service began. None before it.
    service_began: Option<TxId>,
    /// The services before it that were endorsed, and where that stands; the oldest first.
    endorsed: Vec<(Seqno, EndorsedService)>,
    /// What entries said of snapshots, by their seqno.
    evidence: BTreeMap<Seqno, SnapshotEvidence>,
    /// The first seqno of each view.
    views: Vec<(Seqno, View)>,
    /// The files of the chunks so far.
    files: Vec<String>,
    /// Bytes of the last chunk up to the end of its entries, and of its torn tail.
    end: u64,
    torn_bytes: u64,
    is_open: bool,
    /// Where the last signature entry is, and every entry after it.
    recent: Vec<Place>,
    signatures: u64,
    signed: Option<TxId>,
}

/// Where an entry is.
#[derive(Clone, Copy, Debug)]
struct Place {
    file: usize,
    offset: u64,
    bytes: u64,
}

/// What a ledger that verified is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerReport {
    /// How many entries there are, signed or not.
    pub entries: u64,
    /// How many of them are signature entries.
    pub signatures: u64,
    /// The last signature entry: everything before it is signed.
    pub signed: TxId,
    /// The last entry.
    pub last: TxId,
    /// What the ledger says of the service.
    pub status: ServiceStatus,
    /// What no signature covers.
    pub unsigned: Vec<UnsignedRange>,
}

/// Bytes that no signature covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnsignedRange {
    /// The file.
    pub file: String,
    /// From which offset to which, the end not included.
    pub offsets: Range<u64>,
    /// What stands there.
    pub what: UnsignedWhat,
}

/// Why bytes are not covered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnsignedWhat {
    /// A part of the last signature entry that only a later root or the ledger secret vouches for.
    SignatureSeal,
    /// Whole entries after the last signature.
    UnsignedTail,
    /// A piece of an entry whose writer did not finish.
    TornTail,
}

impl Verifier {
    /// Starts before the first entry. `service` is what the auditor trusts.
    #[must_use]
    pub fn new(service: Certificate) -> Self {
        Self::of_services(vec![service])
    }

    /// As [`Verifier::new`], for a ledger whose service was recovered: those that followed each other, oldest first. The last
    /// one is what the auditor trusts; it has signed all that came before it, too.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn of_services(services: Vec<Certificate>) -> Self {
        assert!(!services.is_empty(), "something has to be trusted");
        Self {
            service: Service::new(services),
            secrets: None,
            tree: MerkleTree::new(),
            next: Seqno(1),
            began: None,
            service_began: None,
            endorsed: Vec::new(),
            evidence: BTreeMap::new(),
            views: Vec::new(),
            files: Vec::new(),
            end: 0,
            torn_bytes: 0,
            is_open: false,
            recent: Vec::new(),
            signatures: 0,
            signed: None,
        }
    }

    /// Starts after the entry of a snapshot: for a ledger whose first chunks are kept elsewhere. Chunks that begin
    /// before that entry are compared with the snapshot. `file` is the snapshot's.
    ///
    /// # Errors
    /// [`VerifyLedgerError`] when what the snapshot says of the service does not fit the certificate.
    pub fn from_snapshot(
        service: Certificate,
        file: &str,
        snapshot: &VerifiedSnapshot<'_>,
    ) -> Result<Self, VerifyLedgerError> {
        Self::of_services_from(vec![service], file, snapshot)
    }

    /// As [`Verifier::from_snapshot`], for a ledger whose service was recovered after the snapshot: the services from the
    /// snapshot's on, oldest first. Under the first one's key it was verified. Once the ledger has come to the last, it is for
    /// [`Verifier::check_snapshot`] to say whether that one stands by it.
    ///
    /// # Errors
    /// As [`Verifier::from_snapshot`].
    ///
    /// # Panics
    /// When there is no service.
    pub fn of_services_from(
        services: Vec<Certificate>,
        file: &str,
        snapshot: &VerifiedSnapshot<'_>,
    ) -> Result<Self, VerifyLedgerError> {
        let empty = Self::of_services(services.clone());
        let seqno = snapshot.tx_id().seqno;
        let refused = |fault| VerifyLedgerError { file: file.to_owned(), offset: 0, seqno, fault };
        let service = Service::restored(services, snapshot.public()).map_err(refused)?;
        let service_began = began(snapshot).map_err(refused)?;
        let endorsed = endorsed(service.key(), snapshot.public()).map_err(refused)?;
        Ok(Self {
            service,
            service_began,
            endorsed: endorsed.into_iter().collect(),
            tree: snapshot.tree().clone(),
            next: seqno.next(),
            began: Some(seqno),
            views: snapshot.views().to_vec(),
            files: vec![file.to_owned()],
            // Stands for the signature entry, which is in no file that is read.
            recent: vec![Place { file: 0, offset: 0, bytes: 0 }],
            signatures: snapshot.signatures().len() as u64,
            signed: Some(snapshot.tx_id()),
            ..empty
        })
    }

    /// Also opens every entry, so that seals and private writes are checked too.
    #[must_use]
    pub fn with_secret(self, secrets: impl Into<LedgerSecrets>) -> Self {
        Self { secrets: Some(secrets.into()), ..self }
    }

    /// The next chunk: the name of its file without the folder, and all its bytes. After an error the verifier is of
    /// no further use.
    ///
    /// # Errors
    /// [`VerifyLedgerError`] with the file, the offset and what is wrong there.
    pub fn chunk(&mut self, file: &str, bytes: &[u8]) -> Result<(), VerifyLedgerError> {
        let next = Seqno(self.tree.len());
        let at =
            |offset, fault| VerifyLedgerError { file: file.to_owned(), offset, seqno: next, fault };
        let name: ChunkName = file.parse().map_err(|error| at(0, LedgerFault::Name(error)))?;
        self.check_name(name).map_err(|fault| at(0, fault))?;
        let chunk = Chunk::parse(bytes).map_err(|error| VerifyLedgerError {
            seqno: Seqno(next.0.saturating_add(error.entries_before)),
            ..at(error.offset, LedgerFault::Chunk(error.fault))
        })?;
        check_count(name, &chunk).map_err(|fault| at(0, fault))?;

        self.files.push(file.to_owned());
        let index = self.files.len() - 1;
        let last = chunk.entries.len().saturating_sub(1);
        for (n, (offset, entry)) in chunk.entries.iter().enumerate() {
            let place = Place { file: index, offset: *offset, bytes: entry.bytes().len() as u64 };
            let order = Order { is_first: n == 0, is_last: n == last, is_closed: chunk.is_closed };
            self.entry(place, order, entry)?;
        }
        (self.end, self.torn_bytes, self.is_open) = (chunk.end, chunk.torn_bytes, !chunk.is_closed);
        Ok(())
    }

    /// As [`Verifier::chunk`], for whoever brings a ledger back whose node may have lost its power: an entry of an open chunk
    /// that is refused and misses a sector is torn, with all that follows, as for a node that starts. It is not where a signature
    /// follows: nothing tells whether others count on what that signs. An auditor is stricter still, since zeros may have been
    /// written on purpose.
    ///
    /// # Errors
    /// As [`Verifier::chunk`].
    ///
    /// # Panics
    /// Never: an offset in what is in memory is a length.
    pub fn chunk_as_at_start(&mut self, file: &str, bytes: &[u8]) -> Result<(), VerifyLedgerError> {
        let chunk = Chunk::parse(bytes).ok().filter(|chunk| {
            !chunk.is_closed && chunk.entries.iter().any(|(at, _)| misses_sector(bytes, *at))
        });
        // What is refused comes too late to go back.
        let before = chunk.is_some().then(|| self.clone());
        let (error, chunk, before) = match (self.chunk(file, bytes), chunk, before) {
            (Err(error), Some(chunk), Some(before)) => (error, chunk, before),
            (taken, _, _) => return taken,
        };
        let mut after = chunk.entries.iter().filter(|(at, _)| *at > error.offset);
        let is_torn = error.file == file
            && misses_sector(bytes, error.offset)
            && !after.any(|(_, entry)| entry.is_signature());
        if !is_torn {
            return Err(error);
        }
        *self = before;
        let torn = usize::try_from(error.offset).expect("the file is in memory");
        self.chunk(file, &bytes[..torn])?;
        self.torn_bytes = (bytes.len() - torn) as u64;
        Ok(())
    }

    /// The last signature entry so far: everything before it is signed.
    #[must_use]
    pub const fn signed(&self) -> Option<TxId> {
        self.signed
    }

    /// The root over the ledger up to an entry, once that was read.
    #[must_use]
    pub fn root(&self, upto: Seqno) -> Option<Digest> {
        self.tree.root_at(upto.0.checked_add(1)?)
    }

    /// The epoch of the service that the ledger has come to, if it were to end here: what a service says that goes on from
    /// here. None as long as it signed nothing.
    #[must_use]
    pub fn epoch(&self) -> Option<Epoch> {
        let (first, last) = (self.service_began?, self.signed?);
        if self.unsigned_service().is_some() {
            return None;
        }
        let root = self.tree.root_at(last.seqno.0)?;
        Some(Epoch { first, last, root })
    }

    /// The entry with which the service began, if it signed nothing since. Anybody can append such an entry, and what was
    /// signed before it another service signed. After a snapshot never: the service signed that.
    fn unsigned_service(&self) -> Option<TxId> {
        let signed = self.signed.map_or(Seqno::ZERO, |signed| signed.seqno);
        self.service_began.filter(|began| signed <= began.seqno)
    }

    /// Where the last service that began with a recovery says what it says of the one before it.
    #[must_use]
    pub fn endorsed_at(&self) -> Option<Seqno> {
        self.endorsed.last().map(|(at, _)| *at)
    }

    /// What verifies receipts for somebody who trusts the service that the ledger has come to: those of services before it,
    /// too, as far as the ledger endorses them.
    #[must_use]
    pub fn receipts(&self) -> ReceiptVerifier {
        let before = self.endorsed.iter().rev().map(|(_, service)| service.clone()).collect();
        ReceiptVerifier { service: self.service.certificate().clone(), before }
    }

    /// Ends the ledger. With `at_least`, that transaction must be in it, under a signature.
    ///
    /// # Errors
    /// [`VerifyLedgerError`] when the trusted service signed nothing or the ledger does not reach that far.
    ///
    /// # Panics
    /// Never: a signed ledger has entries.
    pub fn finish(self, at_least: Option<TxId>) -> Result<LedgerReport, VerifyLedgerError> {
        let at_end = |fault| self.error_at_end(fault);
        let Some(signed) = self.signed else { return Err(at_end(LedgerFault::NoSignature)) };
        if let Some(expected) = at_least {
            let is_there = expected.seqno <= signed.seqno
                && self.view_at(expected.seqno) == Some(expected.view);
            if !is_there {
                return Err(at_end(LedgerFault::Short { expected, signed }));
            }
        }
        let seqno = Seqno(self.tree.len() - 1);
        let view = self.view_at(seqno).expect("a signed ledger has entries");
        if !self.service.is_last() {
            return Err(at_end(LedgerFault::EarlierService));
        }
        if let Some(began) = self.unsigned_service() {
            return Err(at_end(LedgerFault::UnsignedService(began)));
        }
        let status = self.service.status().ok_or_else(|| at_end(LedgerFault::NoService))?;
        Ok(LedgerReport {
            entries: seqno.0,
            signatures: self.signatures,
            signed,
            last: TxId { view, seqno },
            status,
            unsigned: self.unsigned(),
        })
    }

    /// Checks that what a receipt proves stands in the ledger so far, under a signature. A ledger that was cut at a
    /// signature entry, and one that was begun anew from there, are valid in themselves: only what somebody kept from
    /// later tells.
    ///
    /// # Errors
    /// [`VerifyLedgerError`] at the end of the ledger when the service signed nothing in it, it does not reach so far, holds
    /// another entry there, or, for the receipt of a signature entry, never had that root.
    pub fn check_receipt(&self, receipt: &VerifiedReceipt) -> Result<(), VerifyLedgerError> {
        let Some(signed) = self.signed else {
            return Err(self.error_at_end(LedgerFault::NoSignature));
        };
        if let Some(began) = self.unsigned_service() {
            return Err(self.error_at_end(LedgerFault::UnsignedService(began)));
        }
        let other = LedgerFault::Receipt { tx_id: receipt.tx_id, root: receipt.root };
        let (Some(expected), Some(leaf)) = (receipt.tx_id, &receipt.leaf_components) else {
            // The receipt of a signature entry names no place.
            let had = |size| self.tree.root_at(size) == Some(receipt.root);
            return if (1..=signed.seqno.0).rev().any(had) {
                Ok(())
            } else {
                Err(self.error_at_end(other))
            };
        };
        if expected.seqno > signed.seqno {
            return Err(self.error_at_end(LedgerFault::Short { expected, signed }));
        }
        let is_there = self.view_at(expected.seqno) == Some(expected.view)
            && self.tree.leaf(expected.seqno.0) == Some(leaf.leaf());
        if is_there { Ok(()) } else { Err(self.error_at_end(other)) }
    }

    /// Checks a snapshot against the ledger so far: that it stands on these entries, and that its evidence is among
    /// them. `file` is the snapshot's.
    ///
    /// # Errors
    /// [`VerifyLedgerError`] with what does not fit.
    pub fn check_snapshot(
        &self,
        file: &str,
        snapshot: &VerifiedSnapshot<'_>,
    ) -> Result<(), VerifyLedgerError> {
        let (at, evidence) = (snapshot.tx_id().seqno, snapshot.evidence());
        let wrong =
            |fault| Err(VerifyLedgerError { file: file.to_owned(), offset: 0, seqno: at, fault });
        let signed = self.signed.map_or(Seqno::ZERO, |signed| signed.seqno);
        if evidence.seqno >= signed {
            return wrong(LedgerFault::SnapshotAhead { evidence, signed });
        }
        if self.tree.root_at(at.0 + 1) != Some(snapshot.tree().root()) {
            return wrong(LedgerFault::SnapshotTree(at));
        }
        let expected = SnapshotEvidence { seqno: at, digest: snapshot.digest() };
        // What is below the snapshot that verification began from was not read; its leaf is known all the same.
        let is_read = self.began.is_none_or(|began| evidence.seqno > began);
        if self.tree.leaf(evidence.seqno.0) != Some(snapshot.evidence_leaf())
            || (is_read && self.evidence.get(&evidence.seqno) != Some(&expected))
        {
            return wrong(LedgerFault::SnapshotEvidence(evidence));
        }
        Ok(())
    }

    fn check_name(&mut self, name: ChunkName) -> Result<(), LedgerFault> {
        let expected = self.next;
        if self.is_open {
            return Err(LedgerFault::AfterOpen);
        }
        // The first chunk after a snapshot may begin anywhere before it.
        let is_first = self.began.is_some() && self.files.len() == 1;
        if is_first && name.first < expected {
            self.next = name.first;
            return Ok(());
        }
        if name.first != expected {
            return Err(LedgerFault::Gap { expected, found: name.first });
        }
        Ok(())
    }

    /// Whether the next entry is one that the snapshot has the leaf of.
    fn is_known(&self) -> bool {
        self.next.0 < self.tree.len()
    }

    fn known_entry(&mut self, order: Order, entry: &EntryView<'_>) -> Result<(), LedgerFault> {
        let (expected, found) = (self.next, entry.tx_id().seqno);
        if found != expected {
            return Err(LedgerFault::Seqno { expected, found });
        }
        if self.tree.leaf(found.0) != Some(entry.leaf()) {
            return Err(LedgerFault::SnapshotLeaf);
        }
        order.check(entry, entry.is_signature())?;
        self.next = self.next.next();
        Ok(())
    }

    fn entry(
        &mut self,
        place: Place,
        order: Order,
        entry: &EntryView<'_>,
    ) -> Result<(), VerifyLedgerError> {
        let fault = |this: &Self, fault| this.error(place, fault);
        if self.is_known() {
            return self.known_entry(order, entry).map_err(|wrong| fault(self, wrong));
        }
        self.check_order(entry).map_err(|wrong| fault(self, wrong))?;
        let signature = SignatureRecord::read(entry)
            .map_err(|wrong| fault(self, LedgerFault::SignatureForm(wrong)))?;
        order.check(entry, signature.is_some()).map_err(|wrong| fault(self, wrong))?;
        self.open(entry).map_err(|wrong| fault(self, wrong))?;
        match signature {
            Some(record) => {
                self.signature(place, entry, &record)?;
                self.recent.clear();
            }
            None => self.writes(entry).map_err(|wrong| fault(self, wrong))?,
        }
        self.recent.push(place);
        self.tree.append(entry.leaf());
        self.next = self.next.next();
        Ok(())
    }

    fn check_order(&mut self, entry: &EntryView<'_>) -> Result<(), LedgerFault> {
        let (expected, found) = (self.next, entry.tx_id());
        if found.seqno != expected {
            return Err(LedgerFault::Seqno { expected, found: found.seqno });
        }
        let view = self.views.last().map_or(View::GENESIS, |(_, view)| *view);
        if found.view < view {
            return Err(LedgerFault::View { before: view, found: found.view });
        }
        if self.views.is_empty() || found.view > view {
            self.views.push((found.seqno, found.view));
        }
        Ok(())
    }

    /// Takes in what an entry says of the service and of snapshots.
    fn writes(&mut self, entry: &EntryView<'_>) -> Result<(), LedgerFault> {
        let writes = entry.public_writes()?;
        let (before, was_named) = (self.service.key().clone(), self.service.status().is_some());
        self.service.apply(&writes)?;
        let is_recovery = self.service.key() != &before;
        if let Some(endorsed) = self.endorsement(&writes, is_recovery.then_some(before))? {
            self.endorsed.push((entry.tx_id().seqno, endorsed));
        }
        if is_recovery || (!was_named && self.service.status().is_some()) {
            self.service_began = Some(entry.tx_id());
        }
        if let Some(evidence) = SnapshotEvidence::read(&writes)
            && evidence.digest == *entry.claims()
        {
            self.evidence.insert(entry.tx_id().seqno, evidence);
        }
        Ok(())
    }

    /// Checks what a service says of the one before it, where it begins. In ledgers of before there were endorsements it says
    /// nothing.
    fn endorsement(
        &self,
        writes: &WriteSetView<'_>,
        before: Option<PublicKey>,
    ) -> Result<Option<EndorsedService>, LedgerFault> {
        let mut maps = writes.maps().iter();
        let Some(map) = maps.find(|map| map.name() == PREVIOUS_ENDORSEMENT_MAP) else {
            return Ok(None);
        };
        let (Some(before), Some(epoch)) = (before, self.epoch()) else {
            return Err(LedgerFault::EndorsementPlace);
        };
        let row =
            map.get(singleton_key()).ok_or(LedgerFault::Row { map: PREVIOUS_ENDORSEMENT_MAP })?;
        let row = EndorsementRow::read(row).map_err(LedgerFault::Endorsement)?;
        let found = row.verify(self.service.key()).map_err(LedgerFault::Endorsement)?;
        let expected = EndorsedService { key: before, epoch };
        if found != expected || row.previous() != self.endorsed_at() {
            return Err(LedgerFault::Endorsed);
        }
        Ok(Some(found))
    }

    /// Opens the entry, if the secrets are known, and reads its writes.
    fn open(&self, entry: &EntryView<'_>) -> Result<(), LedgerFault> {
        match &self.secrets {
            Some(secrets) if secrets.knows(entry.tx_id().seqno) => {
                secrets.open(entry)?.writes().map(drop)?;
            }
            Some(_) | None => entry.public_writes().map(drop)?,
        }
        Ok(())
    }

    fn signature(
        &mut self,
        place: Place,
        entry: &EntryView<'_>,
        record: &SignatureRecord,
    ) -> Result<(), VerifyLedgerError> {
        if record.tx_id != entry.tx_id() {
            let fault =
                LedgerFault::SignaturePosition { entry: entry.tx_id(), signed: record.tx_id };
            return Err(self.error(place, fault));
        }
        let previous = self.signed.map_or(0, |signed| signed.seqno.0);
        let writes = entry.public_writes().map_err(|wrong| self.error(place, wrong.into()))?;
        let table = writes
            .maps()
            .iter()
            .find(|map| map.name() == TREE_MAP)
            .and_then(|map| map.get(singleton_key()));
        let expected = self.tree.encode(previous, self.tree.len());
        let is_same_tree = table == Some(expected.as_slice());

        let node = self.service.signer(record).map_err(|fault| self.error(place, fault))?;
        if let Err(error) = record.verify(&self.tree.root(), node, self.service.key()) {
            // When the tree that was recorded differs in one leaf only, the entry of that leaf is the damaged one.
            let damaged = table.and_then(|table| self.damaged(table, &expected));
            return Err(match damaged {
                Some((place, seqno)) => {
                    VerifyLedgerError { seqno, ..self.error(place, LedgerFault::Leaf(error)) }
                }
                None => self.error(place, LedgerFault::Signature(error)),
            });
        }
        if !is_same_tree {
            return Err(self.error(place, LedgerFault::Tree));
        }
        if *entry.claims() != Digest::ZERO {
            return Err(self.error(place, LedgerFault::SignatureClaims));
        }
        self.signatures += 1;
        self.signed = Some(record.tx_id);
        Ok(())
    }

    /// The entry whose leaf differs from the one in the tree that was recorded.
    fn damaged(&self, recorded: &[u8], expected: &[u8]) -> Option<(Place, Seqno)> {
        if recorded.len() != expected.len() || recorded.get(..16) != expected.get(..16) {
            return None;
        }
        let leaves = recorded[16..].chunks(32).zip(expected[16..].chunks(32));
        let first = leaves.take_while(|(recorded, expected)| recorded == expected).count();
        // The first tree also lists the leaf of zeros, which has no entry.
        let skipped = usize::from(self.signed.is_none());
        let index = first.checked_sub(skipped)?;
        let oldest = self.signed.map_or(1, |signed| signed.seqno.0);
        let place = self.recent.get(index).copied().filter(|place| place.bytes > 0)?;
        Some((place, Seqno(oldest + index as u64)))
    }

    fn error_at_end(&self, fault: LedgerFault) -> VerifyLedgerError {
        let file = self.files.last().cloned().unwrap_or_default();
        VerifyLedgerError { file, offset: self.end, seqno: self.next, fault }
    }

    /// An error at the entry that is being read.
    fn error(&self, place: Place, fault: LedgerFault) -> VerifyLedgerError {
        let file = self.files.get(place.file).cloned().unwrap_or_default();
        VerifyLedgerError { file, offset: place.offset, seqno: self.next, fault }
    }

    fn view_at(&self, seqno: Seqno) -> Option<View> {
        let (_, view) = self.views.iter().rev().find(|(first, _)| *first <= seqno)?;
        (1..self.tree.len()).contains(&seqno.0).then_some(*view)
    }

    fn unsigned(&self) -> Vec<UnsignedRange> {
        let mut unsigned = Vec::new();
        let mut add = |file: usize, offsets: Range<u64>, what| {
            let file = self.files.get(file).cloned().unwrap_or_default();
            unsigned.push(UnsignedRange { file, offsets, what });
        };
        let (signature, after) =
            self.recent.split_first().expect("a signed ledger has a signature");
        let mut add_part = |start: usize, end: usize| {
            let offsets = signature.offset + start as u64..signature.offset + end as u64;
            add(signature.file, offsets, UnsignedWhat::SignatureSeal);
        };
        // The entry of a snapshot is in no file that was read.
        let is_read = signature.bytes > 0;
        // Whether the chunk ends here is not known before it ends or goes on.
        if is_read && self.is_open && after.is_empty() {
            add_part(FLAGS_START, FLAGS_START + 1);
        }
        if is_read && self.secrets.is_none() {
            add_part(TAG_START, NONCE_START);
            add_part(EVIDENCE_START, EVIDENCE_START + 32);
        }
        if let (Some(first), Some(last)) = (after.first(), after.last()) {
            add(last.file, first.offset..last.offset + last.bytes, UnsignedWhat::UnsignedTail);
        }
        if self.torn_bytes > 0 {
            add(self.files.len() - 1, self.end..self.end + self.torn_bytes, UnsignedWhat::TornTail);
        }
        unsigned
    }
}

/// The entry with which the service of a snapshot began, as that says.
fn began(snapshot: &VerifiedSnapshot<'_>) -> Result<Option<TxId>, LedgerFault> {
    let Some((_, row)) = row(snapshot.public(), SERVICE_MAP) else { return Ok(None) };
    let recovered = service_began(row).map_err(|_| LedgerFault::Row { map: SERVICE_MAP })?;
    let first = snapshot.views().first().map(|(seqno, view)| TxId { view: *view, seqno: *seqno });
    Ok(recovered.or(first))
}

/// The service before that of a snapshot, and the entry that endorses it, if it was recovered. What came before is not said.
fn endorsed(
    service: &PublicKey,
    public: &StateImage<'_>,
) -> Result<Option<(Seqno, EndorsedService)>, LedgerFault> {
    let Some((at, row)) = row(public, PREVIOUS_ENDORSEMENT_MAP) else { return Ok(None) };
    let row = EndorsementRow::read(row).map_err(LedgerFault::Endorsement)?;
    let endorsed = row.verify(service).map_err(LedgerFault::Endorsement)?;
    Ok(Some((at, endorsed)))
}

/// The one row of a table in a snapshot, and the entry that wrote it.
fn row<'a>(public: &StateImage<'a>, map: &str) -> Option<(Seqno, &'a [u8])> {
    let mut rows = public.map(map)?.iter();
    rows.find(|(key, ..)| *key == singleton_key()).map(|(_, at, row)| (at, row))
}

/// Where the flags of an entry stand.
const FLAGS_START: usize = 1;

/// Where an entry stands in its chunk.
#[derive(Clone, Copy)]
struct Order {
    is_first: bool,
    is_last: bool,
    is_closed: bool,
}

impl Order {
    /// A chunk ends on a signature entry that says so, and nothing else says so.
    fn check(self, entry: &EntryView<'_>, is_signature: bool) -> Result<(), LedgerFault> {
        let flags = entry.flags();
        if self.is_last && self.is_closed && !is_signature {
            return Err(LedgerFault::UnsignedChunk);
        }
        let says_so = flags.contains(EntryFlags::CHUNK_AFTER);
        let must_say_so = self.is_last && self.is_closed;
        let may_say_so = self.is_last && is_signature;
        if (must_say_so && !says_so) || (says_so && !may_say_so) {
            return Err(LedgerFault::Flags);
        }
        if flags.contains(EntryFlags::CHUNK_BEFORE) && !self.is_first {
            return Err(LedgerFault::Flags);
        }
        Ok(())
    }
}

fn check_count(name: ChunkName, chunk: &Chunk<'_>) -> Result<(), LedgerFault> {
    let Some(last) = name.last else { return Ok(()) };
    if !chunk.is_closed {
        return Err(LedgerFault::NotClosed);
    }
    let (expected, found) = (last.0 - name.first.0 + 1, chunk.entries.len() as u64);
    if expected == found { Ok(()) } else { Err(LedgerFault::Count { expected, found }) }
}
