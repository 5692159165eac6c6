//! Snapshot files on a disk whose power goes at every step, in every way that the dice know.

use coco_ledger::{Folder, FolderFile, SealedSnapshot, SnapshotName};
use coco_replica::{SNAPSHOTS_KEPT, SnapshotFiles};
use coco_sim::{
    dice::Dice,
    folder::{Faults, SimFolder},
};
use coco_types::{Digest, Seqno};

/// More steps than making all of these takes, so that the last ones go through.
const STEPS: u64 = 60;
/// Ways in which the dice may fall for each step.
const WAYS: u64 = 30;
/// Snapshots that are made.
const SNAPSHOTS: u8 = 5;

const fn name(n: u8) -> SnapshotName {
    SnapshotName { seqno: Seqno(10 * n as u64), evidence: Seqno(10 * n as u64 + 2) }
}

/// What is in one, some sectors long.
fn contents(n: u8) -> Vec<u8> {
    [vec![n; 1300], vec![n + 100; 700], b"proof".repeat(100)].concat()
}

fn make(files: &SnapshotFiles<SimFolder>, n: u8) -> bool {
    let bytes = contents(n);
    let sealed = SealedSnapshot {
        head: bytes[..1300].to_vec(),
        sealed: bytes[1300..2000].to_vec(),
        digest: Digest::ZERO,
    };
    let written = files.write(name(n).seqno, &sealed);
    let finished = written.and_then(|written| files.finish(written, name(n), &bytes[2000..]));
    let is_done = finished.is_ok();
    // It is removed later if the power goes now.
    let _may_fail: Result<(), _> = files.remove_old();
    is_done
}

#[test]
fn a_power_cut_leaves_whole_snapshots_and_all_that_were_promised() {
    let (mut cut_short, mut all_done) = (0, 0);
    for step in 0..STEPS {
        for way in 0..WAYS {
            let disk = SimFolder::default();
            let files = SnapshotFiles::open(disk.folder("snapshots/")).expect("opens");
            disk.set_faults(Faults { operations_left: Some(step), ..Faults::default() });
            let done: Vec<u8> = (1..=SNAPSHOTS).take_while(|n| make(&files, *n)).collect();
            disk.lose_power(&mut Dice::new(step << 32 | way));

            let files = SnapshotFiles::open(disk.folder("snapshots/")).expect("opens again");
            let found = files.newest_first().expect("lists");
            for n in done.iter().rev().take(SNAPSHOTS_KEPT) {
                assert!(found.contains(&name(*n)), "{} is gone: {step}, {way}", name(*n));
            }
            for n in (1..=SNAPSHOTS).filter(|n| found.contains(&name(*n))) {
                let bytes = files.read(name(n)).expect("reads");
                assert!(bytes == contents(n), "{} is not whole: {step}, {way}", name(n));
            }
            let names = disk.folder("snapshots/").names().expect("lists");
            assert_eq!(names.len(), found.len(), "nothing unfinished stays: {names:?}");
            let is_all = done.len() == usize::from(SNAPSHOTS);
            *if is_all { &mut all_done } else { &mut cut_short } += 1;
        }
    }
    assert!(cut_short > 0 && all_done > 0, "{cut_short} cut short, {all_done} done");
}

#[test]
fn a_sync_of_one_folder_promises_nothing_of_another() {
    let lost = |way: u64| {
        let disk = SimFolder::default();
        let folder = disk.folder("snapshots/");
        for folder in [&disk, &folder] {
            let file = folder.create("file").expect("makes a file");
            file.write_at(b"bytes", 0).expect("writes");
            file.sync_all().expect("syncs");
        }
        disk.sync().expect("syncs");
        disk.lose_power(&mut Dice::new(way));
        assert_eq!(disk.names().expect("lists"), ["file"], "its own folder was synced");
        folder.names().expect("lists").is_empty()
    };
    assert!((0..WAYS).any(lost), "the other folder was not");
}
