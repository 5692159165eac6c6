//! One node: what its driver does around the replica, its disk and its clock.

use std::collections::VecDeque;

use bytes::Bytes;
use coco_consensus::{Configuration, Fetch, HardState, LogEntry, PersistToken, RaftEngine, Start};
use coco_evm::state;
use coco_ledger::{EntryFlags, EntryView};
use coco_replica::{Effects, Input, Loader, Now, Persist, Replica, StepError};
use coco_types::{NodeId, Seqno, TxId, View};

use crate::{
    dice::Dice,
    ethereum,
    genesis::{FIRST_ENTRIES, Keys, START_S, secret},
    plan::{Micros, Plan},
    trace::{Trace, Traced},
};

/// A node.
#[derive(Debug)]
pub struct Machine {
    /// Its name.
    pub id: NodeId,
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
        Self {
            id: keys.signer(number).node_id(),
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

    /// Starts it from its disk.
    ///
    /// # Panics
    /// When it is up, or its own disk does not start it: nothing here damages a disk.
    pub fn start(
        &mut self,
        plan: &Plan,
        keys: &Keys,
        ids: &[NodeId],
        dice: &mut Dice,
        trace: &Trace,
    ) {
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
        let adapter = ethereum::adapter(&loader.reader());
        let start = Start {
            me: self.id,
            configuration: Configuration { nodes: ids.to_vec() },
            hard_state: loader.hard_state(Some(self.disk.hard_state)),
            views,
            last,
            committed,
            recent: loader.take_recent(),
            timing: plan.timing,
            seed: dice.bits(),
            limits: plan.limits,
        };
        trace.started(&start, &self.disk.entries);
        let engine = RaftEngine::new(start).expect("the disk is in order");
        let engine = Traced::new(engine, self.id, trace.clone());
        let signer = keys.signer(self.number);
        self.replica = Some(Replica::new(loader, Box::new(engine), adapter, signer, plan.settings));
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
