//! Readers and transactions on other threads while the writer goes on.

use std::{
    sync::{
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread,
};

use coco_kv::{
    Changes, CommitError, MapId, MapKind, MapName, MapSpec, Reader, Snapshot, Store, WriteSet,
};
use coco_types::Seqno;

const KEYS: u64 = 40;

fn store() -> (Store, MapId, MapId) {
    let names = ["app.point", "app.ordered"].map(MapName::from_static);
    let [point, ordered] = names.clone();
    let schema = vec![MapSpec::new(point, MapKind::Point), MapSpec::new(ordered, MapKind::Ordered)];
    let store = Store::new(schema, [7, 9]);
    let [point, ordered] = names.map(|name| store.map(&name).expect("the schema has it"));
    (store, point, ordered)
}

/// A version writes its stamp, which no other version and no other attempt at this version has, under every key.
fn stamped(stamp: u64) -> WriteSet {
    let mut set = WriteSet::new();
    for name in ["app.point", "app.ordered"].map(MapName::from_static) {
        (0..KEYS).for_each(|key| set.insert(&name, &key.to_be_bytes(), stamp.to_le_bytes()));
    }
    set
}

/// The stamps that a snapshot sees; one, if it sees one version.
fn stamps(snapshot: &Snapshot, point: MapId, ordered: MapId) -> Vec<u64> {
    let number = |value: &[u8]| u64::from_le_bytes(value.try_into().expect("eight bytes"));
    let mut stamps: Vec<u64> = (0..KEYS)
        .map(|key| snapshot.get(point, &key.to_be_bytes()).map_or(0, |value| number(&value)))
        .chain(
            snapshot.range(ordered, &[], None, usize::MAX).iter().map(|(_, value)| number(value)),
        )
        .collect();
    stamps.dedup();
    stamps
}

/// Reads until told to stop; counts what it saw.
fn read(reader: &Reader, point: MapId, ordered: MapId, stop: &AtomicBool) -> [u64; 2] {
    let (mut whole, mut torn, mut turn) = (0, 0, 0_u64);
    while !stop.load(Ordering::Relaxed) {
        turn += 1;
        let (oldest, newest) = (reader.oldest().0, reader.version().0);
        let asked = oldest + turn % (newest.saturating_sub(oldest) + 1);
        let snapshot =
            if turn.is_multiple_of(2) { Ok(reader.head()) } else { reader.snapshot(Seqno(asked)) };
        let Ok(snapshot) = snapshot else { continue };
        let (first, second) =
            (stamps(&snapshot, point, ordered), stamps(&snapshot.clone(), point, ordered));
        if snapshot.is_torn() {
            torn += 1;
        } else {
            assert!(
                first.len() == 1 && first == second,
                "{snapshot:?} shows {first:?}, then {second:?}"
            );
            whole += 1;
        }
    }
    [whole, torn]
}

/// Tells the readers to stop, also when the writer fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_snapshot_shows_one_version_while_the_writer_goes_on() {
    let (mut store, point, ordered) = store();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let readers: Vec<_> = (0..3)
            .map(|_| {
                let reader = store.reader();
                let stop = &stop;
                scope.spawn(move || read(&reader, point, ordered, stop))
            })
            .collect();
        let stopping = Stop(&stop);
        for stamp in 1..6_000_u64 {
            store.apply(store.version().next(), &stamped(stamp)).expect("it is next");
            if stamp % 50 == 49 {
                let to = store.oldest().max(Seqno(store.version().0.saturating_sub(stamp % 13)));
                store.rollback(to).expect("it is in memory");
            }
            if stamp % 3 == 0 {
                store.compact(Seqno(store.version().0.saturating_sub(20)));
            }
        }
        drop(stopping);
        let seen: Vec<[u64; 2]> =
            readers.into_iter().map(|reader| reader.join().expect("no reader failed")).collect();
        assert!(seen.iter().all(|[whole, _]| *whole > 0), "every reader saw something: {seen:?}");
    });
    store.compact(store.version());
    assert_eq!(store.kept(point), usize::try_from(KEYS).expect("small"));
}

#[test]
fn increments_from_many_threads_are_all_there() {
    const THREADS: u64 = 4;
    const EACH: u64 = 300;
    let (mut store, point, _) = store();
    let (send, receive) = mpsc::sync_channel::<(Changes, mpsc::SyncSender<bool>)>(8);
    let conflicts = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            let (reader, send, conflicts) = (store.reader(), send.clone(), &conflicts);
            scope.spawn(move || {
                let mut done = 0;
                while done < EACH {
                    let mut tx = reader.begin();
                    let before = tx.get(point, b"count").map_or(0, |value| {
                        u64::from_le_bytes((*value).try_into().expect("eight bytes"))
                    });
                    tx.put(point, b"count", (before + 1).to_le_bytes());
                    let (answer, committed) = mpsc::sync_channel(1);
                    send.send((tx.finish(), answer)).expect("the writer listens");
                    if committed.recv().expect("the writer answers") {
                        done += 1;
                    } else {
                        conflicts.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        drop(send);
        for (changes, answer) in receive {
            let committed = match store.commit(store.version().next(), changes) {
                Ok(_) => true,
                Err(CommitError::Conflict { .. }) => false,
                Err(other) => panic!("{other}"),
            };
            answer.send(committed).expect("the thread waits");
            store.compact(store.version());
        }
    });
    let count = store.reader().head().get(point, b"count").expect("it was written");
    assert_eq!(*count, (THREADS * EACH).to_le_bytes());
    assert_eq!(store.version(), Seqno(THREADS * EACH));
}

#[test]
fn a_snapshot_holds_its_version_against_compaction() {
    let (mut store, point, ordered) = store();
    for stamp in 1..=10 {
        store.apply(Seqno(stamp), &stamped(stamp)).expect("it is next");
    }
    let held = store.reader().snapshot(Seqno(4)).expect("it is in memory");
    let again = held.clone();
    store.compact(Seqno(9));
    assert_eq!((store.oldest(), store.reader().oldest()), (Seqno(4), Seqno(4)));
    drop(held);
    store.compact(Seqno(9));
    assert_eq!(stamps(&again, point, ordered), [4]);
    assert_eq!(store.reader().snapshot(Seqno(3)).expect_err("it was compacted").oldest, Seqno(4));
    drop(again);
    store.compact(Seqno(9));
    assert_eq!(store.oldest(), Seqno(9));
    assert!(store.reader().snapshot(Seqno(11)).is_err());
}

#[test]
fn a_torn_snapshot_lets_go_of_nothing_that_another_holds() {
    let (mut store, point, ordered) = store();
    store.apply(Seqno(1), &stamped(1)).expect("it is next");
    let torn = store.reader().head();
    store.rollback(Seqno(0)).expect("it is in memory");
    assert!(torn.is_torn());
    store.apply(Seqno(1), &stamped(10)).expect("it is next");
    let held = store.reader().head();
    assert!(!held.is_torn());
    drop(torn);
    store.apply(Seqno(2), &stamped(20)).expect("it is next");
    store.compact(Seqno(2));
    assert_eq!((store.oldest(), stamps(&held, point, ordered)), (Seqno(1), vec![10]));
}
