//! A node whose wall clock is wrong.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};

use super::{Case, Set};
use crate::{
    need::{FAKETIME, Need},
    nodes_say,
    scene::{Scene, Setup, Stage},
};

pub(super) const CASES: &[Case] = &[
    Case {
        name: "clock-ahead",
        about: "the primary's clock is 50 minutes ahead, then the primary is killed",
        needs: &[Need::FakeTime],
        set: Set::Ci,
        play: |stage| skew(stage, "+3000s", 3000),
    },
    Case {
        name: "clock-behind",
        about: "the primary's clock is 50 minutes behind, then the primary is killed",
        needs: &[Need::FakeTime],
        set: Set::Long,
        play: |stage| skew(stage, "-3000s", -3000),
    },
    Case {
        name: "clock-fast",
        about: "the primary's clock runs ten times as fast, then the primary is killed",
        needs: &[Need::FakeTime],
        set: Set::Long,
        play: |stage| skew(stage, "+0 x10", 0),
    },
];

/// The node that stands for election first.
const FIRST: usize = 0;
/// How far a block's time may be from what was expected, in seconds.
const TOLERANCE: i64 = 120;

fn skew(stage: Stage<'_>, clock: &'static str, seconds: i64) -> anyhow::Result<()> {
    let setup = Setup {
        before_start: Box::new(move |network| {
            let environment = &mut network.manner(FIRST).environment;
            for (name, value) in [
                ("LD_PRELOAD", FAKETIME),
                ("FAKETIME", clock),
                // Clocks that only run are not a host's to set.
                ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ] {
                environment.insert(name.to_owned(), value.to_owned());
            }
        }),
        ..Setup::default()
    };
    let mut scene = Scene::open(stage, setup)?;
    scene.under_load()?;
    let primary = scene.primary()?;
    ensure!(primary == FIRST, "n{primary} is primary, and the wrong clock is n{FIRST}'s");
    let latest = nodes_say::latest_time(&scene.tls, FIRST);
    let found = i64::try_from(scene.runtime.block_on(latest)?)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("after 1970")?.as_secs();
    let offset = found - i64::try_from(now)?;
    scene.note(&format!("its last block is {offset} s off"));
    // Blocks never go back, so a clock that is behind shows in blocks that all have the genesis' time.
    ensure!(
        seconds <= 0 || (offset - seconds).abs() < TOLERANCE,
        "the clock was to be {seconds} s off"
    );
    scene.network.kill(&[primary])?;
    let moment = scene.load.now_us();
    scene.resume_without_primary(moment)?;
    scene.network.start(&[primary])?;
    scene.close()
}
