//! `coco proposal create`.

use coco_client::{Client, Message};
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
    /// Have the proposal fail on every service but the one that is pinned here. It does so without being told, but for
    /// participants, organisations, token issuers, trust-node and raw: there the rules may let one member decide, and the name of
    /// the service is decided under the rule for all
    #[arg(long, global = true)]
    only_here: bool,
    /// Do not name the service in the proposal: where the same members govern several, each takes it
    #[arg(long, global = true, conflicts_with = "only_here")]
    anywhere: bool,
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

/// The action that has a proposal fail on every service but one.
const NAMES_SERVICE: &str = "assert_service_identity";

impl ProposeArgs {
    /// Whether the proposal is to name its service.
    fn names_service(&self, session: &Session, kind: &Kind) -> bool {
        if self.only_here || self.anywhere || !kind.names_service() {
            return self.only_here;
        }
        if self.signing.is_offline() {
            return true;
        }
        let known = session.ask(Client::constitution).map(|rules| rules.0.contains(NAMES_SERVICE));
        if matches!(known, Ok(false)) {
            eprintln!(
                "the constitution does not know {NAMES_SERVICE}: where the same members govern several services, each takes this \
                 proposal"
            );
            return false;
        }
        true
    }
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
    if arguments.names_service(session, kind) {
        let service = arguments.signing.service(session)?.pem();
        let args = json!({ "service_identity": service });
        proposed.actions.insert(0, document::action(NAMES_SERVICE, args));
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
