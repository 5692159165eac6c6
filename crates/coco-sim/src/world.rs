//! The queue of events, and time.

mod disks;

pub use disks::Damage;
pub use hosts::Gift;

use std::collections::BTreeMap;

use bytes::Bytes;
use coco_adapter::{Entropy, Ticket};
use coco_consensus::Fetch;
use coco_crypto::sha256;
use coco_planted::Bug;
use coco_replica::{Effects, GovernTask, Input, IntroductionReply, JoinRequest};
use coco_types::{NodeId, Role, Seqno, TxId};

use crate::{
    check::Check,
    client::{Client, Done},
    dice::Dice,
    ethereum::Seen,
    faults::{self, Cuts, Fault},
    genesis::{FIRST_ENTRIES, Governed, Keys, first_entries, secret},
    log::{Happened, Recorder, said},
    machine::{Machine, Origin, StartAs, ends_chunk, index},
    marks::Marks,
    plan::{Micros, Plan, Restart, TICK_US},
    planted::{self, Planted},
    private::{MARKER_BYTES, Private},
    seats::Answered,
    store,
    trace::Trace,
};

mod clients;
mod conclude;
mod copies;
pub(crate) mod disaster;
mod evidence;
mod hosts;
mod leases;
pub(crate) mod members;
mod newcomers;
mod notes;
mod queues;
mod rare;
mod receipts;
mod snapshots;
mod way;

use self::{
    evidence::Evidence,
    hosts::Hosts,
    leases::Leases,
    members::Members,
    newcomers::Nodes,
    queues::{Queues, Turn},
    way::Wires,
};

/// Most events of one run: far above what any plan leads to, so that a loop ends as a failure.
const EVENTS_MAX: u64 = 20_000_000;
/// Every so many seeds one has real keys.
const REAL_KEYS_EVERY: u64 = 50;
/// Time between a node's input and its next batch.
pub(crate) const WORK_US: Micros = 100;
/// What the dice for snapshots begin with, beside the seed.
const SNAPSHOT_DICE: u64 = 0x534e_4150_5348_4f54;
/// What the dice for the pool begin with, beside the seed.
const POOL_DICE: u64 = 0x504f_4f4c_5f5f_5f5f;
/// What the dice for members begin with, beside the seed.
const MEMBERS_DICE: u64 = 0x4d45_4d42_4552_5300;
/// What the dice for nodes that come and go begin with, beside the seed.
const NODES_DICE: u64 = 0x4e4f_4445_5353_0000;
/// What the dice for hosts that swap files begin with, beside the seed. It ends so that the seeds that are kept because they
/// once failed have none of these hosts, and stay what they were.
const HOSTS_DICE: u64 = 0x484f_5354_5302_3a1c;
/// Nodes have leases in runs of seeds from this one on, so that the seeds that are kept from before stay what they were.
const FIRST_WITH_LEASES: u64 = 1 << 63;
/// What the dice for leases of nodes begin with, beside the seed.
const LEASES_DICE: u64 = 0x4c45_4153_4553_0007;
/// What the dice for how many adversaries there are begin with, beside the seed.
const DENSITY_DICE: u64 = 0x4445_4e53_4954_5900;
/// How much slower a slow disk is.
const SLOWER: u64 = 200;
/// Of so many steps one is printed, as a log may have it.
const PRINTED_EVERY: u64 = 64;
/// How long an operator takes to start a node that has stopped.
pub(crate) const OPERATOR_US_MAX: Micros = 10_000_000;

/// Something that will happen.
#[derive(Debug)]
pub(crate) enum Event {
    Tick(usize),
    Work(usize),
    Message {
        to: (usize, NodeId),
        from: NodeId,
        bytes: Bytes,
    },
    Synced(usize),
    Fetched(usize, Fetch),
    Start(usize),
    Client(usize),
    Member(usize),
    /// A node's thread has carried a member's request out.
    Governed(usize, Box<GovernTask>),
    Fault(Fault),
    /// A newcomer with this number introduces itself, from its machine if it has one.
    Newcomer(Option<usize>, usize),
    /// A newcomer hears from a node.
    Introduced(usize, usize, IntroductionReply),
    AskForSeat(usize),
    SeatAsked(usize, Box<JoinRequest>),
    SeatAnswered(usize, Box<Answered>),
    /// A node shows the primary what it runs.
    Show(usize),
    /// A node is shown what another one runs.
    Shown(usize, Box<JoinRequest>),
    /// The power of a node goes.
    Crash(usize),
    /// Something that a driver tells its node.
    Input(usize, Input),
    /// A node's thread for snapshots has done something.
    Snapshot(usize),
    /// A node hears from another that its ledger lacks what is archived there.
    Behind(usize, NodeId, TxId),
    /// Something whose turn has come at a slow node.
    Late(Box<Self>),
}

