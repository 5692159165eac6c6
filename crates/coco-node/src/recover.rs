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

use std::{
    fs::{self, File},
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use coco_crypto::{
    AltName, Certificate, CertificateError, Curve, DecryptionKey, EndorseNode, SecretBytes,
    SigningKey, endorse_node, service_certificate,
};
use coco_evm::state;
use coco_governance::tables::NODES_INFO;
use coco_kv::MapName;
use coco_ledger::{
    CHUNK_HEADER_BYTES, Chunk, ChunkName, EndorsedService, Epoch, FirstLedger, GenesisNode,
    LEDGER_SECRET_BYTES, LedgerFault, LedgerFilesError, LedgerSecret, LedgerSecrets,
    MembershipError, Period, Recovery, ReplayError, SERVICE_MAP, SealEntryError, ServiceSigner,
    ServiceStatus, UnsignedRange, VerifiedReceipt, Verifier, VerifyLedgerError, note_services,
    open_chunk, settle_open_chunk, singleton_key,
};
use coco_replica::{Keyring, LoadError, Loader, NodeKeyError, put_recovered_period};
use coco_types::{Digest, Seqno, TxId, View};
use thiserror::Error;

use crate::{
    folder::{DiskFolder, LedgerFiles},
    identity::{Identity, IdentityError},
    provision::{LEDGER_FOLDER, VIRTUAL_QUOTE_FORMAT, a_year_from},
    service_status::status_of,
    tls::peer_dns_name,
};

/// What a service is brought back from.
#[derive(Debug)]
pub struct RecoverSpec<'a> {
    /// What [`reach`] said of the ledger. Its files are only read.
    pub reach: &'a Reach,
    /// The certificate of the service that was lost, which the operator trusts.
    pub previous: &'a Certificate,
    /// The folder of the node, which is made.
    pub folder: &'a Path,
    /// Where clients reach it, host and port.
    pub client_address: String,
    /// Where other nodes reach it, host and port.
    pub peer_address: String,
    /// Further names of its certificate.
    pub names: &'a [AltName],
    /// SHA-256 of the program that it runs.
    pub code_digest: Digest,
    /// Seconds since 1970.
    pub now: u64,
}

/// What was made.
#[derive(Debug)]
pub struct Recovered {
    /// The certificate of the service.
    pub service: Certificate,
    /// The node.
    pub node: coco_types::NodeId,
}

