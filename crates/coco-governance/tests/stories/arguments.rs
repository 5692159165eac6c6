//! What may be said of an action: all that is signed is checked and done, or refused.

use coco_crypto::Curve;
use coco_governance::{DEFAULT_CONSTITUTION, ErrorCode, tables};
use serde_json::{Value, json};

use crate::consortium::{Consortium, Member, passes};

fn consortium(members: usize) -> Consortium {
    Consortium::under(DEFAULT_CONSTITUTION, members)
}

/// The actions of the default constitution, as its text has them.
fn actions() -> Vec<&'static str> {
    let after = DEFAULT_CONSTITUTION.split_once("const ACTIONS = {").unwrap().1;
    let lines = after.split_once("\n};").unwrap().0.lines();
    let lines = lines.filter_map(|line| line.strip_prefix("    ")?.split_once(": {"));
    let names = lines.map(|(name, _)| name);
    names.filter(|name| name.starts_with(|c: char| c.is_ascii_lowercase())).collect()
}

#[test]
fn no_action_takes_what_it_does_not_know() {
    let mut c = consortium(1);
    let actions = actions();
    assert!(actions.len() >= 35, "{actions:?}");
    for name in actions {
        for field in ["surprise", "__proto__", "toString"] {
            let args = format!("{{\"{field}\":1}}");
            let error = c.propose(0, name, &serde_json::from_str(&args).unwrap()).unwrap_err();
            assert_eq!(error.code, ErrorCode::ProposalFailedToValidate, "{name}");
            let expected = format!("{name}: it takes no {field}");
            assert!(error.message.contains(&expected), "{name}: {error}");
        }
    }
}

#[test]
fn a_threshold_sets_nothing_but_the_threshold() {
    let mut c = consortium(1);
    let before = c.json(tables::SERVICE_CONFIG, tables::singleton_key());
    for (field, value) in [
        ("restart_from_disk", json!(true)),
        ("node_lease_s", json!(0)),
        ("maximum_node_certificate_validity_days", json!(999_999)),
    ] {
        let args = json!({ "recovery_threshold": 1, field: value });
        let error = c.propose(0, "set_recovery_threshold", &args).unwrap_err();
        assert!(error.message.contains(&format!("it takes no {field}")), "{error}");
    }
    c.pass("set_recovery_threshold", &json!({ "recovery_threshold": 1 })).unwrap();
    assert_eq!(c.json(tables::SERVICE_CONFIG, tables::singleton_key()), before);
}

/// What CCF's clients send along, whether it says something here or not.
#[test]
fn what_ccf_knows_is_known() {
    let mut c = consortium(1);
    let pem = Member::new(Curve::P256).certificate.pem();
    let id = "ab".repeat(32);
    c.set(&[(tables::NODES_INFO, id.as_bytes(), json!({ "status": "Pending" }))]);
    for (name, args) in [
        (
            "transition_node_to_trusted",
            json!({ "node_id": id, "valid_from": "20231231000000Z", "validity_period_days": 3 }),
        ),
        ("set_node_data", json!({ "node_id": id, "node_data": { "a": 1 } })),
        ("set_member", json!({ "cert": pem, "encryption_pub_key": null, "member_data": null })),
        ("set_user", json!({ "cert": pem, "user_data": null })),
        (
            "set_jwt_issuer",
            json!({ "issuer": "https://i", "auto_refresh": false, "ca_cert_bundle_name": null, "jwks": null }),
        ),
        ("trigger_snapshot", Value::Null),
        ("trigger_ledger_chunk", json!({})),
    ] {
        passes(&mut c, name, &args);
    }
}
