//! What is not a request, or not one that can be answered: each gets a clear error, and nothing panics.

use alloy_primitives::Address;
use coco_evm::rpc::{Call, Responses};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::chain::Chain;

fn answered(chain: &Chain, body: &[u8]) -> Value {
    let answer = chain.answer(body);
    if answer.is_empty() {
        Value::Null
    } else {
        serde_json::from_slice(&answer).expect("responses are JSON")
    }
}

fn error(id: Value, code: i64, message: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}})
}

#[test]
fn bodies_that_are_no_requests() {
    let chain = Chain::new();
    let invalid = |id| error(id, -32600, "invalid request");
    let cases: Vec<(&[u8], Value)> = vec![
        (b"", error(Value::Null, -32700, "parse error")),
        (b"{", error(Value::Null, -32700, "parse error")),
        (b"\xff\xfe", error(Value::Null, -32700, "parse error")),
        (b"[1,", error(Value::Null, -32700, "parse error")),
        (b"{} trailing", error(Value::Null, -32700, "parse error")),
        (b"{}", invalid(Value::Null)),
        (b"null", invalid(Value::Null)),
        (b"17", invalid(Value::Null)),
        (b"[]", error(Value::Null, -32600, "empty batch")),
        (b"[1]", json!([invalid(Value::Null)])),
        (b"[[]]", json!([invalid(Value::Null)])),
        (br#"{"jsonrpc":"1.0","id":1,"method":"eth_chainId"}"#, invalid(json!(1))),
        (br#"{"id":1,"method":"eth_chainId"}"#, invalid(json!(1))),
        (br#"{"jsonrpc":"2.0","id":{},"method":"eth_chainId"}"#, invalid(Value::Null)),
        (br#"{"jsonrpc":"2.0","id":1}"#, invalid(json!(1))),
        (br#"{"jsonrpc":"2.0","id":1,"method":5}"#, invalid(Value::Null)),
        // A notification wants no answer.
        (br#"{"jsonrpc":"2.0","method":"eth_chainId"}"#, Value::Null),
        (
            br#"{"jsonrpc":"2.0","id":null,"method":"eth_blobBaseFee"}"#,
            json!({"jsonrpc":"2.0","id":null,"result":"0x1"}),
        ),
        (
            br#" {"jsonrpc":"2.0","id":"a\"b","method":"eth_chainId","params":null}"#,
            json!({"jsonrpc":"2.0","id":"a\"b","result":"0x7a69"}),
        ),
        (
            br#"{"jsonrpc":"2.0","id":1.5,"method":"eth_chai\u006eId","params":[]}"#,
            json!({"jsonrpc":"2.0","id":1.5,"result":"0x7a69"}),
        ),
    ];
    for (body, expected) in cases {
        assert_eq!(answered(&chain, body), expected, "{}", String::from_utf8_lossy(body));
    }
}

#[test]
fn batches_keep_their_order_and_have_a_limit() {
    let chain = Chain::new();
    let call = |id: usize, method: &str| json!({"jsonrpc": "2.0", "id": id, "method": method});
    let notification = json!({"jsonrpc": "2.0", "method": "eth_chainId"});
    let body = json!([
        call(1, "eth_chainId"),
        notification,
        5,
        call(2, "nothing"),
        call(3, "eth_blockNumber")
    ]);
    let expected = json!([
        {"jsonrpc": "2.0", "id": 1, "result": "0x7a69"},
        error(Value::Null, -32600, "invalid request"),
        error(json!(2), -32601, "the method nothing does not exist/is not available"),
        {"jsonrpc": "2.0", "id": 3, "result": "0x0"},
    ]);
    assert_eq!(answered(&chain, body.to_string().as_bytes()), expected);
    assert_eq!(answered(&chain, json!([notification]).to_string().as_bytes()), Value::Null);
    for (count, ok) in [(999, true), (1_000, true), (1_001, false), (10_000, false)] {
        let body: Vec<Value> = (0..count).map(|id| call(id, "eth_chainId")).collect();
        let answer = answered(&chain, json!(body).to_string().as_bytes());
        if ok {
            assert_eq!(answer.as_array().map(Vec::len), Some(count));
        } else {
            assert_eq!(answer, json!([error(json!(0), -32600, "batch too large")]));
        }
    }
}

#[test]
fn a_batch_whose_answers_grow_too_large_is_cut_off() {
    let chain = Chain::new();
    let mut responses = Responses::new(true);
    while !responses.is_full() {
        responses.push(&vec![b' '; 1 << 20]);
    }
    let parsed = chain.rpc.parse(br#"[{"jsonrpc":"2.0","id":9,"method":"eth_chainId"}]"#);
    let refusal: Value =
        serde_json::from_slice(&parsed.calls[0].too_large()).expect("responses are JSON");
    assert_eq!(refusal, error(json!(9), -32003, "response too large"));
}

#[test]
fn methods_that_do_not_exist() {
    let chain = Chain::new();
    for method in [
        "eth_sign",
        "debug_traceTransaction",
        "anvil_nodeInfo",
        "hardhat_metadata",
        "",
        "eth_",
        "ETH_chainId",
    ] {
        let expected = format!("the method {method} does not exist/is not available");
        if method.is_empty() {
            assert_eq!(chain.error(method, json!([])).0, -32601);
        } else {
            assert_eq!(chain.error(method, json!([])), (-32601, expected));
        }
    }
    let long = chain.error(&"x".repeat(100_000), json!([]));
    assert!(long.0 == -32601 && long.1.len() < 300);
    assert_eq!(
        chain.error("eth_subscribe", json!(["newHeads"])),
        (-32601, "notifications not supported".to_owned())
    );
}

/// Checks that each is refused with code -32602 and the message.
fn refused(cases: &[(&str, Value, &str)]) {
    let chain = Chain::new();
    for (method, params, message) in cases {
        assert_eq!(
            chain.error(method, params.clone()),
            (-32602, (*message).to_owned()),
            "{method} {params}"
        );
    }
}

#[test]
fn parameters_of_the_wrong_number_or_form() {
    let one = Address::repeat_byte(1);
    let method = "eth_getBalance";
    let address = |why: &str| {
        format!(
            "invalid argument 0: json: cannot unmarshal {why} into Go value of type common.Address"
        )
    };
    refused(&[
        ("eth_chainId", json!([1]), "too many arguments, want at most 0"),
        (method, json!([]), "missing value for required argument 0"),
        (method, json!([null]), "missing value for required argument 0"),
        (method, json!({"a": 1}), "non-array args"),
        (method, json!([one, "latest", 1]), "too many arguments, want at most 2"),
        (method, json!([5]), &address("non-string")),
        (method, json!(["00"]), &address("hex string without 0x prefix")),
        (method, json!(["0xzz"]), &address("invalid hex string")),
        (method, json!(["0x0"]), &address("hex string of odd length")),
        (method, json!(["0x0x00"]), &address("invalid hex string")),
        (
            method,
            json!(["0x00"]),
            "invalid argument 0: hex string has length 2, want 40 for common.Address",
        ),
        (
            "eth_getTransactionByHash",
            json!(["0x1234"]),
            "invalid argument 0: hex string has length 4, want 64 for common.Hash",
        ),
        (
            "eth_getStorageAt",
            json!([one, format!("0x{}", "0".repeat(65))]),
            "unable to decode storage key: hex string too long, want at most 32 bytes",
        ),
        (
            "eth_getStorageAt",
            json!([one, "0xgg"]),
            "unable to decode storage key: hex string invalid",
        ),
        (
            "eth_getBlockByNumber",
            json!(["latest", "yes"]),
            "invalid argument 1: json: cannot unmarshal into Go value of type bool",
        ),
    ]);
}

#[test]
fn names_of_blocks_that_name_none() {
    let one = Address::repeat_byte(1);
    let hash = format!("{:#066x}", 1);
    let cases = [
        (json!("newest"), "hex string without 0x prefix"),
        (json!("0x"), "hex string \"0x\""),
        (json!("0x01"), "hex number with leading zero digits"),
        (json!("0x10000000000000000"), "hex number > 64 bits"),
        (json!("0x8000000000000000"), "block number larger than int64"),
        (
            json!({"blockNumber": "0x1", "blockHash": hash}),
            "cannot specify both BlockHash and BlockNumber, choose one or the other",
        ),
        (json!({}), "json: cannot unmarshal into Go value of type rpc.BlockNumberOrHash"),
    ];
    for (at, message) in cases {
        refused(&[("eth_getBalance", json!([one, at]), &format!("invalid argument 1: {message}"))]);
    }
}

#[test]
fn calls_that_contradict_themselves() {
    let big = |why: &str| {
        format!(
            "invalid argument 0: value: json: cannot unmarshal {why} into Go value of type *hexutil.Big"
        )
    };
    refused(&[
        (
            "eth_call",
            json!(["0x00"]),
            "invalid argument 0: json: cannot unmarshal into Go value of type ethapi.TransactionArgs",
        ),
        ("eth_call", json!([{"value": "1"}]), &big("hex string without 0x prefix")),
        (
            "eth_call",
            json!([{"value": format!("0x1{}", "0".repeat(64))}]),
            &big("hex number > 256 bits"),
        ),
        (
            "eth_call",
            json!([{}, "latest", null, {"number": "0x1"}]),
            "block overrides are not supported",
        ),
    ]);
    let chain = Chain::new();
    for (request, message) in [
        (
            json!({"gasPrice": "0x1", "maxFeePerGas": "0x1"}),
            "both gasPrice and (maxFeePerGas or maxPriorityFeePerGas) specified",
        ),
        (
            json!({"maxFeePerGas": "0x1", "maxPriorityFeePerGas": "0x2"}),
            "maxFeePerGas (1) < maxPriorityFeePerGas (2)",
        ),
        (json!({"chainId": "0x1"}), "chainId does not match node's (have=1, want=31337)"),
        (
            json!({"data": "0x01", "input": "0x02"}),
            "both \"data\" and \"input\" are set and not equal. Please use \"input\" to pass transaction call data",
        ),
    ] {
        assert_eq!(chain.error("eth_call", json!([request])), (-32000, message.to_owned()));
    }
}

#[test]
fn deep_nesting_does_no_harm() {
    let chain = Chain::new();
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let deep = format!("{}1{}", open.repeat(100_000), close.repeat(100_000));
        answered(&chain, deep.as_bytes());
        let body =
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"eth_getLogs","params":[{deep}]}}"#);
        // A field that nobody knows is passed over, however deep it is.
        let answer = answered(&chain, body.as_bytes());
        assert!(answer["error"]["code"] == -32602 || answer["result"] == json!([]), "{answer}");
    }
}

const METHODS: [&str; 16] = [
    "eth_getBalance",
    "eth_call",
    "eth_estimateGas",
    "eth_getLogs",
    "eth_newFilter",
    "eth_feeHistory",
    "eth_getBlockByNumber",
    "eth_getBlockReceipts",
    "eth_getStorageAt",
    "eth_getTransactionByBlockNumberAndIndex",
    "eth_sendRawTransaction",
    "eth_sendRawTransactionSync",
    "eth_getFilterChanges",
    "web3_sha3",
    "eth_chainId",
    "eth_getTransactionReceipt",
];

fn any_json() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        Just("latest".to_owned()),
        Just("pending".to_owned()),
        "0x[0-9a-f]{0,70}",
        Just(format!("{:#x}", Address::repeat_byte(0xa1))),
        ".{0,8}",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text.prop_map(Value::from),
    ];
    let names = prop_oneof![
        Just("to"),
        Just("from"),
        Just("data"),
        Just("address"),
        Just("topics"),
        Just("fromBlock"),
        Just("toBlock"),
        Just("blockHash"),
        Just("accessList"),
        Just("authorizationList"),
        Just("gas"),
        Just("value"),
    ];
    leaf.prop_recursive(3, 24, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(names.clone().prop_map(str::to_owned), inner, 0..5)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_the_parser_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let chain = Chain::new();
        drop(chain.rpc.parse(&body));
    }

    #[test]
    fn no_parameters_make_a_method_panic(
        method in prop::sample::select(METHODS.to_vec()),
        params in prop::collection::vec(any_json(), 0..4),
    ) {
        let chain = Chain::new();
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
        if let [Call::Submit(_)] = chain.rpc.parse(body.as_bytes()).calls.as_slice() {
            return Ok(());
        }
        let answer = answered(&chain, body.as_bytes());
        prop_assert!(answer.get("result").is_some() || answer["error"]["code"].is_i64(), "{answer}");
    }
}
