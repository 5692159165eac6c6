//! `coco proposal create`.

use coco_client::Message;
use serde_json::json;

use super::{changes, document, kind::Kind, recovered::Recovered, report};
use crate::{
    fault::Fault,
    output::{Output, outln},
    session::Session,
    signing::{SigningArgs, Statement, carry_out},
};

/// How a proposal is made, whatever it says.
#[derive(Debug, clap::Args)]
pub(crate) struct ProposeArgs {
    #[command(flatten)]
    signing: SigningArgs,
    /// Have the proposal fail on every service but the one that is pinned here
    #[arg(long, global = true)]
    only_here: bool,
    /// Print the document, and sign nothing
    #[arg(long, global = true)]
    dry_run: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct CreateArgs {
    #[command(flatten)]
    how: ProposeArgs,
    #[command(subcommand)]
    kind: Kind,
}

pub(super) fn run(session: &Session, arguments: &CreateArgs, output: Output) -> Result<(), Fault> {
    propose(session, &arguments.how, &arguments.kind, output)
}

/// Proposes what is of this kind.
pub(crate) fn propose(
    session: &Session,
    arguments: &ProposeArgs,
    kind: &Kind,
    output: Output,
) -> Result<(), Fault> {
    let mut content = kind.document(session)?;
    let mut proposed = document::parse(&content)?;
    if arguments.only_here {
        let service = arguments.signing.service(session)?.pem();
        let args = json!({ "service_identity": service });
        proposed.actions.insert(0, document::action("assert_service_identity", args));
        content = document::write(&proposed)?;
    }
    if arguments.dry_run {
        outln!("{}", String::from_utf8_lossy(&content));
        return Ok(());
    }
    let mut lines = changes::lines(&proposed, Some(session.client().identity()));
    if !arguments.signing.is_offline() {
        let recovered = Recovered::fetch(session, &proposed.actions);
        lines.extend(recovered.iter().flat_map(Recovered::lines));
    }
    let statement = Statement {
        message: Message::Proposal,
        content,
        act: "make a proposal".to_owned(),
        lines,
        word: None,
    };
    let fate = carry_out(session, &arguments.signing, &statement)?;
    report(session, "proposal.create", fate, output)
}
