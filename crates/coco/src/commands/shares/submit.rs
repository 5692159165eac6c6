//! `coco shares submit`: decrypt the share that was dealt last, and send it.

use std::path::PathBuf;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use coco_client::{MemberId, Message};
use serde::Deserialize;
use serde_json::json;

use super::{dealt_share, encryption_key};
use crate::{
    codes::Code,
    fault::Fault,
    output::Output,
    session::Session,
    signing::{Fate, SigningArgs, Statement, carry_out},
};

#[derive(Debug, clap::Args)]
pub(crate) struct SubmitArgs {
    #[command(flatten)]
    signing: SigningArgs,
    /// The private key (PEM) that shares are encrypted to; by default the one beside the certificate
    #[arg(long, value_name = "PEM")]
    encryption_key: Option<PathBuf>,
}

pub(crate) fn run(session: &Session, arguments: &SubmitArgs, output: Output) -> Result<(), Fault> {
    session.check_takes_shares()?;
    arguments.signing.check_may_show(Message::RecoveryShare)?;
    let keys = &arguments.signing.keys;
    let Some(signer) = session.signer(keys)? else {
        return Err(Fault::new(Code::NoKey, "there is no certificate of whoever signs"));
    };
    let id = MemberId(signer.digest());
    let cert = session.cert_path(keys);
    let key = encryption_key(arguments.encryption_key.as_deref(), cert.as_deref())?;
    let share = dealt_share(session, id, &key)?;
    let statement = Statement {
        message: Message::RecoveryShare,
        content: json!({ "share": STANDARD.encode(share.expose()) }).to_string().into_bytes(),
        act: "send your recovery share, so that the service can read its ledger again".to_owned(),
        lines: Vec::new(),
        word: None,
    };
    let answer = match carry_out(session, &arguments.signing, &statement)? {
        Fate::Sent(answer) => answer,
        Fate::Refused(error) => return Err(error.into()),
        Fate::Kept => return Ok(()),
    };
    let progress: Progress = answer.json()?;
    let details = json!({
        "member_id": id.to_string(),
        "submitted": progress.submitted_count,
        "needed": progress.recovery_threshold,
        "transaction_id": answer.transaction.map(|transaction| transaction.to_string()),
    });
    output.print("shares.submit", details, || progress.message.clone());
    Ok(())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Progress {
    message: String,
    submitted_count: u64,
    recovery_threshold: u64,
}
