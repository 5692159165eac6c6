//! What no client should send. Each piece of it gets a clear answer or a closed connection, within the limits of its
//! node's configuration, and the node goes on.

use std::{
    net::SocketAddr,
    thread::sleep,
    time::{Duration, Instant},
};

use alloy_primitives::{Address, Bytes, TxKind, U256, hex};
use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};

use super::{
    accounts::{Account, CHAIN_ID, TRANSFER_GAS},
    cluster::Network,
    http::Connection,
    rpc::{Rpc, call_body, outcome},
};

/// Limits small enough to be met quickly.
const BODY_BYTES_MAX: usize = 50_000;
const HEADERS_MAX: usize = 40;
const BATCH_MAX: usize = 100;
const CONNECTIONS_MAX: usize = 50;
/// Connections over the limit.
const TOO_MANY: usize = 10;
const HEADER_TIME: Duration = Duration::from_millis(800);
const BODY_TIME: Duration = Duration::from_millis(600);
/// How much later than its limit a connection may close, on a machine that does other things, too.
const LENIENCE: Duration = Duration::from_millis(1500);
/// Longest time for which a port holds on to somebody who does not finish a TLS handshake.
const HANDSHAKE_TIME: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(10);

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Header time where it is not what is tested: nothing that the test holds open is closed under its hands.
const LONG_TIME: Duration = Duration::from_secs(60);

fn network(nodes: usize, header_time: Duration) -> anyhow::Result<Network> {
    let mut network = Network::provision(nodes, |config| {
        config.limits.body_bytes_max = BODY_BYTES_MAX;
        config.limits.headers_max = HEADERS_MAX;
        config.limits.batch_max = BATCH_MAX;
        config.limits.connections_max = CONNECTIONS_MAX;
        config.limits.header_timeout_ms = millis(header_time);
        config.limits.body_timeout_ms = millis(BODY_TIME);
    })?;
    network.start_all()?;
    Ok(network)
}

/// Every node still runs and answers, and writes go through.
fn goes_on(network: &mut Network, nonce: &mut u64, after: &str) -> anyhow::Result<()> {
    for i in 0..network.len() {
        ensure!(!network.has_ended(i)?, "n{i} ended after {after}");
        let development = network.addresses(i)?.development;
        let ready = Connection::plain(development, PATIENCE)?
            .get("/node/ready/app")
            .with_context(|| after.to_owned())?;
        ensure!(ready.status == 204, "n{i} is not ready after {after}");
        let transfer = network.accounts[0].transfer(*nonce, Address::repeat_byte(1), U256::from(1));
        let receipt =
            Rpc::to(development)?.call("eth_sendRawTransactionSync", &json!([transfer.raw]))?;
        ensure!(receipt["status"] == "0x1", "after {after}: {receipt}");
        *nonce += 1;
    }
    Ok(())
}

/// Connects, sends, and waits until the other side closes; what it said, and after which time.
fn send_until_closed(address: SocketAddr, bytes: &[u8]) -> anyhow::Result<(Vec<u8>, Duration)> {
    let started = Instant::now();
    let mut connection = Connection::plain(address, PATIENCE)?;
    // It may close before everything is sent.
    let _sent = connection.send(bytes);
    let answer = connection.until_closed()?;
    Ok((answer, started.elapsed()))
}

/// Bytes that look random and are the same in every run.
fn noise(count: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..count).map(|_| next()).collect()
}

#[test]
fn garbage_on_every_port() -> anyhow::Result<()> {
    let mut network = network(3, HEADER_TIME)?;
    let mut nonce = 0;
    let garbage: Vec<(&str, Vec<u8>)> = vec![
        ("random bytes", noise(4096)),
        ("zeros", vec![0; 4096]),
        ("a long line", vec![b'a'; 100_000]),
        (
            "plain HTTP",
            b"GET /node/state HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".to_vec(),
        ),
        ("half a TLS record", vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc]),
        ("a huge frame", [&[0xff; 4][..], &[1; 64]].concat()),
        (
            "an HTTP/2 preface and noise",
            [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &[0xff; 200]].concat(),
        ),
        ("nothing", Vec::new()),
    ];
    for (what, bytes) in &garbage {
        let peer = network.config(0)?.peer.listen;
        for (port, address) in [("peer", peer), ("client", network.addresses(0)?.client)] {
            let (answer, after) = send_until_closed(address, bytes)
                .with_context(|| format!("{what} on the {port} port"))?;
            ensure!(
                after <= HANDSHAKE_TIME + LENIENCE,
                "{what} on the {port} port: closed only after {after:?}"
            );
            ensure!(!answer.starts_with(b"HTTP"), "{what} on the {port} port was answered");
        }
        let (answer, after) = send_until_closed(network.addresses(0)?.development, bytes)
            .with_context(|| format!("{what} on the plain port"))?;
        ensure!(
            after <= HEADER_TIME + LENIENCE,
            "{what} on the plain port: closed only after {after:?}"
        );
        let answer = String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned();
        println!("{what}: the plain port closed after {after:.1?} {answer:?}");
    }
    goes_on(&mut network, &mut nonce, "garbage")?;

    // Whoever speaks TLS, and trusts the service, is still nobody on the peer port.
    let peer = network.config(0)?.peer.listen;
    let stranger = Connection::tls(peer, &network.service_cert_pem()?)
        .and_then(|mut connection| connection.request("GET", "/node/state", &[], b""));
    ensure!(stranger.is_err(), "the peer port answered somebody without a certificate");
    goes_on(&mut network, &mut nonce, "a stranger on the peer port")?;
    network.finish()
}

