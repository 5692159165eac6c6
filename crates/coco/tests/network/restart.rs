//! `coco dev` stopped with Ctrl-C and started again on the same folder, and nodes that may not go on from theirs.

use std::time::Duration;

use alloy_primitives::{Address, B256, U256};
use anyhow::{Context, ensure};
use serde_json::{Value, json};

use super::{
    dev::Dev,
    http::{Connection, PATIENCE},
    members::{Member, decide},
    opening,
    program::{Folder, Turn, coco, errors_of},
    rpc::{Rpc, hash},
    snapshots::refuses_to_start,
};

/// A network is ready within this time of its start.
const READY: Duration = Duration::from_secs(3);
/// Transfers before each stop.
const TRANSFERS: u64 = 300;
/// Transfers in one batch.
const BATCH: u64 = 50;

/// What a client sees of a network.
#[derive(Debug, PartialEq)]
struct Seen {
    last: u64,
    block_hashes: Vec<B256>,
    receipts: Vec<Value>,
    balances: Vec<U256>,
    nonces: Vec<u64>,
}

fn look(rpc: &mut Rpc, accounts: &[Address], hashes: &[B256]) -> anyhow::Result<Seen> {
    let last = rpc.block_number()?;
    Ok(Seen {
        last,
        block_hashes: rpc
            .blocks(last)?
            .iter()
            .map(|block| hash(&block["hash"]))
            .collect::<anyhow::Result<_>>()?,
        receipts: rpc.receipts(hashes)?,
        balances: rpc.balances(accounts)?,
        nonces: rpc.nonces(accounts, "latest")?,
    })
}

#[test]
fn everything_committed_is_there_again() -> anyhow::Result<()> {
    let _turn = Turn::take()?;
    let folder = Folder::new()?;
    let path = folder.path().to_str().context("a path in UTF-8")?;
    let arguments = ["--dir", path, "--port", "0"];

    let mut dev = Dev::start(&arguments)?;
    println!("new network of three nodes: ready after {:.2?}", dev.took);
    ensure!(dev.took <= READY, "ready only after {:?}", dev.took);
    ensure!(dev.nodes.len() == 3, "three nodes in:\n{}", dev.text);
    let pem = std::fs::read_to_string(&dev.service_cert)?;
    let accounts = dev.accounts()?;
    ensure!(accounts.len() == 10, "ten accounts in:\n{}", dev.text);
    let receiver = Address::repeat_byte(0x77);
    let addresses = [accounts[0].address, accounts[1].address, receiver];

    let mut sent = Vec::new();
    for round in 1..=3 {
        let first = sent.len() as u64;
        let signed: Vec<_> = (first..first + TRANSFERS)
            .map(|nonce| accounts[0].transfer(nonce, receiver, U256::from(nonce)))
            .collect();
        let mut rpc = Rpc::to(dev.nodes[0].development)?;
        for part in signed.chunks(usize::try_from(BATCH)?) {
            let params: Vec<Value> = part.iter().map(|signed| json!([signed.raw])).collect();
            for outcome in rpc.try_batch("/?wait=committed", "eth_sendRawTransaction", &params)? {
                ensure!(outcome.is_ok(), "{outcome:?}");
            }
        }
        sent.extend(signed.iter().map(|signed| signed.hash));
        let before = look(&mut rpc, &addresses, &sent)?;
        let value =
            (0..first + TRANSFERS).map(U256::from).fold(U256::ZERO, |sum, value| sum + value);
        ensure!(
            before.balances[2] == value,
            "the receiver has {}, not {value}",
            before.balances[2]
        );

        let ended = dev.interrupt()?;
        ensure!(ended.success(), "Ctrl-C ended it with {ended}");
        dev = Dev::start(&arguments)?;
        println!(
            "restart {round}: ready after {:.2?}, {} transfers in {} blocks",
            dev.took,
            sent.len(),
            before.last
        );
        ensure!(dev.took <= READY, "ready only after {:?}", dev.took);
        ensure!(dev.text.starts_with("Resumed network of 3 nodes"), "it resumes:\n{}", dev.text);
        // Whoever is told that the network is ready finds everything at once, on every node.
        for (i, node) in dev.nodes.iter().enumerate() {
            let after = look(&mut Rpc::to(node.development)?, &addresses, &sent)?;
            ensure!(
                after.last == before.last,
                "n{i} shows block {}, before it was {}",
                after.last,
                before.last
            );
            ensure!(after == before, "n{i} shows another state than before");
            let over_tls = Connection::tls(node.client, &pem)?.get("/node/state")?;
            ensure!(
                over_tls.status == 200,
                "n{i} still has the service's endorsement: {}",
                over_tls.status
            );
        }
    }
    ensure!(dev.interrupt()?.success());
    folder.remove()
}

