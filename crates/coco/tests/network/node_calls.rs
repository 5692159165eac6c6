//! Calls below `/node` by which operators watch a node and have it do something.

use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use super::{
    cluster::Network,
    http::{Connection, PATIENCE},
    program::until,
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
