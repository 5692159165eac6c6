//! Snapshots of real nodes: what they start from, what may be moved away below them, and what they refuse.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use alloy_primitives::{Address, B256, U256};
use anyhow::{Context, bail, ensure};
use coco_ledger::{ChunkName, SnapshotName};
use coco_types::Seqno;
use serde_json::{Value, json};

use super::{
    cluster::Network,
    http::{Connection, PATIENCE},
    ledger::{chunks, committed_everywhere, verify},
    program::{DOES_NOT_VERIFY, coco, errors_of, until},
    rpc::Rpc,
};

const NODES: usize = 3;
/// Entries between snapshots.
const ENTRIES: u64 = 40;
/// Transfers in a round, each with a block and a signature of its own: enough for one snapshot.
const TRANSFERS: u64 = 20;
const ROUNDS: usize = 4;
/// Rounds until nodes have the same newest snapshot, and how long each waits for it.
const ATTEMPTS: usize = 8;
const EQUAL: Duration = Duration::from_secs(4);
/// Until a node that cannot start has ended.
const COMPLETE: Duration = Duration::from_secs(20);
/// JSON-RPC's code for history that is not kept.
const PRUNED: i64 = 4444;

pub(crate) fn snapshot_folder(network: &Network, i: usize) -> PathBuf {
    network.ledger_folder(i).with_file_name("snapshots")
}

/// The complete snapshots of a node, oldest first.
fn snapshots(network: &Network, i: usize) -> anyhow::Result<Vec<(SnapshotName, PathBuf)>> {
    let mut found = Vec::new();
    for file in fs::read_dir(snapshot_folder(network, i))? {
        let path = file?.path();
        let name = path.file_name().and_then(|name| name.to_str()).context("a name")?;
        if let Ok(name) = name.parse::<SnapshotName>() {
            found.push((name, path));
        }
    }
    found.sort();
    Ok(found)
}

/// What the node wrote to its log since `from` bytes.
pub(crate) fn log_since(network: &Network, i: usize, from: usize) -> anyhow::Result<String> {
    let log = fs::read(network.ledger_folder(i).with_file_name("node.log"))?;
    Ok(String::from_utf8_lossy(&log[from..]).into_owned())
}

pub(crate) fn log_bytes(network: &Network, i: usize) -> anyhow::Result<usize> {
    Ok(usize::try_from(fs::metadata(network.ledger_folder(i).with_file_name("node.log"))?.len())?)
}

/// Everything that a client can ask a node for.
fn look(network: &Network, i: usize, hashes: &[B256]) -> anyhow::Result<Vec<Value>> {
    let mut rpc = Rpc::to(network.addresses(i)?.development)?;
    let last = rpc.block_number()?;
    let accounts: Vec<Address> = network.accounts.iter().map(|account| account.address).collect();
    let mut seen = rpc.blocks(last)?;
    seen.extend(rpc.receipts(hashes)?);
    seen.push(json!(rpc.balances(&accounts)?));
    seen.push(json!(rpc.nonces(&accounts, "latest")?));
    Ok(seen)
}

pub(crate) fn send(network: &Network, hashes: &mut Vec<B256>, count: u64) -> anyhow::Result<()> {
    let mut rpc = Rpc::to(network.addresses(0)?.development)?;
    for _ in 0..count {
        let nonce = hashes.len() as u64;
        let signed =
            network.accounts[0].transfer(nonce, Address::repeat_byte(0x77), U256::from(nonce));
        let sent =
            rpc.try_batch("/?wait=committed", "eth_sendRawTransaction", &[json!([signed.raw])])?;
        ensure!(sent[0].is_ok(), "{sent:?}");
        hashes.push(signed.hash);
    }
    Ok(())
}

/// Moves the chunk files below an entry to another folder, and back with the folders exchanged.
pub(crate) fn move_chunks(from: &Path, to: &Path, below: Seqno) -> anyhow::Result<usize> {
    fs::create_dir_all(to)?;
    let old: Vec<(ChunkName, PathBuf)> = chunks(from)?
        .into_iter()
        .filter(|(name, _)| name.last.is_some_and(|last| last <= below))
        .collect();
    for (name, path) in &old {
        ensure!(name.is_committed, "{name} is below a snapshot and not committed");
        fs::rename(path, to.join(name.to_string()))?;
    }
    Ok(old.len())
}

