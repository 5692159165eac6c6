//! Counting what blocks include, and when it became visible.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use alloy_primitives::{B256, U64, map::B256Map};
use anyhow::{Context as _, ensure};
use serde::Deserialize;
use serde_json::json;
use tokio::time::sleep;

use crate::{
    client::Connection,
    load::Board,
    rpc::{self, ShortReceipt},
};

/// How blocks are looked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Watch {
    /// The first block of interest.
    pub(crate) from: u64,
    /// Pause between two questions for a new block.
    pub(crate) poll: Duration,
    /// Transactions in the load.
    pub(crate) places: usize,
    /// Once all is sent: how long without an inclusion before the rest is given up.
    pub(crate) quiet: Duration,
}

/// What was seen in blocks.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Blocks with at least one wanted transaction.
    pub(crate) blocks: Vec<u64>,
    /// Gas used by those blocks, by their headers.
    pub(crate) gas_used: u64,
    /// Since the clock started: when a transaction, by its place in the load, was visible in a block and the node
    /// answered for a receipt of that block.
    pub(crate) visible_at: Vec<Option<Duration>>,
    /// How many are included.
    pub(crate) included: usize,
    /// When the last one became visible.
    pub(crate) last: Duration,
}

/// What receipts say.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outcomes {
    pub(crate) succeeded: usize,
    pub(crate) reverted: usize,
    pub(crate) gas_used: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BlockAnswer {
    gas_used: U64,
    transactions: Vec<B256>,
}

/// The number of the newest block.
pub(crate) async fn head(connection: &mut Connection) -> anyhow::Result<u64> {
    let head: U64 = rpc::call(connection, "eth_blockNumber", json!([])).await?;
    Ok(head.to())
}

/// Follows the chain until everything accepted is included, or nothing more comes.
pub(crate) async fn follow(
    connection: &mut Connection,
    watch: Watch,
    wanted: &B256Map<usize>,
    clock: Instant,
    board: &Board,
) -> anyhow::Result<Seen> {
    let mut seen = Seen { visible_at: vec![None; watch.places], ..Seen::default() };
    let mut next = watch.from;
    let mut active = clock.elapsed();
    loop {
        let finished = board.finished.load(Ordering::Acquire);
        let before = seen.included;
        let head = head(connection).await?;
        while next <= head {
            let last = head.min(next + BLOCKS_PER_BATCH - 1);
            let read = read_blocks(connection, next..=last, wanted, clock, &mut seen).await?;
            if read == 0 {
                break;
            }
            next += read;
        }
        if !finished || seen.included > before {
            active = clock.elapsed();
        }
        let complete = seen.included >= board.accepted.load(Ordering::Relaxed);
        if finished && (complete || clock.elapsed() - active > watch.quiet) {
            return Ok(seen);
        }
        sleep(watch.poll).await;
    }
}

/// Reads those blocks that exist, in order; returns how many that were.
async fn read_blocks(
    connection: &mut Connection,
    numbers: std::ops::RangeInclusive<u64>,
    wanted: &B256Map<usize>,
    clock: Instant,
    seen: &mut Seen,
) -> anyhow::Result<u64> {
    let first = *numbers.start();
    let calls = numbers
        .map(|number| ("eth_getBlockByNumber", json!([rpc::quantity(number), false])))
        .collect();
    let blocks: Vec<Option<BlockAnswer>> = rpc::call_all(connection, calls).await?;
    let mut read = 0;
    let mut places = Vec::new();
    let mut newest = None;
    for block in blocks {
        let Some(block) = block else { break };
        let before = places.len();
        for hash in &block.transactions {
            if let Some(place) = wanted.get(hash) {
                places.push(*place);
                newest = Some(*hash);
            }
        }
        if places.len() > before {
            seen.blocks.push(first + read);
            seen.gas_used += block.gas_used.to::<u64>();
        }
        read += 1;
    }
    if let Some(hash) = newest {
        wait_for_receipt(connection, hash).await?;
        let now = clock.elapsed();
        seen.last = now;
        for place in places {
            if seen.visible_at[place].replace(now).is_none() {
                seen.included += 1;
            }
        }
    }
    Ok(read)
}

async fn wait_for_receipt(connection: &mut Connection, hash: B256) -> anyhow::Result<()> {
    for _ in 0..RECEIPT_QUESTIONS_MAX {
        let receipt: Option<ShortReceipt> =
            rpc::call(connection, "eth_getTransactionReceipt", json!([hash])).await?;
        if receipt.is_some() {
            return Ok(());
        }
        sleep(RECEIPT_PAUSE).await;
    }
    anyhow::bail!("{hash} is in a block, but has no receipt")
}

/// Reads every receipt of `blocks` and counts those of wanted transactions.
pub(crate) async fn outcomes(
    connection: &mut Connection,
    blocks: &[u64],
    wanted: &B256Map<usize>,
) -> anyhow::Result<Outcomes> {
    let mut outcomes = Outcomes::default();
    for group in blocks.chunks(RECEIPT_BLOCKS_PER_BATCH) {
        let calls = group
            .iter()
            .map(|number| ("eth_getBlockReceipts", json!([rpc::quantity(*number)])))
            .collect();
        let answers: Vec<Option<Vec<ShortReceipt>>> =
            rpc::call_all(connection, calls).await.context("reading receipts back")?;
        for receipts in answers {
            for receipt in receipts.context("a block that was read has no receipts")? {
                if !wanted.contains_key(&receipt.transaction_hash) {
                    continue;
                }
                outcomes.gas_used += receipt.gas_used.to::<u64>();
                if receipt.succeeded() {
                    outcomes.succeeded += 1;
                } else {
                    outcomes.reverted += 1;
                }
            }
        }
    }
    let counted = outcomes.succeeded + outcomes.reverted;
    ensure!(counted <= wanted.len(), "{counted} receipts for {} transactions", wanted.len());
    Ok(outcomes)
}

/// Blocks asked for at once while following.
const BLOCKS_PER_BATCH: u64 = 64;
/// Blocks whose receipts are read at once.
const RECEIPT_BLOCKS_PER_BATCH: usize = 8;
/// A receipt that is missing this many times, for a block that names it, will never come.
const RECEIPT_QUESTIONS_MAX: u32 = 5_000;
const RECEIPT_PAUSE: Duration = Duration::from_millis(1);
