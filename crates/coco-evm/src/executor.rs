//! Execution: transactions in, a block and its writes out.
//!
//! A block is made in one store transaction. It opens with the system calls of its fork, takes candidates one after the
//! other until there are no more or the block is full, and closes with roots, filter and hash. A candidate that cannot
//! be executed is handed back with the reason and leaves no trace. Everything is deterministic in the store's content,
//! the candidates, the time and the entropy.
//!
//! Departures from the public network:
//! - Time is in seconds and blocks are made faster than that, so a block may have its parent's timestamp; never an
//!   earlier one.
//! - Headers carry the recorded entropy as `mixHash` (PREVRANDAO), difficulty 0, no uncles, no withdrawals, no blob gas,
//!   a zero parent beacon root, and no requests: the queue contracts of EIP-7002 and EIP-7251 are not called.
//! - EIP-4788 is skipped while the parent beacon root is zero. EIP-2935 is done from Prague on, if its contract is
//!   there (see [`crate::genesis::Genesis::with_history_contract`]).
//! - Receipts carry a status (EIP-658) in all forks, where those before Byzantium had an intermediate state root.
//! - The size of a block (EIP-7934) is bounded by [`BLOCK_BYTES_MAX`] in all forks.

use std::sync::Arc;

use alloy_consensus::{Header, Transaction as _};
use alloy_eips::{
    eip1559::{BaseFeeParams, calc_next_block_base_fee},
    eip2935::HISTORY_STORAGE_ADDRESS,
    eip4788::BEACON_ROOTS_ADDRESS,
    eip7685::EMPTY_REQUESTS_HASH,
};
use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_trie::EMPTY_ROOT_HASH;
use coco_kv::Transaction;
use revm::{
    Context, ExecuteEvm, MainBuilder, MainnetEvm, SystemCallEvm,
    bytecode::opcode::EXTCODEHASH,
    context::{BlockEnv, CfgEnv, Journal, TxEnv},
    context_interface::result::EVMError,
    handler::MainnetContext,
    interpreter::Instruction,
    primitives::hardfork::SpecId,
};

use crate::{
    block::{Block, Included, PooledTx, TxOutcome, contract_address},
    genesis::{ChainConfig, Fees},
    state::{
        self, EvmMaps, Head, StateRead,
        cache::{BlockCache, CodeCache},
    },
};

mod code_hash;
mod environment;
mod simulate;
mod warm;

pub use environment::Environment;
pub use revm::context_interface::result::{HaltReason, InvalidTransaction};
pub use simulate::{AccountOverride, CallOutcome, CallRequest, CallResult};
pub use warm::warm_up;

/// Executes for one chain. Clones share their cache of analysed code.
#[derive(Clone, Debug)]
pub struct Executor {
    config: Arc<ChainConfig>,
    maps: EvmMaps,
    codes: Arc<CodeCache>,
}

/// What became of a batch of candidates.
#[derive(Debug)]
pub struct ExecutedBlock {
    /// The block; `None` when no candidate was included, in which case nothing was written.
    pub block: Option<Arc<Block>>,
    /// Candidates that were not included, in order.
    pub skipped: Vec<(PooledTx, InvalidReason)>,
    /// The accounts whose nonces moved, in no order, and where to. Not only those of senders: an authorization (EIP-7702)
    /// moves that of whoever signed it, and delegated code that creates a contract that of its account.
    pub nonces: Vec<(Address, u64)>,
}

/// Why a candidate was not included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InvalidReason {
    /// It may use more gas, or has more bytes, than the block has left. It may fit the next one.
    BlockFull,
    /// It cannot be executed on this state.
    Invalid(InvalidTransaction),
}

/// Most bytes of raw transactions and log data after which a block takes no more. Changes to the state come on top: where
/// they make the entry of a block longer than the ledger's limit, it is made again with fewer transactions.
pub const BLOCK_BYTES_MAX: usize = 8 << 20;

/// The interpreter over the cache of one block.
type Evm<'a, S> = MainnetEvm<MainnetContext<BlockCache<'a, S>>>;

impl Executor {
    /// Executes for the chain of `config`, kept in `maps`.
    #[must_use]
    pub fn new(config: Arc<ChainConfig>, maps: EvmMaps) -> Self {
        Self { config, maps, codes: Arc::default() }
    }

    /// The chain's configuration.
    #[must_use]
    pub fn config(&self) -> &ChainConfig {
        &self.config
    }

    /// The maps that the chain is kept in.
    #[must_use]
    pub const fn maps(&self) -> &EvmMaps {
        &self.maps
    }

