//! A member's keys change: the one that shares are encrypted to, and the one that it signs with.

use coco_crypto::Curve;
use coco_governance::{DEFAULT_CONSTITUTION, Effect, tables};
use serde_json::{Value, json};

use crate::consortium::{Consortium, Member, NO, YES, passes, state};

/// So many members, each of whom holds a share, and all are needed.
fn consortium(members: usize) -> Consortium {
    let mut c = Consortium::under(DEFAULT_CONSTITUTION, members);
    for i in 0..members {
        let key = c.members[i].id().key();
        c.set(&[(tables::MEMBERS_ENCRYPTION_KEYS, &key, json!("old"))]);
    }
    let all = json!({ "recovery_threshold": members });
    c.set(&[(tables::SERVICE_CONFIG, tables::singleton_key(), all)]);
    c
}

#[track_caller]
fn fails(c: &mut Consortium, name: &str, args: &Value, expected: &str) {
    let error = c.pass(name, args).unwrap_err();
    assert!(error.message.contains(expected), "{name} {args}: {error}");
}

/// A new member that holds a share and has acknowledged.
fn admit(c: &mut Consortium) -> String {
    let new = Member::new(Curve::P256);
    let args = json!({ "cert": new.certificate.pem(), "encryption_pub_key": "its" });
    passes(c, "set_member", &args);
    let id = new.id();
    c.set(&[(tables::MEMBERS_INFO, &id.key(), json!({ "status": "Active" }))]);
    c.members.push(new);
    id.to_string()
}

fn id(c: &Consortium, i: usize) -> String {
    c.members[i].id().to_string()
}

#[test]
fn a_member_gets_another_encryption_key_and_stays_what_it_is() {
    let mut c = consortium(2);
    let (cert, key) = (c.members[0].certificate.pem(), c.members[0].id().key());
    let data = json!({ "member_id": id(&c, 0), "member_data": { "name": "acme" } });
    passes(&mut c, "set_member_data", &data);
    passes(&mut c, "set_member", &json!({ "cert": cert, "encryption_pub_key": "new" }));
    assert_eq!(c.effects, [Effect::RefreshRecoveryShares]);
    assert_eq!(c.row(tables::MEMBERS_ENCRYPTION_KEYS, &key).unwrap(), b"new");
    let row = json!({ "status": "Active", "member_data": { "name": "acme" } });
    assert_eq!(c.json(tables::MEMBERS_INFO, &key), Some(row));
    // The same key once more, and data: no share is another's.
    let args = json!({ "cert": cert, "encryption_pub_key": "new", "member_data": { "name": "a" } });
    passes(&mut c, "set_member", &args);
    assert_eq!(c.effects, []);
    let row = json!({ "status": "Active", "member_data": { "name": "a" } });
    assert_eq!(c.json(tables::MEMBERS_INFO, &key), Some(row));

    // Without its share there would be too few; with a lower threshold it may go without, and reads on no more.
    let none =
        json!({ "cert": cert, "encryption_pub_key": "new", "recovery_role": "NonParticipant" });
    fails(&mut c, "set_member", &none, "fewer than 2 members could recover");
    passes(&mut c, "set_recovery_threshold", &json!({ "recovery_threshold": 1 }));
    passes(&mut c, "set_member", &none);
    assert_eq!(c.effects, [Effect::RekeyLedger]);

    let recovering = json!({ "cert": "PEM", "status": "WaitingForRecoveryShares" });
    c.set(&[(tables::SERVICE_INFO, tables::singleton_key(), recovering)]);
    let cert = c.members[1].certificate.pem();
    let args = json!({ "cert": cert, "encryption_pub_key": "newer" });
    fails(&mut c, "set_member", &args, "the service is being recovered");
}

#[test]
fn one_that_is_not_active_yet_may_have_another_encryption_key() {
    let mut c = consortium(1);
    let new = Member::new(Curve::P521);
    for key in ["one", "two"] {
        let args = json!({ "cert": new.certificate.pem(), "encryption_pub_key": key });
        passes(&mut c, "set_member", &args);
        assert_eq!(c.effects, []);
        assert_eq!(
            c.row(tables::MEMBERS_ENCRYPTION_KEYS, &new.id().key()).unwrap(),
            key.as_bytes()
        );
    }
    assert_eq!(
        c.json(tables::MEMBERS_INFO, &new.id().key()),
        Some(json!({ "status": "Accepted" }))
    );
}

