//! The simulator, in the profile of the tests, so that nothing is built twice.

use anyhow::Context;

use crate::{git::git, step::Step, test::built, workspace::Workspace};

/// Seeds of a run of `ci` that are the same for every version, and as many that each version has for itself.
const SEEDS: &str = "1000";
/// The same for drills of recovery, each of which costs as much as ten others.
const DRILLS: &str = "60";
/// Hexadecimal digits of a version that its own seeds begin with: enough that no two versions share any.
const DIGITS: usize = 12;
/// The first of the others where nothing has a version, and where all of them begin: the whole thousand after 2^63, from where on
/// nodes have leases in some runs.
const FIXED: u64 = 9_223_372_036_854_776_000;

/// Runs what the command line asks for.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> anyhow::Result<()> {
    let step = step(workspace, "coco-sim", Bugs::of(arguments));
    arguments.iter().fold(step, Step::argument).run()
}

/// Steps through one run.
pub(crate) fn replay(workspace: &Workspace, arguments: &[String]) -> anyhow::Result<()> {
    let step = step(workspace, "coco-replay", Bugs::of(arguments));
    arguments.iter().fold(step, Step::argument).run()
}

/// Runs the budget of `ci`, which must reach every required state. Half of its seeds are fixed, for the rarest states; the
/// other half follows from the files of the crates, so that each change of them tries others and a run can be repeated.
pub(crate) fn run_budget(workspace: &Workspace) -> anyhow::Result<()> {
    let first = match git(workspace, &["rev-parse", "HEAD:crates"]) {
        Ok(version) => first_of(&version)?,
        Err(error) => {
            println!("no version, so that all seeds are fixed: {error:#}");
            FIXED
        }
    };
    for (kind, seeds) in [("", SEEDS), ("--drills", DRILLS)] {
        built(workspace, "simulator", "coco-sim")
            .arguments(kind)
            .arguments("--require-marks --seeds")
            .argument(seeds)
            .argument("--and-from")
            .argument(first.to_string())
            .run()?;
    }
    Ok(())
}

/// The first seed of a version's own.
fn first_of(version: &str) -> anyhow::Result<u64> {
    let digits = version.get(..DIGITS).context("git names no version of the crates")?;
    // Whole thousands: where a run is made twice, and where keys are real, goes by the last digits.
    Ok(FIXED + u64::from_str_radix(digits, 16)? * 1000)
}

/// Plants every known bug, each of which must be found. Those inside the crates are compiled in for this step alone, in
/// the simulator alone.
pub(crate) fn run_planted(workspace: &Workspace) -> anyhow::Result<()> {
    step(workspace, "coco-sim", Bugs::CompiledIn).arguments("--planted all").run()
}

/// Whether bugs can be planted inside the crates.
enum Bugs {
    None,
    CompiledIn,
}

impl Bugs {
    fn of(arguments: &[String]) -> Self {
        let is_planting = |word: &String| word == "--planted" || word.starts_with("--planted=");
        if arguments.iter().any(is_planting) { Self::CompiledIn } else { Self::None }
    }
}

fn step(workspace: &Workspace, binary: &str, bugs: Bugs) -> Step {
    let step = Step::new("simulator", "cargo", &workspace.root)
        .arguments("run --quiet --package coco-sim --bin")
        .argument(binary);
    let step = match bugs {
        Bugs::None => step,
        Bugs::CompiledIn => step.arguments("--features planted"),
    };
    step.argument("--")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_has_seeds_of_its_own() {
        assert_eq!(first_of("0000000000ff1234").expect("it is a version"), FIXED + 255_000);
        assert!(first_of(&"f".repeat(40)).expect("it is a version") > FIXED + (1 << 57));
        assert!(first_of("abc").is_err());
        assert!(first_of("not a version").is_err());
    }
}