    /// The environment of the block after `head`, made at `time_ms` (milliseconds since 1970).
    #[must_use]
    pub fn next_environment(&self, head: &Head, time_ms: u64, entropy: B256) -> Environment {
        let number = head.number.saturating_add(1);
        let timestamp = head.timestamp.max(time_ms / 1000);
        let spec = self.config.spec(number, timestamp);
        let base_fee = match (self.config.fees, head.base_fee) {
            (Fees::Off, _) => 0,
            (Fees::On, Some(base_fee)) => calc_next_block_base_fee(
                head.gas_used,
                head.gas_limit,
                base_fee,
                BaseFeeParams::ethereum(),
            ),
            (Fees::On, None) => BASE_FEE_INITIAL,
        };
        Environment {
            spec,
            number,
            timestamp,
            parent_hash: head.hash,
            beneficiary: self.config.beneficiary,
            gas_limit: self.config.gas_limit,
            base_fee: (spec >= SpecId::LONDON).then_some(base_fee),
            difficulty: U256::ZERO,
            mix_hash: entropy,
            extra_data: self.config.extra_data.clone(),
            excess_blob_gas: 0,
            parent_beacon_block_root: B256::ZERO,
        }
    }

    /// Makes the next block at `time_ms` (milliseconds since 1970, never less than for the block before) from the
    /// candidates that `next` gives. `next` is told how much gas is left, and ends the block with `None`.
    ///
    /// # Panics
    /// When the chain has no block 0 yet.
    pub fn execute_block(
        &self,
        tx: &mut Transaction<'_>,
        time_ms: u64,
        entropy: B256,
        next: impl FnMut(u64) -> Option<PooledTx>,
    ) -> ExecutedBlock {
        let head = state::head(tx, &self.maps).expect("block 0 is written before any other");
        self.execute_in(tx, &self.next_environment(&head, time_ms, entropy), next)
    }

    /// Makes a block in a given environment: [`Executor::execute_block`] for blocks of other chains.
    pub fn execute_in(
        &self,
        tx: &mut Transaction<'_>,
        environment: &Environment,
        next: impl FnMut(u64) -> Option<PooledTx>,
    ) -> ExecutedBlock {
        let cache = BlockCache::new(&mut *tx, &self.maps, &self.codes);
        let mut evm = self.evm(cache, environment);
        open(&mut evm, environment);
        let Batch { included, skipped, blob_gas_used } = run(&mut evm, environment, next);
        if included.is_empty() {
            return ExecutedBlock { block: None, skipped, nonces: Vec::new() };
        }
        let nonces = evm.ctx.journaled_state.database.moved_nonces().collect();
        let state_root = evm.ctx.journaled_state.database.write(self.config.state_root);
        let block = Block::seal(header(environment, state_root, blob_gas_used), included);
        write_block(tx, &self.maps, &block);
        ExecutedBlock { block: Some(Arc::new(block)), skipped, nonces }
    }

    fn evm<'a, S: StateRead>(
        &self,
        cache: BlockCache<'a, S>,
        environment: &Environment,
    ) -> Evm<'a, S> {
        let mut cfg = CfgEnv::new_with_spec(environment.spec);
        cfg.chain_id = self.config.chain_id;
        cfg.max_blobs_per_tx = Some(environment::blobs_per_transaction_max(environment.spec));
        let context: MainnetContext<BlockCache<'a, S>> =
            Context::<BlockEnv, TxEnv, CfgEnv, _, Journal<_>, ()>::new(cache, environment.spec);
        let mut evm = context.with_cfg(cfg).with_block(environment.block_env()).build_mainnet();
        evm.instruction.instruction_table_mut()[usize::from(EXTCODEHASH)] =
            Instruction::new(code_hash::extcodehash);
        evm
    }
}

/// The candidates of a block after their execution.
struct Batch {
    included: Vec<Included>,
    skipped: Vec<(PooledTx, InvalidReason)>,
    blob_gas_used: u64,
}

/// The system calls before the first transaction.
fn open<S: StateRead>(evm: &mut Evm<'_, S>, environment: &Environment) {
    if environment.spec >= SpecId::CANCUN && !environment.parent_beacon_block_root.is_zero() {
        system_call(evm, BEACON_ROOTS_ADDRESS, environment.parent_beacon_block_root);
    }
    if environment.spec >= SpecId::PRAGUE {
        system_call(evm, HISTORY_STORAGE_ADDRESS, environment.parent_hash);
    }
}

/// Calls a system contract, if it is there. Its failure changes nothing and does not fail the block (EIP-2935, EIP-4788).
fn system_call<S: StateRead>(evm: &mut Evm<'_, S>, contract: Address, word: B256) {
    let cache = &mut evm.ctx.journaled_state.database;
    if cache.info(contract).is_none_or(|info| info.is_empty_code_hash()) {
        return;
    }
    let result = evm.system_call(contract, Bytes::copy_from_slice(word.as_slice()));
    if let Ok(result) = result {
        evm.ctx.journaled_state.database.commit(result.state);
    }
}

