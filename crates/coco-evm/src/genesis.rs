//! Block 0: geth's JSON genesis format, and the configuration that a chain keeps for life.
//!
//! Read from the file: `config` (`chainId`, the fork blocks and times, and our own `coco` object), `alloc` (`balance`,
//! `nonce`, `code`, `storage`), `gasLimit`, `baseFeePerGas`, `coinbase`, `extraData`, `timestamp`, `mixHash`,
//! `difficulty`, `nonce`. Everything else that geth knows is about proof of work or peers and is passed over.
//!
//! ```json
//! "config": { "chainId": 31337, "pragueTime": 0, "coco": { "stateRoot": "mpt", "fees": true } }
//! ```
//!
//! - A `config` that names no fork gets the latest one from the first block; otherwise the named ones hold.
//! - Blocks are never mined, so the merge happens at `mergeNetsplitBlock`, or at once when `terminalTotalDifficulty` is
//!   there or a fork after the merge has a time, or never.
//! - `coco.stateRoot`: `off` (the default: header fields `stateRoot` are zero; the ledger's own Merkle tree commits to the
//!   state) or `mpt` (the true root, at some cost per changed word).
//! - `coco.fees`: whether a base fee is asked and burnt (EIP-1559). Without the option it is on exactly when
//!   `baseFeePerGas` is there and not zero. When on, block 0 has that fee, or 1 gwei without one. When off, the base fee is 0 in every block, and what senders offer on top
//!   still goes to `coinbase`.
//! - Precompiles and system contracts are not added: a contract that should be there has to be in `alloc`, as in geth.
//!   [`Genesis::with_history_contract`] adds that of EIP-2935.
//! - There is no support for Constantinople without Petersburg, for the DAO fork, or for forks that are not final.

use std::{collections::BTreeMap, sync::Arc};

use alloy_consensus::Header;
use alloy_eips::{eip2935, eip7685::EMPTY_REQUESTS_HASH};
use alloy_primitives::{Address, B64, B256, Bytes, U256};
use alloy_trie::EMPTY_ROOT_HASH;
use coco_kv::Transaction;
use coco_types::codec::{DecodeError, Reader, put_bytes, put_u64};
use revm::primitives::hardfork::SpecId;
use thiserror::Error;

use crate::{
    block::Block,
    executor,
    fork::ForkSchedule,
    state::{
        self, EvmMaps,
        cache::{BlockCache, CodeCache},
    },
};

mod json;

/// What a chain is, for life. Kept in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainConfig {
    /// The chain id that signatures are bound to.
    pub chain_id: u64,
    /// Which rules hold when.
    pub forks: ForkSchedule,
    /// What header fields `stateRoot` hold.
    pub state_root: StateRoot,
    /// Whether gas has a base fee.
    pub fees: Fees,
    /// Gas limit of every block. [`Genesis::parse`] takes at most [`BLOCK_GAS_LIMIT_MAX`], or
    /// [`BLOCK_GAS_LIMIT_MPT_MAX`].
    pub gas_limit: u64,
    /// Who receives what senders pay on top of the base fee.
    pub beneficiary: Address,
    /// What every header carries as `extraData`.
    pub extra_data: Bytes,
}

/// What header fields `stateRoot` hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StateRoot {
    /// Zero.
    #[default]
    Off,
    /// The root of the Merkle Patricia trie of all accounts.
    Mpt,
}

/// Whether gas has a base fee.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fees {
    /// The base fee is zero in every block.
    #[default]
    Off,
    /// The base fee follows EIP-1559 and is burnt.
    On,
}

/// Block 0 and the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Genesis {
    /// The configuration.
    pub config: ChainConfig,
    /// Seconds since 1970.
    pub timestamp: u64,
    /// Base fee of block 0, in wei; counts only with [`Fees::On`].
    pub base_fee: u64,
    /// Header field.
    pub difficulty: U256,
    /// Header field.
    pub mix_hash: B256,
    /// Header field.
    pub nonce: u64,
    /// The accounts that there are.
    pub alloc: BTreeMap<Address, GenesisAccount>,
}

