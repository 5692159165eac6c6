//! The versions of one key.

use std::collections::VecDeque;

use coco_types::Seqno;

use crate::{Key, Value};

/// One version of a key: a value, or its removal.
struct Version {
    seqno: Seqno,
    value: Option<Value>,
}

/// The versions of one key, ascending without repetition. Most keys have one, and pay for one; a key that every entry
/// writes has as many as are retained, and pays for a search instead of a walk.
pub(crate) struct Cell {
    newest: Version,
    older: Option<Box<Older>>,
}

enum Older {
    One(Version),
    Many(VecDeque<Version>),
}

/// A key with its value as of some version, and the version in which it was written.
pub(crate) struct Visible {
    pub(crate) key: Key,
    pub(crate) seqno: Seqno,
    pub(crate) value: Value,
}

impl Visible {
    pub(crate) fn of(key: &Key, cell: &Cell, at: Seqno) -> Option<Self> {
        let (seqno, value) = cell.version_at(at)?;
        Some(Self { key: Key::clone(key), seqno, value: Value::clone(value) })
    }
}

impl Cell {
    pub(crate) const fn new(seqno: Seqno, value: Option<Value>) -> Self {
        Self { newest: Version { seqno, value }, older: None }
    }

    /// The version in which the key was last written.
    pub(crate) const fn newest(&self) -> Seqno {
        self.newest.seqno
    }

    /// Whether the newest version is a removal.
    pub(crate) const fn is_removed(&self) -> bool {
        self.newest.value.is_none()
    }

    /// The value as of `seqno`.
    pub(crate) fn at(&self, seqno: Seqno) -> Option<&Value> {
        self.version_at(seqno).map(|(_, value)| value)
    }

    /// The value as of `seqno`, and the version in which it was written.
    pub(crate) fn version_at(&self, seqno: Seqno) -> Option<(Seqno, &Value)> {
        let version = if self.newest.seqno <= seqno {
            &self.newest
        } else {
            match self.older.as_deref()? {
                Older::One(version) if version.seqno <= seqno => version,
                Older::One(_) => return None,
                Older::Many(versions) => {
                    let above = versions.partition_point(|version| version.seqno <= seqno);
                    versions.get(above.checked_sub(1)?)?
                }
            }
        };
        version.value.as_ref().map(|value| (version.seqno, value))
    }

    /// Adds a version above all others, and says how many bytes the value below it has.
    pub(crate) fn push(&mut self, seqno: Seqno, value: Option<Value>) -> usize {
        assert!(self.newest.seqno < seqno, "versions of a key ascend");
        let before = std::mem::replace(&mut self.newest, Version { seqno, value });
        let bytes = before.value.as_ref().map_or(0, |value| value.len());
        match self.older.as_deref_mut() {
            None => self.older = Some(Box::new(Older::One(before))),
            Some(older @ Older::One(_)) => {
                let Older::One(first) =
                    std::mem::replace(older, Older::Many(VecDeque::with_capacity(4)))
                else {
                    unreachable!("it was one version");
                };
                if let Older::Many(versions) = older {
                    versions.extend([first, before]);
                }
            }
            Some(Older::Many(versions)) => versions.push_back(before),
        }
        bytes
    }

    /// Forgets the versions above `to`. False when none is left.
    #[must_use]
    pub(crate) fn rollback(&mut self, to: Seqno) -> bool {
        while self.newest.seqno > to {
            let before = match self.older.as_deref_mut() {
                None => return false,
                Some(Older::Many(versions)) => versions.pop_back(),
                Some(Older::One(_)) => match self.older.take().map(|older| *older) {
                    Some(Older::One(version)) => Some(version),
                    _ => None,
                },
            };
            match before {
                Some(before) => self.newest = before,
                None => self.older = None,
            }
        }
        self.drop_empty();
        true
    }

    /// Forgets the versions that no reader at `oldest` or above can see. False when nothing is left to see.
    #[must_use]
    pub(crate) fn compact(&mut self, oldest: Seqno) -> bool {
        if self.newest.seqno <= oldest {
            self.older = None;
            return self.newest.value.is_some();
        }
        match self.older.as_deref_mut() {
            Some(Older::One(version)) if version.seqno <= oldest && version.value.is_none() => {
                self.older = None;
            }
            Some(Older::Many(versions)) => {
                while versions.get(1).is_some_and(|second| second.seqno <= oldest) {
                    versions.pop_front();
                }
                if versions
                    .front()
                    .is_some_and(|first| first.seqno <= oldest && first.value.is_none())
                {
                    versions.pop_front();
                }
            }
            _ => {}
        }
        self.drop_empty();
        true
    }

    fn drop_empty(&mut self) {
        if matches!(self.older.as_deref(), Some(Older::Many(versions)) if versions.is_empty()) {
            self.older = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(n: u64) -> Option<Value> {
        Some(Value::from(n.to_le_bytes()))
    }

    fn cell(seqnos: impl IntoIterator<Item = u64>) -> Cell {
        let mut seqnos = seqnos.into_iter();
        let first = seqnos.next().expect("at least one version");
        let mut cell = Cell::new(Seqno(first), value(first));
        for seqno in seqnos {
            cell.push(Seqno(seqno), value(seqno));
        }
        cell
    }

    #[test]
    fn each_version_is_seen_from_its_seqno_on() {
        for n in 1..6 {
            let cell = cell((1..=n).map(|i| i * 10));
            assert_eq!(cell.at(Seqno(9)), None);
            for seqno in 10..(n + 1) * 10 {
                assert_eq!(
                    cell.at(Seqno(seqno)).cloned(),
                    value(seqno / 10 * 10),
                    "{n} versions, {seqno}"
                );
            }
        }
    }

    #[test]
    fn rollback_uncovers_what_was_below() {
        for to in 10..60 {
            let mut cell = cell([10, 20, 30, 40, 50]);
            assert!(cell.rollback(Seqno(to)));
            assert_eq!(cell.newest(), Seqno((to / 10 * 10).min(50)));
        }
        assert!(!cell([10, 20, 30]).rollback(Seqno(9)));
        assert!(!cell([10, 20]).rollback(Seqno(9)));
        assert!(!cell([10]).rollback(Seqno(9)));
    }

    #[test]
    fn compaction_keeps_the_version_that_the_oldest_reader_sees() {
        for oldest in 0..60 {
            let mut cell = cell([10, 20, 30, 40, 50]);
            assert!(cell.compact(Seqno(oldest)));
            for seqno in oldest.max(10)..60 {
                assert_eq!(
                    cell.at(Seqno(seqno)).cloned(),
                    value((seqno / 10 * 10).min(50)),
                    "{oldest} {seqno}"
                );
            }
            assert_eq!(cell.older.is_none(), oldest >= 50, "{oldest}");
        }
    }

    #[test]
    fn a_removal_goes_once_nothing_older_is_seen() {
        let mut cell = cell([10]);
        cell.push(Seqno(20), None);
        cell.push(Seqno(30), value(30));
        assert!(cell.compact(Seqno(20)));
        assert_eq!((cell.at(Seqno(20)), cell.older.is_none()), (None, true));
        cell.push(Seqno(40), None);
        assert!(cell.compact(Seqno(39)));
        assert_eq!(cell.at(Seqno(39)).cloned(), value(30));
        assert!(!cell.compact(Seqno(40)));
    }
}
