//! Nodes, their disks and the network between them, all in one thread and without a clock.
//!
//! After every step the cluster checks what must hold always: at most one primary per view, no committed entry
//! is ever replaced, and nothing is committed that a quorum has not on disk.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use coco_consensus::{
    Configuration, Engine, Fetch, FetchFailed, HardState, Limits, LogEntry, Output, PersistToken,
    RaftEngine, RoleChange, Start, Timing,
};
use coco_types::{NodeId, Role, Seqno, TxId, View};

pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Node>,
    /// Messages on their way, by sender and receiver.
    pub(crate) links: BTreeMap<(usize, usize), VecDeque<Bytes>>,
    pub(crate) cuts: BTreeSet<(usize, usize)>,
    pub(crate) limits: Limits,
    pub(crate) timing: Timing,
    seed: u64,
    voters: usize,
    primaries: BTreeMap<View, usize>,
    committed: Vec<LogEntry>,
}

pub(crate) struct Node {
    id: NodeId,
    /// None while the node is down.
    pub(crate) engine: Option<RaftEngine>,
    pub(crate) role: Option<RoleChange>,
    /// What a replica would have executed.
    pub(crate) log: Vec<LogEntry>,
    pub(crate) committed: Seqno,
    pub(crate) truncated_to: Option<Seqno>,
    pub(crate) disk: Disk,
    /// What has been handed to the disk and is not durable.
    pub(crate) writes: VecDeque<Write>,
    pub(crate) disk_held: bool,
    pub(crate) fetches: VecDeque<Fetch>,
    pub(crate) fetches_answered: usize,
    /// Its old entries are kept elsewhere.
    pub(crate) archived: bool,
    /// Nodes that it has said to need them.
    pub(crate) behind: BTreeSet<NodeId>,
    starts: u64,
    /// Every configuration that was in effect here.
    configurations: Vec<Configuration>,
}

#[derive(Clone)]
pub(crate) struct Disk {
    pub(crate) hard_state: HardState,
    pub(crate) log: Vec<LogEntry>,
    /// What is known to be committed without anybody's word.
    pub(crate) committed: Seqno,
}

pub(crate) struct Write {
    truncate_to: Option<Seqno>,
    append: Vec<LogEntry>,
    hard_state: Option<HardState>,
    token: Option<PersistToken>,
}

impl Cluster {
    /// Nodes that share the same genesis entries and are all down; the first `voters` of them make the first
    /// configuration.
    pub(crate) fn new(nodes: u8, voters: u8, genesis: u64, seed: u64) -> Self {
        let log: Vec<_> =
            (1..=genesis).map(|seqno| entry(TxId::new(2, seqno), "genesis")).collect();
        let node = |n: u8| Node {
            id: NodeId([n; 32]),
            engine: None,
            role: None,
            log: log.clone(),
            committed: Seqno(genesis),
            truncated_to: None,
            disk: Disk {
                hard_state: HardState { view: View::GENESIS, vote: None },
                log: log.clone(),
                committed: Seqno(genesis),
            },
            writes: VecDeque::new(),
            disk_held: false,
            fetches: VecDeque::new(),
            fetches_answered: 0,
            archived: false,
            behind: BTreeSet::new(),
            starts: 0,
            configurations: Vec::new(),
        };
        Self {
            nodes: (1..=nodes).map(node).collect(),
            links: BTreeMap::new(),
            cuts: BTreeSet::new(),
            limits: Limits::default(),
            timing: Timing { heartbeat_ticks: 2, election_ticks_min: 10, election_ticks_max: 19 },
            seed,
            voters: usize::from(voters),
            primaries: BTreeMap::new(),
            committed: log,
        }
    }

    pub(crate) fn start_all(&mut self) {
        (0..self.nodes.len()).for_each(|node| self.start(node, usize::MAX));
    }

