//! The simulator, in the profile of the tests, so that nothing is built twice.

use crate::{step::Step, workspace::Workspace};

/// Seeds of a run of `ci`.
const SEEDS: &str = "2000";

/// Runs what the command line asks for.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> anyhow::Result<()> {
    arguments.iter().fold(step(workspace), Step::argument).run()
}

/// Runs the budget of `ci`, which must reach every required state.
pub(crate) fn run_budget(workspace: &Workspace) -> anyhow::Result<()> {
    step(workspace).arguments("--require-marks --seeds").argument(SEEDS).run()
}

fn step(workspace: &Workspace) -> Step {
    Step::new("simulator", "cargo", &workspace.root)
        .arguments("run --quiet --package coco-sim --bin coco-sim --")
}
