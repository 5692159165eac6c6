//! Bringing a service back after a disaster, from a copy of its ledger: what is done before a node can start.
//!
//! ```text
//!   ledger files ─▶ verified up to the last signature of the old service ─▶ copied, the rest cut off
//!        └─▶ an entry: the new service, recovering, and its one node      (under a new ledger secret)
//!            a signature
//!   members open it, and send their shares ─▶ the node has all secrets, loads the ledger under them, and serves
//! ```
//!
//! Nobody has a secret of the old service: not its key, so it has another identity afterwards, and not its ledger secrets,
//! so what is public is all that the node reads until members have sent their shares. Two operators may do this at one time;
//! members open the one that they mean, by naming its identity.
//!
//! Where the first files are kept elsewhere, or lost, a snapshot stands for them: one that the lost service stands by, or a service
//! before it, as long as the entries that follow hold its evidence under a signature of the lost one. Its public part is
//! restored; the private one is opened with the ledger, under the secrets that the shares give.
//!
//! A recovery that never came to its opening has no shares of its own. Where only its ledger is left, the service before it is
//! named as the one that was lost: what came after it is left out then.

mod kept;

use std::fmt;

use bytes::Bytes;
use coco_crypto::Certificate;
use coco_governance::tables::NODES_INFO;
use coco_kv::{MapName, MapSpec};
use coco_ledger::{
    ChunkName, EndorsedService, EndorsementRow, Epoch, FileError, FirstLedger, Folder,
    FolderFile as _, GenesisNode, LedgerFault, LedgerFiles, LedgerFilesError, LedgerSecret,
    LedgerSecrets, MembershipError, Period, Recovery, ReplayError, SERVICE_MAP, SealEntryError,
    ServiceStatus, Signer, SnapshotError, SnapshotFile, SnapshotName, UnsignedRange,
    VerifiedReceipt, VerifiedSnapshot, Verifier, VerifyLedgerError, read_whole, service_status,
    singleton_key,
};
use coco_types::{Digest, Seqno, TxId, View};
use thiserror::Error;

use crate::{
    SnapshotFiles,
    load::{LoadError, Loader, RestoreSnapshotError},
    load_ledger::in_full,
    node_cipher::{Keyring, NodeCipher, NodeKeyError},
    periods::put_recovered_period,
};

use kept::{KeptFile, files, keep_before, said_of_services};

