//! Evidence of trusted execution environments, and what to think of it.
//!
//! A platform's *evidence* says what runs on a machine, and *endorsements* of its maker say why that is to be believed: both come from
//! whoever wants to be believed, or from its host. [`verify`] checks what needs no opinion: signatures up to the
//! maker's root, which is pinned here, the periods of every piece, and that the pieces belong together. What comes out are [`Facts`],
//! which are signed and may still be of a machine that nobody wants. [`appraise`] holds them against the members' [`AppraisalPolicy`]
//! and against what the asker expects, and is the only maker of [`Attested`].
//!
//! Everything is a function of its inputs, the time among them: who appraises again, years later and elsewhere, comes to the same.
//!
//! | module | platform | class | specification |
//! |---|---|---|---|
//! | `insecure` | virtual: any process, which says what it runs | `insecure` | CCF's `Insecure_Virtual` |
//! | `snp` | AMD SEV-SNP on Milan, Genoa and Turin, reports of versions 2 to 5, VCEK and VLEK | `processor` | AMD 56860 (SEV-SNP firmware ABI), 57230 (VCEK), 58369 (VLEK) |
//! | `azure` | confidential machines of Azure on SEV-SNP, with the TPM of their paravisor (`tpm`) | `processor` | Microsoft, "Guest attestation for confidential VMs"; TCG, TPM 2.0 Library, part 2 |
//! | `nitro` | AWS Nitro Enclaves and NitroTPM documents | `hypervisor`, `measured_boot` | AWS, "Nitro Enclaves attestation process" |
//! | `caci` | confidential containers of Azure (C-ACI) on SEV-SNP, whose utility VM Microsoft endorses | `processor` | Microsoft, "Confidential containers on Azure Container Instances"; RFC 9052, RFC 9597; `did:x509` |
//! | `maa` | tokens of Azure Attestation for virtual machines, where Microsoft is the verifier | that of what it has verified: `processor`, `measured_boot` | Microsoft, "Azure Attestation claim sets"; RFC 7515, 7517, 7519 |
//! | `cca` | tokens of Arm CCA, experimental | `processor` | Arm DEN0137 (Realm Management Monitor); draft-ffm-rats-cca-token-00; RFC 9052 |
//! | `vbs` | enclaves of Windows (VBS), whose machine a Host Guardian Service or members themselves vouch for | `hypervisor` | Windows SDK, `ntenclv.h`; Microsoft, "Virtualization-based security enclaves" |
//! | `gcp` | machines of Google Cloud, by the TPM of their host (`tpm`) | `measured_boot` | Google, go-tpm-tools; TCG, TPM 2.0 Library, part 2 |
//! | `intel` | Intel SGX, quotes of version 3; Intel TDX, quotes of versions 4 and 5, with their logs (`event_log`); confidential machines of Azure on TDX (`azure`) | `processor` | Intel, "SGX ECDSA Quote Library", "TDX DCAP Quoting Library", "Provisioning Certification Service" |

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

mod attested;
mod azure;
mod binding;
mod caci;
mod cbor;
mod cca;
mod chain;
mod error;
mod event_log;
mod evidence;
mod facts;
mod gcp;
mod insecure;
mod intel;
mod jwk;
mod little_endian;
mod maa;
mod manifest;
mod nitro;
mod policy;
mod revocation;
mod snp;
mod tpm;
mod vbs;

pub use attested::{AppraiseEvidenceError, Attested, NodeClaims, appraise};
pub use azure::{AzureEvidence, AzureTdxEvidence};
pub use binding::{Channel, EXPORTER_BYTES, End, REPORT_DATA_BYTES, ReportData};
pub use caci::{
    SECURITY_POLICY_BYTES_MAX, SnpCaciFacts, SnpCaciPolicy, UVM_ROOT, UvmFacts, UvmPolicy,
    host_data_of_policy, signed_uvm_endorsement,
};
pub use cca::{CCA_TOKEN_BYTES_MAX, CcaCode, CcaComponent, CcaFacts, CcaFirmware, CcaPolicy};
pub use error::{AppraiseError, Flag, Link, Piece, VerifyError};
pub use evidence::{
    DecodeEvidenceError, ENDORSEMENT_BYTES_MAX, ENDORSEMENTS_MAX, EVENT_LOG_BYTES_MAX,
    EVIDENCE_BYTES_MAX, Endorsement, EndorsementKind, Endorsements, Evidence, PlatformId,
};
pub use facts::{
    AzureFacts, Facts, InsecureFacts, NitroFacts, PlatformFacts, SnpFacts, SnpKey, SnpTcb,
    TcbComponent, TrustClass,
};
pub use gcp::{GCP_ROOT, GcpEvidence, GcpFacts, GcpInstance, GcpPolicy};
pub use insecure::InsecureEvidence;
pub use intel::{
    AzureTdxFacts, AzureTdxPolicy, INTEL_SGX_ROOT, IntelConfiguration, IntelPolicy, IntelShortage,
    IntelTcb, IntelTcbPart, IntelTcbStatus, RegisterEvent, SgxAttributes, SgxCode, SgxFacts,
    SgxPolicy, TdAttributes, TdxCode, TdxFacts, TdxHistory, TdxPolicy, TdxUpdate,
};
pub use maa::{
    MAA_TOKEN_BYTES_MAX, MaaFacts, MaaFlag, MaaGuest, MaaGuestPolicy, MaaIssuer, MaaPolicy,
    maa_key_set,
};
pub use manifest::Manifests;
pub use nitro::{NITRO_DOCUMENT_BYTES_MAX, NITRO_PCR_BYTES, NITRO_ROOT};
pub use policy::{
    AppraisalPolicy, AzureSnpPolicy, InsecurePolicy, NitroCode, NitroPolicy, PcrCode,
    RevocationRule, SnpCode, SnpGenerationPolicy, SnpMachinePolicy, SnpOwner, SnpPolicy,
};
pub use snp::{Generation, SNP_REPORT_BYTES, SNP_ROOTS};
pub use tpm::{TPM_PCR_BYTES, TPM_PCRS, TpmPcrs};
pub use vbs::{
    VBS_REPORT_BYTES_MAX, VbsCode, VbsEnclaveFacts, VbsEnclavePolicy, VbsImage, VbsKey, VbsModule,
    VbsProgram,
};

