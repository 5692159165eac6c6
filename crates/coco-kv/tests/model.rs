//! Random histories of a store against a model that keeps every version as a whole.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
};

use coco_kv::{
    ApplyError, CommitError, Domain, MapId, MapKind, MapName, MapSpec, RollbackError, Snapshot,
    Store, WriteSet, WriteSetView,
};
use coco_types::Seqno;
use proptest::prelude::*;

/// The maps: one of each kind, and one that the schema does not know.
const MAPS: [(&str, Option<MapKind>); 5] = [
    ("app.point", Some(MapKind::Point)),
    ("public:app.ordered", Some(MapKind::Ordered)),
    ("app.history", Some(MapKind::History)),
    ("public:app.ledger_only", Some(MapKind::LedgerOnly)),
    ("app.unknown", None),
];
const KEYS: u8 = 7;

type Write = (usize, u8, Option<u16>);

#[derive(Clone, Debug)]
enum Step {
    Commit(Vec<Write>),
    Apply(Vec<Write>),
    ApplyView(Vec<Write>),
    /// To so many versions below the newest.
    Rollback(u64),
    Compact(u64),
    Pin(u64),
    Unpin(usize),
}

/// Values of the maps that keep any, and entries of the history, as of one version.
#[derive(Clone, Default, PartialEq)]
struct State {
    values: BTreeMap<(usize, Vec<u8>), Vec<u8>>,
    history: BTreeSet<(Vec<u8>, Seqno)>,
}

struct Model {
    versions: BTreeMap<Seqno, State>,
    oldest: Seqno,
    newest: Seqno,
}

fn key(n: u8) -> Vec<u8> {
    // Of different lengths, one a prefix of another, one empty.
    vec![n / 2; usize::from(n % 4)]
}

fn writes() -> impl Strategy<Value = Vec<Write>> {
    prop::collection::vec(
        (0..MAPS.len(), 0..KEYS, prop::option::weighted(0.7, any::<u16>())),
        0..12,
    )
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => writes().prop_map(Step::Commit),
        2 => writes().prop_map(Step::Apply),
        2 => writes().prop_map(Step::ApplyView),
        2 => (0_u64..5).prop_map(Step::Rollback),
        2 => (0_u64..6).prop_map(Step::Compact),
        2 => (0_u64..6).prop_map(Step::Pin),
        1 => (0_usize..4).prop_map(Step::Unpin),
    ]
}

impl Model {
    fn new() -> Self {
        Self {
            versions: BTreeMap::from([(Seqno::ZERO, State::default())]),
            oldest: Seqno::ZERO,
            newest: Seqno::ZERO,
        }
    }

    fn write(&mut self, writes: &WriteSet) {
        let mut state = self.versions[&self.newest].clone();
        self.newest = self.newest.next();
        for (name, key, value) in writes.iter() {
            let map =
                MAPS.iter().position(|(map, _)| *map == name.as_str()).expect("one of the maps");
            match (MAPS[map].1, value) {
                (Some(MapKind::LedgerOnly), _) | (Some(MapKind::History), None) => {}
                (Some(MapKind::History), Some(_)) => {
                    assert!(state.history.insert((key.to_vec(), self.newest)));
                }
                (_, Some(value)) => drop(state.values.insert((map, key.to_vec()), value.to_vec())),
                (_, None) => drop(state.values.remove(&(map, key.to_vec()))),
            }
        }
        self.versions.insert(self.newest, state);
    }

    fn below_newest(&self, n: u64) -> Seqno {
        Seqno(self.newest.0.saturating_sub(n))
    }
}

fn schema() -> Vec<MapSpec> {
    MAPS.iter()
        .filter_map(|(name, kind)| Some(MapSpec::new(MapName::from_static(name), (*kind)?)))
        .collect()
}

