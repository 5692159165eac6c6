//! What a proposal would change, in lines for people: `+` is added, `-` is removed, `~` is changed, `!` is not known here.
//!
//! Nothing of a document is left out: what no line speaks of stands after `and besides`. Long texts are cut and named by
//! their digests, and certificates and keys by theirs.

mod args;
mod callers;
mod nodes;
#[cfg(test)]
mod whole;

use coco_client::{
    ServiceIdentity,
    reply::{Action, Actions},
};
use coco_crypto::{Certificate, encode_pem, read_bundle, sha256};
use serde_json::Value;

use crate::{
    commands::keys::fingerprint,
    output::{plain, span},
};

use args::{Args, json, members, word};

/// Where lines go on that belong to the one before.
pub(super) const INDENT: &str = "                 ";

/// A line or more for each action. `service` is the identity of the service that is asked, where one is.
pub(super) fn lines(document: &Actions, service: Option<ServiceIdentity>) -> Vec<String> {
    let of_actions = document.actions.iter().flat_map(|action| of(action, service));
    of_actions.chain(besides(&members(&document.more))).map(|line| plain(&line)).collect()
}

fn of(action: &Action, service: Option<ServiceIdentity>) -> Vec<String> {
    let args = Args::of(&action.args);
    let known = of_service(&action.name, &args, service)
        .or_else(|| callers::lines(&action.name, &args))
        .or_else(|| nodes::lines(&action.name, &args));
    let mut lines = known.unwrap_or_else(|| {
        let all = if args.is_absent() { String::new() } else { format!(" {}", args.all()) };
        vec![format!("! {}{all}", word(&action.name))]
    });
    lines.extend(besides(&args.rest()));
    lines.extend(besides(&members(&action.more)));
    lines
}

/// What no line spoke of.
fn besides(rest: &[String]) -> Vec<String> {
    rest.iter().map(|one| format!("{INDENT}and besides: {one}")).collect()
}

/// The lines of an action about members, the service or its rules; nothing, if it is none.
fn of_service(
    name: &str,
    args: &Args<'_>,
    service: Option<ServiceIdentity>,
) -> Option<Vec<String>> {
    let line = match name {
        "set_member" => member(args),
        "remove_member" => format!("- member         {}", args.text("member_id")),
        "replace_member" => format!(
            "~ member         {} leaves, with its weights and vetoes to {}",
            args.text("member_id"),
            args.text("successor_id")
        ),
        "set_member_data" => {
            format!("~ member         {} data {}", args.text("member_id"), args.json("member_data"))
        }
        "transition_service_to_open" => opening(args, service),
        "assert_service_identity" => {
            format!("  only on        {}", identity(args.get("service_identity"), service))
        }
        "set_service_certificate_validity" => format!("~ service        {}", certificate(args)),
        "set_recovery_threshold" => {
            format!("~ recovery       {} shares are needed", args.json("recovery_threshold"))
        }
        "set_service_configuration" => format!("~ configuration  {}", args.all()),
        "trigger_ledger_rekey" => "~ ledger         a new secret".to_owned(),
        "trigger_recovery_shares_refresh" => "~ recovery       new shares".to_owned(),
        "trigger_ledger_chunk" => "~ ledger         a new file".to_owned(),
        "trigger_snapshot" => "~ ledger         a snapshot".to_owned(),
        "disclose_ledger_range" => disclosure(args),
        "set_voting_policy" => return Some(policy(args)),
        "set_constitution" => format!("~ constitution   {}", digest_of(args.get("constitution"))),
        _ => return None,
    };
    Some(vec![line])
}

fn member(args: &Args<'_>) -> String {
    let recovery = args.present("encryption_pub_key").map(|key| {
        let role = args.present("recovery_role");
        let role = role.map_or_else(|| "Participant".to_owned(), args::shown);
        format!(", recovery {role}, shares to the key {}", key_of(key))
    });
    format!(
        "+ member         {}{}{}",
        id_of(args.get("cert")),
        named(args.get("member_data")),
        recovery.unwrap_or_default()
    )
}

