//! Which level of Intel's a machine is of, and what follows from that.
//!
//! A level is that of a machine when no part of the machine is older, and of several such levels it is the newest, which stands first. A
//! machine of TDX has further parts, and a module and a quoting enclave with levels of their own. What comes of all of them is as Intel's
//! library ("SGX TDX DCAP Quote Verification Library", `TcbLevelCheck`, `TdxModuleCheck` and `TDRelaunchCheck`) has it:
//!
//! - Of TDX, the versions at the *start* of the domain count (`TEE_TCB_SVN`), not those of now (`TEE_TCB_SVN_2`): what a module did that
//!   was replaced since, nobody knows. Those of now only decide whether to start again is advised, where all that is out of date is the
//!   module of the start.
//! - The first two parts of TDX are the module. Where that has a number, which is its second, its own identity judges it, and the levels of
//!   the machine do not.
//! - A module or quoting enclave that is out of date or revoked makes the whole so. No level at all is worse than each, but revoked.

use std::collections::BTreeSet;

use super::{
    documents::{Component, ModuleIdentity, QeIdentity, SvnLevel, TcbInfo, TcbLevel},
    facts::{IntelShortage, IntelTcbPart, IntelTcbStatus, TdxUpdate},
    pck::COMPONENTS,
};
use crate::error::{Piece, VerifyError};

/// The versions of what made a quote.
pub(super) struct Versions<'a> {
    pub(super) sgx: &'a [u8; COMPONENTS],
    pub(super) pce: u16,
    pub(super) qe: u16,
    pub(super) tdx: Option<TdxVersions>,
}

/// Those of TDX.
#[derive(Clone, Copy)]
pub(super) struct TdxVersions {
    pub(super) start: [u8; COMPONENTS],
    pub(super) now: Option<[u8; COMPONENTS]>,
}

impl TdxVersions {
    pub(super) fn of(start: [u8; COMPONENTS], update: Option<&TdxUpdate>) -> Self {
        Self { start, now: update.map(|update| update.tee_tcb_svn) }
    }
}

/// What Intel says of a machine.
#[derive(Debug)]
pub(super) struct Assessment {
    pub(super) status: IntelTcbStatus,
    pub(super) advisories: BTreeSet<String>,
    pub(super) short: Vec<IntelShortage>,
}

/// Says which level this is of.
///
/// # Errors
/// [`VerifyError`] when the document does not know the module, or says something of it that has no meaning.
pub(super) fn assess(
    info: &TcbInfo,
    identity: &QeIdentity,
    have: &Versions<'_>,
) -> Result<Assessment, VerifyError> {
    let mut advisories = BTreeSet::new();
    let qe = level_of(&identity.tcb_levels, have.qe, &mut advisories);
    let mut fits = info.tcb_levels.iter().filter(|level| level.fits(have));
    let of_sgx = fits.next();
    let status = match have.tdx {
        None => of_sgx.map_or(IntelTcbStatus::NotSupported, |level| {
            advisories.extend(level.advisories.iter().cloned());
            level.tcb_status
        }),
        Some(tdx) => {
            let level = of_sgx.into_iter().chain(fits).find(|level| level.fits_tdx(&tdx.start));
            let module = module_status(info, &tdx.start, &mut advisories)?;
            match of_sgx.zip(level) {
                None => IntelTcbStatus::NotSupported,
                Some((of_sgx, level)) => {
                    advisories.extend(level.advisories.iter().cloned());
                    let whole = merged(level.tcb_status, module);
                    let is_module = qe == IntelTcbStatus::UpToDate
                        && module == IntelTcbStatus::OutOfDate
                        && is_recent(of_sgx.tcb_status);
                    let now = tdx.now.filter(|_| is_module && is_out_of_date(whole));
                    match now {
                        Some(now) => relaunched(info, &now, whole, of_sgx.tcb_status)?,
                        None => whole,
                    }
                }
            }
        }
    };
    let status = merged(status, qe);
    let short = match status {
        IntelTcbStatus::UpToDate => Vec::new(),
        _ => shortages(info, identity, have),
    };
    Ok(Assessment { status, advisories, short })
}

impl TcbLevel {
    /// Whether nothing of SGX is older.
    fn fits(&self, have: &Versions<'_>) -> bool {
        let has = |(have, need): (&u8, &Component)| *have >= need.svn;
        have.pce >= self.tcb.pce && have.sgx.iter().zip(&self.tcb.sgx).all(has)
    }

