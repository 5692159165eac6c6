//! Submissions: what is refused and how, and how a transaction that was taken is answered.

use alloy_consensus::{TxEip1559, TxEip7702};
use alloy_primitives::{Address, Bytes, TxKind, U256, hex};
use coco_adapter::{Adapter, Answer, Entropy, Outside, Refusal, Verdict};
use coco_evm::{
    fork::{Activation, ForkSchedule},
    genesis::{Fees, GenesisAccount},
    pool::{GAP_MEMORY_MS, GAP_WAIT_MS, PoolLimits},
    rpc::{Call, QUERY_MS_MAX, Submit, Wait},
    transaction::{TRANSACTION_BYTES_MAX, Unprotected, decode_and_check},
};
use coco_types::{Digest, Seqno};
use revm::primitives::hardfork::SpecId;
use serde_json::{Value, json};

use crate::chain::{Account, Chain, LOGGER, broken_authorization, genesis, hash, plain};

/// Half the order of the curve, and one more.
const HIGH_S: [u8; 32] = hex!("7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a1");

fn submission(chain: &Chain, method: &str, params: Value) -> Submit {
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
    match chain.rpc.parse(body.as_bytes()).calls.pop() {
        Some(Call::Submit(submit)) => submit,
        other => panic!("not a submission: {other:?}"),
    }
}

fn json_of(response: &[u8]) -> Value {
    serde_json::from_slice(response).expect("responses are JSON")
}

#[test]
fn what_is_no_transaction_is_refused_on_the_edge() {
    let one = Account::new(1);
    let mut chain = Chain::new();
    let mut tampered = one.transfer(0).to_vec();
    let at = tampered.len() - 65;
    tampered[at] ^= 1;
    let short = &one.transfer(0)[..40];
    let trailing = [&one.transfer(0)[..], &[0]].concat();
    let large = one.call(0, LOGGER, vec![1; TRANSACTION_BYTES_MAX]);
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (vec![], "typed transaction too short"),
        (vec![2], "typed transaction too short"),
        (vec![5, 0xc0], "transaction type not supported: type 5 is not a transaction type"),
        (vec![0, 0xc0], "transaction type not supported: type 0 is not a transaction type"),
        (
            vec![3, 0xc0],
            "transaction type not supported: this ledger takes no blob transactions (type 3, EIP-4844)",
        ),
        (short.to_vec(), "rlp: "),
        (trailing, "rlp: "),
        (large.to_vec(), "oversized data: transaction size 131"),
        (
            one.legacy(0, None).to_vec(),
            "only replay-protected (EIP-155) transactions allowed over RPC",
        ),
        (
            one.legacy(0, Some(5)).to_vec(),
            "invalid sender: invalid chain id for signer: have 5 want 31337",
        ),
        (
            one.sign(TxEip1559 { chain_id: 1, ..plain(0) }).to_vec(),
            "invalid sender: invalid chain id for signer: have 1 want 31337",
        ),
        (
            one.sign(TxEip1559 { max_priority_fee_per_gas: 1, ..plain(0) }).to_vec(),
            "max priority fee per gas higher",
        ),
        (one.sign(plain(u64::MAX)).to_vec(), "nonce has max value"),
        (
            one.sign(TxEip7702 { chain_id: 31_337, ..TxEip7702::default() }).to_vec(),
            "set code tx must have at least one",
        ),
    ];
    for (raw, message) in cases {
        let refusal = chain.submit(&raw).expect_err(message);
        assert_eq!(refusal.code, -32000);
        assert!(refusal.message.starts_with(message), "{} instead of {message}", refusal.message);
    }
    // A tampered signature is another account's, or nobody's.
    if let Ok((_, answers)) = chain.submit(&tampered) {
        assert!(answers.is_empty());
        let answers = chain.execute();
        assert!(
            matches!(&answers[0].verdict, Verdict::Refused(refusal) if refusal.message.contains("insufficient funds"))
        );
    }
}

