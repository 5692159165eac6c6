//! What a node shows.

use std::fmt;

use coco_crypto::{MakerCertificate, sha256};
use coco_types::{
    Digest,
    codec::{DecodeError, Reader, put_bytes},
};

use crate::error::VerifyError;

/// Longest body of evidence that is read, in bytes.
pub const EVIDENCE_BYTES_MAX: usize = 64 << 10;

/// Longest log of events that is read, in bytes.
pub const EVENT_LOG_BYTES_MAX: usize = 256 << 10;

/// Most endorsements that come with evidence.
pub const ENDORSEMENTS_MAX: usize = 32;

/// Most bytes of all of them: Intel's lists and documents have some ten thousand.
pub const ENDORSEMENT_BYTES_MAX: usize = 256 << 10;

/// A kind of evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PlatformId {
    /// The virtual platform, which proves nothing: see [`InsecureEvidence`](crate::InsecureEvidence).
    Insecure,
    /// An attestation report of AMD SEV-SNP.
    Snp,
    /// The TPM of a confidential machine of Azure on SEV-SNP: see [`AzureEvidence`](crate::AzureEvidence).
    AzureSnp,
    /// An attestation document of AWS: of a Nitro enclave, or of an instance with `NitroTPM`.
    Nitro,
    /// A report of AMD SEV-SNP of confidential containers of Azure.
    SnpCaci,
    /// A token of Azure Attestation.
    Maa,
    /// A token of Arm CCA.
    Cca,
    /// A report of an enclave of Windows.
    VbsEnclave,
    /// The TPM of a machine of Google Cloud: see [`GcpEvidence`](crate::GcpEvidence).
    GcpVtpm,
    /// A quote of Intel SGX (DCAP).
    SgxDcap,
    /// A quote of Intel TDX.
    Tdx,
    /// The TPM of a confidential machine of Azure on TDX: see [`AzureTdxEvidence`](crate::AzureTdxEvidence).
    AzureTdx,
}

impl PlatformId {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Insecure,
        Self::Snp,
        Self::AzureSnp,
        Self::Nitro,
        Self::SnpCaci,
        Self::Maa,
        Self::Cca,
        Self::VbsEnclave,
        Self::GcpVtpm,
        Self::SgxDcap,
        Self::Tdx,
        Self::AzureTdx,
    ];

    /// Its name in manifests and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Insecure => "virtual",
            Self::Snp => "snp",
            Self::AzureSnp => "azure-snp-vtpm",
            Self::Nitro => "nitro",
            Self::SnpCaci => "snp-caci",
            Self::Maa => "maa",
            Self::Cca => "cca",
            Self::VbsEnclave => "vbs-enclave",
            Self::GcpVtpm => "gcp-vtpm",
            Self::SgxDcap => "sgx",
            Self::Tdx => "tdx",
            Self::AzureTdx => "azure-tdx-vtpm",
        }
    }

    /// Whether it has room for 64 bytes to bind. A TPM binds as many as a hash has.
    pub(crate) const fn has_room(self) -> bool {
        match self {
            Self::Insecure
            | Self::Snp
            | Self::Nitro
            | Self::SnpCaci
            | Self::Maa
            | Self::Cca
            | Self::VbsEnclave
            | Self::SgxDcap
            | Self::Tdx => true,
            Self::AzureSnp | Self::GcpVtpm | Self::AzureTdx => false,
        }
    }

    /// Its name where CCF names it: as the format of a quote.
    #[must_use]
    pub const fn quote_format(self) -> &'static str {
        match self {
            Self::Insecure => "Insecure_Virtual",
            Self::Snp => "AMD_SEV_SNP_v1",
            Self::AzureSnp
            | Self::Nitro
            | Self::SnpCaci
            | Self::Maa
            | Self::Cca
            | Self::VbsEnclave
            | Self::GcpVtpm
            | Self::SgxDcap
            | Self::Tdx
            | Self::AzureTdx => self.name(),
        }
    }

    /// Which endorsements mean something for it. Some need fewer, depending on what the evidence is.
    pub(crate) const fn endorsements(self) -> &'static [EndorsementKind] {
        match self {
            Self::Snp | Self::AzureSnp => {
                &[EndorsementKind::Certificate, EndorsementKind::RevocationList]
            }
            Self::Insecure | Self::Nitro => &[],
            Self::SgxDcap | Self::Tdx | Self::AzureTdx => &[
                EndorsementKind::Certificate,
                EndorsementKind::RevocationList,
                EndorsementKind::TcbInfo,
                EndorsementKind::QeIdentity,
            ],
            Self::SnpCaci => &[
                EndorsementKind::Certificate,
                EndorsementKind::RevocationList,
                EndorsementKind::UvmEndorsement,
            ],
            Self::Maa => &[EndorsementKind::KeySet],
            Self::Cca => &[EndorsementKind::AttestationKey],
            Self::VbsEnclave => &[EndorsementKind::Certificate, EndorsementKind::AttestationKey],
            Self::GcpVtpm => &[EndorsementKind::Certificate],
        }
    }

    /// Whether a log of events means something for it.
    pub(crate) const fn has_log(self) -> bool {
        match self {
            Self::Tdx => true,
            Self::Insecure
            | Self::Snp
            | Self::AzureSnp
            | Self::Nitro
            | Self::SnpCaci
            | Self::Maa
            | Self::Cca
            | Self::VbsEnclave
            | Self::GcpVtpm
            | Self::SgxDcap
            | Self::AzureTdx => false,
        }
    }

    /// The platform of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|platform| platform.name() == name)
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
    /// What was measured into registers that the body has, event by event; empty where there are none.
    pub log: Vec<u8>,
}

