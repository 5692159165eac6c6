//! The keys that issuers of tokens publish, taken without a vote: members said so when they said whom to believe.
//!
//! What a constitution does with `ccf.setJwtPublicSigningKeys` is done here for keys that a node has fetched, but for this: an
//! issuer may publish keys of other kinds, which are passed over, and rows that stay as they are are not written.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use coco_crypto::Sha256;
use coco_kv::Transaction;
use coco_types::Digest;
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};

use crate::{
    ErrorCode, GovernanceError,
    jwk::{Jwk, may_constrain},
    rows::{JwtIssuerRow, PAGE_ROWS_MAX, Rows},
    tables::{self, CA_CERT_BUNDLES, JWT_ISSUERS, JWT_KEYS},
};

/// Longest list of keys that is read, in bytes.
pub const ISSUER_KEYS_BYTES_MAX: usize = 256 << 10;
/// Most keys that an issuer has here: what members can give one, too.
pub const ISSUER_KEYS_MAX: usize = 100;
/// Longest id of a key, in bytes: what members can give one, too.
const KEY_ID_BYTES_MAX: usize = 1_000;

/// Keys that an issuer publishes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerKeys {
    /// As members named it.
    pub issuer: String,
    /// What it published: a JSON Web Key Set (RFC 7517, 5).
    pub jwks: String,
    /// Under which terms they were fetched.
    pub terms: IssuerTerms,
}

/// A digest of what the ledger says of an issuer: how its server is recognised, and its keys. Keys that were fetched under other
/// terms than those that hold are of nobody's wish any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IssuerTerms(Digest);

impl IssuerTerms {
    /// The terms of an issuer at a version of the tables; nothing where its keys are not to be fetched.
    ///
    /// # Errors
    /// [`GovernanceError`] when a row cannot be read.
    pub fn of(rows: &mut Rows, issuer: &str) -> Result<Option<Self>, GovernanceError> {
        let Some(row) = rows.get(JWT_ISSUERS, issuer.as_bytes())? else { return Ok(None) };
        let bundle = match bundle_of(issuer, &row)? {
            Some(name) => rows.get(CA_CERT_BUNDLES, name.as_bytes())?,
            None => None,
        };
        let mut keys = Vec::new();
        let mut after: Option<Box<[u8]>> = None;
        loop {
            let page = rows.page(JWT_KEYS, after.as_deref(), PAGE_ROWS_MAX)?;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            keys.extend(page);
        }
        Self::read(issuer, &row, bundle.as_deref(), &keys)
    }

    /// The same in a transaction.
    fn in_force(tx: &mut Transaction<'_>, issuer: &str) -> Result<Option<Self>, GovernanceError> {
        let Some(row) = tables::get(tx, JWT_ISSUERS, issuer.as_bytes())? else { return Ok(None) };
        let bundle = match bundle_of(issuer, &row)? {
            Some(name) => tables::get(tx, CA_CERT_BUNDLES, name.as_bytes())?,
            None => None,
        };
        let keys = tables::rows(tx, JWT_KEYS)?;
        Self::read(issuer, &row, bundle.as_deref(), &keys)
    }