/// An account of block 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GenesisAccount {
    /// Its balance, in wei.
    pub balance: U256,
    /// Its nonce.
    pub nonce: u64,
    /// Its code.
    pub code: Bytes,
    /// Its storage.
    pub storage: BTreeMap<U256, U256>,
}

/// A text that is no genesis.
#[derive(Debug, Error)]
pub enum ParseGenesisError {
    /// Not JSON, or not of this shape.
    #[error("genesis is not of geth's form")]
    Json(#[source] serde_json::Error),
    /// A fork without support.
    #[error("genesis: config.{field}: this fork is not supported")]
    Fork {
        /// The field that names it.
        field: &'static str,
    },
    /// Forks that begin before earlier ones.
    #[error("genesis: config: forks do not begin in their historical order")]
    ForkOrder,
    /// A base fee that would be ignored.
    #[error("genesis: baseFeePerGas is {base_fee}, but config.coco.fees is false")]
    BaseFee {
        /// What the file says.
        base_fee: u64,
    },
    /// A gas limit of zero or too large for one entry of the ledger.
    #[error("genesis: gasLimit is {found}, it can be from 1 to {limit} on such a chain")]
    GasLimit {
        /// What the file says.
        found: u64,
        /// What it can say at most.
        limit: u64,
    },
    /// Extra data over the limit.
    #[error("genesis: extraData has {found} bytes, it can have at most {EXTRA_DATA_BYTES_MAX}")]
    ExtraData {
        /// How long it is.
        found: usize,
    },
}

/// Largest gas limit of a block. The cheapest bytes that a transaction can make a block carry are zero bytes of
/// calldata before Prague, at 4 gas each: 60 million gas hold 15 million of them, which fits an entry of 16 MiB.
pub const BLOCK_GAS_LIMIT_MAX: u64 = 60_000_000;

/// Largest gas limit of a block with true state roots. A word that changes costs 5,000 gas and may rewrite up to three
/// trie nodes of some 600 bytes that it shares with no other: 30 million gas make 11 million bytes.
pub const BLOCK_GAS_LIMIT_MPT_MAX: u64 = 30_000_000;

/// Gas limit of a block when genesis names none.
pub const BLOCK_GAS_LIMIT_DEFAULT: u64 = 30_000_000;

/// Longest `extraData`: with more, headers would not be those of an Ethereum chain after the merge. Genesis files of
/// signer networks carry a seal of about a hundred bytes there, which is let through.
pub const EXTRA_DATA_BYTES_MAX: usize = 1024;

impl ChainConfig {
    /// A chain with the latest rules, without fees and without state roots.
    #[must_use]
    pub fn new(chain_id: u64) -> Self {
        Self {
            chain_id,
            forks: ForkSchedule::always(crate::fork::LATEST),
            state_root: StateRoot::Off,
            fees: Fees::Off,
            gas_limit: BLOCK_GAS_LIMIT_DEFAULT,
            beneficiary: Address::ZERO,
            extra_data: Bytes::new(),
        }
    }

    /// The rules of the block with this number and timestamp (seconds).
    #[must_use]
    pub fn spec(&self, number: u64, timestamp: u64) -> SpecId {
        self.forks.spec(number, timestamp)
    }

    /// Most gas that one transaction may ask for in that block (EIP-7825 from Osaka on, and the block's limit).
    #[must_use]
    pub fn tx_gas_limit_cap(&self, number: u64, timestamp: u64) -> u64 {
        let osaka = self.spec(number, timestamp) >= SpecId::OSAKA;
        if osaka {
            self.gas_limit.min(revm::primitives::eip7825::TX_GAS_LIMIT_CAP)
        } else {
            self.gas_limit
        }
    }

    /// The stored form.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![FORMAT];
        put_u64(&mut out, self.chain_id);
        self.forks.encode(&mut out);
        out.push(u8::from(self.state_root == StateRoot::Mpt));
        out.push(u8::from(self.fees == Fees::On));
        put_u64(&mut out, self.gas_limit);
        out.extend_from_slice(self.beneficiary.as_slice());
        put_bytes(&mut out, &self.extra_data);
        out
    }

