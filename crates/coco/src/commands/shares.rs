//! `coco shares`: a member's share of the key that brings a lost service back.

mod check;
mod drill;
mod status;
mod submit;

use std::path::{Path, PathBuf};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use coco_client::MemberId;
use coco_crypto::{DecryptionKey, SecretBytes};
use serde::Deserialize;

use crate::{
    Failure,
    codes::Code,
    commands::proposal::{
        create::{ProposeArgs, propose},
        kind::{Kind, service},
    },
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
    /// Check that you can decrypt your share, and send it nowhere
    #[command(
        after_help = "Example:\n  coco shares check --cert acme_cert.pem --encryption-key acme_enc_privk.pem"
    )]
    Check(check::CheckArgs),
    /// Propose to share the ledger secret anew among the recovery members
    #[command(after_help = "Example:\n  coco shares reshare")]
    Reshare(Box<ProposeArgs>),
    /// Try a recovery on a copy of the ledger, as far as its secrets: offline, and without anything that is shown or kept
    #[command(
        after_help = "Example:\n  coco shares drill ./ledger --service-cert service_cert.pem --share acme.share --share bank.share"
    )]
    Drill(drill::DrillArgs),
    /// Decrypt your share and send it to the service that is being recovered
    #[command(
        after_help = "Example:\n  coco shares submit --key acme_privk.pem --cert acme_cert.pem --encryption-key acme_enc_privk.pem"
    )]
    Submit(submit::SubmitArgs),
}

pub(crate) fn run(arguments: &SharesArgs, output: Output) -> Result<(), Failure> {
    let session = || Session::open(&arguments.network);
    match &arguments.command {
        SharesCommand::Status => Ok(status::run(&session()?, output)?),
        SharesCommand::Check(arguments) => Ok(check::run(&session()?, arguments, output)?),
        SharesCommand::Reshare(how) => {
            Ok(propose(&session()?, how, &Kind::Service(service::Kind::RefreshShares), output)?)
        }
        SharesCommand::Drill(arguments) => drill::run(arguments, output),
        SharesCommand::Submit(arguments) => Ok(submit::run(&session()?, arguments, output)?),
    }
}

/// The share that was dealt to a member last, as the service keeps it for this key.
fn dealt_share(session: &Session, id: MemberId, key: &DecryptionKey) -> Result<SecretBytes, Fault> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Dealt {
        encrypted_share: String,
    }

    let path =
        format!("/gov/recovery/encrypted-shares/{id}?api-version={}", coco_client::API_VERSION);
    let dealt: Dealt = session.ask(|client| client.get(&path))?.json()?;
    let not_ours = |what: &str| Fault::new(Code::KeyUnusable, what.to_owned());
    let encrypted = STANDARD
        .decode(&dealt.encrypted_share)
        .map_err(|_| not_ours("the share that the service gives is not base64"))?;
    key.decrypt(&encrypted).map_err(|_| {
        not_ours("the share was encrypted to another key than this one")
            .next("name the key with --encryption-key")
    })
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
