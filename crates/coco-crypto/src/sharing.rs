//! A secret that k of n people can put together, and k - 1 of them know nothing of. Shamir's scheme in CCF's form.
//!
//! ```text
//!   for each of ten limbs: a polynomial of degree k - 1 over the integers modulo 2^31 - 1, all coefficients random
//!   the secret        = the ten values at 0                       SharedSecret
//!   share x           = the ten values at x, for x = 1 to n       Share
//!   the wrapping key  = HKDF-SHA-256(secret), 32 bytes
//!   as bytes          = u32 x | ten u32 values, little-endian     44 bytes; x = 0 is the secret itself
//! ```
//!
//! The secret is drawn and not chosen, because a limb has not quite 31 bits: the key is derived from all of them. That
//! the derivation takes the limbs a second time, as its context, is CCF's and does no harm.
//!
//! Nothing here branches on a value of a polynomial, or looks one up; positions are public. Nothing here knows whether
//! a share is right: whoever deals keeps [`RecoveryShare::digest`] of each where all can read it, and so a wrong one is
//! named before it is used.

use std::{fmt, num::NonZeroU8};

use coco_types::Digest;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::{AEAD_KEY_BYTES, AeadKey, HmacKey, Sha256, hkdf_sha256};

/// Most shares of one secret, as in CCF.
pub const SHARES_MAX: usize = 255;

/// Bytes of a share.
pub const SHARE_BYTES: usize = 4 + 4 * LIMBS;

/// Bytes of the seed that a secret and its shares are drawn from.
pub const SHARING_SEED_BYTES: usize = 32;

/// What is shared: the values at zero.
#[derive(Clone, PartialEq, Eq)]
pub struct SharedSecret(Limbs);

/// One of the shares.
#[derive(Clone, PartialEq, Eq)]
pub struct Share {
    position: NonZeroU8,
    limbs: Limbs,
}

/// What a member holds.
#[derive(Clone, PartialEq, Eq)]
pub enum RecoveryShare {
    /// A share, of which some are needed.
    Part(Share),
    /// The secret itself, which suffices.
    Whole(SharedSecret),
}

/// Numbers that no sharing can have.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum DealError {
    /// Nobody to give a share to, or too many.
    #[error("{found} shares cannot be dealt, of 1 to {SHARES_MAX}")]
    Shares {
        /// How many were asked for.
        found: usize,
    },
    /// None would be needed, or more than there are.
    #[error("a threshold of {threshold} among {shares} shares")]
    Threshold {
        /// How many should be needed.
        threshold: usize,
        /// How many there are.
        shares: usize,
    },
}

/// Bytes that are no share.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum ShareError {
    /// Not as long as one.
    #[error("a share has {SHARE_BYTES} bytes, not {found}")]
    Length {
        /// Bytes that there are.
        found: usize,
    },
    /// The position is none.
    #[error("a share has a position from 0 to {SHARES_MAX}, not {found}")]
    Position {
        /// The position.
        found: u32,
    },
    /// A value is outside of the field.
    #[error("a value of the share is not below 2^31 - 1")]
    Value,
}

/// Shares that give no secret.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum CombineError {
    /// Some are missing.
    #[error("{found} shares, and {threshold} are needed: {} are missing", threshold.saturating_sub(*found))]
    Few {
        /// How many there are.
        found: usize,
        /// How many are needed.
        threshold: usize,
    },
    /// The same position twice: one person's share counts once.
    #[error("the share at position {0} is there twice")]
    Twice(NonZeroU8),
    /// Without any nothing can be put together.
    #[error("a threshold of none")]
    NoThreshold,
}

impl SharedSecret {
    /// Draws a secret, and deals shares of it of which `threshold` put it together.
    ///
    /// The seed decides everything: it must be as secret as what is shared, used once, and forgotten.
    ///
    /// # Errors
    /// [`DealError`].
    ///
    /// # Panics
    /// Never: the positions are within what was checked.
    pub fn deal(
        seed: &[u8; SHARING_SEED_BYTES],
        shares: usize,
        threshold: usize,
    ) -> Result<(Self, Vec<Share>), DealError> {
        if !(1..=SHARES_MAX).contains(&shares) {
            return Err(DealError::Shares { found: shares });
        }
        if !(1..=shares).contains(&threshold) {
            return Err(DealError::Threshold { threshold, shares });
        }
        let mut draw = Draw::new(seed);
        // The first coefficients are the secret.
        let coefficients: Vec<Limbs> = (0..threshold).map(|_| draw.limbs()).collect();
        let dealt = (1..=shares).map(|at| {
            let position = u8::try_from(at).ok().and_then(NonZeroU8::new);
            let position = position.expect("there are at most 255 positions, from 1");
            Share { position, limbs: evaluate(&coefficients, position.get().into()) }
        });
        let dealt = dealt.collect();
        Ok((Self(coefficients[0].clone()), dealt))
    }

