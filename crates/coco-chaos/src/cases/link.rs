//! Links that lose packets, and links that are slow.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::ensure;

use super::{Case, Set};
use crate::{
    need::Need,
    proxy,
    scene::{NODES, RESUME_TIME, Scene, Setup, Stage},
};

pub(super) const CASES: &[Case] = &[
    Case {
        name: "loss-10",
        about: "every tenth packet to any node is lost for 6 s, from clients and from nodes",
        needs: &[Need::Filter],
        set: Set::Ci,
        play: |stage| loss(stage, 10),
    },
    Case {
        name: "loss-30",
        about: "every third packet to any node is lost for 6 s",
        needs: &[Need::Filter],
        set: Set::Long,
        play: |stage| loss(stage, 30),
    },
    Case {
        name: "delay-50",
        about: "bytes between nodes take 50 ms more, up to a fifth more or less, for 6 s",
        needs: &[],
        set: Set::Ci,
        play: |stage| delay(stage, 50),
    },
    Case {
        name: "delay-200",
        about: "bytes between nodes take 200 ms more, for 6 s",
        needs: &[],
        set: Set::Long,
        play: |stage| delay(stage, 200),
    },
];

pub(super) const TIME: Duration = Duration::from_secs(6);

/// Writes go on while the links are bad, and nobody waits too long for one.
pub(super) fn bears(scene: &mut Scene<'_>, time: Duration) -> anyhow::Result<()> {
    let (moment, before) = (scene.load.now_us(), scene.load.acknowledged());
    scene.go_on(time)?;
    let count = scene.load.acknowledged() - before;
    scene.note(&format!("{count} writes acknowledged meanwhile"));
    ensure!(count > 0, "no write was acknowledged");
    scene.hardly_noticed(moment, RESUME_TIME)
}

fn loss(stage: Stage<'_>, percent: u32) -> anyhow::Result<()> {
    let mut scene = Scene::open(stage, Setup::default())?;
    scene.under_load()?;
    let rule = format!("numgen random mod 100 < {percent} drop");
    for i in 0..NODES {
        scene.network.filter(i, &rule, "")?;
    }
    bears(&mut scene, TIME)?;
    (0..NODES).try_for_each(|i| scene.network.unfilter(i))?;
    scene.close()
}

fn delay(stage: Stage<'_>, delay_ms: u64) -> anyhow::Result<()> {
    let current_ms = Arc::new(AtomicU64::new(0));
    let setup = Setup {
        adjust: Box::new(proxy::go_between),
        delay_ms: Some(Arc::clone(&current_ms)),
        ..Setup::default()
    };
    let mut scene = Scene::open(stage, setup)?;
    scene.under_load()?;
    current_ms.store(delay_ms, Ordering::Relaxed);
    bears(&mut scene, TIME)?;
    current_ms.store(0, Ordering::Relaxed);
    scene.close()
}
