//! Confidential containers of Azure (C-ACI): a utility VM of Microsoft is the SEV-SNP guest, and runs the containers of a customer.
//!
//! ```text
//! report of SEV-SNP ┬─ measurement ── endorsement ── PS384 ── signer ── authority ── root, pinned by its bytes
//!                   └─ host data ── SHA-256 of the security policy, which names the containers
//! ```
//!
//! Microsoft says of a measurement that it is that of its utility VM, and of which version. Who signs that has a certificate for about
//! a year, and what was signed is in use for longer: so the certificates of Microsoft must have counted when it was signed, by the
//! signed word of whoever signed it. That time is not proved to anybody: the stamp of a service of time that comes with endorsements
//! is not looked at, and is not part of what is read here (see [`signed_uvm_endorsement`]). Microsoft publishes lists of revoked
//! certificates, which are not looked at yet.

mod uvm;

use std::collections::BTreeSet;

use coco_crypto::{
    MakerCertificate,
    cose::{AttachedSign1, CoseError, EMPTY_MAP},
    sha256,
};

use crate::{
    attested::judge_snp_machine,
    error::{AppraiseError, VerifyError},
    evidence::{EndorsementKind, Endorsements},
    facts::{Facts, PlatformFacts, SnpFacts},
    policy::SnpMachinePolicy,
    snp::{self, Verified},
};

pub use uvm::UVM_ROOT;

/// Longest security policy of containers that is read, in bytes of its base64.
pub const SECURITY_POLICY_BYTES_MAX: usize = 1 << 20;

/// What the report of a utility VM says, and Microsoft of that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnpCaciFacts {
    /// The report: its host data are the SHA-256 of the security policy.
    pub snp: SnpFacts,
    /// What is said of its measurement.
    pub uvm: UvmFacts,
}

/// What Microsoft says of a measurement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UvmFacts {
    /// Who says it: a `did:x509` with the SHA-256 of the root and the purpose of the signer's key, both of which were found to be so.
    pub did: String,
    /// Of what it says it: the name of the line of utility VMs.
    pub feed: String,
    /// The security version.
    pub svn: u64,
    /// When it was signed, by the word of whoever signed it, in seconds since 1970.
    pub signed: u64,
}

/// What confidential containers of Azure have to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnpCaciPolicy {
    /// Of the machine.
    pub machine: SnpMachinePolicy,
    /// The utility VMs. None is admitted that is not named.
    pub uvm: Vec<UvmPolicy>,
    /// SHA-256 of the security policies of the containers: see [`host_data_of_policy`]. None is admitted that is not named. Never name
    /// that of the policy which allows everything, `4f4448c67f3c8dfc8de8a5e37125d807dadcc41f06cf23f615dbd52eec777d10`: under it the host
    /// chooses the containers.
    pub host_data: BTreeSet<[u8; 32]>,
}

/// A line of utility VMs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UvmPolicy {
    /// See [`UvmFacts::did`].
    pub did: String,
    /// See [`UvmFacts::feed`].
    pub feed: String,
    /// The least security version.
    pub svn_min: u64,
}

pub(crate) fn verify(
    body: &[u8],
    endorsements: &Endorsements,
    certificates: &[MakerCertificate],
    now: u64,
) -> Result<Facts, VerifyError> {
    let lists = endorsements.of_kind(EndorsementKind::RevocationList);
    let endorsement = endorsements.one(EndorsementKind::UvmEndorsement)?;
    let endorsed = uvm::verify(endorsement, now)?;
    let Verified { facts: snp, report_data, mut valid } =
        snp::verify_report(body, certificates, &lists, now)?;
    if endorsed.measurement != snp.measurement {
        let [endorsed, found] = [endorsed.measurement, snp.measurement].map(hex::encode);
        return Err(VerifyError::OtherCode { endorsed, found });
    }
    valid.not_before = valid.not_before.max(endorsed.facts.signed);
    let facts = SnpCaciFacts { snp, uvm: endorsed.facts };
    let platform = PlatformFacts::SnpCaci(Box::new(facts));
    Ok(Facts { bound: report_data.to_vec(), made: None, valid, platform })
}

pub(crate) fn judge(facts: &SnpCaciFacts, policy: &SnpCaciPolicy) -> Result<(), AppraiseError> {
    judge_snp_machine(&facts.snp, &policy.machine)?;
    let UvmFacts { did, feed, svn, .. } = &facts.uvm;
    let of_line = policy.uvm.iter().filter(|line| line.did == *did && line.feed == *feed);
    let Some(need) = of_line.map(|line| line.svn_min).min() else {
        return Err(AppraiseError::Uvm { did: did.clone(), feed: feed.clone() });
    };
    if *svn < need {
        return Err(AppraiseError::UvmSvn { have: *svn, need });
    }
    if !policy.host_data.contains(&facts.snp.host_data) {
        return Err(AppraiseError::HostData { have: hex::encode(facts.snp.host_data) });
    }
    Ok(())
}

/// What runs, in one text: the utility VM, and the digest of the policy for its containers.
pub(crate) fn measurement(facts: &SnpCaciFacts) -> String {
    format!("{} {}", hex::encode(facts.snp.measurement), hex::encode(facts.snp.host_data))
}

/// What is signed of an endorsement of a utility VM, which Azure gives to containers in the file `reference-info-base64`: the message
/// without its unprotected headers, which may be anything. This is what evidence brings, as [`EndorsementKind::UvmEndorsement`].
///
/// # Errors
/// [`CoseError`] when the bytes are no message.
pub fn signed_uvm_endorsement(given: &[u8]) -> Result<Vec<u8>, CoseError> {
    let message = AttachedSign1::decode(given)?;
    Ok(AttachedSign1 { unprotected: EMPTY_MAP, ..message }.encode())
}

/// The host data of containers under a security policy, which Azure gives to containers in the file `security-policy-base64`. Nothing
/// when it is no base64, or longer than [`SECURITY_POLICY_BYTES_MAX`].
#[must_use]
pub fn host_data_of_policy(base64: &str) -> Option<[u8; 32]> {
    use base64::{Engine as _, engine::general_purpose::STANDARD};

    if base64.len() > SECURITY_POLICY_BYTES_MAX {
        return None;
    }
    STANDARD.decode(base64).ok().map(|policy| sha256(&policy).0)
}

#[cfg(test)]
mod tests;
