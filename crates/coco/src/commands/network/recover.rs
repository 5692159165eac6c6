//! `coco network recover`: the folder of a node with which a lost service begins anew.

mod said;

use std::path::PathBuf;

use coco_client::ServiceIdentity;
use coco_crypto::Certificate;
use coco_ledger::{ReceiptVerifier, VerifiedReceipt};
use coco_node::{
    provision::LEDGER_FOLDER,
    recover::{Reach, RecoverError, RecoverSpec, Recovered, reach, recover},
};
use coco_replica::RecoverLedgerError;
use coco_types::TxId;
use serde_json::json;

use super::place::{PlaceArgs, code_digest};
use crate::{
    codes::Code,
    commands::{ledger, receipt},
    fault::{Fault, chain},
    files::{self, Rights},
    output::{Output, utc},
    session::certificate,
    signing::now,
};
use said::Said;

#[derive(Debug, clap::Args)]
pub(crate) struct RecoverArgs {
    /// The folder of the ledger's files, from the first one on, or from a snapshot on; it is read only. Of several copies the one
    /// that reaches furthest is taken
    #[arg(required = true, num_args = 1.., value_name = "LEDGER")]
    ledgers: Vec<PathBuf>,
    /// Begin with the newest usable snapshot in this folder, also where the ledger's first files are there. Without it one of
    /// `snapshots` beside the ledger folder is used where they are not
    #[arg(long, value_name = "DIR")]
    snapshots: Option<PathBuf>,
    /// Refuse copies that do not hold what this receipt (JSON or COSE) proves. May be given more than once
    #[arg(long, value_name = "FILE")]
    receipt: Vec<PathBuf>,
    /// The certificate (PEM) of the service that was lost. What a later one wrote that was never open is left out
    #[arg(long, value_name = "PEM")]
    service_cert: PathBuf,
    #[command(flatten)]
    place: PlaceArgs,
    /// Go on from its own disk after a stop, if members have allowed that: believes the host of this machine
    #[arg(long)]
    from_disk: bool,
}

pub(crate) fn run(arguments: &RecoverArgs, output: Output) -> Result<(), Fault> {
    let place = &arguments.place;
    place.check_free()?;
    let cert_path = place.service_cert_path();
    if cert_path.exists() {
        return Err(Fault::new(Code::FileExists, cert_path.display().to_string()));
    }
    let previous = certificate(&files::read_text(&arguments.service_cert)?)?;
    let reach = furthest(arguments, &previous)?;
    let code_digest = code_digest()?;
    let spec = RecoverSpec {
        reach: &reach,
        folder: &place.dir,
        client_address: place.client.to_string(),
        peer_address: place.peer.to_string(),
        names: &[place.client.alt_name()],
        code_digest,
        now: now()?,
    };
    let made = recover(&spec).map_err(fault)?;
    let said = Said::read(&place.dir.join(LEDGER_FOLDER), &made.service, reach.signed)?;
    files::create(&cert_path, made.service.pem().as_bytes(), Rights::Public)?;
    place.write_config(made.node.to_string(), Vec::new(), arguments.from_disk)?;
    say(arguments, &reach, &made, &said, &code_digest.to_string(), output);
    Ok(())
}

fn say(
    arguments: &RecoverArgs,
    reach: &Reach,
    made: &Recovered,
    said: &Said,
    code: &str,
    output: Output,
) {
    let place = &arguments.place;
    let identity = ServiceIdentity::of(&made.service).to_string();
    let [config, cert] = [place.config_path(), place.service_cert_path()];
    let [config, cert] = [config, cert].map(|path| path.display().to_string());
    let Reach { signed, last, services_after, unsigned, snapshot, .. } = reach;
    let is_admitted = said.code.contains(code);
    let details = json!({
        "service_identity": identity,
        "service_certificate": cert,
        "node_id": made.node.to_string(),
        "config": config,
        "signed": signed.to_string(),
        "signed_at": said.signed_at.map(utc),
        "last": last.to_string(),
        "snapshot": snapshot.map(|name| name.to_string()),
        "services_left_out": services_after,
        "unsigned": unsigned.iter().map(ledger::unsigned_json).collect::<Vec<_>>(),
        "code": code,
        "code_admitted": is_admitted,
    });
    let old = arguments.service_cert.display();
    output.print("network.recover", details, || {
        let at = said.signed_at.map(|at| format!(" at {}", utc(at))).unwrap_or_default();
        let note = left_out(reach);
        let admitted = if is_admitted {
            "admitted by the members of the ledger"
        } else {
            "NOT admitted by the members of the ledger: they see that when they vote. Recover with the program that they \
             admitted, or have them admit this one"
        };
        format!(
            "the ledger is kept up to {signed}, which the lost service signed{at}{note}\n\
             the service has another identity now  {identity}\n\
             the node runs code {code}: {admitted}\n\
             next  coco node start --config {config}\n      \
             members compare {signed} with their receipts and the identity with each other, and then\n      \
             coco proposal create open --recovered-from {old} --service-cert {cert}\n      \
             coco shares submit --service-cert {cert}"
        )
    });
}

