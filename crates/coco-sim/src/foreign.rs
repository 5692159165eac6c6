//! Another network: one node with a service key and a ledger secret of its own, which lives for a few simulated seconds. What
//! its disk then has, a host puts on the disks of nodes of this one.

use std::{sync::OnceLock, thread};

use coco_adapter::{Checked, Entropy, Ticket};
use coco_ledger::{ChunkName, Folder, LedgerSecret, SnapshotName};
use coco_replica::{Effects, Input, SNAPSHOT_ENTRIES_MIN};

use crate::{
    Plan,
    dice::Dice,
    ethereum,
    genesis::{Governed, Keys, first_entries},
    machine::{Machine, StartAs, Task, snapshots},
    plan::{Micros, TICK_US},
    private::Private,
    trace::Trace,
};

/// The one seed of the other network.
const SEED: u64 = 0x464f_5245_4947_4e00;
/// How many times it gets a transfer, one after the other.
const TRANSFERS: u64 = 24;
/// Ticks between two of them.
const TICKS_BETWEEN: u64 = 12;

/// What the other network's node has on its disk.
#[derive(Debug)]
pub struct Foreign {
    /// Its closed chunks.
    pub chunks: Vec<(ChunkName, Vec<u8>)>,
    /// Its snapshots.
    pub snapshots: Vec<(SnapshotName, Vec<u8>)>,
}

/// The other network, which is made once in a process.
///
/// # Panics
/// When it cannot be made.
pub fn foreign() -> &'static Foreign {
    static FOREIGN: OnceLock<Foreign> = OnceLock::new();
    // On a thread of its own: what is planted on this one is not planted there.
    FOREIGN.get_or_init(|| thread::spawn(made).join().expect("the other network can be made"))
}

/// Lets the other network live.
fn made() -> Foreign {
    let mut node = Node::new();
    for nonce in 0..TRANSFERS {
        node.submit(nonce);
        (0..TICKS_BETWEEN).for_each(|_| node.tick());
    }
    let machine = &node.machine;
    let names = machine.folder.names().expect("a healthy disk is read");
    let mut chunks: Vec<ChunkName> = names.iter().filter_map(|name| name.parse().ok()).collect();
    chunks.retain(|chunk| chunk.last.is_some());
    chunks.sort_unstable();
    let seen = |name: String| machine.folder.seen(&name).expect("it is there");
    Foreign {
        chunks: chunks.into_iter().map(|name| (name, seen(name.to_string()))).collect(),
        snapshots: snapshots(machine)
            .into_iter()
            .map(|name| (name, machine.shown(&name.to_string())))
            .collect(),
    }
}

/// Its node, on a disk that works, and its time.
struct Node {
    machine: Machine,
    private: Private,
    dice: Dice,
    time: Micros,
}

impl Node {
    fn new() -> Self {
        let mut dice = Dice::new(SEED);
        let mut plan = Plan::draw(&mut dice);
        (plan.nodes, plan.real_keys) = (1, true);
        plan.settings.chunk_bytes = 1;
        plan.settings.signature_interval_ms = 0;
        plan.settings.snapshot_entries = SNAPSHOT_ENTRIES_MIN;
        let (keys, secret) = (Keys::real(SEED, 1), LedgerSecret::new(&dice.bytes()));
        let first = first_entries(secret.clone(), &keys, (1, 1), Governed::ByNobody);
        let mut machine = Machine::new(0, &keys, &first);
        machine.given = Some(secret.into());
        let trace = Trace::new(&[machine.id], &first);
        let started = machine.start(&plan, &keys, StartAs::Before, &mut dice, &trace, &[]);
        assert!(started.is_ok(), "the other network starts");
        Self { machine, private: Private::draw(&mut dice), dice, time: 0 }
    }

    fn submit(&mut self, nonce: u64) {
        let marker = self.private.marker(b't', nonce);
        let transfer = ethereum::transfer(0, nonce, (ethereum::account(0), 1), marker);
        self.step(Input::Submit(vec![(Ticket(nonce), Checked::new(transfer))]));
    }

    fn tick(&mut self) {
        self.time += TICK_US;
        self.step(Input::Tick);
        let entropy = self.dice.bytes();
        self.step(Input::Work(Entropy(entropy)));
    }

    /// What a driver does at once, with a disk that takes no time.
    fn step(&mut self, input: Input) {
        let stepped = self.machine.step(self.time, input).expect("it is up");
        let Effects { persist, snapshots, committed, .. } = stepped.expect("nothing stops it");
        persist.into_iter().for_each(|persist| self.machine.persist(persist));
        self.machine.making.tasks.extend(snapshots);
        if let Some(committed) = committed {
            self.machine.note_committed(committed.seqno);
        }
        self.machine.in_sync = Some(self.machine.writes.len());
        if let Some(token) = self.machine.synced().expect("a healthy disk takes it") {
            self.step(Input::Persisted(token));
        }
        while !self.machine.making.tasks.is_empty() {
            if let Task::Made(evidence, _) = self.machine.make_snapshot(self.time) {
                self.step(Input::SnapshotMade(evidence.seqno, Some(evidence.digest)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_network_has_chunks_and_snapshots_and_is_always_the_same() {
        let (one, other) = (made(), made());
        assert!(one.chunks.len() > 10 && one.snapshots.len() > 1, "{one:?}");
        assert!(one.chunks == other.chunks && one.snapshots == other.snapshots);
    }
}
