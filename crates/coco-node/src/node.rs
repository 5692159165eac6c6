//! One node as a whole: from its folder and its configuration to a running replica with its interfaces.

use std::{
    collections::HashMap,
    io,
    path::PathBuf,
    sync::{Arc, OnceLock, mpsc},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use coco_adapter::Adapter;
use coco_consensus::{Configuration, HardState, RaftEngine, Start, StartError, Timing};
use coco_evm::{
    adapter::{EvmAdapter, EvmCheck, PoolSettings},
    executor,
    rpc::{Rpc, RpcSettings},
    state::{self, EvmMaps},
};
use coco_ledger::ServiceSigner;
use coco_replica::{LoadError, Loader, Replica, Settings};
use coco_types::{NodeId, Seqno};
use thiserror::Error;
use tokio::{
    net::TcpListener,
    runtime::{Builder, Runtime},
    sync::{Semaphore, watch},
};
use tracing::info;

use crate::{
    config::{ClientInterface, NodeAddress, NodeConfig},
    disk::{Disk, run_fetches},
    driver::{Driver, DriverError, Inbox, Job, TICK_MS},
    edge::{Service, ServiceParts, Transport, serve},
    hard_state_file::HardStateFile,
    history::LedgerHistory,
    identity::{Identity, IdentityError},
    ledger_files::LedgerFiles,
    metrics::Metrics,
    peers::{Peers, accept},
    provision::LEDGER_FOLDER,
    tls::{PeerTls, client_acceptor},
    waiters::Waiters,
};

/// Name of the hard state's file inside a node's folder.
const HARD_STATE_FILE: &str = "consensus.state";

/// Why a node does not start.
#[derive(Debug, Error)]
pub enum StartNodeError {
    /// The identity does not open.
    #[error("cannot open this node's identity")]
    Identity(#[from] IdentityError),
    /// A file of the ledger cannot be read.
    #[error("cannot read {path}")]
    Files {
        /// Where.
        path: PathBuf,
        /// The cause, with file and offset.
        source: io::Error,
    },
    /// The ledger does not replay.
    #[error("the ledger in {path} does not replay")]
    Load {
        /// Where.
        path: PathBuf,
        /// The cause.
        source: LoadError,
    },
    /// The ledger holds no genesis.
    #[error("the ledger in {0} has no genesis; make the network first")]
    NoGenesis(PathBuf),
    /// The configuration and the identity do not fit.
    #[error("{0}")]
    Configuration(String),
    /// Consensus refuses to start from this log.
    #[error("consensus cannot start from this log")]
    Consensus(#[from] StartError),
    /// Certificates and keys do not fit.
    #[error("the node's certificates cannot be used for TLS")]
    Tls(#[from] rustls::Error),
    /// An address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: String,
        /// The cause.
        source: io::Error,
    },
    /// A thread or runtime cannot be made.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
}

/// A running node. Dropping it without [`Node::stop`] ends its process's part abruptly.
#[derive(Debug)]
pub struct Node {
    inbox: Inbox,
    stop: watch::Sender<bool>,
    driver: JoinHandle<Result<(), DriverError>>,
    disk: JoinHandle<()>,
    edge: Runtime,
    peers: Runtime,
    /// Where clients reach it over HTTPS.
    pub client_address: std::net::SocketAddr,
    /// Where Ethereum clients reach it over plain HTTP, on a development network.
    pub development_address: Option<std::net::SocketAddr>,
}

/// What was read from the node's folder.
struct Loaded {
    identity: Identity,
    loader: Loader,
    files: LedgerFiles,
    hard_state: HardStateFile,
    hard_state_found: Option<HardState>,
    committed: Seqno,
}

fn load(config: &NodeConfig) -> Result<Loaded, StartNodeError> {
    let identity = Identity::open(&config.data_dir)?;
    let folder = config.data_dir.join(LEDGER_FOLDER);
    let failed = |source| StartNodeError::Files { path: folder.clone(), source };
    let mut index_key = [0; 16];
    aws_lc_rs::rand::fill(&mut index_key).map_err(|_| failed(io::Error::other("no entropy from the system")))?;
    let (low, high) = index_key.split_at(8);
    let index_key = [low, high].map(|half| u64::from_le_bytes(half.try_into().expect("half of sixteen bytes")));
    let mut loader =
        Loader::new(identity.ledger_secret(), state::schema(), index_key, config.ledger.retained_entries);
    let files = LedgerFiles::open(&folder).map_err(failed)?;
    let started = Instant::now();
    files.replay(|entry, is_committed| {
        loader.push(entry, is_committed).map_err(|source| StartNodeError::Load { path: folder.clone(), source })
    })
    .map_err(|error| error.unwrap_or_else(failed))?;
    let committed = loader.state().read().last_signature(files.committed().max(GENESIS_LAST)).unwrap_or(Seqno::ZERO);
    info!(last = %loader.last(), committed = %committed, millis = started.elapsed().as_millis(), "ledger replayed");
    let path = config.data_dir.join(HARD_STATE_FILE);
    let (hard_state, hard_state_found) =
        HardStateFile::open(&path).map_err(|source| StartNodeError::Files { path, source })?;
    Ok(Loaded { identity, loader, files, hard_state, hard_state_found, committed })
}

/// The last entry that provisioning made; committed from the start.
const GENESIS_LAST: Seqno = Seqno(4);

fn engine(config: &NodeConfig, nodes: &[(NodeId, NodeAddress)], loaded: &mut Loaded) -> Result<RaftEngine, StartError> {
    let (views, last) = {
        let state = loaded.loader.state();
        let state = state.read();
        (state.view_history().into_iter().map(|id| (id.seqno, id.view)).collect(), state.last())
    };
    let ticks = |millis: u64| u32::try_from(millis.div_ceil(TICK_MS)).unwrap_or(u32::MAX);
    let hard_state = loaded.hard_state_found.clone().unwrap_or(HardState { view: last.view, vote: None });
    RaftEngine::new(Start {
        me: loaded.identity.node_id,
        configuration: Configuration { nodes: nodes.iter().map(|(id, _)| *id).collect() },
        hard_state,
        views,
        last: last.seqno,
        committed: loaded.committed,
        recent: loaded.loader.take_recent(),
        timing: Timing {
            heartbeat_ticks: ticks(config.consensus.heartbeat_ms),
            election_ticks_min: ticks(config.consensus.election_ms_min),
            election_ticks_max: ticks(config.consensus.election_ms_max),
        },
        seed: u64::from_le_bytes(loaded.identity.node_id.0[..8].try_into().expect("eight of 32 bytes")),
        limits: coco_consensus::Limits::default(),
    })
}

fn node_list(config: &NodeConfig, me: NodeId) -> Result<Vec<(NodeId, NodeAddress)>, StartNodeError> {
    let nodes = config.nodes.iter().map(|node| Ok((node.id.parse()?, node.clone())));
    let nodes: Vec<(NodeId, NodeAddress)> = nodes
        .collect::<Result<_, coco_types::ParseIdError>>()
        .map_err(|error| StartNodeError::Configuration(format!("nodes: {error}")))?;
    if nodes.iter().any(|(id, _)| *id == me) {
        Ok(nodes)
    } else {
        Err(StartNodeError::Configuration(format!("this node is {me}, which the configuration's nodes do not name")))
    }
}

struct Listening {
    client: (TcpListener, std::net::SocketAddr),
    development: Option<(TcpListener, std::net::SocketAddr)>,
}

async fn listen(address: std::net::SocketAddr) -> Result<(TcpListener, std::net::SocketAddr), StartNodeError> {
    let failed = |source| StartNodeError::Listen { address: address.to_string(), source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

fn runtime(name: &'static str, threads: usize) -> Result<Runtime, StartNodeError> {
    Builder::new_multi_thread()
        .worker_threads(threads)
        .max_blocking_threads(16)
        .thread_name(name)
        .enable_all()
        .build()
        .map_err(StartNodeError::Thread)
}

impl Node {
    /// Starts a node from its configuration.
    ///
    /// # Errors
    /// [`StartNodeError`] that says what is wrong and where.
    pub fn start(config: &NodeConfig) -> Result<Self, StartNodeError> {
        executor::warm_up();
        let mut loaded = load(config)?;
        let me = loaded.identity.node_id;
        let nodes = node_list(config, me)?;
        let engine = engine(config, &nodes, &mut loaded)?;
        let edge = runtime("edge", std::thread::available_parallelism().map_or(2, std::num::NonZero::get))?;
        let peer_runtime = runtime("peers", 1)?;
        let peer_tls = PeerTls::new(&loaded.identity)?;
        let (peer_listener, _) = peer_runtime.block_on(listen(config.peer.listen))?;
        let listening = edge.block_on(bind_clients(&config.client, config))?;

        let (inbox, jobs) = Inbox::new(config.limits.queue_max);
        let metrics = Arc::new(Metrics::new());
        let peers = peer_runtime.block_on(async { Peers::dial(me, &nodes, &peer_tls, &inbox, &metrics) });
        let (stop, stopped) = watch::channel(false);
        let is_first = nodes.first().is_some_and(|(id, _)| *id == me);
        let started = assemble(config, loaded, engine, &inbox, jobs, &peers, &metrics, nodes, stopped.clone())?;
        let Assembled { service, driver, disk } = started;

        let forwarded = Arc::new(OnceLock::new());
        forwarded.set(Arc::clone(&service)).unwrap_or_else(|_| unreachable!("set once"));
        peer_runtime.spawn(accept(peer_listener, peer_tls, inbox.clone(), peers, forwarded));
        let (client_address, development_address) = edge.block_on(async {
            serve_clients(listening, config, &service, &stopped)
        });
        if is_first {
            // Somebody must stand first; the others' time-outs remain for the case that this node is not there.
            inbox.put(Job::Campaign);
        }
        info!(node = %me, client = %client_address, "node started");
        Ok(Self { inbox, stop, driver, disk, edge, peers: peer_runtime, client_address, development_address })
    }

    /// Waits until the node ends by itself, which it does only when it is broken.
    ///
    /// # Errors
    /// [`DriverError`] that says why.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.driver.is_finished()
    }

    /// Stops: hands over the primacy, answers what is open, makes everything durable.
    ///
    /// # Errors
    /// [`DriverError`] when the node had broken before.
    ///
    /// # Panics
    /// When the replica's thread panicked, with its message.
    pub fn stop(self) -> Result<(), DriverError> {
        // Receivers live in the tasks that are about to stop.
        let _nobody: Result<(), watch::error::SendError<bool>> = self.stop.send(true);
        self.inbox.put(Job::Stop);
        let ended = self.driver.join().expect("the replica's thread does not panic");
        self.disk.join().expect("the disk's thread does not panic");
        self.edge.shutdown_timeout(Duration::from_secs(3));
        self.peers.shutdown_timeout(Duration::from_secs(1));
        ended
    }
}
