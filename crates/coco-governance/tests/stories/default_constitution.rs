//! The constitution of a service that brings none of its own.

use coco_crypto::{
    AltName, Certificate, Curve, EndorseNode, Validity, endorse_node, service_certificate,
};
use coco_governance::{
    BALLOT_BYTES_MAX, DEFAULT_CONSTITUTION, Effect, ErrorCode, Message, OPEN_PROPOSALS_MAX,
    ProposalView, tables,
};
use serde_json::{Value, json};

use crate::consortium::{Consortium, Member, NO, ServiceKey, YES, code, passes, state};

fn consortium(members: usize) -> Consortium {
    Consortium::under(DEFAULT_CONSTITUTION, members)
}

/// What it comes to when members vote one after another: yes or no.
fn outcome(c: &mut Consortium, name: &str, args: &Value, votes: &[(usize, bool)]) -> String {
    let mut view: ProposalView = c.propose(0, name, args).unwrap();
    for (by, vote) in votes {
        assert_eq!(state(&view), "Open", "{name}: it was decided before {by} voted");
        view = c.vote(*by, &view, if *vote { YES } else { NO }).unwrap();
    }
    state(&view)
}

fn ids(c: &Consortium) -> Vec<String> {
    c.members.iter().map(|member| member.id().to_string()).collect()
}

fn set_row(c: &mut Consortium, name: &'static str, key: &[u8], row: &Value) {
    c.set(&[(name, key, row.clone())]);
}

#[test]
fn ordinary_matters_take_a_majority_and_rules_take_all() {
    let snapshot = json!({});
    let constitution = json!({ "constitution": format!("{DEFAULT_CONSTITUTION}\n") });
    for (name, args, votes, expected) in [
        ("trigger_snapshot", &snapshot, &[(0, true), (1, true)][..], "Open"),
        ("trigger_snapshot", &snapshot, &[(0, true), (1, true), (2, true)], "Accepted"),
        ("trigger_snapshot", &snapshot, &[(0, false), (1, true), (2, false)], "Rejected"),
        ("set_constitution", &constitution, &[(0, true), (1, true), (2, true)], "Open"),
        (
            "set_constitution",
            &constitution,
            &[(0, true), (1, true), (2, true), (3, true)],
            "Accepted",
        ),
        ("set_constitution", &constitution, &[(0, true), (3, false)], "Rejected"),
    ] {
        assert_eq!(outcome(&mut consortium(4), name, args, votes), expected, "{name} {votes:?}");
    }
}

#[test]
fn voting_policies_are_data() {
    let snapshot = json!({});
    let other = "ab".repeat(32);
    for (rule, votes, expected) in [
        (json!({ "rule": "one" }), &[(2, true)][..], "Accepted"),
        (json!({ "rule": "at_least", "members": 2 }), &[(2, true), (1, true)], "Accepted"),
        (json!({ "rule": "at_least", "members": 2 }), &[(2, false), (1, true)], "Open"),
        (json!({ "rule": "at_least", "members": 2 }), &[(2, false), (1, false)], "Rejected"),
        (
            json!({ "rule": "at_least", "members": 9 }),
            &[(0, true), (1, true), (2, true)],
            "Accepted",
        ),
        (json!({ "rule": "unanimous" }), &[(0, true), (1, true)], "Open"),
        (json!({ "rule": "majority", "veto": ["<1>"] }), &[(1, false)], "Rejected"),
        (json!({ "rule": "majority", "veto": ["<1>"] }), &[(0, true), (2, true)], "Accepted"),
        (
            json!({ "rule": "weighted", "weights": { "<0>": 3, "<1>": 1 }, "needed": 3 }),
            &[(0, true)],
            "Accepted",
        ),
        (
            json!({ "rule": "weighted", "weights": { "<0>": 3, "<1>": 1 }, "needed": 3 }),
            &[(1, true), (2, true)],
            "Open",
        ),
        (
            json!({ "rule": "weighted", "weights": { "<0>": 3, "<1>": 1 }, "needed": 3 }),
            &[(0, false)],
            "Rejected",
        ),
        (
            json!({ "rule": "weighted", "weights": { "<0>": 3, &other: 9 }, "needed": 3 }),
            &[(1, true), (0, true)],
            "Accepted",
        ),
    ] {
        let mut c = consortium(3);
        let mut rule = rule.to_string();
        for (i, id) in ids(&c).iter().enumerate() {
            rule = rule.replace(&format!("<{i}>"), id);
        }
        let rule: Value = serde_json::from_str(&rule).unwrap();
        passes(&mut c, "set_voting_policy", &json!({ "default": rule, "actions": {} }));
        assert_eq!(
            outcome(&mut c, "trigger_snapshot", &snapshot, votes),
            expected,
            "{rule} {votes:?}"
        );
    }
}

