//! The bytes of a write set.

use coco_kv::{
    DecodeError, Domain, KEY_BYTES_MAX, MAP_NAME_BYTES_MAX, MapName, WriteSet, WriteSetView,
};
use proptest::prelude::*;

fn golden() -> WriteSet {
    let (zoo, app) = (MapName::from_static("public:zoo"), MapName::from_static("app"));
    let mut set = WriteSet::new();
    set.insert(&zoo, b"yak", *b"grunts");
    set.insert(&zoo, b"ape", *b"");
    set.remove(&zoo, b"dodo");
    set.remove(&MapName::from_static("public:empty"), b"");
    set.insert(&app, &[0; 8], *b"{}");
    set
}

const PUBLIC: &[u8] = b"\
    \x0c\0\0\0\0\0\0\0public:empty\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\
    \0\0\0\0\0\0\0\0\
    \x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\
    \x0a\0\0\0\0\0\0\0public:zoo\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\
    \x02\0\0\0\0\0\0\0\
    \x03\0\0\0\0\0\0\0ape\0\0\0\0\0\0\0\0\
    \x03\0\0\0\0\0\0\0yak\x06\0\0\0\0\0\0\0grunts\
    \x01\0\0\0\0\0\0\0\
    \x04\0\0\0\0\0\0\0dodo";

const PRIVATE: &[u8] = b"\
    \x03\0\0\0\0\0\0\0app\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\
    \x01\0\0\0\0\0\0\0\
    \x08\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0{}\
    \0\0\0\0\0\0\0\0";

#[test]
fn the_bytes_are_those_of_the_format() {
    assert_eq!(golden().encode(Domain::Public), PUBLIC);
    assert_eq!(golden().encode(Domain::Private), PRIVATE);
    assert_eq!(WriteSet::decode(PUBLIC, PRIVATE), Ok(golden()));
    assert_eq!(WriteSet::decode(&[], &[]), Ok(WriteSet::new()));
}

#[test]
fn a_view_reads_what_the_write_set_holds() {
    let set = golden();
    let view = WriteSetView::parse(PUBLIC, PRIVATE).expect("they are the golden bytes");
    let owned: Vec<_> = set
        .iter()
        .map(|(map, key, value)| (map.as_str(), key, value.map(|value| &**value)))
        .collect();
    assert_eq!(view.iter().collect::<Vec<_>>(), owned);
    assert_eq!((view.len(), set.len()), (5, 5));
    let zoo = MapName::from_static("public:zoo");
    assert_eq!(view.get(&zoo, b"yak"), Some(&b"grunts"[..]));
    assert_eq!(set.get(&zoo, b"yak").map(|value| &**value), Some(&b"grunts"[..]));
    assert_eq!((view.get(&zoo, b"dodo"), set.get(&zoo, b"dodo")), (None, None));
    assert_eq!(view.get(&MapName::from_static("public:none"), b"yak"), None);
}

#[test]
fn every_truncation_is_refused() {
    for end in 1..PUBLIC.len() {
        // Between two maps a shorter text is a text.
        let ends_a_map = PUBLIC[end..].starts_with(b"\x0a\0\0\0\0\0\0\0public:zoo");
        assert_eq!(WriteSet::decode(&PUBLIC[..end], PRIVATE).is_ok(), ends_a_map, "{end}");
    }
    for end in 1..PRIVATE.len() {
        assert!(WriteSet::decode(PUBLIC, &PRIVATE[..end]).is_err(), "{end}");
    }
}

/// One map as the format has it, from parts that need not be right.
fn encoded(
    name: &[u8],
    version: u64,
    reads: u64,
    writes: &[(&[u8], &[u8])],
    removes: &[&[u8]],
) -> Vec<u8> {
    let mut out = Vec::new();
    let text = |out: &mut Vec<u8>, bytes: &[u8]| {
        out.extend((bytes.len() as u64).to_le_bytes());
        out.extend(bytes);
    };
    text(&mut out, name);
    out.extend([version, reads, writes.len() as u64].map(u64::to_le_bytes).concat());
    for (key, value) in writes {
        text(&mut out, key);
        text(&mut out, value);
    }
    out.extend((removes.len() as u64).to_le_bytes());
    removes.iter().for_each(|key| text(&mut out, key));
    out
}

#[track_caller]
fn refused(private: &[u8], expected: &str) {
    let error = WriteSet::decode(&[], private).expect_err("it must be refused");
    let field = match error {
        DecodeError::Short { field, .. }
        | DecodeError::Over { field, .. }
        | DecodeError::Value { field, .. } => field,
        DecodeError::Trailing { .. } => "trailing",
    };
    assert_eq!(field, expected);
}

