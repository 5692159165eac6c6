//! Intel SGX and TDX: quotes that a quoting enclave signs, whose own report a key of the machine signs, which Intel certifies (DCAP).
//!
//! ```text
//! quote ── P-256 ── key in the quoting enclave's report ── P-256 ── machine (PCK) ── authority ── root, pinned by its bytes
//! levels of machines, identity of the quoting enclave ── P-256 ── signer of documents ── root
//! revoked machines ── authority          revoked authorities and signers ── root
//! ```
//!
//! The certificate of the machine says which versions its firmware has, and Intel's documents what is known to be wrong with those. Both
//! lists of revoked certificates and both documents have to be there, and each piece has to count: a host may show any that ever counted,
//! so how long one does is what bounds that. What Intel thinks of a level is a fact here; whether it suffices is the policy's business.
//!
//! Endorsements are, in this order among those of their kind: the certificate of whoever signed the documents, or of the one of machines and
//! the one of the quoting enclave where they differ; the list of the root and that of the authority; one document of each kind. The quote
//! brings its own chain.
//!
//! A period's last second counts, as in Intel's own library.

mod collateral;
mod documents;
mod facts;
mod pck;
mod policy;
mod quote;
mod tcb;

use coco_crypto::{Curve, PublicKey, SignatureInvalid, Validity, sha256, sha384};
use coco_types::Digest;

pub use facts::{
    AzureTdxFacts, IntelConfiguration, IntelShortage, IntelTcb, IntelTcbPart, IntelTcbStatus,
    RegisterEvent, SgxAttributes, SgxFacts, TdAttributes, TdxFacts, TdxHistory, TdxUpdate,
};
pub use policy::{AzureTdxPolicy, IntelPolicy, SgxCode, SgxPolicy, TdxCode, TdxPolicy};

pub(crate) use policy::{
    azure_tdx_measurement, judge_azure_tdx, judge_sgx, judge_tdx, td_measurement,
};

use crate::{
    chain::check_chain,
    error::{Piece, VerifyError},
    event_log::{Bank, Event, EventLog},
    evidence::Endorsements,
    facts::{Facts, PlatformFacts},
    little_endian::LittleEndian,
};
use collateral::Collateral;
use documents::{ModuleKind, QeIdentity, TcbInfo};
use pck::Machine;
use quote::{Quote, SgxReport, TdReport, Tee};
use tcb::{TdxVersions, Versions, module_number};

/// SHA-256 of the root's certificate: that of Intel, `Intel SGX Root CA`, valid until 2049.
pub const INTEL_SGX_ROOT: Digest = Digest([
    0x44, 0xa0, 0x19, 0x6b, 0x2b, 0x99, 0xf8, 0x89, 0xb8, 0xe1, 0x49, 0xe9, 0x5b, 0x80, 0x7a, 0x35,
    0x0e, 0x74, 0x24, 0x96, 0x43, 0x99, 0xe8, 0x85, 0xa7, 0xcb, 0xb8, 0xcc, 0xfa, 0xb6, 0x74, 0xd3,
]);

/// Whom the certificates of machines name, and those of the authorities that issue them: for machines with one processor and with several.
const MACHINE: &str = "Intel SGX PCK Certificate";
const AUTHORITIES: [&str; 2] = ["Intel SGX PCK Processor CA", "Intel SGX PCK Platform CA"];

/// The highest number that logs of trust domains have for a register, of which 0 is that of what was loaded, and 1 the first that is
/// measured later (UEFI, section 38.4.1).
const LOG_REGISTER_MAX: u32 = 4;

pub(crate) fn verify_sgx(
    body: &[u8],
    endorsements: &Endorsements,
    now: u64,
) -> Result<Facts, VerifyError> {
    let (quote, qe) = verify_quote(body, Tee::Sgx)?;
    let report = SgxReport::read(quote.body)?;
    let (tcb, valid) = verify_machine(&quote, &qe, endorsements, now, None)?;
    let facts = SgxFacts {
        tcb,
        mr_enclave: report.mr_enclave,
        mr_signer: report.mr_signer,
        isv_prod_id: report.isv_prod_id,
        isv_svn: report.isv_svn,
        attributes: report.attributes,
        misc: report.misc,
        config_id: report.config_id,
        config_svn: report.config_svn,
    };
    let platform = PlatformFacts::SgxDcap(Box::new(facts));
    Ok(Facts { bound: report.report_data.to_vec(), made: None, valid, platform })
}

pub(crate) fn verify_tdx(
    body: &[u8],
    log: &[u8],
    endorsements: &Endorsements,
    now: u64,
) -> Result<Facts, VerifyError> {
    let quote = TdQuote::read(body, log)?;
    let bound = quote.report_data().to_vec();
    let (facts, valid) = quote.verify(endorsements, now)?;
    let platform = PlatformFacts::Tdx(Box::new(facts));
    Ok(Facts { bound, made: None, valid, platform })
}

