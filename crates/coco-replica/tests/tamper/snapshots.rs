//! Snapshots: every bit of headers and tables, a random share of the rest, cut files, and files that are another's.
//!
//! A snapshot is believed for its digest, which the service has signed. So whatever is changed before the receipt is seen
//! at the start of the file, and whatever is changed in the receipt where it begins.

use std::ops::Range;

use coco_kv::{MapName, WriteSet};
use coco_ledger::{
    EntryFlags, LedgerFault, LedgerFiles, SNAPSHOT_POSITIONS_MAP, SnapshotError, SnapshotFault,
    SnapshotFile, SnapshotName, Verifier, VerifyLedgerError,
};
use coco_replica::{CopiedLedger, LoadLedgerError, SnapshotFiles, UseSnapshotError};
use coco_types::Seqno;

use crate::{
    dice::Dice,
    fixture::Ledger,
    flips::REST_PERCENT,
    memory::MemoryFolder,
    mutants::Table,
    readers::{Files, Known, chain},
    snapshot,
};

/// Entries up to a snapshot.
const ENTRIES: u64 = 16;

type Snapshot = (SnapshotName, Vec<u8>);

/// A ledger of three chunks, and the snapshots of where the first two end.
struct World {
    ledger: Ledger,
    older: Snapshot,
    newer: Snapshot,
}

fn world() -> World {
    fill(Ledger::new())
}

fn foreign_world() -> World {
    let mut ledger = Ledger::new();
    ledger.secret = coco_ledger::LedgerSecret::new(&[0x43; 32]);
    fill(ledger)
}

fn fill(mut ledger: Ledger) -> World {
    ledger.genesis();
    let mut n = 0;
    let mut chunk = |ledger: &mut Ledger, last: u64| {
        while ledger.tree.len() < last {
            ledger.record(n);
            n += 1;
        }
        ledger.sign(EntryFlags::CHUNK_AFTER);
    };
    chunk(&mut ledger, ENTRIES);
    let older = snapshot::take(&mut ledger, marks());
    chunk(&mut ledger, 2 * ENTRIES);
    let newer = snapshot::take(&mut ledger, marks());
    chunk(&mut ledger, 3 * ENTRIES);
    let seqnos = [&older, &newer].map(|(name, _)| name.seqno);
    assert_eq!((ledger.files.len(), seqnos), (3, [Seqno(ENTRIES), Seqno(2 * ENTRIES)]));
    World { ledger, older, newer }
}

/// What a replica finds of itself in a snapshot.
fn marks() -> WriteSet {
    let (mut marks, map) = (WriteSet::new(), MapName::from_static("coco.snapshot.replica"));
    for key in ["chunk bytes", "time ms"] {
        marks.insert(&map, key.as_bytes(), 0_u64.to_le_bytes());
    }
    marks
}

/// Where a snapshot is refused, what for, and how that is told.
#[derive(Debug, PartialEq)]
struct Refusal {
    offset: u64,
    fault: &'static str,
    text: String,
}

fn refusal(error: &SnapshotError, text: String) -> Refusal {
    let fault = match error.fault {
        SnapshotFault::Entry(_) => "entry",
        SnapshotFault::Length { .. } => "length",
        SnapshotFault::Receipt(_) => "receipt",
        SnapshotFault::Digest { .. } => "digest",
        SnapshotFault::Name { .. } => "name",
        SnapshotFault::Contents(_) => "contents",
    };
    Refusal { offset: error.offset, fault, text }
}

