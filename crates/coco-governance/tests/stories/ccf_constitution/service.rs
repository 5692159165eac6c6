//! The service as a whole: its configuration, its certificate, its secrets, its rules.

use coco_crypto::{Certificate, Curve};
use coco_governance::{Effect, tables};
use serde_json::{Value, json};

use super::Stage;
use crate::consortium::{CONSTITUTION, Member};

fn configuration(stage: &Stage) -> Value {
    stage.json(tables::SERVICE_CONFIG, tables::singleton_key()).unwrap()
}

pub(super) fn set_constitution(stage: &mut Stage) {
    let name = "set_constitution";
    let text = |stage: &Stage| stage.json(tables::CONSTITUTION, tables::singleton_key());
    stage.refuses(name, &json!({ "constitution": 5 }), "must be of type string");
    if stage.is_strict {
        let missing = "export function validate (input) {} export function apply (a, b) {}";
        stage.refuses(name, &json!({ "constitution": missing }), "resolve");
        stage.refuses(name, &json!({ "constitution": "export {" }), "");
    }
    let itself = format!("{}\n// The same.", stage.sample);
    stage.accepts_and_drops(name, &json!({ "constitution": itself }));
    assert_eq!(text(stage), Some(json!(itself)));
    // There is a way from it to other rules.
    stage.accepts_and_drops(name, &json!({ "constitution": CONSTITUTION }));
    assert_eq!(text(stage), Some(json!(CONSTITUTION)));
    stage.accepts("set_note", &json!({ "text": "theirs" }));
    assert_eq!(stage.c.note().as_deref(), Some("theirs"));
}

pub(super) fn set_recovery_threshold(stage: &mut Stage) {
    let name = "set_recovery_threshold";
    let args = |threshold: Value| json!({ "recovery_threshold": threshold });
    stage.give_shares(2);
    stage.accepts(name, &args(json!(2)));
    assert_eq!(configuration(stage)["recovery_threshold"], 2);
    assert_eq!(stage.effects(), [Effect::RefreshRecoveryShares]);
    stage.accepts(name, &args(json!(2)));
    assert_eq!(stage.effects(), [], "nothing is another than before");
    stage.fails(name, &args(json!(3)), "greater than the number of recovery members 2");
    stage.refuses(name, &args(json!(0)), "must be greater than 1");
    stage.refuses(name, &args(json!(255)), "must be lower than 254");
    stage.refuses(name, &args(json!(1.5)), "must be an integer");
    stage.is("WaitingForRecoveryShares");
    if stage.is_strict {
        stage.refuses(name, &args(json!(1)), "during recovery");
    } else {
        stage.fails(name, &args(json!(1)), "WaitingForRecoveryShares");
    }
}

/// An action without arguments, which CCF 7 refuses in a recovery.
fn has_effect(stage: &mut Stage, name: &str, effect: &Effect) {
    stage.accepts(name, &Value::Null);
    assert_eq!(stage.effects(), std::slice::from_ref(effect), "{name}");
    stage.refuses(name, &json!({}), "does not accept any argument");
    if stage.is_strict {
        stage.is("Recovering");
        stage.refuses(name, &Value::Null, "during recovery");
    }
}

pub(super) fn trigger_recovery_shares_refresh(stage: &mut Stage) {
    has_effect(stage, "trigger_recovery_shares_refresh", &Effect::RefreshRecoveryShares);
}

pub(super) fn trigger_ledger_rekey(stage: &mut Stage) {
    has_effect(stage, "trigger_ledger_rekey", &Effect::RekeyLedger);
}

pub(super) fn trigger_ledger_chunk(stage: &mut Stage) {
    stage.accepts("trigger_ledger_chunk", &json!({}));
    assert_eq!(stage.effects(), [Effect::ChunkLedger]);
}

pub(super) fn trigger_snapshot(stage: &mut Stage) {
    stage.accepts("trigger_snapshot", &json!({}));
    assert_eq!(stage.effects(), [Effect::Snapshot]);
}

/// No node here has certificates from authorities of the web.
pub(super) fn trigger_acme_refresh(stage: &mut Stage) {
    let name = "trigger_acme_refresh";
    stage.refuses(name, &json!({ "interfaces": "x" }), "must be an array");
    stage.fails(name, &json!({}), "ccf.node.triggerACMERefresh is not offered by this service");
}

