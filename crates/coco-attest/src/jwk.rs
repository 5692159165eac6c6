//! Keys in JSON (RFC 7517).

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use coco_crypto::TokenKey;

/// The key of RSA with this modulus and this exponent, as they stand there (RFC 7518, section 6.3.1).
pub(crate) fn rsa_key(n: &str, e: &str) -> Option<TokenKey> {
    let [n, e] = [n, e].map(|text| URL_SAFE_NO_PAD.decode(text).ok());
    TokenKey::from_modulus(&n?, &e?).ok()
}
