//! What a chain of blocks promises, on a store.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::sync::Arc;

use alloy_consensus::{SignableTransaction, Transaction as _, TxEip1559, TxEip7702, TxLegacy};
use alloy_eips::{
    eip2718::Encodable2718, eip2935::HISTORY_STORAGE_ADDRESS, eip7702::Authorization,
};
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256, address, bytes, keccak256};
use coco_evm::{
    block::{Block, PooledTx, TxEnvelope},
    executor::{
        AccountOverride, CallRequest, CallResult, ExecutedBlock, Executor, InvalidReason,
        InvalidTransaction,
    },
    fork::ForkSchedule,
    genesis::{BLOCK_GAS_LIMIT_DEFAULT, ChainConfig, Fees, Genesis, GenesisAccount, StateRoot},
    state::{self, EvmMaps, schema},
};
use coco_kv::{Snapshot, Store};
use coco_types::Seqno;
use revm::primitives::hardfork::SpecId;

const ALICE: Address = address!("00000000000000000000000000000000000a11ce");
const BOB: Address = address!("0000000000000000000000000000000000000b0b");
const MINER: Address = address!("00000000000000000000000000000000000000cc");
const ETHER: u64 = 1_000_000_000_000_000_000;
const BASE_FEE: u128 = 1_000_000_000;

struct Chain {
    store: Store,
    executor: Executor,
}

impl Chain {
    fn begin(config: ChainConfig, contracts: &[(Address, Bytes)]) -> Self {
        let mut store = Store::new(schema(), [1, 2]);
        let maps = EvmMaps::find(|name| store.map(name)).unwrap();
        let executor = Executor::new(Arc::new(config.clone()), maps);
        let mut genesis = Genesis::new(config).with_history_contract();
        genesis.base_fee = u64::try_from(BASE_FEE).unwrap();
        genesis.alloc.insert(
            ALICE,
            GenesisAccount { balance: U256::from(ETHER), ..GenesisAccount::default() },
        );
        for (address, code) in contracts {
            let account =
                GenesisAccount { code: code.clone(), nonce: 1, ..GenesisAccount::default() };
            genesis.alloc.insert(*address, account);
        }
        let mut tx = store.begin();
        let block = genesis.write(&mut tx, &maps);
        assert_eq!(block.number(), 0);
        let changes = tx.finish();
        store.commit(Seqno(1), changes).unwrap();
        Self { store, executor }
    }

    fn execute(&mut self, time_ms: u64, transactions: Vec<PooledTx>) -> ExecutedBlock {
        let mut transactions = transactions.into_iter();
        let mut tx = self.store.begin();
        let entropy = B256::repeat_byte(9);
        let executed =
            self.executor.execute_block(&mut tx, time_ms, entropy, |_| transactions.next());
        let changes = tx.finish();
        self.store.commit(self.store.version().next(), changes).unwrap();
        executed
    }

    fn block(&mut self, transactions: Vec<PooledTx>) -> Arc<Block> {
        let executed = self.execute(1000, transactions);
        assert!(executed.skipped.is_empty(), "{:?}", executed.skipped);
        executed.block.expect("there are transactions")
    }

    fn head(&self) -> (Snapshot, EvmMaps) {
        (self.store.reader().head(), *self.executor.maps())
    }

    fn balance(&self, address: Address) -> U256 {
        let (snapshot, maps) = self.head();
        state::account(&mut &snapshot, &maps, address).map_or(U256::ZERO, |account| account.balance)
    }

    fn word(&self, address: Address, slot: u64) -> U256 {
        let (snapshot, maps) = self.head();
        state::storage(&mut &snapshot, &maps, address, U256::from(slot))
    }

    fn call(&self, request: &CallRequest) -> Result<CallResult, InvalidTransaction> {
        let (snapshot, maps) = self.head();
        let head = state::head(&mut &snapshot, &maps).unwrap();
        let environment = self.executor.next_environment(&head, 1000, B256::ZERO);
        self.executor.simulate(&snapshot, &environment, request).map(|outcome| outcome.result)
    }
}

