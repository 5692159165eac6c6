//! Issuers of tokens, and by which certificates their servers are recognised.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use coco_crypto::{Curve, SigningKey, certificate_key, decode_pem, read_bundle};
use coco_governance::tables;
use serde_json::{Value, json};

use super::{AUTHORITY, CERTIFIED, ENCRYPTION_KEY, Stage, WEAK_KEY};

const ISSUER: &str = "https://login.example/tenant";
const OTHER: &str = "https://other.example";

/// A key and where the ledger has it: in SPKI, in base64.
struct Key {
    jwk: Value,
    spki: String,
}

fn rsa(kid: &str, pem: &str) -> Key {
    let der = decode_pem("PUBLIC KEY", pem).unwrap().unwrap();
    let der = der.expose();
    // The exponent 65537 comes last, after its tag and length; the modulus before it, and a zero before that.
    let bytes = if der.len() < 200 { 128 } else { 256 };
    let n = URL_SAFE_NO_PAD.encode(&der[der.len() - 5 - bytes..der.len() - 5]);
    let jwk = json!({ "kty": "RSA", "kid": kid, "n": n, "e": "AQAB", "use": "sig" });
    Key { jwk, spki: STANDARD.encode(der) }
}

fn p256(kid: &str) -> Key {
    on_curve(kid, Curve::P256)
}

fn on_curve(kid: &str, curve: Curve) -> Key {
    let (crv, alg, bytes) = match curve {
        Curve::P256 => ("P-256", "ES256", 32),
        Curve::P384 => ("P-384", "ES384", 48),
        Curve::P521 => ("P-521", "ES512", 66),
    };
    let key = SigningKey::generate(curve);
    let spki = key.public().spki_der();
    let (x, y) = spki[spki.len() - 2 * bytes..].split_at(bytes);
    let [x, y] = [x, y].map(|part| URL_SAFE_NO_PAD.encode(part));
    let jwk = json!({ "kty": "EC", "kid": kid, "crv": crv, "x": x, "y": y, "alg": alg });
    Key { jwk, spki: STANDARD.encode(spki) }
}

/// A key in a certificate, after which those of its authorities come.
fn certified(kid: &str, chain: &[&str]) -> Key {
    let chain: Vec<Vec<u8>> = chain.iter().map(|pem| read_bundle(pem).unwrap().remove(0)).collect();
    let spki = STANDARD.encode(certificate_key(&chain[0]).unwrap());
    let x5c: Vec<String> = chain.iter().map(|der| STANDARD.encode(der)).collect();
    Key { jwk: json!({ "kty": "RSA", "kid": kid, "x5c": x5c }), spki }
}

fn jwks(keys: &[&Key]) -> Value {
    let keys: Vec<&Value> = keys.iter().map(|key| &key.jwk).collect();
    json!({ "keys": keys })
}

/// Looks at the row of a key.
fn check(stage: &Stage, kid: &str, expected: &[(&str, &Key)]) {
    let expected: Vec<Value> = expected
        .iter()
        .map(|(issuer, key)| json!({ "issuer": issuer, "public_key": key.spki }))
        .collect();
    let row = stage.json(tables::JWT_KEYS, kid.as_bytes()).unwrap_or(json!([]));
    assert_eq!(row, json!(expected), "{kid}");
}

pub(super) fn set_ca_cert_bundle(stage: &mut Stage) {
    let name = "set_ca_cert_bundle";
    let args = |pem: &str| json!({ "name": "roots", "cert_bundle": pem });
    let two = [AUTHORITY, &stage.c.members[0].certificate.pem()].concat();
    stage.accepts(name, &args(&two));
    assert_eq!(stage.json(tables::CA_CERT_BUNDLES, b"roots"), Some(json!(two)));
    stage.refuses(name, &args("x"), "must be a valid X509");
    stage.refuses(name, &json!({ "cert_bundle": AUTHORITY }), "must be of type string");
    if stage.is_strict {
        stage.refuses(name, &args(CERTIFIED), "must be a self-signed (root) CA certificate");
        let between = [AUTHORITY, "x\n", AUTHORITY].concat();
        stage.refuses(name, &args(&between), "invalid content between certificates");
    }
}

