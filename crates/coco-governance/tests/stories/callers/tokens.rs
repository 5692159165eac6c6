//! By tokens: issuers, their keys, and what a token must say.

mod forged;

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair},
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use coco_crypto::{Curve, SigningKey, decode_pem};
use coco_governance::{caller::TOKEN_BYTES_MAX, tables};
use serde_json::{Value, json};

use super::*;

const ISSUER: &str = "https://login.acme.example/tenant";

/// What an issuer signs with.
enum Key {
    Rsa(Box<RsaKeyPair>),
    Curve(Box<SigningKey>),
}

fn base64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Key {
    fn rsa() -> Self {
        let pem = include_str!("../../../../coco-crypto/tests/vectors/rsa2048.private.pem");
        let der = decode_pem("PRIVATE KEY", pem).unwrap().unwrap();
        Self::Rsa(Box::new(RsaKeyPair::from_pkcs8(der.expose()).unwrap()))
    }

    fn curve(curve: Curve) -> Self {
        Self::Curve(Box::new(SigningKey::generate(curve)))
    }

    /// The public half, as issuers publish it.
    fn jwk(&self, kid: &str) -> Value {
        match self {
            Self::Rsa(key) => {
                // In DER the exponent 65537 comes last, after its tag and length, and the modulus before it.
                let der = key.public_key().as_ref();
                let n = &der[der.len() - 5 - 256..der.len() - 5];
                json!({ "kty": "RSA", "kid": kid, "n": base64(n), "e": "AQAB" })
            }
            Self::Curve(key) => {
                let bytes = match key.public().curve() {
                    Curve::P256 => 64,
                    Curve::P384 => 96,
                    Curve::P521 => 132,
                };
                let spki = key.public().spki_der();
                let (x, y) = spki[spki.len() - bytes..].split_at(bytes / 2);
                let crv = format!("{:?}", key.public().curve()).replace('P', "P-");
                let [x, y] = [x, y].map(base64);
                json!({ "kty": "EC", "kid": kid, "crv": crv, "x": x, "y": y })
            }
        }
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        let [header, claims] = [header, claims].map(|part| base64(part.to_string().as_bytes()));
        self.sign_parts(&format!("{header}.{claims}"))
    }

    fn sign_parts(&self, signed: &str) -> String {
        let signature = match self {
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                let random = SystemRandom::new();
                key.sign(&RSA_PKCS1_SHA256, &random, signed.as_bytes(), &mut signature).unwrap();
                signature
            }
            Self::Curve(key) => key.sign_fixed(signed.as_bytes()),
        };
        format!("{signed}.{}", base64(&signature))
    }

    const fn algorithm(&self) -> &'static str {
        match self {
            Self::Rsa(_) => "RS256",
            Self::Curve(_) => "ES256",
        }
    }

    /// A token under the id `k1`.
    fn token(&self, claims: &Value) -> String {
        self.sign(&json!({ "alg": self.algorithm(), "typ": "JWT", "kid": "k1" }), claims)
    }
}

/// What a good token says, but for this.
fn claims(changes: &Value) -> Value {
    let mut claims = json!({ "iss": ISSUER, "sub": "alice", "nbf": NOW - 10, "exp": NOW + 10 });
    for (name, value) in changes.as_object().unwrap() {
        let claims = claims.as_object_mut().unwrap();
        match value {
            Value::Null => drop(claims.remove(name)),
            value => drop(claims.insert(name.clone(), value.clone())),
        }
    }
    claims
}

fn believe(c: &mut Consortium, key: &Key) {
    let args = json!({ "issuer": ISSUER, "jwks": { "keys": [key.jwk("k1")] } });
    passes(c, "set_jwt_issuer", &args);
}

#[test]
fn the_bearer_of_a_token_is_whom_the_issuer_says() {
    for key in [Key::rsa(), Key::curve(Curve::P256)] {
        let mut c = service();
        let unknown = token(&c, &key.token(&claims(&json!({}))), NOW).unwrap_err();
        assert!(matches!(&unknown, ByTokenError::UnknownKey(id) if id == "k1"), "{unknown}");
        believe(&mut c, &key);
        let said = claims(&json!({ "groups": ["a", "b"], "aud": "somebody" }));
        let Value::Object(expected) = said.clone() else { panic!("no object") };
        let expected = Caller::Bearer { issuer: ISSUER.to_owned(), claims: expected };
        assert_eq!(token(&c, &key.token(&said), NOW).unwrap(), expected);
    }
}

