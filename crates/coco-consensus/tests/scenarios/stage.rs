//! Plays the steps of a scenario on a cluster. The steps are described where the scenarios are found.

use bytes::Bytes;
use coco_consensus::{Engine, Limits, LogEntry, ProposeError};
use coco_types::Role;

use crate::cluster::{Cluster, written};

pub(crate) struct Stage {
    cluster: Cluster,
    limits: Limits,
}

impl Default for Stage {
    fn default() -> Self {
        Self { cluster: Cluster::new(1, 1, 2, 1), limits: Limits::default() }
    }
}

impl Stage {
    /// One line of a scenario; what was found when it is an expectation that does not hold.
    pub(crate) fn step(&mut self, words: &[&str]) -> Result<(), String> {
        let cluster = &mut self.cluster;
        match *words {
            [] => {}
            ["limits", window, uncommitted, message] => {
                let (window_bytes, uncommitted_bytes) = (number(window), number(uncommitted));
                self.limits = Limits {
                    window_bytes,
                    uncommitted_bytes,
                    message_bytes: number(message),
                    ..self.limits
                };
            }
            ["nodes", count] => {
                let count = u8::try_from(number(count)).expect("few nodes");
                *cluster = Cluster::new(count, count, 2, 1);
                cluster.limits = self.limits;
                cluster.start_all();
            }
            ["nodes", count, "of", all] => {
                let [count, all] =
                    [count, all].map(|word| u8::try_from(number(word)).expect("few nodes"));
                *cluster = Cluster::new(all, count, 2, 1);
                cluster.limits = self.limits;
                cluster.start_all();
            }
            ["settle"] => cluster.settle(),
            ["run", rounds] => {
                for _ in 0..number(rounds) {
                    (0..cluster.nodes.len()).for_each(|node| cluster.tick(node));
                    cluster.settle();
                }
            }
            ["heal"] => cluster.cuts.clear(),
            [word, from, to] if LINK_STEPS.contains(&word) => {
                self.between(word, index(from), index(to));
            }
            [word, node, ref rest @ ..] => {
                for node in self.select(node) {
                    self.at(word, node, rest)?;
                }
            }
            [word] => panic!("no step {word}"),
        }
        Ok(())
    }

    fn select(&self, name: &str) -> Vec<usize> {
        if name == "all" { (0..self.cluster.nodes.len()).collect() } else { vec![index(name)] }
    }

    fn between(&mut self, word: &str, from: usize, to: usize) {
        let cluster = &mut self.cluster;
        let link = cluster.links.entry((from, to)).or_default();
        match word {
            "deliver" => {
                for _ in 0..link.len() {
                    cluster.deliver(from, to);
                }
            }
            "lose" => link.clear(),
            "repeat" => link.extend(link.clone()),
            "reverse" => link.make_contiguous().reverse(),
            "cut" => cluster.cut(from, to),
            "transfer" => {
                let receiver = cluster.id(to);
                cluster
                    .with(from, |engine| engine.transfer_to(receiver))
                    .expect("it is up")
                    .expect("it can");
            }
            "unreachable" => {
                let receiver = cluster.id(to);
                cluster.with(from, |engine| engine.unreachable(receiver)).expect("it is up");
            }
            _ => panic!("no step {word} between nodes"),
        }
    }

    fn at(&mut self, word: &str, node: usize, rest: &[&str]) -> Result<(), String> {
        let cluster = &mut self.cluster;
        match (word, rest) {
            ("campaign", []) => cluster.with(node, Engine::campaign).expect("it is up"),
            ("tick", [ticks]) => (0..number(ticks)).for_each(|_| cluster.tick(node)),
            ("propose", data) => {
                for data in data {
                    let data = Bytes::copy_from_slice(data.as_bytes());
                    let result =
                        cluster.with(node, |engine| engine.propose(data)).expect("it is up");
                    result.map_err(|error| error.to_string())?;
                }
            }
            ("reconfigure", [voters, learners @ ..]) => {
                let nodes = |names: &str| names.split('+').map(index).collect::<Vec<_>>();
                let learners = learners.first().map_or_else(Vec::new, |names| nodes(names));
                cluster.reconfigure(node, &nodes(voters), &learners);
            }
            ("inherit", [from, entries]) => {
                cluster.inherit(node, index(from), number(entries));
            }
            ("isolate", []) => {
                (0..cluster.nodes.len())
                    .filter(|other| *other != node)
                    .for_each(|other| cluster.cut(node, other));
            }
            ("copy", [from, entries]) => cluster.copy(node, index(from), number(entries)),
            ("hold-disk", []) => cluster.nodes[node].disk_held = true,
            ("free-disk", []) => cluster.nodes[node].disk_held = false,
            ("archive", []) => cluster.nodes[node].archived = true,
            ("put-back", []) => cluster.nodes[node].archived = false,
            ("write", []) => while cluster.write(node) {},
            ("crash", []) => cluster.crash(node),
            ("restart", []) => cluster.start(node, usize::MAX),
            ("restart-bare", []) => cluster.start(node, 0),
            _ => return self.expect(word, node, rest),
        }
        Ok(())
    }

