//! Proposals about nodes.

use coco_types::Digest;
use serde_json::json;

use super::{Args, inline};
use crate::{fault::Fault, session::Session};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Kind {
    /// Trust a node that waits
    #[command(after_help = "Example:\n  coco proposal create trust-node 3f9a2c4b")]
    TrustNode {
        /// Its id, or the first digits
        node: String,
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
            Self::TrustNode { node } => {
                ("transition_node_to_trusted", json!({ "node_id": id(node)? }))
            }
            Self::RemoveNode { node } => ("remove_node", json!({ "node_id": id(node)? })),
            Self::TrustCode { measurement } => {
                ("add_virtual_measurement", json!({ "measurement": measurement.to_string() }))
            }
            Self::RevokeCode { measurement } => {
                ("remove_virtual_measurement", json!({ "measurement": measurement.to_string() }))
            }
            Self::SetNodeData { node, data } => {
                let data = inline(data)?;
                ("set_node_data", json!({ "node_id": id(node)?, "node_data": data }))
            }
        })
    }
}
