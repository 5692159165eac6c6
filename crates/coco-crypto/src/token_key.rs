//! Keys by which issuers sign tokens: RSA of 2048 to 4096 bits (RS256 of RFC 7518) and P-256 (ES256).

use std::fmt;

use aws_lc_rs::{
    encoding::AsDer,
    rsa::{PublicEncryptingKey, PublicKeyComponents},
    signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey},
};
use thiserror::Error;

use crate::{
    Curve, PublicKey, RSA_BITS_MAX, RSA_BITS_MIN, SignatureInvalid,
    pem::{self, Label},
    rsa::components,
};

/// A key by which no token is checked.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum TokenKeyError {
    /// Neither kind of key.
    #[error("not a key of RSA or P-256")]
    Form,
    /// On another curve.
    #[error("a key on {0:?}, where P-256 is expected")]
    Curve(Curve),
    /// Too short or too long.
    #[error("the key has {found} bits, of {RSA_BITS_MIN} to {RSA_BITS_MAX}")]
    Size {
        /// Bits of the key.
        found: usize,
    },
}

/// A key of an issuer.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenKey(Kind);

#[derive(Clone, PartialEq, Eq)]
enum Kind {
    /// In SPKI.
    Rsa(Vec<u8>),
    P256(PublicKey),
}

impl TokenKey {
    /// Reads a key in SPKI.
    ///
    /// # Errors
    /// [`TokenKeyError`].
    pub fn from_spki_der(spki: &[u8]) -> Result<Self, TokenKeyError> {
        if spki.len() > SPKI_BYTES_MAX {
            return Err(TokenKeyError::Form);
        }
        match PublicKey::from_spki_der(spki) {
            Ok(key) if key.curve() == Curve::P256 => Ok(Self(Kind::P256(key))),
            Ok(key) => Err(TokenKeyError::Curve(key.curve())),
            Err(_) => rsa(&PublicEncryptingKey::from_der(spki).map_err(|_| TokenKeyError::Form)?),
        }
    }

    /// The key of RSA with this modulus and exponent, big-endian.
    ///
    /// # Errors
    /// [`TokenKeyError`].
    pub fn from_modulus(n: &[u8], e: &[u8]) -> Result<Self, TokenKeyError> {
        let [n, e] = [n, e].map(without_zeros);
        // Before any arithmetic.
        let bits = n.len().saturating_mul(8);
        if bits > RSA_BITS_MAX {
            return Err(TokenKeyError::Size { found: bits });
        }
        let made: Result<PublicEncryptingKey, _> = PublicKeyComponents { n, e }.try_into();
        rsa(&made.map_err(|_| TokenKeyError::Form)?)
    }

    /// The key on P-256 with these coordinates, big-endian.
    ///
    /// # Errors
    /// [`TokenKeyError`].
    pub fn from_coordinates(x: &[u8], y: &[u8]) -> Result<Self, TokenKeyError> {
        let key = PublicKey::from_coordinates(Curve::P256, x, y);
        key.map(|key| Self(Kind::P256(key))).map_err(|_| TokenKeyError::Form)
    }

    /// The key in SPKI.
    #[must_use]
    pub fn spki_der(&self) -> &[u8] {
        match &self.0 {
            Kind::Rsa(spki) => spki,
            Kind::P256(key) => key.spki_der(),
        }
    }

    /// The key in SPKI, in PEM.
    #[must_use]
    pub fn pem(&self) -> String {
        pem::encode(Label::PublicKey, self.spki_der())
    }

    /// The modulus and the exponent of a key of RSA, big-endian, without zeros at the front.
    ///
    /// # Panics
    /// Never: an accepted key has both.
    #[must_use]
    pub fn rsa_components(&self) -> Option<[Vec<u8>; 2]> {
        match &self.0 {
            Kind::Rsa(spki) => Some(components(spki)),
            Kind::P256(_) => None,
        }
    }

    /// What tokens that it signs name as their algorithm.
    #[must_use]
    pub const fn algorithm(&self) -> &'static str {
        match &self.0 {
            Kind::Rsa(_) => "RS256",
            Kind::P256(_) => "ES256",
        }
    }

    /// Checks the signature of a token, in the one form of this kind of key.
    ///
    /// # Errors
    /// [`SignatureInvalid`].
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), SignatureInvalid> {
        match &self.0 {
            Kind::Rsa(spki) => UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, spki)
                .verify(message, signature)
                .map_err(|_| SignatureInvalid),
            Kind::P256(key) => key.verify_fixed(message, signature),
        }
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenKey({} {})", self.algorithm(), crate::sha256(self.spki_der()))
    }
}