#[test]
fn a_transaction_has_up_to_128_kib() {
    let one = Account::new(1);
    let overhead = one.call(0, LOGGER, vec![1; 100_000]).len() - 100_000;
    let mut chain = Chain::new();
    for (bytes, ok) in [
        (TRANSACTION_BYTES_MAX - 1, true),
        (TRANSACTION_BYTES_MAX, true),
        (TRANSACTION_BYTES_MAX + 1, false),
    ] {
        let raw = one.call(0, LOGGER, vec![1; bytes - overhead]);
        assert_eq!(raw.len(), bytes);
        assert_eq!(chain.submit(&raw).is_ok(), ok, "{bytes}");
    }
}

#[test]
fn signatures_have_one_form() {
    let config = genesis().config;
    let check = |raw: &[u8]| decode_and_check(raw, &config, Unprotected::Taken);
    let raw = Account::new(1).transfer(0);
    let transaction = check(&raw).expect("it is well formed");
    assert_eq!(
        (transaction.sender, transaction.hash.to_string()),
        (Account::new(1).address(), hash(&raw))
    );
    assert_eq!(
        check(&Account::new(2).legacy(0, None)).expect("taken").sender,
        Account::new(2).address()
    );
    let mut high = raw.to_vec();
    let length = high.len();
    high[length - 32..].copy_from_slice(&HIGH_S);
    let refusal = check(&high).expect_err("s is above half the order");
    assert_eq!(refusal.message, "invalid sender: invalid transaction v, r, s values");
    let mut zero = raw.to_vec();
    zero[length - 65..length - 33].fill(0);
    assert!(check(&zero).is_err());
    let signer = Account::new(3);
    let delegating =
        check(&Account::new(1).delegate(0, &signer, 0, LOGGER)).expect("it is well formed");
    assert_eq!(delegating.authorities, [Some(signer.address())]);
    let broken = Account::new(1).sign(TxEip7702 {
        chain_id: 31_337,
        gas_limit: 100_000,
        authorization_list: vec![broken_authorization()],
        ..TxEip7702::default()
    });
    assert_eq!(check(&broken).expect("one bad authorization is skipped").authorities, [None]);
}

#[test]
fn what_the_state_forbids_is_refused_with_the_facts() {
    let one = Account::new(1);
    let mut chain = Chain::new();
    chain.mine(&[one.transfer(0), one.transfer(1)]);
    let large = |gas_limit| one.sign(TxEip1559 { gas_limit, ..plain(2) });
    let cases = [
        (one.call(0, LOGGER, vec![]), "nonce too low: next nonce 2, tx nonce 0"),
        (large(16_777_217), "transaction gas limit too high (cap: 16777216, tx: 16777217)"),
        (large(20_999), "intrinsic gas too low: gas 20999, minimum needed 21000"),
        (
            one.sign(TxEip1559 { gas_limit: 21_200, input: vec![1; 10].into(), ..plain(2) }),
            "insufficient gas for floor data gas cost: gas 21200, minimum needed 21400",
        ),
    ];
    for (raw, message) in cases {
        assert_eq!(chain.refused(&raw).message, message);
    }
    // Funds are looked at in the order of execution.
    let poor = Account::new(9);
    let ticket = chain.queue(&poor.transfer(0));
    let refusal = Refusal {
        code: -32000,
        message: "insufficient funds for gas * price + value: balance 0, tx cost 1, overshot 1"
            .to_owned(),
        data: None,
    };
    assert_eq!(chain.execute(), [Answer { ticket, verdict: Verdict::Refused(refusal) }]);
    assert_eq!(chain.store.version(), Seqno(2), "no block was made");
    let fund =
        one.sign(TxEip1559 { to: TxKind::Call(poor.address()), value: U256::from(5), ..plain(2) });
    chain.mine(&[fund, poor.transfer(0)]);
}

#[test]
fn a_transaction_that_is_sent_twice_is_executed_once() {
    let one = Account::new(1);
    let mut chain = Chain::new();
    let raw = one.transfer(0);
    let first = chain.queue(&raw);
    let second = chain.queue(&raw);
    let executed = |ticket| Answer { ticket, verdict: Verdict::Executed };
    assert_eq!(chain.execute(), [executed(first), executed(second)]);
    let (ticket, answers) = chain.submit(&raw).expect("it is well formed");
    assert_eq!(answers, [Answer { ticket, verdict: Verdict::Earlier(Seqno(2)) }]);
    chain.mine(&[one.transfer(1)]);
    let (ticket, answers) = chain.submit(&raw).expect("it is well formed");
    assert_eq!(answers, [Answer { ticket, verdict: Verdict::Earlier(Seqno(2)) }]);
    assert_eq!(chain.call("eth_getTransactionReceipt", json!([hash(&raw)]))["blockNumber"], "0x1");
}

