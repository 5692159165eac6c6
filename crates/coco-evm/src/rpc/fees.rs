//! What gas costs: nothing, unless the chain charges fees. Tools ask all the same, and get zeros.

use super::{CachedBlock, Rpc, error::RpcError, json::Json, params::BlockId, view::Chain};
use alloy_consensus::Transaction;

use crate::genesis::Fees;

/// Most blocks of a fee history. As go-ethereum.
pub const FEE_HISTORY_BLOCKS_MAX: u64 = 1_024;

/// Most transactions that one fee history looks at; it begins later when the blocks hold more.
pub const FEE_HISTORY_TRANSACTIONS_MAX: usize = 100_000;

/// Blocks that a suggestion is made from.
const SUGGESTION_BLOCKS: u64 = 20;

/// The part of the recent tips that a suggestion is above, in per cent. As go-ethereum.
const SUGGESTION_PERCENTILE: usize = 60;

impl Rpc {
    /// `eth_gasPrice`.
    pub(super) fn gas_price(&self, chain: &Chain<'_>, json: &mut Json) -> Result<(), RpcError> {
        let base_fee = self.next_base_fee(chain);
        json.quantity_u128(self.suggested_tip(chain)?.saturating_add(u128::from(base_fee)));
        Ok(())
    }

    /// `eth_maxPriorityFeePerGas`.
    pub(super) fn max_priority_fee(
        &self,
        chain: &Chain<'_>,
        json: &mut Json,
    ) -> Result<(), RpcError> {
        json.quantity_u128(self.suggested_tip(chain)?);
        Ok(())
    }

