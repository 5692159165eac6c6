//! What a member decides alone, where the policy lets it: nodes, so many, with code that members have admitted.

use coco_governance::{
    DEFAULT_CONSTITUTION, ErrorCode, Message, ProposalView, Reply, Route, tables,
};
use serde_json::{Value, json};

use crate::consortium::{Consortium, NO, YES, code, state};

/// A consortium whose members may each trust so many nodes alone.
fn consortium(members: usize, per_member: u64) -> Consortium {
    let mut c = Consortium::under(DEFAULT_CONSTITUTION, members);
    let code = admitted();
    c.set(&[(tables::VIRTUAL_MEASUREMENTS, code.as_bytes(), json!("\"AllowedToJoin\""))]);
    let rule = json!({ "rule": "automatic", "per_member": per_member });
    c.pass("set_voting_policy", &policy(&rule)).unwrap();
    c
}

fn policy(rule: &Value) -> Value {
    json!({
        "default": { "rule": "majority" },
        "actions": { "transition_node_to_trusted": rule },
    })
}

fn admitted() -> String {
    "ab".repeat(32)
}

fn node(number: u8) -> String {
    format!("{number:02x}").repeat(32)
}

/// A node that waits, with admitted code.
fn introduce(c: &mut Consortium, number: u8) -> Value {
    set_node(c, number, &json!({ "status": "Pending", "code_digest": admitted() }));
    json!({ "node_id": node(number) })
}

fn set_node(c: &mut Consortium, number: u8, row: &Value) {
    c.set(&[(tables::NODES_INFO, node(number).as_bytes(), row.clone())]);
}

fn trust(c: &mut Consortium, by: usize, number: u8) -> String {
    let args = introduce(c, number);
    state(&c.propose(by, "transition_node_to_trusted", &args).unwrap())
}

fn status(c: &Consortium, number: u8) -> Option<String> {
    let row = c.json(tables::NODES_INFO, node(number).as_bytes())?;
    Some(row["status"].as_str().unwrap().to_owned())
}

fn remove(c: &mut Consortium, number: u8) {
    let end = c.pass("remove_node", &json!({ "node_id": node(number) })).unwrap();
    assert_eq!(state(&end), "Accepted");
}

