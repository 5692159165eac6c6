//! Machines that lose their power: what was not made durable is gone.

use std::time::Duration;

use super::{Case, Set};
use crate::{
    image::FileSystem,
    need::Need,
    scene::{NODES, Scene, Setup, Stage},
};

pub(super) const CASES: &[Case] = &[
    Case {
        name: "power-primary-ext4",
        about: "the primary's machine loses its power (ext4)",
        needs: &[Need::Ext4],
        set: Set::Ci,
        play: |stage| primary(stage, FileSystem::Ext4),
    },
    Case {
        name: "power-primary-xfs",
        about: "the primary's machine loses its power (XFS)",
        needs: &[Need::Xfs],
        set: Set::Long,
        play: |stage| primary(stage, FileSystem::Xfs),
    },
    Case {
        name: "power-all-ext4",
        about: "all machines lose their power at once, and start again from their disks (ext4)",
        needs: &[Need::Ext4],
        set: Set::Long,
        play: |stage| all(stage, FileSystem::Ext4),
    },
    Case {
        name: "power-all-xfs",
        about: "all machines lose their power at once, and start again from their disks (XFS)",
        needs: &[Need::Xfs],
        set: Set::Ci,
        play: |stage| all(stage, FileSystem::Xfs),
    },
];

/// How long a machine stays dark.
const DARK: Duration = Duration::from_millis(1000);

fn on(kind: FileSystem) -> Setup {
    Setup { images: (0..NODES).map(|i| (i, kind)).collect(), ..Setup::default() }
}

/// A machine without power runs no code. With ext4 a sync that is under way while the file system is shut down may say
/// that it succeeded, and a process that still ran would acknowledge what is gone.
fn cut(scene: &mut Scene<'_>, struck: &[usize]) -> anyhow::Result<()> {
    scene.network.freeze_wholly(struck)?;
    for i in struck {
        scene.image(*i)?.cut()?;
    }
    scene.network.kill(struck)
}

fn light(scene: &mut Scene<'_>, struck: &[usize]) -> anyhow::Result<()> {
    for i in struck {
        scene.image(*i)?.mount_again()?;
    }
    scene.network.start(struck)
}

fn primary(stage: Stage<'_>, kind: FileSystem) -> anyhow::Result<()> {
    let mut scene = Scene::open(stage, on(kind))?;
    scene.under_load()?;
    let primary = scene.primary()?;
    cut(&mut scene, &[primary])?;
    let moment = scene.load.now_us();
    scene.resume_without_primary(moment)?;
    scene.go_on(DARK)?;
    light(&mut scene, &[primary])?;
    scene.close()
}

fn all(stage: Stage<'_>, kind: FileSystem) -> anyhow::Result<()> {
    let mut scene = Scene::open(stage, Setup { from_disk: true, ..on(kind) })?;
    scene.under_load()?;
    // So that some cuts meet a chunk that is being closed.
    let more_ms = scene.dice.between(0, 2000);
    scene.note(&format!("{more_ms} ms later"));
    scene.go_on(Duration::from_millis(more_ms))?;
    let struck: Vec<usize> = (0..NODES).collect();
    cut(&mut scene, &struck)?;
    let moment = scene.load.now_us();
    light(&mut scene, &struck)?;
    let after = scene.resume(moment)?;
    scene.note(&format!("committed {} ms after the cut", after.as_millis()));
    scene.close()
}
