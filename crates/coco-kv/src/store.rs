//! The one writer of a store.

use std::{collections::VecDeque, fmt, sync::Arc};

use coco_planted::Bug;
use coco_types::Seqno;
use thiserror::Error;

use crate::{
    Changes, MapId, MapKind, MapName, MapSpec, Reader, Transaction, WriteSet, WriteSetView,
    hash::Keyed,
    shared::Shared,
    table::{Catalogue, Table, Touched, Write},
};

/// Writes versions, takes them back, and forgets old ones. There is one to a store; [`Store::reader`] gives readers.
pub struct Store {
    shared: Arc<Shared>,
    catalogue: Arc<Catalogue>,
    version: Seqno,
    /// What each version above the oldest touched, ascending; and what older ones did that are not forgotten yet.
    undo: VecDeque<Undo>,
    /// The newest version when [`Store::compact`] was last called.
    compacted_at: Seqno,
    /// Bytes of large values that were overwritten or removed, and are kept for older versions.
    superseded_bytes: usize,
}

/// What one version touched.
struct Undo {
    seqno: Seqno,
    maps: Vec<(MapId, Touched)>,
}

impl Undo {
    fn superseded_bytes(&self) -> usize {
        self.maps.iter().map(|(_, touched)| touched.superseded_bytes()).sum()
    }
}

/// Why changes were not committed. Nothing was written.
#[derive(Clone, PartialEq, Eq, Error)]
pub enum CommitError {
    /// What the transaction read was written since. Execute it again.
    #[error("a key of {map} that the transaction read was written since")]
    Conflict {
        /// The map that was read.
        map: MapName,
        /// The key that was written since.
        key: Box<[u8]>,
    },
    /// The version that the transaction read was rolled back. Execute it again.
    #[error("version {base} that the transaction read was rolled back")]
    RolledBack {
        /// The version that it read.
        base: Seqno,
    },
    /// The transaction wrote a key that is too long.
    #[error("a key of {bytes} bytes in {map}; it may have {limit}", limit = crate::KEY_BYTES_MAX)]
    KeyTooLong {
        /// The map that was written.
        map: MapName,
        /// How long the key is.
        bytes: usize,
    },
    /// The version is not the next one.
    #[error("version {found} was committed where {expected} is next")]
    OutOfOrder {
        /// The next version.
        expected: Seqno,
        /// The version that was given.
        found: Seqno,
    },
}

/// Why a write set was not applied. Nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ApplyError {
    /// The version is not the next one.
    #[error("version {found} was applied where {expected} is next")]
    OutOfOrder {
        /// The next version.
        expected: Seqno,
        /// The version that was given.
        found: Seqno,
    },
    /// The write set names too many maps that are not in the schema.
    #[error("{maps} maps; a store holds at most {MAPS_MAX}")]
    TooManyMaps {
        /// How many there would be.
        maps: usize,
    },
}

/// Why the store was not rolled back. Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RollbackError {
    /// The version is above the newest.
    #[error("version {to} is still to come, the newest is {newest}")]
    Ahead {
        /// Where to return to.
        to: Seqno,
        /// The newest version.
        newest: Seqno,
    },
    /// The version was compacted.
    #[error("version {to} is not in memory any more, the oldest is {oldest}")]
    NotRetained {
        /// Where to return to.
        to: Seqno,
        /// The oldest version.
        oldest: Seqno,
    },
}

/// Most maps of a store. Schemas have some dozens; the rest is room for maps that a newer program wrote.
pub const MAPS_MAX: usize = 4096;

/// Versions that one call of [`Store::compact`] forgets although more were held back: a pause of some milliseconds.
const COMPACT_VERSIONS_MIN: u64 = 16;

impl Store {
    /// An empty store at version zero. `index_key` keys the placement of keys in memory and the fingerprints of history
    /// maps; clients must not know it. Stores of equal content and equal key have equal images.
    ///
    /// # Panics
    /// When the schema names a map twice or holds more than [`MAPS_MAX`]: that is an error in the program.
    #[must_use]
    pub fn new(schema: Vec<MapSpec>, index_key: [u64; 2]) -> Self {
        Self::of(Catalogue::new(schema), Keyed::new(index_key), Seqno::ZERO)
    }

    /// A store whose one version is `version`.
    pub(crate) fn of(catalogue: Catalogue, keyed: Keyed, version: Seqno) -> Self {
        let catalogue = Arc::new(catalogue);
        let shared = Arc::new(Shared::new(keyed, Arc::clone(&catalogue), version));
        let (undo, compacted_at) = (VecDeque::new(), version);
        Self { shared, catalogue, version, undo, compacted_at, superseded_bytes: 0 }
    }

    /// The maps, and the hashes that place keys in them.
    pub(crate) fn parts(&self) -> (&Catalogue, &Keyed) {
        (&self.catalogue, &self.shared.keyed)
    }

