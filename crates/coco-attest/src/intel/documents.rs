//! What Intel says of machines and of its quoting enclaves, in JSON (Intel, "Provisioning Certification Service", version 4): which levels
//! of firmware there are, and what is known to be wrong with each.
//!
//! ```text
//! {"tcbInfo":{…},"signature":"…"}         {"enclaveIdentity":{…},"signature":"…"}
//! ```
//!
//! The bytes of the inner object are signed. What is around them nobody has signed, so it is written in one way, as Intel does. A member
//! that is not known here makes the document unreadable: Intel has changed what others mean by adding one.

use coco_crypto::{MakerCertificate, Validity};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error as _},
};

use super::{facts::IntelTcbStatus, pck::COMPONENTS, quote::Tee};
use crate::error::{Piece, VerifyError};

/// Longest document that is read, in bytes. Intel's have some thousand.
const DOCUMENT_BYTES_MAX: usize = 64 << 10;
/// Longest list within one.
const LIST_MAX: usize = 256;
/// Longest text within one, in bytes.
const TEXT_BYTES_MAX: usize = 128;
/// The versions of the documents, and the only way to compare levels that there has been.
const TCB_INFO_VERSION: u32 = 3;
const QE_IDENTITY_VERSION: u32 = 2;
const TCB_TYPE: u32 = 0;
/// Digits of a signature.
const SIGNATURE_DIGITS: usize = 128;

/// The levels of one kind of machine.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct TcbInfo {
    id: String,
    version: u32,
    issue_date: String,
    next_update: String,
    pub(super) fmspc: Hex<6>,
    pub(super) pce_id: Hex<2>,
    tcb_type: u32,
    pub(super) tcb_evaluation_data_number: u32,
    /// Of which modules without a number are.
    pub(super) tdx_module: Option<ModuleKind>,
    #[serde(default)]
    pub(super) tdx_module_identities: Vec<ModuleIdentity>,
    /// The newest first.
    pub(super) tcb_levels: Vec<TcbLevel>,
}

/// What a TDX module has to be.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ModuleKind {
    pub(super) mrsigner: Hex<48>,
    pub(super) attributes: Hex<8>,
    pub(super) attributes_mask: Hex<8>,
}

/// What a TDX module of this number has to be, and its levels.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ModuleIdentity {
    /// `TDX_` and two digits.
    pub(super) id: String,
    mrsigner: Hex<48>,
    attributes: Hex<8>,
    attributes_mask: Hex<8>,
    /// The newest first.
    pub(super) tcb_levels: Vec<SvnLevel>,
}

impl ModuleIdentity {
    pub(super) const fn kind(&self) -> ModuleKind {
        let Self { mrsigner, attributes, attributes_mask, .. } = self;
        ModuleKind {
            mrsigner: *mrsigner,
            attributes: *attributes,
            attributes_mask: *attributes_mask,
        }
    }
}

/// A level: the least that has it, and what Intel says of whoever has no more.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Level<T> {
    pub(super) tcb: T,
    #[serde(rename = "tcbDate")]
    _date: String,
    pub(super) tcb_status: IntelTcbStatus,
    #[serde(rename = "advisoryIDs", default)]
    pub(super) advisories: Vec<String>,
}

/// Of something that has one version.
pub(super) type SvnLevel = Level<Svn>;

/// Of a machine.
pub(super) type TcbLevel = Level<Tcb>;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Svn {
    pub(super) isvsvn: u16,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tcb {
    #[serde(rename = "sgxtcbcomponents")]
    pub(super) sgx: [Component; COMPONENTS],
    #[serde(rename = "pcesvn")]
    pub(super) pce: u16,
    #[serde(rename = "tdxtcbcomponents")]
    pub(super) tdx: Option<[Component; COMPONENTS]>,
}

/// A part of a machine's firmware.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Component {
    pub(super) svn: u8,
    category: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
}

impl Component {
    /// As Intel describes it.
    pub(super) fn name(&self) -> String {
        self.kind.as_ref().or(self.category.as_ref()).cloned().unwrap_or_default()
    }
}

/// What a quoting enclave has to be, and its levels.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct QeIdentity {
    id: String,
    version: u32,
    issue_date: String,
    next_update: String,
    pub(super) tcb_evaluation_data_number: u32,
    /// The least significant byte first, as in a report; so are the others.
    pub(super) miscselect: Hex<4>,
    pub(super) miscselect_mask: Hex<4>,
    pub(super) attributes: Hex<16>,
    pub(super) attributes_mask: Hex<16>,
    pub(super) mrsigner: Hex<32>,
    pub(super) isvprodid: u16,
    /// The newest first.
    pub(super) tcb_levels: Vec<SvnLevel>,
}

/// Bytes that are written in hexadecimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hex<const N: usize>(pub(super) [u8; N]);

impl<'de, const N: usize> Deserialize<'de> for Hex<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let digits = String::deserialize(deserializer)?;
        let mut bytes = [0; N];
        hex::decode_to_slice(digits, &mut bytes).map_err(D::Error::custom)?;
        Ok(Self(bytes))
    }
}

