//! `coco node`: one node, its settings, and what nodes say of themselves.

mod config;
mod init;
mod log;
mod start;
mod status;

use crate::{Failure, output::Output};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum NodeCommand {
    /// Make the keys of a node that is to join a network, and say what members need to know of it
    #[command(after_help = "Example:\n  coco node init --dir ./node")]
    Init(init::InitArgs),
    /// Run one node from its configuration
    #[command(after_help = "Example:\n  coco node start --config node.toml")]
    Start(start::StartArgs),
    /// The settings of a node
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Show what each node says of itself
    #[command(after_help = "Examples:\n  coco node status\n  coco node status 3f9a2c4b")]
    Status(status::StatusArgs),
}

pub(crate) fn run(command: &NodeCommand, output: Output) -> Result<(), Failure> {
    match command {
        NodeCommand::Init(arguments) => Ok(init::run(arguments, output)?),
        NodeCommand::Start(arguments) => Ok(start::run(arguments)?),
        NodeCommand::Config(command) => Ok(config::run(command, output)?),
        NodeCommand::Status(arguments) => Ok(status::run(arguments, output)?),
    }
}