    /// Puts the secret together from what members brought. More shares than are needed are left aside.
    ///
    /// # Errors
    /// [`CombineError`]. Wrong shares are no error: they give another secret.
    pub fn combine(held: &[RecoveryShare], threshold: usize) -> Result<Self, CombineError> {
        if threshold == 0 {
            return Err(CombineError::NoThreshold);
        }
        let mut parts: Vec<&Share> = Vec::new();
        for share in held {
            match share {
                RecoveryShare::Whole(secret) => return Ok(secret.clone()),
                RecoveryShare::Part(share) => {
                    if parts.iter().any(|other| other.position == share.position) {
                        return Err(CombineError::Twice(share.position));
                    }
                    parts.push(share);
                }
            }
        }
        let found = parts.len();
        let parts = parts.get(..threshold).ok_or(CombineError::Few { found, threshold })?;
        let positions: Vec<u64> = parts.iter().map(|part| part.position.get().into()).collect();
        let mut secret = Limbs::default();
        for (part, weight) in parts.iter().zip(weights_at_zero(&positions)) {
            for (sum, value) in secret.iter_mut().zip(part.limbs.iter()) {
                *sum = reduce(*sum + reduce(value * weight));
            }
        }
        Ok(Self(secret))
    }

    /// The key that wraps the ledger secret.
    #[must_use]
    pub fn wrapping_key(&self) -> AeadKey {
        let limbs = limb_bytes(&self.0);
        let mut key = Zeroizing::new([0; AEAD_KEY_BYTES]);
        hkdf_sha256(&*limbs, b"", &*limbs, &mut *key);
        AeadKey::new(&key)
    }
}

impl RecoveryShare {
    /// Reads what a member brings.
    ///
    /// # Errors
    /// [`ShareError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, ShareError> {
        let found = bytes.len();
        let (words, rest) = bytes.as_chunks::<4>();
        let [position, values @ ..] = words else { return Err(ShareError::Length { found }) };
        if values.len() != LIMBS || !rest.is_empty() {
            return Err(ShareError::Length { found });
        }
        let mut limbs = Limbs::default();
        let mut all_fit = true;
        for (limb, value) in limbs.iter_mut().zip(values) {
            *limb = u32::from_le_bytes(*value).into();
            all_fit &= *limb < PRIME;
        }
        if !all_fit {
            return Err(ShareError::Value);
        }
        let found = u32::from_le_bytes(*position);
        let position = u8::try_from(found).map_err(|_| ShareError::Position { found })?;
        Ok(match NonZeroU8::new(position) {
            Some(position) => Self::Part(Share { position, limbs }),
            None => Self::Whole(SharedSecret(limbs)),
        })
    }

    /// The 44 bytes that are encrypted to the member.
    #[must_use]
    pub fn encode(&self) -> Zeroizing<[u8; SHARE_BYTES]> {
        let (position, limbs) = match self {
            Self::Part(share) => (share.position.get(), &share.limbs),
            Self::Whole(secret) => (0, &secret.0),
        };
        let mut bytes = Zeroizing::new([0; SHARE_BYTES]);
        bytes[..4].copy_from_slice(&u32::from(position).to_le_bytes());
        bytes[4..].copy_from_slice(&*limb_bytes(limbs));
        bytes
    }

    /// What may be known to all, so that a wrong share is named: a digest of the share and of who holds it. A share has
    /// 310 bits that nobody guesses, not even k - 1 of the others together.
    #[must_use]
    pub fn digest(&self, holder: &[u8]) -> Digest {
        let mut digest = Sha256::new();
        digest.update(DIGEST_LABEL);
        digest.update(&*self.encode());
        digest.update(holder);
        digest.finish()
    }
}

impl From<Share> for RecoveryShare {
    fn from(share: Share) -> Self {
        Self::Part(share)
    }
}

