//! The storage crash matrix: one node whose disk is all there is, and networks that are being made.

mod cuts;
mod makings;
mod met;
mod tails;

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Context;

use crate::{
    checker::Violation,
    client::Tls,
    dice::Dice,
    image::FileSystem,
    interrupt,
    lan::{self, Lan},
    leftovers,
    load::{Accounts, Load},
    need::{Machine, Need},
    network::{Network, Spec},
    report::{Notes, Row, Verdict},
    say,
};

/// The ledger whose files are damaged has so many of them, and no more: every start reads and verifies them all.
const LEDGER_FILES: usize = 5;
/// One making is cut short for so many cuts of a node that runs.
const MAKING_SHARE: u32 = 5;
const POLL: Duration = Duration::from_millis(2);
const ATTEMPTS_MAX: u32 = 20;
/// Nodes of its network, of which one starts again: without the other it is not elected, and so writes nothing.
const TAILS_NODES: usize = 2;
/// A folder in memory, where a sync costs nothing: a node is started here thousands of times.
pub(crate) const MEMORY: &str = "/dev/shm";
/// Small chunks.
const CHUNK_BYTES: u64 = 20_000;

/// Cuts the power `cuts` times while a node runs, half of them on each file system, and a fifth as often while a network
/// is made; then damages the ends of ledger files.
pub(crate) fn run(
    program: &Path,
    folder: &Path,
    cuts: u32,
    seed: u64,
    machine: &mut Machine,
) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut kinds = Vec::new();
    for (kind, need) in [(FileSystem::Ext4, Need::Ext4), (FileSystem::Xfs, Need::Xfs)] {
        match machine.lacks(&[need], folder) {
            Some(reason) => rows.push(row(name_of(kind), seed, Verdict::Skipped(reason))),
            None if cuts > 0 => kinds.push(kind),
            None => {}
        }
    }
    let share = cuts.div_ceil(u32::try_from(kinds.len().max(1)).expect("two at most"));
    let dice = |kind: FileSystem| Dice::new(seed ^ kind.bytes());
    let started = Instant::now();
    let cut = |kind| cuts::run(program, folder, kind, share, dice(kind));
    for (kind, ended) in at_once(&kinds, cut) {
        let mut row = row(name_of(kind), seed, Verdict::Passed);
        match ended {
            Ok(tally) => {
                row.notes.judged(tally.judged);
                row.notes.operations(tally.judged.acknowledged + tally.judged.unknown);
                row.notes.choose(&format!("{} cuts", tally.cuts));
                tally.restarts.into_iter().for_each(|way| row.notes.restart(way));
                for (met, count) in tally.met {
                    row.notes.choose(&format!("{met}: {count}"));
                }
            }
            Err(error) => {
                if let Some(Violation::Lost { count, .. }) = error.downcast_ref() {
                    row.notes.lost(*count);
                }
                row.verdict = Verdict::Failed(format!("{error:#}"));
            }
        }
        row.took = started.elapsed();
        rows.push(row);
    }
    let started = Instant::now();
    let makings = cuts / MAKING_SHARE / 2;
    let cut = |kind| makings::run(program, folder, kind, makings, dice(kind));
    let kinds = if makings > 0 { kinds } else { Vec::new() };
    for (kind, ended) in at_once(&kinds, cut) {
        let mut row = row(making_name_of(kind), seed, Verdict::Passed);
        match ended {
            Ok(tally) => {
                row.notes.choose(&format!("{makings} cuts"));
                tally.restarts.into_iter().for_each(|way| row.notes.restart(way));
                for (met, count) in tally.met {
                    row.notes.choose(&format!("{met}: {count}"));
                }
            }
            Err(error) => row.verdict = Verdict::Failed(format!("{error:#}")),
        }
        row.took = started.elapsed();
        rows.push(row);
    }
    rows.push(match machine.lacks(&[], folder) {
        Some(reason) => row("matrix-tails", seed, Verdict::Skipped(reason)),
        None => tails(program, folder, seed),
    });
    rows
}

