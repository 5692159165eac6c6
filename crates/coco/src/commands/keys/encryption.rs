//! The RSA key of a member to which recovery shares are encrypted, as CCF has it: RSA-OAEP with SHA-256.

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der},
    error::Unspecified,
    rsa::{KeySize, PrivateDecryptingKey},
};
use coco_crypto::{SecretBytes, encode_pem};

/// Both halves in PEM.
pub(super) struct EncryptionKey {
    pub(super) private: SecretBytes,
    pub(super) public: SecretBytes,
}

impl EncryptionKey {
    /// Makes a key of 3072 bits: as strong as P-256, and CCF's tools read it.
    pub(super) fn generate() -> Result<Self, Unspecified> {
        let key = PrivateDecryptingKey::generate(KeySize::Rsa3072)?;
        let private: Pkcs8V1Der<'_> = key.as_der()?;
        let public: PublicKeyX509Der<'_> = key.public_key().as_der()?;
        Ok(Self {
            private: encode_pem("PRIVATE KEY", private.as_ref()),
            public: encode_pem("PUBLIC KEY", public.as_ref()),
        })
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rsa::{
        OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, OaepPublicEncryptingKey,
        PublicEncryptingKey,
    };
    use coco_crypto::decode_pem;

    use super::*;

    #[test]
    fn what_is_encrypted_to_the_public_half_is_read_with_the_private_one() {
        let made = EncryptionKey::generate().unwrap();
        let der = |label, text: &SecretBytes| {
            decode_pem(label, str::from_utf8(text.expose()).unwrap()).unwrap().unwrap()
        };
        let public =
            PublicEncryptingKey::from_der(der("PUBLIC KEY", &made.public).expose()).unwrap();
        let public = OaepPublicEncryptingKey::new(public).unwrap();
        let mut sealed = vec![0; public.ciphertext_size()];
        let sealed =
            public.encrypt(&OAEP_SHA256_MGF1SHA256, b"share", &mut sealed, None).unwrap().to_vec();
        let private =
            PrivateDecryptingKey::from_pkcs8(der("PRIVATE KEY", &made.private).expose()).unwrap();
        let private = OaepPrivateDecryptingKey::new(private).unwrap();
        let mut opened = vec![0; private.min_output_size()];
        let opened = private.decrypt(&OAEP_SHA256_MGF1SHA256, &sealed, &mut opened, None).unwrap();
        assert_eq!(opened, b"share");
    }
}
