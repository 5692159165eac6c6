//! Calls below `/node` by which operators watch a node and have it do something.

use std::time::Duration;

use alloy_primitives::{Address, U256};
use anyhow::{Context, ensure};
use coco_node::config::OperatorFeature;
use serde_json::{Value, json};

use super::{
    cluster::Network,
    http::{Connection, PATIENCE},
    program::{coco, errors_of, until},
    rpc::Rpc,
};

const TIME: Duration = Duration::from_secs(10);

fn sessions(connection: &mut Connection) -> anyhow::Result<Value> {
    let answer = connection.get("/node/metrics")?;
    ensure!(answer.status == 200, "{}", answer.status);
    Ok(answer.json()?["sessions"].clone())
}

/// The connection of whoever asks is one of those that are counted.
#[test]
fn a_node_counts_its_clients() -> anyhow::Result<()> {
    let mut network = Network::provision(1, |config| config.limits.connections_max = 77)?;
    network.start_all()?;
    let (addresses, pem) = (network.addresses(0)?, network.service_cert_pem()?);
    let mut asks = Connection::tls(addresses.client, &pem)?;
    // Those who watched the start may still be leaving.
    until("nobody else is there", TIME, || Ok(sessions(&mut asks)?["active"] == 1))?;
    let before = sessions(&mut asks)?;
    let interface = |shown: &Value, name: &str| shown["interfaces"][name].clone();
    ensure!(interface(&before, "client")["hard_cap"] == 77, "{before}");

    let mut others = Vec::new();
    for _ in 0..20 {
        let mut other = Connection::plain(addresses.development, PATIENCE)?;
        ensure!(other.get("/node/state")?.status == 200);
        others.push(other);
    }
    let open = sessions(&mut asks)?;
    ensure!(open["active"] == 21 && open["peak"].as_u64().context("a peak")? >= 21, "{open}");
    ensure!(interface(&open, "development_http")["active"] == 20, "{open}");
    ensure!(interface(&open, "client")["active"] == 1, "{open}");
    drop(others);
    until("they are gone", TIME, || Ok(sessions(&mut asks)?["active"] == 1))?;
    let left = sessions(&mut asks)?;
    ensure!(left["peak"] == open["peak"], "{left}, after {open}");

    let body = "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999\r\n\r\n".to_owned();
    let head = format!("GET / HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(1000));
    for request in [body, head, "\u{1}\u{2} is no HTTP\r\n\r\n".to_owned()] {
        let mut wrong = Connection::plain(addresses.development, PATIENCE)?;
        wrong.send(request.as_bytes())?;
        wrong.until_closed()?;
    }
    let expected = json!({
        "parsing": 1, "request_header_too_large": 1, "request_payload_too_large": 1,
    });
    until("what was no request is counted", TIME, || {
        Ok(interface(&sessions(&mut asks)?, "development_http")["errors"] == expected)
    })?;
    let errors = interface(&sessions(&mut asks)?, "client")["errors"].clone();
    ensure!(errors["parsing"] == 0, "the other interface: {errors}");
    network.finish()
}

/// Where the newest snapshot of a node is, if it has one.
fn newest_snapshot(network: &Network, i: usize) -> anyhow::Result<Option<String>> {
    let mut connection = Connection::plain(network.addresses(i)?.development, PATIENCE)?;
    let answer = connection.get("/node/snapshot")?;
    ensure!([308, 404].contains(&answer.status), "n{i}: {}", answer.status);
    Ok(answer.header("location").map(str::to_owned))
}

#[test]
fn an_operator_has_every_node_make_a_snapshot() -> anyhow::Result<()> {
    const CREATE: &str = "/node/snapshot:create";
    let mut network = Network::provision(3, |config| config.ledger.snapshot_entries = 0)?;
    network.start_all()?;
    let primary = network.await_primary(TIME)?;
    let pem = network.service_cert_pem()?;
    let connect = |i: usize| Connection::tls(network.addresses(i)?.client, &pem);
    for i in 0..3 {
        ensure!(newest_snapshot(&network, i)?.is_none(), "n{i} made one unasked");
    }
    // A backup names the primary.
    let backup = (primary + 1) % 3;
    let answer = connect(backup)?.request("POST", CREATE, &[], b"")?;
    let expected = format!("https://{}{CREATE}", network.addresses(primary)?.client);
    ensure!(answer.status == 308, "a backup: {}", answer.status);
    ensure!(answer.header("location") == Some(&expected), "{:?}", answer.header("location"));
    let answer = connect(primary)?.request("POST", CREATE, &[], b"")?;
    ensure!(answer.status == 204, "the primary: {}", answer.status);
    let id = answer.header("x-ms-ccf-transaction-id").context("the entry that asks")?;
    let status = connect(primary)?.get(&format!("/node/tx?transaction_id={id}"))?.json()?;
    ensure!(status["status"] == "Committed", "{status}");
    let mut names = Vec::new();
    until("every node has one", TIME, || {
        let found = (0..3).map(|i| newest_snapshot(&network, i));
        names = found.collect::<anyhow::Result<_>>()?;
        Ok(names.iter().all(Option::is_some))
    })?;
    ensure!(names.iter().all(|name| *name == names[0]), "{names:?}");
    ensure!(connect(primary)?.get(CREATE)?.status == 405, "reading asks for nothing");

    // An auditor has nothing against it.
    let (cert, ledger) = (network.service_cert(), network.ledger_folder(primary));
    let path = ledger.to_str().context("UTF-8")?;
    let cert = cert.to_str().context("UTF-8")?;
    let output = coco(&["ledger", "verify", path, "--service-cert", cert, "--governance"])?;
    ensure!(output.status.success(), "{}", errors_of(&output));
    network.finish()
}

#[test]
fn a_node_that_is_not_to_takes_no_calls_of_operators() -> anyhow::Result<()> {
    let mut network = Network::provision(1, |config| {
        config.client.enabled_operator_features = [OperatorFeature::SnapshotRead].into();
    })?;
    network.start_all()?;
    let mut connection = Connection::plain(network.addresses(0)?.development, PATIENCE)?;
    let answer = connection.request("POST", "/node/snapshot:create", &[], b"")?;
    let message = answer.json()?["error"]["message"].to_string();
    ensure!(answer.status == 404 && message.contains("SnapshotCreate"), "{message}");
    let answer = connection.request(
        "DELETE",
        &format!("/node/network/nodes/{}", "0".repeat(64)),
        &[],
        b"",
    )?;
    let message = answer.json()?["error"]["message"].to_string();
    ensure!(answer.status == 404 && message.contains("NodeRemove"), "{message}");
    network.finish()
}

#[test]
fn what_is_kept_of_the_past_is_counted() -> anyhow::Result<()> {
    let mut network = Network::provision(1, |_| {})?;
    network.start_all()?;
    let mut connection = Connection::plain(network.addresses(0)?.development, PATIENCE)?;
    let mut kept = || -> anyhow::Result<u64> {
        let shown = connection.get("/node/historical_cache")?.json()?;
        shown["estimated_size"].as_u64().with_context(|| shown.to_string())
    };
    let before = kept()?;
    let mut rpc = Rpc::to(network.addresses(0)?.development)?;
    let transfer = network.accounts[0].transfer(0, Address::repeat_byte(7), U256::from(1));
    rpc.call("eth_sendRawTransactionSync", &json!([transfer.raw]))?;
    let after = kept()?;
    ensure!(after > before, "{before}, then {after}");
    network.finish()
}

#[test]
fn nodes_are_found_by_where_they_are_and_what_they_are() -> anyhow::Result<()> {
    let mut network = Network::provision(2, |_| {})?;
    network.start_all()?;
    let address = network.addresses(1)?.client;
    let mut connection = Connection::plain(network.addresses(0)?.development, PATIENCE)?;
    let all = connection.get("/node/network/nodes")?.json()?["nodes"].clone();
    let is_it = |node: &&Value| {
        node["rpc_interfaces"]["client"]["published_address"] == address.to_string()
    };
    let other = all.as_array().context("nodes")?.iter().find(is_it).context("the other")?;
    let (host, port) = (address.ip(), address.port());
    for (query, expected) in [
        (format!("host={host}&port={port}"), 1),
        (format!("port={port}"), 1),
        (format!("host={host}"), 2),
        (format!("host={host}&port=1"), 0),
        ("host=n1.acme.example".to_owned(), 0),
        ("status=Trusted".to_owned(), 2),
        (format!("status=Trusted&port={port}"), 1),
        ("status=Pending".to_owned(), 0),
        ("status=Retired".to_owned(), 0),
    ] {
        let shown = connection.get(&format!("/node/network/nodes?{query}"))?.json()?;
        let nodes = shown["nodes"].as_array().context("nodes")?;
        ensure!(nodes.len() == expected, "{query}: {shown}");
        ensure!(expected != 1 || nodes[0]["node_id"] == other["node_id"], "{query}: {shown}");
    }
    let primary = connection.get("/node/network/nodes?status=Trusted")?.json()?;
    let primary = primary["nodes"].as_array().context("nodes")?.clone();
    ensure!(primary.iter().filter(|node| node["primary"] == true).count() == 1, "{primary:?}");
    let wrong = connection.get("/node/network/nodes?status=Gone")?;
    ensure!(wrong.status == 400, "no status: {}", wrong.status);
    ensure!(wrong.error_code()? == "InvalidQueryParameterValue");
    network.finish()
}