/// Where all shares are needed and the policy names a member: two proposals, and at no time is anything less.
#[test]
fn a_member_signs_with_another_key_from_then_on() {
    let mut c = consortium(3);
    let (old, other) = (id(&c, 0), id(&c, 1));
    let weighted = json!({ "rule": "weighted", "weights": { &old: 2, &other: 1 }, "needed": 2 });
    let veto = json!({ "rule": "majority", "veto": [other, old] });
    let automatic = json!({ "rule": "automatic", "per_member": 1, "otherwise": veto });
    let majority = json!({ "rule": "majority" });
    let policy = json!({
        "default": weighted,
        "actions": { "set_user": veto, "transition_node_to_trusted": automatic, "set_voting_policy": majority },
        "proposals_expire_after_s": 3600,
    });
    passes(&mut c, "set_voting_policy", &policy);
    let open = c.propose(1, "trigger_snapshot", &json!({})).unwrap();

    // To expel it would leave a policy that nobody can meet.
    fails(&mut c, "remove_member", &json!({ "member_id": old }), "could recover the service");
    let new = Member::new(Curve::P256);
    let early = json!({ "member_id": old, "successor_id": new.id().to_string() });
    fails(&mut c, "replace_member", &early, "is no other active member");
    let new = admit(&mut c);
    fails(&mut c, "remove_member", &json!({ "member_id": old }), "cannot meet the rule weighted");
    let itself = json!({ "member_id": old, "successor_id": old });
    fails(&mut c, "replace_member", &itself, "is no other active member");
    let named = json!({ "member_id": old, "successor_id": other });
    fails(&mut c, "replace_member", &named, "names");
    let nobody = json!({ "member_id": "ab".repeat(32), "successor_id": new });
    fails(&mut c, "replace_member", &nobody, "is no member");

    passes(&mut c, "replace_member", &json!({ "member_id": old, "successor_id": new }));
    assert_eq!(c.effects, [Effect::RekeyLedger], "whoever has the old key reads on no more");
    let text = policy.to_string().replace(&old, &new);
    let expected: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(c.json(tables::VOTING_POLICY, tables::singleton_key()), Some(expected));
    assert_eq!(c.row(tables::MEMBERS_INFO, old.as_bytes()), None);
    assert_eq!(c.row(tables::MEMBERS_CERTS, old.as_bytes()), None);
    assert_eq!(c.kept_state(&open).as_deref(), Some("Dropped"), "rules changed");
    // It has the weight: it decides alone.
    let view = c.propose(1, "trigger_snapshot", &json!({})).unwrap();
    assert_eq!(state(&c.vote(3, &view, YES).unwrap()), "Accepted");
}

/// Nobody takes a veto over without those who decide on vetoes.
#[test]
fn weights_and_vetoes_are_taken_over_under_the_rules_of_the_policy() {
    let mut c = consortium(3);
    let veto = json!({ "rule": "majority", "veto": [id(&c, 2)] });
    let majority = json!({ "rule": "majority" });
    let policy = json!({
        "default": majority, "actions": { "set_voting_policy": majority, "set_constitution": veto },
    });
    passes(&mut c, "set_voting_policy", &policy);
    admit(&mut c);
    for (member, expected) in [(2, "Rejected"), (0, "Open")] {
        let args = json!({ "member_id": id(&c, member), "successor_id": id(&c, 3) });
        let view = c.propose(1, "replace_member", &args).unwrap();
        assert_eq!(state(&c.vote(2, &view, NO).unwrap()), expected, "{member}");
    }
}

#[test]
fn who_is_expelled_has_no_weight_and_no_veto_when_it_comes_again() {
    let mut c = Consortium::under(DEFAULT_CONSTITUTION, 3);
    let [first, second, third] = [0, 1, 2].map(|i| id(&c, i));
    let policy = json!({
        "default": { "rule": "weighted", "weights": { &first: 2, &second: 1 }, "needed": 2 },
        "actions": { "set_user": { "rule": "majority", "veto": [second, third] } },
    });
    passes(&mut c, "set_voting_policy", &policy);
    passes(&mut c, "remove_member", &json!({ "member_id": second }));
    let expected = json!({
        "default": { "rule": "weighted", "weights": { &first: 2 }, "needed": 2 },
        "actions": { "set_user": { "rule": "majority", "veto": [third] } },
    });
    assert_eq!(c.json(tables::VOTING_POLICY, tables::singleton_key()), Some(expected));
}
