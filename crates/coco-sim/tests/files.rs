//! The ledger's files on a disk whose power goes at every step, in every way that the dice know.

use bytes::Bytes;
use coco_kv::{MapName, WriteSet};
use coco_ledger::{
    ChunkName, EntryFlags, EntryView, Folder, FolderFile, LedgerFiles, LedgerFilesError,
    LedgerSecret, OpenEntryError, PUT_ASIDE, ReplayError, SIGNATURES_MAP, chunk_files, seal,
};
use coco_sim::{
    dice::Dice,
    folder::{FailingSync, Faults, SimFolder},
    private::Private,
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
fn a_chunk_of_which_nothing_is_whole_is_put_aside_and_not_cut() {
    let folder = SimFolder::default();
    let all = ledger(2);
    append(&folder, &all).expect("it is whole");
    let before = folder.seen("ledger_1").expect("it is there");
    assert!(before.len() > 1_500, "a few sectors");
    // What a write that went astray may leave, and what a crash may, too, before the first entry was durable.
    assert!(folder.tamper("ledger_1", |bytes| bytes[..512].fill(0)));
    let torn = LedgerFiles::open(folder.clone()).expect("it opens").torn().cloned();
    let torn = torn.expect("nothing of it is whole");
    assert_eq!((torn.offset, torn.bytes), (8, before.len() as u64 - 8));
    let aside = torn.aside.as_ref().expect("it is put aside");
    assert!(torn.to_string().starts_with("ledger_1 is not whole from offset 8 on"), "{torn}");
    assert_eq!(folder.seen(aside).expect("it is there")[512..], before[512..]);
    assert_eq!(folder.seen("ledger_1"), None);
    assert_eq!(start(&folder).expect("it starts"), Vec::<Bytes>::new());
}

#[test]
fn a_spoiled_chunk_is_not_written_on() {
    let folder = SimFolder::default();
    append(&folder, &ledger(4)).expect("it is whole");
    let mut writer =
        LedgerFiles::open(folder.clone()).expect("it opens").into_writer().expect("it writes");
    assert!(folder.tamper("ledger_1-3", |bytes| bytes[..512].fill(0)));
    let error = writer.truncate(Seqno(2)).expect_err("nothing of it is whole");
    assert!(matches!(error, LedgerFilesError::Spoiled(_)), "{error:?}");
}

#[test]
fn what_a_failed_sync_left_is_written_again_before_it_counts() {
    let all = ledger(2);
    let folder = SimFolder::default();
    append(&folder, &all[..1]).expect("the disk works");
    let mut writer =
        LedgerFiles::open(folder.clone()).and_then(LedgerFiles::into_writer).expect("opens");
    folder.set_faults(Faults { sync_fails: Some(FailingSync::File), ..Faults::default() });
    writer.append(&all[1], false).expect("it is only gathered");
    writer.sync().expect_err("the sync fails");
    drop(writer);
    let found = start(&folder).expect("it starts");
    folder.lose_power(&mut Dice::new(0));
    assert_eq!(start(&folder).expect("it starts"), found, "what it started with is durable");
}

/// The first three entries in one chunk, under the name of a committed one.
fn archived(all: &[Bytes]) -> (String, Vec<u8>) {
    let (_, bytes) = chunk_files(&all[..3]).remove(0);
    (ChunkName::committed(Seqno(1), Seqno(3)).to_string(), bytes)
}

/// Puts a file there as a copying tool does, which does not wait for the disk.
fn put(folder: &SimFolder, name: &str, bytes: &[u8]) {
    folder.create(name).and_then(|file| file.write_at(bytes, 0)).expect("the disk works");
}

fn names(folder: &SimFolder) -> Vec<String> {
    let mut names = folder.names().expect("the disk works");
    names.sort();
    names
}

/// What a node may have of the chunk itself, each with the name of its file: all of it, closed, with or without what comes
/// after it; some of it, open, and a write that did not end. All durable.
fn own(all: &[Bytes]) -> Vec<(SimFolder, String)> {
    let with = |entries: &[Bytes]| {
        let folder = SimFolder::default();
        append(&folder, entries).expect("the disk works");
        folder
    };
    let mut own = Vec::from([(with(all), "ledger_1-3".to_owned())]);
    // Whole entries, and bytes of the next one that arrived.
    for (count, torn) in [(0, 0), (1, 0), (1, 700), (2, 0), (2, 1), (2, 700)] {
        let folder = with(&all[..count]);
        if count == 0 {
            put(&folder, "ledger_1", b"");
        }
        let file = folder.open_to_write("ledger_1").expect("it is there");
        let end = file.length().expect("the disk works");
        file.write_at(&all[count][..torn], end).expect("the disk works");
        own.push((folder, "ledger_1".to_owned()));
    }
    // A sector of the last entry never arrived; the power went while the chunk was being closed.
    for (bytes, at) in [(vec![0; 512], 3 * 512), (archived(all).1, 0)] {
        let folder = with(&all[..2]);
        let file = folder.open_to_write("ledger_1").expect("it is there");
        file.write_at(&bytes, at).expect("the disk works");
        own.push((folder, "ledger_1".to_owned()));
    }
    for (folder, name) in &own {
        let file = folder.open_to_write(name).expect("it is there");
        file.sync_all().and_then(|()| folder.sync()).expect("the disk works");
    }
    own
}

#[test]
fn a_chunk_that_comes_back_beside_the_nodes_own_is_used() {
    let all = ledger(5);
    let (committed, bytes) = archived(&all);
    for (folder, name) in own(&all) {
        let has_more = name != "ledger_1";
        let kept = if has_more { &all[..] } else { &all[..3] };
        let before = folder.seen(&name).expect("it is there");
        put(&folder, &committed, &bytes);
        let files = LedgerFiles::open(folder.clone()).expect("it opens");
        let [put_aside] = files.put_aside() else { panic!("{:?}", files.put_aside()) };
        assert_eq!(
            [put_aside.file, put_aside.kept].map(|name| name.to_string()),
            [name.clone(), committed.clone()]
        );
        drop(files);
        folder.lose_power(&mut Dice::new(0));
        assert_eq!(start(&folder).expect("it starts"), kept, "{name}");
        let aside = format!("{name}{PUT_ASIDE}");
        assert_eq!(folder.seen(&aside), Some(before), "nothing is removed");
        assert!(!names(&folder).contains(&name), "{:?}", names(&folder));
        // The next start has nothing to settle, and the ledger goes on.
        append(&folder, &all[kept.len()..]).expect("the disk works");
        assert!(LedgerFiles::open(folder.clone()).expect("it opens").put_aside().is_empty());
        assert_eq!(start(&folder).expect("it starts"), all, "{name}");
    }
}

#[test]
fn settling_two_files_of_one_chunk_survives_every_crash() {
    let all = ledger(5);
    let (committed, bytes) = archived(&all);
    let mut has_ended = false;
    for (step, way) in (0..STEPS).flat_map(|step| (0..WAYS).map(move |way| (step, way))) {
        let mut dice = Dice::new(step * WAYS + way);
        let mut own = own(&all);
        let (folder, name) = own.swap_remove(dice.place(own.len()));
        put(&folder, &committed, &bytes);
        let file = folder.open_to_write(&committed).expect("it is there");
        file.sync_all().and_then(|()| folder.sync()).expect("the disk works");
        folder.set_faults(Faults { operations_left: Some(step), ..Faults::default() });
        has_ended |= start(&folder).is_ok();
        folder.lose_power(&mut dice);
        folder.set_faults(Faults::default());
        let found = start(&folder).unwrap_or_else(|error| panic!("{step}, {way}: {error}"));
        let least = if name == "ledger_1" { 3 } else { 5 };
        assert_eq!(found, &all[..least], "step {step}, way {way}, {name}");
    }
    assert!(has_ended, "{STEPS} steps are too few");
}

#[test]
fn a_chunk_that_comes_back_and_differs_is_refused_with_both_names() {
    let all = ledger(5);
    let (committed, bytes) = archived(&all);
    let refused = |folder: &SimFolder, name: &str| {
        let before = names(folder);
        let text = start(folder).expect_err("they differ").to_string();
        assert!(text.contains(&format!("{name} and {committed} are of")), "{text}");
        assert_eq!(names(folder), before, "both stay where they are");
    };
    for (folder, name) in own(&all) {
        // A bit of the first entry, of which an empty chunk has nothing.
        let mut changed = bytes.clone();
        changed[400] ^= 1;
        put(&folder, &committed, &changed);
        if folder.seen(&name).is_some_and(|own| own.len() > 400) {
            refused(&folder, &name);
        }
    }
    // One that says to be committed and ends before what the node has.
    let folder = SimFolder::default();
    append(&folder, &all[..2]).expect("the disk works");
    folder.rename("ledger_1", "ledger_1-2").expect("the disk works");
    put(&folder, &committed, &bytes);
    refused(&folder, "ledger_1-2");
    // None that is known to be committed, and one that begins in the midst of another.
    for (one, other) in [("ledger_1", "ledger_1-3"), ("ledger_1-3", "ledger_2-3.committed")] {
        let folder = SimFolder::default();
        [one, other].iter().for_each(|name| put(&folder, name, &bytes));
        let text = start(&folder).expect_err("one is too many").to_string();
        assert!(text.contains(&format!("{one} and {other} are of")), "{text}");
        assert_eq!(names(&folder), [one, other]);
    }
}

#[test]
fn a_doubted_name_makes_nothing_committed_until_it_is_given_again() {
    let all = ledger(3);
    let (name, bytes) = archived(&all);
    let folder = SimFolder::default();
    put(&folder, &name, &bytes);
    let opened = |doubts: bool| {
        let mut files = LedgerFiles::open(folder.clone()).expect("it opens");
        if doubts {
            files.doubt_names();
        }
        let mut said = Vec::new();
        let replayed = files.replay(Seqno(1), |_, is_committed| {
            said.push(is_committed);
            Ok::<(), OpenEntryError>(())
        });
        assert!(replayed.is_ok() && said == [!doubts; 3], "{said:?}");
        assert_eq!(files.committed(), if doubts { Seqno::ZERO } else { Seqno(3) });
        files.into_writer().expect("the disk works")
    };
    let refused = opened(false).truncate(Seqno(2)).expect_err("its name is believed");
    assert!(matches!(refused, LedgerFilesError::Committed(_)), "{refused}");
    let mut writer = opened(true);
    writer.truncate(Seqno(2)).expect("its name is not believed");
    writer.append(&all[2], true).and_then(|()| writer.sync()).expect("the disk works");
    writer.files().note_committed(Seqno(3));
    writer.name_committed().expect("the disk works");
    assert_eq!(names(&folder), [name]);
    let refused = writer.truncate(Seqno(2)).expect_err("its name is its writer's");
    assert!(matches!(refused, LedgerFilesError::Committed(_)), "{refused}");
}

/// A commit is known as soon as the entries are that it names, and these may still wait for the disk.
#[test]
fn a_chunk_is_not_called_committed_for_what_comes_in_its_place() {
    let all = ledger(3);
    let folder = SimFolder::default();
    append(&folder, &all).expect("the disk works");
    let mut writer =
        LedgerFiles::open(folder.clone()).and_then(LedgerFiles::into_writer).expect("opens");
    writer.files().announce(all[1..].iter());
    writer.files().note_committed(Seqno(3));
    writer.name_committed().expect("the disk works");
    assert_eq!(names(&folder), ["ledger_1-3"]);
    writer.truncate(Seqno(1)).expect("it is not committed");
    writer.append(&all[1], false).expect("the disk works");
    writer.append(&all[2], true).and_then(|()| writer.sync()).expect("the disk works");
    writer.files().arrived(2);
    writer.name_committed().expect("the disk works");
    assert_eq!(names(&folder), ["ledger_1-3.committed"]);
}

/// Whoever looks for chunks that wait for their name looks after the last one that has it.
#[test]
fn naming_chunks_leaves_none_behind_whenever_the_power_goes() {
    let all = ledger(9);
    let mut has_ended = false;
    for (step, way) in (0..STEPS).flat_map(|step| (0..WAYS).map(move |way| (step, way))) {
        let folder = SimFolder::default();
        append(&folder, &all).expect("the disk works");
        let name = || {
            let mut writer = LedgerFiles::open(folder.clone())?.into_writer()?;
            writer.files().note_committed(Seqno(9));
            writer.name_committed()
        };
        folder.set_faults(Faults { operations_left: Some(step), ..Faults::default() });
        has_ended |= name().is_ok();
        folder.lose_power(&mut Dice::new(step * WAYS + way));
        folder.set_faults(Faults::default());
        name().expect("the disk works");
        let expected = ["ledger_1-3", "ledger_4-6", "ledger_7-9"];
        let expected = expected.map(|chunk| format!("{chunk}.committed"));
        assert_eq!(names(&folder), expected, "step {step}, way {way}");
    }
    assert!(has_ended, "{STEPS} steps are too few");
}

/// A snapshot that promised an entry which a new primary had replaced was once complete before the new one was written.
#[test]
fn what_comes_again_after_a_cut_is_not_durable() {
    let all = ledger(3);
    let folder = SimFolder::default();
    append(&folder, &all[..2]).expect("the disk works");
    let files = LedgerFiles::open(folder).expect("opens");
    files.announce(std::iter::once(&all[2]));
    assert!(files.is_durable(Seqno(2)) && !files.is_durable(Seqno(3)));
    files.announce(std::iter::once(&all[1]));
    assert!(files.is_durable(Seqno(1)) && !files.is_durable(Seqno(2)));
    files.arrived(2);
    assert!(files.is_durable(Seqno(2)));
}

/// Whoever starts from a snapshot needs the entries after it only, and an older chunk has none of these.
#[test]
fn an_older_chunk_under_a_newer_ones_name_is_not_passed_over() {
    let all = ledger(6);
    let folder = SimFolder::default();
    let (_, older) = archived(&all);
    put(&folder, "ledger_4-6.committed", &older);
    let mut files = LedgerFiles::open(folder).expect("it opens");
    let mut taken = Vec::new();
    let replayed = files.replay(Seqno(4), |entry, _| {
        taken.push(EntryView::parse(&entry).expect("files hold entries").tx_id().seqno);
        Ok::<(), OpenEntryError>(())
    });
    assert!(replayed.is_ok(), "its taker refuses");
    assert_eq!(taken, [1, 2, 3].map(Seqno), "whoever takes them sees what they are");
}

#[test]
fn a_file_that_is_put_aside_replaces_none() {
    let all = ledger(2);
    let folder = SimFolder::default();
    for entries in [&all[..1], &all[..]] {
        append(&folder, entries).expect("the disk works");
        let mut files = LedgerFiles::open(folder.clone()).expect("it opens");
        files.skip_to(Seqno::ZERO).expect("the disk works");
    }
    let lengths = [PUT_ASIDE, ".aside.aside"]
        .map(|end| folder.seen(&format!("ledger_1{end}")).unwrap().len());
    assert_eq!(lengths, [8 + all[0].len(), 8 + all[0].len() + all[1].len()]);
}

#[test]
#[should_panic(expected = "private bytes leave a node")]
fn a_disk_sees_a_marker_that_comes_in_two_writes() {
    let private = Private::draw(&mut Dice::new(5));
    let (folder, marker) = (SimFolder::default(), private.marker(b't', 1));
    folder.watch(&private);
    let file = folder.create("a file").expect("a new disk works");
    file.write_at(&marker[..6], 100).expect("a part is no marker");
    file.write_at(&marker[6..], 106).expect("unreachable");
}

#[test]
#[should_panic(expected = "private bytes leave a node")]
fn a_disk_sees_a_marker_in_a_name() {
    let private = Private::draw(&mut Dice::new(5));
    let folder = SimFolder::default();
    folder.watch(&private);
    let name = String::from_utf8(private.marker(b't', 1).to_vec()).expect("markers are letters");
    drop(folder.create(&name));
}