impl Evidence {
    /// Evidence of a platform that has no events to tell.
    #[must_use]
    pub const fn new(platform: PlatformId, body: Vec<u8>) -> Self {
        Self { platform, body, log: Vec::new() }
    }

    /// The bytes of all of it.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for part in [self.platform.name().as_bytes(), &self.body, &self.log] {
            put_bytes(&mut out, part);
        }
        out
    }

    /// Reads what [`Evidence::encode`] wrote.
    ///
    /// # Errors
    /// [`DecodeEvidenceError`] when the bytes are none, or too many.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeEvidenceError> {
        let mut reader = Reader::new(bytes);
        let name = String::from_utf8_lossy(reader.bytes("platform")?);
        let platform = PlatformId::from_name(&name);
        let platform = platform.ok_or(DecodeEvidenceError::Platform)?;
        let body = bounded(&mut reader, "body of the evidence", EVIDENCE_BYTES_MAX)?;
        let log = bounded(&mut reader, "log of events", EVENT_LOG_BYTES_MAX)?;
        reader.end()?;
        Ok(Self { platform, body, log })
    }

    /// SHA-256 of the bytes: what names this evidence in a record.
    #[must_use]
    pub fn digest(&self) -> Digest {
        sha256(&self.encode())
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
    /// Certificates from that of the key that signed the evidence to the maker's root, where the evidence does not bring its own, and
    /// among or behind them all else.
    pub items: Vec<Endorsement>,
}

/// One thing that a maker says.
#[derive(Clone, PartialEq, Eq)]
pub struct Endorsement {
    /// What it claims to be.
    pub kind: EndorsementKind,
    /// As its maker publishes it.
    pub bytes: Vec<u8>,
}

/// What makers say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EndorsementKind {
    /// A certificate in DER.
    Certificate,
    /// A list of revoked certificates in DER.
    RevocationList,
    /// What Intel says of the levels of one kind of machine, in JSON with its signature, as PCS serves it.
    TcbInfo,
    /// What Intel says of its quoting enclaves, in the same form.
    QeIdentity,
    /// What Microsoft says of a utility VM, in COSE: see [`signed_uvm_endorsement`](crate::signed_uvm_endorsement).
    UvmEndorsement,
    /// The key of a token's issuer, as a set of one in JSON: see [`maa_key_set`](crate::maa_key_set).
    KeySet,
    /// The key of a machine that signs its evidence, in SPKI, where its maker gives no certificate for it: who believes it says so.
    AttestationKey,
}

