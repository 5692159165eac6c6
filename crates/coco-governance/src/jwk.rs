//! Keys as JSON (RFC 7517), as constitutions hand them in: what tokens are checked by.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use coco_crypto::{
    CertificateError, Curve, EncryptionKey, EncryptionKeyError, KeyError, PublicKey, RSA_BITS_MAX,
    RSA_BITS_MIN, TokenKey, TokenKeyError, certificate_key,
};
use serde::Deserialize;
use thiserror::Error;

/// A key of which no use can be made. What it is called is for the caller to say.
#[derive(Debug, Error)]
pub(crate) enum JwkError {
    #[error("the key is not JSON of the expected form: {0}")]
    Form(#[source] serde_json::Error),
    #[error("{0} is not base64")]
    Base64(&'static str),
    #[error("the curve is not P-256, P-384 or P-521")]
    Curve,
    #[error("the key has neither n and e, nor x, y and crv, nor x5c")]
    Nothing,
    #[error("the key cannot be used: {0}")]
    Key(#[from] KeyError),
    #[error("tokens cannot be checked by the key: {0}")]
    TokenKey(#[from] TokenKeyError),
    #[error("the key must be one of RSA with {RSA_BITS_MIN} to {RSA_BITS_MAX} bits, in PEM: {0}")]
    EncryptionKey(#[from] EncryptionKeyError),
    #[error("x5c: {0}")]
    Certificate(#[from] CertificateError),
}

/// The members of a key that are looked at, in the order in which CCF does: the first pair that is there counts.
#[derive(Deserialize)]
pub(crate) struct Jwk {
    n: Option<String>,
    e: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    x5c: Option<Vec<String>>,
}

enum Material {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    Curve { curve: Curve, x: Vec<u8>, y: Vec<u8> },
    Certificate(Vec<u8>),
}

impl Jwk {
    pub(crate) fn read(text: &str) -> Result<Self, JwkError> {
        serde_json::from_str(text).map_err(JwkError::Form)
    }

    /// The key in SPKI, in PEM.
    pub(crate) fn pem(&self) -> Result<String, JwkError> {
        match self.material()? {
            Material::Curve { curve, x, y } => {
                Ok(PublicKey::from_coordinates(curve, &x, &y)?.to_pem())
            }
            Material::Rsa { .. } | Material::Certificate(_) => Ok(self.token_key()?.pem()),
        }
    }

    /// The key, if tokens are checked by such.
    pub(crate) fn token_key(&self) -> Result<TokenKey, JwkError> {
        Ok(match self.material()? {
            Material::Rsa { n, e } => TokenKey::from_modulus(&n, &e)?,
            Material::Curve { curve: Curve::P256, x, y } => TokenKey::from_coordinates(&x, &y)?,
            Material::Curve { curve, .. } => return Err(TokenKeyError::Curve(curve).into()),
            Material::Certificate(der) => TokenKey::from_spki_der(&certificate_key(&der)?)?,
        })
    }

    fn material(&self) -> Result<Material, JwkError> {
        let url = |name: &'static str, text: &str| {
            URL_SAFE_NO_PAD.decode(text).map_err(|_| JwkError::Base64(name))
        };
        if let (Some(n), Some(e)) = (&self.n, &self.e) {
            return Ok(Material::Rsa { n: url("n", n)?, e: url("e", e)? });
        }
        if let (Some(x), Some(y), Some(curve)) = (&self.x, &self.y, &self.crv) {
            let curve = match &**curve {
                "P-256" => Curve::P256,
                "P-384" => Curve::P384,
                "P-521" => Curve::P521,
                _ => return Err(JwkError::Curve),
            };
            return Ok(Material::Curve { curve, x: url("x", x)?, y: url("y", y)? });
        }
        let first = self.x5c.as_deref().and_then(<[_]>::first).ok_or(JwkError::Nothing)?;
        Ok(Material::Certificate(STANDARD.decode(first).map_err(|_| JwkError::Base64("x5c"))?))
    }
}

/// A public key of RSA in PEM as a JSON text.
pub(crate) fn of_rsa(pem: &str) -> Result<String, JwkError> {
    let [n, e] =
        EncryptionKey::from_pem(pem)?.components().map(|part| URL_SAFE_NO_PAD.encode(part));
    Ok(serde_json::json!({ "kty": "RSA", "n": n, "e": e }).to_string())
}

/// Whether a key of this issuer may say that it is for tokens of that one: both on one host, or the issuer's below it.
pub(crate) fn may_constrain(constraint: &str, issuer: &str) -> bool {
    let (constraint, issuer) = (host(constraint), host(issuer));
    !constraint.is_empty()
        && (issuer == constraint
            || issuer.strip_suffix(constraint).is_some_and(|rest| rest.ends_with('.')))
}

/// The host in a URL; nothing where there is none.
pub(crate) fn host(url: &str) -> &str {
    let Some((_, rest)) = url.split_once("://") else { return "" };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or("");
    // A name before an @ is not the host, whatever it looks like.
    let host = authority.rsplit('@').next().unwrap_or("");
    match host.strip_prefix('[') {
        Some(address) => address.split(']').next().unwrap_or(""),
        None => host.split(':').next().unwrap_or(""),
    }
}

/// The path in a URL.
pub(crate) fn path(url: &str) -> &str {
    let Some((_, rest)) = url.split_once("://") else { return "" };
    let rest = rest.split(['?', '#']).next().unwrap_or("");
    rest.find('/').map_or("", |at| &rest[at..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_for_tokens_of_its_issuer_or_a_domain_above() {
        for (constraint, issuer, expected) in [
            ("https://a.example/x", "https://a.example/y", true),
            ("https://example", "https://a.example", true),
            ("https://a.example", "https://example", false),
            ("https://ple", "https://a.example", false),
            ("https://a.example:8443/", "https://a.example", true),
            ("https://a.example@b.example/", "https://a.example", false),
            ("a.example", "https://a.example", false),
            ("", "https://a.example", false),
            ("https:///x", "https:///y", false),
        ] {
            assert_eq!(may_constrain(constraint, issuer), expected, "{constraint} of {issuer}");
        }
    }

    #[test]
    fn a_url_has_a_host_and_a_path() {
        for (url, expected) in [
            ("https://h/a/b?c#d", ["h", "/a/b"]),
            ("https://h", ["h", ""]),
            ("https://[::1]:1/a", ["::1", "/a"]),
            ("https://h?x=/a", ["h", ""]),
            ("h/a", ["", ""]),
        ] {
            assert_eq!([host(url), path(url)], expected, "{url}");
        }
    }

    #[test]
    fn a_key_of_rsa_is_the_same_in_both_forms() {
        let pem = include_str!("../../coco-crypto/tests/vectors/rsa2048.public.pem");
        let jwk = of_rsa(pem).unwrap();
        assert_eq!(Jwk::read(&jwk).and_then(|jwk| jwk.pem()).unwrap(), pem);
        for text in ["", include_str!("../../coco-crypto/tests/vectors/p384.public.pem")] {
            assert!(of_rsa(text).unwrap_err().to_string().contains("must be one of RSA"), "{text}");
        }
    }

    #[test]
    fn what_is_no_key_is_refused_with_what_is_wrong() {
        for (text, expected) in [
            ("[]", "not JSON of the expected form"),
            ("{}", "neither n and e"),
            (r#"{"n":"AQAB"}"#, "neither n and e"),
            (r#"{"n":"+","e":"AQAB"}"#, "n is not base64"),
            (r#"{"n":"AQAB","e":"AQAB"}"#, "not a key of RSA"),
            (r#"{"x":"AQAB","y":"AQAB","crv":"P-256"}"#, "not a key of RSA or P-256"),
            (r#"{"x":"AQAB","y":"AQAB","crv":"P-384"}"#, "where P-256 is expected"),
            (r#"{"x":"AQAB","y":"AQAB","crv":"secp256k1"}"#, "the curve is not"),
            (r#"{"x5c":[]}"#, "neither n and e"),
            (r#"{"x5c":["AQAB"]}"#, "not X.509"),
        ] {
            let error = Jwk::read(text).and_then(|jwk| jwk.token_key()).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
