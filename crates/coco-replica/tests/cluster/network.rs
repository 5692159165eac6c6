//! The stage: nodes with disks, links that lose and hold messages, and a clock that is moved by hand.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use coco_adapter::{Checked, Entropy, Ticket};
use coco_consensus::{
    Configuration, Fetch, FetchFailed, HardState, Limits, LogEntry, RaftEngine, Start, Timing,
};
use coco_crypto::sha256;
use coco_governance::FirstGovernance;
use coco_ledger::{EntryView, ServiceStatus, SnapshotName};
use coco_replica::{
    Effects, Input, IntroductionReply, JoinReply, Loader, Now, Persist, Replica, Reply, Settings,
    StepError,
};
use coco_types::{NodeId, Role, Seqno, TxId, TxStatus, View};

use crate::{
    bank::{self, Bank, Transfer},
    genesis::{FirstEntries, Keys, START_S, first_entries},
    governing::Governor,
    picture::{INDEX_KEY, Picture},
    snapshots::{self, Making},
    watch::Watch,
};

/// Length of a tick.
pub(crate) const TICK_MS: u64 = 10;

/// What a network is made of.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) nodes: usize,
    pub(crate) first: FirstEntries,
    pub(crate) settings: Settings,
    pub(crate) timing: Timing,
    pub(crate) limits: Limits,
    /// Most transfers in an entry.
    pub(crate) batch: usize,
    /// How many entries a node has at hand after a start, without reading its disk again.
    pub(crate) recent: usize,
    pub(crate) seed: u64,
    /// Who governs.
    pub(crate) members: Option<FirstGovernance>,
    /// What the service is, where somebody governs.
    pub(crate) status: ServiceStatus,
}

/// Execution runs ahead as far as the other limits let it.
pub(crate) const EAGER: Settings = Settings { batches_ahead: usize::MAX, ..Settings::DEFAULT };

impl Default for Plan {
    fn default() -> Self {
        Self {
            nodes: 3,
            first: FirstEntries::Two,
            settings: EAGER,
            timing: Timing { heartbeat_ticks: 2, election_ticks_min: 10, election_ticks_max: 19 },
            limits: Limits::default(),
            batch: 1,
            recent: usize::MAX,
            seed: 1,
            members: None,
            status: ServiceStatus::Opening,
        }
    }
}

pub(crate) struct Cluster {
    pub(crate) plan: Plan,
    pub(crate) keys: Keys,
    pub(crate) nodes: Vec<Node>,
    /// Messages on their way, by sender and receiver.
    pub(crate) links: BTreeMap<(usize, usize), VecDeque<Bytes>>,
    pub(crate) cuts: BTreeSet<(usize, usize)>,
    pub(crate) watch: Watch,
    genesis: usize,
    /// Milliseconds since the start.
    pub(crate) clock_ms: u64,
    next_ticket: u64,
    /// The transfer that each caller asked for.
    pub(crate) tickets: BTreeMap<Ticket, u64>,
    next_entropy: u64,
    /// One more than the largest transfer id so far.
    pub(crate) transfers: u64,
}

pub(crate) struct Node {
    pub(crate) id: NodeId,
    /// None while the node is down.
    pub(crate) replica: Option<Replica>,
    /// Why it went down by itself.
    pub(crate) broken: Option<StepError>,
    /// All entries that the replica has handed out, durable or not.
    pub(crate) ledger: Vec<Bytes>,
    pub(crate) disk: Disk,
    /// What was handed to the disk and is not durable.
    pub(crate) writes: VecDeque<Persist>,
    /// The disk hangs.
    pub(crate) disk_held: bool,
    /// The driver is kept from executing.
    pub(crate) work_held: bool,
    pub(crate) fetches: VecDeque<Fetch>,
    pub(crate) snapshots: Making,
    pub(crate) governing: Governor,
    pub(crate) fetches_answered: usize,
    /// What strangers, and nodes that want a place, were told.
    pub(crate) introduced: Vec<(NodeId, IntroductionReply)>,
    pub(crate) joins: Vec<(NodeId, JoinReply)>,
    pub(crate) replies: Vec<(Ticket, Reply)>,
    /// Callers who have no answer yet.
    pub(crate) waiting: BTreeSet<Ticket>,
    pub(crate) rolled_back: Vec<Seqno>,
    /// Its wall clock is behind by so much.
    pub(crate) behind_ms: u64,
    starts: u64,
}

#[derive(Clone)]
pub(crate) struct Disk {
    pub(crate) hard_state: HardState,
    pub(crate) entries: Vec<Bytes>,
    /// The last entry of the last chunk that is marked as committed.
    pub(crate) committed: Seqno,
    /// Complete snapshots.
    pub(crate) snapshots: BTreeMap<SnapshotName, Vec<u8>>,
}

