//! What members admit of Intel's machines.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    facts::{
        AzureTdxFacts, IntelTcb, IntelTcbStatus, SgxFacts, TdAttributes, TdxFacts, TdxHistory,
    },
    tcb::{module_number, module_svn},
};
use crate::{
    PlatformId,
    error::{AppraiseError, Flag},
    policy::PcrCode,
    tpm::pcrs_text,
};

/// What is asked of a machine and its firmware.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IntelPolicy {
    /// What Intel may call the state of the machine. That it is revoked, or older than anything listed, is never admitted.
    pub statuses: BTreeSet<IntelTcbStatus>,
    /// What may not be wrong with it, as Intel numbers it.
    pub advisories_refused: BTreeSet<String>,
    /// The oldest evaluation by which Intel may say so: what is signed may be kept back and shown as long as it counts.
    pub evaluation_min: u32,
    /// The kinds of machines ("FMSPC"); any, if nothing is said.
    pub kinds: Option<BTreeSet<[u8; 6]>>,
    /// Those that are not admitted all the same.
    pub kinds_refused: BTreeSet<[u8; 6]>,
    /// The machines; any, if nothing is said.
    pub machines: Option<BTreeSet<[u8; 16]>>,
    /// Whether two threads may share a core. Where they may not, the machine's certificate has to say that they do not, which those of
    /// machines with one processor never do.
    pub smt: bool,
}

/// What quotes of SGX have to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SgxPolicy {
    /// Of the machine.
    pub machine: IntelPolicy,
    /// What may run there.
    pub code: Vec<SgxCode>,
}

/// Enclaves. What the host gives at the start ("CONFIGID") is not admitted: nothing here names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SgxCode {
    /// Exactly this one.
    Enclave {
        /// SHA-256 over what is loaded.
        mr_enclave: [u8; 32],
    },
    /// Each that somebody signs: whoever has that key decides what runs.
    Signer {
        /// SHA-256 of the key.
        mr_signer: [u8; 32],
        /// Which product of theirs.
        prod_id: u16,
        /// The least version.
        svn_min: u16,
    },
}

/// What quotes of TDX have to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TdxPolicy {
    /// Of the machine.
    pub machine: IntelPolicy,
    /// The modules by their numbers, each with its least version.
    pub modules: BTreeMap<u8, u8>,
    /// Whether `SEPT_VE_DISABLE` may be missing. Only where what runs there bears to be interrupted at any access to its memory, as
    /// Azure's paravisor has to; Linux does not start so.
    pub sept_ve: bool,
    /// Further attributes that may be there: of [`TdAttributes::HARMLESS`].
    pub attributes: u64,
    /// The state of the processor that may be used.
    pub xfam: u64,
    /// Whoever may serve the domain, by SHA-384; where there is somebody, it has to be one of these. That a domain may be moved is never
    /// admitted.
    pub service_tds: BTreeSet<[u8; 48]>,
    /// What may run there.
    pub code: Vec<TdxCode>,
}

/// A program of trust domains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TdxCode {
    /// What is loaded before the start: the firmware.
    pub mr_td: [u8; 48],
    /// What is measured from then on: the firmware's configuration, the loader and the kernel, and the kernel's parameters.
    pub rtmrs: [[u8; 48]; 3],
    /// What runs there measures by itself; anything, if nothing is said.
    pub rtmr3: Option<[u8; 48]>,
    /// What the host gives at the start: of the configuration; zeros for nothing.
    pub mr_config_id: [u8; 48],
    /// Of the owner.
    pub mr_owner: [u8; 48],
    /// Of the owner's configuration.
    pub mr_owner_config: [u8; 48],
}

/// What confidential machines of Azure on TDX have to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AzureTdxPolicy {
    /// Of the quote, where the code is the paravisor's.
    pub tdx: TdxPolicy,
    /// Whether only what the firmware admits may have been started.
    pub secure_boot: bool,
    /// What may run below the paravisor.
    pub code: Vec<PcrCode>,
}