#[test]
fn a_policy_is_changed_under_the_one_before_it() {
    let mut c = consortium(3);
    let policy = |rule: &str| json!({ "default": { "rule": rule }, "actions": {} });
    let open = c.propose(1, "trigger_snapshot", &json!({})).unwrap();
    // Ours asks for all of them; the new one would have been content with one.
    let votes = [(0, true), (1, true), (2, true)];
    assert_eq!(outcome(&mut c, "set_voting_policy", &policy("one"), &votes), "Accepted");
    assert_eq!(c.kept_state(&open).as_deref(), Some("Dropped"));
    assert_eq!(
        outcome(&mut c, "set_voting_policy", &policy("unanimous"), &[(1, true)]),
        "Accepted"
    );
    assert_eq!(outcome(&mut c, "trigger_snapshot", &json!({}), &[(1, true), (0, true)]), "Open");
}

/// A member has as many proposals as it may, with ballots that take as much room as they may.
#[test]
fn no_member_can_keep_a_policy_by_filling_the_table() {
    let mut c = consortium(3);
    let majority = json!({ "default": { "rule": "majority" }, "actions": {} });
    passes(&mut c, "set_voting_policy", &majority);
    let ballot = "\u{1}".repeat(BALLOT_BYTES_MAX);
    let mut open = Vec::new();
    for by in [2, 1] {
        for _ in 0..OPEN_PROPOSALS_MAX {
            open.push(c.propose(by, "trigger_snapshot", &json!({})).unwrap());
            assert_eq!(state(&c.vote(2, &open[open.len() - 1], &ballot).unwrap()), "Open");
        }
    }
    let two = json!({ "default": { "rule": "at_least", "members": 2 }, "actions": {} });
    let votes = [(0, true), (1, true)];
    assert_eq!(outcome(&mut c, "set_voting_policy", &two, &votes), "Accepted");
    for proposal in &open {
        assert_eq!(c.kept_state(proposal).as_deref(), Some("Dropped"));
    }
}

#[test]
fn every_action_of_a_proposal_must_find_its_votes() {
    let mut c = consortium(3);
    let content = json!({ "actions": [
        { "name": "trigger_snapshot" },
        { "name": "set_constitution", "args": { "constitution": DEFAULT_CONSTITUTION } },
    ]});
    let envelope = c.members[0].sign(Message::Proposal, c.now, content.to_string().as_bytes());
    let coco_governance::Reply::Proposal(made) =
        c.send(coco_governance::Route::CreateProposal, &envelope).unwrap()
    else {
        panic!()
    };
    for (by, expected) in [(0, "Open"), (1, "Open"), (2, "Accepted")] {
        assert_eq!(state(&c.vote(by, &made, YES).unwrap()), expected);
    }
}

#[test]
fn policies_that_cannot_be_are_refused() {
    let mut c = consortium(2);
    for (policy, expected) in [
        (json!({}), "the rule of default must be of type object"),
        (json!({ "default": { "rule": "most" }, "actions": {} }), "the rule of default is unknown"),
        (json!({ "default": { "rule": "toString" }, "actions": {} }), "is unknown"),
        (json!({ "default": { "rule": "one" } }), "actions must be of type object"),
        (json!({ "default": { "rule": "one", "of": 2 }, "actions": {} }), "has no of"),
        (
            json!({ "default": { "rule": "at_least", "members": 0 }, "actions": {} }),
            "from 1 to 254",
        ),
        (json!({ "default": { "rule": "at_least" }, "actions": {} }), "from 1 to 254"),
        (json!({ "default": { "rule": "one", "veto": ["x"] }, "actions": {} }), "a member of veto"),
        (
            json!({ "default": { "rule": "one" }, "actions": { "no_such": { "rule": "one" } } }),
            "no_such is no action",
        ),
        (
            json!({ "default": { "rule": "weighted", "weights": { "x": 1 }, "needed": 1 }, "actions": {} }),
            "a member of weights",
        ),
    ] {
        let error = c.propose(0, "set_voting_policy", &policy).unwrap_err();
        assert_eq!(error.code, ErrorCode::ProposalFailedToValidate, "{policy}");
        assert!(error.message.contains(expected), "{policy}: {error}");
    }
    let out_of_reach =
        json!({ "default": { "rule": "weighted", "weights": {}, "needed": 1 }, "actions": {} });
    let error = c.pass("set_voting_policy", &out_of_reach).unwrap_err();
    assert!(error.message.contains("the active members cannot meet the rule weighted"), "{error}");
    assert_eq!(c.row(tables::VOTING_POLICY, tables::singleton_key()), None);
}

