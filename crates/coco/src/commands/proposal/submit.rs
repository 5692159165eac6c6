//! `coco proposal submit`: send what was signed elsewhere.

use std::path::PathBuf;

use coco_client::{Envelope, Message};
use serde_json::json;

use super::report;
use crate::{
    fault::Fault,
    files,
    output::Output,
    session::Session,
    signing::{Fate, is_secret, send},
};

#[derive(Debug, clap::Args)]
pub(super) struct SubmitArgs {
    /// The signed request
    file: PathBuf,
}

pub(super) fn run(session: &Session, arguments: &SubmitArgs, output: Output) -> Result<(), Fault> {
    let envelope = Envelope::read(files::read(&arguments.file)?)?;
    if is_secret(envelope.message()) {
        session.check_takes_shares()?;
    }
    eprintln!("digest sha256:{} of member sha256:{}", envelope.digest(), envelope.signer());
    let fate = send(session, &envelope)?;
    match envelope.message() {
        Message::Proposal | Message::Ballot(_) | Message::Withdrawal(_) => {
            report(session, "proposal.submit", fate, output)
        }
        // Their answers have other forms.
        Message::Ack
        | Message::StateDigest
        | Message::RecoveryShare
        | Message::EncryptedRecoveryShare => match fate {
            Fate::Kept => Ok(()),
            Fate::Refused(error) => Err(error.into()),
            Fate::Sent(answer) => {
                let transaction = answer.transaction.map(|transaction| transaction.to_string());
                let body = String::from_utf8_lossy(&answer.body).into_owned();
                let members = json!({ "transaction_id": transaction, "answer": body });
                output.print("proposal.submit", members, || {
                    format!("committed {}", transaction.as_deref().unwrap_or("-"))
                });
                Ok(())
            }
        },
    }
}
