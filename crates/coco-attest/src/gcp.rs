//! Machines of Google Cloud: the TPM that their host gives them, and the certificate by which Google vouches for its key.
//!
//! ```text
//! registers ── quote ── ECDSA ── key of the TPM (AK) ── intermediate ── root, pinned by its bytes
//! ```
//!
//! The certificate names the machine and the project that pays for it. Google publishes lists of revoked certificates, which are not
//! looked at yet. The TPM is the host's, also where the machine is a confidential one: what a processor proves of that is not told here.

mod instance;

use std::collections::BTreeSet;

use coco_crypto::{Curve, MakerCertificate, SignatureInvalid};
use coco_types::{
    Digest,
    codec::{Reader, put_bytes},
};

use crate::{
    attested::is_started,
    chain::{check_chain, pieces},
    error::{AppraiseError, VerifyError},
    evidence::PlatformId,
    facts::{Facts, PlatformFacts},
    policy::PcrCode,
    tpm::{Quote, TpmPcrs, check_end, pcrs_of, pcrs_text, read_part},
    valid,
};

pub use instance::GcpInstance;

/// SHA-256 of the root's certificate: that of Google Cloud, `EK/AK CA Root`, valid until 2122.
pub const GCP_ROOT: Digest = Digest([
    0x59, 0x47, 0x59, 0x59, 0x4b, 0x9b, 0x61, 0x52, 0x4f, 0x6c, 0x8e, 0xf6, 0x68, 0xf7, 0x17, 0x7f,
    0x7b, 0x90, 0x66, 0xbc, 0x06, 0x74, 0xf2, 0xf4, 0x9f, 0xe9, 0xe0, 0x52, 0xbe, 0x78, 0xbe, 0xb2,
]);

/// Longest signature of a quote that is read, in bytes: in DER, by a key on P-256.
const SIGNATURE_BYTES_MAX: usize = 72;

/// The parts of evidence of a machine of Google Cloud, as they are read from its TPM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GcpEvidence {
    /// A quote of all registers of the SHA-256 bank by the key on P-256 that the certificate is for.
    pub quote: Vec<u8>,
    /// Its signature, in DER.
    pub signature: Vec<u8>,
    /// The registers.
    pub pcrs: TpmPcrs,
}

impl GcpEvidence {
    /// The body of the evidence: the parts one after the other, each behind its length.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        for part in [self.quote.as_slice(), &self.signature, self.pcrs.as_flattened()] {
            put_bytes(&mut body, part);
        }
        body
    }
}

/// What the TPM of a machine says, and Google of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GcpFacts {
    /// The machine.
    pub instance: GcpInstance,
    /// What was started there.
    pub pcrs: TpmPcrs,
    /// How often the TPM was reset.
    pub resets: u32,
    /// How often it went on after a pause, since the last reset.
    pub restarts: u32,
}

/// What machines of Google Cloud have to show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GcpPolicy {
    /// The projects, by their ids. None is admitted that is not named.
    pub projects: BTreeSet<String>,
    /// Where the machines may be; anywhere, if nothing is said.
    pub zones: Option<BTreeSet<String>>,
    /// The machines, by their numbers; any, if nothing is said.
    pub instances: Option<BTreeSet<u64>>,
    /// What may run there.
    pub code: Vec<PcrCode>,
}

pub(crate) fn verify(
    body: &[u8],
    certificates: &[MakerCertificate],
    now: u64,
) -> Result<Facts, VerifyError> {
    let parts = Parts::read(body)?;
    let quote = Quote::read(parts.quote)?;
    let [leaf, _, root] = certificates else {
        return Err(VerifyError::ChainLength { found: certificates.len(), expected: 3 });
    };
    let found = root.digest();
    if found != GCP_ROOT {
        return Err(VerifyError::Root { found });
    }
    check_chain(certificates)?;
    let key = leaf.key().ok().filter(|key| key.curve() == Curve::P256 && leaf.may_sign());
    key.ok_or(SignatureInvalid)?.verify_der(parts.quote, parts.signature)?;
    if !quote.is_of(&parts.pcrs) {
        return Err(VerifyError::OtherMachine { what: "the registers" });
    }
    let valid = valid(pieces(certificates), now, now)?;
    let instance =
        GcpInstance::of(leaf).ok_or(VerifyError::OtherMachine { what: "the machine" })?;
    let (resets, restarts) = (quote.resets, quote.restarts);
    let facts = Box::new(GcpFacts { instance, pcrs: parts.pcrs, resets, restarts });
    let platform = PlatformFacts::GcpVtpm(facts);
    Ok(Facts { bound: quote.data.to_vec(), made: None, valid, platform })
}

pub(crate) fn judge(facts: &GcpFacts, policy: &GcpPolicy) -> Result<(), AppraiseError> {
    let GcpInstance { zone, project, instance, is_production, .. } = &facts.instance;
    if !is_production {
        return Err(AppraiseError::NotProduction);
    }
    let other =
        |what, have: &dyn ToString| Err(AppraiseError::Instance { what, have: have.to_string() });
    if !policy.projects.contains(project) {
        return other("project", project);
    }
    if policy.zones.as_ref().is_some_and(|zones| !zones.contains(zone)) {
        return other("zone", zone);
    }
    if policy.instances.as_ref().is_some_and(|instances| !instances.contains(instance)) {
        return other("machine", instance);
    }
    if is_started(&facts.pcrs, &policy.code) {
        return Ok(());
    }
    let have = measurement(facts);
    Err(AppraiseError::Measurement { platform: PlatformId::GcpVtpm, have })
}

/// The parts of a body, not believed.
struct Parts<'a> {
    quote: &'a [u8],
    signature: &'a [u8],
    pcrs: TpmPcrs,
}

impl<'a> Parts<'a> {
    fn read(body: &'a [u8]) -> Result<Self, VerifyError> {
        let (mut reader, length) = (Reader::new(body), body.len());
        let quote = read_part(&mut reader, length, "the quote")?;
        let signature = read_part(&mut reader, length, "the signature of the quote")?;
        let registers = read_part(&mut reader, length, "the registers")?;
        let at = length.saturating_sub(reader.left());
        if signature.len() > SIGNATURE_BYTES_MAX {
            return Err(VerifyError::Malformed { what: "a signature that is too long", at });
        }
        let pcrs = pcrs_of(registers, at)?;
        check_end(&reader, length, "bytes after the registers")?;
        Ok(Self { quote, signature, pcrs })
    }
}

/// What runs, in one text: the registers.
pub(crate) fn measurement(facts: &GcpFacts) -> String {
    pcrs_text(&facts.pcrs)
}

#[cfg(test)]
mod tests;