fn transaction(nonce: u64, change: impl FnOnce(&mut TxEip1559)) -> PooledTx {
    let mut tx = TxEip1559 {
        chain_id: 7,
        nonce,
        gas_limit: 100_000,
        to: TxKind::Call(BOB),
        ..TxEip1559::default()
    };
    change(&mut tx);
    // Signatures are verified on the edge; execution believes the sender it is given.
    let envelope = TxEnvelope::from(tx.into_signed(Signature::test_signature()));
    let raw = envelope.encoded_2718().into();
    PooledTx { hash: *envelope.tx_hash(), sender: ALICE, raw, envelope, authorities: Vec::new() }
}

fn transfer(nonce: u64, value: u64) -> PooledTx {
    transaction(nonce, |tx| tx.value = U256::from(value))
}

fn config() -> ChainConfig {
    ChainConfig { beneficiary: MINER, ..ChainConfig::new(7) }
}

#[test]
fn blocks_build_on_each_other() {
    let mut chain = Chain::begin(config(), &[]);
    let first = chain.block(vec![transfer(0, 5), transfer(1, 6)]);
    let second = chain.block(vec![transfer(2, 7)]);
    assert_eq!((first.number(), second.number()), (1, 2));
    assert_eq!(second.header.parent_hash, first.hash);
    assert_eq!(first.header.mix_hash, B256::repeat_byte(9));
    assert_eq!((first.header.base_fee_per_gas, first.header.state_root), (Some(0), B256::ZERO));
    assert_eq!(first.transactions[1].outcome.cumulative_gas_used, 42_000);
    assert_eq!(chain.balance(BOB), U256::from(18));
    let (snapshot, maps) = chain.head();
    let head = state::head(&mut &snapshot, &maps).unwrap();
    assert_eq!((head.number, head.hash), (2, second.hash));
    let hashes: Vec<_> =
        (0..=3).map(|number| state::block_hash(&mut &snapshot, &maps, number)).collect();
    assert_eq!(hashes[1..], [Some(first.hash), Some(second.hash), None]);
    assert_eq!(snapshot.locate(maps.blocks, &2_u64.to_be_bytes()), [Seqno(3)]);
    assert_eq!(
        snapshot.locate(maps.transactions, first.transactions[0].hash.as_slice()),
        [Seqno(2)]
    );
    assert_eq!(state::config(&mut &snapshot, &maps), Some(config()));
}

#[test]
fn refused_candidates_come_back_and_leave_no_trace() {
    let mut chain = Chain::begin(config(), &[]);
    let before = chain.balance(ALICE);
    let wrong = vec![
        transfer(1, 1),
        transaction(0, |tx| tx.gas_limit = 20_999),
        transaction(0, |tx| tx.chain_id = 8),
        transaction(0, |tx| tx.value = U256::MAX),
        transaction(0, |tx| tx.gas_limit = BLOCK_GAS_LIMIT_DEFAULT + 1),
    ];
    let executed = chain.execute(1000, wrong.clone());
    assert!(executed.block.is_none());
    let reasons: Vec<_> = executed.skipped.iter().map(|(_, reason)| reason.clone()).collect();
    assert!(matches!(
        reasons[0],
        InvalidReason::Invalid(InvalidTransaction::NonceTooHigh { tx: 1, state: 0 })
    ));
    assert!(matches!(
        reasons[1],
        InvalidReason::Invalid(InvalidTransaction::CallGasCostMoreThanGasLimit { .. })
    ));
    assert_eq!(reasons[2], InvalidReason::Invalid(InvalidTransaction::InvalidChainId));
    assert!(matches!(
        reasons[3],
        InvalidReason::Invalid(InvalidTransaction::LackOfFundForMaxFee { .. })
    ));
    assert_eq!(reasons[4], InvalidReason::BlockFull);
    assert_eq!(chain.balance(ALICE), before);
    let mixed: Vec<_> = wrong.into_iter().chain([transfer(0, 3)]).collect();
    let executed = chain.execute(1000, mixed);
    assert_eq!((executed.skipped.len(), executed.block.unwrap().transactions.len()), (5, 1));
    assert_eq!(chain.balance(ALICE), before - U256::from(3));
}