/// Executes candidates until there are no more, or the block is full.
fn run<S: StateRead>(
    evm: &mut Evm<'_, S>,
    environment: &Environment,
    mut next: impl FnMut(u64) -> Option<PooledTx>,
) -> Batch {
    let mut batch = Batch { included: Vec::new(), skipped: Vec::new(), blob_gas_used: 0 };
    let (mut gas_used, mut bytes) = (0, 0);
    loop {
        let gas_left = environment.gas_limit.saturating_sub(gas_used);
        let Some(candidate) = next(gas_left) else { return batch };
        if candidate.envelope.gas_limit() > gas_left
            || bytes + candidate.raw.len() > BLOCK_BYTES_MAX
        {
            batch.skipped.push((candidate, InvalidReason::BlockFull));
            continue;
        }
        match execute(evm, environment, gas_used, candidate) {
            Ok(included) => {
                gas_used = included.outcome.cumulative_gas_used;
                bytes += included.raw.len();
                bytes += included.outcome.logs.iter().map(|log| log.data.data.len()).sum::<usize>();
                batch.blob_gas_used += included.transaction.blob_gas_used().unwrap_or(0);
                batch.included.push(included);
            }
            Err((candidate, reason)) => {
                batch.skipped.push((candidate, InvalidReason::Invalid(reason)));
            }
        }
    }
}

/// Executes one transaction and takes its changes into the cache.
#[expect(
    clippy::result_large_err,
    reason = "a refused candidate is handed back whole; it is moved, not copied, once"
)]
fn execute<S: StateRead>(
    evm: &mut Evm<'_, S>,
    environment: &Environment,
    gas_before: u64,
    candidate: PooledTx,
) -> Result<Included, (PooledTx, InvalidTransaction)> {
    let result = evm.transact_one(environment::transaction_env(&candidate));
    let changes = evm.finalize();
    let result = match result {
        Ok(result) => result,
        Err(EVMError::Transaction(reason)) => return Err((candidate, reason)),
        Err(EVMError::Database(never)) => match never {},
        Err(error) => {
            unreachable!("the environment is complete and there are no custom errors: {error}")
        }
    };
    evm.ctx.journaled_state.database.commit(changes);
    let PooledTx { envelope, hash, sender, raw, .. } = candidate;
    let gas_used = result.tx_gas_used();
    let outcome = TxOutcome {
        success: result.is_success(),
        gas_used,
        cumulative_gas_used: gas_before.saturating_add(gas_used),
        contract_address: contract_address(&envelope, sender),
        effective_gas_price: envelope.effective_gas_price(environment.base_fee),
        logs: if result.is_success() { result.into_logs() } else { Vec::new() },
    };
    Ok(Included { transaction: envelope, raw, hash, sender, outcome })
}

/// The header of a block, roots and gas left open.
fn header(environment: &Environment, state_root: B256, blob_gas_used: u64) -> Header {
    let from = |fork: SpecId| environment.spec >= fork;
    Header {
        parent_hash: environment.parent_hash,
        beneficiary: environment.beneficiary,
        state_root,
        difficulty: environment.difficulty,
        number: environment.number,
        gas_limit: environment.gas_limit,
        timestamp: environment.timestamp,
        extra_data: environment.extra_data.clone(),
        mix_hash: environment.mix_hash,
        base_fee_per_gas: environment.base_fee,
        withdrawals_root: from(SpecId::SHANGHAI).then_some(EMPTY_ROOT_HASH),
        blob_gas_used: from(SpecId::CANCUN).then_some(blob_gas_used),
        excess_blob_gas: from(SpecId::CANCUN).then_some(environment.excess_blob_gas),
        parent_beacon_block_root: from(SpecId::CANCUN)
            .then_some(environment.parent_beacon_block_root),
        requests_hash: from(SpecId::PRAGUE).then_some(EMPTY_REQUESTS_HASH),
        ..Header::default()
    }
}

/// Writes a sealed block: itself, the ways to find it, and the head.
pub(crate) fn write_block(tx: &mut Transaction<'_>, maps: &EvmMaps, block: &Block) {
    let number = block.number().to_be_bytes();
    tx.put(maps.blocks, &number, block.encode());
    tx.put(maps.block_by_hash, block.hash.as_slice(), number.to_vec());
    for (index, included) in (0_u32..).zip(&block.transactions) {
        let place: Vec<u8> = number.into_iter().chain(index.to_be_bytes()).collect();
        tx.put(maps.transactions, included.hash.as_slice(), place);
    }
    if let Some(entry) = block.log_index() {
        tx.put(maps.log_index, &number, entry);
    }
    state::put_block_hash(tx, maps, block.number(), block.hash);
    let head = Head {
        number: block.number(),
        hash: block.hash,
        timestamp: block.header.timestamp,
        gas_limit: block.header.gas_limit,
        gas_used: block.header.gas_used,
        base_fee: block.header.base_fee_per_gas,
        mix_hash: block.header.mix_hash,
        state_root: block.header.state_root,
    };
    state::put_head(tx, maps, &head);
}

/// The base fee of the first block with fees when its parent or genesis has none: that of EIP-1559, in wei.
pub(crate) const BASE_FEE_INITIAL: u64 = 1_000_000_000;
