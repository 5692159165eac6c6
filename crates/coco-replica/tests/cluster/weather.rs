//! Random weather: messages are lost, repeated and reordered, disks are slow, nodes lose power and links are cut, clocks
//! disagree, callers ask any node. When the weather clears the network must agree and go on, and whatever a caller was
//! told must be true. What must hold always is checked by [`crate::watch`].

use std::{collections::BTreeMap, env, panic};

use bytes::Bytes;
use coco_adapter::Ticket;
use coco_consensus::Limits;
use coco_replica::{Input, Reply, Settings};
use coco_types::{TxId, TxStatus};

use crate::{
    bank::{ACCOUNTS, OPENING_BALANCE, Transfer},
    genesis::{FirstEntries, Keys},
    network::{Cluster, Plan, tx_id},
    sealed::audit,
    watch::check_chunks,
};

/// `SplitMix64`: a run is repeated by its seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ mixed >> 31) % sides as u64).expect("fewer than the sides")
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.roll(choices.len())]
    }

    fn number(&mut self, sides: u64) -> u64 {
        self.roll(usize::try_from(sides).expect("few sides")) as u64
    }

    fn account(&mut self) -> u8 {
        u8::try_from(self.roll(usize::from(ACCOUNTS))).expect("few accounts")
    }
}

fn plan(seed: u64, dice: &mut Dice) -> Plan {
    let settings = Settings {
        signature_interval_ms: dice.one_of(&[0, 20, 50]),
        chunk_bytes: dice.one_of(&[1, 2000, 5_000_000]),
        retained_entries: dice.one_of(&[0, 5, 1024]),
        snapshot_entries: dice.one_of(&[0, 10, 25]),
        uncommitted_bytes_max: dice.one_of(&[3000, 32 << 20]),
        uncommitted_entries_max: dice.one_of(&[1, 6, 4096]),
        batches_ahead: dice.one_of(&[1, 2, usize::MAX]),
        batch_worth: dice.one_of(&[1, 3, usize::MAX]),
    };
    let limits = Limits {
        window_bytes: dice.one_of(&[0, 3000, 64 << 20]),
        uncommitted_bytes: dice.one_of(&[2000, 64 << 20]),
        message_bytes: dice.one_of(&[1, 2000, 100_000]),
        inflight_messages: 1 + dice.roll(4),
    };
    Plan {
        nodes: dice.one_of(&[1, 2, 3, 3, 3, 4, 5]),
        first: dice.one_of(&[FirstEntries::Two, FirstEntries::Four]),
        settings,
        limits,
        batch: 1 + dice.roll(4),
        recent: dice.one_of(&[0, 3, usize::MAX]),
        seed,
        ..Plan::default()
    }
}

/// A new transfer, or one that was asked for before.
fn submit(cluster: &mut Cluster, dice: &mut Dice, node: usize) {
    let id = if dice.roll(4) == 0 { dice.number(cluster.transfers + 1) } else { cluster.transfers };
    // What a transfer does follows from its id, so that the same one can be asked for again.
    let mut of_id = Dice(cluster.plan.seed ^ id << 20);
    let (from, to, amount) = (of_id.account(), of_id.account(), of_id.number(OPENING_BALANCE));
    cluster.submit(node, Transfer { id, from, to, amount });
}

fn act(cluster: &mut Cluster, dice: &mut Dice) {
    let nodes = cluster.nodes.len();
    let (node, other) = (dice.roll(nodes), dice.roll(nodes));
    match dice.roll(100) {
        0..20 => cluster.tick(),
        20..25 => cluster.step(node, Input::Tick),
        25..48 => {
            let links: Vec<_> = cluster.links.keys().copied().collect();
            for (from, to) in links {
                for _ in 0..dice.roll(4) {
                    cluster.deliver(from, to);
                }
            }
        }
        48..60 => {
            for node in (0..nodes).filter(|_| dice.roll(2) == 1) {
                cluster.sync(node);
            }
        }
        60..64 => {
            for node in 0..nodes {
                cluster.fetch(node);
                if dice.roll(2) == 1 {
                    cluster.snapshot(node);
                }
            }
        }
        64..65 => cluster.fail_fetch(node),
        65..72 => {
            let node = cluster.primary().filter(|_| dice.roll(6) > 0).unwrap_or(node);
            (0..=dice.roll(4)).for_each(|_| submit(cluster, dice, node));
        }
        72..82 => {
            for node in 0..nodes {
                cluster.work(node);
            }
        }
        act => fault(cluster, dice, act, (node, other)),
    }
}

