//! A member's signed request: `COSE_Sign1` with its content, as the tools of CCF make it.
//!
//! The protected headers are `alg`, `kid` (the id of the member, in hexadecimal), `ccf.gov.msg.type`,
//! `ccf.gov.msg.created_at` and, for ballots and withdrawals, `ccf.gov.msg.proposal_id`. Others are passed over, as COSE has
//! it, unless the message says with `crit` that they must be understood.

use coco_crypto::{
    Certificate, SignerCertificate, SigningKey,
    cose::{
        ALGORITHM_EDDSA, ALGORITHM_ES256, ALGORITHM_ES384, ALGORITHM_ES512, AttachedSign1,
        CoseError, EMPTY_MAP, to_be_signed,
    },
    sha256,
};
use coco_types::Digest;
use minicbor::{Decoder, Encoder, data::Type};
use thiserror::Error;

use crate::{MemberId, ProposalId};

/// The largest `created_at`, in seconds since 1970: ten digits, so that texts of it sort as the numbers do.
pub const CREATED_AT_MAX: u64 = 9_999_999_999;

/// Bytes that are no request.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RequestError {
    /// Not the envelope.
    #[error("not a signed request")]
    Envelope(#[from] CoseError),
    /// The protected headers are no map of known forms.
    #[error("the protected headers are not CBOR of the expected form")]
    Headers,
    /// A header that is there twice.
    #[error("the protected header {0} is there twice")]
    Twice(String),
    /// The message says that it must not be read without other headers.
    #[error("the protected headers name critical ones, and none is known here")]
    Critical,
    /// A header that must be there.
    #[error("the protected header {0} is missing")]
    Missing(&'static str),
    /// An algorithm that is not ES256, ES384, ES512 or `EdDSA`.
    #[error("the algorithm {0} is not ES256 (-7), ES384 (-35), ES512 (-36) or EdDSA (-8)")]
    Algorithm(i64),
    /// The key's name is no member's id.
    #[error("the key id is not 64 lower-case hexadecimal digits")]
    KeyId,
    /// A type of message that is unknown.
    #[error("the message type {0:?} is unknown")]
    MessageType(String),
    /// The named proposal's id is none.
    #[error("the proposal id is not 64 lower-case hexadecimal digits")]
    ProposalId,
    /// `created_at` has more than ten digits.
    #[error("created_at is {0}; it may be at most {CREATED_AT_MAX}")]
    CreatedAt(u64),
    /// The certificate's key signs under another algorithm.
    #[error("the algorithm is {found}, and the key of the signer is for {expected}")]
    OtherAlgorithm {
        /// Of the key, as COSE counts.
        expected: i64,
        /// Of the request.
        found: i64,
    },
    /// Not signed by the one it names.
    #[error("the signature does not verify under the certificate of the signer")]
    Signature,
}

/// What a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// `proposal`: the content is a proposal.
    Proposal,
    /// `ballot`: the content is a ballot for this proposal.
    Ballot(ProposalId),
    /// `withdrawal`: take this proposal back.
    Withdrawal(ProposalId),
    /// `ack`: the content acknowledges a state digest.
    Ack,
    /// `state_digest`: give me the digest of the state.
    StateDigest,
    /// `recovery_share`: the content is a recovery share.
    RecoveryShare,
    /// `encrypted_recovery_share`: known, and taken by no call any more.
    EncryptedRecoveryShare,
}

/// A request taken apart. Nobody has checked the signature: see [`Request::verify`].
#[derive(Clone, Debug)]
pub struct Request<'a> {
    envelope: &'a [u8],
    cose: AttachedSign1<'a>,
    algorithm: i64,
    signer: MemberId,
    message: Message,
    created_at: u64,
}

/// A request that the certificate of its signer has signed.
#[derive(Clone, Debug)]
pub struct Signed<'a>(Request<'a>);

impl Message {
    /// How it is called in the header.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.parts().0
    }

    /// How it is called in the header, and the proposal that it is about.
    fn parts(self) -> (&'static str, Option<ProposalId>) {
        match self {
            Self::Proposal => ("proposal", None),
            Self::Ballot(id) => ("ballot", Some(id)),
            Self::Withdrawal(id) => ("withdrawal", Some(id)),
            Self::Ack => ("ack", None),
            Self::StateDigest => ("state_digest", None),
            Self::RecoveryShare => ("recovery_share", None),
            Self::EncryptedRecoveryShare => ("encrypted_recovery_share", None),
        }
    }
}

