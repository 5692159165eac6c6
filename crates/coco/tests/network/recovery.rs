//! Every machine is gone. From a copy of the ledger and the shares of two of three members the service comes back.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use alloy_primitives::{Address, U256};
use anyhow::{Context, ensure};
use serde_json::{Value, json};

use super::{
    cluster::Network,
    ended::Ended,
    http::Connection,
    members::{Desk, NAMES},
    newcomers::{Running, free_address},
    program::until,
    rpc::Rpc,
};

/// Time for what members do to be done, and for a node to load its ledger again.
const TIME: Duration = Duration::from_secs(30);
const PAYEE: Address = Address::repeat_byte(7);

/// The node with which the service begins anew.
struct Phoenix {
    client: SocketAddr,
    service_cert: PathBuf,
    pem: String,
    config: PathBuf,
    log: PathBuf,
}

impl Phoenix {
    /// `coco network recover`, in a folder of that name.
    fn make(
        desk: &Desk,
        scratch: &Path,
        name: &str,
        ledger: &Path,
        lost: &Path,
    ) -> anyhow::Result<(Self, Value)> {
        let (folder, client) = (scratch.join(name), free_address()?);
        let (peer, at) = (free_address()?.to_string(), client.to_string());
        let [ledger, lost, dir] =
            [ledger, lost, &folder].map(|path| path.to_str().context("UTF-8"));
        let words = ["network", "recover", ledger?, "--service-cert", lost?, "--dir", dir?];
        let more = ["--client", &at, "--peer", &peer, "--output", "json"];
        let said = desk.run(&[&words[..], &more[..]].concat())?.json();
        let service_cert = folder.join("service_cert.pem");
        let pem = fs::read_to_string(&service_cert)?;
        let (config, log) = (folder.join("node.toml"), scratch.join(format!("{name}.log")));
        Ok((Self { client, service_cert, pem, config, log }, said))
    }

    fn start(&self) -> anyhow::Result<Running> {
        let config = self.config.to_str().context("UTF-8")?;
        let running = Running::start(&["node", "--config", config], &self.log)?;
        until("it serves governance", TIME, || {
            Ok(self.get("/node/ready/gov").is_ok_and(|(status, _)| status == 204))
        })?;
        Ok(running)
    }

    fn get(&self, path: &str) -> anyhow::Result<(u16, Value)> {
        let response = Connection::tls(self.client, &self.pem)?.get(path)?;
        Ok((response.status, response.json().unwrap_or_default()))
    }

    fn status(&self) -> anyhow::Result<String> {
        let (_, network) = self.get("/node/network")?;
        Ok(network["service_status"].as_str().unwrap_or_default().to_owned())
    }

    fn call(&self, method: &str, params: &Value) -> anyhow::Result<Value> {
        let call = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let mut connection = Connection::tls(self.client, &self.pem)?;
        connection.post_json("/", call.to_string().as_bytes())?.json()
    }

    /// A member's command to this service.
    fn ask(&self, desk: &Desk, name: &str, words: &[&str]) -> anyhow::Result<Ended> {
        let cert = self.service_cert.to_str().context("UTF-8")?;
        let more = ["--service-cert", cert, "--yes"];
        desk.ask(name, self.client, &[words, &more].concat())
    }
}

/// What is kept of a network: a copy of one node's ledger.
fn copy_of(ledger: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir(to)?;
    for file in fs::read_dir(ledger)? {
        let file = file?;
        fs::copy(file.path(), to.join(file.file_name()))?;
    }
    Ok(())
}

fn pay(network: &Network, nonce: u64) -> anyhow::Result<()> {
    let mut rpc = Rpc::to(network.addresses(0)?.development)?;
    let account = &network.accounts[0];
    let transfer = account.transfer(nonce, PAYEE, U256::from(1000));
    rpc.call("eth_sendRawTransaction", &json!([transfer.raw]))?;
    until("the transfer counts", TIME, || Ok(rpc.nonces(&[account.address], "latest")?[0] > nonce))
}

/// A proposal of these words by acme, for which bank votes as well.
fn decide(desk: &Desk, network: &Network, words: &[&str]) -> anyhow::Result<()> {
    let node = network.addresses(1)?.client;
    let made = desk.json("acme", node, &[&["proposal", "create"], words, &["--yes"]].concat())?;
    let id = made["proposal"]["proposalId"].as_str().context("an id")?.to_owned();
    for name in ["acme", "bank"] {
        let vote = ["proposal", "vote", id.as_str(), "--approve", "--yes"];
        desk.ask(name, node, &vote)?.ok();
    }
    Ok(())
}

