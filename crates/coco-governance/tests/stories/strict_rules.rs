//! A strict rule for one action is not got around by another that does the same.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use coco_crypto::Curve;
use coco_governance::{DEFAULT_CONSTITUTION, ProposalView, tables};
use serde_json::{Value, json};

use crate::consortium::{Consortium, Member, NO, YES, state};

/// Three members under a policy: the default is a majority, and on `strict` all decide.
fn consortium(strict: &[&str]) -> Consortium {
    let mut c = Consortium::under(DEFAULT_CONSTITUTION, 3);
    let rules: serde_json::Map<String, Value> =
        strict.iter().map(|name| ((*name).to_owned(), json!({ "rule": "unanimous" }))).collect();
    let rules = json!({ "default": { "rule": "majority" }, "actions": rules });
    assert_eq!(state(&c.pass("set_voting_policy", &rules).unwrap()), "Accepted");
    c
}

/// What two of three come to.
fn by_two(c: &mut Consortium, name: &str, args: &Value) -> String {
    let view = c.propose(0, name, args).unwrap();
    let view = c.vote(0, &view, YES).unwrap();
    state(&c.vote(1, &view, YES).unwrap())
}

fn node(c: &mut Consortium, n: u8, status: &str) -> String {
    let id = format!("{n:02x}").repeat(32);
    c.set(&[(tables::NODES_INFO, id.as_bytes(), json!({ "status": status }))]);
    id
}

/// An action, the action whose rule it might get around, and the same action as far as it gets around nothing.
type Pair = (&'static str, &'static str, Value, Option<Value>);

fn pairs(c: &mut Consortium) -> Vec<Pair> {
    let [waits, votes] = [(1, "Pending"), (2, "Trusted")].map(|(n, status)| node(c, n, status));
    let pem = || Member::new(Curve::P256).certificate.pem();
    let jwk = json!({ "kty": "EC", "kid": "k1", "x5c": [base64_of(&Member::new(Curve::P256))] });
    let issuer = |more: &Value| {
        let mut args = json!({ "issuer": "https://i" });
        args.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        args
    };
    let organisation = json!({ "name": "acme", "cert": authority() });
    let with_data = json!({ "name": "acme", "cert": authority(), "user_data": { "role": "r" } });
    vec![
        (
            "set_service_configuration",
            "set_recovery_threshold",
            json!({ "recovery_threshold": 1, "node_lease_s": 0 }),
            Some(json!({ "node_lease_s": 0 })),
        ),
        (
            "set_member",
            "set_member_data",
            json!({ "cert": pem(), "member_data": { "name": "n" } }),
            Some(json!({ "cert": pem() })),
        ),
        (
            "set_user",
            "set_user_data",
            json!({ "cert": pem(), "user_data": { "role": "r" } }),
            Some(json!({ "cert": pem() })),
        ),
        ("set_organisation", "set_user_data", with_data, Some(organisation.clone())),
        ("set_organisation", "set_user", organisation, None),
        ("set_jwt_issuer", "set_user", issuer(&json!({})), None),
        (
            "set_jwt_issuer",
            "set_jwt_public_signing_keys",
            issuer(&json!({ "jwks": { "keys": [jwk] } })),
            Some(issuer(&json!({}))),
        ),
        (
            "set_jwt_issuer",
            "set_jwt_public_signing_keys",
            issuer(&json!({ "auto_refresh": true, "ca_cert_bundle_name": "roots" })),
            Some(issuer(&json!({ "auto_refresh": false, "ca_cert_bundle_name": "roots" }))),
        ),
        (
            "transition_node_to_trusted",
            "promote_learner",
            json!({ "node_id": waits }),
            Some(json!({ "node_id": waits, "learner": true })),
        ),
        (
            "set_all_nodes_certificate_validity",
            "set_node_certificate_validity",
            json!({ "valid_from": "20231231000000Z" }),
            None,
        ),
        (
            "replace_nodes",
            "promote_learner",
            json!({ "remove": [votes], "add": [node(c, 3, "Pending")] }),
            None,
        ),
        (
            "replace_nodes",
            "transition_node_to_trusted",
            json!({ "remove": [votes], "add": [node(c, 4, "Pending")] }),
            None,
        ),
        (
            "replace_nodes",
            "remove_node",
            json!({ "remove": [votes], "add": [node(c, 5, "Pending")] }),
            None,
        ),
        (
            "replace_member",
            "remove_member",
            json!({ "member_id": c.members[2].id().to_string(), "successor_id": c.members[1].id().to_string() }),
            None,
        ),
        (
            "set_constitution",
            "trigger_snapshot",
            json!({ "constitution": DEFAULT_CONSTITUTION }),
            None,
        ),
        (
            "set_voting_policy",
            "trigger_snapshot",
            json!({ "default": { "rule": "majority" }, "actions": {} }),
            Some(json!({
                "default": { "rule": "majority" },
                "actions": { "trigger_snapshot": { "rule": "unanimous" }, "set_user": { "rule": "one" } },
            })),
        ),
    ]
}

