//! What a node shows.

use std::fmt;

use coco_crypto::{MakerCertificate, sha256};
use coco_types::Digest;

/// Longest evidence that is read, in bytes.
pub const EVIDENCE_BYTES_MAX: usize = 64 << 10;

/// Most certificates that come with evidence.
pub const ENDORSEMENT_CERTIFICATES_MAX: usize = 16;

/// A kind of evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PlatformId {
    /// An attestation report of AMD SEV-SNP.
    Snp,
    /// The TPM of a confidential machine of Azure on SEV-SNP: see [`AzureEvidence`](crate::AzureEvidence).
    AzureSnp,
    /// An attestation document of AWS: of a Nitro enclave, or of an instance with `NitroTPM`.
    Nitro,
}

impl PlatformId {
    /// Its name in manifests and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Snp => "snp",
            Self::AzureSnp => "azure-snp-vtpm",
            Self::Nitro => "nitro",
        }
    }
}

impl fmt::Display for PlatformId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Evidence as it came: nothing of it is believed.
#[derive(Clone, PartialEq, Eq)]
pub struct Evidence {
    /// The kind that it claims to be.
    pub platform: PlatformId,
    /// The platform's own bytes.
    pub body: Vec<u8>,
}

impl Evidence {
    /// SHA-256 of the bytes: what names this evidence in a record.
    #[must_use]
    pub fn digest(&self) -> Digest {
        sha256(&self.body)
    }
}

impl fmt::Debug for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Evidence({} {})", self.platform, self.digest())
    }
}

/// What the maker of a platform says of the machine, fetched by its host. Whatever is missing or superfluous here only makes that
/// nothing is believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endorsements {
    /// From the certificate of the key that signed the evidence to the maker's root. AWS sends its own with the evidence.
    pub certificates: Vec<MakerCertificate>,
}
