//! `coco user`: who uses the service without governing it.

mod ls;
mod show;

use crate::{
    fault::Fault,
    output::Output,
    session::{NetworkArgs, Session},
};

#[derive(Debug, clap::Args)]
pub(crate) struct UserArgs {
    #[command(flatten)]
    network: NetworkArgs,
    #[command(subcommand)]
    command: UserCommand,
}

#[derive(Debug, clap::Subcommand)]
enum UserCommand {
    /// List the participants, and the organisations whose users are participants
    #[command(after_help = "Example:\n  coco user ls")]
    Ls(ls::LsArgs),
    /// Show one participant
    #[command(after_help = "Example:\n  coco user show 3f9a2c4b")]
    Show(show::ShowArgs),
}

pub(crate) fn run(arguments: &UserArgs, output: Output) -> Result<(), Fault> {
    let session = Session::open(&arguments.network)?;
    match &arguments.command {
        UserCommand::Ls(arguments) => ls::run(&session, arguments, output),
        UserCommand::Show(arguments) => show::run(&session, arguments, output),
    }
}
