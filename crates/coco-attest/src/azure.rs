//! Confidential machines of Azure: a paravisor at the highest level of an SEV-SNP guest, or of a trust domain of TDX, gives the guest below
//! it a TPM.
//!
//! ```text
//! registers ── quote ── RSA ── key of the TPM ── SHA-256 in report_data ── report of SEV-SNP, or quote of TDX ── …
//! ```
//!
//! The paravisor's measurement is the report's, and the registers say what started below it. So is the report's `report_data` taken
//! by the paravisor, and who asks puts its question into the quote.
//!
//! On TDX the paravisor's report holds what only the same machine can check, and the machine's host makes the quote of it. So the quote is
//! a part of its own, and of the other nothing is looked at: it has to be zeros.

use coco_crypto::{MakerCertificate, TokenKey, sha256};
use coco_types::codec::{Reader, put_bytes};
use serde::Deserialize;

use crate::{
    error::VerifyError,
    evidence::Endorsements,
    facts::{AzureFacts, Facts, PlatformFacts},
    intel::{AzureTdxFacts, TdQuote},
    jwk::rsa_key,
    snp::{self, SNP_REPORT_BYTES},
    tpm::{Quote, TPM_PCRS, TpmPcrs, check_end, pcrs_of, pcrs_text, read_part},
};

/// The parts of evidence of a confidential machine of Azure, as they are read from its TPM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AzureEvidence {
    /// What index `0x01400001` holds: the report, and what the paravisor said in it.
    pub hcl_report: Vec<u8>,
    /// A quote of all registers of the SHA-256 bank by the key with the handle `0x81000003`.
    pub quote: Vec<u8>,
    /// Its signature, under RSASSA with SHA-256.
    pub signature: Vec<u8>,
    /// The registers.
    pub pcrs: TpmPcrs,
}

impl AzureEvidence {
    /// The body of the evidence: the parts one after the other, each behind its length.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        let pcrs = self.pcrs.as_flattened();
        for part in [self.hcl_report.as_slice(), &self.quote, &self.signature, pcrs] {
            put_bytes(&mut body, part);
        }
        body
    }
}

/// The parts of evidence of a confidential machine of Azure on TDX.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AzureTdxEvidence {
    /// As they are read from the TPM. What only the same machine can check is left out when they are written.
    pub machine: AzureEvidence,
    /// The quote that `http://169.254.169.254/acc/tdquote` makes of what stands in the report of the paravisor.
    pub td_quote: Vec<u8>,
}

impl AzureTdxEvidence {
    /// The body of the evidence: the parts one after the other, each behind its length, the quote of TDX at the end.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut machine = self.machine.clone();
        if let Some(report) = machine.hcl_report.get_mut(REPORT_AT..REQUEST_AT) {
            report.fill(0);
        }
        let mut body = machine.encode();
        put_bytes(&mut body, &self.td_quote);
        body
    }
}

/// Where the hardware's report lies in the paravisor's, and where what that says of itself begins.
const REPORT_AT: usize = 32;
const REQUEST_AT: usize = 1216;
/// Bytes before the text, of which the length is the last number.
const REQUEST_HEADER: usize = 20;
/// Longest report of the paravisor that is read, in bytes.
const HCL_BYTES_MAX: usize = 8 << 10;
/// The numbers at the start: of the version, of a report that was asked for, and that it was made.
const MAGIC: &[u8; 4] = b"HCLA";
const VERSIONS: [u32; 2] = [1, 2];
const ATTESTATION_REQUEST: u32 = 2;
/// The numbers of the second part: its version, a report of SEV-SNP or of TDX, SHA-256.
const REQUEST_VERSION: u32 = 1;
const SNP_REPORT: u32 = 2;
const TDX_REPORT: u32 = 4;
const HASH_SHA256: u32 = 1;
/// The name of the key that signs quotes.
const QUOTING_KEY: &str = "HCLAkPub";
const KEYS_MAX: usize = 8;

/// What the paravisor says, as far as it is looked at.
#[derive(Deserialize)]
struct Said {
    keys: Vec<Key>,
    #[serde(rename = "vm-configuration")]
    machine: Machine,
    #[serde(rename = "user-data", default)]
    user_data: String,
}

#[derive(Deserialize)]
struct Key {
    kid: String,
    kty: String,
    #[serde(default)]
    n: String,
    #[serde(default)]
    e: String,
}

