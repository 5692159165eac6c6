//! Transactions that ran beside others: which of them may commit.

use coco_kv::{
    Changes, CommitError, KEY_BYTES_MAX, MapId, MapKind, MapName, MapSpec, Store, Transaction,
    WriteSet,
};
use coco_types::Seqno;

const POINT: &str = "app.point";
const ORDERED: &str = "app.ordered";
const HISTORY: &str = "app.history";

/// A store whose point and ordered maps hold b, d and f, and whose history knows b.
fn store() -> Store {
    let schema =
        [(POINT, MapKind::Point), (ORDERED, MapKind::Ordered), (HISTORY, MapKind::History)]
            .map(|(name, kind)| MapSpec::new(MapName::from_static(name), kind));
    let mut store = Store::new(schema.to_vec(), [1, 2]);
    let mut set = WriteSet::new();
    for name in [POINT, ORDERED].map(MapName::from_static) {
        [b"b", b"d", b"f"].iter().for_each(|key| set.insert(&name, *key, *b"old"));
    }
    set.insert(&MapName::from_static(HISTORY), b"b", *b"old");
    store.apply(Seqno(1), &set).expect("it is next");
    store
}

fn map(store: &Store, name: &'static str) -> MapId {
    store.map(&MapName::from_static(name)).expect("the schema has it")
}

/// One transaction does `first` on the newest version; then another does `second` and commits. What becomes of the
/// first one?
fn race(
    first: impl Fn(&mut Transaction<'_>, MapId),
    second: impl Fn(&mut Transaction<'_>, MapId),
    name: &'static str,
) -> Result<(), Box<[u8]>> {
    let mut store = store();
    let map = map(&store, name);
    let run = |act: &dyn Fn(&mut Transaction<'_>, MapId), store: &Store| -> Changes {
        let mut tx = store.reader().begin();
        act(&mut tx, map);
        tx.finish()
    };
    let (one, two) = (run(&first, &store), run(&second, &store));
    store.commit(Seqno(2), two).expect("nothing came between");
    // What was written since stays known although older versions are dropped.
    store.compact(Seqno(2));
    match store.commit(Seqno(3), one) {
        Ok(_) => Ok(()),
        Err(CommitError::Conflict { map, key }) => {
            assert_eq!(map, MapName::from_static(name));
            assert_eq!(store.version(), Seqno(2));
            Err(key)
        }
        Err(other) => panic!("{other}"),
    }
}

fn conflict(key: &[u8]) -> Result<(), Box<[u8]>> {
    Err(Box::from(key))
}

#[test]
fn a_read_key_that_was_written_since_is_a_conflict() {
    for name in [POINT, ORDERED] {
        for read_key in [b"b", b"c"] {
            let read = |tx: &mut Transaction<'_>, map| drop(tx.get(map, read_key));
            let write = |tx: &mut Transaction<'_>, map| tx.put(map, read_key, *b"new");
            assert_eq!(race(read, write, name), conflict(read_key));
            assert_eq!(race(read, |tx, map| tx.put(map, b"d", *b"new"), name), Ok(()));
        }
        let read = |tx: &mut Transaction<'_>, map| drop(tx.get(map, b"b"));
        assert_eq!(race(read, |tx, map| tx.remove(map, b"b"), name), conflict(b"b"));
    }
}

#[test]
fn a_key_that_was_read_and_then_written_counts_as_read() {
    for name in [POINT, ORDERED] {
        let increment = |tx: &mut Transaction<'_>, map| {
            drop(tx.get(map, b"b"));
            tx.put(map, b"b", *b"mine");
        };
        assert_eq!(race(increment, |tx, map| tx.put(map, b"b", *b"new"), name), conflict(b"b"));
    }
}

#[test]
fn own_writes_and_blind_writes_conflict_with_nothing() {
    for name in [POINT, ORDERED] {
        let blind = |tx: &mut Transaction<'_>, map| {
            tx.put(map, b"b", *b"mine");
            assert_eq!(tx.get(map, b"b").as_deref(), Some(&b"mine"[..]));
        };
        assert_eq!(race(blind, |tx, map| tx.put(map, b"b", *b"new"), name), Ok(()));
    }
}

#[test]
fn removing_what_is_not_there_conflicts_with_nothing() {
    for name in [POINT, ORDERED] {
        let read = |tx: &mut Transaction<'_>, map| assert_eq!(tx.get(map, b"c"), None);
        assert_eq!(race(read, |tx, map| tx.remove(map, b"c"), name), Ok(()));
    }
}

