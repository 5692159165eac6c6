//! The JSON-RPC over a chain in memory: every method, and what each is refused with.

#[path = "rpc/chain.rs"]
mod chain;
#[path = "rpc/malformed.rs"]
mod malformed;
#[path = "rpc/measure.rs"]
mod measure;
#[path = "rpc/submit.rs"]
mod submit;

use alloy_consensus::TxEip1559;
use alloy_primitives::{Address, Bytes, TxKind, U256, hex};
use chain::{
    Account, CHAIN_ID, Chain, FUNDS, INVALID, LOGGER, REVERTER, deploying, error_data, hash,
    logger_code, plain,
};
use coco_evm::rpc::{LogLimits, QUERY_MS_MAX, RpcConfig};
use serde_json::{Value, json};

fn word(n: u64) -> String {
    format!("{:#066x}", U256::from(n))
}

fn topic_of(address: Address) -> String {
    address.into_word().to_string()
}

const BEYOND_HEAD: &str = "block range extends beyond current head block";

/// Three blocks: a transfer; two calls of the logger; a transfer of each other type.
fn three_blocks() -> (Chain, Vec<Bytes>) {
    let (one, two) = (Account::new(1), Account::new(2));
    let mut chain = Chain::new();
    let input = |n: u64| U256::from(n).to_be_bytes::<32>().to_vec();
    let raws = vec![
        one.transfer(0),
        one.call(1, LOGGER, input(7)),
        two.call(0, LOGGER, input(8)),
        one.legacy(2, Some(CHAIN_ID)),
        one.with_access_list(3),
        one.delegate(4, &Account::new(3), 0, LOGGER),
    ];
    chain.mine(&raws[..1]);
    chain.other_entry();
    chain.mine(&raws[1..3]);
    chain.mine(&raws[3..]);
    (chain, raws)
}

#[test]
fn facts_of_the_node() {
    let chain = Chain::new();
    let cases = [
        ("web3_clientVersion", json!([]), json!("Coco/v0.1.0")),
        (
            "web3_sha3",
            json!(["0x68656c6c6f"]),
            json!("0x1c8aff950685c2ed4bc3174f3472287b56d9517b9c948127319a09a7a36deac8"),
        ),
        ("net_version", json!([]), json!("31337")),
        ("net_listening", json!([]), json!(true)),
        ("net_peerCount", json!([]), json!("0x0")),
        ("eth_chainId", json!([]), json!("0x7a69")),
        ("eth_blockNumber", json!([]), json!("0x0")),
        ("eth_syncing", json!([]), json!(false)),
        ("eth_accounts", json!([]), json!([])),
        ("eth_gasPrice", json!([]), json!("0x0")),
        ("eth_maxPriorityFeePerGas", json!([]), json!("0x0")),
        ("eth_blobBaseFee", json!([]), json!("0x1")),
        ("txpool_status", json!([]), json!({"pending": "0x0", "queued": "0x0"})),
        ("txpool_content", json!([]), json!({"pending": {}, "queued": {}})),
        ("eth_getUncleCountByBlockNumber", json!(["latest"]), json!("0x0")),
        ("eth_getUncleCountByBlockNumber", json!(["0x9"]), json!(null)),
        ("eth_getUncleByBlockNumberAndIndex", json!(["latest", "0x0"]), json!(null)),
    ];
    for (method, params, expected) in cases {
        assert_eq!(chain.call(method, params), expected, "{method}");
    }
}

#[test]
fn accounts_at_every_block_that_is_named() {
    let (chain, _) = three_blocks();
    let one = Account::new(1).address();
    let block = chain.call("eth_getBlockByNumber", json!(["0x1", false]));
    let nonces = [
        (json!("earliest"), "0x0"),
        (json!("0x0"), "0x0"),
        (json!("0x1"), "0x1"),
        (json!({"blockNumber": "0x2"}), "0x2"),
        (json!({"blockHash": block["hash"]}), "0x1"),
        (json!({"blockHash": block["hash"], "requireCanonical": true}), "0x1"),
        (block["hash"].clone(), "0x1"),
        (json!("0x3"), "0x5"),
        (json!("latest"), "0x5"),
        (json!("safe"), "0x5"),
        (json!("finalized"), "0x5"),
        (json!("pending"), "0x5"),
        (json!(null), "0x5"),
    ];
    for (at, nonce) in nonces {
        assert_eq!(chain.call("eth_getTransactionCount", json!([one, at])), nonce, "{at}");
    }
    let balance = format!("{:#x}", FUNDS - 1);
    assert_eq!(chain.call("eth_getBalance", json!([one, "0x1"])), json!(balance));
    assert_eq!(chain.call("eth_getBalance", json!([Address::repeat_byte(0x55), "latest"])), "0x0");
    assert_eq!(
        chain.call("eth_getCode", json!([LOGGER, "latest"])),
        json!(logger_code().to_string())
    );
    assert_eq!(chain.call("eth_getCode", json!([one, "latest"])), "0x");
    for (slot, at, expected) in
        [("0x0", "0x1", 0), ("0x0", "latest", 8), ("0x00", "0x2", 8), ("0x1", "latest", 0)]
    {
        assert_eq!(
            chain.call("eth_getStorageAt", json!([LOGGER, slot, at])),
            json!(word(expected))
        );
    }
}

