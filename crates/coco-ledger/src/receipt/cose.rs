//! The COSE form of a receipt: draft-ietf-cose-merkle-tree-proofs with the CCF profile of SCITT receipts.
//!
//! ```text
//!   18([ protected, { 396: { -1: [ bstr .cbor proof ] } }, null, signature ])
//!   proof = { 1: [ write set digest, commit evidence, claims digest ], 2: [ [ is left, digest ] ... ] }
//! ```
//!
//! The signature is the service's over the root, taken from the signature entry as it is.

use coco_crypto::{Certificate, PublicKey, cose as message};
use coco_types::Digest;
use minicbor::{Decoder, Encoder};

use super::{
    LeafComponents, ReceiptVerifier, VerifiedReceipt, VerifyReceiptError, check_epoch,
    check_limits, check_path,
};
use crate::{EndorsedService, PathStep, SignatureRecord, root_from_path, signature::Headers};

pub(super) fn encode(
    leaf: &LeafComponents,
    path: &[PathStep],
    signature: &SignatureRecord,
) -> Vec<u8> {
    let protected = signature.protected();
    let unprotected = encode_unprotected(leaf, path);
    message::Sign1 {
        protected: &protected,
        unprotected: &unprotected,
        signature: &signature.cose_signature,
    }
    .encode()
}

/// Verifies the COSE form of a receipt against a service certificate in PEM.
///
/// # Errors
/// [`VerifyReceiptError`] with the first thing that is wrong.
pub fn verify_cose(
    receipt: &[u8],
    service_certificate_pem: &str,
) -> Result<VerifiedReceipt, VerifyReceiptError> {
    let service =
        Certificate::from_pem(service_certificate_pem).map_err(VerifyReceiptError::Service)?;
    ReceiptVerifier::new(service).cose(receipt)
}

pub(super) fn verify(
    receipt: &[u8],
    verifier: &ReceiptVerifier,
) -> Result<VerifiedReceipt, VerifyReceiptError> {
    let (_, headers) = parts(receipt)?;
    let earlier = verifier.before.iter().find(|service| service.key.digest() == headers.key);
    let Some(earlier) = earlier else {
        return verify_cose_under(receipt, verifier.service.key());
    };
    verify_cose_of(receipt, earlier)
}

/// Verifies the COSE form of a receipt of a service of before, within what it signed.
pub(crate) fn verify_cose_of(
    receipt: &[u8],
    service: &EndorsedService,
) -> Result<VerifiedReceipt, VerifyReceiptError> {
    let (_, headers) = parts(receipt)?;
    let verified = verify_cose_under(receipt, &service.key)?;
    check_epoch(service, Some(headers.tx_id), &verified)?;
    Ok(verified)
}

/// The message, and what its protected headers say.
fn parts(receipt: &[u8]) -> Result<(message::Sign1<'_>, Headers), VerifyReceiptError> {
    check_limits(receipt.len())?;
    let sign1 = message::Sign1::decode(receipt).map_err(|_| VerifyReceiptError::Cose)?;
    let headers = Headers::decode(sign1.protected).ok_or(VerifyReceiptError::Cose)?;
    Ok((sign1, headers))
}

/// Whose signature a COSE receipt needs. The service's public key is the one that counts; a simulation, whose signers
/// sign faster and mean less, has another.
pub trait ServiceKey {
    /// SHA-256 of the public key, in SPKI DER.
    fn digest(&self) -> Digest;

    /// Whether the signature is the service's over these bytes: ES384, `r || s`.
    fn has_signed(&self, to_be_signed: &[u8], signature: &[u8]) -> bool;
}

impl ServiceKey for PublicKey {
    fn digest(&self) -> Digest {
        Self::digest(self)
    }

    fn has_signed(&self, to_be_signed: &[u8], signature: &[u8]) -> bool {
        self.verify_fixed(to_be_signed, signature).is_ok()
    }
}

