//! Transactions: reads at one version, writes of their own, and what both amount to.

use std::{
    collections::{BTreeMap, btree_map},
    fmt,
    marker::PhantomData,
};

use coco_types::Seqno;
use hashbrown::{HashTable, hash_table::Entry};

use crate::{
    KEY_BYTES_MAX, Key, MapId, MapName, Snapshot, Store, Value, WriteSet, hash::Keyed, ordered,
    table::Table,
};

/// Reads one version and gathers writes. Remembers what it read, so that [`Store::commit`] can tell whether the same
/// reads at the newest version would have given the same answers.
pub struct Transaction<'s> {
    base: Snapshot,
    /// By map; shorter than the schema until a map is touched.
    locals: Vec<Option<Local>>,
    ranges: Vec<RangeRead>,
    located: Vec<(MapId, Key)>,
    oversized: Option<(MapId, usize)>,
    store: PhantomData<&'s Store>,
}

/// What a transaction read and wrote. Owned: it can be made on one thread and committed on another.
pub struct Changes {
    pub(crate) base: Snapshot,
    pub(crate) reads: Vec<(MapId, Key)>,
    pub(crate) ranges: Vec<RangeRead>,
    pub(crate) writes: WriteSet,
    pub(crate) oversized: Option<(MapId, usize)>,
}

/// A range whose keys and values were read: from `start` to below `end`.
pub(crate) struct RangeRead {
    pub(crate) map: MapId,
    pub(crate) start: Key,
    pub(crate) end: Option<Key>,
}

/// What a transaction knows of one map.
enum Local {
    Hash(HashTable<(Key, Slot)>),
    Tree(BTreeMap<Key, Slot>),
}

/// What a transaction knows of one key.
enum Slot {
    Read(Option<Value>),
    Written { value: Option<Value>, was_read: bool },
}

impl Transaction<'_> {
    pub(crate) const fn new(base: Snapshot) -> Self {
        Self {
            base,
            locals: Vec::new(),
            ranges: Vec::new(),
            located: Vec::new(),
            oversized: None,
            store: PhantomData,
        }
    }

    /// The version that it reads.
    #[must_use]
    pub fn version(&self) -> Seqno {
        self.base.version()
    }

    /// The map of that name.
    #[must_use]
    pub fn map(&self, name: &MapName) -> Option<MapId> {
        self.base.map(name)
    }

    /// Whether [`Self::range`] can be asked of the map.
    #[must_use]
    pub fn is_ordered(&self, map: MapId) -> bool {
        matches!(self.base.table(map), Some(Table::Ordered(_)))
    }

    /// The value of `key`: its own write, else what its version holds. Of a history or ledger-only map it sees its
    /// own writes only.
    pub fn get(&mut self, map: MapId, key: &[u8]) -> Option<Value> {
        let table = self.base.table(map)?;
        let (keyed, version) = (&self.base.shared().keyed, self.base.version());
        let slot = local(&mut self.locals, table, map);
        match slot.of(keyed, key, || Slot::Read(table.get(keyed, key, version))) {
            Slot::Read(value) | Slot::Written { value, .. } => value.clone(),
        }
    }

    /// Writes `value` under `key`.
    ///
    /// # Panics
    /// When the map is of another store: that is an error in the program.
    pub fn put(&mut self, map: MapId, key: &[u8], value: impl Into<Value>) {
        self.set(map, key, Some(value.into()));
    }

    /// Removes `key`. Of a history map the removal enters the write set and nothing else.
    ///
    /// # Panics
    /// When the map is of another store: that is an error in the program.
    pub fn remove(&mut self, map: MapId, key: &[u8]) {
        self.set(map, key, None);
    }

    fn set(&mut self, map: MapId, key: &[u8], new: Option<Value>) {
        if key.len() > KEY_BYTES_MAX {
            self.oversized = Some((map, key.len()));
            return;
        }
        let table = self.base.table(map).expect("the map is of this store");
        let local = local(&mut self.locals, table, map);
        let slot = local
            .of(&self.base.shared().keyed, key, || Slot::Written { value: None, was_read: false });
        match slot {
            Slot::Read(_) => *slot = Slot::Written { value: new, was_read: true },
            Slot::Written { value, .. } => *value = new,
        }
    }

    /// At most `limit` keys and values of an ordered map, ascending from `start` to below `end`, its own writes among
    /// them.
    ///
    /// # Panics
    /// When the map is not ordered: that is an error in the program.
    pub fn range(
        &mut self,
        map: MapId,
        start: &[u8],
        end: Option<&[u8]>,
        limit: usize,
    ) -> Vec<(Box<[u8]>, Value)> {
        let (Some(table), Some(bounds)) = (self.base.table(map), ordered::bounds(start, end))
        else {
            return Vec::new();
        };
        let Table::Ordered(table) = table else {
            panic!("a range of {:?}, which is not ordered", self.base.name(map));
        };
        if limit == 0 {
            return Vec::new();
        }
        let own: Vec<(&Key, &Option<Value>)> = match self.locals.get(map.0) {
            Some(Some(Local::Tree(tree))) => tree
                .range::<[u8], _>(bounds)
                .filter_map(|(key, slot)| Some((key, slot.written()?)))
                .collect(),
            _ => Vec::new(),
        };
        // Its own writes can hide at most as many keys as there are writes.
        let found = table.range(start, end, limit.saturating_add(own.len()), self.base.version());
        let mut merged: BTreeMap<Key, Value> = found.into_iter().collect();
        for (key, value) in own {
            match value {
                Some(value) => drop(merged.insert(Key::clone(key), Value::clone(value))),
                None => drop(merged.remove(key)),
            }
        }
        let merged: Vec<_> =
            merged.into_iter().take(limit).map(|(key, value)| (Box::from(&*key), value)).collect();
        let end = match merged.last() {
            Some((last, _)) if merged.len() == limit => Some(just_above(last)),
            _ => end.map(Key::from),
        };
        self.ranges.push(RangeRead { map, start: Key::from(start), end });
        merged
    }

    /// The entries that may have written `key` of a history map, newest first; its own writes are not among them.
    ///
    /// # Panics
    /// When the map keeps no history: that is an error in the program.
    pub fn locate(&mut self, map: MapId, key: &[u8]) -> Vec<Seqno> {
        let found = self.base.locate(map, key);
        self.located.push((map, Key::from(key)));
        found
    }

    /// What it read and wrote.
    #[must_use]
    pub fn finish(self) -> Changes {
        let (mut reads, mut writes) = (self.located, WriteSet::new());
        for (at, local) in self.locals.into_iter().enumerate() {
            let Some(local) = local else { continue };
            let map = MapId(at);
            let mut written = Vec::new();
            for (key, slot) in local.into_slots() {
                match slot {
                    Slot::Read(_) => reads.push((map, key)),
                    Slot::Written { value, was_read } => {
                        if was_read {
                            reads.push((map, Key::clone(&key)));
                        }
                        written.push((key, value));
                    }
                }
            }
            if let Some(name) = self.base.name(map) {
                writes.insert_map(name.clone(), written.into_iter().collect());
            }
        }
        Changes { base: self.base, reads, ranges: self.ranges, writes, oversized: self.oversized }
    }
}