#[test]
fn blocks_have_the_shape_of_geth() {
    let (chain, raws) = three_blocks();
    let parent = chain.call("eth_getBlockByNumber", json!(["0x1", false]));
    let block = chain.call("eth_getBlockByNumber", json!(["0x2", false]));
    let mut names: Vec<&String> = block.as_object().expect("an object").keys().collect();
    names.sort_unstable();
    let mut expected = vec![
        "number",
        "hash",
        "parentHash",
        "nonce",
        "mixHash",
        "sha3Uncles",
        "logsBloom",
        "stateRoot",
        "miner",
        "difficulty",
        "extraData",
        "gasLimit",
        "gasUsed",
        "timestamp",
        "transactionsRoot",
        "receiptsRoot",
        "baseFeePerGas",
        "withdrawalsRoot",
        "blobGasUsed",
        "excessBlobGas",
        "parentBeaconBlockRoot",
        "requestsHash",
        "size",
        "transactions",
        "uncles",
        "withdrawals",
    ];
    expected.sort_unstable();
    assert_eq!(names, expected);
    assert_eq!(block["number"], "0x2");
    assert_eq!(block["parentHash"], parent["hash"]);
    assert_eq!(block["nonce"], "0x0000000000000000");
    assert_eq!(block["baseFeePerGas"], "0x0");
    assert_eq!(block["difficulty"], "0x0");
    assert_eq!(block["uncles"], json!([]));
    assert_eq!(
        block["sha3Uncles"],
        "0x1dcc4de8dec75d7aab85b567b6ccd41ad312451b948a7413f0a142fd40d49347"
    );
    assert_eq!(block["transactions"], json!([hash(&raws[1]), hash(&raws[2])]));
    let full = chain.call("eth_getBlockByHash", json!([block["hash"], true]));
    assert_eq!(
        full["transactions"][1],
        chain.call("eth_getTransactionByHash", json!([hash(&raws[2])]))
    );
    assert_eq!(full["size"], block["size"]);
    assert_eq!(chain.call("eth_getBlockByNumber", json!(["latest"]))["number"], "0x3");
    assert_eq!(chain.call("eth_getBlockByNumber", json!(["earliest", true]))["number"], "0x0");
    assert_eq!(chain.call("eth_getBlockByNumber", json!(["0x4", false])), json!(null));
    assert_eq!(chain.call("eth_getBlockByHash", json!([word(1), false])), json!(null));
    for (method, of, count) in [
        ("eth_getBlockTransactionCountByNumber", json!("0x2"), json!("0x2")),
        ("eth_getBlockTransactionCountByHash", block["hash"].clone(), json!("0x2")),
        ("eth_getBlockTransactionCountByNumber", json!("0x9"), json!(null)),
    ] {
        assert_eq!(chain.call(method, json!([of])), count);
    }
}