fn opening(args: &Args<'_>, service: Option<ServiceIdentity>) -> String {
    let opens = identity(args.get("next_service_identity"), service);
    let from = args.present("previous_service_identity");
    let from = from.map(|from| format!(", recovered from {}", identity(Some(from), None)));
    format!("~ service        opens: {opens}{}", from.unwrap_or_default())
}

/// From when on a certificate counts, and for how long.
fn certificate(args: &Args<'_>) -> String {
    let from = args.text("valid_from");
    let days = args.present("validity_period_days");
    let long = match days {
        None => "as long as members allow".to_owned(),
        Some(days) if *days == 1 => "1 day".to_owned(),
        Some(days) => format!("{} days", json(days)),
    };
    format!("a new certificate from {from} on, for {long}")
}

/// Which private entries may be read.
fn disclosure(args: &Args<'_>) -> String {
    let [from, to, reason] = ["from", "to", "reason"].map(|name| args.json(name));
    format!("~ ledger         private entries {from} to {to} may be read with shares: {reason}")
}

fn policy(args: &Args<'_>) -> Vec<String> {
    let mut lines = vec![format!("~ voting policy  {}", rule(args.get("default")))];
    for (name, of) in args.object("actions").into_iter().flatten() {
        lines.push(format!("{INDENT}{}: {}", word(name), rule(Some(of))));
    }
    if let Some(age) = args.present("proposals_expire_after_s") {
        let age = match age.as_u64() {
            Some(seconds) => format!("{} ({seconds} s)", span(seconds)),
            None => json(age),
        };
        lines.push(format!("{INDENT}proposals expire after {age}"));
    }
    lines
}

/// The id that belongs to a certificate, whatever its key.
fn id_of(pem: Option<&Value>) -> String {
    let Some(text) = pem.and_then(Value::as_str) else { return no_certificate(pem) };
    let bundle = read_bundle(text).ok();
    match bundle.as_deref().and_then(<[_]>::first) {
        Some(der) => format!("{}{}", sha256(der), more_than("CERTIFICATE", der, text)),
        None => no_certificate(pem),
    }
}

fn no_certificate(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "(no certificate)".to_owned(),
        Some(value) => format!("(no certificate) {}", json(value)),
    }
}

/// What an encryption key is compared by.
fn key_of(key: &Value) -> String {
    let Some(pem) = key.as_str() else { return json(key) };
    match coco_crypto::decode_pem("PUBLIC KEY", pem) {
        Ok(Some(der)) => {
            format!("{}{}", fingerprint(pem), more_than("PUBLIC KEY", der.expose(), pem))
        }
        Ok(None) | Err(_) => format!("{} {}", fingerprint(pem), json(key)),
    }
}

/// A word for text that is more than the PEM of one thing, which alone is named.
fn more_than(label: &'static str, der: &[u8], text: &str) -> String {
    let letters = |text: &str| text.split_whitespace().collect::<String>();
    let alone = encode_pem(label, der);
    if letters(text) == letters(&String::from_utf8_lossy(alone.expose())) {
        return String::new();
    }
    format!(" (and more text: {} bytes, sha256:{})", text.len(), sha256(text.as_bytes()))
}

/// A text that is too long to be shown, by its digest.
fn digest_of(text: Option<&Value>) -> String {
    match text {
        Some(Value::String(text)) => {
            format!("{} bytes, sha256:{}", text.len(), sha256(text.as_bytes()))
        }
        other => json(other.unwrap_or(&Value::Null)),
    }
}

/// What members say of a member or participant; first of all its name.
fn named(data: Option<&Value>) -> String {
    let name = data.and_then(|data| data.get("name")).filter(|name| name.is_string());
    match (data, name) {
        (None | Some(Value::Null), _) => String::new(),
        (Some(Value::Object(members)), Some(name)) if members.len() == 1 => {
            format!(" named {}", json(name))
        }
        (Some(data), Some(name)) => format!(" named {}, data {}", json(name), json(data)),
        (Some(data), None) => format!(" data {}", json(data)),
    }
}

fn identity(pem: Option<&Value>, service: Option<ServiceIdentity>) -> String {
    let Some(text) = pem.and_then(Value::as_str) else { return no_certificate(pem) };
    let Ok(certificate) = Certificate::from_pem(text) else { return no_certificate(pem) };
    let found = ServiceIdentity::of(&certificate);
    let whose = match service {
        Some(service) if service == found => " (this service)",
        Some(_) => " (ANOTHER service)",
        None => "",
    };
    format!("{found}{whose}{}", more_than("CERTIFICATE", certificate.der(), text))
}

