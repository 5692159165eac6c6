//! One node: what its driver does around the replica, its disk and its clock.

mod copying;
mod making;

use std::{
    collections::{BTreeSet, VecDeque},
    convert::Infallible,
};

use bytes::Bytes;
use coco_consensus::{Fetch, HardState, Limits, LogEntry, PersistToken, RaftEngine, Start};
use coco_evm::state;
use coco_ledger::{
    EntryFlags, EntryView, FileError, GenesisNode, LedgerFiles, LedgerFilesError, LedgerSecrets,
    ReplayError, TornTail,
};
use coco_replica::{
    Effects, HardStateFile, HardStateFileError, Input, Keyring, LoadLedger, LoadLedgerError,
    Loader, Now, Persist, RECENT_BYTES_MAX, ReadEntriesError, Replica, SnapshotFiles, StepError,
    Storage, StorageError, UseSnapshotError, read_entries,
};
use coco_types::{NodeId, Role, Seqno, TxId, View};
use thiserror::Error;

use crate::{
    dice::Dice,
    ethereum,
    faults::Drift,
    folder::{Faults, Lost, SimFolder},
    genesis::{FIRST_ENTRIES, Keys, START_S, keyring, node_record},
    plan::{Micros, Plan, Restart},
    planted::Planted,
    trace::{Trace, Traced},
    world::Damage,
};

pub use copying::{CopyFault, Offer};
pub(crate) use making::in_full;
pub use making::{DURABLE_WAIT_US, Making, Refused, SNAPSHOT_FOLDER, Task, snapshots};

/// Where view and vote are kept.
pub const HARD_STATE_FILE: &str = "consensus.state";

/// A node.
#[derive(Debug)]
pub struct Machine {
    /// Where it comes from.
    pub origin: Origin,
    /// The secrets that a newcomer was given.
    pub given: Option<LedgerSecrets>,
    /// The node that it is in its present or last life.
    pub id: NodeId,
    /// The node that it was in its first life, which names its seat for ever.
    pub seat: NodeId,
    /// Every node that it was.
    pub lives: Vec<NodeId>,
    /// What it says of itself when it asks for its seat.
    pub record: GenesisNode,
    /// Whom it asks next.
    pub hint: Option<usize>,
    /// It went on from its own disk, which ended here; it says so until somebody has written it down.
    pub resumed: Option<TxId>,
    /// Who has told it, in this life, that its seat is another's.
    pub farewells: BTreeSet<NodeId>,
    /// A disk that its host has put aside, with what had been acknowledged of it, and what it had suffered.
    pub copy: Option<(Promise, SimFolder, Option<Damage>)>,
    /// Its mind; none while it is down.
    pub replica: Option<Replica>,
    /// All entries that the replica has handed out, durable or not.
    pub ledger: Vec<Bytes>,
    /// What it has acknowledged.
    pub disk: Promise,
    /// Its files.
    pub folder: SimFolder,
    /// What they have suffered, or are about to suffer.
    pub damage: Option<Damage>,
    /// What was handed to the disk and is not durable, in order.
    pub writes: VecDeque<Persist>,
    /// How many of these the sync under way will make durable; none without one.
    pub in_sync: Option<usize>,
    /// A closed chunk waits for its final name.
    pub name_waits: bool,
    /// Counts its lives: what was on its way to an earlier one never arrives.
    pub life: u64,
    /// Its wall clock is ahead by so much.
    pub wall_ahead_ms: i64,
    /// How its wall clock runs.
    pub drift: Drift,
    /// It stands still until then.
    pub paused_until: Micros,
    /// Its disk is slow until then.
    pub slow_until: Micros,
    /// A batch is about to be executed.
    pub works: bool,
    /// It was primary after its last step.
    pub was_primary: bool,
    /// The snapshot that it copied last, before which its disk may have nothing.
    pub copied_at: Option<Seqno>,
    /// The life in which it first began to copy another's ledger: from then on what is before a snapshot may not be there.
    first_copied: Option<u64>,
    /// The life in which a host brought back chunks that it may have taken away before the ledger was copied: they may leave gaps.
    pub old_chunks: Option<u64>,
    /// The last committed entry of what it has just copied.
    copied: Option<TxId>,
    /// Before its next start it has to copy the ledger of another.
    pub wants_copy: Option<WantedCopy>,
    /// The life in which it became the node that it is; none for the first.
    born: Option<u64>,
    /// Its snapshots on their way.
    pub making: Making,
    storage: Option<Storage<SimFolder>>,
    number: usize,
}