#[test]
fn transactions_of_every_type() {
    let (chain, raws) = three_blocks();
    let one = Account::new(1).address();
    let plain = chain.call("eth_getTransactionByHash", json!([hash(&raws[0])]));
    let block = chain.call("eth_getBlockByNumber", json!(["0x1", false]));
    let mut expected = json!({
        "blockHash": block["hash"], "blockNumber": "0x1", "from": one, "gas": "0x186a0", "gasPrice": "0x0",
        "maxFeePerGas": "0x0", "maxPriorityFeePerGas": "0x0", "hash": hash(&raws[0]), "input": "0x", "nonce": "0x0",
        "to": Address::repeat_byte(9), "transactionIndex": "0x0", "value": "0x1", "type": "0x2", "accessList": [],
        "chainId": "0x7a69",
    });
    for signature in ["v", "r", "s", "yParity"] {
        expected[signature] = plain[signature].clone();
    }
    assert_eq!(plain, expected);
    assert_eq!(plain["v"], plain["yParity"]);

    let legacy = chain.call("eth_getTransactionByHash", json!([hash(&raws[3])]));
    let v = u64::from_str_radix(legacy["v"].as_str().expect("text").trim_start_matches("0x"), 16)
        .expect("hex");
    assert!([2 * CHAIN_ID + 35, 2 * CHAIN_ID + 36].contains(&v), "{v}");
    assert_eq!((&legacy["type"], &legacy["chainId"]), (&json!("0x0"), &json!("0x7a69")));
    assert!(legacy.get("yParity").is_none() && legacy.get("accessList").is_none());

    let listed = chain.call("eth_getTransactionByHash", json!([hash(&raws[4])]));
    assert_eq!(listed["type"], "0x1");
    assert_eq!(listed["accessList"], json!([{"address": LOGGER, "storageKeys": [word(1)]}]));

    let delegating = chain.call("eth_getTransactionByHash", json!([hash(&raws[5])]));
    let authorization = &delegating["authorizationList"][0];
    assert_eq!(delegating["type"], "0x4");
    assert_eq!(
        (&authorization["chainId"], &authorization["nonce"]),
        (&json!("0x7a69"), &json!("0x0"))
    );
    let code = chain.call("eth_getCode", json!([Account::new(3).address(), "latest"]));
    assert_eq!(code, json!(format!("0xef0100{}", hex::encode(LOGGER))));

    for (method, params, expected) in [
        ("eth_getTransactionByBlockNumberAndIndex", json!(["0x3", "0x1"]), listed.clone()),
        (
            "eth_getTransactionByBlockHashAndIndex",
            json!([listed["blockHash"], "0x1"]),
            listed.clone(),
        ),
        ("eth_getTransactionByBlockNumberAndIndex", json!(["0x3", "0x3"]), json!(null)),
        ("eth_getTransactionByBlockNumberAndIndex", json!(["0x9", "0x0"]), json!(null)),
        ("eth_getRawTransactionByHash", json!([hash(&raws[4])]), json!(raws[4].to_string())),
        (
            "eth_getRawTransactionByBlockNumberAndIndex",
            json!(["0x3", "0x1"]),
            json!(raws[4].to_string()),
        ),
        ("eth_getTransactionByHash", json!([word(5)]), json!(null)),
        ("eth_getRawTransactionByHash", json!([word(5)]), json!(null)),
        ("eth_getTransactionReceipt", json!([word(5)]), json!(null)),
    ] {
        assert_eq!(chain.call(method, params), expected, "{method}");
    }
}

#[test]
fn receipts_have_the_shape_of_geth() {
    let (mut chain, raws) = three_blocks();
    let two = Account::new(2).address();
    let block = chain.call("eth_getBlockByNumber", json!(["0x2", false]));
    let first = chain.call("eth_getTransactionReceipt", json!([hash(&raws[1])]));
    let second = chain.call("eth_getTransactionReceipt", json!([hash(&raws[2])]));
    let log = json!({
        "address": LOGGER, "topics": [word(0xee), topic_of(two)], "data": word(8), "blockNumber": "0x2",
        "transactionHash": hash(&raws[2]), "transactionIndex": "0x1", "blockHash": block["hash"],
        "blockTimestamp": block["timestamp"], "logIndex": "0x1", "removed": false,
    });
    let expected = json!({
        "blockHash": block["hash"], "blockNumber": "0x2", "contractAddress": null,
        "cumulativeGasUsed": block["gasUsed"], "effectiveGasPrice": "0x0", "from": two,
        "gasUsed": second["gasUsed"], "logs": [log], "logsBloom": second["logsBloom"], "status": "0x1", "to": LOGGER,
        "transactionHash": hash(&raws[2]), "transactionIndex": "0x1", "type": "0x2",
    });
    assert_eq!(second, expected);
    assert_eq!(first["logs"][0]["logIndex"], "0x0");
    assert_eq!(first["cumulativeGasUsed"], first["gasUsed"]);
    assert_ne!(
        second["logsBloom"],
        chain.call("eth_getTransactionReceipt", json!([hash(&raws[0])]))["logsBloom"]
    );
    assert_eq!(chain.call("eth_getBlockReceipts", json!(["0x2"])), json!([first, second]));
    assert_eq!(
        chain.call("eth_getBlockReceipts", json!([{"blockHash": block["hash"]}])),
        json!([first, second])
    );
    assert_eq!(chain.call("eth_getBlockReceipts", json!(["0x9"])), json!(null));

    let create = Account::new(2).sign(TxEip1559 {
        to: TxKind::Create,
        value: U256::ZERO,
        input: deploying(&logger_code()),
        ..plain(1)
    });
    chain.mine(&[
        create.clone(),
        Account::new(2).sign(TxEip1559 {
            value: U256::ZERO,
            to: TxKind::Call(REVERTER),
            ..plain(2)
        }),
    ]);
    let created = chain.call("eth_getTransactionReceipt", json!([hash(&create)]));
    assert_eq!(created["to"], json!(null));
    assert_eq!(created["contractAddress"], json!(two.create(1)));
    assert_eq!(
        chain.call("eth_getCode", json!([two.create(1), "latest"])),
        json!(logger_code().to_string())
    );
    let receipts = chain.call("eth_getBlockReceipts", json!(["latest"]));
    assert_eq!((&receipts[1]["status"], &receipts[1]["logs"]), (&json!("0x0"), &json!([])));
    // Nothing depends on what is cached.
    let before = chain.call("eth_getBlockReceipts", json!(["0x2"]));
    chain.restart_rpc(RpcConfig::new(CHAIN_ID));
    assert_eq!(chain.call("eth_getBlockReceipts", json!(["0x2"])), before);
    assert_eq!(chain.call("eth_getTransactionReceipt", json!([hash(&create)])), created);
}