impl Event {
    /// To which node it happens, if that is up and not standing still.
    fn node(&self) -> Option<usize> {
        match self {
            Self::Tick(node) | Self::Work(node) | Self::Synced(node) => Some(*node),
            Self::Fetched(node, _) | Self::Message { to: (node, _), .. } => Some(*node),
            Self::AskForSeat(node) | Self::SeatAsked(node, _) => Some(*node),
            Self::SeatAnswered(node, _) | Self::Show(node) | Self::Shown(node, _) => Some(*node),
            Self::Crash(node) | Self::Input(node, _) | Self::Snapshot(node) => Some(*node),
            Self::Behind(node, ..) | Self::Governed(node, _) => Some(*node),
            Self::Late(event) => event.node(),
            Self::Newcomer(..) | Self::Introduced(..) => None,
            Self::Start(_) | Self::Client(_) | Self::Member(_) | Self::Fault(_) => None,
        }
    }
}

/// Everything there is.
#[derive(Debug)]
pub struct World {
    /// What the seed decided.
    pub plan: Plan,
    /// What it will decide.
    pub dice: Dice,
    /// Microseconds since the beginning.
    pub time: Micros,
    /// The nodes.
    pub machines: Vec<Machine>,
    /// Links that are cut.
    pub cuts: Cuts,
    /// Wires that are bad.
    pub wires: Wires,
    /// Nodes that are slow.
    pub queues: Queues,
    /// What was reached.
    pub marks: Marks,
    recorder: Recorder,
    keys: Keys,
    faults: BTreeMap<Fault, u64>,
    is_healed: bool,
    /// Nodes that stay down after the world has healed.
    pub(crate) given_up: Vec<bool>,
    /// When an operator may ask for a snapshot again.
    may_ask_snapshot_at: Micros,
    events: BTreeMap<(Micros, u64), (Event, Option<u64>)>,
    order: u64,
    digest: [u8; 32],
    check: Check,
    trace: Trace,
    private: Private,
    entropy: u64,
    steps: u64,
    pub(crate) clients: Vec<Client>,
    tickets: BTreeMap<Ticket, usize>,
    next_ticket: u64,
    begun: u64,
    done: Vec<Done>,
    seen: Vec<Seen>,
    /// Up to where each node in each of its lives has shown what is committed.
    shown: BTreeMap<(usize, u64), Seqno>,
    members: Members,
    nodes: Nodes,
    leases: Leases,
    evidence: Evidence,
    hosts: Hosts,
}

/// What a run came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Digest of everything that nodes sent and wrote, in order: equal for equal runs.
    pub digest: [u8; 32],
    /// Transfers that clients were told are committed.
    pub committed: usize,
    /// Entries of the ledger.
    pub entries: usize,
    /// Receipts that were verified.
    pub audited: usize,
    /// How often a node's state was compared with that of another at the same seqno.
    pub states: usize,
    /// Reads of balances that were compared with the model.
    pub reads: usize,
    /// Simulated microseconds.
    pub time_us: Micros,
    /// How many times each adversary acted.
    pub faults: BTreeMap<&'static str, u64>,
    /// What was reached.
    pub marks: Marks,
}

/// Makes the run of a seed.
///
/// # Panics
/// When anything does not hold that must: the seed repeats it.
#[must_use]
pub fn run(seed: u64) -> Report {
    run_with(seed, None)
}

/// Whether hosts touch what nodes show in the run of a seed: in most of those that are kept they do not, and in none where nodes may have
/// leases, which such a host would have end as well.
const fn is_evidence_touched(seed: u64) -> bool {
    seed < FIRST_WITH_LEASES && seed % 4 == 2
}

