//! Proposals that nobody decides end.

use coco_governance::{
    DEFAULT_CONSTITUTION, ErrorCode, Governance, OPEN_PROPOSALS_MAX, PROPOSAL_AGE_DEFAULT_S,
    PROPOSAL_AGE_MAX_S, PROPOSAL_AGE_MIN_S, ProposalView, Reply,
    tables::{self, ProposalState},
};
use serde_json::json;

use crate::consortium::{Consortium, NO, YES, code, engine, state};

fn note(text: &str) -> serde_json::Value {
    json!({ "text": text })
}

fn open(c: &mut Consortium, by: usize) -> ProposalView {
    let text = format!("{by} at {}", c.now);
    c.propose(by, "set_note", &note(&text)).unwrap()
}

#[test]
fn a_proposal_says_until_when_it_is_open() {
    let mut c = Consortium::new(2);
    let now = c.now;
    let view = open(&mut c, 0);
    assert_eq!(view.admitted_at, Some(now));
    assert_eq!(view.expires_at, Some(now + PROPOSAL_AGE_DEFAULT_S));
    let row = c.json(tables::PROPOSALS_INFO, view.proposal_id.as_bytes()).unwrap();
    assert_eq!(row["expires_at"], now + PROPOSAL_AGE_DEFAULT_S);
}

#[test]
fn what_its_signer_says_of_the_time_moves_no_deadline() {
    let mut c = Consortium::new(2);
    let content = json!({ "actions": [{ "name": "set_note", "args": note("old") }] }).to_string();
    let message = coco_governance::Message::Proposal;
    let envelope = c.members[0].sign(message, c.now - 1_000_000, content.as_bytes());
    let now = c.now;
    let made = c.send(coco_governance::Route::CreateProposal, &envelope).unwrap();
    let Reply::Proposal(view) = made else { panic!("{made:?}") };
    assert_eq!(view.expires_at, Some(now + PROPOSAL_AGE_DEFAULT_S));
}

#[test]
fn a_ballot_counts_until_the_deadline_and_no_longer() {
    for (late_s, expected) in [(-1, "Accepted"), (0, "Dropped"), (1, "Dropped")] {
        let mut c = Consortium::new(2);
        let view = open(&mut c, 0);
        c.vote(0, &view, YES).unwrap();
        c.now = view.expires_at.unwrap().checked_add_signed(late_s).unwrap();
        let end = c.vote(1, &view, YES).unwrap();
        assert_eq!(state(&end), expected, "{late_s}");
        assert_eq!(c.kept_state(&view).as_deref(), Some(expected), "{late_s}");
        assert_eq!(c.note().is_some(), expected == "Accepted", "{late_s}");
        let voters = if expected == "Accepted" { 2 } else { 1 };
        assert_eq!(end.ballot_count, voters, "a late ballot is none");
    }
}

#[test]
fn whoever_comes_late_is_told_why_and_the_ledger_has_the_request() {
    let mut c = Consortium::new(3);
    let view = open(&mut c, 0);
    c.now = view.expires_at.unwrap();
    let end = c.vote(1, &view, NO).unwrap();
    let reason = end.failure.as_ref().map(|failure| failure.reason.clone()).unwrap();
    assert!(reason.contains("it expired"), "{reason}");
    assert!(reason.contains(&view.expires_at.unwrap().to_string()), "{reason}");
    assert!(c.written.map_names().any(|name| name.as_str() == tables::COSE_HISTORY));
    assert_eq!(code(c.vote(2, &view, YES)), ErrorCode::ProposalNotOpen);
    assert_eq!(code(c.withdraw(0, &view)), ErrorCode::ProposalNotOpen);
}

#[test]
fn a_late_withdrawal_finds_it_dropped() {
    let mut c = Consortium::new(2);
    let view = open(&mut c, 0);
    c.now = view.expires_at.unwrap();
    assert_eq!(code(c.withdraw(1, &view)), ErrorCode::AuthorizationFailed);
    let Ok(Reply::Proposal(end)) = c.withdraw(0, &view) else { panic!("it is known") };
    assert_eq!(end.proposal_state, ProposalState::Dropped);
}

#[test]
fn the_next_request_drops_all_that_are_over() {
    let mut c = Consortium::new(3);
    let old = [open(&mut c, 0), open(&mut c, 1)];
    c.now += PROPOSAL_AGE_DEFAULT_S - 10;
    let young = open(&mut c, 0);
    c.vote(1, &young, YES).unwrap();
    assert_eq!(c.kept_state(&old[0]).as_deref(), Some("Open"));
    c.now += 20;
    // Of all requests one that decides: it removes what was decided before, and these were not.
    c.vote(2, &young, YES).unwrap();
    for view in &old {
        assert_eq!(c.kept_state(view).as_deref(), Some("Dropped"));
    }
    assert_eq!(c.kept_state(&young).as_deref(), Some("Accepted"));
    let next = open(&mut c, 1);
    c.withdraw(1, &next).unwrap();
    assert_eq!(c.kept_state(&old[0]), None, "the ledger has it");
}