#[test]
fn visible_means_committed() {
    let one = Account::new(1);
    let mut chain = Chain::new();
    chain.mine(&[one.transfer(0)]);
    let raw = one.transfer(1);
    chain.queue(&raw);
    chain.execute();
    let count =
        |chain: &Chain, at: &str| chain.call("eth_getTransactionCount", json!([one.address(), at]));
    assert_eq!(chain.call("eth_blockNumber", json!([])), "0x1");
    assert_eq!((count(&chain, "latest"), count(&chain, "pending")), (json!("0x1"), json!("0x2")));
    assert_eq!(chain.call("eth_getBlockByNumber", json!(["0x2", false])), json!(null));
    assert_eq!(chain.call("eth_getBlockByNumber", json!(["latest", false]))["number"], "0x1");
    let pending = chain.call("eth_getBlockByNumber", json!(["pending", false]));
    assert_eq!(pending["number"], "0x2");
    assert_eq!(chain.call("eth_getBlockByHash", json!([pending["hash"], false])), json!(null));
    assert_eq!(chain.call("eth_getTransactionReceipt", json!([hash(&raw)])), json!(null));
    let seen = chain.call("eth_getTransactionByHash", json!([hash(&raw)]));
    assert_eq!(
        (&seen["blockHash"], &seen["blockNumber"], &seen["transactionIndex"]),
        (&json!(null), &json!(null), &json!(null))
    );
    assert_eq!(seen["hash"], json!(hash(&raw)));

    // Another block takes its place.
    chain.roll_back();
    assert_eq!(count(&chain, "pending"), "0x1");
    assert_eq!(chain.call("eth_getTransactionByHash", json!([hash(&raw)])), json!(null));
    let other = one.call(1, LOGGER, vec![1; 32]);
    chain.mine(std::slice::from_ref(&other));
    let block = chain.call("eth_getBlockByNumber", json!(["0x2", false]));
    assert_eq!(block["transactions"], json!([hash(&other)]));
    assert_eq!(chain.call("eth_getBlockByHash", json!([pending["hash"], false])), json!(null));
    assert_eq!(chain.call("eth_getTransactionReceipt", json!([hash(&raw)])), json!(null));
    assert_eq!(chain.call("eth_getTransactionReceipt", json!([hash(&other)]))["status"], "0x1");
}

