//! The model of consensus, exhausted in the profile of the tests.

use crate::{step::Step, test::built, workspace::Workspace};

/// Runs what the command line asks for; without arguments, what `ci` has time for.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> anyhow::Result<()> {
    let step = Step::new("model", "cargo", &workspace.root)
        .arguments("run --quiet --package coco-model --bin coco-model --");
    arguments.iter().fold(step, Step::argument).run()
}

/// Runs what `ci` has time for, as the tests have built it.
pub(crate) fn run_budget(workspace: &Workspace) -> anyhow::Result<()> {
    built(workspace, "model", "coco-model").run()
}