/// A quote of TDX that is signed up to the root. Whether its certificates count, and what its machine is worth, nobody has looked at.
pub(crate) struct TdQuote<'a> {
    quote: Quote<'a>,
    qe: SgxReport,
    report: TdReport,
    log: Option<Vec<RegisterEvent>>,
}

impl<'a> TdQuote<'a> {
    /// Reads a quote, and a log that leads to its registers where there is one.
    pub(crate) fn read(body: &'a [u8], log: &[u8]) -> Result<Self, VerifyError> {
        let (quote, qe) = verify_quote(body, Tee::Tdx)?;
        let report = TdReport::read(quote.body)?;
        let log = if log.is_empty() { None } else { Some(replay(log, &report.rtmrs)?) };
        Ok(Self { quote, qe, report, log })
    }

    /// What whoever asked gave.
    pub(crate) const fn report_data(&self) -> &[u8; 64] {
        &self.report.report_data
    }

    /// Checks all else.
    pub(crate) fn verify(
        self,
        endorsements: &Endorsements,
        now: u64,
    ) -> Result<(TdxFacts, Validity), VerifyError> {
        let Self { quote, qe, report, log } = self;
        let (tcb, valid) = verify_machine(&quote, &qe, endorsements, now, Some(&report))?;
        let facts = TdxFacts {
            tcb,
            tee_tcb_svn: report.tee_tcb_svn,
            mr_seam: report.mr_seam,
            mr_signer_seam: report.mr_signer_seam,
            attributes: report.attributes,
            xfam: report.xfam,
            mr_td: report.mr_td,
            mr_config_id: report.mr_config_id,
            mr_owner: report.mr_owner,
            mr_owner_config: report.mr_owner_config,
            rtmrs: report.rtmrs,
            update: report.update,
            history: report.history,
            log,
        };
        Ok((facts, valid))
    }
}

/// Checks what is signed up to the root: the certificates, the report of the quoting enclave, and the quote.
fn verify_quote(body: &[u8], tee: Tee) -> Result<(Quote<'_>, SgxReport), VerifyError> {
    let quote = Quote::read(body, tee)?;
    let chain = &quote.chain;
    let found = chain.root.digest();
    if found != INTEL_SGX_ROOT {
        return Err(VerifyError::Root { found });
    }
    check_chain([&chain.leaf, &chain.authority, &chain.root])?;
    let name = chain.authority.common_name();
    if !AUTHORITIES.map(Some).contains(&name.as_deref()) {
        return Err(VerifyError::OtherPiece { piece: Piece::Authority(1), what: "the name" });
    }
    let name = chain.leaf.common_name();
    if chain.leaf.is_authority() || name.as_deref() != Some(MACHINE) {
        return Err(VerifyError::OtherPiece { piece: Piece::LeafCertificate, what: "the name" });
    }
    let machine = chain.leaf.key().map_err(|_| SignatureInvalid)?;
    machine.verify_fixed(&quote.qe_report, &quote.qe_signature)?;
    let qe = SgxReport::read(LittleEndian::new(&quote.qe_report))?;
    let vouched = sha256(&[&quote.key[..], quote.qe_data].concat()).0;
    if qe.report_data.split_at(vouched.len()) != (&vouched[..], &[0; 32]) {
        return Err(VerifyError::OtherMachine { what: "the key in the quoting enclave's report" });
    }
    let (x, y) = quote.key.split_at(quote.key.len() / 2);
    let key = PublicKey::from_coordinates(Curve::P256, x, y).map_err(|_| SignatureInvalid)?;
    key.verify_fixed(quote.signed, &quote.signature)?;
    Ok((quote, qe))
}

/// Checks the endorsements of a quote that was checked, and says what Intel says of its machine.
fn verify_machine(
    quote: &Quote<'_>,
    qe: &SgxReport,
    endorsements: &Endorsements,
    now: u64,
    td: Option<&TdReport>,
) -> Result<(IntelTcb, Validity), VerifyError> {
    let tee = if td.is_some() { Tee::Tdx } else { Tee::Sgx };
    let Collateral { info, identity, valid } =
        collateral::verify(&quote.chain, endorsements, tee, now)?;
    let machine = Machine::of(&quote.chain.leaf).ok_or(VerifyError::OtherPiece {
        piece: Piece::LeafCertificate,
        what: "what Intel says of the machine",
    })?;
    check_kind(&machine, &info)?;
    check_qe(qe, &identity)?;
    if let Some(td) = td {
        check_module(td, &info)?;
    }
    let versions = Versions {
        sgx: &machine.svns,
        pce: machine.pce_svn,
        qe: qe.isv_svn,
        tdx: td.map(|td| TdxVersions::of(td.tee_tcb_svn, td.update.as_ref())),
    };
    let assessment = tcb::assess(&info, &identity, &versions)?;
    let evaluation = info.tcb_evaluation_data_number.min(identity.tcb_evaluation_data_number);
    let tcb = IntelTcb {
        fmspc: machine.fmspc,
        machine: machine.id,
        configuration: machine.configuration,
        status: assessment.status,
        advisories: assessment.advisories,
        short: assessment.short,
        evaluation,
    };
    Ok((tcb, valid))
}

