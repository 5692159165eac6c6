//! RSA-OAEP with SHA-256: how something short and secret is sent to a member, who keeps the other half of the key.
//!
//! Keys have 2048 to 4096 bits. Less is weak, more is slow and no member's tool makes it. As elsewhere in CCF's forms
//! MGF1 takes SHA-256 as well, and there is no label.

use std::fmt;

use aws_lc_rs::{
    encoding::AsDer,
    rsa::{
        KeySize, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, OaepPublicEncryptingKey,
        PrivateDecryptingKey, PublicEncryptingKey,
    },
};
use thiserror::Error;
use x509_parser::{prelude::FromDer as _, public_key::PublicKey, x509::SubjectPublicKeyInfo};

use crate::{
    PemError, SecretBytes,
    pem::{self, Label},
    token_key::without_zeros,
};

/// Fewest bits of a key.
pub const RSA_BITS_MIN: usize = 2048;

/// Most bits of a key.
pub const RSA_BITS_MAX: usize = 4096;

/// A key that nothing can be encrypted to, or decrypted with.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum EncryptionKeyError {
    /// Not the text.
    #[error("not a key in PEM")]
    Pem(#[from] PemError),
    /// No RSA key in the form that the text promises.
    #[error("not an RSA key that can be used")]
    Form,
    /// Too short or too long.
    #[error("the key has {found} bits, of {RSA_BITS_MIN} to {RSA_BITS_MAX}")]
    Size {
        /// Bits of the key.
        found: usize,
    },
}

/// A message that is not encrypted.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
#[error("{found} bytes cannot be encrypted to a key that takes {limit}")]
pub struct EncryptError {
    /// Bytes of the message.
    pub found: usize,
    /// Most that the key takes.
    pub limit: usize,
}

/// A message that was not encrypted to this key, or was altered. Nothing says which.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
#[error("the message does not decrypt under this key")]
pub struct DecryptError;

/// The public half: whoever has it encrypts.
pub struct EncryptionKey {
    key: OaepPublicEncryptingKey,
    spki: Vec<u8>,
}

/// The private half, which a member keeps.
pub struct DecryptionKey {
    key: OaepPrivateDecryptingKey,
    private: PrivateDecryptingKey,
}

impl EncryptionKey {
    /// Reads a public key in SPKI, in PEM.
    ///
    /// # Errors
    /// [`EncryptionKeyError`].
    pub fn from_pem(text: &str) -> Result<Self, EncryptionKeyError> {
        let der = pem::decode(Label::PublicKey, text)?;
        let key = PublicEncryptingKey::from_der(&der).map_err(|_| EncryptionKeyError::Form)?;
        Self::of(key)
    }

    fn of(key: PublicEncryptingKey) -> Result<Self, EncryptionKeyError> {
        check_size(key.key_size_bits())?;
        let spki = key.as_der().map_err(|_| EncryptionKeyError::Form)?.as_ref().to_vec();
        let key = OaepPublicEncryptingKey::new(key).map_err(|_| EncryptionKeyError::Form)?;
        Ok(Self { key, spki })
    }

    /// The key in SPKI, in PEM.
    #[must_use]
    pub fn pem(&self) -> String {
        pem::encode(Label::PublicKey, &self.spki)
    }

    /// The modulus and the exponent, big-endian, without zeros at the front.
    ///
    /// # Panics
    /// Never: an accepted key has both.
    #[must_use]
    pub fn components(&self) -> [Vec<u8>; 2] {
        components(&self.spki)
    }

