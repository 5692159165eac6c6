//! One node as a whole: from its folder and its configuration to a running replica with its interfaces.

mod loading;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::PathBuf,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use coco_consensus::{
    Configuration, Engine, Fetch, HardState, RaftEngine, Start, StartError, Timing,
};
use coco_evm::{
    adapter::EvmAdapter,
    executor::{Executor, warm_up},
    genesis::ChainConfig,
    pool::PoolLimits,
    rpc::{BlockCache, CACHE_BYTES_MAX, Rpc, RpcConfig},
    state::{self, EvmMaps},
    transaction::{EvmCheck, Unprotected},
};
use coco_ledger::{FileError, LedgerFilesError, MembershipError, NodeRow, ServiceSigner, TornTail};
use coco_replica::{
    GovernTask, HardStateFileError, LoadLedgerError, Replica, Settings, SharedLedgerState,
    SnapshotTask, Storage,
};
use coco_types::{NodeId, Seqno};
use thiserror::Error;
use tokio::{
    net::TcpListener,
    runtime::{Builder, Runtime},
    sync::{Semaphore, watch},
};
use tracing::info;

use crate::{
    calls::Calls,
    catch_up::{CopyError, want_copy},
    clock::seconds_now,
    config::{NodeAddress, NodeConfig},
    copy::CopySource,
    directory::Directory,
    disk::{Disk, DiskQueue, in_full, run_fetches},
    driver::{Behind, Driver, DriverError, FirstElection, Inbox, Job, TICK_MS},
    edge::{IssuerFetcher, Service, ServiceParts, Transport, serve},
    folder::{DiskFolder, LedgerFiles},
    governor,
    history::LedgerHistory,
    identity::{Identity, IdentityError},
    join::Seeker,
    metrics::Metrics,
    peers::{ForwardedPlaces, Peers, Receiver, accept},
    platform::Platform,
    provision::LEDGER_FOLDER,
    seat,
    service_status::StatusWatch,
    shown::{Shown, Written},
    snapshotter::Snapshotter,
    tls::{PeerTls, client_acceptor},
    waiters::{Promise, Waiters},
};

use loading::{Loaded, Origin, check_loads, load};

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
        source: LedgerFilesError,
    },
    /// View and vote cannot be read.
    #[error("cannot read view and vote in {path}")]
    HardState {
        /// Where.
        path: PathBuf,
        /// The cause.
        source: HardStateFileError,
    },
    /// The folder of the ledger cannot be made.
    #[error("cannot make {path}")]
    Folder {
        /// Where.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The ledger is lost, or too old to go on from, and nobody gave a copy.
    #[error("this node's ledger is lost, or too old to go on from, and no copy of it was made")]
    Copy(#[from] CopyError),
    /// The folder of snapshots cannot be opened.
    #[error("cannot open the snapshots in {path}")]
    Snapshots {
        /// Where.
        path: PathBuf,
        /// The cause.
        source: FileError,
    },
    /// The ledger does not replay.
    #[error("cannot load the ledger in {path}")]
    Load {
        /// Where.
        path: PathBuf,
        /// The cause, with file and offset.
        source: Box<LoadLedgerError>,
    },
    /// The ledger's table of nodes cannot be read.
    #[error("cannot read the ledger's table of nodes")]
    Nodes(#[from] MembershipError),
    /// The ledger holds no genesis.
    #[error(
        "there is no ledger in {folder}: {}. Put it back; a node that may come back as another one (consensus.restart = \
         \"rejoin\") copies it from the others",
        torn.as_ref().map_or_else(|| "the network was never made, or the ledger is lost".to_owned(), ToString::to_string)
    )]
    NoGenesis {
        /// Where it should be.
        folder: PathBuf,
        /// What was found there of which nothing is whole.
        torn: Option<TornTail>,
    },
    /// The ledger is lost, and only the configuration could say who has another copy.
    #[error(
        "the ledger in {folder} is lost{}. Put it back; or let this node copy it from another one, which only its \
         configuration could name, and does not: add one to `nodes`, with its id, peer and client",
        torn.as_ref().map_or_else(String::new, |torn| format!(": {torn}"))
    )]
    LostAlone {
        /// Where it should be.
        folder: PathBuf,
        /// What was found there of which nothing is whole.
        torn: Option<TornTail>,
        /// Why it does not load.
        #[source]
        cause: Option<Box<LoadLedgerError>>,
    },
    /// The ledger ends before what the node counts for.
    #[error(
        "the ledger in {folder} ends at {last}, and this node has acknowledged entries up to {at_least}: the disk was set back"
    )]
    SetBack {
        /// Where it is.
        folder: PathBuf,
        /// Its last entry.
        last: Seqno,
        /// What the node has acknowledged.
        at_least: Seqno,
    },
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
    data_dir: PathBuf,
    identity: Box<Identity>,
}