/// What of the copy is not kept, or is under no signature, on lines that go on.
fn left_out(reach: &Reach) -> String {
    let dropped = reach.last.seqno.0.saturating_sub(reach.signed.seqno.0);
    let mut note = match (dropped, reach.services_after) {
        (0, _) => String::new(),
        (_, 0) => format!("\n  {dropped} entries after it are under no signature and are left out"),
        _ => format!(
            "\n  {dropped} entries after it are left out: the service that they are of was never open"
        ),
    };
    if let Some(name) = reach.snapshot {
        note.push_str(&format!("\n  {name} stands for the entries up to {}", name.seqno));
    }
    for range in &reach.unsigned {
        note.push_str("\n  ");
        note.push_str(&ledger::unsigned_text(range));
    }
    note
}

/// The copy that reaches furthest, of those that verify and hold what the receipts prove.
fn furthest(arguments: &RecoverArgs, previous: &Certificate) -> Result<Reach, Fault> {
    let verifier = ReceiptVerifier::new(previous.clone());
    let receipts: Vec<VerifiedReceipt> = arguments
        .receipt
        .iter()
        .map(|path| receipt::read_verified(path, &verifier).map_err(Fault::from))
        .collect::<Result<_, _>>()?;
    let (mut best, mut refused) = (None::<Reach>, None);
    for path in &arguments.ledgers {
        match reach(path, arguments.snapshots.as_deref(), previous, &receipts) {
            Ok(found) => {
                let (signed, last) = (found.signed, found.last);
                found.passed_over.iter().for_each(|why| eprintln!("passed over {why}"));
                let from = found.snapshot.map(|name| format!("from {name} on, "));
                let from = from.unwrap_or_default();
                eprintln!("{}: {from}signed up to {signed}, last entry {last}", path.display());
                let order = |id: TxId| (id.view, id.seqno);
                if best.as_ref().is_none_or(|best| order(signed) > order(best.signed)) {
                    best = Some(found);
                }
            }
            // Another copy that ends before it went on would lose the same.
            Err(error) if is_of_a_later_service(&error) => {
                return Err(fault(error).with("ledger", path.display().to_string()));
            }
            Err(error) => {
                eprintln!("{}: {}", path.display(), chain(&error));
                refused = Some(fault(error).with("ledger", path.display().to_string()));
            }
        }
    }
    match (best, refused) {
        (Some(best), _) => Ok(best),
        (None, Some(refused)) => Err(refused),
        (None, None) => Err(Fault::new(Code::FileUnreadable, "no copy of the ledger is named")),
    }
}

fn is_of_a_later_service(error: &RecoverError) -> bool {
    match error {
        RecoverError::Ledger { source, .. } => matches!(**source, RecoverLedgerError::LaterOpen(_)),
        RecoverError::File { .. }
        | RecoverError::Certificate(_)
        | RecoverError::Request(_)
        | RecoverError::Identity(_) => false,
    }
}

fn fault(error: RecoverError) -> Fault {
    let code = match &error {
        RecoverError::Ledger { source, .. } => match **source {
            RecoverLedgerError::Verify(_)
            | RecoverLedgerError::Made(_)
            | RecoverLedgerError::NoSnapshot(_)
            | RecoverLedgerError::Snapshot { .. }
            | RecoverLedgerError::Restore { .. }
            | RecoverLedgerError::Entry { .. } => Code::DoesNotVerify,
            RecoverLedgerError::NoLedger => Code::FileUnreadable,
            RecoverLedgerError::File(_)
            | RecoverLedgerError::Source(_)
            | RecoverLedgerError::Copy(_)
            | RecoverLedgerError::NoService
            | RecoverLedgerError::NotOpen(_)
            | RecoverLedgerError::LaterOpen(_)
            | RecoverLedgerError::Rows(_)
            | RecoverLedgerError::Seal(_)
            | RecoverLedgerError::NodeKey(_)
            | RecoverLedgerError::Views => Code::Failed,
        },
        RecoverError::File { .. }
        | RecoverError::Certificate(_)
        | RecoverError::Request(_)
        | RecoverError::Identity(_) => Code::Failed,
    };
    Fault::new(code, chain(&error))
}
