//! `coco proposal`: what members decide.

mod ballot;
mod changes;
pub(crate) mod create;
mod deadline;
mod document;
pub(crate) mod kind;
mod ls;
pub(crate) mod policy;
mod recovered;
mod show;
mod simulate;
mod submit;
mod validate;
mod vote;
mod watch;
mod withdraw;

use coco_client::{Draft, Message, ProposalId, reply::Proposal};
use coco_governance::tables::ProposalState;
use serde_json::json;

use crate::{
    codes::Code,
    fault::Fault,
    output::{Output, plain, short},
    session::{NetworkArgs, Session},
    signing::{Fate, Statement},
};

#[derive(Debug, clap::Args)]
pub(crate) struct ProposalArgs {
    #[command(flatten)]
    network: NetworkArgs,
    #[command(subcommand)]
    command: ProposalCommand,
}

#[derive(Debug, clap::Subcommand)]
enum ProposalCommand {
    /// List the proposals that are open, and the last that was decided
    #[command(after_help = "Example:\n  coco proposal ls")]
    Ls,
    /// Show a proposal: what it would change, and who voted
    #[command(after_help = "Example:\n  coco proposal show 3f9a2c4b")]
    Show(show::ShowArgs),
    /// Make a proposal
    #[command(after_help = "Example:\n  coco proposal create add-member acme_cert.pem --name acme")]
    Create(Box<create::CreateArgs>),
    /// Check whether the constitution takes a document as a proposal
    #[command(after_help = "Example:\n  coco proposal validate proposal.json")]
    Validate(validate::ValidateArgs),
    /// Show what a proposal would change, were it accepted now
    #[command(
        after_help = "Examples:\n  coco proposal simulate 3f9a2c4b\n  coco proposal simulate proposal.json"
    )]
    Simulate(simulate::SimulateArgs),
    /// Vote on a proposal
    #[command(
        after_help = "Examples:\n  coco proposal vote 3f9a2c4b --approve\n  coco proposal vote 3f9a2c4b --reject --reason \"the build is not reproducible\""
    )]
    Vote(vote::VoteArgs),
    /// Take your own proposal back
    #[command(after_help = "Example:\n  coco proposal withdraw 3f9a2c4b")]
    Withdraw(withdraw::WithdrawArgs),
    /// Wait until a proposal is decided
    #[command(after_help = "Example:\n  coco proposal watch 3f9a2c4b")]
    Watch(watch::WatchArgs),
    /// Send a request that was signed elsewhere, or may have got lost; to send it again does no harm
    #[command(after_help = "Example:\n  coco proposal submit vote.signed.cose")]
    Submit(submit::SubmitArgs),
}

pub(crate) fn run(arguments: &ProposalArgs, output: Output) -> Result<(), Fault> {
    let session = Session::open(&arguments.network)?;
    match &arguments.command {
        ProposalCommand::Ls => ls::run(&session, output),
        ProposalCommand::Show(arguments) => show::run(&session, arguments, output),
        ProposalCommand::Create(arguments) => create::run(&session, arguments, output),
        ProposalCommand::Validate(arguments) => validate::run(&session, arguments, output),
        ProposalCommand::Simulate(arguments) => simulate::run(&session, arguments, output),
        ProposalCommand::Vote(arguments) => vote::run(&session, arguments, output),
        ProposalCommand::Withdraw(arguments) => withdraw::run(&session, arguments, output),
        ProposalCommand::Watch(arguments) => watch::run(&session, arguments, output),
        ProposalCommand::Submit(arguments) => submit::run(&session, arguments, output),
    }
}