/// Something goes wrong with a node, or between two.
fn fault(cluster: &mut Cluster, dice: &mut Dice, act: usize, (node, other): (usize, usize)) {
    match act {
        82..85 => drop(cluster.links.get_mut(&(node, other)).map(std::mem::take)),
        85..88 => {
            if let Some(link) = cluster.links.get_mut(&(node, other)) {
                let again: Vec<Bytes> = link.iter().rev().cloned().collect();
                link.extend(again);
            }
        }
        88..90 if node != other => cluster.cuts.extend([(node, other), (other, node)]),
        90..93 => cluster.heal(),
        93 => cluster.crash(node),
        94 => cluster.crash_after(node, dice.roll(6)),
        95..98 => {
            if cluster.nodes[node].replica.is_none() {
                cluster.start(node);
            }
        }
        98 => cluster.step(node, Input::TransferTo(cluster.nodes[other].id)),
        _ => {
            cluster.step(node, Input::Unreachable(cluster.nodes[other].id));
            cluster.nodes[other].behind_ms = dice.number(1000);
        }
    }
    for (node, this) in cluster.nodes.iter().enumerate() {
        assert!(this.broken.is_none(), "n{node} stops: {:?}", this.broken);
    }
}

/// Calm: everybody is up and hears everybody.
fn clear(cluster: &mut Cluster) {
    cluster.heal();
    for node in 0..cluster.nodes.len() {
        if cluster.nodes[node].replica.is_none() {
            cluster.start(node);
        }
    }
    cluster.run(200);
}

/// Snapshots of one name are one snapshot, whoever made them and when.
fn check_snapshots(cluster: &Cluster) -> usize {
    let mut all = BTreeMap::new();
    for this in &cluster.nodes {
        for (name, file) in &this.disk.snapshots {
            let first = all.entry(name).or_insert(file);
            assert!(*first == file, "two snapshots are called {name}");
        }
    }
    all.len()
}

/// Whatever callers were told is so.
fn check_answers(cluster: &Cluster) {
    let done: BTreeMap<u64, u64> =
        cluster.picture(0).done.into_iter().map(|(transfer, seqno, _)| (transfer, seqno)).collect();
    for this in &cluster.nodes {
        assert!(this.broken.is_none() && this.waiting.is_empty(), "everybody has an answer");
        for (ticket, reply) in &this.replies {
            let transfer: &Ticket = ticket;
            let transfer = cluster.tickets[transfer];
            if let Reply::Executed(id) | Reply::Earlier(id) = reply {
                let stands = done.get(&transfer) == Some(&id.seqno.0);
                match cluster.status(0, *id) {
                    TxStatus::Committed => {
                        assert!(stands, "transfer {transfer} is committed as {id}");
                    }
                    TxStatus::Invalid => {
                        let elsewhere = done.get(&transfer).is_none_or(|seqno| {
                            tx_id(
                                &cluster.nodes[0].ledger
                                    [usize::try_from(*seqno).expect("small") - 1],
                            ) != *id
                        });
                        assert!(elsewhere, "transfer {transfer} was rolled back as {id}");
                    }
                    TxStatus::Unknown | TxStatus::Pending => panic!("{id} is not decided at rest"),
                }
            }
        }
    }
    for id in &cluster.watch.told {
        assert_eq!(cluster.watch.verdict(*id), Some(cluster.status(0, *id)));
    }
}