/// Why a ledger is not brought back.
#[derive(Debug, Error)]
pub enum RecoverLedgerError {
    /// A file cannot be read or written.
    #[error("a file of the ledger cannot be used")]
    File(#[from] FileError),
    /// A file of the copy, which was verified before, cannot be read any more.
    #[error("a file of the copy cannot be read")]
    Source(#[source] Box<Self>),
    /// There is nothing to begin from.
    #[error(
        "the copy does not hold the ledger from its first entry on, and there is no snapshot to begin from instead"
    )]
    NoLedger,
    /// There are snapshots, and the files of the copy go on from none of them.
    #[error("the ledger cannot be brought back from any of its snapshots: {}", .0.join("; "))]
    NoSnapshot(Vec<String>),
    /// A snapshot is damaged, or the service does not stand by it.
    #[error("{name} does not verify")]
    Snapshot {
        /// Which one.
        name: SnapshotName,
        /// The cause.
        source: SnapshotError,
    },
    /// Its public part makes no state.
    #[error("{name} does not restore")]
    Restore {
        /// Which one.
        name: SnapshotName,
        /// The cause.
        source: Box<RestoreSnapshotError>,
    },
    /// The ledger is not what the old service signed.
    #[error("the ledger does not verify")]
    Verify(#[from] VerifyLedgerError),
    /// What was made of it is not what every auditor will hold it to be.
    #[error(
        "what was made of the ledger does not verify, so nothing is sealed: see whether it or the copy changed \
         meanwhile, remove the folder and begin again"
    )]
    Made(#[source] Box<VerifyLedgerError>),
    /// The copy cannot be opened or written.
    #[error("the copy of the ledger cannot be used")]
    Copy(#[from] LedgerFilesError),
    /// An entry cannot be taken.
    #[error("{file} at offset {offset} does not replay")]
    Entry {
        /// In which file.
        file: ChunkName,
        /// Where the entry begins that is refused.
        offset: u64,
        /// The cause.
        source: Box<LoadError>,
    },
    /// The public state has no service.
    #[error("the ledger does not name its service")]
    NoService,
    /// Its service was never open: its ledger secret was never shared among members, so shares give back secrets of before
    /// it at most.
    #[error(
        "the last service of this ledger was never open ({0:?}), so its members have no shares of its \
         secret: recover the service before it, by its certificate"
    )]
    NotOpen(ServiceStatus),
    /// A service before the last is named as the lost one, and one after it was open.
    #[error(
        "the ledger went on after this service, as one with the certificate {0}, which was open: whoever goes back behind \
         that loses what it wrote. Recover the service that was open last"
    )]
    LaterOpen(Digest),
    /// What the ledger says of nodes or service cannot be read.
    #[error("what the ledger says of its service cannot be read")]
    Rows(#[from] MembershipError),
    /// An entry cannot be made.
    #[error("cannot make the first entry of the service")]
    Seal(#[from] SealEntryError),
    /// The node's own key cannot be used.
    #[error("cannot write the ledger secret down for the node")]
    NodeKey(#[from] NodeKeyError),
    /// The views are used up.
    #[error("the ledger has had as many views as there can be")]
    Views,
}

impl RecoverLedgerError {
    /// Whether an older snapshot may do where one is refused with this.
    const fn is_of_one_snapshot(&self) -> bool {
        matches!(self, Self::File(_) | Self::Snapshot { .. } | Self::Verify(_))
    }
}

/// How far a copy of a ledger reaches, that was verified.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct Reach<F> {
    /// The last signature of the service: everything until there can be brought back.
    pub signed: TxId,
    /// The last entry. What is after the last signature nobody can vouch for; it is left out.
    pub last: TxId,
    /// What at the end of all that is under no signature: also parts of the last signature entry, which is kept.
    pub unsigned: Vec<UnsignedRange>,
    /// How many services after the one that was lost, none of which was ever open, are left out with their entries.
    pub services_after: usize,
    /// The snapshot that is begun with. Nothing, where the ledger is there from its first entry on.
    pub snapshot: Option<SnapshotName>,
    /// Newer snapshots that cannot be begun with, each with the reason.
    pub passed_over: Vec<String>,
    copy: F,
    snapshots: Option<SnapshotFiles<F>>,
    files: Vec<KeptFile>,
    /// The service that was lost, as whoever brings it back knows it.
    previous: Certificate,
    /// The services that the ledger went through, the one that was lost last.
    services: Vec<Certificate>,
    /// What that service's successor says of it, and the entry that says so of the one before it.
    epoch: Epoch,
    endorsed_at: Option<Seqno>,
}

/// The service that begins, and its one node.
#[derive(Clone, Copy)]
pub struct NewService<'a> {
    /// Its certificate.
    pub certificate: &'a Certificate,
    /// What the ledger says of the node.
    pub node: &'a GenesisNode,
    /// Has the node's key, and the service's.
    pub signer: &'a dyn Signer,
    /// Encrypts to the node.
    pub cipher: &'a dyn NodeCipher,
    /// Under which the ledger goes on. Drawn for it.
    pub secret: &'a LedgerSecret,
    /// Seconds since 1970.
    pub now: u64,
}

impl fmt::Debug for NewService<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewService").field("node", &self.node.node_id).finish_non_exhaustive()
    }
}

