//! The store under transactions that overlap, against a model.
//!
//! The replica is the only writer of its store and executes on the newest version, so in a simulated network nothing that a
//! batch reads is ever written before the batch is. What the store promises when it is, and what it promises to readers of
//! older versions, is tried here: transactions begin, wait and are committed in any order, among roll-backs and
//! compactions.

use std::collections::{BTreeMap, BTreeSet};

use coco_kv::{Changes, CommitError, MapId, MapKind, MapName, MapSpec, Reader, Store};
use coco_types::Seqno;

use crate::dice::Dice;

/// Steps of one run.
const STEPS: usize = 80;
/// Transactions that wait at once.
const WAITING_MAX: usize = 4;
/// Keys of each map: few, so that transactions meet.
const KEYS: u64 = 5;

/// What a map holds at one version.
type Content = BTreeMap<u8, u64>;

/// What is at one version.
#[derive(Clone, Debug, Default)]
struct State {
    /// Of the point map, then of the ordered one.
    maps: [Content; 2],
    /// In which version each key was last written or removed.
    written: [BTreeMap<u8, u64>; 2],
    /// The versions that wrote each key of the history map, newest first.
    history: BTreeMap<u8, Vec<u64>>,
}

/// What a transaction asked, and heard.
#[derive(Debug)]
enum Read {
    Get(usize, u8, Option<u64>),
    Range(u8, u8, Vec<(u8, u64)>),
    Locate(u8, Vec<u64>),
}

#[derive(Debug)]
struct Waiting {
    base: usize,
    reads: Vec<Read>,
    writes: Vec<(usize, u8, Option<u64>)>,
    noted: Option<u8>,
    changes: Changes,
}

struct Trial {
    store: Store,
    maps: [MapId; 2],
    history: MapId,
    /// By version.
    states: Vec<State>,
    waiting: Vec<Waiting>,
    stamp: u64,
}

/// Tries the store once.
///
/// # Panics
/// When it breaks a promise.
pub fn run(dice: &mut Dice) {
    let names = ["app.point", "app.ordered", "app.history"].map(MapName::from_static);
    let kinds = [MapKind::Point, MapKind::Ordered, MapKind::History];
    let schema = names.iter().zip(kinds).map(|(name, kind)| MapSpec::new(name.clone(), kind));
    let store = Store::new(schema.collect(), [dice.bits(), dice.bits()]);
    let [point, ordered, history] =
        names.map(|name| store.map(&name).expect("it is in the schema"));
    let states = vec![State::default()];
    let mut trial =
        Trial { store, maps: [point, ordered], history, states, waiting: Vec::new(), stamp: 0 };
    for _ in 0..STEPS {
        match dice.below(10) {
            0..4 if trial.waiting.len() < WAITING_MAX => trial.begin(dice),
            0..8 if !trial.waiting.is_empty() => trial.commit(dice),
            8 => trial.roll_back(dice),
            9 => trial.compact(dice),
            _ => {}
        }
        trial.look(dice);
    }
}

impl Trial {
    fn newest(&self) -> usize {
        self.states.len() - 1
    }

    fn begin(&mut self, dice: &mut Dice) {
        let mut tx = self.store.begin();
        let base = self.states.len() - 1;
        let mut reads = Vec::new();
        for _ in 0..dice.below(3) {
            let (map, key) = (dice.place(2), draw_key(dice));
            if dice.per_mille(200) {
                let found = tx.locate(self.history, &[key]).iter().map(|at| at.0).collect();
                reads.push(Read::Locate(key, found));
            } else if dice.per_mille(300) {
                let (start, end) = (key, draw_key(dice) + 1);
                let found = tx.range(self.maps[1], &[start], Some(&[end]), 3);
                let found = found.iter().map(|(key, value)| (key[0], number(value))).collect();
                reads.push(Read::Range(start, end, found));
            } else {
                let found = tx.get(self.maps[map], &[key]).map(|value| number(&value));
                reads.push(Read::Get(map, key, found));
            }
        }
        let mut writes = Vec::new();
        for _ in 0..=dice.below(2) {
            let (map, key) = (dice.place(2), draw_key(dice));
            self.stamp += 1;
            let value = (!dice.per_mille(300)).then_some(self.stamp);
            match value {
                Some(value) => tx.put(self.maps[map], &[key], value.to_le_bytes()),
                None => tx.remove(self.maps[map], &[key]),
            }
            writes.push((map, key, value));
        }
        let noted = dice.per_mille(500).then(|| draw_key(dice));
        if let Some(key) = noted {
            tx.put(self.history, &[key], [0]);
        }
        let changes = tx.finish();
        for read in &reads {
            assert!(self.states[base].agrees(read), "a transaction at {base} hears {read:?}");
        }
        self.waiting.push(Waiting { base, reads, writes, noted, changes });
    }

