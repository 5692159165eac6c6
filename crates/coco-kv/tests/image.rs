//! The image of a version: the same for every store that holds the same, and a store again.

use std::collections::BTreeMap;

use coco_kv::{
    Domain, MapKind, MapName, MapSpec, RestoreError, Snapshot, StateImage, Store, WriteSet,
};
use coco_types::Seqno;
use proptest::prelude::*;

const KEY: [u64; 2] = [3, 5];

const MAPS: [(&str, Option<MapKind>); 7] = [
    ("app.point", Some(MapKind::Point)),
    ("public:app.point", Some(MapKind::Point)),
    ("public:app.ordered", Some(MapKind::Ordered)),
    ("app.history", Some(MapKind::History)),
    ("public:app.history", Some(MapKind::History)),
    ("public:app.ledger_only", Some(MapKind::LedgerOnly)),
    ("app.unknown", None),
];
const KEYS: u8 = 9;

type Write = (usize, u8, Option<u16>);

fn name(map: usize) -> MapName {
    MapName::from_static(MAPS[map].0)
}

fn key(n: u8) -> Vec<u8> {
    vec![n / 3; usize::from(n % 3) * 5]
}

fn schema() -> Vec<MapSpec> {
    let known = MAPS.iter().enumerate();
    known.filter_map(|(map, (_, kind))| Some(MapSpec::new(name(map), (*kind)?))).collect()
}

fn write_set(writes: &[Write]) -> WriteSet {
    let mut set = WriteSet::new();
    for (map, n, value) in writes {
        match value {
            // Values of every length up to a few words, so that paddings of every length occur.
            Some(value) => {
                set.insert(&name(*map), &key(*n), vec![*n; usize::from(*value % 19)]);
            }
            None => set.remove(&name(*map), &key(*n)),
        }
    }
    set
}

fn writes() -> impl Strategy<Value = Vec<Write>> {
    let write = (0..MAPS.len(), 0..KEYS, prop::option::weighted(0.7, any::<u16>()));
    prop::collection::vec(write, 0..12)
}

fn apply(store: &mut Store, versions: &[Vec<Write>]) {
    for writes in versions {
        let next = store.version().next();
        store.apply(next, &write_set(writes)).expect("it is next");
    }
}

/// Values of a ledger-only map, which the store does not keep.
fn more() -> WriteSet {
    let mut more = WriteSet::new();
    more.insert(&name(5), b"row", *b"value");
    more
}

fn image(snapshot: &Snapshot) -> (Vec<u8>, Vec<u8>) {
    let more = more();
    (snapshot.encode(Domain::Public, &more), snapshot.encode(Domain::Private, &more))
}

fn restored((public, private): &(Vec<u8>, Vec<u8>), version: Seqno) -> Store {
    let public = StateImage::parse(public, Domain::Public, version).expect("an image");
    let private = StateImage::parse(private, Domain::Private, version).expect("an image");
    Store::restore(schema(), version, &public, &private).expect("it fits the schema")
}

