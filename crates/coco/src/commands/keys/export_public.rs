//! `coco keys export-public`: what others need to admit a member, and nothing secret.

use super::{FolderArgs, encryption_key_beside};
use crate::{fault::Fault, files, output::out, session::signer_certificate};

#[derive(Debug, clap::Args)]
pub(crate) struct ExportArgs {
    /// A name among the keys, or the file of a certificate
    name: String,
    #[command(flatten)]
    folder: FolderArgs,
}

pub(crate) fn run(arguments: &ExportArgs) -> Result<(), Fault> {
    let path = arguments.folder.find(&arguments.name)?;
    // Read and written anew, so that nothing else that may stand in the file goes out with it.
    out!("{}", signer_certificate(&files::read_text(&path)?)?.pem());
    if let Some(key) = encryption_key_beside(&path) {
        out!("{}", super::public_key(&key)?);
    }
    Ok(())
}