/// `coco ledger verify`: the snapshot by itself, then what follows it.
fn audited(known: &Known, ledger: &[(String, Vec<u8>)], of: &Snapshot) -> Result<(), Refusal> {
    let (name, bytes) = of;
    let file = name.to_string();
    let (service, pem) = (known.service.clone(), known.service.pem());
    let verified = SnapshotFile::split(bytes).and_then(|file| file.verify(*name, &pem));
    let snapshot = verified.map_err(|error| {
        let (offset, seqno) = (error.offset, name.seqno);
        let Refusal { fault, .. } = refusal(&error, String::new());
        let whole = LedgerFault::Snapshot(error.fault);
        let error = VerifyLedgerError { file: file.clone(), offset, seqno, fault: whole };
        assert!(error.to_string().contains(&format!("{file} at offset {offset}, seqno {seqno}")));
        Refusal { offset, fault, text: chain(&error) }
    })?;
    let mut verifier = Verifier::from_snapshot(service, &file, &snapshot).unwrap();
    for (chunk, bytes) in ledger {
        verifier.chunk(chunk, bytes).unwrap();
    }
    verifier.check_snapshot(&file, &snapshot).unwrap();
    verifier.finish(None).unwrap();
    Ok(())
}

/// A start with this snapshot and no chunk below it: a node that cannot use the one has nothing else.
fn started(known: &Known, ledger: &[(String, Vec<u8>)], of: &Snapshot) -> Result<(), Refusal> {
    match start(known, ledger, of) {
        (Ok(from), None) => {
            assert_eq!(from, Some(of.0));
            Ok(())
        }
        (Err(error @ LoadLedgerError::NoSnapshot { .. }), Some(refusal)) => {
            let told = format!("{}: {}", of.0, refusal.text);
            let whole = chain(&error);
            assert!(whole.contains(&told), "{whole} without {told}");
            Err(refusal)
        }
        other => panic!("{other:?}"),
    }
}

fn start(
    known: &Known,
    ledger: &[(String, Vec<u8>)],
    (name, bytes): &Snapshot,
) -> (Result<Option<SnapshotName>, LoadLedgerError>, Option<Refusal>) {
    let mut files = LedgerFiles::open(ledger.iter().collect::<MemoryFolder>()).unwrap();
    let snapshots = SnapshotFiles::open([&(name.to_string(), bytes.clone())].into_iter().collect());
    let mut heard = None;
    let loaded = known.load().load(&mut files, &snapshots.unwrap(), |passed, error| {
        let UseSnapshotError::Verify(source) = error else { panic!("{error:?}") };
        assert_eq!(passed, *name);
        heard = Some(refusal(source, chain(error)));
    });
    (loaded.map(|(_, from)| from), heard)
}

/// A node that joins with this snapshot.
fn joined(known: &Known, ledger: &[(String, Vec<u8>)], of: &Snapshot) -> Result<(), Refusal> {
    let (name, bytes) = of;
    let load = known.load();
    let mut copied = match CopiedLedger::begin(&load, Some((*name, bytes))) {
        Ok(copied) => copied,
        Err(ref error @ UseSnapshotError::Verify(ref source)) => {
            return Err(refusal(source, chain(error)));
        }
        Err(error) => panic!("{error:?}"),
    };
    for entry in ledger.iter().flat_map(|(_, bytes)| crate::readers::sent(bytes)) {
        copied.push(bytes::Bytes::copy_from_slice(entry)).unwrap();
    }
    assert!(copied.is_enough(Seqno(3 * ENTRIES)));
    Ok(())
}

type Read = fn(&Known, &[(String, Vec<u8>)], &Snapshot) -> Result<(), Refusal>;

const READERS: [(&str, Read); 3] = [("auditor", audited), ("start", started), ("join", joined)];

/// What all readers say of a snapshot whose chunks below are archived; it must be the same.
fn read_by_all(known: &Known, after: &Files, of: &Snapshot) -> Option<Refusal> {
    let said = READERS.map(|(reader, read)| {
        let refused = read(known, after, of).err();
        if let Some(refusal) = &refused {
            let told = format!("offset {}", refusal.offset);
            assert!(refusal.text.contains(&told), "{reader}: {refusal:?}");
        }
        refused
    });
    let places = said.each_ref().map(|refusal| refusal.as_ref().map(|it| (it.offset, it.fault)));
    assert!(places.windows(2).all(|pair| pair[0] == pair[1]), "{said:?}");
    let [said, ..] = said;
    said
}