pub(crate) fn judge_sgx(facts: &SgxFacts, policy: &SgxPolicy) -> Result<(), AppraiseError> {
    if facts.attributes.is_debug() {
        return Err(AppraiseError::Flag(Flag::Debug));
    }
    check_bits("attributes of the enclave", facts.attributes.flags, facts.attributes.unknown())?;
    judge_machine(&facts.tcb, &policy.machine)?;
    if facts.config_id != [0; 64] || facts.config_svn != 0 {
        return Err(AppraiseError::HostData { have: hex::encode(facts.config_id) });
    }
    let have = hex::encode(facts.mr_enclave);
    let mut refused = AppraiseError::Measurement { platform: PlatformId::SgxDcap, have };
    for code in &policy.code {
        match *code {
            SgxCode::Enclave { mr_enclave } if mr_enclave == facts.mr_enclave => return Ok(()),
            SgxCode::Signer { mr_signer, prod_id, svn_min }
                if mr_signer == facts.mr_signer && prod_id == facts.isv_prod_id =>
            {
                if facts.isv_svn >= svn_min {
                    return Ok(());
                }
                let (have, need) = (facts.isv_svn.into(), svn_min.into());
                refused = AppraiseError::GuestSvn { have, need };
            }
            SgxCode::Enclave { .. } | SgxCode::Signer { .. } => (),
        }
    }
    Err(refused)
}

pub(crate) fn judge_tdx(facts: &TdxFacts, policy: &TdxPolicy) -> Result<(), AppraiseError> {
    judge_attributes(facts, policy)?;
    judge_machine(&facts.tcb, &policy.machine)?;
    let (number, have) = (module_number(&facts.tee_tcb_svn), module_svn(&facts.tee_tcb_svn));
    match policy.modules.get(&number) {
        Some(need) if have >= *need => (),
        need => return Err(AppraiseError::TdxModule { number, have, need: need.copied() }),
    }
    judge_td_code(facts, policy)
}

pub(crate) fn judge_azure_tdx(
    facts: &AzureTdxFacts,
    policy: &AzureTdxPolicy,
) -> Result<(), AppraiseError> {
    judge_tdx(&facts.tdx, &policy.tdx)?;
    if policy.secure_boot && !facts.secure_boot {
        return Err(AppraiseError::SecureBoot);
    }
    if policy.code.iter().any(|code| code.runs(&facts.pcrs)) {
        return Ok(());
    }
    let have = azure_tdx_measurement(facts);
    Err(AppraiseError::Measurement { platform: PlatformId::AzureTdx, have })
}

/// What a domain runs, in one text.
pub(crate) fn td_measurement(facts: &TdxFacts) -> String {
    let registers =
        facts.rtmrs.iter().enumerate().map(|(at, value)| format!(" {at}:{}", hex::encode(value)));
    hex::encode(facts.mr_td) + &registers.collect::<String>()
}

/// What a machine of Azure runs, in one text: the paravisor and the registers of the TPM.
pub(crate) fn azure_tdx_measurement(facts: &AzureTdxFacts) -> String {
    format!("{} {}", hex::encode(facts.tdx.mr_td), pcrs_text(&facts.pcrs))
}

fn judge_machine(tcb: &IntelTcb, policy: &IntelPolicy) -> Result<(), AppraiseError> {
    let is_admitted = policy.kinds.as_ref().is_none_or(|kinds| kinds.contains(&tcb.fmspc))
        && !policy.kinds_refused.contains(&tcb.fmspc);
    if !is_admitted {
        return Err(AppraiseError::Fmspc { have: hex::encode(tcb.fmspc) });
    }
    if policy.machines.as_ref().is_some_and(|machines| !machines.contains(&tcb.machine)) {
        return Err(AppraiseError::HardwareId { have: hex::encode(tcb.machine) });
    }
    if tcb.evaluation < policy.evaluation_min {
        let (have, need) = (tcb.evaluation, policy.evaluation_min);
        return Err(AppraiseError::Evaluation { have, need });
    }
    let is_never = matches!(tcb.status, IntelTcbStatus::NotSupported | IntelTcbStatus::Revoked);
    if is_never || !policy.statuses.contains(&tcb.status) {
        return Err(AppraiseError::IntelTcb { have: tcb.status, short: tcb.short.clone() });
    }
    if let Some(have) = tcb.advisories.intersection(&policy.advisories_refused).next() {
        return Err(AppraiseError::Advisory { have: have.clone() });
    }
    if !policy.smt && tcb.configuration.smt != Some(false) {
        return Err(AppraiseError::Flag(Flag::Smt));
    }
    Ok(())
}

