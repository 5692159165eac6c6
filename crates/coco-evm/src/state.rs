//! The maps in which a chain is kept, and how to read them.
//!
//! | map | key | value |
//! |---|---|---|
//! | `evm.accounts` | address | [`AccountRecord`] |
//! | `evm.storage` | address, slot, and the incarnation (8 bytes) unless it is 0 | the word, leading zeros cut |
//! | `evm.code` | code hash | code |
//! | `evm.chain` | `config`, `head` | [`ChainConfig`], [`Head`] |
//! | `evm.block_hashes` | number modulo 256, one byte | number, hash |
//! | `evm.log_index` | number | what [`crate::block::Block::log_index`] gives |
//! | `evm.trie` | see [`crate::trie`] | a node |
//! | `evm.blocks` (history) | number | [`crate::block::Block::encode`] |
//! | `evm.tx` (history) | transaction hash | number, index (4 bytes) |
//! | `evm.block_by_hash` (history) | block hash | number |
//!
//! Numbers are 8 bytes, big-endian. All maps are private. A word of storage that is zero is absent, as is an account
//! that does not exist. An account that is destroyed does not have its storage swept: its record stays as a mark of the
//! next *incarnation*, and the words of the old one become unreachable. Code is kept by hash and never removed.

use alloy_primitives::{Address, B256, Bytes, KECCAK256_EMPTY, U256};
use coco_kv::{MapId, MapKind, MapName, MapSpec, Snapshot, Transaction, Value};
use coco_types::codec::{DecodeError, Reader, put_u64};

use crate::genesis::ChainConfig;

pub(crate) mod cache;
mod record;

pub use record::AccountRecord;
pub(crate) use record::Stored;

/// Names of the maps.
pub mod names {
    /// Accounts.
    pub const ACCOUNTS: &str = "evm.accounts";
    /// Words of storage.
    pub const STORAGE: &str = "evm.storage";
    /// Code by hash.
    pub const CODE: &str = "evm.code";
    /// Configuration and head.
    pub const CHAIN: &str = "evm.chain";
    /// The last 256 block hashes.
    pub const BLOCK_HASHES: &str = "evm.block_hashes";
    /// Which blocks may hold which logs.
    pub const LOG_INDEX: &str = "evm.log_index";
    /// Nodes of the Merkle Patricia tries.
    pub const TRIE: &str = "evm.trie";
    /// Blocks by number.
    pub const BLOCKS: &str = "evm.blocks";
    /// Where each transaction is.
    pub const TRANSACTIONS: &str = "evm.tx";
    /// Block numbers by hash.
    pub const BLOCK_BY_HASH: &str = "evm.block_by_hash";
}

/// The maps of one store.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "each field is the map of that name in `names`")]
pub struct EvmMaps {
    pub accounts: MapId,
    pub storage: MapId,
    pub code: MapId,
    pub chain: MapId,
    pub block_hashes: MapId,
    pub log_index: MapId,
    pub trie: MapId,
    pub blocks: MapId,
    pub transactions: MapId,
    pub block_by_hash: MapId,
}

/// The maps that a chain needs.
#[must_use]
pub fn schema() -> Vec<MapSpec> {
    [
        (names::ACCOUNTS, MapKind::Point),
        (names::STORAGE, MapKind::Point),
        (names::CODE, MapKind::Point),
        (names::CHAIN, MapKind::Point),
        (names::BLOCK_HASHES, MapKind::Point),
        (names::LOG_INDEX, MapKind::Ordered),
        (names::TRIE, MapKind::Point),
        (names::BLOCKS, MapKind::History),
        (names::TRANSACTIONS, MapKind::History),
        (names::BLOCK_BY_HASH, MapKind::History),
    ]
    .map(|(name, kind)| MapSpec { name: MapName::from_static(name), kind })
    .to_vec()
}

impl EvmMaps {
    /// Asks `find` (the `map` function of a store, a reader or a transaction) for each map; `None` when one is missing.
    #[must_use]
    pub fn find(find: impl Fn(&MapName) -> Option<MapId>) -> Option<Self> {
        let map = |name| find(&MapName::from_static(name));
        Some(Self {
            accounts: map(names::ACCOUNTS)?,
            storage: map(names::STORAGE)?,
            code: map(names::CODE)?,
            chain: map(names::CHAIN)?,
            block_hashes: map(names::BLOCK_HASHES)?,
            log_index: map(names::LOG_INDEX)?,
            trie: map(names::TRIE)?,
            blocks: map(names::BLOCKS)?,
            transactions: map(names::TRANSACTIONS)?,
            block_by_hash: map(names::BLOCK_BY_HASH)?,
        })
    }
}

