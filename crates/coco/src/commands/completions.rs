//! `coco completions`: what a shell completes command lines with.

use crate::{fault::Fault, output::print_bytes};

#[derive(Debug, clap::Args)]
pub(crate) struct CompletionsArgs {
    /// For which shell
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

/// Prints the script for `command`, all of the command line.
pub(crate) fn run(arguments: &CompletionsArgs, mut command: clap::Command) -> Result<(), Fault> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut command, "coco", &mut script);
    print_bytes(&script);
    Ok(())
}
