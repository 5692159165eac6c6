//! Blocks of the public Ethereum network, from Frontier to Cancun, executed on the state that they were executed on: gas
//! used, and from Byzantium on the filter of the logs and the receipts root, equal the header's.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may fail, and says what it counted"
)]

#[path = "data/source.rs"]
mod source;

use std::fs;

use alloy_consensus::{SignableTransaction, TxEip1559, TxEip2930, TxEip4844, TxLegacy};
use alloy_eips::{
    eip2718::Encodable2718,
    eip2930::{AccessList, AccessListItem},
};
use alloy_primitives::{Address, B256, Bloom, Bytes, Signature, TxKind};
use coco_evm::{
    block::{Block, PooledTx, TxEnvelope},
    executor::Environment,
    genesis::{ChainConfig, Genesis},
};
use serde_json::Value;
use source::{Chain, accounts, data, gunzip, hex, quantity, word};

const SCHEDULE: &str = r#"{"config": {
    "chainId": 1, "homesteadBlock": 1150000, "eip150Block": 2463000, "eip158Block": 2675000, "byzantiumBlock": 4370000,
    "constantinopleBlock": 7280000, "petersburgBlock": 7280000, "istanbulBlock": 9069000, "berlinBlock": 12244000,
    "londonBlock": 12965000, "mergeNetsplitBlock": 15537394, "shanghaiTime": 1681338455, "cancunTime": 1710338135
}}"#;
const BYZANTIUM: u64 = 4_370_000;

fn price(value: &Value) -> u128 {
    word(value).try_into().unwrap()
}

