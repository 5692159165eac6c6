//! Faults in real processes.

use crate::{step::Step, test::built, workspace::Workspace};

/// Runs what the command line asks for, on release builds.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> anyhow::Result<()> {
    let cargo = Step::new("build", "cargo", &workspace.root);
    cargo.arguments("build --release --package coco --package coco-chaos").run()?;
    let program = workspace.target.join("release/coco-chaos");
    let step = Step::new("chaos", program, &workspace.root);
    arguments.iter().fold(step, Step::argument).run()
}

/// Runs the cases of `ci` on what the tests have built: a release build would take longer than the cases do.
pub(crate) fn run_budget(workspace: &Workspace) -> anyhow::Result<()> {
    built(workspace, "chaos", "coco-chaos").arguments("--cases ci --at-least 12").run()
}