fn write_set(writes: &[Write]) -> WriteSet {
    let mut set = WriteSet::new();
    for (map, n, value) in writes {
        let name = MapName::from_static(MAPS[*map].0);
        match value {
            Some(value) => set.insert(&name, &key(*n), value.to_le_bytes()),
            None => set.remove(&name, &key(*n)),
        }
    }
    set
}

/// The snapshot shows what the model holds for its version, in every way of reading.
fn check_snapshot(snapshot: &Snapshot, state: &State) {
    for (map, (name, kind)) in MAPS.iter().enumerate() {
        let Some(id) = snapshot.map(&MapName::from_static(name)) else {
            assert!(state.values.keys().all(|(of, _)| *of != map), "{name} is not there");
            continue;
        };
        for key in (0..KEYS).map(key) {
            let expected = state.values.get(&(map, key.clone())).map(Vec::as_slice);
            assert_eq!(
                snapshot.get(id, &key).as_deref(),
                expected,
                "{name} {key:?} at {}",
                snapshot.version()
            );
            if *kind == Some(MapKind::History) {
                let entries = state
                    .history
                    .iter()
                    .rev()
                    .filter(|(of, _)| *of == key)
                    .map(|(_, seqno)| *seqno);
                assert_eq!(
                    snapshot.locate(id, &key),
                    entries.collect::<Vec<_>>(),
                    "{name} {key:?}"
                );
            }
        }
        if matches!(kind, Some(MapKind::Ordered) | None) {
            check_ranges(snapshot, id, map, state);
        }
    }
}

fn expected_range(
    values: &BTreeMap<(usize, Vec<u8>), Vec<u8>>,
    map: usize,
    start: &[u8],
    end: Option<&[u8]>,
    limit: usize,
) -> Vec<(Vec<u8>, Vec<u8>)> {
    let from = Bound::Included((map, start.to_vec()));
    let found = values.range((from, Bound::Unbounded)).take_while(|((of, _), _)| *of == map);
    let found = found.filter(|((_, key), _)| end.is_none_or(|end| key.as_slice() < end));
    found.take(limit).map(|((_, key), value)| (key.clone(), value.clone())).collect()
}

fn plain(range: Vec<(Box<[u8]>, coco_kv::Value)>) -> Vec<(Vec<u8>, Vec<u8>)> {
    range.into_iter().map(|(key, value)| (key.to_vec(), value.to_vec())).collect()
}

fn check_ranges(snapshot: &Snapshot, id: MapId, map: usize, state: &State) {
    let ends: Vec<Option<Vec<u8>>> = (0..KEYS).map(|n| Some(key(n))).chain([None]).collect();
    for start in (0..KEYS).map(key) {
        for end in &ends {
            for limit in [0, 1, 2, usize::MAX] {
                let expected = expected_range(&state.values, map, &start, end.as_deref(), limit);
                assert_eq!(
                    plain(snapshot.range(id, &start, end.as_deref(), limit)),
                    expected,
                    "{start:?}..{end:?}"
                );
            }
        }
    }
}

/// Commits `writes` through a transaction that reads as it goes; hands back the write set.
fn commit(store: &mut Store, model: &Model, writes: &[Write]) -> WriteSet {
    let writes: Vec<Write> =
        writes.iter().filter(|(map, ..)| MAPS[*map].1.is_some()).copied().collect();
    let mut own = model.versions[&model.newest].values.clone();
    let mut tx = store.begin();
    for (map, n, value) in &writes {
        let (name, kind) = MAPS[*map];
        let id = tx.map(&MapName::from_static(name)).expect("the schema has it");
        if matches!(kind, Some(MapKind::Point | MapKind::Ordered)) {
            assert_eq!(
                tx.get(id, &key(*n)).as_deref(),
                own.get(&(*map, key(*n))).map(Vec::as_slice)
            );
        }
        match value {
            Some(value) => {
                tx.put(id, &key(*n), value.to_le_bytes());
                own.insert((*map, key(*n)), value.to_le_bytes().to_vec());
            }
            None => {
                tx.remove(id, &key(*n));
                own.remove(&(*map, key(*n)));
            }
        }
        if kind == Some(MapKind::Ordered) {
            for limit in [1, 2, 3, usize::MAX] {
                let found = plain(tx.range(id, &key(*n), None, limit));
                assert_eq!(found, expected_range(&own, *map, &key(*n), None, limit));
            }
        }
    }
    let changes = tx.finish();
    let made = store.commit(model.newest.next(), changes).expect("nothing came between");
    assert_eq!(made, write_set(&writes));
    made
}

