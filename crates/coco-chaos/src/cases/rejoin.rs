//! Nodes that start again as others and ask for their seats.

use std::{fs, path::Path};

use anyhow::{Context, ensure};

use super::{Case, Set};
use crate::scene::{NODES, Scene, Setup, Stage};

pub(super) const CASES: &[Case] = &[
    Case {
        name: "rejoin-rolling",
        about: "kill -9 of the primary, five times; each comes back as another node and gets its seat",
        needs: &[],
        set: Set::Ci,
        play: rolling,
    },
    Case {
        name: "rejoin-set-back",
        about: "a host gives a node an old copy of its disk; then the node is needed for a quorum",
        needs: &[],
        set: Set::Ci,
        play: set_back,
    },
    Case {
        name: "node-replaced",
        about: "a node loses everything but its configuration and its sealed keys, and copies the ledger from another; then it is \
                needed for a quorum",
        needs: &[],
        set: Set::Ci,
        play: replaced,
    },
    Case {
        name: "node-admitted",
        about: "a node's machine is lost with its keys: a member removes it, and admits a new one in its place by `coco network \
                join`; then it is needed for a quorum",
        needs: &[],
        set: Set::Ci,
        play: admitted,
    },
];

/// Primaries that are killed.
const ROUNDS: usize = 5;
/// Entries between two snapshots: some a second under the load.
const SNAPSHOT_ENTRIES: u64 = 100;

fn setup() -> Setup {
    let adjust = |_: usize, config: &mut coco_node::NodeConfig| {
        config.ledger.snapshot_entries = SNAPSHOT_ENTRIES;
    };
    Setup { adjust: Box::new(adjust), ..Setup::default() }
}

fn rolling(stage: Stage<'_>) -> anyhow::Result<()> {
    let mut scene = Scene::open(stage, setup())?;
    for _ in 0..ROUNDS {
        scene.under_load()?;
        let primary = scene.primary()?;
        scene.network.kill(&[primary])?;
        let moment = scene.load.now_us();
        scene.resume_without_primary(moment)?;
        scene.network.start(&[primary])?;
        scene.await_seats()?;
    }
    scene.close()
}

fn set_back(stage: Stage<'_>) -> anyhow::Result<()> {
    let mut scene = Scene::open(stage, setup())?;
    scene.under_load()?;
    let primary = scene.primary()?;
    let victim = scene.backup(primary);
    scene.note(&format!("n{victim}"));
    scene.network.kill(&[victim])?;
    let data = scene.network.data(victim).to_owned();
    let old = data.with_extension("old");
    copy(&data, &old)?;
    scene.network.start(&[victim])?;
    scene.await_seats()?;
    scene.under_load()?;

    scene.network.kill(&[victim])?;
    fs::remove_dir_all(&data)?;
    copy(&old, &data)?;
    scene.network.start(&[victim])?;
    scene.await_seats()?;
    is_needed(scene, victim)
}

fn replaced(stage: Stage<'_>) -> anyhow::Result<()> {
    let mut scene = Scene::open(stage, setup())?;
    scene.under_load()?;
    let primary = scene.primary()?;
    // In the end the whole chain is read from n0, and the victim has no more than what comes after a snapshot.
    let victim = (1..NODES).find(|i| *i != primary).context("there are five")?;
    scene.note(&format!("n{victim}"));
    scene.network.kill(&[victim])?;
    let data = scene.network.data(victim).to_owned();
    for folder in ["ledger", "snapshots"] {
        fs::remove_dir_all(data.join(folder))?;
    }
    fs::remove_file(data.join("consensus.state"))?;
    scene.network.start(&[victim])?;
    scene.await_seats()?;
    let log = scene.network.log(victim)?;
    ensure!(log.contains("copied the ledger from another node"), "n{victim} copied nothing");
    is_needed(scene, victim)
}

fn admitted(stage: Stage<'_>) -> anyhow::Result<()> {
    let mut scene = Scene::open(stage, Setup { is_governed: true, ..setup() })?;
    scene.under_load()?;
    let primary = scene.primary()?;
    // In the end the whole chain is read from n0.
    let victim = (1..NODES).find(|i| *i != primary).context("there are five")?;
    scene.note(&format!("n{victim}"));
    let gone = scene.own_id(victim).context("it says who it is")?;
    scene.network.kill(&[victim])?;
    fs::remove_dir_all(scene.network.data(victim))?;
    let member = scene.member.as_ref().context("it is governed")?;
    member.decide(&["remove-node", &gone])?;
    let newcomer = scene.network.ask_to_join(victim, primary)?;
    member.decide(&["trust-node", &newcomer])?;
    scene.network.joined(victim)?;
    scene.network.start(&[victim])?;
    scene.await_seats()?;
    is_needed(scene, victim)
}

/// Two others go: what is left is a quorum only with this node.
fn is_needed(mut scene: Scene<'_>, victim: usize) -> anyhow::Result<()> {
    let primary = scene.primary()?;
    let others = (0..).filter(|i| *i != victim && *i != primary).take(2);
    let struck: Vec<usize> = others.collect();
    scene.network.kill(&struck)?;
    let moment = scene.load.now_us();
    scene.resume(moment)?;
    scene.network.start(&struck)?;
    scene.await_seats()?;
    scene.close()
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