    /// Starts a node from its disk, with at most so many recent entries at hand.
    pub(crate) fn start(&mut self, node: usize, recent: usize) {
        let voters = self.nodes.iter().take(self.voters).map(|node| node.id).collect();
        let mut configurations = vec![(Seqno(0), Configuration::of(voters))];
        let (limits, timing, seed) = (self.limits, self.timing, self.seed);
        let this = &mut self.nodes[node];
        this.starts += 1;
        this.log.clone_from(&this.disk.log);
        let mut views: Vec<(Seqno, View)> = Vec::new();
        for entry in &this.log {
            if views.last().is_none_or(|(_, view)| *view < entry.tx_id.view) {
                views.push((entry.tx_id.seqno, entry.tx_id.view));
            }
        }
        for entry in &this.log {
            configurations.extend(configuration(entry).map(|next| (entry.tx_id.seqno, next)));
        }
        let (at, newest) = configurations.pop().expect("there is a first one");
        let (configuration, pending) = match configurations.pop() {
            Some((_, before)) => (before, Some((at, newest))),
            None => (newest, None),
        };
        let start = Start {
            me: this.id,
            configuration,
            pending,
            hard_state: this.disk.hard_state,
            views,
            last: Seqno(this.log.len() as u64),
            committed: this.disk.committed,
            recent: this.log[this.log.len().saturating_sub(recent)..].to_vec(),
            timing,
            seed: seed.wrapping_mul(1000) + this.starts * 100 + node as u64,
            limits,
        };
        this.committed = start.committed;
        this.engine = Some(RaftEngine::new(start).expect("the disk is in order"));
        self.absorb(node);
    }

    /// Takes the power from a node: what was not durable is gone.
    pub(crate) fn crash(&mut self, node: usize) {
        let this = &mut self.nodes[node];
        this.engine = None;
        this.role = None;
        this.writes.clear();
        this.fetches.clear();
        this.log.clear();
    }

    pub(crate) fn with<T>(
        &mut self,
        node: usize,
        act: impl FnOnce(&mut RaftEngine) -> T,
    ) -> Option<T> {
        let result = act(self.nodes[node].engine.as_mut()?);
        self.absorb(node);
        Some(result)
    }

    /// Does what the engine of a node wants done, as far as that needs neither disk nor network.
    fn absorb(&mut self, node: usize) {
        let poll = |this: &mut Node| this.engine.as_mut().map(Engine::poll);
        let Some(output) = poll(&mut self.nodes[node]) else { return };
        let carries = output.append.iter().any(|entry| configuration(entry).is_some());
        self.carry(node, output);
        if carries {
            // Going over to a configuration may leave more to be done.
            return self.absorb(node);
        }
        assert!(
            poll(&mut self.nodes[node]).is_some_and(|more| more.is_empty()),
            "one poll takes all"
        );
    }

    fn carry(&mut self, node: usize, output: Output) {
        let this = &mut self.nodes[node];
        let engine = this.engine.as_mut().expect("it is up");
        this.behind.extend(output.behind.into_iter().map(|(node, _)| node));
        if let Some(to) = output.truncate_to {
            assert!(to >= this.committed, "n{} voids committed entries after {to}", node + 1);
            assert!(
                to.0 < this.log.len() as u64,
                "n{} voids what it never had after {to}",
                node + 1
            );
            this.log.truncate(usize::try_from(to.0).expect("a small log"));
            this.truncated_to = Some(to);
        }
        let mut append = output.append;
        for new in &mut append {
            assert_eq!(
                new.tx_id.seqno.0,
                this.log.len() as u64 + 1,
                "n{}: a gap before {}",
                node + 1,
                new.tx_id
            );
            if new.data.is_empty() {
                *new = entry(new.tx_id, "-");
            }
            this.log.push(new.clone());
            if let Some(next) = configuration(new) {
                engine.reconfigure(new.tx_id.seqno, next);
            }
        }
        if this.configurations.last() != Some(engine.configuration()) {
            this.configurations.push(engine.configuration().clone());
        }
        if let Some(role) = output.role {
            this.role = Some(role);
        }
        assert_eq!(
            output.persist.is_some(),
            output.truncate_to.is_some() || output.hard_state.is_some() || !append.is_empty(),
            "n{}: the token goes with what has to reach the disk",
            node + 1
        );
        let (truncate_to, hard_state, token) =
            (output.truncate_to, output.hard_state, output.persist);
        if token.is_some() {
            this.writes.push_back(Write { truncate_to, append, hard_state, token });
        }
        for fetch in output.fetch {
            let durable = fetch.from <= fetch.to && fetch.to.0 <= this.disk.log.len() as u64;
            assert!(
                durable,
                "n{} wants {fetch:?} of {} entries on its disk",
                node + 1,
                this.disk.log.len()
            );
            this.fetches.push_back(fetch);
        }
        if let Some(committed) = output.committed {
            assert!(committed > this.committed && committed.0 <= this.log.len() as u64);
            this.committed = committed;
        }
        for (to, message) in output.send {
            let to =
                self.nodes.iter().position(|other| other.id == to).expect("a node of the cluster");
            assert_ne!(to, node, "nobody writes to itself");
            if !self.cuts.contains(&(node, to)) {
                self.links.entry((node, to)).or_default().push_back(message);
            }
        }
        self.check(node);
    }