/// Makes a member's request, signed with its key. `created_at` is in seconds since 1970.
#[must_use]
pub fn sign_request(
    key: &SigningKey,
    signer: MemberId,
    message: Message,
    created_at: u64,
    content: &[u8],
) -> Vec<u8> {
    let protected =
        protected_headers(key.public().curve().cose_algorithm(), signer, message, created_at);
    let signature = key.sign_fixed(&to_be_signed(&protected, content));
    let (protected, unprotected) = (protected.as_slice(), EMPTY_MAP);
    AttachedSign1 { protected, unprotected, payload: content, signature: &signature }.encode()
}

/// The protected headers of a request, for whoever signs elsewhere, under COSE's `algorithm`: what is signed is
/// [`to_be_signed`] of them and the content.
///
/// # Panics
/// Never: memory takes all that is written.
#[must_use]
pub fn protected_headers(
    algorithm: i64,
    signer: MemberId,
    message: Message,
    created_at: u64,
) -> Vec<u8> {
    let (name, proposal) = message.parts();
    let mut protected = Vec::new();
    let mut encoder = Encoder::new(&mut protected);
    let mut write = || {
        encoder.map(4 + u64::from(proposal.is_some()))?;
        encoder.i64(1)?.i64(algorithm)?;
        encoder.i64(4)?.bytes(&signer.key())?;
        encoder.str(TYPE)?.str(name)?;
        encoder.str(CREATED_AT)?.u64(created_at)?;
        if let Some(id) = proposal {
            encoder.str(PROPOSAL_ID)?.str(&id.to_string())?;
        }
        Ok::<(), minicbor::encode::Error<std::convert::Infallible>>(())
    };
    write().expect("memory takes all that is written");
    protected
}

impl<'a> Request<'a> {
    /// Takes a request apart.
    ///
    /// # Errors
    /// [`RequestError`] with the first thing that is wrong.
    pub fn read(envelope: &'a [u8]) -> Result<Self, RequestError> {
        let cose = AttachedSign1::decode(envelope)?;
        let Headers { algorithm, key_id, message, created_at, proposal_id } =
            Headers::read(cose.protected)?;
        let algorithm = algorithm.ok_or(RequestError::Missing("alg"))?;
        if !ALGORITHMS.contains(&algorithm) {
            return Err(RequestError::Algorithm(algorithm));
        }
        let key_id = key_id.ok_or(RequestError::Missing("kid"))?;
        let key_id = str::from_utf8(key_id).map_err(|_| RequestError::KeyId)?;
        let signer = MemberId(lower_hex(key_id).ok_or(RequestError::KeyId)?);
        let proposal = || {
            let id = proposal_id.ok_or(RequestError::Missing(PROPOSAL_ID))?;
            lower_hex(id).map(ProposalId).ok_or(RequestError::ProposalId)
        };
        let message = match message.ok_or(RequestError::Missing(TYPE))? {
            "proposal" => Message::Proposal,
            "ballot" => Message::Ballot(proposal()?),
            "withdrawal" => Message::Withdrawal(proposal()?),
            "ack" => Message::Ack,
            "state_digest" => Message::StateDigest,
            "recovery_share" => Message::RecoveryShare,
            "encrypted_recovery_share" => Message::EncryptedRecoveryShare,
            other => return Err(RequestError::MessageType(other.chars().take(40).collect())),
        };
        let created_at = created_at.ok_or(RequestError::Missing(CREATED_AT))?;
        if created_at > CREATED_AT_MAX {
            return Err(RequestError::CreatedAt(created_at));
        }
        Ok(Self { envelope, cose, algorithm, signer, message, created_at })
    }

    /// The member it says it is from.
    #[must_use]
    pub const fn signer(&self) -> MemberId {
        self.signer
    }

    /// What it says it is about.
    #[must_use]
    pub const fn message(&self) -> Message {
        self.message
    }

    /// When it says it was made, in seconds since 1970.
    #[must_use]
    pub const fn created_at(&self) -> u64 {
        self.created_at
    }

