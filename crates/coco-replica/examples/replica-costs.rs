//! What a replica costs per entry and per step: `cargo run --release -p coco-replica --example replica-costs [ENTRIES]`.
//!
//! Networks of one and of three nodes live in this thread. Messages arrive and disks are durable at once, so what is
//! measured is the replicas' own work: all nodes together, on one core. Each entry holds a thousand transactions; each
//! transaction writes one of a hundred thousand keys of 20 bytes, with a value of 40, and does nothing else.
#![expect(clippy::print_stdout, reason = "it prints a table")]

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use bytes::Bytes;
use coco_adapter::{
    Adapter, Answer, Checked, Clocks, Entropy, Execution, Outside, Ticket, Verdict,
};
use coco_consensus::{Configuration, HardState, Limits, RaftEngine, Start, Timing};
use coco_crypto::{Curve, SigningKey, Validity, service_certificate};
use coco_kv::{MapKind, MapName, MapSpec, Reader, Transaction, WriteSet};
use coco_ledger::{EntryFlags, LedgerSecret, MerkleTree, ServiceSigner, seal, signature_write_set};
use coco_replica::{Effects, Input, Loader, Now, Replica, Settings};
use coco_types::{Digest, NodeId, Role, Seqno, TxId, View};

/// Transactions in an entry.
const BATCH: u64 = 1000;
const KEYS: u64 = 100_000;
const ENTRIES_DEFAULT: u64 = 500;
const MAP: &str = "costs";
const START_MS: u64 = 1_700_000_000_000;
/// How many batches may wait for a quorum before the next is handed in, as a busy driver would do.
const AHEAD: usize = 4;

/// Writes one key per transaction.
#[derive(Default)]
struct Writes {
    queue: VecDeque<(Ticket, u64)>,
    executed: Vec<Answer>,
}

impl Adapter for Writes {
    fn schema(&self) -> Vec<MapSpec> {
        vec![MapSpec { name: MapName::from_static(MAP), kind: MapKind::Point }]
    }

    fn admit(
        &mut self,
        _: &Reader,
        _: Clocks,
        ticket: Ticket,
        transaction: Checked,
    ) -> Vec<Answer> {
        self.queue.push_back((ticket, transaction.open().expect("only numbers are submitted")));
        Vec::new()
    }

    fn ready(&self) -> usize {
        self.queue.len()
    }

    fn execute(&mut self, tx: &mut Transaction<'_>, _: &Outside) -> Execution {
        let map = tx.map(&MapName::from_static(MAP)).expect("it is in the schema");
        let most = usize::try_from(BATCH).expect("a small number");
        let batch = self.queue.drain(..self.queue.len().min(most));
        let answers = batch.map(|(ticket, number)| {
            let mut key = [0; 20];
            key[..8].copy_from_slice(&(number % KEYS).to_le_bytes());
            let mut value = [7; 40];
            value[..8].copy_from_slice(&number.to_le_bytes());
            tx.put(map, &key, value.as_slice());
            Answer { ticket, verdict: Verdict::Executed }
        });
        self.executed = answers.collect();
        Execution { is_empty: self.executed.is_empty(), claims: Digest::ZERO }
    }

    fn settle(&mut self, _: &Reader) -> Vec<Answer> {
        std::mem::take(&mut self.executed)
    }

    fn take_back(&mut self, _: &Reader) -> Vec<Answer> {
        unreachable!("a thousand short writes fit an entry")
    }

    fn expire(&mut self, _: u64) -> Vec<Answer> {
        Vec::new()
    }

    fn rolled_back(&mut self, _: &Reader) {}

    fn abandon(&mut self) -> Vec<Ticket> {
        Vec::new()
    }
}

/// Calls and the time that they took, by the kind of step.
#[derive(Default)]
struct Costs(BTreeMap<&'static str, (u64, Duration)>);

struct Network {
    ids: Vec<NodeId>,
    replicas: Vec<Replica>,
    inputs: VecDeque<(usize, Input)>,
    costs: Costs,
    started: Instant,
    executed: u64,
    entry_bytes: u64,
}

fn kind(input: &Input) -> &'static str {
    match input {
        Input::Tick => "tick",
        Input::Submit(_) => "submit a thousand",
        Input::Work(_) => "work",
        Input::Message(..) => "message",
        Input::Persisted(_) => "persisted",
        Input::Fetched(..) => "fetched",
        Input::SnapshotMade(..)
        | Input::Unreachable(_)
        | Input::Campaign
        | Input::TransferTo(_)
        | Input::Told(..)
        | Input::Join(_)
        | Input::Introduce(_)
        | Input::Govern(..)
        | Input::IssuerKeys(..)
        | Input::AskSnapshot(_)
        | Input::RemoveNode(..)
        | Input::Governed(_) => "other",
    }
}

fn first_entries(secret: &LedgerSecret, signer: &ServiceSigner) -> Vec<Bytes> {
    let mut tree = MerkleTree::new();
    let mut entries = Vec::new();
    for seqno in 1..=2 {
        let id = TxId { view: View::GENESIS, seqno: Seqno(seqno) };
        let writes = if seqno == 1 {
            WriteSet::new()
        } else {
            signature_write_set(signer, &tree, id, Seqno::ZERO, START_MS / 1000)
        };
        let sealed =
            seal(secret, id, EntryFlags::NONE, &Digest::ZERO, &writes).expect("it is small");
        tree.append(sealed.leaf);
        entries.push(sealed.bytes);
    }
    entries
}