/// A node whose process goes on after it was left behind: the same node, with what it has promised.
#[derive(Debug)]
pub struct Life {
    identity: Box<Identity>,
    hard_state: HardState,
    /// Everything up to here that it has acknowledged may be committed by its word.
    at_least: Seqno,
}

/// How a node came to its stop.
#[derive(Debug)]
pub enum Stopped {
    /// It was told to.
    Told,
    /// It lacks what the others have archived. [`Node::start_again`] copies the ledger from one of them and goes on.
    Behind(Life),
    /// Members have given the secrets of a ledger back that is being recovered. They are sealed;
    /// [`Node::start_recovered`] loads the ledger under them and goes on.
    Recovered,
}

fn engine(
    config: &NodeConfig,
    nodes: &[(NodeId, NodeAddress)],
    loaded: &mut Loaded,
) -> Result<RaftEngine, StartError> {
    let (views, last) = {
        let state = loaded.loader.state();
        let state = state.read();
        (state.view_history().into_iter().map(|id| (id.seqno, id.view)).collect(), state.last())
    };
    let ticks = |millis: u64| u32::try_from(millis.div_ceil(TICK_MS)).unwrap_or(u32::MAX);
    let hard_state = loaded.loader.hard_state(loaded.hard_state_found);
    // A ledger from before the first entry named the voters has those of the configuration file, for ever.
    let (configuration, pending) = loaded
        .loader
        .configuration()
        .unwrap_or_else(|| (Configuration::of(nodes.iter().map(|(id, _)| *id).collect()), None));
    RaftEngine::new(Start {
        me: loaded.identity.node_id,
        configuration,
        pending,
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
        seed: u64::from_le_bytes(
            loaded.identity.node_id.0[..8].try_into().expect("eight of 32 bytes"),
        ),
        limits: coco_consensus::Limits::default(),
    })
}

fn node_list(
    config: &NodeConfig,
    me: NodeId,
) -> Result<Vec<(NodeId, NodeAddress)>, StartNodeError> {
    let nodes = config.nodes.iter().map(|node| Ok((node.id.parse()?, node.clone())));
    let nodes: Vec<(NodeId, NodeAddress)> = nodes
        .collect::<Result<_, coco_types::ParseIdError>>()
        .map_err(|error| StartNodeError::Configuration(format!("nodes: {error}")))?;
    if nodes.iter().any(|(id, _)| *id == me) {
        Ok(nodes)
    } else {
        Err(StartNodeError::Configuration(format!(
            "this node is {me}, which the configuration's nodes do not name"
        )))
    }
}

