//! What a node reads from its folder before it starts, or copies from another node if that is not enough.

use std::{
    fs,
    path::{Path, PathBuf},
};

use coco_consensus::{Configuration, HardState};
use coco_ledger::NodeStatus;
use coco_replica::{HardStateFile, LoadLedgerError, Loader};
use coco_types::{NodeId, Seqno, View};
use tracing::{info, warn};

use super::{Life, StartNodeError};
use crate::{
    catch_up::{Target, copy_ledger, copy_wanted},
    config::{NodeConfig, Restart},
    folder::{DiskFile, DiskFolder, LedgerFiles},
    identity::Identity,
    provision::LEDGER_FOLDER,
    replay::{Known, load_ledger, snapshot_folder},
    seat,
    snapshot_files::{self, SnapshotFiles},
};

/// Name of the hard state's file inside a node's folder.
const HARD_STATE_FILE: &str = "consensus.state";
/// The last entry that provisioning made; committed from the start.
const GENESIS_LAST: Seqno = Seqno(4);

/// What a node is loaded for.
pub(super) enum Origin {
    /// A process begins, and knows its disk only.
    Disk,
    /// This process has written what is on the disk, and loads it again under other secrets.
    Recovered,
    /// This process goes on as the node that it was, with another ledger.
    Life(Life),
}

/// Whether the ledger has to be copied from another node, because of what was found.
fn has_lost(
    config: &NodeConfig,
    loaded: &Result<Loader, LoadLedgerError>,
    has_started: bool,
) -> bool {
    // A node that goes on as the one that it was has acknowledged what it lost.
    let is_believed = config.consensus.restart == Restart::FromDisk && has_started;
    !is_believed
        && match loaded {
            Ok(loader) => loader.last().seqno < GENESIS_LAST,
            Err(error) => error.is_loss(),
        }
}

/// How often a start copies another node's ledger before it gives up. What is copied proves by itself what else is needed.
const COPIES_MAX: u32 = 3;

/// What was read from the node's folder.
pub(super) struct Loaded {
    /// What is sealed there: the node of the first start, whose key is that of the seat.
    pub(super) seat: Identity,
    /// The node that this process is.
    pub(super) identity: Identity,
    pub(super) loader: Loader,
    pub(super) files: LedgerFiles,
    pub(super) snapshots: SnapshotFiles,
    pub(super) hard_state: HardStateFile<DiskFile>,
    pub(super) hard_state_found: Option<HardState>,
    pub(super) committed: Seqno,
}

pub(super) fn load(config: &NodeConfig, origin: Origin) -> Result<Loaded, StartNodeError> {
    let seat = Identity::open(&config.data_dir)?;
    let folder = config.data_dir.join(LEDGER_FOLDER);
    fs::create_dir_all(&folder)
        .map_err(|source| StartNodeError::Folder { path: folder.clone(), source })?;
    let path = snapshot_folder(&config.data_dir);
    let snapshots =
        snapshot_files::open(&path).map_err(|source| StartNodeError::Snapshots { path, source })?;
    let path = config.data_dir.clone();
    let (mut hard_state, mut hard_state_found) =
        HardStateFile::open(&DiskFolder::new(&path), HARD_STATE_FILE)
            .map_err(|source| StartNodeError::HardState { path, source })?;
    let known = Known::of(&seat, config.ledger.retained_entries);
    let wanted = copy_wanted(&config.data_dir)?;
    let has_started = hard_state_found.is_some();
    // A new node learns from the others what is committed. Its host may have given any chunk the name of one that is.
    let is_new = matches!(origin, Origin::Disk | Origin::Life(_));
    let doubts = is_new && has_started && config.consensus.restart == Restart::Rejoin;
    let open = || -> Result<LedgerFiles, StartNodeError> {
        let mut files = open(&folder)?;
        if doubts {
            files.doubt_names();
        }
        Ok(files)
    };
    let mut files = open()?;
    // Whoever goes on as the node that it was counts for what it has acknowledged, whatever became of its files.
    let floor = match &origin {
        Origin::Life(life) => life.at_least,
        Origin::Disk | Origin::Recovered => Seqno::ZERO,
    };
    let mut wanted = wanted.or((floor > Seqno::ZERO).then_some(floor));
    // What is here may be too old to go on from, and still says where others are. A lost one says nothing.
    let old = wanted.and_then(|_| load_ledger(&known, &mut files, &snapshots).ok());
    let others = seat::others(config, seat.node_id, old.as_ref());
    drop(old);
    let (mut copied, mut copies) = (None, 0);
    let loader = loop {
        if let Some(at_least) = wanted.take() {
            let at_least = at_least.max(floor);
            info!(%at_least, "this node's ledger lacks what the others have: it is copied from one of them");
            let found = hard_state_found;
            let target =
                Target { files, snapshots: &snapshots, hard_state: &mut hard_state, found };
            // A new node has promised nothing.
            copied = Some(copy_ledger(config, &seat, &others, &known, at_least, target)?);
            hard_state_found = found.or(Some(HardState { view: View::GENESIS, vote: None }));
            files = open()?;
            copies += 1;
        }
        let loaded = load_ledger(&known, &mut files, &snapshots);
        if copies >= COPIES_MAX || !has_lost(config, &loaded, has_started) {
            break loaded;
        }
        if others.is_empty() {
            return Err(lost_alone(folder, &files, loaded));
        }
        wanted = Some(loaded.err().map_or(Seqno::ZERO, |error| error.at_least()));
    };
    let mut loader = loader
        .map_err(|error| StartNodeError::Load { path: folder.clone(), source: Box::new(error) })?;
    check_reach(&loader, &files, folder, floor)?;
    // By its id: the host may have put something else in its place since.
    copied.into_iter().for_each(|copied| loader.note_committed(copied));
    note_durable(&mut loader, &origin, has_started, seat.node_id);
    let committed = committed(&loader, &files);
    let (identity, hard_state_found) = match origin {
        Origin::Life(Life { identity, hard_state, .. }) => (*identity, Some(hard_state)),
        Origin::Recovered => (seat.clone(), hard_state_found),
        Origin::Disk => {
            let is_newcomer = !has_started && is_newcomer(&loader, seat.node_id);
            seat::node_of(config, &seat, hard_state_found, is_newcomer, &loader)?
        }
    };
    Ok(Loaded { seat, identity, loader, files, snapshots, hard_state, hard_state_found, committed })
}