    /// Whether nothing of TDX is, leaving out a module that has an identity of its own.
    fn fits_tdx(&self, have: &[u8; COMPONENTS]) -> bool {
        let left_out = if module_number(have) == 0 { 0 } else { 2 };
        let needs = self.tcb.tdx.iter().flatten();
        have.iter().zip(needs).skip(left_out).all(|(have, need)| *have >= need.svn)
    }

    fn tdx_svn(&self, at: usize) -> Option<u8> {
        self.tcb.tdx.as_ref()?.get(at).map(|component| component.svn)
    }
}

/// Which module it is; 0 where that has no number.
pub(super) const fn module_number(tee_tcb_svn: &[u8; COMPONENTS]) -> u8 {
    let [_, number, ..] = tee_tcb_svn;
    *number
}

/// The version of the module.
pub(super) const fn module_svn(tee_tcb_svn: &[u8; COMPONENTS]) -> u8 {
    let [svn, ..] = tee_tcb_svn;
    *svn
}

/// What Intel says of the module of this number, which it has to know.
pub(super) fn module_identity(info: &TcbInfo, number: u8) -> Result<&ModuleIdentity, VerifyError> {
    let id = format!("TDX_{number:02X}");
    let mut named = info.tdx_module_identities.iter();
    let named = named.find(|identity| identity.id.eq_ignore_ascii_case(&id));
    named.ok_or(VerifyError::OtherPiece {
        piece: Piece::TcbInfo,
        what: "the number of the TDX module",
    })
}

fn module_status(
    info: &TcbInfo,
    tee_tcb_svn: &[u8; COMPONENTS],
    advisories: &mut BTreeSet<String>,
) -> Result<IntelTcbStatus, VerifyError> {
    if module_number(tee_tcb_svn) == 0 {
        return Ok(IntelTcbStatus::UpToDate);
    }
    let identity = module_identity(info, module_number(tee_tcb_svn))?;
    let status = level_of(&identity.tcb_levels, module_svn(tee_tcb_svn).into(), advisories);
    match status {
        IntelTcbStatus::UpToDate
        | IntelTcbStatus::OutOfDate
        | IntelTcbStatus::NotSupported
        | IntelTcbStatus::Revoked => Ok(status),
        IntelTcbStatus::SwHardeningNeeded
        | IntelTcbStatus::ConfigurationNeeded
        | IntelTcbStatus::ConfigurationAndSwHardeningNeeded
        | IntelTcbStatus::TdRelaunchAdvised
        | IntelTcbStatus::TdRelaunchAdvisedConfigurationNeeded
        | IntelTcbStatus::OutOfDateConfigurationNeeded => {
            let what = format!("the status {status} of a TDX module has no meaning");
            Err(VerifyError::Document { piece: Piece::TcbInfo, what })
        }
    }
}

/// The status of the newest level that this version is not older than.
fn level_of(levels: &[SvnLevel], have: u16, advisories: &mut BTreeSet<String>) -> IntelTcbStatus {
    match levels.iter().find(|level| have >= level.tcb.isvsvn) {
        Some(level) => {
            advisories.extend(level.advisories.iter().cloned());
            level.tcb_status
        }
        None => IntelTcbStatus::NotSupported,
    }
}

/// The status of a whole, by that of all else and that of a module or a quoting enclave.
fn merged(whole: IntelTcbStatus, part: IntelTcbStatus) -> IntelTcbStatus {
    match (whole, part) {
        (IntelTcbStatus::Revoked, _) | (_, IntelTcbStatus::Revoked) => IntelTcbStatus::Revoked,
        (IntelTcbStatus::NotSupported, _) | (_, IntelTcbStatus::NotSupported) => {
            IntelTcbStatus::NotSupported
        }
        (whole, IntelTcbStatus::UpToDate) => whole,
        // Whatever else is said of a quoting enclave, Intel's library takes it as this.
        (IntelTcbStatus::UpToDate | IntelTcbStatus::SwHardeningNeeded, _) => {
            IntelTcbStatus::OutOfDate
        }
        (
            IntelTcbStatus::ConfigurationNeeded | IntelTcbStatus::ConfigurationAndSwHardeningNeeded,
            _,
        ) => IntelTcbStatus::OutOfDateConfigurationNeeded,
        (
            whole @ (IntelTcbStatus::TdRelaunchAdvised
            | IntelTcbStatus::TdRelaunchAdvisedConfigurationNeeded
            | IntelTcbStatus::OutOfDate
            | IntelTcbStatus::OutOfDateConfigurationNeeded),
            _,
        ) => whole,
    }
}

