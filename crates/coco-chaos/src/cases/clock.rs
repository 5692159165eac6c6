//! A node whose wall clock is wrong.
//!
//! The node is the primary, whose clock the times of blocks come from: what these say shows that the clock was wrong. A
//! case in which it was right has struck nothing, and fails.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

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
        play: |stage| strike(stage, "+3000s", Wrong::By(3000)),
    },
    Case {
        name: "clock-behind",
        about: "the primary's clock is 50 minutes behind, then the primary is killed",
        needs: &[Need::FakeTime],
        set: Set::Long,
        play: |stage| strike(stage, "-3000s", Wrong::By(-3000)),
    },
    Case {
        name: "clock-fast",
        about: "the primary's clock runs ten times as fast, then the primary is killed",
        needs: &[Need::FakeTime],
        set: Set::Long,
        play: |stage| strike(stage, "+0 x10", Wrong::Fast(10)),
    },
];

/// What is wrong with a clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrong {
    /// It stands so many seconds ahead.
    By(i64),
    /// It runs so many times as fast.
    Fast(i64),
}

/// The time of a last block, and of this machine, in milliseconds since 1970.
#[derive(Clone, Copy, Debug)]
struct Reading {
    block_ms: i64,
    true_ms: i64,
}

/// The node that stands for election first.
const FIRST: usize = 0;
/// How far a block's time may be from what was expected. The last block is as old as the pause since it was made.
const TOLERANCE_MS: i64 = 30_000;
/// The pace of a clock is measured over this time.
const PACE_TIME: Duration = Duration::from_secs(3);
/// And may be wrong by one in so many: times of blocks are whole seconds, and the last block may be some time old.
const PACE_TOLERANCE: i64 = 3;

fn strike(stage: Stage<'_>, clock: &'static str, wrong: Wrong) -> anyhow::Result<()> {
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
    let first = read(&scene)?;
    if let Wrong::Fast(_) = wrong {
        scene.go_on(PACE_TIME)?;
    }
    let second = read(&scene)?;
    scene.note(&found(wrong, first, second)?);
    scene.network.kill(&[FIRST])?;
    let moment = scene.load.now_us();
    scene.resume_without_primary(moment)?;
    scene.network.start(&[FIRST])?;
    scene.close()
}

/// Reads the clock of the node, which must be the primary.
fn read(scene: &Scene<'_>) -> anyhow::Result<Reading> {
    let primary = scene.primary()?;
    ensure!(primary == FIRST, "n{primary} is primary, and the wrong clock is n{FIRST}'s");
    let block = scene.runtime.block_on(nodes_say::latest_time(&scene.tls, FIRST))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("after 1970")?;
    let millis = |time: Duration| i64::try_from(time.as_millis()).context("a time of this age");
    Ok(Reading { block_ms: millis(Duration::from_secs(block))?, true_ms: millis(now)? })
}

/// What two readings say of a clock, if it is what is wrong with it.
fn found(wrong: Wrong, first: Reading, second: Reading) -> anyhow::Result<String> {
    match wrong {
        Wrong::By(seconds) => {
            let off_ms = second.block_ms - second.true_ms;
            let off = off_ms / 1000;
            ensure!(
                (off_ms - seconds * 1000).abs() < TOLERANCE_MS,
                "the clock was to be {seconds} s off, and the last block is {off} s off"
            );
            Ok(format!("its last block is {off} s off"))
        }
        Wrong::Fast(times) => {
            let blocks_ms = second.block_ms - first.block_ms;
            let true_ms = second.true_ms - first.true_ms;
            let expected_ms = true_ms * times;
            ensure!(
                (blocks_ms - expected_ms).abs() < expected_ms / PACE_TOLERANCE,
                "the clock was to run {times} times as fast, and blocks went on {blocks_ms} ms in {true_ms} ms"
            );
            Ok(format!("its blocks went on {blocks_ms} ms in {true_ms} ms"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON_MS: i64 = 1_800_000_000_000;

    /// Readings 3 s apart: how far the blocks were off then.
    fn readings(first_ms: i64, second_ms: i64) -> (Reading, Reading) {
        let at = |true_ms: i64, off_ms: i64| Reading { block_ms: true_ms + off_ms, true_ms };
        (at(NOON_MS, first_ms), at(NOON_MS + 3000, second_ms))
    }

    #[test]
    fn a_clock_is_wrong_as_it_was_to_be() {
        for (wrong, first_ms, second_ms) in [
            (Wrong::By(3000), 3_000_000, 2_999_000),
            (Wrong::By(-3000), -3_001_000, -3_001_000),
            (Wrong::Fast(10), 9_000, 36_000),
            (Wrong::Fast(10), 9_000, 33_000),
        ] {
            let (first, second) = readings(first_ms, second_ms);
            assert!(found(wrong, first, second).is_ok(), "{wrong:?} {second_ms}");
        }
    }

    #[test]
    fn a_right_clock_struck_nothing() {
        for wrong in [Wrong::By(3000), Wrong::By(-3000), Wrong::Fast(10)] {
            let (first, second) = readings(-500, -700);
            assert!(found(wrong, first, second).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn another_wrong_clock_is_not_the_one_that_was_meant() {
        for (wrong, first_ms, second_ms) in [
            (Wrong::By(3000), -3_000_000, -3_000_000),
            (Wrong::By(-3000), -86_400_000, -86_400_000),
            (Wrong::Fast(10), 3_000_000, 3_000_000),
            (Wrong::Fast(10), 9_000, 300_000),
        ] {
            let (first, second) = readings(first_ms, second_ms);
            assert!(found(wrong, first, second).is_err(), "{wrong:?} {second_ms}");
        }
    }
}