#[test]
fn a_key_that_appears_in_a_read_range_is_a_conflict() {
    let whole =
        |tx: &mut Transaction<'_>, map| assert_eq!(tx.range(map, b"b", Some(b"e"), 9).len(), 2);
    let put = |key: &'static [u8]| move |tx: &mut Transaction<'_>, map| tx.put(map, key, *b"new");
    for (key, conflicts) in
        [("a", false), ("b", true), ("c", true), ("d", true), ("d9", true), ("e", false)]
    {
        let expected = if conflicts { conflict(key.as_bytes()) } else { Ok(()) };
        assert_eq!(race(whole, put(key.as_bytes()), ORDERED), expected, "{key}");
    }
    assert_eq!(race(whole, |tx, map| tx.remove(map, b"d"), ORDERED), conflict(b"d"));
}

#[test]
fn a_range_that_its_limit_ended_reaches_to_its_last_key() {
    let limited = |tx: &mut Transaction<'_>, map| assert_eq!(tx.range(map, b"a", None, 2).len(), 2);
    let put = |key: &'static [u8]| move |tx: &mut Transaction<'_>, map| tx.put(map, key, *b"new");
    for (key, conflicts) in
        [("a", true), ("c", true), ("d", true), ("d\0", false), ("e", false), ("f", false)]
    {
        assert_eq!(race(limited, put(key.as_bytes()), ORDERED).is_err(), conflicts, "{key}");
    }
    let to_the_end =
        |tx: &mut Transaction<'_>, map| assert_eq!(tx.range(map, b"e", None, 2).len(), 1);
    assert_eq!(race(to_the_end, put(b"zzz"), ORDERED), conflict(b"zzz"));
}

#[test]
fn an_empty_range_and_a_limit_of_zero_read_nothing() {
    let nothing = |tx: &mut Transaction<'_>, map| {
        assert_eq!(tx.range(map, b"d", Some(b"b"), 9).len(), 0);
        assert_eq!(tx.range(map, b"a", None, 0).len(), 0);
    };
    assert_eq!(race(nothing, |tx, map| tx.put(map, b"c", *b"new"), ORDERED), Ok(()));
}

#[test]
fn a_look_into_history_conflicts_with_a_later_entry_of_the_key() {
    let look = |tx: &mut Transaction<'_>, map| assert_eq!(tx.locate(map, b"c"), []);
    assert_eq!(race(look, |tx, map| tx.put(map, b"c", *b"new"), HISTORY), conflict(b"c"));
    assert_eq!(race(look, |tx, map| tx.put(map, b"d", *b"new"), HISTORY), Ok(()));
}

#[test]
fn changes_on_a_version_that_was_rolled_back_are_refused() {
    let mut store = store();
    let map = map(&store, POINT);
    let write = |store: &mut Store, value: [u8; 3]| {
        let mut tx = store.begin();
        tx.put(map, b"b", value);
        let changes = tx.finish();
        store.commit(store.version().next(), changes).expect("nothing came between");
    };
    write(&mut store, *b"one");
    let mut tx = store.reader().begin();
    assert_eq!(tx.get(map, b"b").as_deref(), Some(&b"one"[..]));
    let changes = tx.finish();
    store.rollback(Seqno(1)).expect("it is in memory");
    // The same version again, with another value: comparing versions alone would not tell.
    write(&mut store, *b"two");
    assert_eq!(store.commit(Seqno(3), changes), Err(CommitError::RolledBack { base: Seqno(2) }));
}

#[test]
fn a_key_may_have_its_longest_length_and_not_one_byte_more() {
    for (bytes, fits) in
        [(KEY_BYTES_MAX - 1, true), (KEY_BYTES_MAX, true), (KEY_BYTES_MAX + 1, false)]
    {
        let mut store = store();
        let map = map(&store, POINT);
        let mut tx = store.begin();
        tx.put(map, &vec![7; bytes], *b"value");
        let changes = tx.finish();
        let expected = CommitError::KeyTooLong { map: MapName::from_static(POINT), bytes };
        assert_eq!(store.commit(Seqno(2), changes).err(), (!fits).then_some(expected));
    }
}

#[test]
fn no_key_and_no_value_shows_in_what_is_printed() {
    let mut store = store();
    let map = map(&store, POINT);
    let mut tx = store.begin();
    drop(tx.get(map, b"b"));
    tx.put(map, b"sesame", *b"treasure");
    let changes = tx.finish();
    let mut printed = format!("{store:?} {:?} {changes:?}", store.reader().head());
    let set = store.commit(Seqno(2), changes).expect("nothing came between");
    let error =
        CommitError::Conflict { map: MapName::from_static(POINT), key: Box::from(&b"sesame"[..]) };
    printed += &format!("{set:?} {error:?} {error}");
    let bytes = set.encode(coco_kv::Domain::Private);
    printed += &format!("{:?}", coco_kv::WriteSetView::parse(&[], &bytes));
    for secret in ["sesame", "treasure", "115, 101", "116, 114", "736573", "747265"] {
        assert!(!printed.contains(secret), "{printed}");
    }
}
