//! The ledger's files on a disk whose power goes at every step, in every way that the dice know.

use bytes::Bytes;
use coco_kv::{MapName, WriteSet};
use coco_ledger::{
    EntryFlags, EntryView, Folder, FolderFile, LedgerFiles, LedgerFilesError, LedgerSecret,
    OpenEntryError, ReplayError, SIGNATURES_MAP, seal,
};
use coco_sim::{
    dice::Dice,
    folder::{Faults, SimFolder},
};
use coco_types::{Digest, Seqno, TxId, View};

/// More steps than any of these tests takes, so that the last ones go through.
const STEPS: u64 = 40;
/// Ways in which the dice may fall for each step.
const WAYS: u64 = 30;

fn secret() -> LedgerSecret {
    LedgerSecret::new(&[3; 32])
}

/// A ledger of `count` entries of some sectors each, of which every third ends a chunk, as only signatures may.
fn ledger(count: u64) -> Vec<Bytes> {
    let entry = |seqno: u64| {
        let id = TxId { view: View(2), seqno: Seqno(seqno) };
        let flags = if ends(seqno) { EntryFlags::CHUNK_AFTER } else { EntryFlags::NONE };
        let mut writes = WriteSet::new();
        let map = if ends(seqno) { SIGNATURES_MAP } else { "m" };
        writes.insert(&MapName::from_static(map), b"key", vec![1; 900]);
        seal(&secret(), id, flags, &Digest::ZERO, &writes).expect("it is small").bytes
    };
    (1..=count).map(entry).collect()
}

const fn ends(seqno: u64) -> bool {
    seqno.is_multiple_of(3)
}

/// What a node would start with. As in a node, an entry that does not open is refused.
fn start(folder: &SimFolder) -> Result<Vec<Bytes>, LedgerFilesError> {
    let mut files = LedgerFiles::open(folder.clone())?;
    let mut found = Vec::new();
    let replayed = files.replay(Seqno(1), |entry, _| {
        let view = EntryView::parse(&entry).expect("files hold entries");
        view.open(&secret())?;
        found.push(entry.clone());
        Ok::<(), OpenEntryError>(())
    });
    match replayed {
        Ok(()) => {}
        Err(ReplayError::Files(error)) => return Err(error),
        Err(ReplayError::Taker { file, offset, source }) => {
            panic!("{file} at {offset}: {source}, although nothing is damaged")
        }
    }
    files.into_writer()?;
    Ok(found)
}

fn append(folder: &SimFolder, entries: &[Bytes]) -> Result<(), LedgerFilesError> {
    let mut writer = LedgerFiles::open(folder.clone())?.into_writer()?;
    for entry in entries {
        let seqno = EntryView::parse(entry).expect("an entry").tx_id().seqno.0;
        writer.append(entry, ends(seqno))?;
    }
    writer.sync().map(|_bytes| ())
}

/// Has the power go after each number of steps of `act`, on a disk with `before`, and again during the start that
/// follows. `judge` gets what the node starts with, and whether `act` had come to its end.
fn at_every_step(
    before: &[Bytes],
    act: impl Fn(&SimFolder) -> Result<(), LedgerFilesError>,
    judge: impl Fn(&[Bytes], bool),
) {
    let mut has_ended = false;
    for (step, way) in (0..STEPS).flat_map(|step| (0..WAYS).map(move |way| (step, way))) {
        let mut dice = Dice::new(step * WAYS + way);
        let folder = SimFolder::default();
        append(&folder, before).expect("the disk works");
        let dark_after = |steps| {
            folder.set_faults(Faults { operations_left: Some(steps), ..Faults::default() });
        };
        dark_after(step);
        let is_done = act(&folder).is_ok();
        has_ended |= is_done;
        folder.lose_power(&mut dice);
        dark_after(dice.below(8));
        let _interrupted: Result<_, LedgerFilesError> = start(&folder);
        folder.lose_power(&mut dice);
        let found = start(&folder);
        let found = found.unwrap_or_else(|error| {
            panic!("step {step}, way {way}: {error}: {:?}", std::error::Error::source(&error))
        });
        judge(&found, is_done);
    }
    assert!(has_ended, "{STEPS} steps are too few");
}

#[test]
fn appending_over_chunks_survives_every_crash() {
    let all = ledger(10);
    let act = |folder: &SimFolder| append(folder, &all[4..]);
    at_every_step(&all[..4], act, |found, is_done| {
        let least = if is_done { 10 } else { 4 };
        assert!(found.len() >= least && all.starts_with(found), "{} entries", found.len());
    });
}

#[test]
fn cutting_back_over_chunks_survives_every_crash() {
    let all = ledger(10);
    let act =
        |folder: &SimFolder| LedgerFiles::open(folder.clone())?.into_writer()?.truncate(Seqno(2));
    at_every_step(&all, act, |found, is_done| {
        assert!(found.len() >= 2 && all.starts_with(found), "{} entries", found.len());
        assert!(!is_done || found.len() == 2, "{} entries are left", found.len());
    });
}

/// The header of a chunk that is written to is zero. A flipped bit there once cut off what had been acknowledged.
#[test]
fn a_flipped_bit_in_the_header_cuts_nothing_off() {
    let all = ledger(2);
    for bit in 0..64 {
        let folder = SimFolder::default();
        append(&folder, &all).expect("the disk works");
        let file = folder.open_to_write("ledger_1").expect("it is there");
        let header = 1_u64 << bit;
        file.write_at(&header.to_le_bytes(), 0).expect("the disk works");
        let refused = start(&folder).expect_err("it is damaged").to_string();
        assert!(refused.starts_with("ledger_1 is damaged at offset 0"), "{refused}");
    }
}

/// After a sync that failed, a system shows what it will never write, and takes it for written.
#[test]
fn what_a_failed_sync_left_is_written_again_before_it_counts() {
    let all = ledger(2);
    let folder = SimFolder::default();
    append(&folder, &all[..1]).expect("the disk works");
    let mut writer =
        LedgerFiles::open(folder.clone()).and_then(LedgerFiles::into_writer).expect("opens");
    folder.set_faults(Faults { sync_fails: true, ..Faults::default() });
    writer.append(&all[1], false).expect("it is only gathered");
    writer.sync().expect_err("the sync fails");
    drop(writer);
    let found = start(&folder).expect("it starts");
    folder.lose_power(&mut Dice::new(0));
    assert_eq!(start(&folder).expect("it starts"), found, "what it started with is durable");
}