impl Changes {
    /// What was written.
    #[must_use]
    pub const fn write_set(&self) -> &WriteSet {
        &self.writes
    }

    /// The version that was read.
    #[must_use]
    pub fn base(&self) -> Seqno {
        self.base.version()
    }
}

/// The smallest key above `key`.
fn just_above(key: &[u8]) -> Key {
    Key::from(&*[key, &[0]].concat())
}

/// What is known of `map`, which `table` holds.
fn local<'l>(locals: &'l mut Vec<Option<Local>>, table: &Table, map: MapId) -> &'l mut Local {
    if locals.len() <= map.0 {
        locals.resize_with(map.0 + 1, || None);
    }
    locals[map.0].get_or_insert_with(|| match table {
        Table::Ordered(_) => Local::Tree(BTreeMap::new()),
        Table::Point(_) | Table::History(_) | Table::LedgerOnly => Local::Hash(HashTable::new()),
    })
}

impl Local {
    /// What is known of `key`; `first` says it when nothing is.
    fn of(&mut self, keyed: &Keyed, key: &[u8], first: impl FnOnce() -> Slot) -> &mut Slot {
        match self {
            Self::Hash(table) => {
                let hash = keyed.place(key);
                match table.entry(
                    hash,
                    |(found, _)| **found == *key,
                    |(found, _)| keyed.place(found),
                ) {
                    Entry::Occupied(entry) => &mut entry.into_mut().1,
                    Entry::Vacant(entry) => {
                        &mut entry.insert((Key::from(key), first())).into_mut().1
                    }
                }
            }
            Self::Tree(tree) => match tree.entry(Key::from(key)) {
                btree_map::Entry::Occupied(entry) => entry.into_mut(),
                btree_map::Entry::Vacant(entry) => entry.insert(first()),
            },
        }
    }

    fn into_slots(self) -> Box<dyn Iterator<Item = (Key, Slot)>> {
        match self {
            Self::Hash(table) => Box::new(table.into_iter()),
            Self::Tree(tree) => Box::new(tree.into_iter()),
        }
    }
}

impl Slot {
    /// What was written; the inner none is a removal.
    const fn written(&self) -> Option<&Option<Value>> {
        match self {
            Self::Read(_) => None,
            Self::Written { value, .. } => Some(value),
        }
    }
}

impl fmt::Debug for Transaction<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Transaction(on {})", self.version())
    }
}

impl fmt::Debug for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { base, reads, ranges, writes, .. } = self;
        write!(f, "Changes({base:?}, {} reads, {} ranges, {writes:?})", reads.len(), ranges.len())
    }
}
