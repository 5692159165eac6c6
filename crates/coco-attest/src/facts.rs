//! What evidence proves.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use coco_crypto::Validity;
use coco_types::Digest;

use crate::{
    PlatformId,
    caci::SnpCaciFacts,
    cca::CcaFacts,
    error::Flag,
    gcp::GcpFacts,
    intel::{AzureTdxFacts, SgxFacts, TdxFacts},
    maa::MaaFacts,
    snp::Generation,
    tpm::TpmPcrs,
    vbs::VbsEnclaveFacts,
};

/// How much a platform proves, the least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TrustClass {
    /// Nothing: it says so itself.
    Insecure,
    /// That a machine started this software; whoever has its root account can look into it.
    MeasuredBoot,
    /// That a hypervisor keeps others out, by the word of whoever runs it.
    Hypervisor,
    /// That a processor does.
    Processor,
}

impl TrustClass {
    /// Its name in manifests and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Insecure => "insecure",
            Self::MeasuredBoot => "measured_boot",
            Self::Hypervisor => "hypervisor",
            Self::Processor => "processor",
        }
    }
}

impl fmt::Display for TrustClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What is signed up to a maker's root. Only [`verify`](crate::verify) makes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    pub(crate) bound: Vec<u8>,
    pub(crate) made: Option<u64>,
    pub(crate) valid: Validity,
    pub(crate) platform: PlatformFacts,
}

/// What is particular to a platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlatformFacts {
    /// Of the virtual platform.
    Insecure(InsecureFacts),
    /// Of an SEV-SNP report.
    Snp(Box<SnpFacts>),
    /// Of a confidential machine of Azure.
    AzureSnp(Box<AzureFacts>),
    /// Of a document of AWS.
    Nitro(NitroFacts),
    /// Of confidential containers of Azure.
    SnpCaci(Box<SnpCaciFacts>),
    /// Of a token of Azure Attestation, which is all that is known of the machine.
    Maa(Box<MaaFacts>),
    /// Of a token of Arm CCA.
    Cca(Box<CcaFacts>),
    /// Of a report of an enclave of Windows.
    VbsEnclave(Box<VbsEnclaveFacts>),
    /// Of a machine of Google Cloud.
    GcpVtpm(Box<GcpFacts>),
    /// Of a quote of Intel SGX.
    SgxDcap(Box<SgxFacts>),
    /// Of a quote of Intel TDX.
    Tdx(Box<TdxFacts>),
    /// Of a confidential machine of Azure on it.
    AzureTdx(Box<AzureTdxFacts>),
}

/// What the virtual platform says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InsecureFacts {
    /// SHA-256 of the program.
    pub measurement: Digest,
}

/// What an SEV-SNP report says (AMD 56860, table 22).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnpFacts {
    /// Version of the report.
    pub version: u32,
    /// Of which processor it is, by its certificate, and from version 3 on by itself as well.
    pub generation: Generation,
    /// The key that signed it.
    pub key: SnpKey,
    /// SHA-384 over what was loaded before the start.
    pub measurement: [u8; 48],
    /// What the host gave at the start.
    pub host_data: [u8; 32],
    /// The guest's own security version, as whoever signed the guest's identity said: it means nothing without that key.
    pub guest_svn: u32,
    /// SHA-384 of the key that signed the guest's identity; zeros where nobody did.
    pub id_key: [u8; 48],
    /// SHA-384 of the key that vouches for that key; zeros where none does.
    pub author_key: [u8; 48],
    /// The machine; zeros where its host masks that, and on AWS.
    pub chip_id: [u8; 64],
    /// The level inside the guest that asked; `0xffff_ffff` for the host.
    pub vmpl: u32,
    /// The firmware that its key vouches for.
    pub reported_tcb: SnpTcb,
    /// The firmware below which the machine will not go any more.
    pub committed_tcb: SnpTcb,
    /// Whether a list of AMD's came, and neither the key's certificate nor its authority's is on it.
    pub revocation_list: bool,
    /// What a policy may refuse.
    pub flags: BTreeSet<Flag>,
}

/// The key that signs SEV-SNP reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnpKey {
    /// The chip's own.
    Vcek,
    /// One that AMD gave this provider of clouds.
    Vlek {
        /// As the certificate names it.
        provider: String,
    },
}

/// Versions of the parts of AMD's firmware.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SnpTcb {
    /// Of the boot loader.
    pub bootloader: u8,
    /// Of the operating system of the secure processor.
    pub tee: u8,
    /// Of the SNP firmware.
    pub snp: u8,
    /// Of the microcode.
    pub microcode: u8,
    /// Of the FMC; on Turin and later only, else 0.
    pub fmc: u8,
}

/// A part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TcbComponent {
    /// See [`SnpTcb::bootloader`].
    Bootloader,
    /// See [`SnpTcb::tee`].
    Tee,
    /// See [`SnpTcb::snp`].
    Snp,
    /// See [`SnpTcb::microcode`].
    Microcode,
    /// See [`SnpTcb::fmc`].
    Fmc,
}