impl<F: Folder> Reach<F> {
    /// Verifies a copy of a ledger against the service that was lost, and says how far it reaches. It must hold what the
    /// receipts prove. Nothing in the folder is changed.
    ///
    /// # Errors
    /// [`RecoverLedgerError`] that says what is wrong with the copy, and where.
    pub fn of(
        copy: F,
        previous: &Certificate,
        receipts: &[VerifiedReceipt],
    ) -> Result<Self, RecoverLedgerError> {
        let files = files(&copy)?;
        if files.first().is_none_or(|file| file.name.first != Seqno(1)) {
            return Err(RecoverLedgerError::NoLedger);
        }
        Self::begun(copy, files, None, (previous, receipts))
    }

    /// The same for a ledger that is brought back from a snapshot and the entries after it: the newest one that the service
    /// stands by, and whose evidence the files reach without a gap. One that is not is passed over for the next older.
    ///
    /// # Errors
    /// [`RecoverLedgerError::NoSnapshot`] with what is wrong with each; as [`Reach::of`] where it is not for them.
    pub fn from_snapshot(
        copy: F,
        snapshots: F,
        previous: &Certificate,
        receipts: &[VerifiedReceipt],
    ) -> Result<Self, RecoverLedgerError>
    where
        F: Clone,
    {
        let all = files(&copy)?;
        let snapshots = SnapshotFiles::of_copy(snapshots);
        let mut passed_over = Vec::new();
        for name in snapshots.newest_first()? {
            let files = kept::after(&all, name.seqno);
            let begun = snapshots.read(name).map_err(RecoverLedgerError::File).and_then(|bytes| {
                Self::begun(copy.clone(), files, Some((name, &bytes)), (previous, receipts))
            });
            match begun {
                Ok(reach) => {
                    let snapshots = Some(snapshots);
                    return Ok(Self { snapshots, passed_over, ..reach });
                }
                Err(error) if error.is_of_one_snapshot() => {
                    passed_over.push(format!("{name}: {}", in_full(&error)));
                }
                Err(error) => return Err(error),
            }
        }
        Err(match passed_over.is_empty() {
            true => RecoverLedgerError::NoLedger,
            false => RecoverLedgerError::NoSnapshot(passed_over),
        })
    }

    /// What files come to that begin with the first entry, or hold what follows a snapshot.
    fn begun(
        copy: F,
        mut files: Vec<KeptFile>,
        begin: Option<(SnapshotName, &[u8])>,
        (previous, receipts): (&Certificate, &[VerifiedReceipt]),
    ) -> Result<Self, RecoverLedgerError> {
        let name = begin.map(|(name, _)| name);
        let said = said_of_services(&copy, &files, name.map_or(Seqno::ZERO, |name| name.seqno))?;
        let mut services = said.services;
        let lost = services.iter().rposition(|service| service.key() == previous.key());
        if lost.is_none() {
            services = vec![previous.clone()];
        }
        let begin = begin.map(|(name, bytes)| Begin::of(name, bytes, &services[0])).transpose()?;
        let mut services_after = 0;
        if let Some(next) = lost.map(|at| at + 1).filter(|next| *next < services.len()) {
            if let Some(at) = said.parts[next..].iter().position(|part| part.was_open) {
                return Err(RecoverLedgerError::LaterOpen(services[next + at].digest()));
            }
            // What is left out is believed, that it was never open, only where all of it can be read.
            was_read(verified(&services, begin.as_ref(), &copy, &files)?)?;
            services_after = services.len() - next;
            services.truncate(next);
            keep_before(&mut files, &said.parts[next]);
        }
        let verifier = verified(&services, begin.as_ref(), &copy, &files)?;
        if let Some(begin) = &begin {
            begin.check(&verifier)?;
        }
        receipts.iter().try_for_each(|receipt| verifier.check_receipt(receipt))?;
        let (epoch, endorsed_at) = (verifier.epoch(), verifier.endorsed_at());
        let report = verifier.finish(None)?;
        was_open(report.status)?;
        let last = if services_after > 0 { said.last.max(report.last) } else { report.last };
        Ok(Self {
            signed: report.signed,
            last,
            unsigned: report.unsigned,
            services_after,
            snapshot: name,
            passed_over: Vec::new(),
            copy,
            snapshots: None,
            files,
            previous: previous.clone(),
            services,
            epoch: epoch.ok_or(RecoverLedgerError::NoService)?,
            endorsed_at,
        })
    }

