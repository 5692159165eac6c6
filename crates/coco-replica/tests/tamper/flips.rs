//! One flipped bit: every one of headers and tables, and one in a random share of the other bytes.

use std::ops::Range;

use coco_ledger::{
    CHUNK_HEADER_BYTES, Chunk, ENTRY_HEADER_BYTES, EntryFlags, UnsignedRange, UnsignedWhat,
};

use crate::{
    ENTRIES,
    dice::Dice,
    fixture::Ledger,
    ledger,
    mutants::Table,
    readers::{Auditor, Files, Join, Reader, Refusal, Start},
};

/// Share of the bytes outside headers and tables in which a random bit is flipped, in percent.
pub(crate) const REST_PERCENT: u64 = 5;

/// What a flipped bit belongs to.
#[derive(Clone)]
struct Region {
    kind: &'static str,
    bytes: Range<usize>,
    /// Where an error about it may point: at the entry, at the place in the table, at the start of the file.
    offset: u64,
    /// The seqno of the entry that it belongs to; none for a chunk's header.
    seqno: Option<u64>,
    is_header: bool,
}

impl Region {
    /// Whether it belongs to no entry.
    fn is_framing(&self) -> bool {
        [CHUNK_HEADER_BIT, TABLE_BIT].contains(&self.kind)
    }
}

const CHUNK_HEADER_BIT: &str = "bit of a chunk's header";
const TABLE_BIT: &str = "bit of a chunk's table";

fn regions(file: &[u8], first: u64) -> Vec<Region> {
    let chunk = Chunk::parse(file).unwrap();
    let region = |kind, bytes: Range<usize>, offset, seqno, is_header| Region {
        kind,
        bytes,
        offset,
        seqno,
        is_header,
    };
    let mut regions = vec![region(CHUNK_HEADER_BIT, 0..CHUNK_HEADER_BYTES, 0, None, true)];
    for (n, (offset, entry)) in chunk.entries.iter().enumerate() {
        let (start, seqno) = (usize::try_from(*offset).unwrap(), first + n as u64);
        let (head, end) = (start + ENTRY_HEADER_BYTES, start + entry.bytes().len());
        regions.push(region("bit of an entry's header", start..head, *offset, Some(seqno), true));
        let kind =
            if entry.is_signature() { "bit of a signature entry" } else { "bit of an entry" };
        regions.push(region(kind, head..end, *offset, Some(seqno), false));
    }
    let end = usize::try_from(chunk.end).unwrap();
    for (n, start) in (end..file.len()).step_by(4).enumerate() {
        let seqno = Some(first + n as u64);
        regions.push(region(TABLE_BIT, start..start + 4, start as u64, seqno, true));
    }
    regions
}

/// What became of the flips in one chunk.
#[derive(Default)]
struct Outcome {
    table: Table,
    all: usize,
    /// Refused at the very entry, table row or header.
    exact: usize,
    /// Not refused, and listed by the reader as covered by no signature.
    reported: usize,
}

impl Outcome {
    /// More than so many bits were flipped, and most of those are refused where they are.
    #[track_caller]
    fn names_most_places_exactly(&self, flips: usize) {
        assert!(
            self.all > flips && self.exact * 100 > self.all * 85,
            "{} of {}",
            self.exact,
            self.all
        );
    }
}

/// Flips bits of chunk `c`; the reader has read what comes before it. `unsigned` is what the report of the untouched ledger
/// says that no signature covers.
fn flip(reader: &mut dyn Reader, files: &Files, c: usize, unsigned: &[UnsignedRange]) -> Outcome {
    let (name, bytes) = &files[c];
    let first = name.parse::<coco_ledger::ChunkName>().unwrap().first.0;
    let mut dice = Dice(c as u64);
    let mut outcome = Outcome::default();
    let mut rest = files[c..].to_vec();
    let mut regions = regions(bytes, first);
    regions.retain(|region| reader.has_files() || !region.is_framing());
    for region in &regions {
        for at in region.bytes.clone() {
            for bit in dice.bits(if region.is_header { 100 } else { REST_PERCENT }) {
                rest[0].1[at] ^= 1 << bit;
                let place = format!("{name} byte {at} bit {bit}");
                outcome.all += 1;
                match reader.read(&rest) {
                    Err(refusal) => {
                        located(&refusal, region, name, &place, files);
                        let is_exact = match refusal.offset {
                            Some(offset) => offset == region.offset,
                            None => Some(refusal.seqno) == region.seqno,
                        };
                        outcome.exact += usize::from(is_exact);
                        outcome.table.note(region.kind, true);
                    }
                    Ok(_) => {
                        let covers = |range: &UnsignedRange| {
                            range.file == *name && range.offsets.contains(&(at as u64))
                        };
                        assert!(unsigned.iter().any(covers), "{place} was not seen");
                        outcome.reported += 1;
                        outcome.table.note(region.kind, false);
                    }
                }
                rest[0].1[at] ^= 1 << bit;
            }
        }
    }
    outcome
}

