//! Proposals about nodes.

use coco_types::{Digest, NodeId};
use serde_json::json;

use super::{Args, inline};
use crate::fault::Fault;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Kind {
    /// Trust a node that waits
    #[command(
        after_help = "Example:\n  coco proposal create trust-node 3f9a2c4be0c46f4f3f9a2c4be0c46f4f3f9a2c4be0c46f4f3f9a2c4be0c46f4f"
    )]
    TrustNode {
        /// Its id
        node: NodeId,
    },
    /// Retire a node
    #[command(
        after_help = "Example:\n  coco proposal create remove-node 3f9a2c4be0c46f4f3f9a2c4be0c46f4f3f9a2c4be0c46f4f3f9a2c4be0c46f4f"
    )]
    RemoveNode {
        /// Its id
        node: NodeId,
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
        after_help = "Example:\n  coco proposal create set-node-data 3f9a2c4be0c46f4f3f9a2c4be0c46f4f3f9a2c4be0c46f4f3f9a2c4be0c46f4f --data '{\"site\":\"Oslo\"}'"
    )]
    SetNodeData {
        /// Its id
        node: NodeId,
        /// Any JSON, or @FILE
        #[arg(long, value_name = "JSON")]
        data: String,
    },
}

impl Kind {
    pub(super) fn action(&self) -> Result<(&'static str, Args), Fault> {
        Ok(match self {
            Self::TrustNode { node } => {
                ("transition_node_to_trusted", json!({ "node_id": node.to_string() }))
            }
            Self::RemoveNode { node } => ("remove_node", json!({ "node_id": node.to_string() })),
            Self::TrustCode { measurement } => {
                ("add_virtual_measurement", json!({ "measurement": measurement.to_string() }))
            }
            Self::RevokeCode { measurement } => {
                ("remove_virtual_measurement", json!({ "measurement": measurement.to_string() }))
            }
            Self::SetNodeData { node, data } => {
                let data = inline(data)?;
                ("set_node_data", json!({ "node_id": node.to_string(), "node_data": data }))
            }
        })
    }
}
