//! `coco ledger`: what an auditor does with ledger files, without any node.

mod acts;
pub(crate) mod copy;
mod decrypt;
mod fetch;
mod governance;
mod share;
pub(crate) mod shared;

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use coco_crypto::Certificate;
use coco_governance::{Act, AuditReport};
use coco_ledger::{
    Chunk, ChunkName, EntryFlags, LedgerFault, LedgerReport, ReceiptVerifier, SnapshotError,
    SnapshotFile, SnapshotName, UnsignedRange, VerifiedSnapshot, Verifier, VerifyLedgerError,
    note_services,
};
use coco_types::{Seqno, TxId};

use crate::{
    Failure,
    codes::Code,
    commands::receipt,
    fault::{Fault, chain},
    files,
    output::{Output, out, outln},
    session,
};

use governance::GovernanceAudit;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum LedgerCommand {
    /// Verify every entry, tree, signature and snapshot of a ledger folder against the service's certificate
    #[command(
        after_help = "Example:\n  coco ledger verify .coco-dev/n0/ledger --service-cert .coco-dev/service_cert.pem"
    )]
    Verify {
        /// The ledger folder
        folder: PathBuf,
        /// The service's certificate (PEM), which you trust
        #[arg(long, value_name = "PEM")]
        service_cert: PathBuf,
        /// Fail unless this transaction is in the ledger and signed
        #[arg(long, value_name = "TXID")]
        at_least: Option<TxId>,
        /// Fail unless what this receipt proves (JSON or COSE) is in the ledger and signed. May be given more than once
        #[arg(long, value_name = "FILE")]
        receipt: Vec<PathBuf>,
        /// The folder of snapshots, where it is not `snapshots` beside the ledger folder
        #[arg(long, value_name = "DIR")]
        snapshots: Option<PathBuf>,
        /// Carry every proposal, ballot and acknowledgement out again, and name the first act that the rules of its time
        /// did not allow
        #[arg(long)]
        governance: bool,
        /// The same, and list what members did
        #[arg(long)]
        acts: bool,
        /// Of these, what this member did: its id or the beginning of it
        #[arg(long, value_name = "ID", requires = "acts")]
        member: Option<String>,
        /// Print the result as JSON
        #[arg(long)]
        json: bool,
    },
    /// List the entries of a ledger folder, with their public writes
    #[command(after_help = "Example:\n  coco ledger show .coco-dev/n0/ledger --from 10 --limit 5")]
    Show {
        /// The ledger folder
        folder: PathBuf,
        /// Only entries from this seqno
        #[arg(long, default_value_t = 1)]
        from: u64,
        /// At most so many entries
        #[arg(long, default_value_t = 100)]
        limit: usize,
        /// Print public values, too
        #[arg(long)]
        values: bool,
    },
    /// Fetch the complete files of the ledger from a node that offers them
    #[command(
        after_help = "Example:\n  coco ledger fetch ledger --url https://n1.acme.example:8000 --service-cert service_cert.pem"
    )]
    Fetch(fetch::FetchArgs),
    /// Print private writes of entries whose disclosure members have agreed to, with their recovery shares
    #[command(
        after_help = "Example:\n  coco ledger decrypt ledger --service-cert service_cert.pem --share acme.share --share bank.share --from 120 --to 140"
    )]
    Decrypt(decrypt::DecryptArgs),
    /// Take your own recovery share out of a copy of the ledger
    #[command(
        after_help = "Example:\n  coco ledger share ledger --key acme_enc_privk.pem --out acme.share"
    )]
    Share(share::ShareArgs),
}

pub(crate) fn run(command: &LedgerCommand, output: Output) -> Result<(), Failure> {
    match command {
        LedgerCommand::Verify {
            folder,
            service_cert,
            at_least,
            receipt,
            snapshots,
            governance,
            acts,
            member,
            json,
        } => {
            let snapshots = copy::snapshots(folder, snapshots.as_deref())?;
            let depth = match (acts, governance) {
                (true, _) => Depth::Acts(member.clone().unwrap_or_default().to_lowercase()),
                (false, true) => Depth::Governance,
                (false, false) => Depth::Signatures,
            };
            let expected = Expected { at_least: *at_least, receipts: receipt, depth };
            let output = if *json { Output::Json } else { output };
            verify(folder, service_cert, snapshots, &expected, output)
        }
        LedgerCommand::Show { folder, from, limit, values } => {
            Ok(show(folder, *from, *limit, if *values { Values::Shown } else { Values::Hidden })?)
        }
        LedgerCommand::Decrypt(arguments) => decrypt::run(arguments, output),
        LedgerCommand::Share(arguments) => share::run(arguments, output),
        LedgerCommand::Fetch(arguments) => Ok(fetch::run(arguments, output)?),
    }
}

