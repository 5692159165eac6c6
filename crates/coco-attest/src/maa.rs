//! Azure Attestation: tokens in which a service of Microsoft says what it has found evidence of a machine to prove.
//!
//! ```text
//! claims ── RS256 ── key of the service, which members name for each of its instances
//! ```
//!
//! What is believed is Microsoft: it has seen the machine's registers and its report, and we have not. A token says neither of which
//! generation the processor is, nor the values of registers: what was started below the paravisor is named by nothing but the policy of
//! the instance, which members write there and name here by its hash. Where the service publishes its keys (`jku`) is never asked: the
//! key comes with the token, facts say which it is, and members say which they believe.
//!
//! Tokens of virtual machines are read (`azurevm`), of SEV-SNP or not; those of SGX, of other TPMs and of VBS are refused, and so is
//! every claim that is not known here.

mod json;
mod keys;
mod token;

use std::collections::{BTreeMap, BTreeSet};

use coco_crypto::{Validity, sha256};
use coco_types::Digest;

use crate::{
    SnpCode,
    attested::{SnpStarted, judge_snp_code},
    error::{AppraiseError, Flag, Piece, VerifyError},
    evidence::{EndorsementKind, Endorsements, PlatformId},
    facts::{Facts, PlatformFacts, SnpTcb},
};
use keys::Key;
use token::Token;

pub use keys::maa_key_set;
pub use token::MAA_TOKEN_BYTES_MAX;

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaaFacts {
    /// The instance of the service, by its address.
    pub issuer: String,
    /// SHA-256 of the key (SPKI) that signed it.
    pub key: Digest,
    /// SHA-256 of the policy by which the instance judged.
    pub policy: Digest,
    /// The virtual machine, by the id that Azure gave it.
    pub machine: String,
    /// Whether it runs Windows.
    pub is_windows: bool,
    /// The registers that the service has looked at.
    pub pcrs: BTreeSet<u8>,
    /// What a policy may refuse of what was started.
    pub flags: BTreeSet<MaaFlag>,
    /// The report of SEV-SNP, where it is a confidential machine.
    pub guest: Option<MaaGuest>,
}

/// Something about what was started, or that a token does not say otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MaaFlag {
    /// Without secure boot.
    InsecureBoot,
    /// Under other keys for secure boot than the usual ones, or the lists of what these admit and refuse are not the usual ones.
    OtherBootKeys,
    /// A debugger may look into the boot, the kernel or the hypervisor.
    Debuggers,
    /// Programs under signatures for tests are admitted.
    TestSigning,
}

/// A report of SEV-SNP, as the service understood it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaaGuest {
    /// See [`SnpFacts::measurement`](crate::SnpFacts::measurement): that of the paravisor.
    pub measurement: [u8; 48],
    /// See [`SnpFacts::host_data`](crate::SnpFacts::host_data).
    pub host_data: [u8; 32],
    /// See [`SnpFacts::guest_svn`](crate::SnpFacts::guest_svn).
    pub guest_svn: u32,
    /// See [`SnpFacts::id_key`](crate::SnpFacts::id_key).
    pub id_key: [u8; 48],
    /// See [`SnpFacts::author_key`](crate::SnpFacts::author_key).
    pub author_key: [u8; 48],
    /// What the paravisor gave.
    pub report_data: [u8; 64],
    /// See [`SnpFacts::vmpl`](crate::SnpFacts::vmpl).
    pub vmpl: u32,
    /// The firmware that is reported, as far as it is told: without the FMC.
    pub tcb: SnpTcb,
    /// What the service thinks of it, in its own words.
    pub compliance: String,
    /// What a policy may refuse: of these only whether it may be looked into, moved, or share a core.
    pub flags: BTreeSet<Flag>,
}

/// What tokens of Azure Attestation have to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MaaPolicy {
    /// The instances that are believed, by their addresses.
    pub issuers: BTreeMap<String, MaaIssuer>,
    /// Whether only what the usual keys for secure boot admit may have been started.
    pub secure_boot: bool,
    /// The registers that the service must have looked at.
    pub pcrs: BTreeSet<u8>,
    /// The virtual machines, by their ids; any, if nothing is said.
    pub machines: Option<BTreeSet<String>>,
    /// Confidential machines on SEV-SNP; none, if nothing is said.
    pub guest: Option<MaaGuestPolicy>,
    /// Whether other machines are admitted, of which no processor proves anything.
    pub unconfidential: bool,
}

/// An instance of the service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MaaIssuer {
    /// SHA-256 of its keys (SPKI).
    pub keys: BTreeSet<Digest>,
    /// SHA-256 of the policies by which it may judge. Whatever a token says, it says because such a policy let it.
    pub policies: BTreeSet<Digest>,
}

/// What tokens have to say of confidential machines. They do not say of which generation the processor is, so that one of Milan, whose
/// keys can be computed by whoever has had it (arXiv 2605.12990), is not told from others: name the machines where that matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaaGuestPolicy {
    /// The oldest firmware that is reported. There is no FMC in tokens.
    pub tcb_min: SnpTcb,
    /// Whether two threads may share a core.
    pub smt: bool,
    /// What the service may think of it, in its own words.
    pub compliance: BTreeSet<String>,
    /// The paravisors.
    pub code: Vec<SnpCode>,
}

