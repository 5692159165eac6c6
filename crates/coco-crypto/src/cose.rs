//! `COSE_Sign1` (RFC 9052) in deterministic CBOR: with a detached payload, as receipts are, and with an attached one, as
//! members sign requests.
//!
//! Headers are bytes here: who makes them knows what they mean. The message is always tagged 18.

use minicbor::{
    Decoder, Encoder,
    data::{Tag, Type},
};
use thiserror::Error;

use crate::{PublicKey, SignatureInvalid};

/// COSE's number of ECDSA with SHA-256.
pub const ALGORITHM_ES256: i64 = -7;

/// COSE's number of ECDSA with SHA-384.
pub const ALGORITHM_ES384: i64 = -35;

/// COSE's number of ECDSA with SHA-512.
pub const ALGORITHM_ES512: i64 = -36;

/// COSE's number of `EdDSA`, which is Ed25519 here.
pub const ALGORITHM_EDDSA: i64 = -8;

/// Largest message that is read, in bytes: a receipt with the longest path stays far below.
pub const MESSAGE_BYTES_MAX: usize = 64 << 10;

/// Largest message with an attached payload that is read, in bytes: the largest body of a request, as CCF has it.
pub const ATTACHED_BYTES_MAX: usize = 1 << 20;

/// Bytes that are no message of the accepted form.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum CoseError {
    /// More bytes than are read.
    #[error("message has {found} bytes, at most {limit} are read")]
    Long {
        /// Bytes given.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// Not a tagged `COSE_Sign1` with a detached payload, in definite lengths and nothing after it.
    #[error("not a COSE_Sign1 message with a detached payload")]
    Form,
    /// Not a tagged `COSE_Sign1` with an attached payload, in definite lengths of their shortest form and nothing after it.
    #[error("not a COSE_Sign1 message with an attached payload")]
    Attached,
}

/// A message taken apart, still unverified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sign1<'a> {
    /// The protected headers: the encoded map, as it was signed.
    pub protected: &'a [u8],
    /// The unprotected headers: an encoded map that no signature covers.
    pub unprotected: &'a [u8],
    /// The signature.
    pub signature: &'a [u8],
}

impl<'a> Sign1<'a> {
    /// Takes a message apart.
    ///
    /// # Errors
    /// [`CoseError`] when it is too long or of another form.
    pub fn decode(message: &'a [u8]) -> Result<Self, CoseError> {
        bounded(message, MESSAGE_BYTES_MAX)?;
        match Parts::read(message) {
            Some(Parts { protected, unprotected, payload: None, signature }) => {
                Ok(Self { protected, unprotected, signature })
            }
            _ => Err(CoseError::Form),
        }
    }

    /// Puts the message together.
    ///
    /// # Panics
    /// Never: memory takes every write.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let Self { protected, unprotected, signature } = *self;
        Parts { protected, unprotected, payload: None, signature }.encode()
    }

    /// Checks the signature over the protected headers and a payload.
    ///
    /// # Errors
    /// [`SignatureInvalid`].
    pub fn verify(&self, key: &PublicKey, payload: &[u8]) -> Result<(), SignatureInvalid> {
        key.verify_fixed(&to_be_signed(self.protected, payload), self.signature)
    }
}

/// A message with an attached payload taken apart, still unverified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttachedSign1<'a> {
    /// The protected headers: the encoded map, as it was signed.
    pub protected: &'a [u8],
    /// The unprotected headers: an encoded map that no signature covers.
    pub unprotected: &'a [u8],
    /// The payload.
    pub payload: &'a [u8],
    /// The signature.
    pub signature: &'a [u8],
}

impl<'a> AttachedSign1<'a> {
    /// Takes a message apart.
    ///
    /// # Errors
    /// [`CoseError`] when it is longer than [`ATTACHED_BYTES_MAX`] or of another form.
    pub fn decode(message: &'a [u8]) -> Result<Self, CoseError> {
        bounded(message, ATTACHED_BYTES_MAX)?;
        match Parts::read(message) {
            Some(Parts { protected, unprotected, payload: Some(payload), signature })
                if is_definite_map(unprotected) =>
            {
                Ok(Self { protected, unprotected, payload, signature })
            }
            _ => Err(CoseError::Attached),
        }
    }

