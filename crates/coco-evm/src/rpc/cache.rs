//! Decoded blocks in memory, the most recently used ones, up to a number of bytes.
//!
//! A block comes in from two sides: the adapter puts in what it executes, and queries put in what they read from the
//! ledger. What was executed here may be rolled back, so it is shown only after its hash was found in the committed
//! state.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, OnceLock},
};

use alloy_primitives::B256;
use parking_lot::Mutex;

use crate::block::{Block, Included};

/// Most bytes that decoded blocks take, by default.
pub const CACHE_BYTES_MAX: usize = 64 << 20;

/// Decoded blocks. Shared between the adapter and the queries of all threads.
#[derive(Debug)]
pub struct BlockCache {
    inner: Mutex<Inner>,
    bytes_max: usize,
}

/// A block with what queries look up in it.
#[derive(Debug)]
pub struct CachedBlock {
    /// The block.
    pub block: Arc<Block>,
    index: OnceLock<HashMap<B256, usize>>,
    first_logs: OnceLock<Vec<u64>>,
}

impl CachedBlock {
    pub(super) const fn new(block: Arc<Block>) -> Self {
        Self { block, index: OnceLock::new(), first_logs: OnceLock::new() }
    }

    /// The index of the transaction with this hash.
    #[must_use]
    pub fn position(&self, hash: &B256) -> Option<usize> {
        let index = self.index.get_or_init(|| {
            self.block
                .transactions
                .iter()
                .enumerate()
                .map(|(at, included)| (included.hash, at))
                .collect()
        });
        index.get(hash).copied()
    }

    /// The index within the block of the first log of the transaction at `transaction`.
    ///
    /// # Panics
    /// When the block has no such transaction.
    #[must_use]
    pub fn first_log(&self, transaction: usize) -> u64 {
        let firsts = self.first_logs.get_or_init(|| {
            let counts =
                self.block.transactions.iter().map(|included| included.outcome.logs.len() as u64);
            counts
                .scan(0, |before, count| {
                    let first = *before;
                    *before += count;
                    Some(first)
                })
                .collect()
        });
        firsts[transaction]
    }
}

impl BlockCache {
    /// An empty cache that grows to about `bytes_max` bytes.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self { inner: Mutex::new(Inner::default()), bytes_max }
    }

    /// Puts in a block that was executed here and may still be rolled back.
    pub fn executed(&self, block: Arc<Block>) {
        self.put(Arc::new(CachedBlock::new(block)), Standing::Executed);
    }

    /// Puts in a block that was read from the committed ledger.
    pub(super) fn committed(&self, block: Arc<CachedBlock>) {
        self.put(block, Standing::Committed);
    }

    /// The block `number`, when it is known to be committed, or when `confirm` returns its hash as that of the
    /// committed one.
    pub(super) fn get(
        &self,
        number: u64,
        confirm: impl FnOnce() -> Option<B256>,
    ) -> Option<Arc<CachedBlock>> {
        let (block, standing) = self.inner.lock().touch(number)?;
        if standing == Standing::Committed {
            return Some(block);
        }
        // Reading the state must not hold the lock.
        if confirm() != Some(block.block.hash) {
            return None;
        }
        self.inner.lock().confirm(number, block.block.hash);
        Some(block)
    }

    /// The block `number` as it was last executed here, whether or not it stands.
    pub(super) fn peek(&self, number: u64) -> Option<Arc<CachedBlock>> {
        self.inner.lock().slots.get(&number).map(|slot| Arc::clone(&slot.block))
    }

    /// The number of a block that was put in, by its hash; it may be a block that was rolled back.
    pub(super) fn number(&self, hash: &B256) -> Option<u64> {
        self.inner.lock().by_hash.get(hash).copied()
    }

    /// How many bytes the blocks take, about.
    pub(super) fn bytes(&self) -> usize {
        self.inner.lock().bytes
    }

    fn put(&self, block: Arc<CachedBlock>, standing: Standing) {
        let bytes = weight(&block.block);
        let mut inner = self.inner.lock();
        inner.remove(block.block.number());
        inner.insert(block, standing, bytes);
        while inner.bytes > self.bytes_max && inner.slots.len() > 1 {
            inner.remove_oldest();
        }
    }
}

