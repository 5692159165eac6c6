//! Power cuts while `coco dev` makes a network: keys, first entries, configurations, and at last the certificate that
//! says that all is there.
//!
//! After each cut the command runs again. It must bring up a network, whose ledgers verify, or say which file or folder
//! is in the way; and once the folders of nodes are removed, as it says, it must make a network.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Read,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use coco_node::{NodeConfig, config::Restart};
use rustix::process::{Pid, Signal, kill_process};

use crate::{
    dice::Dice,
    image::{FileSystem, Image},
    interrupt, lan,
    lan::Lan,
    network::stands_still,
    tool::run as run_tool,
};

/// Nodes of a network.
const NODES_MAX: u64 = 3;
/// Time for a command to get as far as it gets.
const TIME: Duration = Duration::from_secs(30);
/// Time for a process to stand still, and for nodes to be gone.
const STILL_TIME: Duration = Duration::from_secs(5);
/// A cut comes at most so long after one of these is there: below a node's folder, or below the network's.
const MOMENT_US_MAX: u64 = 3000;
const NODE_FILES: [&str; 4] = ["", IDENTITY, "ledger/ledger_1", "node.toml"];
const NETWORK_FILES: [&str; 2] = ["service_cert.draft", CERTIFICATE];
const POLL: Duration = Duration::from_micros(200);
/// The last line of a network that is ready.
const READY: &str = "Ctrl-C stops the network.";
const CERTIFICATE: &str = "service_cert.pem";
const IDENTITY: &str = "identity.virtual-sealed";

/// What a number of cuts came to.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// What the cuts met, and what came of it.
    pub(super) met: BTreeMap<&'static str, u32>,
    /// How the nodes of networks that started came back, by what the command wrote for them.
    pub(super) restarts: Vec<Restart>,
}

/// Cuts the power so many times while a network is made.
pub(super) fn run(
    program: &Path,
    folder: &Path,
    kind: FileSystem,
    cuts: u32,
    mut dice: Dice,
) -> anyhow::Result<Tally> {
    let lan = Lan::make(&format!("{}-making", kind.name()), 1)?;
    let folder = folder.join(format!("{}-making", kind.name()));
    fs::create_dir_all(&folder)?;
    // Errors name paths without links.
    let folder = folder.canonicalize()?;
    let making = Making {
        program: program.to_owned(),
        namespace: lan.node(0),
        network: folder.join("disk/network"),
        output: folder.join("output"),
        errors: folder.join("errors"),
    };
    let mut image = Image::make(&folder.join("disk"), kind, kind.bytes())?;
    let mut tally = Tally::default();
    for cut in 0..cuts {
        making
            .once(&mut image, &mut dice, &mut tally)
            .with_context(|| format!("{} after {cut} cut makings", kind.name()))?;
    }
    image.unmount()?;
    fs::remove_dir_all(&folder)?;
    drop(lan);
    Ok(tally)
}

/// How far a command got.
enum Reached {
    /// The network is up.
    Ready(Dev),
    /// It ended with an error, and said this.
    Refused(String),
}

struct Making {
    program: PathBuf,
    namespace: String,
    /// The network's folder, on the image.
    network: PathBuf,
    /// What the command prints, elsewhere.
    output: PathBuf,
    errors: PathBuf,
}

