//! Nodes that nobody needs any more: operators remove their rows.

use coco_kv::Transaction;
use coco_types::NodeId;

use crate::{
    ErrorCode, GovernanceError,
    audit::{all_nodes, check_unneeded},
    tables::{self, NODES_ENDORSED_CERTIFICATES, NODES_INFO},
};

/// Removes what the ledger says of a node that has left: its row and its certificate.
///
/// # Errors
/// [`ErrorCode::ResourceNotFound`] when there is no such node, and [`ErrorCode::NodeNotRetiredCommitted`] when it has not left, or a
/// node that has not came in its seat. The transaction is to be dropped then.
pub fn remove_retired_node(tx: &mut Transaction<'_>, node: NodeId) -> Result<(), GovernanceError> {
    let (nodes, node) = (all_nodes(tx)?, node.to_string());
    let Some(row) = nodes.get(&node) else {
        let message = format!("there is no node {node}");
        return Err(GovernanceError::new(ErrorCode::ResourceNotFound, message));
    };
    check_unneeded(&node, row, &nodes).map_err(|why| {
        let message = format!("node {node} cannot be removed: {why}");
        GovernanceError::new(ErrorCode::NodeNotRetiredCommitted, message)
    })?;
    tables::remove(tx, NODES_INFO, node.as_bytes())?;
    tables::remove(tx, NODES_ENDORSED_CERTIFICATES, node.as_bytes())
}