pub(crate) fn verify(
    body: &[u8],
    endorsements: &Endorsements,
    now: u64,
) -> Result<Facts, VerifyError> {
    let Key { id, key } = Key::read(endorsements.one(EndorsementKind::KeySet)?)?;
    let token = Token::read(body)?;
    if token.key_id != id {
        return Err(VerifyError::OtherKey { named: token.key_id, found: id });
    }
    key.verify(token.signed, &token.signature)?;
    let said = token.said()?;
    let (piece, valid) =
        (Piece::Token, Validity { not_before: said.not_before, not_after: said.not_after });
    if now < valid.not_before {
        return Err(VerifyError::NotYetValid { piece, validity: valid, now });
    }
    if now > valid.not_after {
        return Err(VerifyError::Expired { piece, validity: valid, now });
    }
    let facts = Box::new(MaaFacts { key: sha256(key.spki_der()), ..said.facts });
    let platform = PlatformFacts::Maa(facts);
    Ok(Facts { bound: said.bound, made: Some(said.made), valid, platform })
}

pub(crate) fn judge(facts: &MaaFacts, policy: &MaaPolicy) -> Result<(), AppraiseError> {
    judge_issuer(facts, policy)?;
    let is_refused = |flag: &&MaaFlag| match flag {
        MaaFlag::InsecureBoot | MaaFlag::OtherBootKeys => policy.secure_boot,
        MaaFlag::Debuggers | MaaFlag::TestSigning => true,
    };
    if let Some(flag) = facts.flags.iter().find(is_refused) {
        return Err(AppraiseError::MaaFlag(*flag));
    }
    if let Some(at) = policy.pcrs.difference(&facts.pcrs).next() {
        return Err(AppraiseError::Unseen { at: *at });
    }
    if policy.machines.as_ref().is_some_and(|machines| !machines.contains(&facts.machine)) {
        return Err(AppraiseError::Instance { what: "machine", have: facts.machine.clone() });
    }
    match (&facts.guest, &policy.guest) {
        (Some(guest), Some(policy)) => judge_guest(guest, policy),
        (Some(_), None) => Err(AppraiseError::Confidential { have: true }),
        (None, _) if policy.unconfidential => Ok(()),
        (None, _) => Err(AppraiseError::Confidential { have: false }),
    }
}

/// Whether the instance is believed, the key is its own, and the policy by which it judged is admitted.
fn judge_issuer(facts: &MaaFacts, policy: &MaaPolicy) -> Result<(), AppraiseError> {
    let have = || facts.issuer.clone();
    let issuer = policy.issuers.get(&facts.issuer);
    let issuer = issuer.ok_or_else(|| AppraiseError::Issuer { have: have() })?;
    if !issuer.keys.contains(&facts.key) {
        let have = format!("{} of {}", facts.key, facts.issuer);
        return Err(AppraiseError::Key { have });
    }
    if !issuer.policies.contains(&facts.policy) {
        return Err(AppraiseError::IssuerPolicy { issuer: have(), have: facts.policy });
    }
    Ok(())
}

fn judge_guest(guest: &MaaGuest, policy: &MaaGuestPolicy) -> Result<(), AppraiseError> {
    let is_refused = |flag: &&Flag| match flag {
        Flag::Debug | Flag::Migration | Flag::MaskedKey | Flag::AliasUnchecked => true,
        Flag::Smt => !policy.smt,
    };
    if let Some(flag) = guest.flags.iter().find(is_refused) {
        return Err(AppraiseError::Flag(*flag));
    }
    // Whatever runs below the paravisor could name a key of its own.
    if guest.vmpl != 0 {
        return Err(AppraiseError::Vmpl { have: guest.vmpl, max: 0 });
    }
    let least = policy.tcb_min.components().into_iter();
    for ((component, have), (_, need)) in guest.tcb.components().into_iter().zip(least) {
        if have < need {
            return Err(AppraiseError::Tcb { which: "reported", component, have, need });
        }
    }
    if !policy.compliance.contains(&guest.compliance) {
        return Err(AppraiseError::Compliance { have: guest.compliance.clone() });
    }
    let MaaGuest { measurement, host_data, guest_svn, id_key, .. } = guest;
    let started = SnpStarted { measurement, host_data, id_key, guest_svn: *guest_svn };
    judge_snp_code(PlatformId::Maa, &started, &policy.code)
}

/// What runs, in one text: the paravisor, if there is one, and the policy by which the service let the rest pass.
pub(crate) fn measurement(facts: &MaaFacts) -> String {
    let policy = format!("policy:{}", facts.policy);
    match &facts.guest {
        Some(guest) => format!("{} {policy}", hex::encode(guest.measurement)),
        None => policy,
    }
}

#[cfg(test)]
mod tests;
