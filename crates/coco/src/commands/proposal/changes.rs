//! What a proposal would change, in lines for people: `+` is added, `-` is removed, `~` is changed, `!` is not known here.

mod callers;
mod nodes;

use coco_client::{ServiceIdentity, reply::Action};
use coco_crypto::{Certificate, read_bundle, sha256};
use serde_json::Value;

use crate::{
    commands::keys::fingerprint,
    output::{plain, short, span},
};

/// A line or more for each action. `service` is the identity of the service that is asked, where one is.
pub(super) fn lines(actions: &[Action], service: Option<ServiceIdentity>) -> Vec<String> {
    actions.iter().flat_map(|action| of(action, service)).map(|line| plain(&line)).collect()
}

fn of(action: &Action, service: Option<ServiceIdentity>) -> Vec<String> {
    let args = &action.args;
    let text = |name: &str| args.get(name).and_then(Value::as_str).unwrap_or("?");
    let one = |line: String| vec![line];
    match action.name.as_str() {
        "set_member" => one(format!(
            "+ member         {}{}{}",
            id_of(text("cert")),
            named(args.get("member_data")),
            match (args.get("encryption_pub_key"), args.get("recovery_role")) {
                (None | Some(Value::Null), _) => String::new(),
                (Some(key), role) => format!(
                    ", recovery {}, shares to the key {}",
                    role.and_then(Value::as_str).unwrap_or("Participant"),
                    fingerprint(key.as_str().unwrap_or_default())
                ),
            }
        )),
        "remove_member" => one(format!("- member         {}", text("member_id"))),
        "replace_member" => one(format!(
            "~ member         {} leaves, with its weights and vetoes to {}",
            text("member_id"),
            text("successor_id")
        )),
        "set_member_data" => one(format!(
            "~ member         {} data {}",
            text("member_id"),
            json(&args["member_data"])
        )),
        "transition_service_to_open" => one(format!(
            "~ service        opens: {}{}",
            identity(text("next_service_identity"), service),
            match args.get("previous_service_identity").and_then(Value::as_str) {
                Some(previous) => format!(", recovered from {}", identity(previous, None)),
                None => String::new(),
            }
        )),
        "assert_service_identity" => {
            one(format!("  only on        {}", identity(text("service_identity"), service)))
        }
        "set_service_certificate_validity" => {
            one(format!("~ service        {}", certificate(args)))
        }
        "set_recovery_threshold" => {
            one(format!("~ recovery       {} shares are needed", json(&args["recovery_threshold"])))
        }
        "set_service_configuration" => one(format!("~ configuration  {}", json(args))),
        "trigger_ledger_rekey" => one("~ ledger         a new secret".to_owned()),
        "trigger_recovery_shares_refresh" => one("~ recovery       new shares".to_owned()),
        "trigger_ledger_chunk" => one("~ ledger         a new file".to_owned()),
        "trigger_snapshot" => one("~ ledger         a snapshot".to_owned()),
        "disclose_ledger_range" => one(disclosure(args)),
        "set_voting_policy" => policy(args),
        "set_constitution" => {
            let constitution = text("constitution");
            let (bytes, digest) = (constitution.len(), sha256(constitution.as_bytes()));
            one(format!("~ constitution   {bytes} bytes, sha256:{digest}"))
        }
        other => callers::lines(other, args)
            .or_else(|| nodes::lines(other, args))
            .unwrap_or_else(|| vec![format!("! {other} {}", json(args))]),
    }
}

/// From when on a certificate counts, and for how long.
fn certificate(args: &Value) -> String {
    let from = args.get("valid_from").and_then(Value::as_str).unwrap_or("?");
    let days = args.get("validity_period_days").and_then(Value::as_u64);
    let long = days.map_or_else(
        || "as long as members allow".to_owned(),
        |days| span(days.saturating_mul(86_400)),
    );
    format!("a new certificate from {from} on, for {long}")
}

/// Which private entries may be read.
fn disclosure(args: &Value) -> String {
    let [from, to, reason] = ["from", "to", "reason"].map(|name| json(&args[name]));
    format!("~ ledger         private entries {from} to {to} may be read with shares: {reason}")
}

fn policy(args: &Value) -> Vec<String> {
    let mut lines = vec![format!("~ voting policy  {}", rule(&args["default"]))];
    if let Some(Value::Object(rules)) = args.get("actions") {
        lines.extend(
            rules.iter().map(|(name, of)| format!("                 {name}: {}", rule(of))),
        );
    }
    if let Some(age) = args.get("proposals_expire_after_s") {
        let age = age.as_u64().map_or_else(|| json(age), span);
        lines.push(format!("                 proposals expire after {age}"));
    }
    lines
}

/// The id that belongs to a certificate, whatever its key.
fn id_of(pem: &str) -> String {
    let bundle = read_bundle(pem).ok();
    let first = bundle.as_deref().and_then(<[_]>::first);
    first.map_or_else(|| "(no certificate)".to_owned(), |der| sha256(der).to_string())
}

/// The name in the data of a member or participant.
fn named(data: Option<&Value>) -> String {
    match data {
        None | Some(Value::Null) => String::new(),
        Some(data) => match data.get("name").and_then(Value::as_str) {
            Some(name) => format!(" named {name:?}"),
            None => format!(" data {}", json(data)),
        },
    }
}

fn identity(pem: &str, service: Option<ServiceIdentity>) -> String {
    match Certificate::from_pem(pem) {
        Err(_) => "(no certificate)".to_owned(),
        Ok(certificate) => {
            let found = ServiceIdentity::of(&certificate);
            match service {
                Some(service) if service == found => format!("{found} (this service)"),
                Some(_) => format!("{found} (ANOTHER service)"),
                None => found.to_string(),
            }
        }
    }
}

