//! How much of the past is kept for versions that can still be read.

use coco_kv::{MapKind, MapName, MapSpec, Store, WriteSet};
use coco_types::Seqno;

const LARGE: usize = 2000;

fn name(text: &'static str) -> MapName {
    MapName::from_static(text)
}

fn store() -> Store {
    let map = |text, kind| MapSpec::new(name(text), kind);
    Store::new(
        vec![map("app.point", MapKind::Point), map("public:app.ordered", MapKind::Ordered)],
        [1, 2],
    )
}

/// Applies the next version: a value of so many bytes in each map, or its removal.
fn write(store: &mut Store, key: &[u8], bytes: Option<usize>) {
    let mut writes = WriteSet::new();
    for map in ["app.point", "public:app.ordered"] {
        match bytes {
            Some(bytes) => writes.insert(&name(map), key, vec![7; bytes]),
            None => writes.remove(&name(map), key),
        }
    }
    let next = store.version().next();
    store.apply(next, &writes).expect("it is the next version");
}

#[test]
fn large_values_that_were_superseded_have_a_bound() {
    let mut store = store();
    for _ in 0..10 {
        write(&mut store, b"a", Some(LARGE));
    }
    // Nine of ten are of the past, each twice.
    for (bytes, oldest) in [(18 * LARGE, 0), (18 * LARGE - 1, 2), (4 * LARGE, 8), (0, 10)] {
        assert_eq!(store.oldest_within(bytes, Seqno(10)), Seqno(oldest), "{bytes}");
    }
    // What is not committed yet neither counts nor goes.
    for (bytes, oldest) in [(10 * LARGE, 0), (10 * LARGE - 1, 2), (0, 6)] {
        assert_eq!(store.oldest_within(bytes, Seqno(6)), Seqno(oldest), "{bytes} up to 6");
    }
    store.compact(store.oldest_within(4 * LARGE, store.version()));
    assert_eq!(store.oldest(), Seqno(8));
    assert_eq!(
        store.oldest_within(4 * LARGE, store.version()),
        Seqno(0),
        "what is left is within the bound"
    );
    store.rollback(Seqno(9)).expect("it is kept");
    assert_eq!(store.oldest_within(2 * LARGE, store.version()), Seqno(0));
    assert_eq!(store.oldest_within(2 * LARGE - 1, store.version()), Seqno(9));
}

#[test]
fn what_was_removed_counts_and_what_is_small_does_not() {
    let mut store = store();
    write(&mut store, b"a", Some(LARGE));
    write(&mut store, b"a", None);
    write(&mut store, b"a", None);
    assert_eq!(store.oldest_within(2 * LARGE - 1, store.version()), Seqno(2));
    store.compact(Seqno(2));
    for _ in 0..10 {
        write(&mut store, b"b", Some(1024));
    }
    assert_eq!(store.oldest_within(0, store.version()), Seqno(0));
}

#[test]
fn each_value_says_which_entry_wrote_it() {
    let mut store = store();
    for (key, bytes) in [(b"a", Some(1)), (b"b", Some(1)), (b"a", Some(2)), (b"a", None)] {
        write(&mut store, key, bytes);
    }
    for (version, expected) in [(0, None), (1, Some(1)), (2, Some(1)), (3, Some(3)), (4, None)] {
        let snapshot = store.reader().snapshot(Seqno(version)).expect("it is kept");
        for text in ["app.point", "public:app.ordered"] {
            let map = snapshot.map(&name(text)).expect("it is there");
            let found = snapshot.written(map, b"a");
            assert_eq!(found, expected.map(Seqno), "{text} as of {version}");
        }
    }
}
