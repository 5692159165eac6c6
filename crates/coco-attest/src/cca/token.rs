//! The bytes of a token (Arm DEN0137, "Realm Management Monitor specification", appendix A7; draft-ffm-rats-cca-token-00).

use coco_crypto::{
    Curve, PublicKey,
    cose::{AttachedSign1, EMPTY_MAP},
    sha256,
};
use coco_types::Digest;
use minicbor::{Decoder, Encoder, data::Tag};

use super::CcaComponent;
use crate::{
    cbor::{self, Label},
    error::VerifyError,
};

/// Longest token that is read, in bytes. Those of the examples have some two thousand.
pub const CCA_TOKEN_BYTES_MAX: usize = 16 << 10;

/// Most claims of a token, and most of a part of the firmware.
const CLAIMS_MAX: u64 = 16;
/// Most parts of the firmware.
const COMPONENTS_MAX: u64 = 64;
/// Registers of a realm.
const REMS: u64 = 4;
/// Longest name or version, in bytes.
const TEXT_BYTES_MAX: usize = 256;
/// Longest text of how a platform is set up, in bytes.
const CONFIG_BYTES_MAX: usize = 1024;

/// A token, and its two parts (RFC 9711 has the tag).
const TAG_TOKEN: Tag = Tag::new(399);
const PLATFORM: u32 = 44_234;
const REALM: u32 = 44_241;
/// The protected headers: the algorithm is ES384 (-35).
const PROTECTED: &[u8] = &[0xa1, 0x01, 0x38, 0x22];

/// Which names the claims are told by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Profile {
    /// That of the specification of the realm manager: realms name none, and have their key as a point.
    Manager,
    /// That of the draft: realms name one too, and have their key in COSE.
    Draft,
}

impl Profile {
    const fn of_platform(self) -> &'static str {
        match self {
            Self::Manager => "http://arm.com/CCA-SSD/1.0.0",
            Self::Draft => "tag:arm.com,2023:cca_platform#1.0.0",
        }
    }

    const fn of_realm(self) -> Option<&'static str> {
        match self {
            Self::Manager => None,
            Self::Draft => Some("tag:arm.com,2023:realm#1.0.0"),
        }
    }
}

/// The two messages of a token, not believed.
pub(super) struct Parts<'a> {
    pub(super) platform: Part<'a>,
    pub(super) realm: Part<'a>,
}

/// A message, and where it begins.
pub(super) struct Part<'a> {
    pub(super) message: AttachedSign1<'a>,
    at: usize,
}

impl<'a> Parts<'a> {
    pub(super) fn read(body: &'a [u8]) -> Result<Self, VerifyError> {
        if body.len() > CCA_TOKEN_BYTES_MAX {
            return Err(VerifyError::Long { found: body.len(), limit: CCA_TOKEN_BYTES_MAX });
        }
        let form = VerifyError::Malformed { what: "not a token of a platform and a realm", at: 0 };
        let [platform, realm] = split(body).ok_or(form)?;
        let behind = body.len().saturating_sub(realm.len());
        Ok(Self { platform: Part::read(platform, 0)?, realm: Part::read(realm, behind)? })
    }
}

impl<'a> Part<'a> {
    fn read(message: &'a [u8], at: usize) -> Result<Self, VerifyError> {
        let what = "not a COSE Sign1 message under ES384";
        let read = AttachedSign1::decode(message)
            .ok()
            .filter(|message| message.protected == PROTECTED && message.unprotected == EMPTY_MAP);
        Ok(Self { message: read.ok_or(VerifyError::Malformed { what, at })?, at })
    }
}

/// The two messages. No signature covers what is around them, so it may only be what it is.
fn split(body: &[u8]) -> Option<[&[u8]; 2]> {
    let mut decoder = Decoder::new(body);
    let is_token = decoder.tag().ok()? == TAG_TOKEN && decoder.map().ok()? == Some(2);
    let mut part = |name: u32| {
        (decoder.u32().ok()? == name).then_some(())?;
        decoder.bytes().ok()
    };
    let parts = [part(PLATFORM)?, part(REALM)?];
    (is_token && join(parts) == body).then_some(parts)
}

/// The one encoding of a token of these messages.
pub(super) fn join([platform, realm]: [&[u8]; 2]) -> Vec<u8> {
    let mut body = Vec::new();
    let mut encoder = Encoder::new(&mut body);
    encoder
        .tag(TAG_TOKEN)
        .and_then(|encoder| encoder.map(2))
        .and_then(|encoder| encoder.u32(PLATFORM))
        .and_then(|encoder| encoder.bytes(platform))
        .and_then(|encoder| encoder.u32(REALM))
        .and_then(|encoder| encoder.bytes(realm))
        .expect("memory takes every write");
    body
}

/// What a platform says.
pub(super) struct PlatformClaims {
    pub(super) profile: Profile,
    /// SHA-256 of the realm's key as the realm tells it.
    pub(super) realm_key: Digest,
    pub(super) instance: [u8; 33],
    pub(super) implementation: [u8; 32],
    pub(super) lifecycle: u16,
    pub(super) config: Vec<u8>,
    pub(super) components: Vec<CcaComponent>,
}