/// Verifies the COSE form of a receipt under the service's key.
///
/// # Errors
/// [`VerifyReceiptError`] with the first thing that is wrong.
pub fn verify_cose_under(
    receipt: &[u8],
    service: &dyn ServiceKey,
) -> Result<VerifiedReceipt, VerifyReceiptError> {
    let (sign1, headers) = parts(receipt)?;
    let (expected, found) = (service.digest(), headers.key);
    if expected != found {
        return Err(VerifyReceiptError::ServiceKey { expected, found });
    }
    let (leaf, path) =
        decode_unprotected(sign1.unprotected).map_err(|_| VerifyReceiptError::Cose)?;
    check_path(path.len())?;
    // One receipt, one encoding.
    if encode_unprotected(&leaf, &path) != sign1.unprotected {
        return Err(VerifyReceiptError::Cose);
    }
    let root = root_from_path(leaf.leaf(), &path);
    let to_be_signed = message::to_be_signed(sign1.protected, &root.0);
    if !service.has_signed(&to_be_signed, sign1.signature) {
        return Err(VerifyReceiptError::Signature { root });
    }
    let tx_id = leaf.tx_id().map_err(VerifyReceiptError::CommitEvidence)?;
    Ok(VerifiedReceipt { tx_id: Some(tx_id), leaf_components: Some(leaf), root, node_id: None })
}

type EncodeResult = Result<(), minicbor::encode::Error<core::convert::Infallible>>;

fn encode_unprotected(leaf: &LeafComponents, path: &[PathStep]) -> Vec<u8> {
    let (mut proof, mut headers) = (Vec::new(), Vec::new());
    let write = |proof: &mut Vec<u8>, headers: &mut Vec<u8>| -> EncodeResult {
        write_proof(&mut Encoder::new(&mut *proof), leaf, path)?;
        let mut to = Encoder::new(headers);
        to.map(1)?.i64(PROOFS)?.map(1)?.i64(INCLUSION_PROOFS)?.array(1)?.bytes(proof)?;
        Ok(())
    };
    write(&mut proof, &mut headers).expect("memory takes every write");
    headers
}

fn write_proof(
    to: &mut Encoder<&mut Vec<u8>>,
    leaf: &LeafComponents,
    path: &[PathStep],
) -> EncodeResult {
    to.map(2)?.i64(LEAF)?.array(3)?;
    to.bytes(&leaf.write_set_digest.0)?.str(&leaf.commit_evidence)?.bytes(&leaf.claims_digest.0)?;
    to.i64(PATH)?.array(path.len() as u64)?;
    for step in path {
        let (is_left, digest) = match step {
            PathStep::Left(digest) => (true, digest),
            PathStep::Right(digest) => (false, digest),
        };
        to.array(2)?.bool(is_left)?.bytes(&digest.0)?;
    }
    Ok(())
}

type DecodeResult<T> = Result<T, minicbor::decode::Error>;

fn decode_unprotected(headers: &[u8]) -> DecodeResult<(LeafComponents, Vec<PathStep>)> {
    let mut from = Decoder::new(headers);
    expect(from.map()?, 1)?;
    label(from.i64()?, PROOFS)?;
    expect(from.map()?, 1)?;
    label(from.i64()?, INCLUSION_PROOFS)?;
    expect(from.array()?, 1)?;
    let mut from = Decoder::new(from.bytes()?);
    expect(from.map()?, 2)?;
    label(from.i64()?, LEAF)?;
    expect(from.array()?, 3)?;
    let leaf = LeafComponents {
        write_set_digest: digest(from.bytes()?)?,
        commit_evidence: from.str()?.to_owned(),
        claims_digest: digest(from.bytes()?)?,
    };
    label(from.i64()?, PATH)?;
    let steps = from.array()?.ok_or_else(wrong)?;
    let mut path = Vec::new();
    for _ in 0..steps {
        expect(from.array()?, 2)?;
        let is_left = from.bool()?;
        let digest = digest(from.bytes()?)?;
        path.push(if is_left { PathStep::Left(digest) } else { PathStep::Right(digest) });
    }
    Ok((leaf, path))
}

fn expect(found: Option<u64>, expected: u64) -> DecodeResult<()> {
    if found == Some(expected) { Ok(()) } else { Err(wrong()) }
}

fn label(found: i64, expected: i64) -> DecodeResult<()> {
    if found == expected { Ok(()) } else { Err(wrong()) }
}

fn digest(bytes: &[u8]) -> DecodeResult<Digest> {
    bytes.try_into().map(Digest).map_err(|_| wrong())
}

fn wrong() -> minicbor::decode::Error {
    minicbor::decode::Error::message("not of the form")
}

/// The header that holds proofs.
const PROOFS: i64 = 396;
/// Among them, those that something is in the tree.
const INCLUSION_PROOFS: i64 = -1;
/// In a proof, the parts of the leaf.
const LEAF: i64 = 1;
/// In a proof, the path.
const PATH: i64 = 2;
