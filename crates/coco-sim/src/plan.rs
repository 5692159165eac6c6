//! What a seed decides before a run begins. Each seed draws its own ranges (swarm testing): a run with few kinds of faults
//! reaches states that one with all of them hides.

use coco_consensus::{Limits, Timing};
use coco_evm::pool::PoolLimits;
use coco_replica::{LEASE_GRACE_MS, SNAPSHOT_ENTRIES_MIN, Settings};

use crate::{
    dice::Dice,
    faults::{self, Fault},
    planted::Planted,
};

/// Microseconds of simulated time.
pub type Micros = u64;

/// Length of a node's tick.
pub const TICK_US: Micros = 10_000;
/// After the world has healed, everything must have come to its end within this time.
pub const LIVENESS_US: Micros = 30_000_000;
/// Where nodes come back as others, seats are given one after the other, and with the smallest messages and the slowest
/// network each newcomer is sent an entry a round trip.
pub const LIVENESS_WITH_SEATS_US: Micros = 90_000_000;
/// Most nodes of a network in its beginning.
pub const NODES_MAX: usize = 7;
/// Most nodes of new operators that come in one run.
pub const NEWCOMERS_MAX: usize = 3;
/// How long leases of nodes are, in seconds. A quarter of one is no shorter than the time after which nodes show again what they run.
const LEASES_S: [u64; 3] = [12, 14, 16];
/// Most transactions that clients begin in one run.
pub const TRANSFERS_MAX: u64 = 400;

/// The whole run, but for the dice that fall during it.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Nodes, 1 to 7.
    pub nodes: usize,
    /// Clients, each with an account of its own that it alone sends from.
    pub clients: usize,
    /// Transfers begun by all clients together.
    pub transfers: u64,
    /// The replica's choices.
    pub settings: Settings,
    /// Elections.
    pub timing: Timing,
    /// The engine's maxima.
    pub limits: Limits,
    /// The network.
    pub network: NetworkPlan,
    /// The disks.
    pub disk: DiskPlan,
    /// How often each adversary acts: the mean time between two acts, or never.
    pub faults: FaultPlan,
    /// How many transactions may wait at a primary.
    pub pool: PoolLimits,
    /// Mean time that a node's thread takes for a snapshot.
    pub snapshot_us: Micros,
    /// Mean time between two requests of a member; none without members.
    pub govern_us: Option<Micros>,
    /// Proposals in a thousand that give the ledger another secret.
    pub rekeys: u64,
    /// Whether members hold shares of the ledger's secret.
    pub has_shares: bool,
    /// Mean time that a node's thread takes for a request of a member.
    pub governed_us: Micros,
    /// Nodes of new operators that come during the run; they come only where members trust and remove nodes.
    pub newcomers: usize,
    /// Nodes that members propose to remove, at the most.
    pub removals: usize,
    /// For how long members believe a node, in seconds; for ever if none.
    pub lease_s: Option<u64>,
    /// How long faults may begin.
    pub safety_us: Micros,
    /// Whether signatures are real.
    pub real_keys: bool,
    /// What a node is that starts again.
    pub restart: Restart,
    /// Where nodes come back as others: hosts take down as many as they like, so that the network may lose its majority for
    /// good. Then it stands still; it must not fork.
    pub is_reckless: bool,
    /// A bug to be found.
    pub planted: Option<Planted>,
}

/// What a node is that starts again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// The node that it was, by its disk. A host that sets a disk back is not borne.
    FromDisk,
    /// A new node, which asks the others for its seat. Never more than a minority is down at one time: otherwise nobody
    /// could give seats.
    Rejoin,
}

/// How messages travel.
#[derive(Clone, Copy, Debug)]
pub struct NetworkPlan {
    /// Least time on the way.
    pub delay_min_us: Micros,
    /// Mean of what comes on top.
    pub delay_mean_us: Micros,
    /// Messages lost in a thousand.
    pub loss: u64,
    /// Messages that arrive twice, in a thousand.
    pub duplicates: u64,
}

impl NetworkPlan {
    /// How long a message and its answer are on the way, on the average.
    #[must_use]
    pub const fn round_trip_us(&self) -> Micros {
        2 * (self.delay_min_us + self.delay_mean_us)
    }
}

/// How disks behave.
#[derive(Clone, Copy, Debug)]
pub struct DiskPlan {
    /// Mean time of a sync.
    pub sync_us: Micros,
}