    /// Puts the message together.
    ///
    /// # Panics
    /// Never: memory takes every write.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let Self { protected, unprotected, payload, signature } = *self;
        Parts { protected, unprotected, payload: Some(payload), signature }.encode()
    }

    /// The bytes that the signature covers.
    #[must_use]
    pub fn to_be_signed(&self) -> Vec<u8> {
        to_be_signed(self.protected, self.payload)
    }

    /// Checks the signature over the protected headers and the payload, under the hash that belongs to the key's curve.
    ///
    /// # Errors
    /// [`SignatureInvalid`].
    pub fn verify(&self, key: &PublicKey) -> Result<(), SignatureInvalid> {
        key.verify_fixed(&self.to_be_signed(), self.signature)
    }
}

/// A message of either kind.
#[derive(Clone, Copy)]
struct Parts<'a> {
    protected: &'a [u8],
    unprotected: &'a [u8],
    /// None where it is detached.
    payload: Option<&'a [u8]>,
    signature: &'a [u8],
}

impl<'a> Parts<'a> {
    /// Takes a message apart that is in the one encoding that it has.
    fn read(message: &'a [u8]) -> Option<Self> {
        let mut decoder = Decoder::new(message);
        if decoder.tag().ok()? != TAG_SIGN1 || decoder.array().ok()? != Some(4) {
            return None;
        }
        let protected = decoder.bytes().ok()?;
        let start = decoder.position();
        decoder.skip().ok()?;
        let unprotected = message.get(start..decoder.position())?;
        let payload = if decoder.datatype().ok()? == Type::Null {
            decoder.null().ok()?;
            None
        } else {
            Some(decoder.bytes().ok()?)
        };
        let signature = decoder.bytes().ok()?;
        let read = Self { protected, unprotected, payload, signature };
        // The library also reads numbers that are not in their shortest form, and what follows was not looked at.
        (read.encode() == message).then_some(read)
    }

    fn encode(&self) -> Vec<u8> {
        let mut message = vec![0xd2, 0x84];
        put_bytes(&mut message, self.protected);
        message.extend_from_slice(self.unprotected);
        match self.payload {
            Some(payload) => put_bytes(&mut message, payload),
            None => message.push(0xf6),
        }
        put_bytes(&mut message, self.signature);
        message
    }
}

fn bounded(message: &[u8], limit: usize) -> Result<(), CoseError> {
    let found = message.len();
    if found > limit { Err(CoseError::Long { found, limit }) } else { Ok(()) }
}

fn is_definite_map(bytes: &[u8]) -> bool {
    Decoder::new(bytes).map().is_ok_and(|count| count.is_some())
}

/// The bytes that the signature of a message covers: RFC 9052 section 4.4, without external data.
#[must_use]
pub fn to_be_signed(protected: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(protected.len() + payload.len() + 32);
    bytes.push(0x84);
    bytes.push(0x60 | 10);
    bytes.extend_from_slice(b"Signature1");
    put_bytes(&mut bytes, protected);
    bytes.push(0x40);
    put_bytes(&mut bytes, payload);
    bytes
}

/// An encoded map without entries.
pub const EMPTY_MAP: &[u8] = &[0xa0];

