//! Ordered maps: a tree under one lock.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    ops::Bound,
};

use coco_types::Seqno;
use parking_lot::RwLock;

use crate::{
    Key, Value,
    cell::{Cell, Visible},
    table::Write,
};

/// A map of kind [`MapKind::Ordered`](crate::MapKind::Ordered).
pub(crate) struct OrderedMap {
    cells: RwLock<BTreeMap<Key, Cell>>,
}

/// Where a range starts and ends.
pub(crate) type Bounds<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

/// The bounds of `start..end`, the end open when there is none. `None` when nothing can lie between.
pub(crate) fn bounds<'a>(start: &'a [u8], end: Option<&'a [u8]>) -> Option<Bounds<'a>> {
    match end {
        Some(end) if end <= start => None,
        Some(end) => Some((Bound::Included(start), Bound::Excluded(end))),
        None => Some((Bound::Included(start), Bound::Unbounded)),
    }
}

impl OrderedMap {
    pub(crate) const fn new() -> Self {
        Self { cells: RwLock::new(BTreeMap::new()) }
    }

    pub(crate) fn get(&self, key: &[u8], at: Seqno) -> Option<Value> {
        self.cells.read().get(key)?.at(at).cloned()
    }

    pub(crate) fn written(&self, key: &[u8], at: Seqno) -> Option<Seqno> {
        self.cells.read().get(key)?.version_at(at).map(|(seqno, _)| seqno)
    }

    pub(crate) fn newest(&self, key: &[u8]) -> Option<Seqno> {
        self.cells.read().get(key).map(Cell::newest)
    }

    /// At most `limit` keys with a value as of `at`, ascending from `start` to below `end`.
    pub(crate) fn range(
        &self,
        start: &[u8],
        end: Option<&[u8]>,
        limit: usize,
        at: Seqno,
    ) -> Vec<(Key, Value)> {
        let Some(bounds) = bounds(start, end) else { return Vec::new() };
        let cells = self.cells.read();
        let visible =
            cells.range::<[u8], _>(bounds).filter_map(|(key, cell)| Some((key, cell.at(at)?)));
        visible.take(limit).map(|(key, value)| (Key::clone(key), Value::clone(value))).collect()
    }

    /// At most `limit` keys from `start` with a value as of `at`, in order.
    pub(crate) fn visible(&self, start: Bound<&[u8]>, limit: usize, at: Seqno) -> Vec<Visible> {
        let cells = self.cells.read();
        let visible = cells.range::<[u8], _>((start, Bound::Unbounded));
        visible.filter_map(|(key, cell)| Visible::of(key, cell, at)).take(limit).collect()
    }

    /// Puts keys into an empty map.
    pub(crate) fn load<'a>(&self, items: impl Iterator<Item = (&'a [u8], Seqno, &'a [u8])>) {
        let cells =
            items.map(|(key, seqno, value)| (Key::from(key), Cell::new(seqno, Some(value.into()))));
        *self.cells.write() = cells.collect();
    }

    /// The first key of a range that was written above `base`.
    pub(crate) fn written_above(
        &self,
        start: &[u8],
        end: Option<&[u8]>,
        base: Seqno,
    ) -> Option<Key> {
        let bounds = bounds(start, end)?;
        let cells = self.cells.read();
        cells
            .range::<[u8], _>(bounds)
            .find(|(_, cell)| cell.newest() > base)
            .map(|(key, _)| Key::clone(key))
    }

    /// Writes a version. `None`, and no change, when a key is removed that is not there; else the key to undo, and how many
    /// bytes the value before has.
    pub(crate) fn write(&self, write: &impl Write, seqno: Seqno) -> Option<(Key, usize)> {
        let value = write.value();
        match self.cells.write().entry(write.key()) {
            Entry::Occupied(mut entry) => {
                if value.is_none() && entry.get().is_removed() {
                    return None;
                }
                let bytes = entry.get_mut().push(seqno, value);
                Some((Key::clone(entry.key()), bytes))
            }
            Entry::Vacant(entry) => {
                let cell = Cell::new(seqno, Some(value?));
                let key = Key::clone(entry.key());
                entry.insert(cell);
                Some((key, 0))
            }
        }
    }

    pub(crate) fn rollback(&self, key: &Key, to: Seqno) {
        self.retain(key, |cell| cell.rollback(to));
    }

    pub(crate) fn compact(&self, key: &Key, oldest: Seqno) {
        self.retain(key, |cell| cell.compact(oldest));
    }

    fn retain(&self, key: &Key, keep: impl FnOnce(&mut Cell) -> bool) {
        if let Entry::Occupied(mut entry) = self.cells.write().entry(Key::clone(key))
            && !keep(entry.get_mut())
        {
            drop(entry.remove());
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.cells.read().len()
    }
}
