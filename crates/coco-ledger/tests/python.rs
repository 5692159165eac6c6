//! What an auditor's own tool says: the package `ccf` reads our ledger and verifies our receipts.
//!
//! Runs when the environment variable `COCO_CCF_PYTHON` names a Python interpreter that has `ccf` 7.0.22 installed.

#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

#[path = "fixture/ledger.rs"]
mod fixture;
#[path = "fixture/snapshot.rs"]
mod snapshot;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use coco_ledger::EntryFlags;
use fixture::Ledger;

/// The interpreter, or none with a notice.
#[expect(clippy::print_stdout, reason = "a test that did not run says so")]
fn python() -> Option<PathBuf> {
    let python = std::env::var_os("COCO_CCF_PYTHON").map(PathBuf::from);
    if python.is_none() {
        println!("skipped: COCO_CCF_PYTHON names no Python with the package ccf");
    }
    python
}

/// An empty folder of this test.
fn folder(test: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
    if folder.exists() {
        fs::remove_dir_all(&folder).unwrap();
    }
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn write(folder: &Path, ledger: &Ledger) {
    for (name, bytes) in &ledger.files {
        fs::write(folder.join(name), bytes).unwrap();
    }
}

/// Runs the reader; its exit code is the verdict, its text is not.
fn read_ledger(python: &Path, folder: &Path, options: &[&str]) -> Output {
    let reader = python.parent().unwrap().join("read_ledger.py");
    Command::new(python).arg(reader).arg(folder).args(options).output().unwrap()
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[test]
fn the_reader_accepts_the_ledger_and_no_changed_one() {
    let Some(python) = python() else { return };
    let folder = folder("reader");
    let ledger = Ledger::small(2);
    write(&folder, &ledger);
    for (options, last) in [(&[][..], "until 2.9"), (&["--uncommitted"], "until 3.15")] {
        let output = read_ledger(&python, &folder, options);
        assert!(output.status.success(), "{options:?}: {}", text(&output));
        assert!(text(&output).contains(last), "{options:?}: {}", text(&output));
    }
    let (name, bytes) = &ledger.files[0];
    let mut changed = bytes.clone();
    let at = changed.windows(5).position(|window| window == b"key 3").unwrap();
    changed[at] ^= 1;
    fs::write(folder.join(name), changed).unwrap();
    assert!(!read_ledger(&python, &folder, &[]).status.success());
}

#[test]
fn the_reader_rebuilds_every_recorded_tree() {
    let Some(python) = python() else { return };
    let folder = folder("trees");
    let mut ledger = Ledger::new();
    ledger.genesis();
    // Distances between signatures that give flushed counts of many shapes.
    for round in 0..60_u64 {
        (0..round * 7 % 13).for_each(|n| ledger.record(round * 100 + n));
        let ends = round % 20 == 19;
        ledger.sign(if ends { EntryFlags::CHUNK_AFTER } else { EntryFlags::NONE });
    }
    write(&folder, &ledger);
    for level in ["MERKLE", "FULL"] {
        let output = read_ledger(&python, &folder, &["--verification-level", level]);
        assert!(output.status.success(), "{level}: {}", text(&output));
        assert!(text(&output).contains("61 signatures"), "{level}: {}", text(&output));
    }
}

#[test]
fn the_package_verifies_receipts_in_both_forms() {
    let Some(python) = python() else { return };
    let folder = folder("receipts");
    let ledger = Ledger::small(0);
    let driver =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/e2e/auditor/verify_receipts.py");
    let [service, json, cose] =
        ["service.pem", "receipt.json", "receipt.cose"].map(|name| folder.join(name));
    fs::write(&service, &ledger.service_pem).unwrap();
    let run =
        || Command::new(&python).arg(&driver).args([&service, &json, &cose]).output().unwrap();
    for seqno in [1, 4, 9, 14] {
        let receipt = ledger.receipt(seqno);
        fs::write(&json, receipt.json()).unwrap();
        fs::write(&cose, receipt.cose().unwrap()).unwrap();
        let output = run();
        assert!(output.status.success(), "{seqno}: {}", text(&output));
    }
    fs::write(&cose, ledger.receipt(13).cose().unwrap()).unwrap();
    assert!(!run().status.success(), "receipts of two entries passed for one");
    let other = Ledger::new();
    fs::write(&cose, ledger.receipt(14).cose().unwrap()).unwrap();
    fs::write(&service, &other.service_pem).unwrap();
    assert!(!run().status.success(), "another service was believed");
}

#[test]
fn the_package_reads_snapshots_and_believes_no_changed_one() {
    let Some(python) = python() else { return };
    let folder = folder("snapshots");
    let mut ledger = Ledger::new();
    ledger.genesis();
    (0..20).for_each(|n| ledger.record(n));
    ledger.sign(EntryFlags::CHUNK_AFTER);
    let (name, file) = snapshot::take(&mut ledger, coco_kv::WriteSet::new());
    let path = folder.join(name.to_string());
    let driver =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/e2e/auditor/read_snapshot.py");
    let read = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        Command::new(&python).arg(&driver).arg(&path).output().unwrap()
    };
    let output = read(&file);
    assert!(output.status.success(), "{}", text(&output));
    for expected in ["seqno 24", "public:records: 20", "public:ccf.gov.service.info: 1"] {
        assert!(text(&output).contains(expected), "{expected}: {}", text(&output));
    }
    for at in [100, file.len() / 2, file.len() - 20] {
        let mut changed = file.clone();
        changed[at] ^= 1;
        assert!(!read(&changed).status.success(), "byte {at}");
    }
}