    fn check(&mut self, node: usize) {
        let this = &self.nodes[node];
        if let Some(role) = this.role.filter(|role| role.role == Role::Primary) {
            let first = *self.primaries.entry(role.view).or_insert(node);
            assert_eq!(first, node, "two primaries in view {}", role.view);
            assert_eq!(role.primary, Some(this.id));
        }
        for at in 0..usize::try_from(this.committed.0).expect("a small log") {
            if let Some(chosen) = self.committed.get(at) {
                assert_eq!(*chosen, this.log[at], "n{} has another entry committed", node + 1);
                assert_eq!(chosen.data, this.log[at].data);
                continue;
            }
            let chosen = this.log[at].clone();
            let has = |id: NodeId| {
                self.nodes
                    .iter()
                    .any(|node| node.id == id && node.disk.log.get(at) == Some(&chosen))
            };
            let majority =
                this.configurations.iter().any(|configuration| configuration.majority(has));
            assert!(majority, "{} is committed, on the disks of no majority", chosen.tx_id);
            self.committed.push(chosen);
        }
    }

    /// Delivers the oldest message of a link; false when there is none.
    pub(crate) fn deliver(&mut self, from: usize, to: usize) -> bool {
        let Some(message) = self.links.get_mut(&(from, to)).and_then(VecDeque::pop_front) else {
            return false;
        };
        if self.cuts.contains(&(from, to)) {
            return true;
        }
        let sender = self.nodes[from].id;
        if let Some(result) = self.with(to, |engine| engine.receive(sender, &message)) {
            result.expect("a node understands what a node says");
        }
        true
    }

    /// Makes the oldest write of a node durable; false when there is none.
    pub(crate) fn write(&mut self, node: usize) -> bool {
        let this = &mut self.nodes[node];
        let Some(write) = this.writes.pop_front() else { return false };
        if let Some(to) = write.truncate_to {
            this.disk.log.truncate(usize::try_from(to.0).expect("a small log"));
        }
        this.disk.log.extend(write.append);
        this.disk.hard_state = write.hard_state.map_or(this.disk.hard_state, |state| {
            HardState::decode(&state.encode()).expect("it reads what it wrote")
        });
        if let Some(token) = write.token {
            self.with(node, |engine| engine.persisted(token));
        }
        true
    }

    /// Answers the oldest fetch of a node; false when there is none.
    pub(crate) fn fetch(&mut self, node: usize) -> bool {
        let this = &mut self.nodes[node];
        let Some(fetch) = this.fetches.pop_front() else { return false };
        if this.archived {
            self.with(node, |engine| engine.fetched(fetch.id, Err(FetchFailed::Archived)));
            return true;
        }
        this.fetches_answered += 1;
        let from = usize::try_from(fetch.from.0 - 1).expect("a small log");
        let to = usize::try_from(fetch.to.0).expect("a small log").min(this.disk.log.len());
        let mut bytes = 0;
        let wanted = this.disk.log.get(from..to).unwrap_or_default().iter().take_while(|entry| {
            let first = bytes == 0;
            bytes += entry.data.len();
            first || bytes <= fetch.bytes_max
        });
        let answer: Vec<_> = wanted.cloned().collect();
        self.with(node, |engine| engine.fetched(fetch.id, Ok(answer)));
        true
    }