/// Once only the newest version is retained, the store keeps what lives in it, and nothing else.
fn check_memory(store: &mut Store, model: &Model) {
    // What snapshots have held back is forgotten in parts of at least 16 versions.
    (0..=model.newest.0 / 16).for_each(|_| store.compact(model.newest));
    let state = &model.versions[&model.newest];
    for (map, (name, kind)) in MAPS.iter().enumerate() {
        let Some(id) = store.map(&MapName::from_static(name)) else { continue };
        let expected = match kind {
            Some(MapKind::History) => state.history.len(),
            _ => state.values.keys().filter(|(of, _)| *of == map).count(),
        };
        assert_eq!(store.kept(id), expected, "{name} keeps what lives, and nothing else");
    }
}

fn run(steps: &[Step]) {
    let mut store = Store::new(schema(), [3, 5]);
    let mut model = Model::new();
    let mut pins: Vec<Snapshot> = Vec::new();
    let reader = store.reader();
    for step in steps {
        match step {
            Step::Commit(writes) => {
                let made = commit(&mut store, &model, writes);
                model.write(&made);
            }
            Step::Apply(writes) => {
                let set = write_set(writes);
                store.apply(model.newest.next(), &set).expect("it is next");
                model.write(&set);
            }
            Step::ApplyView(writes) => {
                let set = write_set(writes);
                let (public, private) = (set.encode(Domain::Public), set.encode(Domain::Private));
                let view = WriteSetView::parse(&public, &private).expect("it was encoded just now");
                store.apply_view(model.newest.next(), &view).expect("it is next");
                model.write(&set);
            }
            Step::Rollback(n) => {
                let to = model.below_newest(*n);
                if to < model.oldest {
                    assert!(matches!(store.rollback(to), Err(RollbackError::NotRetained { .. })));
                    continue;
                }
                store.rollback(to).expect("it is in memory");
                model.versions.split_off(&to.next());
                model.newest = to;
                for snapshot in &pins {
                    assert_eq!(snapshot.is_torn(), snapshot.version() > to);
                }
                pins.retain(|snapshot| !snapshot.is_torn());
            }
            Step::Compact(n) => {
                let asked = model.below_newest(*n);
                store.compact(asked);
                let pinned = pins.iter().map(Snapshot::version).min().unwrap_or(asked);
                model.oldest = model.oldest.max(asked.min(pinned));
                model.versions = model.versions.split_off(&model.oldest);
            }
            Step::Pin(n) => match reader.snapshot(model.below_newest(*n)) {
                Ok(snapshot) => pins.push(snapshot),
                Err(error) => assert!(error.asked < model.oldest && error.newest == model.newest),
            },
            Step::Unpin(n) => {
                if !pins.is_empty() {
                    pins.swap_remove(n % pins.len());
                }
            }
        }
        assert_eq!((store.oldest(), store.version()), (model.oldest, model.newest));
        pins.iter()
            .for_each(|snapshot| check_snapshot(snapshot, &model.versions[&snapshot.version()]));
        for (version, state) in &model.versions {
            check_snapshot(&reader.snapshot(*version).expect("it is in memory"), state);
        }
    }
    pins.clear();
    check_memory(&mut store, &model);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_store_agrees_with_the_model(steps in prop::collection::vec(step(), 1..40)) {
        run(&steps);
    }
}