#[test]
fn a_service_comes_back_from_a_copy_of_its_ledger_and_its_members_shares() -> anyhow::Result<()> {
    let mut network = Network::provision(3, |_| {})?;
    network.start_all()?;
    let desk = Desk::of(&network)?;
    let scratch = network.scratch().to_owned();
    pay(&network, 0)?;
    decide(&desk, &network, &["rekey"])?;
    pay(&network, 1)?;
    // A node that starts again reads on under the new secret.
    network.kill(&[2])?;
    network.start(2)?;
    pay(&network, 2)?;
    network.await_ready()?;
    let balance = Rpc::to(network.addresses(2)?.development)?.balances(&[PAYEE])?[0];

    let (lost, kept) = (network.service_cert(), scratch.join("kept"));
    network.kill(&[0, 1, 2])?;
    copy_of(&network.ledger_folder(1), &kept)?;
    for i in 0..3 {
        fs::remove_dir_all(network.place(i))?;
    }

    let (phoenix, said) = Phoenix::make(&desk, &scratch, "again", &kept, &lost)?;
    let running = phoenix.start()?;
    ensure!(phoenix.status()? == "Recovering");
    let (_, info) = phoenix.get("/node/network")?;
    assert_eq!(info["recovery_count"], 1, "{info}");
    let (_, before) = phoenix.get("/node/service/previous_identity")?;
    assert_eq!(before["previous_service_identity"], fs::read_to_string(&lost)?);
    let refused = phoenix.call("eth_blockNumber", &json!([]))?;
    ensure!(
        refused["error"]["message"].as_str().is_some_and(|it| it.contains("Recovering")),
        "{refused}"
    );

    // Nobody's share is taken before members mean this service.
    phoenix.ask(&desk, "acme", &["shares", "submit"])?.failed(3, "COCO-2007");
    let lost_path = lost.to_str().context("UTF-8")?;
    let open = ["proposal", "create", "open", "--recovered-from", lost_path, "--output", "json"];
    let made = phoenix.ask(&desk, "acme", &open)?.json();
    let id = made["proposal"]["proposalId"].as_str().context("an id")?.to_owned();
    for name in ["acme", "bank"] {
        phoenix.ask(&desk, name, &["proposal", "vote", &id, "--approve"])?.ok();
    }
    until("it waits for shares", TIME, || Ok(phoenix.status()? == "WaitingForRecoveryShares"))?;

    let other = scratch.join("members").join(format!("{}.enc.key.pem", NAMES[1]));
    let other = ["shares", "submit", "--encryption-key", other.to_str().context("UTF-8")?];
    let said_wrong = phoenix.ask(&desk, "acme", &other)?.failed(1, "COCO-1021");
    ensure!(said_wrong.contains("another key"), "{said_wrong}");
    let one = phoenix.ask(&desk, "acme", &["shares", "submit"])?.ok();
    ensure!(one.contains("1/2"), "{one}");
    ensure!(phoenix.status()? == "WaitingForRecoveryShares", "one share is not enough");
    let two = phoenix.ask(&desk, "corp", &["shares", "submit"])?.ok();
    ensure!(two.contains("2/2") && two.contains("End of recovery"), "{two}");
    until("it is open", TIME, || Ok(phoenix.status().is_ok_and(|status| status == "Open")))?;

    let shown = phoenix.call("eth_getBalance", &json!([PAYEE, "latest"]))?;
    assert_eq!(shown["result"], format!("{balance:#x}"), "{said}");
    let account = &network.accounts[0];
    let transfer = account.transfer(3, PAYEE, U256::from(1000));
    let sent = phoenix.call("eth_sendRawTransaction", &json!([transfer.raw]))?;
    ensure!(sent["result"].is_string(), "{sent}");
    until("it transacts", TIME, || {
        let now = phoenix.call("eth_getBalance", &json!([PAYEE, "latest"]))?;
        Ok(now["result"] == format!("{:#x}", balance + U256::from(1000)))
    })?;
    // The shares of the new secret are dealt: they bring it back once more.
    drop(running);
    let ledger = phoenix.config.with_file_name("ledger");
    let verify = |cert: &Path| {
        let paths = [&ledger, cert].map(|path| path.to_str().context("UTF-8"));
        let [ledger, cert] = paths;
        desk.run(&["ledger", "verify", ledger?, "--governance", "--service-cert", cert?])
    };
    verify(&phoenix.service_cert)?.ok();
    let other = verify(&lost)?.failed(7, "COCO-7001");
    ensure!(other.contains("recovered as another one"), "{other}");
    let (second, _) = Phoenix::make(&desk, &scratch, "once more", &ledger, &phoenix.service_cert)?;
    let _running = second.start()?;
    let (_, info) = second.get("/node/network")?;
    assert_eq!(info["recovery_count"], 2, "{info}");
    network.finish()
}