/// What bytes of a snapshot file are.
struct Region {
    kind: &'static str,
    bytes: Range<usize>,
    is_table: bool,
}

const ENTRY_SIZE: &str = "bit of the snapshot's size";
const RECEIPT: &str = "bit of the receipt";

fn regions(file: &[u8]) -> (Vec<Region>, usize) {
    let number = |at: usize| {
        let bytes = file[at..].first_chunk().unwrap();
        usize::try_from(u64::from_le_bytes(*bytes)).unwrap()
    };
    let mut size = [0; 8];
    size[..6].copy_from_slice(&file[2..8]);
    let receipt = 8 + usize::try_from(u64::from_le_bytes(size)).unwrap();
    let mut all = Vec::new();
    let mut add = |kind, bytes, is_table| all.push(Region { kind, bytes, is_table });
    let public = 44;
    let end = public + number(36);
    let history = public + 57;
    let maps = history + 8 + number(history);
    add(ENTRY_SIZE, 0..8, true);
    add("bit of the snapshot's header", 8..history + 8, true);
    add("bit of the snapshot's views", history + 8..maps, true);
    let padded = |length: usize| length.next_multiple_of(8);
    let mut at = maps;
    while at < end {
        let name = at + 8..at + 8 + number(at);
        let items = name.end + 16;
        let is_table = &file[name] == SNAPSHOT_POSITIONS_MAP.as_bytes();
        add("bit of a map's header", at..items, true);
        at = items + number(items - 8);
        let mut item = items;
        while item < at {
            let (key, value) = (item + 8, item + 8 + padded(number(item)));
            add("bit of an item's header", item..key, true);
            add("bit of a key", key..value, false);
            add("bit of an item's header", value..value + 16, true);
            item = value + 8 + padded(number(value));
            let kind = if is_table { "bit of the list of leaves" } else { "bit of a value" };
            add(kind, value + 16..item, is_table);
        }
    }
    add("bit of the snapshot's salt", end..end + 32, true);
    add("bit of the sealed image", end + 32..receipt, false);
    add(RECEIPT, receipt..file.len(), false);
    let covered: usize = all.iter().map(|region| region.bytes.len()).sum();
    assert_eq!(covered, file.len(), "every byte is of some kind");
    (all, receipt)
}

#[test]
fn snapshots_are_read_as_they_are() {
    let World { ledger, older, newer } = world();
    let known = Known::new(&ledger);
    assert_eq!(read_by_all(&known, &ledger.files[1..].to_vec(), &older), None);
    assert_eq!(read_by_all(&known, &ledger.files[2..].to_vec(), &newer), None);
}

