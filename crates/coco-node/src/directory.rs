//! Who is a node of the network at the moment, and where it is reached.

use std::sync::Arc;

use coco_ledger::NodeRow;
use coco_types::NodeId;
use parking_lot::RwLock;

use crate::config::NodeAddress;

/// The nodes as the ledger names them, with their addresses. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub struct Directory {
    /// What the configuration file gives. It is the operator's word for the way to a node, and goes before what the
    /// ledger says.
    given: Arc<[(NodeId, NodeAddress)]>,
    nodes: Arc<RwLock<Vec<(NodeId, NodeAddress)>>>,
}

impl Directory {
    /// The nodes of the configuration file, in its order.
    #[must_use]
    pub fn new(given: &[(NodeId, NodeAddress)]) -> Self {
        Self { given: given.into(), nodes: Arc::new(RwLock::new(given.to_vec())) }
    }

    /// The nodes of a configuration that took effect, in its order.
    pub fn replace(&self, rows: &[(NodeId, NodeRow)]) {
        *self.nodes.write() = rows.iter().map(|(id, row)| (*id, self.address(*id, row))).collect();
    }

    /// Adds nodes to those that are known.
    pub fn add(&self, rows: &[(NodeId, NodeRow)]) {
        let mut nodes = self.nodes.write();
        for (id, row) in rows {
            if nodes.iter().all(|(other, _)| other != id) {
                nodes.push((*id, self.address(*id, row)));
            }
        }
    }

    /// All nodes.
    #[must_use]
    pub fn all(&self) -> Vec<(NodeId, NodeAddress)> {
        self.nodes.read().clone()
    }

    /// Where a node is reached.
    #[must_use]
    pub fn get(&self, id: NodeId) -> Option<NodeAddress> {
        let nodes = self.nodes.read();
        nodes.iter().find(|(other, _)| *other == id).map(|(_, address)| address.clone())
    }

    fn address(&self, id: NodeId, row: &NodeRow) -> NodeAddress {
        let given = self.given.iter().find(|(other, _)| *other == id);
        given.map_or_else(
            || NodeAddress {
                id: id.to_string(),
                peer: row.peer_address.clone(),
                client: row.rpc_address.clone(),
            },
            |(_, address)| address.clone(),
        )
    }
}