/// File systems at once, in threads that may move into namespaces of their own.
fn at_once<T: Send>(
    kinds: &[FileSystem],
    run: impl Fn(FileSystem) -> anyhow::Result<T> + Sync,
) -> Vec<(FileSystem, anyhow::Result<T>)> {
    std::thread::scope(|scope| {
        let run = &run;
        let running: Vec<_> =
            kinds.iter().map(|kind| (*kind, scope.spawn(move || run(*kind)))).collect();
        let ended = running.into_iter().map(|(kind, running)| {
            let ended = running.join().unwrap_or_else(|_| Err(anyhow::anyhow!("it panicked")));
            (kind, ended)
        });
        ended.collect()
    })
}

const fn making_name_of(kind: FileSystem) -> &'static str {
    match kind {
        FileSystem::Ext4 => "matrix-making-ext4",
        FileSystem::Xfs => "matrix-making-xfs",
    }
}

const fn name_of(kind: FileSystem) -> &'static str {
    match kind {
        FileSystem::Ext4 => "matrix-ext4",
        FileSystem::Xfs => "matrix-xfs",
    }
}

fn row(case: &'static str, seed: u64, verdict: Verdict) -> Row {
    Row { case, seed, notes: Notes::default(), took: Duration::ZERO, verdict }
}

fn tails(program: &Path, folder: &Path, seed: u64) -> Row {
    let started = Instant::now();
    let mut row = row("matrix-tails", seed, Verdict::Passed);
    let memory = leftovers::run_folder(Path::new(MEMORY));
    let is_quick = fs::create_dir_all(&memory).is_ok();
    let folder = if is_quick { memory.join("tails") } else { folder.join("tails") };
    let found = Lan::make("tails", TAILS_NODES).and_then(|lan| {
        let in_thread = |work: &(dyn Fn() -> anyhow::Result<tails::Tally> + Sync)| {
            std::thread::scope(|scope| {
                let working = scope.spawn(work);
                working.join().unwrap_or_else(|_| Err(anyhow::anyhow!("it panicked")))
            })
        };
        in_thread(&|| {
            lan.enter()?;
            ledger_with_open_chunk(program, &folder, &lan)?;
            Ok(tails::Tally::default())
        })?;
        in_thread(&|| {
            lan::enter(&lan.node(0))?;
            tails::run(&folder.join("n0.toml"), Dice::new(seed))
        })
    });
    match found {
        Ok(tails::Tally { files, started, refused, restart }) => {
            restart.into_iter().for_each(|way| row.notes.restart(way));
            row.notes.choose(&format!(
                "{} damages to {files} files: {started} times started with the whole entries, {refused} times refused",
                started + refused
            ));
        }
        Err(error) => row.verdict = Verdict::Failed(format!("{error:#}")),
    }
    // The error says all, and a seed makes the damage again.
    if is_quick && let Err(error) = fs::remove_dir_all(&memory) {
        say(&format!("cannot remove {}: {error}", memory.display()));
    }
    row.took = started.elapsed();
    row
}

/// Writes ledgers until one does not happen to end with a closed chunk.
fn ledger_with_open_chunk(program: &Path, folder: &Path, lan: &Lan) -> anyhow::Result<()> {
    for _ in 0..ATTEMPTS_MAX {
        ledger(program, folder, lan)?;
        let files = fs::read_dir(folder.join("n0/ledger"))?.collect::<Result<Vec<_>, _>>()?;
        if files.iter().any(|file| !file.file_name().to_string_lossy().contains('-')) {
            return Ok(());
        }
        fs::remove_dir_all(folder)?;
    }
    anyhow::bail!("{ATTEMPTS_MAX} ledgers ended with a closed chunk")
}

/// Writes a ledger of many small chunks.
fn ledger(program: &Path, folder: &Path, lan: &Lan) -> anyhow::Result<()> {
    fs::create_dir_all(folder).context("cannot make a folder")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let accounts = Accounts::new();
    let funded = accounts.funded();
    let nodes: Vec<usize> = (0..TAILS_NODES).collect();
    let namespaces = nodes.iter().map(|i| lan.node(*i)).collect();
    let spec = Spec { program, folder, namespaces, accounts: &funded, governance: None };
    let mut network =
        Network::provision(spec, |_, config| config.ledger.chunk_bytes = CHUNK_BYTES)?;
    network.start(&nodes)?;
    let tls = Tls::new(&network.service_cert_pem)?;
    let load = Load::start(&runtime, tls, accounts, network.starts());
    while fs::read_dir(network.data(0).join("ledger"))?.count() < LEDGER_FILES {
        interrupt::sleep(POLL)?;
    }
    load.finish(&runtime)?;
    network.stop()
}