#[test]
fn nobody_misses_a_flipped_bit_of_a_snapshot() {
    let World { ledger, older, .. } = world();
    let (known, after) = (Known::new(&ledger), ledger.files[1..].to_vec());
    let (name, bytes) = older;
    let (regions, receipt) = regions(&bytes);
    let mut flips = Vec::new();
    let mut dice = Dice(7);
    for region in &regions {
        for at in region.bytes.clone() {
            let percent = if region.is_table { 100 } else { REST_PERCENT };
            flips.extend(dice.bits(percent).map(|bit| (region.kind, at, bit)));
        }
    }
    let half = |flips: &[(&'static str, usize, u64)]| {
        let mut table = Table::default();
        let mut changed = (name, bytes.clone());
        for (kind, at, bit) in flips {
            changed.1[*at] ^= 1 << bit;
            let place = format!("{kind}, byte {at} bit {bit}");
            let refusal = read_by_all(&known, &after, &changed);
            let refusal = refusal.unwrap_or_else(|| panic!("{place} was not seen"));
            let expected = match *kind {
                // The receipt is looked for somewhere else, or nowhere.
                ENTRY_SIZE => (refusal.offset, refusal.fault),
                RECEIPT => (receipt as u64, "receipt"),
                _ => (0, "digest"),
            };
            assert_eq!((refusal.offset, refusal.fault), expected, "{place}: {refusal:?}");
            assert!(refusal.offset < bytes.len() as u64, "{place}: {refusal:?}");
            table.note(kind, true);
            changed.1[*at] ^= 1 << bit;
        }
        table
    };
    let mut table = std::thread::scope(|scope| {
        let (one, other) = flips.split_at(flips.len() / 2);
        let other = scope.spawn(|| half(other));
        let mut table = half(one);
        table.merge(other.join().unwrap());
        table
    });
    let all = std::mem::take(&mut table).print("snapshot");
    println!("{all} flips in a snapshot of {} bytes, refused by all", bytes.len());
    assert!(all > 8_000, "{all}");
}

#[test]
fn a_snapshot_that_was_cut_is_refused() {
    let World { ledger, older: (name, bytes), .. } = world();
    let (known, after) = (Known::new(&ledger), ledger.files[1..].to_vec());
    let (_, receipt) = regions(&bytes);
    for length in 0..bytes.len() {
        let refusal = read_by_all(&known, &after, &(name, bytes[..length].to_vec())).unwrap();
        let expected = match length {
            0..8 => (0, "entry"),
            8.. if length <= receipt => (0, "length"),
            _ => (receipt as u64, "receipt"),
        };
        assert_eq!((refusal.offset, refusal.fault), expected, "{length} bytes: {refusal:?}");
    }
    for tail in [&[0][..], &[0; 512], &bytes[receipt..], &bytes] {
        let longer = [&bytes[..], tail].concat();
        let refusal = read_by_all(&known, &after, &(name, longer)).unwrap();
        assert_eq!((refusal.offset, refusal.fault), (receipt as u64, "receipt"), "{refusal:?}");
    }
    println!("{} snapshots that were cut, refused by all", bytes.len());
}

#[test]
fn a_snapshot_that_is_another_is_refused() {
    let (one, other) = (world(), foreign_world());
    let (known, after) = (Known::new(&one.ledger), one.ledger.files[1..].to_vec());
    let parts = |(_, bytes): &Snapshot| {
        let (entry, receipt) = bytes.split_at(regions(bytes).1);
        (entry.to_vec(), receipt.to_vec())
    };
    let (older, newer, foreign) = (parts(&one.older), parts(&one.newer), parts(&other.older));
    let whole = |entry: &[u8], receipt: &[u8]| [entry, receipt].concat();
    let of = one.older.0;
    // The receipt of an entry that says nothing of a snapshot.
    let unrelated = one.ledger.receipt(of.evidence.0 + 3).cose().unwrap();
    // The public part of one and the sealed image of another, of equal length.
    let mut spliced = older.0.clone();
    let sealed = spliced.len() - 64;
    spliced[sealed..].copy_from_slice(&newer.0[newer.0.len() - 64..]);
    let moved = |seqno: u64, evidence: u64| SnapshotName {
        seqno: Seqno(of.seqno.0 + seqno),
        evidence: Seqno(of.evidence.0 + evidence),
    };
    let cases = [
        ("of another network", other.older.0, other.older.1, foreign.0.len(), "receipt"),
        ("older under a newer name", one.newer.0, one.older.1.clone(), 0, "name"),
        ("newer under an older name", of, one.newer.1.clone(), 0, "name"),
        ("under another seqno", moved(1, 1), one.older.1.clone(), 0, "name"),
        ("under another evidence", moved(0, 1), one.older.1.clone(), 0, "name"),
        ("with a newer receipt", of, whole(&older.0, &newer.1), 0, "digest"),
        ("newer with an older receipt", one.newer.0, whole(&newer.0, &older.1), 0, "digest"),
        ("with the receipt of an entry", of, whole(&older.0, &unrelated), 0, "digest"),
        ("with a foreign receipt", of, whole(&older.0, &foreign.1), older.0.len(), "receipt"),
        ("foreign with our receipt", of, whole(&foreign.0, &older.1), 0, "digest"),
        ("with the end of another image", of, whole(&spliced, &older.1), 0, "digest"),
        ("empty", of, Vec::new(), 0, "entry"),
    ];
    let mut table = Table::default();
    for (kind, name, bytes, offset, fault) in cases {
        let refusal = read_by_all(&known, &after, &(name, bytes)).expect(kind);
        assert_eq!((refusal.offset, refusal.fault), (offset as u64, fault), "{kind}: {refusal:?}");
        table.note(kind, true);
    }
    table.print("snapshot");
}

#[test]
fn a_node_passes_over_a_snapshot_that_does_not_verify() {
    let World { ledger, older, mut newer } = world();
    let known = Known::new(&ledger);
    let at = newer.1.len() / 2;
    newer.1[at] ^= 1;
    // With all chunks, it starts from them; it says which snapshot it has not used, and why.
    let (loaded, heard) = start(&known, &ledger.files, &newer);
    assert_eq!(loaded.unwrap(), None);
    assert_eq!(heard.unwrap().fault, "digest");
    // With an older snapshot, from that.
    let both = [&older, &newer].map(|(name, bytes)| (name.to_string(), bytes.clone()));
    let snapshots = SnapshotFiles::open(both.iter().collect::<MemoryFolder>()).unwrap();
    let mut files = LedgerFiles::open(ledger.files[1..].iter().collect::<MemoryFolder>()).unwrap();
    let mut passed = Vec::new();
    let loaded = known.load().load(&mut files, &snapshots, |name, _| passed.push(name));
    let (loader, from) = loaded.unwrap();
    assert_eq!((from, passed), (Some(older.0), vec![newer.0]));
    assert_eq!(loader.last().seqno, Seqno(3 * ENTRIES));
}

#[test]
fn what_a_good_snapshot_proves_is_asked_for_when_entries_after_it_are_missing() {
    let World { ledger, mut older, .. } = world();
    let known = Known::new(&ledger);
    let last = ledger.files.last().into_iter().collect::<Vec<_>>();
    for is_good in [true, false] {
        let snapshot = [(older.0.to_string(), older.1.clone())];
        let snapshots = SnapshotFiles::open(snapshot.iter().collect::<MemoryFolder>()).unwrap();
        let mut files = LedgerFiles::open(last.iter().copied().collect::<MemoryFolder>()).unwrap();
        let error = known.load().load(&mut files, &snapshots, |_, _| {}).unwrap_err();
        assert!(matches!(error, LoadLedgerError::NoSnapshot { .. }), "{error:?}");
        // With a copy that ends before it, the node would not start again, and copy for ever.
        assert_eq!(error.at_least(), if is_good { older.0.evidence } else { Seqno::ZERO });
        let at = older.1.len() / 2;
        older.1[at] ^= 1;
    }
}

#[test]
fn a_ledger_that_ends_before_what_its_snapshot_proves_is_no_ledger_to_start_from() {
    let World { ledger, newer, .. } = world();
    let known = Known::new(&ledger);
    let (loaded, heard) = start(&known, &ledger.files[..2], &newer);
    assert_eq!(heard, None);
    let error = loaded.unwrap_err();
    assert!(matches!(error, LoadLedgerError::SetBack { snapshot, .. } if snapshot == newer.0));
    assert_eq!(error.at_least(), newer.0.evidence);
    let text = chain(&error);
    for part in
        [newer.0.to_string(), format!(".{}", newer.0.evidence), format!(".{}", newer.0.seqno)]
    {
        assert!(text.contains(&part), "{text} without {part}");
    }
}
