//! The ledgers that nodes leave behind, compared byte by byte, verified with the auditor's tool, and read by one that nobody
//! here wrote.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, ensure};
use coco_ledger::{Chunk, ChunkName};
use coco_types::{Seqno, TxId};

use super::{
    cluster::Network,
    http::Connection,
    program::{coco, errors_of},
};

/// The chunk files of a folder in the order of their entries.
pub(crate) fn chunks(folder: &Path) -> anyhow::Result<Vec<(ChunkName, PathBuf)>> {
    let mut chunks = Vec::new();
    for file in fs::read_dir(folder)? {
        let file = file?;
        let name = file.file_name();
        let name = name.to_str().context("a name in UTF-8")?;
        chunks.push((name.parse::<ChunkName>()?, file.path()));
    }
    chunks.sort();
    Ok(chunks)
}

/// Raw entries up to and with `last`, by seqno.
fn entries(folder: &Path, last: TxId) -> anyhow::Result<BTreeMap<u64, Vec<u8>>> {
    let mut entries = BTreeMap::new();
    for (name, path) in chunks(folder)? {
        let bytes = fs::read(&path)?;
        let chunk =
            Chunk::parse(&bytes).with_context(|| format!("{name} in {}", folder.display()))?;
        for (_, entry) in chunk.entries {
            let id = entry.tx_id();
            if id.seqno <= last.seqno {
                let before = entries.insert(id.seqno.0, entry.bytes().to_vec());
                ensure!(before.is_none(), "{id} is twice in {}", folder.display());
            }
        }
    }
    ensure!(
        entries.keys().copied().eq(1..=last.seqno.0),
        "{} has gaps or ends before {last}",
        folder.display()
    );
    Ok(entries)
}

/// What every running node calls committed; the smallest of it.
pub(crate) fn committed_everywhere(network: &Network) -> anyhow::Result<TxId> {
    let mut least: Option<TxId> = None;
    for i in 0..network.len() {
        let mut connection =
            Connection::plain(network.addresses(i)?.development, super::http::PATIENCE)?;
        let answer = connection.get("/app/commit")?.json()?;
        let id: TxId = answer["transaction_id"].as_str().context("a transaction id")?.parse()?;
        least = Some(least.map_or(id, |least| if id.seqno < least.seqno { id } else { least }));
    }
    least.context("a network has nodes")
}

/// Stops the network and compares the ledgers of its nodes up to what was committed everywhere.
pub(crate) fn stop_and_compare(network: &mut Network) -> anyhow::Result<()> {
    let committed = committed_everywhere(network)?;
    network.stop_all()?;
    let first = entries(&network.ledger_folder(0), committed)?;
    for i in 1..network.len() {
        let other = entries(&network.ledger_folder(i), committed)?;
        if let Some(differs) = first.iter().find(|(seqno, entry)| other.get(seqno) != Some(entry)) {
            anyhow::bail!("entry {} differs between n0 and n{i}", differs.0);
        }
    }
    let mut shared_chunks = 0;
    for (name, path) in chunks(&network.ledger_folder(0))? {
        if name.last.is_none_or(|last| last > committed.seqno) {
            continue;
        }
        shared_chunks += 1;
        let bytes = fs::read(&path)?;
        for i in 1..network.len() {
            let closed = [
                ChunkName { is_committed: true, ..name },
                ChunkName { is_committed: false, ..name },
            ];
            let other = closed
                .iter()
                .map(|name| network.ledger_folder(i).join(name.to_string()))
                .find(|path| path.exists());
            let other = other.with_context(|| format!("n{i} has no chunk {name}"))?;
            ensure!(fs::read(&other)? == bytes, "{} differs from that of n0", other.display());
        }
    }
    println!(
        "ledgers: {} entries up to {committed} and {shared_chunks} closed chunks are the same bytes",
        first.len()
    );
    for i in 0..network.len() {
        verify(network, i, committed)?;
    }
    Ok(())
}

/// `coco ledger verify` must accept node `i`'s ledger and how it was governed, and find `at_least` in it.
pub(crate) fn verify(network: &Network, i: usize, at_least: TxId) -> anyhow::Result<()> {
    let folder = network.ledger_folder(i);
    let (cert, at_least) = (network.service_cert(), at_least.to_string());
    let output = coco(&[
        "ledger".as_ref(),
        "verify".as_ref(),
        folder.as_os_str(),
        "--service-cert".as_ref(),
        cert.as_os_str(),
        "--at-least".as_ref(),
        at_least.as_ref(),
        "--governance".as_ref(),
    ])?;
    ensure!(output.status.success(), "n{i}: {}: {}", output.status, errors_of(&output));
    println!("n{i}: {}", String::from_utf8_lossy(&output.stdout).trim().replace('\n', "; "));
    Ok(())
}

/// A Python with the package `ccf`, which is called as `tests/e2e/auditor` does.
const PYTHON_VARIABLE: &str = "COCO_CCF_PYTHON";

/// The number of the last entry in the files of a folder, and nothing where the first ones are elsewhere.
pub(crate) fn length(folder: &Path) -> anyhow::Result<Option<u64>> {
    let mut chunks: Vec<(ChunkName, PathBuf)> = Vec::new();
    for file in fs::read_dir(folder)? {
        let file = file?;
        let name = file.file_name().into_string().ok();
        chunks.extend(name.and_then(|name| name.parse().ok()).map(|name| (name, file.path())));
    }
    let Some((last, path)) = chunks.iter().max() else { return Ok(None) };
    let whole = chunks.iter().any(|(name, _)| name.first == Seqno(1));
    let entries = Chunk::parse(&fs::read(path)?)?.entries.len() as u64;
    Ok(whole.then_some(last.first.0 + entries - 1))
}

/// `read_ledger.py` of the package `ccf` must accept a ledger from its first entry to its last, where the environment names
/// a Python that has it. It closes with the entry up to which signatures hold.
pub(crate) fn is_read_by_ccf(folder: &Path) -> anyhow::Result<()> {
    let Some(python) = env::var_os(PYTHON_VARIABLE).map(PathBuf::from) else {
        println!("skipped: {PYTHON_VARIABLE} names no Python with the package ccf");
        return Ok(());
    };
    let entries = length(folder)?.context("a ledger from its first entry on")?;
    let reader = python.with_file_name("read_ledger.py");
    let output = Command::new(&python)
        .arg(&reader)
        .args(["--quiet", "--uncommitted"])
        .arg(folder)
        .output()
        .with_context(|| format!("cannot run {}", python.display()))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let shown = folder.display();
    ensure!(
        output.status.success(),
        "read_ledger.py refuses {shown}:\n{said}{}",
        errors_of(&output)
    );
    let last = said.lines().last().unwrap_or_default();
    ensure!(
        last.contains(&format!("- {entries} transactions, ")),
        "of {entries} in {shown}: {last}"
    );
    println!("read_ledger.py: {last}");
    Ok(())
}
