//! Who leads, as other nodes say.
//!
//! A node does not listen to one that is quarantined as far as it knows: that one may lead only in its own mind. But it may have been
//! let in again since, and lead indeed, and then nobody else sends entries from which a node that was away could learn that. Such a
//! node asks the others for its seat, since it hears of no primary, and they say who leads, and how much they know to be committed.
//! It believes one that has the quarantine itself: nobody follows a quarantined node but who knows that it was let in again. The
//! word of one that is further behind counts for nothing.

use std::collections::BTreeMap;

use coco_ledger::{MembershipError, read_node};
use coco_types::{NodeId, Seqno};

use crate::replica::{Replica, StepError};

/// Who leads, as a node says that does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leads {
    /// The primary.
    pub node: NodeId,
    /// Up to here everything is committed, as the node knows that says so.
    pub committed: Seqno,
}

/// The nodes that lead although they are quarantined here, and by the row of which entry they are. No node is quarantined twice at
/// one entry.
#[derive(Debug, Default)]
pub(crate) struct Hearsay {
    believed: BTreeMap<NodeId, Seqno>,
}

impl Replica {
    /// Takes what another node says of who leads.
    pub(crate) fn take_word(&mut self, by: NodeId, leads: Leads) -> Result<(), StepError> {
        if by == leads.node || !self.listens_to(by)? {
            return Ok(());
        }
        let row_of = self.quarantined_by(leads.node)?;
        if let Some(row_of) = row_of.filter(|row_of| *row_of <= leads.committed) {
            self.hearsay.believed.insert(leads.node, row_of);
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
        let believed = self.hearsay.believed.get(&node);
        Ok(self.quarantined_by(node)?.is_none_or(|row_of| believed == Some(&row_of)))
    }

    /// The entry whose row says that a node is pending again, if that is committed.
    fn quarantined_by(&self, node: NodeId) -> Result<Option<Seqno>, MembershipError> {
        let Some((row, at)) = self.row_and_entry(node) else { return Ok(None) };
        let committed = self.core.state.read().committed;
        let is_quarantined = self.is_pending_again(node, &read_node(node, &row)?);
        Ok(Some(at).filter(|at| is_quarantined && *at <= committed))
    }
}
