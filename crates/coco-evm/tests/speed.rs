//! How fast plain transfers go, on one thread, from candidates to a committed write set. Not a test of anything: run it
//! with `cargo test --release -p coco-evm --test speed -- --ignored --nocapture`.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "it measures, and says what")]

use std::{sync::Arc, time::Instant};

use alloy_consensus::{SignableTransaction, TxEip1559};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, B256, Signature, TxKind, U256};
use coco_evm::{
    block::{PooledTx, TxEnvelope},
    executor::Executor,
    genesis::{BLOCK_GAS_LIMIT_MAX, ChainConfig, Genesis, GenesisAccount, StateRoot},
    state::{EvmMaps, schema},
};
use coco_kv::Store;

const ACCOUNTS: u64 = 1000;
const TRANSFERS: u64 = 200_000;

fn account(n: u64) -> Address {
    Address::left_padding_from(&(n % ACCOUNTS + 1).to_be_bytes())
}

fn transfers() -> Vec<PooledTx> {
    let transfer = |n: u64| {
        let tx = TxEip1559 {
            chain_id: 7,
            nonce: n / ACCOUNTS,
            gas_limit: 21_000,
            to: TxKind::Call(account(n * 7 + 3)),
            value: U256::from(1),
            ..TxEip1559::default()
        };
        let signature = Signature::new(U256::from(n).pow(U256::from(12)), U256::from(n), false);
        let envelope = TxEnvelope::from(tx.into_signed(signature));
        let raw = envelope.encoded_2718().into();
        PooledTx {
            hash: *envelope.tx_hash(),
            sender: account(n),
            raw,
            envelope,
            authorities: Vec::new(),
        }
    };
    (0..TRANSFERS).map(transfer).collect()
}

fn measure(block_transactions: usize, mode: StateRoot) {
    let config =
        ChainConfig { gas_limit: BLOCK_GAS_LIMIT_MAX, state_root: mode, ..ChainConfig::new(7) };
    let mut store = Store::new(schema(), [1, 2]);
    let maps = EvmMaps::find(|name| store.map(name)).unwrap();
    let mut genesis = Genesis::new(config.clone()).with_history_contract();
    for n in 0..ACCOUNTS {
        let rich = GenesisAccount { balance: U256::from(1) << 80, ..GenesisAccount::default() };
        genesis.alloc.insert(account(n), rich);
    }
    let mut tx = store.begin();
    genesis.write(&mut tx, &maps);
    let changes = tx.finish();
    store.commit(store.version().next(), changes).unwrap();

    let executor = Executor::new(Arc::new(config), maps);
    let mut candidates = transfers().into_iter();
    let (mut execute, mut commit, mut included) = (0.0, 0.0, 0);
    while candidates.len() > 0 {
        let mut left = block_transactions;
        let start = Instant::now();
        let mut tx = store.begin();
        let executed = executor.execute_block(&mut tx, 0, B256::ZERO, |_| {
            left = left.checked_sub(1)?;
            candidates.next()
        });
        let middle = Instant::now();
        let changes = tx.finish();
        store.commit(store.version().next(), changes).unwrap();
        store.compact(store.version());
        (execute, commit) =
            (execute + (middle - start).as_secs_f64(), commit + middle.elapsed().as_secs_f64());
        assert!(executed.skipped.is_empty());
        included += executed.block.unwrap().transactions.len();
    }
    assert_eq!(included as u64, TRANSFERS);
    let each = |seconds: f64| seconds / included as f64 * 1e6;
    println!(
        "{block_transactions} a block, {mode:?}: {:.0} transfers/s; each {:.2} us to execute, {:.2} us to commit",
        included as f64 / (execute + commit),
        each(execute),
        each(commit)
    );
}

#[test]
#[ignore = "measures, and takes a minute"]
fn transfers_per_second() {
    for block_transactions in [1, 10, 100, 1000, 2500] {
        measure(block_transactions, StateRoot::Off);
    }
    for block_transactions in [1, 100, 2500] {
        measure(block_transactions, StateRoot::Mpt);
    }
}
