//! An auditor without access to any disk fetches the ledger from nodes that offer it, with `coco` and with curl.

use std::{fs, net::SocketAddr, path::Path, process::Command, time::Duration};

use alloy_primitives::{Address, U256};
use anyhow::{Context, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use coco_ledger::{ChunkName, SnapshotName};
use coco_node::config::OperatorFeature;
use serde_json::json;

use super::{
    cluster::Network,
    http::{Connection, PATIENCE},
    ledger::chunks,
    members::Desk,
    program::{coco, errors_of, until},
    rpc::Rpc,
};

/// Small files, so that there are several.
const CHUNK_BYTES: u64 = 20_000;
const TIME: Duration = Duration::from_secs(20);
const TRANSFERS: u64 = 60;

/// The names of complete files in a folder that are called committed.
fn complete(folder: &Path) -> anyhow::Result<Vec<ChunkName>> {
    let names = chunks(folder)?.into_iter().map(|(name, _)| name);
    Ok(names.filter(|name| name.is_committed).collect())
}

/// Digests over the whole file, and what follows from them for a client that has it already.
fn has_digests(connection: &mut Connection, path: &str, whole: &[u8]) -> anyhow::Result<()> {
    let sha256 = coco_crypto::sha256(whole);
    let tag = &*format!("\"sha-256:{sha256}\"");
    let wanted = ("want-repr-digest", "sha-256=2, sha-512=1");
    let part = connection.request("GET", path, &[("range", "bytes=5-6"), wanted], b"")?;
    ensure!(part.status == 206 && part.body == whole[5..=6], "a part: {}", part.status);
    let digest = format!("sha-256=:{}:", STANDARD.encode(sha256.0));
    ensure!(part.header("repr-digest") == Some(&digest), "{:?}", part.header("repr-digest"));
    let head = connection.request("HEAD", path, &[("want-repr-digest", "sha-512=1")], b"")?;
    let digest = head.header("repr-digest").context("another digest")?;
    ensure!(digest.starts_with("sha-512=:") && digest.len() == 9 + 88 + 1, "{digest}");
    let plain = connection.request("HEAD", path, &[], b"")?;
    ensure!(plain.header("repr-digest").is_none(), "nobody asked for it");
    for (headers, status) in [
        (&[("if-none-match", tag)][..], 304),
        (&[("if-none-match", "\"another\", *")][..], 304),
        (&[("if-none-match", tag), ("range", "bytes=0-9")][..], 304),
        (&[("if-none-match", "\"another\"")][..], 200),
        (&[("if-range", tag), ("range", "bytes=0-9")][..], 206),
        (&[("if-range", "\"another\""), ("range", "bytes=0-9")][..], 200),
    ] {
        let answer = connection.request("GET", path, headers, b"")?;
        ensure!(answer.status == status, "{headers:?}: {}", answer.status);
        ensure!(answer.header("etag") == Some(tag), "{headers:?}: {:?}", answer.header("etag"));
        ensure!(status != 304 || answer.body.is_empty(), "{headers:?} has a body");
        ensure!(status != 200 || answer.body == whole, "{headers:?} has another body");
    }
    Ok(())
}

/// The way to a file is spelled as it was asked for.
fn has_both_spellings(connection: &mut Connection, name: ChunkName) -> anyhow::Result<()> {
    for calls in ["/node/ledger_chunk", "/node/ledger-chunk"] {
        let way = connection.get(&format!("{calls}?since={}", name.first))?;
        let path = format!("{calls}/{name}");
        ensure!(way.header("location") == Some(&path), "{:?}", way.header("location"));
        let head = connection.request("HEAD", &path, &[], b"")?;
        ensure!(head.status == 200 && head.body.is_empty(), "HEAD {path}: {}", head.status);
    }
    Ok(())
}

fn transfer(network: &Network, count: u64) -> anyhow::Result<()> {
    let mut rpc = Rpc::to(network.addresses(0)?.development)?;
    let account = &network.accounts[0];
    let first = rpc.nonces(&[account.address], "latest")?[0];
    for nonce in first..first + count {
        let transfer = account.transfer(nonce, Address::repeat_byte(7), U256::from(1));
        rpc.call("eth_sendRawTransactionSync", &json!([transfer.raw]))?;
    }
    Ok(())
}

/// A file that was cut is not taken for one that is there.
fn takes_no_part_for_a_file(
    desk: &Desk,
    node: SocketAddr,
    folder: &Path,
    name: &str,
) -> anyhow::Result<()> {
    let cut = folder.join(name);
    let whole = fs::read(&cut)?;
    fs::write(&cut, &whole[..whole.len() - 1])?;
    let path = folder.to_str().context("UTF-8")?;
    let ended = desk.ask("acme", node, &["ledger", "fetch", path])?;
    ensure!(ended.exit != 0, "a file that is not whole was taken: {}", ended.out);
    ensure!(ended.err.contains(name), "{}", ended.err);
    Ok(fs::write(&cut, &whole)?)
}

#[test]
fn the_ledger_is_fetched_from_nodes_that_offer_it() -> anyhow::Result<()> {
    let mut network = Network::provision(2, |config| {
        config.ledger.chunk_bytes = CHUNK_BYTES;
        // One of them offers no files of the ledger.
        if config.nodes[1].peer == config.peer.listen.to_string() {
            config.client.enabled_operator_features = [OperatorFeature::SnapshotRead].into();
        }
    })?;
    network.start_all()?;
    let desk = Desk::of(&network)?;
    transfer(&network, TRANSFERS)?;
    let ledger = network.ledger_folder(0);
    until("there are some complete files", TIME, || Ok(complete(&ledger)?.len() > 2))?;

    let folder = network.scratch().join("fetched");
    let path = folder.to_str().context("UTF-8")?;
    let node = network.addresses(0)?.client;
    let first = desk.json("acme", node, &["ledger", "fetch", path])?;
    let fetched = complete(&folder)?;
    ensure!(first["fetched"] == fetched.len() && fetched.len() > 2, "{first}");
    for name in &fetched {
        let name = name.to_string();
        ensure!(fs::read(folder.join(&name))? == fs::read(ledger.join(&name))?, "{name}");
    }
    takes_no_part_for_a_file(&desk, node, &folder, &fetched[1].to_string())?;
    // Later only what is new.
    transfer(&network, TRANSFERS)?;
    until("there are more", TIME, || Ok(complete(&ledger)?.len() > fetched.len()))?;
    let second = desk.json("acme", node, &["ledger", "fetch", path])?;
    let files = second["files"].as_u64().context("a number")?;
    ensure!(second["fetched"] == files - fetched.len() as u64, "{first}, then {second}");
    let cert = network.service_cert();
    let cert = cert.to_str().context("UTF-8")?;
    let output = coco(&["ledger", "verify", path, "--service-cert", cert, "--governance"])?;
    ensure!(output.status.success(), "{}", errors_of(&output));

    // With nobody's tool, one file that is found by an entry, in two parts.
    let name = fetched[1];
    let target = network.scratch().join("by_curl");
    let target = target.to_str().context("UTF-8")?;
    let url = format!("https://{node}/node/ledger_chunk?since={}", name.first);
    for more in [&["--range", "0-99"][..], &["--continue-at", "-"]] {
        let curl = ["--silent", "--fail", "--location", "--cacert", cert, "--output", target];
        let ended = Command::new("curl").args(curl).args(more).arg(&url).output()?;
        ensure!(ended.status.success(), "{more:?}: {}", errors_of(&ended));
    }
    ensure!(fs::read(target)? == fs::read(ledger.join(name.to_string()))?, "curl has another file");

    let mut connection = Connection::tls(node, &network.service_cert_pem()?)?;
    let path = format!("/node/ledger_chunk/{name}");
    for (range, status) in [("bytes=0-9", 206), ("bytes=99999999-", 416), ("bytes=9-1", 200)] {
        let answer = connection.request("GET", &path, &[("range", range)], b"")?;
        ensure!(answer.status == status, "{range}: {}", answer.status);
        ensure!(status != 206 || answer.body.len() == 10, "{range}: {} bytes", answer.body.len());
    }
    has_digests(&mut connection, &path, &fs::read(ledger.join(name.to_string()))?)?;
    has_both_spellings(&mut connection, name)?;
    for (path, status) in [
        ("/node/ledger_chunk", 400),
        ("/node/ledger_chunk?since=0", 400),
        ("/node/ledger_chunk?since=x", 400),
        ("/node/ledger_chunk?since=999999999", 404),
        ("/node/ledger_chunk/ledger_1", 404),
        ("/node/ledger_chunk/identity.virtual-sealed", 404),
        ("/node/ledger_chunk/..%2Fidentity.virtual-sealed", 404),
        ("/node/snapshot/consensus.state", 404),
    ] {
        let answer = connection.get(path)?;
        ensure!(answer.status == status, "{path}: {}", answer.status);
    }
    // A node that offers none says so.
    let mut other = Connection::plain(network.addresses(1)?.development, PATIENCE)?;
    let answer = other.get("/node/ledger_chunk?since=1")?;
    let message = answer.json()?["error"]["message"].to_string();
    ensure!(answer.status == 404 && message.contains("enabled_operator_features"), "{message}");
    network.finish()
}

#[test]
fn the_newest_snapshot_is_fetched() -> anyhow::Result<()> {
    let mut network = Network::provision(1, |config| config.ledger.snapshot_entries = 20)?;
    network.start_all()?;
    transfer(&network, TRANSFERS)?;
    let node = network.addresses(0)?.client;
    let target = network.scratch().join("snapshot");
    let target = target.to_str().context("UTF-8")?;
    let cert = network.service_cert();
    let cert = cert.to_str().context("UTF-8")?;
    let mut newest = String::new();
    until("there is a snapshot", TIME, || {
        let curl = ["--silent", "--fail", "--location", "--cacert", cert, "--output", target];
        let url = format!("https://{node}/node/snapshot");
        let ended = Command::new("curl")
            .args(curl)
            .args(["--write-out", "%{url_effective}", &url])
            .output()?;
        newest = String::from_utf8_lossy(&ended.stdout).into_owned();
        Ok(ended.status.success())
    })?;
    let name = newest.rsplit('/').next().context("a name")?;
    let folder = network.scratch().join("n0/snapshots");
    ensure!(fs::read(target)? == fs::read(folder.join(name))?, "{name} is another file");
    ensure!(name.parse::<SnapshotName>().is_ok(), "{name:?}");
    let mut connection = Connection::plain(network.addresses(0)?.development, PATIENCE)?;
    has_digests(&mut connection, &format!("/node/snapshot/{name}"), &fs::read(target)?)?;
    let answer = connection.get(&format!("/node/snapshot?since={}", u64::MAX))?;
    ensure!(answer.status == 404, "nothing is newer: {}", answer.status);
    network.finish()
}