/// Whether the run of a seed has real keys.
#[must_use]
pub const fn has_real_keys(seed: u64) -> bool {
    seed % REAL_KEYS_EVERY == 1
}

/// [`run`] with a bug planted.
///
/// # Panics
/// As [`run`], and as soon as the bug shows.
#[must_use]
pub fn run_with(seed: u64, planted: Option<Planted>) -> Report {
    run_in(seed, planted, Recorder::default())
}

pub(crate) fn run_in(seed: u64, planted: Option<Planted>, recorder: Recorder) -> Report {
    planted::plant(planted);
    store::run(&mut Dice::new(!seed));
    let mut dice = Dice::new(seed);
    let real_keys = has_real_keys(seed);
    let mut plan = Plan { planted, real_keys, ..Plan::draw(&mut dice) };
    plan.draw_snapshots(&mut Dice::new(seed.rotate_left(32) ^ SNAPSHOT_DICE));
    plan.draw_members(&mut Dice::new(seed.rotate_left(16) ^ MEMBERS_DICE));
    plan.draw_nodes(&mut Dice::new(seed.rotate_left(48) ^ NODES_DICE));
    plan.draw_pool(&mut Dice::new(seed.rotate_left(48) ^ POOL_DICE));
    plan.draw_hosts(&mut Dice::new(seed.rotate_left(32) ^ HOSTS_DICE));
    plan.draw_density(&mut Dice::new(seed.rotate_left(16) ^ DENSITY_DICE));
    if seed >= FIRST_WITH_LEASES {
        plan.draw_leases(&mut Dice::new(seed.rotate_left(8) ^ LEASES_DICE));
    }
    if planted == Some(Planted::StartFromOldDisk) {
        plan.restart = Restart::FromDisk;
        plan.faults.rollback = Some(2_000_000);
    }
    if planted == Some(Planted::Inside(Bug::ForgetPeriodRollback)) {
        plan.govern_us = Some(200_000);
        plan.governed_us = 300;
        plan.rekeys = 700;
    }
    let mut world = World::new(seed, plan, dice, recorder);
    world.live_until(world.plan.safety_us);
    world.heal();
    let is_over = world.liveness();
    world.conclude(is_over)
}

impl World {
    fn new(seed: u64, plan: Plan, mut dice: Dice, recorder: Recorder) -> Self {
        recorder.plan(&plan);
        let private = Private::draw(&mut dice);
        private.add(secret().secret().expose());
        let count = plan.nodes + plan.newcomers;
        let keys = if plan.real_keys { Keys::real(seed, count) } else { Keys::Doubles };
        let governed = match (plan.govern_us, plan.has_shares, plan.lease_s) {
            (None, ..) => Governed::ByNobody,
            (Some(_), true, _) => Governed::ByShareHolders,
            (Some(_), false, None) => Governed::ByMembers,
            (Some(_), false, Some(lease_s)) => Governed::WithLeases(lease_s),
        };
        let first = first_entries(secret(), &keys, (plan.nodes, plan.clients), governed);
        let machines: Vec<Machine> =
            (0..plan.nodes).map(|number| Machine::new(number, &keys, &first)).collect();
        let ids: Vec<NodeId> = machines.iter().map(|machine| machine.id).collect();
        let mut world = Self {
            check: Check::new(&plan, &first, private.clone()),
            trace: Trace::new(&ids, &first),
            private,
            entropy: 0,
            steps: 0,
            machines,
            recorder,
            keys,
            cuts: Cuts::default(),
            wires: Wires::default(),
            queues: Queues::default(),
            marks: Marks::default(),
            faults: BTreeMap::new(),
            is_healed: false,
            given_up: vec![false; plan.nodes],
            may_ask_snapshot_at: 0,
            events: BTreeMap::new(),
            order: 0,
            digest: [0; 32],
            clients: (0..plan.clients).map(|_| Client::new()).collect(),
            tickets: BTreeMap::new(),
            next_ticket: 0,
            begun: 0,
            done: Vec::new(),
            seen: Vec::new(),
            shown: BTreeMap::new(),
            members: Members::default(),
            nodes: Nodes::default(),
            leases: Leases::default(),
            evidence: Evidence::new(seed, is_evidence_touched(seed)),
            hosts: Hosts::default(),
            time: 0,
            plan,
            dice,
        };
        world.follow_nodes();
        for node in 0..world.machines.len() {
            world.machines[node].folder.watch(&world.private);
            world.plant_in_disk(node);
            world.start(node);
        }
        for client in 0..world.clients.len() {
            let at = world.dice.below(1_000_000);
            world.plan_event(at, Event::Client(client), None);
        }
        world.begin_members();
        world.begin_newcomers();
        for fault in faults::ALL {
            world.plan_fault(fault);
        }
        world
    }