#[derive(Deserialize)]
struct Machine {
    #[serde(rename = "secure-boot", default)]
    secure_boot: bool,
}

pub(crate) fn verify_snp(
    body: &[u8],
    certificates: &[MakerCertificate],
    lists: &[&[u8]],
    now: u64,
) -> Result<Facts, VerifyError> {
    let mut reader = Reader::new(body);
    let parts = Parts::read(&mut reader, body.len())?;
    check_end(&reader, body.len(), "bytes after the registers")?;
    let report = HclReport::read(parts.hcl_report, SNP_REPORT)?;
    let tpm = Tpm::read(&parts, report.said)?;
    let snp::Verified { facts: snp, report_data, valid } =
        snp::verify_report(report.hardware, certificates, lists, now)?;
    // Whatever runs below the paravisor could name a key of its own.
    if snp.vmpl != 0 {
        return Err(VerifyError::OtherMachine { what: "the level of the paravisor" });
    }
    tpm.verify(&parts, report.said, &report_data)?;
    let Tpm { said, quote, .. } = tpm;
    let azure = AzureFacts {
        snp,
        pcrs: parts.pcrs,
        secure_boot: said.machine.secure_boot,
        user_data: said.user_data.to_ascii_lowercase(),
        resets: quote.resets,
        restarts: quote.restarts,
    };
    let platform = PlatformFacts::AzureSnp(Box::new(azure));
    Ok(Facts { bound: quote.data.to_vec(), made: None, valid, platform })
}

pub(crate) fn verify_tdx(
    body: &[u8],
    endorsements: &Endorsements,
    now: u64,
) -> Result<Facts, VerifyError> {
    let mut reader = Reader::new(body);
    let parts = Parts::read(&mut reader, body.len())?;
    let td_quote = read_part(&mut reader, body.len(), "the quote of TDX")?;
    check_end(&reader, body.len(), "bytes after the quote of TDX")?;
    let report = HclReport::read(parts.hcl_report, TDX_REPORT)?;
    if report.hardware.iter().any(|byte| *byte != 0) {
        let what = "a report that only the same machine can check";
        return Err(VerifyError::Malformed { what, at: REPORT_AT });
    }
    let tpm = Tpm::read(&parts, report.said)?;
    let td_quote = TdQuote::read(td_quote, &[])?;
    tpm.verify(&parts, report.said, td_quote.report_data())?;
    let Tpm { said, quote, .. } = tpm;
    let (tdx, valid) = td_quote.verify(endorsements, now)?;
    let azure = AzureTdxFacts {
        tdx,
        pcrs: parts.pcrs,
        secure_boot: said.machine.secure_boot,
        user_data: said.user_data.to_ascii_lowercase(),
        resets: quote.resets,
        restarts: quote.restarts,
    };
    let platform = PlatformFacts::AzureTdx(Box::new(azure));
    Ok(Facts { bound: quote.data.to_vec(), made: None, valid, platform })
}

/// What the paravisor says and its TPM has signed, not believed.
struct Tpm<'a> {
    key: TokenKey,
    said: Said,
    quote: Quote<'a>,
}

impl<'a> Tpm<'a> {
    fn read(parts: &Parts<'a>, said: &[u8]) -> Result<Self, VerifyError> {
        let (key, said) = read_said(said)?;
        Ok(Self { key, said, quote: Quote::read(parts.quote)? })
    }

    /// Checks that the paravisor said this, as the processor bears out, and that its TPM has these registers.
    fn verify(
        &self,
        parts: &Parts<'_>,
        said: &[u8],
        report_data: &[u8; 64],
    ) -> Result<(), VerifyError> {
        let digest = sha256(said).0;
        if report_data.split_at(digest.len()) != (&digest[..], &[0; 32]) {
            return Err(VerifyError::OtherMachine { what: "what the paravisor says" });
        }
        self.key.verify(parts.quote, parts.signature)?;
        if !self.quote.is_of(&parts.pcrs) {
            return Err(VerifyError::OtherMachine { what: "the registers" });
        }
        Ok(())
    }
}

/// The parts of a body, not believed.
struct Parts<'a> {
    hcl_report: &'a [u8],
    quote: &'a [u8],
    signature: &'a [u8],
    pcrs: TpmPcrs,
}