/// Whether anybody but what runs there may look into it or move it, or decide what it meets.
fn judge_attributes(facts: &TdxFacts, policy: &TdxPolicy) -> Result<(), AppraiseError> {
    let attributes = facts.attributes;
    if attributes.is_debug() {
        return Err(AppraiseError::Flag(Flag::Debug));
    }
    if attributes.is_migratable() {
        return Err(AppraiseError::Flag(Flag::Migration));
    }
    let admitted = policy.attributes & TdAttributes::HARMLESS | TdAttributes::SEPT_VE_DISABLE;
    check_bits("attributes of the domain", attributes.0, attributes.0 & !admitted)?;
    if !policy.sept_ve && !attributes.is_sept_ve_disabled() {
        return Err(AppraiseError::SeptVe);
    }
    check_bits("features of the domain (XFAM)", facts.xfam, facts.xfam & !policy.xfam)?;
    let serves = |service: &[u8; 48]| *service == [0; 48] || policy.service_tds.contains(service);
    let mut services = facts.update.iter().map(|update| update.mr_service_td).collect::<Vec<_>>();
    if let Some(history) = &facts.history {
        judge_history(history)?;
        services.extend([history.service_at_start.0, history.service.0]);
    }
    match services.into_iter().find(|service| !serves(service)) {
        Some(have) => Err(AppraiseError::ServiceTd { have: hex::encode(have) }),
        None => Ok(()),
    }
}

/// Nothing here names partitions, devices, or machines that a domain was moved from.
fn judge_history(history: &TdxHistory) -> Result<(), AppraiseError> {
    let register =
        |which, have: &[u8]| Err(AppraiseError::Register { which, have: hex::encode(have) });
    if history.partition != 0 {
        return register("the partition that asked", &[history.partition]);
    }
    if history.devices != [0; 48] {
        return register("the digest of devices", &history.devices);
    }
    if history.started_on != ([0; 16], [0; 16], [0; 12]) {
        return Err(AppraiseError::Flag(Flag::Migration));
    }
    for (service, attributes) in [history.service_at_start, history.service] {
        if service == [0; 48] && attributes != 0 {
            return register("the attributes of service domains", &attributes.to_be_bytes());
        }
    }
    Ok(())
}

/// Refuses these bits of all.
fn check_bits(what: &'static str, have: u64, refused: u64) -> Result<(), AppraiseError> {
    if refused == 0 { Ok(()) } else { Err(AppraiseError::Bits { what, have, refused }) }
}

/// Whether what runs there is admitted, with what the host gave it.
fn judge_td_code(facts: &TdxFacts, policy: &TdxPolicy) -> Result<(), AppraiseError> {
    let [rtmr0, rtmr1, rtmr2, rtmr3] = facts.rtmrs;
    let have = td_measurement(facts);
    let mut refused = AppraiseError::Measurement { platform: PlatformId::Tdx, have };
    let same = |code: &&TdxCode| code.mr_td == facts.mr_td && code.rtmrs == [rtmr0, rtmr1, rtmr2];
    for code in policy.code.iter().filter(same) {
        let others = [
            ("register 3", rtmr3, code.rtmr3.unwrap_or(rtmr3)),
            ("the configuration of the host", facts.mr_config_id, code.mr_config_id),
            ("the owner", facts.mr_owner, code.mr_owner),
            ("the owner's configuration", facts.mr_owner_config, code.mr_owner_config),
        ];
        match others.into_iter().find(|(_, have, admitted)| have != admitted) {
            None => return Ok(()),
            Some((which, have, _)) => {
                refused = AppraiseError::Register { which, have: hex::encode(have) };
            }
        }
    }
    Err(refused)
}

#[cfg(test)]
mod tests;
