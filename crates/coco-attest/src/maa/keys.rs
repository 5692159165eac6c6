//! The key of a token's issuer, as it comes with a token: a set of keys in JSON (RFC 7517) with that one key, in one form.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use coco_crypto::{TokenKey, certificate_key};
use serde::Deserialize;

use super::token::Token;
use crate::{error::VerifyError, evidence::EndorsementKind, jwk::rsa_key};

/// Longest set of keys that is read, in bytes. Those of Azure Attestation have some ten keys with their certificates.
const PUBLISHED_BYTES_MAX: usize = 256 << 10;
/// Longest set that comes with a token, in bytes: of one key of 4096 bits.
const KEY_SET_BYTES_MAX: usize = 2 << 10;

/// The one key.
pub(super) struct Key {
    pub(super) id: String,
    pub(super) key: TokenKey,
}

impl Key {
    /// Reads the set of one key. No signature covers it, so it may only be what it is.
    pub(super) fn read(set: &[u8]) -> Result<Self, VerifyError> {
        let form = |what| VerifyError::EndorsementForm { kind: EndorsementKind::KeySet, what };
        if set.len() > KEY_SET_BYTES_MAX {
            return Err(form("it is too long"));
        }
        let read: Set = serde_json::from_slice(set).map_err(|_| form("it is no set of keys"))?;
        let [key] = read.keys.as_slice() else { return Err(form("it has not one key")) };
        let id = key.kid.clone();
        let key = key.key().ok_or(form("the key is not of RSA, or cannot be used"))?;
        if encode(&id, &key).as_deref() != Some(set) {
            return Err(form("it is not in the form that is read here"));
        }
        Ok(Self { id, key })
    }
}

/// The key of a token's issuer that comes with it, as [`EndorsementKind::KeySet`], out of all that its issuer publishes: for Azure
/// Attestation those at `/certs`. It is the key with the id that the token names. Nothing when there is none, or the bytes are no set of
/// keys and no token.
#[must_use]
pub fn maa_key_set(published: &[u8], token: &[u8]) -> Option<Vec<u8>> {
    if published.len() > PUBLISHED_BYTES_MAX {
        return None;
    }
    let id = Token::read(token).ok()?.key_id;
    let set: Set = serde_json::from_slice(published).ok()?;
    let key = set.keys.iter().find(|key| key.kid == id)?.key()?;
    encode(&id, &key)
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<Jwk>,
}

/// A key as its issuer writes it: as numbers, or in certificates, of which the first is its own.
#[derive(Deserialize)]
struct Jwk {
    kid: String,
    kty: String,
    #[serde(default)]
    n: String,
    #[serde(default)]
    e: String,
    #[serde(default)]
    x5c: Vec<String>,
}

impl Jwk {
    fn key(&self) -> Option<TokenKey> {
        if self.kty != "RSA" {
            return None;
        }
        match self.x5c.first() {
            Some(certificate) if self.n.is_empty() => {
                let der = STANDARD.decode(certificate).ok()?;
                TokenKey::from_spki_der(&certificate_key(&der).ok()?).ok()
            }
            _ => rsa_key(&self.n, &self.e),
        }
    }
}

/// The one form of a set of one key: its members in the order of their names, and no space.
fn encode(id: &str, key: &TokenKey) -> Option<Vec<u8>> {
    let [n, e] = key.rsa_components()?.map(|number| URL_SAFE_NO_PAD.encode(number));
    let id = serde_json::Value::from(id);
    Some(format!(r#"{{"keys":[{{"e":"{e}","kid":{id},"kty":"RSA","n":"{n}"}}]}}"#).into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7515, appendix A.2.
    const MODULUS: &str = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SF\
         d2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo\
         7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkM\
         Ls91kzk2PAcDTW9gb54h4FRWyuXpoQ";

    /// Made by OpenSSL: see the README beside it.
    const CERTIFICATE: &str = include_str!("../../../coco-crypto/tests/vectors/chain/rsa_root.pem");

    fn set(id: &str, n: &str) -> String {
        format!(r#"{{"keys":[{{"e":"AQAB","kid":"{id}","kty":"RSA","n":"{n}"}}]}}"#)
    }

    #[test]
    fn a_set_is_read_in_one_form_only() {
        let good = set("a", MODULUS);
        let read = Key::read(good.as_bytes()).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((&*read.id, read.key.algorithm()), ("a", "RS256"));
        for other in [
            good.replace("\"kty\"", " \"kty\""),
            good.replace("\"e\"", "\"use\":\"sig\",\"e\""),
            good.replace("AQAB", "AAEAAQ"),
            good.replace("\"a\"", "\"\\u0061\""),
            good.replace("RSA", "EC"),
            good.clone() + "\n",
            format!(r#"{{"keys":[{}]}}"#, [MODULUS, MODULUS].map(|n| set("a", n)).join(",")),
            r#"{"keys":[]}"#.to_owned(),
            "{}".to_owned(),
            set("a", "AQAB"),
            " ".repeat(KEY_SET_BYTES_MAX + 1),
        ] {
            assert!(Key::read(other.as_bytes()).is_err(), "{other}");
        }
    }

    #[test]
    fn the_key_of_a_token_is_found_by_its_id() {
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256","kid":"b","typ":"JWT"}"#);
        let token = format!("{header}.e30.AA");
        let key = |id: &str, rest: &str| {
            format!(r#"{{"kid":"{id}","kty":"RSA","use":"sig","e":"AQAB","n":"{MODULUS}"{rest}}}"#)
        };
        let published =
            format!(r#"{{"keys":[{},{}]}}"#, key("a", ""), key("b", r#","x5c":["AA"]"#));
        let found = maa_key_set(published.as_bytes(), token.as_bytes());
        assert_eq!(found, Some(set("b", MODULUS).into_bytes()));
        let none = format!(r#"{{"keys":[{}]}}"#, key("a", ""));
        assert_eq!(maa_key_set(none.as_bytes(), token.as_bytes()), None);
        assert_eq!(maa_key_set(published.as_bytes(), b"token"), None);
        assert_eq!(maa_key_set(b"{}", token.as_bytes()), None);
        // In a certificate, and nowhere else.
        let der = coco_crypto::MakerCertificate::from_pem(CERTIFICATE).unwrap();
        let written = STANDARD.encode(der.der());
        let published = format!(r#"{{"keys":[{{"kid":"b","kty":"RSA","x5c":["{written}"]}}]}}"#);
        let found = maa_key_set(published.as_bytes(), token.as_bytes()).unwrap();
        let read = Key::read(&found).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(read.key.spki_der(), der.rsa_key().unwrap().spki_der());
    }
}
