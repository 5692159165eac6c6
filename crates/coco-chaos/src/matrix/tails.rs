//! Ledger files whose ends are damaged: cut at every byte of the last 4 KiB, overwritten with zeros, with something
//! behind. A node is started in this process on each.
//!
//! Of the open chunk a crash may leave any beginning: the node must start with all whole entries and nothing else, or
//! refuse with an error that names the file. A closed chunk never changes again: any damage must be refused with an error
//! that names the file.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail, ensure};
use coco_ledger::Chunk;
use coco_node::{Node, NodeConfig, config::Restart};

use crate::{dice::Dice, interrupt, say};

/// How much of a file's end is gone through, in bytes.
const TAIL_BYTES: usize = 4096;
/// Length of a chunk without an entry.
const CHUNK_HEADER: usize = coco_ledger::CHUNK_HEADER_BYTES;
/// Lengths of what is put behind a file, in bytes.
const EXTRAS: [usize; 12] = [1, 2, 3, 4, 7, 8, 9, 100, 511, 512, 4095, 4096];
/// One in so many of the longer zero tails is tried, and all of the shorter.
const ZEROS_STEP: usize = 16;
const ZEROS_ALL: usize = 64;

/// What the damages came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) files: usize,
    pub(crate) started: usize,
    pub(crate) refused: usize,
    /// How the node comes back.
    pub(crate) restart: Option<Restart>,
}

/// Goes through the ledger files of a node that has stopped; `config` is its configuration file. Its network has another
/// node, which does not run: a node alone would be elected at once, and write.
pub(crate) fn run(config: &Path, mut dice: Dice) -> anyhow::Result<Tally> {
    let mut config = NodeConfig::load(config)?;
    (config.consensus.election_ms_min, config.consensus.election_ms_max) = (600_000, 600_001);
    let ledger = config.data_dir.join("ledger");
    let mut closed = Vec::new();
    let mut open = Vec::new();
    for file in fs::read_dir(&ledger)? {
        let path = file?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.contains('-') { closed.push(path) } else { open.push(path) }
    }
    closed.sort();
    ensure!(open.len() == 1, "a ledger has one open chunk, this one has {open:?}");
    ensure!(closed.len() > 1, "a ledger has several closed chunks, this one has {closed:?}");
    let mut tally = Tally { restart: Some(config.consensus.restart), ..Tally::default() };
    let mut play = Play { config, ledger, dice: &mut dice, tally: &mut tally };
    for path in closed {
        play.file(&path, Kind::Closed)?;
    }
    for path in open {
        play.file(&path, Kind::Open)?;
    }
    Ok(tally)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Closed,
    Open,
}

struct Play<'a> {
    config: NodeConfig,
    ledger: PathBuf,
    dice: &'a mut Dice,
    tally: &'a mut Tally,
}

impl Play<'_> {
    fn file(&mut self, path: &Path, kind: Kind) -> anyhow::Result<()> {
        let whole = fs::read(path)?;
        let tail = whole.len().min(TAIL_BYTES);
        self.tally.files += 1;
        say(&format!("{kind:?} chunk {} of {} bytes", path.display(), whole.len()));
        for cut in 1..=tail {
            let damaged = &whole[..whole.len() - cut];
            self.attempt(path, kind, &whole, damaged, &format!("cut by {cut} bytes"))?;
        }
        for zeros in (1..=tail).filter(|zeros| *zeros <= ZEROS_ALL || zeros % ZEROS_STEP == 0) {
            let mut damaged = whole.clone();
            damaged[whole.len() - zeros..].fill(0);
            if damaged != whole {
                self.attempt(path, kind, &whole, &damaged, &format!("ending in {zeros} zeros"))?;
            }
        }
        for extra in EXTRAS {
            let mut damaged = whole.clone();
            damaged.resize(whole.len() + extra, 0);
            self.attempt(path, kind, &whole, &damaged, &format!("with {extra} zeros behind"))?;
            for byte in &mut damaged[whole.len()..] {
                *byte = self.dice.bits().to_le_bytes()[0];
            }
            let what = format!("with {extra} random bytes behind");
            self.attempt(path, kind, &whole, &damaged, &what)?;
        }
        Ok(fs::write(path, &whole)?)
    }

    fn attempt(
        &mut self,
        path: &Path,
        kind: Kind,
        whole: &[u8],
        damaged: &[u8],
        what: &str,
    ) -> anyhow::Result<()> {
        if interrupt::is_asked() {
            bail!("interrupted");
        }
        fs::write(path, damaged)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let outcome = Node::start(&self.config);
        let result = match outcome {
            Ok(node) => {
                self.tally.started += 1;
                node.stop().context("it was started and does not stop").and_then(|_| match kind {
                    Kind::Closed => bail!("the node starts on it"),
                    Kind::Open => match fs::read(path) {
                        // A chunk of which no entry is left is made anew with the next one.
                        Err(error) if error.kind() == io::ErrorKind::NotFound => {
                            is_prefix(&whole[..CHUNK_HEADER], whole, damaged)
                        }
                        after => is_prefix(&after?, whole, damaged),
                    },
                })
            }
            Err(error) => {
                self.tally.refused += 1;
                let text = format!("{:#}", anyhow::Error::from(error));
                let is_located = text.contains(&name) && text.contains("offset");
                if is_located { Ok(()) } else { Err(anyhow::anyhow!("the error is: {text}")) }
            }
        };
        // What the node did to its files is undone. An open chunk may have been closed by it.
        for file in fs::read_dir(&self.ledger)? {
            let other = file?.path();
            if other != path && kind == Kind::Open && !other.to_string_lossy().contains('-') {
                fs::remove_file(other)?;
            }
        }
        fs::write(path, whole)?;
        result.with_context(|| format!("{} {what}", path.display()))
    }
}

/// After a start the open chunk holds the whole entries that it and the damaged file have in common, and nothing else.
fn is_prefix(after: &[u8], whole: &[u8], damaged: &[u8]) -> anyhow::Result<()> {
    let common = whole.iter().zip(damaged).take_while(|(one, other)| one == other).count();
    let chunk = Chunk::parse(whole).map_err(|error| anyhow::anyhow!("{error:?}"))?;
    let ends = chunk.entries.iter().map(|(start, entry)| start + entry.bytes().len() as u64);
    let expected = ends.filter(|end| *end <= common as u64).max();
    let expected = expected.map_or(Ok(CHUNK_HEADER), usize::try_from)?;
    ensure!(
        after.len() == expected,
        "the node starts and leaves {} bytes, {expected} are whole entries",
        after.len()
    );
    ensure!(after == &whole[..expected], "the node starts and leaves other bytes than were there");
    Ok(())
}