fn envelope(json: &Value) -> TxEnvelope {
    let to = json["to"].as_str().map_or(TxKind::Create, |to| TxKind::Call(to.parse().unwrap()));
    let (nonce, gas_limit) = (quantity(&json["nonce"]), quantity(&json["gas"]));
    let (value, input): (_, Bytes) = (word(&json["value"]), hex(&json["input"]));
    let chain_id = quantity(&json["chainId"]);
    let v = quantity(&json["v"]);
    let signature = |odd: bool| Signature::new(word(&json["r"]), word(&json["s"]), odd);
    let access_list = AccessList(
        json["accessList"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|item| AccessListItem {
                address: hex(&item["address"]),
                storage_keys: item["storageKeys"].as_array().unwrap().iter().map(hex).collect(),
            })
            .collect(),
    );
    let gas_price = price(&json["gasPrice"]);
    let max_fee_per_gas = price(&json["maxFeePerGas"]);
    let max_priority_fee_per_gas = price(&json["maxPriorityFeePerGas"]);
    match quantity(&json["type"]) {
        0 => {
            // EIP-155 puts the chain id into v; before there was none.
            let (chain_id, odd) =
                if v >= 35 { (Some((v - 35) / 2), (v - 35) % 2 == 1) } else { (None, v == 28) };
            TxLegacy { chain_id, nonce, gas_price, gas_limit, to, value, input }
                .into_signed(signature(odd))
                .into()
        }
        1 => TxEip2930 { chain_id, nonce, gas_price, gas_limit, to, value, access_list, input }
            .into_signed(signature(v == 1))
            .into(),
        2 => TxEip1559 {
            chain_id,
            nonce,
            gas_limit,
            max_fee_per_gas,
            max_priority_fee_per_gas,
            to,
            value,
            access_list,
            input,
        }
        .into_signed(signature(v == 1))
        .into(),
        3 => TxEnvelope::Eip4844(
            TxEip4844 {
                chain_id,
                nonce,
                gas_limit,
                max_fee_per_gas,
                max_priority_fee_per_gas,
                to: to.into_to().unwrap(),
                value,
                access_list,
                blob_versioned_hashes: json["blobVersionedHashes"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(hex)
                    .collect(),
                max_fee_per_blob_gas: price(&json["maxFeePerBlobGas"]),
                input,
            }
            .into_signed(signature(v == 1)),
        ),
        other => panic!("no block here has transactions of type {other}"),
    }
}

fn transaction(json: &Value) -> PooledTx {
    let envelope = envelope(json);
    let hash = *envelope.tx_hash();
    assert_eq!(hash, hex::<B256>(&json["hash"]), "the transaction was put together wrongly");
    // Frontier took signatures with a high s, so this recovery does not refuse them.
    let sender =
        envelope.signature().recover_address_from_prehash(&envelope.signature_hash()).unwrap();
    assert_eq!(sender, hex::<Address>(&json["from"]));
    PooledTx {
        raw: envelope.encoded_2718().into(),
        hash,
        sender,
        envelope,
        authorities: Vec::new(),
    }
}

fn environment(header: &Value, config: &ChainConfig) -> Environment {
    let (number, timestamp) = (quantity(&header["number"]), quantity(&header["timestamp"]));
    let base_fee = &header["baseFeePerGas"];
    Environment {
        spec: config.spec(number, timestamp),
        number,
        timestamp,
        parent_hash: hex(&header["parentHash"]),
        beneficiary: hex(&header["miner"]),
        gas_limit: quantity(&header["gasLimit"]),
        base_fee: base_fee.is_string().then(|| quantity(base_fee)),
        difficulty: word(&header["difficulty"]),
        mix_hash: hex(&header["mixHash"]),
        extra_data: hex(&header["extraData"]),
        excess_blob_gas: quantity(&header["excessBlobGas"]),
        parent_beacon_block_root: header["parentBeaconBlockRoot"]
            .as_str()
            .map_or(B256::ZERO, |root| root.parse().unwrap()),
    }
}

fn check(file: &Value, hashes: &Value) -> usize {
    let header = &file["block"];
    let number = quantity(&header["number"]);
    let codes = &file["codes"];
    let code = |account: &Value| match account["code_hash"].as_str() {
        Some(hash) => codes[hash.trim_start_matches("0x")]
            .as_str()
            .map_or_else(Bytes::new, |code| code.parse().unwrap()),
        None => Bytes::new(),
    };
    let mut genesis = Genesis::parse(SCHEDULE).unwrap();
    genesis.alloc = accounts(&file["pre"], code);
    let known =
        hashes.as_object().unwrap().iter().map(|(known, hash)| (known.parse().unwrap(), hex(hash)));
    let known: Vec<(u64, B256)> =
        known.filter(|(known, _)| (number.saturating_sub(256)..number).contains(known)).collect();
    let (mut chain, _) = Chain::begin(&genesis, &known);

    let transactions: Vec<PooledTx> =
        header["transactions"].as_array().unwrap().iter().map(transaction).collect();
    let count = transactions.len();
    let executed = chain.execute(&environment(header, &genesis.config), transactions);
    assert!(executed.skipped.is_empty(), "block {number}: {:?}", executed.skipped);
    let block = executed.block.expect("it has transactions");
    assert_eq!(block.transactions.len(), count);
    assert_eq!(block.header.gas_used, quantity(&header["gasUsed"]), "gas used by block {number}");
    assert_eq!(
        block.header.transactions_root,
        hex::<B256>(&header["transactionsRoot"]),
        "block {number}"
    );
    if number >= BYZANTIUM {
        assert_eq!(
            block.header.logs_bloom,
            hex::<Bloom>(&header["logsBloom"]),
            "filter of block {number}"
        );
        assert_eq!(
            block.header.receipts_root,
            hex::<B256>(&header["receiptsRoot"]),
            "receipts of block {number}"
        );
    }
    assert_eq!(Block::decode(&block.encode()).unwrap(), *block);
    count
}

#[test]
fn real_blocks_have_the_gas_the_logs_and_the_receipts_of_their_headers() {
    let Some(folder) = data("ethereum/mainnet") else { return };
    let hashes: Value =
        serde_json::from_slice(&fs::read(folder.join("block_hashes.json")).unwrap()).unwrap();
    let files: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "gz"))
        .collect();
    let mut transactions = 0;
    for path in &files {
        transactions += check(&serde_json::from_slice(&gunzip(path)).unwrap(), &hashes);
    }
    println!("{} blocks with {transactions} transactions", files.len());
    assert!(files.len() >= 22, "the data folder lost files");
}