#[test]
fn a_gap_waited_for_in_vain_is_refused_at_once_until_it_closes() {
    let one = Account::new(1);
    let mut chain = Chain::new();
    let refused = |answers: &[Answer]| {
        assert!(matches!(answers, [Answer { verdict: Verdict::Refused(_), .. }]), "{answers:?}");
    };
    chain.queue(&one.transfer(5));
    chain.now_ms += GAP_WAIT_MS;
    refused(&chain.adapter.expire(chain.now_ms));

    // Behind the same missing nonce: no second wait.
    assert_eq!(chain.refused(&one.transfer(6)).message, "nonce too high: next nonce 0, tx nonce 6");
    // The missing nonce itself is taken, and with it the wait is back.
    let first = chain.queue(&one.transfer(0));
    assert_eq!(chain.execute(), [Answer { ticket: first, verdict: Verdict::Executed }]);
    chain.commit();
    chain.queue(&one.transfer(2));
    chain.now_ms += GAP_WAIT_MS - 1;
    assert_eq!(chain.adapter.expire(chain.now_ms), []);

    // What was waited for is forgotten in time.
    chain.now_ms += 1;
    refused(&chain.adapter.expire(chain.now_ms));
    chain.now_ms += GAP_MEMORY_MS + 1;
    chain.queue(&one.transfer(3));
}

/// The host sets the wall clock. An hour ahead once made every waiting transaction expire, and a clock that stood still
/// would have kept a gap waiting for ever (simulator, seed 82).
#[test]
fn waits_are_not_timed_by_the_wall_clock() {
    let one = Account::new(1);
    let mut chain = Chain::new();
    let first = chain.queue(&one.transfer(0));
    chain.wall_ahead_ms = 3_600_000;
    assert_eq!(chain.adapter.expire(chain.now_ms), []);
    assert_eq!(chain.execute(), [Answer { ticket: first, verdict: Verdict::Executed }]);
}

#[test]
fn a_gap_is_waited_for_and_then_refused_with_the_expected_nonce() {
    let one = Account::new(1);
    let mut chain = Chain::new();
    let raws = [one.transfer(0), one.transfer(1), one.transfer(2)];
    let third = chain.queue(&raws[2]);
    let second = chain.queue(&raws[1]);
    assert_eq!(chain.adapter.ready(), 0);
    chain.now_ms += GAP_WAIT_MS - 1;
    assert_eq!(chain.adapter.expire(chain.now_ms), []);
    let first = chain.queue(&raws[0]);
    let executed = |ticket| Answer { ticket, verdict: Verdict::Executed };
    assert_eq!(chain.execute(), [executed(first), executed(second), executed(third)]);
    chain.commit();

    let ticket = chain.queue(&one.transfer(9));
    let status = chain.adapter.pool_status();
    assert_eq!((status.executable, status.gapped), (0, 1));
    chain.now_ms += GAP_WAIT_MS;
    let refusal = Refusal {
        code: 6,
        message: "nonce too high: next nonce 3, tx nonce 9".to_owned(),
        data: Some("0x3".to_owned()),
    };
    assert_eq!(
        chain.adapter.expire(chain.now_ms),
        [Answer { ticket, verdict: Verdict::Refused(refusal.clone()) }]
    );
    let raw = one.transfer(9).to_string();
    let plain = submission(&chain, "eth_sendRawTransaction", json!([raw]));
    let sync = submission(&chain, "eth_sendRawTransactionSync", json!([raw]));
    let error = |code| json!({"code": code, "message": refusal.message, "data": "0x3"});
    assert_eq!(json_of(&chain.rpc.refused(&plain, &refusal))["error"], error(-32000));
    assert_eq!(json_of(&chain.rpc.refused(&sync, &refusal))["error"], error(6));
}