#[test]
fn state_outside_the_window_is_refused_and_the_oldest_is_named() {
    let (mut chain, raws) = three_blocks();
    let one = Account::new(1).address();
    // Version 3 is an entry without a block: it still has the state of block 1.
    chain.store.compact(coco_types::Seqno(3));
    assert_eq!(chain.call("eth_getTransactionCount", json!([one, "0x1"])), "0x1");
    chain.store.compact(coco_types::Seqno(4));
    assert_eq!(
        chain.error("eth_getTransactionCount", json!([one, "0x1"])),
        (
            -32000,
            "historical state of block 1 is not available; the oldest available block is 2"
                .to_owned()
        )
    );
    assert_eq!(chain.call("eth_getTransactionCount", json!([one, "0x2"])), "0x2");
    assert_eq!(
        chain.error("eth_getBalance", json!([one, "0x9"])),
        (-32000, "header not found".to_owned())
    );
    assert_eq!(
        chain.error("eth_getBalance", json!([one, {"blockHash": word(1)}])),
        (-32000, "header for hash not found".to_owned())
    );
    // Blocks stay.
    chain.restart_rpc(RpcConfig::new(CHAIN_ID));
    assert_eq!(
        chain.call("eth_getTransactionReceipt", json!([hash(&raws[0])]))["blockNumber"],
        "0x1"
    );
    let block = chain.call("eth_getBlockByNumber", json!(["0x1", false]));
    assert_eq!(chain.call("eth_getBlockByHash", json!([block["hash"], false])), block);
}

#[test]
fn calls_return_or_say_why_not() {
    let (chain, _) = three_blocks();
    let one = Account::new(1).address();
    assert_eq!(
        chain.call("eth_call", json!([{"to": LOGGER, "data": word(5)}, "latest"])),
        json!(word(5))
    );
    assert_eq!(chain.call("eth_call", json!([{"to": LOGGER, "input": word(6)}])), json!(word(6)));
    assert_eq!(chain.call("eth_call", json!([{"to": one}, "latest"])), "0x");
    let response = chain.response("eth_call", &json!([{"to": REVERTER}, "latest"]));
    let expected = json!({
        "code": 3, "message": "execution reverted: nope", "data": hex::encode_prefixed(error_data("nope")),
    });
    assert_eq!(response["error"], expected);
    let code = |text: &str| json!({REVERTER.to_string(): {"code": text}});
    assert_eq!(
        chain.call("eth_call", json!([{"to": REVERTER}, "latest", code("0x602a60005260206000f3")])),
        json!(word(42))
    );
    assert_eq!(
        chain.error("eth_call", json!([{"to": REVERTER}, "latest", code("0x60006000fd")])),
        (3, "execution reverted".to_owned())
    );
    assert_eq!(
        chain.error("eth_call", json!([{"to": INVALID}, "latest"])),
        (-32000, "invalid opcode: INVALID".to_owned())
    );
    for (gas, message) in [
        ("0x5208", "err: intrinsic gas too low: have 21000, want 21140 (supplied gas 21000)"),
        (
            "0x5300",
            "err: insufficient gas for floor data gas cost: have 21248, want 21350 (supplied gas 21248)",
        ),
        ("0x5400", "out of gas"),
    ] {
        let request = json!([{"to": LOGGER, "data": word(1), "gas": gas}]);
        assert_eq!(chain.error("eth_call", request), (-32000, message.to_owned()));
    }
    let poor = chain.error(
        "eth_call",
        json!([{"from": Address::repeat_byte(0x77), "to": one, "value": "0x1"}]),
    );
    assert_eq!(poor.0, -32000);
    assert!(
        poor.1.starts_with("err: insufficient funds for gas * price + value: address 0x7777"),
        "{}",
        poor.1
    );
    assert!(poor.1.ends_with("have 0 want 1 (supplied gas 50000000)"), "{}", poor.1);
    // What a call changes is forgotten.
    assert_eq!(chain.call("eth_getStorageAt", json!([LOGGER, "0x0", "latest"])), json!(word(8)));
}

#[test]
fn gas_is_estimated_as_it_is_used() {
    let (mut chain, _) = three_blocks();
    let two = Account::new(2);
    assert_eq!(
        chain.call(
            "eth_estimateGas",
            json!([{"from": two.address(), "to": Account::new(4).address(), "value": "0x1"}])
        ),
        "0x5208"
    );
    let estimate = chain
        .call("eth_estimateGas", json!([{"from": two.address(), "to": LOGGER, "data": word(9)}]));
    let gas_limit =
        u64::from_str_radix(estimate.as_str().expect("text").trim_start_matches("0x"), 16)
            .expect("hex");
    let input: Bytes = U256::from(9).to_be_bytes::<32>().into();
    let send = |gas_limit, nonce| {
        two.sign(TxEip1559 {
            gas_limit,
            input: input.clone(),
            to: TxKind::Call(LOGGER),
            value: U256::ZERO,
            ..plain(nonce)
        })
    };
    let raw = send(gas_limit, 1);
    chain.mine(std::slice::from_ref(&raw));
    let receipt = chain.call("eth_getTransactionReceipt", json!([hash(&raw)]));
    assert_eq!(receipt["status"], "0x1");
    let used = u64::from_str_radix(
        receipt["gasUsed"].as_str().expect("text").trim_start_matches("0x"),
        16,
    )
    .expect("hex");
    assert!(used <= gas_limit && gas_limit <= used + used / 60 + 2_400, "{used} {gas_limit}");
    assert_eq!(
        chain.error("eth_estimateGas", json!([{"to": REVERTER}])),
        (3, "execution reverted: nope".to_owned())
    );
    assert_eq!(
        chain.error("eth_estimateGas", json!([{"to": LOGGER, "data": word(9), "gas": "0x5210"}])),
        (-32000, "gas required exceeds allowance (21008)".to_owned())
    );
    assert_eq!(
        chain.error("eth_estimateGas", json!([{"from": Address::repeat_byte(0x77), "to": LOGGER, "value": "0x1", "gasPrice": "0x1"}])),
        (-32000, "insufficient funds for transfer".to_owned())
    );
}