fn rsa(key: &PublicEncryptingKey) -> Result<TokenKey, TokenKeyError> {
    let found = key.key_size_bits();
    if !(RSA_BITS_MIN..=RSA_BITS_MAX).contains(&found) {
        return Err(TokenKeyError::Size { found });
    }
    let spki = key.as_der().map_err(|_| TokenKeyError::Form)?.as_ref().to_vec();
    Ok(TokenKey(Kind::Rsa(spki)))
}

/// A number, big-endian, without zeros at the front.
pub(crate) fn without_zeros(bytes: &[u8]) -> &[u8] {
    let at = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
    &bytes[at..]
}

/// A key of [`RSA_BITS_MAX`] has 550 bytes in SPKI; larger exponents than anybody uses add some.
pub(crate) const SPKI_BYTES_MAX: usize = 1100;

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

    use super::*;
    use crate::{SigningKey, decode_pem};

    fn bytes(text: &str) -> Vec<u8> {
        URL_SAFE_NO_PAD.decode(text).unwrap()
    }

    /// RFC 7515, appendices A.2 and A.3: the payload of both, and each header and signature.
    const PAYLOAD: &str = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    const RS256: [&str; 2] = [
        "eyJhbGciOiJSUzI1NiJ9",
        "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdb\
         F9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383\
         LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWy\
         wlVmtVrBp0igcN_IoypGlUPQGe77Rw",
    ];
    const MODULUS: &str = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SF\
         d2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo\
         7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkM\
         Ls91kzk2PAcDTW9gb54h4FRWyuXpoQ";
    const ES256: [&str; 2] = [
        "eyJhbGciOiJFUzI1NiJ9",
        "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
    ];
    const COORDINATES: [&str; 2] = [
        "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    ];

    #[test]
    fn the_tokens_of_rfc_7515_verify_and_no_changed_one() {
        let rsa = TokenKey::from_modulus(&bytes(MODULUS), &[1, 0, 1]).unwrap();
        let [x, y] = COORDINATES.map(bytes);
        let p256 = TokenKey::from_coordinates(&x, &y).unwrap();
        for (key, other, [header, signature]) in [(&rsa, &p256, RS256), (&p256, &rsa, ES256)] {
            let (mut message, signature) = (format!("{header}.{PAYLOAD}"), bytes(signature));
            assert_eq!(key.verify(message.as_bytes(), &signature), Ok(()));
            assert!(other.verify(message.as_bytes(), &signature).is_err());
            assert!(key.verify(message.as_bytes(), &signature[1..]).is_err());
            for at in 0..signature.len() {
                let mut changed = signature.clone();
                changed[at] ^= 1;
                assert!(key.verify(message.as_bytes(), &changed).is_err(), "{at}");
            }
            message.push('x');
            assert!(key.verify(message.as_bytes(), &signature).is_err());
            assert_eq!(TokenKey::from_spki_der(key.spki_der()).as_ref(), Ok(key));
        }
        assert_eq!(rsa.rsa_components(), Some([bytes(MODULUS), vec![1, 0, 1]]));
        assert_eq!(p256.rsa_components(), None);
    }

    #[test]
    fn keys_have_2048_to_4096_bits_or_are_on_p256() {
        let read = |pem: &str| {
            let der = decode_pem("PUBLIC KEY", pem).unwrap().unwrap();
            TokenKey::from_spki_der(der.expose()).map(|key| key.algorithm())
        };
        let p256 = SigningKey::generate(Curve::P256).public().to_pem();
        for (pem, expected) in [
            (include_str!("../tests/vectors/rsa1024.public.pem"), Err(TokenKeyError::Form)),
            (include_str!("../tests/vectors/rsa2048.public.pem"), Ok("RS256")),
            (include_str!("../tests/vectors/rsa4096.public.pem"), Ok("RS256")),
            (
                include_str!("../tests/vectors/p384.public.pem"),
                Err(TokenKeyError::Curve(Curve::P384)),
            ),
            (&p256, Ok("ES256")),
        ] {
            assert_eq!(read(pem), expected, "{pem}");
        }
        assert!(read(include_str!("../tests/vectors/rsa8192.public.pem")).is_err());
        for bytes in [255, 256, 512, 513, 10_000] {
            let made = TokenKey::from_modulus(&vec![0xff; bytes], &[1, 0, 1]);
            assert_eq!(made.is_ok(), (256..=512).contains(&bytes), "{bytes}");
        }
        for (n, e) in [(&[][..], &[1, 0, 1][..]), (&[0xff; 256], &[]), (&[0xff; 256], &[0])] {
            assert_eq!(TokenKey::from_modulus(n, e), Err(TokenKeyError::Form));
        }
    }
}
