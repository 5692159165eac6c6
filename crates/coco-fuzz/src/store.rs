//! Write sets, the bounded reader, and identifiers as text.

use coco_kv::{Domain, MapName, WriteSet};
use coco_ledger::ChunkName;
use coco_types::{
    Digest, NodeId, TxId,
    codec::{DecodeError, Reader},
};

/// The first two bytes say how long the public part is; the private part follows it.
pub(crate) fn write_set(data: &[u8]) {
    let Some((length, rest)) = data.split_first_chunk::<2>() else { return };
    let (public, private) = rest.split_at(usize::from(u16::from_le_bytes(*length)).min(rest.len()));
    if let Ok(set) = WriteSet::decode(public, private) {
        assert_eq!(set.encode(Domain::Public), public, "a write set has one encoding");
        assert_eq!(set.encode(Domain::Private), private, "a write set has one encoding");
        assert_eq!(set.iter().count(), set.len());
        let names = set.map_names().map(|name| name.as_str().len());
        assert!(names.max().unwrap_or(0) <= coco_kv::MAP_NAME_BYTES_MAX);
    }
}

/// Every second byte says what is read next; the reader is held against plain arithmetic on the rest.
pub(crate) fn codec(data: &[u8]) {
    let (steps, input) = data.split_at(data.len() / 4);
    let mut reader = Reader::new(input);
    let mut at = 0;
    for step in steps {
        let left = input.len() - at;
        assert_eq!((reader.left(), reader.rest()), (left, &input[at..]));
        let (read, expected) = one(&mut reader, *step, &input[at..]);
        match expected {
            Some(bytes) => {
                assert_eq!(read, Ok(()), "step {step} at {at}");
                at += bytes;
            }
            None => {
                assert!(read.is_err(), "step {step} at {at}");
                return;
            }
        }
    }
    assert_eq!(reader.end().is_ok(), at == input.len());
}

/// Takes one step, and says how many bytes it should have read; none when it should have failed.
fn one(reader: &mut Reader<'_>, step: u8, rest: &[u8]) -> (Result<(), DecodeError>, Option<usize>) {
    let fits = |bytes: usize| (bytes <= rest.len()).then_some(bytes);
    let number = rest.first_chunk::<8>().map(|bytes| u64::from_le_bytes(*bytes));
    let amount = usize::from(step >> 3);
    match step & 7 {
        0 => (reader.u8("u8").map(drop), fits(1)),
        1 => (reader.u32("u32").map(drop), fits(4)),
        2 => {
            let read = reader.u64("u64");
            assert_eq!(read.ok(), number);
            (read.map(drop), fits(8))
        }
        3 => (reader.take(amount, "take").map(drop), fits(amount)),
        4 => (reader.array::<12>("array").map(drop), fits(12)),
        5 => {
            let whole = number.and_then(|length| usize::try_from(length).ok()?.checked_add(8));
            (reader.bytes("bytes").map(drop), whole.and_then(fits))
        }
        _ => {
            let count = reader.count(amount, "count");
            let item = amount.max(1) as u64;
            let room = (rest.len() as u64).saturating_sub(8) / item;
            let expected = number.filter(|count| *count <= room).map(|_| 8);
            assert_eq!(count.map(|count| count as u64).ok(), number.filter(|_| expected.is_some()));
            (count.map(drop), expected)
        }
    }
}

pub(crate) fn identifiers(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    if let Ok(id) = text.parse::<TxId>() {
        assert_eq!(id.to_string().parse(), Ok(id));
    }
    if let Ok(digest) = text.parse::<Digest>() {
        assert_eq!(digest.to_string().parse(), Ok(digest));
    }
    if let Ok(node) = text.parse::<NodeId>() {
        assert_eq!(node.to_string().parse(), Ok(node));
    }
    if let Ok(name) = text.parse::<ChunkName>() {
        assert_eq!(name.to_string(), text, "a chunk has one name");
    }
    if let Ok(name) = MapName::new(text) {
        assert_eq!(name.as_str(), text);
    }
}
