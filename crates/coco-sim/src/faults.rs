//! What goes wrong: one adversary a file. Each acts on the world when its time comes and says when it will act again.

mod clock;
mod copy;
mod crash;
mod disk;
mod partition;
mod pause;
mod rollback;
mod transfer;

pub use partition::Cuts;

use crate::{
    plan::{FaultPlan, Micros},
    world::World,
};

/// An adversary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Takes the power of some nodes and gives it back later.
    Crash,
    /// Cuts links, and mends them later.
    Partition,
    /// Makes a node stand still.
    Pause,
    /// Makes a disk slow.
    SlowDisk,
    /// Makes the next sync of a disk fail.
    FailedSync,
    /// Sets a wall clock.
    Clock,
    /// Asks the primary to hand over.
    Transfer,
    /// Sets a disk back.
    Rollback,
    /// Starts a copy of a node.
    Copy,
}

/// All of them.
pub const ALL: [Fault; 9] = [
    Fault::Crash,
    Fault::Partition,
    Fault::Pause,
    Fault::SlowDisk,
    Fault::FailedSync,
    Fault::Clock,
    Fault::Transfer,
    Fault::Rollback,
    Fault::Copy,
];

impl Fault {
    /// Mean time between two acts; none when it stays away.
    #[must_use]
    pub const fn every(self, plan: &FaultPlan) -> Option<Micros> {
        match self {
            Self::Crash => plan.crash,
            Self::Partition => plan.partition,
            Self::Pause => plan.pause,
            Self::SlowDisk => plan.slow_disk,
            Self::FailedSync => plan.failed_sync,
            Self::Clock => plan.clock,
            Self::Transfer => plan.transfer,
            Self::Rollback => plan.rollback,
            Self::Copy => plan.copy,
        }
    }

    /// A name for reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Crash => "crash",
            Self::Partition => "partition",
            Self::Pause => "pause",
            Self::SlowDisk => "slow_disk",
            Self::FailedSync => "failed_sync",
            Self::Clock => "clock",
            Self::Transfer => "transfer",
            Self::Rollback => "rollback",
            Self::Copy => "copy",
        }
    }

    /// Acts.
    pub fn act(self, world: &mut World) {
        match self {
            Self::Crash => crash::act(world),
            Self::Partition => partition::act(world),
            Self::Pause => pause::act(world),
            Self::SlowDisk => disk::slow(world),
            Self::FailedSync => disk::fail(world),
            Self::Clock => clock::act(world),
            Self::Transfer => transfer::act(world),
            Self::Rollback => rollback::act(world),
            Self::Copy => copy::act(world),
        }
    }
}
