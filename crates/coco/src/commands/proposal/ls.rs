//! `coco proposal ls`.

use coco_client::Client;
use serde_json::json;

use crate::{
    fault::Fault,
    output::{Output, Table, short},
    session::{Session, call_member},
};

pub(super) fn run(session: &Session, output: Output) -> Result<(), Fault> {
    let proposals = session.ask(Client::proposals)?.value;
    let members = session.ask(Client::members)?.value;
    output.print("proposal.ls", json!({ "proposals": proposals }), || {
        let mut table = Table::with_head(["PROPOSAL", "STATE", "BY", "VOTED"]);
        for proposal in &proposals {
            let voted: Vec<String> =
                proposal.ballot_submitters.iter().map(|id| call_member(&members, id)).collect();
            table.row([
                short(&proposal.proposal_id),
                &format!("{:?}", proposal.proposal_state),
                &call_member(&members, &proposal.proposer_id),
                &voted.join(" "),
            ]);
        }
        table.to_string()
    });
    Ok(())
}
