//! By a token: a JSON web token (RFC 7519) in the compact form of RFC 7515, under RS256 or ES256.
//!
//! What it says is looked at only once a key has signed it that members accept for the id that it names. A key checks the
//! one algorithm that is its own; what the token names must be the same.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use coco_crypto::{TokenKey, TokenKeyError};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use thiserror::Error;

use super::Caller;
use crate::{
    GovernanceError,
    jwk::{host, path},
    rows::{Audience, JwtIssuerRow, JwtKeyRow, Rows},
    tables::{JWT_ISSUERS, JWT_KEYS},
};

/// Longest token, in bytes. Those of large issuers have two thousand.
pub const TOKEN_BYTES_MAX: usize = 8 << 10;

/// Most keys of one id, each of another issuer, that a token is checked by.
pub const KEYS_OF_AN_ID_MAX: usize = 16;

/// Most characters of a token's own words that an error repeats.
const SHOWN_CHARS_MAX: usize = 80;

/// Longest id of a key, in bytes: a thousand characters, as our own constitution has it, and shorter than any key of a row
/// may be.
const KEY_ID_BYTES_MAX: usize = 3000;

/// Why nobody is recognised by a token.
#[derive(Debug, Error)]
pub enum ByTokenError {
    /// Too long.
    #[error("the token has {found} bytes, at most {TOKEN_BYTES_MAX} are read")]
    Long {
        /// Bytes given.
        found: usize,
    },
    /// Not three parts with dots between them.
    #[error("the token has not three parts")]
    Parts,
    /// A part is not base64url without padding.
    #[error("the {0} of the token is not base64url without padding")]
    Base64(&'static str),
    /// A part is not the JSON that it should be, or lacks something.
    #[error("the {part} of the token cannot be read: {source}")]
    Json {
        /// Which.
        part: &'static str,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// It says that nobody may believe it who does not know another header.
    #[error("the token names critical headers, and none is known here")]
    Critical,
    /// The id of the key is longer than any.
    #[error("the key id of the token has {found} bytes")]
    LongKeyId {
        /// Bytes given.
        found: usize,
    },
    /// Another algorithm than the two.
    #[error("the algorithm {0:?} of the token is not RS256 or ES256")]
    Algorithm(String),
    /// The key of that id is for the other algorithm.
    #[error("the token names {named}, and its key is for {expected}")]
    OtherAlgorithm {
        /// By the token.
        named: String,
        /// By the key.
        expected: &'static str,
    },
    /// No issuer has a key of that id.
    #[error("no issuer of tokens has a key with the id {0:?}")]
    UnknownKey(String),
    /// The row of the key holds none that can be used.
    #[error("the key with the id {id:?} cannot be used: {source}")]
    KeyUnusable {
        /// As the token says.
        id: String,
        /// What is wrong.
        source: TokenKeyError,
    },
    /// Not signed by the key that it names.
    #[error("the signature of the token does not verify")]
    Signature,
    /// It counts later.
    #[error("the token counts from {nbf} on, and it is {now}")]
    NotYetValid {
        /// From when on, in seconds since 1970.
        nbf: u64,
        /// In seconds since 1970.
        now: u64,
    },
    /// It counts no more.
    #[error("the token counted until {exp}, and it is {now}")]
    Expired {
        /// Until when, in seconds since 1970.
        exp: u64,
        /// In seconds since 1970.
        now: u64,
    },
    /// From another issuer than the key's.
    #[error("the token is from {found:?}, and its key is for tokens from {expected:?}")]
    Issuer {
        /// What the token says.
        found: String,
        /// What members said.
        expected: String,
    },
    /// The key's issuer is not, or no longer, one that members believe.
    #[error("{0:?} is no issuer of tokens here")]
    UnknownIssuer(String),
    /// For somebody else.
    #[error("the token is not for the audience that members have set for {issuer:?}")]
    Audience {
        /// Whose token.
        issuer: String,
    },
    /// The tables cannot be read.
    #[error(transparent)]
    Tables(#[from] GovernanceError),
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: String,
    #[serde(default)]
    crit: Option<Value>,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    nbf: u64,
    exp: u64,
    #[serde(default)]
    aud: Option<Audience>,
    /// The tenant, in tokens of Microsoft Entra.
    #[serde(default)]
    tid: Option<String>,
}

/// Whom a token speaks of, at the time `now` in seconds since 1970.
///
/// # Errors
/// [`ByTokenError`] with the first thing that is wrong; where several issuers have a key of the same id, with what is wrong
/// with the last of them.
pub fn by_token(rows: &mut Rows, token: &str, now: u64) -> Result<Caller, ByTokenError> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(ByTokenError::Long { found: token.len() });
    }
    let (signed, signature) = token.rsplit_once('.').ok_or(ByTokenError::Parts)?;
    let (header, payload) = signed.split_once('.').ok_or(ByTokenError::Parts)?;
    if payload.contains('.') {
        return Err(ByTokenError::Parts);
    }
    let header: Header = json("header", &bytes("header", header)?)?;
    let signature = bytes("signature", signature)?;
    if header.crit.is_some() {
        return Err(ByTokenError::Critical);
    }
    if !["RS256", "ES256"].contains(&&*header.alg) {
        return Err(ByTokenError::Algorithm(shown(&header.alg)));
    }
    if header.kid.len() > KEY_ID_BYTES_MAX {
        return Err(ByTokenError::LongKeyId { found: header.kid.len() });
    }
    let keys: Option<Vec<JwtKeyRow>> = rows.read(JWT_KEYS, header.kid.as_bytes())?;
    let mut refused = ByTokenError::UnknownKey(shown(&header.kid));
    for key in keys.unwrap_or_default().into_iter().take(KEYS_OF_AN_ID_MAX) {
        match check_signature(&header, &key, signed, &signature)
            .and_then(|()| check_claims(rows, &key, payload, now))
        {
            Ok(claims) => return Ok(Caller::Bearer { issuer: key.issuer, claims }),
            Err(error) => refused = error,
        }
    }
    Err(refused)
}

fn check_signature(
    header: &Header,
    key: &JwtKeyRow,
    signed: &str,
    signature: &[u8],
) -> Result<(), ByTokenError> {
    let spki = STANDARD.decode(&key.public_key).map_err(|_| TokenKeyError::Form);
    let key = spki.and_then(|spki| TokenKey::from_spki_der(&spki));
    let key = key.map_err(|source| ByTokenError::KeyUnusable { id: shown(&header.kid), source })?;
    let expected = key.algorithm();
    if header.alg != expected {
        return Err(ByTokenError::OtherAlgorithm { named: header.alg.clone(), expected });
    }
    key.verify(signed.as_bytes(), signature).map_err(|_| ByTokenError::Signature)
}

/// What a signed token says, if it counts now, and here.
fn check_claims(
    rows: &mut Rows,
    key: &JwtKeyRow,
    payload: &str,
    now: u64,
) -> Result<Map<String, Value>, ByTokenError> {
    let payload = bytes("payload", payload)?;
    // Whatever is looked at must not be there twice; the rest is the issuer's matter.
    let claims: Claims = json("payload", &payload)?;
    if now < claims.nbf {
        return Err(ByTokenError::NotYetValid { nbf: claims.nbf, now });
    }
    if now >= claims.exp {
        return Err(ByTokenError::Expired { exp: claims.exp, now });
    }
    let expected = key.constraint.as_deref().unwrap_or(&key.issuer);
    if !is_from(&claims.iss, claims.tid.as_deref(), expected) {
        let (found, expected) = (shown(&claims.iss), expected.to_owned());
        return Err(ByTokenError::Issuer { found, expected });
    }
    let issuer: Option<JwtIssuerRow> = rows.read(JWT_ISSUERS, key.issuer.as_bytes())?;
    let issuer = issuer.ok_or_else(|| ByTokenError::UnknownIssuer(key.issuer.clone()))?;
    if let Some(wanted) = issuer.audience {
        let found = claims.aud.as_ref().map_or(&[][..], Audience::names);
        if !found.iter().any(|name| wanted.names().contains(name)) {
            return Err(ByTokenError::Audience { issuer: key.issuer.clone() });
        }
    }
    json("payload", &payload)
}

/// Whether a token that names this issuer and tenant may be signed by a key with this constraint: CCF's rule, by which one
/// key of Microsoft Entra serves all tenants. Elsewhere a token must not name a tenant.
fn is_from(iss: &str, tid: Option<&str>, constraint: &str) -> bool {
    if host(constraint) != ENTRA {
        return iss == constraint && tid.is_none();
    }
    let Some(tid) = tid.filter(|tid| !tid.is_empty() && !tid.contains('/')) else { return false };
    iss == constraint.replacen(TENANT, tid, 1)
        && path(iss).split('/').find(|part| !part.is_empty()) == Some(tid)
}

const ENTRA: &str = "login.microsoftonline.com";
const TENANT: &str = "{tenantid}";

fn bytes(part: &'static str, text: &str) -> Result<Vec<u8>, ByTokenError> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| ByTokenError::Base64(part))
}

fn json<T: DeserializeOwned>(part: &'static str, bytes: &[u8]) -> Result<T, ByTokenError> {
    serde_json::from_slice(bytes).map_err(|source| ByTokenError::Json { part, source })
}

fn shown(text: &str) -> String {
    text.chars().take(SHOWN_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_from_whom_its_key_is_for() {
        let [entra, many] = [
            "https://login.microsoftonline.com/t1/v2.0",
            "https://login.microsoftonline.com/{tenantid}/v2.0",
        ];
        let other = "https://login.microsoftonline.com/t2/v2.0";
        for (iss, tid, constraint, expected) in [
            ("https://i/a", None, "https://i/a", true),
            ("https://i/a", None, "https://i", false),
            ("https://i/a", None, "https://i/a/", false),
            ("https://i/a", Some("a"), "https://i/a", false),
            (entra, Some("t1"), many, true),
            (entra, Some("t1"), entra, true),
            (entra, Some("t2"), many, false),
            (entra, None, many, false),
            (many, None, many, false),
            (other, Some("t2"), entra, false),
            (other, Some("t1"), many, false),
            ("https://login.microsoftonline.com/t1/t2/v2.0", Some("t1/t2"), many, false),
            ("https://login.microsoftonline.com//v2.0", Some(""), many, false),
        ] {
            assert_eq!(is_from(iss, tid, constraint), expected, "{iss} {tid:?} {constraint}");
        }
    }
}
