//! Who leads, as other nodes say.
//!
//! A node does not listen to one that is quarantined as far as it knows: that one may lead only in its own mind. But it may have been
//! let in again since, and lead indeed, and then nobody else sends entries from which a node that was away could learn that. Such a
//! node asks the others for its seat, since it hears of no primary, and they say who leads. It believes them once those that it counts
//! with and that say so are so many that no majority is without one of them: the quarantine was committed by a majority, so one of
//! them knew of it, and listens to the other nevertheless.

use std::collections::BTreeMap;

use coco_ledger::{MembershipError, read_node};
use coco_types::{NodeId, Seqno};

use crate::replica::{Replica, StepError};

/// What others say of nodes that are quarantined here; one word of each voter.
#[derive(Debug, Default)]
pub(crate) struct Hearsay {
    said: BTreeMap<NodeId, Lead>,
}

/// A node leads that was quarantined by the row of this entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Lead {
    node: NodeId,
    row_of: Seqno,
}

impl Replica {
    /// Takes what another node says of who leads.
    pub(crate) fn take_word(
        &mut self,
        by: NodeId,
        primary: Option<NodeId>,
    ) -> Result<(), StepError> {
        let lead = match primary.filter(|primary| *primary != by) {
            Some(node) => self.quarantined_by(node)?.map(|row_of| Lead { node, row_of }),
            None => None,
        };
        let now = self.engine.configuration();
        self.hearsay.said.retain(|voter, _| *voter != by && now.votes(*voter));
        if let Some(lead) = lead.filter(|_| now.votes(by)) {
            self.hearsay.said.insert(by, lead);
        }
        Ok(())
    }

    /// Whether this node takes what another says: somebody may still need it.
    ///
    /// # Errors
    /// [`MembershipError`] when a row cannot be read.
    pub fn listens_to(&self, node: NodeId) -> Result<bool, MembershipError> {
        // Its certificate may still be endorsed, but one that left has its own ideas of what is committed, and of who leads.
        if self.engine.configuration().contains(node) {
            return Ok(true);
        }
        let row = self.row(node).map(|row| read_node(node, &row)).transpose()?;
        if row.is_some_and(|row| row.retired_committed) {
            return Ok(false);
        }
        let row_of = self.quarantined_by(node)?;
        Ok(row_of.is_none_or(|row_of| self.leads_as_others_say(Lead { node, row_of })))
    }

    /// The entry whose row says that a node is pending again, if that is committed.
    fn quarantined_by(&self, node: NodeId) -> Result<Option<Seqno>, MembershipError> {
        let Some((row, at)) = self.row_and_entry(node) else { return Ok(None) };
        let committed = self.core.state.read().committed;
        let is_quarantined = self.is_pending_again(node, &read_node(node, &row)?);
        Ok(Some(at).filter(|at| is_quarantined && *at <= committed))
    }

    fn leads_as_others_say(&self, lead: Lead) -> bool {
        let says = |voter| self.hearsay.said.get(&voter) == Some(&lead);
        !self.engine.configuration().majority(|voter| !says(voter))
    }
}