    /// Where the copy is.
    pub const fn copy(&self) -> &F {
        &self.copy
    }

    /// Brings the service back: copies its ledger as far as it was signed, and lets the new one begin there. Durable on return,
    /// and verified. The folders of its ledger and its snapshots are there and have nothing in them.
    ///
    /// # Errors
    /// [`RecoverLedgerError`]. What was made until then is of no use.
    ///
    /// # Panics
    /// Never: one period is a sequence.
    pub fn recover<T: Folder + Clone>(
        &self,
        (ledger, snapshots): (&T, &T),
        schema: Vec<MapSpec>,
        service: &NewService<'_>,
    ) -> Result<LedgerSecrets, RecoverLedgerError> {
        let secrets = LedgerSecrets::new([Period {
            from: self.signed.seqno.next(),
            secret: service.secret.clone(),
        }])
        .expect("one period is a sequence");
        let view = view_after(self.signed, self.last)?;
        let begin = self.copy_snapshot_to(snapshots)?;
        self.copy_to(ledger)?;
        let mut writer = LedgerFiles::open(ledger.clone())?.into_writer()?;
        // A tail that misses a sector was not verified, and counts as an entry here.
        writer.truncate(self.signed.seqno)?;
        drop(writer);
        let mut files = LedgerFiles::open(ledger.clone())?;
        let keyring = Keyring::from(secrets.clone());
        let mut loader = match &begin {
            Some((name, bytes)) => {
                Begin::of(*name, bytes, &self.services[0])?.load(keyring, schema)?
            }
            None => Loader::new(keyring, schema, service.secret.index_key(), 0),
        };
        let from = loader.last().seqno.next();
        files.replay(from, |entry, is_committed| loader.push(entry, is_committed)).map_err(
            |error| match error {
                ReplayError::Files(error) => RecoverLedgerError::Copy(error),
                ReplayError::Taker { file, offset, source } => {
                    RecoverLedgerError::Entry { file, offset, source: Box::new(source) }
                }
            },
        )?;
        let entries = self.first_entries(&loader, view, service)?;
        let mut writer = files.into_writer()?;
        for entry in &entries {
            writer.append(entry, false)?;
        }
        writer.sync()?;
        drop(writer);
        let begin = begin.as_ref().map(|(name, bytes)| (*name, &bytes[..]));
        self.check_made(ledger, begin, service.certificate, &secrets)?;
        Ok(secrets)
    }

    /// Copies the snapshot that is begun with; its bytes, as they can be read where they are now.
    fn copy_snapshot_to<T: Folder + Clone>(
        &self,
        to: &T,
    ) -> Result<Option<(SnapshotName, Vec<u8>)>, RecoverLedgerError> {
        let (Some(name), Some(from)) = (self.snapshot, &self.snapshots) else { return Ok(None) };
        let bytes = from.read(name);
        let bytes = bytes.map_err(|error| RecoverLedgerError::Source(Box::new(error.into())))?;
        let to = SnapshotFiles::open(to.clone())?;
        let mut file = to.begin_copy(name.seqno)?;
        file.append(&bytes)?;
        to.finish(file, name, &[])?;
        Ok(Some((name, to.read(name)?)))
    }

