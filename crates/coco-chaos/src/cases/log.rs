//! A log that nobody takes away (etcd issue 22214: a node that waits for its log serves nobody and is not replaced).

use std::time::Duration;

use anyhow::ensure;

use super::{Case, Set};
use crate::{
    nodes_say,
    scene::{Scene, Setup, Stage},
};

pub(super) const CASES: &[Case] = &[Case {
    name: "log-blocked",
    about: "the primary's standard error is a pipe that nobody reads, and it has much to say",
    needs: &[],
    set: Set::Ci,
    play: blocked,
}];

/// The node that stands for election first.
const FIRST: usize = 0;
/// The pipe is full long before.
const TIME: Duration = Duration::from_secs(4);
/// Writes are never interrupted for longer.
const SILENCE_MAX: Duration = Duration::from_secs(2);

fn blocked(stage: Stage<'_>) -> anyhow::Result<()> {
    let setup = Setup {
        before_start: Box::new(|network| {
            let manner = network.manner(FIRST);
            manner.is_log_blocked = true;
            manner.environment.insert("COCO_LOG".into(), "trace".into());
        }),
        ..Setup::default()
    };
    let mut scene = Scene::open(stage, setup)?;
    scene.under_load()?;
    let primary = scene.primary()?;
    scene.note(&format!("the primary is n{primary}"));
    ensure!(primary == FIRST, "the node with the blocked log did not become primary");
    let moment = scene.load.now_us();
    scene.go_on(TIME)?;
    scene.hardly_noticed(moment, SILENCE_MAX)?;
    let asked = nodes_say::get(&scene.tls, FIRST, "/node/ready/app");
    let (status, _) = scene.runtime.block_on(asked)?;
    ensure!(status == 204, "the node with the blocked log says {status}");
    scene.close()
}