pub(crate) fn index(seqno: Seqno) -> usize {
    usize::try_from(seqno.0).expect("a small ledger")
}

pub(crate) fn tx_id(entry: &[u8]) -> TxId {
    EntryView::parse(entry).expect("nodes keep entries").tx_id()
}

impl Cluster {
    /// All nodes are up; nobody is primary, except in a network of one.
    pub(crate) fn new(plan: Plan) -> Self {
        let keys = Keys::fast(plan.nodes);
        Self::with_keys(plan, keys)
    }

    pub(crate) fn with_keys(plan: Plan, keys: Keys) -> Self {
        let entries = first_entries(&keys, plan.first, plan.members.as_ref(), plan.status);
        let hard_state = HardState { view: View::GENESIS, vote: None };
        let node = |id| Node {
            id,
            replica: None,
            broken: None,
            ledger: Vec::new(),
            disk: Disk {
                hard_state,
                entries: entries.clone(),
                committed: Seqno::ZERO,
                snapshots: BTreeMap::new(),
            },
            writes: VecDeque::new(),
            disk_held: false,
            work_held: false,
            fetches: VecDeque::new(),
            snapshots: Making::default(),
            governing: Governor::default(),
            fetches_answered: 0,
            introduced: Vec::new(),
            joins: Vec::new(),
            replies: Vec::new(),
            waiting: BTreeSet::new(),
            rolled_back: Vec::new(),
            behind_ms: 0,
            starts: 0,
        };
        let mut cluster = Self {
            nodes: keys.ids().into_iter().map(node).collect(),
            links: BTreeMap::new(),
            cuts: BTreeSet::new(),
            watch: Watch::new(plan.nodes, &entries),
            genesis: entries.len(),
            clock_ms: 0,
            next_ticket: 0,
            tickets: BTreeMap::new(),
            next_entropy: 0,
            transfers: 0,
            plan,
            keys,
        };
        (0..cluster.nodes.len()).for_each(|node| cluster.start(node));
        cluster
    }

    /// A network whose first node is primary, at rest.
    pub(crate) fn led(plan: Plan) -> Self {
        let mut cluster = Self::new(plan);
        cluster.step(0, Input::Campaign);
        cluster.settle();
        assert_eq!(cluster.primary(), Some(0));
        cluster
    }

    /// Starts a node from its disk.
    pub(crate) fn start(&mut self, node: usize) {
        let ids = self.nodes.iter().map(|node| node.id).collect();
        let this = &mut self.nodes[node];
        assert!(this.replica.is_none(), "it is up");
        this.starts += 1;
        this.ledger.clone_from(&this.disk.entries);
        let retained = self.plan.settings.retained_entries;
        let keyring = self.keys.keyring(node);
        let mut loader = snapshots::loader(&self.keys, node, &this.disk, retained)
            .unwrap_or_else(|| Loader::new(keyring, bank::schema(), INDEX_KEY, retained));
        for (entry, seqno) in this.disk.entries.iter().zip(1..).skip(index(loader.last().seqno)) {
            loader
                .push(entry.clone(), Seqno(seqno) <= this.disk.committed)
                .expect("a disk keeps what it was given");
        }
        assert_eq!(loader.awaited(), None, "a disk has the evidence of its snapshots");
        let (views, last, committed) = {
            let state = loader.state();
            let state = state.read();
            let known =
                this.disk.committed.max(Seqno(self.genesis as u64)).max(state.committed().seqno);
            let views = state.view_history().into_iter().map(|id| (id.seqno, id.view)).collect();
            (
                views,
                state.last().seqno,
                state.last_signature(known).expect("the first entries are signed"),
            )
        };
        let (configuration, pending) =
            loader.configuration().unwrap_or_else(|| (Configuration::of(ids), None));
        let mut recent = loader.take_recent();
        recent.drain(..recent.len().saturating_sub(self.plan.recent));
        let engine = RaftEngine::new(Start {
            me: this.id,
            configuration,
            pending,
            hard_state: loader.hard_state(Some(this.disk.hard_state)),
            views,
            last,
            committed,
            recent,
            timing: self.plan.timing,
            seed: self.plan.seed * 1000 + this.starts * 100 + node as u64,
            limits: self.plan.limits,
        })
        .expect("the disk is in order");
        let bank = Bank::new(self.plan.batch);
        let signer = self.keys.signer(node);
        let replica =
            Replica::new(loader, Box::new(engine), Box::new(bank), signer, self.plan.settings);
        assert!(replica.state().read().view() >= replica.state().read().last().view);
        this.replica = Some(replica);
        this.broken = None;
        self.watch.started(node);
    }

