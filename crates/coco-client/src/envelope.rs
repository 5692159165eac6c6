//! What a member signs: the `COSE_Sign1` of CCF's governance, before and after the signature.
//!
//! A draft is the same message with an empty signature. So it can be written to a file, be looked at elsewhere with any tool
//! for COSE, and be signed where the key is. Headers are encoded as CCF's own tool `ccf_cose_sign1` does.

use coco_crypto::{
    SignError, SignerCertificate,
    cose::{ATTACHED_BYTES_MAX, AttachedSign1, EMPTY_MAP},
};
use coco_governance::{MemberId, Message, Request, RequestError, protected_headers};
use coco_types::Digest;
use thiserror::Error;

use crate::{MemberKey, call};

/// Bytes that are not what was asked for, or cannot be signed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EnvelopeError {
    /// Not a request of a member.
    #[error("not a request of a member")]
    Request(#[from] RequestError),
    /// Larger than a service takes.
    #[error("the request has {found} bytes, at most {ATTACHED_BYTES_MAX} are taken")]
    Long {
        /// How many it has.
        found: usize,
    },
    /// It has a signature already.
    #[error("the request is signed already")]
    Signed,
    /// It has no signature yet.
    #[error("the request is not signed yet")]
    Unsigned,
    /// It is another member's.
    #[error("the request is to be signed by {expected}, and the key is that of {found}")]
    Signer {
        /// Whom the request names.
        expected: MemberId,
        /// Whose key it is.
        found: MemberId,
    },
    /// The key did not sign.
    #[error(transparent)]
    Key(#[from] SignError),
    /// The key did not make the signature that is there.
    #[error("the signature does not verify")]
    Signature(#[source] RequestError),
}

/// A request that is not signed yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft(Told);

/// A signed request. Whether the signature holds is for the service, or for [`Envelope::verify`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope(Told);

/// A request and what it says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Told {
    bytes: Vec<u8>,
    signer: MemberId,
    message: Message,
    created_at: u64,
    digest: Digest,
    content: Vec<u8>,
    is_signed: bool,
}

impl Told {
    fn read(bytes: Vec<u8>) -> Result<Self, EnvelopeError> {
        if bytes.len() > ATTACHED_BYTES_MAX {
            return Err(EnvelopeError::Long { found: bytes.len() });
        }
        let request = Request::read(&bytes)?;
        let (signer, message) = (request.signer(), request.message());
        let (created_at, digest) = (request.created_at(), request.digest());
        let content = request.cose().payload.to_vec();
        let is_signed = !request.cose().signature.is_empty();
        Ok(Self { bytes, signer, message, created_at, digest, content, is_signed })
    }
}

macro_rules! says {
    ($($name:ident),*) => {$(
        impl $name {
            /// The message as it is sent and kept in files.
            #[must_use]
            pub fn bytes(&self) -> &[u8] {
                &self.0.bytes
            }

            /// Which member it is from.
            #[must_use]
            pub const fn signer(&self) -> MemberId {
                self.0.signer
            }

            /// What it is about.
            #[must_use]
            pub const fn message(&self) -> Message {
                self.0.message
            }

            /// When it was made, in seconds since 1970.
            #[must_use]
            pub const fn created_at(&self) -> u64 {
                self.0.created_at
            }

            /// SHA-256 of what the signature covers.
            #[must_use]
            pub const fn digest(&self) -> Digest {
                self.0.digest
            }

            /// What it carries.
            #[must_use]
            pub fn content(&self) -> &[u8] {
                &self.0.content
            }

            /// Where it is sent to.
            #[must_use]
            pub fn path(&self) -> String {
                call::path_of(self.0.message, self.0.signer)
            }
        }
    )*};
}
says!(Draft, Envelope);

impl Draft {
    /// Prepares a request of the member whose certificate this is.
    ///
    /// # Errors
    /// [`EnvelopeError::Long`] when it would be larger than a service takes; [`EnvelopeError::Request`] when `created_at`
    /// lies in the far future.
    ///
    /// # Panics
    /// Never: memory takes every write.
    pub fn new(
        message: Message,
        signer: &SignerCertificate,
        created_at: u64,
        content: &[u8],
    ) -> Result<Self, EnvelopeError> {
        let (algorithm, id) = (signer.cose_algorithm(), MemberId(signer.digest()));
        let protected = protected_headers(algorithm, id, message, created_at);
        let bytes = AttachedSign1 {
            protected: &protected,
            unprotected: EMPTY_MAP,
            payload: content,
            signature: &[],
        }
        .encode();
        let found = bytes.len() + SIGNATURE_BYTES_MAX;
        if found > ATTACHED_BYTES_MAX {
            return Err(EnvelopeError::Long { found });
        }
        Told::read(bytes).map(Self)
    }

    /// Reads one from a file's bytes.
    ///
    /// # Errors
    /// [`EnvelopeError`] when it is none, or is signed already.
    pub fn read(bytes: Vec<u8>) -> Result<Self, EnvelopeError> {
        let told = Told::read(bytes)?;
        if told.is_signed { Err(EnvelopeError::Signed) } else { Ok(Self(told)) }
    }

    /// Signs it, and checks what came out as a service would.
    ///
    /// # Errors
    /// [`EnvelopeError::Signer`] when it is another member's; [`EnvelopeError::Key`] when the key's device does not sign;
    /// [`EnvelopeError::Signature`] when its algorithm is not that of the key.
    ///
    /// # Panics
    /// Never: a draft has been read before.
    pub fn sign(&self, key: &MemberKey) -> Result<Envelope, EnvelopeError> {
        if self.signer() != key.id() {
            return Err(EnvelopeError::Signer { expected: self.signer(), found: key.id() });
        }
        let draft = AttachedSign1::decode(self.bytes()).expect("it was read before");
        let signature = key.sign(&draft.to_be_signed())?;
        let envelope = Envelope::read(AttachedSign1 { signature: &signature, ..draft }.encode())?;
        envelope.verify(key.certificate())?;
        Ok(envelope)
    }
}

impl Envelope {
    /// Reads one from a file's bytes.
    ///
    /// # Errors
    /// [`EnvelopeError`] when it is none, or is not signed yet.
    pub fn read(bytes: Vec<u8>) -> Result<Self, EnvelopeError> {
        let told = Told::read(bytes)?;
        if told.is_signed { Ok(Self(told)) } else { Err(EnvelopeError::Unsigned) }
    }

    /// Checks that it is signed by the key in this certificate.
    ///
    /// # Errors
    /// [`EnvelopeError::Signature`].
    ///
    /// # Panics
    /// Never: an envelope has been read before.
    pub fn verify(&self, certificate: &SignerCertificate) -> Result<(), EnvelopeError> {
        let request = Request::read(self.bytes()).expect("it was read before");
        request.verify_by(certificate).map(drop).map_err(EnvelopeError::Signature)
    }
}

/// Bytes of the longest signature, that of P-521, and of what stands before it.
const SIGNATURE_BYTES_MAX: usize = 132 + 2;

#[cfg(test)]
mod tests {
    use coco_crypto::{Curve, Ed25519Key, MemberSigner, SigningKey, Validity, member_certificate};
    use coco_governance::{CREATED_AT_MAX, ProposalId};

    use super::*;

    fn validity() -> Validity {
        Validity { not_before: 0, not_after: 9 }
    }

    /// A member for each kind of key.
    fn members() -> Vec<MemberKey> {
        let own = MemberSigner::Ed25519(Ed25519Key::generate());
        let certificate = own.certify("m", validity()).unwrap();
        let others = Curve::ALL.into_iter().map(member);
        others.chain([MemberKey::of(own, certificate).unwrap()]).collect()
    }

    fn member(curve: Curve) -> MemberKey {
        let key = SigningKey::generate(curve);
        let certificate = member_certificate(&key, "m", validity()).unwrap();
        MemberKey::new(key, certificate).unwrap()
    }

    const PROPOSAL: ProposalId = ProposalId(Digest([7; 32]));

    #[test]
    fn the_service_accepts_what_every_kind_of_key_signs_of_every_kind() {
        for member in members() {
            for message in [
                Message::Proposal,
                Message::Ballot(PROPOSAL),
                Message::Withdrawal(PROPOSAL),
                Message::Ack,
                Message::StateDigest,
                Message::RecoveryShare,
            ] {
                let draft =
                    Draft::new(message, member.certificate(), 1_700_000_000, b"{}").unwrap();
                let envelope = draft.sign(&member).unwrap();
                let request = Request::read(envelope.bytes()).unwrap();
                let signed = request.verify_by(member.certificate()).unwrap();
                assert_eq!((signed.signer(), signed.message()), (member.id(), message));
                assert_eq!((signed.created_at(), signed.content()), (1_700_000_000, &b"{}"[..]));
                assert_eq!(signed.digest(), envelope.digest());
                assert_eq!(draft.digest(), envelope.digest());
            }
        }
    }

    /// Everything but the signature, which has a nonce, is what CCF's own tool makes.
    #[test]
    fn messages_are_those_of_ccfs_tool() {
        macro_rules! vector {
            ($name:literal) => {
                include_bytes!(concat!("../../coco-governance/tests/vectors/", $name)).to_vec()
            };
        }
        let ballot = Message::Ballot(ProposalId(
            "0000000000000000000000000000000000000000000000000000000000000007".parse().unwrap(),
        ));
        for (pem, message, vector) in [
            (vector!("p256.pem"), Message::Proposal, vector!("p256.proposal.cose")),
            (vector!("p256.pem"), ballot, vector!("p256.ballot.cose")),
            (vector!("p384.pem"), Message::Proposal, vector!("p384.proposal.cose")),
            (vector!("p384.pem"), ballot, vector!("p384.ballot.cose")),
            (vector!("p521.pem"), Message::Proposal, vector!("p521.proposal.cose")),
            (vector!("p521.pem"), ballot, vector!("p521.ballot.cose")),
        ] {
            let certificate = SignerCertificate::from_pem(str::from_utf8(&pem).unwrap()).unwrap();
            let theirs = Envelope::read(vector).unwrap();
            assert_eq!(theirs.message(), message);
            let ours =
                Draft::new(message, &certificate, theirs.created_at(), theirs.content()).unwrap();
            let theirs = AttachedSign1::decode(theirs.bytes()).unwrap();
            assert_eq!(ours.bytes(), AttachedSign1 { signature: &[], ..theirs }.encode());
        }
    }

    #[test]
    fn a_draft_is_signed_by_the_member_it_names_alone() {
        let (one, other) = (member(Curve::P384), member(Curve::P384));
        let draft = Draft::new(Message::Ack, one.certificate(), 1, b"{}").unwrap();
        let refused = EnvelopeError::Signer { expected: one.id(), found: other.id() };
        assert_eq!(draft.sign(&other), Err(refused));
        let envelope = draft.sign(&one).unwrap();
        assert!(envelope.verify(other.certificate()).is_err());
    }

    #[test]
    fn a_draft_is_no_envelope_and_an_envelope_no_draft() {
        let one = member(Curve::P256);
        let draft = Draft::new(Message::Ack, one.certificate(), 1, b"{}").unwrap();
        let envelope = draft.sign(&one).unwrap();
        assert_eq!(Draft::read(draft.bytes().to_vec()), Ok(draft.clone()));
        assert_eq!(Envelope::read(envelope.bytes().to_vec()), Ok(envelope.clone()));
        assert_eq!(Draft::read(envelope.bytes().to_vec()), Err(EnvelopeError::Signed));
        assert_eq!(Envelope::read(draft.bytes().to_vec()), Err(EnvelopeError::Unsigned));
        assert!(matches!(Envelope::read(b"hello".to_vec()), Err(EnvelopeError::Request(_))));
    }

    #[test]
    fn a_signed_request_is_never_longer_than_is_taken() {
        let one = member(Curve::P521);
        let of =
            |bytes: usize| Draft::new(Message::Proposal, one.certificate(), 1, &vec![b' '; bytes]);
        let overhead = of(1 << 17).unwrap().bytes().len() + SIGNATURE_BYTES_MAX - (1 << 17);
        for (bytes, ok) in [(-1_isize, true), (0, true), (1, false)] {
            let length = (ATTACHED_BYTES_MAX - overhead).checked_add_signed(bytes).unwrap();
            let draft = of(length);
            assert_eq!(draft.is_ok(), ok, "{bytes}");
            assert!(draft.is_err() || draft.unwrap().sign(&one).is_ok());
        }
    }

    #[test]
    fn a_time_beyond_ten_digits_is_refused() {
        let one = member(Curve::P256);
        for (time, ok) in [(CREATED_AT_MAX, true), (CREATED_AT_MAX + 1, false)] {
            let draft = Draft::new(Message::Ack, one.certificate(), time, b"{}");
            assert_eq!(draft.is_ok(), ok, "{time}");
        }
    }
}