    /// `eth_feeHistory`.
    pub(super) fn fee_history(
        &self,
        chain: &Chain<'_>,
        blocks: u64,
        newest: BlockId,
        percentiles: Option<&[f64]>,
        json: &mut Json,
    ) -> Result<(), RpcError> {
        let head = chain.latest.number;
        let newest = match newest {
            BlockId::Number(number) if number > head => {
                return Err(RpcError::plain(format!(
                    "request beyond head block: requested {number}, head {head}"
                )));
            }
            BlockId::Number(number) => number,
            BlockId::Latest | BlockId::Pending | BlockId::Hash(_) => head,
        };
        let wanted = blocks.min(FEE_HISTORY_BLOCKS_MAX).min(newest + 1);
        if wanted == 0 {
            json.raw(r#"{"oldestBlock":"0x0","gasUsedRatio":null}"#);
            return Ok(());
        }
        let percentiles = percentiles.filter(|percentiles| !percentiles.is_empty());
        let mut history = Vec::new();
        let mut transactions = 0;
        let mut after = 0;
        for number in (0..=newest).rev().take(usize::try_from(wanted).expect("at most 1,024")) {
            chain.in_time()?;
            let Some(block) = chain.committed_block(number)? else { break };
            if history.is_empty() {
                after = self.base_fee_after(&block);
            }
            transactions += block.block.transactions.len();
            history.push(Figures::of(&block, percentiles));
            if transactions > FEE_HISTORY_TRANSACTIONS_MAX {
                break;
            }
        }
        history.reverse();
        json.raw(r#"{"oldestBlock":"#).quantity(history.first().map_or(0, |block| block.number));
        if percentiles.is_some() {
            json.name("reward").list(&history, |json, block| {
                json.list(block.rewards.iter().copied(), Json::quantity_u128);
            });
        }
        let fees = history.iter().map(|block| block.base_fee).chain([after]);
        json.name("baseFeePerGas").list(fees, Json::quantity);
        json.name("gasUsedRatio").list(&history, |json, block| json.ratio(block.gas_used_ratio));
        json.name("baseFeePerBlobGas")
            .list(0..=history.len(), |json, _| json.quantity(BLOB_BASE_FEE));
        json.name("blobGasUsedRatio").list(&history, |json, _| json.ratio(0.0));
        json.raw("}");
        Ok(())
    }

    /// The price of blob gas, which nobody can buy: the least that the protocol knows.
    pub(super) fn blob_base_fee(json: &mut Json) {
        json.quantity(BLOB_BASE_FEE);
    }

    fn next_base_fee(&self, chain: &Chain<'_>) -> u64 {
        let head = chain.latest;
        let time_ms = head.timestamp.saturating_mul(1_000);
        let next = self.executor.next_environment(&head, time_ms, alloy_primitives::B256::ZERO);
        next.base_fee.unwrap_or_default()
    }

    fn base_fee_after(&self, block: &CachedBlock) -> u64 {
        let header = &block.block.header;
        let head = crate::state::Head {
            number: header.number,
            hash: block.block.hash,
            timestamp: header.timestamp,
            gas_limit: header.gas_limit,
            gas_used: header.gas_used,
            base_fee: header.base_fee_per_gas,
            mix_hash: header.mix_hash,
            state_root: header.state_root,
        };
        let time_ms = head.timestamp.saturating_mul(1_000);
        let next = self.executor.next_environment(&head, time_ms, alloy_primitives::B256::ZERO);
        next.base_fee.unwrap_or_default()
    }

    /// The tip that most of the recent transactions outbid; zero without fees.
    fn suggested_tip(&self, chain: &Chain<'_>) -> Result<u128, RpcError> {
        if self.executor.config().fees == Fees::Off {
            return Ok(0);
        }
        let newest = chain.latest.number;
        let mut tips = Vec::new();
        for number in newest.saturating_sub(SUGGESTION_BLOCKS - 1)..=newest {
            chain.in_time()?;
            if let Some(block) = chain.committed_block(number)? {
                tips.extend(tips_of(&block).map(|(tip, _)| tip));
            }
        }
        tips.sort_unstable();
        let at = tips.len().saturating_sub(1) * SUGGESTION_PERCENTILE / 100;
        Ok(tips.get(at).copied().unwrap_or_default())
    }
}

/// What a fee history says of one block. The blocks themselves would take gigabytes, so one is held at a time.
struct Figures {
    number: u64,
    base_fee: u64,
    gas_used_ratio: f64,
    rewards: Vec<u128>,
}

impl Figures {
    fn of(block: &CachedBlock, percentiles: Option<&[f64]>) -> Self {
        let header = &block.block.header;
        Self {
            number: header.number,
            base_fee: header.base_fee_per_gas.unwrap_or_default(),
            gas_used_ratio: header.gas_used as f64 / header.gas_limit as f64,
            rewards: percentiles.map_or_else(Vec::new, |percentiles| rewards(block, percentiles)),
        }
    }
}

/// What each transaction paid on top of the base fee for one gas, and the gas it used.
fn tips_of(block: &CachedBlock) -> impl Iterator<Item = (u128, u64)> {
    let base_fee = block.block.header.base_fee_per_gas.unwrap_or_default();
    block.block.transactions.iter().map(move |included| {
        let tip = included.transaction.effective_tip_per_gas(base_fee).unwrap_or_default();
        (tip, included.outcome.gas_used)
    })
}

/// The tips that the given percentiles of the block's gas did not exceed.
fn rewards(block: &CachedBlock, percentiles: &[f64]) -> Vec<u128> {
    let mut tips: Vec<(u128, u64)> = tips_of(block).collect();
    if tips.is_empty() {
        return vec![0; percentiles.len()];
    }
    tips.sort_unstable();
    let total = block.block.header.gas_used as f64;
    let (mut at, mut sum) = (0, tips[0].1);
    percentiles
        .iter()
        .map(|percentile| {
            while (sum as f64) < (total * percentile / 100.0).floor() && at + 1 < tips.len() {
                at += 1;
                sum += tips[at].1;
            }
            tips[at].0
        })
        .collect()
}

/// The least price of blob gas (EIP-4844).
const BLOB_BASE_FEE: u64 = 1;
