//! Arm CCA: a token of the platform, and one of the realm on it, each a message of COSE Sign1 under ES384. **Experimental:** nobody
//! publishes tokens of hardware yet, and what is read here was tried on examples of emulators and of the specification only.
//!
//! ```text
//! realm's claims ── realm's key ── SHA-256 in the platform's claims ── platform's key (CPAK), which members name
//! ```
//!
//! There is no root: how makers publish the keys of their platforms is theirs to say. So the key comes with the token, facts say which
//! it is, and members name the keys of the platforms that they believe, and what has to have been started there. A token says nothing
//! of when it was made. The claims are those of the specification of the realm manager and of the first draft for the IETF; later ones
//! have others, and are refused.

mod token;

use std::collections::{BTreeMap, BTreeSet};

use coco_crypto::{Curve, PublicKey, Validity};
use coco_types::Digest;

use crate::{
    error::{AppraiseError, VerifyError},
    evidence::{EndorsementKind, Endorsements, PlatformId},
    facts::{Facts, PlatformFacts},
};
use token::{Parts, PlatformClaims, RealmClaims};

pub use token::CCA_TOKEN_BYTES_MAX;

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CcaFacts {
    /// SHA-256 of the key (SPKI) that signed the platform's claims.
    pub key: Digest,
    /// The platform: 1, and 32 bytes of its maker.
    pub instance: [u8; 33],
    /// The kind of platform.
    pub implementation: [u8; 32],
    /// In which state of its life it is.
    pub lifecycle: u16,
    /// How it was set up, in its maker's own form.
    pub config: Vec<u8>,
    /// Its firmware, in the order in which it is told.
    pub components: Vec<CcaComponent>,
    /// What was loaded into the realm before its start.
    pub rim: Vec<u8>,
    /// What the realm has measured since, four registers.
    pub rems: Vec<Vec<u8>>,
    /// What the host gave to the realm at its start.
    pub personalization: [u8; 64],
}

/// A part of a platform's firmware.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CcaComponent {
    /// What it is; empty where that is not told.
    pub kind: String,
    /// The hash of it.
    pub measurement: Vec<u8>,
    /// Which version; empty where that is not told.
    pub version: String,
    /// The hash of the key that signed it.
    pub signer: Vec<u8>,
}

/// What tokens of Arm CCA have to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CcaPolicy {
    /// The platforms, each with the SHA-256 of its key (SPKI).
    pub platforms: BTreeMap<[u8; 33], Digest>,
    /// What may have been started on them.
    pub firmware: Vec<CcaFirmware>,
    /// What may run in realms.
    pub code: Vec<CcaCode>,
}

/// All of a platform's firmware, and how it is set up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CcaFirmware {
    /// See [`CcaFacts::implementation`].
    pub implementation: [u8; 32],
    /// See [`CcaFacts::config`].
    pub config: Vec<u8>,
    /// See [`CcaFacts::components`].
    pub components: Vec<CcaComponent>,
}

/// A program of realms.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CcaCode {
    /// See [`CcaFacts::rim`].
    pub rim: Vec<u8>,
    /// Of [`CcaFacts::rems`], by number, from 0 on; those that are not named may be anything.
    pub rems: BTreeMap<u8, Vec<u8>>,
    /// See [`CcaFacts::personalization`]; anything, if nothing is said.
    pub personalization: Option<BTreeSet<[u8; 64]>>,
}

pub(crate) fn verify(body: &[u8], endorsements: &Endorsements) -> Result<Facts, VerifyError> {
    let kind = EndorsementKind::AttestationKey;
    let key = PublicKey::from_spki_der(endorsements.one(kind)?).ok();
    let key = key.filter(|key| key.curve() == Curve::P384);
    let what = "it is no key on P-384 in SPKI";
    let key = key.ok_or(VerifyError::EndorsementForm { kind, what })?;
    let parts = Parts::read(body)?;
    parts.platform.message.verify(&key)?;
    let platform = PlatformClaims::read(&parts.platform)?;
    let realm = RealmClaims::read(&parts.realm, platform.profile)?;
    if realm.key_digest != platform.realm_key {
        return Err(VerifyError::OtherMachine { what: "the realm's key" });
    }
    parts.realm.message.verify(&realm.key)?;
    let facts = CcaFacts {
        key: key.digest(),
        instance: platform.instance,
        implementation: platform.implementation,
        lifecycle: platform.lifecycle,
        config: platform.config,
        components: platform.components,
        rim: realm.rim,
        rems: realm.rems,
        personalization: realm.personalization,
    };
    // Nothing in it has a period.
    let valid = Validity { not_before: 0, not_after: u64::MAX };
    let (bound, platform) = (realm.challenge.to_vec(), PlatformFacts::Cca(Box::new(facts)));
    Ok(Facts { bound, made: None, valid, platform })
}

pub(crate) fn judge(facts: &CcaFacts, policy: &CcaPolicy) -> Result<(), AppraiseError> {
    let Some(key) = policy.platforms.get(&facts.instance) else {
        let have = hex::encode(facts.instance);
        return Err(AppraiseError::Instance { what: "platform", have });
    };
    if *key != facts.key {
        return Err(AppraiseError::Key { have: facts.key.to_string() });
    }
    if facts.lifecycle & !LIFECYCLE_DETAIL != LIFECYCLE_SECURED {
        return Err(AppraiseError::Lifecycle { have: facts.lifecycle });
    }
    let is_started = |firmware: &CcaFirmware| {
        firmware.implementation == facts.implementation
            && firmware.config == facts.config
            && firmware.components == facts.components
    };
    if !policy.firmware.iter().any(is_started) {
        return Err(AppraiseError::Firmware { have: firmware(facts) });
    }
    judge_code(facts, &policy.code)
}

/// A platform that is neither being made, nor debugged, nor taken out of use is in one of these states.
const LIFECYCLE_SECURED: u16 = 0x3000;
const LIFECYCLE_DETAIL: u16 = 0x00ff;

fn judge_code(facts: &CcaFacts, admitted: &[CcaCode]) -> Result<(), AppraiseError> {
    let runs = |code: &&CcaCode| {
        let is = |(at, value): (&u8, &Vec<u8>)| facts.rems.get(usize::from(*at)) == Some(value);
        code.rim == facts.rim && code.rems.iter().all(is)
    };
    let mut same = admitted.iter().filter(runs).peekable();
    if same.peek().is_none() {
        let have = measurement(facts);
        return Err(AppraiseError::Measurement { platform: PlatformId::Cca, have });
    }
    let is_given = |code: &CcaCode| {
        code.personalization.as_ref().is_none_or(|given| given.contains(&facts.personalization))
    };
    if same.any(is_given) {
        return Ok(());
    }
    Err(AppraiseError::HostData { have: hex::encode(facts.personalization) })
}

/// What was started before realms, in one text.
fn firmware(facts: &CcaFacts) -> String {
    let parts = facts.components.iter();
    let parts = parts.map(|part| format!("{:?}:{}", part.kind, hex::encode(&part.measurement)));
    let parts: Vec<String> = parts.collect();
    format!("{} {}", hex::encode(facts.implementation), parts.join(" "))
}

/// What runs in the realm, in one text.
pub(crate) fn measurement(facts: &CcaFacts) -> String {
    let rems = facts.rems.iter().enumerate();
    let rems = rems.map(|(at, value)| format!(" {at}:{}", hex::encode(value)));
    format!("{}{}", hex::encode(&facts.rim), rems.collect::<String>())
}

#[cfg(test)]
mod tests;
