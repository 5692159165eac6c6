//! What one query sees: the committed state, the newest state, and the blocks of the past.
//!
//! Visible means committed. A block's place in the ledger is found through the committed snapshot's index, which may
//! name an entry falsely; what is read there decides.

use std::sync::Arc;

use alloy_consensus::Header;
use alloy_primitives::B256;
use coco_adapter::{History, HistoryError};
use coco_kv::{MapName, NotRetained, Reader, Snapshot};
use coco_types::Seqno;

use super::{
    BlockCache, CachedBlock,
    error::{CODE_INTERNAL, CODE_LIMIT, CODE_PRUNED, RpcError},
    params::BlockId,
};
use crate::{
    block::{Block, DecodeBlockError},
    state::{self, EvmMaps, Head, names},
};

/// Longest time for one query, in milliseconds. Asked between blocks and between runs of code, so that whoever asks for much
/// does not hold a thread for long.
pub const QUERY_MS_MAX: u64 = 10_000;

/// The ledger as one query sees it.
#[derive(Clone, Copy)]
pub struct ReadView<'a> {
    reader: &'a Reader,
    committed: &'a Snapshot,
    head: &'a Snapshot,
    history: &'a dyn History,
    clock: &'a dyn Fn() -> u64,
}

impl<'a> ReadView<'a> {
    /// A view with `committed` as its newest final version, and `head` as its newest version. Both stay the same for
    /// all queries of one view. `clock` counts milliseconds and only runs.
    #[must_use]
    pub const fn new(
        reader: &'a Reader,
        committed: &'a Snapshot,
        head: &'a Snapshot,
        history: &'a dyn History,
        clock: &'a dyn Fn() -> u64,
    ) -> Self {
        Self { reader, committed, head, history, clock }
    }
}

impl std::fmt::Debug for ReadView<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ReadView(committed {}, head {})", self.committed.version(), self.head.version())
    }
}

/// A view with what it takes to find blocks.
#[derive(Clone, Copy)]
pub(super) struct Chain<'a> {
    view: ReadView<'a>,
    maps: &'a EvmMaps,
    cache: &'a BlockCache,
    /// When the query has taken as long as it may.
    until_ms: u64,
    /// The newest committed block.
    pub(super) latest: Head,
    /// The newest executed block.
    pub(super) newest: Head,
}

/// A state and the header of the block that left it.
pub(super) struct StateAt {
    pub(super) snapshot: Snapshot,
    pub(super) head: Head,
}

impl<'a> Chain<'a> {
    pub(super) fn new(
        view: ReadView<'a>,
        maps: &'a EvmMaps,
        cache: &'a BlockCache,
    ) -> Result<Self, RpcError> {
        let missing = || RpcError::plain("the chain has no genesis block yet");
        let latest = head_of(view.committed, maps).ok_or_else(missing)?;
        let newest = head_of(view.head, maps).ok_or_else(missing)?;
        let until_ms = (view.clock)().saturating_add(QUERY_MS_MAX);
        Ok(Self { view, maps, cache, until_ms, latest, newest })
    }

    /// Milliseconds on a clock that only runs.
    pub(super) fn now_ms(&self) -> u64 {
        (self.view.clock)()
    }

    /// Whether the query has taken as long as it may.
    pub(super) fn is_late(&self) -> bool {
        self.now_ms() > self.until_ms
    }

    /// Refuses to go on when the query has taken as long as it may.
    pub(super) fn in_time(&self) -> Result<(), RpcError> {
        if self.is_late() { Err(too_long()) } else { Ok(()) }
    }

