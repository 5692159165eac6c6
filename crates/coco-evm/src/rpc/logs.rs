//! Searches the logs.
//!
//! The log index names the blocks that may hold a log of some address or topic; only those are read.

use std::sync::Arc;

use alloy_primitives::{Address, B256, Log};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    CachedBlock, Rpc,
    blocks::write_log,
    error::{CODE_INVALID_PARAMS, CODE_LIMIT, RpcError},
    json::Json,
    params::{self, BlockId, Wrong},
    view::{Chain, too_long},
};
use crate::block::log_index_may_hold;

/// Most blocks that one search may span.
pub const LOG_BLOCKS_SPAN_MAX: u64 = 1_000_000;

/// Most blocks that one search may read, after the index has ruled out the others.
pub const LOG_BLOCKS_READ_MAX: usize = 10_000;

/// Most logs that one search may find. The poll of a filter ends with the block that reaches it.
pub const LOG_RESULTS_MAX: usize = 20_000;

/// Most bytes of JSON that one search may return.
pub const LOG_BYTES_MAX: usize = 16 << 20;

/// Most addresses of one search, and most topics in one position. As go-ethereum.
pub const LOG_ITEMS_MAX: usize = 1_000;

/// Most positions of topics. A log has no more.
const TOPICS_MAX: usize = 4;

/// Entries of the log index that are read at once, so that the writer does not wait long.
const INDEX_PAGE: usize = 1_024;

/// How far one search goes. The defaults are the constants of this module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogLimits {
    /// Blocks that it may span.
    pub span: u64,
    /// Blocks that it may read.
    pub blocks: usize,
    /// Logs that it may find.
    pub results: usize,
    /// Bytes of JSON that it may return, apart from the last log.
    pub bytes: usize,
}

impl Default for LogLimits {
    fn default() -> Self {
        Self {
            span: LOG_BLOCKS_SPAN_MAX,
            blocks: LOG_BLOCKS_READ_MAX,
            results: LOG_RESULTS_MAX,
            bytes: LOG_BYTES_MAX,
        }
    }
}

/// Where to search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Span {
    Blocks(Option<BlockId>, Option<BlockId>),
    Block(B256),
}

/// What to search for, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Criteria {
    span: Span,
    /// Any of them; none for every address.
    addresses: Vec<Address>,
    /// Per position any of them; none for every topic.
    topics: Vec<Vec<B256>>,
}

impl Criteria {
    pub(super) fn read(value: &RawValue) -> Result<Self, Wrong> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Fields<'a> {
            #[serde(borrow, default)]
            block_hash: Option<&'a RawValue>,
            #[serde(borrow, default)]
            from_block: Option<&'a RawValue>,
            #[serde(borrow, default)]
            to_block: Option<&'a RawValue>,
            #[serde(borrow, default)]
            address: Option<&'a RawValue>,
            #[serde(borrow, default)]
            topics: Option<&'a RawValue>,
        }
        let wrong = || "json: cannot unmarshal into Go value of type filters.input".to_owned();
        if !value.get().starts_with('{') {
            return Err(wrong());
        }
        let fields: Fields<'_> = serde_json::from_str(value.get()).map_err(|_| wrong())?;
        let span = match (fields.block_hash, fields.from_block, fields.to_block) {
            (Some(hash), None, None) => Span::Block(params::hash(hash)?),
            (Some(_), _, _) => {
                return Err(
                    "cannot specify both BlockHash and FromBlock/ToBlock, choose one or the other"
                        .to_owned(),
                );
            }
            (None, from, to) => Span::Blocks(
                from.map(params::block_number).transpose()?,
                to.map(params::block_number).transpose()?,
            ),
        };
        let addresses = match fields.address {
            None => Vec::new(),
            Some(value) if value.get().starts_with('[') => {
                params::list(value, LOG_ITEMS_MAX, params::address)?
            }
            Some(value) => vec![params::address(value)?],
        };
        let topics = match fields.topics {
            None => Vec::new(),
            Some(value) => params::list(value, TOPICS_MAX, topics_at)?,
        };
        Ok(Self { span, addresses, topics })
    }

    /// Bytes that it takes in memory.
    pub(super) fn weight(&self) -> usize {
        let topics: usize = self.topics.iter().map(|any| 24 + 32 * any.len()).sum();
        size_of::<Self>() + 20 * self.addresses.len() + topics
    }

    /// Whether it asks for this log.
    fn matches(&self, log: &Log) -> bool {
        let topics = log.topics();
        let fits = |(any, at): (&Vec<B256>, usize)| match topics.get(at) {
            None => false,
            Some(topic) => any.is_empty() || any.contains(topic),
        };
        (self.addresses.is_empty() || self.addresses.contains(&log.address))
            && self.topics.len() <= topics.len()
            && self.topics.iter().zip(0..).all(fits)
    }

    /// Whether the block with this entry in the log index may hold a log that it asks for.
    fn may_match(&self, entry: &[u8]) -> bool {
        let holds_any = |items: &mut dyn Iterator<Item = &[u8]>| {
            let mut items = items.peekable();
            items.peek().is_none() || items.any(|item| log_index_may_hold(entry, item))
        };
        holds_any(&mut self.addresses.iter().map(|address| address.as_slice()))
            && self
                .topics
                .iter()
                .all(|any| holds_any(&mut any.iter().map(|topic| topic.as_slice())))
    }
}

