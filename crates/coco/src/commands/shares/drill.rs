//! `coco shares drill`: whether a copy of the ledger and the shares at hand would bring the service back. Offline; no secret is
//! shown or kept.

use serde_json::json;

use crate::{Failure, commands::ledger::shared::SharedArgs, output::Output};

#[derive(Debug, clap::Args)]
pub(crate) struct DrillArgs {
    #[command(flatten)]
    copy: SharedArgs,
}

pub(crate) fn run(arguments: &DrillArgs, output: Output) -> Result<(), Failure> {
    let shares = arguments.copy.shares()?;
    let copy = arguments.copy.read(|_| Ok(()))?;
    let secrets = arguments.copy.secrets(&copy, &shares)?;
    let opened = arguments.copy.open_all(&copy, &secrets)?;
    let (signed, secrets) = (copy.signed.to_string(), secrets.periods().len());
    let details = json!({
        "signed": signed, "shares": shares.len(), "ledger_secrets": secrets, "opened": opened,
    });
    output.print("shares.drill", details, || {
        format!(
            "ok  the ledger verifies up to {signed}; the shares give all {secrets} of its secrets, and every entry opens under \
             its own: {opened}"
        )
    });
    Ok(())
}