async fn listen(
    address: std::net::SocketAddr,
) -> Result<(TcpListener, std::net::SocketAddr), StartNodeError> {
    let failed = |source| StartNodeError::Listen { address: address.to_string(), source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(2, std::num::NonZero::get)
}

/// Where clients come in.
struct Clients {
    client: TcpListener,
    client_address: std::net::SocketAddr,
    development: Option<(TcpListener, std::net::SocketAddr)>,
}

impl Clients {
    async fn of(config: &NodeConfig) -> Result<Self, StartNodeError> {
        let (client, client_address) = listen(config.client.listen).await?;
        let development = match &config.development_http {
            Some(interface) => Some(listen(interface.listen).await?),
            None => None,
        };
        Ok(Self { client, client_address, development })
    }
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

/// What several parts of a node hold.
struct Shared {
    inbox: Inbox,
    peers: Arc<Peers>,
    metrics: Arc<Metrics>,
    nodes: Vec<(NodeId, NodeAddress)>,
    directory: Directory,
    votes: Arc<AtomicBool>,
    stopped: watch::Receiver<bool>,
}

impl Shared {
    /// Nodes may have come back as others since the configuration file was written; the ledger names them.
    fn learn(&self, rows: &[(NodeId, NodeRow)]) {
        if self.votes.load(Ordering::Relaxed) && !rows.is_empty() {
            self.directory.replace(rows);
            // It follows nobody before it has started.
            self.peers.keep(&self.directory.all(), None);
        } else {
            self.directory.add(rows);
        }
    }
}

struct Assembled {
    service: Arc<Service>,
    /// What the service must send again.
    lost: tokio::sync::mpsc::Receiver<Promise>,
    copies: CopySource,
    driver: JoinHandle<Result<(), DriverError>>,
    disk: JoinHandle<()>,
}

/// The parts of the hosted Ethereum ledger.
struct Ethereum {
    adapter: EvmAdapter,
    rpc: Rpc,
    checker: EvmCheck,
}

fn ethereum(
    config: &NodeConfig,
    reader: &coco_kv::Reader,
    peers: u64,
    is_whole: bool,
) -> Result<Ethereum, StartNodeError> {
    let no_genesis = || StartNodeError::NoGenesis { folder: config.data_dir.clone(), torn: None };
    let maps = EvmMaps::find(|name| reader.map(name)).ok_or_else(no_genesis)?;
    let chain = match state::config(&mut reader.head(), &maps) {
        Some(chain) => chain,
        // Nobody transacts as long as the chain's state is sealed: this stands for it until then.
        None if !is_whole => ChainConfig::new(1),
        None => return Err(no_genesis()),
    };
    let chain = Arc::new(chain);
    let executor = Executor::new(Arc::clone(&chain), maps);
    let cache = Arc::new(BlockCache::new(CACHE_BYTES_MAX));
    let limits = PoolLimits {
        transactions: config.limits.queue_max,
        gap_wait_ms: config.ethereum.nonce_gap_wait_ms,
        ..PoolLimits::default()
    };
    let mut seed = [0; 32];
    aws_lc_rs::rand::fill(&mut seed)
        .map_err(|_| StartNodeError::Thread(io::Error::other("no entropy from the system")))?;
    let rpc = RpcConfig {
        peers,
        batch_calls_max: config.limits.batch_max,
        ..RpcConfig::new(chain.chain_id)
    };
    let unprotected =
        if config.ethereum.allow_unprotected { Unprotected::Taken } else { Unprotected::Refused };
    Ok(Ethereum {
        adapter: EvmAdapter::new(executor.clone(), limits, Arc::clone(&cache)),
        rpc: Rpc::new(rpc, executor, cache, seed),
        checker: EvmCheck::new(chain, unprotected),
    })
}

fn signer(identity: &Identity) -> Result<ServiceSigner, StartNodeError> {
    let (node, service) = (identity.node_key_secret(), identity.service_key_secret());
    ServiceSigner::new(node, identity.node_cert.pem(), service).map_err(|error| {
        StartNodeError::Configuration(format!("the node's keys cannot sign: {error}"))
    })
}

fn settings(config: &NodeConfig, is_whole: bool) -> Settings {
    Settings {
        signature_interval_ms: config.ledger.signature_interval_ms,
        chunk_bytes: config.ledger.chunk_bytes,
        retained_entries: config.ledger.retained_entries,
        // Half a state makes no snapshot.
        snapshot_entries: if is_whole { config.ledger.snapshot_entries } else { 0 },
        ..Settings::default()
    }
}

/// Whoever looks after this node's seat, if that is needed.
fn seeker(
    config: &NodeConfig,
    loaded: &Loaded,
    shared: &Shared,
) -> Result<Option<Seeker>, StartNodeError> {
    let resumed = loaded.hard_state_found.map(|_| loaded.loader.last());
    let votes = shared.votes.load(Ordering::Relaxed);
    let question = seat::question(config, &loaded.seat, &loaded.identity, resumed, votes)?;
    Ok(question.map(|question| Seeker {
        question,
        platform: Platform::default(),
        certificate: loaded.identity.node_cert.clone(),
        directory: shared.directory.clone(),
        others: seat::others(config, loaded.seat.node_id, Some(&loaded.loader)),
        peers: Arc::clone(&shared.peers),
        inbox: shared.inbox.clone(),
        state: loaded.loader.state(),
        reader: loaded.loader.reader(),
        votes: Arc::clone(&shared.votes),
    }))
}

/// Starts the thread that writes and syncs.
fn writing(
    storage: Storage<DiskFolder>,
    shared: &Shared,
) -> Result<(DiskQueue, JoinHandle<()>), StartNodeError> {
    let (inbox, metrics) = (shared.inbox.clone(), Arc::clone(&shared.metrics));
    Disk { storage, inbox, metrics }.start().map_err(StartNodeError::Thread)
}

/// Starts the thread that reads entries back for nodes that lag.
fn fetching(
    files: Arc<LedgerFiles>,
    state: SharedLedgerState,
    inbox: Inbox,
) -> Result<mpsc::Sender<Fetch>, StartNodeError> {
    let (fetches, jobs) = mpsc::channel();
    thread("fetch", move || run_fetches(&files, &state, &jobs, &inbox))?;
    Ok(fetches)
}

/// Starts the thread that makes snapshots.
fn snapshotting(
    files: &CopySource,
    shared: &Shared,
) -> Result<mpsc::Sender<SnapshotTask>, StartNodeError> {
    let CopySource { history, snapshots } = files.clone();
    Snapshotter::start(snapshots, history, shared.inbox.clone(), Arc::clone(&shared.metrics))
        .map_err(StartNodeError::Thread)
}

/// Starts the thread that carries members' requests out.
fn governing(
    shared: &Shared,
    identity: &Identity,
) -> Result<mpsc::Sender<GovernTask>, StartNodeError> {
    governor::start(shared.inbox.clone(), Arc::new(identity.clone()))
        .map_err(StartNodeError::Thread)
}

fn shared_waiters() -> (Arc<Waiters>, tokio::sync::mpsc::Receiver<Promise>) {
    let (waiters, lost) = Waiters::new();
    (Arc::new(waiters), lost)
}

/// Puts replica, threads and the client side together.
fn assemble(
    config: &NodeConfig,
    loaded: Loaded,
    engine: RaftEngine,
    jobs: mpsc::Receiver<Job>,
    shared: Shared,
) -> Result<Assembled, StartNodeError> {
    let Loaded { identity, loader, files, snapshots, hard_state, hard_state_found, .. } = loaded;
    let (reader, state) = (loader.reader(), loader.state());
    let promised = loader.hard_state(hard_state_found);
    let is_whole = state.read().secrets().is_whole();
    let Ethereum { adapter, rpc, checker } =
        ethereum(config, &reader, shared.nodes.len() as u64 - 1, is_whole)?;
    let signer = Box::new(signer(&identity)?);
    let settings = settings(config, is_whole);
    let replica = Replica::new(loader, Box::new(engine), Box::new(adapter), signer, settings);
    shared.learn(&replica.node_rows()?);
    let status = StatusWatch::begin(reader.clone(), state.read().committed().seqno);
    let known_status = status.known();
    let path = config.data_dir.join(LEDGER_FOLDER);
    let writer = files.into_writer().map_err(|source| StartNodeError::Files { path, source })?;
    let files = writer.files();
    let (waiters, lost) = shared_waiters();
    let (disk, disk_thread) = writing(Storage::new(writer, hard_state), &shared)?;
    let fetches = fetching(Arc::clone(&files), state.clone(), shared.inbox.clone())?;

    let history = Arc::new(LedgerHistory::new(files, state.clone()));
    let copies = CopySource { history: Arc::clone(&history), snapshots };
    let snapshots = snapshotting(&copies, &shared)?;

    let driver = Driver {
        replica,
        jobs,
        inbox: shared.inbox.clone(),
        disk,
        fetches,
        snapshots,
        governor: governing(&shared, &identity)?,
        peers: Arc::clone(&shared.peers),
        waiters: Arc::clone(&waiters),
        metrics: Arc::clone(&shared.metrics),
        state: state.clone(),
        status,
        calls: Calls::default(),
        started: Instant::now(),
        first_election: FirstElection::of(&shared.nodes, identity.node_id),
        me: identity.node_id,
        directory: shared.directory.clone(),
        votes: shared.votes,
        hard_state: promised,
        behind: BTreeSet::new(),
        joining: None,
        introducing: None,
        governing: BTreeMap::new(),
        next_request: 0,
    };
    let driver = thread("replica", move || driver.run())?;

    let service = Service::new(ServiceParts {
        identity: Box::new(identity.clone()),
        node_id: identity.node_id,
        node_cert_pem: identity.node_cert.pem(),
        nodes: shared.directory,
        limits: config.limits,
        shown_config: config.shown(),
        status: known_status,
        history,
        snapshots: copies.snapshots.clone(),
        features: config.client.enabled_operator_features.clone(),
        state,
        reader,
        inbox: shared.inbox,
        peers: shared.peers,
        waiters,
        rpc,
        checker,
        metrics: shared.metrics,
        stop: shared.stopped,
    });
    Ok(Assembled { service: Arc::new(service), lost, copies, driver, disk: disk_thread })
}

fn thread<T: Send + 'static>(
    name: &str,
    run: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, StartNodeError> {
    std::thread::Builder::new().name(name.to_owned()).spawn(run).map_err(StartNodeError::Thread)
}

impl Node {
    /// Starts a node from its configuration.
    ///
    /// # Errors
    /// [`StartNodeError`] that says what is wrong and where.
    pub fn start(config: &NodeConfig) -> Result<Self, StartNodeError> {
        warm_up();
        Self::start_from(config, load(config, Origin::Disk)?)
    }

    /// Starts a node again that was left behind, with a copy of another one's ledger.
    ///
    /// # Errors
    /// [`StartNodeError`], as [`Node::start`].
    pub fn start_again(config: &NodeConfig, life: Life) -> Result<Self, StartNodeError> {
        Self::start_from(config, load(config, Origin::Life(life))?)
    }

    /// Starts a node again in the process that had the ledger of a lost service, now that its secrets are sealed.
    ///
    /// # Errors
    /// [`StartNodeError`], as [`Node::start`].
    pub fn start_recovered(config: &NodeConfig) -> Result<Self, StartNodeError> {
        Self::start_from(config, load(config, Origin::Recovered)?)
    }

    fn start_from(config: &NodeConfig, mut loaded: Loaded) -> Result<Self, StartNodeError> {
        let identity = Box::new(loaded.identity.clone());
        let me = identity.node_id;
        let nodes = node_list(config, loaded.seat.node_id)?;
        let engine = engine(config, &nodes, &mut loaded)?;
        let directory = Directory::new(&nodes);
        let votes = Arc::new(AtomicBool::new(engine.configuration().votes(me)));
        let edge = runtime("edge", cores())?;
        let peer_runtime = runtime("peers", 1)?;
        let written = Written::new(loaded.loader.reader(), loaded.loader.state(), me);
        let shown = Shown::new(&loaded.identity, seconds_now(), written.days_max())?;
        let shown = Arc::new(shown);
        let peer_tls = PeerTls::new(&loaded.identity, &shown)?;
        let (peer_listener, _) = peer_runtime.block_on(listen(config.peer.listen))?;
        let Clients { client, client_address, development } = edge.block_on(Clients::of(config))?;

        let (inbox, jobs) = Inbox::new(config.limits.queue_max);
        let metrics = Arc::new(Metrics::new());
        let peers =
            peer_runtime.block_on(async { Peers::dial(me, &nodes, &peer_tls, &inbox, &metrics) });
        let (stop, stopped) = watch::channel(false);
        let acceptor = client_acceptor(&shown)?;
        peer_runtime.spawn(shown.look_after(identity.clone(), written, stopped.clone()));
        let shared = Shared {
            inbox: inbox.clone(),
            peers: Arc::clone(&peers),
            metrics,
            nodes: nodes.clone(),
            directory: directory.clone(),
            votes,
            stopped: stopped.clone(),
        };
        if let Some(seeker) = seeker(config, &loaded, &shared)? {
            peer_runtime.spawn(seeker.look_after(config.consensus.restart));
        }
        let Assembled { service, lost, copies, driver, disk } =
            assemble(config, loaded, engine, jobs, shared)?;
        edge.spawn(Arc::clone(&service).send_lost_again(lost));
        let every = Duration::from_millis(config.jwt.key_refresh_interval_ms);
        edge.spawn(IssuerFetcher::new(Arc::clone(&service), every).look_after(stopped.clone()));

        let forwarded = OnceLock::from(Arc::clone(&service));
        let places = ForwardedPlaces::default();
        let receiver =
            Receiver { inbox: inbox.clone(), peers, directory, copies, forwarded, places };
        peer_runtime.spawn(accept(peer_listener, peer_tls, Arc::new(receiver)));
        let places = Arc::new(Semaphore::new(config.limits.connections_max));
        let development_address = development.as_ref().map(|(_, address)| *address);
        edge.spawn(serve(
            client,
            Transport::Tls(acceptor),
            Arc::clone(&service),
            Arc::clone(&places),
            stopped.clone(),
        ));
        if let Some((listener, address)) = development {
            info!(%address, "plain HTTP for development: no encryption, loopback only");
            edge.spawn(serve(listener, Transport::DevelopmentPlain, service, places, stopped));
        }
        info!(node = %me, client = %client_address, "node started");
        Ok(Self {
            inbox,
            stop,
            driver,
            disk,
            edge,
            peers: peer_runtime,
            client_address,
            development_address,
            data_dir: config.data_dir.clone(),
            identity,
        })
    }

    /// Whether the node has ended by itself, which it does only when it is broken; [`Node::stop`] says why.
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
    pub fn stop(self) -> Result<Stopped, DriverError> {
        // Receivers live in the tasks that are about to stop.
        let _nobody: Result<(), watch::error::SendError<bool>> = self.stop.send(true);
        self.inbox.put(Job::Stop);
        let ended = self.driver.join().expect("the replica's thread does not panic");
        self.disk.join().expect("the disk's thread does not panic");
        self.edge.shutdown_timeout(Duration::from_secs(3));
        self.peers.shutdown_timeout(Duration::from_secs(1));
        match ended {
            Ok(()) => Ok(Stopped::Told),
            Err(DriverError::Behind(Behind { at_least, hard_state })) => {
                // Should the process end before it has its copy, a node that believes its disk goes on from here.
                want_copy(&self.data_dir, at_least)
                    .map_err(|error| DriverError::Disk(in_full(&error)))?;
                Ok(Stopped::Behind(Life { identity: self.identity, hard_state, at_least }))
            }
            Err(DriverError::Recovered(secrets)) => {
                let identity = self.identity.with_ledger_secrets(secrets);
                // A node that has them sealed loads under them or not at all.
                check_loads(&self.data_dir, &identity)
                    .map_err(|error| DriverError::Unloadable(in_full(&error)))?;
                identity
                    .reseal(&self.data_dir)
                    .map_err(|error| DriverError::Disk(in_full(&error)))?;
                Ok(Stopped::Recovered)
            }
            Err(error) => Err(error),
        }
    }
}
