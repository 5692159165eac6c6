//! Ballots that mean harm: each is bounded and is no vote, the node goes on, and all nodes have the same.

#[path = "../../../coco-script/tests/corpus/mod.rs"]
mod corpus;

use coco_governance::{Message, ProposalId, Route, tables};
use coco_types::TxStatus;
use serde_json::json;

use crate::governing::{Story, view};

const ALL: [&[&str]; 10] = [
    corpus::ENDLESS,
    corpus::HARD_WORK,
    corpus::MEMORY,
    corpus::CALLS_TOO_DEEP,
    corpus::VALUES_TOO_DEEP,
    corpus::RESULTS,
    corpus::RESULTS_THAT_THROW,
    corpus::EXCEPTIONS,
    corpus::FROZEN,
    corpus::NOT_THERE,
];

/// Votes by each script on a proposal that one vote accepts.
fn play(scripts: &[&str]) {
    let mut story = Story::fast();
    for script in scripts {
        let ballot = if script.contains("export ") {
            (*script).to_owned()
        } else {
            format!("export function vote() {{ {script} }}")
        };
        let made = story.propose("trigger_ledger_chunk", &json!({}));
        let id: ProposalId = view(&made).proposal_id.parse().expect("an id");
        let decided = story.vote_by(id, &ballot);
        let state = view(&decided).proposal_state;
        assert_ne!(state, tables::ProposalState::Accepted, "{script}");
        let paid = story.cluster.execute(0);
        if state == tables::ProposalState::Open {
            story.done(Route::WithdrawProposal(id), Message::Withdrawal(id), b"");
        }
        story.cluster.settle();
        assert_eq!(story.cluster.status(0, paid), TxStatus::Committed, "{script}");
    }
    story.cluster.run(5);
    story.cluster.assert_equal();
    story.accepted("trigger_ledger_chunk", &json!({}));
}

#[test]
fn ballots_that_do_not_end_are_no_votes() {
    play(&ALL[..2].concat());
}

#[test]
fn ballots_that_want_all_memory_are_no_votes() {
    play(&ALL[2..5].concat());
}

#[test]
fn ballots_that_return_and_throw_what_they_may_not_are_no_votes() {
    play(&ALL[5..].concat());
}