    pub(super) const fn committed(&self) -> &'a Snapshot {
        self.view.committed
    }

    /// The block that `id` names; `None` when there is none yet.
    pub(super) fn block(&self, id: BlockId) -> Result<Option<Arc<CachedBlock>>, RpcError> {
        match id {
            BlockId::Latest => self.committed_block(self.latest.number),
            BlockId::Pending => match self.pending_block()? {
                Some(block) => Ok(Some(block)),
                None => self.committed_block(self.latest.number),
            },
            BlockId::Number(number) => self.committed_block(number),
            BlockId::Hash(hash) => self.block_of(&hash),
        }
    }

    /// The committed block `number`; `None` when there is none yet.
    pub(super) fn committed_block(
        &self,
        number: u64,
    ) -> Result<Option<Arc<CachedBlock>>, RpcError> {
        let latest = self.latest;
        if number > latest.number {
            return Ok(None);
        }
        let confirm = || {
            if number == latest.number { Some(latest.hash) } else { self.ring_hash(number) }
        };
        if let Some(block) = self.cache.get(number, confirm) {
            return Ok(Some(block));
        }
        let key = number.to_be_bytes();
        let places = self.view.committed.locate(self.maps.blocks, &key);
        let block = self.read_block(&places, number)?;
        let block = block.ok_or_else(pruned)?;
        self.cache.committed(Arc::clone(&block));
        Ok(Some(block))
    }

    /// The hash of the committed block `number`; `None` when there is none yet. No transaction is decoded for it.
    pub(super) fn committed_hash(&self, number: u64) -> Result<Option<B256>, RpcError> {
        let latest = self.latest;
        if number >= latest.number {
            return Ok((number == latest.number).then_some(latest.hash));
        }
        if let Some(hash) = self.ring_hash(number) {
            return Ok(Some(hash));
        }
        let places = self.view.committed.locate(self.maps.blocks, &number.to_be_bytes());
        let hash = self.read_stored(&places, number, Block::decode_hash)?;
        hash.map(Some).ok_or_else(pruned)
    }

    /// The newest block, when it is not committed yet and can be read.
    pub(super) fn pending_block(&self) -> Result<Option<Arc<CachedBlock>>, RpcError> {
        let newest = self.newest;
        if newest.number <= self.latest.number {
            return Ok(None);
        }
        self.uncommitted_block(&newest)
    }

    /// A committed transaction: its block and its index there.
    pub(super) fn transaction(
        &self,
        hash: &B256,
    ) -> Result<Option<(Arc<CachedBlock>, usize)>, RpcError> {
        for seqno in self.view.committed.locate(self.maps.transactions, hash.as_slice()) {
            let Some(number) = self.number_at(seqno, names::TRANSACTIONS, hash.as_slice())? else {
                continue;
            };
            if let Some(block) = self.committed_block(number)?
                && let Some(position) = block.position(hash)
            {
                return Ok(Some((block, position)));
            }
        }
        Ok(None)
    }

    /// A transaction that was executed but is not committed yet.
    pub(super) fn pending_transaction(
        &self,
        hash: &B256,
    ) -> Result<Option<(Arc<CachedBlock>, usize)>, RpcError> {
        let committed = self.view.committed.version();
        for seqno in self.view.head.locate(self.maps.transactions, hash.as_slice()) {
            if seqno <= committed {
                continue;
            }
            // What is not committed may be gone by now, and is then no error.
            let Ok(state) = self.view.reader.snapshot(seqno) else { continue };
            if let Some(head) = head_of(&state, self.maps)
                && let Ok(Some(block)) = self.uncommitted_block(&head)
                && let Some(position) = block.position(hash)
            {
                return Ok(Some((block, position)));
            }
        }
        Ok(None)
    }

    /// The state that `id` names.
    pub(super) fn state(&self, id: BlockId) -> Result<StateAt, RpcError> {
        let latest = self.latest;
        let committed = || StateAt { snapshot: self.view.committed.clone(), head: latest };
        let number = match id {
            BlockId::Latest => return Ok(committed()),
            BlockId::Pending => {
                return Ok(StateAt { snapshot: self.view.head.clone(), head: self.newest });
            }
            BlockId::Number(number) => number,
            BlockId::Hash(hash) if hash == latest.hash => latest.number,
            BlockId::Hash(hash) => {
                let block = self.block_of(&hash)?;
                block.ok_or_else(|| RpcError::plain("header for hash not found"))?.block.number()
            }
        };
        if number > latest.number {
            return Err(RpcError::plain("header not found"));
        }
        if number == latest.number {
            return Ok(committed());
        }
        let mut oldest = None;
        for seqno in self.view.committed.locate(self.maps.blocks, &number.to_be_bytes()) {
            let snapshot = match self.view.reader.snapshot(seqno) {
                Ok(snapshot) => snapshot,
                Err(NotRetained { oldest: version, .. }) => {
                    // Entries without a block leave the state as it was.
                    let Ok(snapshot) = self.view.reader.snapshot(version) else { continue };
                    oldest = head_of(&snapshot, self.maps).map(|head| head.number);
                    snapshot
                }
            };
            if let Some(head) = head_of(&snapshot, self.maps).filter(|head| head.number == number) {
                return Ok(StateAt { snapshot, head });
            }
        }
        let oldest = oldest.unwrap_or(latest.number);
        Err(RpcError::plain(format!(
            "historical state of block {number} is not available; the oldest available block is {oldest}"
        )))
    }

    /// The header of the block that left `state`.
    pub(super) fn header(&self, state: &StateAt) -> Result<Header, RpcError> {
        let missing = || RpcError::plain("header not found");
        let block = if state.head.number <= self.latest.number {
            self.committed_block(state.head.number)?
        } else {
            self.uncommitted_block(&state.head)?
        };
        Ok(block.ok_or_else(missing)?.block.header.clone())
    }

    fn ring_hash(&self, number: u64) -> Option<B256> {
        state::block_hash(&mut &*self.view.committed, self.maps, number)
    }

    fn block_of(&self, hash: &B256) -> Result<Option<Arc<CachedBlock>>, RpcError> {
        let is_it = |block: &Arc<CachedBlock>| block.block.hash == *hash;
        if let Some(number) = self.cache.number(hash) {
            return Ok(self.committed_block(number)?.filter(is_it));
        }
        for seqno in self.view.committed.locate(self.maps.block_by_hash, hash.as_slice()) {
            if let Some(number) = self.number_at(seqno, names::BLOCK_BY_HASH, hash.as_slice())?
                && let Some(block) = self.committed_block(number)?.filter(is_it)
            {
                return Ok(Some(block));
            }
        }
        Ok(None)
    }

    /// The number of the block that the entry at `seqno` holds, if it wrote `key`, whose value starts with it. While
    /// the version is in memory, its head says it without a look at the disk.
    fn number_at(
        &self,
        seqno: Seqno,
        map: &'static str,
        key: &[u8],
    ) -> Result<Option<u64>, RpcError> {
        if let Ok(state) = self.view.reader.snapshot(seqno) {
            return Ok(head_of(&state, self.maps).map(|head| head.number));
        }
        let value = self.read(seqno, map, key)?;
        Ok(value.and_then(|value| value.first_chunk().map(|number| u64::from_be_bytes(*number))))
    }

    fn uncommitted_block(&self, head: &Head) -> Result<Option<Arc<CachedBlock>>, RpcError> {
        let is_it = |block: &Arc<CachedBlock>| block.block.hash == head.hash;
        if let Some(block) = self.cache.peek(head.number).filter(is_it) {
            return Ok(Some(block));
        }
        let places = self.view.head.locate(self.maps.blocks, &head.number.to_be_bytes());
        Ok(self.read_block(&places, head.number)?.filter(is_it))
    }

    fn read_block(
        &self,
        places: &[Seqno],
        number: u64,
    ) -> Result<Option<Arc<CachedBlock>>, RpcError> {
        let block = self.read_stored(places, number, Block::decode)?;
        Ok(block.map(|block| Arc::new(CachedBlock::new(Arc::new(block)))))
    }

    /// What `decode` makes of the stored block `number`, from the first of these entries that has it.
    fn read_stored<T>(
        &self,
        places: &[Seqno],
        number: u64,
        decode: impl FnOnce(&[u8]) -> Result<T, DecodeBlockError>,
    ) -> Result<Option<T>, RpcError> {
        for seqno in places {
            let Some(bytes) = self.read(*seqno, names::BLOCKS, &number.to_be_bytes())? else {
                continue;
            };
            let decoded = decode(&bytes).map_err(|_| {
                RpcError::new(CODE_INTERNAL, format!("block {number} cannot be decoded"))
            })?;
            return Ok(Some(decoded));
        }
        Ok(None)
    }

    fn read(
        &self,
        seqno: Seqno,
        map: &'static str,
        key: &[u8],
    ) -> Result<Option<bytes::Bytes>, RpcError> {
        let value = self.view.history.read(seqno, &MapName::from_static(map), key);
        value.map_err(|error| match error {
            HistoryError::Archived { .. } => {
                RpcError::new(CODE_PRUNED, format!("pruned history unavailable: {error}"))
            }
            HistoryError::Unreadable { .. } | HistoryError::Altered { .. } => {
                RpcError::new(CODE_INTERNAL, error.to_string())
            }
        })
    }
}

/// What a query is refused with that has taken as long as it may.
pub(super) fn too_long() -> RpcError {
    let message =
        format!("limit exceeded: the query takes longer than {QUERY_MS_MAX} ms, ask for less");
    RpcError::new(CODE_LIMIT, message)
}

fn pruned() -> RpcError {
    RpcError::new(CODE_PRUNED, "pruned history unavailable")
}

fn head_of(snapshot: &Snapshot, maps: &EvmMaps) -> Option<Head> {
    state::head(&mut &*snapshot, maps)
}
