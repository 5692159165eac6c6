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
//! A recovery that never came to its opening has no shares of its own. Where only its ledger is left, the service before it is
//! named as the one that was lost: what came after it is left out then.

use std::fmt;

use bytes::Bytes;
use coco_crypto::Certificate;
use coco_governance::tables::NODES_INFO;
use coco_kv::{MapName, MapSpec};
use coco_ledger::{
    CHUNK_HEADER_BYTES, Chunk, ChunkName, EndorsedService, EndorsementRow, Epoch, FileError,
    FirstLedger, Folder, FolderFile as _, GenesisNode, LedgerFault, LedgerFiles, LedgerFilesError,
    LedgerSecret, LedgerSecrets, MembershipError, Period, Recovery, ReplayError, SERVICE_MAP,
    SealEntryError, ServiceStatus, Signer, UnsignedRange, VerifiedReceipt, Verifier,
    VerifyLedgerError, note_services, open_chunk, read_whole, service_status, settle_open_chunk,
    singleton_key, used_chunks,
};
use coco_types::{Digest, Seqno, TxId, View};
use thiserror::Error;

use crate::{
    load::{LoadError, Loader},
    node_cipher::{Keyring, NodeCipher, NodeKeyError},
    periods::put_recovered_period,
};

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
    #[error("the copy does not hold the ledger from its first entry on")]
    NoLedger,
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
    copy: F,
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
        let mut files = files(&copy)?;
        let said = said_of_services(&copy, &files)?;
        let mut services = said.services;
        let lost = services.iter().rposition(|service| service.key() == previous.key());
        let mut services_after = 0;
        if let Some(next) = lost.map(|at| at + 1).filter(|next| *next < services.len()) {
            if let Some(at) = said.parts[next..].iter().position(|part| part.was_open) {
                return Err(RecoverLedgerError::LaterOpen(services[next + at].digest()));
            }
            // What is left out is believed, that it was never open, only where all of it can be read.
            was_read(verified(&services, &copy, &files)?)?;
            services_after = services.len() - next;
            services.truncate(next);
            keep_before(&mut files, &said.parts[next]);
        } else if lost.is_none() {
            services = vec![previous.clone()];
        }
        let verifier = verified(&services, &copy, &files)?;
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
            copy,
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
    /// and verified. The ledger's folder is there and has nothing in it.
    ///
    /// # Errors
    /// [`RecoverLedgerError`]. What was made until then is of no use.
    ///
    /// # Panics
    /// Never: one period is a sequence.
    pub fn recover<T: Folder + Clone>(
        &self,
        ledger: &T,
        schema: Vec<MapSpec>,
        service: &NewService<'_>,
    ) -> Result<LedgerSecrets, RecoverLedgerError> {
        let secrets = LedgerSecrets::new([Period {
            from: self.signed.seqno.next(),
            secret: service.secret.clone(),
        }])
        .expect("one period is a sequence");
        let view = view_after(self.signed, self.last)?;
        self.copy_to(ledger)?;
        let mut writer = LedgerFiles::open(ledger.clone())?.into_writer()?;
        // A tail that misses a sector was not verified, and counts as an entry here.
        writer.truncate(self.signed.seqno)?;
        drop(writer);
        let mut files = LedgerFiles::open(ledger.clone())?;
        let keyring = Keyring::from(secrets.clone());
        let mut loader = Loader::new(keyring, schema, service.secret.index_key(), 0);
        files.replay(Seqno(1), |entry, is_committed| loader.push(entry, is_committed)).map_err(
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
        self.check_made(ledger, service.certificate, &secrets)?;
        Ok(secrets)
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
        service: &Certificate,
        secrets: &LedgerSecrets,
    ) -> Result<(), RecoverLedgerError> {
        let services = self.services.iter().chain([service]).cloned().collect();
        let mut verifier = Verifier::of_services(services).with_secret(secrets.clone());
        let made = |error| RecoverLedgerError::Made(Box::new(error));
        for file in &files(ledger)? {
            let bytes = read_whole(&ledger.open_to_read(&file.name.to_string())?)?;
            verifier.chunk(&file.name.to_string(), &bytes).map_err(made)?;
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

/// A file of the ledger, as far as it is kept.
#[derive(Clone, Debug)]
struct KeptFile {
    /// Its name in the copy.
    file: String,
    /// The name under which it is kept.
    name: ChunkName,
    /// Where another service begins in it, which is left out: an offset after some entry.
    upto: Option<usize>,
}

impl KeptFile {
    /// Its bytes, as those of a chunk with its name.
    fn read(&self, copy: &impl Folder) -> Result<Vec<u8>, RecoverLedgerError> {
        let mut bytes = read_whole(&copy.open_to_read(&self.file)?)?;
        if self.name.last.is_none() && self.upto.is_none() {
            settle_open_chunk(self.name, &mut bytes)?;
        }
        if let Some(upto) = self.upto {
            bytes.truncate(upto);
            bytes[..CHUNK_HEADER_BYTES].copy_from_slice(&open_chunk());
        }
        Ok(bytes)
    }
}

/// The ledger's files in their order.
fn files(folder: &impl Folder) -> Result<Vec<KeptFile>, RecoverLedgerError> {
    let named = |file: String| {
        let name = file.parse::<ChunkName>().ok()?;
        Some(KeptFile { file, name, upto: None })
    };
    let mut files: Vec<KeptFile> = folder.names()?.into_iter().filter_map(named).collect();
    files.sort_by_key(|file| file.name);
    // As at a start: an archived chunk may have come back beside the node's own.
    let names: Vec<ChunkName> = files.iter().map(|file| file.name).collect();
    let used = used_chunks(folder, &names)?;
    files.retain(|file| used.contains(&file.name));
    match files.first() {
        Some(file) if file.name.first == Seqno(1) => Ok(files),
        Some(_) | None => Err(RecoverLedgerError::NoLedger),
    }
}

fn verified(
    services: &[Certificate],
    copy: &impl Folder,
    files: &[KeptFile],
) -> Result<Verifier, RecoverLedgerError> {
    let mut verifier = Verifier::of_services(services.to_vec());
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

/// What the entries of a ledger say of its services. Nothing is verified.
#[derive(Default)]
struct Said {
    services: Vec<Certificate>,
    /// Where each begins, and whether it was ever open.
    parts: Vec<Part>,
    /// The last entry.
    last: TxId,
}

/// A stretch of the ledger that is of one service.
struct Part {
    /// The file that it begins in, by its place, and the offset there.
    file: usize,
    offset: u64,
    was_open: bool,
}

/// A ledger may have been recovered before. What cannot be read is refused later, with its place.
fn said_of_services(copy: &impl Folder, files: &[KeptFile]) -> Result<Said, RecoverLedgerError> {
    let mut said = Said::default();
    for (file, kept) in files.iter().enumerate() {
        let bytes = kept.read(copy)?;
        let Ok(chunk) = Chunk::parse(&bytes) else { break };
        for (offset, entry) in &chunk.entries {
            said.last = entry.tx_id();
            let Ok(writes) = entry.public_writes() else { continue };
            let _unread: Result<(), _> = note_services(&mut said.services, &writes);
            if said.services.len() > said.parts.len() {
                said.parts.push(Part { file, offset: *offset, was_open: false });
            }
            let row = writes.get(&MapName::from_static(SERVICE_MAP), singleton_key());
            let is_open = row.and_then(service_status) == Some(ServiceStatus::Open);
            if let Some(part) = said.parts.last_mut() {
                part.was_open |= is_open;
            }
        }
    }
    Ok(said)
}

/// Leaves out what begins with a part of the ledger. Nothing is cut where it lies.
fn keep_before(files: &mut Vec<KeptFile>, part: &Part) {
    files.truncate(part.file + 1);
    let upto = usize::try_from(part.offset).expect("the file is in memory");
    match files.last_mut() {
        Some(file) if upto > CHUNK_HEADER_BYTES => {
            file.upto = Some(upto);
            file.name = ChunkName { last: None, is_committed: false, ..file.name };
        }
        Some(_) | None => drop(files.pop()),
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
