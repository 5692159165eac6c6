//! `coco member`: who governs.

mod activate;
mod ls;
mod show;

pub(crate) use show::{recovery, share_holders};

use crate::{
    fault::Fault,
    output::Output,
    session::{NetworkArgs, Session},
};

#[derive(Debug, clap::Args)]
pub(crate) struct MemberArgs {
    #[command(flatten)]
    network: NetworkArgs,
    #[command(subcommand)]
    command: MemberCommand,
}

#[derive(Debug, clap::Subcommand)]
enum MemberCommand {
    /// List the members
    #[command(after_help = "Example:\n  coco member ls")]
    Ls,
    /// Show one member
    #[command(after_help = "Example:\n  coco member show acme")]
    Show(show::ShowArgs),
    /// Become active: acknowledge the state of the service with your signature
    #[command(
        after_help = "Example:\n  coco member activate --key acme_privk.pem --cert acme_cert.pem"
    )]
    Activate(activate::ActivateArgs),
}

pub(crate) fn run(arguments: &MemberArgs, output: Output) -> Result<(), Fault> {
    let session = Session::open(&arguments.network)?;
    match &arguments.command {
        MemberCommand::Ls => ls::run(&session, output),
        MemberCommand::Show(arguments) => show::run(&session, arguments, output),
        MemberCommand::Activate(arguments) => activate::run(&session, arguments, output),
    }
}