    pub(crate) fn plan_event(&mut self, wait_us: Micros, event: Event, life: Option<u64>) {
        self.order += 1;
        self.events.insert((self.time + wait_us, self.order), (event, life));
    }

    /// An event in the present life of a node.
    pub(crate) fn plan_for(&mut self, node: usize, wait_us: Micros, event: Event) {
        let life = self.machines[node].life;
        self.plan_event(wait_us, event, Some(life));
    }

    fn plan_fault(&mut self, fault: Fault) {
        if let Some(every_us) = fault.every(self.plan.faults) {
            let wait_us = self.dice.around(every_us);
            self.plan_event(wait_us, Event::Fault(fault), None);
        }
    }

    /// Gives a node its power back later.
    pub fn start_in(&mut self, node: usize, wait_us: Micros) {
        self.plan_event(wait_us, Event::Start(node), None);
    }

    /// Takes the power of a node after it came back, unless it has gone before.
    pub fn crash_again(&mut self, node: usize, wait_us: Micros) {
        self.plan_event(wait_us, Event::Crash(node), Some(self.machines[node].life + 1));
    }

    /// The primary of the newest view.
    #[must_use]
    pub fn primary(&self) -> Option<usize> {
        let primaries = self.machines.iter().enumerate().filter_map(|(node, machine)| {
            let state = machine.replica.as_ref()?.state();
            let state = state.read();
            (state.role() == Role::Primary).then(|| (state.view(), node))
        });
        primaries.max().map(|(_, node)| node)
    }

    pub(crate) fn start(&mut self, node: usize) {
        let machine = &self.machines[node];
        // Nobody starts a copy again, but its process goes on where it was only left behind.
        let is_given_up =
            self.given_up[node] && !(machine.origin == Origin::Copy && machine.goes_on());
        let waits = machine.is_stranger() || self.leases.comes_again(node);
        if machine.replica.is_some() || waits || is_given_up {
            return;
        }
        self.marks.reach_if(self.given_up[node], "a copy of a node was left behind and went on");
        let start_as = self.start_as(node);
        match start_as {
            StartAs::Before if self.machines[node].life > 0 => {
                self.marks.reach("a node started again from its disk");
            }
            StartAs::Before => {}
            StartAs::NewNode => {
                self.marks.reach("a node started again as another");
            }
            StartAs::GoesOn => {}
        }
        self.notice_start(node);
        self.prepare_start(node);
        if !self.copy_if_wanted(node) {
            return;
        }
        let machine = &mut self.machines[node];
        let committed = &self.check.committed;
        let started =
            machine.start(&self.plan, &self.keys, start_as, &mut self.dice, &self.trace, committed);
        if !self.judge_start(node, started) {
            return;
        }
        self.check.started(node, self.machines[node].id);
        self.note_start(node);
        let first_tick = self.dice.below(TICK_US);
        self.plan_for(node, first_tick, Event::Tick(node));
        self.note_resumed(node, start_as);
        if self.nodes_ask() || self.machines[node].resumed.is_some() {
            self.plan_for(node, first_tick, Event::AskForSeat(node));
        }
        self.begin_to_show(node);
    }

    /// One more machine, which is down.
    pub(crate) fn add_machine(&mut self, machine: Machine) -> usize {
        machine.folder.watch(&self.private);
        self.machines.push(machine);
        self.check.add();
        self.given_up.push(false);
        self.machines.len() - 1
    }