    /// Encrypts a message. The padding is random, from the library's own entropy: the same message gives other bytes each
    /// time.
    ///
    /// # Errors
    /// [`EncryptError`] when it is longer than the key takes: 190 bytes for one of 2048 bits.
    ///
    /// # Panics
    /// When the system has no entropy: nothing safe can follow.
    pub fn encrypt(&self, message: &[u8]) -> Result<Vec<u8>, EncryptError> {
        let limit = self.key.max_plaintext_size(&OAEP_SHA256_MGF1SHA256);
        if message.len() > limit {
            return Err(EncryptError { found: message.len(), limit });
        }
        let mut encrypted = vec![0; self.key.ciphertext_size()];
        let written = self
            .key
            .encrypt(&OAEP_SHA256_MGF1SHA256, message, &mut encrypted, None)
            .expect("encrypting what fits fails only without entropy")
            .len();
        encrypted.truncate(written);
        Ok(encrypted)
    }
}

impl DecryptionKey {
    /// Makes a key of 2048 bits from the library's entropy, as CCF's `keygenerator.sh` does.
    ///
    /// # Panics
    /// When the system has no entropy: nothing safe can follow.
    #[must_use]
    pub fn generate() -> Self {
        Self::generate_of(KeySize::Rsa2048)
    }

    /// Makes a key of 3072 bits, which is as strong as P-256: for people, who keep a key for years.
    ///
    /// # Panics
    /// When the system has no entropy: nothing safe can follow.
    #[must_use]
    pub fn generate_long() -> Self {
        Self::generate_of(KeySize::Rsa3072)
    }

    fn generate_of(size: KeySize) -> Self {
        let key =
            PrivateDecryptingKey::generate(size).expect("making a key fails only without entropy");
        Self::of(key).expect("a key just made can be used")
    }

    /// Reads a private key in PKCS #8, in PEM.
    ///
    /// # Errors
    /// [`EncryptionKeyError`].
    pub fn from_pem(text: &str) -> Result<Self, EncryptionKeyError> {
        let der = SecretBytes::new(pem::decode(Label::PrivateKey, text)?);
        let key =
            PrivateDecryptingKey::from_pkcs8(der.expose()).map_err(|_| EncryptionKeyError::Form)?;
        Self::of(key)
    }

    fn of(private: PrivateDecryptingKey) -> Result<Self, EncryptionKeyError> {
        check_size(private.key_size_bits())?;
        let key =
            OaepPrivateDecryptingKey::new(private.clone()).map_err(|_| EncryptionKeyError::Form)?;
        Ok(Self { key, private })
    }

    /// The key in PKCS #8, in PEM.
    ///
    /// # Panics
    /// Never: an accepted key has an encoding.
    #[must_use]
    pub fn pem(&self) -> SecretBytes {
        let der = self.private.as_der().expect("an accepted key has an encoding");
        SecretBytes::new(pem::encode(Label::PrivateKey, der.as_ref()).into_bytes())
    }

    /// Its public half.
    ///
    /// # Panics
    /// Never: the halves have one size.
    #[must_use]
    pub fn public(&self) -> EncryptionKey {
        EncryptionKey::of(self.private.public_key()).expect("both halves are of one size")
    }

    /// Decrypts a message.
    ///
    /// # Errors
    /// [`DecryptError`].
    pub fn decrypt(&self, encrypted: &[u8]) -> Result<SecretBytes, DecryptError> {
        let mut plain = vec![0; self.key.min_output_size()];
        let written = self
            .key
            .decrypt(&OAEP_SHA256_MGF1SHA256, encrypted, &mut plain, None)
            .map(|message| message.len());
        let plain = SecretBytes::new(plain);
        let written = written.map_err(|_| DecryptError)?;
        Ok(SecretBytes::new(plain.expose()[..written].to_vec()))
    }
}

/// The modulus and the exponent of an accepted key of RSA, big-endian, without zeros at the front.
pub(crate) fn components(spki: &[u8]) -> [Vec<u8>; 2] {
    let spki = SubjectPublicKeyInfo::from_der(spki);
    let (_, spki) = spki.expect("an accepted key has an encoding");
    let Ok(PublicKey::RSA(key)) = spki.parsed() else { unreachable!("it is a key of RSA") };
    [key.modulus, key.exponent].map(|part| without_zeros(part).to_vec())
}

