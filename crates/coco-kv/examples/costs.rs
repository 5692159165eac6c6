//! What the operations of a store cost: `cargo run --release -p coco-kv --example kv-costs [KEYS]`.
//!
//! The shape is that of a busy ledger: keys of 52 bytes, values of 72, versions of two thousand writes, some dozens of
//! versions retained.
#![expect(clippy::print_stdout, reason = "it prints a table")]

use std::{
    collections::HashMap,
    hint::black_box,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use coco_kv::{
    Changes, Domain, MapId, MapKind, MapName, MapSpec, Snapshot, StateImage, Store, Value,
    WriteSet, WriteSetView,
};
use coco_types::Seqno;
use peak_alloc::PeakAlloc;

/// Counts the bytes that are in use.
#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

const WRITES: u64 = 2_000;
const VERSIONS: u64 = 100;
const RETAINED: u64 = 50;

/// A sequence that jumps about; the same in every run.
struct Jumps(u64);

impl Jumps {
    const fn next(&mut self) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }
}

fn key(n: u64) -> [u8; 52] {
    let mut key = [0; 52];
    let mixed = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    key[..8].copy_from_slice(&mixed.to_be_bytes());
    key[44..].copy_from_slice(&n.to_be_bytes());
    key
}

struct Bench {
    store: Store,
    keys: u64,
    point: MapId,
    ordered: MapId,
    jumps: Jumps,
}

fn per(what: &str, operations: u64, run: impl FnOnce()) {
    let start = Instant::now();
    run();
    let nanos = start.elapsed().as_nanos() / u128::from(operations.max(1));
    println!("{what:<58}{nanos:>8} ns");
}

impl Bench {
    fn new(keys: u64) -> Self {
        let spec = |name, kind| MapSpec::new(MapName::from_static(name), kind);
        let store = Store::new(
            vec![spec("point", MapKind::Point), spec("ordered", MapKind::Ordered)],
            [1, 2],
        );
        let [point, ordered] = ["point", "ordered"]
            .map(|name| store.map(&MapName::from_static(name)).expect("the schema has it"));
        Self { store, keys, point, ordered, jumps: Jumps(1) }
    }

    fn write_set(&mut self, name: &'static str) -> WriteSet {
        let (name, mut set) = (MapName::from_static(name), WriteSet::new());
        for _ in 0..WRITES {
            let n = self.jumps.next();
            set.insert(&name, &key(n % self.keys), [n.to_le_bytes()[0]; 72]);
        }
        set
    }

    fn fill(&mut self) {
        let before = MEMORY.current_usage() as u64;
        let mut next = 0;
        while next < self.keys {
            let mut set = WriteSet::new();
            for name in ["point", "ordered"].map(MapName::from_static) {
                (next..next + WRITES).for_each(|n| set.insert(&name, &key(n), [7; 72]));
            }
            next += WRITES;
            self.store.apply(self.store.version().next(), &set).expect("it is next");
            self.store.compact(self.store.version());
        }
        let bytes = MEMORY.current_usage() as u64 - before;
        println!(
            "{:<58}{:>8} bytes",
            "one key of 52 bytes with a value of 72, twice",
            bytes / self.keys
        );
    }

    fn transactions(&mut self, what: &str, map: MapId) {
        let mut touched = Vec::new();
        let [mut reading, mut writing, mut finishing, mut committing, mut compacting] = [0_u128; 5];
        for _ in 0..VERSIONS {
            touched.clear();
            touched.extend((0..WRITES).map(|_| key(self.jumps.next() % self.keys)));
            let start = Instant::now();
            let mut tx = self.store.begin();
            touched.iter().for_each(|key| drop(black_box(tx.get(map, key))));
            reading += start.elapsed().as_nanos();
            let start = Instant::now();
            touched.iter().for_each(|key| tx.put(map, key, [9; 72]));
            writing += start.elapsed().as_nanos();
            let start = Instant::now();
            let changes: Changes = tx.finish();
            finishing += start.elapsed().as_nanos();
            let start = Instant::now();
            drop(
                self.store
                    .commit(self.store.version().next(), changes)
                    .expect("nothing came between"),
            );
            committing += start.elapsed().as_nanos();
            let start = Instant::now();
            self.store.compact(Seqno(self.store.version().0.saturating_sub(RETAINED)));
            compacting += start.elapsed().as_nanos();
        }
        for (part, nanos) in [
            ("get, first of a key in a transaction", reading),
            ("put, of a key that was read", writing),
            ("finish, per write", finishing),
            ("commit, per write", committing),
            ("compact, per dropped write", compacting),
        ] {
            println!(
                "{:<58}{:>8} ns",
                format!("{what}: {part}"),
                nanos / u128::from(VERSIONS * WRITES)
            );
        }
    }

