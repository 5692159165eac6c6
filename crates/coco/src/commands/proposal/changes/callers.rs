//! What would change of who is recognised: participants, organisations, issuers of tokens.

use coco_crypto::sha256;
use serde_json::Value;

use super::{id_of, json, named};

/// The lines of an action, if it is one about callers.
pub(super) fn lines(name: &str, args: &Value) -> Option<Vec<String>> {
    let text = |name: &str| args.get(name).and_then(Value::as_str).unwrap_or("?");
    let one = |line: String| vec![line];
    Some(match name {
        "set_user" => {
            one(format!("+ participant    {}{}", id_of(text("cert")), named(args.get("user_data"))))
        }
        "remove_user" => one(format!("- participant    {}", text("user_id"))),
        "set_user_data" => {
            one(format!("~ participant    {} data {}", text("user_id"), json(&args["user_data"])))
        }
        "set_organisation" => one(format!(
            "+ organisation   {:?} with the authority {}{}",
            text("name"),
            id_of(text("cert")),
            named(args.get("user_data"))
        )),
        "remove_organisation" => one(format!("- organisation   {:?}", text("name"))),
        "set_organisation_revocations" => one(format!(
            "~ organisation   {:?} revokes exactly {}",
            text("name"),
            json(&args["serials"])
        )),
        "set_jwt_issuer" => issuer(args),
        "set_jwt_public_signing_keys" => {
            one(format!("~ token issuer   {} {}", text("issuer"), keys(args.get("jwks"))))
        }
        "cleanup_legacy_jwt_records" => {
            one("  token issuers  keys in tables of CCF's that this service has not".to_owned())
        }
        "remove_jwt_issuer" => one(format!("- token issuer   {}", text("issuer"))),
        "set_ca_cert_bundle" => {
            let digest = sha256(text("cert_bundle").as_bytes());
            one(format!("+ certificates   {:?}, sha256:{digest}", text("name")))
        }
        "remove_ca_cert_bundle" => one(format!("- certificates   {:?}", text("name"))),
        _ => return None,
    })
}

fn issuer(args: &Value) -> Vec<String> {
    let issuer = args.get("issuer").and_then(Value::as_str).unwrap_or("?");
    let mut lines = vec![format!("+ token issuer   {issuer} {}", keys(args.get("jwks")))];
    lines.push(match args.get("audience") {
        None | Some(Value::Null) => "                 for any audience".to_owned(),
        Some(audience) => format!("                 for the audience {}", json(audience)),
    });
    if args.get("auto_refresh") == Some(&Value::Bool(true)) {
        let bundle = args.get("ca_cert_bundle_name").map(json).unwrap_or_default();
        lines.push(format!(
            "                 its keys are fetched without a vote from then on, by the certificates {bundle}"
        ));
    }
    lines
}

/// The keys of an issuer, by their ids and by what they are.
fn keys(jwks: Option<&Value>) -> String {
    let Some(jwks) = jwks.filter(|jwks| !jwks.is_null()) else {
        return "with the keys that it has".to_owned();
    };
    let keys = jwks.get("keys").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let ids: Vec<String> = keys.iter().map(|key| json(&key["kid"])).collect();
    let digest = sha256(jwks.to_string().as_bytes());
    format!("with the keys {}, sha256:{digest}", ids.join(" "))
}
