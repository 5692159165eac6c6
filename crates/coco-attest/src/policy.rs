//! What members admit.

use std::collections::{BTreeMap, BTreeSet};

use coco_types::Digest;

use crate::{
    attested::are_fixed,
    caci::SnpCaciPolicy,
    cca::CcaPolicy,
    facts::{SnpTcb, TrustClass},
    gcp::GcpPolicy,
    intel::{AzureTdxPolicy, SgxPolicy, TdxPolicy},
    maa::MaaPolicy,
    snp::Generation,
    tpm::{TPM_PCR_BYTES, TpmPcrs},
    vbs::VbsEnclavePolicy,
};

/// What evidence has to prove. A platform that is not named is not admitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppraisalPolicy {
    /// The version of the members' manifests that this follows.
    pub version: u64,
    /// The least class.
    pub class_min: TrustClass,
    /// How long ago evidence may have been made, and how far the clock of whoever made it may be ahead, in seconds, where a platform
    /// says when it made it.
    pub age_max_s: u64,
    /// The virtual platform, which proves nothing.
    pub insecure: Option<InsecurePolicy>,
    /// AMD SEV-SNP.
    pub snp: Option<SnpPolicy>,
    /// Confidential machines of Azure on it.
    pub azure_snp: Option<AzureSnpPolicy>,
    /// AWS.
    pub nitro: Option<NitroPolicy>,
    /// Confidential containers of Azure.
    pub snp_caci: Option<SnpCaciPolicy>,
    /// Azure Attestation.
    pub maa: Option<MaaPolicy>,
    /// Arm CCA.
    pub cca: Option<CcaPolicy>,
    /// Enclaves of Windows.
    pub vbs_enclave: Option<VbsEnclavePolicy>,
    /// Machines of Google Cloud, by their TPM.
    pub gcp_vtpm: Option<GcpPolicy>,
    /// Intel SGX.
    pub sgx: Option<SgxPolicy>,
    /// Intel TDX.
    pub tdx: Option<TdxPolicy>,
    /// Confidential machines of Azure on it.
    pub azure_tdx: Option<AzureTdxPolicy>,
}

impl AppraisalPolicy {
    /// Admits nothing.
    #[must_use]
    pub const fn none(version: u64) -> Self {
        Self {
            version,
            class_min: TrustClass::Processor,
            age_max_s: 0,
            insecure: None,
            snp: None,
            azure_snp: None,
            nitro: None,
            snp_caci: None,
            maa: None,
            cca: None,
            vbs_enclave: None,
            gcp_vtpm: None,
            sgx: None,
            tdx: None,
            azure_tdx: None,
        }
    }
}

/// What the virtual platform has to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InsecurePolicy {
    /// Digests of the programs.
    pub code: BTreeSet<Digest>,
}

/// What reports of AMD SEV-SNP have to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnpPolicy {
    /// Of the machine.
    pub machine: SnpMachinePolicy,
    /// What may run there.
    pub code: Vec<SnpCode>,
}

/// What reports of AMD SEV-SNP have to say of the machine, whatever runs there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnpMachinePolicy {
    /// The processors, each with its conditions. Keys of Milan can be computed by whoever has had the machine (arXiv 2605.12990): name
    /// it with machines only.
    pub generations: BTreeMap<Generation, SnpGenerationPolicy>,
    /// The least version of a report. Those before 3 do not say themselves of which processor they are.
    pub version_min: u32,
    /// The highest level that may have asked; 0 unless what runs at level 0 is believed to keep others from asking. Reports that
    /// were made for the host are never admitted.
    pub vmpl_max: u32,
    /// Whether the chips' own keys are admitted.
    pub vcek: bool,
    /// Providers whose keys are admitted, as their certificates name them.
    pub vlek_providers: BTreeSet<String>,
    /// Whether two threads may share a core.
    pub smt: bool,
    /// Whether the firmware must have checked that no two addresses name the same memory.
    pub alias_check: bool,
    /// Whether AMD's list of revoked certificates must have come. One that came counts in any case.
    pub revocation_list: RevocationRule,
}

/// Whether a list of revoked certificates must have come, where evidence is believed without one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RevocationRule {
    /// It must.
    #[default]
    Required,
    /// It need not.
    Optional,
}

/// What is asked of processors of one generation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnpGenerationPolicy {
    /// The oldest firmware, of what is reported and of what is committed.
    pub tcb_min: SnpTcb,
    /// The machines by their chips' ids; any, if nothing is said, but for Milan, of which none is then. A key of a provider vouches for
    /// no chip, so its reports are not of a machine on any list.
    pub chips: Option<BTreeSet<[u8; 64]>>,
}

/// A program of SEV-SNP guests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnpCode {
    /// What is loaded before the start.
    pub measurement: [u8; 48],
    /// What the host may give to it; anything, if nothing is said. Where containers run in a common image, this is what names them.
    pub host_data: Option<BTreeSet<[u8; 32]>>,
    /// Who has to have signed the guest's identity; anybody or nobody, if nothing is said.
    pub owner: Option<SnpOwner>,
}

/// Who may sign the identity of a guest, and which versions count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnpOwner {
    /// SHA-384 of the keys.
    pub id_keys: BTreeSet<[u8; 48]>,
    /// The least version.
    pub guest_svn_min: u32,
}

/// What confidential machines of Azure on SEV-SNP have to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AzureSnpPolicy {
    /// Of the report, where the code is the paravisor's.
    pub snp: SnpPolicy,
    /// Whether only what the firmware admits may have been started.
    pub secure_boot: bool,
    /// What may run below the paravisor.
    pub code: Vec<PcrCode>,
}

/// A program by the registers of a TPM that have to be these. One that names none admits nothing, and neither does one that names any of
/// those from 16 on, which whoever runs there can set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PcrCode {
    /// By number.
    pub pcrs: BTreeMap<u8, [u8; TPM_PCR_BYTES]>,
}

impl PcrCode {
    /// Whether the registers are these.
    pub(crate) fn runs(&self, pcrs: &TpmPcrs) -> bool {
        let is = |(at, value): (&u8, &_)| pcrs.get(usize::from(*at)) == Some(value);
        are_fixed(self.pcrs.keys()) && self.pcrs.iter().all(is)
    }
}

/// What documents of AWS have to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NitroPolicy {
    /// What may run there.
    pub code: Vec<NitroCode>,
}

/// A program of AWS enclaves or instances: registers that have to be these. One that names none, or any from 16 on, admits nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NitroCode {
    /// Whether they are those of `NitroTPM`.
    pub is_tpm: bool,
    /// By number, 48 bytes each.
    pub pcrs: BTreeMap<u8, Vec<u8>>,
}