/// The power went while `coco dev` made a network: it is no network, and says so until it is removed.
#[test]
fn a_making_that_was_cut_short_is_refused_and_can_be_made_again() -> anyhow::Result<()> {
    let _turn = Turn::take()?;
    let folder = Folder::new()?;
    let path = folder.path().to_str().context("a path in UTF-8")?;
    let arguments = ["dev", "--dir", path, "--port", "0", "--nodes", "1"];
    let refused = |exit: i32, what: &[&str]| -> anyhow::Result<()> {
        let output = coco(&arguments)?;
        let errors = errors_of(&output);
        ensure!(output.status.code() == Some(exit), "{} and {errors}", output.status);
        what.iter().try_for_each(|part| {
            ensure!(errors.contains(part), "{part} is missing in: {errors}");
            Ok(())
        })
    };
    let (node, certificate) = (folder.path().join("n0"), folder.path().join("service_cert.pem"));
    std::fs::create_dir(&node)?;
    let (node, certificate) =
        (node.to_str().context("UTF-8")?, certificate.to_str().context("UTF-8")?);
    refused(1, &[certificate, "is not there", &format!("remove {node}")])?;

    std::fs::remove_dir(node)?;
    let dev = Dev::start(&arguments[1..])?;
    ensure!(dev.text.starts_with("New network of 1 nodes"), "it is new:\n{}", dev.text);
    ensure!(dev.interrupt()?.success());
    let config = format!("{node}/node.toml");
    let whole = std::fs::read_to_string(&config)?;
    std::fs::write(&config, "")?;
    refused(2, &[&config, "COCO-1004", "missing field"])?;
    std::fs::write(&config, whole)?;
    let other = folder.path().join("n1");
    std::fs::create_dir(&other)?;
    refused(1, &[other.to_str().context("UTF-8")?, "COCO-1001"])?;
    std::fs::copy(&config, other.join("node.toml"))?;
    refused(1, &[path, "holds 2 folders of nodes, the network has 1"])?;
    folder.remove()
}

/// Whether nodes may believe their own disks is for the members to say, and a node goes by what its ledger says of it.
#[test]
fn a_node_goes_on_from_its_disk_only_where_members_allow_it() -> anyhow::Result<()> {
    let members: Vec<Member> =
        ["m0", "m1", "m2"].into_iter().map(Member::new).collect::<Result<_, _>>()?;
    let all: Vec<&Member> = members.iter().collect();
    let mut network = opening::start(&all)?;
    let mut connection = Connection::plain(network.addresses(0)?.development, PATIENCE)?;
    for member in &members {
        member.activate(&mut connection)?;
    }
    network.kill(&[0])?;
    network.start(0)?;
    network.await_ready_at("/node/ready/gov")?;
    let mut connection = Connection::plain(network.addresses(0)?.development, PATIENCE)?;
    decide(
        &mut connection,
        &all,
        "set_service_configuration",
        &json!({ "restart_from_disk": false }),
    )?;
    drop(connection);
    network.kill(&[0])?;
    let said = refuses_to_start(&mut network, 0)?;
    ensure!(said.contains("members have not allowed") && said.contains("set-restart"), "{said}");
    network.finish()
}