fn flip(path: &Path, at: usize) -> anyhow::Result<()> {
    let mut bytes = fs::read(path)?;
    let at = at % bytes.len();
    bytes[at] ^= 4;
    Ok(fs::write(path, bytes)?)
}

/// The snapshots of a node.
pub(crate) fn names(network: &Network, i: usize) -> anyhow::Result<Vec<SnapshotName>> {
    Ok(snapshots(network, i)?.into_iter().map(|(name, _)| name).collect())
}

/// Sends transfers until these nodes have the same newest snapshot, newer than the one given. A node that is slow for a
/// moment leaves one out, and is there again for the next.
pub(crate) fn send_until_equal(
    network: &Network,
    hashes: &mut Vec<B256>,
    nodes: &[usize],
    than: Option<SnapshotName>,
) -> anyhow::Result<SnapshotName> {
    for _ in 0..ATTEMPTS {
        send(network, hashes, TRANSFERS)?;
        let mut newest = None;
        let waited = until("the newest snapshots are equal", EQUAL, || {
            let found: BTreeSet<Option<SnapshotName>> = nodes
                .iter()
                .map(|i| Ok(names(network, *i)?.last().copied()))
                .collect::<anyhow::Result<_>>()?;
            newest = found.first().copied().flatten();
            Ok(found.len() == 1 && newest > than)
        });
        if let (Ok(()), Some(newest)) = (waited, newest) {
            return Ok(newest);
        }
    }
    bail!("{nodes:?} have no equal snapshots after {} transfers", hashes.len())
}

/// Sends transfers until every node has made some snapshots, which are the same; the names of those of the first.
pub(crate) fn fill(network: &Network, hashes: &mut Vec<B256>) -> anyhow::Result<Vec<SnapshotName>> {
    let mut newest = None;
    for _ in 0..ROUNDS {
        newest = Some(send_until_equal(network, hashes, &[0, 1, 2], newest)?);
    }
    let first: BTreeMap<SnapshotName, PathBuf> = snapshots(network, 0)?.into_iter().collect();
    for i in 1..NODES {
        for (name, path) in snapshots(network, i)? {
            let same = first
                .get(&name)
                .map(|first| Ok::<_, io::Error>(fs::read(first)? == fs::read(path)?));
            ensure!(same.transpose()?.unwrap_or(true), "{name} of n{i} is another");
        }
    }
    ensure!(first.len() == 3, "three are kept, not {}", first.len());
    names(network, 0)
}

/// Sends transfers until the last snapshot is a few entries old, so that starts and stops, which are entries, too, make no
/// other one; then all nodes have it.
fn just_after_a_snapshot(network: &Network, hashes: &mut Vec<B256>) -> anyhow::Result<()> {
    let mut committed = committed_everywhere(network)?.seqno.0;
    for _ in 0..ENTRIES {
        // Late enough for that snapshot to be under way on every node.
        if (4..=8).contains(&(committed % ENTRIES)) {
            break;
        }
        send(network, hashes, 1)?;
        committed = committed_everywhere(network)?.seqno.0;
    }
    until("the newest snapshots are equal", EQUAL, || {
        let newest = |i| Ok(names(network, i)?.pop());
        let all: BTreeSet<_> = (0..NODES).map(newest).collect::<anyhow::Result<_>>()?;
        let is_of_now = |name: &SnapshotName| name.seqno.0 / ENTRIES == committed / ENTRIES;
        Ok(all.len() == 1 && all.first().is_some_and(|name| name.as_ref().is_some_and(is_of_now)))
    })
}

