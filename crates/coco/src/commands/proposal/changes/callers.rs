//! What would change of who is recognised: participants, organisations, issuers of tokens.

use coco_crypto::sha256;
use serde_json::Value;

use super::{
    INDENT,
    args::{Args, json, shown},
    digest_of, id_of, named,
};

/// The lines of an action, if it is one about callers.
pub(super) fn lines(name: &str, args: &Args<'_>) -> Option<Vec<String>> {
    let line = match name {
        "set_user" => {
            format!("+ participant    {}{}", id_of(args.get("cert")), named(args.get("user_data")))
        }
        "remove_user" => format!("- participant    {}", args.text("user_id")),
        "set_user_data" => {
            format!("~ participant    {} data {}", args.text("user_id"), args.json("user_data"))
        }
        "set_organisation" => format!(
            "+ organisation   {} with the authority {}{}",
            args.text("name"),
            id_of(args.get("cert")),
            named(args.get("user_data"))
        ),
        "remove_organisation" => format!("- organisation   {}", args.text("name")),
        "set_organisation_revocations" => format!(
            "~ organisation   {} revokes exactly {}",
            args.text("name"),
            args.json("serials")
        ),
        "set_jwt_issuer" => return Some(issuer(args)),
        "set_jwt_public_signing_keys" => {
            format!("~ token issuer   {} {}", args.text("issuer"), keys(args.get("jwks")))
        }
        "cleanup_legacy_jwt_records" => {
            "  token issuers  keys in tables of CCF's that this service has not".to_owned()
        }
        "remove_jwt_issuer" => format!("- token issuer   {}", args.text("issuer")),
        "set_ca_cert_bundle" => {
            let bundle = digest_of(args.get("cert_bundle"));
            format!("+ certificates   {}, {bundle}", args.text("name"))
        }
        "remove_ca_cert_bundle" => format!("- certificates   {}", args.text("name")),
        _ => return None,
    };
    Some(vec![line])
}

fn issuer(args: &Args<'_>) -> Vec<String> {
    let keys = keys(args.get("jwks"));
    let mut lines = vec![format!("+ token issuer   {} {keys}", args.text("issuer"))];
    lines.push(match args.present("audience") {
        None => format!("{INDENT}for any audience"),
        Some(audience) => format!("{INDENT}for the audience {}", json(audience)),
    });
    match args.present("auto_refresh") {
        None | Some(Value::Bool(false)) => {}
        Some(Value::Bool(true)) => {
            let bundle = args.present("ca_cert_bundle_name").map(shown).unwrap_or_default();
            lines.push(format!(
                "{INDENT}its keys are fetched without a vote from then on, by the certificates {bundle}"
            ));
        }
        Some(other) => lines.push(format!("{INDENT}its keys are fetched: {}", json(other))),
    }
    lines
}

/// The keys of an issuer, by their ids and by what they are.
fn keys(jwks: Option<&Value>) -> String {
    let Some(jwks) = jwks.filter(|jwks| !jwks.is_null()) else {
        return "with the keys that it has".to_owned();
    };
    let keys = jwks.get("keys").and_then(Value::as_array);
    // All else of them is named by the digest.
    let Some(keys) = keys else { return format!("with the keys {}", json(jwks)) };
    let ids: Vec<String> = keys.iter().map(|key| json(&key["kid"])).collect();
    let digest = sha256(jwks.to_string().as_bytes());
    format!("with the keys {}, sha256:{digest}", ids.join(" "))
}
