//! `coco network`: what is done with a network as a whole, by operators and by members.

mod create;
mod join;
pub(crate) mod place;
mod propose;
mod recover;
mod show;

use crate::{fault::Fault, output::Output};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum NetworkCommand {
    /// Begin a new network with its first node, for members who govern it
    #[command(
        after_help = "Example:\n  coco network create --dir ./node --client 10.0.0.7:8000 --peer 10.0.0.7:8001 --chain-id 2017 --member acme=acme_cert.pem,acme_enc_pubk.pem --member bank=bank_cert.pem,bank_enc_pubk.pem --member corp=corp_cert.pem,corp_enc_pubk.pem"
    )]
    Create(Box<create::CreateArgs>),
    /// Make this machine a node of a network, once its members trust it
    #[command(
        after_help = "Example:\n  coco network join https://n1.acme.example:8000 --service-id sha256:3f9a2c4be0c46f4f3f9a2c4be0c46f4f3f9a2c4be0c46f4f3f9a2c4be0c46f4f --dir ./node --client 10.0.0.9:8000 --peer 10.0.0.9:8001"
    )]
    Join(join::JoinArgs),
    /// Show how members have set a network up: its service, its rules, its nodes, and the code that they may run
    #[command(after_help = "Example:\n  coco network show")]
    Show(show::ShowArgs),
    /// Propose to open the service to participants
    #[command(
        after_help = "Examples:\n  coco network open\n  coco network open --recovered-from old_service_cert.pem"
    )]
    Open(Box<propose::OpenArgs>),
    /// Propose to give the ledger a new secret
    #[command(after_help = "Example:\n  coco network rekey")]
    Rekey(Box<propose::RekeyArgs>),
    /// Propose to retire a node
    #[command(after_help = "Example:\n  coco network retire-node 3f9a2c4b")]
    RetireNode(Box<propose::RetireNodeArgs>),
    /// Bring a service back whose nodes are all lost, from a copy of its ledger
    #[command(
        after_help = "Example:\n  coco network recover ./ledger --service-cert service_cert.pem --dir ./node --client 10.0.0.9:8000 --peer 10.0.0.9:8001"
    )]
    Recover(recover::RecoverArgs),
}

pub(crate) fn run(command: &NetworkCommand, output: Output) -> Result<(), Fault> {
    match command {
        NetworkCommand::Create(arguments) => create::run(arguments, output),
        NetworkCommand::Join(arguments) => join::run(arguments, output),
        NetworkCommand::Show(arguments) => show::run(arguments, output),
        NetworkCommand::Open(arguments) => propose::open(arguments, output),
        NetworkCommand::Rekey(arguments) => propose::rekey(arguments, output),
        NetworkCommand::RetireNode(arguments) => propose::retire_node(arguments, output),
        NetworkCommand::Recover(arguments) => recover::run(arguments, output),
    }
}
