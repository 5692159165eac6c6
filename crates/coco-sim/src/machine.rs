//! One node: what its driver does around the replica, its disk and its clock.

use std::collections::VecDeque;

use bytes::Bytes;
use coco_consensus::{Fetch, HardState, LogEntry, PersistToken, RaftEngine, Start};
use coco_evm::state;
use coco_ledger::{EntryFlags, EntryView, GenesisNode};
use coco_replica::{Effects, Input, Loader, Now, Persist, Replica, StepError};
use coco_types::{NodeId, Seqno, TxId, View};

use crate::{
    dice::Dice,
    ethereum,
    genesis::{FIRST_ENTRIES, Keys, START_S, node_record, secret},
    plan::{Micros, Plan},
};

/// A node.
#[derive(Debug)]
pub struct Machine {
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
    /// A disk that its host has put aside.
    pub copy: Option<Disk>,
    /// Its mind; none while it is down.
    pub replica: Option<Replica>,
    /// All entries that the replica has handed out, durable or not.
    pub ledger: Vec<Bytes>,
    /// What a crash leaves.
    pub disk: Disk,
    /// What was handed to the disk and is not durable, in order.
    pub writes: VecDeque<Persist>,
    /// How many of these the sync under way will make durable.
    pub in_sync: usize,
    /// Counts its lives: what was on its way to an earlier one never arrives.
    pub life: u64,
    /// Its wall clock is ahead by so much.
    pub wall_ahead_ms: i64,
    /// It stands still until then.
    pub paused_until: Micros,
    /// Its disk is slow until then.
    pub slow_until: Micros,
    /// Its next sync will fail.
    pub sync_fails: bool,
    /// A batch is about to be executed.
    pub works: bool,
    /// It was primary after its last step.
    pub was_primary: bool,
    number: usize,
}

/// Which node a machine is when it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartAs {
    /// The one that it was: view and vote of its disk are its own.
    Before,
    /// A new one, which has to ask for its seat.
    NewNode,
}

/// What is durable.
#[derive(Clone, Debug)]
pub struct Disk {
    /// View and vote.
    pub hard_state: HardState,
    /// The ledger.
    pub entries: Vec<Bytes>,
    /// The last entry of the last chunk that has its final name.
    pub committed: Seqno,
}

impl Disk {
    /// Carries out some steps of a write: each cut, entry and hard state is one. Returns how many are left over.
    fn write(&mut self, write: &Persist, steps: usize) -> usize {
        let mut left = steps;
        let mut goes_on = || left.checked_sub(1).inspect(|less| left = *less).is_some();
        if let Some(to) = write.truncate_to.filter(|_| goes_on()) {
            self.entries.truncate(index(to));
        }
        let entries = write.entries.iter().take_while(|_| goes_on());
        self.entries.extend(entries.map(|(entry, _)| entry.clone()));
        if let Some(state) = write.hard_state.filter(|_| goes_on()) {
            self.hard_state = HardState::decode(&state.encode()).expect("it reads what it wrote");
        }
        left
    }
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

impl Machine {
    /// A node that is down, with the first entries on its disk.
    #[must_use]
    pub fn new(number: usize, keys: &Keys, first: &[Bytes]) -> Self {
        let hard_state = HardState { view: View::GENESIS, vote: None };
        let id = keys.signer(number).node_id();
        Self {
            id,
            seat: id,
            lives: vec![id],
            record: node_record(keys.signer(number).as_ref()),
            hint: None,
            copy: None,
            replica: None,
            ledger: Vec::new(),
            disk: Disk { hard_state, entries: first.to_vec(), committed: Seqno::ZERO },
            writes: VecDeque::new(),
            in_sync: 0,
            life: 0,
            wall_ahead_ms: 0,
            paused_until: 0,
            slow_until: 0,
            sync_fails: false,
            works: false,
            was_primary: false,
            number,
        }
    }

    /// A machine with a copy of another's disk, whose lives begin where that one's never come.
    #[must_use]
    pub fn copy_of(other: &Self, place: usize) -> Self {
        Self {
            id: other.seat,
            seat: other.seat,
            lives: Vec::new(),
            record: other.record.clone(),
            hint: None,
            copy: None,
            replica: None,
            ledger: Vec::new(),
            disk: other.disk.clone(),
            writes: VecDeque::new(),
            in_sync: 0,
            life: COPY_LIVES * place as u64,
            wall_ahead_ms: 0,
            paused_until: 0,
            slow_until: 0,
            sync_fails: false,
            works: false,
            was_primary: false,
            number: other.number,
        }
    }