#[test]
fn a_block_holds_what_its_gas_limit_allows() {
    let mut chain = Chain::begin(ChainConfig { gas_limit: 63_000, ..config() }, &[]);
    let candidate =
        |nonce, gas| transaction(nonce, |tx| (tx.gas_limit, tx.value) = (gas, U256::from(1)));
    let candidates = vec![
        candidate(0, 21_000),
        candidate(1, 42_001),
        candidate(1, 42_000),
        candidate(2, 21_000),
    ];
    let executed = chain.execute(1000, candidates);
    assert_eq!(executed.block.unwrap().header.gas_used, 63_000);
    let skipped: Vec<_> =
        executed.skipped.iter().map(|(tx, reason)| (tx.envelope.gas_limit(), reason)).collect();
    assert_eq!(skipped, [(42_001, &InvalidReason::BlockFull)]);
}

#[test]
fn time_never_goes_back() {
    let mut chain = Chain::begin(config(), &[]);
    let mut at = |time_ms, nonce| {
        chain
            .execute(time_ms, vec![transfer(nonce, 1)])
            .block
            .expect("it is included")
            .header
            .timestamp
    };
    assert_eq!([at(5_999, 0), at(5_999, 1), at(4_000, 2), at(6_000, 3)], [5, 5, 5, 6]);
}

#[test]
fn the_base_fee_is_burnt_and_the_tip_is_paid_when_fees_are_on() {
    let mut chain = Chain::begin(ChainConfig { fees: Fees::On, ..config() }, &[]);
    let paying = |nonce, tip| {
        transaction(nonce, |tx| {
            (tx.max_fee_per_gas, tx.max_priority_fee_per_gas) = (2 * BASE_FEE, tip);
        })
    };
    // Block 0 used no gas, so the fee falls by an eighth; block 1 used next to none.
    let fees = [BASE_FEE / 8 * 7, 765_778_125];
    let first = chain.block(vec![paying(0, 3)]);
    assert_eq!(first.header.base_fee_per_gas.map(u128::from), Some(fees[0]));
    assert_eq!(first.transactions[0].outcome.effective_gas_price, fees[0] + 3);
    assert_eq!(chain.balance(MINER), U256::from(21_000 * 3));
    assert_eq!(chain.balance(ALICE), U256::from(u128::from(ETHER) - 21_000 * (fees[0] + 3)));
    let second = chain.block(vec![paying(1, 0)]);
    assert_eq!(second.header.base_fee_per_gas.map(u128::from), Some(fees[1]));
    let poor = transaction(2, |tx| tx.max_fee_per_gas = 1);
    let refused = InvalidReason::Invalid(InvalidTransaction::GasPriceLessThanBasefee);
    assert_eq!(chain.execute(1000, vec![poor]).skipped[0].1, refused);
}

#[test]
fn without_fees_a_tip_is_still_paid() {
    let mut chain = Chain::begin(config(), &[]);
    let block = chain.block(vec![transaction(0, |tx| {
        (tx.max_fee_per_gas, tx.max_priority_fee_per_gas) = (5, 3);
    })]);
    assert_eq!(block.header.base_fee_per_gas, Some(0));
    assert_eq!(block.transactions[0].outcome.effective_gas_price, 3);
    assert_eq!(chain.balance(MINER), U256::from(21_000 * 3));
}

#[test]
fn delegations_count_only_when_their_signature_was_valid() {
    let target = address!("00000000000000000000000000000000000000ee");
    let mut chain = Chain::begin(config(), &[(target, bytes!("60015f5500"))]);
    let carol = address!("0000000000000000000000000000000000000ca0");
    let authorization = || {
        let plain = Authorization { chain_id: U256::from(7), address: target, nonce: 0 };
        plain.into_signed(Signature::test_signature())
    };
    let tx = TxEip7702 {
        chain_id: 7,
        gas_limit: 200_000,
        to: BOB,
        authorization_list: vec![authorization(), authorization()],
        ..TxEip7702::default()
    };
    let envelope = TxEnvelope::from(tx.into_signed(Signature::test_signature()));
    let (hash, raw) = (*envelope.tx_hash(), envelope.encoded_2718().into());
    let authorities = vec![None, Some(carol)];
    chain.block(vec![PooledTx { envelope, hash, sender: ALICE, raw, authorities }]);
    let (snapshot, maps) = chain.head();
    let code = state::code(&mut &snapshot, &maps, carol);
    assert_eq!(code, [&[0xef, 1, 0], target.as_slice()].concat());
    chain.block(vec![transaction(1, |tx| tx.to = TxKind::Call(carol))]);
    assert_eq!(chain.word(carol, 0), U256::from(1));
    assert_eq!(chain.word(BOB, 0), U256::ZERO);
}