/// Nobody is known who has another copy of a lost ledger.
fn lost_alone(
    folder: PathBuf,
    files: &LedgerFiles,
    loaded: Result<Loader, LoadLedgerError>,
) -> StartNodeError {
    let (torn, cause) = (files.torn().cloned(), loaded.err().map(Box::new));
    StartNodeError::LostAlone { folder, torn, cause }
}

/// Opens the ledger's files. What was put aside of them is said.
fn open(folder: &Path) -> Result<LedgerFiles, StartNodeError> {
    let files = LedgerFiles::open(DiskFolder::new(folder))
        .map_err(|source| StartNodeError::Files { path: folder.to_owned(), source })?;
    for put in files.put_aside() {
        warn!(file = %put.file, now = put.aside, kept = %put.kept, "put a chunk file aside, all of which is in another one");
    }
    Ok(files)
}

/// Checks that the ledger in a node's folder loads with what an identity knows. Nobody else writes to it meanwhile.
pub(super) fn check_loads(data_dir: &Path, identity: &Identity) -> Result<(), StartNodeError> {
    let path = snapshot_folder(data_dir);
    let snapshots =
        snapshot_files::open(&path).map_err(|source| StartNodeError::Snapshots { path, source })?;
    let path = data_dir.join(LEDGER_FOLDER);
    let files = LedgerFiles::open(DiskFolder::new(&path));
    let mut files = files.map_err(|source| StartNodeError::Files { path: path.clone(), source })?;
    load_ledger(&Known::of(identity, 0), &mut files, &snapshots)
        .map(drop)
        .map_err(|error| StartNodeError::Load { path, source: Box::new(error) })
}

/// Checks that the ledger has all that this node counts for, and says what became of a torn tail.
fn check_reach(
    loader: &Loader,
    files: &LedgerFiles,
    folder: PathBuf,
    floor: Seqno,
) -> Result<(), StartNodeError> {
    let last = loader.last().seqno;
    if last < floor {
        return Err(StartNodeError::SetBack { folder, last, at_least: floor });
    }
    if last < GENESIS_LAST {
        return Err(StartNodeError::NoGenesis { folder, torn: files.torn().cloned() });
    }
    if let Some(torn) = files.torn() {
        warn!(file = %torn.file, offset = torn.offset, bytes = torn.bytes, "{torn}");
    }
    Ok(())
}

/// Takes in that all of a ledger is committed which nobody else has a say in, and which this process, or whoever made the folder, has synced.
/// A service that begins anew shall not say for a moment that it is open, by what a snapshot has of the one before it. Started once
/// more before it is open, it still does until its first commit.
fn note_durable(loader: &mut Loader, origin: &Origin, has_started: bool, node: NodeId) {
    let is_durable = match origin {
        Origin::Recovered => true,
        Origin::Disk => !has_started,
        Origin::Life(_) => false,
    };
    if is_durable && is_only_voter(loader, node) {
        let last = loader.last();
        loader.note_committed(last);
    }
}

/// Whether nobody else has a vote, as a service has it that is being recovered.
fn is_only_voter(loader: &Loader, node: NodeId) -> bool {
    let configured = seat::configured(loader);
    let is_alone = |one: &Configuration| one.voters == [node] && one.outgoing.is_empty();
    !configured.is_empty() && configured.iter().all(is_alone)
}

/// The last signature that is known to be committed.
fn committed(loader: &Loader, files: &LedgerFiles) -> Seqno {
    let state = loader.state();
    let state = state.read();
    let known = files.committed().max(GENESIS_LAST).max(state.committed().seqno);
    state.last_signature(known).unwrap_or(Seqno::ZERO)
}

/// Whether members trust this node, and the ledger's newest configuration is without it: it was never given its place. One
/// that had it, and whose process was replaced by another in its seat, is retired.
fn is_newcomer(loader: &Loader, node: NodeId) -> bool {
    let configured = seat::configured(loader);
    let is_nowhere = configured.iter().all(|one| !one.contains(node));
    let row = seat::row_of(loader, node);
    !configured.is_empty() && is_nowhere && row.is_some_and(|row| row.status == NodeStatus::Trusted)
}