impl EndorsementKind {
    /// Its number in the encoding.
    const fn number(self) -> u8 {
        match self {
            Self::Certificate => 1,
            Self::RevocationList => 2,
            Self::TcbInfo => 3,
            Self::QeIdentity => 4,
            Self::UvmEndorsement => 5,
            Self::KeySet => 6,
            Self::AttestationKey => 7,
        }
    }

    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Certificate,
        Self::RevocationList,
        Self::TcbInfo,
        Self::QeIdentity,
        Self::UvmEndorsement,
        Self::KeySet,
        Self::AttestationKey,
    ];

    fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.number() == number)
    }
}

impl fmt::Display for EndorsementKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Certificate => "certificates",
            Self::RevocationList => "lists of revoked certificates",
            Self::TcbInfo => "documents of Intel on machines (TCB info)",
            Self::QeIdentity => "documents of Intel on quoting enclaves (QE identity)",
            Self::UvmEndorsement => "endorsements of a utility VM",
            Self::KeySet => "sets of keys",
            Self::AttestationKey => "keys",
        })
    }
}

impl fmt::Debug for Endorsement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endorsement({:?} {})", self.kind, sha256(&self.bytes))
    }
}

impl Endorsements {
    /// These certificates, from that of the key that signed to the root.
    #[must_use]
    pub fn of_certificates<'a>(certificates: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let kind = EndorsementKind::Certificate;
        let items = certificates.into_iter();
        Self { items: items.map(|der| Endorsement { kind, bytes: der.to_vec() }).collect() }
    }

    /// The certificates among them in PEM, one after the other, as CCF shows endorsements.
    #[must_use]
    pub fn certificates_pem(&self) -> String {
        let certificates = self.certificates().unwrap_or_default();
        certificates.iter().map(MakerCertificate::pem).collect()
    }

    /// The bytes of all of them.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for item in &self.items {
            out.push(item.kind.number());
            put_bytes(&mut out, &item.bytes);
        }
        out
    }

    /// Reads what [`Endorsements::encode`] wrote.
    ///
    /// # Errors
    /// [`DecodeEvidenceError`] when the bytes are none, or too many.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeEvidenceError> {
        let (mut reader, mut items) = (Reader::new(bytes), Vec::new());
        while !reader.rest().is_empty() {
            let number = reader.u8("kind of an endorsement")?;
            let kind = EndorsementKind::from_number(number);
            let kind = kind.ok_or(DecodeEvidenceError::Endorsement { found: number })?;
            let bytes = bounded(&mut reader, "endorsement", ENDORSEMENT_BYTES_MAX)?;
            items.push(Endorsement { kind, bytes });
            if items.len() > ENDORSEMENTS_MAX {
                let (found, limit) = (items.len() as u64, ENDORSEMENTS_MAX as u64);
                return Err(DecodeError::Over { field: "endorsements", found, limit }.into());
            }
        }
        Ok(Self { items })
    }

    /// The pieces of this kind in their order, of which there have to be `N`.
    pub(crate) fn pieces<const N: usize>(
        &self,
        kind: EndorsementKind,
    ) -> Result<[&[u8]; N], VerifyError> {
        let pieces = self.of_kind(kind);
        let found = pieces.len();
        pieces.try_into().map_err(|_| VerifyError::Pieces { kind, found, expected: N })
    }

    /// All pieces of this kind, in their order.
    pub(crate) fn of_kind(&self, kind: EndorsementKind) -> Vec<&[u8]> {
        let items = self.items.iter().filter(|item| item.kind == kind);
        items.map(|item| item.bytes.as_slice()).collect()
    }

    /// The certificates, in their order.
    pub(crate) fn certificates(&self) -> Result<Vec<MakerCertificate>, VerifyError> {
        let items = self.items.iter().enumerate();
        let certificates = items.filter(|(_, item)| item.kind == EndorsementKind::Certificate);
        let read = certificates.map(|(which, item)| {
            let read = MakerCertificate::from_der(&item.bytes);
            read.map_err(|source| VerifyError::Endorsement { which, source })
        });
        read.collect()
    }

    /// Checks that there are no endorsements of other kinds than these, which nobody would look at.
    pub(crate) fn check_kinds(&self, kinds: &[EndorsementKind]) -> Result<(), VerifyError> {
        let other = self.items.iter().find(|item| !kinds.contains(&item.kind));
        let Some(&Endorsement { kind, .. }) = other else { return Ok(()) };
        Err(VerifyError::Pieces { kind, found: self.of_kind(kind).len(), expected: 0 })
    }

    /// The one endorsement of this kind.
    pub(crate) fn one(&self, kind: EndorsementKind) -> Result<&[u8], VerifyError> {
        self.pieces::<1>(kind).map(|[piece]| piece)
    }
}

