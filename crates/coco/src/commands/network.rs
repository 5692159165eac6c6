//! `coco network`: what an operator does with a network as a whole.

mod join;

use crate::{fault::Fault, output::Output};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum NetworkCommand {
    /// Make this machine a node of a network, once its members trust it
    #[command(
        after_help = "Example:\n  coco network join https://n1.acme.example:8000 --service-id sha256:3f9a2c4be0c46f4f3f9a2c4be0c46f4f3f9a2c4be0c46f4f3f9a2c4be0c46f4f --dir ./node --client 10.0.0.9:8000 --peer 10.0.0.9:8001"
    )]
    Join(join::JoinArgs),
}

pub(crate) fn run(command: &NetworkCommand, output: Output) -> Result<(), Fault> {
    match command {
        NetworkCommand::Join(arguments) => join::run(arguments, output),
    }
}
