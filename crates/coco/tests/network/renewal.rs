//! Members renew the certificates of the service and of its nodes while those run: clients with the old and the new ones go on.

use std::{fs, process::Command, time::Duration};

use anyhow::{Context, ensure};
use coco_crypto::Certificate;
use coco_node::config::Restart;
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

/// The certificate that a node shows its clients.
pub(crate) fn shown_by(network: &Network, i: usize) -> anyhow::Result<Certificate> {
    let service = network.service_cert_pem()?;
    let mut connection = Connection::tls(network.addresses(i)?.client, &service)?;
    connection.get("/node/state")?;
    connection.certificate()
}

/// For how long it is valid.
pub(crate) fn days(certificate: &Certificate) -> u64 {
    let validity = certificate.validity();
    (validity.not_after - validity.not_before).div_ceil(DAY_SECONDS)
}

#[test]
fn certificates_of_nodes_are_renewed_while_they_run() -> anyhow::Result<()> {
    let mut network = Network::provision(3, |_| {})?;
    network.start_all()?;
    let desk = Desk::of(&network)?;
    let before: Vec<_> = (0..3).map(|i| shown_by(&network, i)).collect::<Result<_, _>>()?;

    decide(&desk, &network, &["renew-node-certificates", "--days", "30"])?;
    for (i, before) in before.iter().enumerate() {
        until(&format!("n{i} shows a new one"), TIME, || Ok(shown_by(&network, i)? != *before))?;
        let renewed = shown_by(&network, i)?;
        ensure!(renewed.key() == before.key(), "the key stays");
        ensure!(days(&renewed) == 30, "{:?}", renewed.validity());
        ensure!(renewed.node_names()? == before.node_names()?, "and the names");
    }
    // One of them, by its id.
    let id = before[1].key().node_id().to_string();
    decide(&desk, &network, &["renew-node-certificates", &id, "--days", "9"])?;
    until("n1 shows another one", TIME, || Ok(days(&shown_by(&network, 1)?) == 9))?;
    ensure!(days(&shown_by(&network, 0)?) == 30, "nobody else does");
    // What the network signs from then on is believed, and nodes go on.
    decide(&desk, &network, &["--only-here", "snapshot"])?;
    // A process that starts again is another node, for as long as members allow.
    let configuration = network.scratch().join("configuration.json");
    let most = json!({ "actions": [{
        "name": "set_service_configuration",
        "args": { "maximum_node_certificate_validity_days": 20 },
    }] });
    fs::write(&configuration, most.to_string())?;
    decide(&desk, &network, &["raw", configuration.to_str().context("UTF-8")?])?;
    network.adjust(|config| config.consensus.restart = Restart::Rejoin)?;
    network.kill(&[2])?;
    network.start(2)?;
    until("n2 is back", TIME, || Ok(shown_by(&network, 2)?.key() != before[2].key()))?;
    ensure!(days(&shown_by(&network, 2)?) == 20, "{:?}", shown_by(&network, 2)?.validity());
    network.await_all_seated(TIME)?;

    stop_and_compare(&mut network)?;
    let (ledger, service) = (network.ledger_folder(0), network.service_cert());
    let ledger = ledger.to_str().context("UTF-8")?;
    let service = service.to_str().context("UTF-8")?;
    let arguments = ["ledger", "verify", ledger, "--governance", "--service-cert", service];
    let output = coco(&arguments)?;
    ensure!(output.status.success(), "{}", errors_of(&output));
    network.finish()
}
