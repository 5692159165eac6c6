//! Nodes that start again as new ones and ask the others for their seats, under load. A host that sets a disk back takes
//! nothing from the network.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::ensure;
use coco_ledger::RESUMED_MAP;
use coco_node::config::Restart;

use super::{
    cluster::Network,
    faults::{QUIET_TIME, Scene, WRITES_GO_ON},
    program::until,
};

/// A node that starts again votes within this time.
const SEATED: Duration = Duration::from_secs(10);

#[test]
fn nodes_come_back_as_others() -> anyhow::Result<()> {
    let mut scene = Scene::open()?;
    scene.network.adjust(|config| config.consensus.restart = Restart::Rejoin)?;
    for round in 1..=6 {
        std::thread::sleep(QUIET_TIME);
        let primary = scene.network.await_primary(WRITES_GO_ON)?;
        let node = if round % 2 == 0 { primary } else { (primary + 1) % 3 };
        let fault = Instant::now();
        scene.network.kill(&[node])?;
        scene.writes_go_on(fault, &format!("kill {round}, n{node}, primary n{primary}"))?;
        let started = Instant::now();
        scene.network.start(node)?;
        scene.network.await_all_seated(SEATED)?;
        println!("  n{node} has its seat again after {:.2?}", started.elapsed());
        scene.check(fault, node)?;
    }
    scene.close()
}

#[test]
fn a_disk_that_was_set_back_harms_nobody() -> anyhow::Result<()> {
    let mut scene = Scene::open()?;
    scene.network.adjust(|config| config.consensus.restart = Restart::Rejoin)?;
    std::thread::sleep(QUIET_TIME);
    // The host keeps what n2 had early on.
    scene.network.kill(&[2])?;
    let (place, old) = (scene.network.place(2).to_owned(), scene.network.scratch().join("old"));
    copy(&place, &old)?;
    scene.network.start(2)?;
    scene.network.await_all_seated(SEATED)?;
    for round in 1..=2 {
        std::thread::sleep(QUIET_TIME);
        let fault = Instant::now();
        scene.network.kill(&[2])?;
        fs::remove_dir_all(&place)?;
        copy(&old, &place)?;
        scene.network.start(2)?;
        scene.network.await_all_seated(SEATED)?;
        println!("set back {round}: n2 has its seat after {:.2?}", fault.elapsed());
        scene.check(fault, 2)?;
        // Whoever leads, n2 now counts for a quorum, with everything that was committed.
        let primary = scene.network.await_primary(WRITES_GO_ON)?;
        if primary != 2 {
            let fault = Instant::now();
            scene.network.kill(&[primary])?;
            scene.writes_go_on(fault, "the set-back node is needed")?;
            scene.network.start(primary)?;
            scene.network.await_all_seated(SEATED)?;
            scene.check(fault, primary)?;
        }
    }
    scene.close()
}

#[test]
fn nodes_that_go_on_from_their_disks_say_so_in_the_ledger() -> anyhow::Result<()> {
    let mut network = Network::provision(3, |_| ())?;
    network.start_all()?;
    for i in 0..3 {
        let folder = network.ledger_folder(i);
        until("the ledger names every node that went on from its disk", SEATED, || {
            let mut said = 0;
            for file in fs::read_dir(&folder)? {
                let bytes = fs::read(file?.path())?;
                let name = RESUMED_MAP.as_bytes();
                said += bytes.windows(name.len()).filter(|part| *part == name).count();
            }
            Ok(said >= 3)
        })?;
    }
    network.finish()
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    ensure!(!to.exists(), "{} is there", to.display());
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
