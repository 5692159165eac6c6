//! Real keys that follow from a seed, and certificates and signatures of theirs that are the same in every run (RFC 6979).
//! The library that nodes sign with draws its nonces itself. It is the one that verifies here, too.

use std::fmt;

use coco_crypto::{
    Certificate, Curve, EndorseNode, SecretBytes, SigningKey, Validity, endorse_node,
    service_certificate, sha256,
};
use coco_ledger::Signer;
use coco_types::{Digest, NodeId};
use p384::{
    SecretKey,
    ecdsa::{
        DerSignature, Signature,
        signature::{Signer as _, hazmat::PrehashSigner as _},
    },
    pkcs8::EncodePrivateKey as _,
};

use super::START_S;

/// Bytes of a scalar of P-384.
const SCALAR_BYTES: usize = 48;

/// A private key on P-384.
#[derive(Clone)]
pub struct DerivedKey {
    signs: p384::ecdsa::SigningKey,
    /// The same key, as the library has it.
    key: SigningKey,
}

impl fmt::Debug for DerivedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.key.fmt(f)
    }
}

impl DerivedKey {
    /// The key of this name in the run of a seed.
    ///
    /// # Panics
    /// When the hash of the name is no scalar, which no name has ever been seen to do.
    #[must_use]
    pub fn new(seed: u64, name: &str) -> Self {
        let half = |number: u8| sha256(format!("{seed} {name} {number}").as_bytes()).0;
        let scalar = [half(0), half(1)].concat();
        let secret = SecretKey::from_slice(&scalar[..SCALAR_BYTES]).expect("almost all are");
        let der = secret.to_pkcs8_der().expect("a private key has an encoding");
        let der = SecretBytes::new(der.as_bytes().to_vec());
        let key = SigningKey::from_pkcs8_der(Curve::P384, &der).expect("it is one of P-384");
        Self { signs: secret.into(), key }
    }

    /// The certificate of the service whose key it is.
    ///
    /// # Panics
    /// Never: the period is one.
    #[must_use]
    pub fn service_certificate(&self) -> Certificate {
        let made = service_certificate(&self.key, validity()).expect("the period is one");
        self.sign_again(&made)
    }

    /// Puts its own signature into a certificate that it has signed with a nonce of the library's.
    fn sign_again(&self, certificate: &Certificate) -> Certificate {
        const SEQUENCE: [u8; 2] = [0x30, 0x82];
        let (_, content) = split(certificate.der());
        let (signed, rest) = split_off(content);
        let (algorithm, _) = split_off(rest);
        let signature: DerSignature = self.signs.sign(signed);
        let signature = signature.as_bytes();
        let bits = u8::try_from(signature.len() + 1).expect("a signature of P-384 is short");
        assert!(bits < 0x80, "its length is one byte");
        let body = [signed, algorithm, &[0x03, bits, 0], signature].concat();
        let length = u16::try_from(body.len()).expect("a certificate is short").to_be_bytes();
        assert!(length[0] > 0, "its length is two bytes");
        Certificate::from_der(&[&SEQUENCE[..], &length, &body].concat())
            .expect("only a signature is new")
    }
}

fn validity() -> Validity {
    Validity { not_before: START_S - 3600, not_after: START_S + 3600 }
}

/// The header and the content of a DER element with nothing after it.
fn split(der: &[u8]) -> (&[u8], &[u8]) {
    let header = match der[1] {
        long @ 0x81..=0x84 => 2 + usize::from(long & 0x0f),
        _ => 2,
    };
    der.split_at(header)
}

/// The first DER element, whole, and what comes after it.
fn split_off(der: &[u8]) -> (&[u8], &[u8]) {
    let (header, _) = split(der);
    let length = match header[2..] {
        [] => usize::from(header[1]),
        ref bytes => bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)),
    };
    der.split_at(header.len() + length)
}

/// Signs with a node's key and the service's.
#[derive(Clone, Debug)]
pub struct DerivedSigner {
    node: DerivedKey,
    certificate_pem: String,
    service: DerivedKey,
}

impl DerivedSigner {
    /// The node with this key, endorsed by the service.
    ///
    /// # Panics
    /// Never: the certificate is that of the service's key.
    #[must_use]
    pub fn new(node: DerivedKey, service: DerivedKey, certificate: &Certificate) -> Self {
        let endorse = EndorseNode { key: node.key.public(), names: &[], validity: validity() };
        let made = endorse_node(&service.key, certificate, &endorse).expect("it can be made");
        let made = service.sign_again(&made);
        made.verify_issued_by(certificate).expect("the service has signed it");
        Self { certificate_pem: made.pem(), node, service }
    }
}

impl Signer for DerivedSigner {
    fn node_id(&self) -> NodeId {
        self.node.key.public().node_id()
    }

    fn node_certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    fn service_key_digest(&self) -> Digest {
        self.service.key.public().digest()
    }

    fn sign_root(&self, root: &Digest) -> Vec<u8> {
        let signature: DerSignature =
            self.node.signs.sign_prehash(&root.0).expect("a digest is long enough");
        signature.as_bytes().to_vec()
    }

    fn sign_cose(&self, to_be_signed: &[u8]) -> Vec<u8> {
        let signature: Signature = self.service.signs.sign(to_be_signed);
        signature.to_bytes().to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_always_gives_keys_that_sign_alike_and_verify() {
        let signer = |seed| {
            let service = DerivedKey::new(seed, "service");
            let certificate = service.service_certificate();
            certificate.verify_issued_by(&certificate).expect("it has signed itself");
            (DerivedSigner::new(DerivedKey::new(seed, "n0"), service, &certificate), certificate)
        };
        let ((one, certificate), (again, _), (other, _)) = (signer(1), signer(1), signer(2));
        let root = sha256(b"root");
        assert_eq!(one.node_certificate_pem(), again.node_certificate_pem());
        assert_eq!(one.sign_root(&root), again.sign_root(&root));
        assert_eq!(one.sign_cose(b"bytes"), again.sign_cose(b"bytes"));
        assert_ne!(one.node_id(), other.node_id());
        let node = Certificate::from_pem(one.node_certificate_pem()).expect("it is one");
        assert_eq!(node.key().node_id(), one.node_id());
        node.key().verify_prehashed(&root, &one.sign_root(&root)).expect("the node has signed");
        let signature = one.sign_cose(b"bytes");
        certificate.key().verify_fixed(b"bytes", &signature).expect("the service has signed");
    }
}