/// Mean time between two acts of each adversary; none for one that stays away.
#[derive(Clone, Copy, Debug, Default)]
pub struct FaultPlan {
    /// Power lost and found again.
    pub crash: Option<Micros>,
    /// Links cut, in one of several shapes.
    pub partition: Option<Micros>,
    /// A node that stands still.
    pub pause: Option<Micros>,
    /// A disk that is slow for a while.
    pub slow_disk: Option<Micros>,
    /// A sync that fails, after which the node stops.
    pub failed_sync: Option<Micros>,
    /// Syncs that fail from some time on.
    pub broken_sync: Option<Micros>,
    /// A disk without room.
    pub full_disk: Option<Micros>,
    /// Bits that flip on a disk.
    pub rot: Option<Micros>,
    /// A write that lands elsewhere.
    pub astray: Option<Micros>,
    /// A disk that ends for good.
    pub dead_disk: Option<Micros>,
    /// A disk that loses everything.
    pub lost_disk: Option<Micros>,
    /// A wall clock that jumps.
    pub clock: Option<Micros>,
    /// The primary is asked to hand over.
    pub transfer: Option<Micros>,
    /// A host that sets disks back.
    pub rollback: Option<Micros>,
    /// A host that starts a copy of a node.
    pub copy: Option<Micros>,
    /// Links stop one by one and come back in another order.
    pub swizzle: Option<Micros>,
    /// A partition that comes and goes.
    pub flap: Option<Micros>,
    /// Everything on the wire is lost for a moment.
    pub burst: Option<Micros>,
    /// Bits flip on a wire, which breaks channels.
    pub damage: Option<Micros>,
    /// What a node says arrives late.
    pub lag: Option<Micros>,
    /// A node whose steps take long.
    pub slow_node: Option<Micros>,
    /// A wall clock at another pace, or none.
    pub drift: Option<Micros>,
    /// A host that keeps old chunk files elsewhere.
    pub archive: Option<Micros>,
    /// A host that tampers with snapshots.
    pub spoil: Option<Micros>,
    /// A host that swaps closed chunks.
    pub swap_chunks: Option<Micros>,
    /// A host that removes and swaps snapshots.
    pub swap_snapshots: Option<Micros>,
    /// A host that withholds what a node runs.
    pub withhold: Option<Micros>,
}

impl Plan {
    /// How long it may take until everything has come to its end, once the world has healed.
    #[must_use]
    pub const fn liveness_us(&self) -> Micros {
        let least_us = match self.restart {
            Restart::FromDisk if !self.changes_nodes() => LIVENESS_US,
            Restart::FromDisk | Restart::Rejoin => LIVENESS_WITH_SEATS_US,
        };
        // One entry at a time, of which each transfer has one, and may have a signature of its own.
        let entry_us = self.network.round_trip_us() + self.disk.sync_us;
        let entries = if self.limits.message_bytes == 1 { 2 * self.transfers } else { 0 };
        // A lease may be about to end, and its node comes back only after that.
        let lease_us = match self.lease_s {
            Some(lease_s) => lease_s * 1_000_000 + 2 * LEASE_GRACE_MS * 1_000,
            None => 0,
        };
        least_us + entries * entry_us + lease_us
    }

    /// Whether nodes come and go: members trust and remove them, or give leases.
    #[must_use]
    pub const fn changes_nodes(&self) -> bool {
        self.newcomers > 0 || self.removals > 0 || self.lease_s.is_some()
    }