impl TcbInfo {
    /// Reads what `signer` signed of machines of this kind.
    pub(super) fn read(
        bytes: &[u8],
        signer: &MakerCertificate,
        tee: Tee,
    ) -> Result<(Self, Validity), VerifyError> {
        let piece = Piece::TcbInfo;
        let info: Self = signed(bytes, "tcbInfo", signer, piece)?;
        let refused = |what| Err(document(piece, what));
        let id = match tee {
            Tee::Sgx => "SGX",
            Tee::Tdx => "TDX",
        };
        if info.id != id || info.version != TCB_INFO_VERSION || info.tcb_type != TCB_TYPE {
            return refused("not of this kind of machine, or not of this version");
        }
        let is_tdx = tee == Tee::Tdx;
        let mut levels = info.tcb_levels.iter();
        if info.tdx_module.is_some() != is_tdx
            || levels.any(|level| level.tcb.tdx.is_some() != is_tdx)
            || !is_tdx && !info.tdx_module_identities.is_empty()
        {
            return refused("it says of TDX what it should not, or does not what it should");
        }
        let mut lists = vec![info.tcb_levels.len(), info.tdx_module_identities.len()];
        lists.extend(info.tcb_levels.iter().map(|level| level.advisories.len()));
        let components = info.tcb_levels.iter().flat_map(|level| {
            let tdx = level.tcb.tdx.iter().flatten();
            level.tcb.sgx.iter().chain(tdx)
        });
        let texts = components.flat_map(|one| one.kind.iter().chain(&one.category));
        let advisories = info.tcb_levels.iter().flat_map(|level| &level.advisories);
        check_limits(piece, &lists, texts.chain(advisories))?;
        for identity in &info.tdx_module_identities {
            check_levels(piece, &identity.tcb_levels)?;
        }
        if info.tcb_levels.is_empty() {
            return refused("no level");
        }
        let validity = period(piece, &info.issue_date, &info.next_update)?;
        Ok((info, validity))
    }
}

impl QeIdentity {
    /// Reads what `signer` signed of the quoting enclave of machines of this kind.
    pub(super) fn read(
        bytes: &[u8],
        signer: &MakerCertificate,
        tee: Tee,
    ) -> Result<(Self, Validity), VerifyError> {
        let piece = Piece::QeIdentity;
        let identity: Self = signed(bytes, "enclaveIdentity", signer, piece)?;
        let id = match tee {
            Tee::Sgx => "QE",
            Tee::Tdx => "TD_QE",
        };
        if identity.id != id || identity.version != QE_IDENTITY_VERSION {
            return Err(document(piece, "not of this enclave, or not of this version"));
        }
        check_levels(piece, &identity.tcb_levels)?;
        let validity = period(piece, &identity.issue_date, &identity.next_update)?;
        Ok((identity, validity))
    }
}

fn document(piece: Piece, what: &str) -> VerifyError {
    VerifyError::Document { piece, what: what.to_owned() }
}

fn period(piece: Piece, from: &str, to: &str) -> Result<Validity, VerifyError> {
    Validity::of_dates(from, to).ok_or_else(|| document(piece, "not the dates of a period"))
}

fn check_levels(piece: Piece, levels: &[SvnLevel]) -> Result<(), VerifyError> {
    let mut lists = vec![levels.len()];
    lists.extend(levels.iter().map(|level| level.advisories.len()));
    check_limits(piece, &lists, levels.iter().flat_map(|level| &level.advisories))?;
    if levels.is_empty() { Err(document(piece, "no level")) } else { Ok(()) }
}

fn check_limits<'a>(
    piece: Piece,
    lists: &[usize],
    mut texts: impl Iterator<Item = &'a String>,
) -> Result<(), VerifyError> {
    let is_long = lists.iter().any(|length| *length > LIST_MAX);
    if is_long || texts.any(|text| text.len() > TEXT_BYTES_MAX) {
        return Err(document(piece, "a list or a text that is too long"));
    }
    Ok(())
}

/// What is in a document, after the signature over it was checked.
fn signed<T: DeserializeOwned>(
    bytes: &[u8],
    member: &str,
    signer: &MakerCertificate,
    piece: Piece,
) -> Result<T, VerifyError> {
    if bytes.len() > DOCUMENT_BYTES_MAX {
        return Err(document(piece, "too many bytes"));
    }
    let (inner, signature) = unframed(bytes, member)
        .ok_or_else(|| document(piece, "not one object and its signature, as Intel writes them"))?;
    let key = signer.key().map_err(|_| VerifyError::DocumentSignature { piece })?;
    let verified = key.verify_fixed(inner, &signature);
    verified.map_err(|_| VerifyError::DocumentSignature { piece })?;
    serde_json::from_slice(inner).map_err(|error| {
        let what = error.to_string().chars().take(TEXT_BYTES_MAX).collect();
        VerifyError::Document { piece, what }
    })
}

/// The bytes that are signed, and the signature.
fn unframed<'a>(bytes: &'a [u8], member: &str) -> Option<(&'a [u8], [u8; 64])> {
    let framed = bytes.strip_prefix(format!("{{\"{member}\":").as_bytes())?;
    let framed = framed.strip_suffix(b"\"}")?;
    let (inner, digits) = framed.split_at_checked(framed.len().checked_sub(SIGNATURE_DIGITS)?)?;
    let inner = inner.strip_suffix(b",\"signature\":\"")?;
    // One way to write them.
    if !digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    let mut signature = [0; 64];
    hex::decode_to_slice(digits, &mut signature).ok()?;
    Some((inner, signature))
}

#[cfg(test)]
mod tests;