/// Something that values can be read from: a snapshot, or a transaction that takes note of what it reads.
pub trait StateRead {
    /// The value under `key` of `map`.
    fn read(&mut self, map: MapId, key: &[u8]) -> Option<Value>;
}

impl StateRead for Snapshot {
    fn read(&mut self, map: MapId, key: &[u8]) -> Option<Value> {
        self.get(map, key)
    }
}

impl StateRead for &Snapshot {
    fn read(&mut self, map: MapId, key: &[u8]) -> Option<Value> {
        self.get(map, key)
    }
}

impl StateRead for Transaction<'_> {
    fn read(&mut self, map: MapId, key: &[u8]) -> Option<Value> {
        self.get(map, key)
    }
}

impl<S: StateRead> StateRead for &mut S {
    fn read(&mut self, map: MapId, key: &[u8]) -> Option<Value> {
        (**self).read(map, key)
    }
}

/// The newest block, as far as the next one depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its number.
    pub number: u64,
    /// Its hash.
    pub hash: B256,
    /// Its timestamp, in seconds since 1970.
    pub timestamp: u64,
    /// Its gas limit.
    pub gas_limit: u64,
    /// Gas that it used.
    pub gas_used: u64,
    /// Its base fee, in wei; absent before London.
    pub base_fee: Option<u64>,
    /// Its recorded entropy.
    pub mix_hash: B256,
    /// Its state root; zero when the chain keeps none.
    pub state_root: B256,
}

impl Head {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEAD_BYTES);
        put_u64(&mut out, self.number);
        out.extend_from_slice(self.hash.as_slice());
        put_u64(&mut out, self.timestamp);
        put_u64(&mut out, self.gas_limit);
        put_u64(&mut out, self.gas_used);
        out.push(u8::from(self.base_fee.is_some()));
        put_u64(&mut out, self.base_fee.unwrap_or(0));
        out.extend_from_slice(self.mix_hash.as_slice());
        out.extend_from_slice(self.state_root.as_slice());
        out
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let head = Self {
            number: reader.u64("number")?,
            hash: reader.array("hash")?.into(),
            timestamp: reader.u64("timestamp")?,
            gas_limit: reader.u64("gas limit")?,
            gas_used: reader.u64("gas used")?,
            base_fee: {
                let present = reader.u8("base fee presence")? != 0;
                let fee = reader.u64("base fee")?;
                present.then_some(fee)
            },
            mix_hash: reader.array("mix hash")?.into(),
            state_root: reader.array("state root")?.into(),
        };
        reader.end()?;
        Ok(head)
    }
}

/// The account at `address`; `None` when it does not exist.
///
/// # Panics
/// When the stored record is malformed: only this crate writes it, behind the ledger's authentication.
pub fn account(
    state: &mut impl StateRead,
    maps: &EvmMaps,
    address: Address,
) -> Option<AccountRecord> {
    stored_account(state, maps, address).record
}

/// What the store holds of the account at `address`, whether it exists or not.
pub(crate) fn stored_account(
    state: &mut impl StateRead,
    maps: &EvmMaps,
    address: Address,
) -> Stored {
    match state.read(maps.accounts, address.as_slice()) {
        Some(bytes) => {
            Stored::decode(&bytes).expect("account records are written by this crate alone")
        }
        None => Stored::default(),
    }
}

/// The word in `slot` of the storage of `address`.
///
/// # Panics
/// As [`account`].
pub fn storage(state: &mut impl StateRead, maps: &EvmMaps, address: Address, slot: U256) -> U256 {
    match account(state, maps, address) {
        Some(record) => word(state, maps, address, record.incarnation, slot),
        None => U256::ZERO,
    }
}

/// The word in `slot` of one incarnation of `address`.
pub(crate) fn word(
    state: &mut impl StateRead,
    maps: &EvmMaps,
    address: Address,
    incarnation: u64,
    slot: U256,
) -> U256 {
    let value = state.read(maps.storage, StorageKey::new(address, incarnation, slot).as_slice());
    value.map_or(U256::ZERO, |bytes| {
        U256::try_from_be_slice(&bytes).expect("storage words are written by this crate alone")
    })
}

/// The code of the account at `address`; empty when it has none.
///
/// # Panics
/// As [`account`].
pub fn code(state: &mut impl StateRead, maps: &EvmMaps, address: Address) -> Bytes {
    match account(state, maps, address) {
        Some(record) => code_by_hash(state, maps, record.code_hash),
        None => Bytes::new(),
    }
}