    /// Draws a plan.
    #[must_use]
    pub fn draw(dice: &mut Dice) -> Self {
        let round_trip_us = dice.one_of(&[500, 2_000, 20_000, 100_000]);
        // The shortest time-out is little more than a round trip and two syncs: elections then overtake one another.
        let near = u32::try_from(round_trip_us * 5 / 2 / TICK_US).unwrap_or(50).clamp(5, 50);
        let election_ticks_min = dice.one_of(&[near, 10, 20, 50]);
        let safety_us = dice.between(5, 40) * 1_000_000;
        let restart = dice.one_of(&[Restart::FromDisk, Restart::Rejoin]);
        Self {
            nodes: dice.one_of(&[1, 2, 3, 3, 3, 3, 4, 5, 5, NODES_MAX]),
            clients: dice.place(6) + 1,
            transfers: dice.between(20, TRANSFERS_MAX),
            settings: Settings {
                signature_interval_ms: dice.one_of(&[0, 20, 20, 100]),
                chunk_bytes: dice.one_of(&[1, 5_000, 100_000, 5_000_000]),
                retained_entries: dice.one_of(&[0, 5, 1024]),
                // See `draw_snapshots`.
                snapshot_entries: 0,
                uncommitted_bytes_max: dice.one_of(&[3_000, 32 << 20]),
                uncommitted_entries_max: dice.one_of(&[1, 6, 4096]),
                batches_ahead: dice.one_of(&[1, 2, 2, usize::MAX]),
                batch_worth: dice.one_of(&[1, 3, 512]),
            },
            timing: Timing {
                heartbeat_ticks: dice.one_of(&[2, 4]),
                election_ticks_min,
                election_ticks_max: election_ticks_min * 2,
            },
            limits: Limits {
                window_bytes: dice.one_of(&[0, 5_000, 64 << 20]),
                uncommitted_bytes: dice.one_of(&[4_000, 64 << 20]),
                message_bytes: dice.one_of(&[1, 4_000, Limits::default().message_bytes]),
                inflight_messages: dice.place(8) + 1,
            },
            network: NetworkPlan {
                delay_min_us: dice.below(round_trip_us / 4 + 1),
                delay_mean_us: round_trip_us / 4,
                loss: dice.one_of(&[0, 0, 5, 50, 200]),
                duplicates: dice.one_of(&[0, 0, 10, 200]),
            },
            disk: DiskPlan { sync_us: dice.one_of(&[300, 1_000, 10_000]) },
            faults: FaultPlan::draw(dice, restart),
            snapshot_us: 0,
            pool: PoolLimits::default(),
            govern_us: None,
            rekeys: 0,
            has_shares: false,
            governed_us: 0,
            newcomers: 0,
            removals: 0,
            lease_s: None,
            safety_us,
            real_keys: false,
            restart,
            is_reckless: false,
            planted: None,
        }
    }

    /// Decides how many of the adversaries come at all: in half of the seeds all that were drawn, else few of them, since many
    /// faults hide what few show. And whether hosts are reckless: in one of ten seeds where nodes come back as others. The
    /// dice are others, as for members.
    pub fn draw_density(&mut self, dice: &mut Dice) {
        let kept_per_mille = dice.one_of(&[1000, 1000, 500, 150]);
        let mut faults = faults::ALL;
        faults.sort_unstable();
        // The last one came later, and has its own: see `draw_leases`.
        for fault in faults.into_iter().filter(|fault| *fault != Fault::Withhold) {
            let stays = dice.per_mille(kept_per_mille);
            let every = fault.every_mut(&mut self.faults);
            *every = every.filter(|_| stays);
        }
        self.is_reckless = dice.per_mille(100) && self.restart == Restart::Rejoin;
    }

    /// Decides about the pool: in a quarter of the seeds it is so small that the few clients of a run fill it. The dice are others,
    /// as for members.
    pub fn draw_pool(&mut self, dice: &mut Dice) {
        if dice.per_mille(250) {
            self.pool.transactions = dice.one_of(&[1, 2, 3]);
            self.pool.bytes = dice.one_of(&[200, 400, self.pool.bytes]);
        }
    }

    /// Decides about members: three of ten seeds have some. The dice are others, so that seeds without them stay what they
    /// were.
    pub fn draw_members(&mut self, dice: &mut Dice) {
        if dice.per_mille(300) {
            self.govern_us = Some(dice.one_of(&[200_000, 1_000_000, 5_000_000]));
            self.governed_us = dice.one_of(&[300, 5_000, 100_000]);
            self.rekeys = dice.one_of(&[0, 100, 700]);
            if self.rekeys > 100 {
                // Else none would ever be under way when a primary loses its view.
                self.govern_us = Some(200_000);
            }
        }
    }

    /// Decides about nodes that come and go: in six of ten seeds where members govern. The dice are others, as above.
    pub fn draw_nodes(&mut self, dice: &mut Dice) {
        if self.govern_us.is_none() || !dice.per_mille(600) {
            return;
        }
        self.newcomers = dice.one_of(&[1, 1, 2, NEWCOMERS_MAX]);
        self.removals = dice.one_of(&[0, 1, 2, 3]);
        // Else nothing would be decided before the world heals.
        self.govern_us = Some(dice.one_of(&[100_000, 300_000]));
        self.governed_us = dice.one_of(&[300, 5_000, 30_000]);
    }

