//! `coco shares`: a member's share of the key that brings a lost service back.

mod status;
mod submit;

use std::path::{Path, PathBuf};

use coco_crypto::DecryptionKey;

use crate::{
    codes::Code,
    fault::Fault,
    output::Output,
    session::{NetworkArgs, Session},
};

#[derive(Debug, clap::Args)]
pub(crate) struct SharesArgs {
    #[command(flatten)]
    network: NetworkArgs,
    #[command(subcommand)]
    command: SharesCommand,
}

#[derive(Debug, clap::Subcommand)]
enum SharesCommand {
    /// Show who holds shares, and how many are needed
    #[command(after_help = "Example:\n  coco shares status")]
    Status,
    /// Decrypt your share and send it to the service that is being recovered
    #[command(
        after_help = "Example:\n  coco shares submit --key acme_privk.pem --cert acme_cert.pem --encryption-key acme_enc_privk.pem"
    )]
    Submit(submit::SubmitArgs),
}

pub(crate) fn run(arguments: &SharesArgs, output: Output) -> Result<(), Fault> {
    let session = Session::open(&arguments.network)?;
    match &arguments.command {
        SharesCommand::Status => status::run(&session, output),
        SharesCommand::Submit(arguments) => submit::run(&session, arguments, output),
    }
}

/// The key that shares are encrypted to: the file that was named, or the one that lies beside the member's certificate.
fn encryption_key(told: Option<&Path>, cert: Option<&Path>) -> Result<DecryptionKey, Fault> {
    let beside = cert.and_then(super::keys::private_encryption_key_beside);
    let path: PathBuf = told.map(Path::to_owned).or(beside).ok_or_else(|| {
        Fault::new(Code::NoKey, "there is no key to decrypt the share with")
            .next("coco shares submit --encryption-key NAME_enc_privk.pem")
    })?;
    super::keys::decryption_key(&path)
}
