//! Nodes that need what their disks do not have: a ledger that was lost, and one that was left behind when the others
//! archived their chunks. They copy a snapshot, or the ledger, from another node.

use std::{fs, time::Duration};

use alloy_primitives::{Address, B256};
use anyhow::{Context as _, ensure};
use coco_ledger::SnapshotName;
use coco_node::config::Restart;
use serde_json::Value;

use super::{
    cluster::Network,
    ledger::{committed_everywhere, verify},
    program::until,
    rpc::Rpc,
    snapshots::{
        fill, log_bytes, log_since, move_chunks, names, refuses_to_start, send, send_until_equal,
        snapshot_folder,
    },
};

/// Entries between snapshots.
const ENTRIES: u64 = 40;
/// A node that copies votes within this time.
const SEATED: Duration = Duration::from_secs(20);

/// What clients see of the state, beyond the history, which may be elsewhere.
fn state(network: &Network, i: usize) -> anyhow::Result<(Vec<u64>, Vec<String>)> {
    let mut rpc = Rpc::to(network.addresses(i)?.development)?;
    let accounts: Vec<Address> = network.accounts.iter().map(|account| account.address).collect();
    let balances = rpc.balances(&accounts)?;
    Ok((rpc.nonces(&accounts, "latest")?, balances.iter().map(ToString::to_string).collect()))
}

fn same_state(network: &Network) -> anyhow::Result<()> {
    let expected = state(network, 0)?;
    until("every node has the same state", SEATED, || {
        Ok(state(network, 1)? == expected && state(network, 2)? == expected)
    })
}

/// A running network whose nodes start as new ones from now on.
fn rejoining(snapshot_entries: u64) -> anyhow::Result<Network> {
    let mut network = Network::provision(3, |config| {
        config.ledger.snapshot_entries = snapshot_entries;
    })?;
    network.start_all()?;
    network.adjust(|config| config.consensus.restart = Restart::Rejoin)?;
    Ok(network)
}

/// Takes a node's ledger away; with `all`, everything but its sealed keys and its configuration.
fn lose(network: &mut Network, i: usize, all: bool) -> anyhow::Result<()> {
    network.kill(&[i])?;
    fs::remove_dir_all(network.ledger_folder(i))?;
    if all {
        fs::remove_dir_all(snapshot_folder(network, i))?;
        fs::remove_file(network.place(i).join("consensus.state"))?;
    }
    Ok(())
}

/// The newcomer must be able to do what it came for: the network goes on with it and one other.
fn carries_the_network(
    network: &mut Network,
    i: usize,
    hashes: &mut Vec<B256>,
) -> anyhow::Result<()> {
    send(network, hashes, 3)?;
    let without = (i + 1) % 3;
    if without != 0 {
        network.kill(&[without])?;
        send(network, hashes, 3)?;
        network.start(without)?;
        network.await_all_seated(SEATED)?;
    }
    same_state(network)
}

/// The snapshot from which a node says that it loaded its ledger.
fn started_from(log: &str) -> Option<SnapshotName> {
    log.lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find(|line| line["fields"]["message"] == "ledger loaded")
        .and_then(|line| line["fields"]["snapshot"].as_str()?.parse().ok())
}

#[test]
fn a_lost_ledger_is_copied_with_the_newest_snapshot() -> anyhow::Result<()> {
    let mut network = rejoining(ENTRIES)?;
    let mut hashes = Vec::new();
    fill(&network, &mut hashes)?;
    for all in [false, true] {
        lose(&mut network, 2, all)?;
        // Elections and seats are entries, too: a node makes newer ones before and after this look.
        let others = names(&network, 1)?;
        let newest = names(&network, 0)?.into_iter().filter(|name| others.contains(name)).max();
        let newest = newest.context("both others have a snapshot")?;
        let from = log_bytes(&network, 2)?;
        network.start(2)?;
        network.await_all_seated(SEATED)?;
        let log = log_since(&network, 2, from)?;
        ensure!(log.contains("copied the ledger from another node"), "{log}");
        let of =
            started_from(&log).with_context(|| format!("it starts from a snapshot:\n{log}"))?;
        ensure!(of >= newest, "{of} is older than {newest}:\n{log}");
        ensure!(log.contains("started again as a new node"), "{log}");
        same_state(&network)?;
    }
    carries_the_network(&mut network, 1, &mut hashes)?;
    network.stop_all()?;
    network.finish()
}

#[test]
fn a_lost_ledger_without_snapshots_is_copied_from_its_beginning() -> anyhow::Result<()> {
    let mut network = rejoining(0)?;
    let mut hashes = Vec::new();
    send(&network, &mut hashes, 50)?;
    lose(&mut network, 1, true)?;
    network.start(1)?;
    network.await_all_seated(SEATED)?;
    carries_the_network(&mut network, 1, &mut hashes)?;
    let committed = committed_everywhere(&network)?;
    network.stop_all()?;
    for i in 0..network.len() {
        verify(&network, i, committed)?;
    }
    network.finish()
}

#[test]
fn a_node_that_was_left_behind_copies_a_snapshot() -> anyhow::Result<()> {
    let mut network = Network::provision(3, |config| config.ledger.snapshot_entries = ENTRIES)?;
    network.start_all()?;
    let mut hashes = Vec::new();
    send(&network, &mut hashes, 5)?;
    network.kill(&[2])?;
    let first = send_until_equal(&network, &mut hashes, &[0, 1], None)?;
    let newest = send_until_equal(&network, &mut hashes, &[0, 1], Some(first))?;
    // A start forgets the recent entries that are served from memory.
    network.kill(&[0, 1])?;
    for i in [0, 1] {
        let archive = network.scratch().join(format!("archive-{i}"));
        let moved = move_chunks(&network.ledger_folder(i), &archive, newest.seqno)?;
        ensure!(moved > 0, "a chunk ends at {}", newest.seqno);
        network.spawn(i)?;
    }
    network.await_served(0)?;
    network.await_served(1)?;
    network.await_primary(SEATED)?;
    let from = log_bytes(&network, 2)?;
    network.start(2)?;
    until("it copies the ledger", SEATED, || {
        Ok(log_since(&network, 2, from)?.contains("copied the ledger from another node"))
    })?;
    until("it has started again", SEATED, || {
        Ok(log_since(&network, 2, from)?.matches("node started").count() == 2)
    })?;
    network.await_served(2)?;
    network.await_all_seated(SEATED)?;
    same_state(&network)?;
    let log = log_since(&network, 2, from)?;
    ensure!(log.contains("the primary has archived what this node's ledger lacks"), "{log}");
    // Elections and seats are entries, too: there may have been a newer one by then.
    let made = [names(&network, 0)?, names(&network, 1)?].concat();
    let mut usable = made.iter().filter(|name| **name >= newest);
    let is_used = usable.any(|name| log.contains(&name.to_string()));
    ensure!(is_used, "it starts from the snapshot:\n{log}");
    carries_the_network(&mut network, 2, &mut hashes)?;
    network.stop_all()?;
    network.finish()
}

/// A node that goes on from its disk has promised what was on it.
#[test]
fn a_node_that_believes_its_disk_does_not_replace_it() -> anyhow::Result<()> {
    let mut network = Network::provision(3, |_| ())?;
    network.start_all()?;
    lose(&mut network, 2, false)?;
    let log = refuses_to_start(&mut network, 2)?;
    ensure!(log.contains("there is no ledger in"), "{log}");
    network.finish()
}
