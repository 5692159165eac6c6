//! Everything that must hold before a change is taken, cheapest first.

use crate::{
    chaos, layers, model, sim,
    step::{Counts, Step, timed},
    supply_chain, test, tidy,
    workspace::Workspace,
};

pub(crate) fn run(workspace: &Workspace, counts: &mut Counts) -> anyhow::Result<()> {
    let cargo = |name: &str| Step::new(name, "cargo", &workspace.root);
    cargo("format").arguments("fmt --all --check").run()?;
    timed("layers", "cargo xtask layers", || layers::run(workspace))?;
    timed("tidy", "cargo xtask tidy", || tidy::run(workspace))?;
    timed("supply chain", "cargo xtask supply-chain", || supply_chain::run(workspace))?;
    cargo("clippy").arguments("clippy --workspace --all-targets --locked -- -D warnings").run()?;
    cargo("documentation")
        .arguments("doc --workspace --no-deps --document-private-items --locked")
        .environment("RUSTDOCFLAGS", "-D warnings")
        .run()?;
    test::run(workspace, counts)?;
    model::run_budget(workspace)?;
    sim::run_budget(workspace)?;
    sim::run_planted(workspace)?;
    chaos::run_budget(workspace)
}