use coco_crypto::{MakerCertificate, Validity};

/// Checks evidence and its endorsements at the time `now`, in seconds since 1970.
///
/// # Errors
/// [`VerifyError`] with the first thing that is wrong.
pub fn verify(
    evidence: &Evidence,
    endorsements: &Endorsements,
    now: u64,
) -> Result<Facts, VerifyError> {
    check_sizes(evidence, endorsements)?;
    if !evidence.log.is_empty() && !evidence.platform.has_log() {
        return Err(VerifyError::Unsupported {
            what: "a log of events of this platform",
            found: 0,
        });
    }
    endorsements.check_kinds(evidence.platform.endorsements())?;
    let certificates = || endorsements.certificates();
    let lists = || endorsements.of_kind(EndorsementKind::RevocationList);
    let Evidence { platform, body, log } = evidence;
    match platform {
        PlatformId::Insecure => insecure::verify(body),
        PlatformId::Snp => snp::verify(body, &certificates()?, &lists(), now),
        PlatformId::AzureSnp => azure::verify_snp(body, &certificates()?, &lists(), now),
        PlatformId::Nitro => nitro::verify(body, now),
        PlatformId::SnpCaci => caci::verify(body, endorsements, &certificates()?, now),
        PlatformId::Maa => maa::verify(body, endorsements, now),
        PlatformId::Cca => cca::verify(body, endorsements),
        PlatformId::VbsEnclave => vbs::verify(body, endorsements, &certificates()?, now),
        PlatformId::GcpVtpm => gcp::verify(body, &certificates()?, now),
        PlatformId::SgxDcap => intel::verify_sgx(body, endorsements, now),
        PlatformId::Tdx => intel::verify_tdx(body, log, endorsements, now),
        PlatformId::AzureTdx => azure::verify_tdx(body, endorsements, now),
    }
}

/// Whether all of it may be read. What was decoded here has these sizes; what comes from elsewhere may not.
fn check_sizes(evidence: &Evidence, endorsements: &Endorsements) -> Result<(), VerifyError> {
    for (found, limit) in
        [(evidence.body.len(), EVIDENCE_BYTES_MAX), (evidence.log.len(), EVENT_LOG_BYTES_MAX)]
    {
        if found > limit {
            return Err(VerifyError::Long { found, limit });
        }
    }
    let bytes = endorsements.items.iter().map(|item| item.bytes.len()).sum();
    for (what, found, limit) in [
        ("pieces", endorsements.items.len(), ENDORSEMENTS_MAX),
        ("bytes", bytes, ENDORSEMENT_BYTES_MAX),
    ] {
        if found > limit {
            return Err(VerifyError::Endorsements { what, found, limit });
        }
    }
    Ok(())
}

/// When all these pieces count, which is so at the time `from`, and still at `to`, which is not before it.
pub(crate) fn valid<'a>(
    pieces: impl IntoIterator<Item = (Piece, &'a MakerCertificate)>,
    from: u64,
    to: u64,
) -> Result<Validity, VerifyError> {
    let pieces = pieces.into_iter().map(|(piece, certificate)| (piece, certificate.validity()));
    valid_within(pieces, from, to)
}

/// The same of pieces with these periods.
pub(crate) fn valid_within(
    pieces: impl IntoIterator<Item = (Piece, Validity)>,
    from: u64,
    to: u64,
) -> Result<Validity, VerifyError> {
    let mut valid = Validity { not_before: 0, not_after: u64::MAX };
    for (piece, validity) in pieces {
        if from < validity.not_before {
            return Err(VerifyError::NotYetValid { piece, validity, now: from });
        }
        if to > validity.not_after {
            return Err(VerifyError::Expired { piece, validity, now: to });
        }
        valid.not_before = valid.not_before.max(validity.not_before);
        valid.not_after = valid.not_after.min(validity.not_after);
    }
    Ok(valid)
}