const TAG_SIGN1: Tag = Tag::new(18);

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    Encoder::new(out).bytes(bytes).expect("memory takes every write");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Curve, SigningKey};

    #[test]
    fn a_signed_message_is_read_and_verified() {
        let key = SigningKey::generate(Curve::P384);
        let protected = [0xa1, 0x01, 0x38, 0x22];
        let signature = key.sign_fixed(&to_be_signed(&protected, b"payload"));
        let message =
            Sign1 { protected: &protected, unprotected: EMPTY_MAP, signature: &signature }.encode();
        let read = Sign1::decode(&message).unwrap();
        assert_eq!(read.encode(), message);
        assert_eq!(read.verify(key.public(), b"payload"), Ok(()));
        assert!(read.verify(key.public(), b"other").is_err());
        for at in 0..message.len() {
            let mut changed = message.clone();
            changed[at] ^= 0x10;
            let still = Sign1::decode(&changed).is_ok_and(|read| {
                read.unprotected == EMPTY_MAP && read.verify(key.public(), b"payload").is_ok()
            });
            assert!(!still, "byte {at}");
        }
    }

    #[test]
    fn a_message_with_its_payload_is_read_and_verified() {
        for curve in Curve::ALL {
            let key = SigningKey::generate(curve);
            let (protected, payload) = (&[0xa1, 0x01, 0x26][..], &b"payload"[..]);
            let signature = key.sign_fixed(&to_be_signed(protected, payload));
            let made =
                AttachedSign1 { protected, unprotected: EMPTY_MAP, payload, signature: &signature };
            let message = made.encode();
            assert_eq!(AttachedSign1::decode(&message), Ok(made));
            assert_eq!(made.verify(key.public()), Ok(()));
            assert_eq!(Sign1::decode(&message), Err(CoseError::Form));
            for at in 0..message.len() {
                let mut changed = message.clone();
                changed[at] ^= 0x10;
                let still = AttachedSign1::decode(&changed).is_ok_and(|read| {
                    read.unprotected == EMPTY_MAP && read.verify(key.public()).is_ok()
                });
                assert!(!still, "byte {at}");
            }
        }
    }

    #[test]
    fn other_forms_with_a_payload_are_refused() {
        for wrong in [
            &b""[..],
            &[0xd2, 0x84, 0x40, 0xa0, 0xf6, 0x40],
            &[0xd2, 0x84, 0x40, 0x40, 0x40, 0x40],
            &[0xd2, 0x84, 0x40, 0xa0, 0x40, 0x40, 0],
            &[0x84, 0x40, 0xa0, 0x40, 0x40],
            &[0xd2, 0x84, 0x40, 0xa0, 0x58, 0x00, 0x40],
            &[0xd2, 0x84, 0x40, 0xbf, 0xff, 0x40, 0x40],
        ] {
            assert_eq!(AttachedSign1::decode(wrong), Err(CoseError::Attached), "{wrong:02x?}");
        }
        assert!(AttachedSign1::decode(&[0xd2, 0x84, 0x40, 0xa0, 0x40, 0x40]).is_ok());
        let of = |bytes: usize| {
            let payload = vec![0; bytes];
            AttachedSign1 {
                protected: &[],
                unprotected: EMPTY_MAP,
                payload: &payload,
                signature: &[],
            }
            .encode()
        };
        let overhead = of(1 << 17).len() - (1 << 17);
        for (bytes, ok) in [(-1_isize, true), (0, true), (1, false)] {
            let length = (ATTACHED_BYTES_MAX - overhead).checked_add_signed(bytes).unwrap();
            assert_eq!(AttachedSign1::decode(&of(length)).is_ok(), ok, "{bytes}");
        }
    }

    #[test]
    fn other_forms_are_refused() {
        for wrong in [
            &b""[..],
            &[0xd2],
            &[0xd2, 0x84, 0x40, 0xa0, 0x40, 0x40],
            &[0xd2, 0x84, 0x40, 0xa0, 0xf6, 0x40, 0],
            // The tag, the array and the two byte strings with longer numbers than they need.
            &[0xd8, 0x12, 0x84, 0x40, 0xa0, 0xf6, 0x40],
            &[0xd2, 0x98, 0x04, 0x40, 0xa0, 0xf6, 0x40],
            &[0xd2, 0x84, 0x58, 0x00, 0xa0, 0xf6, 0x40],
            &[0xd2, 0x84, 0x40, 0xa0, 0xf6, 0x59, 0x00, 0x00],
        ] {
            assert_eq!(Sign1::decode(wrong), Err(CoseError::Form), "{wrong:02x?}");
        }
        assert!(Sign1::decode(&[0xd2, 0x84, 0x40, 0xa0, 0xf6, 0x40]).is_ok());
        assert!(matches!(
            Sign1::decode(&vec![0; MESSAGE_BYTES_MAX + 1]),
            Err(CoseError::Long { .. })
        ));
    }

    #[test]
    fn the_signed_bytes_are_those_of_the_standard() {
        let expected =
            [&[0x84, 0x6a][..], b"Signature1", &[0x41, 0xa0, 0x40, 0x42], b"hi"].concat();
        assert_eq!(to_be_signed(&[0xa0], b"hi"), expected);
    }
}
