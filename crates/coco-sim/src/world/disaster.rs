//! The end of a world: all nodes are gone at once. What is left are disks, and a copy that somebody has made before.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::World;
use crate::{
    client::check_order,
    dice::Dice,
    faults::Fault,
    folder::SimFolder,
    genesis::Keys,
    log::Recorder,
    machine::Machine,
    marks::Marks,
    plan::{Micros, Plan},
    private::Private,
};

/// What is left.
#[derive(Debug)]
pub(crate) struct Remains {
    /// The nodes, without power.
    pub(crate) machines: Vec<Machine>,
    /// A copy of a node's files that was made while it wrote.
    pub(crate) backup: SimFolder,
    /// Whether anything had befallen that node's disk by then.
    pub(crate) backup_suffered: bool,
    /// What the network had committed.
    pub(crate) committed: Vec<Bytes>,
    /// What its services signed with.
    pub(crate) keys: Keys,
    /// What nobody may see.
    pub(crate) private: Private,
    /// When it happened.
    pub(crate) time: Micros,
    /// How many transfers clients had begun.
    pub(crate) begun: u64,
    /// How many clients there are.
    pub(crate) clients: usize,
    /// How many transfers clients were told are committed.
    pub(crate) done: usize,
    /// What was reached until then.
    pub(crate) marks: Marks,
    /// How often each adversary acted.
    pub(crate) faults: BTreeMap<Fault, u64>,
    /// Digest of everything that nodes sent and wrote.
    pub(crate) digest: [u8; 32],
}

impl World {
    /// Lets a world live under faults until its end. A node's files are copied at the time `backup_us`.
    ///
    /// # Panics
    /// When anything does not hold until then that must.
    pub(crate) fn perish(seed: u64, plan: Plan, dice: Dice, backup_us: Micros) -> Remains {
        let mut world = Self::new(seed, plan, dice, Recorder::default());
        world.live_until(backup_us);
        let node = world.dice.place(world.machines.len());
        let machine = &world.machines[node];
        let (backup, backup_suffered) = (machine.folder.copy(), machine.may_lack_something());
        world.live_until(world.plan.safety_us);
        for node in 0..world.machines.len() {
            if world.machines[node].replica.is_some() {
                world.crash(node);
            } else {
                // What its process wrote and never synced goes, too.
                world.machines[node].folder.lose_power(&mut world.dice);
            }
        }
        check_order(&world.done);
        Remains {
            backup,
            backup_suffered,
            committed: world.check.committed,
            machines: world.machines,
            keys: world.keys,
            private: world.private,
            time: world.time,
            begun: world.begun,
            clients: world.clients.len(),
            done: world.done.len(),
            marks: world.marks,
            faults: world.faults,
            digest: world.digest,
        }
    }

    pub(super) fn live_until(&mut self, time: Micros) {
        while self.time < time {
            let Some(event) = self.next_event() else { return };
            self.happen(event);
        }
    }
}
