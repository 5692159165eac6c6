//! `coco proposal validate`: whether the constitution takes a document.

use std::path::PathBuf;

use serde_json::json;

use super::{changes, document, simulate::simulate};
use crate::{fault::Fault, output::Output, session::Session};

#[derive(Debug, clap::Args)]
pub(super) struct ValidateArgs {
    /// The document, JSON; `-` for standard input
    file: PathBuf,
}

pub(super) fn run(
    session: &Session,
    arguments: &ValidateArgs,
    output: Output,
) -> Result<(), Fault> {
    let (bytes, proposed) = document::read(&arguments.file)?;
    // It is carried out on a copy, too: what the constitution takes and could not carry out helps nobody.
    simulate(session, &bytes)?;
    let changes = changes::lines(&proposed, Some(session.client().identity()));
    output.print("proposal.validate", json!({ "is_valid": true, "changes": changes }), || {
        format!("valid\n  {}", changes.join("\n  "))
    });
    Ok(())
}