    /// The parts of its envelope.
    #[must_use]
    pub const fn cose(&self) -> &AttachedSign1<'a> {
        &self.cose
    }

    /// The envelope as the ledger keeps it: without unprotected headers. No signature covers them, so whoever passes a request
    /// on chooses them, and how long they are.
    #[must_use]
    pub fn recorded(&self) -> Vec<u8> {
        AttachedSign1 { unprotected: EMPTY_MAP, ..self.cose }.encode()
    }

    /// SHA-256 of what its signature covers, as [`Signed::digest`].
    #[must_use]
    pub fn digest(&self) -> Digest {
        sha256(&self.cose.to_be_signed())
    }

    /// What it carries, or is said to.
    #[must_use]
    pub const fn content(&self) -> &'a [u8] {
        self.cose.payload
    }

    /// Checks that it is signed by the key in the certificate whose digest it names.
    ///
    /// # Errors
    /// [`RequestError`] when the certificate is another, has a key for another algorithm, or did not sign this.
    pub fn verify(self, certificate: &Certificate) -> Result<Signed<'a>, RequestError> {
        self.verify_by(&SignerCertificate::from(certificate))
    }

    /// The same with a certificate whose key may be Ed25519.
    ///
    /// # Errors
    /// [`RequestError`], as above.
    pub fn verify_by(self, signer: &SignerCertificate) -> Result<Signed<'a>, RequestError> {
        if MemberId(signer.digest()) != self.signer {
            return Err(RequestError::Signature);
        }
        let (expected, found) = (signer.cose_algorithm(), self.algorithm);
        if expected != found {
            return Err(RequestError::OtherAlgorithm { expected, found });
        }
        let signed = self.cose.to_be_signed();
        signer.verify_cose(&signed, self.cose.signature).map_err(|_| RequestError::Signature)?;
        Ok(Signed(self))
    }
}

impl<'a> Signed<'a> {
    /// Who signed it.
    #[must_use]
    pub const fn signer(&self) -> MemberId {
        self.0.signer
    }

    /// What it is about.
    #[must_use]
    pub const fn message(&self) -> Message {
        self.0.message
    }

    /// When it was made, in seconds since 1970, as the signer says.
    #[must_use]
    pub const fn created_at(&self) -> u64 {
        self.0.created_at()
    }

    /// What it carries.
    #[must_use]
    pub const fn content(&self) -> &'a [u8] {
        self.0.content()
    }

    /// All of it, as it was sent.
    #[must_use]
    pub const fn envelope(&self) -> &'a [u8] {
        self.0.envelope
    }

    /// The envelope as the ledger keeps it; see [`Request::recorded`].
    #[must_use]
    pub fn recorded(&self) -> Vec<u8> {
        self.0.recorded()
    }

    /// SHA-256 of what was signed; see [`Request::digest`].
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.0.digest()
    }
}

fn lower_hex(text: &str) -> Option<Digest> {
    let digest: Digest = text.parse().ok()?;
    (digest.to_string() == text).then_some(digest)
}

#[derive(Default)]
struct Headers<'a> {
    algorithm: Option<i64>,
    key_id: Option<&'a [u8]>,
    message: Option<&'a str>,
    created_at: Option<u64>,
    proposal_id: Option<&'a str>,
}

impl<'a> Headers<'a> {
    fn read(protected: &'a [u8]) -> Result<Self, RequestError> {
        let mut decoder = Decoder::new(protected);
        let form = |_| RequestError::Headers;
        let count = decoder.map().map_err(form)?.ok_or(RequestError::Headers)?;
        let mut headers = Self::default();
        for _ in 0..count {
            headers.take(&mut decoder)?;
        }
        if decoder.position() == protected.len() { Ok(headers) } else { Err(RequestError::Headers) }
    }

    /// Reads one header with its value.
    fn take(&mut self, decoder: &mut Decoder<'a>) -> Result<(), RequestError> {
        let form = |_| RequestError::Headers;
        if decoder.datatype().map_err(form)? == Type::String {
            let name = decoder.str().map_err(form)?;
            return match name {
                TYPE => once(&mut self.message, decoder.str().map_err(form)?, name),
                CREATED_AT => once(&mut self.created_at, decoder.u64().map_err(form)?, name),
                PROPOSAL_ID => once(&mut self.proposal_id, decoder.str().map_err(form)?, name),
                _ => decoder.skip().map_err(form),
            };
        }
        match decoder.i64().map_err(form)? {
            1 => once(&mut self.algorithm, decoder.i64().map_err(form)?, "alg"),
            2 => Err(RequestError::Critical),
            4 => once(&mut self.key_id, decoder.bytes().map_err(form)?, "kid"),
            _ => decoder.skip().map_err(form),
        }
    }
}

fn once<T>(slot: &mut Option<T>, value: T, name: &str) -> Result<(), RequestError> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(RequestError::Twice(name.to_owned())),
    }
}

const ALGORITHMS: [i64; 4] = [ALGORITHM_ES256, ALGORITHM_ES384, ALGORITHM_ES512, ALGORITHM_EDDSA];

const TYPE: &str = "ccf.gov.msg.type";
const CREATED_AT: &str = "ccf.gov.msg.created_at";
const PROPOSAL_ID: &str = "ccf.gov.msg.proposal_id";
