//! A store from the image of a version.

use coco_types::{
    Seqno,
    codec::{DecodeError, Reader},
};
use thiserror::Error;

use crate::{
    MAPS_MAX, MapImage, MapKind, MapName, MapSpec, StateImage, Store,
    hash::Keyed,
    image::INDEX_MAP,
    table::{Catalogue, Table},
};

/// Why an image makes no store.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RestoreError {
    /// The image has too many maps that are not in the schema.
    #[error("{maps} maps; a store holds at most {MAPS_MAX}")]
    TooManyMaps {
        /// How many there would be.
        maps: usize,
    },
    /// The image has values of a map that keeps only an index.
    #[error("the image has values of {map}, which keeps an index")]
    Values {
        /// The map.
        map: MapName,
    },
    /// The image has an index of a map that is not known to keep one.
    #[error("the image has an index of {map:?}, which keeps none")]
    Index {
        /// The map's name, as far as it can be read.
        map: String,
    },
    /// The schema has a history map whose index is not in the image.
    #[error("the image has no index of {map}")]
    NoIndex {
        /// The map.
        map: MapName,
    },
    /// The image has no index key.
    #[error("the image has no index key")]
    NoKey,
    /// The index is malformed.
    #[error("the index of the image is malformed")]
    Malformed(#[from] DecodeError),
}

impl Store {
    /// A store whose one version is `version`, from the two halves of an image of that version. Maps that the schema
    /// does not know become ordered maps, as when a write set is applied; values of ledger-only maps are passed over.
    ///
    /// # Errors
    /// [`RestoreError`] when the image does not fit the schema.
    ///
    /// # Panics
    /// When the schema names a map twice or holds more than [`MAPS_MAX`]: that is an error in the program.
    pub fn restore(
        schema: Vec<MapSpec>,
        version: Seqno,
        public: &StateImage<'_>,
        private: &StateImage<'_>,
    ) -> Result<Self, RestoreError> {
        let images = [public, private];
        let catalogue = catalogue_of(schema, &images)?;
        let index = Index::read(private)?;
        index.check(&catalogue, version)?;
        let store = Self::of(catalogue, Keyed::new(index.key), version);
        store.load(&images)?;
        let (catalogue, _) = store.parts();
        for (name, items) in &index.maps {
            let id = catalogue.id(name).expect("the index was checked");
            if let Some(Table::History(history)) = catalogue.table(id) {
                history.load(items.len(), items.iter().map(read));
            }
        }
        Ok(store)
    }

    /// The same from the public half alone, for whoever cannot open the other: private maps have nothing in them.
    /// `index_key` keys the fingerprints of what is written to history maps from then on.
    ///
    /// # Errors
    /// As [`Store::restore`].
    ///
    /// # Panics
    /// As [`Store::restore`].
    pub fn restore_public(
        schema: Vec<MapSpec>,
        version: Seqno,
        public: &StateImage<'_>,
        index_key: [u64; 2],
    ) -> Result<Self, RestoreError> {
        let store = Self::of(catalogue_of(schema, &[public])?, Keyed::new(index_key), version);
        store.load(&[public])?;
        Ok(store)
    }

    /// Puts the values of images into a store that is empty.
    fn load(&self, images: &[&StateImage<'_>]) -> Result<(), RestoreError> {
        let (catalogue, keyed) = self.parts();
        for map in maps(images) {
            let id = catalogue.id(map.name()).expect("unknown maps were added");
            match catalogue.table(id).expect("the map is in the catalogue") {
                Table::Point(point) => point.load(keyed, map.len(), map.iter()),
                Table::Ordered(ordered) => ordered.load(map.iter()),
                Table::History(_) => {
                    let name = catalogue.name(id).expect("the map is in the catalogue");
                    return Err(RestoreError::Values { map: name.clone() });
                }
                Table::LedgerOnly => {}
            }
        }
        Ok(())
    }
}

/// The maps of images but for the index.
fn maps<'a, 'b>(images: &'b [&StateImage<'a>]) -> impl Iterator<Item = &'b MapImage<'a>> {
    images.iter().flat_map(|image| image.maps()).filter(|map| map.name() != INDEX_MAP)
}

/// The maps of a schema, and those of images that it does not know.
fn catalogue_of(
    schema: Vec<MapSpec>,
    images: &[&StateImage<'_>],
) -> Result<Catalogue, RestoreError> {
    let mut catalogue = Catalogue::new(schema);
    let unknown: Vec<_> = maps(images).filter(|map| catalogue.id(map.name()).is_none()).collect();
    if catalogue.len() + unknown.len() > MAPS_MAX {
        return Err(RestoreError::TooManyMaps { maps: catalogue.len() + unknown.len() });
    }
    for map in unknown {
        let name = MapName::new(map.name()).expect("images hold checked names");
        catalogue.add(MapSpec::new(name, MapKind::Ordered));
    }
    Ok(catalogue)
}

/// The index of history maps.
struct Index<'a> {
    key: [u64; 2],
    maps: Vec<(&'a str, &'a [[u8; ITEM_BYTES]])>,
}

/// Bytes of a fingerprint and a seqno.
const ITEM_BYTES: usize = 16;

impl<'a> Index<'a> {
    fn read(private: &StateImage<'a>) -> Result<Self, RestoreError> {
        let map = private.map(INDEX_MAP).ok_or(RestoreError::NoKey)?;
        // The empty name comes first.
        let mut rows = map.iter();
        let (_, _, key) = rows.next().filter(|row| row.0.is_empty()).ok_or(RestoreError::NoKey)?;
        let mut reader = Reader::new(key);
        let key = [reader.u64("index key")?, reader.u64("index key")?];
        reader.end()?;
        let mut index = Self { key, maps: Vec::new() };
        for (name, _, value) in rows {
            let unknown = || RestoreError::Index { map: String::from_utf8_lossy(name).into() };
            let name = std::str::from_utf8(name).map_err(|_| unknown())?;
            let (items, []) = value.as_chunks() else {
                let found = value.len() as u64;
                return Err(DecodeError::Value { field: "bytes of an index", found }.into());
            };
            index.maps.push((name, items));
        }
        Ok(index)
    }

    /// Every history map has its index, nothing else has, and items ascend up to the version.
    fn check(&self, catalogue: &Catalogue, version: Seqno) -> Result<(), RestoreError> {
        for (name, items) in &self.maps {
            let table = catalogue.id(name).and_then(|id| catalogue.table(id));
            if !matches!(table, Some(Table::History(_))) {
                return Err(RestoreError::Index { map: (*name).to_owned() });
            }
            if !items.is_sorted_by_key(read) {
                return Err(DecodeError::Value { field: "order of an index", found: 0 }.into());
            }
            let outside = |seqno: Seqno| seqno == Seqno::ZERO || seqno > version;
            if let Some(item) = items.iter().find(|item| outside(read(item).1)) {
                let found = read(item).1.0;
                return Err(DecodeError::Value { field: "seqno in an index", found }.into());
            }
        }
        for (name, table) in catalogue.iter() {
            let is_there = self.maps.iter().any(|(found, _)| *found == name.as_str());
            if matches!(table, Table::History(_)) && !is_there {
                return Err(RestoreError::NoIndex { map: name.clone() });
            }
        }
        Ok(())
    }
}

fn read(item: &[u8; ITEM_BYTES]) -> (u64, Seqno) {
    let number = u128::from_le_bytes(*item);
    #[expect(clippy::cast_possible_truncation, reason = "the two halves of a u128")]
    let (print, seqno) = (number as u64, (number >> 64) as u64);
    (print, Seqno(seqno))
}