    /// Takes the power from a node whose disk just got so far: each entry, each cut and each hard state is a step.
    pub(crate) fn crash_after(&mut self, node: usize, steps: usize) {
        let this = &mut self.nodes[node];
        let mut left = steps;
        let mut may_go_on = || left.checked_sub(1).inspect(|less| left = *less).is_some();
        for write in &this.writes {
            if let Some(to) = write.truncate_to.filter(|_| may_go_on()) {
                self.watch.check_truncate(&this.disk.entries, index(to));
                this.disk.entries.truncate(index(to));
            }
            let entries = write.entries.iter().take_while(|_| may_go_on());
            this.disk.entries.extend(entries.map(|(entry, _)| entry.clone()));
            if let Some(state) = write.hard_state.filter(|_| may_go_on()) {
                this.disk.hard_state = state;
            }
        }
        self.crash(node);
    }

    /// Takes the power from a node: what was not durable is gone.
    pub(crate) fn crash(&mut self, node: usize) {
        let this = &mut self.nodes[node];
        this.replica = None;
        this.writes.clear();
        this.fetches.clear();
        this.snapshots = Making::default();
        this.governing = Governor::default();
        this.waiting.clear();
        this.ledger.clear();
    }

    fn now(&self, node: usize) -> Now {
        let wall_ms = START_S * 1000 + self.clock_ms - self.nodes[node].behind_ms;
        Now { wall_ms, mono_ms: self.clock_ms }
    }

    /// Gives a node an input, if it is up, and does what it wants done, except for what takes time.
    pub(crate) fn step(&mut self, node: usize, input: Input) {
        let now = self.now(node);
        let Some(replica) = &mut self.nodes[node].replica else { return };
        match replica.step(now, input) {
            Ok(effects) => self.carry_out(node, effects),
            Err(error) => {
                self.crash(node);
                self.nodes[node].broken = Some(error);
            }
        }
    }

    fn carry_out(&mut self, node: usize, effects: Effects) {
        let this = &mut self.nodes[node];
        for persist in &effects.persist {
            if let Some(to) = persist.truncate_to {
                assert!(
                    to.0 < this.ledger.len() as u64,
                    "n{node} voids what it never had after {to}"
                );
                this.ledger.truncate(index(to));
            }
            persist.entries.iter().for_each(|(entry, _)| self.watch.check_sealed(entry));
            this.ledger.extend(persist.entries.iter().map(|(entry, _)| entry.clone()));
        }
        this.writes.extend(effects.persist);
        this.fetches.extend(effects.fetch);
        this.snapshots.tasks.extend(effects.snapshots);
        this.governing.tasks.extend(effects.govern);
        this.governing.replies.extend(effects.governed);
        this.governing.refused.extend(effects.refused.into_iter().map(|(what, _)| what));
        this.introduced.extend(effects.introduced);
        this.joins.extend(effects.joins);
        for reply in &effects.replies {
            assert!(
                this.waiting.remove(&reply.0),
                "n{node} answers somebody who does not wait: {reply:?}"
            );
            this.replies.push(reply.clone());
        }
        this.rolled_back.extend(effects.rolled_back);
        // They never come up.
        let learners =
            this.replica.as_ref().map(|replica| replica.configuration().learners.clone());
        let learners = learners.unwrap_or_default();
        for (to, message) in effects.send {
            let Some(to) = self.nodes.iter().position(|other| other.id == to) else {
                assert!(learners.contains(&to), "n{node} writes to somebody unknown");
                continue;
            };
            assert_ne!(to, node, "nobody writes to itself");
            if !self.cuts.contains(&(node, to)) {
                self.links.entry((node, to)).or_default().push_back(message);
            }
        }
        if let Some(committed) = effects.committed {
            assert_eq!(self.state(node).committed(), committed, "the effect tells the state");
        }
        self.watch.check(&self.nodes, node, &effects.replies);
        if effects.rolled_back.is_some() {
            assert_eq!(
                self.picture(node),
                self.twin(node),
                "n{node} is as if it had not seen what was rolled back"
            );
        }
    }