/// The claims of a platform that were found.
#[derive(Default)]
struct PlatformFound<'a> {
    profile: Option<&'a str>,
    challenge: Option<[u8; 32]>,
    instance: Option<[u8; 33]>,
    implementation: Option<[u8; 32]>,
    lifecycle: Option<u16>,
    config: Option<&'a [u8]>,
    components: Option<Vec<Component>>,
    hash: Option<Hash>,
}

impl PlatformClaims {
    pub(super) fn read(part: &Part<'_>) -> Result<Self, VerifyError> {
        let mut found = PlatformFound::default();
        let read = cbor::whole(part.message.payload, |decoder| {
            cbor::map(decoder, CLAIMS_MAX, |label, decoder| found.claim(label, decoder))
        });
        let claims = read.and_then(|_| found.all());
        claims.map_err(|what| VerifyError::Malformed { what, at: part.at })
    }
}

impl<'a> PlatformFound<'a> {
    fn claim(&mut self, label: Label<'a>, decoder: &mut Decoder<'a>) -> Result<(), &'static str> {
        match label {
            Label::Number(10) => self.challenge = Some(bytes(decoder)?),
            Label::Number(256) => self.instance = Some(bytes(decoder)?),
            Label::Number(265) => self.profile = Some(text(decoder)?),
            Label::Number(2395) => {
                self.lifecycle = Some(decoder.u16().map_err(|_| "the state is no number")?);
            }
            Label::Number(2396) => self.implementation = Some(bytes(decoder)?),
            Label::Number(2399) => {
                self.components = Some(cbor::list(decoder, COMPONENTS_MAX, Component::read)?);
            }
            // Where the verifier of the maker is to be had, which is not asked.
            Label::Number(2400) => drop(text(decoder)?),
            Label::Number(2401) => {
                let config = decoder.bytes().ok().filter(|text| text.len() <= CONFIG_BYTES_MAX);
                self.config = Some(config.ok_or("how it is set up is no bytes, or too many")?);
            }
            Label::Number(2402) => self.hash = Some(Hash::read(decoder)?),
            Label::Number(_) | Label::Name(_) => return Err("a claim that is not known here"),
        }
        Ok(())
    }

    fn all(self) -> Result<PlatformClaims, &'static str> {
        let missing = "a claim is missing that every platform has";
        let mut profiles = [Profile::Manager, Profile::Draft].into_iter();
        let profile = profiles.find(|one| Some(one.of_platform()) == self.profile);
        let hash = self.hash.ok_or(missing)?;
        let components = self.components.ok_or(missing)?.into_iter();
        Ok(PlatformClaims {
            profile: profile.ok_or("a profile that is not known here")?,
            realm_key: Digest(self.challenge.ok_or(missing)?),
            instance: self.instance.filter(|id| id.starts_with(&[1])).ok_or(missing)?,
            implementation: self.implementation.ok_or(missing)?,
            lifecycle: self.lifecycle.ok_or(missing)?,
            config: self.config.ok_or(missing)?.to_vec(),
            components: components.map(|one| one.under(hash)).collect::<Result<_, _>>()?,
        })
    }
}

/// What a realm says.
pub(super) struct RealmClaims {
    pub(super) challenge: [u8; 64],
    pub(super) personalization: [u8; 64],
    pub(super) key: PublicKey,
    /// SHA-256 of it as it is told.
    pub(super) key_digest: Digest,
    pub(super) rim: Vec<u8>,
    pub(super) rems: Vec<Vec<u8>>,
}

/// The claims of a realm that were found.
#[derive(Default)]
struct RealmFound<'a> {
    profile: Option<&'a str>,
    challenge: Option<[u8; 64]>,
    personalization: Option<[u8; 64]>,
    key: Option<&'a [u8]>,
    key_hash: Option<Hash>,
    rim: Option<&'a [u8]>,
    rems: Option<Vec<&'a [u8]>>,
    hash: Option<Hash>,
}

impl RealmClaims {
    pub(super) fn read(part: &Part<'_>, profile: Profile) -> Result<Self, VerifyError> {
        let mut found = RealmFound::default();
        let read = cbor::whole(part.message.payload, |decoder| {
            cbor::map(decoder, CLAIMS_MAX, |label, decoder| found.claim(label, decoder))
        });
        let claims = read.and_then(|_| found.all(profile));
        claims.map_err(|what| VerifyError::Malformed { what, at: part.at })
    }
}

