//! Random weather: messages are lost, repeated and reordered, disks are slow, nodes lose power and links are cut. When
//! the weather clears, the cluster must agree and go on. What must hold always is checked by the cluster itself.

use std::env;

use bytes::Bytes;
use coco_consensus::{Engine, Limits};

use crate::cluster::Cluster;

/// `SplitMix64`: a run is repeated by its seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ mixed >> 31) % sides as u64).expect("fewer than the sides")
    }
}

fn act(cluster: &mut Cluster, dice: &mut Dice) {
    let nodes = cluster.nodes.len();
    let (node, other) = (dice.roll(nodes), dice.roll(nodes));
    match dice.roll(100) {
        0..25 => (0..nodes).for_each(|node| cluster.tick(node)),
        25..30 => cluster.tick(node),
        30..55 => {
            let links: Vec<_> = cluster.links.keys().copied().collect();
            for (from, to) in links {
                for _ in 0..dice.roll(4) {
                    cluster.deliver(from, to);
                }
            }
        }
        55..67 => {
            for node in (0..nodes).filter(|_| dice.roll(2) == 1) {
                cluster.write(node);
            }
        }
        67..71 => {
            for node in 0..nodes {
                cluster.fetch(node);
            }
        }
        71..72 => cluster.fail_fetch(node),
        72..82 => {
            let size = 1 + dice.roll(60);
            let data =
                Bytes::from(vec![b'a' + u8::try_from(dice.roll(26)).expect("a letter"); size]);
            let primary = cluster.primary().unwrap_or(node);
            let from = if dice.roll(4) == 0 { node } else { primary };
            let expected = cluster.nodes[from].engine.as_ref().and_then(Engine::next_tx_id);
            let result = cluster.with(from, |engine| engine.propose(data)).and_then(Result::ok);
            assert_eq!(result, expected, "a name that was offered is given");
        }
        82..85 => drop(cluster.links.get_mut(&(node, other)).map(std::mem::take)),
        85..88 => {
            if let Some(link) = cluster.links.get_mut(&(node, other)) {
                let again: Vec<_> = link.iter().rev().cloned().collect();
                link.extend(again);
            }
        }
        88..90 if node != other => cluster.cut(node, other),
        90..93 => cluster.cuts.clear(),
        93..95 => cluster.crash(node),
        95..98 => {
            if cluster.nodes[node].engine.is_none() {
                cluster.start(node, dice.roll(10));
            }
        }
        98 => {
            let to = cluster.id(other);
            cluster.with(node, |engine| engine.transfer_to(to).ok());
        }
        _ => {
            let to = cluster.id(other);
            cluster.with(node, |engine| engine.unreachable(to));
        }
    }
}

/// Returns what was committed in the end.
fn weather(seed: u64) -> Vec<String> {
    let mut dice = Dice(seed);
    let nodes = [1, 2, 3, 3, 3, 4, 5][dice.roll(7)];
    let mut cluster = Cluster::new(nodes, nodes, 2, seed);
    cluster.limits = Limits {
        window_bytes: [0, 200, 2000][dice.roll(3)],
        uncommitted_bytes: [50, 1000][dice.roll(2)],
        message_bytes: [1, 200, 1000][dice.roll(3)],
        inflight_messages: 1 + dice.roll(4),
    };
    cluster.start_all();
    for _ in 0..600 {
        act(&mut cluster, &mut dice);
    }

    cluster.cuts.clear();
    for node in 0..cluster.nodes.len() {
        if cluster.nodes[node].engine.is_none() {
            cluster.start(node, 3);
        }
    }
    for _ in 0..200 {
        (0..cluster.nodes.len()).for_each(|node| cluster.tick(node));
        cluster.settle();
    }
    let primary = cluster.primary().expect("somebody is elected in fair weather");
    let last = cluster
        .with(primary, |engine| engine.propose(Bytes::from_static(b"end")))
        .expect("it is up");
    let last = last.expect("a primary with nothing to wait for takes a proposal").seqno;
    for _ in 0..20 {
        (0..cluster.nodes.len()).for_each(|node| cluster.tick(node));
        cluster.settle();
    }
    for node in &cluster.nodes {
        assert_eq!(node.committed, last, "all nodes catch up");
        assert_eq!(node.log, node.disk.log);
        assert_eq!(node.log, cluster.nodes[primary].log);
    }
    cluster.nodes[primary].log.iter().map(|entry| format!("{:?}", entry.tx_id)).collect()
}

#[test]
fn the_cluster_survives_random_weather() {
    let seeds = match env::var("COCO_SEED") {
        Ok(seed) => {
            let seed = seed.parse().expect("COCO_SEED is a number");
            seed..seed + 1
        }
        Err(_) => 0..SEEDS,
    };
    for seed in seeds {
        let run = std::panic::catch_unwind(|| weather(seed));
        assert!(
            run.is_ok(),
            "repeat with: COCO_SEED={seed} cargo test -p coco-consensus --test scenarios weather"
        );
    }
}

#[test]
fn a_seed_always_gives_the_same_weather() {
    for seed in 0..20 {
        assert_eq!(weather(seed), weather(seed), "seed {seed}");
    }
}

/// Runs of every test; some seconds.
const SEEDS: u64 = 300;