/// The certificate of somebody who may certify others.
fn authority() -> String {
    Member::new(Curve::P256).certificate.pem()
}

fn base64_of(member: &Member) -> String {
    STANDARD.encode(member.certificate.der())
}

#[test]
fn what_does_the_same_is_decided_under_the_same_rule() {
    let count = pairs(&mut Consortium::under(DEFAULT_CONSTITUTION, 3)).len();
    for i in 0..count {
        let mut c = consortium(&[]);
        let bundle = json!({ "name": "roots", "cert_bundle": authority() });
        c.pass("set_ca_cert_bundle", &bundle).unwrap();
        let (name, guarded, args, _) = pairs(&mut c).swap_remove(i);
        // Nobody guards it: two are enough.
        assert_eq!(by_two(&mut c, name, &args), "Accepted", "{name} without a rule");

        let mut c = consortium(&[guarded]);
        c.pass("set_ca_cert_bundle", &bundle).unwrap();
        let (_, _, args, harmless) = pairs(&mut c).swap_remove(i);
        assert_eq!(by_two(&mut c, name, &args), "Open", "{name} and the rule of {guarded}");
        if let Some(harmless) = harmless {
            assert_eq!(by_two(&mut c, name, &harmless), "Accepted", "{name} {harmless}");
        }
    }
}

#[test]
fn data_and_revocations_are_not_lost_on_the_way_around() {
    // To register a participant once more takes nothing back of what is said of it.
    let mut c = consortium(&["set_user_data"]);
    let user = Member::new(Curve::P256);
    let cert = user.certificate.pem();
    let with_data = json!({ "cert": cert, "user_data": { "role": "trader" } });
    c.pass("set_user", &with_data).unwrap();
    assert_eq!(by_two(&mut c, "set_user", &json!({ "cert": cert })), "Accepted");
    let row = c.json(tables::USERS_INFO, &user.id().key());
    assert_eq!(row, Some(json!({ "user_data": { "role": "trader" } })));
    // An organisation without data takes back what was said of its users.
    let args = json!({ "name": "acme", "cert": authority(), "user_data": { "role": "trader" } });
    c.pass("set_organisation", &args).unwrap();
    let args = json!({ "name": "acme", "cert": authority() });
    assert_eq!(by_two(&mut c, "set_organisation", &args), "Open");

    // One that goes and comes again has no revocations.
    let mut c = consortium(&["set_organisation_revocations"]);
    for (serials, expected) in [(json!([]), "Accepted"), (json!(["7f"]), "Open")] {
        c.pass("set_organisation", &args).unwrap();
        if serials != json!([]) {
            let revoked = json!({ "name": "acme", "serials": serials });
            c.pass("set_organisation_revocations", &revoked).unwrap();
        }
        assert_eq!(by_two(&mut c, "remove_organisation", &json!({ "name": "acme" })), expected);
    }
}

/// Whoever may stop something may stop that it may be stopped no more.
#[test]
fn a_rule_guards_itself() {
    let mut c = Consortium::under(DEFAULT_CONSTITUTION, 3);
    let veto = c.members[2].id().to_string();
    let policy = |rule: Value| json!({ "default": { "rule": "majority" }, "actions": { "set_member": rule, "set_voting_policy": { "rule": "majority" } } });
    let guarded = json!({ "rule": "majority", "veto": [veto] });
    c.pass("set_voting_policy", &policy(guarded)).unwrap();
    let view: ProposalView =
        c.propose(0, "set_voting_policy", &policy(json!({ "rule": "majority" }))).unwrap();
    assert_eq!(state(&c.vote(2, &view, NO).unwrap()), "Rejected");
}