#[test]
fn issuers_and_keys_stand_in_ccfs_tables() {
    let mut c = service();
    let (rsa, curve) = (Key::rsa(), Key::curve(Curve::P256));
    let spki = |pem: &str| {
        let der = decode_pem("PUBLIC KEY", pem).unwrap().unwrap();
        STANDARD.encode(der.expose())
    };
    let public = include_str!("../../../../coco-crypto/tests/vectors/rsa2048.public.pem");
    let bundle = include_str!("../../vectors/p256.pem");
    let args = json!({ "name": "roots", "cert_bundle": bundle });
    passes(&mut c, "set_ca_cert_bundle", &args);
    assert_eq!(c.json(tables::CA_CERT_BUNDLES, b"roots"), Some(json!(bundle)));

    let mut constrained = rsa.jwk("k2");
    constrained["issuer"] = json!("https://acme.example/any");
    let keys = json!([rsa.jwk("k1"), constrained]);
    let args =
        json!({ "issuer": ISSUER, "ca_cert_bundle_name": "roots", "jwks": { "keys": keys } });
    passes(&mut c, "set_jwt_issuer", &args);
    let row = json!({ "issuer": ISSUER, "auto_refresh": false, "ca_cert_bundle_name": "roots" });
    assert_eq!(c.json(tables::JWT_ISSUERS, ISSUER.as_bytes()), Some(row));
    let key = json!({ "public_key": spki(public), "issuer": ISSUER });
    assert_eq!(c.json(tables::JWT_KEYS, b"k1"), Some(json!([key])));
    let mut second = key.clone();
    second["constraint"] = json!("https://acme.example/any");
    assert_eq!(c.json(tables::JWT_KEYS, b"k2"), Some(json!([second])));
    // A key with a constraint is for tokens from there.
    let header = json!({ "alg": "RS256", "kid": "k2" });
    for (iss, is_taken) in [(ISSUER, false), ("https://acme.example/any", true)] {
        let found = token(&c, &rsa.sign(&header, &claims(&json!({ "iss": iss }))), NOW);
        assert_eq!(found.is_ok(), is_taken, "{found:?}");
    }

    // Another issuer happens to use the same id.
    let other = "https://other.example";
    let args = json!({ "issuer": other, "jwks": { "keys": [curve.jwk("k1")] } });
    passes(&mut c, "set_jwt_issuer", &args);
    assert_eq!(c.json(tables::JWT_KEYS, b"k1").unwrap().as_array().unwrap().len(), 2);
    for (key, iss) in [(&rsa, ISSUER), (&curve, other)] {
        let found = token(&c, &key.token(&claims(&json!({ "iss": iss }))), NOW);
        assert!(matches!(&found, Ok(Caller::Bearer { issuer, .. }) if issuer == iss), "{found:?}");
    }
    let crossed = token(&c, &curve.token(&claims(&json!({}))), NOW);
    assert!(matches!(crossed, Err(ByTokenError::Issuer { .. })), "{crossed:?}");

    // New keys take the place of all of the issuer's.
    let args = json!({ "issuer": ISSUER, "jwks": { "keys": [rsa.jwk("k3")] } });
    passes(&mut c, "set_jwt_public_signing_keys", &args);
    assert_eq!(c.json(tables::JWT_KEYS, b"k1").unwrap()[0]["issuer"], other);
    assert_eq!(c.row(tables::JWT_KEYS, b"k2"), None);
    assert_eq!(c.json(tables::JWT_KEYS, b"k3"), Some(json!([key])));
    passes(&mut c, "remove_jwt_issuer", &json!({ "issuer": ISSUER }));
    assert_eq!(c.row(tables::JWT_ISSUERS, ISSUER.as_bytes()), None);
    assert_eq!(c.row(tables::JWT_KEYS, b"k3"), None);
    assert!(c.row(tables::JWT_KEYS, b"k1").is_some());
    passes(&mut c, "remove_ca_cert_bundle", &json!({ "name": "roots" }));
    assert_eq!(c.row(tables::CA_CERT_BUNDLES, b"roots"), None);
}

