//! Nodes that nobody knows yet.
//!
//! A node of a new operator introduces itself. Its evidence must name code that members admitted; then it is *pending*
//! until they trust it by a vote. CCF trusts it at once while the service is being set up; as long as evidence may be no more
//! than what a node says of itself, that would give the service away to whoever comes early. A trusted node comes back for
//! its secrets, which the edge gives once the trust is committed, and then asks for its place like any other node: see
//! `membership.rs`.

use coco_attest::AppraiseEvidenceError;
use coco_kv::WriteSet;
use coco_ledger::{GenesisNode, NodeRow, NodeStatus, put_introduced_node, read_node};
use coco_types::{NodeId, Role, TxId};

use crate::{
    attestations::{ShownEvidence, as_attested},
    effects::Effects,
    replica::{Replica, StepError},
};

/// Most nodes that may be pending at one time: strangers introduce themselves.
pub const PENDING_NODES_MAX: usize = 64;

/// A node says who it is. Its channel has proved that it holds the key behind its id, and is the one that its evidence shall bind.
#[derive(Clone, Debug)]
pub struct Introduction {
    /// The node; its certificate, and what it says itself of its code, are not looked at.
    pub node: GenesisNode,
    /// What it shows of its code.
    pub shown: ShownEvidence,
    /// Its key, in PEM.
    pub public_key_pem: String,
}

/// What it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IntroductionReply {
    /// The ledger knows it in this state as of this entry, which may not be committed yet.
    Known {
        /// Its state.
        status: NodeStatus,
        /// The entry.
        id: TxId,
    },
    /// What it shows is not believed, or not admitted.
    NotBelieved(Box<AppraiseEvidenceError>),
    /// Too many are pending.
    TooMany,
    /// Not now; to be asked again.
    Later,
    /// Not primary; the one it knows of, if any, may be asked.
    NotPrimary(Option<NodeId>),
}

impl Replica {
    pub(crate) fn introduce(
        &mut self,
        introduction: &Introduction,
        effects: &mut Effects,
    ) -> Result<(), StepError> {
        let reply = self.take_introduction(introduction)?;
        effects.introduced.push((introduction.node.node_id, reply));
        Ok(())
    }

    fn take_introduction(
        &mut self,
        introduction: &Introduction,
    ) -> Result<IntroductionReply, StepError> {
        let node = &introduction.node;
        if self.engine.role() != Role::Primary {
            return Ok(IntroductionReply::NotPrimary(self.engine.primary()));
        }
        if let Some(row) = self.row(node.node_id) {
            let found = read_node(node.node_id, &row)?;
            if found.status != NodeStatus::Retired && self.has_lease_ended(node.node_id) {
                return self.let_in_again(introduction, &row);
            }
            // Whoever came later in its seat was quarantined, and the seat is about to be pending.
            if self.is_quarantined(node.node_id)? {
                return Ok(IntroductionReply::Later);
            }
            let status = found.status;
            return Ok(IntroductionReply::Known { status, id: self.core.last() });
        }
        if self.has_lease_ended(node.node_id) {
            // Members removed it while it was quarantined.
            let status = NodeStatus::Retired;
            return Ok(IntroductionReply::Known { status, id: self.core.last() });
        }
        let attested = match self.appraise(node.node_id, &introduction.shown, &[]) {
            Ok(attested) => attested,
            Err(reason) => return Ok(IntroductionReply::NotBelieved(Box::new(reason))),
        };
        // Those that come in a seat are known by it.
        let pending = self
            .all_rows()?
            .into_iter()
            .filter(|(node, row)| row.status == NodeStatus::Pending && row.seat == *node);
        if pending.count() >= PENDING_NODES_MAX {
            return Ok(IntroductionReply::TooMany);
        }
        let Some(id) = self.next_tx_id().filter(|_| self.has_room()) else {
            return Ok(IntroductionReply::Later);
        };
        let status = NodeStatus::Pending;
        let mut writes = WriteSet::new();
        let node = as_attested(node, &attested);
        put_introduced_node(&mut writes, &node, &introduction.public_key_pem, status);
        self.put_shown(&mut writes, &introduction.shown, &attested);
        self.write_down(id, &writes)?;
        Ok(IntroductionReply::Known { status, id })
    }

    /// What the ledger says of a node that members trust, as long as nobody else has its seat.
    pub(crate) fn trusted_newcomer(&self, node: NodeId) -> Result<Option<NodeRow>, StepError> {
        let Some(row) = self.row(node) else { return Ok(None) };
        let row = read_node(node, &row)?;
        Ok(Some(row).filter(|row| row.status == NodeStatus::Trusted && row.seat == node))
    }
}