#[test]
fn the_history_contract_learns_the_parents_hash() {
    let mut chain = Chain::begin(config(), &[]);
    let first = chain.block(vec![transfer(0, 1)]);
    chain.block(vec![transfer(1, 1)]);
    assert_eq!(chain.word(HISTORY_STORAGE_ADDRESS, 1), U256::from_be_bytes(first.hash.0));
}

#[test]
fn block_hashes_reach_back_256_blocks() {
    // Stores the hash of the block whose number is the calldata.
    let keeper = address!("00000000000000000000000000000000000000dd");
    let mut chain = Chain::begin(config(), &[(keeper, bytes!("5f35405f5500"))]);
    let first = chain.block(vec![transfer(0, 1)]);
    for nonce in 1..256 {
        chain.block(vec![transfer(nonce, 1)]);
    }
    let ask = |nonce| {
        transaction(nonce, |tx| {
            (tx.to, tx.input) = (TxKind::Call(keeper), B256::with_last_byte(1).0.into());
        })
    };
    chain.block(vec![ask(256)]);
    assert_eq!(chain.word(keeper, 0), U256::from_be_bytes(first.hash.0), "block 257 sees block 1");
    chain.block(vec![ask(257)]);
    assert_eq!(chain.word(keeper, 0), U256::ZERO, "block 258 does not");
}

#[test]
fn storage_of_a_destroyed_contract_does_not_come_back() {
    let factory = address!("00000000000000000000000000000000000000fa");
    // Without calldata it adds 1 to slot 0, with calldata it destroys itself.
    let child = bytes!("361560075733ff5b60005460010160005500");
    for fork in [SpecId::SHANGHAI, SpecId::ISTANBUL] {
        for mode in [StateRoot::Off, StateRoot::Mpt] {
            check_rebirth(factory, &child, fork, mode);
        }
    }
}

/// Code that creates `child` (at most 32 bytes) by CREATE2 with salt 0.
fn factory_code(child: &Bytes) -> (Bytes, Bytes) {
    let length = u8::try_from(child.len()).expect("it is short");
    // Initialisation: PUSH child, MSTORE at 0, RETURN its last bytes.
    let mut init = vec![0x5f + length];
    init.extend_from_slice(child);
    init.extend_from_slice(&[0x60, 0, 0x52, 0x60, length, 0x60, 32 - length, 0xf3]);
    let init_length = u8::try_from(init.len()).expect("it is short");
    assert!(init_length <= 32);
    let mut code = vec![0x5f + init_length];
    code.extend_from_slice(&init);
    code.extend_from_slice(&[0x60, 0, 0x52]);
    code.extend_from_slice(&[0x60, 0, 0x60, init_length, 0x60, 32 - init_length, 0x60, 0, 0xf5, 0]);
    (code.into(), init.into())
}

fn check_rebirth(factory: Address, child: &Bytes, fork: SpecId, mode: StateRoot) {
    let (code, init) = factory_code(child);
    let config = ChainConfig { forks: ForkSchedule::always(fork), state_root: mode, ..config() };
    let mut chain = Chain::begin(config, &[(factory, code)]);
    let contract = factory.create2(B256::ZERO, keccak256(&init));
    let legacy = |nonce, to, input: &'static [u8]| {
        let mut tx = transaction(nonce, |tx| {
            (tx.to, tx.input) = (TxKind::Call(to), Bytes::from_static(input));
        });
        let plain = TxLegacy {
            chain_id: Some(7),
            nonce,
            gas_limit: 200_000,
            to: TxKind::Call(to),
            input: Bytes::from_static(input),
            ..TxLegacy::default()
        };
        tx.envelope = TxEnvelope::from(plain.into_signed(Signature::test_signature()));
        (tx.raw, tx.hash) = (tx.envelope.encoded_2718().into(), *tx.envelope.tx_hash());
        tx
    };
    let (create, add, destroy): (&[u8], &[u8], &[u8]) = (b"", b"", b"x");
    let mut nonces = 0..;
    let mut step = |chain: &mut Chain, to, input| {
        let block = chain.block(vec![legacy(nonces.next().unwrap(), to, input)]);
        assert!(block.transactions[0].outcome.success);
        block.header.state_root
    };
    step(&mut chain, factory, create);
    let empty_contract = step(&mut chain, contract, add);
    step(&mut chain, contract, add);
    assert_eq!(chain.word(contract, 0), U256::from(2));
    step(&mut chain, contract, destroy);
    assert_eq!(chain.word(contract, 0), U256::ZERO);
    step(&mut chain, factory, create);
    assert_eq!(chain.word(contract, 0), U256::ZERO, "{fork:?} {mode:?}");
    let one_again = step(&mut chain, contract, add);
    assert_eq!(chain.word(contract, 0), U256::from(1));
    assert_eq!(empty_contract == one_again, mode == StateRoot::Off, "the senders' nonces differ");
    // All in one block: destroyed and created again.
    let all = vec![
        legacy(nonces.next().unwrap(), contract, destroy),
        legacy(nonces.next().unwrap(), factory, create),
        legacy(nonces.next().unwrap(), contract, add),
    ];
    chain.block(all);
    assert_eq!(chain.word(contract, 0), U256::from(1));
}

