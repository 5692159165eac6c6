//! `coco keys show`: what a member's certificate says.

use std::path::Path;

use coco_client::MemberId;
use serde_json::json;

use super::{FolderArgs, fingerprint_beside};
use crate::{
    fault::Fault,
    files,
    output::{Output, utc},
    session::signer_certificate,
};

#[derive(Debug, clap::Args)]
pub(crate) struct ShowArgs {
    /// A name among the keys, or the file of a certificate
    name: String,
    #[command(flatten)]
    folder: FolderArgs,
}

/// What is shown of a certificate.
pub(super) struct Shown {
    pub(super) id: String,
    pub(super) curve: String,
    pub(super) not_before: String,
    pub(super) not_after: String,
}

impl Shown {
    pub(super) fn read(cert: &Path) -> Result<Self, Fault> {
        let certificate = signer_certificate(&files::read_text(cert)?)
            .map_err(|fault| fault.with("file", cert.display().to_string()))?;
        let validity = certificate.validity();
        Ok(Self {
            id: MemberId(certificate.digest()).to_string(),
            curve: certificate.kind().to_owned(),
            not_before: utc(validity.not_before),
            not_after: utc(validity.not_after),
        })
    }
}

pub(crate) fn run(arguments: &ShowArgs, output: Output) -> Result<(), Fault> {
    let path = arguments.folder.find(&arguments.name)?;
    let Shown { id, curve, not_before, not_after } = Shown::read(&path)?;
    let file = path.display().to_string();
    let encryption = fingerprint_beside(&path)?;
    let members = json!({
        "member_id": id, "curve": curve, "not_before": not_before, "not_after": not_after, "file": file,
        "encryption_key": encryption,
    });
    output.print("keys.show", members, || {
        let shares = encryption.as_deref().unwrap_or("-");
        format!(
            "member id  {id}\ncurve      {curve}\nvalid      {not_before} to {not_after}\nshares to  {shares}\n\
             file       {file}"
        )
    });
    Ok(())
}