#[test]
fn a_refused_transaction_leaves_those_behind_it_to_wait() {
    let (one, two) = (Account::new(1), Account::new(2));
    let mut chain = Chain::new();
    let costly = |nonce| one.sign(TxEip1559 { value: U256::MAX >> 8, ..plain(nonce) });
    let bad = chain.queue(&costly(0));
    let behind = chain.queue(&one.transfer(1));
    let other = chain.queue(&two.transfer(0));
    let answers = chain.execute();
    assert_eq!(answers[0], Answer { ticket: other, verdict: Verdict::Executed });
    assert!(
        matches!(&answers[1], Answer { ticket, verdict: Verdict::Refused(_) } if *ticket == bad)
    );
    assert_eq!(answers.len(), 2);
    assert_eq!(chain.adapter.ready(), 0);
    let filler = chain.queue(&one.transfer(0));
    let executed = |ticket| Answer { ticket, verdict: Verdict::Executed };
    assert_eq!(chain.execute(), [executed(filler), executed(behind)]);
}

#[test]
fn blocks_are_filled_up_to_their_gas_limit_in_order() {
    let mut genesis = genesis();
    genesis.config.gas_limit = 250_000;
    let mut chain = Chain::with(&genesis, PoolLimits::default());
    let one = Account::new(1);
    let tickets: Vec<_> = (0..16).map(|nonce| chain.queue(&one.transfer(nonce))).collect();
    let mut executed = Vec::new();
    let mut blocks = 0;
    while chain.adapter.ready() > 0 {
        executed.extend(chain.execute().into_iter().map(|answer| answer.ticket));
        blocks += 1;
    }
    assert_eq!(executed, tickets);
    // Each allows 100,000 and uses 21,000: a block takes one while 100,000 are left, that is eight.
    assert_eq!(blocks, 2);
    let large = one.sign(TxEip1559 { gas_limit: 250_001, ..plain(16) });
    assert_eq!(
        chain.refused(&large).message,
        "transaction gas limit too high (cap: 250000, tx: 250001)"
    );
}

#[test]
fn with_fees_the_highest_tip_goes_first_and_the_base_fee_must_be_met() {
    let mut genesis = genesis();
    genesis.config.fees = Fees::On;
    genesis.base_fee = 1_000;
    let mut chain = Chain::with(&genesis, PoolLimits::default());
    let [one, two, three] = [1, 2, 3].map(Account::new);
    let refusal = chain.refused(&one.priced(0, 5, 5));
    assert!(
        refusal.message.starts_with("max fee per gas less than block base fee: address 0x"),
        "{}",
        refusal.message
    );
    let slow = chain.queue(&one.priced(0, 2_000, 1));
    let fast = chain.queue(&two.priced(0, 2_000, 50));
    let capped = chain.queue(&three.priced(0, 900, 900));
    let order: Vec<_> = chain.execute().into_iter().map(|answer| answer.ticket).collect();
    assert_eq!(order, [fast, capped, slow]);
    chain.commit();
    assert_ne!(chain.call("eth_gasPrice", json!([])), "0x0");
    let history = chain.call("eth_feeHistory", json!(["0x1", "latest", [0, 100]]));
    assert_eq!(history["reward"], json!([["0x1", "0x32"]]));
    let fees = history["baseFeePerGas"].as_array().expect("a list");
    assert!(fees.len() == 2 && fees[0] != fees[1], "{fees:?}");
    chain.reading_ms = QUERY_MS_MAX + 1;
    for method in ["eth_gasPrice", "eth_maxPriorityFeePerGas"] {
        assert_eq!(chain.error(method, json!([])).0, -32005, "it reads blocks");
    }
}

#[test]
fn a_rollback_forgets_what_was_executed() {
    let one = Account::new(1);
    let mut chain = Chain::new();
    chain.mine(&[one.transfer(0)]);
    let raw = one.transfer(1);
    chain.queue(&raw);
    chain.execute();
    let waiting = chain.queue(&one.transfer(2));
    chain.roll_back();
    assert_eq!(chain.adapter.ready(), 0, "the one before it is gone");
    let again = chain.queue(&raw);
    let executed = |ticket| Answer { ticket, verdict: Verdict::Executed };
    assert_eq!(chain.execute(), [executed(again), executed(waiting)]);
    let left = chain.queue(&one.transfer(3));
    assert_eq!(chain.adapter.abandon(), [left]);
    assert_eq!(chain.adapter.ready(), 0);
}

