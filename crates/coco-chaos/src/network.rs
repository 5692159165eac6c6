//! A network whose nodes are real processes, each in a namespace of its own.
//!
//! The nodes watch their standard input, which this process holds, and the kernel kills them when it dies; so a run
//! that is killed leaves no node behind, not even one that was stopped.

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    net::SocketAddr,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use alloy_primitives::{Address, U256};
use anyhow::{Context, bail, ensure};
use coco_crypto::{AltName, Certificate, sha256};
use coco_evm::genesis::{ChainConfig, Genesis, GenesisAccount};
use coco_governance::FirstGovernance;
use coco_node::{
    NodeConfig,
    config::{
        ClientInterface, ConsensusSettings, EthereumSettings, JwtSettings, LedgerSettings, Limits,
        NodeAddress, PeerInterface, Restart,
    },
    provision::{NetworkSpec, NodeSpec, provision},
};
use rustix::process::{Pid, Signal, kill_process};

use crate::{
    interrupt, lan,
    tool::{self, run},
};

/// Chain id of all networks here.
pub(crate) const CHAIN_ID: u64 = 31337;
/// Ports of every node.
const CLIENT_PORT: u16 = 8443;
const PEER_PORT: u16 = 8444;
/// Small chunks, so that faults meet files being closed and renamed, too.
const CHUNK_BYTES: u64 = 200_000;
/// The genesis is so much older than the network, in seconds. Blocks never go behind it: a clock that is behind would not
/// show in them otherwise.
const GENESIS_AGE: u64 = 24 * 3600;
/// Time for a node to serve.
const SERVE_TIME: Duration = Duration::from_secs(30);
/// Time for a node to stop in good order.
const STOP_TIME: Duration = Duration::from_secs(15);
/// Time for a node that joins to be heard, and then to be trusted.
const JOIN_TIME: Duration = Duration::from_secs(20);
/// Time for a stopped process to stand still.
const FREEZE_TIME: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(10);

/// Where clients reach a node.
pub(crate) fn client_address(i: usize) -> SocketAddr {
    (lan::node_address(i), CLIENT_PORT).into()
}

/// Where other nodes reach a node.
pub(crate) fn peer_address(i: usize) -> SocketAddr {
    (lan::node_address(i), PEER_PORT).into()
}

/// Where the log of a node goes.
#[derive(Debug)]
enum Log {
    File,
    /// A pipe that nobody reads.
    Blocked,
}

/// How one node is started.
#[derive(Debug, Default)]
pub(crate) struct Manner {
    /// Variables of its environment.
    pub(crate) environment: BTreeMap<String, String>,
    /// Whether its standard error is a pipe of one page that nobody reads.
    pub(crate) is_log_blocked: bool,
}

#[derive(Debug)]
struct Place {
    /// Holds what the node writes.
    data: PathBuf,
    /// Beside it: configuration, log, ready file.
    base: PathBuf,
    child: Option<Child>,
    is_frozen: bool,
    manner: Manner,
    /// The unread pipe.
    unread: Option<std::process::ChildStderr>,
}

impl Place {
    fn file(&self, extension: &str) -> PathBuf {
        self.base.with_extension(extension)
    }
}

/// The network. Dropping it kills its nodes.
#[derive(Debug)]
pub(crate) struct Network {
    program: PathBuf,
    folder: PathBuf,
    namespaces: Vec<String>,
    places: Vec<Place>,
    /// How often each node was started, for those who watch.
    starts: Arc<Vec<AtomicU64>>,
    pub(crate) service_cert_pem: String,
}

/// What a new network is made of.
#[derive(Debug)]
pub(crate) struct Spec<'a> {
    /// The program `coco`.
    pub(crate) program: &'a Path,
    /// Where it lives; the nodes' folders `n0`, `n1`, … may be there already.
    pub(crate) folder: &'a Path,
    /// One namespace a node.
    pub(crate) namespaces: Vec<String>,
    /// Who has money, and how much in wei.
    pub(crate) accounts: &'a [(Address, U256)],
    /// Who governs, if anybody.
    pub(crate) governance: Option<&'a FirstGovernance>,
}