    /// Starts it from its disk: as the node that it was, or as a new one.
    ///
    /// # Panics
    /// When it is up, or its own disk does not start it: nothing here damages a disk.
    pub fn start(&mut self, plan: &Plan, keys: &Keys, start_as: StartAs, dice: &mut Dice) {
        assert!(self.replica.is_none(), "it is up");
        self.life += 1;
        self.ledger.clone_from(&self.disk.entries);
        let index_key = [dice.bits(), dice.bits()];
        let retained = plan.settings.retained_entries;
        let mut loader = Loader::new(secret(), state::schema(), index_key, retained);
        for (entry, seqno) in self.disk.entries.iter().zip(1..) {
            loader
                .push(entry.clone(), Seqno(seqno) <= self.disk.committed)
                .expect("a disk keeps what it was given");
        }
        let (views, last, committed) = {
            let state = loader.state();
            let state = state.read();
            let known = self.disk.committed.max(Seqno(FIRST_ENTRIES));
            let views = state.view_history().into_iter().map(|id| (id.seqno, id.view)).collect();
            let committed = state.last_signature(known).expect("the first entries are signed");
            (views, state.last().seqno, committed)
        };
        let (signer, found) = match start_as {
            StartAs::Before => (keys.signer(self.number), Some(self.disk.hard_state)),
            StartAs::NewNode => (keys.again(self.number, self.life), None),
        };
        self.id = signer.node_id();
        self.lives.push(self.id);
        self.record = node_record(signer.as_ref());
        let (configuration, pending) =
            loader.configuration().expect("the first entry names the voters");
        let adapter = ethereum::adapter(&loader.reader());
        let engine = RaftEngine::new(Start {
            me: self.id,
            configuration,
            pending,
            hard_state: loader.hard_state(found),
            views,
            last,
            committed,
            recent: loader.take_recent(),
            timing: plan.timing,
            seed: dice.bits(),
            limits: plan.limits,
        })
        .expect("the disk is in order");
        self.replica = Some(Replica::new(loader, Box::new(engine), adapter, signer, plan.settings));
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
        let wall_ms = start_ms.saturating_add_signed(self.wall_ahead_ms);
        Now { wall_ms, mono_ms: time / 1000 }
    }

    /// The sync under way ends well: what it covers is durable. The token to give back.
    pub fn synced(&mut self) -> Option<PersistToken> {
        let done: Vec<Persist> = self.writes.drain(..std::mem::take(&mut self.in_sync)).collect();
        for write in &done {
            self.disk.write(write, usize::MAX);
        }
        self.name_chunks();
        done.iter().filter_map(|write| write.token).max()
    }

    /// Closed chunks of which everything is committed get their final name.
    pub fn name_chunks(&mut self) {
        let Some(replica) = &self.replica else { return };
        let committed = index(replica.state().read().committed().seqno);
        for at in index(self.disk.committed)..committed.min(self.disk.entries.len()) {
            if ends_chunk(&self.disk.entries[at]) {
                self.disk.committed = Seqno(at as u64 + 1);
            }
        }
    }

    /// The power goes: of what was not durable, some first steps are. Returns how many steps were lost and kept.
    pub fn crash(&mut self, dice: &mut Dice) -> (usize, usize) {
        let steps_of = |write: &Persist| {
            usize::from(write.truncate_to.is_some())
                + write.entries.len()
                + usize::from(write.hard_state.is_some())
        };
        let all: usize = self.writes.iter().map(steps_of).sum();
        let kept = dice.place(all + 1);
        let mut left = kept;
        for write in std::mem::take(&mut self.writes) {
            left = self.disk.write(&write, left);
        }
        self.in_sync = 0;
        self.replica = None;
        self.life += 1;
        self.ledger.clear();
        self.sync_fails = false;
        self.works = false;
        self.was_primary = false;
        self.paused_until = 0;
        (all - kept, kept)
    }

    /// What a fetch finds.
    #[must_use]
    pub fn read(&self, fetch: &Fetch) -> Vec<LogEntry> {
        let end = index(fetch.to).min(self.ledger.len());
        let entries = self.ledger.get(index(fetch.from) - 1..end).unwrap_or_default();
        let entries =
            entries.iter().map(|data| LogEntry { tx_id: tx_id(data), data: data.clone() });
        entries.collect()
    }
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