/// What a request says, for whoever signs it without the network.
pub(crate) fn statement_of(draft: &Draft) -> Statement {
    let content = String::from_utf8_lossy(draft.content());
    let (act, lines, word) = match draft.message() {
        Message::Proposal => {
            let lines = match document::parse(draft.content()) {
                Ok(document) => changes::lines(&document, None),
                Err(_) => vec![plain(&content)],
            };
            ("make a proposal".to_owned(), lines, None)
        }
        Message::Ballot(id) => {
            let id = id.to_string();
            let lines = ballot::lines(draft.content());
            (format!("vote on proposal {id}"), lines, Some(short(&id).to_owned()))
        }
        Message::Withdrawal(id) => {
            let id = id.to_string();
            (format!("withdraw proposal {id}"), Vec::new(), Some(short(&id).to_owned()))
        }
        Message::Ack => {
            let act = "acknowledge the state of the service, by which you become an active member";
            (act.to_owned(), vec![plain(&content)], None)
        }
        Message::StateDigest => ("ask for the state of the service".to_owned(), Vec::new(), None),
        // A share is a secret.
        Message::RecoveryShare | Message::EncryptedRecoveryShare => {
            ("hand your recovery share in".to_owned(), Vec::new(), None)
        }
    };
    Statement { message: draft.message(), content: draft.content().to_vec(), act, lines, word }
}

/// Prints what became of a request about a proposal.
fn report(session: &Session, schema: &str, fate: Fate, output: Output) -> Result<(), Fault> {
    let (proposal, transaction, is_repeated) = match fate {
        Fate::Kept => return Ok(()),
        Fate::Sent(answer) => {
            let transaction = answer.transaction.map(|transaction| transaction.to_string());
            // A withdrawal of a proposal that is not known any more has no answer.
            let proposal =
                if answer.body.is_empty() { None } else { Some(answer.json::<Proposal>()?) };
            (proposal, transaction, false)
        }
        Fate::Refused(error) => {
            let known = error.refusal().filter(|_| error.is("ProposalReplay"));
            let Some(id) = known.and_then(|refusal| id_in(&refusal.message)) else {
                return Err(error.into());
            };
            // It arrived before, and so it is done.
            (Some(session.ask(|client| client.proposal(id))?), None, true)
        }
    };
    if let Some(late) = proposal.as_ref().filter(|_| !is_repeated).and_then(came_late) {
        return Err(late);
    }
    let members = json!({
        "proposal": proposal, "transaction_id": transaction, "is_repeated": is_repeated,
    });
    output.print(schema, members, || {
        let committed = match (&transaction, is_repeated) {
            (Some(id), _) => format!("committed {id}"),
            (None, true) => "it was submitted before".to_owned(),
            (None, false) => "committed".to_owned(),
        };
        match proposal {
            Some(proposal) => format!(
                "proposal {}  {:?}, {} voted\n  id     {}\n  {committed}",
                short(&proposal.proposal_id),
                proposal.proposal_state,
                proposal.ballot_count,
                plain(&proposal.proposal_id),
            ),
            None => committed,
        }
    });
    Ok(())
}

/// A request that found a proposal past its deadline was carried out in that the proposal was dropped. It is not what its
/// signer wanted.
fn came_late(proposal: &Proposal) -> Option<Fault> {
    let reason = &proposal.failure.as_ref()?.reason;
    (proposal.proposal_state == ProposalState::Dropped).then(|| {
        let message = format!("{} is Dropped: {reason}", proposal.proposal_id);
        Fault::new(Code::ProposalNotOpen, message)
    })
}

/// The id of a proposal in the words of a node.
fn id_in(message: &str) -> Option<ProposalId> {
    message.split(|c: char| !c.is_ascii_hexdigit()).find_map(|word| word.parse().ok())
}

/// A proposal that is not known any more may well have been decided.
fn missing(fault: Fault, id: ProposalId) -> Fault {
    match fault.code() {
        Code::NotFound => Fault::new(Code::ProposalNotFound, id.to_string()),
        _ => fault,
    }
}

#[cfg(test)]
mod tests {
    use coco_types::Digest;

    use super::*;

    #[test]
    fn the_id_is_found_in_what_a_node_says() {
        let id = ProposalId(Digest([0xab; 32]));
        let message = format!("the proposal was submitted before, as {id}");
        assert_eq!(id_in(&message), Some(id));
        assert_eq!(id_in("submitted before, as abab"), None);
    }
}
