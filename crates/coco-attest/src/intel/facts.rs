//! What quotes prove, and Intel says of the machine that made them.

use std::{collections::BTreeSet, fmt};

use serde::Deserialize;

use crate::tpm::TpmPcrs;

/// What Intel calls the state of a machine: its firmware, its quoting enclave, and its TDX module together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
pub enum IntelTcbStatus {
    /// All that is known to be wrong is mended.
    UpToDate,
    /// Software inside has to guard itself against something.
    #[serde(rename = "SWHardeningNeeded")]
    SwHardeningNeeded,
    /// Something is to be configured otherwise.
    ConfigurationNeeded,
    /// Both of these.
    #[serde(rename = "ConfigurationAndSWHardeningNeeded")]
    ConfigurationAndSwHardeningNeeded,
    /// What was started was out of date, and the machine is not any more: to be started again.
    #[serde(skip)]
    TdRelaunchAdvised,
    /// And something is to be configured otherwise.
    #[serde(skip)]
    TdRelaunchAdvisedConfigurationNeeded,
    /// Something is too old.
    OutOfDate,
    /// And something is to be configured otherwise.
    OutOfDateConfigurationNeeded,
    /// Older than anything that Intel lists. No policy admits it.
    #[serde(skip)]
    NotSupported,
    /// Not to be believed any more. No policy admits it.
    Revoked,
}

impl IntelTcbStatus {
    /// As Intel writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::UpToDate => "UpToDate",
            Self::SwHardeningNeeded => "SWHardeningNeeded",
            Self::ConfigurationNeeded => "ConfigurationNeeded",
            Self::ConfigurationAndSwHardeningNeeded => "ConfigurationAndSWHardeningNeeded",
            Self::TdRelaunchAdvised => "TDRelaunchAdvised",
            Self::TdRelaunchAdvisedConfigurationNeeded => "TDRelaunchAdvisedConfigurationNeeded",
            Self::OutOfDate => "OutOfDate",
            Self::OutOfDateConfigurationNeeded => "OutOfDateConfigurationNeeded",
            Self::NotSupported => "NotSupported",
            Self::Revoked => "Revoked",
        }
    }
}

impl fmt::Display for IntelTcbStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A part of a machine's firmware that has a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum IntelTcbPart {
    /// One of the 16 of the processor and its firmware; the first is 1.
    Sgx(u8),
    /// The enclave that certifies the machine's keys.
    Pce,
    /// One of the 16 of TDX; the first is 1.
    Tdx(u8),
    /// The TDX module.
    Module,
    /// The quoting enclave.
    Qe,
}

impl fmt::Display for IntelTcbPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sgx(number) => write!(f, "SGX component {number}"),
            Self::Pce => f.write_str("provisioning certification enclave"),
            Self::Tdx(number) => write!(f, "TDX component {number}"),
            Self::Module => f.write_str("TDX module"),
            Self::Qe => f.write_str("quoting enclave"),
        }
    }
}

/// What a machine lacks to be up to date.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntelShortage {
    /// Which part.
    pub part: IntelTcbPart,
    /// As Intel describes it; empty where it does not.
    pub name: String,
    /// The version it has.
    pub have: u16,
    /// The version of the newest level that Intel calls up to date, or of the newest of all where it calls none so.
    pub need: u16,
}

impl fmt::Display for IntelShortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { part, name, have, need } = self;
        match name.as_str() {
            "" => write!(f, "{part} is {have} of {need}"),
            name => write!(f, "{part} ({name}) is {have} of {need}"),
        }
    }
}

/// How a machine is configured, as its certificate says: each where it says that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IntelConfiguration {
    /// Processors may be added to it.
    pub dynamic_platform: Option<bool>,
    /// Intel keeps the keys from which its own can be computed.
    pub cached_keys: Option<bool>,
    /// Two threads may share a core.
    pub smt: Option<bool>,
}

/// The machine and its firmware.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntelTcb {
    /// The kind of processor and machine ("FMSPC").
    pub fmspc: [u8; 6],
    /// The machine: the identifier of its instance, or that of its only processor where it has none ("PPID").
    pub machine: [u8; 16],
    /// How it is configured.
    pub configuration: IntelConfiguration,
    /// What Intel calls its state.
    pub status: IntelTcbStatus,
    /// What is known to be wrong in that state, as Intel numbers it.
    pub advisories: BTreeSet<String>,
    /// What the machine lacks; nothing where it is up to date.
    pub short: Vec<IntelShortage>,
    /// The number of the evaluation by which Intel says so, of two documents the older.
    pub evaluation: u32,
}

/// Attributes of an enclave (Intel SDM, volume 3D, table 36-4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SgxAttributes {
    /// What the enclave may do, and its host with it.
    pub flags: u64,
    /// Which parts of the processor's state it may use ("XFRM").
    pub xfrm: u64,
}

impl SgxAttributes {
    const DEBUG: u64 = 1 << 1;
    /// `INIT`, `MODE64BIT`, `PROVISION_KEY`, `EINITTOKEN_KEY`, `CET`, `KSS`, `AEXNOTIFY`.
    const NAMED: u64 = 1 | 1 << 2 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 10;

    /// Its host may look into it.
    #[must_use]
    pub const fn is_debug(self) -> bool {
        self.flags & Self::DEBUG != 0
    }

    /// The bits that have no name here.
    #[must_use]
    pub const fn unknown(self) -> u64 {
        self.flags & !(Self::NAMED | Self::DEBUG)
    }
}