/// Why a service was not brought back.
#[derive(Debug, Error)]
pub enum RecoverError {
    /// A folder or file cannot be read or written.
    #[error("cannot access {path}")]
    File {
        /// Which one.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// There is nothing to begin from.
    #[error("{0} does not hold the ledger from its first entry on")]
    NoLedger(PathBuf),
    /// The ledger is not what the old service signed.
    #[error("the ledger does not verify")]
    Verify(#[from] VerifyLedgerError),
    /// What was made of it is not what every auditor will hold it to be.
    #[error(
        "what was made of the ledger does not verify, so nothing is sealed: see whether {ledger} or the copy changed \
         meanwhile, remove the folder and begin again"
    )]
    Made {
        /// Where it was made.
        ledger: PathBuf,
        /// What is wrong with it.
        source: Box<VerifyLedgerError>,
    },
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
    /// A certificate cannot be made.
    #[error("cannot make a certificate")]
    Certificate(#[from] CertificateError),
    /// An entry cannot be made.
    #[error("cannot make the first entry of the service")]
    Seal(#[from] SealEntryError),
    /// The node's own key cannot be used.
    #[error("cannot write the ledger secret down for the node")]
    NodeKey(#[from] NodeKeyError),
    /// The identity cannot be sealed.
    #[error("cannot seal the identity")]
    Identity(#[from] IdentityError),
    /// The views are used up.
    #[error("the ledger has had as many views as there can be")]
    Views,
}

/// Makes the folder of a node with which a service begins anew. Durable on return; the identity is written last, so that a
/// folder that is half made starts no node.
///
/// # Errors
/// [`RecoverError`], also when the folder holds something already.
///
/// # Panics
/// When the system has no entropy.
pub fn recover(spec: &RecoverSpec<'_>) -> Result<Recovered, RecoverError> {
    let Reach { signed, last, .. } = *spec.reach;
    let ledger = spec.folder.join(LEDGER_FOLDER);
    copy(&spec.reach.files, &ledger)?;

    let mut secret = vec![0; LEDGER_SECRET_BYTES];
    aws_lc_rs::rand::fill(&mut secret).expect("the system has entropy");
    let secret = SecretBytes::new(secret);
    let secret = LedgerSecret::new(secret.expose().try_into().expect("it was made so long"));
    let first = signed.seqno.next();
    let secrets = LedgerSecrets::new([Period { from: first, secret: secret.clone() }])
        .expect("one period is a sequence");
    let view = view_after(signed, last)?;

    let files = LedgerFiles::open(DiskFolder::new(&ledger))?;
    let mut writer = files.into_writer()?;
    // A tail that misses a sector was not verified, and counts as an entry here.
    writer.truncate(signed.seqno)?;
    drop(writer);
    let mut files = LedgerFiles::open(DiskFolder::new(&ledger))?;
    let keyring = Keyring::from(secrets.clone());
    let mut loader = Loader::new(keyring, state::schema(), secret.index_key(), 0);
    files.replay(Seqno(1), |entry, is_committed| loader.push(entry, is_committed)).map_err(
        |error| match error {
            ReplayError::Files(error) => RecoverError::Copy(error),
            ReplayError::Taker { file, offset, source } => {
                RecoverError::Entry { file, offset, source: Box::new(source) }
            }
        },
    )?;

    let identity = identity(spec, secrets)?;
    let entries = first_entries(spec, &loader, &identity, view, &secret)?;
    let mut writer = files.into_writer()?;
    for entry in &entries {
        writer.append(entry, false)?;
    }
    writer.sync()?;
    drop(writer);
    check_made(spec.reach, &identity, &ledger)?;
    sync(spec.folder)?;
    identity.seal(spec.folder)?;
    sync(spec.folder)?;
    Ok(Recovered { service: identity.service_cert.clone(), node: identity.node_id })
}

/// Reads what was made as an auditor does who trusts the service that begins. Its own entries are opened, too.
fn check_made(reach: &Reach, identity: &Identity, ledger: &Path) -> Result<(), RecoverError> {
    let services = reach.services.iter().chain([&identity.service_cert]).cloned().collect();
    let secrets = identity.ledger_secrets().clone();
    let mut verifier = Verifier::of_services(services).with_secret(secrets);
    let made = |source| RecoverError::Made { ledger: ledger.to_owned(), source: Box::new(source) };
    for (name, path) in &chunks(ledger)? {
        verifier.chunk(&name.to_string(), &read(path)?).map_err(made)?;
    }
    // What was signed is all there, and only the first entry came before the signature over it.
    verifier.finish(Some(reach.signed)).map(drop).map_err(made)
}

/// How many views after the last signature of the service before a recovered one begins.
const RECOVERY_VIEWS: u64 = 2;

/// How many views after the last signature entries under none are believed. Elections that nobody won use up views, seldom
/// as many; and whoever held the copy may have written what he likes there.
const UNSIGNED_VIEWS_MAX: u64 = 1 << 20;

/// The first view of the service: later than all that there were, and as far after what is kept as CCF's tools expect it.
fn view_after(signed: TxId, last: TxId) -> Result<View, RecoverError> {
    let latest = last.view.0.min(signed.view.0 + UNSIGNED_VIEWS_MAX);
    let view = View((latest + 1).max(signed.view.0 + RECOVERY_VIEWS));
    // Some are left for the service.
    if view.0 + UNSIGNED_VIEWS_MAX > View::MAX.0 {
        return Err(RecoverError::Views);
    }
    Ok(view)
}

/// The ledger's files in their order.
fn chunks(folder: &Path) -> Result<Vec<(ChunkName, PathBuf)>, RecoverError> {
    let failed = |source| RecoverError::File { path: folder.to_owned(), source };
    let mut chunks = Vec::new();
    for file in fs::read_dir(folder).map_err(failed)? {
        let file = file.map_err(failed)?;
        let name = file.file_name();
        if let Some(name) = name.to_str().and_then(|name| name.parse::<ChunkName>().ok()) {
            chunks.push((name, file.path()));
        }
    }
    chunks.sort();
    match chunks.first() {
        Some((name, _)) if name.first == Seqno(1) => Ok(chunks),
        Some(_) | None => Err(RecoverError::NoLedger(folder.to_owned())),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, RecoverError> {
    fs::read(path).map_err(|source| RecoverError::File { path: path.to_owned(), source })
}

/// A file of the ledger, as far as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
struct KeptFile {
    name: ChunkName,
    path: PathBuf,
    /// Where another service begins in it, which is left out: an offset after some entry.
    upto: Option<usize>,
}

impl KeptFile {
    /// Its bytes, as those of a chunk with its name.
    fn read(&self) -> Result<Vec<u8>, RecoverError> {
        let mut bytes = read(&self.path)?;
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

/// How far a copy of a ledger reaches, that was verified.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    /// The last signature of the service: everything until there can be brought back.
    pub signed: TxId,
    /// The last entry. What is after the last signature nobody can vouch for; it is left out.
    pub last: TxId,
    /// What at the end of all that is under no signature: also parts of the last signature entry, which is kept.
    pub unsigned: Vec<UnsignedRange>,
    /// How many services after the one that was lost, none of which was ever open, are left out with their entries.
    pub services_after: usize,
    files: Vec<KeptFile>,
    /// The services that the ledger went through, the one that was lost last.
    services: Vec<Certificate>,
    /// What that service's successor says of it, and the entry that says so of the one before it.
    epoch: Epoch,
    endorsed_at: Option<Seqno>,
}

/// Verifies a copy of a ledger against the service that was lost, and says how far it reaches. It must hold what the
/// receipts prove.
///
/// # Errors
/// [`RecoverError`] that says what is wrong with the copy, and where.
pub fn reach(
    ledger: &Path,
    previous: &Certificate,
    receipts: &[VerifiedReceipt],
) -> Result<Reach, RecoverError> {
    let chunks = chunks(ledger)?;
    let whole = |(name, path)| KeptFile { name, path, upto: None };
    let mut files: Vec<KeptFile> = chunks.into_iter().map(whole).collect();
    let said = said_of_services(&files)?;
    let mut services = said.services;
    let lost = services.iter().rposition(|service| service.key() == previous.key());
    let mut services_after = 0;
    if let Some(next) = lost.map(|at| at + 1).filter(|next| *next < services.len()) {
        if let Some(at) = said.parts[next..].iter().position(|part| part.was_open) {
            return Err(RecoverError::LaterOpen(services[next + at].digest()));
        }
        // What is left out is believed, that it was never open, only where all of it can be read.
        was_read(verified(&services, &files)?)?;
        services_after = services.len() - next;
        services.truncate(next);
        keep_before(&mut files, &said.parts[next]);
    } else if lost.is_none() {
        services = vec![previous.clone()];
    }
    let verifier = verified(&services, &files)?;
    receipts.iter().try_for_each(|receipt| verifier.check_receipt(receipt))?;
    let (epoch, endorsed_at) = (verifier.epoch(), verifier.endorsed_at());
    let report = verifier.finish(None)?;
    was_open(report.status)?;
    let last = if services_after > 0 { said.last.max(report.last) } else { report.last };
    Ok(Reach {
        signed: report.signed,
        last,
        unsigned: report.unsigned,
        services_after,
        files,
        services,
        epoch: epoch.ok_or(RecoverError::NoService)?,
        endorsed_at,
    })
}

fn verified(services: &[Certificate], files: &[KeptFile]) -> Result<Verifier, RecoverError> {
    let mut verifier = Verifier::of_services(services.to_vec());
    for file in files {
        verifier.chunk_as_at_start(&file.name.to_string(), &file.read()?)?;
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
fn said_of_services(files: &[KeptFile]) -> Result<Said, RecoverError> {
    let mut said = Said::default();
    for (file, kept) in files.iter().enumerate() {
        let bytes = kept.read()?;
        let Ok(chunk) = Chunk::parse(&bytes) else { break };
        for (offset, entry) in &chunk.entries {
            said.last = entry.tx_id();
            let Ok(writes) = entry.public_writes() else { continue };
            let _unread: Result<(), _> = note_services(&mut said.services, &writes);
            if said.services.len() > said.parts.len() {
                said.parts.push(Part { file, offset: *offset, was_open: false });
            }
            let row = writes.get(&MapName::from_static(SERVICE_MAP), singleton_key());
            let is_open = row.and_then(status_of) == Some(ServiceStatus::Open);
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

fn was_open(status: ServiceStatus) -> Result<(), RecoverError> {
    match status {
        ServiceStatus::Open => Ok(()),
        ServiceStatus::Opening
        | ServiceStatus::WaitingForRecoveryShares
        | ServiceStatus::Recovering => Err(RecoverError::NotOpen(status)),
    }
}

fn copy(files: &[KeptFile], ledger: &Path) -> Result<(), RecoverError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| RecoverError::File { path, source }
    };
    if let Some(folder) = ledger.parent() {
        fs::create_dir_all(folder).map_err(failed(folder))?;
    }
    fs::create_dir(ledger).map_err(failed(ledger))?;
    for file in files {
        let to = ledger.join(file.name.to_string());
        let copied = match file.upto {
            None => fs::copy(&file.path, &to).map(drop),
            Some(_) => fs::write(&to, file.read()?),
        };
        copied.map_err(failed(&to))?;
        // An archive may be one that nobody may write to. Its copy is cut, and grows.
        fs::set_permissions(&to, fs::Permissions::from_mode(0o600)).map_err(failed(&to))?;
        File::open(&to).and_then(|file| file.sync_all()).map_err(failed(&to))?;
    }
    sync(ledger)
}

fn sync(folder: &Path) -> Result<(), RecoverError> {
    File::open(folder)
        .and_then(|open| open.sync_all())
        .map_err(|source| RecoverError::File { path: folder.to_owned(), source })
}

fn identity(spec: &RecoverSpec<'_>, secrets: LedgerSecrets) -> Result<Identity, RecoverError> {
    let validity = a_year_from(spec.now);
    let (service_key, key) = (SigningKey::generate(Curve::P384), SigningKey::generate(Curve::P384));
    let service = service_certificate(&service_key, validity)?;
    let mut names = spec.names.to_vec();
    names.push(AltName::Dns(peer_dns_name(key.public().node_id())));
    let endorsement = EndorseNode { key: key.public(), names: &names, validity };
    let certificate = endorse_node(&service_key, &service, &endorsement)?;
    let encryption_key = Arc::new(DecryptionKey::generate());
    Ok(Identity::new(&key, certificate, &service_key, service, encryption_key, secrets))
}

/// The entry with which the service begins anew, and a signature.
fn first_entries(
    spec: &RecoverSpec<'_>,
    loader: &Loader,
    identity: &Identity,
    view: View,
    secret: &LedgerSecret,
) -> Result<Vec<bytes::Bytes>, RecoverError> {
    let head = loader.reader().head();
    let map = |name| head.map(&MapName::from_static(name)).ok_or(RecoverError::NoService);
    let service_row = head.get(map(SERVICE_MAP)?, singleton_key());
    let service_row = service_row.ok_or(RecoverError::NoService)?;
    // It may have been opened after the last signature, which nobody can vouch for.
    was_open(status_of(&service_row).ok_or(RecoverError::NoService)?)?;
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
    let Reach { epoch, endorsed_at, .. } = *spec.reach;
    let before = EndorsedService { key: spec.previous.key().clone(), epoch };
    let endorsement = identity.endorse_before(&before, endorsed_at, spec.now);
    let id = TxId { view, seqno: last.next() };
    let node = GenesisNode {
        node_id: identity.node_id,
        certificate_pem: identity.node_cert.pem(),
        quote_format: VIRTUAL_QUOTE_FORMAT.to_owned(),
        code_digest: spec.code_digest,
        rpc_address: spec.client_address.clone(),
        peer_address: spec.peer_address.clone(),
        encryption_key_pem: identity.encryption_key().public().pem(),
    };
    let mut writes = Recovery {
        id,
        certificate_pem: &identity.service_cert.pem(),
        previous_pem: &spec.previous.pem(),
        signed_root: epoch.root,
        endorsement: &endorsement,
        service_row: &service_row,
        node_rows: &node_rows,
        node: &node,
    }
    .write_set()?;
    let cipher = identity.encryption_key();
    put_recovered_period(&mut writes, id.seqno, secret, identity.node_id, cipher)?;
    let (node_key, service_key) = (identity.node_key_secret(), identity.service_key_secret());
    let signer = ServiceSigner::new(node_key, identity.node_cert.pem(), service_key)
        .expect("keys that were just made can sign");
    let mut ledger = FirstLedger::after(secret.clone(), view, tree, last);
    ledger.append(&writes)?;
    ledger.sign(&signer, spec.now)?;
    Ok(ledger.into_entries())
}

#[cfg(test)]
mod tests {
    use coco_evm::genesis::{ChainConfig, Genesis};

    use super::*;
    use crate::{
        identity::IDENTITY_FILE,
        provision::{NetworkSpec, NodeSpec, provision},
    };

    #[test]
    fn the_copy_of_an_archive_that_nobody_may_write_to_is_written_to() {
        let folder = tempfile::tempdir().expect("makes a folder");
        let name: ChunkName = "ledger_1-2.committed".parse().expect("a name");
        let path = folder.path().join("archived");
        fs::write(&path, b"bytes").expect("writes");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).expect("takes rights");
        let ledger = folder.path().join("ledger");
        copy(&[KeptFile { name, path, upto: None }], &ledger).expect("copies");
        let copied = fs::metadata(ledger.join(name.to_string())).expect("it is there");
        assert_eq!(copied.permissions().mode() & 0o777, 0o600);
    }

    /// Makes the ledger of a service in a folder; its certificate.
    fn provisioned(lost: &NodeSpec) -> Certificate {
        provision(&NetworkSpec {
            nodes: std::slice::from_ref(lost),
            code_digest: Digest::ZERO,
            names: &[],
            genesis: &Genesis::new(ChainConfig::new(1)),
            governance: None,
            now: NOW,
        })
        .expect("there is nothing yet");
        Identity::open(&lost.folder).expect("opens").service_cert
    }

    fn place(folder: &Path, name: &str) -> NodeSpec {
        NodeSpec {
            folder: folder.join(name),
            client_address: "127.0.0.1:1000".to_owned(),
            peer_address: "127.0.0.1:2000".to_owned(),
        }
    }

    /// Recovers what is within reach.
    fn recover_to(
        reach: &Reach,
        previous: &Certificate,
        place: NodeSpec,
    ) -> Result<Recovered, RecoverError> {
        let NodeSpec { folder, client_address, peer_address } = place;
        recover(&RecoverSpec {
            reach,
            previous,
            folder: &folder,
            client_address,
            peer_address,
            names: &[],
            code_digest: Digest::ZERO,
            now: NOW,
        })
    }

    const NOW: u64 = 1_700_000_000;

    /// The power went between the first entry of a recovery and its signature, or somebody has put the entry there.
    #[test]
    fn a_service_that_signed_nothing_is_left_out_and_never_brought_back() {
        let folder = tempfile::tempdir().expect("makes a folder");
        let lost = place(folder.path(), "lost");
        let previous = provisioned(&lost);
        let found = reach(&lost.folder.join(LEDGER_FOLDER), &previous, &[]).expect("it is sound");
        let begun = place(folder.path(), "begun");
        let ledger = begun.folder.join(LEDGER_FOLDER);
        let begun = recover_to(&found, &previous, begun).expect("it is sound");
        let files = LedgerFiles::open(DiskFolder::new(&ledger)).expect("opens");
        let mut writer = files.into_writer().expect("opens");
        writer.truncate(found.signed.seqno.next()).expect("it is not committed");
        drop(writer);

        let again = reach(&ledger, &previous, &[]).expect("the rest is sound");
        assert_eq!((again.signed, again.services_after), (found.signed, 1));
        let refused = reach(&ledger, &begun.service, &[]);
        let is_unsigned = |error: &RecoverError| match error {
            RecoverError::Verify(error) => matches!(error.fault, LedgerFault::UnsignedService(_)),
            _ => false,
        };
        assert!(refused.as_ref().is_err_and(is_unsigned), "{refused:?}");
    }

    /// The copy that is made is another than the one that was verified: what its first entry says is not believed.
    #[test]
    fn nothing_is_sealed_that_does_not_verify() {
        let folder = tempfile::tempdir().expect("makes a folder");
        let lost = place(folder.path(), "lost");
        let previous = provisioned(&lost);
        let found = reach(&lost.folder.join(LEDGER_FOLDER), &previous, &[]).expect("it is sound");
        let mut other = found.clone();
        other.epoch.first = TxId::new(2, 2);
        for (name, reach) in [("sound", &found), ("other", &other)] {
            let again = place(folder.path(), name);
            let identity = again.folder.join(IDENTITY_FILE);
            let made = recover_to(reach, &previous, again);
            let is_sound = name == "sound";
            assert_eq!(identity.exists(), is_sound, "{name}: {made:?}");
            assert!(is_sound || matches!(made, Err(RecoverError::Made { .. })), "{made:?}");
        }
    }

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
