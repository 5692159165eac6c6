//! Processes are killed and frozen under load. After each fault, on every node: everything that was acknowledged as
//! committed is there, every balance is what the acknowledged transfers imply, nonces have no gaps. In the end the
//! ledgers are the same bytes and verify.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    path::Path,
    time::{Duration, Instant},
};

use alloy_primitives::{Address, U256};
use anyhow::{Context, ensure};
use serde_json::json;

use super::{
    cluster::Network,
    http::Connection,
    ledger::{chunks, stop_and_compare},
    load::Load,
    model::Model,
    program::until,
    rpc::Rpc,
};

/// While two of three nodes are up, writes go on within this time.
pub(crate) const WRITES_GO_ON: Duration = Duration::from_secs(3);
/// A primary that reaches nobody steps down within this time.
const ALONE_TIME: Duration = Duration::from_secs(5);
/// Time under load between faults.
pub(crate) const QUIET_TIME: Duration = Duration::from_millis(500);
/// Small chunks, so that faults meet files being closed and renamed, too.
const CHUNK_BYTES: u64 = 200_000;
/// Receivers beside the senders themselves.
const FRESH_RECEIVERS: u8 = 6;

/// Three nodes under load.
pub(crate) struct Scene {
    pub(crate) network: Network,
    load: Load,
    model: Model,
}

impl Scene {
    pub(crate) fn open() -> anyhow::Result<Self> {
        let mut network = Network::provision(3, |config| config.ledger.chunk_bytes = CHUNK_BYTES)?;
        network.start_all()?;
        let mut receivers: Vec<Address> =
            network.accounts.iter().map(|account| account.address).collect();
        receivers.extend(
            (1..=FRESH_RECEIVERS)
                .map(|byte| Address::with_last_byte(byte) | Address::repeat_byte(0xc0)),
        );
        let model = Model::new(&network, receivers.clone())?;
        let load = Load::start(network.shared(), &network.accounts, receivers);
        Ok(Self { network, load, model })
    }

    /// Writes must go on soon after `fault`.
    pub(crate) fn writes_go_on(&self, fault: Instant, what: &str) -> anyhow::Result<()> {
        let first = self.load.await_sent_after(fault, 2 * WRITES_GO_ON)?;
        println!("{what}: the first new transfer was committed after {first:.2?}");
        ensure!(first <= WRITES_GO_ON, "{what}: writes went on only after {first:?}");
        Ok(())
    }

    /// Pauses the load, compares every node with what was acknowledged, and lets the load go on. Since `fault`, which
    /// node `struck` met, no client waited long for another node.
    pub(crate) fn check(&mut self, fault: Instant, struck: usize) -> anyhow::Result<()> {
        self.load.pause()?;
        let silence = self.load.longest_silence(fault);
        let slowest = self.load.slowest_attempt(fault, struck);
        println!(
            "  longest silence {silence:.2?}, slowest request to another node {slowest:.2?}, {} acknowledged",
            self.load.acknowledged_count()
        );
        ensure!(silence <= WRITES_GO_ON, "nothing was acknowledged for {silence:?}");
        ensure!(slowest <= WRITES_GO_ON, "a running node took {slowest:?} for a request");
        self.compare()
    }

    fn compare(&mut self) -> anyhow::Result<()> {
        self.model.check(&self.network, &self.load.acknowledged())?;
        self.load.resume();
        Ok(())
    }

    pub(crate) fn close(self) -> anyhow::Result<()> {
        let Self { mut network, load, mut model } = self;
        load.pause()?;
        let acknowledged = load.acknowledged();
        load.stop()?;
        model.check_all(&network, &acknowledged)?;
        stop_and_compare(&mut network)?;
        network.finish()
    }
}

#[test]
fn primary_killed_ten_times() -> anyhow::Result<()> {
    let mut scene = Scene::open()?;
    for round in 1..=10 {
        std::thread::sleep(QUIET_TIME);
        let primary = scene.network.await_primary(WRITES_GO_ON)?;
        let fault = Instant::now();
        scene.network.kill(&[primary])?;
        scene.writes_go_on(fault, &format!("kill {round} of a primary, n{primary}"))?;
        let back = scene.network.start(primary)?;
        println!("  n{primary} served again after {back:.2?}");
        scene.check(fault, primary)?;
    }
    scene.close()
}