fn topics_at(value: &RawValue) -> Result<Vec<B256>, Wrong> {
    match value.get() {
        "null" => Ok(Vec::new()),
        text if text.starts_with('[') => {
            // A `null` among several topics allows every topic.
            let any = params::list(value, LOG_ITEMS_MAX, |item| {
                if item.get() == "null" { Ok(None) } else { params::hash(item).map(Some) }
            })?;
            Ok(any.into_iter().collect::<Option<Vec<B256>>>().unwrap_or_default())
        }
        _ => Ok(vec![params::hash(value)?]),
    }
}

impl Rpc {
    /// `eth_getLogs`.
    pub(super) fn logs(
        &self,
        chain: &Chain<'_>,
        criteria: &Criteria,
        json: &mut Json,
    ) -> Result<(), RpcError> {
        let mut found = Found::new(self.config.logs, AtLimit::Refuse);
        match criteria.span {
            Span::Block(hash) => {
                let block = chain
                    .block(BlockId::Hash(hash))?
                    .ok_or_else(|| RpcError::plain("unknown block"))?;
                found.search(&block, criteria)?;
            }
            Span::Blocks(from, to) => {
                let (from, to) = (number(chain, from)?, number(chain, to)?);
                if from > to {
                    return Err(RpcError::new(CODE_INVALID_PARAMS, "invalid block range params"));
                }
                // An answer in part would look like the whole one. Code and words are those of execution-apis.
                if to > chain.latest.number {
                    let message = "block range extends beyond current head block";
                    return Err(RpcError::new(CODE_INVALID_PARAMS, message));
                }
                if to - from >= found.limits.span {
                    let message = format!("exceed maximum block range: {}", found.limits.span);
                    return Err(RpcError::new(CODE_LIMIT, message));
                }
                self.search(chain, criteria, (from, to), &mut found)?;
            }
        }
        found.write(json);
        Ok(())
    }

    /// The logs of blocks `from` to `to`, whatever span the criteria name, as far as the limits go. Says which block comes
    /// next: logs are told by whole blocks, and those of one block at least.
    pub(super) fn logs_between(
        &self,
        chain: &Chain<'_>,
        criteria: &Criteria,
        (from, to): (u64, u64),
        json: &mut Json,
    ) -> Result<u64, RpcError> {
        let mut found = Found::new(self.config.logs, AtLimit::Pause);
        let bounds = match criteria.span {
            Span::Block(_) => (u64::MAX, 0),
            Span::Blocks(first, last) => {
                let bound = |id: Option<BlockId>, none: u64| match id {
                    Some(BlockId::Number(number)) => number,
                    _ => none,
                };
                (bound(first, 0).max(from), bound(last, u64::MAX).min(to))
            }
        };
        let paused = if bounds.0 <= bounds.1 {
            self.search(chain, criteria, bounds, &mut found)?
        } else {
            None
        };
        found.write(json);
        Ok(paused.unwrap_or(to + 1))
    }