#[test]
fn fees_are_zeros_where_there_are_none() {
    let (chain, _) = three_blocks();
    let history = chain.call("eth_feeHistory", json!(["0x2", "latest", [25, 75]]));
    assert_eq!(history["oldestBlock"], "0x2");
    assert_eq!(history["reward"], json!([["0x0", "0x0"], ["0x0", "0x0"]]));
    assert_eq!(history["baseFeePerGas"], json!(["0x0", "0x0", "0x0"]));
    assert_eq!(history["baseFeePerBlobGas"], json!(["0x1", "0x1", "0x1"]));
    let ratios = history["gasUsedRatio"].as_array().expect("a list");
    assert!(
        ratios.iter().all(|ratio| (0.0..0.01).contains(&ratio.as_f64().expect("a number"))),
        "{ratios:?}"
    );
    let all = chain.call("eth_feeHistory", json!([4096, "0x2", null]));
    assert_eq!((all["oldestBlock"].as_str(), all.get("reward")), (Some("0x0"), None));
    assert_eq!(all["baseFeePerGas"].as_array().map(Vec::len), Some(4));
    assert_eq!(
        chain.error("eth_feeHistory", json!(["0x1", "0x9", []])),
        (-32000, "request beyond head block: requested 9, head 3".to_owned())
    );
    assert_eq!(chain.error("eth_feeHistory", json!(["0x1", "latest", [101]])).0, -32000);
    assert_eq!(chain.error("eth_feeHistory", json!(["0x1", "latest", [50, 10]])).0, -32000);
}

#[test]
fn logs_are_found_by_address_topic_and_block() {
    let (chain, _) = three_blocks();
    let (one, two) = (topic_of(Account::new(1).address()), topic_of(Account::new(2).address()));
    let found = |filter: Value| -> Vec<String> {
        let logs = chain.call("eth_getLogs", json!([filter]));
        logs.as_array()
            .expect("a list")
            .iter()
            .map(|log| log["logIndex"].as_str().expect("text").to_owned())
            .collect()
    };
    let hash = chain.call("eth_getBlockByNumber", json!(["0x2", false]))["hash"].clone();
    let cases = [
        (json!({"fromBlock": "0x0", "toBlock": "latest"}), vec!["0x0", "0x1"]),
        (json!({"fromBlock": "earliest"}), vec!["0x0", "0x1"]),
        (json!({}), vec![]),
        (json!({"blockHash": hash}), vec!["0x0", "0x1"]),
        (json!({"fromBlock": "0x0", "address": LOGGER}), vec!["0x0", "0x1"]),
        (json!({"fromBlock": "0x0", "address": [INVALID, LOGGER]}), vec!["0x0", "0x1"]),
        (json!({"fromBlock": "0x0", "address": INVALID}), vec![]),
        (json!({"fromBlock": "0x0", "topics": [word(0xee)]}), vec!["0x0", "0x1"]),
        (json!({"fromBlock": "0x0", "topics": [null, two]}), vec!["0x1"]),
        (
            json!({"fromBlock": "0x0", "topics": [[word(1), word(0xee)], [one, two]]}),
            vec!["0x0", "0x1"],
        ),
        (json!({"fromBlock": "0x0", "topics": [two]}), vec![]),
        (json!({"fromBlock": "0x0", "topics": [word(0xee), one, null]}), vec![]),
        (json!({"fromBlock": "0x0", "toBlock": "0x1"}), vec![]),
        (json!({"fromBlock": "0x3"}), vec![]),
        (json!({"fromBlock": "0x2", "toBlock": "0x3"}), vec!["0x0", "0x1"]),
        (json!({"fromBlock": "0x0", "address": null, "topics": null}), vec!["0x0", "0x1"]),
    ];
    for (filter, expected) in cases {
        assert_eq!(found(filter.clone()), expected, "{filter}");
    }
    let wrong = [
        (json!({"fromBlock": "0x2", "toBlock": "0x1"}), -32602, "invalid block range params"),
        (json!({"fromBlock": "0x4"}), -32602, "invalid block range params"),
        (json!({"fromBlock": "0x2", "toBlock": "0x4"}), -32602, BEYOND_HEAD),
        (json!({"fromBlock": "0x5", "toBlock": "0x9"}), -32602, BEYOND_HEAD),
        (json!({"fromBlock": "pending"}), -32000, "pending logs are not supported"),
        (json!({"blockHash": word(1)}), -32000, "unknown block"),
        (
            json!({"blockHash": hash, "fromBlock": "0x1"}),
            -32602,
            "invalid argument 0: cannot specify both BlockHash and FromBlock/ToBlock, choose one or the other",
        ),
        (
            json!({"topics": [null, null, null, null, null]}),
            -32602,
            "invalid argument 0: exceed max items: 5 given, 4 allowed",
        ),
    ];
    for (filter, code, message) in wrong {
        assert_eq!(
            chain.error("eth_getLogs", json!([filter])),
            (code, message.to_owned()),
            "{filter}"
        );
    }
}

