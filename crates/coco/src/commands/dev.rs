//! `coco dev`: a development network of real node processes on this machine.
//!
//! Each node is this same program run as `coco node start --config …`. The nodes watch their standard input, which this
//! process holds open: when it ends, however it ends, they stop.

mod accounts;
mod consortium;
mod durable;

use std::{
    fs,
    io::Write,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    ops::Range,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use alloy_primitives::U256;
use anyhow::{Context, bail, ensure};
use coco_crypto::Certificate;
use coco_evm::genesis::{ChainConfig, Genesis, GenesisAccount, StateRoot};
use coco_node::{
    NodeConfig,
    config::{
        ClientInterface, ConsensusSettings, DevelopmentInterface, EthereumSettings, JwtSettings,
        LedgerSettings, Limits, NodeAddress, OperatorFeature, PeerInterface, Restart,
    },
    provision::{NetworkSpec, NodeSpec, program_digest, provision},
};
use coco_types::NodeId;
use tokio::signal::unix::{SignalKind, signal};

use crate::{codes::Code, commands::http, fault::Fault, files, nodes::UNSAFE_PLATFORM};

/// Most nodes of a development network: all of them share this machine.
const NODES_MAX: usize = 9;
/// Most funded accounts.
const ACCOUNTS_MAX: u32 = 100_000;
/// What every funded account has: 10,000 ether, in wei.
const BALANCE_ETHER: u64 = 10_000;
/// Time for all nodes to serve.
const READY_TIME: Duration = Duration::from_secs(60);
/// Time for all nodes to stop before they are killed.
const STOP_TIME: Duration = Duration::from_secs(8);
const POLL: Duration = Duration::from_millis(10);
const SERVICE_CERT_FILE: &str = "service_cert.pem";
const CONFIG_FILE: &str = "node.toml";
const READY_FILE: &str = "ready";
const LOG_FILE: &str = "node.log";

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct DevArgs {
    /// How many nodes
    #[arg(long, default_value_t = 3)]
    nodes: usize,
    /// How many members, who govern it; 0 for a network that is open and cannot be changed
    #[arg(long, default_value_t = 3)]
    members: usize,
    /// Port of the Ethereum JSON-RPC of the first node, on loopback; 0 takes a free one
    #[arg(long, default_value_t = 8545)]
    port: u16,
    /// Where the network lives; started again on the same folder it resumes
    #[arg(long, default_value = "./.coco-dev")]
    dir: PathBuf,
    /// Use a temporary folder and remove it at the end
    #[arg(long, conflicts_with = "dir")]
    ephemeral: bool,
    /// Genesis in geth's JSON format instead of the generated one
    #[arg(long, value_name = "FILE", conflicts_with_all = ["accounts", "chain_id", "state_root"])]
    genesis: Option<PathBuf>,
    /// How many of the well-known test accounts are funded
    #[arg(long, default_value_t = 10)]
    accounts: u32,
    /// Chain id
    #[arg(long, default_value_t = 31337)]
    chain_id: u64,
    /// What block headers carry as state root: a documented zero, or the true Merkle Patricia root
    #[arg(long, value_enum, default_value_t = Root::Off)]
    state_root: Root,
    /// Take transactions without a chain id (before EIP-155), for replaying those of old chains
    #[arg(long)]
    allow_unprotected: bool,
    /// Largest request body, in bytes
    #[arg(long, default_value_t = Limits::default().body_bytes_max)]
    body_bytes_max: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Root {
    Off,
    Mpt,
}

pub(crate) fn run(arguments: &DevArgs) -> anyhow::Result<()> {
    check_counts(arguments)?;
    let folder = Folder::take(arguments)?;
    let started = Instant::now();
    let resumed = folder.path.join(SERVICE_CERT_FILE).exists();
    let configs =
        if resumed { resume(&folder.path, arguments)? } else { create(&folder.path, arguments)? };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        // Signals that come while the nodes start must stop them, too.
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut network = Network::start(&configs)?;
        let outcome = tokio::select! {
            ready = network.ready(&folder.path) => match ready {
                Ok(()) => {
                    network.describe(&folder.path, arguments, resumed, started.elapsed())?;
                    tokio::select! {
                        ended = network.watch() => ended,
                        _ = interrupt.recv() => Ok(()),
                        _ = terminate.recv() => Ok(()),
                    }
                }
                Err(error) => Err(error),
            },
            _ = interrupt.recv() => Ok(()),
            _ = terminate.recv() => Ok(()),
        };
        network.stop().await;
        outcome
    })
}

