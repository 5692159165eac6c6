//! Proposals about nodes.

use coco_governance::CERTIFICATE_DAYS_MAX;
use coco_types::Digest;
use serde_json::json;

use super::{Args, from_an_hour_ago, inline};
use crate::{fault::Fault, session::Session};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Kind {
    /// Trust a node that waits
    #[command(after_help = "Example:\n  coco proposal create trust-node 3f9a2c4b")]
    TrustNode {
        /// Its id, or the first digits
        node: String,
        /// It gets everything and never votes, so nobody waits for it: for reading, or where it is not always on
        #[arg(long)]
        learner: bool,
    },
    /// Let a learner vote
    #[command(after_help = "Example:\n  coco proposal create promote-learner 3f9a2c4b")]
    PromoteLearner {
        /// Its id, or the first digits
        node: String,
    },
    /// Replace nodes by others that wait, in one step once all of those have everything
    #[command(
        after_help = "Example:\n  coco proposal create replace-nodes --remove 3f9a2c4b --remove 77b0 --add 5d1e --add 90ac"
    )]
    ReplaceNodes {
        /// The id of one that leaves, or its first digits
        #[arg(long, value_name = "NODE", required = true)]
        remove: Vec<String>,
        /// The id of one that comes, or its first digits
        #[arg(long, value_name = "NODE", required = true)]
        add: Vec<String>,
    },
    /// Retire a node
    #[command(after_help = "Example:\n  coco proposal create remove-node 3f9a2c4b")]
    RemoveNode {
        /// Its id, or the first digits
        node: String,
    },
    /// Let nodes run this code
    #[command(
        after_help = "Example:\n  coco proposal create trust-code 3f9a2c4be0c46f4f3f9a2c4be0c46f4f3f9a2c4be0c46f4f3f9a2c4be0c46f4f"
    )]
    TrustCode {
        /// Its measurement: SHA-256 of the program, on the virtual platform
        measurement: Digest,
    },
    /// Let no new node run this code
    #[command(
        after_help = "Example:\n  coco proposal create revoke-code 3f9a2c4be0c46f4f3f9a2c4be0c46f4f3f9a2c4be0c46f4f3f9a2c4be0c46f4f"
    )]
    RevokeCode {
        /// Its measurement
        measurement: Digest,
    },
    /// Renew the certificate of a node, or of all that are trusted, from an hour ago on. Nodes do so by themselves as well
    #[command(
        after_help = "Examples:\n  coco proposal create renew-node-certificates\n  coco proposal create renew-node-certificates 3f9a2c4b --days 90"
    )]
    RenewNodeCertificates {
        /// The id of one, or the first digits; all if left out
        node: Option<String>,
        /// For how many days; as many as members allow if left out, 365 unless they allow for more or fewer
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..=i64::from(CERTIFICATE_DAYS_MAX)))]
        days: Option<u32>,
    },
    /// Change what is said of a node
    #[command(
        after_help = "Example:\n  coco proposal create set-node-data 3f9a2c4b --data '{\"site\":\"Oslo\"}'"
    )]
    SetNodeData {
        /// Its id, or the first digits
        node: String,
        /// Any JSON, or @FILE
        #[arg(long, value_name = "JSON")]
        data: String,
    },
}

impl Kind {
    pub(super) fn action(&self, session: &Session) -> Result<(&'static str, Args), Fault> {
        let id = |node: &String| session.find_node(node).map(|id| id.to_string());
        Ok(match self {
            Self::TrustNode { node, learner } => {
                // CCF's constitution certifies a node from then on that has asked with a signed request.
                let mut args = from_an_hour_ago(None)?;
                args["node_id"] = id(node)?.into();
                if *learner {
                    args["learner"] = true.into();
                }
                ("transition_node_to_trusted", args)
            }
            Self::PromoteLearner { node } => ("promote_learner", json!({ "node_id": id(node)? })),
            Self::ReplaceNodes { remove, add } => {
                let ids = |nodes: &[String]| nodes.iter().map(id).collect::<Result<Vec<_>, _>>();
                ("replace_nodes", json!({ "remove": ids(remove)?, "add": ids(add)? }))
            }
            Self::RemoveNode { node } => ("remove_node", json!({ "node_id": id(node)? })),
            Self::TrustCode { measurement } => {
                ("add_virtual_measurement", json!({ "measurement": measurement.to_string() }))
            }
            Self::RevokeCode { measurement } => {
                ("remove_virtual_measurement", json!({ "measurement": measurement.to_string() }))
            }
            Self::RenewNodeCertificates { node, days } => {
                let mut args = from_an_hour_ago(*days)?;
                match node {
                    Some(node) => {
                        args["node_id"] = id(node)?.into();
                        ("set_node_certificate_validity", args)
                    }
                    None => ("set_all_nodes_certificate_validity", args),
                }
            }
            Self::SetNodeData { node, data } => {
                let data = inline(data)?;
                ("set_node_data", json!({ "node_id": id(node)?, "node_data": data }))
            }
        })
    }
}
