//! How far others may lead a node on.

use coco_types::{NodeId, View};

use super::RaftEngine;
use crate::{Engine as _, ReceiveError};

impl RaftEngine {
    /// Nobody outside of the network, as far as this node knows it, leads it into a view far above what is committed.
    pub(super) fn check_view(&self, from: NodeId, said: View) -> Result<(), ReceiveError> {
        let next = self.pending.as_ref().is_some_and(|(_, next)| next.contains(from));
        let committed = self.storage().view_at(self.committed().0).unwrap_or_default();
        let limit = View(committed.saturating_add(VIEWS_AHEAD_MAX));
        if next || self.configuration.contains(from) || said <= self.view().max(limit) {
            return Ok(());
        }
        Err(ReceiveError::FarView { said, limit })
    }
}

/// How far above the view of what is committed here a node may lead this one that is in none of its configurations. It may be
/// the primary, when this one was away while all others were replaced; or a node that was let in once and has no seat.
///
/// There is an end of views, [`View::MAX`], and no election after it. So a stranger wastes one of 2048 parts of them, and no
/// other before a primary of so high a view has committed something. A view rises by one with an election, which takes 100 ms
/// or more, so a node that was away for 29 hours of nothing but elections still listens to anybody; and to those of its
/// configuration at any distance, since a primary among them may be in any view.
pub(super) const VIEWS_AHEAD_MAX: u64 = 1 << 20;
