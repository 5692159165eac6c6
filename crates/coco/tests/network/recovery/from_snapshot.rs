//! The first files of the ledger are gone, too: a snapshot and the files after it are left.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use alloy_primitives::{Address, U256};
use anyhow::{Context, ensure};
use coco_client::ServiceIdentity;
use coco_crypto::Certificate;
use coco_ledger::SnapshotName;
use serde_json::json;

use super::{Phoenix, TIME, copy_of, decide, recover, verify_ledger};
use crate::{
    cluster::Network,
    members::Desk,
    newcomers::{Running, free_address},
    program::until,
    rpc::Rpc,
    snapshots::{move_chunks, names, send, send_until_equal, snapshot_folder},
};

/// Entries between snapshots.
const ENTRIES: u64 = 40;
/// Where [`send`] sends its transfers: number n is of the value n.
const PAYEE: Address = Address::repeat_byte(0x77);

/// What is kept: the newest snapshot of a folder, and the ledger files after it. All else is removed.
fn keep_tail(node: &Path, to: &Path) -> anyhow::Result<SnapshotName> {
    fs::create_dir(to)?;
    copy_of(&node.join("ledger"), &to.join("ledger"))?;
    copy_of(&node.join("snapshots"), &to.join("snapshots"))?;
    let newest = names_in(&to.join("snapshots"))?.into_iter().max().context("a snapshot")?;
    let gone = to.join("gone");
    ensure!(move_chunks(&to.join("ledger"), &gone, newest.seqno)? > 0, "something is before it");
    fs::remove_dir_all(gone)?;
    for file in fs::read_dir(to.join("snapshots"))? {
        let path = file?.path();
        if path.file_name() != Some(newest.to_string().as_ref()) {
            fs::remove_file(path)?;
        }
    }
    Ok(newest)
}

/// What members can do with their shares and a tail, away from any node: see whether it would do, and read what they agreed to.
fn rehearse(desk: &Desk, scratch: &Path, kept: &Path, lost: &Path) -> anyhow::Result<()> {
    let newest = names_in(&kept.join("snapshots"))?.into_iter().max().context("a snapshot")?;
    let (ledger, lost) = (kept.join("ledger"), lost.to_str().context("UTF-8")?);
    let ledger = ledger.to_str().context("UTF-8")?;
    let mut shares = Vec::new();
    for name in ["acme", "bank"] {
        let key = scratch.join("members").join(format!("{name}.enc.key.pem"));
        let out = scratch.join(format!("{name}.share"));
        let [key, out] = [key, out].map(|path| path.display().to_string());
        let words = ["ledger", "share", ledger, "--key", &key, "--out", &out];
        // The sharing is in the snapshot.
        desk.run(&words)?.failed(1, "COCO-1021");
        desk.run(&[&words[..], &["--service-cert", lost]].concat())?.ok();
        shares.extend(["--share".to_owned(), out]);
    }
    let shares: Vec<&str> = shares.iter().map(String::as_str).collect();
    let with = |words: &[&str]| desk.run(&[words, &["--service-cert", lost], &shares].concat());
    let drilled = with(&["shares", "drill", ledger])?.ok();
    ensure!(drilled.contains("all 2 of its secrets"), "{drilled}");
    let [from, to] = [1, 8].map(|n| (newest.seqno.0 + n).to_string());
    let read = with(&["ledger", "decrypt", ledger, "--from", &from, "--to", &to])?.ok();
    ensure!(!read.is_empty(), "private writes are shown");
    Ok(())
}

fn names_in(snapshots: &Path) -> anyhow::Result<Vec<SnapshotName>> {
    let mut found = Vec::new();
    for file in fs::read_dir(snapshots)? {
        let name = file?.file_name().into_string().ok();
        found.extend(name.and_then(|name| name.parse::<SnapshotName>().ok()));
    }
    Ok(found)
}

/// Members open it and two of them send their shares.
fn come_back(phoenix: &Phoenix, desk: &Desk, lost: &Path) -> anyhow::Result<()> {
    phoenix.open(desk, lost, &["acme", "bank"])?;
    for name in ["acme", "corp"] {
        phoenix.ask(desk, name, &["shares", "submit"])?.ok();
    }
    until("it is open", TIME, || Ok(phoenix.status().is_ok_and(|status| status == "Open")))
}

fn has_balance(phoenix: &Phoenix, client: SocketAddr, expected: U256) -> anyhow::Result<bool> {
    let there = Phoenix {
        client,
        service_cert: phoenix.service_cert.clone(),
        pem: phoenix.pem.clone(),
        config: phoenix.config.clone(),
        log: phoenix.log.clone(),
        said: String::new(),
    };
    let shown = there.call("eth_getBalance", &json!([PAYEE, "latest"]));
    Ok(shown.is_ok_and(|shown| shown["result"] == format!("{expected:#x}")))
}

fn folder_of(phoenix: &Phoenix) -> PathBuf {
    phoenix.config.with_file_name("")
}