    fn expect(&mut self, word: &str, node: usize, rest: &[&str]) -> Result<(), String> {
        if word == "refused" {
            let result = self.cluster.with(node, |engine| engine.propose(Bytes::from_static(b"x")));
            return same(rest, reason(&result.expect("it is up").expect_err("a refusal")));
        }
        let cluster = &self.cluster;
        let this = &cluster.nodes[node];
        let engine = this.engine.as_ref();
        let found = match word {
            "log" => words(&this.log),
            "disk" => words(&this.disk.log),
            "committed" => this.committed.to_string(),
            "configuration" => written(engine.expect("it is up").configuration())[1..].to_owned(),
            "reconfigures" => {
                let can = engine.expect("it is up").can_reconfigure();
                if can { "now" } else { "later" }.to_owned()
            }
            "view" => engine.expect("it is up").view().to_string(),
            "next" => engine
                .and_then(Engine::next_tx_id)
                .map_or("none".to_owned(), |tx_id| tx_id.to_string()),
            "role" => match engine.expect("it is up").role() {
                Role::Primary => "primary".to_owned(),
                Role::Backup => "backup".to_owned(),
                Role::Candidate => "candidate".to_owned(),
            },
            "primary" => {
                let primary = engine.expect("it is up").primary();
                let at = primary
                    .and_then(|id| (0..cluster.nodes.len()).find(|node| cluster.id(*node) == id));
                at.map_or("none".to_owned(), |at| format!("n{}", at + 1))
            }
            "rolled-back-to" => {
                this.truncated_to.map_or("never".to_owned(), |seqno| seqno.to_string())
            }
            "fetched" => if this.fetches_answered > 0 { "some" } else { "none" }.to_owned(),
            "behind" => {
                let is_behind = |at: &usize| this.behind.contains(&cluster.id(*at));
                let behind = (0..cluster.nodes.len()).filter(is_behind);
                let behind: Vec<_> = behind.map(|at| format!("n{}", at + 1)).collect();
                if behind.is_empty() { "nobody".to_owned() } else { behind.join(" ") }
            }
            "queued" => {
                let (to, rest) = rest.split_first().expect("a receiver");
                let queued =
                    cluster.links.get(&(node, index(to))).is_some_and(|link| !link.is_empty());
                return same(rest, if queued { "something" } else { "nothing" });
            }
            _ => panic!("no step {word} for a node"),
        };
        same(rest, &found)
    }
}

fn same(expected: &[&str], found: &str) -> Result<(), String> {
    if expected.join(" ") == found { Ok(()) } else { Err(found.to_owned()) }
}

fn words(log: &[LogEntry]) -> String {
    let word =
        |entry: &LogEntry| format!("{}:{}", entry.tx_id.view, String::from_utf8_lossy(&entry.data));
    log.iter().map(word).collect::<Vec<_>>().join(" ")
}

fn index(name: &str) -> usize {
    let number: usize = name
        .strip_prefix('n')
        .and_then(|n| n.parse().ok())
        .unwrap_or_else(|| panic!("no node {name}"));
    number.checked_sub(1).expect("nodes are counted from one")
}

fn number(word: &str) -> usize {
    word.parse().unwrap_or_else(|_| panic!("{word} is no number"))
}

const fn reason(error: &ProposeError) -> &'static str {
    match error {
        ProposeError::NotPrimary { .. } => "not-primary",
        ProposeError::NotOpened => "not-opened",
        ProposeError::Transferring { .. } => "transferring",
        ProposeError::Full { .. } => "full",
        ProposeError::Empty => "empty",
        ProposeError::TooLarge { .. } => "too-large",
    }
}

/// Steps that name two nodes.
const LINK_STEPS: [&str; 7] =
    ["deliver", "lose", "repeat", "reverse", "cut", "transfer", "unreachable"];
