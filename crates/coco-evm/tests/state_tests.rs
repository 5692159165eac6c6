//! The public `GeneralStateTests`: for every variant of every fork that we run, the state root and the hash of the
//! logs.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may fail, and says what it counted"
)]

#[path = "data/source.rs"]
mod source;

use std::{
    io::Read,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use alloy_eips::eip2718::Decodable2718;
use alloy_primitives::{Address, B256, Bytes, Log, keccak256};
use coco_evm::{
    block::{Block, PooledTx, TxEnvelope},
    executor::Environment,
    fork::ForkSchedule,
    genesis::{ChainConfig, Genesis, StateRoot},
};
use revm::primitives::hardfork::SpecId;
use serde_json::Value;
use source::{Chain, accounts, data, gunzip, hex, quantity, word};

/// The forks of the tests that the interpreter has.
fn fork(name: &str) -> Option<SpecId> {
    Some(match name {
        "Frontier" => SpecId::FRONTIER,
        "Homestead" => SpecId::HOMESTEAD,
        "EIP150" => SpecId::TANGERINE,
        "EIP158" => SpecId::SPURIOUS_DRAGON,
        "Byzantium" => SpecId::BYZANTIUM,
        "ConstantinopleFix" => SpecId::PETERSBURG,
        "Istanbul" => SpecId::ISTANBUL,
        "Berlin" => SpecId::BERLIN,
        "London" => SpecId::LONDON,
        "Paris" | "Merge" => SpecId::MERGE,
        "Shanghai" => SpecId::SHANGHAI,
        "Cancun" => SpecId::CANCUN,
        "Prague" => SpecId::PRAGUE,
        "Osaka" => SpecId::OSAKA,
        _ => return None,
    })
}

fn environment(env: &Value, spec: SpecId) -> Environment {
    let optional = |name: &str| env[name].is_string().then(|| quantity(&env[name]));
    Environment {
        spec,
        number: quantity(&env["currentNumber"]),
        timestamp: quantity(&env["currentTimestamp"]),
        parent_hash: B256::ZERO,
        beneficiary: hex(&env["currentCoinbase"]),
        gas_limit: u64::try_from(word(&env["currentGasLimit"])).unwrap_or(u64::MAX),
        base_fee: (spec >= SpecId::LONDON).then(|| optional("currentBaseFee").unwrap_or(10)),
        difficulty: word(&env["currentDifficulty"]),
        mix_hash: B256::from(word(&env["currentRandom"])),
        extra_data: Bytes::new(),
        excess_blob_gas: optional("currentExcessBlobGas").unwrap_or(0),
        parent_beacon_block_root: B256::ZERO,
    }
}

fn logs_hash(logs: &[Log]) -> B256 {
    let mut out = Vec::new();
    alloy_rlp::encode_list(logs, &mut out);
    keccak256(out)
}

/// The signed transaction of a variant; `None` when its bytes are no transaction.
fn transaction(variant: &Value, sender: Address) -> Option<PooledTx> {
    let raw: Bytes = hex(&variant["txbytes"]);
    let envelope = TxEnvelope::decode_2718_exact(&raw).ok()?;
    let hash = *envelope.tx_hash();
    assert_eq!(
        envelope.signature().recover_address_from_prehash(&envelope.signature_hash()).ok()?,
        sender
    );
    Some(PooledTx { envelope, hash, sender, raw, authorities: Vec::new() })
}

fn check_variant(test: &Value, spec: SpecId, variant: &Value) -> Result<(), String> {
    let code = |account: &Value| hex(&account["code"]);
    let mut config = ChainConfig::new(1);
    (config.forks, config.state_root) = (ForkSchedule::always(spec), StateRoot::Mpt);
    let genesis = Genesis { alloc: accounts(&test["pre"], code), ..Genesis::new(config) };
    let (mut chain, block_0) = Chain::begin(&genesis, &[]);
    let transaction = transaction(variant, hex(&test["transaction"]["sender"]));
    let executed =
        chain.execute(&environment(&test["env"], spec), transaction.into_iter().collect());

    let block: &Block = executed.block.as_deref().unwrap_or(&block_0);
    let refused = executed.block.is_none();
    let expected = variant["expectException"].is_string();
    if refused != expected {
        return Err(format!(
            "refused: {refused}, expected: {}, {:?}",
            variant["expectException"], executed.skipped
        ));
    }
    let logs = block.transactions.first().map_or(&[][..], |included| &included.outcome.logs);
    if logs_hash(logs) != hex::<B256>(&variant["logs"]) {
        return Err("the logs differ".to_owned());
    }
    let root = hex::<B256>(&variant["hash"]);
    if block.header.state_root != root {
        let outcome = block.transactions.first().map(|included| included.outcome.success);
        return Err(format!(
            "state root {} instead of {root}, success: {outcome:?}",
            block.header.state_root
        ));
    }
    Ok(())
}

#[derive(Default)]
struct Tally {
    variants: AtomicUsize,
    refused: AtomicUsize,
    unknown: AtomicUsize,
    failures: Mutex<Vec<String>>,
}

fn check_file(name: &str, bytes: &[u8], tally: &Tally) {
    let file: Value = serde_json::from_slice(bytes).unwrap();
    for (test_name, test) in file.as_object().unwrap() {
        for (fork_name, variants) in test["post"].as_object().unwrap() {
            let variants = variants.as_array().unwrap();
            let Some(spec) = fork(fork_name) else {
                tally.unknown.fetch_add(variants.len(), Ordering::Relaxed);
                continue;
            };
            for variant in variants {
                tally.variants.fetch_add(1, Ordering::Relaxed);
                let refused = usize::from(variant["expectException"].is_string());
                tally.refused.fetch_add(refused, Ordering::Relaxed);
                if let Err(failure) = check_variant(test, spec, variant) {
                    let place = &variant["indexes"];
                    let story = format!("{name} {test_name} {fork_name} {place}: {failure}");
                    tally.failures.lock().unwrap().push(story);
                }
            }
        }
    }
}

#[test]
fn every_variant_has_the_state_root_and_the_logs_that_it_should() {
    let Some(archive) = data("ethereum/state-tests/general-state-tests.tar.gz") else { return };
    let bytes = gunzip(&archive);
    let mut files = Vec::new();
    for entry in tar::Archive::new(bytes.as_slice()).entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().display().to_string();
        if path.ends_with(".json") {
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            files.push((path, content));
        }
    }
    let (tally, at) = (Tally::default(), AtomicUsize::new(0));
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((name, content)) = files.get(at.fetch_add(1, Ordering::Relaxed)) {
                    check_file(name, content, &tally);
                }
            });
        }
    });
    let failures = tally.failures.into_inner().unwrap();
    let (variants, refused) = (tally.variants.into_inner(), tally.refused.into_inner());
    println!(
        "{} files, {variants} variants ({refused} of them to be refused), {} failures, {} variants of unknown forks",
        files.len(),
        failures.len(),
        tally.unknown.into_inner()
    );
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(files.len() >= 825 && variants >= 5655, "the archive lost tests");
}