/// A rule of the voting policy in words.
fn rule(rule: Option<&Value>) -> String {
    let Some(rule) = rule.filter(|rule| rule.get("rule").is_some_and(Value::is_string)) else {
        return json(rule.unwrap_or(&Value::Null));
    };
    let args = Args::of(rule);
    let mut words = match args.get("rule").and_then(Value::as_str).unwrap_or_default() {
        "at_least" => format!("at least {}", args.json("members")),
        "weighted" => format!("weight {} of {}", args.json("needed"), args.json("weights")),
        "automatic" => format!(
            "each member alone, up to {}; beyond, {}",
            args.json("per_member"),
            match args.present("otherwise") {
                None => "the default".to_owned(),
                otherwise => self::rule(otherwise),
            }
        ),
        name => word(name),
    };
    if let Some(veto) = args.array("veto") {
        // In full: others may have ids that begin alike.
        let ids: Vec<String> = veto.iter().map(args::shown).collect();
        words.push_str(&format!(", veto {}", ids.join(" ")));
    }
    for one in args.rest() {
        words.push_str(&format!(", and besides: {one}"));
    }
    words
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;

    fn document(name: &str, args: Value) -> Actions {
        let action = Action { name: name.to_owned(), args, more: Map::new() };
        Actions { actions: vec![action], more: Map::new() }
    }

    fn line(name: &str, args: Value) -> String {
        lines(&document(name, args), None).join("\n")
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
            let shown = lines(&document(name, json!({})), None);
            assert!(!shown[0].starts_with('!'), "{name}: {shown:?}");
            count += 1;
        }
        assert!(count >= 19, "{count} actions were found in the text");
    }

    #[test]
    fn who_gets_the_share_of_a_new_member_is_said() {
        let of = |key: &str| {
            let pem = encode_pem("PUBLIC KEY", key.as_bytes());
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
                format!("~ voting policy  at least 2, veto {id}\n                 set_user: one"),
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
                    proposals expire after 14 days (1209600 s)"
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
                "+ organisation   acme with the authority (no certificate) \"x\" data {\"a\":1}"
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
            (
                "set_user",
                json!({ "cert": "x" }),
                "+ participant    (no certificate) \"x\"".to_owned(),
            ),
        ] {
            assert_eq!(line(name, args), expected);
        }
    }

    #[test]
    fn what_is_not_known_is_said_besides() {
        let key = coco_crypto::SigningKey::generate(coco_crypto::Curve::P384);
        let validity = coco_crypto::Validity { not_before: 1_000_000, not_after: 2_000_000 };
        let certificate = coco_crypto::service_certificate(&key, validity).unwrap();
        let cert = certificate.pem();
        let shown = line(
            "set_user",
            json!({ "cert": cert, "user_data": { "name": "a", "role": 7 }, "vip": 1 }),
        );
        let expected = format!(
            "+ participant    {} named \"a\", data {{\"name\":\"a\",\"role\":7}}\n                 and besides: vip = 1",
            certificate.digest()
        );
        assert_eq!(shown, expected);
        // A second certificate, of which nobody is told.
        let two = json!({ "cert": format!("{cert}{cert}") });
        assert!(line("set_user", two).contains("(and more text: "));
        let whole = br#"{"actions":[{"name":"trigger_snapshot","why":"y"}],"note":"\u001b"}"#;
        let whole = super::super::document::parse(whole).unwrap();
        let expected = [
            "~ ledger         a snapshot",
            "                 and besides: why = \"y\"",
            "                 and besides: note = \"\\u001b\"",
        ];
        assert_eq!(lines(&whole, None), expected);
    }

    #[test]
    fn long_arguments_are_cut() {
        let shown = line("new_thing", json!({ "x": "é".repeat(10_000) }));
        let digest = sha256("é".repeat(10_000).as_bytes());
        assert!(shown.chars().count() < 600, "{shown}");
        assert!(shown.ends_with(&format!("... (20000 bytes, sha256:{digest})}}")), "{shown}");
    }
}