impl<'a> Parts<'a> {
    /// Reads the parts at the beginning of a body of this length.
    fn read(reader: &mut Reader<'a>, length: usize) -> Result<Self, VerifyError> {
        let hcl_report = read_part(reader, length, "the report of the paravisor")?;
        let quote = read_part(reader, length, "the quote")?;
        let signature = read_part(reader, length, "the signature of the quote")?;
        let registers = read_part(reader, length, "the registers")?;
        let at = length.saturating_sub(reader.left());
        Ok(Self { hcl_report, quote, signature, pcrs: pcrs_of(registers, at)? })
    }
}

/// The paravisor's report, not believed.
struct HclReport<'a> {
    hardware: &'a [u8],
    said: &'a [u8],
}

impl<'a> HclReport<'a> {
    /// Nothing of it is signed but the hardware's report and the text, so all else may only be what it is, but for the version and how
    /// many zeros follow.
    fn read(bytes: &'a [u8], kind: u32) -> Result<Self, VerifyError> {
        if bytes.len() > HCL_BYTES_MAX {
            return Err(VerifyError::Long { found: bytes.len(), limit: HCL_BYTES_MAX });
        }
        let malformed = |what, at| VerifyError::Malformed { what, at };
        let number = |at: usize| {
            let field = bytes.get(at..).and_then(|rest| rest.first_chunk());
            field.map(|field| u32::from_le_bytes(*field)).ok_or(malformed("it ends too early", at))
        };
        if !bytes.starts_with(MAGIC) {
            return Err(malformed("not a report of the paravisor", 0));
        }
        let found = number(4)?;
        if !VERSIONS.contains(&found) {
            let found = u64::from(found);
            return Err(VerifyError::Unsupported {
                what: "the version of the paravisor's report",
                found,
            });
        }
        let length = number(REQUEST_AT + REQUEST_HEADER - 4)?;
        let request =
            u32::try_from(REQUEST_HEADER).ok().and_then(|header| header.checked_add(length));
        let whole = u32::try_from(REQUEST_AT)
            .ok()
            .zip(request)
            .and_then(|(before, request)| before.checked_add(request));
        for (at, expected) in [
            (8, whole),
            (12, Some(ATTESTATION_REQUEST)),
            (16, Some(0)),
            (20, Some(0)),
            (24, Some(0)),
            (28, Some(0)),
            (REQUEST_AT, request),
            (REQUEST_AT + 4, Some(REQUEST_VERSION)),
            (REQUEST_AT + 8, Some(kind)),
            (REQUEST_AT + 12, Some(HASH_SHA256)),
        ] {
            if Some(number(at)?) != expected {
                return Err(malformed("another number than a report of this machine has here", at));
            }
        }
        let begin = REQUEST_AT + REQUEST_HEADER;
        let text = bytes.get(begin..).unwrap_or_default();
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let (said, rest) =
            text.split_at_checked(length).ok_or(malformed("the text ends too early", begin))?;
        let hardware = bytes.get(REPORT_AT..REPORT_AT + SNP_REPORT_BYTES).unwrap_or_default();
        if rest.iter().any(|byte| *byte != 0) {
            return Err(malformed("bytes after the text", begin));
        }
        Ok(Self { hardware, said })
    }
}

/// What the paravisor says, and its key for quotes.
fn read_said(text: &[u8]) -> Result<(TokenKey, Said), VerifyError> {
    let at = REQUEST_AT + REQUEST_HEADER;
    let malformed = |what| VerifyError::Malformed { what, at };
    let said: Said = serde_json::from_slice(text)
        .map_err(|_| malformed("the text is not what a paravisor says"))?;
    if said.keys.len() > KEYS_MAX {
        return Err(malformed("too many keys"));
    }
    let mut named = said.keys.iter().filter(|key| key.kid == QUOTING_KEY);
    let (Some(key), None) = (named.next(), named.next()) else {
        return Err(malformed("not one key for quotes"));
    };
    if key.kty != "RSA" {
        return Err(malformed("the key for quotes is not of RSA"));
    }
    Ok((rsa_key(&key.n, &key.e).ok_or(malformed("the key for quotes cannot be used"))?, said))
}

/// What runs, in one text: the paravisor and the registers.
pub(crate) fn measurement(facts: &AzureFacts) -> String {
    format!("{} {}", hex::encode(facts.snp.measurement), pcrs_text(&facts.pcrs))
}

const _: () = assert!(REPORT_AT + SNP_REPORT_BYTES == REQUEST_AT && TPM_PCRS == 24);