#[test]
fn calls_see_the_state_and_leave_it() {
    // Adds 1 to slot 0 and returns it.
    let counter = address!("00000000000000000000000000000000000000c0");
    // Reverts with two bytes.
    let reverter = address!("00000000000000000000000000000000000000c1");
    let chain = Chain::begin(
        config(),
        &[
            (counter, bytes!("5f54600101805f555f5260205ff3")),
            (reverter, bytes!("61beef5f526002601efd")),
        ],
    );
    let to =
        |to| CallRequest { from: BOB, to: Some(to), gas_cap: 1_000_000, ..CallRequest::default() };
    let word =
        |n: u64| CallResult::Success { output: Bytes::from(U256::from(n).to_be_bytes::<32>()) };
    assert_eq!(chain.call(&to(counter)), Ok(word(1)));
    assert_eq!(chain.call(&to(counter)), Ok(word(1)));
    assert_eq!(chain.call(&to(reverter)), Ok(CallResult::Revert { output: bytes!("beef") }));
    let stingy = CallRequest { gas: Some(25_000), ..to(counter) };
    assert!(matches!(chain.call(&stingy), Ok(CallResult::Halt { .. })));
    let rich = CallRequest { value: U256::from(1), ..to(counter) };
    assert!(matches!(chain.call(&rich), Err(InvalidTransaction::LackOfFundForMaxFee { .. })));
    let with =
        |address, change| CallRequest { overrides: [(address, change)].into(), ..to(counter) };
    let words = |n: u64| [(U256::ZERO, U256::from(n))].into();
    for (change, expected) in [
        (AccountOverride { state: Some(words(41)), ..AccountOverride::default() }, 42),
        (AccountOverride { state_diff: words(6), ..AccountOverride::default() }, 7),
        (
            AccountOverride {
                state: Some([].into()),
                state_diff: words(1),
                ..AccountOverride::default()
            },
            2,
        ),
    ] {
        assert_eq!(chain.call(&with(counter, change)), Ok(word(expected)));
    }
    let code =
        AccountOverride { code: Some(bytes!("60055f5260205ff3")), ..AccountOverride::default() };
    assert_eq!(chain.call(&with(counter, code)), Ok(word(5)));
    let balance = AccountOverride { balance: Some(U256::from(1)), ..AccountOverride::default() };
    let paid = CallRequest { value: U256::from(1), ..with(BOB, balance) };
    assert_eq!(chain.call(&paid), Ok(word(1)));
    assert_eq!(chain.word(counter, 0), U256::ZERO);
}

#[test]
fn rolled_back_blocks_are_made_again_the_same() {
    let config = ChainConfig { state_root: StateRoot::Mpt, ..config() };
    let mut chain = Chain::begin(config, &[]);
    let first = chain.block(vec![transfer(0, 5)]);
    let second = chain.block(vec![transfer(1, 6)]);
    chain.store.rollback(Seqno(1)).unwrap();
    assert_eq!(chain.balance(BOB), U256::ZERO);
    assert_eq!(chain.block(vec![transfer(0, 5)]).hash, first.hash);
    assert_eq!(chain.block(vec![transfer(1, 6)]).hash, second.hash);
    assert_ne!(first.header.state_root, second.header.state_root);
}