#[test]
fn a_snapshot_and_the_tail_are_the_whole_ledger() -> anyhow::Result<()> {
    let mut network = Network::provision(NODES, |config| {
        config.ledger.snapshot_entries = ENTRIES;
    })?;
    network.start_all()?;
    let mut hashes = Vec::new();
    let made = fill(&network, &mut hashes)?;
    println!("{} transfers: {made:?}", hashes.len());
    let seen = look(&network, 0, &hashes)?;
    let committed = committed_everywhere(&network)?;
    network.stop_all()?;
    // Views that ended meanwhile are entries, too: there may be a newer one by now.
    let kept = names(&network, 0)?;

    // From the snapshot, and with the whole ledger for comparison: what clients see is the same.
    fs::rename(snapshot_folder(&network, 2), network.scratch().join("away"))?;
    let from: Vec<usize> =
        (0..NODES).map(|i| log_bytes(&network, i)).collect::<anyhow::Result<_>>()?;
    network.start_all()?;
    for (i, from) in from.into_iter().enumerate() {
        let log = log_since(&network, i, from)?;
        let newest = kept.last().context("there are snapshots")?.to_string();
        ensure!(log.contains(&newest) == (i < 2), "n{i} started from something else:\n{log}");
        ensure!(look(&network, i, &hashes)? == seen, "n{i} shows something else");
    }
    for i in 0..NODES {
        verify(&network, i, committed)?;
    }
    // The one without goes on making the same snapshots.
    let more = send_until_equal(&network, &mut hashes, &[1, 2], kept.last().copied())?;
    let [one, two] = [1, 2].map(|i| fs::read(snapshot_folder(&network, i).join(more.to_string())));
    ensure!(one? == two?, "{more} differs");
    network.stop_all()?;
    for i in 0..NODES {
        verify(&network, i, committed)?;
    }
    network.finish()
}

#[test]
fn chunks_below_a_snapshot_may_be_elsewhere() -> anyhow::Result<()> {
    let mut network = Network::provision(NODES, |config| {
        config.ledger.snapshot_entries = ENTRIES;
    })?;
    network.start_all()?;
    let mut hashes = Vec::new();
    let newest = *fill(&network, &mut hashes)?.last().context("there are snapshots")?;
    let seen = look(&network, 0, &hashes)?;
    let committed = committed_everywhere(&network)?;
    let (ledger, archive) = (network.ledger_folder(1), network.scratch().join("archive"));
    // Once while it runs, once while it starts.
    for is_running in [true, false] {
        if !is_running {
            network.stop_all()?;
        }
        let moved = move_chunks(&ledger, &archive, newest.seqno)?;
        ensure!(moved > 0, "a chunk ends at {}", newest.seqno);
        if !is_running {
            // Views that ended while the nodes stopped are entries, too: there may be a newer one by now.
            let newest = names(&network, 1)?.pop().context("there are snapshots")?;
            let from = log_bytes(&network, 1)?;
            network.start_all()?;
            let log = log_since(&network, 1, from)?;
            ensure!(log.contains(&newest.to_string()), "it starts from the snapshot:\n{log}");
            // Blocks that were read before are not remembered; those before the snapshot are said to be elsewhere.
            let mut rpc = Rpc::to(network.addresses(1)?.development)?;
            let refused = rpc.try_call("eth_getBlockByNumber", &json!(["0x1", true]))?;
            let refused = refused.err().context("block 1 is archived")?;
            ensure!(refused.code == PRUNED && refused.message.contains("archived"), "{refused:?}");
            let refused = rpc.try_call("eth_getTransactionReceipt", &json!([hashes[0]]))?;
            let refused = refused.err().context("its receipt, too")?;
            ensure!(refused.code == PRUNED && refused.message.contains("archived"), "{refused:?}");
            let latest = rpc.call("eth_getTransactionReceipt", &json!([hashes.last()]))?;
            ensure!(!latest.is_null(), "what is above the snapshot is there");
        }
        let mut connection = Connection::plain(network.addresses(1)?.development, PATIENCE)?;
        let answer = connection.get("/app/receipt?transaction_id=2.3")?;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        ensure!(answer.status == 404 && text.contains("archived"), "{}: {text}", answer.status);
        let state = connection.get("/node/state")?;
        ensure!(state.status == 200, "the node goes on");
        verify(&network, 1, committed)?;

        ensure!(move_chunks(&archive, &ledger, newest.seqno)? == moved, "they are put back");
        let answer = connection.get("/app/receipt?transaction_id=2.3")?;
        ensure!(answer.status == 200, "{}", String::from_utf8_lossy(&answer.body));
        ensure!(look(&network, 1, &hashes)? == seen, "everything is found again");
    }
    network.finish()
}

