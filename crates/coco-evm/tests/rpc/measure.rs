//! Prints what the hot paths cost. Run with `cargo test --release -p coco-evm --test rpc -- --ignored --nocapture`.

use std::time::Instant;

use alloy_primitives::Bytes;
use coco_adapter::Adapter;
use coco_evm::{
    genesis::BLOCK_GAS_LIMIT_MAX,
    transaction::{Unprotected, decode_and_check},
};
use serde_json::json;

use crate::chain::{Account, Chain, genesis, hash};

#[test]
#[ignore = "measures and promises nothing"]
fn hot_paths() {
    const COUNT: u64 = 2_000;
    let mut genesis = genesis();
    genesis.config.gas_limit = BLOCK_GAS_LIMIT_MAX;
    let mut chain = Chain::with(&genesis, coco_evm::pool::PoolLimits::default());
    let accounts = [1, 2, 3, 4].map(Account::new);
    let raws: Vec<Bytes> = (0..COUNT)
        .flat_map(|nonce| accounts.iter().map(move |account| account.transfer(nonce)))
        .collect();
    let per = |start: Instant| start.elapsed().as_secs_f64() * 1e6 / raws.len() as f64;

    let start = Instant::now();
    for raw in &raws {
        decode_and_check(raw, &genesis.config, Unprotected::Refused).expect("it is well formed");
    }
    println!("decode and recover: {:.2} µs", per(start));

    let checked: Vec<_> = raws.iter().map(|raw| chain.checked(raw)).collect();
    let start = Instant::now();
    for (ticket, checked) in (0..).zip(checked) {
        assert!(chain.admit(ticket, checked).is_empty());
    }
    println!("admit: {:.2} µs", per(start));

    let start = Instant::now();
    let mut answers = 0;
    while chain.adapter.ready() > 0 {
        answers += chain.execute().len();
    }
    println!("execute and commit to the store: {:.2} µs", per(start));
    assert_eq!(answers, raws.len());
    chain.commit();

    for round in ["first", "second"] {
        let bodies: Vec<String> = raws
            .iter()
            .map(|raw| json!({"jsonrpc": "2.0", "id": 1, "method": "eth_getTransactionReceipt", "params": [hash(raw)]}).to_string())
            .collect();
        let start = Instant::now();
        let bytes: usize = bodies.iter().map(|body| chain.answer(body.as_bytes()).len()).sum();
        println!("receipt ({round}): {:.2} µs, {} bytes", per(start), bytes / raws.len());
    }
}
