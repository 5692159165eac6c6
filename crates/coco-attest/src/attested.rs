//! The members' opinion of facts, and the type that only it can make.

use coco_crypto::Validity;
use coco_types::{Digest, NodeId};

use crate::{
    AppraisalPolicy, AppraiseError, AzureFacts, AzureSnpPolicy, Evidence, Facts, Flag, Generation,
    NitroCode, NitroFacts, NitroPolicy, PlatformFacts, PlatformId, RevocationRule, SnpCode,
    SnpFacts, SnpKey, SnpPolicy, TrustClass, VerifyError, azure, intel, verify,
};

/// What whoever asked expects, beside what members admit.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The node whose key the evidence shall be bound to.
    pub node: NodeId,
    /// The bytes that bind it to that key and to this question: at least 32, which whoever asks derives from both.
    pub bound: &'a [u8],
}

/// What is known of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeClaims {
    /// The node.
    pub node: NodeId,
    /// What proves it.
    pub platform: PlatformId,
    /// How much that proves.
    pub class: TrustClass,
    /// What it runs: the platform's own measurement, in hexadecimal.
    pub measurement: String,
}

/// Something that was appraised: there is no other way to make one than [`appraise`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attested<T> {
    claims: T,
    policy_version: u64,
    evidence: Digest,
    valid: Validity,
}

impl<T> Attested<T> {
    /// What was found to be so.
    #[must_use]
    pub const fn claims(&self) -> &T {
        &self.claims
    }

    /// By which version of the members' manifests.
    #[must_use]
    pub const fn policy_version(&self) -> u64 {
        self.policy_version
    }

    /// SHA-256 of the evidence.
    #[must_use]
    pub const fn evidence(&self) -> Digest {
        self.evidence
    }

    /// When all that it rests on counts.
    #[must_use]
    pub const fn valid(&self) -> Validity {
        self.valid
    }
}

/// Verifies evidence, and holds it against what members admit and what is expected, at the time `now` in seconds since 1970.
///
/// # Errors
/// [`AppraiseEvidenceError`] with the first thing that is wrong.
pub fn appraise(
    evidence: &Evidence,
    endorsements: &crate::Endorsements,
    now: u64,
    policy: &AppraisalPolicy,
    expected: &Expected<'_>,
) -> Result<Attested<NodeClaims>, AppraiseEvidenceError> {
    let facts = verify(evidence, endorsements, now)?;
    judge(&facts, now, policy, expected)?;
    let claims = NodeClaims {
        node: expected.node,
        platform: facts.platform_id(),
        class: facts.class(),
        measurement: measurement(&facts),
    };
    Ok(Attested {
        claims,
        policy_version: policy.version,
        evidence: evidence.digest(),
        valid: facts.valid(),
    })
}

/// Evidence that is not believed, or not wanted.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum AppraiseEvidenceError {
    /// It does not prove what it says.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// It is not what members admit, or what was asked for.
    #[error(transparent)]
    Appraise(#[from] AppraiseError),
}

/// Holds facts against a policy: first whether they are for this question, then of which machine, then of which program.
fn judge(
    facts: &Facts,
    now: u64,
    policy: &AppraisalPolicy,
    expected: &Expected<'_>,
) -> Result<(), AppraiseError> {
    if facts.bound() != expected.bound || expected.bound.len() < BOUND_BYTES_MIN {
        let (have, need) = (hex::encode(facts.bound()), hex::encode(expected.bound));
        return Err(AppraiseError::Binding { have, need });
    }
    let (have, need) = (facts.class(), policy.class_min);
    if have < need {
        return Err(AppraiseError::Class { have, need });
    }
    let age_max_s = policy.age_max_s;
    if let Some(made) = facts.made().filter(|made| made.abs_diff(now) > age_max_s) {
        return Err(AppraiseError::Stale { made, now, age_max_s });
    }
    let judged = match facts.platform() {
        PlatformFacts::Snp(facts) => policy.snp.as_ref().map(|policy| judge_snp(facts, policy)),
        PlatformFacts::AzureSnp(facts) => {
            policy.azure_snp.as_ref().map(|policy| judge_azure(facts, policy))
        }
        PlatformFacts::Nitro(facts) => {
            policy.nitro.as_ref().map(|policy| judge_nitro(facts, policy))
        }
        PlatformFacts::SgxDcap(facts) => {
            policy.sgx.as_ref().map(|policy| intel::judge_sgx(facts, policy))
        }
        PlatformFacts::Tdx(facts) => {
            policy.tdx.as_ref().map(|policy| intel::judge_tdx(facts, policy))
        }
        PlatformFacts::AzureTdx(facts) => {
            policy.azure_tdx.as_ref().map(|policy| intel::judge_azure_tdx(facts, policy))
        }
    };
    judged.unwrap_or(Err(AppraiseError::PlatformNotAllowed(facts.platform_id())))
}

fn judge_azure(facts: &AzureFacts, policy: &AzureSnpPolicy) -> Result<(), AppraiseError> {
    judge_snp(&facts.snp, &policy.snp)?;
    if policy.secure_boot && !facts.secure_boot {
        return Err(AppraiseError::SecureBoot);
    }
    if policy.code.iter().any(|code| code.runs(&facts.pcrs)) {
        return Ok(());
    }
    let have = azure::measurement(facts);
    Err(AppraiseError::Measurement { platform: PlatformId::AzureSnp, have })
}

