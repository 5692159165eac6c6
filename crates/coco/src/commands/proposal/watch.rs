//! `coco proposal watch`: wait until it is decided.

use std::time::{Duration, Instant};

use coco_governance::tables::ProposalState;
use serde_json::json;

use super::missing;
use crate::{
    codes::Code,
    fault::Fault,
    output::{Output, short},
    session::Session,
};

#[derive(Debug, clap::Args)]
pub(super) struct WatchArgs {
    /// The proposal's id, or its first digits
    proposal: String,
    /// Give up after so many seconds
    #[arg(long, value_name = "SECONDS")]
    wait: Option<u64>,
}

/// How often a node is asked.
const INTERVAL: Duration = Duration::from_millis(500);

pub(super) fn run(session: &Session, arguments: &WatchArgs, output: Output) -> Result<(), Fault> {
    let id = session.find_proposal(&arguments.proposal)?;
    let deadline = arguments.wait.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let mut voted = None;
    loop {
        let found = session.ask(|client| client.proposal(id));
        let proposal = found.map_err(|fault| missing(fault, id))?;
        if proposal.proposal_state != ProposalState::Open {
            output.print("proposal.watch", json!({ "proposal": proposal }), || {
                let id = short(&proposal.proposal_id);
                format!("proposal {id}  {:?}", proposal.proposal_state)
            });
            return Ok(());
        }
        if voted.replace(proposal.ballot_count) != Some(proposal.ballot_count) {
            eprintln!("open, {} voted", proposal.ballot_count);
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Err(Fault::new(Code::Late, format!("proposal {id} is still open")));
        }
        std::thread::sleep(INTERVAL);
    }
}