    /// The map of that name.
    #[must_use]
    pub fn map(&self, name: &MapName) -> Option<MapId> {
        self.catalogue.id(name.as_str())
    }

    /// The newest version.
    #[must_use]
    pub const fn version(&self) -> Seqno {
        self.version
    }

    /// The oldest version that can be read and returned to.
    #[must_use]
    pub fn oldest(&self) -> Seqno {
        self.shared.range().0
    }

    /// Reads from any thread.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader::new(Arc::clone(&self.shared))
    }

    /// A transaction on the newest version.
    #[must_use]
    pub fn begin(&self) -> Transaction<'_> {
        Transaction::new(self.reader().head())
    }

    /// How many keys of a map are in memory, removed ones included until they are compacted; of a history map, how
    /// many items its index has.
    #[must_use]
    pub fn kept(&self, map: MapId) -> usize {
        self.catalogue.table(map).map_or(0, Table::len)
    }

    /// Makes `seqno` the newest version, if nothing that the transaction read was written since.
    ///
    /// # Errors
    /// [`CommitError`]: then nothing was written.
    ///
    /// # Panics
    /// When the changes are those of another store: that is an error in the program.
    pub fn commit(&mut self, seqno: Seqno, changes: Changes) -> Result<WriteSet, CommitError> {
        let expected = self.version.next();
        if seqno != expected {
            return Err(CommitError::OutOfOrder { expected, found: seqno });
        }
        self.validate(&changes)?;
        let maps = changes.writes.maps().iter().map(|(name, writes)| {
            let map =
                self.catalogue.id(name.as_str()).expect("transactions write maps of the catalogue");
            (map, self.write(map, seqno, writes.iter()))
        });
        let maps = maps.collect();
        self.finish_version(seqno, maps);
        Ok(changes.writes)
    }

    /// Whether what was read is still so.
    fn validate(&self, changes: &Changes) -> Result<(), CommitError> {
        let Changes { base, reads, ranges, oversized, .. } = changes;
        assert!(
            Arc::ptr_eq(base.shared(), &self.shared),
            "changes belong to the store that they were read from"
        );
        let name = |map: MapId| {
            self.catalogue.name(map).expect("transactions read maps of the catalogue").clone()
        };
        if base.is_torn() {
            return Err(CommitError::RolledBack { base: base.version() });
        }
        if let Some((map, bytes)) = *oversized {
            return Err(CommitError::KeyTooLong { map: name(map), bytes });
        }
        if base.version() == self.version {
            return Ok(());
        }
        let table = |map: MapId| {
            self.catalogue.table(map).expect("transactions read maps of the catalogue")
        };
        for (map, key) in reads.iter().filter(|_| !coco_planted::is(Bug::SkipReadCheck)) {
            if table(*map)
                .newest(&self.shared.keyed, key)
                .is_some_and(|newest| newest > base.version())
            {
                return Err(CommitError::Conflict { map: name(*map), key: Box::from(&**key) });
            }
        }
        for range in ranges.iter().filter(|_| !coco_planted::is(Bug::SkipRangeCheck)) {
            let Table::Ordered(ordered) = table(range.map) else {
                unreachable!("ranges are of ordered maps")
            };
            if let Some(key) =
                ordered.written_above(&range.start, range.end.as_deref(), base.version())
            {
                return Err(CommitError::Conflict { map: name(range.map), key: Box::from(&*key) });
            }
        }
        Ok(())
    }

    /// Makes `seqno` the newest version with writes that were validated elsewhere: those of a primary, or of the
    /// ledger at start-up. Maps that the schema does not know become ordered maps.
    ///
    /// # Errors
    /// [`ApplyError`]: then nothing was written.
    pub fn apply(&mut self, seqno: Seqno, writes: &WriteSet) -> Result<(), ApplyError> {
        self.admit(seqno, || writes.maps().keys().map(MapName::as_str))?;
        let maps = writes.maps().iter().map(|(name, writes)| (name.as_str(), writes.iter()));
        self.apply_maps(seqno, maps);
        Ok(())
    }

    /// [`Store::apply`] of a write set in someone else's bytes: copies what stays in memory, and nothing else.
    ///
    /// # Errors
    /// [`ApplyError`]: then nothing was written.
    pub fn apply_view(
        &mut self,
        seqno: Seqno,
        writes: &WriteSetView<'_>,
    ) -> Result<(), ApplyError> {
        self.admit(seqno, || writes.maps().iter().map(crate::MapView::name))?;
        self.apply_maps(seqno, writes.maps().iter().map(|map| (map.name(), map.iter())));
        Ok(())
    }

    /// Checks that `seqno` is next, and adds the maps that are not known yet.
    fn admit<'n, N: Iterator<Item = &'n str>>(
        &mut self,
        seqno: Seqno,
        names: impl Fn() -> N,
    ) -> Result<(), ApplyError> {
        let expected = self.version.next();
        if seqno != expected {
            return Err(ApplyError::OutOfOrder { expected, found: seqno });
        }
        let unknown = names().filter(|name| self.catalogue.id(name).is_none()).count();
        if unknown == 0 {
            return Ok(());
        }
        let maps = self.catalogue.len() + unknown;
        if maps > MAPS_MAX {
            return Err(ApplyError::TooManyMaps { maps });
        }
        let catalogue = Arc::make_mut(&mut self.catalogue);
        for name in names() {
            let name = MapName::new(name).expect("write sets hold checked names");
            catalogue.add(MapSpec::new(name, MapKind::Ordered));
        }
        self.shared.replace_catalogue(Arc::clone(&self.catalogue));
        Ok(())
    }

    fn apply_maps<'n, W: Write>(
        &mut self,
        seqno: Seqno,
        maps: impl Iterator<Item = (&'n str, impl Iterator<Item = W>)>,
    ) {
        let maps = maps.map(|(name, writes)| {
            let map = self.catalogue.id(name).expect("unknown maps were added");
            (map, self.write(map, seqno, writes))
        });
        let maps = maps.collect();
        self.finish_version(seqno, maps);
    }

    fn write(&self, map: MapId, seqno: Seqno, writes: impl Iterator<Item = impl Write>) -> Touched {
        let table = self.catalogue.table(map).expect("the map is in the catalogue");
        table.write(&self.shared.keyed, seqno, writes)
    }

    /// Shows the version to readers, after all its writes.
    fn finish_version(&mut self, seqno: Seqno, maps: Vec<(MapId, Touched)>) {
        let undo = Undo { seqno, maps };
        self.superseded_bytes += undo.superseded_bytes();
        self.undo.push_back(undo);
        self.version = seqno;
        self.shared.publish(seqno);
    }

    /// Makes `to` the newest version again, exactly as it was. Snapshots above it are torn.
    ///
    /// # Errors
    /// [`RollbackError`]: then nothing changed.
    ///
    /// # Panics
    /// Never: the undo log knows the maps it names.
    pub fn rollback(&mut self, to: Seqno) -> Result<(), RollbackError> {
        if to > self.version {
            return Err(RollbackError::Ahead { to, newest: self.version });
        }
        let oldest = self.oldest();
        if to < oldest {
            return Err(RollbackError::NotRetained { to, oldest });
        }
        self.shared.withdraw(to);
        while let Some(undo) = self.undo.pop_back_if(|undo| undo.seqno > to) {
            self.superseded_bytes -= undo.superseded_bytes();
            for (map, touched) in &undo.maps {
                let table = self.catalogue.table(*map).expect("maps are never dropped");
                touched.rollback(table, &self.shared.keyed, undo.seqno, to);
            }
        }
        self.version = to;
        Ok(())
    }

    /// The lowest version down to which large values of the past, of more than 1 KiB each, have at most `bytes` together, of those that
    /// were superseded up to version `upto`. What is below it can be forgotten with [`Store::compact`] to bound what they take.
    #[must_use]
    pub fn oldest_within(&self, bytes: usize, upto: Seqno) -> Seqno {
        // As nearly always: nothing has to be counted.
        if self.superseded_bytes <= bytes {
            return Seqno::ZERO;
        }
        let later = self.undo.iter().rev().take_while(|undo| undo.seqno > upto);
        let later: usize = later.map(Undo::superseded_bytes).sum();
        let (mut held, mut oldest) = (self.superseded_bytes - later, Seqno::ZERO);
        for undo in self.undo.iter().take_while(|undo| undo.seqno <= upto) {
            if held <= bytes {
                break;
            }
            held -= undo.superseded_bytes();
            oldest = undo.seqno;
        }
        oldest
    }

    /// Forgets the versions below `oldest`, or below the lowest that a snapshot holds. Costs what those versions wrote;
    /// when a snapshot has held many back, each call forgets a part of them: four times as many as were written since
    /// the call before, and at least 16.
    ///
    /// # Panics
    /// Never: the undo log knows the maps it names.
    pub fn compact(&mut self, oldest: Seqno) {
        let oldest = self.shared.raise_oldest(oldest);
        let written = self.version.0.saturating_sub(self.compacted_at.0);
        self.compacted_at = self.version;
        for _ in 0..COMPACT_VERSIONS_MIN.max(4 * written) {
            let Some(undo) = self.undo.pop_front_if(|undo| undo.seqno <= oldest) else { return };
            self.superseded_bytes -= undo.superseded_bytes();
            for (map, touched) in &undo.maps {
                let table = self.catalogue.table(*map).expect("maps are never dropped");
                let beyond = u64::from(coco_planted::is(Bug::CompactTooFar));
                touched.compact(table, &self.shared.keyed, Seqno(oldest.0 + beyond));
            }
        }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Store({}..={}, {} maps)", self.oldest(), self.version, self.catalogue.len())
    }
}

impl fmt::Debug for CommitError {
    /// As the message: a key can be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CommitError({self})")
    }
}