    /// Decides about leases: in a quarter of the seeds where members govern nodes have some. They are short, and such a run is long
    /// enough for several to end. The dice are others, as above.
    pub fn draw_leases(&mut self, dice: &mut Dice) {
        if self.govern_us.is_none() || !dice.per_mille(250) {
            return;
        }
        self.lease_s = Some(dice.one_of(&LEASES_S));
        self.safety_us = self.safety_us.max(dice.between(45, 60) * 1_000_000);
        self.faults.withhold = Some(dice.between(2, 8) * 1_000_000);
        // A copy that is let in for the node that comes back has not its secrets, and could not go on.
        self.faults.copy = None;
        self.is_reckless = false;
        self.nodes = self.nodes.max(3);
        let least_us = if self.newcomers > 0 { 500_000 } else { 2_000_000 };
        self.govern_us = self.govern_us.map(|every_us| every_us.max(least_us));
        if dice.per_mille(800) {
            self.calm();
        }
    }

    /// Has other adversaries act less often, and elections take longer: a lease ends only under a primary that leads for some time.
    fn calm(&mut self) {
        for fault in faults::ALL.into_iter().filter(|fault| *fault != Fault::Withhold) {
            let every = fault.every_mut(&mut self.faults);
            *every = every.map(|every_us| 4 * every_us);
        }
        self.network.loss = self.network.loss.min(5);
        let ticks = self.timing.election_ticks_min.max(50);
        (self.timing.election_ticks_min, self.timing.election_ticks_max) = (ticks, 2 * ticks);
    }

    /// Decides about snapshots: in half of the seeds there are none. The dice are others, so that seeds without them stay
    /// what they were.
    pub fn draw_snapshots(&mut self, dice: &mut Dice) {
        if dice.per_mille(500) {
            return;
        }
        self.settings.snapshot_entries = dice.between(SNAPSHOT_ENTRIES_MIN, 60);
        self.snapshot_us = dice.one_of(&[1_000, 30_000, 1_000_000, 10_000_000]);
        let mut often = |most_s: u64| {
            let is_about = dice.per_mille(450);
            let every_us = dice.between(1, most_s) * 1_000_000;
            is_about.then_some(every_us)
        };
        (self.faults.archive, self.faults.spoil) = (often(10), often(20));
    }

    /// Decides about hosts that swap whole files: chunks in three of ten seeds, snapshots in four of ten that have some. The
    /// dice are others, as above.
    pub fn draw_hosts(&mut self, dice: &mut Dice) {
        let mut drawn = |per_mille: u64, most_s: u64| {
            let is_about = dice.per_mille(per_mille);
            let every_us = dice.between(1, most_s) * 1_000_000;
            is_about.then_some(every_us)
        };
        self.faults.swap_chunks = drawn(300, 20);
        let has_snapshots = self.settings.snapshot_entries > 0;
        self.faults.swap_snapshots = drawn(400, 10).filter(|_| has_snapshots);
    }
}

impl FaultPlan {
    fn draw(dice: &mut Dice, restart: Restart) -> Self {
        let mut drawn = |per_mille: u64, most_s: u64| {
            let is_about = dice.per_mille(per_mille);
            let every_us = dice.between(1, most_s) * 1_000_000;
            is_about.then_some(every_us)
        };
        // What ends a disk is rarer: where nodes start from theirs, it ends them for the rest of the run.
        let full_disk = drawn(200, 60);
        let rot = drawn(400, 30);
        let astray = drawn(200, 30);
        let dead_disk = drawn(200, 60);
        // Such a node comes back where it may copy the ledger of another.
        let lost_disk = drawn(200, 60);
        let mut often = |most_s| drawn(450, most_s);
        Self {
            crash: often(15),
            partition: often(15),
            pause: often(15),
            slow_disk: often(15),
            failed_sync: often(60),
            full_disk,
            rot,
            astray,
            dead_disk,
            lost_disk,
            clock: often(10),
            transfer: often(20),
            rollback: often(10).filter(|_| restart == Restart::Rejoin),
            copy: often(15).filter(|_| restart == Restart::Rejoin),
            swizzle: often(30),
            flap: often(30),
            burst: often(20),
            damage: often(20),
            lag: often(20),
            slow_node: often(60),
            drift: often(20),
            // After the others, since what they draw stays what it was.
            broken_sync: drawn(150, 60),
            archive: None,
            spoil: None,
            swap_chunks: None,
            swap_snapshots: None,
            withhold: None,
        }
    }
}