fn judge_snp(facts: &SnpFacts, policy: &SnpPolicy) -> Result<(), AppraiseError> {
    let is_refused = |flag: &&Flag| match flag {
        Flag::Debug | Flag::Migration | Flag::MaskedKey => true,
        Flag::Smt => !policy.smt,
        Flag::AliasUnchecked => policy.alias_check,
    };
    if let Some(flag) = facts.flags.iter().find(is_refused) {
        return Err(AppraiseError::Flag(*flag));
    }
    if policy.revocation_list == RevocationRule::Required && !facts.revocation_list {
        return Err(AppraiseError::RevocationList);
    }
    judge_snp_machine(facts, policy)?;
    let max = policy.vmpl_max.min(VMPL_MAX);
    if facts.vmpl > max {
        return Err(AppraiseError::Vmpl { have: facts.vmpl, max });
    }
    judge_snp_code(facts, policy)
}

/// Whether what runs there is admitted, with what the host gave it and by whom it was signed.
fn judge_snp_code(facts: &SnpFacts, policy: &SnpPolicy) -> Result<(), AppraiseError> {
    let runs = |code: &&SnpCode| code.measurement == facts.measurement;
    let mut same = policy.code.iter().filter(runs).peekable();
    if same.peek().is_none() {
        let have = hex::encode(facts.measurement);
        return Err(AppraiseError::Measurement { platform: PlatformId::Snp, have });
    }
    let has_data = |code: &&SnpCode| {
        code.host_data.as_ref().is_none_or(|admitted| admitted.contains(&facts.host_data))
    };
    let mut refused = AppraiseError::HostData { have: hex::encode(facts.host_data) };
    for code in same.filter(has_data) {
        match &code.owner {
            Some(owner) if !owner.id_keys.contains(&facts.id_key) => {
                refused = AppraiseError::Owner { have: hex::encode(facts.id_key) };
            }
            Some(owner) if facts.guest_svn < owner.guest_svn_min => {
                let (have, need) = (facts.guest_svn, owner.guest_svn_min);
                refused = AppraiseError::GuestSvn { have, need };
            }
            None | Some(_) => return Ok(()),
        }
    }
    Err(refused)
}

/// The levels inside a guest end here. What is above was made for the host.
const VMPL_MAX: u32 = 3;

/// Whether the machine, its firmware and its key are admitted.
fn judge_snp_machine(facts: &SnpFacts, policy: &SnpPolicy) -> Result<(), AppraiseError> {
    if facts.version < policy.version_min {
        let (have, need) = (facts.version, policy.version_min);
        return Err(AppraiseError::ReportVersion { have, need });
    }
    let Some(machines) = policy.generations.get(&facts.generation) else {
        return Err(AppraiseError::Generation(facts.generation));
    };
    let is_admitted = match &facts.key {
        SnpKey::Vcek => policy.vcek,
        SnpKey::Vlek { provider } => policy.vlek_providers.contains(provider),
    };
    if !is_admitted {
        let have = match &facts.key {
            SnpKey::Vcek => "VCEK of the chip".to_owned(),
            SnpKey::Vlek { provider } => format!("VLEK of {provider:?}"),
        };
        return Err(AppraiseError::Key { have });
    }
    // The keys of Milan can be computed by whoever has had a machine.
    let is_listed = match &machines.chips {
        None => facts.generation != Generation::Milan,
        Some(chips) => {
            facts.key == SnpKey::Vcek && facts.chip_id != [0; 64] && chips.contains(&facts.chip_id)
        }
    };
    if !is_listed {
        return Err(AppraiseError::HardwareId { have: hex::encode(facts.chip_id) });
    }
    // What is reported may be set back as far as what is committed.
    for (which, tcb) in [("committed", facts.committed_tcb), ("reported", facts.reported_tcb)] {
        let least = machines.tcb_min.components().into_iter();
        for ((component, have), (_, need)) in tcb.components().into_iter().zip(least) {
            if have < need {
                return Err(AppraiseError::Tcb { which, component, have, need });
            }
        }
    }
    Ok(())
}

fn judge_nitro(facts: &NitroFacts, policy: &NitroPolicy) -> Result<(), AppraiseError> {
    if facts.debug {
        return Err(AppraiseError::Flag(Flag::Debug));
    }
    let runs = |code: &NitroCode| {
        are_fixed(code.pcrs.keys())
            && code.is_tpm == facts.is_tpm
            && code.pcrs.iter().all(|(at, value)| facts.pcrs.get(at) == Some(value))
    };
    if policy.code.iter().any(runs) {
        return Ok(());
    }
    let have = nitro_measurement(facts);
    Err(AppraiseError::Measurement { platform: PlatformId::Nitro, have })
}

/// Whether these registers name a program: there are some, and none that whoever runs there can set.
pub(crate) fn are_fixed<'a>(registers: impl Iterator<Item = &'a u8>) -> bool {
    let mut registers = registers.peekable();
    registers.peek().is_some() && registers.all(|at| *at < RESETTABLE)
}

/// The first register that can be set by whoever runs below the TPM, or in an enclave.
const RESETTABLE: u8 = 16;

/// Fewest bytes that bind anything: those of a hash.
const BOUND_BYTES_MIN: usize = 32;

/// What runs, in one text.
fn measurement(facts: &Facts) -> String {
    match facts.platform() {
        PlatformFacts::Snp(facts) => hex::encode(facts.measurement),
        PlatformFacts::AzureSnp(facts) => azure::measurement(facts),
        PlatformFacts::Nitro(facts) => nitro_measurement(facts),
        PlatformFacts::SgxDcap(facts) => hex::encode(facts.mr_enclave),
        PlatformFacts::Tdx(facts) => intel::td_measurement(facts),
        PlatformFacts::AzureTdx(facts) => intel::azure_tdx_measurement(facts),
    }
}

fn nitro_measurement(facts: &NitroFacts) -> String {
    let set = facts.pcrs.iter().filter(|(_, value)| value.iter().any(|byte| *byte != 0));
    let registers = set.map(|(at, value)| format!("{at}:{}", hex::encode(value)));
    registers.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