    /// Takes the power of a node.
    pub fn crash(&mut self, node: usize) {
        let lost = self.darken(node);
        self.note(node, || Happened::Crashes { lost: lost.sectors, kept: lost.sectors_kept });
        match self.plan.planted {
            Some(Planted::ForgetHardState) => self.machines[node].forget_hard_state(),
            Some(Planted::LieAboutSync) => {
                self.machines[node].forget_entries(3, index(Seqno(FIRST_ENTRIES)));
            }
            Some(
                Planted::AcknowledgeBeforeSync
                | Planted::ReadUncommitted
                | Planted::SendInTheClear
                | Planted::SyncNoFile
                | Planted::SyncNoFolder
                | Planted::StartFromOldDisk
                | Planted::CompleteBeforeSync
                | Planted::AnswerOfAnother
                | Planted::GiveDamagedCopy
                | Planted::IgnoreLimits
                | Planted::Inside(_),
            )
            | None => {}
        }
        self.notice_crash(node, lost.sectors);
    }

    fn lose_power_again(&mut self, node: usize) {
        // It may have its vote again, and be needed.
        if !self.is_healed && self.may_lose(node) {
            self.marks.reach("the power went again before a node was up for long");
            self.crash(node);
            let wait_us = self.dice.between(1_000, OPERATOR_US_MAX);
            self.start_in(node, wait_us);
        }
    }

    fn next_event(&mut self) -> Option<Event> {
        loop {
            let ((time, _), (event, life)) = self.events.pop_first()?;
            self.time = time;
            assert!(self.order < EVENTS_MAX, "the run does not end");
            let Some(node) = event.node() else { return Some(event) };
            let machine = &self.machines[node];
            if machine.replica.is_none() || life.is_some_and(|life| life != machine.life) {
                continue;
            }
            if machine.paused_until > time {
                let wait_us = machine.paused_until - time;
                self.plan_event(wait_us, event, life);
                continue;
            }
            if let Event::Late(event) = event {
                return Some(*event);
            }
            match self.queues.turn(node, time, &event) {
                Turn::Now => return Some(event),
                Turn::After(wait_us) => {
                    self.plan_event(wait_us, Event::Late(Box::new(event)), life);
                }
                Turn::Never => self.marks.reach("a slow node took no more messages in"),
            }
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Tick(node) => {
                self.step(node, Input::Tick);
                self.plan_for(node, TICK_US, Event::Tick(node));
            }
            Event::Work(node) => {
                self.machines[node].works = false;
                self.note(node, || Happened::Works);
                let entropy = self.entropy();
                self.step(node, Input::Work(entropy));
            }
            Event::Message { to: (to, id), from, bytes } => {
                // What was sent to another life of that machine finds nobody.
                if self.machines[to].id == id {
                    self.note_received(to, from, &bytes);
                    self.step(to, Input::Message(from, bytes));
                }
            }
            Event::Newcomer(at, number) => self.newcomer(at, number),
            Event::Introduced(at, by, reply) => self.introduced(at, by, reply),
            Event::AskForSeat(node) => self.ask_for_seat(node),
            Event::SeatAsked(node, request) => self.seat_asked(node, *request),
            Event::SeatAnswered(node, answered) => self.seat_answered(node, *answered),
            Event::Show(node) => self.show(node),
            Event::Shown(node, request) => self.shown(node, *request),
            Event::Synced(node) => self.synced(node),
            Event::Fetched(node, fetch) => self.fetched(node, fetch),
            Event::Start(node) => self.start(node),
            Event::Crash(node) => self.lose_power_again(node),
            Event::Input(node, input) => self.step(node, input),
            Event::Snapshot(node) => self.snapshot(node),
            Event::Behind(node, by, needs) => self.behind(node, by, needs),
            Event::Late(event) => self.happen(*event),
            Event::Client(client) => self.client(client),
            Event::Member(member) => self.member(member),
            Event::Governed(node, task) => self.governed(node, *task),
            Event::Fault(fault) => {
                if !self.is_healed {
                    let name = fault.name().to_owned();
                    self.recorder.note(self.time, None, || Happened::Fault { fault: name });
                    let has_acted = fault.act(self);
                    *self.faults.entry(fault).or_default() += u64::from(has_acted);
                    self.plan_fault(fault);
                }
            }
        }
    }