fn check_counts(arguments: &DevArgs) -> Result<(), Fault> {
    let members_max = consortium::MEMBERS_MAX;
    let wrong = if !(1..=NODES_MAX).contains(&arguments.nodes) {
        format!("--nodes may be 1 to {NODES_MAX}")
    } else if arguments.members > members_max {
        format!("--members may be at most {members_max}")
    } else if arguments.accounts > ACCOUNTS_MAX {
        format!("--accounts may be at most {ACCOUNTS_MAX}")
    } else {
        return Ok(());
    };
    Err(Fault::new(Code::Usage, wrong))
}

/// The network's folder; a temporary one is removed in the end.
struct Folder {
    path: PathBuf,
    is_temporary: bool,
}

impl Folder {
    fn take(arguments: &DevArgs) -> anyhow::Result<Self> {
        let path = if arguments.ephemeral {
            let made = tempfile::Builder::new().prefix("coco-dev-").tempdir();
            made.context("cannot make a temporary folder")?.keep()
        } else {
            arguments.dir.clone()
        };
        fs::create_dir_all(&path)
            .map_err(|error| Fault::file(Code::FileUnwritable, &path, &error))?;
        let path = path.canonicalize()?;
        Ok(Self { path, is_temporary: arguments.ephemeral })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.is_temporary
            && let Err(error) = fs::remove_dir_all(&self.path)
        {
            eprintln!("cannot remove {}: {error}", self.path.display());
        }
    }
}

/// Ports for addresses that stay the same from one start to the next. Those that systems give to outgoing connections lie
/// above (Linux: from 32,768 on), so none of those takes one while its node is down.
const LASTING_PORTS: Range<u16> = 10_000..32_000;
/// How far apart two processes begin to look for them.
const PORTS_APART: u32 = 64;

/// Addresses that are free now. They are held until all are chosen, so that none is chosen twice.
fn free_addresses(count: usize) -> anyhow::Result<Vec<SocketAddr>> {
    let all = LASTING_PORTS.len();
    let first = usize::try_from(std::process::id().wrapping_mul(PORTS_APART))? % all;
    let ports = LASTING_PORTS.cycle().skip(first).take(all);
    let free = ports.filter_map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok());
    let listeners: Vec<TcpListener> = free.take(count).collect();
    ensure!(
        listeners.len() == count,
        "of the ports {} to {} fewer than {count} are free",
        LASTING_PORTS.start,
        LASTING_PORTS.end
    );
    Ok(listeners.iter().map(TcpListener::local_addr).collect::<Result<_, _>>()?)
}

fn is_free(address: SocketAddr) -> bool {
    TcpListener::bind(address).is_ok()
}

fn genesis(arguments: &DevArgs) -> anyhow::Result<Genesis> {
    if let Some(path) = &arguments.genesis {
        let genesis = Genesis::parse(&files::read_text(path)?);
        return Ok(genesis.map_err(|error| Fault::file(Code::FileUnreadable, path, &error))?);
    }
    let mut config = ChainConfig::new(arguments.chain_id);
    config.state_root = match arguments.state_root {
        Root::Off => StateRoot::Off,
        Root::Mpt => StateRoot::Mpt,
    };
    let balance = U256::from(BALANCE_ETHER) * U256::from(10).pow(U256::from(18));
    let alloc = (0..arguments.accounts)
        .map(|i| (accounts::address(i), GenesisAccount { balance, ..GenesisAccount::default() }))
        .collect();
    let timestamp = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    Ok(Genesis { timestamp, alloc, ..Genesis::new(config) }.with_history_contract())
}

