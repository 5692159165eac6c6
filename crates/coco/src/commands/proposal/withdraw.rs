//! `coco proposal withdraw`.

use coco_client::Message;

use super::{missing, report};
use crate::{
    fault::Fault,
    output::{Output, short},
    session::Session,
    signing::{SigningArgs, Statement, carry_out},
};

#[derive(Debug, clap::Args)]
pub(super) struct WithdrawArgs {
    /// The proposal's id, or its first digits
    proposal: String,
    #[command(flatten)]
    signing: SigningArgs,
}

pub(super) fn run(
    session: &Session,
    arguments: &WithdrawArgs,
    output: Output,
) -> Result<(), Fault> {
    let id = session.find_proposal(&arguments.proposal)?;
    // A service says nothing about a withdrawal of what it does not know.
    session.ask(|client| client.proposal(id)).map_err(|fault| missing(fault, id))?;
    let word = short(&id.to_string()).to_owned();
    let statement = Statement {
        message: Message::Withdrawal(id),
        content: Vec::new(),
        act: format!("withdraw proposal {word}"),
        lines: Vec::new(),
        word: Some(word),
    };
    let fate = carry_out(session, &arguments.signing, &statement)?;
    report(session, "proposal.withdraw", fate, output)
}