pub(super) fn remove_ca_cert_bundle(stage: &mut Stage) {
    let name = "remove_ca_cert_bundle";
    stage.put(tables::CA_CERT_BUNDLES, b"roots", json!({}));
    for _ in 0..2 {
        stage.accepts(name, &json!({ "name": "roots" }));
        assert_eq!(stage.text(tables::CA_CERT_BUNDLES, b"roots"), None);
    }
    stage.refuses(name, &json!({}), "must be of type string");
}

pub(super) fn set_jwt_issuer(stage: &mut Stage) {
    let name = "set_jwt_issuer";
    let keys = [rsa("a", ENCRYPTION_KEY), p256("b"), certified("c", &[CERTIFIED, AUTHORITY])];
    let [a, b, c] = &keys;
    stage.accepts(name, &json!({ "issuer": ISSUER, "jwks": jwks(&[a, b, c]) }));
    for key in &keys {
        check(stage, key.jwk["kid"].as_str().unwrap(), &[(ISSUER, key)]);
    }
    let row = |stage: &Stage| stage.json(tables::JWT_ISSUERS, ISSUER.as_bytes());
    assert_eq!(row(stage), Some(json!({ "issuer": ISSUER })));
    // Without keys it keeps those that it has. They are fetched by a bundle that members have set.
    let fetched = json!({ "issuer": ISSUER, "auto_refresh": true, "ca_cert_bundle_name": "roots" });
    stage.fails(name, &fetched, "No CA cert bundle found with name 'roots'");
    stage.accepts("set_ca_cert_bundle", &json!({ "name": "roots", "cert_bundle": AUTHORITY }));
    stage.accepts(name, &fetched);
    assert_eq!(row(stage), Some(fetched));
    check(stage, "a", &[(ISSUER, a)]);

    let without = json!({ "issuer": ISSUER, "auto_refresh": true });
    stage.refuses(name, &without, "ca_cert_bundle_name is missing");
    for issuer in ["http://a.example", "https://a.example?b", "nonsense"] {
        let args =
            json!({ "issuer": issuer, "auto_refresh": true, "ca_cert_bundle_name": "roots" });
        stage.refuses(name, &args, "issuer must be a URL");
    }
    // The sample takes these. No token is checked by them here.
    for curve in [Curve::P384, Curve::P521] {
        let args = json!({ "issuer": ISSUER, "jwks": jwks(&[&on_curve("d", curve)]) });
        stage.fails(name, &args, "where P-256 is expected");
    }
    refuses_keys(stage, name);
}

fn refuses_keys(stage: &mut Stage, name: &str) {
    let with = |change: &dyn Fn(&mut Value)| {
        let mut key = rsa("a", ENCRYPTION_KEY);
        change(&mut key.jwk);
        json!({ "issuer": ISSUER, "jwks": jwks(&[&key]) })
    };
    stage.refuses(name, &with(&|key| key["kid"] = json!(1)), "must be of type string");
    stage.refuses(name, &with(&|key| key["n"] = Value::Null), "JWK must contain either");
    let x5c = json!(["x"]);
    stage.refuses(name, &with(&|key| key["x5c"] = x5c.clone()), "x5c[0] must be");
    if !stage.is_strict {
        return;
    }
    stage.refuses(name, &json!({ "issuer": "login.example" }), "issuer must be a URL");
    stage.refuses(name, &with(&|key| key["kty"] = json!("oct")), "must be one of");
    stage.refuses(name, &with(&|key| key["use"] = json!("enc")), "must be one of");
    stage.refuses(name, &with(&|key| key["alg"] = json!("HS256")), "must be one of");
    stage.refuses(name, &with(&|key| key["kty"] = json!("EC")), "must be RSA for n/e keys");
    let weak = rsa("a", WEAK_KEY).jwk;
    stage.refuses(name, &with(&|key| *key = weak.clone()), "at least 2048 bits");
    let elsewhere = p256("b").jwk;
    let off_curve = |key: &mut Value| {
        *key = elsewhere.clone();
        key["y"] = key["x"].clone();
    };
    stage.refuses(name, &with(&off_curve), "must be a valid EC public key");
    let unchained = certified("c", &[AUTHORITY, CERTIFIED]).jwk;
    stage.refuses(name, &with(&|key| *key = unchained.clone()), "must chain to its root");
    let twice = p256("a");
    let args = json!({ "issuer": ISSUER, "jwks": jwks(&[&twice, &rsa("a", ENCRYPTION_KEY)]) });
    stage.refuses(name, &args, "kid must be unique");
}