/// Makes a network where there is none.
fn create(folder: &Path, arguments: &DevArgs) -> anyhow::Result<Vec<PathBuf>> {
    let remains = node_folders(folder);
    if !remains.is_empty() {
        let remains: Vec<_> = remains.iter().map(|path| path.display().to_string()).collect();
        let file = folder.join(SERVICE_CERT_FILE);
        let message = format!(
            "{} is not there, but folders of nodes are: the making of this network was cut short, or the file was removed",
            file.display()
        );
        let next = format!("for a new network remove {}", remains.join(" "));
        return Err(Fault::new(Code::FileUnreadable, message).next(next).into());
    }
    let genesis = genesis(arguments)?;
    let mut free = free_addresses(2 * arguments.nodes)?.into_iter();
    let mut next = || free.next().expect("as many were asked for");
    let specs: Vec<NodeSpec> = (0..arguments.nodes)
        .map(|i| NodeSpec {
            folder: folder.join(format!("n{i}")),
            client_address: next().to_string(),
            peer_address: next().to_string(),
        })
        .collect();
    let code_digest = program_digest().context("cannot read this program to measure it")?;
    let governance = match arguments.members {
        0 => None,
        members => Some(consortium::make(folder, members)?),
    };
    let network = provision(&NetworkSpec {
        nodes: &specs,
        code_digest,
        names: &[],
        genesis: &genesis,
        governance: governance.as_ref(),
        now: SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs(),
    })?;
    let addresses = addresses(&network.nodes, &specs);
    let configs = specs
        .iter()
        .enumerate()
        .map(|(i, spec)| {
            let config = node_config(arguments, &addresses, i, spec)?;
            write_config(&spec.folder, &config)
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    // Written last, when all else is durable: its presence says that the network is complete.
    durable::write(&folder.join(SERVICE_CERT_FILE), network.service_cert_pem.as_bytes())?;
    if let Some(parent) = folder.parent() {
        durable::sync_folder(parent)?;
    }
    Ok(configs)
}

fn addresses(nodes: &[NodeId], specs: &[NodeSpec]) -> Vec<NodeAddress> {
    nodes
        .iter()
        .zip(specs)
        .map(|(id, spec)| NodeAddress {
            id: id.to_string(),
            peer: spec.peer_address.clone(),
            client: spec.client_address.clone(),
        })
        .collect()
}

fn node_config(
    arguments: &DevArgs,
    nodes: &[NodeAddress],
    i: usize,
    spec: &NodeSpec,
) -> anyhow::Result<NodeConfig> {
    Ok(NodeConfig {
        data_dir: PathBuf::from("."),
        client: ClientInterface {
            listen: spec.client_address.parse()?,
            // Nobody else reaches it.
            enabled_operator_features: OperatorFeature::ALL.into(),
        },
        development_http: Some(development(arguments, i)),
        peer: PeerInterface { listen: spec.peer_address.parse()? },
        nodes: nodes.to_vec(),
        ledger: LedgerSettings::default(),
        // A network that one person runs is stopped and started as a whole.
        consensus: ConsensusSettings { restart: Restart::FromDisk, ..ConsensusSettings::default() },
        limits: Limits { body_bytes_max: arguments.body_bytes_max, ..Limits::default() },
        ethereum: EthereumSettings {
            allow_unprotected: arguments.allow_unprotected,
            ..EthereumSettings::default()
        },
        jwt: JwtSettings::default(),
    })
}

/// The first node has the port that was asked for; the others take any.
fn development(arguments: &DevArgs, i: usize) -> DevelopmentInterface {
    let port = if i == 0 { arguments.port } else { 0 };
    DevelopmentInterface { listen: (Ipv4Addr::LOCALHOST, port).into() }
}

fn write_config(folder: &Path, config: &NodeConfig) -> anyhow::Result<PathBuf> {
    let path = folder.join(CONFIG_FILE);
    durable::write(&path, toml::to_string_pretty(config)?.as_bytes())?;
    Ok(path)
}

/// The folders of nodes that are there.
fn node_folders(folder: &Path) -> Vec<PathBuf> {
    (0..NODES_MAX).map(|i| folder.join(format!("n{i}"))).filter(|path| path.exists()).collect()
}

/// The network that is in the folder, with what may change between starts: ports and limits.
fn resume(folder: &Path, arguments: &DevArgs) -> anyhow::Result<Vec<PathBuf>> {
    let folders = node_folders(folder);
    let mut configs = Vec::new();
    for folder in &folders {
        let path = folder.join(CONFIG_FILE);
        let config = toml::from_str::<NodeConfig>(&files::read_text(&path)?);
        configs.push(config.map_err(|error| Fault::file(Code::ConfigUnusable, &path, &error))?);
    }
    let Some(first) = configs.first() else {
        let message = format!("{} holds no nodes", folder.display());
        return Err(Fault::new(Code::FileUnreadable, message).into());
    };
    ensure!(
        folders.len() == first.nodes.len(),
        "{} holds {} folders of nodes, the network has {}",
        folder.display(),
        folders.len(),
        first.nodes.len()
    );
    let mut nodes = first.nodes.clone();
    for (config, node) in configs.iter_mut().zip(&mut nodes) {
        // Ports that somebody else has taken meanwhile are replaced.
        if !is_free(config.client.listen) || !is_free(config.peer.listen) {
            let free = free_addresses(2)?;
            (config.client.listen, config.peer.listen) = (free[0], free[1]);
            (node.client, node.peer) = (free[0].to_string(), free[1].to_string());
        }
    }
    let mut paths = Vec::new();
    for (i, (folder, mut config)) in folders.iter().zip(configs).enumerate() {
        config.nodes.clone_from(&nodes);
        config.development_http = Some(development(arguments, i));
        config.limits.body_bytes_max = arguments.body_bytes_max;
        config.ethereum.allow_unprotected = arguments.allow_unprotected;
        paths.push(write_config(folder, &config)?);
    }
    Ok(paths)
}

struct Running {
    name: String,
    folder: PathBuf,
    child: Child,
    has_ended: bool,
    client: String,
    development: String,
    peer: SocketAddr,
}

struct Network {
    nodes: Vec<Running>,
}

impl Network {
    fn start(configs: &[PathBuf]) -> anyhow::Result<Self> {
        let mut nodes = Vec::new();
        for config in configs {
            let folder = config.parent().context("a configuration has a folder")?.to_owned();
            let ready = folder.join(READY_FILE);
            if ready.exists() {
                fs::remove_file(&ready)?;
            }
            let log =
                fs::OpenOptions::new().create(true).append(true).open(folder.join(LOG_FILE))?;
            let child = Command::new(std::env::current_exe()?)
                .args(["node", "start", "--stop-with-parent", "--config"])
                .arg(config)
                .arg("--ready-file")
                .arg(&ready)
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(log)
                // Ctrl-C reaches this process alone, which then stops its nodes in order.
                .process_group(0)
                .spawn()?;
            let name = folder
                .file_name()
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default();
            nodes.push(Running {
                name,
                folder,
                child,
                has_ended: false,
                client: String::new(),
                development: String::new(),
                peer: toml::from_str::<NodeConfig>(&fs::read_to_string(config)?)?.peer.listen,
            });
        }
        Ok(Self { nodes })
    }

    /// Waits until every node serves and one of them is primary, and has the members open the service if it is not open.
    async fn ready(&mut self, folder: &Path) -> anyhow::Result<()> {
        let deadline = Instant::now() + READY_TIME;
        for node in &mut self.nodes {
            loop {
                if let Ok(text) = fs::read_to_string(node.folder.join(READY_FILE)) {
                    let mut lines = text.lines();
                    node.client = lines.next().unwrap_or_default().to_owned();
                    node.development = lines.next().unwrap_or_default().to_owned();
                    break;
                }
                if let Some(status) = node.child.try_wait()? {
                    bail!(
                        "{} ended with {status}; see {}",
                        node.name,
                        node.folder.join(LOG_FILE).display()
                    );
                }
                ensure!(
                    Instant::now() < deadline,
                    "{} does not serve; see {}",
                    node.name,
                    node.folder.join(LOG_FILE).display()
                );
                tokio::time::sleep(POLL).await;
            }
        }
        self.answer("/node/ready/gov", deadline, "the nodes found no primary").await?;
        let members = consortium::load(folder)?;
        if let Some(first) = self.nodes.first() {
            let path = folder.join(SERVICE_CERT_FILE);
            let pem = fs::read_to_string(&path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            consortium::open(&first.client, &Certificate::from_pem(&pem)?, &members).await?;
        }
        self.answer("/node/ready/app", deadline, "the service does not open").await
    }

    /// Waits until every node says yes.
    async fn answer(&self, path: &str, deadline: Instant, what: &str) -> anyhow::Result<()> {
        for node in &self.nodes {
            loop {
                let answer = http::get_plain(&node.development, path).await;
                if answer.is_ok_and(|(status, _)| status == 204) {
                    break;
                }
                let log = node.folder.join(LOG_FILE);
                ensure!(Instant::now() < deadline, "{what}; see {}", log.display());
                tokio::time::sleep(POLL).await;
            }
        }
        Ok(())
    }

    fn describe(
        &self,
        folder: &Path,
        arguments: &DevArgs,
        resumed: bool,
        took: Duration,
    ) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        let first = self.nodes.first().context("a network has a node")?;
        writeln!(
            out,
            "{} network of {} nodes, ready in {:.1} s",
            if resumed { "Resumed" } else { "New" },
            self.nodes.len(),
            took.as_secs_f64()
        )?;
        writeln!(out)?;
        writeln!(out, "RPC: http://{}", first.development)?;
        writeln!(
            out,
            "     plain HTTP, for development on this machine only; on the network, use HTTPS:"
        )?;
        for node in &self.nodes {
            writeln!(
                out,
                "{}:  https://{}  http://{}  pid {}",
                node.name,
                node.client,
                node.development,
                node.child.id()
            )?;
        }
        for node in &self.nodes {
            writeln!(out, "Peer: {}", node.peer)?;
        }
        writeln!(out, "Service certificate: {}", folder.join(SERVICE_CERT_FILE).display())?;
        let members = consortium::load(folder)?;
        let names: Vec<&str> = members.iter().map(|member| member.name).collect();
        if let Some(name) = names.first() {
            let [key, cert] = consortium::paths(folder, name);
            writeln!(out, "Members: {}; more than half of them decide", names.join(" "))?;
            writeln!(
                out,
                "     act as one: coco context add {name} --url https://{} --service-cert {} --key {} --cert {}",
                first.client,
                folder.join(SERVICE_CERT_FILE).display(),
                key.display(),
                cert.display()
            )?;
        }
        writeln!(out, "Platform: {UNSAFE_PLATFORM}")?;
        if arguments.genesis.is_none() && !resumed {
            writeln!(out)?;
            writeln!(
                out,
                "Accounts, {BALANCE_ETHER} ether each, of the mnemonic \"{}\":",
                accounts::MNEMONIC
            )?;
            for i in 0..arguments.accounts.min(10) {
                writeln!(out, "  {} key {}", accounts::address(i), accounts::key_hex(i))?;
            }
        }
        writeln!(out)?;
        writeln!(out, "Next: cast block-number --rpc-url http://{}", first.development)?;
        writeln!(
            out,
            "      coco ledger verify {} --service-cert {}",
            first.folder.join("ledger").display(),
            folder.join(SERVICE_CERT_FILE).display()
        )?;
        writeln!(out, "Ctrl-C stops the network.")?;
        out.flush()?;
        Ok(())
    }

    /// Says when a node ends; ends itself when none is left.
    async fn watch(&mut self) -> anyhow::Result<()> {
        loop {
            for node in self.nodes.iter_mut().filter(|node| !node.has_ended) {
                if let Some(status) = node.child.try_wait()? {
                    node.has_ended = true;
                    eprintln!(
                        "{} ended with {status}; its log: {}; start it again with: coco node start --config {}",
                        node.name,
                        node.folder.join(LOG_FILE).display(),
                        node.folder.join(CONFIG_FILE).display()
                    );
                }
            }
            if self.nodes.iter().all(|node| node.has_ended) {
                bail!("no node is left");
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Stops the nodes by ending their standard input; kills those that do not stop in time.
    async fn stop(&mut self) {
        for node in &mut self.nodes {
            drop(node.child.stdin.take());
        }
        let deadline = Instant::now() + STOP_TIME;
        for node in &mut self.nodes {
            while node.child.try_wait().is_ok_and(|status| status.is_none()) {
                if Instant::now() >= deadline {
                    eprintln!("{} does not stop and is killed", node.name);
                    if let Err(error) = node.child.kill().and_then(|()| node.child.wait()) {
                        eprintln!("{}: {error}", node.name);
                    }
                    break;
                }
                tokio::time::sleep(POLL).await;
            }
        }
    }
}