#[test]
fn members_come_and_go() {
    let mut c = consortium(3);
    let new = Member::new(Curve::P521);
    let args = json!({ "cert": new.certificate.pem(), "member_data": { "name": "new" } });
    passes(&mut c, "set_member", &args);
    let row = c.json(tables::MEMBERS_INFO, &new.id().key()).unwrap();
    assert_eq!(row, json!({ "status": "Accepted", "member_data": { "name": "new" } }));
    let ack = c.json(tables::MEMBERS_ACKS, &new.id().key()).unwrap();
    assert_eq!(ack["state_digest"].as_str().unwrap().len(), 64);
    let data = json!({ "member_id": new.id().to_string(), "member_data": { "name": "other" } });
    passes(&mut c, "set_member_data", &data);
    passes(&mut c, "remove_member", &json!({ "member_id": new.id().to_string() }));
    for name in [tables::MEMBERS_INFO, tables::MEMBERS_CERTS, tables::MEMBERS_ACKS] {
        assert_eq!(c.row(name, &new.id().key()), None);
    }
    assert_eq!(c.effects, [], "it held no share");
    let mut alone = consortium(1);
    let id = alone.members[0].id().to_string();
    let error = alone.pass("remove_member", &json!({ "member_id": id })).unwrap_err();
    assert!(error.message.contains("the last active member cannot be removed"), "{error}");
}

#[test]
fn whoever_is_left_can_still_decide() {
    let mut c = consortium(3);
    let [first, second, _] = &ids(&c)[..] else { panic!() };
    let (first, second) = (first.clone(), second.clone());
    let rule = json!({ "rule": "weighted", "weights": { &first: 2, &second: 1 }, "needed": 2 });
    passes(&mut c, "set_voting_policy", &json!({ "default": rule, "actions": {} }));
    let error = c.pass("remove_member", &json!({ "member_id": first })).unwrap_err();
    assert!(error.message.contains("the active members cannot meet the rule weighted"), "{error}");
    passes(&mut c, "remove_member", &json!({ "member_id": second }));
}

#[test]
fn enough_members_can_recover_the_service() {
    let mut c = consortium(3);
    for i in 0..2 {
        let key = c.members[i].id().key();
        set_row(&mut c, tables::MEMBERS_ENCRYPTION_KEYS, &key, &json!("PEM"));
    }
    passes(&mut c, "set_recovery_threshold", &json!({ "recovery_threshold": 2 }));
    assert_eq!(c.effects, [Effect::RefreshRecoveryShares]);
    let error = c.pass("set_recovery_threshold", &json!({ "recovery_threshold": 3 })).unwrap_err();
    assert!(error.message.contains("only 2 members hold shares"), "{error}");
    // An owner holds no share: two of three would be too few.
    let owner = c.members[2].id().key();
    set_row(&mut c, tables::MEMBERS_ENCRYPTION_KEYS, &owner, &json!("PEM"));
    let row = json!({ "status": "Active", "recovery_role": "Owner" });
    set_row(&mut c, tables::MEMBERS_INFO, &owner, &row);
    let error = c.pass("set_recovery_threshold", &json!({ "recovery_threshold": 3 })).unwrap_err();
    assert!(error.message.contains("only 2 members hold shares"), "{error}");
    let holder = json!({ "member_id": c.members[0].id().to_string() });
    let error = c.pass("remove_member", &holder).unwrap_err();
    assert!(error.message.contains("fewer than 2 members could recover"), "{error}");
    passes(&mut c, "set_service_configuration", &json!({ "recovery_threshold": 1 }));
    let holder = json!({ "member_id": c.members[1].id().to_string() });
    passes(&mut c, "remove_member", &holder);
    assert_eq!(c.effects, [Effect::RekeyLedger], "who left does not read on");
}

