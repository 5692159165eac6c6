//! What goes wrong: one adversary a file. Each acts on the world when its time comes and says whether it found something to do.

mod archive;
mod astray;
mod burst;
mod clock;
mod copy;
mod crash;
mod cuts;
mod damage;
mod disk;
mod drift;
mod flap;
mod full;
mod gone;
mod lag;
mod partition;
mod pause;
mod rollback;
mod rot;
mod slow_node;
mod spoil;
mod swap_chunks;
mod swap_snapshots;
mod swizzle;
mod transfer;
mod withhold;

pub use cuts::Cuts;
pub use damage::Damage;
pub(crate) use damage::strikes as damage_strikes;
pub use drift::Drift;

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
    /// Makes all syncs of a disk fail from then on.
    BrokenSync,
    /// Leaves no room on a disk.
    FullDisk,
    /// Flips bits of a disk.
    Rot,
    /// Has a write land elsewhere.
    Astray,
    /// Ends a disk for good.
    DeadDisk,
    /// Takes everything from a disk.
    LostDisk,
    /// Sets a wall clock.
    Clock,
    /// Asks the primary to hand over.
    Transfer,
    /// Sets a disk back.
    Rollback,
    /// Starts a copy of a node.
    Copy,
    /// Stops links one by one, and mends them in another order.
    Swizzle,
    /// Cuts and mends, again and again.
    Flap,
    /// Loses everything for a moment.
    Burst,
    /// Flips bits on a wire.
    Damage,
    /// Makes what a node says arrive late.
    Lag,
    /// Makes a node slow.
    SlowNode,
    /// Stops a wall clock, or changes its pace.
    Drift,
    /// Keeps chunk files elsewhere, and brings them back.
    Archive,
    /// Tampers with a snapshot.
    Spoil,
    /// Swaps a closed chunk.
    SwapChunks,
    /// Removes a snapshot, or swaps it.
    SwapSnapshots,
    /// Withholds what a node runs.
    Withhold,
}

/// All of them.
pub const ALL: [Fault; 27] = [
    Fault::Crash,
    Fault::Partition,
    Fault::Pause,
    Fault::SlowDisk,
    Fault::FailedSync,
    Fault::FullDisk,
    Fault::Rot,
    Fault::Astray,
    Fault::DeadDisk,
    Fault::LostDisk,
    Fault::Clock,
    Fault::Transfer,
    Fault::Rollback,
    Fault::Copy,
    Fault::Swizzle,
    Fault::Flap,
    Fault::Burst,
    Fault::Damage,
    Fault::Lag,
    Fault::SlowNode,
    Fault::Drift,
    Fault::Archive,
    Fault::Spoil,
    Fault::BrokenSync,
    Fault::SwapChunks,
    Fault::SwapSnapshots,
    Fault::Withhold,
];

impl Fault {
    /// Mean time between two acts; none when it stays away.
    #[must_use]
    pub const fn every(self, mut plan: FaultPlan) -> Option<Micros> {
        *self.every_mut(&mut plan)
    }

    /// Where that stands.
    pub(crate) const fn every_mut(self, plan: &mut FaultPlan) -> &mut Option<Micros> {
        match self {
            Self::Crash => &mut plan.crash,
            Self::Partition => &mut plan.partition,
            Self::Pause => &mut plan.pause,
            Self::SlowDisk => &mut plan.slow_disk,
            Self::FailedSync => &mut plan.failed_sync,
            Self::BrokenSync => &mut plan.broken_sync,
            Self::FullDisk => &mut plan.full_disk,
            Self::Rot => &mut plan.rot,
            Self::Astray => &mut plan.astray,
            Self::DeadDisk => &mut plan.dead_disk,
            Self::LostDisk => &mut plan.lost_disk,
            Self::Clock => &mut plan.clock,
            Self::Transfer => &mut plan.transfer,
            Self::Rollback => &mut plan.rollback,
            Self::Copy => &mut plan.copy,
            Self::Swizzle => &mut plan.swizzle,
            Self::Flap => &mut plan.flap,
            Self::Burst => &mut plan.burst,
            Self::Damage => &mut plan.damage,
            Self::Lag => &mut plan.lag,
            Self::SlowNode => &mut plan.slow_node,
            Self::Drift => &mut plan.drift,
            Self::Archive => &mut plan.archive,
            Self::Spoil => &mut plan.spoil,
            Self::SwapChunks => &mut plan.swap_chunks,
            Self::SwapSnapshots => &mut plan.swap_snapshots,
            Self::Withhold => &mut plan.withhold,
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
            Self::BrokenSync => "broken_sync",
            Self::FullDisk => "full_disk",
            Self::Rot => "rot",
            Self::Astray => "astray",
            Self::DeadDisk => "dead_disk",
            Self::LostDisk => "lost_disk",
            Self::Clock => "clock",
            Self::Transfer => "transfer",
            Self::Rollback => "rollback",
            Self::Copy => "copy",
            Self::Swizzle => "swizzle",
            Self::Flap => "flap",
            Self::Burst => "burst",
            Self::Damage => "damage",
            Self::Lag => "lag",
            Self::SlowNode => "slow_node",
            Self::Drift => "drift",
            Self::Archive => "archive",
            Self::Spoil => "spoil",
            Self::SwapChunks => "swap_chunks",
            Self::SwapSnapshots => "swap_snapshots",
            Self::Withhold => "withhold",
        }
    }

    /// Acts, if there is something for it to do. Whether it did.
    pub fn act(self, world: &mut World) -> bool {
        match self {
            Self::Crash => crash::act(world),
            Self::Partition => partition::act(world),
            Self::Pause => pause::act(world),
            Self::SlowDisk => disk::slow(world),
            Self::FailedSync => disk::fail(world),
            Self::BrokenSync => disk::fail_for_good(world),
            Self::FullDisk => full::act(world),
            Self::Rot => rot::act(world),
            Self::Astray => astray::act(world),
            Self::DeadDisk => gone::die(world),
            Self::LostDisk => gone::vanish(world),
            Self::Clock => clock::act(world),
            Self::Transfer => transfer::act(world),
            Self::Rollback => rollback::act(world),
            Self::Copy => copy::act(world),
            Self::Swizzle => swizzle::act(world),
            Self::Flap => flap::act(world),
            Self::Burst => burst::act(world),
            Self::Damage => damage::act(world),
            Self::Lag => lag::act(world),
            Self::SlowNode => slow_node::act(world),
            Self::Drift => drift::act(world),
            Self::Archive => archive::act(world),
            Self::Spoil => spoil::act(world),
            Self::SwapChunks => swap_chunks::act(world),
            Self::SwapSnapshots => swap_snapshots::act(world),
            Self::Withhold => withhold::act(world),
        }
    }
}
