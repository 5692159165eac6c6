//! `coco user show`.

use coco_crypto::{ClientCertificate, decode_pem};
use serde_json::json;

use crate::{
    codes::Code,
    fault::Fault,
    output::{Output, plain, utc},
    session::Session,
};

#[derive(Debug, clap::Args)]
pub(super) struct ShowArgs {
    /// The participant's id, or its first digits
    user: String,
}

pub(super) fn run(session: &Session, arguments: &ShowArgs, output: Output) -> Result<(), Fault> {
    let id = session.find_user(&arguments.user)?;
    let user = session.ask(|client| client.user(id)).map_err(|fault| match fault.code() {
        Code::NotFound => Fault::new(Code::UserNotFound, id.to_string()),
        _ => fault,
    })?;
    output.print("user.show", json!({ "user": user }), || {
        format!(
            "user id    {}\ncert until {}\ndata       {}",
            plain(&user.user_id),
            until(&user.certificate).map_or_else(|| "-".to_owned(), utc),
            plain(&user.user_data.to_string()),
        )
    });
    Ok(())
}

/// When a certificate ends, whatever its key.
fn until(pem: &str) -> Option<u64> {
    let der = decode_pem("CERTIFICATE", pem).ok()??;
    Some(ClientCertificate::read(der.expose()).ok()?.validity().not_after)
}
