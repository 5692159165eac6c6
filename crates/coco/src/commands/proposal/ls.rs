//! `coco proposal ls`.

use coco_client::Client;
use serde_json::json;

use super::deadline;
use crate::{
    fault::Fault,
    output::{Output, Table, short},
    session::{Session, call_member},
    signing::now,
};

pub(super) fn run(session: &Session, output: Output) -> Result<(), Fault> {
    let proposals = session.ask(Client::proposals)?.value;
    let members = session.ask(Client::members)?.value;
    let now = now()?;
    output.print("proposal.ls", json!({ "proposals": proposals }), || {
        let mut table = Table::with_head(["PROPOSAL", "STATE", "BY", "EXPIRES", "VOTED"]);
        for proposal in &proposals {
            let voted: Vec<String> =
                proposal.ballot_submitters.iter().map(|id| call_member(&members, id)).collect();
            table.row([
                short(&proposal.proposal_id),
                &format!("{:?}", proposal.proposal_state),
                &call_member(&members, &proposal.proposer_id),
                &deadline::in_words(proposal, now).unwrap_or_else(|| "-".to_owned()),
                &voted.join(" "),
            ]);
        }
        table.to_string()
    });
    Ok(())
}
