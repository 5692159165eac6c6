//! `coco receipt`: fetch a receipt from a node, and check one offline.

use std::{
    io::{Read, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, anyhow};
use coco_ledger::{VerifiedReceipt, verify_cose, verify_json};
use coco_types::TxId;

use crate::{Failure, commands::http};

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
            let path = format!("{path}?transaction_id={transaction}");
            let receipt = http::get(url, &path, service_cert.as_deref())?;
            match out {
                Some(path) => std::fs::write(path, receipt)
                    .with_context(|| format!("cannot write {}", path.display()))?,
                None => std::io::stdout().write_all(&receipt)?,
            }
            Ok(())
        }
        ReceiptCommand::Verify { receipt, service_cert } => verify(receipt, service_cert),
    }
}

/// Largest receipt that is read, in bytes.
const RECEIPT_BYTES_MAX: u64 = 1 << 20;

fn verify(receipt: &Path, service_cert: &Path) -> Result<(), Failure> {
    let pem = std::fs::read_to_string(service_cert)
        .with_context(|| format!("cannot read {}", service_cert.display()))?;
    let verified = read_verified(receipt, &pem)?;
    match verified.tx_id {
        Some(id) => println!("verified: transaction {id}"),
        None => println!("verified: a signature over root {}", verified.root),
    }
    Ok(())
}

/// Reads a receipt of either form from a file, or standard input for `-`, and verifies it.
pub(crate) fn read_verified(receipt: &Path, pem: &str) -> Result<VerifiedReceipt, Failure> {
    let mut bytes = Vec::new();
    if receipt == Path::new("-") {
        std::io::stdin().take(RECEIPT_BYTES_MAX).read_to_end(&mut bytes)?;
    } else {
        let file = std::fs::File::open(receipt)
            .with_context(|| format!("cannot read {}", receipt.display()))?;
        file.take(RECEIPT_BYTES_MAX).read_to_end(&mut bytes)?;
    }
    // COSE_Sign1 begins with its CBOR tag, JSON with a brace.
    let verified = match bytes.first() {
        Some(b'{') => verify_json(&bytes, pem),
        _ => verify_cose(&bytes, pem),
    };
    verified.map_err(|error| {
        Failure::DoesNotVerify(anyhow!(error).context(receipt.display().to_string()))
    })
}