    fn copy_to(&self, ledger: &impl Folder) -> Result<(), RecoverLedgerError> {
        for file in &self.files {
            let to = ledger.create(&file.name.to_string())?;
            let bytes = file.read(&self.copy);
            let bytes = bytes.map_err(|error| RecoverLedgerError::Source(Box::new(error)))?;
            to.write_at(&bytes, 0)?;
            to.sync_all()?;
        }
        Ok(ledger.sync()?)
    }

    /// The entry with which the service begins anew, and a signature.
    fn first_entries(
        &self,
        loader: &Loader,
        view: View,
        service: &NewService<'_>,
    ) -> Result<Vec<Bytes>, RecoverLedgerError> {
        let NewService { certificate, node, signer, cipher, secret, now } = *service;
        let head = loader.reader().head();
        let map = |name| head.map(&MapName::from_static(name)).ok_or(RecoverLedgerError::NoService);
        let service_row = head.get(map(SERVICE_MAP)?, singleton_key());
        let service_row = service_row.ok_or(RecoverLedgerError::NoService)?;
        // It may have been opened after the last signature, which nobody can vouch for.
        was_open(service_status(&service_row).ok_or(RecoverLedgerError::NoService)?)?;
        let node_rows = head.range(map(NODES_INFO)?, &[], None, usize::MAX);
        let node_rows: Vec<_> = node_rows
            .into_iter()
            .filter_map(|(key, row)| Some((str::from_utf8(&key).ok()?.parse().ok()?, row.to_vec())))
            .collect();
        let (tree, last) = {
            let state = loader.state();
            let state = state.read();
            (state.tree().clone(), state.last().seqno)
        };
        // What was verified, and not what the ledger says of itself.
        let before = EndorsedService { key: self.previous.key().clone(), epoch: self.epoch };
        let sign = |to_be_signed: &[u8]| signer.sign_cose(to_be_signed);
        let endorsement =
            EndorsementRow::new(&before, certificate.key(), sign, self.endorsed_at, now);
        let id = TxId { view, seqno: last.next() };
        let mut writes = Recovery {
            id,
            certificate_pem: &certificate.pem(),
            previous_pem: &self.previous.pem(),
            signed_root: self.epoch.root,
            endorsement: &endorsement,
            service_row: &service_row,
            node_rows: &node_rows,
            node,
        }
        .write_set()?;
        put_recovered_period(&mut writes, id.seqno, secret, node, cipher)?;
        let mut ledger = FirstLedger::after(secret.clone(), view, tree, last);
        ledger.append(&writes)?;
        ledger.sign(signer, now)?;
        Ok(ledger.into_entries())
    }

    /// Reads what was made as an auditor does who trusts the service that begins. Its own entries are opened, too.
    fn check_made(
        &self,
        ledger: &impl Folder,
        begin: Option<(SnapshotName, &[u8])>,
        service: &Certificate,
        secrets: &LedgerSecrets,
    ) -> Result<(), RecoverLedgerError> {
        let services: Vec<_> = self.services.iter().chain([service]).cloned().collect();
        let begin = begin.map(|(name, bytes)| Begin::of(name, bytes, &services[0])).transpose()?;
        let made = |error| RecoverLedgerError::Made(Box::new(error));
        let verifier = verifier(&services, begin.as_ref()).map_err(made)?;
        let mut verifier = verifier.with_secret(secrets.clone());
        for file in &files(ledger)? {
            let bytes = read_whole(&ledger.open_to_read(&file.name.to_string())?)?;
            verifier.chunk(&file.name.to_string(), &bytes).map_err(made)?;
        }
        if let Some(begin) = &begin {
            begin.check(&verifier).map_err(made)?;
        }
        // What was signed is all there, and only the first entry came before the signature over it.
        verifier.finish(Some(self.signed)).map(drop).map_err(made)
    }
}

/// How many views after the last signature of the service before a recovered one begins.
const RECOVERY_VIEWS: u64 = 2;

/// How many views after the last signature entries under none are believed. Elections that nobody won use up views, seldom
/// as many; and whoever held the copy may have written what he likes there.
const UNSIGNED_VIEWS_MAX: u64 = 1 << 20;