const fn is_recent(status: IntelTcbStatus) -> bool {
    matches!(
        status,
        IntelTcbStatus::UpToDate
            | IntelTcbStatus::SwHardeningNeeded
            | IntelTcbStatus::ConfigurationNeeded
            | IntelTcbStatus::ConfigurationAndSwHardeningNeeded
    )
}

const fn is_out_of_date(status: IntelTcbStatus) -> bool {
    matches!(status, IntelTcbStatus::OutOfDate | IntelTcbStatus::OutOfDateConfigurationNeeded)
}

const fn is_configuration_needed(status: IntelTcbStatus) -> bool {
    matches!(
        status,
        IntelTcbStatus::ConfigurationNeeded
            | IntelTcbStatus::ConfigurationAndSwHardeningNeeded
            | IntelTcbStatus::OutOfDateConfigurationNeeded
    )
}

/// What becomes of a domain that is out of date for the module of its start only: whether the module of now would be the newest.
fn relaunched(
    info: &TcbInfo,
    now: &[u8; COMPONENTS],
    whole: IntelTcbStatus,
    of_sgx: IntelTcbStatus,
) -> Result<IntelTcbStatus, VerifyError> {
    let newest = info.tcb_levels.first();
    let needs_svn = match module_number(now) {
        0 => newest.and_then(|level| level.tdx_svn(0)).map(u16::from),
        number => {
            let levels = &module_identity(info, number)?.tcb_levels;
            levels.first().map(|level| level.tcb.isvsvn)
        }
    };
    let [_, _, late_microcode, ..] = *now;
    let needs_microcode = newest.and_then(|level| level.tdx_svn(2));
    let is_newest = needs_svn.is_some_and(|need| u16::from(module_svn(now)) >= need)
        && needs_microcode.is_some_and(|need| late_microcode >= need);
    Ok(match is_newest {
        false => whole,
        true if is_configuration_needed(of_sgx) || is_configuration_needed(whole) => {
            IntelTcbStatus::TdRelaunchAdvisedConfigurationNeeded
        }
        true => IntelTcbStatus::TdRelaunchAdvised,
    })
}

/// What is older than in the newest level that is up to date, or in the newest of all where none is.
fn shortages(info: &TcbInfo, identity: &QeIdentity, have: &Versions<'_>) -> Vec<IntelShortage> {
    let mut levels = info.tcb_levels.iter();
    let wanted = levels.find(|level| level.tcb_status == IntelTcbStatus::UpToDate);
    let Some(TcbLevel { tcb, .. }) = wanted.or(info.tcb_levels.first()) else { return Vec::new() };
    let component =
        |part: fn(u8) -> IntelTcbPart, (number, have, need): (u8, &u8, &Component)| IntelShortage {
            part: part(number),
            name: need.name(),
            have: u16::from(*have),
            need: u16::from(need.svn),
        };
    let whole = |part, have, need| IntelShortage { part, name: String::new(), have, need };
    let sgx = (1..).zip(have.sgx).zip(&tcb.sgx).map(|((number, have), need)| (number, have, need));
    let mut all: Vec<IntelShortage> = sgx.map(|one| component(IntelTcbPart::Sgx, one)).collect();
    all.push(whole(IntelTcbPart::Pce, have.pce, tcb.pce));
    if let Some(TdxVersions { start, .. }) = &have.tdx {
        let number = module_number(start);
        let left_out = if number == 0 { 0 } else { 2 };
        let parts = (1..).zip(start).zip(tcb.tdx.iter().flatten());
        let parts = parts.map(|((number, have), need)| (number, have, need)).skip(left_out);
        all.extend(parts.map(|one| component(IntelTcbPart::Tdx, one)));
        if let Ok(identity) = module_identity(info, number) {
            let need = newest_svn(&identity.tcb_levels);
            all.push(whole(IntelTcbPart::Module, module_svn(start).into(), need));
        }
    }
    all.push(whole(IntelTcbPart::Qe, have.qe, newest_svn(&identity.tcb_levels)));
    all.retain(|one| one.have < one.need);
    all
}

fn newest_svn(levels: &[SvnLevel]) -> u16 {
    let up_to_date = levels.iter().find(|level| level.tcb_status == IntelTcbStatus::UpToDate);
    up_to_date.or(levels.first()).map_or(0, |level| level.tcb.isvsvn)
}

#[cfg(test)]
mod tests;
