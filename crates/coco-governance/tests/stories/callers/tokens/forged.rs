//! Tokens that somebody made who wants to be taken for another, in every way that is known to have worked somewhere.

use coco_crypto::{encode_pem, hmac_sha256};

use super::*;

/// The order of P-256.
const ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6,
    0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

/// Header and payload as they are in a token, of any bytes.
fn parts(header: &str, payload: &str) -> String {
    format!("{}.{}", base64(header.as_bytes()), base64(payload.as_bytes()))
}

fn with_signature(signed: &str, signature: &[u8]) -> String {
    format!("{signed}.{}", base64(signature))
}

#[track_caller]
fn refused(c: &Consortium, text: &str, expected: &str) {
    let found = token(c, text, NOW);
    let error = found.map_or_else(|error| error.to_string(), |_| "taken".to_owned());
    assert!(error.contains(expected), "{text}: {error}");
}

/// A service that believes an issuer, its key, and what a good token says.
fn believing(key: Key) -> (Consortium, Key, String) {
    let mut c = service();
    believe(&mut c, &key);
    let said = claims(&json!({})).to_string();
    (c, key, said)
}

#[test]
fn a_key_that_the_token_brings_along_is_not_looked_at() {
    let (c, key, said) = believing(Key::curve(Curve::P256));
    let own = Key::curve(Curve::P256);
    let x5c = STANDARD.encode(crate::consortium::Member::new(Curve::P256).certificate.der());
    for more in [
        json!({ "jku": "https://evil.example/jwks.json" }),
        json!({ "jku": "file:///etc/passwd" }),
        json!({ "x5u": "http://169.254.169.254/latest/meta-data" }),
        json!({ "jwk": own.jwk("k1") }),
        json!({ "x5c": [x5c], "x5t": "x", "x5t#S256": "x" }),
        json!({ "iss": ISSUER, "zip": "DEF", "cty": "JWT", "b64": false }),
    ] {
        let mut header = json!({ "alg": "ES256", "kid": "k1" });
        header.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let signed = parts(&header.to_string(), &said);
        refused(&c, &own.sign_parts(&signed), "does not verify");
        // Nor does it harm, under the right one.
        assert!(token(&c, &key.sign_parts(&signed), NOW).is_ok(), "{more}");
    }
}

#[test]
fn the_id_of_a_key_is_looked_up_and_nothing_more() {
    let (c, key, said) = believing(Key::curve(Curve::P256));
    for id in [
        "",
        "K1",
        " k1",
        "k1 ",
        "k1\0",
        "*",
        "k",
        "../k1",
        "./k1",
        "../../../../dev/null",
        "/proc/self/environ",
        "k1' OR '1'='1",
        "k1'; DROP TABLE keys; --",
        "k1\" UNION SELECT 'AAAA",
        "k1|curl evil.example",
        "k\u{0131}1",
    ] {
        let header = json!({ "alg": "ES256", "kid": id }).to_string();
        refused(&c, &key.sign_parts(&parts(&header, &said)), "no issuer of tokens has a key");
    }
    for id in ["null", "1", "[\"k1\"]", "{\"a\":\"k1\"}", "true"] {
        let header = format!("{{\"alg\":\"ES256\",\"kid\":{id}}}");
        refused(&c, &key.sign_parts(&parts(&header, &said)), "header of the token cannot be read");
    }
}

/// Whoever takes the algorithm from the token checks a code by a key that everybody has.
#[test]
fn a_public_key_is_no_secret_to_authenticate_with() {
    let curve = Key::curve(Curve::P256);
    let Key::Curve(pair) = &curve else { panic!("a curve") };
    let spki = pair.public().spki_der().to_vec();
    let rsa = include_str!("../../../../../coco-crypto/tests/vectors/rsa2048.public.pem");
    let rsa_spki = decode_pem("PUBLIC KEY", rsa).unwrap().unwrap().expose().to_vec();
    for (key, spki) in [(curve, spki), (Key::rsa(), rsa_spki)] {
        let (c, key, said) = believing(key);
        let pem = encode_pem("PUBLIC KEY", &spki).expose().to_vec();
        let trimmed = pem.trim_ascii().to_vec();
        let row = STANDARD.encode(&spki).into_bytes();
        let jwk = key.jwk("k1").to_string().into_bytes();
        for secret in [spki, pem, trimmed, row, jwk, Vec::new()] {
            for (named, expected) in
                [("HS256", "algorithm \"HS256\""), (key.algorithm(), "does not verify")]
            {
                let header = json!({ "alg": named, "kid": "k1" }).to_string();
                let signed = parts(&header, &said);
                let code = hmac_sha256(&secret, signed.as_bytes());
                refused(&c, &with_signature(&signed, &code.0), expected);
            }
        }
    }
}

