//! JSON-RPC, transactions, genesis, and what the adapter keeps in the store.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

use alloy_eips::eip2718::Encodable2718 as _;
use alloy_primitives::keccak256;
use coco_evm::{
    block::Block,
    genesis::{ChainConfig, Genesis},
    rpc::{BATCH_CALLS_MAX, Call, Parsed, RpcConfig, SYNC_TIMEOUT_MS_MAX, Wait, parse_body},
    transaction::{EvmCheck, TRANSACTION_BYTES_MAX, Unprotected, check_rules},
};
use coco_replica::{decode_outside, encode_outside};
use serde_json::value::RawValue;

static RPC: LazyLock<RpcConfig> = LazyLock::new(|| RpcConfig::new(31_337));

pub(crate) fn json_rpc(data: &[u8]) {
    parsed(&parse_body(data, &RPC), data.len());
}

fn parsed(parsed: &Parsed, bytes: usize) {
    assert!((1..=BATCH_CALLS_MAX).contains(&parsed.calls.len()));
    assert!(parsed.is_batch || parsed.calls.len() == 1);
    for call in &parsed.calls {
        json(&call.too_large());
        match call {
            Call::Done(answer) => json(answer),
            Call::Notification => {}
            Call::Query(query) => assert!(!query.name().is_empty() && query.name().contains('_')),
            Call::Submit(submit) => {
                assert!(submit.raw.len() <= bytes);
                match submit.wait {
                    Wait::Executed => {}
                    Wait::Receipt { timeout_ms } => assert!(timeout_ms <= SYNC_TIMEOUT_MS_MAX),
                }
            }
        }
    }
}

/// What is answered is JSON with the fields of an answer. Numbers in an id are given back as they came, also those that
/// no number type holds, so values are not looked into.
fn json(answer: &[u8]) {
    let fields: BTreeMap<&str, &RawValue> =
        serde_json::from_slice(answer).expect("an answer is a JSON object, whatever the id was");
    assert_eq!(fields.get("jsonrpc").map(|version| version.get()), Some(r#""2.0""#));
    assert!(fields.contains_key("id"));
    assert!(fields.contains_key("result") != fields.contains_key("error"));
}

/// The first byte chooses the method; the rest are its parameters.
pub(crate) fn rpc_params(data: &[u8]) {
    let Some((method, params)) = data.split_first() else { return };
    let name = METHODS[usize::from(*method) % METHODS.len()];
    call(name, params);
}

/// The parameters of `eth_getLogs` and `eth_newFilter`.
pub(crate) fn log_filter(data: &[u8]) {
    call("eth_getLogs", data);
    call("eth_newFilter", data);
}

fn call(name: &str, params: &[u8]) {
    let head = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{name}","params":"#);
    let body = [head.as_bytes(), params, b"}"].concat();
    parsed(&parse_body(&body, &RPC), body.len());
}

/// Methods whose parameters are read.
const METHODS: [&str; 38] = [
    "eth_call",
    "eth_estimateGas",
    "eth_feeHistory",
    "eth_getBalance",
    "eth_getBlockByHash",
    "eth_getBlockByNumber",
    "eth_getBlockReceipts",
    "eth_getBlockTransactionCountByHash",
    "eth_getBlockTransactionCountByNumber",
    "eth_getCode",
    "eth_getFilterChanges",
    "eth_getFilterLogs",
    "eth_getLogs",
    "eth_getRawTransactionByBlockHashAndIndex",
    "eth_getRawTransactionByBlockNumberAndIndex",
    "eth_getRawTransactionByHash",
    "eth_getStorageAt",
    "eth_getTransactionByBlockHashAndIndex",
    "eth_getTransactionByBlockNumberAndIndex",
    "eth_getTransactionByHash",
    "eth_getTransactionCount",
    "eth_getTransactionReceipt",
    "eth_getUncleByBlockHashAndIndex",
    "eth_getUncleByBlockNumberAndIndex",
    "eth_getUncleCountByBlockHash",
    "eth_getUncleCountByBlockNumber",
    "eth_newBlockFilter",
    "eth_newFilter",
    "eth_newPendingTransactionFilter",
    "eth_sendRawTransaction",
    "eth_sendRawTransactionSync",
    "eth_subscribe",
    "eth_uninstallFilter",
    "eth_unsubscribe",
    "txpool_contentFrom",
    "txpool_status",
    "web3_clientVersion",
    "web3_sha3",
];

pub(crate) fn raw_transaction(data: &[u8]) {
    static CONFIG: LazyLock<Arc<ChainConfig>> = LazyLock::new(|| {
        let genesis = Genesis::parse(r#"{"config": {"chainId": 31337}}"#);
        Arc::new(genesis.expect("the genesis is well-formed").config)
    });
    for unprotected in [Unprotected::Refused, Unprotected::Taken] {
        let check = EvmCheck::new(Arc::clone(&CONFIG), unprotected);
        let Ok(transaction) = check.decode(data) else { continue };
        assert!(data.len() <= TRANSACTION_BYTES_MAX);
        assert_eq!(transaction.envelope.encoded_2718(), data, "a transaction has one encoding");
        assert_eq!(transaction.hash, keccak256(data));
        let _fits = check_rules(&transaction.envelope, CONFIG.spec(0, 0), CONFIG.gas_limit).is_ok();
    }
}

pub(crate) fn genesis(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    if let Ok(genesis) = Genesis::parse(text) {
        let stored = genesis.config.encode();
        assert_eq!(ChainConfig::decode(&stored).as_ref(), Ok(&genesis.config));
    }
}

/// The first byte chooses the kind of value.
pub(crate) fn stored_values(data: &[u8]) {
    let Some((kind, bytes)) = data.split_first() else { return };
    match kind % 3 {
        0 => {
            if let Ok(block) = Block::decode(bytes) {
                assert_eq!(block.encode(), bytes, "a block has one encoding");
                let _index = block.log_index();
            }
        }
        1 => {
            if let Ok(config) = ChainConfig::decode(bytes) {
                assert_eq!(config.encode(), bytes, "a configuration has one encoding");
            }
        }
        _ => {
            if let Ok(outside) = decode_outside(bytes) {
                assert_eq!(encode_outside(&outside), bytes);
            }
        }
    }
}