/// Where a machine comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It was there in the beginning.
    First,
    /// A host has made it from another one.
    Copy,
    /// A new operator brings it.
    Newcomer,
}

/// A copy that a node wants of another one's ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WantedCopy {
    /// The entry up to which it has to go at least.
    pub at_least: Seqno,
    /// The node's process lives, and goes on as the same node.
    pub goes_on: bool,
}

/// Which node a machine is when it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartAs {
    /// The one that it was: view and vote of its disk are its own.
    Before,
    /// A new one, which has to ask for its seat.
    NewNode,
    /// The one that it was, whose process goes on with another ledger.
    GoesOn,
}

/// What a node has said to be durable, which its disk must give back.
#[derive(Clone, Debug)]
pub struct Promise {
    /// View and vote.
    pub hard_state: HardState,
    /// The ledger.
    pub entries: Vec<Bytes>,
}

impl Promise {
    fn keep(&mut self, write: &Persist) {
        if let Some(to) = write.truncate_to {
            self.entries.truncate(index(to));
        }
        self.entries.extend(write.entries.iter().map(|(entry, _)| entry.clone()));
        if let Some(state) = write.hard_state {
            self.hard_state = state;
        }
    }
}

/// How a node goes down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Down {
    /// Its process ends. What it wrote is still seen.
    Ended,
    /// Its power goes. What it wrote and did not sync may be gone.
    Dark,
}