    fn read(
        issuer: &str,
        row: &[u8],
        bundle: Option<&[u8]>,
        keys: &[tables::Row],
    ) -> Result<Option<Self>, GovernanceError> {
        let parsed: JwtIssuerRow = tables::parse(JWT_ISSUERS, issuer.as_bytes(), row)?;
        if !parsed.auto_refresh {
            return Ok(None);
        }
        let mut hash = Sha256::new();
        let mut take = |bytes: &[u8]| {
            hash.update(&(bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        };
        take(row);
        take(bundle.unwrap_or_default());
        for (id, row) in keys {
            let all: Vec<KeyRow> = tables::parse(JWT_KEYS, id, row)?;
            for key in all.into_iter().filter(|key| key.issuer == issuer) {
                take(id);
                take(key.public_key.as_bytes());
                take(key.constraint.unwrap_or_default().as_bytes());
            }
        }
        Ok(Some(Self(hash.finish())))
    }
}

/// The name of the certificates by which an issuer's server is recognised.
fn bundle_of(issuer: &str, row: &[u8]) -> Result<Option<String>, GovernanceError> {
    let row: JwtIssuerRow = tables::parse(JWT_ISSUERS, issuer.as_bytes(), row)?;
    Ok(row.ca_cert_bundle_name)
}

/// A key of a row of [`JWT_KEYS`], with all that it has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeyRow {
    public_key: String,
    pub(crate) issuer: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    constraint: Option<String>,
}

#[derive(Deserialize)]
struct KeySet<'a> {
    #[serde(borrow)]
    keys: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Named {
    kid: Option<String>,
    issuer: Option<String>,
    r#use: Option<Value>,
}

/// Leaves an issuer with exactly these keys, as far as tokens can be checked by them.
///
/// # Errors
/// [`GovernanceError`] when members do not want this issuer's keys to be fetched, the list cannot be read, or has no key that is
/// of use. The transaction is to be dropped then.
pub fn take_issuer_keys(
    tx: &mut Transaction<'_>,
    IssuerKeys { issuer, jwks, terms }: &IssuerKeys,
) -> Result<(), GovernanceError> {
    match IssuerTerms::in_force(tx, issuer)? {
        None => {
            return Err(wrong(format!("members do not want the keys of {issuer} to be fetched")));
        }
        Some(in_force) if in_force != *terms => {
            return Err(wrong(format!(
                "what holds for {issuer} changed while its keys were fetched"
            )));
        }
        Some(_) => {}
    }
    let mut published = read(issuer, jwks)?;
    for (id, row) in tables::rows(tx, JWT_KEYS)? {
        let before: Vec<KeyRow> = tables::parse(JWT_KEYS, &id, &row)?;
        let mut now: Vec<KeyRow> =
            before.iter().filter(|key| key.issuer != *issuer).cloned().collect();
        now.extend(str::from_utf8(&id).ok().and_then(|id| published.remove(id)));
        put(tx, &id, &before, &now)?;
    }
    for (id, key) in published {
        put(tx, id.as_bytes(), &[], &[key])?;
    }
    Ok(())
}

/// Whether members want the keys of an issuer to be fetched.
pub(crate) fn is_refreshed(
    tx: &mut Transaction<'_>,
    issuer: &str,
) -> Result<bool, GovernanceError> {
    let row: Option<JwtIssuerRow> = tables::read(tx, JWT_ISSUERS, issuer.as_bytes())?;
    Ok(row.is_some_and(|row| row.auto_refresh))
}

/// Whether a key may stand in a row of an issuer.
pub(crate) fn is_of_use(key: &KeyRow) -> bool {
    let spki = STANDARD.decode(&key.public_key).ok();
    let is_key = spki.is_some_and(|spki| coco_crypto::TokenKey::from_spki_der(&spki).is_ok());
    is_key
        && key.constraint.as_deref().is_none_or(|constraint| may_constrain(constraint, &key.issuer))
}

/// The keys that are of use, by their ids. Of two with one id the later counts, as in a constitution.
fn read(issuer: &str, jwks: &str) -> Result<BTreeMap<String, KeyRow>, GovernanceError> {
    if jwks.len() > ISSUER_KEYS_BYTES_MAX {
        let message =
            format!("{} bytes of keys, at most {ISSUER_KEYS_BYTES_MAX} are read", jwks.len());
        return Err(wrong(message));
    }
    let KeySet { keys } = serde_json::from_str(jwks)
        .map_err(|error| wrong(format!("what {issuer} publishes are no keys: {error}")))?;
    let mut published = BTreeMap::new();
    for key in keys.into_iter().take(ISSUER_KEYS_MAX) {
        if let Some((id, row)) = row_of(issuer, key.get()) {
            published.insert(id, row);
        }
    }
    if published.is_empty() {
        return Err(wrong(format!("none of the keys that {issuer} publishes is of use here")));
    }
    Ok(published)
}

/// One key; nothing if it is for something else, or of another kind.
fn row_of(issuer: &str, key: &str) -> Option<(String, KeyRow)> {
    let named: Named = serde_json::from_str(key).ok()?;
    let is_for_signatures = named.r#use.is_none_or(|used| used == "sig");
    let id = named.kid.filter(|id| (1..=KEY_ID_BYTES_MAX).contains(&id.len()))?;
    let public_key = STANDARD.encode(Jwk::read(key).ok()?.token_key().ok()?.spki_der());
    let row = KeyRow { public_key, issuer: issuer.to_owned(), constraint: named.issuer };
    (is_for_signatures && is_of_use(&row)).then_some((id, row))
}

/// Writes a row, if it is another now.
fn put(
    tx: &mut Transaction<'_>,
    id: &[u8],
    before: &[KeyRow],
    now: &[KeyRow],
) -> Result<(), GovernanceError> {
    if before == now {
        return Ok(());
    }
    if now.is_empty() {
        return tables::remove(tx, JWT_KEYS, id);
    }
    tables::write(tx, JWT_KEYS, id, &now)
}

fn wrong(message: impl Into<String>) -> GovernanceError {
    GovernanceError::new(ErrorCode::InvalidInput, message)
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use coco_crypto::{Curve, SigningKey};
    use coco_kv::Store;
    use serde_json::json;

    use super::*;

    const OURS: &str = "https://login.acme.example";
    const OTHER: &str = "https://login.bank.example";

    fn jwk(id: &str, curve: Curve) -> Value {
        let spki = SigningKey::generate(curve).public().spki_der().to_vec();
        let half = (spki.len() - 26) / 2;
        let (bytes, name) =
            if curve == Curve::P256 { (32, "P-256") } else { (half.min(48), "P-384") };
        let point = &spki[spki.len() - 2 * bytes..];
        let part = |part: &[u8]| URL_SAFE_NO_PAD.encode(part);
        json!({ "kty": "EC", "kid": id, "crv": name, "x": part(&point[..bytes]), "y": part(&point[bytes..]) })
    }

    /// A store in which `OURS` is fetched and `OTHER` is not, and has a key of the id `k1`.
    fn store() -> Store {
        let mut store = Store::new(tables::maps(), [0; 2]);
        let mut tx = store.reader().begin();
        for (issuer, auto_refresh) in [(OURS, true), (OTHER, false)] {
            let row = json!({ "auto_refresh": auto_refresh, "ca_cert_bundle_name": "b" });
            tables::write(&mut tx, JWT_ISSUERS, issuer.as_bytes(), &row).unwrap();
        }
        let others = row_of(OTHER, &jwk("k1", Curve::P256).to_string()).unwrap().1;
        tables::write(&mut tx, JWT_KEYS, b"k1", &[others]).unwrap();
        commit(&mut store, tx);
        store
    }

    fn commit(store: &mut Store, tx: Transaction<'_>) -> usize {
        let changes = tx.finish();
        let rows = changes.write_set().iter().count();
        if rows > 0 {
            store.commit(store.version().next(), changes).unwrap();
        }
        rows
    }

    fn take(store: &mut Store, issuer: &str, keys: &Value) -> Result<usize, GovernanceError> {
        let mut rows = Rows::as_of(&store.reader().head());
        let terms = IssuerTerms::of(&mut rows, issuer)?.unwrap_or(IssuerTerms(Digest::ZERO));
        take_under(store, issuer, keys, terms)
    }

    fn take_under(
        store: &mut Store,
        issuer: &str,
        keys: &Value,
        terms: IssuerTerms,
    ) -> Result<usize, GovernanceError> {
        let mut tx = store.reader().begin();
        let keys = IssuerKeys {
            issuer: issuer.to_owned(),
            jwks: json!({ "keys": keys }).to_string(),
            terms,
        };
        take_issuer_keys(&mut tx, &keys)?;
        Ok(commit(store, tx))
    }

    fn issuers_of(store: &Store, id: &str) -> Vec<String> {
        let mut tx = store.reader().begin();
        let row: Option<Vec<KeyRow>> = tables::read(&mut tx, JWT_KEYS, id.as_bytes()).unwrap();
        row.unwrap_or_default().into_iter().map(|key| key.issuer).collect()
    }

    #[test]
    fn an_issuer_has_the_keys_that_it_publishes_and_no_others() {
        let mut store = store();
        let [one, two] = ["k1", "k2"].map(|id| jwk(id, Curve::P256));
        assert_eq!(take(&mut store, OURS, &json!([one, two])).unwrap(), 2);
        assert_eq!(issuers_of(&store, "k1"), [OTHER, OURS]);
        assert_eq!(issuers_of(&store, "k2"), [OURS]);
        // What stays the same is not written.
        assert_eq!(take(&mut store, OURS, &json!([two, one])).unwrap(), 0);
        let three = jwk("k3", Curve::P256);
        assert_eq!(take(&mut store, OURS, &json!([two, three])).unwrap(), 2);
        assert_eq!(issuers_of(&store, "k1"), [OTHER]);
        assert_eq!(take(&mut store, OURS, &json!([three])).unwrap(), 1);
        assert_eq!(issuers_of(&store, "k2"), [] as [&str; 0]);
    }

    #[test]
    fn keys_of_other_kinds_are_passed_over_unless_nothing_is_left() {
        let mut store = store();
        let good = jwk("k1", Curve::P256);
        let mut encrypts = jwk("k2", Curve::P256);
        encrypts["use"] = "enc".into();
        let mut foreign = jwk("k3", Curve::P256);
        foreign["issuer"] = OTHER.into();
        let others = [
            jwk("k4", Curve::P384),
            encrypts,
            foreign,
            json!({ "kty": "OKP", "kid": "k5" }),
            json!({}),
            json!(7),
        ];
        let all: Vec<Value> = others.iter().cloned().chain([good]).collect();
        assert_eq!(take(&mut store, OURS, &json!(all)).unwrap(), 1);
        for id in ["k2", "k3", "k4", "k5"] {
            assert_eq!(issuers_of(&store, id), [] as [&str; 0], "{id}");
        }
        for none in [json!(others), json!([]), json!({})] {
            assert!(take(&mut store, OURS, &none).is_err(), "{none}");
        }
        assert_eq!(issuers_of(&store, "k1"), [OTHER, OURS], "nothing is taken away for that");
        let long = json!(["x".repeat(ISSUER_KEYS_BYTES_MAX)]);
        assert!(take(&mut store, OURS, &long).unwrap_err().to_string().contains("at most"));
    }

    #[test]
    fn what_was_fetched_under_other_terms_is_not_taken() {
        let mut store = store();
        let keys = json!([jwk("k9", Curve::P256)]);
        let terms = |store: &Store| {
            IssuerTerms::of(&mut Rows::as_of(&store.reader().head()), OURS).unwrap().unwrap()
        };
        let before = terms(&store);
        let mut tx = store.reader().begin();
        tables::write(&mut tx, CA_CERT_BUNDLES, b"b", &"other certificates").unwrap();
        commit(&mut store, tx);
        let refused = take_under(&mut store, OURS, &keys, before).unwrap_err();
        assert!(refused.to_string().contains("changed while"), "{refused}");
        // Keys that members gave meanwhile stay, too.
        let before = terms(&store);
        assert_eq!(take(&mut store, OURS, &json!([jwk("k8", Curve::P256)])).unwrap(), 1);
        assert!(take_under(&mut store, OURS, &keys, before).is_err());
        assert_eq!(take(&mut store, OURS, &keys).unwrap(), 2);
    }

    #[test]
    fn only_those_are_taken_that_members_want_to_be_fetched() {
        let mut store = store();
        let keys = json!([jwk("k9", Curve::P256)]);
        for issuer in [OTHER, "https://login.corp.example"] {
            let refused = take(&mut store, issuer, &keys).unwrap_err();
            assert!(refused.to_string().contains("do not want"), "{refused}");
        }
    }
}