#[test]
fn a_receipt_that_cannot_be_read_refuses_nothing() {
    let raw = Account::new(1).transfer(0);
    let mut chain = Chain::new();
    let sync = submission(&chain, "eth_sendRawTransactionSync", json!([raw.to_string()]));
    chain.queue(&sync.raw);
    chain.execute();
    chain.commit();
    chain.restart_rpc(coco_evm::rpc::RpcConfig::new(crate::chain::CHAIN_ID));
    chain.lose_disk();
    let answer = chain.receipt(&sync).expect("it is committed");
    assert_eq!(
        (&answer["error"]["code"], &answer["error"]["data"]),
        (&json!(4), &json!(hash(&raw)))
    );
}

#[test]
fn the_receipt_comes_in_the_same_round_trip() {
    let one = Account::new(1);
    let mut chain = Chain::new();
    let raw = one.transfer(0);
    let sync = submission(&chain, "eth_sendRawTransactionSync", json!([raw.to_string(), "0x1388"]));
    assert_eq!(sync.wait, Wait::Receipt { timeout_ms: 5_000 });
    assert_eq!(chain.receipt(&sync), None);
    chain.queue(&sync.raw);
    chain.execute();
    assert_eq!(chain.receipt(&sync), None, "it is not committed");
    chain.commit();
    let receipt = chain.receipt(&sync).expect("it is committed");
    assert_eq!(receipt["result"], chain.call("eth_getTransactionReceipt", json!([hash(&raw)])));
    let plain = submission(&chain, "eth_sendRawTransaction", json!([raw.to_string()]));
    assert_eq!(plain.wait, Wait::Executed);
    assert_eq!(
        json_of(&chain.rpc.submitted(&plain)),
        json!({"jsonrpc": "2.0", "id": 1, "result": hash(&raw)})
    );
    let expected = json!({
        "code": 4,
        "message": "The transaction was added to the transaction pool but wasn't processed in 5000ms",
        "data": hash(&raw),
    });
    assert_eq!(json_of(&chain.rpc.timed_out(&sync))["error"], expected);
    let unready = json_of(&chain.rpc.unavailable(&sync, "no primary"));
    assert_eq!(unready["error"], json!({"code": 5, "message": "no primary", "data": hash(&raw)}));
    let unready = json_of(&chain.rpc.unavailable(&plain, "no primary"));
    assert_eq!(unready["error"], json!({"code": -32000, "message": "no primary"}));
    let timeouts = [
        (json!(700), 700),
        (json!("0x2bc"), 700),
        (json!(0), 2_000),
        (json!(null), 2_000),
        (json!(9_999_999), 60_000),
    ];
    for (asked, timeout_ms) in timeouts {
        let submit =
            submission(&chain, "eth_sendRawTransactionSync", json!([raw.to_string(), asked]));
        assert_eq!(submit.wait, Wait::Receipt { timeout_ms }, "{asked}");
    }
    for params in
        [json!([]), json!(["0xzz"]), json!(["00"]), json!([raw.to_string(), "soon"]), json!([5])]
    {
        assert_eq!(chain.error("eth_sendRawTransactionSync", params).0, -32602);
    }
}

#[test]
fn the_block_hash_is_what_the_entry_claims() {
    let one = Account::new(1);
    let mut chain = Chain::new();
    chain.queue(&one.transfer(0));
    let mut tx = chain.store.begin();
    let outside = Outside { time_ms: chain.now_ms, entropy: Entropy([1; 32]) };
    let execution = chain.adapter.execute(&mut tx, &outside);
    drop(tx);
    chain.adapter.settle(&chain.store.reader());
    assert!(!execution.is_empty);
    assert_ne!(execution.claims, Digest::ZERO);
    let mut tx = chain.store.begin();
    let nothing = chain.adapter.execute(&mut tx, &outside);
    drop(tx);
    assert_eq!(chain.adapter.settle(&chain.store.reader()), []);
    assert!(nothing.is_empty);
    assert_eq!(nothing.claims, Digest::ZERO);
}

