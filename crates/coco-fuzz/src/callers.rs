//! What callers show, and the keys that issuers of tokens publish.
//!
//! The one organisation has for its authority the service of the fixtures, whose key is gone: it has issued the certificate of
//! its node, and its own.

use std::sync::LazyLock;

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use coco_crypto::{ClientCertificate, Curve, SigningKey, TokenKey, UserAuthority};
use coco_governance::{
    ISSUER_KEYS_MAX, IssuerKeys, IssuerTerms,
    caller::{Caller, by_certificate, by_token},
    rows::Rows,
    tables::{self, JWT_ISSUERS, JWT_KEYS, ORGANISATIONS},
};
use coco_kv::{MapName, Store, WriteSet};
use coco_types::Seqno;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::ledger::{node, service};

const ISSUER: &str = "https://login.acme.example";
/// When everything is looked at, in seconds since 1970: in the year 2027.
const NOW: u64 = 1_800_000_000;

/// The issuer's key of the id `k1`.
static KEY: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::generate(Curve::P256));

static STORE: LazyLock<Store> = LazyLock::new(|| {
    let mut store = Store::new(tables::maps(), [1, 2]);
    let key = STANDARD.encode(KEY.public().spki_der());
    let rows = [
        (ORGANISATIONS, "acme", json!({ "cert": service().pem() })),
        (JWT_ISSUERS, ISSUER, json!({ "issuer": ISSUER, "auto_refresh": true })),
        (JWT_KEYS, "k1", json!([{ "public_key": key, "issuer": ISSUER }])),
    ];
    let mut writes = WriteSet::new();
    for (table, key, row) in rows {
        let row = serde_json::to_vec(&row).expect("it is JSON");
        writes.insert(&MapName::from_static(table), key.as_bytes(), row);
    }
    store.apply(Seqno(1), &writes).expect("these are tables");
    store
});

fn rows() -> Rows {
    Rows::as_of(&STORE.reader().head())
}

/// A certificate in TLS; and a text with the certificate of an authority, as members hand it in.
pub(crate) fn client_certificate(data: &[u8]) {
    if let Ok(text) = str::from_utf8(data)
        && let Ok(authority) = UserAuthority::from_pem(text)
    {
        assert!(text.contains("BEGIN CERTIFICATE"));
        let _period = (authority.validity(), authority.digest());
    }
    if let Ok(caller) = by_certificate(&mut rows(), data, NOW) {
        let issued = |one: &'static [u8]| {
            ClientCertificate::read(one).expect("a certificate").signed_digest()
        };
        let Caller::OrganisationUser { id, .. } = caller else { panic!("nobody else is known") };
        assert!([node().der(), service().der()].map(issued).contains(&id), "a forgery counts");
    }
}

/// What counts of a header. In the rest even text may be broken that is JSON otherwise.
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: String,
    crit: Option<Value>,
}

/// A token; or a header and claims, one in a line, which the issuer signs.
pub(crate) fn bearer_token(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    assert!(by_token(&mut rows(), text, NOW).is_err(), "nobody has signed this");
    let Some((header, claims)) = text.split_once('\n') else { return };
    let Ok(caller) = by_token(&mut rows(), &signed(header, claims), NOW) else { return };
    let header: Header = serde_json::from_str(header).expect("it was read");
    assert!(header.alg == "ES256" && header.kid == "k1" && header.crit.is_none());
    let Caller::Bearer { issuer, claims: read } = caller else { panic!("it is a token's") };
    assert!(issuer == ISSUER && read["iss"] == ISSUER);
    let time = |name: &str| read[name].as_u64().expect("it was read as one");
    assert!((time("nbf")..time("exp")).contains(&NOW));
    assert_eq!(serde_json::from_str::<Map<String, Value>>(claims).ok(), Some(read));
}

/// A token that the issuer signs.
fn signed(header: &str, claims: &str) -> String {
    let signed = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part)).join(".");
    let signature = URL_SAFE_NO_PAD.encode(KEY.sign_fixed(signed.as_bytes()));
    format!("{signed}.{signature}")
}

/// What an issuer publishes.
pub(crate) fn issuer_keys(data: &[u8]) {
    static TERMS: LazyLock<IssuerTerms> = LazyLock::new(|| {
        let terms = IssuerTerms::of(&mut rows(), ISSUER).expect("rows are JSON");
        terms.expect("its keys are to be fetched")
    });
    let Ok(jwks) = String::from_utf8(data.to_vec()) else { return };
    let keys = IssuerKeys { issuer: ISSUER.to_owned(), jwks, terms: *TERMS };
    let mut tx = STORE.reader().begin();
    if coco_governance::take_issuer_keys(&mut tx, &keys).is_err() {
        return;
    }
    let changes = tx.finish();
    let mut published = 0;
    for (table, id, row) in changes.write_set().iter() {
        assert_eq!(table.as_str(), JWT_KEYS, "only keys are written");
        let Some(row) = row else {
            assert_eq!(id, b"k1", "no other key was there");
            continue;
        };
        let row: Value = serde_json::from_slice(row).expect("it is JSON");
        let [key] = row.as_array().expect("keys").as_slice() else { panic!("one key: {row}") };
        assert_eq!(key["issuer"], ISSUER);
        let spki = STANDARD.decode(key["public_key"].as_str().expect("text")).expect("base64");
        TokenKey::from_spki_der(&spki).expect("tokens can be checked by it");
        published += 1;
    }
    assert!(published <= ISSUER_KEYS_MAX);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_with_good_claims_is_believed() {
        let good = &crate::hostile::bearer_token()[0];
        let (header, claims) = str::from_utf8(good).unwrap().split_once('\n').unwrap();
        let caller = by_token(&mut rows(), &signed(header, claims), NOW);
        assert!(matches!(caller, Ok(Caller::Bearer { .. })), "{caller:?}");
    }

    #[test]
    fn the_organisations_user_and_an_issuers_keys_are_taken() {
        let known = by_certificate(&mut rows(), node().der(), NOW);
        assert!(matches!(known, Ok(Caller::OrganisationUser { .. })), "{known:?}");
        let terms = IssuerTerms::of(&mut rows(), ISSUER).unwrap().unwrap();
        let taken = crate::hostile::issuer_keys().into_iter().filter(|jwks| {
            let jwks = String::from_utf8(jwks.clone()).unwrap();
            let keys = IssuerKeys { issuer: ISSUER.to_owned(), jwks, terms };
            coco_governance::take_issuer_keys(&mut STORE.reader().begin(), &keys).is_ok()
        });
        assert!(taken.count() >= 3);
    }
}