    /// What a batch gets, which is private.
    fn entropy(&mut self) -> Entropy {
        let mut entropy = self.dice.bytes();
        self.entropy += 1;
        entropy[..MARKER_BYTES].copy_from_slice(&self.private.marker(b'e', self.entropy));
        Entropy(entropy)
    }

    fn synced(&mut self, node: usize) {
        self.spare(node);
        for write in &self.machines[node].writes {
            if let Some(to) = write.truncate_to {
                self.check.truncates(&self.machines[node].disk.entries, index(to));
            }
        }
        let token = match self.machines[node].synced() {
            Ok(token) => token,
            Err(error) => return self.disk_failed(node, &error),
        };
        if self.machines[node].folder.fired().misdirected {
            self.marks.reach("a write went astray");
        }
        let entries = self.machines[node].disk.entries.len();
        self.note(node, || Happened::Synced { entries });
        self.sync(node);
        if let Some(token) = token {
            self.step(node, Input::Persisted(token));
        }
    }

    /// Begins a sync of all that waits, unless one is under way.
    fn sync(&mut self, node: usize) {
        let machine = &mut self.machines[node];
        if machine.in_sync.is_some() || (machine.writes.is_empty() && !machine.name_waits) {
            return;
        }
        machine.in_sync = Some(machine.writes.len());
        let slower = if machine.slow_until > self.time { SLOWER } else { 1 };
        let wait_us = self.dice.around(self.plan.disk.sync_us * slower).max(1);
        self.plan_for(node, wait_us, Event::Synced(node));
    }

    /// Gives a node an input, if it is up, and does what it wants done.
    ///
    /// # Panics
    /// When the node would stop: nothing here gives it a reason to.
    pub fn step(&mut self, node: usize, input: Input) {
        self.steps += 1;
        let is_printed = self.steps.is_multiple_of(PRINTED_EVERY);
        if is_printed {
            self.check.written(&format!("{input:?}"));
        }
        match self.machines[node].step(self.time, input) {
            None => {}
            Some(Ok(effects)) => {
                if is_printed {
                    self.check.written(&format!("{effects:?}"));
                }
                self.carry_out(node, effects);
            }
            Some(Err(error)) => panic!("n{node} stops: {error}: {error:?}"),
        }
    }

    fn carry_out(&mut self, node: usize, effects: Effects) {
        self.note_effects(node, &effects);
        self.notice_step(node, &effects);
        let machine = &mut self.machines[node];
        let token = effects.persist.iter().filter_map(|persist| persist.token).max();
        for persist in effects.persist {
            if let Some(to) = persist.truncate_to {
                machine.ledger.truncate(index(to));
            }
            for (entry, chunk_ends) in &persist.entries {
                assert_eq!(
                    *chunk_ends,
                    ends_chunk(entry),
                    "an entry says itself that its chunk ends"
                );
                if *chunk_ends {
                    self.marks.reach("a chunk ended");
                }
                self.check.sealed(&machine.ledger, entry);
                self.check.shown(entry);
                mix(&mut self.digest, entry);
                machine.ledger.push(entry.clone());
            }
            machine.persist(persist);
        }
        if effects.rolled_back.is_some() {
            self.marks.reach("a node rolled back what it had executed or taken");
        }
        if let Some(committed) = effects.committed {
            machine.note_committed(committed.seqno);
            self.trace.is_final(machine.id, committed.seqno);
        }
        if machine.steps_down(effects.role_changed) {
            self.marks.reach("a primary stepped down");
        }
        self.check.look(&self.machines, node);
        self.follow_nodes();
        if let Some(configuration) = effects.configuration {
            self.marks.reach(match (configuration.is_joint(), configuration.learners.is_empty()) {
                (true, _) => "two majorities were needed",
                (false, true) => "a change of the configuration ended",
                (false, false) => "a node listened before it voted",
            });
            self.check_seats(node);
        }
        self.answer_seats(node, effects.joins);
        self.answer_newcomers(node, effects.introduced);
        self.take_snapshot_tasks(node, effects.snapshots);
        self.tell_behind(node, effects.behind);
        self.sync(node);
        for (to, message) in effects.send {
            self.send(node, to, message);
        }
        for fetch in effects.fetch {
            let wait_us = self.dice.around(self.plan.disk.sync_us);
            self.plan_for(node, wait_us, Event::Fetched(node, fetch));
        }
        for (ticket, reply) in effects.replies {
            self.reply(node, ticket, reply);
        }
        self.answer_members(node, effects.govern, effects.governed);
        if let Some(token) = token
            && self.plan.planted == Some(Planted::AcknowledgeBeforeSync)
        {
            self.step(node, Input::Persisted(token));
        }
        let machine = &mut self.machines[node];
        if !machine.works && machine.replica.as_ref().is_some_and(coco_replica::Replica::has_work) {
            machine.works = true;
            self.plan_for(node, WORK_US, Event::Work(node));
        }
    }