#[test]
fn what_is_over_does_not_count_against_its_proposer() {
    let mut c = Consortium::new(2);
    for _ in 0..OPEN_PROPOSALS_MAX {
        open(&mut c, 0);
    }
    let args = note("one more");
    assert_eq!(code(c.propose(0, "set_note", &args)), ErrorCode::TooManyOpenProposals);
    c.now += PROPOSAL_AGE_DEFAULT_S;
    let view = c.propose(0, "set_note", &args).unwrap();
    assert_eq!(state(&view), "Open");
}

#[test]
fn an_expired_request_does_not_come_back() {
    let mut c = Consortium::new(2);
    let content = json!({ "actions": [{ "name": "set_note", "args": note("x") }] }).to_string();
    let message = coco_governance::Message::Proposal;
    let envelope = c.members[0].sign(message, c.now, content.as_bytes());
    c.send(coco_governance::Route::CreateProposal, &envelope).unwrap();
    c.now += PROPOSAL_AGE_DEFAULT_S;
    let again = c.send(coco_governance::Route::CreateProposal, &envelope);
    assert_eq!(code(again), ErrorCode::ProposalReplay);
}

#[test]
fn members_set_the_age_and_what_was_made_before_keeps_its_own() {
    let mut c = Consortium::under(DEFAULT_CONSTITUTION, 2);
    let policy = |age: u64| json!({ "default": { "rule": "majority" }, "actions": {}, "proposals_expire_after_s": age });
    for age in [PROPOSAL_AGE_MIN_S - 1, PROPOSAL_AGE_MAX_S + 1] {
        let refused = code(c.propose(0, "set_voting_policy", &policy(age)));
        assert_eq!(refused, ErrorCode::ProposalFailedToValidate, "{age}");
    }
    for age in [PROPOSAL_AGE_MIN_S, PROPOSAL_AGE_MAX_S, 7_200] {
        let now = c.now;
        let change = c.pass("set_voting_policy", &policy(age)).unwrap();
        assert_eq!(state(&change), "Accepted", "{age}");
        assert!(change.expires_at != Some(now + age), "the change is decided under the old policy");
    }
    let now = c.now;
    let view = c.propose(0, "trigger_snapshot", &json!({})).unwrap();
    assert_eq!(view.expires_at, Some(now + 7_200));
    let silent = json!({ "default": { "rule": "majority" }, "actions": {} });
    c.pass("set_voting_policy", &silent).unwrap();
    let now = c.now;
    let view = c.propose(0, "trigger_snapshot", &json!({})).unwrap();
    assert_eq!(view.expires_at, Some(now + PROPOSAL_AGE_DEFAULT_S));
}

#[test]
fn a_proposal_of_an_earlier_version_stays_open() {
    let mut c = Consortium::new(2);
    let view = open(&mut c, 0);
    let key = view.proposal_id.as_bytes();
    let mut row = c.json(tables::PROPOSALS_INFO, key).unwrap();
    for field in ["admitted_at", "expires_at"] {
        row.as_object_mut().unwrap().remove(field).unwrap();
    }
    c.set(&[(tables::PROPOSALS_INFO, key, row)]);
    c.now += 10 * PROPOSAL_AGE_MAX_S;
    c.vote(0, &view, YES).unwrap();
    assert_eq!(state(&c.vote(1, &view, YES).unwrap()), "Accepted");
}

#[test]
fn every_node_drops_the_same_rows_whatever_the_second() {
    let mut c = Consortium::new(2);
    let view = open(&mut c, 0);
    let id = view.proposal_id.parse().unwrap();
    let member = c.members[1].id();
    let content = json!({ "ballot": YES }).to_string();
    let message = coco_governance::Message::Ballot(id);
    let envelope = c.members[1].sign(message, c.now, content.as_bytes());
    let route = coco_governance::Route::SubmitBallot { proposal: id, member };
    let written = [0, 1, 1_000_000].map(|late_s| {
        c.now = view.expires_at.unwrap() + late_s;
        let situation = c.situation();
        let mut governance = Governance::new(engine());
        let handled =
            governance.handle(c.store.reader().begin(), route, &envelope, &situation).unwrap();
        handled.transaction.finish().write_set().clone()
    });
    assert_eq!(written[0], written[1]);
    assert_eq!(written[0], written[2]);
}