/// What happened in a run.
#[derive(Debug, Default, PartialEq, Eq)]
struct Story {
    ledger: Vec<TxId>,
    rolled_back: usize,
    fetches: usize,
    chunks: usize,
    snapshots: usize,
    /// Callers who were told of an entry that did not survive.
    invalid: usize,
    /// Callers who were told of an earlier entry, or of another node.
    earlier: usize,
    not_primary: usize,
}

fn weather(seed: u64, keys: fn(usize) -> Keys) -> Story {
    let mut dice = Dice(seed);
    let plan = plan(seed, &mut dice);
    let (keys, settings, first) = (keys(plan.nodes), plan.settings, plan.first);
    let mut cluster = Cluster::with_keys(plan, keys);
    for _ in 0..ACTS {
        act(&mut cluster, &mut dice);
    }

    clear(&mut cluster);
    let primary = cluster.primary().expect("somebody is elected in fair weather");
    let closing = Transfer { id: cluster.transfers, from: 0, to: 1, amount: 0 };
    let ticket = cluster.submit(primary, closing);
    cluster.settle();
    let last = cluster.executed(primary, ticket);
    cluster.run(20);
    for node in 0..cluster.nodes.len() {
        assert_eq!(cluster.status(node, last), TxStatus::Committed, "n{node} catches up");
    }
    cluster.assert_equal();
    check_answers(&cluster);
    let genesis = if first == FirstEntries::Two { 2 } else { 4 };
    let chunks = check_chunks(&cluster.nodes[0].ledger, genesis, &settings);
    if let Keys::Real { .. } = cluster.keys {
        audit(&cluster);
    }
    let replies = || cluster.nodes.iter().flat_map(|node| &node.replies).map(|(_, reply)| reply);
    Story {
        ledger: cluster.nodes[0].ledger.iter().map(|entry| tx_id(entry)).collect(),
        rolled_back: cluster.nodes.iter().map(|node| node.rolled_back.len()).sum(),
        fetches: cluster.nodes.iter().map(|node| node.fetches_answered).sum(),
        chunks,
        snapshots: check_snapshots(&cluster),
        invalid: cluster
            .watch
            .told
            .iter()
            .filter(|id| cluster.status(0, **id) == TxStatus::Invalid)
            .count(),
        earlier: replies().filter(|reply| matches!(reply, Reply::Earlier(_))).count(),
        not_primary: replies().filter(|reply| matches!(reply, Reply::NotPrimary(_))).count(),
    }
}

#[test]
fn the_network_survives_random_weather() {
    let seeds = match env::var("COCO_SEED") {
        Ok(seed) => {
            let seed = seed.parse().expect("COCO_SEED is a number");
            seed..seed + 1
        }
        Err(_) => {
            0..env::var("COCO_SEEDS")
                .map_or(SEEDS, |seeds| seeds.parse().expect("COCO_SEEDS is a number"))
        }
    };
    for seed in seeds {
        let run = panic::catch_unwind(|| weather(seed, Keys::fast));
        assert!(
            run.is_ok(),
            "repeat with: COCO_SEED={seed} cargo test -p coco-replica --test cluster survives_random"
        );
    }
}

#[test]
fn an_auditor_accepts_what_random_weather_left() {
    let mut snapshots = 0;
    for seed in 0..AUDITED {
        let run = panic::catch_unwind(|| weather(seed, Keys::real));
        assert!(run.is_ok(), "with real keys, seed {seed}");
        snapshots += run.map_or(0, |story| story.snapshots);
    }
    assert!(snapshots > 0, "some seed makes snapshots");
}

#[test]
fn a_seed_always_gives_the_same_weather() {
    for seed in 0..5 {
        assert_eq!(weather(seed, Keys::fast), weather(seed, Keys::fast), "seed {seed}");
    }
}

/// Things that happen in one run.
const ACTS: usize = 600;
/// Runs of the test with virtual keys, unless `COCO_SEEDS` says another number.
const SEEDS: u64 = 200;
/// Runs with real keys.
const AUDITED: u64 = 4;