impl SnpTcb {
    /// Each part.
    #[must_use]
    pub const fn components(&self) -> [(TcbComponent, u8); 5] {
        [
            (TcbComponent::Bootloader, self.bootloader),
            (TcbComponent::Tee, self.tee),
            (TcbComponent::Snp, self.snp),
            (TcbComponent::Microcode, self.microcode),
            (TcbComponent::Fmc, self.fmc),
        ]
    }
}

impl fmt::Display for TcbComponent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bootloader => "boot loader",
            Self::Tee => "TEE",
            Self::Snp => "SNP firmware",
            Self::Microcode => "microcode",
            Self::Fmc => "FMC",
        })
    }
}

/// What the TPM of a confidential machine of Azure says, and the report that vouches for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AzureFacts {
    /// The report: its measurement is the paravisor's.
    pub snp: SnpFacts,
    /// What was started below the paravisor.
    pub pcrs: TpmPcrs,
    /// Whether it was configured to start only what its firmware admits; register 7 shows by which rules.
    pub secure_boot: bool,
    /// What runs there had the paravisor put into the report, in hexadecimal.
    pub user_data: String,
    /// How often the TPM was reset.
    pub resets: u32,
    /// How often it went on after a pause, since the last reset.
    pub restarts: u32,
}

/// What a document of AWS says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NitroFacts {
    /// The registers by number, each of 48 bytes.
    pub pcrs: BTreeMap<u8, Vec<u8>>,
    /// Whether they are those of an instance's `NitroTPM`, and not of an enclave.
    pub is_tpm: bool,
    /// The instance, and the enclave in it.
    pub module_id: String,
    /// Whoever asked gave this; empty where it gave none.
    pub nonce: Vec<u8>,
    /// What runs there wants this key to be known; empty where it named none.
    pub public_key: Vec<u8>,
    /// All registers of the first three are zero: the enclave was started to be looked into.
    pub debug: bool,
}

impl Facts {
    /// What the evidence binds: whatever asked for it chose these bytes. 64 of them in a report of a processor.
    #[must_use]
    pub fn bound(&self) -> &[u8] {
        &self.bound
    }

    /// When it was made, in seconds since 1970, where the platform says so.
    #[must_use]
    pub const fn made(&self) -> Option<u64> {
        self.made
    }

    /// When all pieces count.
    #[must_use]
    pub const fn valid(&self) -> Validity {
        self.valid
    }

    /// What is particular to the platform.
    #[must_use]
    pub const fn platform(&self) -> &PlatformFacts {
        &self.platform
    }

    /// Which platform it is.
    #[must_use]
    pub const fn platform_id(&self) -> PlatformId {
        match self.platform {
            PlatformFacts::Insecure(_) => PlatformId::Insecure,
            PlatformFacts::Snp(_) => PlatformId::Snp,
            PlatformFacts::AzureSnp(_) => PlatformId::AzureSnp,
            PlatformFacts::Nitro(_) => PlatformId::Nitro,
            PlatformFacts::SnpCaci(_) => PlatformId::SnpCaci,
            PlatformFacts::Maa(_) => PlatformId::Maa,
            PlatformFacts::Cca(_) => PlatformId::Cca,
            PlatformFacts::VbsEnclave(_) => PlatformId::VbsEnclave,
            PlatformFacts::GcpVtpm(_) => PlatformId::GcpVtpm,
            PlatformFacts::SgxDcap(_) => PlatformId::SgxDcap,
            PlatformFacts::Tdx(_) => PlatformId::Tdx,
            PlatformFacts::AzureTdx(_) => PlatformId::AzureTdx,
        }
    }

    /// How much the platform proves.
    #[must_use]
    pub fn class(&self) -> TrustClass {
        match &self.platform {
            PlatformFacts::Insecure(_) => TrustClass::Insecure,
            PlatformFacts::Snp(_)
            | PlatformFacts::AzureSnp(_)
            | PlatformFacts::SnpCaci(_)
            | PlatformFacts::Cca(_)
            | PlatformFacts::SgxDcap(_)
            | PlatformFacts::Tdx(_)
            | PlatformFacts::AzureTdx(_) => TrustClass::Processor,
            // Whoever has the root account of an instance can look into it.
            PlatformFacts::Nitro(NitroFacts { is_tpm: true, .. }) => TrustClass::MeasuredBoot,
            PlatformFacts::Nitro(_) | PlatformFacts::VbsEnclave(_) => TrustClass::Hypervisor,
            // By the word of Microsoft in either case.
            PlatformFacts::Maa(facts) if facts.guest.is_some() => TrustClass::Processor,
            PlatformFacts::Maa(_) | PlatformFacts::GcpVtpm(_) => TrustClass::MeasuredBoot,
        }
    }
}