#[test]
fn whatever_could_be_read_in_two_ways_is_refused() {
    let ok = encoded(b"app", 0, 0, &[(b"a", b"1"), (b"b", b"2")], &[b"c"]);
    assert!(WriteSet::decode(&[], &ok).is_ok());
    refused(&encoded(b"app", 1, 0, &[(b"a", b"")], &[]), "read version");
    refused(&encoded(b"app", 0, 1, &[(b"a", b"")], &[]), "read count");
    refused(&encoded(b"app", 0, 0, &[], &[]), "writes of a map");
    refused(&encoded(b"app", 0, 0, &[(b"b", b""), (b"a", b"")], &[]), "order of written keys");
    refused(&encoded(b"app", 0, 0, &[(b"a", b""), (b"a", b"")], &[]), "order of written keys");
    refused(&encoded(b"app", 0, 0, &[], &[b"b", b"a"]), "order of removed keys");
    refused(&encoded(b"app", 0, 0, &[], &[b"a", b"a"]), "order of removed keys");
    let both = encoded(b"app", 0, 0, &[(b"a", b""), (b"c", b"")], &[b"b", b"c"]);
    refused(&both, "length of a key both written and removed");
    let map = |name: &[u8]| encoded(name, 0, 0, &[(b"a", b"")], &[]);
    refused(&[map(b"b"), map(b"a")].concat(), "order of maps");
    refused(&[map(b"a"), map(b"a")].concat(), "order of maps");
    refused(&map(b"public:app"), "length of a map name in the other domain");
    refused(&map(b"a b"), "length of a map name that is not printable ASCII");
    refused(&map(b""), "length of a map name that is not printable ASCII");
    refused(&map(b"\xff"), "length of a map name that is no text");
    assert!(WriteSet::decode(&map(b"app"), &[]).is_err(), "a private map among the public ones");
}

#[test]
fn lengths_and_counts_are_held_against_what_is_left() {
    for (bytes, fits) in [(MAP_NAME_BYTES_MAX, true), (MAP_NAME_BYTES_MAX + 1, false)] {
        let map = encoded(&vec![b'a'; bytes], 0, 0, &[(b"a", b"")], &[]);
        assert_eq!(WriteSet::decode(&[], &map).is_ok(), fits);
    }
    for (bytes, fits) in [(KEY_BYTES_MAX, true), (KEY_BYTES_MAX + 1, false)] {
        for map in [
            encoded(b"app", 0, 0, &[(&vec![1; bytes], b"")], &[]),
            encoded(b"app", 0, 0, &[], &[&vec![1; bytes]]),
        ] {
            assert_eq!(WriteSet::decode(&[], &map).is_ok(), fits);
        }
    }
    let name_and_reads = [3_u64.to_le_bytes().to_vec(), b"app".to_vec(), vec![0; 16]].concat();
    for count in [1, 1 << 40, u64::MAX] {
        refused(&[&name_and_reads[..], &count.to_le_bytes()].concat(), "write count");
        refused(&[&name_and_reads[..], &[0; 8], &count.to_le_bytes()].concat(), "remove count");
    }
}

fn any_write_set() -> impl Strategy<Value = WriteSet> {
    let name = prop::sample::select(vec!["a", "b", "public:a", "public:b", "zzz"]);
    let key = prop::collection::vec(0_u8..4, 0..4);
    let value = prop::option::of(prop::collection::vec(any::<u8>(), 0..6));
    prop::collection::vec((name, key, value), 0..20).prop_map(|writes| {
        let mut set = WriteSet::new();
        for (name, key, value) in writes {
            let name = MapName::from_static(name);
            match value {
                Some(value) => set.insert(&name, &key, value),
                None => set.remove(&name, &key),
            }
        }
        set
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn decoding_undoes_encoding(set in any_write_set()) {
        let (public, private) = (set.encode(Domain::Public), set.encode(Domain::Private));
        prop_assert_eq!(WriteSet::decode(&public, &private), Ok(set));
    }

    /// Bytes that decode are the bytes of what they decode to: there is no second spelling.
    #[test]
    fn altered_bytes_are_refused_or_mean_something_else(
        set in any_write_set(),
        at in any::<prop::sample::Index>(),
        bits in 1..=255_u8,
    ) {
        let (mut public, mut private) = (set.encode(Domain::Public), set.encode(Domain::Private));
        let bytes = if public.is_empty() { &mut private } else { &mut public };
        if !bytes.is_empty() {
            let at = at.index(bytes.len());
            bytes[at] ^= bits;
            if let Ok(found) = WriteSet::decode(&public, &private) {
                prop_assert_ne!(&found, &set);
                prop_assert_eq!(found.encode(Domain::Public), public);
                prop_assert_eq!(found.encode(Domain::Private), private);
            }
        }
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(public: Vec<u8>, private: Vec<u8>) {
        drop(WriteSet::decode(&public, &private));
    }
}