#[derive(Clone, Copy)]
enum Values {
    Shown,
    Hidden,
}

/// The service's certificate.
pub(crate) fn certificate(path: &Path) -> Result<Certificate, Fault> {
    session::certificate(&files::read_text(path)?)
        .map_err(|fault| fault.with("file", path.display().to_string()))
}

/// A file whose bytes are no ledger.
pub(crate) fn damaged(name: impl std::fmt::Display, error: &dyn std::error::Error) -> Fault {
    Fault::new(Code::DoesNotVerify, format!("{name}: {}", chain(error)))
}

/// What the ledger has to hold. Without any of it, a ledger that was cut short at a signature passes.
struct Expected<'a> {
    at_least: Option<TxId>,
    receipts: &'a [PathBuf],
    depth: Depth,
}

/// What is checked of entries that are signed.
enum Depth {
    Signatures,
    Governance,
    /// The same, and what members did is told whose id begins so.
    Acts(String),
}

/// Has `check` look at a snapshot once its proof holds, by whoever verifies receipts.
fn with_snapshot<T>(
    name: SnapshotName,
    bytes: &[u8],
    receipts: &ReceiptVerifier,
    check: impl FnOnce(&str, &VerifiedSnapshot<'_>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let file = name.to_string();
    let refused = |error: SnapshotError| VerifyLedgerError {
        file: file.clone(),
        offset: error.offset,
        seqno: name.seqno,
        fault: LedgerFault::Snapshot(error.fault),
    };
    let snapshot = SnapshotFile::split(bytes)
        .and_then(|snapshot| snapshot.verify_by(name, receipts))
        .map_err(|error| Failure::DoesNotVerify(anyhow!(refused(error))))?;
    check(&file, &snapshot)
}

/// Holds a snapshot against the entries that were verified.
fn check_snapshot(
    verifier: &Verifier,
    receipts: &ReceiptVerifier,
    name: SnapshotName,
    bytes: &[u8],
) -> Result<(), Failure> {
    with_snapshot(name, bytes, receipts, |file, snapshot| {
        let checked = verifier.check_snapshot(file, snapshot);
        checked.map_err(|error| Failure::DoesNotVerify(anyhow!(error)))
    })
}

/// The services to begin with: those that a ledger goes through from its beginning, or from a snapshot on, up to the trusted
/// one. A ledger that was recovered begins with another.
fn services_of(
    chunks: &[(ChunkName, PathBuf)],
    service: &Certificate,
    snapshot: Option<&(SnapshotName, Vec<u8>)>,
) -> Result<Vec<Certificate>, Failure> {
    let after = snapshot.map_or(Seqno::ZERO, |(name, _)| name.seqno);
    Ok(services(chunks, service, after)?.unwrap_or_else(|| vec![service.clone()]))
}

/// Has `look` look at the snapshot that a copy of a ledger goes on from, believed by the services of the ledger.
pub(crate) fn at_beginning<T>(
    chunks: &[(ChunkName, PathBuf)],
    snapshot: &(SnapshotName, Vec<u8>),
    service: &Certificate,
    look: impl FnOnce(&str, &VerifiedSnapshot<'_>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let services = services_of(chunks, service, Some(snapshot))?;
    let receipts = ReceiptVerifier::new(services[0].clone());
    with_snapshot(snapshot.0, &snapshot.1, &receipts, look)
}

/// The verifier to begin with: before the first entry, or after a snapshot.
fn verifier(
    services: &[Certificate],
    snapshot: Option<&(SnapshotName, Vec<u8>)>,
) -> Result<Verifier, Failure> {
    let Some((name, bytes)) = snapshot else {
        return Ok(Verifier::of_services(services.to_vec()));
    };
    with_snapshot(*name, bytes, &ReceiptVerifier::new(services[0].clone()), |file, snapshot| {
        let verifier = Verifier::of_services_from(services.to_vec(), file, snapshot);
        verifier.map_err(|error| Failure::DoesNotVerify(anyhow!(error)))
    })
}

/// The audit of governance to begin with, likewise.
fn begin_audit(
    service: &Certificate,
    snapshot: Option<&(SnapshotName, Vec<u8>)>,
) -> Result<GovernanceAudit, Failure> {
    let Some((name, bytes)) = snapshot else { return Ok(GovernanceAudit::new()) };
    let receipts = ReceiptVerifier::new(service.clone());
    with_snapshot(*name, bytes, &receipts, GovernanceAudit::from_snapshot)
}

/// The services that a ledger went through up to the trusted one, if it begins with another: it was recovered after the entry
/// `after`.
fn services(
    chunks: &[(ChunkName, PathBuf)],
    trusted: &Certificate,
    after: Seqno,
) -> Result<Option<Vec<Certificate>>, Failure> {
    let mut services = Vec::new();
    for (name, path) in chunks {
        let (_, bytes) = copy::read_chunk(*name, path)?;
        // What cannot be read is for the verifier to say.
        let Ok(chunk) = Chunk::parse(&bytes) else { return Ok(None) };
        for (_, entry) in chunk.entries.iter().filter(|(_, entry)| entry.tx_id().seqno > after) {
            let Ok(writes) = entry.public_writes() else { return Ok(None) };
            let Ok(()) = note_services(&mut services, &writes) else { return Ok(None) };
        }
        if services.first().is_some_and(|first: &Certificate| first.key() == trusted.key()) {
            return Ok(None);
        }
    }
    let is_last = services.last().is_some_and(|last| last.key() == trusted.key());
    Ok(is_last.then_some(services))
}

fn verify(
    folder: &Path,
    service_cert: &Path,
    snapshots: Vec<(SnapshotName, PathBuf)>,
    expected: &Expected<'_>,
    output: Output,
) -> Result<(), Failure> {
    let service = certificate(service_cert)?;
    let chunks = copy::chunks(folder)?;
    let first = chunks.first().map_or(Seqno(1), |(name, _)| name.first);
    let snapshot = copy::beginning(&chunks, &snapshots)?;
    let services = services_of(&chunks, &service, snapshot.as_ref())?;
    let mut verifier = verifier(&services, snapshot.as_ref())?;
    let begin = || begin_audit(&services[0], snapshot.as_ref());
    let mut audit = match &expected.depth {
        Depth::Signatures => None,
        Depth::Governance => Some(begin()?),
        Depth::Acts(whose) => Some(begin()?.keeping(whose.clone())),
    };
    for (name, path) in chunks {
        let (name, bytes) = copy::read_chunk(name, &path)?;
        verifier
            .chunk(&name.to_string(), &bytes)
            .map_err(|error| Failure::DoesNotVerify(anyhow!(error)))?;
        if let Some(audit) = &mut audit {
            audit.chunk(&verifier, name, &bytes)?;
        }
    }
    // Of a recovered ledger also those of services before, which it endorses.
    let receipts = verifier.receipts();
    // What was begun with, whatever its file holds by now: until here a service that was lost stands by it.
    if let Some((name, bytes)) = &snapshot {
        check_snapshot(&verifier, &receipts, *name, bytes)?;
    }
    let mut checked = Vec::new();
    for (name, path) in snapshots {
        let Some(bytes) = copy::read(&path)? else { continue };
        check_snapshot(&verifier, &receipts, name, &bytes)?;
        checked.push(name);
    }
    for path in expected.receipts {
        let receipt = receipt::read_verified(path, &receipts)?;
        verifier.check_receipt(&receipt).map_err(|error| {
            Failure::DoesNotVerify(anyhow!(error).context(path.display().to_string()))
        })?;
    }
    let report = verifier
        .finish(expected.at_least)
        .map_err(|error| Failure::DoesNotVerify(anyhow!(error)))?;
    let governance = audit.as_ref().map(GovernanceAudit::report).transpose()?;
    let acts = audit.as_ref().and_then(GovernanceAudit::acts);
    print(&report, (governance.as_ref(), acts), first, &checked, output);
    Ok(())
}

fn print(
    report: &LedgerReport,
    (governance, acts): (Option<&AuditReport>, Option<&[Act]>),
    first: Seqno,
    snapshots: &[SnapshotName],
    output: Output,
) {
    match output {
        Output::Json => {
            let unsigned: Vec<_> = report.unsigned.iter().map(unsigned_json).collect();
            outln!(
                "{}",
                serde_json::json!({
                    "entries": report.entries,
                    "signatures": report.signatures,
                    "signed": report.signed.to_string(),
                    "last": report.last.to_string(),
                    "first": first.to_string(),
                    "snapshots": snapshots.iter().map(ToString::to_string).collect::<Vec<_>>(),
                    "unsigned": unsigned,
                    "governance": governance.map(|AuditReport { acts, members, active }| serde_json::json!({
                        "requests": acts.requests,
                        "proposals": acts.proposals,
                        "ballots": acts.ballots,
                        "accepted": acts.accepted,
                        "own": acts.own,
                        "members": members,
                        "active": active,
                    })),
                    "acts": acts.map(acts::json),
                })
            );
        }
        Output::Table => {
            outln!("verified: {} entries, {} signatures", report.entries, report.signatures);
            outln!("signed up to {}, last entry {}", report.signed, report.last);
            if first > Seqno(1) {
                outln!("entries before {first} are archived; a snapshot stands for them");
            }
            for name in snapshots {
                outln!("verified: {name}");
            }
            if let Some(AuditReport { acts, members, active }) = governance {
                outln!(
                    "governed by the rules: {} requests of members carried out again ({} proposals, {} \
                     ballots; {} proposals accepted), {} steps of the service",
                    acts.requests,
                    acts.proposals,
                    acts.ballots,
                    acts.accepted,
                    acts.own
                );
                outln!("members at the end: {members}, of them active: {active}");
            }
            if let Some(acts) = acts {
                out!("{}", acts::table(acts));
            }
            for range in &report.unsigned {
                outln!("{}", unsigned_text(range));
            }
        }
    }
}

/// Bytes that no signature covers, for programs.
pub(crate) fn unsigned_json(range: &UnsignedRange) -> serde_json::Value {
    serde_json::json!({
        "file": range.file,
        "from": range.offsets.start,
        "to": range.offsets.end,
        "what": format!("{:?}", range.what),
    })
}

/// The same for people.
pub(crate) fn unsigned_text(range: &UnsignedRange) -> String {
    let UnsignedRange { file, offsets, what } = range;
    format!("not yet under a signature: {file} bytes {}..{} ({what:?})", offsets.start, offsets.end)
}

fn show(folder: &Path, from: u64, limit: usize, values: Values) -> Result<(), Fault> {
    let mut left = limit;
    for (name, path) in copy::chunks(folder)? {
        if left == 0 || name.last.is_some_and(|last| last.0 < from) {
            continue;
        }
        let (name, bytes) = copy::read_chunk(name, &path)?;
        let chunk = Chunk::parse(&bytes).map_err(|error| damaged(name, &error))?;
        for (offset, entry) in &chunk.entries {
            if entry.tx_id().seqno.0 < from || left == 0 {
                continue;
            }
            left -= 1;
            let kind = if entry.is_signature() { " signature" } else { "" };
            let ends = if entry.flags().contains(EntryFlags::CHUNK_AFTER) {
                " ends its chunk"
            } else {
                ""
            };
            outln!(
                "{} {name}@{offset} {} bytes, {} private{kind}{ends}",
                entry.tx_id(),
                entry.bytes().len(),
                entry.private_bytes()
            );
            let writes = entry.public_writes().map_err(|error| damaged(name, &error))?;
            for (map, key, value) in writes.iter() {
                let key = String::from_utf8_lossy(key).escape_debug().to_string();
                match (values, value) {
                    (_, None) => outln!("    {map} {key} removed"),
                    (Values::Hidden, Some(value)) => {
                        outln!("    {map} {key} ({} bytes)", value.len());
                    }
                    (Values::Shown, Some(value)) => {
                        outln!(
                            "    {map} {key} = {}",
                            String::from_utf8_lossy(value).escape_debug()
                        );
                    }
                }
            }
        }
    }
    Ok(())
}