#[test]
fn a_key_is_taken_from_a_certificate_too() {
    let mut c = service();
    let member = crate::consortium::Member::new(Curve::P256);
    let x5c = STANDARD.encode(member.certificate.der());
    let jwks = json!({ "keys": [{ "kty": "EC", "kid": "k1", "x5c": [x5c] }] });
    passes(&mut c, "set_jwt_issuer", &json!({ "issuer": ISSUER, "jwks": jwks }));
    let key = Key::Curve(Box::new(member.key));
    assert!(token(&c, &key.token(&claims(&json!({}))), NOW).is_ok());
}

#[test]
fn a_token_counts_in_its_time_from_its_issuer_and_for_its_audience() {
    let mut c = service();
    let key = Key::curve(Curve::P256);
    believe(&mut c, &key);
    let judge = |c: &Consortium, changes: Value, now| {
        let found = token(c, &key.token(&claims(&changes)), now);
        found.map_or_else(|error| error.to_string(), |_| "taken".to_owned())
    };
    for (now, expected) in [
        (NOW - 11, "counts from"),
        (NOW - 10, "taken"),
        (NOW + 9, "taken"),
        (NOW + 10, "counted until"),
    ] {
        assert!(judge(&c, json!({}), now).contains(expected), "{now}");
    }
    for (changes, expected) in [
        (json!({ "nbf": null }), "missing field `nbf`"),
        (json!({ "exp": null }), "missing field `exp`"),
        (json!({ "iss": null }), "missing field `iss`"),
        (json!({ "exp": "1" }), "payload of the token cannot be read"),
        (json!({ "exp": -1 }), "payload of the token cannot be read"),
        (json!({ "iss": "https://other.example" }), "is from \"https://other.example\""),
        (json!({ "tid": "x" }), "is from"),
        (json!({ "aud": 7 }), "payload of the token cannot be read"),
        (json!({ "aud": ["x"] }), "taken"),
    ] {
        let found = judge(&c, changes.clone(), NOW);
        assert!(found.contains(expected), "{changes}: {found}");
    }
    for (audience, aud, is_taken) in [
        (json!("coco"), json!("coco"), true),
        (json!("coco"), json!(["x", "coco"]), true),
        (json!(["coco", "dev"]), json!("dev"), true),
        (json!("coco"), json!("Coco"), false),
        (json!("coco"), json!([]), false),
        (json!("coco"), json!(null), false),
    ] {
        let keys = json!({ "keys": [key.jwk("k1")] });
        let args = json!({ "issuer": ISSUER, "audience": audience, "jwks": keys });
        passes(&mut c, "set_jwt_issuer", &args);
        let found = judge(&c, json!({ "aud": aud }), NOW);
        let expected = if is_taken { "taken" } else { "is not for the audience" };
        assert!(found.contains(expected), "{audience} {aud}: {found}");
    }
    // Keys whose issuer is gone, as another constitution may leave them, are nobody's.
    let keys = c.json(tables::JWT_KEYS, b"k1").unwrap();
    passes(&mut c, "remove_jwt_issuer", &json!({ "issuer": ISSUER }));
    c.set(&[(tables::JWT_KEYS, b"k1", keys)]);
    assert!(judge(&c, json!({ "aud": "coco" }), NOW).contains("is no issuer of tokens here"));
}

