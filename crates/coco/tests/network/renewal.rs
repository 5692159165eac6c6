//! Members renew the certificate of the service while its nodes run: clients with the old and the new one go on.

use std::{fs, process::Command, time::Duration};

use anyhow::{Context, ensure};
use coco_crypto::Certificate;
use serde_json::{Value, json};

use super::{
    cluster::Network,
    http::{Connection, PATIENCE},
    ledger::stop_and_compare,
    members::Desk,
    program::{coco, errors_of, until},
};

/// Time for what is committed to be known at every node.
const TIME: Duration = Duration::from_secs(20);
const DAY_SECONDS: u64 = 86_400;

/// The service's certificate as a node shows it.
fn shown(network: &Network, i: usize) -> anyhow::Result<Certificate> {
    let mut connection = Connection::plain(network.addresses(i)?.development, PATIENCE)?;
    let answer = connection.get("/node/network")?.json()?;
    Ok(Certificate::from_pem(answer["service_certificate"].as_str().context("PEM")?)?)
}

/// Has acme propose something and bank decide it.
fn decide(desk: &Desk, network: &Network, kind: &[&str]) -> anyhow::Result<()> {
    let node = network.addresses(0)?.client;
    let create = [&["proposal", "create", "--yes"], kind].concat();
    let made = desk.json("acme", node, &create)?;
    let id = made["proposal"]["proposalId"].as_str().context("an id")?.to_owned();
    desk.json("acme", node, &["proposal", "vote", &id, "--approve", "--yes"])?;
    let voted = desk.json("bank", node, &["proposal", "vote", &id, "--approve", "--yes"])?;
    ensure!(voted["proposal"]["proposalState"] == "Accepted", "{voted}");
    Ok(())
}

#[test]
fn the_certificate_of_the_service_is_renewed_while_it_runs() -> anyhow::Result<()> {
    let mut network = Network::provision(3, |_| {})?;
    network.start_all()?;
    let desk = Desk::of(&network)?;
    let before = shown(&network, 0)?;

    decide(&desk, &network, &["renew-certificate", "--days", "90"])?;
    for i in 0..network.len() {
        until(&format!("n{i} shows the new one"), TIME, || Ok(shown(&network, i)? != before))?;
    }
    let renewed = shown(&network, 1)?;
    ensure!(renewed.key() == before.key(), "the key stays");
    let validity = renewed.validity();
    ensure!(validity.not_after - validity.not_before + 1 == 90 * DAY_SECONDS, "{validity:?}");

    // A node that starts again knows it, too.
    network.kill(&[2])?;
    network.start(2)?;
    until("n2 shows it again", TIME, || Ok(shown(&network, 2)? == renewed))?;

    // Whoever has the old one goes on, and learns of the new one; whoever has the new one is believed by OpenSSL, too.
    let node = network.addresses(2)?.client;
    let status = desk.json("acme", node, &["status"])?;
    let until_text = status["service_certificate_until"].as_str().context("a time")?;
    ensure!(until_text.ends_with('Z'), "{status}");
    decide(&desk, &network, &["--only-here", "snapshot"])?;
    let pem = network.scratch().join("renewed_cert.pem");
    fs::write(&pem, renewed.pem())?;
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_chainId", "params": [] });
    for service in [before.pem(), renewed.pem()] {
        let answer =
            Connection::tls(node, &service)?.post_json("/", call.to_string().as_bytes())?;
        ensure!(answer.json()?["result"] != Value::Null, "a node proves itself");
    }
    let state = Connection::plain(network.addresses(2)?.development, PATIENCE)?
        .get("/node/self_signed_certificate")?
        .json()?;
    let own = network.scratch().join("node_cert.pem");
    fs::write(&own, state["self_signed_certificate"].as_str().context("PEM")?)?;
    let verified =
        Command::new("openssl").args(["verify", "-CAfile"]).args([&pem, &own]).output()?;
    ensure!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));

    // The auditor's command takes either certificate, and checks that members voted for the new one.
    stop_and_compare(&mut network)?;
    let ledger = network.ledger_folder(0);
    let arguments = ["ledger", "verify", ledger.to_str().context("UTF-8")?, "--governance"];
    let output =
        coco(&[&arguments[..], &["--service-cert", pem.to_str().context("UTF-8")?]].concat())?;
    ensure!(output.status.success(), "{}", errors_of(&output));
    network.finish()
}
