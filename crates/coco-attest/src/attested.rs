//! The members' opinion of facts, and the type that only it can make.

use coco_crypto::{Validity, sha256};
use coco_types::{Digest, NodeId};

use crate::{
    AppraisalPolicy, AppraiseError, AzureFacts, AzureSnpPolicy, Endorsements, Evidence, Facts,
    Flag, Generation, NitroCode, NitroFacts, NitroPolicy, PcrCode, PlatformFacts, PlatformId,
    ReportData, RevocationRule, SnpCode, SnpFacts, SnpKey, SnpMachinePolicy, SnpPolicy, TrustClass,
    VerifyError, azure, caci, cca, gcp, insecure, intel, maa, tpm::TpmPcrs, vbs, verify,
};

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
    /// A digest that names the program: the measurement itself where it is one, and SHA-256 of that text elsewhere.
    pub code: Digest,
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

/// Verifies evidence, and holds it against what was to be bound and what members admit, at the time `now` in seconds since 1970.
///
/// # Errors
/// [`AppraiseEvidenceError`] with the first thing that is wrong.
pub fn appraise(
    evidence: &Evidence,
    endorsements: &Endorsements,
    now: u64,
    policy: &AppraisalPolicy,
    expected: &ReportData,
) -> Result<Attested<NodeClaims>, AppraiseEvidenceError> {
    let facts = verify(evidence, endorsements, now)?;
    let need = expected.for_platform(facts.platform_id());
    if facts.bound() != need {
        let (have, need) = (hex::encode(facts.bound()), hex::encode(need));
        return Err(AppraiseError::Binding { have, need }.into());
    }
    policy.judge(&facts, now)?;
    let measurement = measurement(&facts);
    let code = match facts.platform() {
        PlatformFacts::Insecure(facts) => facts.measurement,
        PlatformFacts::Snp(_)
        | PlatformFacts::AzureSnp(_)
        | PlatformFacts::Nitro(_)
        | PlatformFacts::SnpCaci(_)
        | PlatformFacts::Maa(_)
        | PlatformFacts::Cca(_)
        | PlatformFacts::VbsEnclave(_)
        | PlatformFacts::GcpVtpm(_)
        | PlatformFacts::SgxDcap(_)
        | PlatformFacts::Tdx(_)
        | PlatformFacts::AzureTdx(_) => sha256(measurement.as_bytes()),
    };
    let claims = NodeClaims {
        node: expected.node,
        platform: facts.platform_id(),
        class: facts.class(),
        measurement,
        code,
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

impl AppraisalPolicy {
    /// Whether facts are of a machine and a program that members admit, at the time `now` in seconds since 1970. For whom they were made
    /// is not looked at.
    ///
    /// # Errors
    /// [`AppraiseError`] with the first thing that is not wanted.
    pub fn judge(&self, facts: &Facts, now: u64) -> Result<(), AppraiseError> {
        let (have, need) = (facts.class(), self.class_min);
        if have < need {
            return Err(AppraiseError::Class { have, need });
        }
        let age_max_s = self.age_max_s;
        if let Some(made) = facts.made().filter(|made| made.abs_diff(now) > age_max_s) {
            return Err(AppraiseError::Stale { made, now, age_max_s });
        }
        let judged = match facts.platform() {
            PlatformFacts::Insecure(facts) => {
                self.insecure.as_ref().map(|policy| insecure::judge(facts, policy))
            }
            PlatformFacts::Snp(facts) => self.snp.as_ref().map(|policy| judge_snp(facts, policy)),
            PlatformFacts::AzureSnp(facts) => {
                self.azure_snp.as_ref().map(|policy| judge_azure(facts, policy))
            }
            PlatformFacts::Nitro(facts) => {
                self.nitro.as_ref().map(|policy| judge_nitro(facts, policy))
            }
            PlatformFacts::SnpCaci(facts) => {
                self.snp_caci.as_ref().map(|policy| caci::judge(facts, policy))
            }
            PlatformFacts::Maa(facts) => self.maa.as_ref().map(|policy| maa::judge(facts, policy)),
            PlatformFacts::Cca(facts) => self.cca.as_ref().map(|policy| cca::judge(facts, policy)),
            PlatformFacts::VbsEnclave(facts) => {
                self.vbs_enclave.as_ref().map(|policy| vbs::judge(facts, policy))
            }
            PlatformFacts::GcpVtpm(facts) => {
                self.gcp_vtpm.as_ref().map(|policy| gcp::judge(facts, policy))
            }
            PlatformFacts::SgxDcap(facts) => {
                self.sgx.as_ref().map(|policy| intel::judge_sgx(facts, policy))
            }
            PlatformFacts::Tdx(facts) => {
                self.tdx.as_ref().map(|policy| intel::judge_tdx(facts, policy))
            }
            PlatformFacts::AzureTdx(facts) => {
                self.azure_tdx.as_ref().map(|policy| intel::judge_azure_tdx(facts, policy))
            }
        };
        judged.unwrap_or(Err(AppraiseError::PlatformNotAllowed(facts.platform_id())))
    }
}

fn judge_azure(facts: &AzureFacts, policy: &AzureSnpPolicy) -> Result<(), AppraiseError> {
    judge_snp(&facts.snp, &policy.snp)?;
    if policy.secure_boot && !facts.secure_boot {
        return Err(AppraiseError::SecureBoot);
    }
    if is_started(&facts.pcrs, &policy.code) {
        return Ok(());
    }
    let have = azure::measurement(facts);
    Err(AppraiseError::Measurement { platform: PlatformId::AzureSnp, have })
}

fn judge_snp(facts: &SnpFacts, policy: &SnpPolicy) -> Result<(), AppraiseError> {
    judge_snp_machine(facts, &policy.machine)?;
    let SnpFacts { measurement, host_data, id_key, guest_svn, .. } = facts;
    let started = SnpStarted { measurement, host_data, id_key, guest_svn: *guest_svn };
    judge_snp_code(PlatformId::Snp, &started, &policy.code)
}

/// Whether the machine is admitted, whatever runs there, and the level there that has asked.
pub(crate) fn judge_snp_machine(
    facts: &SnpFacts,
    policy: &SnpMachinePolicy,
) -> Result<(), AppraiseError> {
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
    judge_snp_processor(facts, policy)?;
    let max = policy.vmpl_max.min(VMPL_MAX);
    if facts.vmpl > max {
        return Err(AppraiseError::Vmpl { have: facts.vmpl, max });
    }
    Ok(())
}

/// What was started as an SEV-SNP guest, what the host gave it, and by whom it was signed.
pub(crate) struct SnpStarted<'a> {
    pub(crate) measurement: &'a [u8; 48],
    pub(crate) host_data: &'a [u8; 32],
    pub(crate) id_key: &'a [u8; 48],
    pub(crate) guest_svn: u32,
}

/// Whether what was started is admitted.
pub(crate) fn judge_snp_code(
    platform: PlatformId,
    started: &SnpStarted<'_>,
    admitted: &[SnpCode],
) -> Result<(), AppraiseError> {
    let runs = |code: &&SnpCode| code.measurement == *started.measurement;
    let mut same = admitted.iter().filter(runs).peekable();
    if same.peek().is_none() {
        let have = hex::encode(started.measurement);
        return Err(AppraiseError::Measurement { platform, have });
    }
    let has_data = |code: &&SnpCode| {
        code.host_data.as_ref().is_none_or(|admitted| admitted.contains(started.host_data))
    };
    let mut refused = AppraiseError::HostData { have: hex::encode(started.host_data) };
    for code in same.filter(has_data) {
        match &code.owner {
            Some(owner) if !owner.id_keys.contains(started.id_key) => {
                refused = AppraiseError::Owner { have: hex::encode(started.id_key) };
            }
            Some(owner) if started.guest_svn < owner.guest_svn_min => {
                let (have, need) = (started.guest_svn, owner.guest_svn_min);
                refused = AppraiseError::GuestSvn { have, need };
            }
            None | Some(_) => return Ok(()),
        }
    }
    Err(refused)
}

/// The levels inside a guest end here. What is above was made for the host.
const VMPL_MAX: u32 = 3;

/// Whether the processor, its firmware and its key are admitted.
fn judge_snp_processor(facts: &SnpFacts, policy: &SnpMachinePolicy) -> Result<(), AppraiseError> {
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

/// Whether registers with these values are those of an admitted program.
pub(crate) fn is_started(pcrs: &TpmPcrs, admitted: &[PcrCode]) -> bool {
    admitted.iter().any(|code| code.runs(pcrs))
}

/// Whether these registers name a program: there are some, and none that whoever runs there can set.
pub(crate) fn are_fixed<'a>(registers: impl Iterator<Item = &'a u8>) -> bool {
    let mut registers = registers.peekable();
    registers.peek().is_some() && registers.all(|at| *at < RESETTABLE)
}

/// The first register that can be set by whoever runs below the TPM, or in an enclave.
const RESETTABLE: u8 = 16;

/// What runs, in one text.
fn measurement(facts: &Facts) -> String {
    match facts.platform() {
        PlatformFacts::Insecure(facts) => facts.measurement.to_string(),
        PlatformFacts::Snp(facts) => hex::encode(facts.measurement),
        PlatformFacts::AzureSnp(facts) => azure::measurement(facts),
        PlatformFacts::Nitro(facts) => nitro_measurement(facts),
        PlatformFacts::SnpCaci(facts) => caci::measurement(facts),
        PlatformFacts::Maa(facts) => maa::measurement(facts),
        PlatformFacts::Cca(facts) => cca::measurement(facts),
        PlatformFacts::VbsEnclave(facts) => vbs::measurement(facts),
        PlatformFacts::GcpVtpm(facts) => gcp::measurement(facts),
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
pub(crate) mod tests;
