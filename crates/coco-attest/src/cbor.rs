//! Maps and lists in CBOR (RFC 8949) as makers write them: of a length that stands before them, of few entries, and each once.

use std::collections::BTreeSet;

use minicbor::{Decoder, data::Type};

/// What an entry of a map is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Label<'a> {
    Number(i64),
    Name(&'a str),
}

/// Reads the only thing that these bytes are.
pub(crate) fn whole<'a, T>(
    bytes: &'a [u8],
    read: impl FnOnce(&mut Decoder<'a>) -> Result<T, &'static str>,
) -> Result<T, &'static str> {
    let mut decoder = Decoder::new(bytes);
    let read = read(&mut decoder)?;
    if decoder.position() == bytes.len() { Ok(read) } else { Err("bytes after the end") }
}

/// Reads a map, entry by entry, and says which entries it has.
pub(crate) fn map<'a>(
    decoder: &mut Decoder<'a>,
    entries_max: u64,
    mut entry: impl FnMut(Label<'a>, &mut Decoder<'a>) -> Result<(), &'static str>,
) -> Result<BTreeSet<Label<'a>>, &'static str> {
    let count = decoder.map().ok().flatten().ok_or("not a map of a known length")?;
    if count > entries_max {
        return Err("a map of too many entries");
    }
    let mut seen = BTreeSet::new();
    for _ in 0..count {
        let label = label(decoder)?;
        if !seen.insert(label) {
            return Err("an entry that stands twice");
        }
        entry(label, decoder)?;
    }
    Ok(seen)
}

/// Reads a list.
pub(crate) fn list<'a, T>(
    decoder: &mut Decoder<'a>,
    items_max: u64,
    mut item: impl FnMut(&mut Decoder<'a>) -> Result<T, &'static str>,
) -> Result<Vec<T>, &'static str> {
    let count = decoder.array().ok().flatten().ok_or("not a list of a known length")?;
    if count > items_max {
        return Err("a list that is too long");
    }
    (0..count).map(|_| item(decoder)).collect()
}

fn label<'a>(decoder: &mut Decoder<'a>) -> Result<Label<'a>, &'static str> {
    let what = "an entry that has neither a number nor a name";
    match decoder.datatype() {
        Ok(Type::String) => decoder.str().map(Label::Name).map_err(|_| what),
        _ => decoder.i64().map(Label::Number).map_err(|_| what),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], max: u64) -> Result<usize, &'static str> {
        let entry = |_: Label<'_>, decoder: &mut Decoder<'_>| {
            decoder.u8().map(drop).map_err(|_| "no number")
        };
        whole(bytes, |decoder| map(decoder, max, entry)).map(|seen| seen.len())
    }

    #[test]
    fn a_map_has_a_length_few_entries_and_each_once() {
        assert_eq!(read(&[0xa2, 0x01, 0x05, 0x61, b'a', 0x05], 2), Ok(2));
        assert_eq!(read(&[0xa2, 0x01, 0x05, 0x02, 0x05], 1), Err("a map of too many entries"));
        assert_eq!(read(&[0xa2, 0x01, 0x05, 0x01, 0x05], 2), Err("an entry that stands twice"));
        // The same number, in a longer form.
        let longer = [0xa2, 0x01, 0x05, 0x18, 0x01, 0x05];
        assert_eq!(read(&longer, 2), Err("an entry that stands twice"));
        assert_eq!(read(&[0xbf, 0x01, 0x05, 0xff], 2), Err("not a map of a known length"));
        assert_eq!(read(&[0xa1, 0x01, 0x05, 0x00], 2), Err("bytes after the end"));
        for (cut, what) in [(0, "not a map of a known length"), (2, "no number")] {
            assert_eq!(read(&[0xa1, 0x01, 0x05][..cut], 2), Err(what));
        }
        assert!(read(&[0xa1, 0x41, 0x01, 0x05], 2).is_err());
        // A length that nothing follows.
        let many = [0xbb, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
        assert_eq!(read(&many, u64::MAX), Err("an entry that has neither a number nor a name"));
    }

    #[test]
    fn a_list_has_a_length_and_few_items() {
        let read = |bytes: &[u8]| {
            whole(bytes, |decoder| list(decoder, 2, |item| item.u8().map_err(|_| "no number")))
        };
        assert_eq!(read(&[0x82, 1, 2]), Ok(vec![1, 2]));
        assert_eq!(read(&[0x83, 1, 2, 3]), Err("a list that is too long"));
        assert_eq!(read(&[0x9f, 1, 0xff]), Err("not a list of a known length"));
        assert_eq!(read(&[0x82, 1]), Err("no number"));
    }
}