fn check_equal(left: &Snapshot, right: &Snapshot) {
    for (map, (_, kind)) in MAPS.iter().enumerate() {
        let ids = [left.map(&name(map)), right.map(&name(map))];
        for n in 0..KEYS {
            let [found, expected] =
                [(left, ids[0]), (right, ids[1])].map(|(snapshot, id)| match (id, kind) {
                    (None, _) => (None, Vec::new()),
                    (Some(id), Some(MapKind::History)) => (None, snapshot.locate(id, &key(n))),
                    (Some(id), _) => (snapshot.get(id, &key(n)), Vec::new()),
                });
            assert_eq!(found, expected, "{} {n}", MAPS[map].0);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_restored_store_is_the_store_at_that_version(
        before in prop::collection::vec(writes(), 1..20),
        lost in prop::collection::vec(writes(), 0..5),
        after in prop::collection::vec(writes(), 0..20),
        compact in 0_u64..25,
    ) {
        let mut store = Store::new(schema(), KEY);
        apply(&mut store, &before);
        let at = store.version();
        // What was rolled back, compacted or written later leaves no mark.
        apply(&mut store, &lost);
        store.rollback(at).expect("nothing was compacted");
        let snapshot = store.reader().head();
        apply(&mut store, &after);
        store.compact(Seqno(compact));
        let found = image(&snapshot);

        let mut plain = Store::new(schema(), KEY);
        apply(&mut plain, &before);
        prop_assert_eq!(&found, &image(&plain.reader().head()));

        let mut again = restored(&found, at);
        prop_assert_eq!((again.version(), again.oldest()), (at, at));
        check_equal(&again.reader().head(), &snapshot);
        prop_assert_eq!(&image(&again.reader().head()), &found);

        // It goes on as the first one did, and comes back.
        apply(&mut again, &after);
        check_equal(&again.reader().head(), &store.reader().head());
        prop_assert_eq!(image(&again.reader().head()), image(&store.reader().head()));
        again.rollback(at).expect("nothing was compacted");
        prop_assert_eq!(&image(&again.reader().head()), &found);
    }

    #[test]
    fn damaged_images_are_refused_or_say_something_else(
        versions in prop::collection::vec(writes(), 1..8),
        at in any::<prop::sample::Index>(),
        bit in 0_u8..8,
    ) {
        let mut store = Store::new(schema(), KEY);
        apply(&mut store, &versions);
        let (_, bytes) = image(&store.reader().head());
        let parse = |bytes| StateImage::parse(bytes, Domain::Private, store.version());
        let items = |bytes| -> Option<BTreeMap<_, Vec<_>>> {
            let image: StateImage<'_> = parse(bytes).ok()?;
            Some(image.maps().iter().map(|map| (map.name(), map.iter().collect())).collect())
        };
        let at = at.index(bytes.len());
        prop_assert!(parse(&bytes[..at]).is_err() || ends_between_maps(&bytes, at));
        let mut changed = bytes.clone();
        changed[at] ^= 1 << bit;
        prop_assert_ne!(items(&changed[..]), items(&bytes[..]));
    }
}

/// Between two maps a shorter image is an image.
fn ends_between_maps(bytes: &[u8], at: usize) -> bool {
    let mut start = 0;
    while start < at {
        let length = |at: usize| {
            let field = bytes[at..].first_chunk().expect("a length");
            usize::try_from(u64::from_le_bytes(*field)).expect("it fits")
        };
        let items = start + 8 + length(start) + 8;
        start = items + 8 + length(items);
    }
    start == at
}

#[test]
fn the_bytes_are_those_of_the_format() {
    let map = MapName::from_static("public:zoo");
    let mut store = Store::new(vec![MapSpec::new(map.clone(), MapKind::Point)], KEY);
    let mut set = WriteSet::new();
    set.insert(&map, b"yak", *b"grunts");
    store.apply(Seqno(1), &set).expect("it is next");
    let mut set = WriteSet::new();
    set.insert(&map, b"elephant", *b"");
    store.apply(Seqno(2), &set).expect("it is next");
    let expected = b"\
        \x0a\0\0\0\0\0\0\0public:zoo\x02\0\0\0\0\0\0\0\x48\0\0\0\0\0\0\0\
        \x08\0\0\0\0\0\0\0elephant\x08\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\
        \x03\0\0\0\0\0\0\0yak\0\0\0\0\0\x0e\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0grunts\0\0";
    let snapshot = store.reader().head();
    assert_eq!(snapshot.encode(Domain::Public, &WriteSet::new()), expected);
    let image = StateImage::parse(expected, Domain::Public, Seqno(2)).expect("an image");
    assert_eq!(image.map("public:zoo").and_then(|map| map.get(b"yak")), Some(&b"grunts"[..]));
    for version in [1, 3] {
        assert!(StateImage::parse(expected, Domain::Public, Seqno(version)).is_err());
    }
    assert!(StateImage::parse(expected, Domain::Private, Seqno(2)).is_err());
}

#[test]
fn an_image_and_a_schema_agree_about_what_keeps_an_index() {
    let map = MapName::from_static("h");
    let schema = |kind| vec![MapSpec::new(map.clone(), kind)];
    let image = |kind| {
        let mut store = Store::new(schema(kind), KEY);
        store.apply(Seqno(1), &WriteSet::new()).expect("it is next");
        store.reader().head().encode(Domain::Private, &WriteSet::new())
    };
    let restore = |bytes: &[u8], kind| {
        let image = StateImage::parse(bytes, Domain::Private, Seqno(1)).expect("an image");
        Store::restore(schema(kind), Seqno(1), &StateImage::default(), &image).map(drop)
    };
    let (history, point) = (image(MapKind::History), image(MapKind::Point));
    assert_eq!(restore(&history, MapKind::History), Ok(()));
    assert_eq!(restore(&point, MapKind::Point), Ok(()));
    let no_index = RestoreError::NoIndex { map: map.clone() };
    assert_eq!(restore(&point, MapKind::History), Err(no_index));
    assert_eq!(restore(&history, MapKind::Point), Err(RestoreError::Index { map: "h".into() }));
    assert_eq!(restore(&[], MapKind::Point), Err(RestoreError::NoKey));
}
