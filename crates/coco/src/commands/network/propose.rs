//! `coco network open`, `rekey` and `retire-node`: proposals about a network as a whole, the same that `coco proposal create` makes.

use std::path::PathBuf;

use crate::{
    commands::proposal::{
        create::{ProposeArgs, propose},
        kind::{Kind, node, service},
    },
    fault::Fault,
    output::Output,
    session::{NetworkArgs, Session},
};

/// To which network, and how.
#[derive(Debug, clap::Args)]
pub(crate) struct ToArgs {
    #[command(flatten)]
    network: NetworkArgs,
    #[command(flatten)]
    how: ProposeArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct OpenArgs {
    /// The certificate of the service before a recovery (PEM)
    #[arg(long, value_name = "PEM")]
    recovered_from: Option<PathBuf>,
    #[command(flatten)]
    to: ToArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RekeyArgs {
    #[command(flatten)]
    to: ToArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RetireNodeArgs {
    /// Its id, or the first digits
    node: String,
    #[command(flatten)]
    to: ToArgs,
}

pub(super) fn open(arguments: &OpenArgs, output: Output) -> Result<(), Fault> {
    let recovered_from = arguments.recovered_from.clone();
    arguments.to.propose(&Kind::Service(service::Kind::Open { recovered_from }), output)
}

pub(super) fn rekey(arguments: &RekeyArgs, output: Output) -> Result<(), Fault> {
    arguments.to.propose(&Kind::Service(service::Kind::Rekey), output)
}

pub(super) fn retire_node(arguments: &RetireNodeArgs, output: Output) -> Result<(), Fault> {
    let node = arguments.node.clone();
    arguments.to.propose(&Kind::Node(node::Kind::RemoveNode { node }), output)
}

impl ToArgs {
    fn propose(&self, kind: &Kind, output: Output) -> Result<(), Fault> {
        propose(&Session::open(&self.network)?, &self.how, kind, output)
    }
}
