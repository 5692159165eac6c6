//! `coco receipt`: fetch a receipt from a node, and what it takes to believe it after a recovery; check one offline.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use anyhow::anyhow;
use coco_ledger::{EndorsementError, Endorsements, ReceiptVerifier, VerifiedReceipt};
use coco_types::TxId;

use crate::{
    Failure,
    codes::Code,
    commands::{http, ledger::certificate},
    fault::Fault,
    output::{outln, print_bytes},
};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum ReceiptCommand {
    /// Fetch the receipt of a committed transaction
    #[command(
        after_help = "Example:\n  coco receipt get 2.14 --url http://127.0.0.1:8545 --out receipt.json"
    )]
    Get {
        /// The transaction, for example 3.17
        transaction: TxId,
        /// A node's base URL, plain or with TLS: `http://host:port`, `https://host:port`
        #[arg(long, default_value = "http://127.0.0.1:8545")]
        url: String,
        /// The service's certificate (PEM), needed for https
        #[arg(long, value_name = "PEM")]
        service_cert: Option<PathBuf>,
        /// Which form
        #[arg(long, value_enum, default_value_t = Form::Json)]
        form: Form,
        /// Where to write it; standard output when absent
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// Fetch what it takes to believe a receipt whose service was recovered since then: how the service of today endorses that
    /// one. JSON receipts that are fetched after the recovery bring it along
    #[command(
        after_help = "Example:\n  coco receipt endorsements 2.14 --url http://127.0.0.1:8545 --out endorsements.cbor"
    )]
    Endorsements {
        /// The transaction that the receipt is of, for example 3.17
        transaction: TxId,
        /// A node's base URL, plain or with TLS: `http://host:port`, `https://host:port`
        #[arg(long, default_value = "http://127.0.0.1:8545")]
        url: String,
        /// The service's certificate (PEM), needed for https
        #[arg(long, value_name = "PEM")]
        service_cert: Option<PathBuf>,
        /// Where to write it; standard output when absent
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// Verify a receipt offline
    #[command(
        after_help = "Example:\n  coco receipt verify receipt.json --service-cert .coco-dev/service_cert.pem"
    )]
    Verify {
        /// The receipt file, JSON or COSE; `-` for standard input
        receipt: PathBuf,
        /// The service's certificate (PEM), which you trust
        #[arg(long, value_name = "PEM")]
        service_cert: PathBuf,
        /// How that service endorses those before it, from `coco receipt endorsements`
        #[arg(long, value_name = "FILE")]
        endorsements: Option<PathBuf>,
    },
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Form {
    /// JSON, signed by the node whose certificate the service endorsed
    Json,
    /// COSE, signed by the service
    Cose,
}

pub(crate) fn run(command: &ReceiptCommand) -> Result<(), Failure> {
    match command {
        ReceiptCommand::Get { transaction, url, service_cert, form, out } => {
            let path = match form {
                Form::Json => "/app/receipt",
                Form::Cose => "/app/receipt/cose",
            };
            fetch(path, *transaction, url, service_cert.as_deref(), out.as_deref())
        }
        ReceiptCommand::Endorsements { transaction, url, service_cert, out } => {
            let path = "/app/receipt/cose/endorsements";
            fetch(path, *transaction, url, service_cert.as_deref(), out.as_deref())
        }
        ReceiptCommand::Verify { receipt, service_cert, endorsements } => {
            verify(receipt, service_cert, endorsements.as_deref())
        }
    }
}

fn fetch(
    path: &str,
    transaction: TxId,
    url: &str,
    service_cert: Option<&Path>,
    out: Option<&Path>,
) -> Result<(), Failure> {
    let path = format!("{path}?transaction_id={transaction}");
    let answer = http::get(url, &path, service_cert)?;
    match out {
        Some(path) => std::fs::write(path, answer)
            .map_err(|error| Fault::file(Code::FileUnwritable, path, &error))?,
        None => print_bytes(&answer),
    }
    Ok(())
}

/// Largest receipt or list of endorsements that is read, in bytes.
const RECEIPT_BYTES_MAX: u64 = 1 << 20;

fn verify(receipt: &Path, service_cert: &Path, endorsements: Option<&Path>) -> Result<(), Failure> {
    let mut verifier = ReceiptVerifier::new(certificate(service_cert)?);
    if let Some(path) = endorsements {
        let wrong = |error: EndorsementError| {
            Failure::DoesNotVerify(anyhow!(error).context(path.display().to_string()))
        };
        let endorsements = Endorsements::decode(&read(path)?).map_err(wrong)?;
        verifier = verifier.with_endorsements(&endorsements).map_err(wrong)?;
    }
    let verified = read_verified(receipt, &verifier)?;
    match verified.tx_id {
        Some(id) => outln!("verified: transaction {id}"),
        None => outln!("verified: a signature over root {}", verified.root),
    }
    Ok(())
}

/// Reads a receipt of either form from a file, or standard input for `-`, and verifies it.
pub(crate) fn read_verified(
    receipt: &Path,
    verifier: &ReceiptVerifier,
) -> Result<VerifiedReceipt, Failure> {
    let bytes = read(receipt)?;
    // COSE_Sign1 begins with its CBOR tag, JSON with a brace.
    let verified = match bytes.first() {
        Some(b'{') => verifier.json(&bytes),
        _ => verifier.cose(&bytes),
    };
    verified.map_err(|error| {
        Failure::DoesNotVerify(anyhow!(error).context(receipt.display().to_string()))
    })
}

/// Reads a file, or standard input for `-`.
fn read(path: &Path) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::new();
    let read = if path == Path::new("-") {
        std::io::stdin().take(RECEIPT_BYTES_MAX).read_to_end(&mut bytes)
    } else {
        let file = std::fs::File::open(path);
        file.and_then(|file| file.take(RECEIPT_BYTES_MAX).read_to_end(&mut bytes))
    };
    read.map_err(|error| Fault::file(Code::FileUnreadable, path, &error))?;
    Ok(bytes)
}
