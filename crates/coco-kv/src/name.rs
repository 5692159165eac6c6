//! What a map is called, who may read it in the ledger, and how it is kept in memory.

use std::{borrow::Borrow, fmt, sync::Arc};

use thiserror::Error;

/// The name of a map: 1 to [`MAP_NAME_BYTES_MAX`] printable ASCII characters. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MapName(Arc<str>);

/// Who can read a map's writes in the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Domain {
    /// Anyone who holds the ledger.
    Public,
    /// Whoever holds the ledger secret.
    Private,
}

/// How a map is kept in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MapKind {
    /// Current values in a flat hash table: the fastest access to one key, no ranges.
    Point,
    /// Current values in a tree: ranges in the order of keys.
    Ordered,
    /// Write-once values that stay in the ledger. Memory holds only an index from a key's fingerprint to the entry
    /// that wrote it. A removal goes into the write set and has no effect on the index.
    History,
    /// Values that stay in the ledger and are not looked up by key: signatures, the Merkle tree.
    LedgerOnly,
}

/// One map of a schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapSpec {
    /// Its name.
    pub name: MapName,
    /// How it is kept.
    pub kind: MapKind,
}

/// A map's place in the schema of one store. Means nothing to another store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MapId(pub(crate) usize);

/// A text that names no map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum MapNameError {
    /// Empty or too long.
    #[error("a map name of {bytes} bytes; it takes 1 to {MAP_NAME_BYTES_MAX}")]
    Length {
        /// How long it is.
        bytes: usize,
    },
    /// A character that is not printable ASCII.
    #[error("byte {at} of a map name is not printable ASCII")]
    Character {
        /// Which byte, from 0.
        at: usize,
    },
}

/// Longest map name, in bytes. The longest names in use have about 50; the bound keeps names out of memory budgets.
pub const MAP_NAME_BYTES_MAX: usize = 128;

/// What the names of public maps start with.
const PUBLIC_PREFIX: &str = "public:";

impl MapName {
    /// Checks `name`.
    ///
    /// # Errors
    /// [`MapNameError`] when it is empty, too long, or not printable ASCII.
    pub fn new(name: &str) -> Result<Self, MapNameError> {
        check(name)?;
        Ok(Self(name.into()))
    }

    /// A name that is written in the program.
    ///
    /// # Panics
    /// When it names no map: that is an error in the program.
    #[must_use]
    pub fn from_static(name: &'static str) -> Self {
        match Self::new(name) {
            Ok(name) => name,
            Err(error) => panic!("{name:?} names no map: {error}"),
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Who can read the map in the ledger; the name's prefix says it.
    #[must_use]
    pub fn domain(&self) -> Domain {
        domain(&self.0)
    }
}

/// The domain of the map called `name`.
pub(crate) fn domain(name: &str) -> Domain {
    if name.starts_with(PUBLIC_PREFIX) { Domain::Public } else { Domain::Private }
}

/// Checks that `name` can name a map.
pub(crate) fn check(name: &str) -> Result<(), MapNameError> {
    if name.is_empty() || name.len() > MAP_NAME_BYTES_MAX {
        return Err(MapNameError::Length { bytes: name.len() });
    }
    match name.bytes().position(|byte| !byte.is_ascii_graphic()) {
        Some(at) => Err(MapNameError::Character { at }),
        None => Ok(()),
    }
}

impl MapSpec {
    /// A map of the given name and kind.
    #[must_use]
    pub const fn new(name: MapName, kind: MapKind) -> Self {
        Self { name, kind }
    }
}

impl fmt::Display for MapName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for MapName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

impl Borrow<str> for MapName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for MapName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_to_128_printable_characters() {
        for (bytes, ok) in [(0, false), (1, true), (127, true), (128, true), (129, false)] {
            assert_eq!(MapName::new(&"a".repeat(bytes)).is_ok(), ok, "{bytes}");
        }
        assert_eq!(MapName::new("a b"), Err(MapNameError::Character { at: 1 }));
        assert_eq!(MapName::new("ab\u{e9}"), Err(MapNameError::Character { at: 2 }));
    }

    #[test]
    fn the_prefix_decides_the_domain() {
        assert_eq!(MapName::from_static("public:ccf.gov.users").domain(), Domain::Public);
        assert_eq!(MapName::from_static("evm.accounts").domain(), Domain::Private);
        assert_eq!(MapName::from_static("publicly").domain(), Domain::Private);
    }
}