#[test]
fn participants_come_and_go() {
    let mut c = consortium(1);
    let user = Member::new(Curve::P256);
    let (id, key) = (user.id().to_string(), user.id().key());
    passes(&mut c, "set_user", &json!({ "cert": user.certificate.pem(), "user_data": { "a": 1 } }));
    assert_eq!(c.row(tables::USERS_CERTS, &key).unwrap(), user.certificate.pem().into_bytes());
    assert_eq!(c.json(tables::USERS_INFO, &key), Some(json!({ "user_data": { "a": 1 } })));
    passes(&mut c, "set_user_data", &json!({ "user_id": id, "user_data": null }));
    assert_eq!(c.row(tables::USERS_INFO, &key), None);
    passes(&mut c, "remove_user", &json!({ "user_id": id }));
    assert_eq!(c.row(tables::USERS_CERTS, &key), None);
}

#[test]
fn nodes_are_trusted_and_retired() {
    let mut c = consortium(1);
    let id = "cd".repeat(32);
    let status = |c: &Consortium| {
        c.json(tables::NODES_INFO, id.as_bytes())
            .map(|row| row["status"].as_str().unwrap().to_owned())
    };
    let args = json!({ "node_id": id });
    set_row(
        &mut c,
        tables::NODES_INFO,
        id.as_bytes(),
        &json!({ "status": "Pending", "seat": "x" }),
    );
    passes(&mut c, "transition_node_to_trusted", &args);
    let row = c.json(tables::NODES_INFO, id.as_bytes()).unwrap();
    assert_eq!(row, json!({ "status": "Trusted", "seat": "x", "ledger_secret_seqno": 7 }));
    let error = c.pass("remove_node", &args).unwrap_err();
    assert!(error.message.contains("last trusted node"), "{error}");
    let other = "ef".repeat(32);
    set_row(&mut c, tables::NODES_INFO, other.as_bytes(), &json!({ "status": "Trusted" }));
    passes(&mut c, "remove_node", &args);
    assert_eq!(status(&c).as_deref(), Some("Retired"));
    let error = c.pass("transition_node_to_trusted", &args).unwrap_err();
    assert!(error.message.contains("is retired"), "{error}");
    set_row(&mut c, tables::NODES_INFO, id.as_bytes(), &json!({ "status": "Pending" }));
    passes(&mut c, "remove_node", &args);
    assert_eq!(status(&c), None);
}

#[test]
fn nodes_listen_until_members_let_them_vote() {
    let mut c = consortium(1);
    let [waits, votes] = ["cd", "ef"].map(|byte| byte.repeat(32));
    let row = |c: &Consortium, id: &str| c.json(tables::NODES_INFO, id.as_bytes()).unwrap();
    for (id, status) in [(&waits, "Pending"), (&votes, "Trusted")] {
        set_row(&mut c, tables::NODES_INFO, id.as_bytes(), &json!({ "status": status }));
    }
    let trust = |id: &str, learner: Value| json!({ "node_id": id, "learner": learner });
    passes(&mut c, "transition_node_to_trusted", &trust(&waits, json!(true)));
    assert_eq!(row(&c, &waits)["learner"], true);
    // It is trusted, and stays what it is.
    passes(&mut c, "transition_node_to_trusted", &trust(&waits, json!(null)));
    passes(&mut c, "transition_node_to_trusted", &trust(&waits, json!(true)));
    assert_eq!(row(&c, &waits)["learner"], true);
    passes(&mut c, "promote_learner", &json!({ "node_id": waits }));
    let expected = json!({ "status": "Trusted", "ledger_secret_seqno": 7 });
    assert_eq!(row(&c, &waits), expected);
    for (action, args, expected) in [
        ("transition_node_to_trusted", trust(&votes, json!(true)), "is trusted to vote already"),
        (
            "transition_node_to_trusted",
            trust(&waits, json!("yes")),
            "learner must be of type boolean",
        ),
        ("promote_learner", json!({ "node_id": votes }), "is no learner"),
        ("promote_learner", json!({ "node_id": "12".repeat(32) }), "is no learner"),
    ] {
        let error = c.pass(action, &args).unwrap_err();
        assert!(error.message.contains(expected), "{error}");
    }
}