/// Why a node does not start.
#[derive(Debug, Error)]
pub enum StartFault {
    /// The ledger's files.
    #[error("the ledger's files")]
    Files(#[from] LedgerFilesError),
    /// View and vote.
    #[error("view and vote")]
    HardState(#[from] HardStateFileError),
    /// The folder of its snapshots.
    #[error("the snapshots' folder")]
    Snapshots(#[from] FileError),
    /// What they hold.
    #[error("the ledger does not load")]
    Load(#[from] Box<LoadLedgerError>),
    /// They hold nothing that is whole.
    #[error("there is no ledger{}", .0.as_ref().map(|torn| format!(": {torn}")).unwrap_or_default())]
    Nothing(Option<TornTail>),
}

/// What a node found on its disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The torn tail of the last chunk was cut.
    pub has_cut: bool,
    /// It has less than it had promised: entries, or view and vote.
    pub is_less: bool,
}

/// More lives than a machine has in a run.
const COPY_LIVES: u64 = 1 << 32;

/// A position as an index.
///
/// # Panics
/// Never: ledgers here are small.
#[must_use]
pub fn index(seqno: Seqno) -> usize {
    usize::try_from(seqno.0).expect("a small ledger")
}

/// The name of an entry.
///
/// # Panics
/// When it is no entry: nodes keep nothing else.
#[must_use]
pub fn tx_id(entry: &[u8]) -> TxId {
    EntryView::parse(entry).expect("nodes keep entries").tx_id()
}

impl StartFault {
    /// Whether files are missing, which others have.
    #[must_use]
    pub const fn is_loss(&self) -> bool {
        match self {
            Self::Nothing(_) => true,
            Self::Load(error) => error.is_loss(),
            Self::Files(_) | Self::HardState(_) | Self::Snapshots(_) => false,
        }
    }

    /// Up to which entry a copy must reach at least that makes up for it.
    #[must_use]
    pub const fn at_least(&self) -> Seqno {
        match self {
            Self::Load(error) => error.at_least(),
            Self::Nothing(_) | Self::Files(_) | Self::HardState(_) | Self::Snapshots(_) => {
                Seqno::ZERO
            }
        }
    }
}

impl Machine {
    /// A node that is down, with the first entries on its disk.
    ///
    /// # Panics
    /// Never: a new disk works.
    #[must_use]
    pub fn new(number: usize, keys: &Keys, first: &[Bytes]) -> Self {
        let folder = SimFolder::default();
        let provision = || {
            let mut files = LedgerFiles::open(folder.clone())?.into_writer()?;
            first.iter().try_for_each(|entry| files.append(entry, false))?;
            files.sync()
        };
        provision().expect("a new disk works");
        let hard_state = HardState { view: View::GENESIS, vote: None };
        let id = keys.signer(number).node_id();
        Self {
            origin: Origin::First,
            given: None,
            id,
            seat: id,
            lives: vec![id],
            record: node_record(keys.signer(number).as_ref(), number),
            hint: None,
            resumed: None,
            farewells: BTreeSet::new(),
            copy: None,
            replica: None,
            ledger: Vec::new(),
            disk: Promise { hard_state, entries: first.to_vec() },
            folder,
            damage: None,
            writes: VecDeque::new(),
            in_sync: None,
            name_waits: false,
            life: 0,
            wall_ahead_ms: 0,
            drift: Drift::NONE,
            paused_until: 0,
            slow_until: 0,
            works: false,
            was_primary: false,
            copied_at: None,
            first_copied: None,
            old_chunks: None,
            copied: None,
            wants_copy: None,
            born: None,
            making: Making::default(),
            storage: None,
            number,
        }
    }

    /// A machine of a new operator, with an empty disk. Nobody knows it yet.
    ///
    /// # Panics
    /// Never: a new disk works.
    #[must_use]
    pub fn newcomer(number: usize, keys: &Keys) -> Self {
        let mut machine = Self::new(number, keys, &[]);
        machine.origin = Origin::Newcomer;
        machine.lives.clear();
        machine.lose_all();
        machine
    }

    /// A machine that is down, on whose disk somebody has begun a service anew with these entries: its only node.
    #[must_use]
    pub fn reborn(
        keys: &Keys,
        folder: SimFolder,
        entries: Vec<Bytes>,
        given: LedgerSecrets,
    ) -> Self {
        let mut machine = Self::new(0, keys, &[]);
        machine.disk.entries = entries;
        machine.folder = folder;
        machine.given = Some(given);
        machine
    }

    /// Whether it is a newcomer that was given no secrets yet.
    #[must_use]
    pub fn is_stranger(&self) -> bool {
        self.origin == Origin::Newcomer && self.given.is_none()
    }

    /// What is said of the node that it was first, which has its seat's key.
    #[must_use]
    pub fn record_of_seat(&self, keys: &Keys) -> GenesisNode {
        node_record(keys.signer(self.number).as_ref(), self.number)
    }

    /// A machine with a copy of another's disk, whose lives begin where that one's never come.
    #[must_use]
    pub fn copy_of(other: &Self, place: usize) -> Self {
        Self {
            origin: Origin::Copy,
            given: other.given.clone(),
            id: other.seat,
            seat: other.seat,
            lives: Vec::new(),
            record: other.record.clone(),
            hint: None,
            resumed: None,
            farewells: BTreeSet::new(),
            copy: None,
            replica: None,
            ledger: Vec::new(),
            disk: other.disk.clone(),
            folder: other.folder.copy(),
            damage: other.damage.filter(Damage::is_of_bytes),
            writes: VecDeque::new(),
            in_sync: None,
            name_waits: false,
            life: COPY_LIVES * place as u64,
            wall_ahead_ms: 0,
            drift: Drift::NONE,
            paused_until: 0,
            slow_until: 0,
            works: false,
            was_primary: false,
            copied_at: other.copied_at,
            first_copied: other.first_copied,
            old_chunks: other.old_chunks,
            copied: None,
            wants_copy: other.wants_copy.map(|copy| WantedCopy { goes_on: false, ..copy }),
            born: None,
            making: Making::default(),
            storage: None,
            number: other.number,
        }
    }

    /// What it reads its ledger with.
    #[must_use]
    pub fn keyring(&self) -> Keyring {
        let given = keyring(self.number);
        let secrets = self.given.clone().unwrap_or(given.secrets);
        Keyring { secrets, cipher: given.cipher }
    }

    /// Starts it from its disk: as the node that it was, or as a new one.
    ///
    /// # Errors
    /// [`StartFault`], as a node's operator would see it.
    ///
    /// # Panics
    /// When it is up, or consensus does not take what the disk gives back.
    pub fn start(
        &mut self,
        plan: &Plan,
        keys: &Keys,
        start_as: StartAs,
        dice: &mut Dice,
        trace: &Trace,
        committed: &[Bytes],
    ) -> Result<Found, StartFault> {
        assert!(self.replica.is_none(), "it is up");
        self.life += 1;
        // Nothing takes the first two: they stay, so that saved seeds draw everything else as they did.
        let [_, _, engine_seed] = [dice.bits(), dice.bits(), dice.bits()];
        let mut files = LedgerFiles::open(self.folder.clone())?;
        if plan.restart == Restart::Rejoin {
            files.doubt_names();
        }
        let (mut loader, entries) = self.load(plan, keys, &mut files, committed)?;
        if entries.is_empty() {
            return Err(StartFault::Nothing(files.torn().cloned()));
        }
        let (hard_state, found) = HardStateFile::open(&self.folder, HARD_STATE_FILE)?;
        let keeps_vote = follows(&self.disk.hard_state, &loader.hard_state(found));
        let is_less = !entries.starts_with(&self.disk.entries) || !keeps_vote;
        let known = files.committed().max(Seqno(FIRST_ENTRIES));
        let known = known.max(loader.state().read().committed().seqno);
        let has_cut = files.torn().is_some();
        self.storage = Some(Storage::new(files.into_writer()?, hard_state));
        // View and vote on the disk are another node's when it is a new one.
        let (signer, found) = match start_as {
            StartAs::Before => (keys.signer(self.number), found),
            StartAs::NewNode => {
                self.born = Some(self.life);
                (keys.again(self.number, self.life), None)
            }
            StartAs::GoesOn => match self.born {
                Some(life) => (keys.again(self.number, life), found),
                None => (keys.signer(self.number), found),
            },
        };
        let hard_state = loader.hard_state(found);
        self.disk = Promise { hard_state, entries: entries.clone() };
        self.ledger = entries;
        self.id = signer.node_id();
        self.lives.push(self.id);
        self.record = node_record(signer.as_ref(), self.number);
        let (views, last, committed) = {
            let state = loader.state();
            let state = state.read();
            let views = state.view_history().into_iter().map(|id| (id.seqno, id.view)).collect();
            let committed = state.last_signature(known).expect("the first entries are signed");
            (views, state.last().seqno, committed)
        };
        let (configuration, pending) =
            loader.configuration().expect("the first entry names the voters");
        if is_less {
            // Such a node does not come up; what it would do is no step of the model.
            return Ok(Found { has_cut, is_less });
        }
        let is_whole = loader.state().read().secrets().is_whole();
        let adapter = ethereum::adapter(&loader.reader(), plan.pool, is_whole);
        let recent = loader.take_recent();
        let recent_bytes: usize = recent.iter().map(|entry| entry.data.len()).sum();
        assert!(recent_bytes <= RECENT_BYTES_MAX, "a start keeps {recent_bytes} bytes in memory");
        let start = Start {
            me: self.id,
            configuration,
            pending,
            hard_state,
            views,
            last,
            committed,
            recent,
            timing: plan.timing,
            seed: engine_seed,
            limits: limits(plan),
        };
        let joints = trace.started(&start, &self.disk.entries);
        let engine = RaftEngine::new(start).expect("the disk is in order");
        let engine = Traced::new(engine, self.id, trace.clone(), joints);
        self.replica = Some(Replica::new(loader, Box::new(engine), adapter, signer, plan.settings));
        Ok(Found { has_cut, is_less })
    }

    /// The ledger on its disk, as a node loads it. Below the snapshot from which that began, the entries are those that the
    /// network has committed, which is what the snapshot's tree must say.
    fn load(
        &mut self,
        plan: &Plan,
        keys: &Keys,
        files: &mut LedgerFiles<SimFolder>,
        committed: &[Bytes],
    ) -> Result<(Loader, Vec<Bytes>), StartFault> {
        let snapshots = SnapshotFiles::open(self.snapshot_folder())?;
        let keyring = self.keyring();
        let load = LoadLedger {
            keyring: &keyring,
            service: keys.service(),
            schema: &state::schema(),
            retained_entries: plan.settings.retained_entries,
        };
        let making = &mut self.making;
        making.refused.clear();
        let loaded = load.load(files, &snapshots, |name, error| {
            let is_archived =
                matches!(error, UseSnapshotError::Files(LedgerFilesError::Archived { .. }));
            making.refused.push(Refused { name, text: in_full(error), is_archived });
        });
        let (mut loader, used) = loaded.map_err(Box::new)?;
        // As a node that copies its ledger and goes on in the same process.
        if let Some(copied) = self.copied.take() {
            loader.note_committed(copied);
        }
        making.used = used;
        making.start(snapshots);
        let base = used.map_or(Seqno::ZERO, |name| name.seqno);
        let mut entries = committed.get(..index(base)).unwrap_or_default().to_vec();
        assert_eq!(entries.len(), index(base), "a snapshot is of what was committed");
        for (entry, seqno) in entries.iter().zip(1..) {
            let leaf = EntryView::parse(entry).expect("nodes keep entries").leaf();
            let found = loader.state().read().tree().leaf(seqno);
            assert_eq!(found, Some(leaf), "a snapshot has the leaf of entry {seqno}");
        }
        replay_to(&mut entries, files, base.next())?;
        Ok((loader, entries))
    }

    /// What its files have suffered by now: an excuse for what is wrong with them.
    #[must_use]
    pub fn suffered(&self) -> Option<Damage> {
        let has_shown = |damage: &Damage| *damage != Damage::Misdirected || self.folder.is_astray();
        self.damage.filter(has_shown)
    }

    /// Whether its disk may lack something of its ledger, or show something else, by what befell it.
    #[must_use]
    pub fn may_lack_something(&self) -> bool {
        self.suffered().is_some()
            || self.folder.away() > 0
            || self.folder.has_spoiled_chunk()
            || self.first_copied.is_some()
            || self.disk.entries.is_empty()
    }

    /// Whether it is down with its process alive, and will be the same node when it comes back.
    #[must_use]
    pub fn goes_on(&self) -> bool {
        self.wants_copy.is_some_and(|copy| copy.goes_on)
    }

    /// Whether it is up and votes.
    #[must_use]
    pub fn votes(&self) -> bool {
        let replica = self.replica.as_ref();
        replica.is_some_and(|replica| replica.configuration().voters.contains(&self.id))
    }

    /// Gives the replica an input.
    ///
    /// # Errors
    /// [`StepError`], when the node would stop.
    pub fn step(&mut self, time: Micros, input: Input) -> Option<Result<Effects, StepError>> {
        let now = self.now(time);
        self.replica.as_mut().map(|replica| replica.step(now, input))
    }

    fn now(&self, time: Micros) -> Now {
        let start_ms = START_S * 1000 + time / 1000;
        let ahead_ms = self.wall_ahead_ms + self.drift.ahead_us(time) / 1000;
        let wall_ms = start_ms.saturating_add_signed(ahead_ms);
        Now { wall_ms, mono_ms: time / 1000 }
    }

    /// Hands a write to the disk.
    pub fn persist(&mut self, write: Persist) {
        if let Some(storage) = &self.storage {
            storage.ledger().files().announce(write.entries.iter().map(|(entry, _)| entry));
        }
        self.writes.push_back(write);
    }

    /// Tells the disk what is committed.
    pub fn note_committed(&mut self, seqno: Seqno) {
        if let Some(storage) = &self.storage {
            self.name_waits |= storage.ledger().files().note_committed(seqno);
        }
    }

    /// The sync under way ends: what it covers is durable. The token to give back.
    ///
    /// # Errors
    /// [`StorageError`]: the node stops.
    pub fn synced(&mut self) -> Result<Option<PersistToken>, StorageError> {
        let Some(storage) = &mut self.storage else { return Ok(None) };
        let count = self.in_sync.unwrap_or_default();
        self.writes.iter().take(count).try_for_each(|write| storage.write(write))?;
        storage.sync()?;
        let done: Vec<Persist> = self.writes.drain(..count).collect();
        (self.in_sync, self.name_waits) = (None, false);
        let entries = done.iter().map(|write| write.entries.len()).sum();
        storage.ledger().files().arrived(entries);
        done.iter().for_each(|write| self.disk.keep(write));
        storage.name_committed()?;
        Ok(done.iter().filter_map(|write| write.token).max())
    }

    /// A failed write or sync has ended it. It touches its disk no more.
    pub fn fail(&mut self) {
        self.storage = None;
    }

    /// It goes down; in the middle of a write, if one is under way.
    pub fn go_down(&mut self, down: Down, dice: &mut Dice) -> Lost {
        let writes = self.in_sync.is_some() && self.storage.is_some();
        let makes = self.making.is_busy && dice.per_mille(500);
        if writes || makes {
            let left = dice.one_of(&[3, 12, 60]);
            let operations_left = Some(dice.below(left));
            self.folder.set_faults(Faults { operations_left, ..self.folder.faults() });
            // Whether it came to its end or not, nobody hears of it.
            if makes {
                let _unheard: Task = self.make_snapshot(self.making.waits_since());
            }
            if writes {
                let _unheard: Result<_, StorageError> = self.synced();
            }
        }
        // What was under way may have cut entries that were acknowledged. They may go: others have replaced them.
        let attempted = self.in_sync.unwrap_or_default();
        let cuts = self.writes.iter().take(attempted).filter_map(|write| write.truncate_to);
        if let Some(to) = cuts.min() {
            self.disk.entries.truncate(index(to));
        }
        let lost = match down {
            Down::Dark => self.folder.lose_power(dice),
            Down::Ended => Lost::default(),
        };
        let faults = self.folder.faults();
        self.folder.set_faults(Faults {
            operations_left: None,
            sync_fails: faults.sync_fails.filter(|it| it.is_for_good()),
            misdirects: None,
            ..faults
        });
        self.writes.clear();
        self.in_sync = None;
        self.name_waits = false;
        self.storage = None;
        self.replica = None;
        self.wants_copy = self.wants_copy.map(|copy| WantedCopy { goes_on: false, ..copy });
        self.making.end();
        self.farewells.clear();
        self.resumed = None;
        self.life += 1;
        self.ledger.clear();
        self.works = false;
        self.was_primary = false;
        self.paused_until = 0;
        lost
    }

    /// View and vote are gone, as if they had never been written.
    pub fn forget_hard_state(&mut self) {
        self.folder.forget(HARD_STATE_FILE);
        self.disk.hard_state = HardState { view: View::GENESIS, vote: None };
    }

    /// The last `count` entries are gone, but not the first `least`, and nothing shows.
    pub fn forget_entries(&mut self, count: usize, least: usize) {
        let length = self.disk.entries.len();
        let to = length.saturating_sub(count).max(least);
        let files = LedgerFiles::open(self.folder.clone()).and_then(LedgerFiles::into_writer);
        // A committed chunk cannot be cut; then the disk keeps what it has.
        if files.is_ok_and(|mut files| files.truncate(Seqno(to as u64)).is_ok()) {
            self.disk.entries.truncate(to);
        }
    }

    /// What is in its files; up to its newest snapshot what is committed, where chunks before that are not there. Snapshots of
    /// more than `end` entries do not count: a host may have put them there.
    ///
    /// # Errors
    /// [`StartFault`].
    pub fn kept(&self, committed: &[Bytes], end: Seqno) -> Result<Vec<Bytes>, StartFault> {
        // A copy, since opening files changes them, and the power may be about to go.
        let mut files = LedgerFiles::open(self.folder.copy())?;
        let names = snapshots(self).into_iter().rev();
        let newest = names.map(|name| name.seqno).find(|seqno| *seqno <= end);
        let newest = newest.unwrap_or_default();
        // What is damaged below a snapshot may be read, and not be what it was.
        let has_gap = self.suffered().is_some()
            || (1..=newest.0).any(|seqno| files.read(Seqno(seqno)).is_err());
        let base = if has_gap { newest } else { Seqno::ZERO };
        let mut entries = committed.get(..index(base)).unwrap_or_default().to_vec();
        replay_to(&mut entries, &mut files, base.next())?;
        Ok(entries)
    }

    /// Whether it was primary before this step and is none after it.
    pub fn steps_down(&mut self, role_changed: bool) -> bool {
        let Some(replica) = self.replica.as_ref().filter(|_| role_changed) else { return false };
        let is_primary = replica.state().read().role() == Role::Primary;
        std::mem::replace(&mut self.was_primary, is_primary) && !is_primary
    }

    /// What a fetch finds.
    ///
    /// # Errors
    /// [`ReadEntriesError`], when the disk gives back something else than what was written, or nothing.
    pub fn read(&self, fetch: &Fetch) -> Result<Vec<LogEntry>, ReadEntriesError> {
        let (Some(storage), Some(replica)) = (&self.storage, &self.replica) else {
            return Ok(Vec::new());
        };
        read_entries(&storage.ledger().files(), &replica.state(), fetch)
    }
}

/// Adds the entries of files from one on to others, as far as they can be read.
///
/// # Errors
/// [`LedgerFilesError`], what was read before it is added.
pub(crate) fn replay_to(
    entries: &mut Vec<Bytes>,
    files: &mut LedgerFiles<SimFolder>,
    from: Seqno,
) -> Result<(), LedgerFilesError> {
    let replayed = files.replay(from, |entry, _| {
        entries.push(entry);
        Ok::<(), Infallible>(())
    });
    match replayed {
        Ok(()) => Ok(()),
        Err(ReplayError::Files(error)) => Err(error),
        Err(ReplayError::Taker { source, .. }) => match source {},
    }
}

/// The maxima that a node's engine is given.
fn limits(plan: &Plan) -> Limits {
    match plan.planted {
        Some(Planted::IgnoreLimits) => Limits::default(),
        _ => plan.limits,
    }
}

/// Whether nothing of what was promised is forgotten.
fn follows(promised: &HardState, found: &HardState) -> bool {
    let keeps_vote = promised.vote.is_none() || promised.vote == found.vote;
    found.view > promised.view || (found.view == promised.view && keeps_vote)
}

/// Whether a chunk ends with this entry.
///
/// # Panics
/// When it is no entry.
#[must_use]
pub fn ends_chunk(entry: &[u8]) -> bool {
    let view = EntryView::parse(entry).expect("nodes keep entries");
    view.flags().contains(EntryFlags::CHUNK_AFTER)
}