    /// Reads what [`ChainConfig::encode`] wrote.
    ///
    /// # Errors
    /// [`DecodeError`] names the field that was wrong.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let switch = |found: u8, field| match found {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError::Value { field, found: u64::from(found) }),
        };
        let format = reader.u8("format")?;
        if format != FORMAT {
            return Err(DecodeError::Value { field: "format", found: u64::from(format) });
        }
        let config = Self {
            chain_id: reader.u64("chain id")?,
            forks: ForkSchedule::decode(&mut reader)?,
            state_root: match switch(reader.u8("state root")?, "state root")? {
                false => StateRoot::Off,
                true => StateRoot::Mpt,
            },
            fees: match switch(reader.u8("fees")?, "fees")? {
                false => Fees::Off,
                true => Fees::On,
            },
            gas_limit: reader.u64("gas limit")?,
            beneficiary: reader.array("beneficiary")?.into(),
            extra_data: Bytes::copy_from_slice(reader.bytes("extra data")?),
        };
        reader.end()?;
        Ok(config)
    }
}

impl Genesis {
    /// A chain of this configuration with nothing on it.
    #[must_use]
    pub const fn new(config: ChainConfig) -> Self {
        Self {
            config,
            timestamp: 0,
            base_fee: 0,
            difficulty: U256::ZERO,
            mix_hash: B256::ZERO,
            nonce: 0,
            alloc: BTreeMap::new(),
        }
    }

    /// Reads a genesis file.
    ///
    /// # Errors
    /// [`ParseGenesisError`] says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, ParseGenesisError> {
        json::parse(text)
    }

    /// Adds the contract in which EIP-2935 (Prague) keeps the hashes of the last 8191 blocks, unless its address is
    /// taken. Blocks write to it exactly when it is there.
    #[must_use]
    pub fn with_history_contract(mut self) -> Self {
        self.alloc.entry(eip2935::HISTORY_STORAGE_ADDRESS).or_insert_with(|| GenesisAccount {
            nonce: 1,
            code: eip2935::HISTORY_STORAGE_CODE.clone(),
            ..GenesisAccount::default()
        });
        self
    }

    /// Writes configuration, accounts and block 0 to an empty chain.
    pub fn write(&self, tx: &mut Transaction<'_>, maps: &EvmMaps) -> Arc<Block> {
        let state_root = write_accounts(tx, maps, &self.alloc, self.config.state_root);
        let block = Block::seal(self.header(state_root), Vec::new());
        state::put_config(tx, maps, &self.config);
        executor::write_block(tx, maps, &block);
        Arc::new(block)
    }

    fn header(&self, state_root: B256) -> Header {
        let spec = self.config.spec(0, self.timestamp);
        let from = |fork: SpecId| spec >= fork;
        let base_fee = match self.config.fees {
            Fees::Off => 0,
            Fees::On => self.base_fee,
        };
        Header {
            beneficiary: self.config.beneficiary,
            state_root,
            difficulty: self.difficulty,
            gas_limit: self.config.gas_limit,
            timestamp: self.timestamp,
            extra_data: self.config.extra_data.clone(),
            mix_hash: self.mix_hash,
            nonce: B64::from(self.nonce),
            base_fee_per_gas: from(SpecId::LONDON).then_some(base_fee),
            withdrawals_root: from(SpecId::SHANGHAI).then_some(EMPTY_ROOT_HASH),
            blob_gas_used: from(SpecId::CANCUN).then_some(0),
            excess_blob_gas: from(SpecId::CANCUN).then_some(0),
            parent_beacon_block_root: from(SpecId::CANCUN).then_some(B256::ZERO),
            requests_hash: from(SpecId::PRAGUE).then_some(EMPTY_REQUESTS_HASH),
            ..Header::default()
        }
    }
}

/// Writes accounts where none are, and gives the state root, zero when the chain keeps none.
fn write_accounts(
    tx: &mut Transaction<'_>,
    maps: &EvmMaps,
    alloc: &BTreeMap<Address, GenesisAccount>,
    mode: StateRoot,
) -> B256 {
    let codes = CodeCache::default();
    let mut cache = BlockCache::new(tx, maps, &codes);
    for (address, account) in alloc {
        cache.found(*address, account);
    }
    cache.write(mode)
}

/// The version of the stored configuration.
const FORMAT: u8 = 1;