/// Members name the id that they see; what they decide is about its seat.
#[test]
fn what_members_decide_of_a_node_that_started_again_is_about_its_seat() {
    let mut c = consortium(1);
    let id = |n: u8| format!("{n:02x}").repeat(32);
    let row = |c: &Consortium, n| c.json(tables::NODES_INFO, id(n).as_bytes());
    let set = |c: &mut Consortium, n, row: Value| {
        set_row(c, tables::NODES_INFO, id(n).as_bytes(), &row);
    };
    let one = |n| json!({ "node_id": id(n) });
    // A learner that came again, and a voter that did.
    set(&mut c, 1, json!({ "status": "Trusted", "learner": true }));
    set(&mut c, 2, json!({ "status": "Pending", "seat": id(1) }));
    set(&mut c, 3, json!({ "status": "Retired" }));
    set(&mut c, 4, json!({ "status": "Trusted", "seat": id(3) }));
    set(&mut c, 5, json!({ "status": "Trusted" }));
    passes(&mut c, "promote_learner", &one(2));
    assert_eq!(row(&c, 1), Some(json!({ "status": "Trusted" })));
    for (remove, add) in [([4], [3]), ([1], [2])] {
        let [remove, add] = [remove, add].map(|ids| ids.map(id));
        let args = json!({ "remove": remove, "add": add });
        let error = c.pass("replace_nodes", &args).unwrap_err();
        assert!(error.message.contains("as what it was before"), "{error}");
    }
    passes(&mut c, "replace_nodes", &json!({ "remove": [id(3)], "add": [id(2)] }));
    assert_eq!(row(&c, 4).unwrap()["successors"], json!([id(1)]));
    let error = c.pass("remove_node", &one(2)).unwrap_err();
    assert!(error.message.contains(&format!("in the seat of {}", id(1))), "{error}");
    passes(&mut c, "remove_node", &one(1));
    assert_eq!(row(&c, 2).unwrap()["status"], "Pending", "the service lets it go");
    passes(&mut c, "remove_node", &one(3));
    assert_eq!(row(&c, 4).unwrap()["status"], "Retired");
    // Whoever only listens does not make up for the last that votes.
    set(&mut c, 6, json!({ "status": "Trusted", "learner": true }));
    let error = c.pass("remove_node", &one(5)).unwrap_err();
    assert!(error.message.contains("the last trusted node"), "{error}");
    passes(&mut c, "remove_node", &one(6));
}

#[test]
fn to_replace_nodes_is_to_trust_and_to_remove_nodes() {
    let mut c = consortium(3);
    let [waits, votes] = ["cd", "ef"].map(|byte| byte.repeat(32));
    for (id, status) in [(&waits, "Pending"), (&votes, "Trusted")] {
        set_row(&mut c, tables::NODES_INFO, id.as_bytes(), &json!({ "status": status }));
    }
    let rules = json!({ "remove_node": { "rule": "unanimous" } });
    let policy = json!({ "default": { "rule": "one" }, "actions": rules });
    passes(&mut c, "set_voting_policy", &policy);
    let args = json!({ "remove": [votes], "add": [waits] });
    let all = [(0, true), (1, true), (2, true)];
    assert_eq!(outcome(&mut c, "replace_nodes", &args, &all), "Accepted", "not before all three");
}