impl From<SharedSecret> for RecoveryShare {
    fn from(secret: SharedSecret) -> Self {
        Self::Whole(secret)
    }
}

/// Values below 2^31 - 1, one for each polynomial.
type Limbs = Zeroizing<[u64; LIMBS]>;

/// Ten limbs have 310 bits: 256 for a key, and a margin because the values are not uniform as bits.
const LIMBS: usize = 10;

/// A prime, of which reduction is shifts and additions.
const PRIME: u64 = (1 << 31) - 1;

const DIGEST_LABEL: &[u8] = b"Coco recovery share";
const DRAW_LABEL: &[u8] = b"Coco sharing";

/// `x` modulo the prime, in the same steps for every `x`.
const fn reduce(x: u64) -> u64 {
    // 2^31 is 1 here, so what is above the lowest 31 bits is added to them: below 2^33 + 2^31, then below 2^31 + 5.
    let x = (x & PRIME) + (x >> 31);
    let x = (x & PRIME) + (x >> 31);
    // All ones if the prime is to be taken off, without a branch.
    let is_over = 0_u64.wrapping_sub((x + 1) >> 31);
    x - (PRIME & is_over)
}

/// `base` to the power of `exponent`. Takes the time that the exponent takes: not for secrets.
fn power(mut base: u64, mut exponent: u64) -> u64 {
    let mut power = 1;
    while exponent > 0 {
        if exponent & 1 == 1 {
            power = reduce(power * base);
        }
        base = reduce(base * base);
        exponent >>= 1;
    }
    power
}

/// The polynomials' values at `x`, by Horner's rule. `coefficients` begin with those at zero.
fn evaluate(coefficients: &[Limbs], x: u64) -> Limbs {
    let mut values = Limbs::default();
    for limbs in coefficients.iter().rev() {
        for (value, limb) in values.iter_mut().zip(limbs.iter()) {
            *value = reduce(reduce(*value * x) + limb);
        }
    }
    values
}

/// What the value at each position is multiplied by so that the sum is the value at zero. Positions differ.
fn weights_at_zero(positions: &[u64]) -> Vec<u64> {
    let weight = |&own: &u64| {
        let (mut above, mut below) = (1, 1);
        for &other in positions.iter().filter(|other| **other != own) {
            above = reduce(above * other);
            below = reduce(below * reduce(PRIME + other - own));
        }
        reduce(above * power(below, PRIME - 2))
    };
    positions.iter().map(weight).collect()
}

fn limb_bytes(limbs: &Limbs) -> Zeroizing<[u8; 4 * LIMBS]> {
    let mut bytes = Zeroizing::new([0; 4 * LIMBS]);
    for (bytes, limb) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(limbs.iter()) {
        let limb = u32::try_from(*limb).expect("a limb is below 2^31");
        *bytes = limb.to_le_bytes();
    }
    bytes
}

/// Values drawn from a seed.
struct Draw {
    key: HmacKey,
    block: u64,
    words: Zeroizing<[u8; 32]>,
    used: usize,
}

impl Draw {
    fn new(seed: &[u8; SHARING_SEED_BYTES]) -> Self {
        Self { key: HmacKey::new(seed), block: 0, words: Zeroizing::new([0; 32]), used: 32 }
    }

    fn limbs(&mut self) -> Limbs {
        let mut limbs = Limbs::default();
        limbs.iter_mut().for_each(|limb| *limb = self.limb());
        limbs
    }

    /// A value below the prime, each as likely. That one was drawn in vain says nothing of those that are kept.
    fn limb(&mut self) -> u64 {
        loop {
            let limb = u64::from(self.word()) & PRIME;
            if limb != PRIME {
                return limb;
            }
        }
    }

    fn word(&mut self) -> u32 {
        if self.used == self.words.len() {
            let block = [DRAW_LABEL, &self.block.to_le_bytes()].concat();
            self.words.copy_from_slice(&self.key.sign(&block).0);
            self.block += 1;
            self.used = 0;
        }
        let mut word = [0; 4];
        word.copy_from_slice(&self.words[self.used..self.used + 4]);
        self.used += 4;
        u32::from_le_bytes(word)
    }
}

impl fmt::Debug for SharedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedSecret")
    }
}

impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Share({})", self.position)
    }
}

impl fmt::Debug for RecoveryShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Part(share) => share.fmt(f),
            Self::Whole(secret) => secret.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests;
