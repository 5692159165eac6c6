//! Whatever a document says is shown to whoever votes on it, known here or not.

use coco_crypto::sha256;
use proptest::{collection, prelude::*, sample::select};
use serde_json::{Map, Value, json};

use super::{super::document, lines, plain};

/// Arguments of actions that are known, and some that are not.
const NAMES: [&str; 40] = [
    "actions",
    "add",
    "audience",
    "auto_refresh",
    "ca_cert_bundle_name",
    "cert",
    "cert_bundle",
    "constitution",
    "default",
    "encryption_pub_key",
    "from",
    "issuer",
    "jwks",
    "learner",
    "measurement",
    "member_data",
    "member_id",
    "members",
    "name",
    "needed",
    "next_service_identity",
    "node_data",
    "node_id",
    "per_member",
    "previous_service_identity",
    "proposals_expire_after_s",
    "reason",
    "recovery_role",
    "recovery_threshold",
    "remove",
    "serials",
    "service_identity",
    "to",
    "user_data",
    "user_id",
    "valid_from",
    "validity_period_days",
    "veto",
    "weights",
    "x",
];

const ACTIONS: [&str; 30] = [
    "set_member",
    "remove_member",
    "set_member_data",
    "transition_service_to_open",
    "assert_service_identity",
    "set_service_certificate_validity",
    "set_recovery_threshold",
    "set_service_configuration",
    "trigger_ledger_rekey",
    "trigger_snapshot",
    "disclose_ledger_range",
    "set_voting_policy",
    "set_constitution",
    "set_user",
    "remove_user",
    "set_user_data",
    "set_organisation",
    "set_organisation_revocations",
    "set_jwt_issuer",
    "set_jwt_public_signing_keys",
    "remove_jwt_issuer",
    "set_ca_cert_bundle",
    "transition_node_to_trusted",
    "promote_learner",
    "replace_nodes",
    "add_virtual_measurement",
    "set_node_certificate_validity",
    "set_node_data",
    "new_thing",
    "a new thing",
];

/// What a rule says in words of its own.
const RULES: [&str; 3] = ["at_least", "weighted", "automatic"];

/// Texts and numbers that are found nowhere by chance.
fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        "[a-z\u{1b}\u{202e}\" é]{8,14}".prop_map(Value::from),
        (1_000_000_000_000_u64..=u64::MAX).prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        Just(Value::Null),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    leaf().prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            collection::vec((select(&NAMES[..]), inner.clone()), 0..4).prop_map(object),
            (select(&RULES[..]), collection::vec((select(&NAMES[..]), inner), 0..4)).prop_map(
                |(rule, others)| {
                    let mut rule = json!({ "rule": rule });
                    let more = others.into_iter().map(|(name, value)| (name.to_owned(), value));
                    rule.as_object_mut().unwrap().extend(more);
                    rule
                }
            ),
        ]
    })
}

fn object(members: Vec<(&str, Value)>) -> Value {
    members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn more() -> impl Strategy<Value = Map<String, Value>> {
    collection::btree_map("m[a-z]{7}", value(), 0..2).prop_map(|all| all.into_iter().collect())
}

fn action() -> impl Strategy<Value = Value> {
    let args = prop_oneof![
        4 => collection::vec((select(&NAMES[..]), value()), 0..6).prop_map(object),
        1 => value(),
    ];
    (select(&ACTIONS[..]), args, more()).prop_map(|(name, args, more)| {
        let mut action = json!({ "name": name, "args": args });
        action.as_object_mut().unwrap().extend(more);
        action
    })
}

/// How the texts and numbers of a value may stand in the lines, each in one of the ways given.
fn expected(name: &str, value: &Value, found: &mut Vec<Vec<String>>) {
    let json = plain(&value.to_string());
    match value {
        // These are said in words.
        Value::String(text) if RULES.contains(&text.as_str()) => {}
        Value::String(text) if ACTIONS.contains(&text.as_str()) => {}
        Value::String(text) => {
            let inner = json.trim_matches('"').to_owned();
            found.push(vec![inner, sha256(text.as_bytes()).to_string()]);
        }
        Value::Number(_) => found.push(vec![json]),
        Value::Array(items) => items.iter().for_each(|item| expected(name, item, found)),
        Value::Object(all) if name == "jwks" && all.get("keys").is_some_and(Value::is_array) => {}
        Value::Object(all) => all.iter().for_each(|(name, value)| expected(name, value, found)),
        Value::Bool(_) | Value::Null => {}
    }
}

proptest! {
    #[test]
    fn every_text_and_number_of_a_proposal_is_shown(
        actions in collection::vec(action(), 1..4),
        more in more(),
    ) {
        let mut whole = json!({ "actions": actions });
        whole.as_object_mut().unwrap().extend(more);
        let parsed = document::parse(whole.to_string().as_bytes()).unwrap();
        let shown = lines(&parsed, None).join("\n");
        let mut all = Vec::new();
        expected("", &whole, &mut all);
        for ways in all {
            prop_assert!(ways.iter().any(|way| shown.contains(way)), "{ways:?} of {whole}\n{shown}");
        }
        prop_assert!(!shown.contains(['\u{1b}', '\u{202e}']), "{shown:?}");
    }
}