pub(super) fn set_jwt_public_signing_keys(stage: &mut Stage) {
    let name = "set_jwt_public_signing_keys";
    let [first, second, theirs] = ["a", "b", "b"].map(p256);
    let args = |issuer: &str, key: &Key| json!({ "issuer": issuer, "jwks": jwks(&[key]) });
    stage.fails(name, &args(ISSUER, &first), "not found");
    for issuer in [ISSUER, OTHER] {
        stage.accepts("set_jwt_issuer", &json!({ "issuer": issuer }));
    }
    stage.accepts(name, &args(ISSUER, &first));
    check(stage, "a", &[(ISSUER, &first)]);
    // Two issuers may call different keys the same. An issuer has the keys that were set last.
    stage.accepts(name, &args(OTHER, &theirs));
    stage.accepts(name, &args(ISSUER, &second));
    check(stage, "a", &[]);
    check(stage, "b", &[(OTHER, &theirs), (ISSUER, &second)]);
    stage.refuses(name, &json!({ "issuer": ISSUER }), "must be of type object");
    stage.refuses(name, &json!({ "issuer": ISSUER, "jwks": { "keys": 1 } }), "must be an array");
}

pub(super) fn remove_jwt_issuer(stage: &mut Stage) {
    let name = "remove_jwt_issuer";
    let [ours, theirs] = ["a", "a"].map(p256);
    for (issuer, key) in [(ISSUER, &ours), (OTHER, &theirs)] {
        stage.accepts("set_jwt_issuer", &json!({ "issuer": issuer, "jwks": jwks(&[key]) }));
    }
    for _ in 0..2 {
        stage.accepts(name, &json!({ "issuer": ISSUER }));
        assert_eq!(stage.text(tables::JWT_ISSUERS, ISSUER.as_bytes()), None);
        check(stage, "a", &[(OTHER, &theirs)]);
    }
    stage.refuses(name, &json!({}), "must be of type string");
}

pub(super) fn cleanup_legacy_jwt_records(stage: &mut Stage) {
    let name = "cleanup_legacy_jwt_records";
    let legacy = [
        "public:ccf.gov.jwt.public_signing_keys",
        "public:ccf.gov.jwt.public_signing_keys_metadata",
        "public:ccf.gov.jwt.public_signing_key_issuer",
    ];
    let there = |stage: &Stage| legacy.map(|table| stage.text(table, b"a").is_some());
    for table in legacy {
        stage.put(table, b"a", json!("x"));
    }
    let args = json!({ "ensure_new_records_exist": true });
    stage.fails(name, &args, "No new JWT public signing keys records found");
    assert_eq!(there(stage), [true; 3]);
    let key = p256("a");
    stage.accepts("set_jwt_issuer", &json!({ "issuer": ISSUER, "jwks": jwks(&[&key]) }));
    stage.accepts(name, &args);
    assert_eq!(there(stage), [false; 3]);
    check(stage, "a", &[(ISSUER, &key)]);
    stage.accepts(name, &json!({}));
    stage.refuses(name, &json!({ "ensure_new_records_exist": 1 }), "must be of type boolean");
}