const fn check_size(found: usize) -> Result<(), EncryptionKeyError> {
    if found < RSA_BITS_MIN || found > RSA_BITS_MAX {
        return Err(EncryptionKeyError::Size { found });
    }
    Ok(())
}

impl fmt::Debug for EncryptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EncryptionKey({} bits)", self.key.key_size_bits())
    }
}

impl fmt::Debug for DecryptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DecryptionKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with OpenSSL, as are those beside it; see the README there.
    const MEMBER: &str = include_str!("../tests/vectors/rsa2048.private.pem");
    const MEMBER_PUBLIC: &str = include_str!("../tests/vectors/rsa2048.public.pem");

    #[test]
    fn what_openssl_encrypted_is_decrypted() {
        let key = DecryptionKey::from_pem(MEMBER).unwrap();
        let encrypted = include_bytes!("../tests/vectors/rsa2048.oaep-sha256");
        assert_eq!(key.decrypt(encrypted).unwrap().expose(), b"a share of a secret");
        assert_eq!(key.public().pem(), MEMBER_PUBLIC);
        assert_eq!(key.pem().expose(), MEMBER.as_bytes());
    }

    #[test]
    fn what_is_encrypted_to_a_member_only_that_member_decrypts() {
        let to = EncryptionKey::from_pem(MEMBER_PUBLIC).unwrap();
        let encrypted = to.encrypt(b"share").unwrap();
        assert_ne!(encrypted, to.encrypt(b"share").unwrap(), "the padding is random");
        let member = DecryptionKey::from_pem(MEMBER).unwrap();
        assert_eq!(member.decrypt(&encrypted).unwrap().expose(), b"share");
        assert_eq!(DecryptionKey::generate().decrypt(&encrypted), Err(DecryptError));
        for at in [0, 1, 128, 255] {
            let mut altered = encrypted.clone();
            altered[at] ^= 1;
            assert_eq!(member.decrypt(&altered), Err(DecryptError));
        }
        for end in [0, 1, 255] {
            assert_eq!(member.decrypt(&encrypted[..end]), Err(DecryptError));
        }
    }

    #[test]
    fn a_message_may_have_the_longest_length_and_no_more() {
        let to = EncryptionKey::from_pem(MEMBER_PUBLIC).unwrap();
        for (bytes, ok) in [(0, true), (189, true), (190, true), (191, false)] {
            assert_eq!(to.encrypt(&vec![7; bytes]).is_ok(), ok, "{bytes}");
        }
        assert_eq!(to.encrypt(&[7; 191]), Err(EncryptError { found: 191, limit: 190 }));
    }

    #[test]
    fn other_keys_are_refused() {
        let public = |text: &str| EncryptionKey::from_pem(text).map(drop);
        let of_bits = |pem: &str| public(pem).unwrap_err();
        let short = of_bits(include_str!("../tests/vectors/rsa1024.public.pem"));
        let long = of_bits(include_str!("../tests/vectors/rsa8192.public.pem"));
        // The library refuses short ones itself, and takes those of 8192 bits.
        assert_eq!(
            (short, long),
            (EncryptionKeyError::Form, EncryptionKeyError::Size { found: 8192 })
        );
        assert!(public(include_str!("../tests/vectors/rsa4096.public.pem")).is_ok());
        assert_eq!(
            of_bits(include_str!("../tests/vectors/p384.public.pem")),
            EncryptionKeyError::Form
        );
        assert!(matches!(of_bits("PEM"), EncryptionKeyError::Pem(_)));
        assert!(matches!(of_bits(MEMBER), EncryptionKeyError::Pem(_)));
        assert!(matches!(DecryptionKey::from_pem(MEMBER_PUBLIC), Err(EncryptionKeyError::Pem(_))));
    }

    #[test]
    fn a_private_key_does_not_print() {
        assert_eq!(format!("{:?}", DecryptionKey::from_pem(MEMBER).unwrap()), "DecryptionKey");
    }
}
