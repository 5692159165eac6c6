//! `coco network recover`: the folder of a node with which a lost service begins anew.

use std::path::PathBuf;

use coco_client::ServiceIdentity;
use coco_crypto::Certificate;
use coco_ledger::{ReceiptVerifier, VerifiedReceipt};
use coco_node::recover::{Reach, RecoverError, RecoverSpec, Recovered, reach, recover};
use coco_replica::RecoverLedgerError;
use coco_types::TxId;
use serde_json::json;

use super::place::{PlaceArgs, code_digest};
use crate::{
    codes::Code,
    commands::{ledger, receipt},
    fault::{Fault, chain},
    files::{self, Rights},
    output::Output,
    session::certificate,
    signing::now,
};

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
    let spec = RecoverSpec {
        reach: &reach,
        folder: &place.dir,
        client_address: place.client.to_string(),
        peer_address: place.peer.to_string(),
        names: &[place.client.alt_name()],
        code_digest: code_digest()?,
        now: now()?,
    };
    let Recovered { service, node } = recover(&spec).map_err(fault)?;
    files::create(&cert_path, service.pem().as_bytes(), Rights::Public)?;
    place.write_config(node.to_string(), Vec::new(), arguments.from_disk)?;

    let identity = ServiceIdentity::of(&service).to_string();
    let [config, cert] = [place.config_path(), cert_path].map(|path| path.display().to_string());
    let Reach { signed, last, services_after, ref unsigned, snapshot, .. } = reach;
    let details = json!({
        "service_identity": identity,
        "service_certificate": cert,
        "node_id": node.to_string(),
        "config": config,
        "signed": signed.to_string(),
        "last": last.to_string(),
        "snapshot": snapshot.map(|name| name.to_string()),
        "services_left_out": services_after,
        "unsigned": unsigned.iter().map(ledger::unsigned_json).collect::<Vec<_>>(),
    });
    let old = arguments.service_cert.display();
    output.print("network.recover", details, || {
        let dropped = last.seqno.0.saturating_sub(signed.seqno.0);
        let mut note = match (dropped, services_after) {
            (0, _) => String::new(),
            (_, 0) => {
                format!("\n  {dropped} entries after it are under no signature and are left out")
            }
            _ => format!(
                "\n  {dropped} entries after it are left out: the service that they are of was never open"
            ),
        };
        if let Some(name) = snapshot {
            note.push_str(&format!("\n  {name} stands for the entries up to {}", name.seqno));
        }
        for range in unsigned {
            note.push_str("\n  ");
            note.push_str(&ledger::unsigned_text(range));
        }
        format!(
            "the ledger is kept up to {signed}, which the lost service signed{note}\n\
             the service has another identity now  {identity}\n\
             next  coco node start --config {config}\n      \
             members compare {signed} with their receipts and the identity with each other, and then\n      \
             coco proposal create open --recovered-from {old} --service-cert {cert}\n      \
             coco shares submit --service-cert {cert}"
        )
    });
    Ok(())
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
