//! Disks that fail or are full, below nodes that go on running.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
    time::Duration,
};

use anyhow::ensure;

use super::{Case, Set};
use crate::{
    image::FileSystem,
    need::Need,
    scene::{NODES, Scene, Setup, Stage},
};

pub(super) const CASES: &[Case] = &[
    Case {
        name: "disk-eio-primary",
        about: "every call to the primary's disk fails with EIO from now on: it must stop by itself",
        needs: &[Need::Ext4],
        set: Set::Ci,
        play: |stage| eio(stage, FileSystem::Ext4, Struck::Primary),
    },
    Case {
        name: "disk-eio-backup",
        about: "the same on a backup, on XFS",
        needs: &[Need::Xfs],
        set: Set::Long,
        play: |stage| eio(stage, FileSystem::Xfs, Struck::Backup),
    },
    Case {
        name: "disk-full-primary",
        about: "the primary's disk is full: it must stop by itself, and start again when there is room",
        needs: &[Need::Ext4],
        set: Set::Ci,
        play: |stage| full(stage, FileSystem::Ext4, Struck::Primary),
    },
    Case {
        name: "disk-full-backup",
        about: "the same on a backup, on XFS",
        needs: &[Need::Xfs],
        set: Set::Long,
        play: |stage| full(stage, FileSystem::Xfs, Struck::Backup),
    },
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Struck {
    Primary,
    Backup,
}

/// Time for a node to notice that its disk is broken.
const END_TIME: Duration = Duration::from_secs(20);
/// Pieces of the file that fills a disk, in bytes.
const PIECES: [usize; 3] = [1 << 20, 4096, 512];
const FILLER: &str = "filler";

/// The stage with the struck node on an image; it is drawn beforehand, since only it has one, unless it is the primary.
fn open<'a>(stage: Stage<'a>, kind: FileSystem, who: Struck) -> anyhow::Result<(Scene<'a>, usize)> {
    let images = (0..NODES).map(|i| (i, kind)).collect();
    let mut scene = Scene::open(stage, Setup { images, ..Setup::default() })?;
    scene.under_load()?;
    let primary = scene.primary()?;
    let struck = match who {
        Struck::Primary => primary,
        Struck::Backup => scene.backup(primary),
    };
    scene.note(&format!("n{struck}"));
    Ok((scene, struck))
}

/// The node ends by itself, with an error that its log names; the others go on.
fn ends(scene: &mut Scene<'_>, struck: usize, who: Struck) -> anyhow::Result<()> {
    let moment = scene.load.now_us();
    let status = scene.network.await_end(struck, END_TIME)?;
    ensure!(status.code() == Some(1), "n{struck} ended with {status}, not with an error");
    let log = scene.network.log(struck)?;
    ensure!(log.contains("the disk failed"), "n{struck} does not say that its disk failed");
    let ended = (scene.load.now_us() - moment) / 1000;
    scene.note(&format!("it ended after {ended} ms"));
    let moment = scene.load.now_us();
    match who {
        Struck::Primary => scene.resume_without_primary(moment),
        Struck::Backup => scene.resume(moment).map(drop),
    }
}

fn eio(stage: Stage<'_>, kind: FileSystem, who: Struck) -> anyhow::Result<()> {
    let (mut scene, struck) = open(stage, kind, who)?;
    scene.image(struck)?.cut()?;
    ends(&mut scene, struck, who)?;
    scene.image(struck)?.mount_again()?;
    scene.network.start(&[struck])?;
    scene.close()
}

fn full(stage: Stage<'_>, kind: FileSystem, who: Struck) -> anyhow::Result<()> {
    let (mut scene, struck) = open(stage, kind, who)?;
    let filler = scene.network.data(struck).join(FILLER);
    fill(&filler)?;
    ends(&mut scene, struck, who)?;
    fs::remove_file(&filler)?;
    scene.network.start(&[struck])?;
    scene.close()
}

/// Takes all room that is left.
fn fill(path: &Path) -> anyhow::Result<()> {
    let mut file = File::create(path)?;
    for bytes in PIECES {
        let piece = vec![0x5a; bytes];
        loop {
            match file.write_all(&piece).and_then(|()| file.sync_all()) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::StorageFull => break,
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}