/// The first view of the service: later than all that there were, and as far after what is kept as CCF's tools expect it.
fn view_after(signed: TxId, last: TxId) -> Result<View, RecoverLedgerError> {
    let latest = last.view.0.min(signed.view.0 + UNSIGNED_VIEWS_MAX);
    let view = View((latest + 1).max(signed.view.0 + RECOVERY_VIEWS));
    // Some are left for the service.
    if view.0 + UNSIGNED_VIEWS_MAX > View::MAX.0 {
        return Err(RecoverLedgerError::Views);
    }
    Ok(view)
}

/// The snapshot that a ledger is begun with, which one service stands by.
struct Begin<'a> {
    name: SnapshotName,
    snapshot: VerifiedSnapshot<'a>,
}

impl<'a> Begin<'a> {
    fn of(
        name: SnapshotName,
        bytes: &'a [u8],
        service: &Certificate,
    ) -> Result<Self, RecoverLedgerError> {
        let snapshot = SnapshotFile::split(bytes)
            .and_then(|file| file.verify_under(name, service.key()))
            .map_err(|source| RecoverLedgerError::Snapshot { name, source })?;
        Ok(Self { name, snapshot })
    }

    /// Checks that its evidence is among the entries that were read.
    fn check(&self, verifier: &Verifier) -> Result<(), VerifyLedgerError> {
        verifier.check_snapshot(&self.name.to_string(), &self.snapshot)
    }

    /// What of its state everybody may read.
    fn load(self, keyring: Keyring, schema: Vec<MapSpec>) -> Result<Loader, RecoverLedgerError> {
        let Self { name, snapshot } = self;
        Loader::from_snapshot(keyring, schema, 0, snapshot)
            .map_err(|source| RecoverLedgerError::Restore { name, source: Box::new(source) })
    }
}

fn verifier(
    services: &[Certificate],
    begin: Option<&Begin<'_>>,
) -> Result<Verifier, VerifyLedgerError> {
    let services = services.to_vec();
    match begin {
        None => Ok(Verifier::of_services(services)),
        Some(Begin { name, snapshot }) => {
            Verifier::of_services_from(services, &name.to_string(), snapshot)
        }
    }
}

fn verified(
    services: &[Certificate],
    begin: Option<&Begin<'_>>,
    copy: &impl Folder,
    files: &[KeptFile],
) -> Result<Verifier, RecoverLedgerError> {
    let mut verifier = verifier(services, begin)?;
    for file in files {
        verifier.chunk_as_at_start(&file.name.to_string(), &file.read(copy)?)?;
    }
    Ok(verifier)
}

/// Checks that a ledger was read to its end. Its last service may have been lost before it signed anything.
fn was_read(verifier: Verifier) -> Result<(), VerifyLedgerError> {
    match verifier.finish(None) {
        Err(error) if !matches!(error.fault, LedgerFault::UnsignedService(_)) => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}

fn was_open(status: ServiceStatus) -> Result<(), RecoverLedgerError> {
    match status {
        ServiceStatus::Open => Ok(()),
        ServiceStatus::Opening
        | ServiceStatus::WaitingForRecoveryShares
        | ServiceStatus::Recovering => Err(RecoverLedgerError::NotOpen(status)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_that_nobody_signed_do_not_use_up_the_views() {
        let id = |view| TxId { view: View(view), seqno: Seqno(9) };
        let after = |signed, last| view_after(id(signed), id(last)).ok().map(|view| view.0);
        assert_eq!(after(2, 2), Some(4));
        assert_eq!(after(2, 7), Some(8));
        assert_eq!(after(2, View::MAX.0), Some(2 + UNSIGNED_VIEWS_MAX + 1));
        assert_eq!(after(View::MAX.0 - 9, View::MAX.0 - 9), None);
    }
}