#[test]
fn backup_killed() -> anyhow::Result<()> {
    let mut scene = Scene::open()?;
    for backup in 1..=2 {
        std::thread::sleep(QUIET_TIME);
        let struck = (scene.network.await_primary(WRITES_GO_ON)? + backup) % scene.network.len();
        let fault = Instant::now();
        scene.network.kill(&[struck])?;
        scene.writes_go_on(fault, &format!("kill of a backup, n{struck}"))?;
        // It misses more than a moment.
        std::thread::sleep(2 * QUIET_TIME);
        scene.network.start(struck)?;
        scene.check(fault, struck)?;
    }
    scene.close()
}

#[test]
fn all_killed_at_once() -> anyhow::Result<()> {
    let mut scene = Scene::open()?;
    for round in 1..=2 {
        std::thread::sleep(2 * QUIET_TIME);
        scene.network.kill(&[0, 1, 2])?;
        std::thread::sleep(QUIET_TIME);
        tear(&scene.network.ledger_folder(round % 3))?;
        let started = Instant::now();
        scene.network.start_all()?;
        let first = scene.load.await_sent_after(started, 3 * WRITES_GO_ON)?;
        println!(
            "kill {round} of all three: started again, the first transfer was committed after {first:.2?}"
        );
        scene.load.pause()?;
        scene.compare()?;
    }
    scene.close()
}

/// Leaves the beginning of an entry at the end of the last chunk, as a machine does that loses power while it writes. A chunk that is being
/// closed, and says where its table will be, gets no entry any more.
fn tear(ledger: &Path) -> anyhow::Result<()> {
    let chunks = chunks(ledger)?;
    let (name, path) = chunks.last().context("a ledger has chunks")?;
    if name.last.is_none() && fs::read(path)?.starts_with(&[0; 8]) {
        // Version, flags, and the size of an entry of which 50 bytes follow.
        let mut torn = vec![1, 0, 0xe8, 3, 0, 0, 0, 0];
        torn.resize(torn.len() + 50, 0x55);
        OpenOptions::new().append(true).open(path)?.write_all(&torn)?;
    }
    Ok(())
}

#[test]
fn primary_frozen_and_thawed() -> anyhow::Result<()> {
    let mut scene = Scene::open()?;
    for round in 1..=2 {
        std::thread::sleep(QUIET_TIME);
        let primary = scene.network.await_primary(WRITES_GO_ON)?;
        let fault = Instant::now();
        scene.network.freeze(primary)?;
        let went_on =
            scene.writes_go_on(fault, &format!("freeze {round} of a primary, n{primary}"));
        if went_on.is_ok() {
            // The others must be well in a new view before the old primary speaks again.
            std::thread::sleep(2 * QUIET_TIME);
        }
        scene.network.thaw(primary)?;
        went_on?;
        scene.check(fault, primary)?;
    }
    scene.close()
}

#[test]
fn no_majority_no_commit() -> anyhow::Result<()> {
    let mut scene = Scene::open()?;
    std::thread::sleep(QUIET_TIME);
    let primary = scene.network.await_primary(WRITES_GO_ON)?;
    let backups: Vec<usize> = (0..scene.network.len()).filter(|i| *i != primary).collect();
    scene.network.kill(&backups)?;
    let alone = Instant::now();
    let address = scene.network.addresses(primary)?.development;
    until("the last node knows that it is alone", ALONE_TIME, || {
        Ok(Connection::plain(address, ALONE_TIME)?.get("/node/ready/app")?.status == 503)
    })?;
    println!("alone: not ready after {:.2?}", alone.elapsed());
    // It shows what is committed, and says of a write that it cannot be.
    let mut rpc = Rpc::to(address)?;
    ensure!(rpc.block_number()? > 0, "reads are answered");
    let account = &scene.network.accounts[0];
    let transfer = account.transfer(1_000_000, account.address, U256::ZERO);
    let asked = Instant::now();
    match rpc.try_call("eth_sendRawTransactionSync", &json!([transfer.raw]))? {
        Err(refused) => {
            println!("a write: {} {} ({:.1?})", refused.code, refused.message, asked.elapsed());
        }
        Ok(receipt) => anyhow::bail!("a write without a majority was committed: {receipt}"),
    }
    ensure!(asked.elapsed() < ALONE_TIME, "the refusal came only after {:?}", asked.elapsed());
    let before = scene.load.acknowledged_count();
    std::thread::sleep(QUIET_TIME);
    ensure!(
        scene.load.acknowledged_count() == before,
        "something was acknowledged without a majority"
    );

    let back = Instant::now();
    scene.network.start(backups[0])?;
    let first = scene.load.await_sent_after(back, 3 * WRITES_GO_ON)?;
    println!("a majority again: the first new transfer was committed after {first:.2?}");
    scene.network.start(backups[1])?;
    scene.load.pause()?;
    scene.compare()?;
    scene.close()
}