/// A body without its length beforehand.
fn chunked(size: usize) -> Vec<u8> {
    let mut bytes = b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    for _ in 0..size / 1000 {
        bytes.extend_from_slice(b"3e8\r\n");
        bytes.extend_from_slice(&[b' '; 1000]);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    bytes
}

#[test]
fn limits_of_size() -> anyhow::Result<()> {
    let mut network = network(1, LONG_TIME)?;
    let mut nonce = 0;
    let addresses = network.addresses(0)?;
    let pem = network.service_cert_pem()?;
    let connect = |is_tls: bool| {
        if is_tls {
            Connection::tls(addresses.client, &pem)
        } else {
            Connection::plain(addresses.development, PATIENCE)
        }
    };
    for is_tls in [false, true] {
        let fits = connect(is_tls)?.post_json("/", &[b' '; BODY_BYTES_MAX])?;
        ensure!(fits.status == 200, "a body at the limit: {}", fits.status);
        let announced =
            format!("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", BODY_BYTES_MAX + 1);
        for (what, request) in
            [("announced", announced.into_bytes()), ("unannounced", chunked(BODY_BYTES_MAX + 1000))]
        {
            let mut connection = connect(is_tls)?;
            // It may refuse before everything is sent.
            let _sent = connection.send(&request);
            let answer =
                connection.receive(false).with_context(|| format!("an {what} large body"))?;
            ensure!(answer.status == 413, "an {what} large body: {}", answer.status);
            ensure!(answer.error_code()? == "RequestBodyTooLarge");
            ensure!(
                answer.header("connection") == Some("close"),
                "the rest of an {what} body is not read"
            );
            ensure!(answer.header("x-ms-ccf-transaction-id").is_some());
        }

        let header =
            |count: usize| format!("GET /node/state HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(count));
        let mut connection = connect(is_tls)?;
        connection.send(header(HEADERS_MAX).as_bytes())?;
        ensure!(connection.receive(false)?.status == 200, "as many headers as the limit");
        for (what, request) in [
            ("many headers", header(HEADERS_MAX + 1)),
            ("a large header", format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(100_000))),
            ("a long path", format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "y".repeat(100_000))),
        ] {
            let mut connection = connect(is_tls)?;
            let _sent = connection.send(request.as_bytes());
            let answer = connection.until_closed().with_context(|| what.to_owned())?;
            let answer =
                String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned();
            println!("{what}, TLS {is_tls}: {answer:?}");
            // An unread rest makes the system reset the connection, which may overtake the answer.
            let may_be_reset = answer.is_empty() && what != "many headers";
            ensure!(
                may_be_reset || answer.contains(" 431 ") || answer.contains(" 414 "),
                "{what}: {answer}"
            );
        }
    }
    let long = connect(false)?.get(&format!("/app/tx?transaction_id={}", "1".repeat(5000)))?;
    ensure!(
        long.status == 400 && long.error_code()? == "InvalidQueryParameterValue",
        "a long query: {}",
        long.status
    );
    goes_on(&mut network, &mut nonce, "too much of everything")?;
    network.finish()
}

#[test]
fn too_many_connections() -> anyhow::Result<()> {
    let mut network = network(1, LONG_TIME)?;
    // More than there is room for: these are turned away at once, and others let in when there is room again.
    let short = Duration::from_millis(100);
    let mut held = Vec::new();
    for _ in 0..CONNECTIONS_MAX + TOO_MANY {
        held.push(Connection::plain(network.addresses(0)?.development, short)?);
    }
    sleep(short);
    let closed = held.iter_mut().filter_map(|connection| connection.until_closed().ok()).count();
    ensure!(
        (TOO_MANY..CONNECTIONS_MAX).contains(&closed),
        "{closed} of {} were turned away",
        held.len()
    );
    drop(held);
    sleep(short);
    goes_on(&mut network, &mut 0, "too many connections")?;
    network.finish()
}

