//! What must hold of states: whoever has the same entries has the same state.

use std::collections::BTreeMap;

use coco_crypto::sha256;
use coco_kv::{Domain, Reader, Snapshot, WriteSet};
use coco_types::{Digest, Seqno};

/// Of so many versions one is compared. A digest is of all that a store holds, so it costs as much as a snapshot.
const COMPARED_EVERY: u64 = 32;

/// All that a store holds of each domain, as digests. Stores are comparable since all nodes have one index key.
pub type Image = [Digest; 2];

/// The image of a version.
#[must_use]
pub fn image(version: &Snapshot) -> Image {
    [Domain::Public, Domain::Private]
        .map(|domain| sha256(&version.encode(domain, &WriteSet::new())))
}

/// What committed versions were, wherever they were seen first.
#[derive(Debug, Default)]
pub(super) struct States {
    images: BTreeMap<Seqno, Image>,
    compared: usize,
}

impl States {
    /// A node holds more for committed: after `from`, up to `to`. Of each stretch of versions the oldest is compared that is
    /// still in memory.
    pub(super) fn committed(&mut self, node: usize, reader: &Reader, from: Seqno, to: Seqno) {
        let stretches = from.0 / COMPARED_EVERY + 1..=to.0 / COMPARED_EVERY;
        let oldest = reader.oldest();
        let mut last = None;
        for stretch in stretches {
            let seqno = Seqno(stretch * COMPARED_EVERY).max(oldest);
            if seqno > to || last == Some(seqno) {
                continue;
            }
            last = Some(seqno);
            let version = reader.snapshot(seqno).expect("what is newer than the oldest is there");
            let found = image(&version);
            let first = *self.images.entry(seqno).or_insert_with(|| found);
            assert!(first == found, "n{node} is in another state at {seqno} than others");
            self.compared += 1;
        }
    }

    /// How many versions of nodes were compared.
    pub(super) fn compared(&self) -> usize {
        self.compared - self.images.len()
    }
}

#[cfg(test)]
mod tests {
    use coco_kv::{MapKind, MapName, MapSpec, Store};

    use super::*;

    fn store(value: &[u8]) -> Store {
        let name = MapName::from_static("things");
        let mut store =
            Store::new(vec![MapSpec { name: name.clone(), kind: MapKind::Point }], [1, 2]);
        for version in 1..=COMPARED_EVERY {
            let mut writes = WriteSet::new();
            writes.insert(&name, &b"key"[..], value);
            store.apply(Seqno(version), &writes).expect("versions follow one another");
        }
        store
    }

    #[test]
    fn equal_stores_pass() {
        let mut states = States::default();
        for (node, store) in [store(b"a"), store(b"a")].iter().enumerate() {
            states.committed(node, &store.reader(), Seqno::ZERO, Seqno(COMPARED_EVERY));
        }
        assert_eq!(states.compared(), 1);
    }

    #[test]
    #[should_panic(expected = "n1 is in another state at 32")]
    fn another_value_is_seen() {
        let mut states = States::default();
        for (node, store) in [store(b"a"), store(b"b")].iter().enumerate() {
            states.committed(node, &store.reader(), Seqno::ZERO, Seqno(COMPARED_EVERY));
        }
    }
}
