//! The simulator, in the profile of the tests, so that nothing is built twice.

use crate::{step::Step, workspace::Workspace};

/// Seeds of a run of `ci`.
const SEEDS: &str = "2000";

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

/// Runs the budget of `ci`, which must reach every required state.
pub(crate) fn run_budget(workspace: &Workspace) -> anyhow::Result<()> {
    step(workspace, "coco-sim", Bugs::None)
        .arguments("--require-marks --seeds")
        .argument(SEEDS)
        .run()
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
