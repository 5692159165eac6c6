//! Processes that are killed, and processes that stand still.

use std::time::Duration;

use super::{Case, Set};
use crate::scene::{LOST_MAX, NODES, Scene, Setup, Stage};

pub(super) const CASES: &[Case] = &[
    Case {
        name: "kill-primary",
        about: "kill -9 of the primary, which starts again",
        needs: &[],
        set: Set::Ci,
        play: kill_primary,
    },
    Case {
        name: "kill-two",
        about: "kill -9 of two nodes at once, the primary among them",
        needs: &[],
        set: Set::Ci,
        play: kill_two,
    },
    Case {
        name: "kill-all",
        about: "kill -9 of all nodes at once; the network starts again from its disks",
        needs: &[],
        set: Set::Ci,
        play: kill_all,
    },
    Case {
        name: "kill-rolling",
        about: "kill -9 of the primary, five times, the one before just back from its disk",
        needs: &[],
        set: Set::Long,
        play: kill_rolling,
    },
    Case {
        name: "freeze-primary",
        about: "SIGSTOP of the primary for 0.5 to 5 s",
        needs: &[],
        set: Set::Ci,
        play: freeze_briefly,
    },
    Case {
        name: "freeze-primary-long",
        about: "SIGSTOP of the primary for 10 to 30 s",
        needs: &[],
        set: Set::Long,
        play: freeze_long,
    },
];

/// How long a struck node stays away.
const AWAY: Duration = Duration::from_millis(1500);
/// A pause that no backup needs to notice.
const ELECTION_MS: u64 = 1000;

/// All may be down at once, and one before the other has its seat again.
fn from_disk() -> Setup {
    Setup { from_disk: true, ..Setup::default() }
}

fn kill_primary(stage: Stage<'_>) -> anyhow::Result<()> {
    let mut scene = Scene::open(stage, Setup::default())?;
    scene.under_load()?;
    let primary = scene.primary()?;
    scene.network.kill(&[primary])?;
    let moment = scene.load.now_us();
    scene.resume_without_primary(moment)?;
    scene.go_on(AWAY)?;
    scene.network.start(&[primary])?;
    scene.close()
}

fn kill_two(stage: Stage<'_>) -> anyhow::Result<()> {
    let mut scene = Scene::open(stage, Setup::default())?;
    scene.under_load()?;
    let primary = scene.primary()?;
    let backup = scene.backup(primary);
    let struck = [primary, backup];
    assert!(struck.len() == LOST_MAX, "a majority stays");
    scene.note(&format!("n{primary} n{backup}"));
    scene.network.kill(&struck)?;
    let moment = scene.load.now_us();
    scene.resume_without_primary(moment)?;
    scene.go_on(AWAY)?;
    scene.network.start(&struck)?;
    scene.close()
}

fn kill_all(stage: Stage<'_>) -> anyhow::Result<()> {
    let mut scene = Scene::open(stage, from_disk())?;
    scene.under_load()?;
    let all: Vec<usize> = (0..NODES).collect();
    scene.network.kill(&all)?;
    let moment = scene.load.now_us();
    scene.network.start(&all)?;
    let after = scene.resume(moment)?;
    scene.note(&format!("committed {} ms after the start began", after.as_millis()));
    scene.close()
}

fn kill_rolling(stage: Stage<'_>) -> anyhow::Result<()> {
    let mut scene = Scene::open(stage, from_disk())?;
    for _ in 0..NODES {
        scene.under_load()?;
        let primary = scene.primary()?;
        scene.network.kill(&[primary])?;
        let moment = scene.load.now_us();
        scene.resume_without_primary(moment)?;
        scene.network.start(&[primary])?;
    }
    scene.close()
}

fn freeze_briefly(stage: Stage<'_>) -> anyhow::Result<()> {
    freeze(stage, 500, 5_000)
}

fn freeze_long(stage: Stage<'_>) -> anyhow::Result<()> {
    freeze(stage, 10_000, 30_000)
}

fn freeze(stage: Stage<'_>, ms_min: u64, ms_max: u64) -> anyhow::Result<()> {
    let mut scene = Scene::open(stage, Setup::default())?;
    let time_ms = scene.dice.between(ms_min, ms_max);
    scene.note(&format!("{time_ms} ms"));
    scene.under_load()?;
    let primary = scene.primary()?;
    scene.network.freeze(primary)?;
    let moment = scene.load.now_us();
    if time_ms > 2 * ELECTION_MS {
        scene.resume_without_primary(moment)?;
    }
    let passed = (scene.load.now_us() - moment) / 1000;
    scene.go_on(Duration::from_millis(time_ms.saturating_sub(passed)))?;
    scene.network.thaw(primary)?;
    scene.close()
}