/// Sends `first` and then single bytes, as slowly as can be; after which time the other side closes, and what it said.
fn drip(mut connection: Connection, first: &[u8]) -> anyhow::Result<(String, Duration)> {
    let started = Instant::now();
    connection.send(first)?;
    while started.elapsed() < PATIENCE {
        sleep(Duration::from_millis(50));
        if connection.send(b"x").is_err() {
            break;
        }
    }
    let answer = connection.until_closed()?;
    let answer = String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned();
    Ok((answer, started.elapsed()))
}

#[test]
fn limits_of_time() -> anyhow::Result<()> {
    let mut network = network(1, HEADER_TIME)?;
    let mut nonce = 0;
    let addresses = network.addresses(0)?;
    let pem = network.service_cert_pem()?;
    let slow: [(&str, &[u8], Duration); 5] = [
        ("a slow request line", b"G", HEADER_TIME),
        ("slow headers", b"POST / HTTP/1.1\r\nhost: x\r\nx: ", HEADER_TIME),
        ("half an HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\n", HEADER_TIME),
        ("a slow body", b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 10000\r\n\r\n", BODY_TIME),
        (
            "a slow chunked body",
            b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3e8\r\n",
            BODY_TIME,
        ),
    ];
    for (what, first, limit) in slow {
        for is_tls in [false, true] {
            let connection = if is_tls {
                Connection::tls(addresses.client, &pem)?
            } else {
                Connection::plain(addresses.development, PATIENCE)?
            };
            let (answer, after) = drip(connection, first).with_context(|| what.to_owned())?;
            println!("{what}, TLS {is_tls}: closed after {after:.1?} {answer:?}");
            ensure!(after <= limit + LENIENCE, "{what}: closed only after {after:?}");
            ensure!(
                answer.is_empty() || answer.contains(" 408 ") || answer.contains(" 400 "),
                "{what}: {answer}"
            );
        }
    }
    for is_tls in [false, true] {
        // Nothing at all: before, and after, one good request.
        for requests in 0..=1 {
            let mut connection = if is_tls {
                Connection::tls(addresses.client, &pem)?
            } else {
                Connection::plain(addresses.development, PATIENCE)?
            };
            for _ in 0..requests {
                ensure!(connection.get("/node/state")?.status == 200);
            }
            let started = Instant::now();
            connection
                .until_closed()
                .with_context(|| format!("silence after {requests} requests, TLS {is_tls}"))?;
            let after = started.elapsed();
            ensure!(
                after <= HEADER_TIME + LENIENCE,
                "silence after {requests} requests: closed only after {after:?}"
            );
        }
    }
    goes_on(&mut network, &mut nonce, "slow clients")?;
    network.finish()
}

#[test]
fn wrong_requests() -> anyhow::Result<()> {
    let mut network = network(1, LONG_TIME)?;
    let development = network.addresses(0)?.development;
    let mut connection = Connection::plain(development, PATIENCE)?;
    for path in [
        "/nowhere",
        "/node",
        "/node/",
        "/app/nothing",
        "/node/network/nodes/../state",
        "//",
        "/metrics/x",
        "/eth/x",
    ] {
        let answer = connection.get(path)?;
        ensure!(
            answer.status == 404 && answer.error_code()? == "ResourceNotFound",
            "{path}: {}",
            answer.status
        );
        ensure!(answer.header("x-ms-ccf-transaction-id").is_some(), "{path}: no transaction id");
    }
    for (method, path, allow) in [
        ("GET", "/", "POST, OPTIONS"),
        ("PUT", "/eth", "POST, OPTIONS"),
        ("POST", "/node/state", "GET, HEAD"),
        ("DELETE", "/app/receipt", "GET, HEAD"),
        ("BREW", "/metrics", "GET, HEAD"),
    ] {
        let answer = connection.request(method, path, &[], b"")?;
        ensure!(
            answer.status == 405 && answer.error_code()? == "UnsupportedHttpVerb",
            "{method} {path}: {}",
            answer.status
        );
        ensure!(
            answer.header("allow") == Some(allow),
            "{method} {path}: allow {:?}",
            answer.header("allow")
        );
    }
    for path in [
        "/app/tx",
        "/app/tx?transaction_id=",
        "/app/tx?transaction_id=2",
        "/app/tx?transaction_id=-1.2",
        "/app/tx?transaction_id=99999999999999999999.1",
        "/app/tx?transaction_id",
        "/app/receipt?transaction_id=x.y",
        "/app/receipt/cose",
        "/app/receipt/cose/endorsements?transaction_id=2",
        "/app/commit?view_history=perhaps",
        "/app/commit?view_history_since=-1",
    ] {
        let answer = connection.get(path)?;
        ensure!(
            answer.status == 400 && answer.error_code()? == "InvalidQueryParameterValue",
            "{path}: {}",
            answer.status
        );
    }
    let answer = connection
        .post_json("/?wait=forever", br#"{"jsonrpc":"2.0","id":1,"method":"eth_chainId"}"#)?;
    ensure!(answer.status == 400, "a wait that does not exist: {}", answer.status);
    json_rpc(&mut connection)?;
    goes_on(&mut network, &mut 0, "wrong requests")?;
    network.finish()
}

/// Bodies that are no good calls, and the codes that they get.
fn json_rpc(connection: &mut Connection) -> anyhow::Result<()> {
    let call = |method: &str, params: Value| call_body(1, method, &params).to_string().into_bytes();
    let batch = |count: usize| {
        let calls: Vec<Value> =
            (0..count).map(|id| call_body(id, "eth_chainId", &json!([]))).collect();
        Value::from(calls).to_string().into_bytes()
    };
    let deep = |open: &str, count: usize| open.repeat(count).into_bytes();
    let cases: Vec<(&str, Vec<u8>, i64)> = vec![
        ("nothing", Vec::new(), -32700),
        ("no JSON", b"{\"jsonrpc\":".to_vec(), -32700),
        ("no UTF-8", vec![0xff, 0xfe, b'{', b'}'], -32700),
        ("deep arrays", deep("[", 40_000), -32700),
        ("deep objects", deep("{\"a\":", 9_000), -32700),
        ("a number", b"42".to_vec(), -32600),
        ("an empty batch", b"[]".to_vec(), -32600),
        ("no method", br#"{"jsonrpc":"2.0","id":1}"#.to_vec(), -32600),
        ("an unknown method", call("eth_mine", json!([])), -32601),
        ("a long unknown method", call(&"x".repeat(30_000), json!([])), -32601),
        ("no parameter", call("eth_getBalance", json!([])), -32602),
        ("a parameter too many", call("eth_chainId", json!([1, 2, 3])), -32602),
        ("no hexadecimal", call("eth_sendRawTransaction", json!(["0xzz"])), -32602),
        ("half a byte", call("eth_sendRawTransaction", json!(["0x123"])), -32602),
        ("a short address", call("eth_getBalance", json!(["0x12", "latest"])), -32602),
        ("no block", call("eth_getBalance", json!([Address::ZERO, "yesterday"])), -32602),
        (
            "a huge quantity",
            call("eth_getBlockByNumber", json!([format!("0x{}", "f".repeat(20)), false])),
            -32602,
        ),
        ("parameters that are none", call("eth_getBalance", json!("x")), -32602),
    ];
    for (what, body, code) in cases {
        let answer = connection.post_json("/", &body).with_context(|| what.to_owned())?;
        ensure!(answer.status == 200, "{what}: status {}", answer.status);
        match outcome(&answer.json()?).with_context(|| what.to_owned())? {
            Err(refused) if refused.code == code => {
                println!("{what}: {} {}", refused.code, refused.message);
            }
            other => bail!("{what}: expected {code}, got {other:?}"),
        }
    }
    let fits = connection.post_json("/", &batch(BATCH_MAX))?.json()?;
    ensure!(
        fits.as_array().is_some_and(|answers| answers.len() == BATCH_MAX),
        "a batch at the limit"
    );
    // 10,000 small calls are within the limit of bytes only when they are small indeed.
    let many = format!("[{}]", ["1"; 10_000].join(","));
    for body in [batch(BATCH_MAX + 1), many.into_bytes()] {
        let answer = connection.post_json("/", &body)?.json()?;
        let first = answer.as_array().and_then(|answers| answers.first()).unwrap_or(&answer);
        let refused = outcome(first)?
            .err()
            .with_context(|| format!("a batch that is too large: {answer}"))?;
        println!("a batch that is too large: {} {}", refused.code, refused.message);
        ensure!(answer.to_string().len() < 10_000, "the answer is about as short as the error");
    }
    Ok(())
}

/// A transaction of its own kind of wrongness.
fn draft(nonce: u64) -> alloy_consensus::TxEip1559 {
    alloy_consensus::TxEip1559 {
        chain_id: CHAIN_ID,
        nonce,
        gas_limit: TRANSFER_GAS,
        max_fee_per_gas: 0,
        max_priority_fee_per_gas: 0,
        to: TxKind::Call(Address::repeat_byte(2)),
        value: U256::from(1),
        access_list: alloy_eips::eip2930::AccessList::default(),
        input: Bytes::new(),
    }
}

/// Raw transactions that are refused, and a word of the reason.
fn wrong_transactions_of(
    account: &Account,
    nonce: u64,
) -> anyhow::Result<Vec<(&'static str, String, &'static str)>> {
    let good = hex::decode(account.sign(draft(nonce)).raw)?;
    let raw = |bytes: &[u8]| hex::encode_prefixed(bytes);
    let mut bad_signature = good.clone();
    // The last 32 bytes are s; with its top bits set it is above half the order.
    let s = bad_signature.len() - 32;
    bad_signature[s] = 0xff;
    let blob = [&[3][..], &good[1..]].concat();
    let of = |change: fn(&mut alloy_consensus::TxEip1559)| {
        let mut transaction = draft(0);
        change(&mut transaction);
        transaction
    };
    let signed = |mut transaction: alloy_consensus::TxEip1559, nonce: u64| {
        transaction.nonce = nonce;
        account.sign(transaction).raw
    };
    Ok(vec![
        ("another chain", signed(of(|transaction| transaction.chain_id = 5), nonce), "chain id"),
        ("a nonce that was used", signed(draft(0), 0), "nonce too low"),
        (
            "more gas than a block has",
            signed(of(|transaction| transaction.gas_limit = u64::MAX), nonce),
            "gas",
        ),
        (
            "too little gas",
            signed(of(|transaction| transaction.gas_limit = 20_999), nonce),
            "intrinsic gas",
        ),
        (
            "more than it has",
            signed(of(|transaction| transaction.value = U256::MAX >> 1), nonce),
            "insufficient funds",
        ),
        (
            "a tip above the fee",
            signed(of(|transaction| transaction.max_priority_fee_per_gas = 1), nonce),
            "max priority fee",
        ),
        ("a nonce far ahead", signed(draft(0), nonce + 1_000_000), "nonce"),
        ("the last nonce", signed(draft(0), u64::MAX), "nonce"),
        ("a bad signature", raw(&bad_signature), "invalid"),
        ("a blob transaction", raw(&blob), ""),
        ("an unknown type", raw(&[&[0x42][..], &good[1..]].concat()), "type"),
        ("a piece", raw(&good[..good.len() - 1]), ""),
        ("a byte too many", raw(&[&good[..], &[0]].concat()), ""),
        ("nothing", "0x".to_owned(), ""),
        ("noise", raw(&noise(200)), ""),
    ])
}

#[test]
fn wrong_transactions() -> anyhow::Result<()> {
    let mut network = network(3, LONG_TIME)?;
    let account = network.accounts[1].clone();
    // The first nonce is used, so that there is one that is too low.
    let first = account.sign(draft(0));
    Rpc::to(network.addresses(0)?.development)?
        .call("eth_sendRawTransactionSync", &json!([first.raw]))?;
    // Another transaction with the same nonce: the same one would be answered with its first result.
    let mut nonce = 0;
    for i in 0..network.len() {
        let mut rpc = Rpc::to(network.addresses(i)?.development)?;
        for (what, raw, word) in wrong_transactions_of(&account, 1)? {
            for method in ["eth_sendRawTransaction", "eth_sendRawTransactionSync"] {
                if what == "a nonce that was used" {
                    let mut other = draft(0);
                    other.value = U256::from(9);
                    let raw = account.sign(other).raw;
                    refuse(&mut rpc, method, what, &raw, word)?;
                } else {
                    refuse(&mut rpc, method, what, &raw, word)?;
                }
            }
        }
        ensure!(rpc.nonces(&[account.address], "latest")? == [1], "nothing of it was executed");
        ensure!(rpc.nonces(&[account.address], "pending")? == [1], "nothing of it waits");
    }
    goes_on(&mut network, &mut nonce, "wrong transactions")?;
    network.finish()
}

fn refuse(rpc: &mut Rpc, method: &str, what: &str, raw: &str, word: &str) -> anyhow::Result<()> {
    let started = Instant::now();
    let Err(refused) = rpc.try_call(method, &json!([raw])).with_context(|| what.to_owned())? else {
        bail!("{what} was taken by {method}");
    };
    println!("{what}: {} {} ({:.0?})", refused.code, refused.message, started.elapsed());
    ensure!(refused.message.contains(word), "{what}: {refused:?} does not speak of {word:?}");
    Ok(())
}