/// The code with this hash, which some account has.
///
/// # Panics
/// When there is none: code is written before the account that has it.
pub(crate) fn code_by_hash(state: &mut impl StateRead, maps: &EvmMaps, hash: B256) -> Bytes {
    if hash == KECCAK256_EMPTY || hash.is_zero() {
        return Bytes::new();
    }
    let code = state
        .read(maps.code, hash.as_slice())
        .expect("code is written before the account that has it");
    Bytes::copy_from_slice(&code)
}

/// The newest block; `None` before genesis.
///
/// # Panics
/// As [`account`].
pub fn head(state: &mut impl StateRead, maps: &EvmMaps) -> Option<Head> {
    let bytes = state.read(maps.chain, HEAD_KEY)?;
    Some(Head::decode(&bytes).expect("the head is written by this crate alone"))
}

/// The chain's configuration; `None` before genesis.
///
/// # Panics
/// As [`account`].
pub fn config(state: &mut impl StateRead, maps: &EvmMaps) -> Option<ChainConfig> {
    let bytes = state.read(maps.chain, CONFIG_KEY)?;
    Some(ChainConfig::decode(&bytes).expect("the configuration is written by this crate alone"))
}

/// The hash of block `number`, if that is among the last 256.
pub fn block_hash(state: &mut impl StateRead, maps: &EvmMaps, number: u64) -> Option<B256> {
    let value = state.read(maps.block_hashes, &ring_key(number))?;
    let (found, hash) = value.split_at_checked(size_of::<u64>())?;
    (found == number.to_be_bytes()).then(|| B256::try_from(hash).ok())?
}

/// Puts the hash of block `number` into the ring, in place of the one 256 before it.
pub fn put_block_hash(tx: &mut Transaction<'_>, maps: &EvmMaps, number: u64, hash: B256) {
    tx.put(maps.block_hashes, &ring_key(number), ring_value(number, hash));
}

pub(crate) fn put_head(tx: &mut Transaction<'_>, maps: &EvmMaps, head: &Head) {
    tx.put(maps.chain, HEAD_KEY, head.encode());
}

pub(crate) fn put_config(tx: &mut Transaction<'_>, maps: &EvmMaps, config: &ChainConfig) {
    tx.put(maps.chain, CONFIG_KEY, config.encode());
}

/// The key of a word of storage.
pub(crate) struct StorageKey {
    bytes: [u8; STORAGE_KEY_BYTES_MAX],
    length: usize,
}

impl StorageKey {
    pub(crate) fn new(address: Address, incarnation: u64, slot: U256) -> Self {
        let mut bytes = [0; STORAGE_KEY_BYTES_MAX];
        bytes[..20].copy_from_slice(address.as_slice());
        bytes[20..52].copy_from_slice(&slot.to_be_bytes::<32>());
        bytes[52..].copy_from_slice(&incarnation.to_be_bytes());
        // Hardly any account is ever born again, so the common key goes without.
        let length = if incarnation == 0 { 52 } else { STORAGE_KEY_BYTES_MAX };
        Self { bytes, length }
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

pub(crate) fn ring_key(number: u64) -> [u8; 1] {
    let [.., low] = number.to_be_bytes();
    [low]
}

pub(crate) fn ring_value(number: u64, hash: B256) -> Vec<u8> {
    [number.to_be_bytes().as_slice(), hash.as_slice()].concat()
}

/// How many block hashes the state holds.
pub(crate) const RING_BLOCKS: u64 = 256;

const HEAD_KEY: &[u8] = b"head";
const CONFIG_KEY: &[u8] = b"config";
const HEAD_BYTES: usize = 8 + 32 + 8 + 8 + 8 + 1 + 8 + 32 + 32;
const STORAGE_KEY_BYTES_MAX: usize = 20 + 32 + 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_reads_what_it_wrote() {
        for base_fee in [None, Some(0), Some(7)] {
            let head = Head {
                number: 1,
                hash: B256::repeat_byte(2),
                timestamp: 3,
                gas_limit: 4,
                gas_used: 5,
                base_fee,
                mix_hash: B256::repeat_byte(6),
                state_root: B256::repeat_byte(7),
            };
            assert_eq!(Head::decode(&head.encode()), Ok(head));
        }
    }

    #[test]
    fn storage_keys_of_two_incarnations_differ() {
        let key = |incarnation| {
            StorageKey::new(Address::repeat_byte(1), incarnation, U256::from(5)).as_slice().to_vec()
        };
        assert_eq!(key(0).len(), 52);
        assert_eq!(key(1).len(), 60);
        assert_ne!(key(1), key(2));
    }
}