#[test]
fn other_algorithms_are_refused_however_they_are_written() {
    let (c, key, said) = believing(Key::curve(Curve::P256));
    for named in [
        "None", "nOnE", "", "es256", "ES256 ", "ES256\0", "ES256K", "ES384", "ES512", "RS384",
        "RS512", "PS256", "HS384", "EdDSA",
    ] {
        let signed = parts(&json!({ "alg": named, "kid": "k1" }).to_string(), &said);
        refused(&c, &key.sign_parts(&signed), "is not RS256 or ES256");
        refused(&c, &with_signature(&signed, b""), "is not RS256 or ES256");
    }
    for named in ["null", "7", "[\"ES256\"]", "{}"] {
        let header = format!("{{\"alg\":{named},\"kid\":\"k1\"}}");
        refused(&c, &key.sign_parts(&parts(&header, &said)), "header of the token cannot be read");
    }
    refused(&c, &key.sign_parts(&parts("{\"kid\":\"k1\"}", &said)), "missing field `alg`");
}

#[test]
fn what_is_no_signature_is_refused() {
    let (c, key, said) = believing(Key::curve(Curve::P256));
    let Key::Curve(pair) = &key else { panic!("a curve") };
    let signed = parts("{\"alg\":\"ES256\",\"kid\":\"k1\"}", &said);
    let good = pair.sign_fixed(signed.as_bytes());
    assert!(token(&c, &with_signature(&signed, &good), NOW).is_ok());
    let (r, s) = good.split_at(32);
    let (zero, one) = ([0_u8; 32], std::array::from_fn::<u8, 32, _>(|i| u8::from(i == 31)));
    for signature in [
        [zero, zero].concat(),
        [one, one].concat(),
        [ORDER, ORDER].concat(),
        [&ORDER[..], s].concat(),
        [r, &ORDER[..]].concat(),
        [r, &zero[..]].concat(),
        [&zero[..], s].concat(),
        [s, r].concat(),
        [[0xff_u8; 32], [0xff; 32]].concat(),
        pair.sign_der(signed.as_bytes()),
        good[..63].to_vec(),
        [&good[..], &[0][..]].concat(),
        [&[0][..], &good[..]].concat(),
        [&good[..], &good[..]].concat(),
        r.to_vec(),
        vec![0],
        Vec::new(),
    ] {
        refused(&c, &with_signature(&signed, &signature), "does not verify");
    }
    // Of another text with the same end, and of the payload alone.
    let other = parts("{\"alg\":\"ES256\",\"kid\":\"k1\" }", &said);
    refused(&c, &with_signature(&other, &good), "does not verify");
    let payload = signed.split_once('.').unwrap().1;
    let of_payload = pair.sign_fixed(payload.as_bytes());
    refused(&c, &with_signature(&signed, &of_payload), "does not verify");

    let (c, key, said) = believing(Key::rsa());
    let signed = parts("{\"alg\":\"RS256\",\"kid\":\"k1\"}", &said);
    assert!(token(&c, &key.sign_parts(&signed), NOW).is_ok());
    for signature in [Vec::new(), vec![0; 256], vec![1; 256], vec![0xff; 256], vec![0; 255]] {
        refused(&c, &with_signature(&signed, &signature), "does not verify");
    }
}