fn bounded(
    reader: &mut Reader<'_>,
    field: &'static str,
    limit: usize,
) -> Result<Vec<u8>, DecodeError> {
    let bytes = reader.bytes(field)?;
    if bytes.len() > limit {
        let (found, limit) = (bytes.len() as u64, limit as u64);
        return Err(DecodeError::Over { field, found, limit });
    }
    Ok(bytes.to_vec())
}

/// Bytes that are no evidence, or no endorsements.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum DecodeEvidenceError {
    /// They do not follow their format.
    #[error(transparent)]
    Format(#[from] DecodeError),
    /// A platform that is not known here.
    #[error("the platform of the evidence is not known here")]
    Platform,
    /// A kind of endorsement that is not known here.
    #[error("an endorsement of the kind {found} is not known here")]
    Endorsement {
        /// Its number.
        found: u8,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evidence() -> Evidence {
        Evidence { platform: PlatformId::Nitro, body: vec![1, 2], log: vec![3] }
    }

    #[test]
    fn evidence_is_read_as_it_was_written() {
        for platform in PlatformId::ALL {
            let evidence = Evidence { platform, ..evidence() };
            assert_eq!(Evidence::decode(&evidence.encode()), Ok(evidence));
        }
        let bytes = evidence().encode();
        for cut in 0..bytes.len() {
            assert!(Evidence::decode(&bytes[..cut]).is_err(), "{cut}");
        }
        assert!(Evidence::decode(&[bytes, vec![0]].concat()).is_err());
    }

    #[test]
    fn evidence_is_as_long_as_its_limits_allow() {
        for (body, log, is_read) in [
            (EVIDENCE_BYTES_MAX - 1, EVENT_LOG_BYTES_MAX - 1, true),
            (EVIDENCE_BYTES_MAX, EVENT_LOG_BYTES_MAX, true),
            (EVIDENCE_BYTES_MAX + 1, 0, false),
            (0, EVENT_LOG_BYTES_MAX + 1, false),
        ] {
            let evidence = Evidence { body: vec![0; body], log: vec![0; log], ..evidence() };
            assert_eq!(Evidence::decode(&evidence.encode()).is_ok(), is_read, "{body} {log}");
        }
    }

    #[test]
    fn endorsements_are_read_as_they_were_written() {
        let items =
            EndorsementKind::ALL.map(|kind| Endorsement { kind, bytes: vec![kind.number(); 3] });
        let endorsements = Endorsements { items: items.to_vec() };
        let bytes = endorsements.encode();
        assert_eq!(Endorsements::decode(&bytes), Ok(endorsements));
        assert_eq!(Endorsements::decode(&[]), Ok(Endorsements::default()));
        let unknown = DecodeEvidenceError::Endorsement { found: 0 };
        assert_eq!(Endorsements::decode(&[&[0], &bytes[1..]].concat()), Err(unknown));
    }

    #[test]
    fn endorsements_are_as_many_as_their_limit_allows() {
        for (count, is_read) in
            [(ENDORSEMENTS_MAX - 1, true), (ENDORSEMENTS_MAX, true), (ENDORSEMENTS_MAX + 1, false)]
        {
            let endorsements = Endorsements::of_certificates(vec![&b"x"[..]; count]);
            assert_eq!(Endorsements::decode(&endorsements.encode()).is_ok(), is_read, "{count}");
        }
    }
}