#[test]
fn a_damaged_snapshot_is_named_and_not_used() -> anyhow::Result<()> {
    let mut network = Network::provision(NODES, |config| {
        config.ledger.snapshot_entries = ENTRIES;
    })?;
    network.start_all()?;
    let mut hashes = Vec::new();
    fill(&network, &mut hashes)?;
    just_after_a_snapshot(&network, &mut hashes)?;
    let seen = look(&network, 0, &hashes)?;
    network.stop_all()?;
    let kept = names(&network, 0)?;
    let (older, newest) = (kept[kept.len() - 2], kept[kept.len() - 1]);
    let path = |i: usize, name: SnapshotName| snapshot_folder(&network, i).join(name.to_string());

    // The newest is damaged on one node, all are damaged on another.
    flip(&path(0, newest), 1 << 12)?;
    let damaged = names(&network, 1)?;
    damaged.iter().enumerate().try_for_each(|(n, name)| flip(&path(1, *name), n * 7919))?;
    let folder = network.ledger_folder(0);
    let cert = network.service_cert();
    let arguments = [
        "ledger".as_ref(),
        "verify".as_ref(),
        folder.as_os_str(),
        "--service-cert".as_ref(),
        cert.as_os_str(),
    ];
    let output = coco(&arguments)?;
    let text = errors_of(&output);
    ensure!(output.status.code() == Some(DOES_NOT_VERIFY), "{}: {text}", output.status);
    ensure!(text.contains(&newest.to_string()) && text.contains("offset"), "{text}");

    let from = [log_bytes(&network, 0)?, log_bytes(&network, 1)?];
    network.start_all()?;
    let log = log_since(&network, 0, from[0])?;
    ensure!(log.contains("the snapshot cannot be used"), "n0 says nothing:\n{log}");
    ensure!(log.contains(&newest.to_string()) && log.contains(&older.to_string()), "{log}");
    let log = log_since(&network, 1, from[1])?;
    ensure!(damaged.iter().all(|name| log.contains(&name.to_string())), "{log}");
    for i in 0..NODES {
        ensure!(look(&network, i, &hashes)? == seen, "n{i} shows something else");
    }
    network.stop_all()?;

    // A ledger that ends before what a good snapshot proves was set back.
    let last = chunks(&network.ledger_folder(2))?.pop().context("there is a ledger")?;
    ensure!(
        last.0.first > newest.seqno && last.0.first <= newest.evidence,
        "the evidence is in the last chunk"
    );
    fs::rename(&last.1, network.scratch().join("lost"))?;
    let log = refuses_to_start(&mut network, 2)?;
    ensure!(log.contains("was set back") && log.contains(&newest.to_string()), "{log}");
    fs::rename(network.scratch().join("lost"), &last.1)?;

    // Without the chunks below and without a snapshot there is nothing to start from.
    let moved =
        move_chunks(&network.ledger_folder(1), &network.scratch().join("archive"), newest.seqno)?;
    ensure!(moved > 0, "a chunk ends at {}", newest.seqno);
    let log = refuses_to_start(&mut network, 1)?;
    ensure!(log.contains(&newest.to_string()), "it names the snapshot:\n{log}");
    ensure!(log.contains("are not in the ledger's folder"), "it says what is missing:\n{log}");
    network.finish()
}

/// Starts a node that must end by itself; what it logged.
pub(crate) fn refuses_to_start(network: &mut Network, i: usize) -> anyhow::Result<String> {
    let from = log_bytes(network, i)?;
    network.spawn(i)?;
    until(&format!("n{i} ends"), COMPLETE, || network.has_ended(i))?;
    network.kill(&[i])?;
    log_since(network, i, from)
}