    /// What a hash table without versions and locks costs on this machine, now.
    fn baseline(&mut self) {
        let map: HashMap<Box<[u8]>, Value> =
            (0..self.keys).map(|n| (Box::from(key(n)), Value::from([7; 72]))).collect();
        per("for comparison: get of a plain std HashMap", 1 << 20, || {
            for _ in 0..1 << 20 {
                black_box(map.get(&key(self.jumps.next() % self.keys)[..]).cloned());
            }
        });
    }

    fn snapshots(&mut self, what: &str, map: MapId) {
        let reader = self.store.reader();
        for (when, version) in [("newest", self.store.version()), ("oldest", self.store.oldest())] {
            let snapshot = reader.snapshot(version).expect("it is in memory");
            per(
                &format!("{what}: snapshot get at the {when} of {RETAINED} versions"),
                1 << 20,
                || {
                    for _ in 0..1 << 20 {
                        black_box(snapshot.get(map, &key(self.jumps.next() % self.keys)));
                    }
                },
            );
        }
    }

    fn applies(&mut self, what: &str, name: &'static str) {
        let sets: Vec<WriteSet> = (0..VERSIONS).map(|_| self.write_set(name)).collect();
        let bytes: Vec<Vec<u8>> = sets.iter().map(|set| set.encode(Domain::Private)).collect();
        per(&format!("{what}: encode, per write"), VERSIONS * WRITES, || {
            sets.iter().for_each(|set| drop(black_box(set.encode(Domain::Private))));
        });
        per(&format!("{what}: apply, per write"), VERSIONS * WRITES, || {
            for set in &sets {
                self.store.apply(self.store.version().next(), set).expect("it is next");
            }
        });
        let to = Seqno(self.store.version().0 - VERSIONS);
        per(
            &format!("{what}: roll {VERSIONS} versions back, per write"),
            VERSIONS * WRITES,
            || {
                self.store.rollback(to).expect("it is in memory");
            },
        );
        per(&format!("{what}: decode in place and apply, per write"), VERSIONS * WRITES, || {
            for bytes in &bytes {
                let view = WriteSetView::parse(&[], bytes).expect("it was encoded here");
                self.store.apply_view(self.store.version().next(), &view).expect("it is next");
            }
        });
    }

    /// The writer's pace while another thread reads as fast as it can.
    fn contended(&mut self) {
        let sets: Vec<WriteSet> = (0..VERSIONS).map(|_| self.write_set("point")).collect();
        let (stop, reader, keys, map) =
            (AtomicBool::new(false), self.store.reader(), self.keys, self.point);
        thread::scope(|scope| {
            let reading = scope.spawn(|| {
                let (mut reads, mut jumps) = (0_u64, Jumps(3));
                while !stop.load(Ordering::Relaxed) {
                    let head = reader.head();
                    for _ in 0..100 {
                        black_box(head.get(map, &key(jumps.next() % keys)));
                    }
                    reads += 100;
                }
                reads
            });
            let start = Instant::now();
            per("point: apply beside a reader, per write", VERSIONS * WRITES, || {
                for set in &sets {
                    self.store.apply(self.store.version().next(), set).expect("it is next");
                    self.store.compact(Seqno(self.store.version().0.saturating_sub(RETAINED)));
                }
            });
            let elapsed = start.elapsed().as_nanos();
            stop.store(true, Ordering::Relaxed);
            let reads = reading.join().expect("the reader does not fail");
            println!(
                "{:<58}{:>8} ns",
                "point: snapshot get beside the writer",
                elapsed / u128::from(reads.max(1))
            );
        });
    }
}