/// A node of another operator, which copies what the one that came back has.
fn joined(phoenix: &Phoenix, desk: &Desk, scratch: &Path) -> anyhow::Result<(Running, SocketAddr)> {
    let service = Certificate::from_pem(&phoenix.pem)?;
    let (url, id) =
        (format!("https://{}", phoenix.client), ServiceIdentity::of(&service).to_string());
    let (client, folder) = (free_address()?, scratch.join("joins"));
    let place = folder.to_str().context("UTF-8")?;
    let made = desk.run(&["node", "init", "--dir", place, "--output", "json"])?.json();
    let node = made["node_id"].as_str().context("an id")?.to_owned();
    let (at, peer, wait) =
        (client.to_string(), free_address()?.to_string(), TIME.as_secs().to_string());
    let words = ["network", "join", &url, "--service-id", &id, "--dir", place];
    let how = ["--client", &at, "--peer", &peer, "--wait", &wait];
    let asks = Running::start(&[&words[..], &how[..]].concat(), &scratch.join("joins.said"))?;
    until("it is pending", TIME, || {
        let (_, nodes) = phoenix.get("/gov/service/nodes?api-version=2024-07-01")?;
        Ok(nodes.to_string().contains(&node))
    })?;
    let trust = ["proposal", "create", "trust-node", &node, "--output", "json"];
    let made = phoenix.ask(desk, "acme", &trust)?.json();
    let proposal = made["proposal"]["proposalId"].as_str().context("an id")?.to_owned();
    for name in ["acme", "bank"] {
        phoenix.ask(desk, name, &["proposal", "vote", &proposal, "--approve"])?.ok();
    }
    until("it has its keys", TIME, || Ok(folder.join("node.toml").exists() && !asks.is_up()?))?;
    let config = folder.join("node.toml");
    let config = config.to_str().context("UTF-8")?;
    let running =
        Running::start(&["node", "start", "--config", config], &scratch.join("joins.log"))?;
    Ok((running, client))
}

#[test]
fn a_service_comes_back_from_a_snapshot_and_the_ledger_files_after_it() -> anyhow::Result<()> {
    let mut network = Network::provision(3, |config| {
        config.ledger.snapshot_entries = ENTRIES;
    })?;
    network.start_all()?;
    let desk = Desk::of(&network)?;
    let scratch = network.scratch().to_owned();
    let mut hashes = Vec::new();
    let first = send_until_equal(&network, &mut hashes, &[0, 1, 2], None)?;
    // The snapshot is of another period than the first entries.
    decide(&desk, &network, &["rekey"])?;
    let disclose = ["disclose", "--from", "1", "--to", "100000", "--reason", "a drill"];
    decide(&desk, &network, &disclose)?;
    send_until_equal(&network, &mut hashes, &[0, 1, 2], Some(first))?;
    send(&network, &mut hashes, 3)?;
    let balance = U256::from((0..hashes.len() as u64).sum::<u64>());
    // What a majority has committed need not be at the node whose files are kept, nor on its disk before it stops.
    until("n1 shows it", TIME, || {
        let mut rpc = Rpc::to(network.addresses(1)?.development)?;
        Ok(rpc.balances(&[PAYEE]).is_ok_and(|shown| shown == [balance]))
    })?;
    network.stop_all()?;
    let newest = *names(&network, 1)?.last().context("a snapshot")?;
    let (lost, kept) = (network.service_cert(), scratch.join("kept"));
    let node = snapshot_folder(&network, 1).with_file_name("");
    assert_eq!(keep_tail(&node, &kept)?, newest);
    (0..3).try_for_each(|i| fs::remove_dir_all(network.place(i)))?;

    rehearse(&desk, &scratch, &kept, &lost)?;

    // Without its snapshot a tail is nothing.
    let bare = scratch.join("bare");
    copy_of(&kept.join("ledger"), &bare)?;
    let (_, ended) = recover(&desk, &scratch.join("never"), &bare, &lost)?;
    let said = ended.failed(1, "COCO-1001");
    ensure!(said.contains("no snapshot to begin from"), "{said}");

    let phoenix = Phoenix::make(&desk, &scratch, "again", &kept.join("ledger"), &lost)?;
    let running = phoenix.start()?;
    ensure!(phoenix.status()? == "Recovering");
    drop(running);
    // It stops meanwhile, and starts from the snapshot of the service before it.
    let running = phoenix.start()?;
    come_back(&phoenix, &desk, &lost)?;
    ensure!(has_balance(&phoenix, phoenix.client, balance)?, "what was private is there");
    // What is before the snapshot is kept by others, or by nobody.
    let early = phoenix.receipt(&desk, &["receipt", "get", "2.3"])?;
    ensure!(early.exit != 0 && early.err.contains("archived"), "{}", early.err);

    // It makes a snapshot of its own, from which others can begin.
    let (joins, client) = joined(&phoenix, &desk, &scratch)?;
    until("the node that joined shows the balance", TIME, || {
        has_balance(&phoenix, client, balance)
    })?;
    drop((running, joins));
    let again = folder_of(&phoenix);
    let ledger = again.join("ledger");
    let said = verify_ledger(&desk, &ledger, &phoenix.service_cert, &["--governance"])?.ok();
    ensure!(said.contains(&format!("verified: {newest}")), "{said}");
    ensure!(said.matches("verified: snapshot_").count() >= 2, "{said}");

    // It is lost again, and comes back from the snapshot that it made itself.
    let twice = scratch.join("twice");
    let own = keep_tail(&again, &twice)?;
    ensure!(own > newest, "it made one");
    let ended = verify_ledger(&desk, &twice.join("ledger"), &phoenix.service_cert, &[])?.ok();
    ensure!(ended.contains(&format!("verified: {own}")), "{ended}");
    let ledger = twice.join("ledger");
    let second = Phoenix::make(&desk, &scratch, "once more", &ledger, &phoenix.service_cert)?;
    let running = second.start()?;
    come_back(&second, &desk, &phoenix.service_cert)?;
    // No node says that it is open by what its snapshot has.
    ensure!(has_balance(&second, second.client, balance)?, "what was private is still there");
    drop(running);
    network.finish()
}