impl Network {
    /// Makes the network; `adjust` may change each node's configuration. Nothing runs yet.
    pub(crate) fn provision(
        spec: Spec<'_>,
        adjust: impl Fn(usize, &mut NodeConfig),
    ) -> anyhow::Result<Self> {
        let Spec { program, folder, namespaces, accounts, governance } = spec;
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let alloc = accounts.iter().map(|(address, balance)| {
            (*address, GenesisAccount { balance: *balance, ..GenesisAccount::default() })
        });
        let genesis = Genesis {
            timestamp: now.saturating_sub(GENESIS_AGE),
            alloc: alloc.collect(),
            ..Genesis::new(ChainConfig::new(CHAIN_ID))
        };
        let nodes: Vec<NodeSpec> = (0..namespaces.len())
            .map(|i| NodeSpec {
                folder: folder.join(format!("n{i}")),
                client_address: client_address(i).to_string(),
                peer_address: peer_address(i).to_string(),
            })
            .collect();
        let names: Vec<AltName> =
            (0..nodes.len()).map(|i| AltName::Ip(lan::node_address(i).into())).collect();
        let program_bytes =
            fs::read(program).with_context(|| format!("cannot read {}", program.display()))?;
        let made = provision(&NetworkSpec {
            nodes: &nodes,
            code_digest: sha256(&program_bytes),
            names: &names,
            genesis: &genesis,
            governance,
            now,
        })?;
        fs::write(folder.join("service_cert.pem"), &made.service_cert_pem)?;
        let ids: Vec<String> = made.nodes.iter().map(ToString::to_string).collect();
        let mut places = Vec::new();
        for (i, node) in nodes.iter().enumerate() {
            let mut config = config(i, &ids);
            adjust(i, &mut config);
            let place = Place {
                data: node.folder.clone(),
                base: node.folder.clone(),
                child: None,
                is_frozen: false,
                manner: Manner::default(),
                unread: None,
            };
            fs::write(place.file("toml"), toml::to_string_pretty(&config)?)?;
            places.push(place);
        }
        let starts = Arc::new(nodes.iter().map(|_| AtomicU64::new(0)).collect());
        Ok(Self {
            program: program.to_owned(),
            folder: folder.to_owned(),
            namespaces,
            places,
            starts,
            service_cert_pem: made.service_cert_pem,
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// How each node comes back, by the files that they are started from.
    pub(crate) fn restarts(&self) -> anyhow::Result<Vec<Restart>> {
        let load = |place: &Place| Ok(NodeConfig::load(&place.file("toml"))?.consensus.restart);
        self.places.iter().map(load).collect()
    }

    /// A node's folder.
    pub(crate) fn data(&self, i: usize) -> &Path {
        &self.places[i].data
    }

    /// The namespace of each node.
    pub(crate) fn namespaces(&self) -> &[String] {
        &self.namespaces
    }

    pub(crate) fn starts(&self) -> Arc<Vec<AtomicU64>> {
        Arc::clone(&self.starts)
    }

    /// How a node is started from now on.
    pub(crate) fn manner(&mut self, i: usize) -> &mut Manner {
        &mut self.places[i].manner
    }

    pub(crate) fn is_running(&self, i: usize) -> bool {
        self.places[i].child.is_some()
    }

    /// Nodes that run and are not stopped.
    pub(crate) fn up(&self) -> Vec<usize> {
        let is_up = |i: &usize| self.places[*i].child.is_some() && !self.places[*i].is_frozen;
        (0..self.len()).filter(is_up).collect()
    }

    /// Starts nodes and waits until they serve.
    pub(crate) fn start(&mut self, nodes: &[usize]) -> anyhow::Result<()> {
        for i in nodes {
            self.launch(*i)?;
        }
        for i in nodes {
            self.await_served(*i)?;
        }
        Ok(())
    }

    /// Whether a node that was started has ended by itself.
    pub(crate) fn has_ended(&mut self, i: usize) -> anyhow::Result<bool> {
        let child = self.places[i].child.as_mut().with_context(|| format!("n{i} was started"))?;
        Ok(child.try_wait()?.is_some())
    }

    /// Starts a node and does not wait for it.
    pub(crate) fn launch(&mut self, i: usize) -> anyhow::Result<()> {
        let mut command = self.command_at(i);
        let place = &mut self.places[i];
        ensure!(place.child.is_none(), "n{i} runs already");
        let ready = place.file("ready");
        if ready.exists() {
            fs::remove_file(&ready)?;
        }
        let log = if place.manner.is_log_blocked { Log::Blocked } else { Log::File };
        let standard_error = match log {
            Log::File => {
                let path = place.file("log");
                OpenOptions::new().create(true).append(true).open(path)?.into()
            }
            Log::Blocked => Stdio::piped(),
        };
        let mut child = command
            .args(["node", "start", "--stop-with-parent", "--config"])
            .arg(place.file("toml"))
            .arg("--ready-file")
            .arg(&ready)
            .envs(&place.manner.environment)
            .stdin(Stdio::piped())
            .stderr(standard_error)
            .spawn()
            .context("cannot start a node")?;
        if let Log::Blocked = log {
            let unread = child.stderr.take().context("standard error is a pipe")?;
            // The kernel rounds up to a page.
            rustix::pipe::fcntl_setpipe_size(&unread, 1)?;
            place.unread = Some(unread);
        }
        place.child = Some(child);
        self.starts[i].fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    /// A new machine with the addresses of a node that is gone, and with nothing else of it, asks to take part; its id once it
    /// waits for the members. [`Self::joined`] must follow.
    pub(crate) fn ask_to_join(&mut self, i: usize, through: usize) -> anyhow::Result<String> {
        let service = Certificate::from_pem(&self.service_cert_pem)?;
        let mut command = self.command_at(i);
        let place = &mut self.places[i];
        ensure!(place.child.is_none() && !place.data.exists(), "n{i} is there");
        let said = place.file("join");
        let child = command
            .args(["network", "join", &format!("https://{}", client_address(through))])
            .args(["--service-id", &format!("sha256:{}", service.key().digest())])
            .arg("--dir")
            .arg(&place.data)
            .args(["--client", &client_address(i).to_string()])
            .args(["--peer", &peer_address(i).to_string()])
            .args(["--wait", &JOIN_TIME.as_secs().to_string()])
            .stdin(Stdio::null())
            .stderr(fs::File::create(&said)?)
            .spawn()
            .context("cannot start a node that joins")?;
        place.child = Some(child);
        let deadline = Instant::now() + JOIN_TIME;
        loop {
            let text = fs::read_to_string(&said)?;
            // What the operator is told to have the members do.
            if let Some((_, rest)) = text.split_once("coco proposal create trust-node ") {
                return rest.split_once('\n').map(|(id, _)| id.to_owned()).context("a whole line");
            }
            ensure!(!self.has_ended(i)?, "n{i} may not join: {text}");
            ensure!(Instant::now() < deadline, "n{i} gets no answer: {text}");
            interrupt::sleep(POLL)?;
        }
    }

    /// The members have trusted the node that asked to join: it can be started.
    pub(crate) fn joined(&mut self, i: usize) -> anyhow::Result<()> {
        let status = self.await_end(i, JOIN_TIME)?;
        let place = &self.places[i];
        ensure!(status.success(), "n{i} did not join; see {}", place.file("join").display());
        let mut config = NodeConfig::load(&place.data.join("node.toml"))?;
        // The settings lie beside the folder here.
        config.data_dir.clone_from(&place.data);
        Ok(fs::write(place.file("toml"), toml::to_string_pretty(&config)?)?)
    }

    /// The program, in the namespace of a node; it does not outlive this process.
    fn command_at(&self, i: usize) -> Command {
        let netns = format!("--net={}", lan::path(&self.namespaces[i]));
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "nsenter", &netns])
            .arg(&self.program)
            .stdout(Stdio::null())
            // Ctrl-C reaches this process alone, which then stops its nodes.
            .process_group(0);
        command
    }

    /// Waits until a node serves that was started.
    pub(crate) fn await_served(&mut self, i: usize) -> anyhow::Result<()> {
        let place = &mut self.places[i];
        let (ready, log) = (place.file("ready"), place.file("log"));
        let child = place.child.as_mut().context("it was started")?;
        let deadline = Instant::now() + SERVE_TIME;
        while !ready.exists() {
            if let Some(status) = child.try_wait()? {
                bail!("n{i} ended with {status} at its start; see {}", log.display());
            }
            ensure!(Instant::now() < deadline, "n{i} does not serve; see {}", log.display());
            interrupt::sleep(POLL)?;
        }
        Ok(())
    }

    /// kill -9 of these nodes at once.
    pub(crate) fn kill(&mut self, nodes: &[usize]) -> anyhow::Result<()> {
        for i in nodes {
            self.places[*i].child.as_mut().with_context(|| format!("n{i} runs"))?.kill()?;
        }
        for i in nodes {
            let place = &mut self.places[*i];
            if let Some(mut child) = place.child.take() {
                child.wait()?;
                clear_up(child.id());
            }
            (place.is_frozen, place.unread) = (false, None);
        }
        Ok(())
    }

    fn signal(&self, i: usize, signal: Signal) -> anyhow::Result<()> {
        let child = self.places[i].child.as_ref().with_context(|| format!("n{i} runs"))?;
        let pid = Pid::from_raw(i32::try_from(child.id())?).context("a process has a number")?;
        Ok(kill_process(pid, signal)?)
    }

    /// Stops a process where it is; its connections stay open.
    pub(crate) fn freeze(&mut self, i: usize) -> anyhow::Result<()> {
        self.signal(i, Signal::STOP)?;
        self.places[i].is_frozen = true;
        Ok(())
    }

    /// Stops processes, and waits until none of their threads runs code of its own any more.
    pub(crate) fn freeze_wholly(&mut self, nodes: &[usize]) -> anyhow::Result<()> {
        for i in nodes {
            self.freeze(*i)?;
        }
        let deadline = Instant::now() + FREEZE_TIME;
        for i in nodes {
            let pid = self.places[*i].child.as_ref().map(Child::id).context("it runs")?;
            while !stands_still(pid)? {
                ensure!(Instant::now() < deadline, "n{i} does not stand still");
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        Ok(())
    }

    pub(crate) fn thaw(&mut self, i: usize) -> anyhow::Result<()> {
        self.signal(i, Signal::CONT)?;
        self.places[i].is_frozen = false;
        Ok(())
    }

    /// Waits until a node ends by itself.
    pub(crate) fn await_end(&mut self, i: usize, time: Duration) -> anyhow::Result<ExitStatus> {
        let deadline = Instant::now() + time;
        loop {
            let place = &mut self.places[i];
            let child = place.child.as_mut().with_context(|| format!("n{i} runs"))?;
            if let Some(status) = child.try_wait()? {
                clear_up(child.id());
                place.child = None;
                return Ok(status);
            }
            ensure!(Instant::now() < deadline, "n{i} did not end in {time:?}");
            interrupt::sleep(POLL)?;
        }
    }

    /// Stops all nodes in good order.
    pub(crate) fn stop(&mut self) -> anyhow::Result<()> {
        for place in &mut self.places {
            if let Some(child) = &mut place.child {
                drop(child.stdin.take());
            }
        }
        for i in 0..self.len() {
            if self.is_running(i) {
                let status = self.await_end(i, STOP_TIME)?;
                ensure!(status.success(), "n{i} was stopped and ended with {status}");
            }
        }
        Ok(())
    }

    /// The last lines of a node's log.
    pub(crate) fn log(&self, i: usize) -> anyhow::Result<String> {
        Ok(fs::read_to_string(self.places[i].file("log"))?)
    }

    /// Runs the auditor's verifier on a node's ledger.
    pub(crate) fn verify(&self, i: usize) -> anyhow::Result<()> {
        let text = |path: &Path| path.to_str().map(str::to_owned).context("a path in UTF-8");
        let (program, ledger) = (text(&self.program)?, text(&self.data(i).join("ledger"))?);
        let certificate = text(&self.folder.join("service_cert.pem"))?;
        let arguments = ["ledger", "verify", &ledger, "--service-cert", &certificate];
        run(&program, &arguments).map(drop).with_context(|| format!("the ledger of n{i}"))
    }

    /// Replaces the packet filter of a node: `rules` is the body of a table that has two chains, `input` and `output`.
    pub(crate) fn filter(&self, i: usize, input: &str, output: &str) -> anyhow::Result<()> {
        let netns = format!("--net={}", lan::path(&self.namespaces[i]));
        let table = format!(
            "table ip chaos\ndelete table ip chaos\ntable ip chaos {{\n\
             chain input {{ type filter hook input priority 0;\n{input}\n}}\n\
             chain output {{ type filter hook output priority 0;\n{output}\n}}\n}}\n"
        );
        tool::run_on("nsenter", &[&netns, "nft", "-f", "-"], &table).map(drop)
    }

    /// Lets a node's packets pass again.
    pub(crate) fn unfilter(&self, i: usize) -> anyhow::Result<()> {
        let netns = format!("--net={}", lan::path(&self.namespaces[i]));
        let nothing = "table ip chaos\ndelete table ip chaos\n";
        tool::run_on("nsenter", &[&netns, "nft", "-f", "-"], nothing).map(drop)
    }
}

/// Removes what libfaketime leaves in shared memory for a process that has ended; Debian's 0.9.10 cannot be told not to.
fn clear_up(pid: u32) {
    for name in [format!("faketime_shm_{pid}"), format!("sem.faketime_sem_{pid}")] {
        // Most processes had no such file.
        let _is_removed = fs::remove_file(Path::new("/dev/shm").join(name)).is_ok();
    }
}

/// Whether every thread of a process is stopped, or in the kernel's hands, from where it goes on into the stop.
pub(crate) fn stands_still(pid: u32) -> anyhow::Result<bool> {
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let stat = fs::read_to_string(thread?.path().join("stat"))?;
        // The state follows the name, which stands in brackets.
        let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
        if !matches!(state, Some('T' | 't' | 'D' | 'Z')) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn config(i: usize, ids: &[String]) -> NodeConfig {
    let nodes = ids.iter().enumerate().map(|(i, id)| NodeAddress {
        id: id.clone(),
        peer: peer_address(i).to_string(),
        client: client_address(i).to_string(),
    });
    NodeConfig {
        data_dir: PathBuf::from(format!("n{i}")),
        client: ClientInterface::at(client_address(i)),
        development_http: None,
        peer: PeerInterface { listen: peer_address(i) },
        nodes: nodes.collect(),
        ledger: LedgerSettings { chunk_bytes: CHUNK_BYTES, ..LedgerSettings::default() },
        // The matrix cuts the power of its only node. Cases say which way they take.
        consensus: ConsensusSettings { restart: Restart::FromDisk, ..ConsensusSettings::default() },
        limits: Limits::default(),
        ethereum: EthereumSettings::default(),
        jwt: JwtSettings::default(),
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let running: Vec<usize> = (0..self.len()).filter(|i| self.is_running(*i)).collect();
        if let Err(error) = self.kill(&running) {
            crate::say(&format!("{error:#}"));
        }
    }
}