#[test]
fn what_is_no_token_is_refused_with_what_is_wrong() {
    let mut c = service();
    let key = Key::curve(Curve::P256);
    believe(&mut c, &key);
    let good = key.token(&claims(&json!({})));
    assert!(token(&c, &good, NOW).is_ok());
    let parts: Vec<&str> = good.split('.').collect();
    let [header, payload, signature] = parts[..] else { panic!("no token") };
    let other = Key::curve(Curve::P256).token(&claims(&json!({})));
    let with_header = |header: Value| key.sign(&header, &claims(&json!({})));
    let twice = base64(br#"{"iss":"a","iss":"b","nbf":1,"exp":2}"#);
    for (text, expected) in [
        (String::new(), "not three parts"),
        (format!("{header}.{payload}"), "not three parts"),
        (format!("{good}.x"), "not three parts"),
        (format!("{header}.{payload}."), "does not verify"),
        (format!("{header}.{payload}.{signature}="), "signature of the token is not base64url"),
        (format!("{header}=.{payload}.{signature}"), "header of the token is not base64url"),
        (format!("{header}.{payload}A.{signature}"), "does not verify"),
        (format!("{}.{payload}.{signature}", base64(b"[]")), "header of the token cannot be read"),
        (other, "does not verify"),
        (key.sign_parts(&format!("{header}.{}", base64(b"[1]"))), "payload of the token cannot"),
        (key.sign_parts(&format!("{header}.{twice}")), "duplicate field `iss`"),
        (key.sign_parts(&format!("{header}.+")), "payload of the token is not base64url"),
        (with_header(json!({ "alg": "none", "kid": "k1" })), "algorithm \"none\""),
        (with_header(json!({ "alg": "HS256", "kid": "k1" })), "algorithm \"HS256\""),
        (with_header(json!({ "alg": "RS256", "kid": "k1" })), "its key is for ES256"),
        (with_header(json!({ "alg": "ES256" })), "missing field `kid`"),
        (with_header(json!({ "alg": "ES256", "kid": "k2" })), "key with the id \"k2\""),
        (with_header(json!({ "alg": "ES256", "kid": "k1", "crit": ["b64"] })), "critical headers"),
        (with_header(json!({ "alg": "ES256", "kid": "k".repeat(3001) })), "key id of the token"),
    ] {
        let error = token(&c, &text, NOW).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
    for (bytes, is_read) in [(TOKEN_BYTES_MAX, true), (TOKEN_BYTES_MAX + 1, false)] {
        let error = token(&c, &"x".repeat(bytes), NOW).unwrap_err();
        assert_eq!(matches!(error, ByTokenError::Parts), is_read, "{error}");
        assert_eq!(matches!(error, ByTokenError::Long { .. }), !is_read, "{error}");
    }
}

#[test]
fn issuers_have_urls_and_keys_that_can_be_used() {
    let mut c = service();
    let good = Key::curve(Curve::P256).jwk("k1");
    let other_curve = Key::curve(Curve::P384).jwk("k1");
    for (changes, expected) in [
        (json!({ "issuer": "http://i" }), "issuer must be a URL"),
        (json!({ "issuer": "https://" }), "issuer must be a URL"),
        (json!({ "issuer": "https://i/?a" }), "issuer must be a URL"),
        (json!({ "issuer": "https://i/#a" }), "issuer must be a URL"),
        (json!({ "issuer": 7 }), "issuer must be a text"),
        (json!({ "auto_refresh": true }), "ca_cert_bundle_name must be there"),
        (json!({ "audience": [] }), "audience must be"),
        (json!({ "audience": [""] }), "audience must consist"),
        (json!({ "audience": vec!["a"; 17] }), "audience must be"),
        (json!({ "jwks": { "keys": [] } }), "jwks must have keys"),
        (json!({ "jwks": { "keys": vec![good.clone(); 101] } }), "jwks must have keys"),
        (json!({ "jwks": { "keys": [{ "kid": "k1" }] } }), "neither n and e"),
        (
            json!({ "jwks": { "keys": [{ "kid": "k1", "kty": "RSA", "n": "AQAB", "e": "AQAB" }] } }),
            "no",
        ),
        (
            json!({ "jwks": { "keys": [{ "kid": "k1", "kty": "oct", "k": "AQAB" }] } }),
            "neither n and e",
        ),
    ] {
        let mut args = json!({ "issuer": ISSUER });
        args.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        is_no_proposal(&mut c, "set_jwt_issuer", &args, expected);
    }
    for (changes, expected) in [
        (json!({ "ca_cert_bundle_name": "roots" }), "there is no bundle roots"),
        (json!({ "jwks": { "keys": [other_curve] } }), "where P-256 is expected"),
    ] {
        let mut args = json!({ "issuer": ISSUER });
        args.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        fails(&mut c, "set_jwt_issuer", &args, expected);
    }
    let mut foreign = good.clone();
    foreign["issuer"] = json!("https://evil.example");
    let args = json!({ "issuer": ISSUER, "jwks": { "keys": [foreign] } });
    fails(&mut c, "set_jwt_issuer", &args, "of which https://login.acme.example/tenant is no part");
    let args = json!({ "issuer": ISSUER, "jwks": { "keys": [good] } });
    fails(&mut c, "set_jwt_public_signing_keys", &args, "there is no issuer");
    is_no_proposal(
        &mut c,
        "set_ca_cert_bundle",
        &json!({ "name": "a", "cert_bundle": "x" }),
        "PEM",
    );
}