    /// Hands a transfer to a node.
    pub(crate) fn submit(&mut self, node: usize, transfer: Transfer) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.transfers = self.transfers.max(transfer.id + 1);
        self.tickets.insert(ticket, transfer.id);
        if self.nodes[node].replica.is_some() {
            self.nodes[node].waiting.insert(ticket);
        }
        self.step(node, Input::Submit(vec![(ticket, Checked::new(transfer))]));
        ticket
    }

    /// Hands over a transfer that succeeds while there are no others.
    pub(crate) fn pay(&mut self, node: usize) -> Ticket {
        let id = self.transfers;
        let from = u8::try_from(id % u64::from(bank::ACCOUNTS)).expect("few accounts");
        self.submit(node, Transfer { id, from, to: (from + 1) % bank::ACCOUNTS, amount: 1 })
    }

    pub(crate) fn pay_often(&mut self, node: usize, times: usize) {
        for _ in 0..times {
            self.pay(node);
        }
    }

    /// Pays and executes at once; the entry that it stands in.
    pub(crate) fn execute(&mut self, node: usize) -> TxId {
        let ticket = self.pay(node);
        assert!(self.work(node), "n{node} executes");
        self.executed(node, ticket)
    }

    /// Lets a node execute its next batch, if it has one and room for it.
    pub(crate) fn work(&mut self, node: usize) -> bool {
        if !self.nodes[node].replica.as_ref().is_some_and(Replica::has_work) {
            return false;
        }
        self.next_entropy += 1;
        let entropy = sha256(&self.next_entropy.to_le_bytes()).0;
        self.step(node, Input::Work(Entropy(entropy)));
        true
    }

    pub(crate) fn reply(&self, node: usize, ticket: Ticket) -> Option<&Reply> {
        self.nodes[node].replies.iter().find(|(other, _)| *other == ticket).map(|(_, reply)| reply)
    }

    pub(crate) fn executed(&self, node: usize, ticket: Ticket) -> TxId {
        match self.reply(node, ticket) {
            Some(Reply::Executed(id)) => *id,
            other => panic!("n{node} answers {other:?}"),
        }
    }

    /// Delivers the oldest message of a link; false when there is none.
    pub(crate) fn deliver(&mut self, from: usize, to: usize) -> bool {
        let Some(message) = self.links.get_mut(&(from, to)).and_then(VecDeque::pop_front) else {
            return false;
        };
        if !self.cuts.contains(&(from, to)) {
            let sender = self.nodes[from].id;
            self.step(to, Input::Message(sender, message));
        }
        true
    }

    /// Makes the oldest write of a node durable; false when there is none.
    pub(crate) fn sync(&mut self, node: usize) -> bool {
        let this = &mut self.nodes[node];
        let Some(write) = this.writes.pop_front() else { return false };
        if let Some(to) = write.truncate_to {
            self.watch.check_truncate(&this.disk.entries, index(to));
            this.disk.entries.truncate(index(to));
        }
        for (entry, chunk_ends) in write.entries {
            let entry_says = EntryView::parse(&entry).expect("nodes write entries").flags();
            assert_eq!(chunk_ends, entry_says.contains(coco_ledger::EntryFlags::CHUNK_AFTER));
            this.disk.entries.push(entry);
        }
        if let Some(state) = write.hard_state {
            this.disk.hard_state =
                HardState::decode(&state.encode()).expect("it reads what it wrote");
        }
        if let Some(token) = write.token {
            self.step(node, Input::Persisted(token));
        }
        self.mark_chunks(node);
        true
    }

    /// Everything that was handed to a node's disk becomes durable.
    pub(crate) fn sync_all(&mut self, node: usize) {
        while self.sync(node) {}
    }

    /// Closed chunks that are committed get their final name.
    fn mark_chunks(&mut self, node: usize) {
        let Some(committed) =
            self.nodes[node].replica.as_ref().map(|replica| replica.state().read().committed())
        else {
            return;
        };
        let disk = &mut self.nodes[node].disk;
        for at in index(disk.committed)..index(committed.seqno).min(disk.entries.len()) {
            if EntryView::parse(&disk.entries[at])
                .is_ok_and(|e| e.flags().contains(coco_ledger::EntryFlags::CHUNK_AFTER))
            {
                disk.committed = Seqno(at as u64 + 1);
            }
        }
    }

    /// Answers the oldest fetch of a node; false when there is none.
    pub(crate) fn fetch(&mut self, node: usize) -> bool {
        let this = &mut self.nodes[node];
        let Some(fetch) = this.fetches.pop_front() else { return false };
        this.fetches_answered += 1;
        let entries: Vec<_> = this.disk.entries
            [index(fetch.from) - 1..index(fetch.to).min(this.disk.entries.len())]
            .iter()
            .map(|data| LogEntry { tx_id: tx_id(data), data: data.clone() })
            .collect();
        self.step(node, Input::Fetched(fetch.id, Ok(entries)));
        true
    }

    pub(crate) fn fail_fetch(&mut self, node: usize) {
        if let Some(fetch) = self.nodes[node].fetches.pop_front() {
            self.step(node, Input::Fetched(fetch.id, Err(FetchFailed::Unreadable)));
        }
    }

    /// Lets all drivers, disks and links work until nothing is left to do.
    pub(crate) fn settle(&mut self) {
        for _ in 0..ROUNDS_MAX {
            let mut busy = false;
            for node in 0..self.nodes.len() {
                if !self.nodes[node].work_held {
                    busy |= self.work(node);
                }
                if !self.nodes[node].disk_held {
                    busy |= self.sync(node) | self.fetch(node);
                }
                if !self.nodes[node].governing.held {
                    busy |= self.carry_out_request(node);
                }
                if !self.nodes[node].snapshots.held {
                    busy |= self.snapshot(node);
                }
            }
            let links: Vec<_> = self.links.keys().copied().collect();
            for (from, to) in links {
                busy |= self.deliver(from, to);
            }
            if !busy {
                return;
            }
        }
        panic!("the network does not come to rest in {ROUNDS_MAX} rounds");
    }

    /// Time passes for all.
    pub(crate) fn tick(&mut self) {
        self.clock_ms += TICK_MS;
        (0..self.nodes.len()).for_each(|node| self.step(node, Input::Tick));
    }

    /// Time passes, and everything that follows from it happens.
    pub(crate) fn run(&mut self, ticks: usize) {
        for _ in 0..ticks {
            self.tick();
            self.settle();
        }
    }

    /// Cuts a node off from all others.
    pub(crate) fn isolate(&mut self, node: usize) {
        for other in (0..self.nodes.len()).filter(|other| *other != node) {
            self.cuts.extend([(node, other), (other, node)]);
        }
        let cuts = &self.cuts;
        self.links.retain(|link, _| !cuts.contains(link));
    }

    pub(crate) fn heal(&mut self) {
        self.cuts.clear();
    }

    /// Waits until a node other than `old` is primary of a newer view.
    pub(crate) fn elect_another(&mut self, old: usize) -> usize {
        for _ in 0..100 {
            self.run(1);
            if let Some(new) = self.primary().filter(|new| *new != old) {
                return new;
            }
        }
        panic!("nobody is elected")
    }

    /// The primary of the newest view.
    pub(crate) fn primary(&self) -> Option<usize> {
        let primaries = self.nodes.iter().enumerate().filter_map(|(node, this)| {
            let state = this.replica.as_ref()?.state();
            let state = state.read();
            (state.role() == Role::Primary).then(|| (state.view(), node))
        });
        primaries.max().map(|(_, node)| node)
    }

    pub(crate) fn replica(&self, node: usize) -> &Replica {
        self.nodes[node].replica.as_ref().expect("it is up")
    }

    pub(crate) fn status(&self, node: usize, id: TxId) -> TxStatus {
        self.replica(node).state().read().status(id)
    }

    pub(crate) fn picture(&self, node: usize) -> Picture {
        let state = self.replica(node).state();
        let state = state.read();
        Picture::of(&self.replica(node).reader(), &state, self.transfers)
    }

    /// What a replica would show that has only ever seen the entries that this node has now.
    pub(crate) fn twin(&self, node: usize) -> Picture {
        Picture::of_entries(self.keys.keyring(node), &self.nodes[node].ledger, self.transfers)
    }

    fn state(&self, node: usize) -> Positions {
        let state = self.replica(node).state();
        let state = state.read();
        Positions { committed: state.committed(), last: state.last() }
    }

    pub(crate) fn committed(&self, node: usize) -> TxId {
        self.state(node).committed
    }

    pub(crate) fn last(&self, node: usize) -> TxId {
        self.state(node).last
    }

    /// All nodes that are up have the same ledger, on disk and committed, except for what no signature covers.
    pub(crate) fn assert_equal(&self) {
        let first = self.nodes.iter().find(|node| node.replica.is_some()).expect("one is up");
        for (node, this) in self.nodes.iter().enumerate().filter(|(_, node)| node.replica.is_some())
        {
            assert!(this.ledger == first.ledger, "n{node} has another ledger");
            assert!(this.ledger == this.disk.entries, "n{node} has another ledger on its disk");
            assert_eq!(self.picture(node), self.twin(node));
            assert_eq!(
                self.committed(node),
                self.last(node),
                "everything is signed and committed at rest"
            );
        }
    }
}

struct Positions {
    committed: TxId,
    last: TxId,
}

impl Positions {
    const fn committed(&self) -> TxId {
        self.committed
    }
}

/// Rounds after which a network that still has something to do is taken to be in a loop.
const ROUNDS_MAX: usize = 10_000;