impl Default for BlockCache {
    fn default() -> Self {
        Self::new(CACHE_BYTES_MAX)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Executed,
    Committed,
}

#[derive(Debug)]
struct Slot {
    block: Arc<CachedBlock>,
    standing: Standing,
    used: u64,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Inner {
    slots: BTreeMap<u64, Slot>,
    by_use: BTreeMap<u64, u64>,
    by_hash: BTreeMap<B256, u64>,
    uses: u64,
    bytes: usize,
}

impl Inner {
    fn touch(&mut self, number: u64) -> Option<(Arc<CachedBlock>, Standing)> {
        let slot = self.slots.get_mut(&number)?;
        self.by_use.remove(&slot.used);
        self.uses += 1;
        slot.used = self.uses;
        self.by_use.insert(self.uses, number);
        Some((Arc::clone(&slot.block), slot.standing))
    }

    fn confirm(&mut self, number: u64, hash: B256) {
        if let Some(slot) = self.slots.get_mut(&number)
            && slot.block.block.hash == hash
        {
            slot.standing = Standing::Committed;
        }
    }

    fn insert(&mut self, block: Arc<CachedBlock>, standing: Standing, bytes: usize) {
        let number = block.block.number();
        self.uses += 1;
        self.bytes += bytes;
        self.by_use.insert(self.uses, number);
        self.by_hash.insert(block.block.hash, number);
        self.slots.insert(number, Slot { block, standing, used: self.uses, bytes });
    }

    fn remove(&mut self, number: u64) {
        if let Some(slot) = self.slots.remove(&number) {
            self.by_use.remove(&slot.used);
            self.by_hash.remove(&slot.block.block.hash);
            self.bytes -= slot.bytes;
        }
    }

    fn remove_oldest(&mut self) {
        let oldest = self.by_use.first_key_value().map(|(_, number)| *number);
        self.remove(oldest.expect("every block in the cache was used"));
    }
}

/// About how many bytes a decoded block takes.
fn weight(block: &Block) -> usize {
    let transaction = |included: &Included| {
        let logs: usize =
            included.outcome.logs.iter().map(|log| LOG_BYTES + log.data.data.len()).sum();
        // The raw bytes are there twice: as they came, and as the decoded transaction's input.
        TRANSACTION_BYTES + 2 * included.raw.len() + logs
    };
    BLOCK_BYTES + block.transactions.iter().map(transaction).sum::<usize>()
}

const BLOCK_BYTES: usize = 1_024;
/// A decoded transaction with its outcome and its place in the index.
const TRANSACTION_BYTES: usize = 640;
/// A log with four topics.
const LOG_BYTES: usize = 208;

#[cfg(test)]
mod tests {
    use alloy_consensus::Header;

    use super::*;

    fn block(number: u64, seed: u8) -> Arc<Block> {
        let header = Header { number, extra_data: vec![seed].into(), ..Header::default() };
        Arc::new(Block { hash: B256::repeat_byte(seed), header, transactions: Vec::new() })
    }

    #[test]
    fn what_was_executed_is_shown_once_its_hash_is_confirmed() {
        let cache = BlockCache::default();
        cache.executed(block(1, 7));
        assert!(cache.get(1, || None).is_none());
        assert!(cache.get(1, || Some(B256::repeat_byte(8))).is_none());
        assert!(cache.get(1, || Some(B256::repeat_byte(7))).is_some());
        assert!(cache.get(1, || unreachable!("it was confirmed")).is_some());
        // Rolled back and executed again, it is another block.
        cache.executed(block(1, 9));
        assert!(cache.get(1, || Some(B256::repeat_byte(7))).is_none());
        assert_eq!(cache.number(&B256::repeat_byte(7)), None);
        assert_eq!(cache.number(&B256::repeat_byte(9)), Some(1));
    }

    #[test]
    fn the_least_recently_used_block_makes_room() {
        let cache = BlockCache::new(3 * BLOCK_BYTES);
        for (number, seed) in [(1, 1), (2, 2), (3, 3)] {
            cache.committed(Arc::new(CachedBlock::new(block(number, seed))));
        }
        assert!(cache.get(1, || None).is_some());
        cache.committed(Arc::new(CachedBlock::new(block(4, 4))));
        let left: Vec<bool> = (1..=4).map(|number| cache.get(number, || None).is_some()).collect();
        assert_eq!(left, [true, false, true, true]);
        assert_eq!(cache.inner.lock().bytes, 3 * BLOCK_BYTES);
    }
}