impl<'a> RealmFound<'a> {
    fn claim(&mut self, label: Label<'a>, decoder: &mut Decoder<'a>) -> Result<(), &'static str> {
        match label {
            Label::Number(10) => self.challenge = Some(bytes(decoder)?),
            Label::Number(265) => self.profile = Some(text(decoder)?),
            Label::Number(44_235) => self.personalization = Some(bytes(decoder)?),
            Label::Number(44_236) => self.hash = Some(Hash::read(decoder)?),
            Label::Number(44_237) => {
                self.key = Some(decoder.bytes().map_err(|_| "the realm's key is no bytes")?);
            }
            Label::Number(44_238) => self.rim = Some(measured(decoder)?),
            Label::Number(44_239) => self.rems = Some(cbor::list(decoder, REMS, measured)?),
            Label::Number(44_240) => self.key_hash = Some(Hash::read(decoder)?),
            Label::Number(_) | Label::Name(_) => return Err("a claim that is not known here"),
        }
        Ok(())
    }

    fn all(self, profile: Profile) -> Result<RealmClaims, &'static str> {
        let missing = "a claim is missing that every realm has";
        if self.profile != profile.of_realm() {
            return Err("the realm is of another profile than the platform");
        }
        let (hash, rim) = (self.hash.ok_or(missing)?, self.rim.ok_or(missing)?);
        let rems = self.rems.ok_or(missing)?;
        let is_hash = |value: &[u8]| value.len() == hash.bytes();
        if rems.len() as u64 != REMS || !is_hash(rim) || !rems.iter().all(|rem| is_hash(rem)) {
            return Err("not the registers of a realm under its hash");
        }
        if self.key_hash != Some(Hash::Sha256) {
            return Err("the realm's key is not named by its SHA-256");
        }
        let told = self.key.ok_or(missing)?;
        Ok(RealmClaims {
            challenge: self.challenge.ok_or(missing)?,
            personalization: self.personalization.ok_or(missing)?,
            key: realm_key(told, profile).ok_or("the realm's key is no key on P-384")?,
            key_digest: sha256(told),
            rim: rim.to_vec(),
            rems: rems.into_iter().map(<[u8]>::to_vec).collect(),
        })
    }
}

/// A point, or a key of COSE (RFC 9053, section 7.1.1): EC2 (2), P-384 (2), x and y.
fn realm_key(told: &[u8], profile: Profile) -> Option<PublicKey> {
    match profile {
        Profile::Manager => PublicKey::from_point(Curve::P384, told).ok(),
        Profile::Draft => {
            let rest = told.strip_prefix(&[0xa4, 0x01, 0x02, 0x20, 0x02, 0x21, 0x58, 0x30])?;
            let (x, rest) = rest.split_at_checked(48)?;
            let y = rest.strip_prefix(&[0x22, 0x58, 0x30])?;
            PublicKey::from_coordinates(Curve::P384, x, y).ok()
        }
    }
}

/// A hash by which something is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

impl Hash {
    fn read(decoder: &mut Decoder<'_>) -> Result<Self, &'static str> {
        match decoder.str() {
            Ok("sha-256") => Ok(Self::Sha256),
            Ok("sha-384") => Ok(Self::Sha384),
            Ok("sha-512") => Ok(Self::Sha512),
            _ => Err("a hash that is not known here"),
        }
    }

    const fn bytes(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }
}

/// A part of the firmware, and its own hash if it has one.
struct Component {
    told: CcaComponent,
    hash: Option<Hash>,
}

impl Component {
    fn read(decoder: &mut Decoder<'_>) -> Result<Self, &'static str> {
        let (mut told, mut hash) = (CcaComponent::default(), None);
        cbor::map(decoder, CLAIMS_MAX, |label, decoder| {
            match label {
                Label::Number(1) => text(decoder)?.clone_into(&mut told.kind),
                Label::Number(2) => told.measurement = measured(decoder)?.to_vec(),
                Label::Number(4) => text(decoder)?.clone_into(&mut told.version),
                Label::Number(5) => told.signer = measured(decoder)?.to_vec(),
                Label::Number(6) => hash = Some(Hash::read(decoder)?),
                Label::Number(_) | Label::Name(_) => {
                    return Err("something of the firmware that is not known here");
                }
            }
            Ok(())
        })?;
        Ok(Self { told, hash })
    }

    /// Under its own hash, or else under that of the platform. Who signed it is told as a hash of any kind.
    fn under(self, hash: Hash) -> Result<CcaComponent, &'static str> {
        let bytes = self.hash.unwrap_or(hash).bytes();
        if self.told.measurement.len() != bytes || self.told.signer.is_empty() {
            return Err("a part of the firmware without its hash, or that of its signer's key");
        }
        Ok(self.told)
    }
}

fn bytes<const N: usize>(decoder: &mut Decoder<'_>) -> Result<[u8; N], &'static str> {
    let bytes = decoder.bytes().ok().and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or("a claim has not as many bytes as it should")
}

/// A hash, of any of the lengths that there are.
fn measured<'a>(decoder: &mut Decoder<'a>) -> Result<&'a [u8], &'static str> {
    let bytes = decoder.bytes().ok().filter(|bytes| matches!(bytes.len(), 32 | 48 | 64));
    bytes.ok_or("a hash has not 32, 48 or 64 bytes")
}

fn text<'a>(decoder: &mut Decoder<'a>) -> Result<&'a str, &'static str> {
    let what = "a text is none, or longer than 256 bytes";
    decoder.str().ok().filter(|text| text.len() <= TEXT_BYTES_MAX).ok_or(what)
}