    fn send(&mut self, node: usize, id: NodeId, bytes: Bytes) {
        mix(&mut self.digest, &bytes);
        self.check.shown(&bytes);
        self.notice_message(&bytes);
        let Some(to) = self.machines.iter().position(|machine| machine.id == id) else {
            assert_eq!(self.plan.restart, Restart::Rejoin, "nodes send to nodes of the network");
            return;
        };
        let from = self.machines[node].id;
        self.check.said(from, id, &bytes);
        let first = self.way(node, to);
        let again = first.and_then(|_| self.way_again(node));
        let arrives_us: Vec<Micros> = first.into_iter().chain(again).collect();
        self.note(node, || {
            let arrives_us = arrives_us.iter().map(|wait_us| self.time + wait_us).collect();
            Happened::Sends { to, said: said(&bytes), arrives_us }
        });
        for wait_us in arrives_us {
            let message = Event::Message { to: (to, id), from, bytes: bytes.clone() };
            self.plan_event(wait_us, message, None);
        }
    }

    /// Faults end. A majority is well; the others may stay down for good.
    fn heal(&mut self) {
        self.is_healed = true;
        self.recorder.note(self.time, None, || Happened::Heals);
        self.cuts.heal();
        self.wires.heal();
        self.leases.heal();
        self.calm();
        self.queues.heal();
        let nodes = self.machines.len();
        for copy in self.plan.nodes..nodes {
            let machine = &self.machines[copy];
            let is_copy = machine.origin == Origin::Copy;
            if is_copy && machine.replica.is_some() && self.may_lose(copy) {
                self.crash(copy);
            }
        }
        let nodes_planned = self.plan.nodes;
        let first = self.dice.place(nodes_planned);
        let minority = nodes_planned.div_ceil(2);
        let ill = if self.dice.per_mille(500) { self.dice.place(minority) } else { 0 };
        self.give_up(first, ill);
        for node in 0..nodes {
            let machine = &mut self.machines[node];
            (machine.paused_until, machine.slow_until) = (0, 0);
            machine.folder.set_faults(disks::mended(machine.folder.faults()));
            self.bring_back(node);
            self.start(node);
        }
    }

    /// Whether the world has healed.
    pub(crate) const fn is_healed(&self) -> bool {
        self.is_healed
    }

    /// Everything that clients wait for comes to its end, and all nodes that are well agree. Whether it does: a network that
    /// reckless hosts have taken the majority from may stand still instead.
    fn liveness(&mut self) -> bool {
        let may_go_on = self.may_go_on();
        let deadline = self.time + self.plan.liveness_us();
        while !self.is_over() {
            // Where nobody is up, nothing happens any more.
            let Some(event) = self.next_event() else { break };
            self.happen(event);
            if self.time >= deadline {
                break;
            }
        }
        let is_over = self.is_over();
        assert!(is_over || !may_go_on, "{}", self.what_is_missing());
        if !is_over {
            self.marks.reach("a network that had lost its majority stood still");
        }
        is_over
    }

    fn is_over(&self) -> bool {
        if !self.clients.iter().all(Client::is_at_rest) || !self.members.are_at_rest() {
            return false;
        }
        self.is_settled()
    }
}

/// Adds something that happened to the digest of the run.
fn mix(digest: &mut [u8; 32], bytes: &[u8]) {
    *digest = sha256(&[digest.as_slice(), bytes].concat()).0;
}