/// The error names the file, and the entry or one after it in the same file.
fn located(refusal: &Refusal, region: &Region, name: &String, place: &str, files: &Files) {
    let file = files.iter().find(|(file, _)| file == name).unwrap();
    if let Some(offset) = refusal.offset {
        assert_eq!(refusal.file.as_ref(), Some(name), "{place}: {refusal:?}");
        assert!(offset <= file.1.len() as u64, "{place}: {refusal:?}");
    }
    // A damaged length of the whole chunk is seen at its start, whatever it belongs to.
    let is_framing = refusal.offset == Some(0);
    let seqno = region.seqno.unwrap_or(refusal.seqno);
    assert!(is_framing || refusal.seqno >= seqno, "{place} is of {seqno}: {refusal:?}");
    assert!(refusal.is_told(), "{place}: {refusal:?}");
}

/// Flips bits in every chunk, half of the chunks on another thread.
fn flip_all<R: Reader + Send>(
    ledger: &Ledger,
    reader: &str,
    make: impl Fn() -> R + Sync,
    unsigned: &[UnsignedRange],
) -> Outcome {
    let half = |odd: usize| {
        let mut reader = make();
        let mut sum = Outcome::default();
        for c in 0..ledger.files.len() {
            if c % 2 == odd {
                let outcome = flip(&mut reader, &ledger.files, c, unsigned);
                sum.table.merge(outcome.table);
                sum.all += outcome.all;
                sum.exact += outcome.exact;
                sum.reported += outcome.reported;
            }
            reader.advance(&ledger.files[c]);
        }
        sum
    };
    let (mut sum, other) = std::thread::scope(|scope| {
        let other = scope.spawn(|| half(1));
        (half(0), other.join().unwrap())
    });
    sum.table.merge(other.table);
    sum.all += other.all;
    sum.exact += other.exact;
    sum.reported += other.reported;
    sum.table.print(reader);
    println!(
        "{reader:<8} {} flips, {} refused at the very place, {} reported as unsigned",
        sum.all, sum.exact, sum.reported
    );
    sum
}

#[test]
fn the_auditor_misses_no_flipped_bit() {
    let ledger = ledger();
    let unsigned = Auditor::new(&ledger).read(&ledger.files).unwrap().unwrap().unsigned;
    let outcome = flip_all(&ledger, "auditor", || Auditor::new(&ledger), &unsigned);
    // The tag and the commit evidence of the last signature entry, which nobody without the secret can check, have 48
    // bytes: some of the random flips hit them.
    assert!(outcome.reported <= 48, "{}", outcome.reported);
    outcome.names_most_places_exactly(20_000);
}

#[test]
fn a_node_that_starts_misses_no_flipped_bit() {
    let ledger = ledger();
    let outcome = flip_all(&ledger, "start", || Start::new(&ledger), &[]);
    assert_eq!(outcome.reported, 0);
    outcome.names_most_places_exactly(20_000);
}

#[test]
fn a_node_that_joins_misses_no_flipped_bit() {
    let ledger = ledger();
    // The last entry's flags are in no seal, and no root that was sent is over them.
    let (file, bytes) = ledger.files.last().unwrap();
    let flags = Chunk::parse(bytes).unwrap().entries.last().unwrap().0 + 1;
    let what = UnsignedWhat::SignatureSeal;
    let unsigned = UnsignedRange { file: file.clone(), offsets: flags..flags + 1, what };
    let outcome = flip_all(&ledger, "join", || Join::new(&ledger), &[unsigned]);
    assert_eq!(outcome.reported, 2);
    outcome.names_most_places_exactly(15_000);
}

#[test]
fn a_flag_of_the_last_entry_that_a_node_was_sent_is_seen_with_the_next_root() {
    let mut ledger = ledger();
    let (_, mut bytes) = ledger.files.last().unwrap().clone();
    let flags = Chunk::parse(&bytes).unwrap().entries.last().unwrap().0 + 1;
    ledger.record(1000);
    ledger.sign(EntryFlags::NONE);
    for bit in [1, 2] {
        bytes[usize::try_from(flags).unwrap()] ^= bit;
        let mut files = ledger.files.clone();
        let at = files.len() - 2;
        files[at].1.clone_from(&bytes);
        let refusal = Join::new(&ledger).read(&files).unwrap_err();
        assert_eq!(refusal.seqno, ENTRIES + 2, "{refusal:?}");
        assert!(refusal.what.contains("signs root"), "{refusal:?}");
    }
}