/// Whether the levels are of this kind of machine.
fn check_kind(machine: &Machine, info: &TcbInfo) -> Result<(), VerifyError> {
    let other = |what| Err(VerifyError::OtherPiece { piece: Piece::TcbInfo, what });
    if machine.fmspc != info.fmspc.0 {
        return other("the kind of machine (FMSPC)");
    }
    if machine.pce_id != info.pce_id.0 {
        return other("the certifying enclave (PCEID)");
    }
    Ok(())
}

/// Whether this is a report of Intel's quoting enclave.
fn check_qe(qe: &SgxReport, identity: &QeIdentity) -> Result<(), VerifyError> {
    let attributes = [qe.attributes.flags, qe.attributes.xfrm].map(u64::to_le_bytes);
    let (misc, attributes) = (qe.misc.to_le_bytes(), attributes.as_flattened());
    let checks = [
        (qe.mr_signer == identity.mrsigner.0, "the signer of the quoting enclave"),
        (qe.isv_prod_id == identity.isvprodid, "the product of the quoting enclave"),
        (
            is_masked(attributes, &identity.attributes_mask.0, &identity.attributes.0),
            "the attributes of the quoting enclave",
        ),
        (
            is_masked(&misc, &identity.miscselect_mask.0, &identity.miscselect.0),
            "what the quoting enclave saves",
        ),
        // Whatever the mask says.
        (!qe.attributes.is_debug(), "that the quoting enclave cannot be looked into"),
    ];
    match checks.into_iter().find(|(is_so, _)| !is_so) {
        Some((_, what)) => Err(VerifyError::OtherPiece { piece: Piece::QeIdentity, what }),
        None => Ok(()),
    }
}

/// Whether the TDX module is one of Intel's.
fn check_module(td: &TdReport, info: &TcbInfo) -> Result<(), VerifyError> {
    let other = |what| VerifyError::OtherPiece { piece: Piece::TcbInfo, what };
    let numbered;
    let kind: &ModuleKind = match module_number(&td.tee_tcb_svn) {
        0 => info.tdx_module.as_ref().ok_or(other("the TDX module"))?,
        number => {
            numbered = tcb::module_identity(info, number)?.kind();
            &numbered
        }
    };
    // Intel's own modules have no other signer, and none of them has attributes.
    if td.mr_signer_seam != kind.mrsigner.0 || td.mr_signer_seam != [0; 48] {
        return Err(other("the signer of the TDX module"));
    }
    let is_kind = is_masked(&td.seam_attributes, &kind.attributes_mask.0, &kind.attributes.0);
    if !is_kind || td.seam_attributes != [0; 8] {
        return Err(other("the attributes of the TDX module"));
    }
    Ok(())
}

/// Whether these bytes are the expected ones where the mask has ones.
fn is_masked(found: &[u8], mask: &[u8], expected: &[u8]) -> bool {
    found.iter().zip(mask).map(|(found, mask)| found & mask).eq(expected.iter().copied())
}

/// Whether a log leads to the registers of a domain: to the first three, and to the last one where it says anything of that. What runs
/// there measures into the last one, and may not tell of it here.
fn replay(log: &[u8], rtmrs: &[[u8; 48]; 4]) -> Result<Vec<RegisterEvent>, VerifyError> {
    let log: EventLog<'_, 48> = EventLog::read(log, Bank::Sha384, LOG_REGISTER_MAX)?;
    let events: Option<Vec<RegisterEvent>> = log.events.iter().map(register_event).collect();
    // Nothing is measured into what was loaded before the start.
    let what = "an event of the measurement of what was loaded";
    let events = events.ok_or(VerifyError::Log { what, at: 0 })?;
    for ((register, number), value) in (0..).zip(1..).zip(rtmrs) {
        let is_told = register < 3 || events.iter().any(|event| event.register == register);
        if is_told && log.replay(number, sha384) != *value {
            return Err(VerifyError::LogReplay { register });
        }
    }
    Ok(events)
}

fn register_event(event: &Event<'_, 48>) -> Option<RegisterEvent> {
    let register = u8::try_from(event.register.checked_sub(1)?).ok()?;
    let Event { kind, digest, data, .. } = *event;
    Some(RegisterEvent { register, kind, digest, data: sha384(data) })
}

#[cfg(test)]
mod tests;
