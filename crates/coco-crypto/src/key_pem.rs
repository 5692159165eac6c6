//! Private keys as text: PKCS #8, as we write them, and SEC 1, as `openssl ecparam` does.

use aws_lc_rs::signature::EcdsaKeyPair;
use thiserror::Error;

use crate::{Curve, PemError, SecretBytes, SigningKey, decode_pem, ecdsa::pkcs8, encode_pem};

/// A text that holds no private key that can be used.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum KeyPemError {
    /// Not PEM.
    #[error("the text is not PEM")]
    Pem(#[from] PemError),
    /// No block of a private key.
    #[error("no block BEGIN PRIVATE KEY or BEGIN EC PRIVATE KEY")]
    Absent,
    /// The key is encrypted under a password.
    #[error("the private key is encrypted under a password, which is not supported")]
    Encrypted,
    /// A key of another kind.
    #[error(
        "the private key is not one of P-256, P-384, P-521 or Ed25519, or of another kind than is wanted"
    )]
    Kind,
}

impl SigningKey {
    /// The key in PKCS #8 as PEM.
    #[must_use]
    pub fn to_pem(&self) -> SecretBytes {
        encode_pem(PKCS8, self.pkcs8_der().expose())
    }

    /// Reads a key from a text, whatever its curve is.
    ///
    /// # Errors
    /// [`KeyPemError`] when there is none that can be used.
    pub fn from_pem(text: &str) -> Result<Self, KeyPemError> {
        let der = private_key_of(text)?;
        let found = Curve::ALL.into_iter().find_map(|curve| {
            let pair = EcdsaKeyPair::from_private_key_der(curve.signing().0, der.expose()).ok()?;
            Self::from_pkcs8_der(curve, &pkcs8(&pair)).ok()
        });
        found.ok_or(KeyPemError::Kind)
    }
}

/// The private key in a text, in DER.
pub(crate) fn private_key_of(text: &str) -> Result<SecretBytes, KeyPemError> {
    match (decode_pem(PKCS8, text)?, decode_pem(SEC1, text)?) {
        (Some(der), _) | (None, Some(der)) => Ok(der),
        (None, None) if text.contains(ENCRYPTED) => Err(KeyPemError::Encrypted),
        (None, None) => Err(KeyPemError::Absent),
    }
}

pub(crate) const PKCS8: &str = "PRIVATE KEY";
const SEC1: &str = "EC PRIVATE KEY";
const ENCRYPTED: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----";

#[cfg(test)]
mod tests {
    use aws_lc_rs::encoding::{AsDer, EcPrivateKeyRfc5915Der};

    use super::*;

    #[test]
    fn a_key_of_every_curve_is_read_as_it_was_written() {
        for curve in Curve::ALL {
            let key = SigningKey::generate(curve);
            let text = key.to_pem();
            let read = SigningKey::from_pem(str::from_utf8(text.expose()).unwrap()).unwrap();
            assert_eq!(read.public(), key.public());
        }
    }

    #[test]
    fn a_key_in_the_older_form_is_read() {
        for curve in Curve::ALL {
            let pair = EcdsaKeyPair::generate(curve.signing().0).unwrap();
            let der: EcPrivateKeyRfc5915Der<'_> = pair.private_key().as_der().unwrap();
            let text = encode_pem(SEC1, der.as_ref());
            let read = SigningKey::from_pem(str::from_utf8(text.expose()).unwrap()).unwrap();
            assert_eq!(read.public().curve(), curve);
            assert_eq!(pkcs8(&pair), read.pkcs8_der());
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for (text, expected) in [
            ("", KeyPemError::Absent),
            ("-----BEGIN ENCRYPTED PRIVATE KEY-----", KeyPemError::Encrypted),
            ("-----BEGIN PRIVATE KEY-----", KeyPemError::Pem(PemError::Open)),
            ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----", KeyPemError::Kind),
        ] {
            assert_eq!(SigningKey::from_pem(text).unwrap_err(), expected, "{text}");
        }
    }
}
