//! `coco shares check`: whether you can decrypt the share that was dealt to you last. It stays on this machine.

use std::path::PathBuf;

use coco_client::MemberId;
use coco_crypto::RecoveryShare;
use serde_json::json;

use super::{dealt_share, encryption_key};
use crate::{
    codes::Code,
    fault::Fault,
    output::{Output, short},
    session::{KeyArgs, Session},
};

#[derive(Debug, clap::Args)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    keys: KeyArgs,
    /// The private key (PEM) that shares are encrypted to; by default the one beside the certificate
    #[arg(long, value_name = "PEM")]
    encryption_key: Option<PathBuf>,
}

pub(crate) fn run(session: &Session, arguments: &CheckArgs, output: Output) -> Result<(), Fault> {
    let Some(signer) = session.signer(&arguments.keys)? else {
        return Err(Fault::new(Code::NoKey, "there is no certificate that says who you are"));
    };
    let id = MemberId(signer.digest());
    let cert = session.cert_path(&arguments.keys);
    let key = encryption_key(arguments.encryption_key.as_deref(), cert.as_deref())?;
    let share = dealt_share(session, id, &key)?;
    drop(RecoveryShare::decode(share.expose()).map_err(|error| {
        Fault::new(Code::ShareWrong, "what the service gives for it").because(&error)
    })?);
    let id = id.to_string();
    output.print("shares.check", json!({ "member_id": id }), || {
        format!("ok  your key decrypts the share of member {}; it was sent nowhere", short(&id))
    });
    Ok(())
}
