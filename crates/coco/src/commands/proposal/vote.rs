//! `coco proposal vote`.

use std::path::PathBuf;

use coco_client::Message;
use coco_governance::tables::ProposalState;

use super::{
    ballot::{self, Choice, REASON_CHARACTERS_MAX},
    report,
    show::Shown,
};
use crate::{
    codes::Code,
    fault::Fault,
    files,
    output::{Output, plain, short},
    session::{Session, call_member},
    signing::{SigningArgs, Statement, carry_out},
};

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("choice").required(true).args(["approve", "reject", "ballot"]))]
pub(super) struct VoteArgs {
    /// The proposal's id, or its first digits
    proposal: String,
    /// Vote for it
    #[arg(long)]
    approve: bool,
    /// Vote against it
    #[arg(long)]
    reject: bool,
    /// Vote with a script of your own: `export function vote (rawProposal, proposerId) { ... }`
    #[arg(long, value_name = "FILE")]
    ballot: Option<PathBuf>,
    /// Why; everybody can read it in the ledger
    #[arg(long, conflicts_with = "ballot")]
    reason: Option<String>,
    /// Refuse to vote for the opening of a recovered service that does not keep what this receipt (JSON or COSE) proves of the
    /// service before it. May be given more than once
    #[arg(long, value_name = "FILE", conflicts_with = "reject")]
    receipt: Vec<PathBuf>,
    #[command(flatten)]
    signing: SigningArgs,
}

pub(super) fn run(session: &Session, arguments: &VoteArgs, output: Output) -> Result<(), Fault> {
    let id = session.find_proposal(&arguments.proposal)?;
    let shown = Shown::fetch(session, id)?;
    if shown.proposal.proposal_state != ProposalState::Open {
        let message = format!("{id} is {:?}", shown.proposal.proposal_state);
        return Err(Fault::new(Code::ProposalNotOpen, message));
    }
    check_receipts(session, &shown, &arguments.receipt)?;
    let choice = if arguments.approve { Choice::Approve } else { Choice::Reject };
    let reason = arguments.reason.as_deref();
    if reason.is_some_and(|reason| reason.chars().count() > REASON_CHARACTERS_MAX) {
        let message = format!("the reason has more than {REASON_CHARACTERS_MAX} characters");
        return Err(Fault::new(Code::Failed, message));
    }
    let (verb, script) = match &arguments.ballot {
        Some(path) => ("vote with a script on", files::read_text(path)?),
        None => {
            let verb = match choice {
                Choice::Approve => "approve",
                Choice::Reject => "reject",
            };
            (verb, ballot::script(choice, reason, &shown.digest))
        }
    };
    let mut lines = shown.changes(session);
    let proposer = call_member(&shown.members, &shown.proposal.proposer_id);
    lines.push(format!("by       {}", plain(&proposer)));
    lines.push(format!("document sha256:{}", shown.digest));
    lines.extend(arguments.ballot.iter().flat_map(|_| script.lines().map(plain)));
    let word = short(&id.to_string()).to_owned();
    let statement = Statement {
        message: Message::Ballot(id),
        content: ballot::content(&script),
        act: format!("{verb} proposal {word}"),
        lines,
        word: Some(word),
    };
    let fate = carry_out(session, &arguments.signing, &statement)?;
    report(session, "proposal.vote", fate, output)
}

/// Holds receipts against what a proposal opens.
fn check_receipts(session: &Session, shown: &Shown, receipts: &[PathBuf]) -> Result<(), Fault> {
    match &shown.recovered {
        Some(recovered) => recovered.check_holds(session, receipts),
        None if receipts.is_empty() => Ok(()),
        None => {
            let message =
                "--receipt is for the opening of a recovered service, and this proposal is another";
            Err(Fault::new(Code::Usage, message).next("vote without it"))
        }
    }
}