impl Making {
    fn launch(&self, nodes: u64) -> anyhow::Result<Dev> {
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "nsenter"])
            .arg(format!("--net={}", lan::path(&self.namespace)))
            .arg(&self.program)
            .args(["dev", "--port", "0", "--nodes", &nodes.to_string(), "--dir"])
            .arg(&self.network)
            .stdin(Stdio::null())
            .stdout(File::create(&self.output)?)
            .stderr(File::create(&self.errors)?)
            // Ctrl-C reaches this process alone.
            .process_group(0)
            .spawn()
            .context("cannot start coco dev")?;
        Ok(Dev(child))
    }

    /// Waits until a file is there, or the certificate, when the file was there for too short a time to be seen.
    fn await_file(&self, name: &Path, dev: &mut Dev) -> anyhow::Result<()> {
        let started = Instant::now();
        let (awaited, last) = (self.network.join(name), self.network.join(CERTIFICATE));
        while !awaited.exists() && !last.exists() {
            if let Some(status) = dev.0.try_wait()? {
                bail!("coco dev ended with {status}: {}", fs::read_to_string(&self.errors)?);
            }
            ensure!(started.elapsed() < TIME, "coco dev makes no {}", name.display());
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    /// One network, one cut, and what comes after it.
    fn once(&self, image: &mut Image, dice: &mut Dice, tally: &mut Tally) -> anyhow::Result<()> {
        let nodes = dice.between(1, NODES_MAX);
        let mut dev = self.launch(nodes)?;
        let node = format!("n{}", dice.between(0, nodes - 1));
        let node_files = NODE_FILES.map(|file| Path::new(&node).join(file));
        let files = node_files.iter().map(PathBuf::as_path).chain(NETWORK_FILES.map(Path::new));
        let awaited: Vec<&Path> = files.collect();
        self.await_file(dice.one_of(&awaited), &mut dev)?;
        interrupt::sleep(Duration::from_micros(dice.between(0, MOMENT_US_MAX)))?;
        dev.freeze()?;
        image.cut()?;
        dev.kill()?;
        image.mount_again()?;
        *tally.met.entry(self.met()?).or_default() += 1;

        match self.reach(nodes)? {
            Reached::Ready(dev) => {
                *tally.met.entry("networks that started").or_default() += 1;
                let config = NodeConfig::load(&self.network.join("n0/node.toml"))?;
                tally.restarts.push(config.consensus.restart);
                self.end(dev)?;
            }
            Reached::Refused(error) => {
                *tally.met.entry("networks that were refused").or_default() += 1;
                self.names_a_file(&error)?;
                self.single_node()?;
                for folder in self.node_folders()? {
                    fs::remove_dir_all(folder)?;
                }
                match self.reach(nodes)? {
                    Reached::Ready(dev) => self.end(dev)?,
                    Reached::Refused(error) => bail!("the network cannot be made again: {error}"),
                }
            }
        }
        Ok(fs::remove_dir_all(&self.network)?)
    }

    /// Starts the command again.
    fn reach(&self, nodes: u64) -> anyhow::Result<Reached> {
        let mut dev = self.launch(nodes)?;
        let started = Instant::now();
        loop {
            if fs::read_to_string(&self.output)?.lines().any(|line| line == READY) {
                return Ok(Reached::Ready(dev));
            }
            if let Some(status) = dev.0.try_wait()? {
                let errors = fs::read_to_string(&self.errors)?;
                ensure!(status.code() == Some(1), "coco dev ended with {status}: {errors}");
                return Ok(Reached::Refused(errors));
            }
            ensure!(started.elapsed() < TIME, "coco dev neither starts nor refuses");
            interrupt::sleep(Duration::from_millis(5))?;
        }
    }

    /// Stops a network in good order, and verifies what it wrote.
    fn end(&self, mut dev: Dev) -> anyhow::Result<()> {
        dev.signal(Signal::TERM)?;
        let started = Instant::now();
        let status = loop {
            if let Some(status) = dev.0.try_wait()? {
                break status;
            }
            ensure!(started.elapsed() < TIME, "coco dev does not stop");
            interrupt::sleep(Duration::from_millis(5))?;
        };
        let errors = fs::read_to_string(&self.errors)?;
        ensure!(status.success(), "coco dev was stopped and ended with {status}: {errors}");
        let program = text(&self.program)?;
        let certificate = self.network.join(CERTIFICATE);
        for folder in self.node_folders()? {
            let ledger = folder.join("ledger");
            let arguments =
                ["ledger", "verify", text(&ledger)?, "--service-cert", text(&certificate)?];
            run_tool(program, &arguments).with_context(|| ledger.display().to_string())?;
        }
        Ok(())
    }

    /// Whoever is refused is told what is in the way.
    fn names_a_file(&self, error: &str) -> anyhow::Result<()> {
        ensure!(error.contains(text(&self.network)?), "this error names no file: {error}");
        ensure!(!error.contains("panicked"), "it panicked: {error}");
        Ok(())
    }

    /// A node alone, of what the cut left, serves or names the file that keeps it from that.
    fn single_node(&self) -> anyhow::Result<()> {
        let config = self.network.join("n0/node.toml");
        if !config.exists() {
            return Ok(());
        }
        let ready = self.output.with_extension("ready");
        if ready.exists() {
            fs::remove_file(&ready)?;
        }
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "nsenter"])
            .arg(format!("--net={}", lan::path(&self.namespace)))
            .arg(&self.program)
            .args(["node", "start", "--config", text(&config)?, "--ready-file", text(&ready)?])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&self.errors)?)
            .process_group(0)
            .spawn()?;
        let mut node = Dev(child);
        let started = Instant::now();
        while !ready.exists() {
            if let Some(status) = node.0.try_wait()? {
                let errors = fs::read_to_string(&self.errors)?;
                ensure!(status.code() == Some(1), "coco node ended with {status}: {errors}");
                return self.names_a_file(&errors);
            }
            ensure!(started.elapsed() < TIME, "coco node neither serves nor refuses");
            interrupt::sleep(Duration::from_millis(5))?;
        }
        node.kill()
    }

    fn node_folders(&self) -> anyhow::Result<Vec<PathBuf>> {
        let mut folders = Vec::new();
        for entry in fs::read_dir(&self.network)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            }
        }
        Ok(folders)
    }

    /// What the cut met, by what lies on the disk.
    fn met(&self) -> anyhow::Result<&'static str> {
        if !self.network.exists() {
            return Ok("nothing was there");
        }
        if length(&self.network.join(CERTIFICATE)).is_some_and(|bytes| bytes > 0) {
            return Ok("the certificate was there");
        }
        let folders = self.node_folders()?;
        let lengths = |file: &str| -> Vec<u64> {
            folders.iter().filter_map(|folder| length(&folder.join(file))).collect()
        };
        let (keys, configs) = (lengths(IDENTITY), lengths("node.toml"));
        let entries = lengths("ledger/ledger_1");
        Ok(match (keys.is_empty(), configs.is_empty()) {
            (true, true) => "folders were made",
            (_, false) => "configurations were written",
            (false, true) if keys.contains(&0) => "a sealed key was being written",
            (false, true) if entries.len() < keys.len() || entries.contains(&0) => {
                "a sealed key had no ledger yet"
            }
            (false, true) => "keys and ledgers were written",
        })
    }
}