#[test]
fn a_search_for_logs_has_limits() {
    let (mut chain, _) = three_blocks();
    let wide = LogLimits::default();
    let cases = [
        (LogLimits { results: 2, ..wide }, None),
        (
            LogLimits { results: 1, ..wide },
            Some("query returned more than 1 results, narrow its range"),
        ),
        (LogLimits { blocks: 1, ..wide }, None),
        (LogLimits { blocks: 0, ..wide }, Some("query reads more than 0 blocks, narrow its range")),
        (LogLimits { span: 4, ..wide }, None),
        (LogLimits { span: 3, ..wide }, Some("exceed maximum block range: 3")),
        (
            LogLimits { bytes: 0, ..wide },
            Some("query returned more than 20000 results, narrow its range"),
        ),
    ];
    for (limits, refused) in cases {
        chain.restart_rpc(RpcConfig { logs: limits, ..RpcConfig::new(CHAIN_ID) });
        let params = json!([{"fromBlock": "0x0"}]);
        match refused {
            None => assert_eq!(chain.call("eth_getLogs", params).as_array().map(Vec::len), Some(2)),
            Some(message) => {
                assert_eq!(chain.error("eth_getLogs", params), (-32005, message.to_owned()));
            }
        }
    }
}

#[test]
fn a_poll_that_reaches_a_limit_ends_with_a_whole_block_and_goes_on() {
    let (one, two) = (Account::new(1), Account::new(2));
    let wide = LogLimits::default();
    for limits in [
        LogLimits { results: 1, ..wide },
        LogLimits { results: 0, ..wide },
        LogLimits { blocks: 1, ..wide },
        LogLimits { bytes: 0, ..wide },
    ] {
        let mut chain = Chain::new();
        chain.restart_rpc(RpcConfig { logs: limits, ..RpcConfig::new(CHAIN_ID) });
        let filter = chain.call("eth_newFilter", json!([{"address": LOGGER}]));
        chain.mine(&[one.call(0, LOGGER, vec![1; 32])]);
        chain.mine(&[one.call(1, LOGGER, vec![2; 32]), two.call(0, LOGGER, vec![3; 32])]);
        chain.mine(&[one.transfer(2)]);
        chain.mine(&[one.call(3, LOGGER, vec![4; 32])]);
        let polls: Vec<Vec<Value>> = (0..4)
            .map(|_| {
                let logs = chain.call("eth_getFilterChanges", json!([filter]));
                let logs = logs.as_array().expect("a list");
                logs.iter().map(|log| log["blockNumber"].clone()).collect()
            })
            .collect();
        assert_eq!(json!(polls), json!([["0x1"], ["0x2", "0x2"], ["0x4"], []]), "{limits:?}");
    }
}