impl Bench {
    /// The image of a version: made, made while the writer goes on, and a store from it.
    fn image(&mut self) {
        let version = self.store.version();
        let encode = |snapshot: &Snapshot| {
            [Domain::Public, Domain::Private]
                .map(|domain| snapshot.encode(domain, &WriteSet::new()))
        };
        let snapshot = self.store.reader().head();
        let mut images = [Vec::new(), Vec::new()];
        per("the image, a key (two maps)", self.keys * 2, || images = encode(&snapshot));
        drop(snapshot);
        let [public, private] = &images;
        per("a store from the image, a key", self.keys * 2, || {
            let public = StateImage::parse(public, Domain::Public, version).expect("an image");
            let private = StateImage::parse(private, Domain::Private, version).expect("an image");
            let schema = ["point", "ordered"].map(MapName::from_static);
            let kinds = [MapKind::Point, MapKind::Ordered];
            let schema = schema.into_iter().zip(kinds).map(|(name, kind)| MapSpec::new(name, kind));
            drop(Store::restore(schema.collect(), version, &public, &private).expect("it fits"));
        });
        let bytes = public.len() + private.len();
        println!("{:<58}{bytes:>8} bytes", "the image");

        let mut alone = Vec::new();
        for _ in 0..VERSIONS {
            alone.push(self.timed_apply());
        }
        let snapshot = self.store.reader().head();
        let thread = thread::spawn(move || {
            let start = Instant::now();
            black_box(encode(&snapshot));
            start.elapsed()
        });
        let mut beside = Vec::new();
        while !thread.is_finished() {
            beside.push(self.timed_apply());
        }
        let took = thread.join().expect("it does not panic");
        let caught_up = self.timed_apply();
        let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
        println!("{:<58}{:>8.0} ms", "an image, made while the writer goes on", ms(took));
        for (what, mut times) in [("alone", alone), ("beside the image", beside)] {
            times.sort_unstable();
            let at = |per_mille: usize| {
                times.get(times.len() * per_mille / 1000).map_or(0.0, |t| ms(*t))
            };
            println!(
                "a version of {WRITES} writes, {what}: p50 {:.1} p99 {:.1} max {:.1} ms, {} times",
                at(500),
                at(990),
                at(999),
                times.len()
            );
        }
        println!("{:<58}{:>8.1} ms", "to forget the versions of meanwhile", ms(caught_up));
    }

    /// How long it takes to write a version and to forget the one before, if nobody reads it.
    fn timed_apply(&mut self) -> Duration {
        let set = self.write_set("point");
        let start = Instant::now();
        self.store.apply(self.store.version().next(), &set).expect("it is next");
        self.store.compact(self.store.version());
        start.elapsed()
    }
}

fn history(items: u64) {
    let name = MapName::from_static("history");
    let mut store = Store::new(vec![MapSpec::new(name.clone(), MapKind::History)], [1, 2]);
    let sets = items / WRITES;
    let before = MEMORY.current_usage() as u64;
    let mut nanos = 0;
    for at in 0..sets {
        let mut set = WriteSet::new();
        (at * WRITES..(at + 1) * WRITES).for_each(|n| set.insert(&name, &key(n), [7; 8]));
        let start = Instant::now();
        store.apply(Seqno(at + 1), &set).expect("it is next");
        store.compact(Seqno(at + 1));
        nanos += start.elapsed().as_nanos();
    }
    let bytes = MEMORY.current_usage() as u64 - before;
    println!(
        "{:<58}{:>8} ns",
        format!("history: insert into {items} items"),
        nanos / u128::from(sets * WRITES)
    );
    println!(
        "{:<58}{:>8.1} bytes",
        format!("history: one of {items} items"),
        bytes as f64 / items as f64
    );
    let (map, head, mut jumps) =
        (store.map(&name).expect("the schema has it"), store.reader().head(), Jumps(1));
    per("history: locate", 1 << 20, || {
        for _ in 0..1 << 20 {
            assert!(!head.locate(map, &key(jumps.next() % (sets * WRITES))).is_empty());
        }
    });
}

fn main() {
    let keys = std::env::args().nth(1).and_then(|keys| keys.parse().ok()).unwrap_or(500_000);
    let mut bench = Bench::new(keys);
    bench.fill();
    per("a snapshot of the newest version, made and dropped", 1 << 20, || {
        let reader = bench.store.reader();
        (0..1 << 20).for_each(|_| drop(black_box(reader.head())));
    });
    bench.image();
    bench.baseline();
    for (what, map) in [("point", bench.point), ("ordered", bench.ordered)] {
        bench.transactions(what, map);
        bench.snapshots(what, map);
        bench.applies(what, if what == "point" { "point" } else { "ordered" });
        bench.store.compact(bench.store.version());
    }
    bench.contended();
    // A table is at its fullest just before it doubles, and at its emptiest just after.
    history(1_800_000);
    history(2_000_000);
}