fn propose_all(c: &mut Consortium, by: usize, actions: &Value) -> ProposalView {
    let content = json!({ "actions": actions }).to_string();
    let envelope = c.members[by].sign(Message::Proposal, c.now, content.as_bytes());
    match c.send(Route::CreateProposal, &envelope).unwrap() {
        Reply::Proposal(view) => *view,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_member_trusts_nodes_alone_up_to_its_limit() {
    let mut c = consortium(3, 2);
    for (by, number, expected) in [
        (0, 1, "Accepted"),
        (0, 2, "Accepted"),
        (0, 3, "Open"),
        // Another has a limit of its own.
        (1, 4, "Accepted"),
    ] {
        assert_eq!(trust(&mut c, by, number), expected, "{number}");
        let became = if expected == "Accepted" { "Trusted" } else { "Pending" };
        assert_eq!(status(&c, number).as_deref(), Some(became), "{number}");
    }
    let row = c.json(tables::AUTOMATIC_VOTES, node(1).as_bytes()).unwrap();
    assert_eq!(row["member_id"], c.members[0].id().to_string());
    assert_eq!(c.json(tables::AUTOMATIC_VOTES, node(3).as_bytes()), None);
}

#[test]
fn beyond_the_limit_votes_decide_and_do_not_count_as_its_own() {
    let mut c = consortium(3, 1);
    assert_eq!(trust(&mut c, 0, 1), "Accepted");
    let args = introduce(&mut c, 2);
    let view = c.propose(0, "transition_node_to_trusted", &args).unwrap();
    assert_eq!(state(&c.vote(1, &view, YES).unwrap()), "Open");
    assert_eq!(state(&c.vote(2, &view, YES).unwrap()), "Accepted");
    assert_eq!(c.json(tables::AUTOMATIC_VOTES, node(2).as_bytes()), None);
    remove(&mut c, 1);
    assert_eq!(trust(&mut c, 0, 3), "Accepted", "node 2 came by votes");
}

#[test]
fn a_node_that_is_removed_counts_no_more() {
    let mut c = consortium(2, 1);
    assert_eq!(trust(&mut c, 0, 1), "Accepted");
    assert_eq!(trust(&mut c, 1, 2), "Accepted");
    assert_eq!(trust(&mut c, 0, 3), "Open");
    remove(&mut c, 1);
    assert_eq!(status(&c, 1).as_deref(), Some("Retired"));
    assert_eq!(c.json(tables::AUTOMATIC_VOTES, node(1).as_bytes()), None);
    assert_eq!(trust(&mut c, 0, 4), "Accepted");
    assert_eq!(trust(&mut c, 0, 5), "Open");
}

#[test]
fn a_node_that_starts_again_keeps_its_place_in_the_count() {
    let mut c = consortium(2, 1);
    assert_eq!(trust(&mut c, 0, 1), "Accepted");
    // The network does this by itself: a new node in the old one's place.
    set_node(&mut c, 1, &json!({ "status": "Retired", "code_digest": admitted() }));
    let seat = node(1);
    let row = json!({ "status": "Trusted", "code_digest": admitted(), "seat": seat });
    set_node(&mut c, 2, &row);
    assert_eq!(trust(&mut c, 0, 3), "Open", "a restart makes no room");
    assert_eq!(trust(&mut c, 1, 4), "Accepted");
    remove(&mut c, 2);
    assert_eq!(trust(&mut c, 0, 5), "Accepted");
}

#[test]
fn who_waits_for_an_others_place_is_decided_by_votes_and_makes_no_room() {
    let mut c = consortium(2, 1);
    assert_eq!(trust(&mut c, 0, 1), "Accepted");
    assert_eq!(trust(&mut c, 1, 2), "Accepted");
    let row = json!({ "status": "Pending", "code_digest": admitted(), "seat": node(1) });
    set_node(&mut c, 3, &row);
    let args = json!({ "node_id": node(3) });
    assert_eq!(state(&c.propose(1, "transition_node_to_trusted", &args).unwrap()), "Open");
    let error = c.pass("remove_node", &args).unwrap_err();
    assert!(error.message.contains(&format!("in the seat of {}", node(1))), "{error}");
    assert_eq!(trust(&mut c, 0, 4), "Open", "node 1 is still there");
}

#[test]
fn only_a_waiting_node_with_admitted_code_comes_by_one_members_word() {
    let mut c = consortium(2, 5);
    let other = "cd".repeat(32);
    c.set(&[(tables::VIRTUAL_MEASUREMENTS, other.as_bytes(), json!("\"Revoked\""))]);
    for row in [
        json!({ "status": "Pending" }),
        json!({ "status": "Pending", "code_digest": 1 }),
        json!({ "status": "Pending", "code_digest": node(9) }),
        json!({ "status": "Pending", "code_digest": other }),
        json!({ "status": "Trusted", "code_digest": admitted() }),
        json!({ "status": "Retired", "code_digest": admitted() }),
    ] {
        set_node(&mut c, 1, &row);
        let args = json!({ "node_id": node(1) });
        let view = c.propose(0, "transition_node_to_trusted", &args).unwrap();
        assert_eq!(state(&view), "Open", "{row}");
        c.withdraw(0, &view).unwrap();
    }
    let args = json!({ "node_id": node(7) });
    assert_eq!(state(&c.propose(0, "transition_node_to_trusted", &args).unwrap()), "Open");
}

#[test]
fn code_that_was_revoked_needs_votes_again() {
    let mut c = consortium(2, 5);
    c.pass("remove_virtual_measurement", &json!({ "measurement": admitted() })).unwrap();
    assert_eq!(trust(&mut c, 0, 1), "Open");
}

#[test]
fn one_proposal_does_not_outrun_the_limit() {
    let mut c = consortium(3, 2);
    for number in 1..=3 {
        introduce(&mut c, number);
    }
    let action =
        |n| json!({ "name": "transition_node_to_trusted", "args": { "node_id": node(n) } });
    let three = propose_all(&mut c, 0, &json!([action(1), action(2), action(3)]));
    assert_eq!(state(&three), "Open");
    let two = propose_all(&mut c, 0, &json!([action(1), action(2)]));
    assert_eq!(state(&two), "Accepted");
    assert_eq!(trust(&mut c, 0, 4), "Open");
}

#[test]
fn what_stands_beside_it_in_a_proposal_still_needs_its_votes() {
    let mut c = consortium(3, 2);
    introduce(&mut c, 1);
    let actions = json!([
        { "name": "transition_node_to_trusted", "args": { "node_id": node(1) } },
        { "name": "trigger_snapshot" },
    ]);
    let view = propose_all(&mut c, 0, &actions);
    assert_eq!(state(&view), "Open");
    assert_eq!(status(&c, 1).as_deref(), Some("Pending"));
    c.vote(1, &view, NO).unwrap();
    assert_eq!(state(&c.vote(2, &view, NO).unwrap()), "Rejected");
}

#[test]
fn who_is_no_member_any_more_decides_nothing_alone() {
    let mut c = consortium(3, 2);
    introduce(&mut c, 1);
    let actions = json!([
        { "name": "transition_node_to_trusted", "args": { "node_id": node(1) } },
        { "name": "trigger_snapshot" },
    ]);
    let view = propose_all(&mut c, 2, &actions);
    let gone = c.members[2].id().to_string();
    c.pass("remove_member", &json!({ "member_id": gone })).unwrap();
    assert_eq!(state(&c.vote(0, &view, YES).unwrap()), "Open");
    // By the votes of those who are left it passes, and then it is their doing.
    assert_eq!(state(&c.vote(1, &view, YES).unwrap()), "Accepted");
    assert_eq!(c.json(tables::AUTOMATIC_VOTES, node(1).as_bytes()), None);
}

#[test]
fn the_rule_for_more_may_be_its_own() {
    let mut c = consortium(3, 1);
    let rule = json!({ "rule": "automatic", "per_member": 1, "otherwise": { "rule": "one" } });
    c.pass("set_voting_policy", &policy(&rule)).unwrap();
    assert_eq!(trust(&mut c, 0, 1), "Accepted");
    let args = introduce(&mut c, 2);
    let view = c.propose(0, "transition_node_to_trusted", &args).unwrap();
    assert_eq!(state(&view), "Open");
    assert_eq!(state(&c.vote(1, &view, YES).unwrap()), "Accepted");
}

#[test]
fn automatic_rules_that_cannot_be_are_refused() {
    let mut c = Consortium::under(DEFAULT_CONSTITUTION, 2);
    let automatic = json!({ "rule": "automatic", "per_member": 1 });
    let mut refused = |policy: &Value, expected: &str| {
        let error = c.propose(0, "set_voting_policy", policy).unwrap_err();
        assert_eq!(error.code, ErrorCode::ProposalFailedToValidate, "{policy}");
        assert!(error.message.contains(expected), "{policy}: {error}");
    };
    refused(&json!({ "default": automatic, "actions": {} }), "the rule of default is unknown");
    for action in ["set_constitution", "set_member", "add_virtual_measurement", "set_voting_policy"]
    {
        let policy =
            json!({ "default": { "rule": "one" }, "actions": { action: automatic.clone() } });
        refused(&policy, "is never decided automatically");
    }
    for (rule, expected) in [
        (json!({ "rule": "automatic" }), "from 1 to 100"),
        (json!({ "rule": "automatic", "per_member": 0 }), "from 1 to 100"),
        (json!({ "rule": "automatic", "per_member": 101 }), "from 1 to 100"),
        (json!({ "rule": "automatic", "per_member": "2" }), "from 1 to 100"),
        (json!({ "rule": "automatic", "per_member": 1, "veto": [] }), "has no veto"),
        (
            json!({ "rule": "automatic", "per_member": 1, "otherwise": automatic }),
            "otherwise is unknown",
        ),
        (json!({ "rule": "automatic", "per_member": 1, "otherwise": "one" }), "of type object"),
    ] {
        refused(&policy(&rule), expected);
    }
    for per_member in [1, 100] {
        let rule = json!({ "rule": "automatic", "per_member": per_member });
        assert!(c.propose(0, "set_voting_policy", &policy(&rule)).is_ok(), "{per_member}");
    }
}

#[test]
fn without_the_rule_nobody_trusts_a_node_alone() {
    let mut c = Consortium::under(DEFAULT_CONSTITUTION, 3);
    let code_row = json!("\"AllowedToJoin\"");
    c.set(&[(tables::VIRTUAL_MEASUREMENTS, admitted().as_bytes(), code_row)]);
    assert_eq!(trust(&mut c, 0, 1), "Open");
    let args = json!({ "node_id": "x" });
    let refused = code(c.propose(0, "transition_node_to_trusted", &args));
    assert_eq!(refused, ErrorCode::ProposalFailedToValidate);
}