#[test]
fn a_query_that_takes_too_long_is_refused_and_a_poll_goes_on_another_time() {
    let one = Account::new(1);
    let mut chain = Chain::new();
    let logs = chain.call("eth_newFilter", json!([{"address": LOGGER}]));
    let blocks = chain.call("eth_newBlockFilter", json!([]));
    for nonce in 0..3 {
        chain.mine(&[one.call(nonce, LOGGER, vec![1; 32])]);
    }
    chain.reading_ms = QUERY_MS_MAX + 1;
    let refused = "limit exceeded: the query takes longer than 10000 ms, ask for less";
    for (method, params) in [
        ("eth_getLogs", json!([{"fromBlock": "0x0"}])),
        ("eth_feeHistory", json!(["0x3", "latest", null])),
        ("eth_estimateGas", json!([{"to": LOGGER, "data": word(9)}])),
    ] {
        assert_eq!(chain.error(method, params), (-32005, refused.to_owned()), "{method}");
    }
    for filter in [logs, blocks] {
        let polls: Vec<usize> = (0..4)
            .map(|_| chain.call("eth_getFilterChanges", json!([filter])))
            .map(|told| told.as_array().expect("a list").len())
            .collect();
        assert_eq!(polls, [1, 1, 1, 0]);
    }
}

#[test]
fn filters_and_calls_know_hashes_beyond_the_ring_of_the_state() {
    let one = Account::new(1);
    let mut chain = Chain::new();
    let filter = chain.call("eth_newBlockFilter", json!([]));
    for nonce in 0..260 {
        chain.mine(&[one.transfer(nonce)]);
    }
    let hashes: Vec<Value> = (1..=260)
        .map(|number| chain.call("eth_getBlockByNumber", json!([format!("{number:#x}")])))
        .map(|block| block["hash"].clone())
        .collect();
    assert_eq!(chain.call("eth_getFilterChanges", json!([filter])), json!(hashes));
    // The oldest hash that the code of the newest block may ask for.
    let oldest = hex::encode_prefixed(hex!("6101004303405f5260205ff3"));
    let code = json!({LOGGER.to_string(): {"code": oldest}});
    let told = chain.call("eth_call", json!([{"to": LOGGER}, "latest", code]));
    assert_eq!(told, hashes[3]);
}

#[test]
fn filters_tell_what_happened_since() {
    let (one, two) = (Account::new(1), Account::new(2));
    let mut chain = Chain::new();
    let blocks = chain.call("eth_newBlockFilter", json!([]));
    let logs = chain.call(
        "eth_newFilter",
        json!([{"address": LOGGER, "topics": [null, topic_of(two.address())]}]),
    );
    let pending = chain.call("eth_newPendingTransactionFilter", json!([]));
    assert_ne!(blocks, logs);
    let changes = |chain: &Chain, id: &Value| chain.call("eth_getFilterChanges", json!([id]));
    assert_eq!(changes(&chain, &blocks), json!([]));
    chain.mine(&[one.call(0, LOGGER, vec![1; 32])]);
    chain.mine(&[two.call(0, LOGGER, vec![2; 32])]);
    let hashes: Vec<Value> = ["0x1", "0x2"]
        .iter()
        .map(|number| chain.call("eth_getBlockByNumber", json!([number, false]))["hash"].clone())
        .collect();
    assert_eq!(changes(&chain, &blocks), json!(hashes));
    assert_eq!(changes(&chain, &blocks), json!([]));
    let told = changes(&chain, &logs);
    assert_eq!((told.as_array().map(Vec::len), &told[0]["blockNumber"]), (Some(1), &json!("0x2")));
    assert_eq!(changes(&chain, &logs), json!([]));
    assert_eq!(changes(&chain, &pending), json!([]));
    assert_eq!(chain.call("eth_getFilterLogs", json!([logs])), told);
    assert_eq!(chain.call("eth_uninstallFilter", json!([logs])), true);
    assert_eq!(chain.call("eth_uninstallFilter", json!([logs])), false);
    // A filter may name blocks to come; a search for what it has found so far would be one in part.
    let later = chain.call("eth_newFilter", json!([{"fromBlock": "0x0", "toBlock": "0x9"}]));
    assert_eq!(changes(&chain, &later), json!([]));
    assert_eq!(chain.error("eth_getFilterLogs", json!([later])), (-32602, BEYOND_HEAD.to_owned()));
    for (method, id) in [
        ("eth_getFilterChanges", logs),
        ("eth_getFilterLogs", blocks),
        ("eth_getFilterLogs", json!("0x1")),
    ] {
        assert_eq!(chain.error(method, json!([id])), (-32000, "filter not found".to_owned()));
    }
}
