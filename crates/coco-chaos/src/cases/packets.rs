//! Packets that come late, twice, or altered, and links that are narrow.

use std::time::Duration;

use anyhow::ensure;

use super::{
    Case, Set, TWICE,
    link::{TIME, bears},
};
use crate::{
    counters::Counter,
    lan::limit,
    need::Need,
    packets::{Deed, Packets},
    scene::{NODES, Scene, Setup, Stage},
};

pub(super) const CASES: &[Case] = &[
    Case {
        name: "reorder",
        about: "every fifth packet to any node is held back for 1 to 40 ms, for 2 s; later ones overtake it",
        needs: &[Need::Queue],
        set: Set::Ci,
        play: |stage| strike(stage, Deed::HoldBack(1, 40), 200, Counter::OutOfOrder, CI_TIME),
    },
    Case {
        name: "duplicate",
        about: "every fifth packet from any node is sent twice, for 6 s; some copies come up to 40 ms later",
        needs: &[Need::Twice, Need::Queue],
        set: Set::Long,
        play: duplicate,
    },
    Case {
        name: "corrupt",
        about: "a bit of every twentieth packet to any node is flipped, for 6 s; its checksum tells",
        needs: &[Need::Queue],
        set: Set::Long,
        play: |stage| strike(stage, Deed::Flip, 50, Counter::WrongChecksum, TIME),
    },
    Case {
        name: "corrupt-mended",
        about: "a bit of what every 500th packet to any node carries is flipped, and its checksum mended, for 6 s; TLS tells",
        needs: &[Need::Queue],
        set: Set::Long,
        play: corrupt_mended,
    },
    Case {
        name: "slow-link",
        about: "every node may send 1 Mbit/s for 6 s; what does not fit in 400 ms is lost",
        needs: &[Need::Rate],
        set: Set::Long,
        play: slow,
    },
];

/// For how long in a case that every change must pass.
const CI_TIME: Duration = Duration::from_secs(2);
/// What TLS says of bytes that were changed.
const NOT_DECRYPTED: &str = "cannot decrypt";
/// So often the kernel, or we, must have met a fault, or it was none.
const MET_MIN: u64 = 20;
/// What each node may send.
const SLOW_KBIT: u32 = 1000;

fn strike(
    stage: Stage<'_>,
    deed: Deed,
    per_thousand: u64,
    met: Counter,
    time: Duration,
) -> anyhow::Result<()> {
    let mut scene = Scene::open(stage, Setup::default())?;
    scene.under_load()?;
    let namespaces = scene.network.namespaces().to_vec();
    let before = met.read(&namespaces)?;
    let packets = Packets::strike(&namespaces, deed, per_thousand, scene.dice.clone())?;
    bears(&mut scene, time)?;
    let tally = packets.stop()?;
    let count = met.read(&namespaces)? - before;
    scene.note(&format!("{} of {} packets, {met:?}: {count}", tally.struck, tally.seen));
    ensure!(count >= MET_MIN, "the kernels noticed only {count} of {} packets", tally.struck);
    scene.close()
}

fn duplicate(stage: Stage<'_>) -> anyhow::Result<()> {
    let mut scene = Scene::open(stage, Setup::default())?;
    scene.under_load()?;
    let namespaces = scene.network.namespaces().to_vec();
    let before = Counter::Duplicate.read(&namespaces)?;
    // Whatever is held back may be the first of two, or the second.
    let late = Deed::HoldBack(1, 40);
    let packets = Packets::strike(&namespaces, late, 20, scene.dice.clone())?;
    for i in 0..NODES {
        scene.network.filter(i, "", TWICE)?;
    }
    bears(&mut scene, TIME)?;
    (0..NODES).try_for_each(|i| scene.network.unfilter(i))?;
    packets.stop()?;
    let count = Counter::Duplicate.read(&namespaces)? - before;
    scene.note(&format!("{count} duplicates told of"));
    ensure!(count >= MET_MIN, "the kernels noticed only {count} duplicates");
    scene.close()
}

fn corrupt_mended(stage: Stage<'_>) -> anyhow::Result<()> {
    let mut scene = Scene::open(stage, Setup::default())?;
    scene.under_load()?;
    let namespaces = scene.network.namespaces().to_vec();
    let before = Counter::WrongChecksum.read(&namespaces)?;
    let packets = Packets::strike(&namespaces, Deed::FlipAndMend, 2, scene.dice.clone())?;
    bears(&mut scene, TIME)?;
    let tally = packets.stop()?;
    let mut broken = 0;
    for i in 0..NODES {
        broken += scene.network.log(i)?.lines().filter(|line| line.contains(NOT_DECRYPTED)).count();
    }
    scene.note(&format!(
        "{} of {} packets; channels between nodes broken: {broken}",
        tally.struck, tally.seen
    ));
    ensure!(broken > 0, "no channel between nodes broke");
    ensure!(tally.struck >= MET_MIN, "only {} packets were changed", tally.struck);
    let wrong = Counter::WrongChecksum.read(&namespaces)? - before;
    ensure!(wrong == 0, "{wrong} checksums were not mended");
    scene.close()
}

fn slow(stage: Stage<'_>) -> anyhow::Result<()> {
    let mut scene = Scene::open(stage, Setup::default())?;
    scene.under_load()?;
    let namespaces = scene.network.namespaces().to_vec();
    namespaces.iter().try_for_each(|namespace| limit(namespace, Some(SLOW_KBIT)))?;
    bears(&mut scene, TIME)?;
    namespaces.iter().try_for_each(|namespace| limit(namespace, None))?;
    scene.close()
}
