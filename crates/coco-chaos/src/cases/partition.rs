//! Networks that are cut. Clients reach every node all the time.

use std::time::Duration;

use anyhow::ensure;

use super::{Case, Set};
use crate::{
    lan::node_address,
    need::Need,
    scene::{NODES, Scene, Setup, Stage},
};

pub(super) const CASES: &[Case] = &[
    Case {
        name: "partition-minority",
        about: "the primary and a backup are cut off from the other three",
        needs: &[Need::Filter],
        set: Set::Ci,
        play: minority,
    },
    Case {
        name: "partition-deaf-primary",
        about: "the primary is heard by the others, and hears none of them",
        needs: &[Need::Filter],
        set: Set::Ci,
        play: |stage| one_way(stage, OneWay::Deaf),
    },
    Case {
        name: "partition-mute-primary",
        about: "the primary hears the others, and none of them hears it",
        needs: &[Need::Filter],
        set: Set::Long,
        play: |stage| one_way(stage, OneWay::Mute),
    },
    Case {
        name: "partition-bridge",
        about: "two pairs of nodes hear each other only through the fifth node, which hears all",
        needs: &[Need::Filter],
        set: Set::Ci,
        play: bridge,
    },
    Case {
        name: "partition-flapping",
        about: "the primary is cut off and back, eight times, for 0.2 to 1.5 s each",
        needs: &[Need::Filter],
        set: Set::Long,
        play: flapping,
    },
    Case {
        name: "partition-no-majority",
        about: "two, two and one: nothing may be committed until they hear each other again",
        needs: &[Need::Filter],
        set: Set::Long,
        play: no_majority,
    },
];

/// Entries that had reached a majority may still be acknowledged for so long.
const ON_THE_WAY: Duration = Duration::from_secs(3);
/// How long a cut lasts after writes went on.
const CUT: Duration = Duration::from_secs(2);
const FLAPS: u32 = 8;

#[derive(Clone, Copy, PartialEq, Eq)]
enum OneWay {
    Deaf,
    Mute,
}

fn set_of(nodes: &[usize]) -> String {
    let addresses = nodes.iter().map(|i| node_address(*i).to_string());
    addresses.collect::<Vec<_>>().join(", ")
}

/// Cuts both ways between the groups, at the nodes of the first one.
fn cut(scene: &Scene<'_>, one: &[usize], other: &[usize]) -> anyhow::Result<()> {
    let others = set_of(other);
    for i in one {
        scene.network.filter(
            *i,
            &format!("ip saddr {{ {others} }} drop"),
            &format!("ip daddr {{ {others} }} drop"),
        )?;
    }
    Ok(())
}

fn heal(scene: &Scene<'_>) -> anyhow::Result<()> {
    (0..NODES).try_for_each(|i| scene.network.unfilter(i))
}

fn except(nodes: &[usize]) -> Vec<usize> {
    (0..NODES).filter(|i| !nodes.contains(i)).collect()
}

fn minority(stage: Stage<'_>) -> anyhow::Result<()> {
    let mut scene = Scene::open(stage, Setup::default())?;
    scene.under_load()?;
    let primary = scene.primary()?;
    let few = [primary, scene.backup(primary)];
    scene.note(&format!("n{} n{}", few[0], few[1]));
    cut(&scene, &few, &except(&few))?;
    let moment = scene.load.now_us();
    scene.resume_without_primary(moment)?;
    scene.go_on(CUT)?;
    heal(&scene)?;
    scene.close()
}

fn one_way(stage: Stage<'_>, way: OneWay) -> anyhow::Result<()> {
    let mut scene = Scene::open(stage, Setup::default())?;
    scene.under_load()?;
    let primary = scene.primary()?;
    let others = set_of(&except(&[primary]));
    match way {
        OneWay::Deaf => {
            scene.network.filter(primary, &format!("ip saddr {{ {others} }} drop"), "")?;
        }
        OneWay::Mute => {
            scene.network.filter(primary, "", &format!("ip daddr {{ {others} }} drop"))?;
        }
    }
    let moment = scene.load.now_us();
    scene.resume_without_primary(moment)?;
    scene.go_on(CUT)?;
    heal(&scene)?;
    scene.close()
}

fn bridge(stage: Stage<'_>) -> anyhow::Result<()> {
    let mut scene = Scene::open(stage, Setup::default())?;
    scene.under_load()?;
    let primary = scene.primary()?;
    let between = scene.backup(primary);
    let rest = except(&[primary, between]);
    let friend = scene.dice.one_of(&rest);
    let (one, other) = ([primary, friend], except(&[primary, friend, between]));
    scene.note(&format!("n{primary} n{friend} | n{between} | n{} n{}", other[0], other[1]));
    cut(&scene, &one, &other)?;
    let moment = scene.load.now_us();
    let after = scene.resume(moment)?;
    scene.note(&format!("committed after {} ms", after.as_millis()));
    scene.go_on(CUT + CUT)?;
    let moment = scene.load.now_us();
    scene.resume(moment)?;
    heal(&scene)?;
    scene.close()
}

fn flapping(stage: Stage<'_>) -> anyhow::Result<()> {
    let mut scene = Scene::open(stage, Setup::default())?;
    scene.under_load()?;
    let primary = scene.primary()?;
    for _ in 0..FLAPS {
        let (off_ms, on_ms) = (scene.dice.between(200, 1500), scene.dice.between(200, 1500));
        cut(&scene, &[primary], &except(&[primary]))?;
        scene.go_on(Duration::from_millis(off_ms))?;
        heal(&scene)?;
        scene.go_on(Duration::from_millis(on_ms))?;
    }
    scene.close()
}

fn no_majority(stage: Stage<'_>) -> anyhow::Result<()> {
    let mut scene = Scene::open(stage, Setup::default())?;
    scene.under_load()?;
    cut(&scene, &[0, 1], &[2, 3, 4])?;
    // The rules of a node are replaced as a whole, so the last one has its own against all.
    cut(&scene, &[4], &[0, 1, 2, 3])?;
    scene.go_on(ON_THE_WAY)?;
    let before = scene.load.acknowledged();
    scene.go_on(CUT)?;
    let after = scene.load.acknowledged();
    ensure!(before == after, "{} writes were acknowledged without a majority", after - before);
    heal(&scene)?;
    let moment = scene.load.now_us();
    let after = scene.resume(moment)?;
    scene.note(&format!("committed {} ms after the healing", after.as_millis()));
    scene.close()
}
