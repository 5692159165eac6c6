//! Recorded public blocks become a genesis and transactions whose hashes are the recorded ones.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test stops at the first surprise and says what it skips"
)]

use std::{fs, path::PathBuf};

use coco_bench::{args::MainnetArgs, mainnet};

fn data() -> Option<PathBuf> {
    let root = std::env::var_os("COCO_TEST_DATA").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data")),
        PathBuf::from,
    );
    let data = root.join("ethereum/mainnet");
    if !data.is_dir() {
        println!("skipped: no {}", data.display());
        return None;
    }
    Some(data)
}

fn args(data: PathBuf, blocks: &[u64]) -> (MainnetArgs, PathBuf) {
    let scratch = tempfile::tempdir().unwrap().keep();
    let args = MainnetArgs {
        data,
        blocks: blocks.to_vec(),
        gas_limit: 30_000_000,
        without_gaps: false,
        genesis: scratch.join("genesis.json"),
        transactions: scratch.join("transactions.txt"),
    };
    (args, scratch)
}

#[test]
fn every_hash_comes_out_equal_but_for_blob_transactions() {
    let Some(data) = data() else { return };
    let (args, scratch) = args(data, &[]);
    let report = mainnet::prepare(&args).unwrap();
    let lines = fs::read_to_string(&args.transactions).unwrap();
    let genesis: serde_json::Value =
        serde_json::from_slice(&fs::read(&args.genesis).unwrap()).unwrap();
    fs::remove_dir_all(scratch).unwrap();

    let skipped: Vec<_> = report.skipped.keys().map(String::as_str).collect();
    assert!(skipped.iter().all(|reason| *reason == "transaction type 3"), "{skipped:?}");
    assert_eq!(lines.lines().filter(|line| line.starts_with("0x")).count(), report.transactions);
    assert!(report.transactions > 8_000);
    assert_eq!(genesis["config"]["chainId"], 1);
    assert_eq!(genesis["alloc"].as_object().unwrap().len(), report.accounts);
}

/// One block is complete, so nothing in it is out of turn; between blocks of different years much is.
#[test]
fn transactions_that_can_never_be_included_are_left_out_when_asked() {
    let Some(data) = data() else { return };
    let prepared = |blocks: &[u64], without_gaps| {
        let (args, scratch) = args(data.clone(), blocks);
        let report = mainnet::prepare(&MainnetArgs { without_gaps, ..args }).unwrap();
        fs::remove_dir_all(scratch).unwrap();
        report
    };
    assert_eq!(prepared(&[13_287_210], true), prepared(&[13_287_210], false));
    let several = [13_287_210, 14_396_881, 15_274_915];
    let (some, all) = (prepared(&several, true), prepared(&several, false));
    let left_out: u64 = some.skipped.values().sum();
    assert!(left_out > 0);
    assert_eq!(some.transactions as u64 + left_out, all.transactions as u64);
}

#[test]
fn chosen_blocks_only_and_a_missing_one_is_an_error() {
    let Some(data) = data() else { return };
    let (args, scratch) = args(data, &[46_147]);
    let report = mainnet::prepare(&args).unwrap();
    assert_eq!((report.blocks.as_slice(), report.transactions), ([46_147].as_slice(), 1));
    let missing = MainnetArgs { blocks: vec![1], ..args };
    assert!(mainnet::prepare(&missing).is_err());
    fs::remove_dir_all(scratch).unwrap();
}