pub(super) fn transition_service_to_open(stage: &mut Stage) {
    let name = "transition_service_to_open";
    let [next, previous] = [Curve::P384; 2].map(|curve| Member::new(curve).certificate.pem());
    let args = json!({ "next_service_identity": next });
    stage.accepts(name, &args);
    let opens = |previous: Option<&String>| {
        let previous = previous.map(|pem| pem.clone().into_bytes());
        [Effect::OpenService { previous, next: next.clone().into_bytes() }]
    };
    assert_eq!(stage.effects(), opens(None));
    stage.is("Recovering");
    stage.fails(name, &args, "requires both");
    let both = json!({ "next_service_identity": next, "previous_service_identity": previous });
    stage.accepts(name, &both);
    assert_eq!(stage.effects(), opens(Some(&previous)));
    stage.refuses(name, &json!({}), "must be of type string");
    stage.refuses(name, &json!({ "next_service_identity": "x" }), "must be a valid X509");
    let wrong = json!({ "next_service_identity": next, "previous_service_identity": "x" });
    stage.refuses(name, &wrong, "must be a valid X509");
}

pub(super) fn set_service_certificate_validity(stage: &mut Stage) {
    let name = "set_service_certificate_validity";
    let from = "231231000000Z";
    for (days, expected) in [(Some(30), 30), (None, 365)] {
        let mut args = json!({ "valid_from": from });
        if let Some(days) = days {
            args["validity_period_days"] = json!(days);
        }
        stage.accepts(name, &args);
        let row = stage.json(tables::SERVICE_INFO, tables::singleton_key()).unwrap();
        assert_eq!(row["status"], "Open");
        let made = Certificate::from_pem(row["cert"].as_str().unwrap()).unwrap();
        assert_eq!(made.key(), stage.service.certificate.key());
        let validity = made.validity();
        assert_eq!(validity.not_after + 1 - validity.not_before, expected * 86_400);
    }
    let args =
        |from: &str, days: Value| json!({ "valid_from": from, "validity_period_days": days });
    stage.fails(name, &args(from, json!(366)), "service max allowed is 365");
    stage.fails(name, &args("yesterday", json!(1)), "valid_from must be a time");
    stage.refuses(name, &args(from, json!(0)), "must be greater than 1");
    stage.refuses(name, &args(from, json!(1.5)), "must be an integer");
    stage.refuses(name, &json!({ "validity_period_days": 1 }), "must be of type string");
    stage.put(
        tables::SERVICE_CONFIG,
        tables::singleton_key(),
        json!({ "maximum_service_certificate_validity_days": 9 }),
    );
    stage.fails(name, &args(from, json!(10)), "service max allowed is 9");
}

pub(super) fn set_service_configuration(stage: &mut Stage) {
    let name = "set_service_configuration";
    stage.give_shares(3);
    let all = json!({
        "recent_cose_proposals_window_size": 50, "recovery_threshold": 3, "reconfiguration_type": "TwoTransaction",
    });
    stage.accepts(name, &all);
    assert_eq!(configuration(stage), all);
    assert_eq!(stage.effects(), [Effect::RefreshRecoveryShares]);
    stage.accepts(name, &json!({ "recent_cose_proposals_window_size": 60 }));
    assert_eq!(configuration(stage)["recent_cose_proposals_window_size"], 60);
    assert_eq!(configuration(stage)["recovery_threshold"], 3);
    assert_eq!(stage.effects(), []);
    let back = json!({ "reconfiguration_type": "OneTransaction" });
    stage.fails(name, &back, "Cannot change reconfiguration type");
    stage.fails(name, &json!({ "recovery_threshold": 4 }), "greater than the number");
    for (args, why) in [
        (json!({ "maximum_node_certificate_validity_days": 1 }), "Cannot change"),
        (json!({ "recent_cose_proposals_window_size": 0 }), "must be greater than 1"),
        (json!({ "recent_cose_proposals_window_size": 10_001 }), "must be lower than 10000"),
        (json!({ "recovery_threshold": "x" }), "must be an integer"),
        (json!({ "reconfiguration_type": 1 }), "must be of type string"),
    ] {
        stage.refuses(name, &args, why);
    }
}

pub(super) fn assert_service_identity(stage: &mut Stage) {
    let name = "assert_service_identity";
    stage.accepts(name, &json!({ "service_identity": stage.service.certificate.pem() }));
    let other = Member::new(Curve::P384).certificate.pem();
    stage.refuses(name, &json!({ "service_identity": other }), "mismatch");
    stage.refuses(name, &json!({ "service_identity": "x" }), "must be a valid X509");
}
