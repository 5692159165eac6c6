//! Private keys of Ed25519 (RFC 8032), which members may sign requests with.

use std::{fmt, sync::Arc};

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der},
    signature::{Ed25519KeyPair, KeyPair as _},
};

use crate::{
    KeyPemError, SecretBytes, encode_pem,
    key_pem::{PKCS8, private_key_of},
};

/// A private key of Ed25519. `Debug` prints nothing of it.
#[derive(Clone)]
pub struct Ed25519Key(Arc<Ed25519KeyPair>);

impl Ed25519Key {
    /// Makes a new key from the library's entropy.
    ///
    /// # Panics
    /// When the system has no entropy: nothing safe can follow.
    #[must_use]
    pub fn generate() -> Self {
        let pair = Ed25519KeyPair::generate().expect("making a key fails only without entropy");
        Self(Arc::new(pair))
    }

    /// The key in PKCS #8 as PEM (RFC 8410).
    ///
    /// # Panics
    /// Never: a key has its bytes.
    #[must_use]
    pub fn to_pem(&self) -> SecretBytes {
        // Without the public key beside it, which older programs do not read.
        let der: Pkcs8V1Der<'_> = self.0.as_der().expect("a key has an encoding");
        encode_pem(PKCS8, der.as_ref())
    }

    /// Reads a key from a text.
    ///
    /// # Errors
    /// [`KeyPemError`] when there is none that can be used.
    pub fn from_pem(text: &str) -> Result<Self, KeyPemError> {
        let der = private_key_of(text)?;
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.expose());
        pair.map(|pair| Self(Arc::new(pair))).map_err(|_| KeyPemError::Kind)
    }

    /// Its public half, raw.
    ///
    /// # Panics
    /// Never: it has 32 bytes.
    #[must_use]
    pub fn public(&self) -> [u8; 32] {
        self.0.public_key().as_ref().try_into().expect("a public key has 32 bytes")
    }

    /// Signs a message.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.0.sign(message).as_ref().to_vec()
    }
}

impl fmt::Debug for Ed25519Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ed25519Key")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Curve, SigningKey};

    fn read(text: &SecretBytes) -> Result<Ed25519Key, KeyPemError> {
        Ed25519Key::from_pem(str::from_utf8(text.expose()).unwrap())
    }

    #[test]
    fn a_key_is_read_as_it_was_written_and_other_kinds_are_refused() {
        let key = Ed25519Key::generate();
        let again = read(&key.to_pem()).unwrap();
        assert_eq!(again.public(), key.public());
        assert_eq!(again.sign(b"message"), key.sign(b"message"), "RFC 8032: it has no nonce");
        assert_eq!(format!("{key:?}"), "Ed25519Key");
        let other = SigningKey::generate(Curve::P256).to_pem();
        assert_eq!(read(&other).unwrap_err(), KeyPemError::Kind);
        assert_eq!(Ed25519Key::from_pem("").unwrap_err(), KeyPemError::Absent);
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// RFC 8410, section 10.3, and RFC 8032, section 7.1, test 1.
    #[test]
    fn published_keys_are_read_and_sign_as_published() {
        let text = "-----BEGIN PRIVATE KEY-----\n\
            MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n";
        let key = Ed25519Key::from_pem(text).unwrap();
        let expected = "19bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1";
        assert_eq!(hex(&key.public()), expected);
        assert_eq!(key.to_pem().expose(), text.as_bytes());
        let text = "-----BEGIN PRIVATE KEY-----\n\
            MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n-----END PRIVATE KEY-----\n";
        assert_eq!(
            hex(&Ed25519Key::from_pem(text).unwrap().sign(b"")),
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
        );
    }
}