#[test]
fn a_block_too_long_for_an_entry_is_made_again_with_half_its_transactions() {
    let (one, two) = (Account::new(1), Account::new(2));
    let mut chain = Chain::new();
    let delegating = two.delegate(0, &one, 7, LOGGER);
    let raws = [one.transfer(0), one.transfer(1), delegating, one.transfer(2)];
    let tickets = raws.map(|raw| chain.queue(&raw));
    let costly =
        chain.queue(&Account::new(3).sign(TxEip1559 { value: U256::MAX >> 8, ..plain(0) }));
    let status = chain.adapter.pool_status();
    assert_eq!(chain.execute_in_vain(), [], "nobody is answered");
    assert_eq!(chain.adapter.pool_status(), status, "all of them wait as before");
    assert!(chain.call("eth_getBlockByNumber", json!(["pending", false]))["number"] == "0x0");
    let executed = |ticket| Answer { ticket, verdict: Verdict::Executed };
    assert_eq!(chain.execute(), tickets[..2].iter().copied().map(executed).collect::<Vec<_>>());
    // Three are left: all of them, then one of them, which no entry holds.
    assert_eq!(chain.execute_in_vain(), []);
    let answers = chain.execute_in_vain();
    let refusal = match &answers[..] {
        [Answer { ticket, verdict: Verdict::Refused(refusal) }] if *ticket == tickets[2] => refusal,
        other => panic!("not refused: {other:?}"),
    };
    assert!(refusal.message.starts_with("transaction writes more than an entry"), "{refusal}");
    let answers = chain.execute();
    assert_eq!(answers[0], executed(tickets[3]));
    assert!(matches!(
        &answers[1..],
        [Answer { ticket, verdict: Verdict::Refused(_) }] if *ticket == costly
    ));
    assert_eq!(chain.adapter.pool_status().executable, 0);
}

#[test]
fn what_waits_behind_a_nonce_that_was_used_otherwise_is_executed_next() {
    // Calls `CREATE` with nothing, as whoever delegates to it.
    const CREATOR: Address = Address::repeat_byte(0xc4);
    let (one, two) = (Account::new(1), Account::new(2));
    let mut genesis = genesis();
    let code = Bytes::from_static(&hex!("5f5f5ff000"));
    genesis.alloc.insert(CREATOR, GenesisAccount { code, nonce: 1, ..GenesisAccount::default() });
    let mut chain = Chain::with(&genesis, PoolLimits::default());
    let executed = |ticket| Answer { ticket, verdict: Verdict::Executed };

    // By its own authorization.
    let delegating = chain.queue(&one.delegate(0, &one, 1, CREATOR));
    let behind = chain.queue(&one.transfer(2));
    assert_eq!(chain.execute(), [executed(delegating)]);
    assert_eq!(chain.adapter.ready(), 1, "nothing is missing before it");
    assert_eq!(chain.execute(), [executed(behind)]);

    // By a contract that its code created when another called it.
    let behind = chain.queue(&one.transfer(4));
    let creating = chain.queue(&two.call(0, one.address(), vec![]));
    assert_eq!(chain.execute(), [executed(creating)]);
    assert_eq!(chain.execute(), [executed(behind)]);

    // By an authorization that another sent.
    let behind = chain.queue(&one.transfer(6));
    let delegating = chain.queue(&two.delegate(1, &one, 5, LOGGER));
    assert_eq!(chain.execute(), [executed(delegating)]);
    assert_eq!(chain.execute(), [executed(behind)]);
}

#[test]
fn a_fork_by_time_is_noticed_while_no_block_is_made() {
    let one = Account::new(1);
    let mut genesis = genesis();
    let prague = genesis.timestamp + 10;
    genesis.config.forks = ForkSchedule::new(vec![
        (SpecId::CANCUN, Activation::Block(0)),
        (SpecId::PRAGUE, Activation::Time(prague)),
    ])
    .expect("they are in order");
    let mut chain = Chain::with(&genesis, PoolLimits::default());
    let delegating = one.delegate(0, &one, 1, LOGGER);
    chain.now_ms = prague * 1_000 - 1;
    let refusal = chain.refused(&delegating);
    assert!(refusal.message.starts_with("transaction type not supported"), "{refusal}");
    chain.now_ms += 1;
    let ticket = chain.queue(&delegating);
    assert_eq!(chain.execute(), [Answer { ticket, verdict: Verdict::Executed }]);
}