#[test]
fn nodes_make_room_for_others() {
    let mut c = consortium(1);
    let id = |n: u8| format!("{n:02x}").repeat(32);
    let row = |c: &Consortium, n| c.json(tables::NODES_INFO, id(n).as_bytes()).unwrap();
    for (n, status) in [
        (1, "Trusted"),
        (2, "Trusted"),
        (3, "Pending"),
        (4, "Trusted"),
        (5, "Retired"),
        (6, "Pending"),
    ] {
        let mut row = json!({ "status": status });
        if n == 4 {
            row["learner"] = json!(true);
        }
        set_row(&mut c, tables::NODES_INFO, id(n).as_bytes(), &row);
    }
    let ids = |nodes: &[u8]| nodes.iter().map(|n| id(*n)).collect::<Vec<_>>();
    let args = |remove: &[u8], add: &[u8]| json!({ "remove": ids(remove), "add": ids(add) });
    for (args, expected) in [
        (args(&[1], &[]), "add must name 1 to 64 nodes"),
        (json!({ "add": ids(&[3]) }), "remove must name 1 to 64 nodes"),
        (args(&[1, 3], &[3]), "named twice"),
        (json!({ "remove": ["1"], "add": ids(&[3]) }), "a node of remove must be 64"),
        (args(&[1], &[9]), "there is no node"),
        (args(&[1], &[5]), "is retired"),
        (args(&[6], &[3]), "is not trusted"),
    ] {
        let error = c.pass("replace_nodes", &args).unwrap_err();
        assert!(error.message.contains(expected), "{error}");
    }
    assert_eq!(row(&c, 3)["status"], "Pending", "nothing of what fails is done");
    passes(&mut c, "replace_nodes", &args(&[1, 2], &[3, 4]));
    for n in [1, 2] {
        assert_eq!(row(&c, n), json!({ "status": "Trusted", "successors": ids(&[3, 4]) }));
    }
    for n in [3, 4] {
        assert_eq!(row(&c, n), json!({ "status": "Trusted", "ledger_secret_seqno": 7 }));
    }
}

#[test]
fn code_is_admitted_and_revoked() {
    let mut c = consortium(1);
    let code = "ab".repeat(32);
    let args = json!({ "measurement": code });
    passes(&mut c, "add_virtual_measurement", &args);
    let row = c.json(tables::VIRTUAL_MEASUREMENTS, code.as_bytes());
    assert_eq!(row, Some(json!("AllowedToJoin")));
    passes(&mut c, "remove_virtual_measurement", &args);
    assert_eq!(c.json(tables::VIRTUAL_MEASUREMENTS, code.as_bytes()), None);
    let error = c.pass("add_virtual_measurement", &json!({ "measurement": "AB" })).unwrap_err();
    assert_eq!(error.code, ErrorCode::ProposalFailedToValidate);
}

#[test]
fn a_service_is_opened_as_the_one_it_is() {
    let mut c = consortium(1);
    let pem = Member::new(Curve::P384).certificate.pem();
    let service = tables::SERVICE_INFO;
    set_row(
        &mut c,
        service,
        tables::singleton_key(),
        &json!({ "cert": pem, "status": "Recovering" }),
    );
    let assert = json!({ "service_identity": pem });
    passes(&mut c, "assert_service_identity", &assert);
    let open = json!({ "next_service_identity": pem });
    let error = c.pass("transition_service_to_open", &open).unwrap_err();
    assert!(error.message.contains("must be named as well"), "{error}");
    let both = json!({ "next_service_identity": pem, "previous_service_identity": pem });
    passes(&mut c, "transition_service_to_open", &both);
    let identity = pem.into_bytes();
    assert_eq!(
        c.effects,
        [Effect::OpenService { previous: Some(identity.clone()), next: identity }]
    );
    let other = json!({ "service_identity": "PEM" });
    assert_eq!(
        code(c.propose(0, "assert_service_identity", &other)),
        ErrorCode::ProposalFailedToValidate
    );
}

#[test]
fn proposals_without_sense_are_refused() {
    let mut c = consortium(1);
    for content in [
        json!({}),
        json!({ "actions": [] }),
        json!({ "actions": {} }),
        json!({ "actions": [null] }),
        json!({ "actions": [{ "name": "toString" }] }),
        json!({ "actions": [{ "name": "__proto__" }] }),
        json!({ "actions": [{ "name": "set_user", "args": [] }] }),
        json!({ "actions": [{ "name": "remove_member", "args": { "member_id": "AB".repeat(32) } }] }),
        json!({ "actions": [{ "name": "trigger_ledger_rekey", "args": { "a": 1 } }] }),
        json!({ "actions": [{ "name": "set_service_configuration", "args": { "a": 1 } }] }),
        json!({ "actions": [{ "name": "set_constitution", "args": { "constitution": "x" } }] }),
    ] {
        let envelope = c.members[0].sign(Message::Proposal, c.now, content.to_string().as_bytes());
        let refused = code(c.send(coco_governance::Route::CreateProposal, &envelope));
        assert_eq!(refused, ErrorCode::ProposalFailedToValidate, "{content}");
    }
}

