//! Readers, and the state as of one version.

use std::{fmt, sync::Arc};

use coco_types::Seqno;
use thiserror::Error;

use crate::{
    MapId, MapName, Transaction, Value,
    shared::{Pin, Shared},
    table::Table,
};

/// Reads a store from any thread.
#[derive(Clone)]
pub struct Reader {
    shared: Arc<Shared>,
}

/// The state as of one version. Made and cloned in constant time; keeps its version in memory while it lives.
///
/// A version that is rolled back takes its snapshots with it: they say so in [`Snapshot::is_torn`], and what they read
/// from then on may mix versions. Versions that the caller knows to be final are never torn.
#[derive(Clone)]
pub struct Snapshot {
    pin: Arc<Pin>,
}

/// A version that cannot be read any more, or not yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("version {asked} is not in memory, versions {oldest} to {newest} are")]
pub struct NotRetained {
    /// The version that was asked for.
    pub asked: Seqno,
    /// The oldest version in memory.
    pub oldest: Seqno,
    /// The newest version in memory.
    pub newest: Seqno,
}

impl Reader {
    pub(crate) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// The state as of `version`.
    ///
    /// # Errors
    /// [`NotRetained`] when that version was compacted, or is still to come.
    pub fn snapshot(&self, version: Seqno) -> Result<Snapshot, NotRetained> {
        self.shared.pin(Some(version)).map(|pin| Snapshot { pin: Arc::new(pin) })
    }

    /// The state as of the newest version.
    ///
    /// # Panics
    /// Never: the newest version is always in memory.
    #[must_use]
    pub fn head(&self) -> Snapshot {
        let pin = self.shared.pin(None).expect("the newest version is in memory");
        Snapshot { pin: Arc::new(pin) }
    }

    /// A transaction on the newest version, which can be finished on this thread and committed on the writer's.
    #[must_use]
    pub fn begin(&self) -> Transaction<'static> {
        Transaction::new(self.head())
    }

    /// The map of that name.
    #[must_use]
    pub fn map(&self, name: &MapName) -> Option<MapId> {
        self.shared.catalogue().id(name.as_str())
    }

    /// The newest version.
    #[must_use]
    pub fn version(&self) -> Seqno {
        self.shared.range().1
    }

    /// The oldest version that can be read.
    #[must_use]
    pub fn oldest(&self) -> Seqno {
        self.shared.range().0
    }

    /// The lowest version that a snapshot holds, if any does: it is not forgotten, nor is what came after it.
    #[must_use]
    pub fn pinned(&self) -> Option<Seqno> {
        self.shared.pinned()
    }
}

impl Snapshot {
    /// Its version.
    #[must_use]
    pub fn version(&self) -> Seqno {
        self.pin.version()
    }

    /// A transaction on this version. Committed, it must have read nothing that was written since.
    #[must_use]
    pub fn begin(&self) -> Transaction<'static> {
        Transaction::new(self.clone())
    }

    /// Whether its version was rolled back.
    #[must_use]
    pub fn is_torn(&self) -> bool {
        self.pin.is_torn()
    }

    /// The map of that name, if it was there when the snapshot was made.
    #[must_use]
    pub fn map(&self, name: &MapName) -> Option<MapId> {
        self.pin.catalogue().id(name.as_str())
    }

    /// The value of `key`. None of a history or ledger-only map, whose values are not in memory.
    #[must_use]
    pub fn get(&self, map: MapId, key: &[u8]) -> Option<Value> {
        self.table(map)?.get(&self.pin.shared().keyed, key, self.version())
    }

    /// The entry that wrote the value that [`Self::get`] has of `key`.
    #[must_use]
    pub fn written(&self, map: MapId, key: &[u8]) -> Option<Seqno> {
        self.table(map)?.written(&self.pin.shared().keyed, key, self.version())
    }

    /// At most `limit` keys and values of an ordered map, ascending from `start` to below `end`. The writer waits
    /// meanwhile, so callers page.
    ///
    /// # Panics
    /// When the map is not ordered: that is an error in the program.
    #[must_use]
    pub fn range(
        &self,
        map: MapId,
        start: &[u8],
        end: Option<&[u8]>,
        limit: usize,
    ) -> Vec<(Box<[u8]>, Value)> {
        match self.table(map) {
            None => Vec::new(),
            Some(Table::Ordered(map)) => {
                let found = map.range(start, end, limit, self.version());
                found.into_iter().map(|(key, value)| (Box::from(&*key), value)).collect()
            }
            Some(Table::Point(_) | Table::History(_) | Table::LedgerOnly) => {
                panic!("a range of {:?}, which is not ordered", self.name(map))
            }
        }
    }

    /// The entries up to this version that may have written `key` of a history map, newest first. The entry's bytes
    /// decide: two keys may share a fingerprint.
    ///
    /// # Panics
    /// When the map keeps no history: that is an error in the program.
    #[must_use]
    pub fn locate(&self, map: MapId, key: &[u8]) -> Vec<Seqno> {
        match self.table(map) {
            None => Vec::new(),
            Some(Table::History(index)) => {
                index.locate(self.pin.shared().keyed.fingerprint(key), self.version())
            }
            Some(Table::Point(_) | Table::Ordered(_) | Table::LedgerOnly) => {
                panic!("a look into the history of {:?}, which keeps none", self.name(map))
            }
        }
    }

    /// The name of a map.
    pub(crate) fn name(&self, map: MapId) -> Option<&MapName> {
        self.pin.catalogue().name(map)
    }

    pub(crate) fn table(&self, map: MapId) -> Option<&Table> {
        self.pin.catalogue().table(map)
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        self.pin.shared()
    }

    /// Every map, in the order of names.
    pub(crate) fn tables(&self) -> impl Iterator<Item = (&MapName, &Table)> {
        self.pin.catalogue().iter()
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (oldest, newest) = self.shared.range();
        write!(f, "Reader({oldest}..={newest})")
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Snapshot({})", self.version())
    }
}
