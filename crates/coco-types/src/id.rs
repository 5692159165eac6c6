//! Identifiers and positions.

use std::{fmt, str::FromStr};

use thiserror::Error;

/// A period with one primary. Grows with each election; 31 bits, because the entry format keeps it in a u32 whose
/// top bit marks snapshots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct View(pub u64);

impl View {
    /// The view of the genesis entries. Two, because auditors' tools take smaller views for "none".
    pub const GENESIS: Self = Self(2);
    /// The largest view that an entry can carry.
    pub const MAX: Self = Self(0x7fff_ffff);
}

/// The position of an entry in the ledger: from 1, contiguous. Zero means "before the first entry".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seqno(pub u64);

impl Seqno {
    /// The position before the first entry.
    pub const ZERO: Self = Self(0);

    /// The position after this one.
    ///
    /// # Panics
    /// At `u64::MAX`, which no ledger reaches.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.checked_add(1).expect("a ledger never reaches 2^64 entries"))
    }

    /// The position before this one; zero stays zero.
    #[must_use]
    pub fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

/// View and seqno: the name of one transaction. Ordered by view, then seqno.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TxId {
    /// The view in which the entry was proposed.
    pub view: View,
    /// Its position in the ledger.
    pub seqno: Seqno,
}

impl TxId {
    /// Names the transaction at `seqno` of `view`.
    #[must_use]
    pub const fn new(view: u64, seqno: u64) -> Self {
        Self { view: View(view), seqno: Seqno(seqno) }
    }
}

/// What a node can say of a transaction id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TxStatus {
    /// This node has not heard of it.
    Unknown,
    /// Proposed, and may still be rolled back.
    Pending,
    /// On disk at a quorum and covered by a signature entry: final.
    Committed,
    /// Rolled back or never possible: final.
    Invalid,
}

/// A node's part in the current view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Executes and proposes.
    Primary,
    /// Applies what the primary proposed.
    Backup,
    /// Asks for votes.
    Candidate,
}

/// A SHA-256 digest.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// 32 zero bytes: the empty claims digest, and leaf 0 of the Merkle tree.
    pub const ZERO: Self = Self([0; 32]);
}

/// SHA-256 of a node's public key (SPKI, DER).
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub [u8; 32]);

/// A text that is no identifier.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum ParseIdError {
    /// Not `view.seqno`.
    #[error("transaction id {0:?} is not of the form <view>.<seqno>, for example 2.15")]
    TxId(String),
    /// Not 64 hexadecimal digits.
    #[error("identifier {0:?} is not 64 hexadecimal digits")]
    Hex(String),
}

impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Seqno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for TxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.view, self.seqno)
    }
}

impl FromStr for TxId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let wrong = || ParseIdError::TxId(text.chars().take(64).collect());
        let digits = |part: &str| -> Option<u64> {
            (!part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))
                .then(|| part.parse().ok())?
        };
        let (view, seqno) = text.split_once('.').ok_or_else(wrong)?;
        let (view, seqno) = (digits(view).ok_or_else(wrong)?, digits(seqno).ok_or_else(wrong)?);
        if view > View::MAX.0 {
            return Err(wrong());
        }
        Ok(Self::new(view, seqno))
    }
}

impl fmt::Display for TxStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "Unknown",
            Self::Pending => "Pending",
            Self::Committed => "Committed",
            Self::Invalid => "Invalid",
        })
    }
}

fn write_hex(bytes: &[u8; 32], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

fn read_hex(text: &str) -> Result<[u8; 32], ParseIdError> {
    let wrong = || ParseIdError::Hex(text.chars().take(80).collect());
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return Err(wrong());
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let nibble = |digit: u8| char::from(digit).to_digit(16).ok_or_else(wrong);
        *byte =
            u8::try_from(nibble(pair[0])? << 4 | nibble(pair[1])?).expect("two nibbles fit a byte");
    }
    Ok(bytes)
}

macro_rules! hexadecimal {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(&self.0, f)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(&self.0, f)
            }
        }
        impl FromStr for $name {
            type Err = ParseIdError;
            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                read_hex(text).map(Self)
            }
        }
    )*};
}
hexadecimal!(Digest, NodeId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transaction_ids_read_what_they_print() {
        let id = TxId::new(2, 15);
        assert_eq!(id.to_string(), "2.15");
        assert_eq!("2.15".parse(), Ok(id));
        for wrong in [
            "",
            "2",
            "2.",
            ".1",
            "2.1.3",
            "a.1",
            "-1.2",
            "+1.2",
            "2147483648.1",
            "2.18446744073709551616",
        ] {
            assert!(wrong.parse::<TxId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn digests_read_what_they_print() {
        let digest = Digest(core::array::from_fn(|i| u8::try_from(i).expect("below 32")));
        assert_eq!(digest.to_string().parse(), Ok(digest));
        assert!("00".parse::<Digest>().is_err());
        assert!("zz".repeat(32).parse::<NodeId>().is_err());
    }
}