#[test]
fn versions_come_in_order() {
    let mut store = Store::new(schema(), [0, 0]);
    for found in [0, 2, u64::MAX].map(Seqno) {
        let expected = Seqno(1);
        assert_eq!(
            store.apply(found, &WriteSet::new()),
            Err(ApplyError::OutOfOrder { expected, found })
        );
        let changes = store.begin().finish();
        assert_eq!(store.commit(found, changes), Err(CommitError::OutOfOrder { expected, found }));
    }
    assert_eq!(
        store.rollback(Seqno(1)),
        Err(RollbackError::Ahead { to: Seqno(1), newest: Seqno(0) })
    );
    store.apply(Seqno(1), &WriteSet::new()).expect("it is next");
}

#[test]
fn a_write_set_cannot_add_maps_without_end() {
    let mut store = Store::new(schema(), [0, 0]);
    let mut set = WriteSet::new();
    for n in 0..coco_kv::MAPS_MAX {
        set.insert(&MapName::new(&format!("map.{n}")).expect("a name"), b"key", *b"value");
    }
    let maps = coco_kv::MAPS_MAX + schema().len();
    assert_eq!(store.apply(Seqno(1), &set), Err(ApplyError::TooManyMaps { maps }));
    assert_eq!(store.version(), Seqno::ZERO);
    assert_eq!(store.map(&MapName::from_static("map.0")), None);
}

#[test]
fn a_long_chain_of_one_key_is_read_and_dropped_at_any_version() {
    let name = MapName::from_static("app.point");
    let mut store = Store::new(schema(), [1, 2]);
    for n in 1..=100_000_u64 {
        let mut set = WriteSet::new();
        set.insert(&name, b"head", n.to_le_bytes());
        store.apply(Seqno(n), &set).expect("it is next");
    }
    let map = store.map(&name).expect("the schema has it");
    let read = |store: &Store, n: u64| store.reader().snapshot(Seqno(n)).ok()?.get(map, b"head");
    for n in [1, 2, 49_999, 99_999, 100_000_u64] {
        assert_eq!(read(&store, n).as_deref(), Some(&n.to_le_bytes()[..]));
    }
    store.rollback(Seqno(60_000)).expect("it is in memory");
    store.compact(Seqno(50_000));
    assert_eq!(read(&store, 49_999), None);
    for n in [50_000, 50_001, 60_000_u64] {
        assert_eq!(read(&store, n).as_deref(), Some(&n.to_le_bytes()[..]));
    }
}

/// A snapshot that was held for long leaves much to forget; the writer does a part of it at a time.
#[test]
fn what_a_snapshot_held_back_is_forgotten_in_parts() {
    let name = MapName::from_static(MAPS[0].0);
    let mut store = Store::new(schema(), [1, 2]);
    let map = store.map(&name).expect("it is in the schema");
    let held = store.reader().head();
    for seqno in 1..=200_u64 {
        let mut set = WriteSet::new();
        set.insert(&name, &seqno.to_le_bytes(), *b"value");
        set.remove(&name, &(seqno - 1).to_le_bytes());
        store.apply(Seqno(seqno), &set).expect("it is next");
        store.compact(Seqno(seqno));
    }
    assert_eq!((store.kept(map), store.oldest()), (200, Seqno::ZERO));
    drop(held);
    let mut kept = vec![200];
    while *kept.last().expect("there is one") > 1 {
        store.compact(Seqno(200));
        assert_eq!(store.oldest(), Seqno(200), "at once nobody reads them any more");
        kept.push(store.kept(map));
        assert!(kept.len() < 20, "{kept:?}");
    }
    assert!(kept.len() > 5, "{kept:?}");
    assert_eq!(
        store.reader().head().get(map, &200_u64.to_le_bytes()).as_deref(),
        Some(&b"value"[..])
    );
}