fn length(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().map(|found| found.len())
}

fn text(path: &Path) -> anyhow::Result<&str> {
    path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))
}

/// A running command. Dropping it kills it, and with it the nodes that it started.
struct Dev(Child);

impl Dev {
    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.0.id())?).context("a process has a number")?;
        Ok(kill_process(pid, signal)?)
    }

    /// Stops it and its nodes where they are.
    fn freeze(&self) -> anyhow::Result<()> {
        self.signal(Signal::STOP)?;
        let started = Instant::now();
        while !stands_still(self.0.id())? {
            ensure!(started.elapsed() < STILL_TIME, "coco dev does not stand still");
            std::thread::sleep(Duration::from_millis(1));
        }
        for node in self.nodes()? {
            kill_process(node, Signal::STOP)?;
        }
        Ok(())
    }

    /// The processes that it started. It is stopped, or at least lives: their numbers are nobody else's.
    fn nodes(&self) -> anyhow::Result<Vec<Pid>> {
        let pid = self.0.id();
        let mut text = String::new();
        for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
            File::open(thread?.path().join("children"))?.read_to_string(&mut text)?;
        }
        let numbers = text.split_whitespace().map(str::parse::<i32>);
        numbers.map(|number| Pid::from_raw(number?).context("a process has a number")).collect()
    }

    /// Kills it and its nodes, and waits until they are gone.
    fn kill(&mut self) -> anyhow::Result<()> {
        if self.0.try_wait()?.is_some() {
            return Ok(());
        }
        let nodes = self.nodes()?;
        for node in &nodes {
            kill_process(*node, Signal::KILL)?;
        }
        self.0.kill()?;
        self.0.wait()?;
        let started = Instant::now();
        // Orphans are reaped by whoever adopts them; until then they hold no files.
        let is_there = |node: &Pid| {
            let stat = fs::read_to_string(format!("/proc/{}/stat", node.as_raw_nonzero()));
            stat.is_ok_and(|stat| !stat.contains(") Z "))
        };
        while nodes.iter().any(is_there) {
            ensure!(started.elapsed() < STILL_TIME, "a node that was killed is still there");
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            crate::say(&format!("{error:#}"));
        }
    }
}