    fn commit(&mut self, dice: &mut Dice) {
        let Waiting { base, reads, writes, noted, changes } =
            self.waiting.swap_remove(dice.place(self.waiting.len()));
        let newest = self.newest();
        match self.store.commit(Seqno(newest as u64 + 1), changes) {
            Ok(_) => {
                let state = &self.states[newest];
                for read in &reads {
                    assert!(
                        state.agrees(read),
                        "a transaction at {base} was committed after {newest} and heard {read:?}"
                    );
                }
                let next = state.after(newest as u64 + 1, &writes, noted);
                self.states.push(next);
            }
            Err(CommitError::Conflict { .. }) => {
                let state = &self.states[newest];
                let is_true = reads.iter().any(|read| state.wrote_since(base as u64, read));
                assert!(is_true, "a transaction at {base} is refused for what nobody wrote");
            }
            Err(CommitError::RolledBack { base: torn }) => {
                assert_eq!(torn, Seqno(base as u64), "it names what was rolled back");
            }
            Err(other @ (CommitError::KeyTooLong { .. } | CommitError::OutOfOrder { .. })) => {
                panic!("a short key in the next version is refused: {other}");
            }
        }
    }

    fn roll_back(&mut self, dice: &mut Dice) {
        let oldest = self.oldest();
        let to = oldest + dice.place(self.states.len() - oldest);
        self.store.rollback(Seqno(to as u64)).expect("it is retained");
        self.states.truncate(to + 1);
    }

    fn oldest(&self) -> usize {
        usize::try_from(self.store.oldest().0).expect("a short history")
    }

    fn compact(&mut self, dice: &mut Dice) {
        let oldest = self.oldest();
        self.store.compact(Seqno((oldest + dice.place(self.states.len() - oldest)) as u64));
    }

    /// Compares some version that is retained with the model.
    fn look(&self, dice: &mut Dice) {
        let oldest = self.oldest();
        let at = oldest + dice.place(self.states.len() - oldest);
        let state = &self.states[at];
        let reader: Reader = self.store.reader();
        let snapshot = reader.snapshot(Seqno(at as u64)).expect("it is retained");
        for (map, content) in self.maps.iter().zip(&state.maps) {
            for key in all_keys() {
                let found = snapshot.get(*map, &[key]).map(|value| number(&value));
                assert_eq!(found, content.get(&key).copied(), "key {key} at version {at}");
            }
        }
        for key in all_keys() {
            let found: Vec<u64> =
                snapshot.locate(self.history, &[key]).iter().map(|at| at.0).collect();
            assert_eq!(found, state.located(key), "where {key} was written, at version {at}");
        }
        let found: Content = snapshot
            .range(self.maps[1], &[], None, usize::MAX)
            .iter()
            .map(|(key, value)| (key[0], number(value)))
            .collect();
        assert_eq!(found, state.maps[1], "the ordered map at version {at}");
    }
}

impl State {
    /// Whether a question would have the same answer here.
    fn agrees(&self, read: &Read) -> bool {
        match read {
            Read::Get(map, key, found) => self.maps[*map].get(key) == found.as_ref(),
            Read::Range(start, end, found) => {
                let now = self.maps[1].iter().filter(|(key, _)| (*start..*end).contains(*key));
                now.take(3).map(|(key, value)| (*key, *value)).eq(found.iter().copied())
            }
            Read::Locate(key, found) => self.located(*key) == found,
        }
    }

    fn located(&self, key: u8) -> &[u64] {
        self.history.get(&key).map_or(&[], Vec::as_slice)
    }

    /// Whether something that the question is about was written after `base`.
    fn wrote_since(&self, base: u64, read: &Read) -> bool {
        let (map, keys) = match read {
            Read::Locate(key, _) => return self.located(*key).first().is_some_and(|at| *at > base),
            Read::Get(map, key, _) => (*map, *key..key + 1),
            Read::Range(start, end, _) => (1, *start..*end),
        };
        self.written[map].iter().any(|(key, at)| keys.contains(key) && *at > base)
    }

    fn after(&self, version: u64, writes: &[(usize, u8, Option<u64>)], noted: Option<u8>) -> Self {
        let mut next = self.clone();
        if let Some(key) = noted {
            next.history.entry(key).or_default().insert(0, version);
        }
        let touched: BTreeSet<(usize, u8)> =
            writes.iter().map(|(map, key, _)| (*map, *key)).collect();
        for (map, key, value) in writes {
            match value {
                Some(value) => drop(next.maps[*map].insert(*key, *value)),
                None => drop(next.maps[*map].remove(key)),
            }
        }
        for (map, key) in touched {
            next.written[map].insert(key, version);
        }
        next
    }
}

fn draw_key(dice: &mut Dice) -> u8 {
    u8::try_from(dice.below(KEYS)).expect("few keys")
}

fn all_keys() -> impl Iterator<Item = u8> {
    (0..KEYS).map(|key| u8::try_from(key).expect("few keys"))
}

fn number(value: &[u8]) -> u64 {
    u64::from_le_bytes(value.try_into().expect("values are eight bytes"))
}
