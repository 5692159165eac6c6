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
    [of_people(c), of_issuers(), of_nodes(c), of_rules()].concat()
}

fn of_people(c: &Consortium) -> Vec<Pair> {
    let [leaves, comes] = [2, 1].map(|i: usize| c.members[i].id().to_string());
    let organisation = json!({ "name": "acme", "cert": authority() });
    let mut with_data = organisation.clone();
    with_data["user_data"] = json!({ "role": "r" });
    vec![
        (
            "set_member",
            "set_member_data",
            json!({ "cert": authority(), "member_data": { "name": "n" } }),
            Some(json!({ "cert": authority() })),
        ),
        (
            "replace_member",
            "remove_member",
            json!({ "member_id": leaves, "successor_id": comes }),
            None,
        ),
        (
            "set_user",
            "set_user_data",
            json!({ "cert": authority(), "user_data": { "role": "r" } }),
            Some(json!({ "cert": authority() })),
        ),
        ("set_organisation", "set_user_data", with_data, Some(organisation.clone())),
        ("set_organisation", "set_user", organisation, None),
    ]
}

fn of_issuers() -> Vec<Pair> {
    let keys = "set_jwt_public_signing_keys";
    let issuer = json!({ "issuer": "https://i" });
    let x5c = STANDARD.encode(Member::new(Curve::P256).certificate.der());
    let jwks = json!({ "keys": [{ "kty": "EC", "kid": "k1", "x5c": [x5c] }] });
    let with_keys = json!({ "issuer": "https://i", "jwks": jwks });
    let refreshed = |refresh: bool| json!({ "issuer": "https://i", "auto_refresh": refresh, "ca_cert_bundle_name": "roots" });
    vec![
        ("set_jwt_issuer", "set_user", issuer.clone(), None),
        ("set_jwt_issuer", keys, with_keys, Some(issuer)),
        ("set_jwt_issuer", keys, refreshed(true), Some(refreshed(false))),
    ]
}

fn of_nodes(c: &mut Consortium) -> Vec<Pair> {
    let [waits, comes] = [1, 2].map(|n| node(c, n, "Pending"));
    let votes = node(c, 3, "Trusted");
    let replaced = json!({ "remove": [votes], "add": [comes] });
    vec![
        (
            "transition_node_to_trusted",
            "promote_learner",
            json!({ "node_id": waits }),
            Some(json!({ "node_id": waits, "learner": true })),
        ),
        ("replace_nodes", "promote_learner", replaced.clone(), None),
        ("replace_nodes", "transition_node_to_trusted", replaced.clone(), None),
        ("replace_nodes", "remove_node", replaced, None),
        (
            "set_all_nodes_certificate_validity",
            "set_node_certificate_validity",
            json!({ "valid_from": "20231231000000Z" }),
            None,
        ),
    ]
}

fn of_rules() -> Vec<Pair> {
    let (majority, unanimous) = (json!({ "rule": "majority" }), json!({ "rule": "unanimous" }));
    let others = json!({ "trigger_snapshot": unanimous, "set_user": { "rule": "one" } });
    vec![
        (
            "set_service_configuration",
            "set_recovery_threshold",
            json!({ "recovery_threshold": 1, "node_lease_s": 0 }),
            Some(json!({ "node_lease_s": 0 })),
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
            json!({ "default": majority, "actions": {} }),
            Some(json!({ "default": majority, "actions": others })),
        ),
    ]
}

/// The certificate of somebody who may certify others.
fn authority() -> String {
    Member::new(Curve::P256).certificate.pem()
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
