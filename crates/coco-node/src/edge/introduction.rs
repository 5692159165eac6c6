//! The body of `POST /node/join`: what a node says of itself, and its evidence, verified, of which the primary knows whether members
//! admit it.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use coco_api::{
    ErrorCode,
    join::{JoinRequest, QuoteInfo},
};
use coco_attest::{
    DecodeEvidenceError, Endorsements, Evidence, PlatformId, ReportData, VerifyError, verify,
};
use coco_crypto::{
    AltName, Certificate, EncryptionKey, EncryptionKeyError, NodeRequest, NodeRequestError,
    PublicKey, node_names,
};
use coco_ledger::GenesisNode;
use coco_replica::{Introduction, ShownEvidence};
use coco_types::Digest;
use thiserror::Error;

use crate::{address::HostPort, join::KEY_BYTES_MAX};

/// Longest address of a node, in bytes.
pub const ADDRESS_BYTES_MAX: usize = 300;

/// What is wrong with what a node says of itself.
#[derive(Debug, Error)]
pub enum IntroductionError {
    /// Not the JSON that it should be.
    #[error("{0}")]
    Json(serde_json::Error),
    /// Nobody can be reached there.
    #[error("published_address is host:port, of at most {ADDRESS_BYTES_MAX} bytes")]
    Address,
    /// The key has too many bytes to be looked at.
    #[error("public_encryption_key has at most {KEY_BYTES_MAX} bytes")]
    LongKey,
    /// Nothing can be encrypted to it.
    #[error("public_encryption_key: {0}")]
    Key(EncryptionKeyError),
    /// The request for certificates is none, or not signed by the node.
    #[error("certificate_signing_request: {0}")]
    Request(NodeRequestError),
    /// The request for certificates is for another key than the one that the channel has proved.
    #[error("certificate_signing_request is for another key than the certificate in TLS")]
    RequestKey,
    /// The request for certificates is for other names than the service gives this node.
    #[error(
        "certificate_signing_request must be for the hosts of the two addresses, and for no other names"
    )]
    RequestNames,
    /// Evidence of a platform that is not known.
    #[error("evidence of that format is not known here")]
    Format,
    /// The evidence is not base64.
    #[error("the quote is not base64")]
    Base64,
    /// The endorsements are none.
    #[error("the endorsements: {0}")]
    Endorsements(#[from] DecodeEvidenceError),
    /// The evidence does not prove what it says.
    #[error("the quote: {0}")]
    Quote(#[from] VerifyError),
    /// The evidence binds another key, or another connection than the one on which it came.
    #[error("the quote was not made for this key and this connection")]
    OtherChannel,
}

impl IntroductionError {
    /// The stable code under which a node hears of it.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Json(_)
            | Self::Address
            | Self::LongKey
            | Self::Key(_)
            | Self::Request(_)
            | Self::RequestKey
            | Self::RequestNames => ErrorCode::InvalidInput,
            Self::Format
            | Self::Base64
            | Self::Endorsements(_)
            | Self::Quote(_)
            | Self::OtherChannel => ErrorCode::InvalidQuote,
        }
    }
}

/// Reads what the holder of a certificate's key says of itself, and what it shows for this channel at this time, in seconds since 1970.
///
/// # Errors
/// [`IntroductionError`] with the first thing that is wrong.
pub fn read(
    certificate: &Certificate,
    data: ReportData,
    now_s: u64,
    body: &[u8],
) -> Result<Introduction, IntroductionError> {
    let request: JoinRequest = serde_json::from_slice(body).map_err(IntroductionError::Json)?;
    let node_id = certificate.key().node_id();
    let shown = shown(&request.quote_info, data, now_s)?;
    let rpc_address =
        request.node_info_network.rpc_interfaces.primary_rpc_interface.published_address;
    let peer_address = request.node_info_network.node_to_node_interface.published_address;
    let mut names = Vec::new();
    for address in [&rpc_address, &peer_address] {
        let parsed = address.parse::<HostPort>().map_err(|_| IntroductionError::Address)?;
        if address.len() > ADDRESS_BYTES_MAX {
            return Err(IntroductionError::Address);
        }
        names.push(parsed.alt_name());
    }
    let encryption_key_pem = request.public_encryption_key;
    if encryption_key_pem.len() > KEY_BYTES_MAX {
        return Err(IntroductionError::LongKey);
    }
    EncryptionKey::from_pem(&encryption_key_pem).map_err(IntroductionError::Key)?;
    let asked = request.certificate_signing_request;
    let request_pem = asked.map(|pem| request_of(certificate.key(), &names, &pem)).transpose()?;
    let node = GenesisNode {
        node_id,
        certificate_pem: String::new(),
        request_pem,
        quote_format: request.quote_info.format,
        code_digest: Digest::ZERO,
        rpc_address,
        peer_address,
        encryption_key_pem,
    };
    Ok(Introduction { node, shown, public_key_pem: certificate.key().to_pem() })
}

/// The request for certificates of the node with this key, in PEM: for the names that the service gives it when it comes.
fn request_of(key: &PublicKey, names: &[AltName], pem: &str) -> Result<String, IntroductionError> {
    let request = NodeRequest::from_pem(pem).map_err(IntroductionError::Request)?;
    if request.key() != key {
        return Err(IntroductionError::RequestKey);
    }
    if request.has_names(&node_names(key, names)) {
        Ok(request.pem())
    } else {
        Err(IntroductionError::RequestNames)
    }
}

/// What the node shows, appraised but for what members admit.
fn shown(
    quote: &QuoteInfo,
    data: ReportData,
    now_s: u64,
) -> Result<ShownEvidence, IntroductionError> {
    let mut platforms = PlatformId::ALL.into_iter();
    let platform = platforms.find(|platform| platform.quote_format() == quote.format);
    let platform = platform.ok_or(IntroductionError::Format)?;
    let bytes = |text: &str| STANDARD.decode(text).map_err(|_| IntroductionError::Base64);
    let (body, log) = (bytes(&quote.quote)?, bytes(&quote.event_log)?);
    let evidence = Evidence { platform, body, log };
    let endorsements = Endorsements::decode(&bytes(&quote.endorsements)?)?;
    let facts = verify(&evidence, &endorsements, now_s)?;
    if facts.bound() != data.for_platform(platform) {
        return Err(IntroductionError::OtherChannel);
    }
    Ok(ShownEvidence { evidence, endorsements, transcript: data.transcript })
}