    /// Searches blocks; says before which it paused, if it did.
    fn search(
        &self,
        chain: &Chain<'_>,
        criteria: &Criteria,
        (from, to): (u64, u64),
        found: &mut Found,
    ) -> Result<Option<u64>, RpcError> {
        let mut next = from;
        while next <= to {
            let end = to.saturating_add(1).to_be_bytes();
            let map = self.executor.maps().log_index;
            let page = chain.committed().range(map, &next.to_be_bytes(), Some(&end), INDEX_PAGE);
            let Some((last, _)) = page.last() else { break };
            next = index_number(last) + 1;
            for (key, entry) in &page {
                let number = index_number(key);
                // The first block is read in any case, so that a poll comes further.
                if number > from && chain.is_late() {
                    return found.late(number);
                }
                if !criteria.may_match(entry) {
                    continue;
                }
                if found.pauses() {
                    return Ok(Some(number));
                }
                found.count_block()?;
                if let Some(block) = chain.committed_block(number)? {
                    found.search(&block, criteria)?;
                }
            }
            if page.len() < INDEX_PAGE {
                break;
            }
        }
        Ok(None)
    }
}

/// What a search does at a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AtLimit {
    /// It is refused: its answer would be one in part.
    Refuse,
    /// It ends with the block that reaches the limit, and another one goes on after it. A block that is over the limit by
    /// itself is told whole, since nobody could pass it otherwise; it is no longer than an entry of the ledger allows.
    Pause,
}

struct Found {
    limits: LogLimits,
    at_limit: AtLimit,
    blocks: usize,
    logs: usize,
    json: Json,
}

impl Found {
    fn new(limits: LogLimits, at_limit: AtLimit) -> Self {
        Self { limits, at_limit, blocks: 0, logs: 0, json: Json::default() }
    }

    /// Whether the search ends before the next block and goes on another time.
    fn pauses(&self) -> bool {
        let is_full = self.blocks >= self.limits.blocks
            || self.logs >= self.limits.results
            || self.json.len() > self.limits.bytes;
        self.at_limit == AtLimit::Pause && self.blocks > 0 && is_full
    }

    /// What becomes of a search that has no time for the block `number`.
    fn late(&self, number: u64) -> Result<Option<u64>, RpcError> {
        match self.at_limit {
            AtLimit::Refuse => Err(too_long()),
            AtLimit::Pause => Ok(Some(number)),
        }
    }

    fn count_block(&mut self) -> Result<(), RpcError> {
        self.blocks += 1;
        if self.at_limit == AtLimit::Refuse && self.blocks > self.limits.blocks {
            let message =
                format!("query reads more than {} blocks, narrow its range", self.limits.blocks);
            return Err(RpcError::new(CODE_LIMIT, message));
        }
        Ok(())
    }

    fn search(&mut self, block: &Arc<CachedBlock>, criteria: &Criteria) -> Result<(), RpcError> {
        for (position, included) in block.block.transactions.iter().enumerate() {
            for (log, index) in included.outcome.logs.iter().zip(block.first_log(position)..) {
                if !criteria.matches(log) {
                    continue;
                }
                self.logs += 1;
                let is_over =
                    self.logs > self.limits.results || self.json.len() > self.limits.bytes;
                if self.at_limit == AtLimit::Refuse && is_over {
                    let message = format!(
                        "query returned more than {} results, narrow its range",
                        self.limits.results
                    );
                    return Err(RpcError::new(CODE_LIMIT, message));
                }
                self.json.raw(if self.logs > 1 { "," } else { "" });
                write_log(&mut self.json, &block.block, position, index, log);
            }
        }
        Ok(())
    }

    fn write(self, json: &mut Json) {
        json.raw("[").append(&self.json.into_bytes()).raw("]");
    }
}

fn number(chain: &Chain<'_>, id: Option<BlockId>) -> Result<u64, RpcError> {
    match id {
        None | Some(BlockId::Latest) => Ok(chain.latest.number),
        Some(BlockId::Number(number)) => Ok(number),
        Some(BlockId::Pending) => Err(RpcError::plain("pending logs are not supported")),
        Some(BlockId::Hash(_)) => {
            Err(RpcError::new(CODE_INVALID_PARAMS, "invalid block range params"))
        }
    }
}

/// The block number that is the key of the log index.
fn index_number(key: &[u8]) -> u64 {
    u64::from_be_bytes(
        key.try_into().expect("the log index is keyed by block numbers of eight bytes"),
    )
}