fn replica(
    me: NodeId,
    ids: &[NodeId],
    entries: &[Bytes],
    secret: &LedgerSecret,
    signer: &ServiceSigner,
) -> Replica {
    let adapter = Writes::default();
    let settings = Settings::default();
    let mut loader =
        Loader::new(secret.clone(), adapter.schema(), [1, 2], settings.retained_entries);
    for entry in entries {
        loader.push(entry.clone(), false).expect("it was just made");
    }
    let engine = RaftEngine::new(Start {
        me,
        configuration: Configuration::of(ids.to_vec()),
        pending: None,
        hard_state: HardState { view: View::GENESIS, vote: None },
        views: vec![(Seqno(1), View::GENESIS)],
        last: Seqno(2),
        committed: Seqno(2),
        recent: loader.take_recent(),
        timing: Timing::default(),
        seed: u64::from(me.0[0]),
        limits: Limits::default(),
    })
    .expect("it was just made");
    Replica::new(loader, Box::new(engine), Box::new(adapter), Box::new(signer.clone()), settings)
}

impl Network {
    fn new(nodes: u8) -> Self {
        let key = SigningKey::generate(Curve::P384);
        let service = SigningKey::generate(Curve::P384);
        let validity = Validity { not_before: 0, not_after: START_MS / 1000 * 2 };
        let pem = service_certificate(&service, validity).expect("it can be made").pem();
        let signer =
            ServiceSigner::new(&key.pkcs8_der(), pem, &service.pkcs8_der()).expect("P-384 keys");
        let secret = LedgerSecret::new(&[1; 32]);
        let entries = first_entries(&secret, &signer);
        let ids: Vec<_> = (1..=nodes).map(|n| NodeId([n; 32])).collect();
        let replicas =
            ids.iter().map(|me| replica(*me, &ids, &entries, &secret, &signer)).collect();
        let inputs = VecDeque::from([(0, Input::Tick), (0, Input::Campaign)]);
        let mut network = Self {
            ids,
            replicas,
            inputs,
            costs: Costs::default(),
            started: Instant::now(),
            executed: 0,
            entry_bytes: 0,
        };
        network.settle();
        assert_eq!(network.replicas[0].state().read().role(), Role::Primary);
        network
    }

    fn settle(&mut self) {
        while self.step() {}
    }

    /// Takes the oldest input; false when there is none.
    fn step(&mut self) -> bool {
        let Some((node, input)) = self.inputs.pop_front() else { return false };
        let millis = u64::try_from(self.started.elapsed().as_millis()).expect("not that long");
        let now = Now { wall_ms: START_MS + millis, mono_ms: millis };
        let kind = kind(&input);
        let started = Instant::now();
        let effects = self.replicas[node].step(now, input).expect("nothing is broken");
        let (calls, time) = self.costs.0.entry(kind).or_default();
        *calls += 1;
        *time += started.elapsed();
        self.carry_out(node, effects);
        true
    }

    fn carry_out(&mut self, node: usize, effects: Effects) {
        for persist in effects.persist {
            self.entry_bytes +=
                persist.entries.iter().map(|(entry, _)| entry.len() as u64).sum::<u64>();
            self.inputs.extend(persist.token.map(|token| (node, Input::Persisted(token))));
        }
        for (to, message) in effects.send {
            let to = self.ids.iter().position(|id| *id == to).expect("a node of the network");
            self.inputs.push_back((to, Input::Message(self.ids[node], message)));
        }
        self.executed += effects.replies.len() as u64;
    }

    fn run(&mut self, entries: u64) {
        let batches: Vec<Vec<_>> = (0..entries)
            .map(|batch| {
                (batch * BATCH..(batch + 1) * BATCH).map(|n| (Ticket(n), Checked::new(n))).collect()
            })
            .collect();
        (self.started, self.costs, self.executed, self.entry_bytes) =
            (Instant::now(), Costs::default(), 0, 0);
        let mut ticks = 0;
        for batch in batches {
            self.inputs.push_back((0, Input::Submit(batch)));
            self.inputs.push_back((0, Input::Work(Entropy([0; 32]))));
            while self.inputs.len() > AHEAD * self.ids.len() {
                self.step();
            }
            if self.started.elapsed() > Duration::from_millis(10) * ticks {
                ticks += 1;
                self.inputs.extend((0..self.ids.len()).map(|node| (node, Input::Tick)));
            }
        }
        self.settle();
        while self.replicas[0].has_work() {
            self.inputs.push_back((0, Input::Work(Entropy([0; 32]))));
            self.settle();
        }
        let took = self.started.elapsed();
        let state = self.replicas[0].state();
        assert_eq!(self.executed, entries * BATCH, "every transaction is executed");
        assert_eq!(state.read().committed(), state.read().last(), "everything is committed");
        self.report(entries, took);
    }

    fn report(&self, entries: u64, took: Duration) {
        let seconds = took.as_secs_f64();
        let per_second =
            |count: u64| f64::from(u32::try_from(count).expect("a small number")) / seconds;
        println!(
            "{} node(s): {:.0} entries/s, {:.0} transactions/s; {} bytes of entries per transaction and node",
            self.ids.len(),
            per_second(entries),
            per_second(entries * BATCH),
            self.entry_bytes / (entries * BATCH * self.ids.len() as u64),
        );
        for (kind, (calls, time)) in &self.costs.0 {
            let micros = time.as_secs_f64() * 1e6
                / f64::from(u32::try_from(*calls).expect("a small number"));
            let share = 100.0 * time.as_secs_f64() / seconds;
            println!(
                "    {kind:<18} {calls:>7} steps {micros:>9.1} µs each {share:>5.1} % of the time"
            );
        }
    }
}

fn main() {
    let entries =
        std::env::args().nth(1).and_then(|entries| entries.parse().ok()).unwrap_or(ENTRIES_DEFAULT);
    for nodes in [1, 3] {
        Network::new(nodes).run(entries);
    }
}
