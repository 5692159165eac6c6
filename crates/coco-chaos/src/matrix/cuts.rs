//! Power cuts at random moments of a single node, on a file system of its own.
//!
//! The same clients go on over many cuts, so in the end the checker says of every write that was ever acknowledged
//! whether it is there. The node must start by itself after each cut.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use coco_node::config::Restart;

use super::met;
use crate::{
    checker::{Judged, judge},
    client::Tls,
    dice::Dice,
    image::{FileSystem, Image},
    interrupt,
    lan::Lan,
    load::{Accounts, Load},
    network::{Network, Spec},
    nodes_say,
};

/// Cuts that one ledger goes through.
const CUTS_A_LEDGER: u32 = 25;
/// Chunks are closed some times a second.
const CHUNK_BYTES: u64 = 10_000;
/// So are snapshots made.
const SNAPSHOT_ENTRIES: u64 = 20;
/// What a node's log says of a complete snapshot that it cannot start from, and of one that it can.
const SNAPSHOT_PASSED_OVER: &str = "the snapshot cannot be used";
const SNAPSHOT_USED: &str = "ledger loaded";
/// One node has nobody to wait for.
const ELECTION_MS: (u64, u64) = (100, 150);
const HEARTBEAT_MS: u64 = 20;
/// A cut comes at most so long after writes went on, or, one time in five, after the process was started.
const RUN_MS_MAX: u64 = 500;
const START_MS_MAX: u64 = 700;
const START_PER_HUNDRED: u64 = 20;
/// Time for writes to go on after a cut.
const RESUME_TIME: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(5);

/// What a number of cuts came to.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) cuts: u32,
    pub(crate) judged: Judged,
    /// What the cuts met, by what the disk says of it.
    pub(crate) met: BTreeMap<&'static str, u32>,
    /// How the nodes came back.
    pub(crate) restarts: Vec<Restart>,
}

/// Cuts the power so many times.
pub(crate) fn run(
    program: &Path,
    folder: &Path,
    kind: FileSystem,
    cuts: u32,
    mut dice: Dice,
) -> anyhow::Result<Tally> {
    let mut tally = Tally::default();
    while tally.cuts < cuts {
        let count = CUTS_A_LEDGER.min(cuts - tally.cuts);
        let folder = folder.join(format!("{}-{}", kind.name(), tally.cuts));
        fs::create_dir_all(&folder)?;
        one_ledger(program, &folder, kind, count, &mut dice, &mut tally).with_context(|| {
            format!("{} after {} cuts, in {}", kind.name(), tally.cuts, folder.display())
        })?;
        fs::remove_dir_all(&folder)?;
    }
    Ok(tally)
}

fn one_ledger(
    program: &Path,
    folder: &Path,
    kind: FileSystem,
    cuts: u32,
    dice: &mut Dice,
    tally: &mut Tally,
) -> anyhow::Result<()> {
    let lan = Lan::make(kind.name(), 1)?;
    lan.enter()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("clients")
        .enable_all()
        .build()?;
    let mut image = Image::make(&folder.join("n0"), kind, kind.bytes())?;
    let accounts = Accounts::new();
    let funded = accounts.funded();
    let spec = Spec {
        program,
        folder,
        namespaces: vec![lan.node(0)],
        accounts: &funded,
        governance: None,
    };
    let mut network = Network::provision(spec, |_, config| {
        config.ledger.chunk_bytes = CHUNK_BYTES;
        config.ledger.snapshot_entries = SNAPSHOT_ENTRIES;
        config.consensus.heartbeat_ms = HEARTBEAT_MS;
        (config.consensus.election_ms_min, config.consensus.election_ms_max) = ELECTION_MS;
    })?;
    tally.restarts.extend(network.restarts()?);
    // A network whose making was cut short is made again; this is about one that is there.
    sync_all(&folder.join("n0"))?;
    let tls = Tls::new(&network.service_cert_pem)?;
    let load = Load::start(&runtime, tls.clone(), accounts, network.starts());
    let until = tally.cuts + cuts;
    while tally.cuts < until {
        if !network.is_running(0) {
            network.launch(0)?;
            // Some cuts come while the node has not got over the one before.
            if dice.between(1, 100) <= START_PER_HUNDRED {
                interrupt::sleep(Duration::from_micros(dice.between(0, START_MS_MAX * 1000)))?;
                ensure!(
                    !network.has_ended(0)?,
                    "the node does not start: {}",
                    last_words(&network)
                );
                cut(&mut network, &mut image, tally)?;
                continue;
            }
            network.await_served(0).with_context(|| last_words(&network))?;
        }
        resumed(&load)?;
        interrupt::sleep(Duration::from_micros(dice.between(0, RUN_MS_MAX * 1000)))?;
        cut(&mut network, &mut image, tally)?;
    }
    network.start(&[0]).with_context(|| last_words(&network))?;
    resumed(&load)?;
    let history = load.finish(&runtime)?;
    let accounts = Accounts::new();
    let reading = nodes_say::chain(&tls, &[0], accounts.all(), &funded);
    let chain = runtime.block_on(reading)?;
    network.stop()?;
    network.verify(0)?;
    // No cut makes a snapshot unusable that has its name.
    let log = network.log(0)?;
    let passed_over = log.lines().find(|line| line.contains(SNAPSHOT_PASSED_OVER));
    ensure!(passed_over.is_none(), "{}", passed_over.unwrap_or_default());
    let used = log.lines().filter(|line| line.contains(SNAPSHOT_USED)).count();
    *tally.met.entry("starts from a snapshot").or_default() += u32::try_from(used)?;
    let judged = judge(&history, &chain)?;
    tally.judged.acknowledged += judged.acknowledged;
    tally.judged.unknown += judged.unknown;
    tally.judged.reads += judged.reads;
    image.unmount()
}

fn cut(network: &mut Network, image: &mut Image, tally: &mut Tally) -> anyhow::Result<()> {
    // A machine without power runs no code. With ext4 a sync that is under way while the file system is shut down may
    // say that it succeeded, and a process that still ran would acknowledge what is gone.
    network.freeze_wholly(&[0])?;
    image.cut()?;
    network.kill(&[0])?;
    image.mount_again()?;
    tally.cuts += 1;
    for met in met::all(network.data(0))? {
        *tally.met.entry(met).or_default() += 1;
    }
    Ok(())
}

fn resumed(load: &Load) -> anyhow::Result<()> {
    let (moment, started) = (load.now_us(), Instant::now());
    while load.resumed_after_us(moment).is_none() {
        ensure!(started.elapsed() < RESUME_TIME, "writes do not go on in {RESUME_TIME:?}");
        interrupt::sleep(POLL)?;
    }
    Ok(())
}

fn last_words(network: &Network) -> String {
    let log = network.log(0).unwrap_or_default();
    let from = log.len().saturating_sub(2000);
    log.get(from..).unwrap_or_default().to_owned()
}

fn sync_all(folder: &Path) -> anyhow::Result<()> {
    for file in fs::read_dir(folder)? {
        let path = file?.path();
        if path.is_dir() {
            sync_all(&path)?;
        } else {
            File::open(&path)?.sync_all()?;
        }
    }
    Ok(File::open(folder)?.sync_all()?)
}