/// What a quote of SGX says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SgxFacts {
    /// The machine.
    pub tcb: IntelTcb,
    /// SHA-256 over what was loaded.
    pub mr_enclave: [u8; 32],
    /// SHA-256 of the key that signed the enclave.
    pub mr_signer: [u8; 32],
    /// Which product of theirs it is.
    pub isv_prod_id: u16,
    /// Its security version, as they say.
    pub isv_svn: u16,
    /// What it may do.
    pub attributes: SgxAttributes,
    /// What else is saved when it is left ("MISCSELECT").
    pub misc: u32,
    /// What the host gave at the start; zeros where it gave nothing.
    pub config_id: [u8; 64],
    /// And the version of that.
    pub config_svn: u16,
}

/// Attributes of a trust domain (Intel TDX module ABI, "ATTRIBUTES").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TdAttributes(pub u64);

impl TdAttributes {
    /// The host may look into it.
    pub const DEBUG: u64 = 1;
    /// Pages that it has not accepted cannot be made to interrupt it.
    pub const SEPT_VE_DISABLE: u64 = 1 << 28;
    /// It may be moved to another machine.
    pub const MIGRATABLE: u64 = 1 << 29;
    /// It may protect its pages by keys of its own.
    pub const PKS: u64 = 1 << 30;
    /// It may use Key Locker.
    pub const KEY_LOCKER: u64 = 1 << 31;
    /// It may count what the processor does.
    pub const PERFMON: u64 = 1 << 63;
    /// Those that do no harm by themselves, so that a policy may admit them.
    pub const HARMLESS: u64 = Self::SEPT_VE_DISABLE | Self::PKS | Self::KEY_LOCKER | Self::PERFMON;

    /// Whether its host may look into it.
    #[must_use]
    pub const fn is_debug(self) -> bool {
        self.0 & Self::DEBUG != 0
    }

    /// Whether it may be moved to another machine.
    #[must_use]
    pub const fn is_migratable(self) -> bool {
        self.0 & Self::MIGRATABLE != 0
    }

    /// Whether pages that it has not accepted cannot be made to interrupt it.
    #[must_use]
    pub const fn is_sept_ve_disabled(self) -> bool {
        self.0 & Self::SEPT_VE_DISABLE != 0
    }

    /// The bits that have no name here.
    #[must_use]
    pub const fn unknown(self) -> u64 {
        self.0 & !(Self::HARMLESS | Self::DEBUG | Self::MIGRATABLE)
    }
}

/// What a quote of TDX says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TdxFacts {
    /// The machine.
    pub tcb: IntelTcb,
    /// The versions of the TDX module and of the processor's firmware when it was started. The first is that of the module, and the
    /// second which module it is.
    pub tee_tcb_svn: [u8; 16],
    /// SHA-384 over the TDX module.
    pub mr_seam: [u8; 48],
    /// Who signed that; zeros for Intel.
    pub mr_signer_seam: [u8; 48],
    /// What it may do, and its host with it.
    pub attributes: TdAttributes,
    /// Which parts of the processor's state it may use.
    pub xfam: u64,
    /// SHA-384 over what was loaded before the start.
    pub mr_td: [u8; 48],
    /// What the host gave at the start of the domain's configuration; zeros where it gave nothing, as for the next two.
    pub mr_config_id: [u8; 48],
    /// What it gave of the domain's owner.
    pub mr_owner: [u8; 48],
    /// What it gave of the owner's configuration.
    pub mr_owner_config: [u8; 48],
    /// What was measured since: by the firmware, of its configuration; of the loader and the kernel; of the kernel's parameters; and by
    /// what runs there.
    pub rtmrs: [[u8; 48]; 4],
    /// What modules since 1.5 say beside; not in all quotes.
    pub update: Option<TdxUpdate>,
    /// What they say of where it comes from; not in all quotes.
    pub history: Option<Box<TdxHistory>>,
    /// What was measured, event by event, where a log came that leads to the registers.
    pub log: Option<Vec<RegisterEvent>>,
}

/// What TDX modules since 1.5 say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TdxUpdate {
    /// The versions as they are now: the module may be replaced while it runs. Intel judges by those of the start, and looks at these
    /// only to say whether starting again would help.
    pub tee_tcb_svn: [u8; 16],
    /// SHA-384 over those that may serve it: that move it to other machines. Zeros where there are none.
    pub mr_service_td: [u8; 48],
}

/// Where a trust domain comes from (Intel, `sgx_report2_body_v1_5_ex_t`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TdxHistory {
    /// Which partition of it asked; 0 where it has none, or the one that is above the others did.
    pub partition: u8,
    /// This domain, wherever it is moved.
    pub id: [u8; 32],
    /// The devices that it has let in; zeros where there are none.
    pub devices: [u8; 48],
    /// Those that might serve it at its start, with their attributes; zeros where there were none.
    pub service_at_start: ([u8; 48], u64),
    /// The processor's and the module's versions where it was started, and the kind of machine; zeros where it was never moved.
    pub started_on: ([u8; 16], [u8; 16], [u8; 12]),
    /// Those that may serve it now.
    pub service: ([u8; 48], u64),
}

/// An event that was measured into a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegisterEvent {
    /// Which register.
    pub register: u8,
    /// What kind the log says it is (TCG, "PC Client Platform Firmware Profile", table 27). Proved by nothing.
    pub kind: u32,
    /// What was measured.
    pub digest: [u8; 48],
    /// SHA-384 of what the log says it was. Proved only where it is the digest.
    pub data: [u8; 48],
}

/// What the TPM of a confidential machine of Azure on TDX says, and the quote that vouches for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AzureTdxFacts {
    /// The quote: its measurements are the paravisor's.
    pub tdx: TdxFacts,
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