#[test]
fn a_disclosure_names_entries_and_a_reason() {
    let mut c = consortium(1);
    for (args, expected) in [
        (json!({ "from": 0, "to": 2, "reason": "why" }), "from must be"),
        (json!({ "from": 3, "to": 2, "reason": "why" }), "to must be"),
        (json!({ "from": 1, "to": 2.5, "reason": "why" }), "to must be"),
        (json!({ "from": 1, "to": 2 }), "reason must say why"),
        (json!({ "from": 1, "to": 2, "reason": " " }), "reason must say why"),
        (json!({ "from": 1, "to": 2, "reason": "x".repeat(1001) }), "reason must say why"),
    ] {
        let error = c.propose(0, "disclose_ledger_range", &args).unwrap_err();
        assert!(error.message.contains(expected), "{error}");
    }
    let args = json!({ "from": 1, "to": 1, "reason": "x".repeat(1000) });
    let made = c.pass("disclose_ledger_range", &args).unwrap();
    assert_eq!(state(&made), "Accepted");
    assert_eq!(c.json(tables::DISCLOSURES, made.proposal_id.as_bytes()), Some(args));
    // It stays when the proposal is forgotten, and the next one has a row of its own.
    let args = json!({ "from": 5, "to": 9, "reason": "y" });
    let other = c.pass("disclose_ledger_range", &args).unwrap();
    assert_eq!(c.json(tables::DISCLOSURES, other.proposal_id.as_bytes()), Some(args));
    assert!(c.json(tables::DISCLOSURES, made.proposal_id.as_bytes()).is_some());
}

#[test]
fn certificates_of_nodes_are_renewed_for_as_long_as_members_say() {
    let mut c = consortium(3);
    let (service, nodes) = (Member::new(Curve::P384), [(); 2].map(|()| Member::new(Curve::P384)));
    let row = json!({ "cert": service.certificate.pem(), "status": "Open" });
    set_row(&mut c, tables::SERVICE_INFO, tables::singleton_key(), &row);
    let names = [AltName::Dns("node.example".to_owned())];
    let validity = Validity { not_before: 0, not_after: 1_000 };
    let issuer = service_certificate(&service.key, validity).unwrap();
    let ids = nodes.each_ref().map(|node| node.key.public().node_id().to_string());
    for (node, id) in nodes.iter().zip(&ids) {
        let endorsement = EndorseNode { key: node.key.public(), names: &names, validity };
        let certificate = endorse_node(&service.key, &issuer, &endorsement).unwrap();
        set_row(&mut c, tables::NODES_INFO, id.as_bytes(), &json!({ "status": "Trusted" }));
        let pem = json!(certificate.pem());
        set_row(&mut c, tables::NODES_ENDORSED_CERTIFICATES, id.as_bytes(), &pem);
    }
    c.certificates = ServiceKey::of(&service);
    let present = |c: &Consortium, id: &str| {
        let pem = c.row(tables::NODES_ENDORSED_CERTIFICATES, id.as_bytes()).unwrap();
        Certificate::from_pem(str::from_utf8(&pem).unwrap()).unwrap()
    };
    let midnight = 1_703_980_800;
    let days =
        |days: u64| Validity { not_before: midnight, not_after: midnight + days * 86_400 - 1 };

    let one =
        json!({ "node_id": ids[0], "valid_from": "20231231000000Z", "validity_period_days": 30 });
    passes(&mut c, "set_node_certificate_validity", &one);
    let renewed = present(&c, &ids[0]);
    assert_eq!((renewed.validity(), renewed.key()), (days(30), nodes[0].key.public()));
    assert!(renewed.node_names().unwrap().contains(&names[0]));
    assert_eq!(present(&c, &ids[1]).validity(), validity);

    let all = json!({ "valid_from": "20231231000000Z" });
    let name = "set_all_nodes_certificate_validity";
    passes(&mut c, name, &all);
    assert!(ids.iter().all(|id| present(&c, id).validity() == days(365)));
    let most = json!({ "maximum_node_certificate_validity_days": 10 });
    passes(&mut c, "set_service_configuration", &most);
    passes(&mut c, name, &all);
    assert!(ids.iter().all(|id| present(&c, id).validity() == days(10)));
    let error = c.pass("set_node_certificate_validity", &one).unwrap_err();
    assert!(error.message.contains("at most 10 days"), "{error}");

    let of = |id: &str| json!({ "node_id": id, "valid_from": "20231231000000Z" });
    let error = c.pass("set_node_certificate_validity", &of(&"ab".repeat(32))).unwrap_err();
    assert!(error.message.contains("is not trusted"), "{error}");
    // One that has not come yet has none, and stops nobody.
    let late = "cd".repeat(32);
    set_row(&mut c, tables::NODES_INFO, late.as_bytes(), &json!({ "status": "Trusted" }));
    passes(&mut c, name, &all);
    let error = c.pass("set_node_certificate_validity", &of(&late)).unwrap_err();
    assert!(error.message.contains("has no certificate"), "{error}");
    // A process that listens in a seat whose trust stands in the row of the one before.
    let (first, again) = (&ids[0], &ids[1]);
    let listens = json!({ "status": "Pending", "seat": first });
    set_row(&mut c, tables::NODES_INFO, again.as_bytes(), &listens);
    let mut args = of(again);
    args["validity_period_days"] = json!(3);
    passes(&mut c, "set_node_certificate_validity", &args);
    assert_eq!(present(&c, again).validity(), days(3));
    // One key gets one certificate: an auditor would not see the other.
    let twice = [(name, &all), ("set_node_certificate_validity", &args)];
    let error = c.pass_all(&twice).unwrap_err();
    assert!(error.message.contains("one certificate made for a key"), "{error}");
    for wrong in
        [json!({ "valid_from": "20231231000000Z" }), of("n0"), json!({ "node_id": ids[0] })]
    {
        let refused = code(c.propose(0, "set_node_certificate_validity", &wrong));
        assert_eq!(refused, ErrorCode::ProposalFailedToValidate, "{wrong}");
    }
}

