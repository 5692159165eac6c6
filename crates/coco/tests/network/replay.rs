//! Real signed transactions of the public chain, sent to three nodes whose genesis is the state that they met.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use alloy_primitives::{B256, hex, keccak256};
use anyhow::{Context, ensure};
use coco_bench::args::MainnetArgs;
use serde_json::{Value, json};

use super::{
    dev::Dev,
    program::{Folder, Turn, until},
    rpc::{Rpc, hash, number},
};

/// Mostly plain transfers, mostly contract calls, and the oldest there is: a signature without a chain id.
const BLOCKS: [u64; 3] = [46147, 13_287_210, 17_666_333];
/// Gas limit of the replay's blocks.
const GAS_LIMIT: u64 = 30_000_000;
/// Calls of one batch.
const BATCH_CALLS: usize = 50;
/// What was accepted has its receipt within this time.
const RECEIPTS_TIME: Duration = Duration::from_secs(20);

/// The folder of recorded blocks, or `None` when it is not there.
fn data() -> Option<PathBuf> {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let folder =
        env::var_os("COCO_TEST_DATA").map_or_else(default, PathBuf::from).join("ethereum/mainnet");
    folder.is_dir().then_some(folder)
}

/// What became of the transactions.
#[derive(Debug, Default)]
struct Outcome {
    accepted: BTreeSet<B256>,
    rejected: BTreeMap<String, u64>,
}

/// Sends the transactions in order.
fn send(rpc: &mut Rpc, raw: &[&str]) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::default();
    for part in raw.chunks(BATCH_CALLS) {
        let params: Vec<Value> = part.iter().map(|raw| json!([raw])).collect();
        for (raw, answer) in
            part.iter().zip(rpc.try_batch("/", "eth_sendRawTransaction", &params)?)
        {
            match answer {
                Ok(result) => {
                    ensure!(
                        hash(&result)? == keccak256(hex::decode(raw)?),
                        "another hash than the transaction's"
                    );
                    outcome.accepted.insert(hash(&result)?);
                }
                Err(refused) => *outcome.rejected.entry(reason(&refused.message)).or_default() += 1,
            }
        }
    }
    Ok(outcome)
}

/// A message without what is particular to one transaction.
fn reason(message: &str) -> String {
    message.split(':').next().unwrap_or(message).trim().to_owned()
}

/// Successes and reverts, counted from the blocks of one node.
fn count(rpc: &mut Rpc, accepted: &BTreeSet<B256>) -> anyhow::Result<(usize, usize, u64)> {
    let (mut success, mut revert, mut gas) = (0, 0, 0);
    let mut included = BTreeSet::new();
    let last = rpc.block_number()?;
    for block in rpc.blocks(last)? {
        let receipts = rpc.call("eth_getBlockReceipts", &json!([block["number"]]))?;
        let receipts = receipts.as_array().context("receipts")?;
        let transactions = block["transactions"].as_array().context("transactions")?;
        ensure!(
            receipts.len() == transactions.len(),
            "as many receipts as transactions in {}",
            block["number"]
        );
        let mut block_gas = 0;
        for (transaction, receipt) in transactions.iter().zip(receipts) {
            ensure!(
                transaction["hash"] == receipt["transactionHash"],
                "a receipt of another transaction"
            );
            ensure!(
                included.insert(hash(&transaction["hash"])?),
                "included twice: {}",
                transaction["hash"]
            );
            match receipt["status"].as_str() {
                Some("0x1") => success += 1,
                Some("0x0") => revert += 1,
                _ => anyhow::bail!("no status in {receipt}"),
            }
            block_gas += number(&receipt["gasUsed"])?;
        }
        ensure!(
            number(&block["gasUsed"])? == block_gas,
            "the gas of block {} adds up",
            block["number"]
        );
        gas += block_gas;
    }
    ensure!(
        &included == accepted,
        "{} are in blocks, {} were accepted",
        included.len(),
        accepted.len()
    );
    Ok((success, revert, gas))
}

#[test]
fn public_transactions_through_three_nodes() -> anyhow::Result<()> {
    let Some(data) = data() else {
        println!("skipped: no recorded blocks; set COCO_TEST_DATA");
        return Ok(());
    };
    let _turn = Turn::take()?;
    let folder = Folder::new()?;
    let (genesis, transactions) =
        (folder.path().join("genesis.json"), folder.path().join("transactions"));
    let prepared = coco_bench::mainnet::prepare(&MainnetArgs {
        without_gaps: false,
        data,
        blocks: BLOCKS.to_vec(),
        gas_limit: GAS_LIMIT,
        genesis: genesis.clone(),
        transactions: transactions.clone(),
    })?;
    let text = fs::read_to_string(&transactions)?;
    let raw: Vec<&str> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_ascii_whitespace().next())
        .collect();
    ensure!(raw.len() == prepared.transactions && raw.len() > 200, "{} transactions", raw.len());

    let genesis = genesis.to_str().context("a path in UTF-8")?;
    let dev =
        Dev::start(&["--ephemeral", "--port", "0", "--genesis", genesis, "--allow-unprotected"])?;
    let mut rpc = Rpc::to(dev.nodes[0].development)?;
    ensure!(number(&rpc.call("eth_chainId", &json!([]))?)? == 1, "the genesis' chain id");
    let started = Instant::now();
    let Outcome { accepted, rejected } = send(&mut rpc, &raw)?;
    let sent = started.elapsed();
    let hashes: Vec<B256> = accepted.iter().copied().collect();
    until("every accepted transaction has its receipt", RECEIPTS_TIME, || {
        Ok(rpc.receipts(&hashes)?.iter().all(|receipt| !receipt.is_null()))
    })?;
    let (success, revert, gas) = count(&mut rpc, &accepted)?;
    println!(
        "blocks {BLOCKS:?}: {} transactions sent in {sent:.2?}: {success} succeeded, {revert} reverted, {gas} gas",
        raw.len()
    );
    for (reason, count) in &rejected {
        println!("  rejected {count}: {reason}");
    }
    let rejected: u64 = rejected.values().sum();
    ensure!(
        accepted.len() + usize::try_from(rejected)? == raw.len(),
        "every transaction was accepted or rejected"
    );
    ensure!(rejected * 10 < raw.len() as u64, "{rejected} rejections are too many");

    // Every node gives the same receipts.
    let expected = rpc.receipts(&hashes)?;
    for node in &dev.nodes[1..] {
        let mut other = Rpc::to(node.development)?;
        until("a backup has caught up", RECEIPTS_TIME, || {
            Ok(other.block_number()? >= rpc.block_number()?)
        })?;
        ensure!(other.receipts(&hashes)? == expected, "a backup gives other receipts");
    }
    ensure!(dev.interrupt()?.success(), "Ctrl-C stops it in good order");
    folder.remove()
}