    pub(crate) fn fail_fetch(&mut self, node: usize) {
        if let Some(fetch) = self.nodes[node].fetches.pop_front() {
            self.with(node, |engine| engine.fetched(fetch.id, Err(FetchFailed::Unreadable)));
        }
    }

    /// Lets disks and network work until nothing is left to do.
    pub(crate) fn settle(&mut self) {
        for _ in 0..STEPS_MAX {
            let mut busy = false;
            for node in 0..self.nodes.len() {
                if !self.nodes[node].disk_held {
                    busy |= self.write(node) | self.fetch(node);
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
        panic!("the cluster does not come to rest in {STEPS_MAX} steps");
    }

    /// Has a node add the entry that carries the step to these voters and learners.
    pub(crate) fn reconfigure(&mut self, node: usize, voters: &[usize], learners: &[usize]) {
        let ids = |nodes: &[usize]| nodes.iter().map(|node| self.id(*node)).collect();
        let (voters, learners) = (ids(voters), ids(learners));
        let engine = self.nodes[node].engine.as_mut().expect("it is up");
        assert!(engine.can_reconfigure(), "n{} cannot", node + 1);
        let next = engine.configuration().step_to(voters, learners);
        engine.propose(Bytes::from(written(&next))).expect("it can");
        self.absorb(node);
    }

    /// A node that is not in the configuration takes the first entries of another's disk for its own.
    pub(crate) fn inherit(&mut self, node: usize, from: usize, entries: usize) {
        self.crash(node);
        let log = self.nodes[from].disk.log[..entries].to_vec();
        let view = log.last().expect("some entries").tx_id.view;
        let disk = &mut self.nodes[node].disk;
        (disk.hard_state, disk.log) = (HardState { view, vote: None }, log);
    }

    /// A node has copied the first entries of another's disk, which are committed and which it knows to be.
    pub(crate) fn copy(&mut self, node: usize, from: usize, entries: usize) {
        let hard_state = self.nodes[node].disk.hard_state;
        self.inherit(node, from, entries);
        let disk = &mut self.nodes[node].disk;
        if hard_state.view >= disk.hard_state.view {
            disk.hard_state = hard_state;
        }
        disk.committed = Seqno(entries as u64);
    }

    pub(crate) fn tick(&mut self, node: usize) {
        self.with(node, Engine::tick);
    }

    pub(crate) fn cut(&mut self, a: usize, b: usize) {
        self.cuts.extend([(a, b), (b, a)]);
    }

    pub(crate) fn id(&self, node: usize) -> NodeId {
        self.nodes[node].id
    }

    /// The node that is primary of the newest view.
    pub(crate) fn primary(&self) -> Option<usize> {
        let primaries = (0..self.nodes.len()).filter_map(|node| {
            let role = self.nodes[node].role.filter(|role| role.role == Role::Primary)?;
            Some((role.view, node))
        });
        primaries.max().map(|(_, node)| node)
    }
}

/// Voters, old voters and learners, as an entry of these tests carries them: `=n1+n2/n1/n3`.
pub(crate) fn written(configuration: &Configuration) -> String {
    let kinds = [&configuration.voters, &configuration.outgoing, &configuration.learners];
    let names = kinds.map(|nodes| {
        nodes.iter().map(|node| format!("n{}", node.0[0])).collect::<Vec<_>>().join("+")
    });
    format!("={}", names.join("/"))
}

/// The configuration that an entry carries.
fn configuration(entry: &LogEntry) -> Option<Configuration> {
    let text = std::str::from_utf8(entry.data.strip_prefix(b"=")?).expect("text");
    let mut kinds = text.split('/').map(|nodes| {
        let numbers = nodes.split('+').filter_map(|name| name.strip_prefix('n'));
        numbers.map(|n| NodeId([n.parse().expect("a number"); 32])).collect::<Vec<_>>()
    });
    let mut next = || kinds.next().expect("three kinds");
    Some(Configuration { voters: next(), outgoing: next(), learners: next() })
}

pub(crate) fn entry(tx_id: TxId, data: &str) -> LogEntry {
    LogEntry { tx_id, data: Bytes::copy_from_slice(data.as_bytes()) }
}

/// Rounds after which a cluster that still has something to say is taken to be in a loop.
const STEPS_MAX: usize = 10_000;