/// One reader takes the first and another the last of two.
#[test]
fn nothing_that_is_looked_at_stands_twice() {
    let (c, key, said) = believing(Key::curve(Curve::P256));
    for (header, field) in [
        ("{\"alg\":\"none\",\"alg\":\"ES256\",\"kid\":\"k1\"}", "alg"),
        ("{\"alg\":\"ES256\",\"alg\":\"ES256\",\"kid\":\"k1\"}", "alg"),
        ("{\"alg\":\"ES256\",\"kid\":\"k2\",\"kid\":\"k1\"}", "kid"),
        ("{\"alg\":\"ES256\",\"kid\":\"k1\",\"k\\u0069d\":\"k1\"}", "kid"),
        ("{\"alg\":\"ES256\",\"kid\":\"k1\",\"crit\":[\"a\"],\"crit\":null}", "crit"),
    ] {
        let expected = format!("duplicate field `{field}`");
        refused(&c, &key.sign_parts(&parts(header, &said)), &expected);
    }
    let header = "{\"alg\":\"ES256\",\"kid\":\"k1\"}";
    for (field, value) in [
        ("iss", "\"https://evil.example\""),
        ("nbf", "1"),
        ("exp", "9999999999"),
        ("aud", "\"a\",\"aud\":\"b\""),
        ("tid", "\"a\",\"tid\":\"b\""),
    ] {
        let doubled = said.replacen('{', &format!("{{\"{field}\":{value},"), 1);
        let expected = format!("duplicate field `{field}`");
        refused(&c, &key.sign_parts(&parts(header, &doubled)), &expected);
    }
}

#[test]
fn a_time_is_a_whole_number_of_seconds() {
    let (c, key, said) = believing(Key::curve(Curve::P256));
    let header = "{\"alg\":\"ES256\",\"kid\":\"k1\"}";
    for (field, at) in [("exp", NOW + 10), ("nbf", NOW - 10)] {
        let good = format!("\"{field}\":{at}");
        assert!(said.contains(&good), "{said}");
        for value in [
            "1e12",
            "1700000510.5",
            "1700000510.0",
            "-1",
            "-0.0",
            "\"1700000510\"",
            "\"\"",
            "null",
            "true",
            "[1700000510]",
            "{}",
            "18446744073709551616",
        ] {
            let payload = said.replace(&good, &format!("\"{field}\":{value}"));
            let text = key.sign_parts(&parts(header, &payload));
            refused(&c, &text, "payload of the token cannot be read");
        }
    }
    let at = |field: &str, value: u64| key.token(&claims(&json!({ field: value })));
    refused(&c, &at("exp", 0), "counted until");
    refused(&c, &at("nbf", u64::MAX), "counts from");
    assert!(token(&c, &at("exp", u64::MAX), NOW).is_ok());
}

#[test]
fn other_texts_are_no_tokens() {
    let (c, key, said) = believing(Key::curve(Curve::P256));
    let header = "{\"alg\":\"ES256\",\"kid\":\"k1\"}";
    let good = key.sign_parts(&parts(header, &said));
    let nested = format!("{}{}", "[".repeat(1_000), "]".repeat(1_000));
    let with_nested = |object: &str| object.replacen('{', &format!("{{\"a\":{nested},"), 1);
    for (text, expected) in [
        (format!("Bearer {good}"), "base64url"),
        (format!(" {good}"), "base64url"),
        (format!("{good}\n"), "base64url"),
        (good.replacen('.', " .", 1), "base64url"),
        (good.replace('.', ".."), "three parts"),
        (format!(".{good}"), "three parts"),
        ("..".to_owned(), "header of the token cannot be read"),
        ("a.b.c.d.e".to_owned(), "three parts"),
        (key.sign_parts(&parts("\u{feff}{}", &said)), "header of the token cannot be read"),
        (key.sign_parts(&parts(&format!("{header}x"), &said)), "header of the token cannot"),
        (key.sign_parts(&parts("\"ES256\"", &said)), "header of the token cannot be read"),
        (key.sign_parts(&parts(header, &nested)), "payload of the token cannot be read"),
        (
            key.sign_parts(&parts(header, &with_nested(&said))),
            "payload of the token cannot be read",
        ),
        (key.sign_parts(&parts(header, &format!("{said}{said}"))), "payload of the token cannot"),
        (key.sign_parts(&parts(header, "")), "payload of the token cannot be read"),
    ] {
        refused(&c, &text, expected);
    }
    // What nobody looks at is passed over, however deep it is.
    let header = with_nested(header);
    assert!(token(&c, &key.sign_parts(&parts(&header, &said)), NOW).is_ok());
    let own = Key::curve(Curve::P256);
    refused(&c, &own.sign_parts(&parts(&header, &said)), "does not verify");
}