#[test]
fn the_certificate_of_the_service_is_renewed_for_the_same_key() {
    let mut c = consortium(3);
    let service = Member::new(Curve::P384);
    let one = tables::singleton_key();
    let row = json!({ "cert": service.certificate.pem(), "status": "Open", "recovery_count": 2 });
    set_row(&mut c, tables::SERVICE_INFO, one, &row);
    let (name, args) =
        ("set_service_certificate_validity", json!({ "valid_from": "20231231000000Z" }));
    // Whoever has not the key makes none.
    let error = c.pass(name, &args).unwrap_err();
    assert!(error.message.contains("cannot be made here"), "{error}");
    c.certificates = ServiceKey::of(&service);
    passes(&mut c, name, &args);
    let mut renewed = c.json(tables::SERVICE_INFO, one).unwrap();
    let certificate = Certificate::from_pem(renewed["cert"].as_str().unwrap()).unwrap();
    assert_eq!(certificate.key(), service.certificate.key());
    let midnight = 1_703_980_800;
    let year = Validity { not_before: midnight, not_after: midnight + 365 * 86_400 - 1 };
    assert_eq!(certificate.validity(), year);
    // Nothing else of the row is touched.
    renewed["cert"] = row["cert"].clone();
    assert_eq!(renewed, row);

    // Members may allow for longer ones.
    let args = json!({ "valid_from": "240101000000Z", "validity_period_days": 366 });
    let error = c.pass(name, &args).unwrap_err();
    assert!(error.message.contains("at most 365 days"), "{error}");
    let days = json!({ "maximum_service_certificate_validity_days": 366 });
    passes(&mut c, "set_service_configuration", &days);
    passes(&mut c, name, &args);
    for wrong in [
        json!({}),
        json!({ "valid_from": "tomorrow" }),
        json!({ "valid_from": "2024-01-01T00:00:00Z" }),
        json!({ "valid_from": "20240101000000Z", "validity_period_days": 0 }),
        json!({ "valid_from": "20240101000000Z", "validity_period_days": 3651 }),
    ] {
        assert_eq!(
            code(c.propose(0, name, &wrong)),
            ErrorCode::ProposalFailedToValidate,
            "{wrong}"
        );
    }
    let month = json!({ "valid_from": "20241301000000Z" });
    let error = c.pass(name, &month).unwrap_err();
    assert!(error.message.contains("valid_from must be a time"), "{error}");
}