/// A rule of the voting policy in words.
fn rule(rule: &Value) -> String {
    let mut words = match rule.get("rule").and_then(Value::as_str) {
        Some("at_least") => format!("at least {}", json(&rule["members"])),
        Some("weighted") => {
            format!("weight {} of {}", json(&rule["needed"]), json(&rule["weights"]))
        }
        Some("automatic") => format!(
            "each member alone, up to {}; beyond, {}",
            json(&rule["per_member"]),
            rule.get("otherwise").map_or_else(|| "the default".to_owned(), self::rule)
        ),
        Some(name) => name.to_owned(),
        None => json(rule),
    };
    if let Some(Value::Array(veto)) = rule.get("veto") {
        let ids: Vec<&str> = veto.iter().filter_map(Value::as_str).map(short).collect();
        words.push_str(&format!(", veto {}", ids.join(" ")));
    }
    words
}

/// JSON, at most so much of it that it can be read.
fn json(value: &Value) -> String {
    let text = value.to_string();
    let mut shown: String = text.chars().take(JSON_CHARACTERS_MAX).collect();
    if shown.len() < text.len() {
        shown.push_str(&format!("... ({} bytes)", text.len()));
    }
    shown
}

const JSON_CHARACTERS_MAX: usize = 400;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn line(name: &str, args: Value) -> String {
        lines(&[Action { name: name.to_owned(), args }], None).join("\n")
    }

    #[test]
    fn every_action_of_the_default_constitution_is_known() {
        let text = coco_governance::DEFAULT_CONSTITUTION;
        let after = text.split_once("const ACTIONS = {").unwrap().1;
        let table = after.split_once("\n};").unwrap().0;
        let mut count = 0;
        for line in table.lines().filter_map(|line| line.strip_prefix("    ")) {
            let Some((name, _)) = line.split_once(": {") else { continue };
            if !name.starts_with(|c: char| c.is_ascii_lowercase()) {
                continue;
            }
            let shown = lines(&[Action { name: name.to_owned(), args: json!({}) }], None);
            assert!(!shown[0].starts_with('!'), "{name}: {shown:?}");
            count += 1;
        }
        assert!(count >= 19, "{count} actions were found in the text");
    }

    #[test]
    fn who_gets_the_share_of_a_new_member_is_said() {
        let of = |key: &str| {
            let pem = coco_crypto::encode_pem("PUBLIC KEY", key.as_bytes());
            let pem = str::from_utf8(pem.expose()).unwrap();
            line("set_member", json!({ "cert": "?", "encryption_pub_key": pem }))
        };
        let expected = format!("sha256:{}", sha256(b"own"));
        assert!(of("own").ends_with(&expected), "{}", of("own"));
        assert_ne!(of("own"), of("another's"));
    }

    #[test]
    fn changes_are_said_in_words() {
        let id = "ab".repeat(32);
        for (name, args, expected) in [
            ("remove_member", json!({ "member_id": id }), format!("- member         {id}")),
            (
                "set_recovery_threshold",
                json!({ "recovery_threshold": 2 }),
                "~ recovery       2 shares are needed".to_owned(),
            ),
            (
                "set_voting_policy",
                json!({
                    "default": { "rule": "at_least", "members": 2, "veto": [id] },
                    "actions": { "set_user": { "rule": "one" } },
                }),
                "~ voting policy  at least 2, veto abababab\n                 set_user: one"
                    .to_owned(),
            ),
            (
                "set_voting_policy",
                json!({
                    "default": { "rule": "majority" },
                    "actions": {
                        "a": { "rule": "automatic", "per_member": 2 },
                        "b": { "rule": "automatic", "per_member": 1, "otherwise": { "rule": "one" } },
                    },
                    "proposals_expire_after_s": 14 * 86_400,
                }),
                "~ voting policy  majority\n                 \
                    a: each member alone, up to 2; beyond, the default\n                 \
                    b: each member alone, up to 1; beyond, one\n                 \
                    proposals expire after 14 days"
                    .to_owned(),
            ),
            (
                "set_service_certificate_validity",
                json!({ "valid_from": "20261231235959Z", "validity_period_days": 90 }),
                "~ service        a new certificate from 20261231235959Z on, for 90 days"
                    .to_owned(),
            ),
            ("new_thing", json!({ "x": "\u{1b}" }), "! new_thing {\"x\":\"\\u001b\"}".to_owned()),
            (
                "set_organisation",
                json!({ "name": "acme", "cert": "x", "user_data": { "a": 1 } }),
                "+ organisation   \"acme\" with the authority (no certificate) data {\"a\":1}"
                    .to_owned(),
            ),
            (
                "set_jwt_issuer",
                json!({ "issuer": "https://i", "audience": "coco" }),
                "+ token issuer   https://i with the keys that it has\n                 \
                    for the audience \"coco\""
                    .to_owned(),
            ),
            (
                "set_jwt_public_signing_keys",
                json!({ "issuer": "https://i", "jwks": { "keys": [{ "kid": "a" }, {}] } }),
                format!(
                    "~ token issuer   https://i with the keys \"a\" null, sha256:{}",
                    sha256(br#"{"keys":[{"kid":"a"},{}]}"#)
                ),
            ),
            ("set_user", json!({ "cert": "x" }), "+ participant    (no certificate)".to_owned()),
        ] {
            assert_eq!(line(name, args), expected);
        }
    }

    #[test]
    fn long_arguments_are_cut() {
        let shown = line("new_thing", json!({ "x": "é".repeat(10_000) }));
        assert!(shown.chars().count() < 500 && shown.ends_with("(20008 bytes)"), "{shown}");
    }
}
